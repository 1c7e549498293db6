#include "pgsync/schema.h"

#include <inttypes.h>
#include <stdio.h>

/* Any number will do that no other program uses: "daa" and 1. */
#define LOCK_SQL "SELECT pg_advisory_xact_lock(x'64616101'::int::bigint)"

/* Version 2 knows of logs that forked. Rows are not touched, so it takes no time. */
static const char upgrade_1_sql[] = "ALTER TABLE daa.replica"
                                    " ADD COLUMN parent uuid, ADD COLUMN parent_seq bigint,"
                                    " ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;"
                                    "ALTER TABLE daa.workflows"
                                    " ADD COLUMN last_log uuid;"
                                    "UPDATE daa.meta SET version = 2";

/* From the events that say so, which are in the same database: so both are there or none. One that
 * could not be decoded (by a newer version's rules) has no payload to be taken from. */
#define ANCHORS_INSERT_SQL                                                                         \
    "INSERT INTO daa.anchors SELECT log, seq, (payload->>'seq')::bigint,"                          \
    " decode(payload->>'chain', 'hex'), (payload->>'segment_no')::bigint,"                         \
    " (payload->>'signed')::timestamptz, (payload->>'signed_ns')::bigint,"                         \
    " (payload->>'previous')::bigint, coalesce(payload->'segments', '[]'),"                        \
    " decode(payload->>'public_key', 'hex'), decode(payload->>'signature', 'hex')"                 \
    " FROM daa.events WHERE kind = 90 AND payload->>'signature' IS NOT NULL"

/* What is there can be added to, but neither changed nor removed: it is evidence. Who owns the
 * schema can still drop it, which shows. */
#define ANCHORS_CREATE_SQL                                                                         \
    "CREATE TABLE daa.anchors ("                                                                   \
    " log uuid NOT NULL,"                                                                          \
    " event bigint NOT NULL,"                                                                      \
    " seq bigint NOT NULL,"                                                                        \
    " chain bytea NOT NULL,"                                                                       \
    " segment_no bigint NOT NULL,"                                                                 \
    " signed_at timestamptz NOT NULL,"                                                             \
    " signed_ns bigint NOT NULL,"                                                                  \
    " previous bigint NOT NULL,"                                                                   \
    " segments jsonb NOT NULL,"                                                                    \
    " public_key bytea NOT NULL,"                                                                  \
    " signature bytea NOT NULL,"                                                                   \
    " copied_at timestamptz NOT NULL DEFAULT now(),"                                               \
    " PRIMARY KEY (log, event));"                                                                  \
    "CREATE FUNCTION daa.anchors_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"              \
    " RAISE 'daa.anchors is added to only: what was signed is neither changed nor removed';"       \
    " END $$;"                                                                                     \
    "CREATE TRIGGER anchors_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON daa.anchors"               \
    " FOR EACH STATEMENT EXECUTE FUNCTION daa.anchors_stay();"

static const char upgrade_2_sql[] =
    ANCHORS_CREATE_SQL ANCHORS_INSERT_SQL ";"
                                          "UPDATE daa.meta SET version = 3";

