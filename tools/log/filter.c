#include "core/base/duration.h"
#include "core/base/lineage.h"
#include "log/lineage.h"
#include "tools/log/log.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t wall_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Digits behind the point of the seconds, at most nine; *text moves behind them. */
static uint64_t parse_fraction(const char **text)
{
    uint64_t fraction = 0;
    int digits = 0;
    for (++*text; **text >= '0' && **text <= '9'; ++*text)
        if (digits < 9) {
            fraction = fraction * 10 + (uint64_t)(**text - '0');
            digits++;
        }
    while (digits++ < 9)
        fraction *= 10;
    return fraction;
}

/* "Z" or "+02:00", in seconds; false for anything else. */
static bool parse_zone(const char *text, int64_t *offset_s)
{
    int hours, minutes, end = 0;
    *offset_s = 0;
    if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
        return true;
    if ((*text != '+' && *text != '-') ||
        sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &end) != 2 || text[1 + end] != '\0' ||
        hours > 23 || minutes > 59)
        return false;
    *offset_s = (int64_t)(hours * 60 + minutes) * 60 * (*text == '-' ? -1 : 1);
    return true;
}

/* RFC 3339, or "-10m": that long before now. */
static int parse_time(const char *text, uint64_t now_ns, uint64_t *time_ns, struct error *error)
{
    struct tm tm = { .tm_isdst = 0 };
    int64_t offset_s;
    uint64_t before_ns, fraction_ns = 0;
    if (text[0] == '-' && duration_parse(span_of_text(text + 1), &before_ns) == 0) {
        *time_ns = before_ns < now_ns ? now_ns - before_ns : 1;
        return 0;
    }
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest == NULL)
        rest = strptime(text, "%Y-%m-%d %H:%M:%S", &tm);
    if (rest != NULL && *rest == '.')
        fraction_ns = parse_fraction(&rest);
    if (rest == NULL || !parse_zone(rest, &offset_s))
        return error_set(error, ERROR_SYNTAX,
                         "'%s' is not a time: write 2026-11-23T21:42:04Z, or -10m for ten minutes "
                         "ago",
                         text);
    int64_t seconds = (int64_t)timegm(&tm) - offset_s;
    *time_ns = seconds > 0 ? (uint64_t)seconds * 1000000000u + fraction_ns : 1;
    return 0;
}

/* A log that forked holds what was created under the names that it had before, too. */
static int parse_workflow(const char *text, const char *dir, uint64_t *stream, struct error *error)
{
    struct log_lineage names;
    struct lineage ids;
    int code = log_lineage_read(&names, dir, error);
    if (code < 0)
        return code;
    log_lineage_ids(&names, &ids);
    log_lineage_free(&names);
    if (lineage_id_from_text(span_of_text(text), &ids, stream))
        return 0;
    return error_set(error, ERROR_SYNTAX, "'%s' is not a workflow of this log%s", text,
                     ids.count > 1 ? ", nor of those that it was forked from" : "");
}

static int parse_stream(const char *text, const char *dir, uint64_t *stream, struct error *error)
{
    char *end;
    if (strncmp(text, "wf-", 3) == 0)
        return parse_workflow(text, dir, stream, error);
    *stream = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || *stream == 0)
        return error_set(
            error, ERROR_SYNTAX,
            "'%s' is not a stream: write a workflow's id (wf-...) or a sequence number", text);
    return 0;
}

int filter_begin(struct filter *filter, const char *dir, uint64_t now_ns, struct error *error)
{
    int code = 0;
    if (filter->since != NULL)
        code = parse_time(filter->since, now_ns, &filter->since_ns, error);
    if (code == 0 && filter->until != NULL)
        code = parse_time(filter->until, now_ns, &filter->until_ns, error);
    if (code == 0 && filter->stream_text != NULL)
        code = parse_stream(filter->stream_text, dir, &filter->stream, error);
    return code;
}

static bool kind_matches(const struct filter *filter, uint16_t kind)
{
    for (size_t i = 0; i < filter->kinds.count; i++)
        if (fnmatch(filter->kinds.items[i], kind_name(kind), 0) == 0)
            return true;
    return filter->kinds.count == 0;
}

bool filter_matches(const struct filter *filter, const struct record *record)
{
    return record->seq >= filter->from && (filter->to == 0 || record->seq <= filter->to) &&
           (filter->since_ns == 0 || record->time_ns >= filter->since_ns) &&
           (filter->until_ns == 0 || record->time_ns < filter->until_ns) &&
           /* The event that created a thing has its own number as the stream's. */
           (filter->stream == 0 || record->stream == filter->stream ||
            record->seq == filter->stream) &&
           kind_matches(filter, record->kind);
}

bool filter_is_past(const struct filter *filter, const struct record *record)
{
    return (filter->to != 0 && record->seq > filter->to) ||
           (filter->until_ns != 0 && record->time_ns >= filter->until_ns) ||
           (filter->limit != 0 && filter->shown >= filter->limit);
}
