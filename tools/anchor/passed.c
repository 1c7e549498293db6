#include "tools/anchor/passed.h"

#include "core/base/text.h"
#include "iouring/file.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "daa passed 1\n"

/* Where the number is, or would be. */
static size_t place_of(const struct passed *passed, uint64_t segment_no)
{
    size_t low = 0, high = passed->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (passed->numbers[middle] < segment_no)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool passed_has(const struct passed *passed, uint64_t segment_no)
{
    size_t at = place_of(passed, segment_no);
    return at < passed->count && passed->numbers[at] == segment_no;
}

int passed_add(struct passed *passed, uint64_t segment_no, struct error *error)
{
    size_t at = place_of(passed, segment_no);
    if (passed_has(passed, segment_no))
        return 0;
    if (passed->count == passed->room) {
        size_t room = passed->room == 0 ? 16 : 2 * passed->room;
        uint64_t *more = realloc(passed->numbers, room * sizeof *more);
        if (more == NULL)
            return error_set(error, -ENOMEM, "no memory to note segments that are not sealed");
        passed->numbers = more;
        passed->room = room;
    }
    memmove(passed->numbers + at + 1, passed->numbers + at,
            (passed->count - at) * sizeof *passed->numbers);
    passed->numbers[at] = segment_no;
    passed->count++;
    return 0;
}

void passed_remove(struct passed *passed, uint64_t segment_no)
{
    size_t at = place_of(passed, segment_no);
    if (!passed_has(passed, segment_no))
        return;
    passed->count--;
    memmove(passed->numbers + at, passed->numbers + at + 1,
            (passed->count - at) * sizeof *passed->numbers);
}

void passed_free(struct passed *passed)
{
    free(passed->numbers);
    *passed = (struct passed){ .count = 0 };
}

void passed_read(struct passed *passed, const char *data_dir)
{
    char path[PATH_MAX], line[32];
    uint64_t number;
    if (snprintf(path, sizeof path, "%s/" ANCHOR_PASSED_NAME, data_dir) >= (int)sizeof path)
        return;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    if (fgets(line, sizeof line, file) != NULL && strcmp(line, HEAD) == 0)
        while (fgets(line, sizeof line, file) != NULL && sscanf(line, "%" SCNu64, &number) == 1 &&
               passed_add(passed, number, NULL) == 0)
            continue;
    (void)fclose(file);
}

int passed_write(const struct passed *passed, const char *data_dir, struct error *error)
{
    struct text text;
    text_init(&text);
    text_add_string(&text, HEAD);
    for (size_t i = 0; i < passed->count; i++)
        text_printf(&text, "%" PRIu64 "\n", passed->numbers[i]);
    int code =
        text.failed < 0
            ? error_set(error, text.failed, "no memory to write %s/" ANCHOR_PASSED_NAME, data_dir)
            : file_replace(data_dir, ANCHOR_PASSED_NAME, text.bytes, text.size, error);
    text_free(&text);
    return code;
}
