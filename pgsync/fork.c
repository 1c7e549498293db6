#include "pgsync/fork.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"
#include "log/record.h"
#include "pgsync/changes.h"
#include "pgsync/derive.h"
#include "pgsync/family.h"
#include "pgsync/scope.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FETCH_BYTES (UINT64_C(8) << 20) /* aimed at with one FETCH */
#define FETCH_ROWS_MAX UINT64_C(1000)
#define CHANGES_MAX 1000u /* rows kept in memory */

/* The logs that fork %s comes from, each up to the last event that is its history too. */
#define HISTORY_SQL                                                                                \
    "WITH RECURSIVE history(log, upto) AS ("                                                       \
    " SELECT parent, parent_seq FROM daa.replica WHERE log = '%s'"                                 \
    " UNION SELECT r.parent, least(r.parent_seq, h.upto)"                                          \
    " FROM history h JOIN daa.replica r ON r.log = h.log WHERE r.parent IS NOT NULL)"

/* The logs that come from log %s behind its event %llu or a later one. */
#define BELOW_SQL                                                                                  \
    "WITH RECURSIVE below(log) AS ("                                                               \
    " SELECT log FROM daa.replica WHERE parent = '%s' AND parent_seq >= %" PRIu64                  \
    " UNION SELECT r.log FROM below b JOIN daa.replica r ON r.parent = b.log)"

#define NOBODY "00000000-0000-0000-0000-000000000000"

