#include "pgsync/schema.h"

#include "core/base/error.h"
#include "pgsync/indexes.h"
#include "pgsync/migration.h"
#include "pgsync/partitions.h"

#include <inttypes.h>
#include <stdio.h>

/* Only one at a time makes indexes, and nobody waits for it. */
#define INDEX_LOCK "x'64616102'::int::bigint"

/* From the events that say so, which are in the same database: so both are there or none. One that
 * could not be decoded (by a newer version's rules) has no payload to be taken from. */
#define ANCHORS_INSERT_SQL                                                                         \
    "INSERT INTO daa.anchors SELECT log, seq, (payload->>'seq')::bigint,"                          \
    " decode(payload->>'chain', 'hex'), (payload->>'segment_no')::bigint,"                         \
    " (payload->>'signed')::timestamptz, (payload->>'signed_ns')::bigint,"                         \
    " (payload->>'previous')::bigint, coalesce(payload->'segments', '[]'),"                        \
    " decode(payload->>'public_key', 'hex'), decode(payload->>'signature', 'hex')"                 \
    " FROM daa.events WHERE kind = 90 AND payload->>'signature' IS NOT NULL"

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
    if (version > (int64_t)migrations_count)
        return error_set(error, ERROR_NEWER,
                         "schema \"daa\" is version %" PRId64 ", made by a newer daa-pgsync; this "
                         "one knows version %zu: use the newer daa-pgsync, or another database",
                         version, migrations_count);
    if (version < SCHEMA_VERSION_OLDEST)
        return error_set(error, ERROR_MISMATCH,
                         "schema \"daa\" is version %" PRId64 ", which this daa-pgsync (version "
                         "%zu) cannot carry over: drop schema \"daa\" to copy anew, or use another "
                         "database",
                         version, migrations_count);
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

static int open_locked(struct schema *schema, struct pg *pg, uint64_t partition_rows,
                       struct error *error)
{
    int64_t version = 0;
    int found = read_meta(pg, &version, &schema->partition_rows, error);
    int failed = found == 1 ? check_version(version, error) : found;
    if (failed == 0 && found == 1)
        failed = migration_check(pg, (uint64_t)version, error);
    if (failed < 0 || version == (int64_t)migrations_count)
        return failed;
    if (found == 0)
        schema->partition_rows = partition_rows;
    return migration_apply(pg, (uint64_t)version, partition_rows, error);
}

/* Whoever holds the lock makes them, beside the copiers; if it is killed, the next one does. */
int schema_make_indexes(struct pg *pg, struct error *error)
{
    struct pg_rows *rows;
    int failed = pg_query(pg, "SELECT pg_try_advisory_lock(" INDEX_LOCK ")", &rows, error);
    if (failed < 0)
        return failed;
    bool ours = *pg_rows_text(rows, 0, 0) == 't';
    pg_rows_free(rows);
    if (!ours)
        return 0;
    failed = pg_run(pg, "SET lock_timeout = '30s'; SET statement_timeout = 0", error);
    if (failed == 0)
        failed = indexes_make(pg, error);
    if (pg_alive(pg))
        (void)pg_run(pg, "RESET statement_timeout; SELECT pg_advisory_unlock(" INDEX_LOCK ")",
                     NULL);
    return failed < 0 ? failed : 0;
}

int schema_open(struct schema *schema, struct pg *pg, uint64_t partition_rows, struct error *error)
{
    if (partition_rows == 0)
        partition_rows = SCHEMA_PARTITION_ROWS;
    *schema = (struct schema){ .partition_rows = 0 };
    /* A second look under the lock: whoever waited for it finds what the first one made. A
     * migration takes the time that it takes: it would never be done if it had to begin anew. */
    int failed = pg_run(pg,
                        "SET lock_timeout = '30s'; BEGIN; SET LOCAL statement_timeout = 0;"
                        " " SCHEMA_LOCK_SQL ";" SCHEMA_OWNER_SQL,
                        error);
    pg_be_patient(pg, true);
    if (failed == 0)
        failed = open_locked(schema, pg, partition_rows, error);
    pg_be_patient(pg, false);
    if (failed == 0)
        failed = pg_run(pg, "COMMIT", error);
    if (failed < 0 && pg_alive(pg))
        (void)pg_run(pg, "ROLLBACK", NULL);
    return failed;
}

