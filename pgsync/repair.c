#include "pgsync/repair.h"

#include "core/base/bytes.h"
#include "pgsync/changes.h"
#include "pgsync/derive.h"
#include "pgsync/repair_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STREAMS_MAX 1000u /* derived rows in one transaction */

#define OF_STREAMS(alias) alias ".stream IN (SELECT stream FROM pg_temp.mended)"

int repair_run_on(struct repairing *r, const char *statement, const struct repair_set *set,
                  struct error *error)
{
    text_clear(&r->sql);
    text_printf(&r->sql, "%s WHERE log = '%s' AND (", statement, r->log_text);
    for (size_t i = 0; i < set->count; i++)
        text_printf(&r->sql, "%sseq BETWEEN %" PRIu64 " AND %" PRIu64, i > 0 ? " OR " : "",
                    set->ranges[i].first, set->ranges[i].last);
    text_add_string(&r->sql, ")");
    return pg_run(r->pg, text_string(&r->sql), error);
}

int repair_note_streams(struct repairing *r, const struct repair_set *set, struct error *error)
{
    return repair_run_on(r, "INSERT INTO pg_temp.mended SELECT DISTINCT stream FROM daa.events",
                         set, error);
}

/*--- Transactions ----------------------------------------------------------------------------*/

int repair_begin(struct repairing *r, struct error *error)
{
    char sql[300];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "BEGIN; SET LOCAL synchronous_commit = on;"
                   " LOCK TABLE daa.replica IN EXCLUSIVE MODE; TRUNCATE pg_temp.mended;"
                   " SELECT last_seq FROM daa.replica WHERE log = '%s'",
                   r->log_text);
    int failed = pg_query(r->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    r->last_seq = pg_rows_count(rows) == 1 ? (uint64_t)pg_rows_integer(rows, 0, 0) : 0;
    pg_rows_free(rows);
    return erased_read(&r->erased, r->pg, error);
}

int repair_end(struct repairing *r, int failed, struct error *error)
{
    if (failed == 0)
        failed = pg_run(r->pg, "COMMIT", error);
    if (failed == 0)
        r->result->transactions++;
    else if (pg_alive(r->pg) && pg_run(r->pg, "ROLLBACK", NULL) < 0)
        pg_close(&r->pg);
    return failed;
}

int repair_rows_of(struct repairing *r, const char *hex, bool lenient, struct error *error)
{
    uint8_t log[UUID_SIZE];
    struct scope scope;
    struct derive_remake remake = { .pg = r->pg,
                                    .scope = &scope,
                                    .batch = &r->rows,
                                    .buffer = &r->buffer,
                                    .lenient = lenient,
                                    .events_condition = OF_STREAMS("e"),
                                    .rows_condition = OF_STREAMS("w") };
    if (!bytes_from_hex(log, UUID_SIZE, hex, strlen(hex)))
        return 0;
    struct pg_rows *rows;
    int failed = pg_query(r->pg,
                          "ANALYZE pg_temp.mended; SELECT min(stream), max(stream)"
                          " FROM pg_temp.mended WHERE stream > 0",
                          &rows, error);
    if (failed < 0)
        return failed;
    uint64_t first = (uint64_t)pg_rows_integer(rows, 0, 0);
    uint64_t last = (uint64_t)pg_rows_integer(rows, 0, 1);
    pg_rows_free(rows);
    failed = scope_read(&scope, r->pg, log, error);
    if (scope.first_stream < r->rows_from)
        scope.first_stream = r->rows_from;
    if (first < scope.first_stream)
        first = scope.first_stream;
    return failed < 0 || first > last ? failed : derive_remake(&remake, first, last, error);
}

/* Those of this log, and of the logs that were forked from it: each row is shown by one of them. */
int repair_rows(struct repairing *r, struct error *error)
{
    char sql[500];
    struct pg_rows *logs;
    (void)snprintf(sql, sizeof sql,
                   "WITH RECURSIVE below(log) AS (SELECT '%s'::uuid"
                   " UNION SELECT r.log FROM below b JOIN daa.replica r ON r.parent = b.log)"
                   " SELECT encode(uuid_send(log), 'hex') FROM below",
                   r->log_text);
    int failed = pg_query(r->pg, sql, &logs, error);
    if (failed < 0)
        return failed;
    for (int i = 0; failed == 0 && i < pg_rows_count(logs); i++)
        failed = repair_rows_of(r, pg_rows_text(logs, i, 0), true, error);
    pg_rows_free(logs);
    return failed;
}

/*--- The rest --------------------------------------------------------------------------------*/

