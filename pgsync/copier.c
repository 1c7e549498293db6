#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/utf8.h"
#include "core/event/event.h"
#include "pgsync/copier_inside.h"
#include "pgsync/erasure.h"
#include "pgsync/fork.h"
#include "pgsync/partitions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCH_ROWS_FIRST 1000u
#define BATCH_ROWS_MIN 64u
#define COMMIT_GOAL_NS UINT64_C(50000000)
#define BULK_ROWS UINT64_C(20000) /* copied without a pause: nobody waits for the newest yet */
#define BULK_GOAL_NS UINT64_C(400000000)

/* The only place that changes `state`. */
static void set_state(struct copier *copier, enum copier_state next)
{
    static const unsigned char may_follow[] = {
        [COPIER_DISCONNECTED] = 1 << COPIER_CONNECTED | 1 << COPIER_STOPPED,
        [COPIER_CONNECTED] = 1 << COPIER_DISCONNECTED | 1 << COPIER_READY | 1 << COPIER_STOPPED,
        [COPIER_READY] = 1 << COPIER_DISCONNECTED | 1 << COPIER_CONNECTED | 1 << COPIER_COPYING |
                         1 << COPIER_STOPPED,
        [COPIER_COPYING] = 1 << COPIER_DISCONNECTED | 1 << COPIER_CONNECTED | 1 << COPIER_READY |
                           1 << COPIER_STOPPED,
        [COPIER_STOPPED] = 0,
    };
    CHECK(may_follow[copier->state] & 1 << next);
    copier->state = next;
}

int copier_open(struct copier **out, const struct copier_options *options, struct error *error)
{
    struct copier *copier = calloc(1, sizeof *copier);
    if (copier == NULL)
        return error_set(error, -ENOMEM, "no memory for a copier");
    copier->options = *options;
    if (copier->options.batch_rows_max == 0)
        copier->options.batch_rows_max = COPIER_BATCH_ROWS_MAX;
    copier->batch_rows = BATCH_ROWS_FIRST;
    batch_init(&copier->batch, options->budget);
    erased_init(&copier->erased, options->budget);
    copier->batch.keys = options->keys;
    copier->batch.erased = &copier->erased;
    binary_init(&copier->changes);
    *out = copier;
    return 0;
}

void copier_close(struct copier **copier)
{
    if (*copier == NULL)
        return;
    pg_close(&(*copier)->pg);
    batch_free(&(*copier)->batch);
    erased_free(&(*copier)->erased);
    binary_free(&(*copier)->changes);
    family_free(&(*copier)->family);
    free(*copier);
    *copier = NULL;
}

/*--- Failures --------------------------------------------------------------------------------*/

static int stop(struct copier *copier, int code, const struct error *error)
{
    copier->stopped = *error;
    copier->stopped.code = code;
    if (code == -EACCES)
        error_set(&copier->stopped, code,
                  "%s; connect as a member of daa_writer, or GRANT this role what is missing (of "
                  "the database TEMPORARY too)",
                  error->text);
    set_state(copier, COPIER_STOPPED);
    pg_close(&copier->pg);
    return code;
}

/* Where a failure leads: to another connection, to another look at the position, or to the end. */
static int fail(struct copier *copier, int code, const struct error *error)
{
    if (!pg_alive(copier->pg)) {
        pg_close(&copier->pg);
        if (copier->state != COPIER_DISCONNECTED)
            set_state(copier, COPIER_DISCONNECTED);
        return code == ERROR_SYNTAX ? stop(copier, code, error) : ERROR_UNAVAILABLE;
    }
    if (code != ERROR_UNAVAILABLE)
        return stop(copier, code, error);
    struct error ignored;
    if (pg_run(copier->pg, "ROLLBACK", &ignored) < 0)
        return fail(copier, ERROR_UNAVAILABLE, error);
    copier->schema.partitions_end = 0; /* another copier may have detached one */
    if (copier->state != COPIER_CONNECTED)
        set_state(copier, COPIER_CONNECTED);
    return ERROR_UNAVAILABLE;
}

