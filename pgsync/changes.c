#include "pgsync/changes.h"

#include "core/base/error.h"

#include <stdio.h>

static const char copy_sql[] =
    "COPY pg_temp.workflow_changes (log, stream, id, name, status, reason, reason_given, "
    "definition,"
    " input, output, metadata, lossy, submitted_at, started_at, ended_at, last_seq, last_log)"
    " FROM STDIN (FORMAT binary)";

const char changes_table_sql[] =
    "CREATE TEMP TABLE workflow_changes (log uuid, stream bigint, id text, name text, status text,"
    " reason text, reason_given boolean, definition bytea, input jsonb, output jsonb,"
    " metadata jsonb, lossy boolean, submitted_at timestamptz, started_at timestamptz,"
    " ended_at timestamptz, last_seq bigint, last_log uuid) ON COMMIT DELETE ROWS";

/* What an event says nothing about keeps its value; a reason can be taken back, so that one needs a
 * flag. The guard makes a change that is in there already harmless. */
#define MERGE_SQL                                                                                  \
    "WITH RECURSIVE " CHANGES_LATER_SQL                                                            \
    " INSERT INTO daa.workflows AS w (log, stream, id, name, status, reason, reason_given,"        \
    " definition, input, output, metadata, lossy, submitted_at, started_at, ended_at, last_seq,"   \
    " last_log)"                                                                                   \
    " SELECT log, stream, id, name, status, reason, reason_given, definition, input, output,"      \
    " metadata, lossy, submitted_at, started_at, ended_at, last_seq, last_log"                     \
    " FROM pg_temp.workflow_changes c WHERE NOT EXISTS"                                            \
    " (SELECT FROM later l WHERE l.log = c.log AND c.stream <= l.upto"                             \
    " AND (c.log <> '%s' OR c.last_seq > l.upto))"                                                 \
    " ON CONFLICT (log, stream) DO UPDATE SET"                                                     \
    " name = coalesce(excluded.name, w.name),"                                                     \
    " status = coalesce(excluded.status, w.status),"                                               \
    " reason = CASE WHEN excluded.reason_given THEN excluded.reason ELSE w.reason END,"            \
    " reason_given = excluded.reason_given OR w.reason_given,"                                     \
    " definition = coalesce(excluded.definition, w.definition),"                                   \
    " input = coalesce(excluded.input, w.input),"                                                  \
    " output = coalesce(excluded.output, w.output),"                                               \
    " metadata = coalesce(excluded.metadata, w.metadata),"                                         \
    " lossy = excluded.lossy OR w.lossy,"                                                          \
    " submitted_at = coalesce(excluded.submitted_at, w.submitted_at),"                             \
    " started_at = coalesce(excluded.started_at, w.started_at),"                                   \
    " ended_at = coalesce(excluded.ended_at, w.ended_at),"                                         \
    " last_seq = excluded.last_seq, last_log = excluded.last_log"                                  \
    " WHERE excluded.last_seq > w.last_seq"

static int merge(struct pg *pg, const uint8_t log[UUID_SIZE], struct error *error)
{
    char sql[sizeof MERGE_SQL + 2 * UUID_TEXT_SIZE], text[UUID_TEXT_SIZE];
    uuid_to_text(text, log);
    (void)snprintf(sql, sizeof sql, MERGE_SQL, text, text);
    return pg_run(pg, sql, error);
}

int changes_send(struct pg *pg, struct batch *batch, struct binary *buffer, bool refused,
                 struct error *error)
{
    int64_t count = batch_changes(batch, buffer, refused);
    if (count <= 0)
        return count == 0 ? 0 : error_set(error, (int)count, "no memory for the rows of a batch");
    int failed = pg_copy_begin(pg, copy_sql, error);
    if (failed < 0)
        return failed;
    failed = pg_copy_data(pg, binary_span(buffer), error);
    if (failed == 0)
        failed = pg_copy_end(pg, error);
    return failed < 0 ? failed : merge(pg, batch->log, error);
}