/* The first event that can be under this log's name. */
static uint64_t begin_of(const struct repairing *r)
{
    for (size_t i = 1; i < r->family.count; i++)
        if (memcmp(r->family.logs[i].log, r->log, UUID_SIZE) == 0)
            return r->family.logs[i - 1].end_seq + 1;
    return 1;
}

/* What was behind the position may have been copied meanwhile. */
static int remove_range(struct repairing *r, const struct verify_difference *difference,
                        struct error *error)
{
    uint64_t first = difference->first, last = difference->last;
    struct repair_set set = { .count = 1 };
    int failed = repair_begin(r, error);
    if (failed < 0)
        return failed;
    if (first >= begin_of(r) && first <= r->last_seq)
        first = r->last_seq + 1;
    if (first > last)
        return repair_end(r, 0, error);
    set.ranges[0] = (struct repair_range){ first, last };
    failed = repair_note_streams(r, &set, error);
    if (failed == 0)
        failed = repair_run_on(r, "DELETE FROM daa.events", &set, error);
    if (failed == 0)
        failed = repair_run_on(r, "DELETE FROM daa.erased", &set, error);
    if (failed == 0)
        failed = repair_rows(r, error);
    failed = repair_end(r, failed, error);
    if (failed == 0)
        r->result->removed += last - first + 1;
    return failed;
}

static int add_anchor(struct repairing *r, uint64_t seq, struct error *error)
{
    int failed = repair_begin(r, error);
    if (failed == 0)
        failed = schema_add_anchors(r->pg, r->log_text, seq - 1, seq, error);
    failed = repair_end(r, failed, error);
    r->result->anchors += failed == 0;
    return failed;
}

static void take_log(struct repairing *r, const uint8_t log[UUID_SIZE])
{
    r->log = log;
    uuid_to_text(r->log_text, log);
}

static bool is_of_agent(const struct verify_difference *difference)
{
    return strcmp(difference->table, projection_agents.table) == 0;
}

static bool is_derived(const struct verify_difference *difference)
{
    return strcmp(difference->table, "events") != 0 && strcmp(difference->table, "anchors") != 0 &&
           !is_of_agent(difference);
}

static int mend_agent(struct repairing *r, const struct verify_difference *difference,
                      struct error *error)
{
    int failed = repair_begin(r, error);
    if (failed == 0)
        failed = derive_remake_agent(r->pg, difference->log, &r->rows, &r->buffer, error);
    failed = repair_end(r, failed, error);
    r->result->rows += failed == 0;
    return failed;
}

static bool is_to_copy(const struct verify_difference *difference)
{
    return strcmp(difference->table, "events") == 0 && difference->kind != VERIFY_EXTRA;
}

static int mend(struct repairing *r, const struct verify_difference *difference,
                struct error *error)
{
    if (strcmp(difference->table, "anchors") == 0)
        return add_anchor(r, difference->first, error);
    if (is_of_agent(difference))
        return mend_agent(r, difference, error);
    bool extra = strcmp(difference->table, "events") == 0 && difference->kind == VERIFY_EXTRA;
    return extra && difference->proven ? remove_range(r, difference, error) : 0;
}

/*--- Derived rows ----------------------------------------------------------------------------*/

/* Puts the streams of up to STREAMS_MAX rows from *at on into pg_temp.mended. How many. */
static int note_rows(struct repairing *r, const struct verify_result *found, size_t *at,
                     struct error *error)
{
    struct text sql;
    int count = 0;
    text_init(&sql);
    text_add_string(&sql, "INSERT INTO pg_temp.mended VALUES ");
    for (; *at < found->difference_count && count < (int)STREAMS_MAX; ++*at)
        if (is_derived(&found->differences[*at]))
            text_printf(&sql, "%s(%" PRIu64 ")", count++ > 0 ? "," : "",
                        found->differences[*at].first);
    int failed = count > 0 ? pg_run(r->pg, text_string(&sql), error) : 0;
    text_free(&sql);
    return failed < 0 ? failed : count;
}

static int mend_rows(struct repairing *r, const struct verify_result *found, struct error *error)
{
    size_t newest = found->log_count, at = 0;
    int failed = 0;
    while (newest > 0 && !found->logs[newest - 1].known)
        newest--;
    if (newest == 0 || found->rows_differ == 0)
        return 0;
    take_log(r, found->logs[newest - 1].log);
    while (failed == 0 && at < found->difference_count) {
        char hex[2 * UUID_SIZE + 1];
        bytes_to_hex(hex, r->log, UUID_SIZE);
        failed = repair_begin(r, error);
        int count = failed == 0 ? note_rows(r, found, &at, error) : failed;
        failed = count < 0 ? count : 0;
        if (count > 0)
            failed = repair_rows_of(r, hex, false, error);
        failed = repair_end(r, failed, error);
        if (failed == 0)
            r->result->rows += (uint64_t)count;
    }
    return failed;
}

