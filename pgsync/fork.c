#include "pgsync/fork.h"

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "log/record.h"
#include "pgsync/changes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FETCH_ROWS 16     /* a record may have 8 MiB */
#define CHANGES_MAX 1000u /* rows of workflows kept in memory */

/* The logs that fork %s comes from, each up to the last event that is its history too. */
#define HISTORY_SQL                                                                                \
    "WITH RECURSIVE history(log, upto) AS ("                                                       \
    " SELECT parent, parent_seq FROM daa.replica WHERE log = '%s'"                                 \
    " UNION SELECT r.parent, least(r.parent_seq, h.upto)"                                          \
    " FROM history h JOIN daa.replica r ON r.log = h.log WHERE r.parent IS NOT NULL)"

struct registration {
    struct pg *pg;
    const struct fork *fork;
    struct batch *batch;
    struct binary *changes;
    char parent[UUID_TEXT_SIZE], log[UUID_TEXT_SIZE];
    uint64_t position; /* of the parent in PostgreSQL */
    bool others;       /* logs were registered behind the parent */
    bool refused;      /* what users gave is left as it is */
};

static int set_other_history(const struct registration *r, const char *what, const char *there,
                             const char *here, struct error *error)
{
    return error_set(error, ERROR_MISMATCH,
                     "this Postgres holds another history of log %s: at event %" PRIu64
                     ", behind which log %s was forked from it, %s is %s there and %s in the log; "
                     "nothing was copied, use another database for this log",
                     r->parent, r->fork->seq, r->log, what, there, here);
}

/* What the parent's row says: (last_seq, chain, whether others came later). */
static int read_parent(struct registration *r, struct error *error)
{
    char sql[600], want[2 * SHA256_SIZE + 1];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "SELECT p.last_seq, encode(p.last_chain, 'hex'),"
                   " EXISTS (SELECT FROM daa.replica o WHERE o.number > p.number),"
                   " EXISTS (SELECT FROM daa.replica o WHERE o.log = '%s')"
                   " FROM daa.replica p WHERE p.log = '%s'",
                   r->log, r->parent);
    int failed = pg_query(r->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    if (pg_rows_count(rows) == 1) {
        r->position = (uint64_t)pg_rows_integer(rows, 0, 0);
        r->others = *pg_rows_text(rows, 0, 2) == 't';
    }
    bytes_to_hex(want, r->fork->chain, SHA256_SIZE);
    if (pg_rows_count(rows) != 1 || r->position < r->fork->seq || *pg_rows_text(rows, 0, 3) == 't')
        failed = error_set(error, ERROR_UNAVAILABLE,
                           "somebody else has changed daa.replica; reading it again");
    else if (r->position == r->fork->seq && strcmp(pg_rows_text(rows, 0, 1), want) != 0)
        failed = set_other_history(r, "the chain", pg_rows_text(rows, 0, 1), want, error);
    pg_rows_free(rows);
    return failed;
}

/* The parent went on, and its chain at the fork was not kept: the record there must do. */
static int compare_record(struct registration *r, struct error *error)
{
    char sql[300], want[2 * SHA256_SIZE + 1];
    struct pg_rows *rows;
    if (r->fork->record_digest == NULL || r->position == r->fork->seq)
        return 0;
    (void)snprintf(sql, sizeof sql,
                   "SELECT encode(sha256(record), 'hex') FROM daa.events"
                   " WHERE log = '%s' AND seq = %" PRIu64,
                   r->parent, r->fork->seq);
    int failed = pg_query(r->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    bytes_to_hex(want, r->fork->record_digest, SHA256_SIZE);
    if (pg_rows_count(rows) == 1 && strcmp(pg_rows_text(rows, 0, 0), want) != 0)
        failed = set_other_history(r, "the SHA-256 of the record", pg_rows_text(rows, 0, 0), want,
                                   error);
    pg_rows_free(rows);
    return failed;
}

static int insert_row(struct registration *r, struct error *error)
{
    char sql[500], chain[2 * SHA256_SIZE + 1];
    bytes_to_hex(chain, r->fork->chain, SHA256_SIZE);
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO daa.replica (log, last_seq, last_chain, epoch, parent, parent_seq)"
                   " VALUES ('%s', %" PRIu64 ", '\\x%s', 0, '%s', %" PRIu64 ")",
                   r->log, r->fork->seq, chain, r->parent, r->fork->seq);
    return pg_run(r->pg, sql, error);
}

/*--- Rows that show events from behind the fork ----------------------------------------------*/

/* last_seq 0 marks them within this transaction. What the first event gave never changes. Where
 * other logs kept the parent from changing its rows, any that has not ended may be behind. */
static int clear_rows(struct registration *r, struct error *error)
{
    char sql[1200];
    (void)snprintf(sql, sizeof sql,
                   HISTORY_SQL
                   " UPDATE daa.workflows w SET status = NULL, reason = NULL,"
                   " reason_given = false, output = NULL, started_at = NULL, ended_at = NULL,"
                   " last_seq = 0, last_log = NULL"
                   " FROM history h WHERE h.log = w.log AND w.stream <= h.upto AND (%s OR"
                   " NOT EXISTS (SELECT FROM history k WHERE k.log = coalesce(w.last_log, w.log)"
                   " AND w.last_seq <= k.upto))",
                   r->log, r->others ? "w.ended_at IS NULL" : "false");
    return pg_run(r->pg, sql, error);
}

