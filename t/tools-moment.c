/* Times in human words: tools/command/moment.h. */
#include "tools/command/moment.h"

#include <string.h>

#include "tap.h"

#define SECOND 1000000000ull
#define DAY (86400 * SECOND)

/* 2026-11-26 10:30:00 UTC. */
#define NOW_S 1795689000ll
#define NOW ((uint64_t)NOW_S * SECOND)

static int64_t always(int64_t time_s, void *context)
{
    (void)time_s;
    return *(const int64_t *)context;
}

/* Berlin in 2026: two hours ahead from March 29th, 01:00 UTC, to October 25th, 01:00 UTC. */
static int64_t berlin(int64_t time_s, void *context)
{
    (void)context;
    return time_s >= 1774746000 && time_s < 1792890000 ? 7200 : 3600;
}

static uint64_t parse_with(const char *text, struct moment_clock clock)
{
    uint64_t time_ns = 0;
    struct error error;
    return moment_parse(text, &clock, &time_ns, &error) == 0 ? time_ns : 0;
}

static uint64_t parse(const char *text)
{
    return parse_with(text, (struct moment_clock){ .now_ns = NOW });
}

static void words_count_back_from_now(void)
{
    is_int(parse("now"), NOW, "now is now");
    ok(parse("2600-01-01T00:00:00Z") == UINT64_MAX && parse("9999-12-31T23:59:59Z") == UINT64_MAX,
       "what is behind all that nanoseconds can tell is the end of time");
    is_int(parse("10 min ago"), NOW - 600 * SECOND, "10 min ago");
    is_int(parse("2 hours ago"), NOW - 7200 * SECOND, "2 hours ago");
    is_int(parse("an hour ago"), NOW - 3600 * SECOND, "an hour ago");
    is_int(parse("1 hour 30 minutes ago"), NOW - 5400 * SECOND, "amounts add up");
    is_int(parse("1h30m ago"), NOW - 5400 * SECOND, "also without spaces");
    is_int(parse("1.5 days ago"), NOW - DAY * 3 / 2, "a fraction");
    is_int(parse("2 Weeks Ago"), NOW - 14 * DAY, "in any case");
    is_int(parse("-10m"), NOW - 600 * SECOND, "as a negative duration");
    is_int(parse("-1d"), NOW - DAY, "of a day");
    is_int(parse("-250ms"), NOW - SECOND / 4, "of milliseconds");
    is_int(parse("100 years ago"), 0, "a unit that is not known is refused");
    is_int(parse("3000 weeks ago"), 1, "what lies before 1970 is the beginning");
}

static void days_begin_at_midnight(void)
{
    uint64_t midnight = NOW - (10 * 3600 + 1800) * SECOND;
    is_int(parse("today"), midnight, "today");
    is_int(parse("yesterday"), midnight - DAY, "yesterday");
    is_int(parse("today 14:00"), midnight + 14 * 3600 * SECOND, "today 14:00");
    is_int(parse("yesterday at 9:30:05"), midnight - DAY + (9 * 3600 + 1805) * SECOND,
           "yesterday at 9:30:05");
    is_int(parse("14:00"), midnight + 14 * 3600 * SECOND, "a time of day alone is today's");
}

static void dates_are_exact(void)
{
    is_int(parse("2026-11-26T10:30:00Z"), NOW, "RFC 3339");
    is_int(parse("2026-11-26 10:30"), NOW, "without seconds");
    is_int(parse("2026-11-26"), NOW - (10 * 3600 + 1800) * SECOND, "a day");
    is_int(parse("2026-11-26T10:30:00.25Z"), NOW + SECOND / 4, "a fraction");
    is_int(parse("2026-11-26T10:30:00.1234567891Z"), NOW + 123456789, "of which nine digits count");
    is_int(parse("2026-11-26T11:30:00+01:00"), NOW, "an offset");
    is_int(parse("2026-11-26T05:00:00-0530"), NOW, "an offset without a colon");
    is_int(parse("2024-02-29"), 1709164800 * SECOND, "a leap day");
    is_int(parse("1970-01-01T00:00:00Z"), 1, "the beginning of time is not 0");
    is_int(parse("@1795689000"), NOW, "seconds since 1970");
    is_int(parse("@1795689000.5"), NOW + SECOND / 2, "and a half");
}

static void local_time_is_of_the_zone(void)
{
    int64_t ahead = 3600, behind = -5 * 3600;
    struct moment_clock east = { .now_ns = NOW, .offset_s = always, .context = &ahead };
    struct moment_clock west = { .now_ns = NOW, .offset_s = always, .context = &behind };
    struct moment_clock changing = { .now_ns = NOW, .offset_s = berlin };
    is_int(parse_with("2026-11-26 11:30", east), NOW, "a time without a zone is local");
    is_int(parse_with("2026-11-26 10:30Z", east), NOW, "Z is UTC everywhere");
    is_int(parse_with("today", west), NOW - (5 * 3600 + 1800) * SECOND, "a day is a local one");
    is_int(parse_with("2026-07-01 12:00", changing), 1782900000 * SECOND, "summer time then");
    is_int(parse_with("2026-10-25 00:30", changing), 1792881000 * SECOND,
           "an hour and a half before the clocks go back");
    is_int(parse_with("2026-10-25 12:00", changing), 1792926000 * SECOND, "and after that");
    is_int(parse_with("2026-03-29 02:30", changing), 1774747800 * SECOND,
           "a time that is left out is an hour later");
}

static void nonsense_is_refused(void)
{
    static const char *const texts[] = {
        "",
        "tomorrow",
        "10",
        "10 min",
        "ago",
        "min ago",
        "2026-13-01",
        "2026-02-30",
        "25:00",
        "12:60",
        "2026-11-26T",
        "2026-11-26 10",
        "todayy",
        "2026-11-26Tx",
        "-",
        "-10",
        "@",
        "@12x",
        "10 min agoo",
        "2026-11-26 10:30 +1",
        "yesterday 10",
        "99999999999999999999 days ago",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        is_int(parse(texts[i]), 0, "'%s' is not a time", texts[i]);
    struct moment_clock clock = { .now_ns = NOW };
    struct error error;
    uint64_t time_ns;
    ok(moment_parse("soon", &clock, &time_ns, &error) == ERROR_SYNTAX, "it is a syntax error");
    ok(strstr(error.text, "'soon' is not a time") != NULL &&
           strstr(error.text, "'10 min ago'") != NULL,
       "which names what is understood");
}

int main(void)
{
    words_count_back_from_now();
    days_begin_at_midnight();
    dates_are_exact();
    local_time_is_of_the_zone();
    nonsense_is_refused();
    return tap_done();
}