/* A log that was restored and not gone on with has its own chain under the name of another. */
static bool is_to_fork(const char *dir)
{
    char path[PATH_MAX];
    return (snprintf(path, sizeof path, "%s/" LOG_FORK_NAME, dir) < PATH_MAX &&
            access(path, F_OK) == 0) ||
           (snprintf(path, sizeof path, "%s/log/" LOG_FORK_NAME, dir) < PATH_MAX &&
            access(path, F_OK) == 0);
}

/* All records are the same, so the chain in daa.replica was changed. */
static int mend_chain(struct repairing *r, const struct verify_result *found, struct error *error)
{
    char sql[300], chain[2 * SHA256_SIZE + 1];
    size_t newest = found->log_count;
    if (!verify_chain_differs(found))
        return 0;
    while (!found->logs[newest - 1].known)
        newest--;
    const struct verify_log *log = &found->logs[newest - 1];
    take_log(r, log->log);
    if (is_to_fork(r->options->dir))
        return error_set(error, ERROR_MISMATCH,
                         "this is log %s as it was restored, with another chain: start the agent "
                         "first, it goes on as a log of its own",
                         r->log_text);
    bytes_to_hex(chain, log->chain_here, SHA256_SIZE);
    (void)snprintf(sql, sizeof sql,
                   "UPDATE daa.replica SET last_chain = '\\x%s' WHERE log = '%s'"
                   " AND last_seq = %" PRIu64,
                   chain, r->log_text, log->position);
    int failed = repair_begin(r, error);
    if (failed == 0)
        failed = pg_run(r->pg, sql, error);
    failed = repair_end(r, failed, error);
    r->result->chains += failed == 0;
    return failed;
}

/*--- All -------------------------------------------------------------------------------------*/

bool repair_is_refused(const struct verify_result *found)
{
    return verify_chain_differs(found) &&
           found->kinds[VERIFY_RECORD] + found->kinds[VERIFY_MISSING] > 0;
}

bool repair_is_due(const struct verify_result *found)
{
    uint64_t differ = found->rows_differ;
    for (int i = 0; i < VERIFY_KINDS; i++)
        differ += found->kinds[i];
    return differ > found->unproven || verify_chain_differs(found);
}

static int open_all(struct repairing *r, struct error *error)
{
    int failed = pg_open(&r->pg, r->options->url, r->options->stop, error);
    if (failed == 0)
        failed = schema_open(&r->schema, r->pg, 0, error);
    if (failed == 0)
        failed = changes_make_tables(r->pg, error);
    if (failed == 0)
        failed = pg_run(r->pg, "CREATE TEMP TABLE mended (stream bigint)", error);
    if (failed == 0)
        failed = family_read(&r->family, r->options->dir, error);
    return failed < 0 ? failed : family_ask(&r->family, r->pg, error);
}

static int mend_all(struct repairing *r, const struct verify_result *found, struct error *error)
{
    int failed = open_all(r, error);
    for (size_t i = 0; failed == 0 && i < found->difference_count;) {
        const struct verify_difference *difference = &found->differences[i];
        take_log(r, difference->log);
        if (is_to_copy(difference))
            failed = repair_events(r, found, &i, error);
        else
            failed = mend(r, &found->differences[i++], error);
        if (r->options->progress != NULL)
            r->options->progress(i, found->difference_count, r->options->context);
    }
    if (failed == 0)
        failed = mend_rows(r, found, error);
    return failed < 0 ? failed : mend_chain(r, found, error);
}

int repair_run(const struct verify_options *options, const struct verify_result *found,
               struct repair_result *result, struct error *error)
{
    struct repairing r = { .options = options, .result = result, .rows_from = found->rows_from };
    if (repair_is_refused(found))
        return error_set(error, ERROR_MISMATCH,
                         "this Postgres holds another history of the log: chain and records "
                         "differ, so nothing was changed; use another database for this log, or "
                         "take that copy away with --rebuild --from 1");
    batch_init(&r.batch, options->budget);
    batch_init(&r.rows, options->budget);
    erased_init(&r.erased, options->budget);
    r.batch.keys = r.rows.keys = options->keys;
    r.batch.erased = r.rows.erased = &r.erased;
    binary_init(&r.buffer);
    text_init(&r.sql);
    int failed = mend_all(&r, found, error);
    pg_close(&r.pg);
    family_free(&r.family);
    batch_free(&r.batch);
    batch_free(&r.rows);
    erased_free(&r.erased);
    binary_free(&r.buffer);
    text_free(&r.sql);
    return failed;
}