/* kind is an integer since the log has 16 bits for it, and smallint one less. */
static const char create_sql[] =
    "CREATE SCHEMA daa;"
    "CREATE TABLE daa.meta ("
    " one boolean PRIMARY KEY DEFAULT true CHECK (one),"
    " version integer NOT NULL,"
    " partition_rows bigint NOT NULL,"
    " created_at timestamptz NOT NULL DEFAULT now());"
    "CREATE TABLE daa.replica ("
    " log uuid PRIMARY KEY,"
    " last_seq bigint NOT NULL,"
    " last_chain bytea NOT NULL,"
    " epoch bigint NOT NULL,"
    " updated_at timestamptz NOT NULL DEFAULT now(),"
    " parent uuid,"
    " parent_seq bigint,"
    " number bigint GENERATED ALWAYS AS IDENTITY);"
    "CREATE TABLE daa.events ("
    " log uuid NOT NULL,"
    " seq bigint NOT NULL,"
    " stream bigint NOT NULL,"
    " time timestamptz NOT NULL,"
    " time_ns bigint NOT NULL,"
    " kind integer NOT NULL,"
    " kind_name text,"
    " cause bigint,"
    " stream_prev_seq bigint,"
    " actor_type text,"
    " actor_id text,"
    " request_id text,"
    " traceparent text,"
    " payload jsonb,"
    " lossy boolean NOT NULL,"
    " error text,"
    " record bytea NOT NULL,"
    " PRIMARY KEY (log, seq)"
    ") PARTITION BY RANGE (seq);"
    "CREATE INDEX events_time ON daa.events USING brin (time);"
    "CREATE INDEX events_stream ON daa.events (log, stream, seq);"
    "CREATE TABLE daa.workflows ("
    " log uuid NOT NULL,"
    " stream bigint NOT NULL,"
    " id text NOT NULL UNIQUE,"
    " name text,"
    " status text,"
    " reason text,"
    " reason_given boolean NOT NULL,"
    " definition bytea,"
    " input jsonb,"
    " output jsonb,"
    " metadata jsonb,"
    " lossy boolean NOT NULL,"
    " submitted_at timestamptz,"
    " started_at timestamptz,"
    " ended_at timestamptz,"
    " last_seq bigint NOT NULL,"
    " last_log uuid,"
    " PRIMARY KEY (log, stream));"
    "CREATE INDEX workflows_open ON daa.workflows (status, submitted_at)"
    " WHERE status IN ('pending', 'running', 'paused');"
    "CREATE INDEX workflows_metadata ON daa.workflows USING gin (metadata jsonb_path_ops);"
    "ALTER TABLE daa.workflows ALTER COLUMN status SET STATISTICS 1000;" ANCHORS_CREATE_SQL;

/* What is there: whether schema and meta exist, and meta's row when it does. */
static int read_meta(struct pg *pg, int64_t *version, uint64_t *partition_rows, struct error *error)
{
    struct pg_rows *rows;
    int failed = pg_query(pg,
                          "SELECT to_regnamespace('daa') IS NOT NULL,"
                          " to_regclass('daa.meta') IS NOT NULL",
                          &rows, error);
    if (failed < 0)
        return failed;
    bool schema_is_there = *pg_rows_text(rows, 0, 0) == 't';
    bool meta_is_there = *pg_rows_text(rows, 0, 1) == 't';
    pg_rows_free(rows);
    if (!schema_is_there)
        return 0;
    if (!meta_is_there)
        return error_set(error, ERROR_MISMATCH,
                         "this database has a schema \"daa\" that daa-pgsync did not make (it has "
                         "no table daa.meta); use another database, or rename that schema");
    failed = pg_query(pg, "SELECT version, partition_rows FROM daa.meta", &rows, error);
    if (failed < 0)
        return failed;
    int count = pg_rows_count(rows);
    if (count == 1) {
        *version = pg_rows_integer(rows, 0, 0);
        *partition_rows = (uint64_t)pg_rows_integer(rows, 0, 1);
    }
    pg_rows_free(rows);
    if (count != 1 || *partition_rows == 0)
        return error_set(error, ERROR_MISMATCH,
                         "daa.meta does not hold its one row; drop schema \"daa\" to copy anew");
    return 1;
}

static int check_version(int64_t version, struct error *error)
{
    if (version > SCHEMA_VERSION)
        return error_set(error, ERROR_NEWER,
                         "schema \"daa\" is version %" PRId64 ", made by a newer daa-pgsync; this "
                         "one knows version %d: use the newer daa-pgsync, or another database",
                         version, SCHEMA_VERSION);
    if (version < SCHEMA_VERSION_OLDEST)
        return error_set(error, ERROR_MISMATCH,
                         "schema \"daa\" is version %" PRId64 ", which this daa-pgsync (version "
                         "%d) cannot carry over: drop schema \"daa\" to copy anew, or use another "
                         "database",
                         version, SCHEMA_VERSION);
    return 0;
}

