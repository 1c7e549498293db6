#include "tools/command/moment.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define SECOND_NS 1000000000u
#define DAY_S 86400
/* Amounts beyond it are no time of this log, and would overflow. */
#define AMOUNT_MAX_S 10000000000.0

/* Each takes what it understands from *at on and moves *at behind it, or leaves it. */

static void skip_spaces(const char **at)
{
    while (**at == ' ')
        ++*at;
}

static bool take_word(const char **at, const char *word)
{
    size_t size = strlen(word);
    if (strncasecmp(*at, word, size) != 0 || isalpha((unsigned char)(*at)[size]))
        return false;
    *at += size;
    skip_spaces(at);
    return true;
}

static bool take_character(const char **at, char character)
{
    if (**at != character)
        return false;
    ++*at;
    return true;
}

/* Between `digits_min` and `digits_max` digits, of a value up to `max`. */
static bool take_digits(const char **at, int digits_min, int digits_max, int max, int *value)
{
    int digits = 0;
    *value = 0;
    while (digits < digits_max && isdigit((unsigned char)(*at)[digits]))
        *value = *value * 10 + ((*at)[digits++] - '0');
    if (digits < digits_min || *value > max)
        return false;
    *at += digits;
    return true;
}

/* Digits behind a point, of which nine count. */
static uint64_t take_fraction(const char **at)
{
    uint64_t fraction = 0, scale = SECOND_NS;
    if (**at != '.' || !isdigit((unsigned char)(*at)[1]))
        return 0;
    for (++*at; isdigit((unsigned char)**at); ++*at) {
        scale /= 10;
        fraction += scale * (uint64_t)(**at - '0');
    }
    return fraction;
}

/* Days since 1970 of a day in the Gregorian calendar. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool is_day(int year, int month, int day)
{
    static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month >= 1 && day >= 1 && day <= lengths[month - 1] + (month == 2 && leap);
}

static int64_t offset_at(const struct moment_clock *clock, int64_t time_s)
{
    return clock->offset_s != NULL ? clock->offset_s(time_s, clock->context) : 0;
}

/* Local seconds to those since 1970: what the zone was then is not known before. */
static int64_t of_local(const struct moment_clock *clock, int64_t local_s)
{
    int64_t guess_s = local_s - offset_at(clock, local_s);
    return local_s - offset_at(clock, guess_s);
}

/* "14:00", "9:30:05.25": seconds of the day. */
static bool take_time_of_day(const char **at, int64_t *second, uint64_t *fraction_ns)
{
    const char *here = *at;
    int hour, minute, seconds = 0;
    *fraction_ns = 0;
    if (!take_digits(&here, 1, 2, 23, &hour) || !take_character(&here, ':') ||
        !take_digits(&here, 2, 2, 59, &minute))
        return false;
    if (take_character(&here, ':')) {
        if (!take_digits(&here, 2, 2, 60, &seconds))
            return false;
        *fraction_ns = take_fraction(&here);
    }
    *second = hour * 3600 + minute * 60 + seconds;
    *at = here;
    return true;
}

/* "Z", "+02:00", "-0530": seconds ahead of UTC. */
static bool take_zone(const char **at, int64_t *offset_s)
{
    const char *here = *at;
    int hours, minutes = 0, sign = *here == '-' ? -1 : 1;
    *offset_s = 0;
    if (take_word(at, "Z") || take_word(at, "UTC"))
        return true;
    if (*here != '+' && *here != '-')
        return false;
    here++;
    if (!take_digits(&here, 2, 2, 23, &hours))
        return false;
    take_character(&here, ':');
    if (isdigit((unsigned char)*here) && !take_digits(&here, 2, 2, 59, &minutes))
        return false;
    *offset_s = sign * (hours * 3600 + minutes * 60);
    *at = here;
    return true;
}

static bool set_time(int64_t seconds, uint64_t fraction_ns, uint64_t *time_ns)
{
    /* Nanoseconds end in the year 2554: what is later is behind all there can be. */
    if (seconds >= (int64_t)(UINT64_MAX / SECOND_NS))
        *time_ns = UINT64_MAX;
    else
        *time_ns = seconds >= 0 ? (uint64_t)seconds * SECOND_NS + fraction_ns : 0;
    if (*time_ns == 0)
        *time_ns = 1;
    return true;
}

/* "2026-11-26", with a time of day and a zone or without. */
static bool parse_date(const char *at, const struct moment_clock *clock, uint64_t *time_ns)
{
    int year, month, day;
    int64_t second = 0, offset_s;
    uint64_t fraction_ns = 0;
    if (!take_digits(&at, 4, 4, 9999, &year) || !take_character(&at, '-') ||
        !take_digits(&at, 2, 2, 12, &month) || !take_character(&at, '-') ||
        !take_digits(&at, 2, 2, 31, &day) || !is_day(year, month, day))
        return false;
    if (*at == 'T' || *at == 't' || *at == ' ') {
        at++;
        skip_spaces(&at);
        if (!take_time_of_day(&at, &second, &fraction_ns))
            return false;
    }
    skip_spaces(&at);
    int64_t local_s = days_of(year, month, day) * DAY_S + second;
    if (*at == '\0')
        return set_time(of_local(clock, local_s), fraction_ns, time_ns);
    return take_zone(&at, &offset_s) && *at == '\0' &&
           set_time(local_s - offset_s, fraction_ns, time_ns);
}

