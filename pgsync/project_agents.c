#include "core/event/projection.h"
#include "pgsync/projection.h"

#include <string.h>

static int change(const struct event_header *header, const Daa__Event *event, void *row)
{
    return projection_agent(header, event, row);
}

/* One row a log, and a batch is of one log. */
static bool same(const void *row, const void *other)
{
    (void)row;
    (void)other;
    return true;
}

static void merge(struct columns_scratch *scratch, void *given, const void *later, bool *lossy)
{
    struct agent_row *row = given;
    const struct agent_row before = *row;
    projection_agent_merge(row, later);
    columns_replaced_text(scratch, before.version, row->version, lossy);
    columns_replaced_text(scratch, before.host, row->host, lossy);
    columns_replaced_text(scratch, before.reason, row->reason, lossy);
    *lossy |= before.pid > INT64_MAX;
}

static uint64_t hash(const void *row)
{
    (void)row;
    return 1;
}

static size_t spans(void *given, struct span *spans[PROJECTION_SPANS_MAX])
{
    struct agent_row *row = given;
    struct span *all[] = { &row->version, &row->host, &row->reason };
    memcpy(spans, all, sizeof all);
    return sizeof all / sizeof all[0];
}

static void put(const struct projection_of *of, struct columns_scratch *scratch,
                struct binary *target, const void *given, bool refused, bool lossy)
{
    const struct agent_row *row = given;
    const struct span none = { NULL, 0 };
    lossy |= refused;
    binary_uuid(target, of->log);
    binary_bool(target, row->has_registered && !row->has_stopped);
    binary_time(target, row->heartbeat_ns);
    columns_optional_time(target, row->has_registered, row->registered_ns);
    columns_optional_time(target, row->has_stopped, row->stopped_ns);
    columns_text(scratch, target, refused ? none : row->reason, &lossy);
    columns_text(scratch, target, refused ? none : row->version, &lossy);
    columns_text(scratch, target, refused ? none : row->host, &lossy);
    columns_optional_number(target, row->pid, &lossy);
    binary_bool(target, lossy);
    columns_number(target, row->last_seq, &lossy);
}

/* A registration says all anew; a stop says that it is over; any other event is a sign of life. */
const struct projection projection_agents = {
    .table = "agents",
    .columns = "log, active, last_heartbeat, registered_at, stopped_at, stop_reason, version, host,"
               " pid, lossy, last_seq",
    .column_count = 11,
    .types_sql = "log uuid, active boolean, last_heartbeat timestamptz, registered_at timestamptz,"
                 " stopped_at timestamptz, stop_reason text, version text, host text, pid bigint,"
                 " lossy boolean, last_seq bigint",
    .key_sql = "log",
    .update_sql = "active = CASE WHEN coalesce(excluded.registered_at, excluded.stopped_at) IS NULL"
                  " THEN w.active ELSE excluded.active END,"
                  " last_heartbeat = excluded.last_heartbeat,"
                  " registered_at = coalesce(excluded.registered_at, w.registered_at),"
                  " stopped_at = CASE WHEN excluded.registered_at IS NULL"
                  " THEN coalesce(excluded.stopped_at, w.stopped_at)"
                  " ELSE excluded.stopped_at END,"
                  " stop_reason = CASE WHEN coalesce(excluded.registered_at, excluded.stopped_at)"
                  " IS NULL THEN w.stop_reason ELSE excluded.stop_reason END,"
                  " version = CASE WHEN excluded.registered_at IS NULL THEN w.version"
                  " ELSE excluded.version END,"
                  " host = CASE WHEN excluded.registered_at IS NULL THEN w.host"
                  " ELSE excluded.host END,"
                  " pid = CASE WHEN excluded.registered_at IS NULL THEN w.pid"
                  " ELSE excluded.pid END,"
                  " lossy = excluded.lossy OR w.lossy",
    .user_columns = "stop_reason, version, host",
    .row_size = sizeof(struct agent_row),
    .change = change,
    .same = same,
    .merge = merge,
    .hash = hash,
    .spans = spans,
    .put = put,
};
