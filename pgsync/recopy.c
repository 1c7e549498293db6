#include "pgsync/recopy.h"

#include "core/base/bytes.h"
#include "pgsync/family.h"
#include "pgsync/pg.h"
#include "pgsync/schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct recopy {
    const struct recopy_options *options;
    struct pg *pg;
    struct family family;
    char log[UUID_TEXT_SIZE]; /* the newest of the directory */
    uint64_t begin;           /* its first event */
    char chain[2 * SHA256_SIZE + 1];
};

static int take_newest(struct recopy *r, struct error *error)
{
    size_t count = r->family.count;
    if (count == 0)
        return error_set(error, ERROR_NOT_FOUND, "nothing was ever written to log %s",
                         r->options->dir);
    uuid_to_text(r->log, r->family.logs[count - 1].log);
    r->begin = count > 1 ? r->family.logs[count - 2].end_seq + 1 : 1;
    return 0;
}

/* The chain that the copy has when it ends in front of `from`. */
static int find_chain(struct recopy *r, struct error *error)
{
    struct log_reader *reader = r->options->reader;
    uint64_t from = r->options->from, oldest = log_reader_first_seq(reader);
    struct record record;
    struct log_place place;
    r->chain[0] = '\0';
    if (from < r->begin)
        return error_set(error, ERROR_INVALID,
                         "events up to %" PRIu64 " are those of the log that log %s was forked "
                         "from: make the copy anew from %" PRIu64 " on, or rebuild that log's",
                         r->begin - 1, r->log, r->begin);
    if (from == 1 && oldest <= 1)
        return 0;
    if (from > log_reader_durable_seq(reader) + 1)
        return error_set(error, ERROR_INVALID,
                         "the log has events %" PRIu64 " to %" PRIu64
                         ": there is nothing to be made anew from %" PRIu64 " on",
                         oldest, log_reader_durable_seq(reader), from);
    int found = from <= oldest ? 0 : log_reader_get(reader, from - 1, &record, &place, error);
    if (found < 0)
        return found;
    if (found == 0)
        return error_set(error, ERROR_INVALID,
                         "the log has events %" PRIu64 " to %" PRIu64
                         ": the copy can be made anew from %" PRIu64 " on, and is all there is of "
                         "those before it",
                         oldest, log_reader_durable_seq(reader), oldest + 1);
    bytes_to_hex(r->chain, place.frame_chain, SHA256_SIZE);
    return 0;
}

/* 1 there is a copy to be made anew, 0 there is none. */
static int lock_row(struct recopy *r, uint64_t *position, struct error *error)
{
    char sql[300];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "BEGIN; LOCK TABLE daa.replica IN EXCLUSIVE MODE;"
                   " SELECT last_seq FROM daa.replica WHERE log = '%s'",
                   r->log);
    int failed = pg_query(r->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    int found = pg_rows_count(rows);
    *position = found == 1 ? (uint64_t)pg_rows_integer(rows, 0, 0) : 0;
    pg_rows_free(rows);
    return found;
}

static int remove_events(struct recopy *r, struct recopy_result *result, struct error *error)
{
    char sql[600];
    struct pg_rows *rows;
    uint64_t from = r->options->from;
    (void)snprintf(sql, sizeof sql,
                   "DELETE FROM daa.rejected WHERE log = '%s' AND seq >= %" PRIu64 ";"
                   "UPDATE daa.replica SET last_seq = %" PRIu64 ", last_chain = '\\x%s',"
                   " updated_at = now() WHERE log = '%s';"
                   "WITH gone AS (DELETE FROM daa.events WHERE log = '%s' AND seq >= %" PRIu64
                   " RETURNING 1) SELECT count(*) FROM gone",
                   r->log, from, from - 1, r->chain, r->log, r->log, from);
    int failed = pg_query(r->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    result->removed = (uint64_t)pg_rows_integer(rows, 0, 0);
    result->position = from - 1;
    pg_rows_free(rows);
    return 0;
}

/* The epoch ends any other copier: it would go on from where it was. */
static int note(struct recopy *r, struct recopy_result *result, struct error *error)
{
    char sql[200];
    int found = lock_row(r, &result->position, error);
    if (found == 0)
        return error_set(error, ERROR_NOT_FOUND,
                         "this Postgres has no copy of log %s: make one with daa-pgsync --once",
                         r->log);
    int failed = found < 0 ? found : 0;
    if (failed == 0 && r->options->from > 0 && r->options->from <= result->position)
        failed = remove_events(r, result, error);
    (void)snprintf(sql, sizeof sql,
                   "UPDATE daa.replica SET derived = 0, epoch = epoch + 1 WHERE log = '%s'; COMMIT",
                   r->log);
    return failed < 0 ? failed : pg_run(r->pg, sql, error);
}

static int run(struct recopy *r, struct recopy_result *result, struct error *error)
{
    struct schema schema;
    int failed = family_read(&r->family, r->options->dir, error);
    if (failed == 0)
        failed = take_newest(r, error);
    if (failed == 0 && r->options->from > 0)
        failed = find_chain(r, error);
    if (failed == 0)
        failed = pg_open(&r->pg, r->options->url, r->options->stop, error);
    if (failed == 0)
        failed = schema_open(&schema, r->pg, 0, error);
    if (failed < 0)
        return failed;
    pg_be_patient(r->pg, true);
    return note(r, result, error);
}

int recopy_run(const struct recopy_options *options, struct recopy_result *result,
               struct error *error)
{
    struct recopy r = { .options = options };
    *result = (struct recopy_result){ .removed = 0 };
    int failed = run(&r, result, error);
    pg_close(&r.pg);
    family_free(&r.family);
    return failed;
}
