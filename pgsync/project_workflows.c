#include "core/event/projection.h"
#include "pgsync/projection.h"

#include <string.h>

static int change(const struct event_header *header, const Daa__Event *event, void *row)
{
    return event == NULL || header->stream == 0 || header->stream > INT64_MAX
               ? 0 /* no workflow has such a number: the record lies about its stream */
               : projection_workflow(header, event, row);
}

static bool same(const void *row, const void *other)
{
    return ((const struct workflow_row *)row)->stream ==
           ((const struct workflow_row *)other)->stream;
}

static void merge(struct columns_scratch *scratch, void *given, const void *later, bool *lossy)
{
    struct workflow_row *row = given;
    const struct workflow_row before = *row;
    projection_workflow_merge(row, later);
    columns_replaced_text(scratch, before.name, row->name, lossy);
    columns_replaced_text(scratch, before.reason, row->reason, lossy);
    columns_replaced_json(scratch, before.input, row->input, lossy);
    columns_replaced_json(scratch, before.output, row->output, lossy);
    columns_replaced_json(scratch, before.metadata, row->metadata, lossy);
}

static uint64_t hash(const void *row)
{
    return ((const struct workflow_row *)row)->stream;
}

static size_t spans(void *given, struct span *spans[PROJECTION_SPANS_MAX])
{
    struct workflow_row *row = given;
    struct span *all[] = { &row->name,     &row->definition, &row->input,
                           &row->metadata, &row->reason,     &row->output };
    memcpy(spans, all, sizeof all);
    return sizeof all / sizeof all[0];
}

static void put(const struct projection_of *of, struct columns_scratch *scratch,
                struct binary *target, const void *given, bool refused, bool lossy)
{
    const struct workflow_row *row = given;
    const struct span none = { NULL, 0 };
    char id[WORKFLOW_ID_SIZE];
    const uint8_t *log = lineage_uuid(of->owners, row->stream);
    const uint8_t *last_log = lineage_uuid(of->owners, row->last_seq);
    workflow_id_to_text(id, log, row->stream);
    lossy |= refused;
    binary_uuid(target, log);
    columns_number(target, row->stream, &lossy);
    binary_text(target, id);
    columns_text(scratch, target, refused ? none : row->name, &lossy);
    binary_text(target, row->has_status ? workflow_status_name(row->status) : NULL);
    columns_text(scratch, target, refused ? none : row->reason, &lossy);
    binary_bool(target, row->has_reason);
    columns_optional_bytes(target, row->definition);
    columns_user_json(scratch, target, refused ? none : row->input, &lossy);
    columns_user_json(scratch, target, refused ? none : row->output, &lossy);
    columns_user_json(scratch, target, refused ? none : row->metadata, &lossy);
    binary_bool(target, lossy);
    columns_optional_time(target, row->created, row->submitted_ns);
    columns_optional_time(target, row->has_started, row->started_ns);
    columns_optional_time(target, row->has_ended, row->ended_ns);
    columns_number(target, row->last_seq, &lossy);
    if (memcmp(log, last_log, UUID_SIZE) == 0)
        binary_null(target);
    else
        binary_uuid(target, last_log);
}

/* What an event says nothing about keeps its value; a reason can be taken back, so that one needs a
 * flag. */
const struct projection projection_workflows = {
    .table = "workflows",
    .columns = "log, stream, id, name, status, reason, reason_given, definition, input, output,"
               " metadata, lossy, submitted_at, started_at, ended_at, last_seq, last_log",
    .column_count = 17,
    .types_sql = "log uuid, stream bigint, id text, name text, status text, reason text,"
                 " reason_given boolean, definition bytea, input jsonb, output jsonb,"
                 " metadata jsonb, lossy boolean, submitted_at timestamptz,"
                 " started_at timestamptz, ended_at timestamptz, last_seq bigint, last_log uuid",
    .key_sql = "log, stream",
    .update_sql = "name = coalesce(excluded.name, w.name),"
                  " status = coalesce(excluded.status, w.status),"
                  " reason = CASE WHEN excluded.reason_given THEN excluded.reason"
                  " ELSE w.reason END,"
                  " reason_given = excluded.reason_given OR w.reason_given,"
                  " definition = coalesce(excluded.definition, w.definition),"
                  " input = coalesce(excluded.input, w.input),"
                  " output = coalesce(excluded.output, w.output),"
                  " metadata = coalesce(excluded.metadata, w.metadata),"
                  " lossy = excluded.lossy OR w.lossy,"
                  " submitted_at = coalesce(excluded.submitted_at, w.submitted_at),"
                  " started_at = coalesce(excluded.started_at, w.started_at),"
                  " ended_at = coalesce(excluded.ended_at, w.ended_at),"
                  " last_log = excluded.last_log",
    .user_columns = "name, reason, input, output, metadata",
    .by_workflow = true,
    .row_size = sizeof(struct workflow_row),
    .change = change,
    .same = same,
    .merge = merge,
    .hash = hash,
    .spans = spans,
    .put = put,
};