/* What cannot be detached now can be the next time: that is no reason to copy nothing. */
static void detach_old(struct copier *copier)
{
    struct error ignored;
    if (!copier->options.detach)
        return;
    int count = partitions_detach(copier->pg, copier->options.detach_age_s, &ignored);
    copier->stats.detached += count > 0 ? (uint64_t)count : 0;
}

/* Nor is an index: another may have it in use, or too little room on the disk. */
static void make_indexes(struct copier *copier)
{
    struct error why;
    copier->stats.index_trouble[0] = '\0';
    if (schema_make_indexes(copier->pg, &why) < 0 && pg_alive(copier->pg))
        (void)snprintf(copier->stats.index_trouble, sizeof copier->stats.index_trouble, "%.399s",
                       why.text);
}

/*--- DISCONNECTED -> CONNECTED ---------------------------------------------------------------*/

static int connect_to_server(struct copier *copier, struct error *error)
{
    int failed = pg_open(&copier->pg, copier->options.url, copier->options.stop, error);
    if (failed == 0)
        failed = schema_open(&copier->schema, copier->pg, copier->options.partition_rows, error);
    if (failed == 0)
        failed = changes_make_tables(copier->pg, error);
    if (failed < 0 && pg_alive(copier->pg) && failed == ERROR_UNAVAILABLE)
        pg_close(&copier->pg);
    if (failed < 0)
        return fail(copier, failed, error);
    make_indexes(copier);
    detach_old(copier);
    copier->erased.number = 0; /* a standby that took over may count them anew */
    copier->stats.connections++;
    set_state(copier, COPIER_CONNECTED);
    return 1;
}

/*--- CONNECTED -> READY ----------------------------------------------------------------------*/

static int make_ready(struct copier *copier, struct error *error)
{
    bool ready;
    int found = copier_find_position(copier, &ready, error);
    if (found < 0)
        return fail(copier, found, error);
    if (ready)
        set_state(copier, COPIER_READY);
    return found;
}

