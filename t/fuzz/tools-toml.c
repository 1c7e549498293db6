/* Whatever is a configuration can be printed, and is the same when it is read again. */
#include "core/base/check.h"
#include "tools/config/config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config;
    struct error error = { .code = 0 };
    struct text first, second;
    if (config_load_text(&config, "fuzz.toml", span_of(data, size), NULL, &error) < 0) {
        CHECK(strncmp(error.text, "fuzz.toml:", 10) == 0);
        return 0;
    }
    text_init(&first);
    text_init(&second);
    config_print(&config, &first);
    config_free(&config);
    CHECK(config_load_text(&config, "again", text_span(&first), NULL, &error) == 0);
    config_print(&config, &second);
    config_free(&config);
    CHECK(span_equal(text_span(&first), text_span(&second)));
    text_free(&first);
    text_free(&second);
    return 0;
}