int schema_check(struct pg *pg, struct error *error)
{
    int64_t version = 0;
    uint64_t partition_rows;
    int found = read_meta(pg, &version, &partition_rows, error);
    int failed = found == 1 ? check_version(version, error) : 0;
    return failed < 0 ? failed : found;
}

static int create(struct pg *pg, uint64_t partition_rows, struct error *error)
{
    char sql[sizeof create_sql + 200];
    (void)snprintf(sql, sizeof sql,
                   "%s INSERT INTO daa.meta (version, partition_rows) VALUES (%d, %" PRIu64 ")",
                   create_sql, SCHEMA_VERSION, partition_rows);
    return pg_run(pg, sql, error);
}

static int open_locked(struct schema *schema, struct pg *pg, uint64_t partition_rows,
                       struct error *error)
{
    int64_t version = 0;
    int found = read_meta(pg, &version, &schema->partition_rows, error);
    if (found == 1) {
        int failed = check_version(version, error);
        if (failed == 0 && version < 2)
            failed = pg_run(pg, upgrade_1_sql, error);
        if (failed == 0 && version < 3)
            failed = pg_run(pg, upgrade_2_sql, error);
        return failed;
    }
    if (found < 0)
        return found;
    schema->partition_rows = partition_rows;
    return create(pg, partition_rows, error);
}

int schema_open(struct schema *schema, struct pg *pg, uint64_t partition_rows, struct error *error)
{
    if (partition_rows == 0)
        partition_rows = SCHEMA_PARTITION_ROWS;
    *schema = (struct schema){ .partition_rows = 0 };
    /* A second look under the lock: whoever waited for it finds what the first one made. */
    int failed = pg_run(pg, "SET lock_timeout = '30s'; BEGIN; " LOCK_SQL, error);
    if (failed == 0)
        failed = open_locked(schema, pg, partition_rows, error);
    if (failed == 0)
        return pg_run(pg, "COMMIT", error);
    if (pg_alive(pg))
        (void)pg_run(pg, "ROLLBACK", NULL);
    return failed;
}

static int create_partition(struct pg *pg, uint64_t number, uint64_t rows, struct error *error)
{
    char sql[800];
    /* Made apart and then attached, since CREATE ... PARTITION OF would lock out readers. */
    (void)snprintf(sql, sizeof sql,
                   "BEGIN; " LOCK_SQL ";"
                   "DO $$ BEGIN IF to_regclass('daa.events_%06" PRIu64 "') IS NULL THEN"
                   " CREATE TABLE daa.events_%06" PRIu64 " (LIKE daa.events INCLUDING DEFAULTS);"
                   " ALTER TABLE daa.events ATTACH PARTITION daa.events_%06" PRIu64
                   " FOR VALUES FROM (%" PRIu64 ") TO (%" PRIu64 ");"
                   " END IF; END $$;"
                   "COMMIT",
                   number, number, number, number * rows, (number + 1) * rows);
    int failed = pg_run(pg, sql, error);
    if (failed < 0 && pg_alive(pg))
        (void)pg_run(pg, "ROLLBACK", NULL);
    return failed;
}

int schema_extend(struct schema *schema, struct pg *pg, uint64_t seq, struct error *error)
{
    uint64_t number = seq / schema->partition_rows;
    /* The next one is made when this one is begun: long before anything is written there. */
    if (seq < schema->partitions_end &&
        schema->partitions_end >= (number + 2) * schema->partition_rows)
        return 0;
    for (uint64_t each = number; each <= number + 1; each++) {
        int failed = create_partition(pg, each, schema->partition_rows, error);
        if (failed < 0)
            return error_wrap(error, failed, "make partition events_%06" PRIu64, each);
    }
    schema->partitions_end = (number + 2) * schema->partition_rows;
    return 0;
}

int schema_add_anchors(struct pg *pg, const char *log, uint64_t after, uint64_t last,
                       struct error *error)
{
    char sql[sizeof ANCHORS_INSERT_SQL + 200];
    (void)snprintf(sql, sizeof sql,
                   ANCHORS_INSERT_SQL " AND log = '%s' AND seq > %" PRIu64 " AND seq <= %" PRIu64,
                   log, after, last);
    return pg_run(pg, sql, error);
}
