#include "core/event/projection.h"
#include "pgsync/projection.h"

#include <string.h>

static int change(const struct event_header *header, const Daa__Event *event, void *given)
{
    struct step_row *row = given;
    return event != NULL && header->stream > 0 && header->stream <= INT64_MAX &&
           projection_step(header, event, row) && row->index <= INT32_MAX;
}

static bool same(const void *given, const void *wanted)
{
    const struct step_row *row = given, *other = wanted;
    return row->stream == other->stream && row->index == other->index;
}

static void merge(struct columns_scratch *scratch, void *given, const void *later, bool *lossy)
{
    struct step_row *row = given;
    const struct step_row before = *row;
    projection_step_merge(row, later);
    columns_replaced_text(scratch, before.step, row->step, lossy);
    columns_replaced_text(scratch, before.error, row->error, lossy);
    columns_replaced_json(scratch, before.output, row->output, lossy);
}

static uint64_t hash(const void *given)
{
    const struct step_row *row = given;
    uint64_t mixed = row->stream * UINT64_C(0x9e3779b97f4a7c15) + row->index;
    return mixed != 0 ? mixed : 1;
}

static size_t spans(void *given, struct span *spans[PROJECTION_SPANS_MAX])
{
    struct step_row *row = given;
    struct span *all[] = { &row->step, &row->error, &row->output };
    memcpy(spans, all, sizeof all);
    return sizeof all / sizeof all[0];
}

static void put(const struct projection_of *of, struct columns_scratch *scratch,
                struct binary *target, const void *given, bool refused, bool lossy)
{
    const struct step_row *row = given;
    const struct span none = { NULL, 0 };
    const uint8_t *log = lineage_uuid(of->owners, row->stream);
    const uint8_t *last_log = lineage_uuid(of->owners, row->last_seq);
    lossy |= refused;
    binary_uuid(target, log);
    columns_number(target, row->stream, &lossy);
    binary_integer(target, (int32_t)row->index);
    columns_text(scratch, target, refused ? none : row->step, &lossy);
    binary_text(target, step_status_name(row->status));
    binary_integer(target, row->has_attempt ? (int32_t)(row->attempt & INT32_MAX) : 0);
    binary_text(target, row->has_outcome ? outcome_name(row->outcome) : NULL);
    columns_text(scratch, target, refused ? none : row->error, &lossy);
    columns_user_json(scratch, target, refused ? none : row->output, &lossy);
    binary_bool(target, lossy);
    binary_time(target, row->first_ns);
    columns_optional_time(target, row->has_ended, row->ended_ns);
    columns_number(target, row->last_seq, &lossy);
    if (memcmp(log, last_log, UUID_SIZE) == 0)
        binary_null(target);
    else
        binary_uuid(target, last_log);
}

/* An event that says what came of a step says its error too, or that there is none. A workflow
 * that failed or was cancelled cancels its steps; what was running may have happened
 * (core/agent/apply.c). */
const struct projection projection_steps = {
    .table = "steps",
    .columns = "log, stream, step_index, step, status, attempts, outcome, error, output, lossy,"
               " started_at, ended_at, last_seq, last_log",
    .column_count = 14,
    .types_sql = "log uuid, stream bigint, step_index integer, step text, status text,"
                 " attempts integer, outcome text, error text, output jsonb, lossy boolean,"
                 " started_at timestamptz, ended_at timestamptz, last_seq bigint, last_log uuid",
    .key_sql = "log, stream, step_index",
    .update_sql = "step = coalesce(excluded.step, w.step), status = excluded.status,"
                  " attempts = CASE WHEN excluded.attempts > 0 THEN excluded.attempts"
                  " ELSE w.attempts END,"
                  " outcome = coalesce(excluded.outcome, w.outcome),"
                  " error = CASE WHEN excluded.outcome IS NULL THEN"
                  " coalesce(excluded.error, w.error) ELSE excluded.error END,"
                  " output = coalesce(excluded.output, w.output),"
                  " lossy = excluded.lossy OR w.lossy, ended_at = excluded.ended_at,"
                  " last_log = excluded.last_log",
    .user_columns = "step, error, output",
    .after_set_sql = "SET status = 'cancelled',"
                     " outcome = CASE s.status WHEN 'running' THEN 'unknown' ELSE s.outcome END,"
                     " ended_at = CASE s.status WHEN 'running' THEN NULL ELSE w.ended_at END,"
                     " last_seq = w.last_seq, last_log = w.last_log",
    .after_where_sql = "w.status IN ('failed', 'cancelled') AND s.log = w.log"
                       " AND s.stream = w.stream AND s.last_seq < w.last_seq AND s.status NOT IN"
                       " ('completed', 'failed', 'skipped', 'cancelled')",
    .by_workflow = true,
    .row_size = sizeof(struct step_row),
    .change = change,
    .same = same,
    .merge = merge,
    .hash = hash,
    .spans = spans,
    .put = put,
};
