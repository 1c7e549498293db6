#include "tap.h"

#include "core/base/duration.h"
#include "core/base/error.h"

#include <string.h>

struct example {
    const char *text;
    int error;
    uint64_t value;
};

static const struct example durations[] = {
    { "0s", 0, 0 },
    { "1ns", 0, 1 },
    { "250ms", 0, 250000000 },
    { "60s", 0, 60000000000 },
    { "1.5h", 0, 5400000000000 },
    { "2d", 0, 172800000000000 },
    { "7m", 0, 420000000000 },
    { "3us", 0, 3000 },
    { "0.1s", 0, 100000000 },
    { "1.9ns", 0, 1 },
    { "00001s", 0, 1000000000 },
    { "0.00000000000000000000000000000001s", 0, 0 },
    { "0.333333333333333333333333333333s", 0, 333333333 },
    { "36525d", 0, 3155760000000000000 },
    { "36525.00001d", ERROR_TOO_LARGE, 0 },
    { "99999999999999999999999999999999999999999999999999d", ERROR_TOO_LARGE, 0 },
    { "340282366920938463463374607431768211456s", ERROR_TOO_LARGE, 0 },
    { "", ERROR_SYNTAX, 0 },
    { "s", ERROR_SYNTAX, 0 },
    { "60", ERROR_SYNTAX, 0 },
    { "0", ERROR_SYNTAX, 0 },
    { "-1s", ERROR_SYNTAX, 0 },
    { "+1s", ERROR_SYNTAX, 0 },
    { "1 s", ERROR_SYNTAX, 0 },
    { " 1s", ERROR_SYNTAX, 0 },
    { "1s ", ERROR_SYNTAX, 0 },
    { "1S", ERROR_SYNTAX, 0 },
    { "1.s", ERROR_SYNTAX, 0 },
    { ".5s", ERROR_SYNTAX, 0 },
    { "1.2.3s", ERROR_SYNTAX, 0 },
    { "1e3s", ERROR_SYNTAX, 0 },
    { "1h30m", ERROR_SYNTAX, 0 },
    { "1y", ERROR_SYNTAX, 0 },
    { "1MB", ERROR_SYNTAX, 0 },
};

static const struct example sizes[] = {
    { "0B", 0, 0 },
    { "1B", 0, 1 },
    { "64KiB", 0, 65536 },
    { "64KB", 0, 65536 },
    { "2MB", 0, 2097152 },
    { "2MiB", 0, 2097152 },
    { "1.5GB", 0, 1610612736 },
    { "1GiB", 0, 1073741824 },
    { "3TB", 0, 3298534883328 },
    { "3TiB", 0, 3298534883328 },
    { "0.5B", 0, 0 },
    { "9223372036854775807B", 0, INT64_MAX },
    { "9223372036854775808B", ERROR_TOO_LARGE, 0 },
    { "8388608TB", ERROR_TOO_LARGE, 0 },
    { "18446744073709551617B", ERROR_TOO_LARGE, 0 },
    { "1024", ERROR_SYNTAX, 0 },
    { "1kb", ERROR_SYNTAX, 0 },
    { "1K", ERROR_SYNTAX, 0 },
    { "1PB", ERROR_SYNTAX, 0 },
    { "1s", ERROR_SYNTAX, 0 },
};

static void check(const struct example *example, int (*parse)(struct span, uint64_t *))
{
    uint64_t value = 12345;
    int error = parse(span_of_text(example->text), &value);
    if (example->error == 0)
        ok(error == 0 && value == example->value, "\"%s\" is read", example->text);
    else
        ok(error == example->error && value == 12345, "\"%s\" is refused (%s)", example->text,
           error_text(example->error));
}

static void back(uint64_t value, const char *want, void (*to_text)(char *, uint64_t),
                 int (*parse)(struct span, uint64_t *))
{
    char text[DURATION_TEXT_SIZE];
    uint64_t again;
    to_text(text, value);
    is_str(text, want, "it is written as %s", want);
    ok(parse(span_of_text(text), &again) == 0 && again == value, "and read back");
}

int main(void)
{
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++)
        check(&durations[i], duration_parse);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        check(&sizes[i], size_parse);
    back(0, "0s", duration_to_text, duration_parse);
    back(90000000000ull, "90s", duration_to_text, duration_parse);
    back(120000000000ull, "2m", duration_to_text, duration_parse);
    back(86400000000000ull, "1d", duration_to_text, duration_parse);
    back(3155759999999999999ull, "3155759999999999999ns", duration_to_text, duration_parse);
    back(0, "0B", size_to_text, size_parse);
    back(1025, "1025B", size_to_text, size_parse);
    back(65536, "64KB", size_to_text, size_parse);
    back(2ull << 30, "2GB", size_to_text, size_parse);
    back(INT64_MAX, "9223372036854775807B", size_to_text, size_parse);
    return tap_done();
}
