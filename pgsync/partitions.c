#include "pgsync/partitions.h"

#include "pgsync/schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int partitions_make(struct pg *pg, uint64_t number, uint64_t rows, struct error *error)
{
    char sql[2400];
    /* Made apart and then attached, since CREATE ... PARTITION OF would lock out readers. A DETACH
     * CONCURRENTLY that was killed half way has to be ended first: such a one takes no rows. */
    (void)snprintf(
        sql, sizeof sql,
        "BEGIN; SET LOCAL statement_timeout = 0; " SCHEMA_LOCK_SQL ";" SCHEMA_OWNER_SQL ";"
        "DO $$ BEGIN"
        " IF EXISTS (SELECT FROM pg_inherits i"
        " WHERE inhrelid = to_regclass('daa.events_%06" PRIu64 "')"
        " AND to_jsonb(i)->>'inhdetachpending' = 'true') THEN"
        " EXECUTE 'ALTER TABLE daa.events DETACH PARTITION daa.events_%06" PRIu64
        " FINALIZE';" /* which PostgreSQL 13 cannot parse */
        " END IF;"
        " IF to_regclass('daa.events_%06" PRIu64 "') IS NULL THEN"
        " CREATE TABLE daa.events_%06" PRIu64 " (LIKE daa.events INCLUDING DEFAULTS);"
        " END IF;"
        " IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'daa.events'::regclass"
        " AND inhrelid = 'daa.events_%06" PRIu64 "'::regclass) THEN"
        " ALTER TABLE daa.events ATTACH PARTITION daa.events_%06" PRIu64
        " FOR VALUES FROM (%" PRIu64 ") TO (%" PRIu64 ");"
        " END IF; END $$;"
        "COMMIT",
        number, number, number, number, number, number, number * rows, (number + 1) * rows);
    /* All rows of one that comes back may be read for it. */
    pg_be_patient(pg, true);
    int failed = pg_run(pg, sql, error);
    pg_be_patient(pg, false);
    if (failed < 0 && pg_alive(pg))
        (void)pg_run(pg, "ROLLBACK", NULL);
    return failed;
}

/* The upper bound of each partition is read from its name, which only partitions_make() gives. */
static const char old_sql[] =
    "SELECT c.relname, to_jsonb(i)->>'inhdetachpending' FROM pg_inherits i JOIN pg_class c ON "
    "c.oid = i.inhrelid"
    " CROSS JOIN daa.meta m"
    " WHERE i.inhparent = 'daa.events'::regclass AND c.relname ~ '^events_\\d{6,}$'"
    " AND (substr(c.relname, 8)::bigint + 1) * m.partition_rows <="
    " (SELECT min(last_seq) FROM daa.replica) ORDER BY c.relname";

/* 1 when its newest event is older, 0 when not. By the index on time: the newest one itself is not
 * found without reading all of it. */
static int is_old(struct pg *pg, const char *name, uint64_t age_s, struct error *error)
{
    char sql[300];
    struct pg_rows *rows;
    (void)snprintf(
        sql, sizeof sql,
        "SELECT NOT EXISTS (SELECT FROM daa.%.63s WHERE time >= now() - interval '%" PRIu64
        " seconds')",
        name, age_s);
    int failed = pg_query(pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    failed = *pg_rows_text(rows, 0, 0) == 't';
    pg_rows_free(rows);
    return failed;
}

/* CONCURRENTLY came with PostgreSQL 14; before it, readers of daa.events wait for that moment. */
static int detach(struct pg *pg, const char *name, bool begun, struct error *error)
{
    char sql[200];
    (void)snprintf(sql, sizeof sql, "ALTER TABLE daa.events DETACH PARTITION daa.%.63s%s", name,
                   begun                             ? " FINALIZE"
                   : pg_server_version(pg) >= 140000 ? " CONCURRENTLY"
                                                     : "");
    return pg_run(pg, sql, error);
}

int partitions_detach(struct pg *pg, uint64_t age_s, struct error *error)
{
    struct pg_rows *rows;
    int count = 0, failed = pg_query(pg, old_sql, &rows, error);
    if (failed < 0)
        return failed;
    pg_be_patient(pg, true);
    for (int row = 0; failed >= 0 && row < pg_rows_count(rows); row++) {
        const char *name = pg_rows_text(rows, row, 0);
        const char *pending = pg_rows_text(rows, row, 1);
        bool begun = pending != NULL && strcmp(pending, "true") == 0; /* and then killed */
        failed = begun ? 1 : is_old(pg, name, age_s, error);
        if (failed == 1) {
            failed = detach(pg, name, begun, error);
            count++;
        }
    }
    pg_be_patient(pg, false);
    pg_rows_free(rows);
    return failed < 0 ? failed : count;
}
