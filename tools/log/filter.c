#include "core/base/lineage.h"
#include "log/lineage.h"
#include "tools/command/moment.h"
#include "tools/log/log.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

uint64_t wall_clock_ns(void)
{
    return moment_local().now_ns;
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

int filter_begin(struct filter *filter, const char *dir, struct error *error)
{
    struct moment_clock clock = moment_local();
    int code = 0;
    if (filter->to != 0 && filter->from > filter->to)
        return error_set(error, ERROR_SYNTAX, "--from %llu is behind --to %llu",
                         (unsigned long long)filter->from, (unsigned long long)filter->to);
    if (filter->since != NULL)
        code = moment_parse(filter->since, &clock, &filter->since_ns, error);
    if (code == 0 && filter->until != NULL)
        code = moment_parse(filter->until, &clock, &filter->until_ns, error);
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