/*--- READY -> COPYING -> READY ---------------------------------------------------------------*/

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Locks the row and sees that it is as we left it. 1: it has moved; look_again(). */
static int begin_transaction(struct copier *copier, bool synchronous, struct error *error)
{
    char sql[500];
    struct pg_rows *rows;
    /* Rows that other logs show may be made anew at the next fork, and are where a workflow was
     * erased: those must not be at it. */
    (void)snprintf(
        sql, sizeof sql,
        "BEGIN; SET LOCAL synchronous_commit = %s;%s" COPIER_POSITION_SQL " FOR UPDATE OF r",
        synchronous ? "on" : "off",
        copier->fork_seq > 0 || copier->erases ? "LOCK TABLE daa.replica IN EXCLUSIVE MODE;" : "",
        copier->log_text);
    uint64_t position = copier->position, fork_seq = copier->fork_seq;
    int failed = pg_query(copier->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    if (pg_rows_count(rows) == 1)
        failed = copier_take_position(copier, rows, error);
    if (failed == 0 &&
        (pg_rows_count(rows) != 1 || copier->position != position || copier->fork_seq != fork_seq))
        failed = 1;
    pg_rows_free(rows);
    if (failed == 0 && copier->erased_number > copier->erased.number)
        failed = erased_read(&copier->erased, copier->pg, error);
    return failed;
}

/* The copier of another log of the family was here: on from where it came to. */
static int look_again(struct copier *copier, struct error *error)
{
    int failed = pg_run(copier->pg, "ROLLBACK", error);
    if (failed < 0)
        return fail(copier, failed, error);
    set_state(copier, COPIER_CONNECTED);
    return 1;
}

/* What the batch changes in the derived tables, and its rows of daa.anchors. */
static int send_changes(struct copier *copier, struct error *error)
{
    bool reduced =
        poison_step_of(&copier->poison, copier->position, POISON_TABLES) == POISON_REDUCED;
    int failed = batch_send_changes(&copier->batch, copier->pg, &copier->changes, reduced, error);
    if (failed == 0 && copier->batch.has_anchor)
        failed = schema_add_anchors(copier->pg, copier->log_text,
                                    copier->batch.last_seq - copier->batch.rows,
                                    copier->batch.last_seq, error);
    if (failed == 0)
        failed = erasure_apply(copier->pg, &copier->batch,
                               copier->batch.last_seq - copier->batch.rows + 1,
                               copier->batch.last_seq, copier->options.budget, error);
    if (failed == 0 && copier->batch.last_seq == copier->fork_seq)
        failed = fork_complete(copier->pg, copier->log, copier->fork_seq, copier->options.budget,
                               &copier->batch, &copier->changes, error);
    return failed;
}

static int commit(struct copier *copier, struct error *error)
{
    char sql[400], chain[2 * SHA256_SIZE + 1];
    bytes_to_hex(chain, copier->chain, SHA256_SIZE);
    (void)snprintf(sql, sizeof sql,
                   "UPDATE daa.replica SET last_seq = %" PRIu64 ", last_chain = '\\x%s',"
                   " updated_at = now() WHERE log = '%s'; COMMIT",
                   copier->batch.last_seq, chain, copier->log_text);
    return pg_run(copier->pg, sql, error);
}

/* Longer batches while transactions are short, shorter ones when they are long. */
static void adapt(struct copier *copier, uint64_t took_ns)
{
    bool full = copier->batch.rows >= copier->batch_rows;
    uint64_t goal_ns = copier->rows_in_a_row >= BULK_ROWS ? BULK_GOAL_NS : COMMIT_GOAL_NS;
    if (full && took_ns < goal_ns / 2)
        copier->batch_rows *= 2;
    else if (took_ns > goal_ns * 2 && copier->batch_rows / 2 >= BATCH_ROWS_MIN)
        copier->batch_rows /= 2;
    if (copier->batch_rows > COPIER_BATCH_ROWS_MAX)
        copier->batch_rows = COPIER_BATCH_ROWS_MAX;
}

/* What the server gave up (it took too long, or too much of something) may go in by fewer rows,
 * down to one. */
static void shorten(struct copier *copier)
{
    uint64_t rows = copier->batch.rows;
    if (rows > 0 && rows < copier->batch_rows)
        copier->batch_rows = rows;
    copier->batch_rows = copier->batch_rows > 4 ? copier->batch_rows / 4 : 1;
}

static int batch_done(struct copier *copier, uint64_t took_ns)
{
    const struct batch *batch = &copier->batch;
    copier->stats.refused_rows += poison_is_next(&copier->poison, copier->position);
    copier->position = batch->last_seq;
    copier->stats.position = copier->position;
    copier->stats.rows += batch->rows;
    copier->rows_in_a_row += batch->rows;
    copier->stats.batches++;
    copier->stats.lossy_rows += batch->lossy_rows;
    copier->stats.withheld_rows += batch->withheld_rows;
    copier->stats.commit_ns = took_ns;
    poison_passed(&copier->poison, copier->position, batch->rows);
    adapt(copier, took_ns);
    set_state(copier, COPIER_READY);
    return 1;
}

/* What can be kept in a column of text: the server's sentence may have been cut within a character.
 */
static void keep_refusal(struct copier *copier, const struct error *refusal)
{
    const char *from = refusal->text;
    char *to = copier->refusal.text;
    copier->refusal.code = refusal->code;
    for (size_t left = strlen(from), size; left > 0; from += size, left -= size) {
        size = utf8_character((const uint8_t *)from, left);
        memcpy(to, from, size);
        to += size;
        size = size > 0 ? size : 1;
    }
    *to = '\0';
}

/* The server refuses a value: back to the beginning of the batch. */
static int batch_refused(struct copier *copier, enum poison_where where,
                         const struct error *refusal, struct error *error)
{
    uint64_t line = where == POISON_EVENTS ? pg_copy_line(copier->pg, "events") : 0;
    uint64_t rows = copier->batch.rows > 0 ? copier->batch.rows : 1;
    if (!poison_met(&copier->poison, copier->position, rows, where, line)) {
        error_set(error, ERROR_INVALID,
                  "Postgres refuses event %" PRIu64 " though nothing of it is to go in there: %s",
                  copier->position + 1, refusal->text);
        return fail(copier, ERROR_INVALID, error);
    }
    keep_refusal(copier, refusal);
    (void)snprintf(copier->refusal_state, sizeof copier->refusal_state, "%s",
                   pg_sqlstate(copier->pg));
    int failed = pg_run(copier->pg, "ROLLBACK", error);
    if (failed == 0)
        failed = log_reader_seek(copier->options.reader, copier->position + 1, error);
    if (failed < 0)
        return fail(copier, failed, error);
    set_state(copier, COPIER_READY);
    return 1;
}

static int set_gap(const struct copier *copier, uint64_t seq, struct error *error)
{
    return error_set(error, ERROR_NOT_FOUND,
                     "behind event %" PRIu64 ", the newest in Postgres, the log goes on at %" PRIu64
                     ": what is between them is not there any more",
                     copier->position, seq);
}

/* An event of another log than the one that is copied: behind a fork it is the next one's, and what
 * we know of the family is read again. */
static int meet_stranger(struct copier *copier, uint64_t seq, const struct log_place *place,
                         struct error *error)
{
    char text[UUID_TEXT_SIZE];
    uuid_to_text(text, place->log_uuid);
    if (copier->stranger_seq == seq) {
        error_set(error, ERROR_DAMAGED,
                  "event %" PRIu64 " stands under the name of log %s, segment %" PRIu64
                  ", where log %s should go on; see daa-log verify",
                  seq, text, place->segment_no, copier->log_text);
        return fail(copier, ERROR_DAMAGED, error);
    }
    copier->stranger_seq = seq;
    set_state(copier, COPIER_CONNECTED);
    return 1;
}

/* Partitions for `seq` and behind it; when one was made, another may be old. */
static int extend(struct copier *copier, uint64_t seq, struct error *error)
{
    uint64_t end = copier->schema.partitions_end;
    int failed = schema_extend(&copier->schema, copier->pg, seq, error);
    if (failed == 0 && end > 0 && end != copier->schema.partitions_end)
        detach_old(copier);
    return failed;
}

/* A deferred rule speaks at the COMMIT and may be one of any table: those that the record changes,
 * then events. */
static enum poison_where deferred_where(const struct copier *copier)
{
    return poison_step_of(&copier->poison, copier->position, POISON_TABLES) == POISON_LEFT_OUT
               ? POISON_EVENTS
               : POISON_TABLES;
}

static int copy_batch(struct copier *copier, struct error *error)
{
    struct record record;
    struct log_place place;
    int found = log_reader_next(copier->options.reader, &record, &place, error);
    if (found == 0) {
        copier_caught_up(copier);
        return 0;
    }
    if (found < 0)
        return fail(copier, found == ERROR_UNAVAILABLE ? -EIO : found, error);
    if (copier->position > 0 && record.seq != copier->position + 1)
        return fail(copier, set_gap(copier, record.seq, error), error);
    if (memcmp(place.log_uuid, copier->log, UUID_SIZE) != 0)
        return meet_stranger(copier, record.seq, &place, error);
    copier->stranger_seq = 0;
    set_state(copier, COPIER_COPYING);
    uint64_t begun_ns = now_ns();
    copier->batch.rows = 0;
    copier->erases = record.kind == DAA__EVENT__BODY_WORKFLOWS_ERASED;
    enum poison_where where = POISON_EVENTS;
    int failed = extend(copier, record.seq, error);
    if (failed == 0)
        failed = begin_transaction(copier, false, error);
    if (failed == 1)
        return look_again(copier, error);
    if (failed < 0)
        return fail(copier, failed, error);
    failed = copier_send_events(copier, &record, &place, error);
    if (failed == 0) {
        where = POISON_TABLES;
        failed = send_changes(copier, error);
    }
    if (failed == 0) {
        where = deferred_where(copier);
        failed = commit(copier, error);
    }
    if (failed == 0)
        return batch_done(copier, now_ns() - begun_ns);
    if (failed == ERROR_INVALID && pg_alive(copier->pg)) {
        struct error refusal = *error;
        return batch_refused(copier, where, &refusal, error);
    }
    if (failed == ERROR_UNAVAILABLE && pg_alive(copier->pg))
        shorten(copier);
    return fail(copier, failed, error);
}

static int step(struct copier *copier, struct error *error)
{
    switch (copier->state) {
    case COPIER_DISCONNECTED:
        return connect_to_server(copier, error);
    case COPIER_CONNECTED:
        return make_ready(copier, error);
    case COPIER_READY:
        return copy_batch(copier, error);
    case COPIER_COPYING:
    case COPIER_STOPPED:
        break;
    }
    CHECK(copier->state == COPIER_STOPPED);
    return copier->stopped.code;
}

int copier_step(struct copier *copier, struct error *error)
{
    int done = step(copier, error);
    if (copier->state == COPIER_STOPPED)
        *error = copier->stopped;
    return done;
}

int copier_flush(struct copier *copier, uint64_t *position, uint8_t chain[SHA256_SIZE],
                 struct error *error)
{
    CHECK(copier->state == COPIER_READY);
    /* The commit of a transaction that locked a row flushes all that was committed before it. */
    int failed = begin_transaction(copier, true, error);
    if (failed == 1)
        return look_again(copier, error);
    if (failed == 0)
        failed = pg_run(copier->pg, "COMMIT", error);
    if (failed < 0)
        return fail(copier, failed, error);
    *position = copier->position;
    memcpy(chain, copier->chain, SHA256_SIZE);
    return 0;
}

void copier_stats_get(const struct copier *copier, struct copier_stats *stats)
{
    *stats = copier->stats;
    stats->state = copier->state;
    stats->withheld = copier->batch.withheld;
    stats->batch_rows = copier->batch_rows;
}

/*--- Status ----------------------------------------------------------------------------------*/

/* Of all logs of the family: each has the part of a workflow's events that was written in it. */
static int count_withheld(struct pg *pg, const struct family *family, struct copier_status *status,
                          struct error *error)
{
    char sql[300], text[UUID_TEXT_SIZE];
    struct pg_rows *rows;
    int failed = 0;
    for (size_t i = 0; failed == 0 && i < family->count; i++) {
        uuid_to_text(text, family->logs[i].log);
        (void)snprintf(
            sql, sizeof sql,
            "SELECT count(*) FROM daa.events e WHERE e.log = '%s' AND " BATCH_WITHHELD_SQL
            " AND e.error IS NOT NULL",
            text);
        failed = pg_query(pg, sql, &rows, error);
        if (failed < 0)
            break;
        status->withheld += (uint64_t)pg_rows_integer(rows, 0, 0);
        pg_rows_free(rows);
    }
    return failed;
}

/* 1 PostgreSQL knows this log, 0 it does not. */
static int read_status(struct pg *pg, const struct family_log *log, struct copier_status *status,
                       struct error *error)
{
    char sql[200], text[UUID_TEXT_SIZE];
    struct pg_rows *rows;
    uuid_to_text(text, log->log);
    (void)snprintf(sql, sizeof sql,
                   "SELECT last_seq, epoch, updated_at FROM daa.replica WHERE log = '%s'", text);
    int failed = pg_query(pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    status->known = pg_rows_count(rows) == 1;
    if (status->known) {
        memcpy(status->log, log->log, UUID_SIZE);
        status->last_seq = (uint64_t)pg_rows_integer(rows, 0, 0);
        if (status->last_seq > log->end_seq)
            status->last_seq = log->end_seq;
        status->epoch = (uint64_t)pg_rows_integer(rows, 0, 1);
        (void)snprintf(status->updated_at, sizeof status->updated_at, "%s",
                       pg_rows_text(rows, 0, 2));
    }
    pg_rows_free(rows);
    return status->known;
}

int copier_status_get(const char *url, const char *dir, const atomic_bool *stopping,
                      struct copier_status *status, struct error *error)
{
    struct family family = { .count = 0 };
    struct pg *pg = NULL;
    *status = (struct copier_status){ .known = false };
    int found = family_read(&family, dir, error);
    if (found == 0)
        found = pg_open(&pg, url, stopping, error);
    if (found == 0 && (found = schema_check(pg, error)) == 1)
        for (size_t i = family.count; found >= 0 && !status->known && i-- > 0;)
            found = read_status(pg, &family.logs[i], status, error);
    if (found >= 0 && status->known)
        found = count_withheld(pg, &family, status, error);
    pg_close(&pg);
    family_free(&family);
    return found < 0 ? found : 0;
}
