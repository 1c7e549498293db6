#include "core/base/duration.h"

#include "core/base/error.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_SECOND 1000000000ull
#define NS_PER_DAY (86400 * NS_PER_SECOND)
#define NS_MAX (36525 * NS_PER_DAY) /* 100 years */

struct unit {
    const char *name;
    uint64_t factor;
};

/* Smallest first; of the same factor the one to print comes last. */
static const struct unit duration_units[] = {
    { "ns", 1 },
    { "us", 1000 },
    { "ms", 1000000 },
    { "s", NS_PER_SECOND },
    { "m", 60 * NS_PER_SECOND },
    { "h", 3600 * NS_PER_SECOND },
    { "d", NS_PER_DAY },
};

static const struct unit size_units[] = {
    { "B", 1 },           { "KiB", 1ull << 10 }, { "KB", 1ull << 10 }, { "MiB", 1ull << 20 },
    { "MB", 1ull << 20 }, { "GiB", 1ull << 30 }, { "GB", 1ull << 30 }, { "TiB", 1ull << 40 },
    { "TB", 1ull << 40 },
};

enum {
    DURATION_UNITS = sizeof duration_units / sizeof duration_units[0],
    SIZE_UNITS = sizeof size_units / sizeof size_units[0],
    FRACTION_DIGITS_MAX = 18,
};

static bool is_digit(struct span text, size_t at)
{
    return at < text.size && text.bytes[at] >= '0' && text.bytes[at] <= '9';
}

static const struct unit *find_unit(const struct unit *units, size_t count, struct span name)
{
    for (size_t i = 0; i < count; i++)
        if (span_is(name, units[i].name))
            return &units[i];
    return NULL;
}

static int parse(struct span text, const struct unit *units, size_t count, uint64_t limit,
                 uint64_t *value)
{
    /* 128 bits: 18 digits of fraction times the largest unit (a TB, 2^40) need 100. */
    unsigned __int128 whole = 0, fraction = 0, scale = 1;
    size_t at = 0;
    bool large = false;
    for (; is_digit(text, at); at++) {
        whole = whole * 10 + (unsigned)(text.bytes[at] - '0');
        large = large || whole > limit;
        if (large)
            whole = 0;
    }
    if (at == 0)
        return ERROR_SYNTAX;
    if (at < text.size && text.bytes[at] == '.') {
        size_t start = ++at;
        for (; is_digit(text, at); at++) {
            if (at - start >= FRACTION_DIGITS_MAX)
                continue;
            fraction = fraction * 10 + (unsigned)(text.bytes[at] - '0');
            scale *= 10;
        }
        if (at == start)
            return ERROR_SYNTAX;
    }
    const struct unit *unit = find_unit(units, count, span_of(text.bytes + at, text.size - at));
    if (unit == NULL)
        return ERROR_SYNTAX;
    unsigned __int128 sum = whole * unit->factor + fraction * unit->factor / scale;
    if (large || sum > limit)
        return ERROR_TOO_LARGE;
    *value = (uint64_t)sum;
    return 0;
}

static void to_text(char *text, const struct unit *units, size_t count, uint64_t value)
{
    size_t best = 0;
    for (size_t i = 0; i < count; i++)
        if (value % units[i].factor == 0)
            best = i;
    (void)snprintf(text, DURATION_TEXT_SIZE, "%" PRIu64 "%s", value / units[best].factor,
                   units[best].name);
}

int duration_parse(struct span text, uint64_t *ns)
{
    return parse(text, duration_units, DURATION_UNITS, NS_MAX, ns);
}

int size_parse(struct span text, uint64_t *bytes)
{
    return parse(text, size_units, SIZE_UNITS, INT64_MAX, bytes);
}

void duration_to_text(char text[DURATION_TEXT_SIZE], uint64_t ns)
{
    if (ns == 0)
        (void)snprintf(text, DURATION_TEXT_SIZE, "0s");
    else
        to_text(text, duration_units, DURATION_UNITS, ns);
}

void size_to_text(char text[DURATION_TEXT_SIZE], uint64_t bytes)
{
    if (bytes == 0)
        (void)snprintf(text, DURATION_TEXT_SIZE, "0B");
    else
        to_text(text, size_units, SIZE_UNITS, bytes);
}