int schema_print(struct pg *pg, uint64_t partition_rows, struct text *sql, struct error *error)
{
    int64_t version = 0;
    uint64_t rows = partition_rows == 0 ? SCHEMA_PARTITION_ROWS : partition_rows;
    int found = read_meta(pg, &version, &rows, error);
    int failed = found == 1 ? check_version(version, error) : found;
    if (failed == 0 && found == 1)
        failed = migration_check(pg, (uint64_t)version, error);
    if (failed < 0)
        return failed;
    if (version < (int64_t)migrations_count) {
        text_add_string(sql, "SET search_path = pg_catalog, pg_temp;\nBEGIN;\n" SCHEMA_LOCK_SQL
                             ";\n" SCHEMA_OWNER_SQL ";\n");
        migration_print(sql, (uint64_t)version, rows);
        text_add_string(sql, "COMMIT;\n");
    }
    return indexes_print(pg, sql, error);
}

uint64_t schema_newest_version(void)
{
    return migrations_count;
}

int schema_extend(struct schema *schema, struct pg *pg, uint64_t seq, struct error *error)
{
    uint64_t number = seq / schema->partition_rows;
    /* The next one is made when this one is begun: long before anything is written there. */
    if (seq < schema->partitions_end &&
        schema->partitions_end >= (number + 2) * schema->partition_rows)
        return 0;
    for (uint64_t each = number; each <= number + 1; each++) {
        int failed = partitions_make(pg, each, schema->partition_rows, error);
        if (failed < 0)
            return error_wrap(error, failed, "make partition events_%06" PRIu64, each);
    }
    schema->partitions_end = (number + 2) * schema->partition_rows;
    return 0;
}

/* A copy made anew meets the anchors that the one before left. What differs was signed over another
 * history. An event without its payload says nothing. */
static const char differing_sql[] =
    "SELECT a.event FROM daa.anchors a JOIN daa.events e ON e.log = a.log AND e.seq = a.event"
    " WHERE a.log = '%s' AND a.event > %" PRIu64 " AND a.event <= %" PRIu64
    " AND (e.kind <> 90 OR e.payload->>'signature' IS NOT NULL AND ("
    "e.payload->>'signature' <> encode(a.signature, 'hex')"
    " OR e.payload->>'public_key' <> encode(a.public_key, 'hex')"
    " OR e.payload->>'chain' <> encode(a.chain, 'hex')"
    " OR (e.payload->>'seq')::bigint <> a.seq"
    " OR (e.payload->>'segment_no')::bigint <> a.segment_no"
    " OR (e.payload->>'signed_ns')::bigint <> a.signed_ns"
    " OR (e.payload->>'previous')::bigint <> a.previous"
    " OR coalesce(e.payload->'segments', '[]') <> a.segments)) ORDER BY 1 LIMIT 1";

static int compare_anchors(struct pg *pg, const char *log, uint64_t after, uint64_t last,
                           struct error *error)
{
    char sql[sizeof differing_sql + 200];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql, differing_sql, log, after, last);
    int failed = pg_query(pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    if (pg_rows_count(rows) > 0)
        failed = error_set(error, ERROR_MISMATCH,
                           "daa.anchors holds another signed head at event %" PRId64
                           " of log %s than the log: one of them was changed since it was signed; "
                           "keep both as evidence, see daa-log verify --anchor, and copy into "
                           "another database",
                           pg_rows_integer(rows, 0, 0), log);
    pg_rows_free(rows);
    return failed;
}

int schema_add_anchors(struct pg *pg, const char *log, uint64_t after, uint64_t last,
                       struct error *error)
{
    char sql[sizeof ANCHORS_INSERT_SQL + 240];
    (void)snprintf(sql, sizeof sql,
                   ANCHORS_INSERT_SQL " AND log = '%s' AND seq > %" PRIu64 " AND seq <= %" PRIu64
                                      " ON CONFLICT (log, event) DO NOTHING",
                   log, after, last);
    int failed = pg_run(pg, sql, error);
    return failed < 0 ? failed : compare_anchors(pg, log, after, last, error);
}