struct registration {
    struct pg *pg;
    const struct fork *fork;
    struct batch *batch;
    struct binary *changes;
    char parent[UUID_TEXT_SIZE], log[UUID_TEXT_SIZE];
    uint64_t position; /* of the parent in PostgreSQL */
    bool others;       /* logs were registered behind the parent, which it left rows to */
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

/* 1: what the parent's row says is not what the fork is registered for. */
static int check_parent(struct registration *r, const struct pg_rows *rows, struct error *error)
{
    const struct fork *fork = r->fork;
    char want[2 * SHA256_SIZE + 1];
    r->position = (uint64_t)pg_rows_integer(rows, 0, 0);
    r->others = *pg_rows_text(rows, 0, 2) == 't';
    if (*pg_rows_text(rows, 0, 3) == 't' || fork->alone != (r->position < fork->seq))
        return 1;
    if (fork->parent == NULL || r->position != fork->seq)
        return 0;
    bytes_to_hex(want, fork->parent_chain, SHA256_SIZE);
    if (strcmp(pg_rows_text(rows, 0, 1), want) != 0)
        return set_other_history(r, "the chain", pg_rows_text(rows, 0, 1), want, error);
    return 0;
}

static int read_parent(struct registration *r, struct error *error)
{
    char sql[600];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "SELECT p.last_seq, encode(p.last_chain, 'hex'),"
                   " EXISTS (SELECT FROM daa.replica o WHERE o.number > p.number),"
                   " EXISTS (SELECT FROM daa.replica o WHERE o.log = '%s')"
                   " FROM (SELECT) one LEFT JOIN daa.replica p ON p.log = '%s'",
                   r->log, r->parent);
    int failed = pg_query(r->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    failed = check_parent(r, rows, error);
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
    const struct fork *fork = r->fork;
    char sql[800], chain[2 * SHA256_SIZE + 1] = "";
    bool behind = fork->parent != NULL && !fork->alone;
    if (behind)
        bytes_to_hex(chain, fork->chain, SHA256_SIZE);
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO daa.replica (log, last_seq, last_chain, epoch, parent, parent_seq,"
                   " derived) VALUES ('%s', %" PRIu64 ", '\\x%s', 0,"
                   " nullif('%s', '" NOBODY "')::uuid, nullif(%" PRIu64 ", 0),"
                   " coalesce((SELECT derived FROM daa.replica WHERE log = '%s'), %d))",
                   r->log, behind ? fork->seq : 0, chain, r->parent, fork->seq, r->parent,
                   PROJECTIONS_VERSION);
    return pg_run(r->pg, sql, error);
}

/* Logs that were forked from this one may be known already: they count as registered behind it. */
static int renumber_children(struct registration *r, struct error *error)
{
    char sql[700];
    (void)snprintf(sql, sizeof sql,
                   "DO $$ DECLARE child uuid; BEGIN FOR child IN " BELOW_SQL
                   " SELECT r.log FROM daa.replica r JOIN below USING (log) ORDER BY r.number"
                   " LOOP UPDATE daa.replica SET number = DEFAULT WHERE log = child; END LOOP;"
                   " END $$",
                   r->log, UINT64_C(0));
    return pg_run(r->pg, sql, error);
}

/*--- Rows that show events from behind the fork ----------------------------------------------*/

/* What a row of table t shows is not of the fork's history. */
#define STRANGE_SQL(t)                                                                             \
    t ".last_seq > %" PRIu64 " OR NOT EXISTS (SELECT FROM history k WHERE k.log = coalesce(" t     \
      ".last_log, " t ".log)"                                                                      \
      " AND " t ".last_seq <= k.upto)"

/* last_seq 0 marks them within this transaction. What the first event gave never changes, so where
 * that is not there any more it may still be what the row is flagged for. Where other logs kept
 * the parent from changing its rows, any that has not ended may be behind. */
static int clear_rows(struct registration *r, struct error *error)
{
    char sql[2600];
    (void)snprintf(
        sql, sizeof sql,
        HISTORY_SQL
        ", " CHANGES_LATER_SQL " UPDATE daa.workflows w SET status = NULL, reason = NULL,"
        " reason_given = false, output = NULL, started_at = NULL, ended_at = NULL,"
        " last_seq = 0, last_log = NULL, lossy = w.lossy AND NOT EXISTS (SELECT FROM daa.events e"
        " WHERE e.log = w.log AND e.seq = w.stream)"
        " FROM history h WHERE h.log = w.log AND w.stream <= h.upto"
        " AND (%s AND w.ended_at IS NULL OR " STRANGE_SQL(
            "w") " OR EXISTS (SELECT FROM daa.steps s WHERE s.log = w.log"
                 " AND s.stream = w.stream AND (%s AND s.ended_at IS NULL OR " STRANGE_SQL(
                     "s") ")))"
                          " AND NOT EXISTS"
                          " (SELECT FROM later l WHERE l.log = w.log AND w.stream <= l.upto)",
        r->log, r->log, r->others ? "true" : "false", r->fork->seq, r->others ? "true" : "false",
        r->fork->seq);
    int failed = pg_run(r->pg, sql, error);
    if (failed == 0)
        failed = pg_run(r->pg,
                        "DELETE FROM daa.steps s USING daa.workflows w WHERE w.last_seq = 0"
                        " AND s.log = w.log AND s.stream = w.stream",
                        error);
    return failed;
}

/* Events of the rows that are cleared: what the history and the fork itself have of them. */
#define KEPT_SQL                                                                                   \
    " FROM daa.workflows w"                                                                        \
    " JOIN history o ON o.log = w.log AND w.stream <= o.upto"                                      \
    " JOIN (TABLE history UNION ALL SELECT '%s', %" PRId64 ") h ON true"                           \
    " JOIN " SCOPE_EVENTS_SQL " e ON e.log = h.log AND e.stream = w.stream AND e.seq <= h.upto"    \
    " WHERE w.last_seq = 0"

/* As many rows are fetched at once as fit in memory when each is as large as the largest. */
static int measure(struct registration *r, uint64_t *fetch_rows, struct error *error)
{
    char sql[2600];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   HISTORY_SQL " SELECT coalesce(max(octet_length(e.record)), 0)" KEPT_SQL, r->log,
                   r->log, INT64_MAX);
    int failed = pg_query(r->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    *fetch_rows = FETCH_BYTES / ((uint64_t)pg_rows_integer(rows, 0, 0) + 100) + 1;
    if (*fetch_rows > FETCH_ROWS_MAX)
        *fetch_rows = FETCH_ROWS_MAX;
    pg_rows_free(rows);
    return 0;
}

static int open_cursor(struct registration *r, struct error *error)
{
    char sql[2600];
    (void)snprintf(sql, sizeof sql,
                   "DECLARE kept NO SCROLL CURSOR FOR " HISTORY_SQL
                   " SELECT e.seq, e.stream, encode(e.record, 'hex')" KEPT_SQL
                   " ORDER BY w.stream, e.seq",
                   r->log, r->log, INT64_MAX);
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
    int failed = 0;
    if (r->refused)
        failed = changes_empty_tables(r->pg, error);
    if (failed == 0)
        failed = r->refused ? batch_send_changes(r->batch, r->pg, r->changes, true, error)
                            : derive_send(r->pg, r->batch, r->changes, false, error);
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
    uint64_t fetch_rows = 1;
    int failed = measure(r, &fetch_rows, error);
    if (failed == 0)
        failed = open_cursor(r, error);
    (void)snprintf(fetch, sizeof fetch, "FETCH %" PRIu64 " FROM kept", fetch_rows);
    batch_begin(r->batch, r->fork->log, r->fork->owners);
    for (int count = 1; failed == 0 && count > 0;) {
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
    if (failed == 0)
        failed = put_changes(r, error);
    return failed < 0 ? failed : pg_run(r->pg, "CLOSE kept", error);
}

/*--- The whole -------------------------------------------------------------------------------*/

static int make_rows(struct registration *r, struct error *error)
{
    int failed = clear_rows(r, error);
    return failed < 0 ? failed : fill_rows(r, error);
}

static int run(struct registration *r, struct error *error)
{
    int failed = pg_run(r->pg, "BEGIN; LOCK TABLE daa.replica IN EXCLUSIVE MODE", error);
    if (failed == 0)
        failed = erased_read(r->batch->erased, r->pg, error);
    if (failed == 0)
        failed = read_parent(r, error);
    if (failed == 0)
        failed = compare_record(r, error);
    if (failed == 0)
        failed = insert_row(r, error);
    if (failed == 0)
        failed = renumber_children(r, error);
    if (failed == 0 && (r->others || r->fork->alone || r->position > r->fork->seq))
        failed = make_rows(r, error);
    return failed != 0 ? failed : pg_run(r->pg, "COMMIT", error);
}

int fork_register(struct pg *pg, const struct fork *fork, struct batch *batch,
                  struct binary *changes, uint64_t *position, struct error *error)
{
    struct registration r = { .pg = pg, .fork = fork, .batch = batch, .changes = changes };
    static const uint8_t nobody[UUID_SIZE];
    uuid_to_text(r.parent, fork->parent != NULL ? fork->parent : nobody);
    uuid_to_text(r.log, fork->log);
    int failed = run(&r, error);
    /* A value that the server refuses, for example by a CHECK of somebody's own: without it. */
    if (failed == ERROR_INVALID && pg_alive(pg) && pg_run(pg, "ROLLBACK", error) == 0) {
        r.refused = true;
        failed = run(&r, error);
    }
    if (failed != 0 && pg_alive(pg))
        (void)pg_run(pg, "ROLLBACK", NULL);
    *position = r.position;
    return failed;
}

/*--- A parent that came later ----------------------------------------------------------------*/

static int complete_child(struct registration *r, const char *hex, struct error *error)
{
    struct lineage owners;
    uint8_t log[UUID_SIZE];
    const struct fork fork = { .log = log, .seq = r->fork->seq, .owners = &owners };
    struct registration child = *r;
    CHECK(bytes_from_hex(log, UUID_SIZE, hex, strlen(hex)));
    uuid_to_text(child.log, log);
    child.fork = &fork;
    child.others = true;
    int failed = family_owners(&owners, r->pg, log, error);
    return failed < 0 ? failed : make_rows(&child, error);
}

static int complete_children(struct registration *r, const struct pg_rows *logs,
                             struct error *error)
{
    int failed = 0;
    for (int i = 0; failed == 0 && i < pg_rows_count(logs); i++)
        failed = complete_child(r, pg_rows_text(logs, i, 0), error);
    return failed;
}

static int complete(struct registration *r, const struct pg_rows *logs, struct error *error)
{
    int failed = pg_run(r->pg, "SAVEPOINT complete", error);
    if (failed == 0)
        failed = complete_children(r, logs, error);
    if (failed == ERROR_INVALID && pg_alive(r->pg)) {
        r->refused = true;
        failed = pg_run(r->pg, "ROLLBACK TO complete", error);
        if (failed == 0)
            failed = complete_children(r, logs, error);
    }
    return failed;
}

int fork_complete(struct pg *pg, const uint8_t log[UUID_SIZE], uint64_t seq, struct budget *budget,
                  const struct batch *like, struct binary *changes, struct error *error)
{
    char sql[600];
    struct pg_rows *logs;
    struct batch batch;
    const struct fork fork = { .seq = seq };
    struct registration r = { .pg = pg, .fork = &fork, .batch = &batch, .changes = changes };
    uuid_to_text(r.parent, log);
    (void)snprintf(sql, sizeof sql, BELOW_SQL " SELECT encode(uuid_send(log), 'hex') FROM below",
                   r.parent, seq);
    int failed = pg_query(pg, sql, &logs, error);
    if (failed < 0)
        return failed;
    batch_init(&batch, budget);
    batch.keys = like->keys;
    batch.erased = like->erased;
    failed = complete(&r, logs, error);
    batch_free(&batch);
    pg_rows_free(logs);
    return failed;
}