static int open_cursor(struct registration *r, struct error *error)
{
    char sql[1200];
    (void)snprintf(sql, sizeof sql,
                   "DECLARE kept NO SCROLL CURSOR FOR " HISTORY_SQL
                   " SELECT e.seq, e.stream, encode(e.record, 'hex') FROM daa.workflows w"
                   " JOIN history o ON o.log = w.log AND w.stream <= o.upto"
                   " JOIN history h ON true"
                   " JOIN daa.events e ON e.log = h.log AND e.stream = w.stream AND e.seq <= h.upto"
                   " WHERE w.last_seq = 0 AND e.kind_name LIKE 'workflow.%%'"
                   " ORDER BY w.stream, e.seq",
                   r->log);
    return pg_run(r->pg, sql, error);
}

static int add_record(struct registration *r, const struct pg_rows *rows, int row,
                      struct error *error)
{
    const char *hex = pg_rows_text(rows, row, 2);
    size_t size = strlen(hex) / 2, used;
    uint64_t seq = (uint64_t)pg_rows_integer(rows, row, 0);
    uint8_t *bytes = malloc(size + 1);
    struct record record;
    int failed = bytes == NULL ? -ENOMEM : 0;
    if (failed < 0)
        error_set(error, failed, "no memory for event %" PRIu64, seq);
    if (failed == 0 &&
        (!bytes_from_hex(bytes, size, hex, 2 * size) ||
         record_decode(span_of(bytes, size), &record, &used) < 0 || record.seq != seq ||
         record.stream != (uint64_t)pg_rows_integer(rows, row, 1)))
        failed = error_set(error, ERROR_MISMATCH,
                           "the record of event %" PRIu64 " in daa.events, in log %s or one that "
                           "it was forked from, was changed: copy anew into another database",
                           seq, r->parent);
    if (failed == 0) {
        failed = batch_project(r->batch, &record);
        if (failed < 0)
            error_set(error, failed, "no memory for event %" PRIu64, seq);
    }
    free(bytes);
    return failed;
}

static int put_changes(struct registration *r, struct error *error)
{
    int failed = pg_run(r->pg, "TRUNCATE pg_temp.workflow_changes", error);
    if (failed == 0)
        failed = changes_send(r->pg, r->batch, r->changes, r->refused, error);
    batch_begin(r->batch, r->fork->log, r->fork->owners);
    return failed;
}

/* By bytes too: a workflow's input may have megabytes. */
static bool is_full(const struct batch *batch)
{
    return batch->changes.count >= CHANGES_MAX || batch->payload_size >= BATCH_PAYLOAD_MAX;
}

static int fill_rows(struct registration *r, struct error *error)
{
    char fetch[40];
    struct pg_rows *rows;
    int count, failed = open_cursor(r, error);
    (void)snprintf(fetch, sizeof fetch, "FETCH %d FROM kept", FETCH_ROWS);
    batch_begin(r->batch, r->fork->log, r->fork->owners);
    for (count = FETCH_ROWS; failed == 0 && count == FETCH_ROWS;) {
        failed = pg_query(r->pg, fetch, &rows, error);
        if (failed < 0)
            return failed;
        count = pg_rows_count(rows);
        for (int i = 0; failed == 0 && i < count; i++) {
            failed = add_record(r, rows, i, error);
            if (failed == 0 && is_full(r->batch))
                failed = put_changes(r, error);
        }
        pg_rows_free(rows);
    }
    return failed < 0 ? failed : put_changes(r, error);
}

/*--- The whole -------------------------------------------------------------------------------*/

static int run(struct registration *r, struct error *error)
{
    int failed = pg_run(r->pg, "BEGIN; LOCK TABLE daa.replica IN EXCLUSIVE MODE", error);
    if (failed == 0)
        failed = read_parent(r, error);
    if (failed == 0)
        failed = compare_record(r, error);
    if (failed == 0)
        failed = insert_row(r, error);
    if (failed == 0 && (r->others || r->position > r->fork->seq)) {
        failed = clear_rows(r, error);
        if (failed == 0)
            failed = fill_rows(r, error);
    }
    return failed < 0 ? failed : pg_run(r->pg, "COMMIT", error);
}

int fork_register(struct pg *pg, const struct fork *fork, struct batch *batch,
                  struct binary *changes, uint64_t *left, struct error *error)
{
    struct registration r = { .pg = pg, .fork = fork, .batch = batch, .changes = changes };
    uuid_to_text(r.parent, fork->parent);
    uuid_to_text(r.log, fork->log);
    int failed = run(&r, error);
    /* A value that the server refuses, for example by a CHECK of somebody's own: without it. */
    if (failed == ERROR_INVALID && pg_alive(pg) && pg_run(pg, "ROLLBACK", error) == 0) {
        r.refused = true;
        failed = run(&r, error);
    }
    if (failed < 0 && pg_alive(pg))
        (void)pg_run(pg, "ROLLBACK", NULL);
    *left = r.position - fork->seq;
    return failed;
}