/* "today", "yesterday", each with a time of day or without, and a time of day alone: today's. */
static bool parse_day(const char *at, const struct moment_clock *clock, uint64_t *time_ns)
{
    int64_t now_s = (int64_t)(clock->now_ns / SECOND_NS), second = 0;
    int64_t day = (now_s + offset_at(clock, now_s)) / DAY_S;
    uint64_t fraction_ns = 0;
    bool named = true;
    if (take_word(&at, "yesterday"))
        day--;
    else
        named = take_word(&at, "today");
    if (named)
        take_word(&at, "at");
    if ((!named || *at != '\0') && !take_time_of_day(&at, &second, &fraction_ns))
        return false;
    return *at == '\0' && set_time(of_local(clock, day * DAY_S + second), fraction_ns, time_ns);
}

/* "10", "1.5", "a", "an". */
static bool take_number(const char **at, double *number)
{
    double scale = 1;
    *number = 1;
    if (take_word(at, "an") || take_word(at, "a"))
        return true;
    if (!isdigit((unsigned char)**at))
        return false;
    for (*number = 0; isdigit((unsigned char)**at); ++*at)
        *number = *number * 10 + (**at - '0');
    if (**at == '.' && isdigit((unsigned char)(*at)[1]))
        for (++*at; isdigit((unsigned char)**at); ++*at)
            *number += (**at - '0') * (scale /= 10);
    skip_spaces(at);
    return true;
}

/* "min", "hours", "d": how many seconds it has. */
static bool take_unit(const char **at, double *seconds)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = {
        { "ns", 1e-9 },    { "us", 1e-6 },       { "ms", 1e-3 },          { "s", 1 },
        { "sec", 1 },      { "secs", 1 },        { "second", 1 },         { "seconds", 1 },
        { "m", 60 },       { "min", 60 },        { "mins", 60 },          { "minute", 60 },
        { "minutes", 60 }, { "h", 3600 },        { "hr", 3600 },          { "hrs", 3600 },
        { "hour", 3600 },  { "hours", 3600 },    { "d", DAY_S },          { "day", DAY_S },
        { "days", DAY_S }, { "w", 7.0 * DAY_S }, { "week", 7.0 * DAY_S }, { "weeks", 7.0 * DAY_S },
    };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (take_word(at, units[i].name)) {
            *seconds = units[i].seconds;
            return true;
        }
    return false;
}

/* "10 min ago", "1 hour 30 minutes ago", "-10m". */
static bool parse_before(const char *at, const struct moment_clock *clock, uint64_t *time_ns)
{
    bool negative = take_character(&at, '-');
    double seconds = 0, number, unit;
    skip_spaces(&at);
    do {
        if (!take_number(&at, &number) || !take_unit(&at, &unit))
            return false;
        seconds += number * unit;
    } while (*at != '\0' && !isalpha((unsigned char)*at));
    if (seconds > AMOUNT_MAX_S || (!negative && !take_word(&at, "ago")) || *at != '\0')
        return false;
    /* Whole and broken seconds apart: a double holds no time of day in nanoseconds. */
    uint64_t whole = (uint64_t)seconds;
    uint64_t before_ns = whole * SECOND_NS + (uint64_t)((seconds - (double)whole) * 1e9 + 0.5);
    *time_ns = before_ns < clock->now_ns ? clock->now_ns - before_ns : 1;
    return true;
}

/* "@1795687200": seconds since 1970. */
static bool parse_unix(const char *at, uint64_t *time_ns)
{
    uint64_t seconds = 0;
    if (!take_character(&at, '@') || !isdigit((unsigned char)*at))
        return false;
    for (; isdigit((unsigned char)*at) && seconds < (uint64_t)AMOUNT_MAX_S; at++)
        seconds = seconds * 10 + (uint64_t)(*at - '0');
    uint64_t fraction_ns = take_fraction(&at);
    return *at == '\0' && seconds < (uint64_t)AMOUNT_MAX_S &&
           set_time((int64_t)seconds, fraction_ns, time_ns);
}

int moment_parse(const char *text, const struct moment_clock *clock, uint64_t *time_ns,
                 struct error *error)
{
    const char *at = text;
    skip_spaces(&at);
    if (strcasecmp(at, "now") == 0) {
        *time_ns = clock->now_ns;
        return 0;
    }
    if (parse_date(at, clock, time_ns) || parse_day(at, clock, time_ns) ||
        parse_before(at, clock, time_ns) || parse_unix(at, time_ns))
        return 0;
    return error_set(error, ERROR_SYNTAX,
                     "'%s' is not a time: write 2026-11-23T21:42:04Z, '2026-11-23 21:42' (local "
                     "time), '14:00', 'today', 'yesterday 14:00', '10 min ago', -10m, or now",
                     text);
}

static int64_t local_offset_s(int64_t time_s, void *context)
{
    time_t time = (time_t)time_s;
    struct tm tm;
    (void)context;
    return localtime_r(&time, &tm) != NULL ? (int64_t)tm.tm_gmtoff : 0;
}

struct moment_clock moment_local(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    tzset();
    return (struct moment_clock){ .now_ns =
                                      (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec,
                                  .offset_s = local_offset_s };
}
