/* Any text is a time or an error that says so. */
#include "core/base/check.h"
#include "tools/command/moment.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct moment_clock clock = { .now_ns = 1795689000000000000u };
    struct error error = { 0 };
    uint64_t time_ns = 0;
    char *text = malloc(size + 1);
    CHECK(text != NULL);
    memcpy(text, input, size);
    text[size] = '\0';
    int code = moment_parse(text, &clock, &time_ns, &error);
    CHECK(code == 0 ? time_ns > 0 : code == ERROR_SYNTAX && error.text[0] != '\0');
    free(text);
    return 0;
}
