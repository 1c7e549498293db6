/* Where to go on: which log of the family, from which event, and whether it is the same history. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "pgsync/copier_inside.h"
#include "pgsync/fork.h"
#include "pgsync/rederive.h"
#include "pgsync/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BEHIND_WAIT_NS UINT64_C(5000000000) /* for the log to show what was copied already */

int copier_take_position(struct copier *copier, const struct pg_rows *rows, struct error *error)
{
    const char *chain = pg_rows_text(rows, 0, 1);
    uint64_t epoch = (uint64_t)pg_rows_integer(rows, 0, 2);
    if (copier->claimed && epoch != copier->epoch)
        return error_set(error, ERROR_LOCKED,
                         "another daa-pgsync has taken over log %s (epoch %" PRIu64
                         ", this one's is %" PRIu64 "); only one can copy it at a time, and an "
                         "agent with [database] sync is one",
                         copier->log_text, epoch, copier->epoch);
    copier->position = (uint64_t)pg_rows_integer(rows, 0, 0);
    copier->fork_seq = (uint64_t)pg_rows_integer(rows, 0, 3);
    copier->erased_number = (uint64_t)pg_rows_integer(rows, 0, 4);
    memset(copier->chain, 0, sizeof copier->chain);
    if (copier->position > 0 &&
        (chain == NULL || !bytes_from_hex(copier->chain, SHA256_SIZE, chain, strlen(chain))))
        return error_set(error, ERROR_MISMATCH,
                         "daa.replica holds no chain for log %s at event %" PRIu64
                         "; delete its rows of daa.replica, daa.events and daa.workflows to copy "
                         "it anew",
                         copier->log_text, copier->position);
    return 0;
}

/*--- Which log -------------------------------------------------------------------------------*/

/* 1 PostgreSQL knows the log: *row, to be freed, is as copier_take_position() takes it; 0 it does
 * not. */
static int ask_position(struct copier *copier, const uint8_t log[UUID_SIZE], struct pg_rows **row,
                        struct error *error)
{
    char sql[400], text[UUID_TEXT_SIZE];
    struct pg_rows *rows;
    uuid_to_text(text, log);
    (void)snprintf(sql, sizeof sql, COPIER_POSITION_SQL, text);
    int failed = pg_query(copier->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    int found = pg_rows_count(rows);
    if (found == 1)
        *row = rows;
    else
        pg_rows_free(rows);
    return found;
}

/* SHA-256 of a record's bytes. 1, 0 it is not there any more, or negative. */
static int digest_record(struct copier *copier, uint64_t seq, uint8_t digest[SHA256_SIZE],
                         struct error *error)
{
    struct record record;
    struct log_place place;
    int found = log_reader_get(copier->options.reader, seq, &record, &place, error);
    if (found != 1)
        return found == ERROR_UNAVAILABLE ? -EIO : found;
    size_t size = record_size(record.payload.size);
    uint8_t *bytes = malloc(size);
    if (bytes == NULL)
        return error_set(error, -ENOMEM, "no memory for event %" PRIu64, seq);
    record_encode(bytes, &record);
    sha256_of(digest, bytes, size);
    free(bytes);
    return 1;
}

static void tell_fork(struct copier *copier, const struct fork *fork, uint64_t position)
{
    struct copier_fork *told = &copier->stats.fork;
    *told = (struct copier_fork){ .seq = fork->seq };
    memcpy(told->parent, fork->parent, UUID_SIZE);
    memcpy(told->log, fork->log, UUID_SIZE);
    if (position > fork->seq)
        told->left = position - fork->seq;
    else
        told->missing = fork->seq - position;
    copier->stats.forks++;
    copier->stats.left += told->left;
}

/* Of a log that was made of what PostgreSQL holds (log/import.h) frames and chain are new, and each
 * record is the same: then it is the same history. Whether that is so for `log` of the family, up
 * to its position. 1, 0, or negative. */
static int has_same_records(struct copier *copier, const uint8_t log[UUID_SIZE],
                            struct error *error)
{
    struct verify_result found;
    const struct verify_options options = {
        .url = copier->options.url,
        .dir = copier->options.dir,
        .reader = copier->options.reader,
        .budget = copier->options.budget,
        .stop = copier->options.stop, /* bytes alone: without keys */
    };
    int failed = verify_run(&options, &found, error);
    uint64_t differ = found.kinds[VERIFY_MISSING] + found.kinds[VERIFY_RECORD];
    bool whole = failed == 0 && differ == 0 && found.log_count > 0 && found.logs[0].first_seq == 1;
    bool compared = false;
    for (size_t i = 0; whole && i < found.log_count; i++) {
        const struct verify_log *each = &found.logs[i];
        if (memcmp(each->log, log, UUID_SIZE) == 0)
            compared = each->chain == VERIFY_CHAIN_OTHER && each->gone == 0;
    }
    verify_free(&found);
    return failed < 0 ? failed : compared;
}

/* The chain that PostgreSQL has of the parent at the fork, where that is another one than the
 * log's over the same records; else the log's. */
static int choose_chain(struct copier *copier, const struct family_log *parent,
                        uint8_t chain[SHA256_SIZE], struct error *error)
{
    uint8_t there[SHA256_SIZE];
    struct pg_rows *row = NULL;
    memcpy(chain, parent->end_chain, SHA256_SIZE);
    int found = ask_position(copier, parent->log, &row, error);
    if (found <= 0)
        return found;
    const char *hex = pg_rows_text(row, 0, 1);
    bool other = (uint64_t)pg_rows_integer(row, 0, 0) == parent->end_seq && hex != NULL &&
                 bytes_from_hex(there, SHA256_SIZE, hex, strlen(hex)) &&
                 memcmp(there, chain, SHA256_SIZE) != 0;
    pg_rows_free(row);
    found = other ? has_same_records(copier, parent->log, error) : 0;
    if (found == 1)
        memcpy(chain, there, SHA256_SIZE);
    return found < 0 ? found : 0;
}

/* Makes a log of the family known to PostgreSQL, which has the one before it up to the fork, or
 * has to do without that. 1: look again. */
static int register_log(struct copier *copier, size_t i, bool alone, struct error *error)
{
    const struct family_log *log = &copier->family.logs[i], *parent = i > 0 ? log - 1 : NULL;
    struct fork fork = { .log = log->log, .alone = alone, .owners = &copier->family.owners };
    uint8_t digest[SHA256_SIZE], chain[SHA256_SIZE];
    uint64_t position;
    if (parent != NULL) {
        fork.parent = parent->log;
        fork.seq = parent->end_seq;
        fork.chain = parent->end_chain;
        fork.parent_chain = chain;
        int failed = choose_chain(copier, parent, chain, error);
        if (failed < 0)
            return failed;
        int found = alone ? 0 : digest_record(copier, fork.seq, digest, error);
        if (found < 0)
            return found;
        fork.record_digest = found == 1 ? digest : NULL;
    }
    int failed =
        fork_register(copier->pg, &fork, &copier->batch, &copier->changes, &position, error);
    if (failed == 0)
        copier->claimed = false; /* also when it was ours, and somebody deleted the row */
    if (failed == 0 && parent != NULL)
        tell_fork(copier, &fork, position);
    return failed < 0 ? failed : 1;
}

/* The log to go on with: the newest that PostgreSQL knows. 0; 1 when there is none, or that one was
 * left, or cannot be gone on with since its events are gone: PostgreSQL knows the next one now. */
static int choose_log(struct copier *copier, size_t *chosen, struct pg_rows **row,
                      struct error *error)
{
    const struct family_log *logs = copier->family.logs;
    size_t i = copier->family.count;
    int known = 0;
    *row = NULL;
    *chosen = 0;
    while (known == 0 && i-- > 0)
        known = ask_position(copier, logs[i].log, row, error);
    if (known < 0)
        return known;
    if (known == 0)
        return register_log(copier, logs[0].gone ? 1 : 0, logs[0].gone, error);
    *chosen = i;
    bool left = (uint64_t)pg_rows_integer(*row, 0, 0) >= logs[i].end_seq;
    return left || logs[i].gone ? register_log(copier, i + 1, !left, error) : 0;
}

/* Of the logs in this directory, only the newest is for us alone. */
static bool is_ours(const struct copier *copier, size_t chosen)
{
    return chosen + 1 == copier->family.count;
}

/* From now on this log is copied, from where its row says. */
static int take_log(struct copier *copier, size_t chosen, const struct pg_rows *row,
                    struct error *error)
{
    const uint8_t *log = copier->family.logs[chosen].log;
    if (memcmp(copier->log, log, UUID_SIZE) != 0 || !is_ours(copier, chosen))
        copier->claimed = false;
    memcpy(copier->log, log, UUID_SIZE);
    uuid_to_text(copier->log_text, log);
    /* What was refused stood behind the position as it was; it may be in by now. */
    copier->poison = (struct poison){ .seq = 0 };
    return copier_take_position(copier, row, error);
}

/*--- The same history ------------------------------------------------------------------------*/

static int set_other_history(struct copier *copier, const uint8_t here[SHA256_SIZE],
                             struct error *error)
{
    char chains[2][2 * SHA256_SIZE + 1];
    if (has_same_records(copier, copier->log, NULL) == 1)
        return error_set(error, ERROR_MISMATCH,
                         "this is log %s as it was restored from Postgres, with the same records "
                         "and another chain; start the agent first: it goes on as a log of its own",
                         copier->log_text);
    bytes_to_hex(chains[0], copier->chain, SHA256_SIZE);
    bytes_to_hex(chains[1], here, SHA256_SIZE);
    return error_set(error, ERROR_MISMATCH,
                     "this Postgres holds another history of log %s from seq %" PRIu64
                     " or before: the chain there is %s, and %s in the log; a log that went on in "
                     "two places under one name cannot be in one database: use another for this "
                     "one",
                     copier->log_text, copier->position, chains[0], chains[1]);
}

/* log_reader_wait() waits once the reader has said that there is nothing from `seq` on. */
static void look_for(struct log_reader *reader, uint64_t seq)
{
    struct record record;
    (void)log_reader_seek(reader, seq, NULL);
    (void)log_reader_next(reader, &record, NULL, NULL);
}

/* The record at the position as the log has it. A log whose writer is starting may not show its end
 * yet, so that is waited for. */
static int find_record(struct copier *copier, struct log_place *place, struct error *error)
{
    struct log_reader *reader = copier->options.reader;
    struct record record;
    for (uint64_t waited_ns = 0; waited_ns < BEHIND_WAIT_NS; waited_ns += BEHIND_WAIT_NS / 100) {
        int found = log_reader_get(reader, copier->position, &record, place, error);
        if (found != 0 || copier->position < log_reader_first_seq(reader))
            return found;
        if (atomic_load(copier->options.stop))
            return error_set(error, ERROR_UNAVAILABLE, "stopped");
        look_for(reader, copier->position);
        (void)log_reader_wait(reader, BEHIND_WAIT_NS / 100);
    }
    return error_set(error, ERROR_MISMATCH,
                     "this Postgres holds log %s up to seq %" PRIu64
                     ", but here it ends at %" PRIu64
                     ": this is an older copy of the log, or one that lost its end; of a backup "
                     "that was restored, start the agent first: it goes on as a log of its own",
                     copier->log_text, copier->position, log_reader_durable_seq(reader));
}

/* Holds what was copied against the log, and puts the reader behind it. */
static int check_history(struct copier *copier, struct error *error)
{
    struct log_reader *reader = copier->options.reader;
    struct log_place place;
    if (copier->position == 0) {
        int failed = log_reader_seek(reader, 1, error);
        return failed == ERROR_NOT_FOUND ? 0 : failed; /* what is gone already is not missed */
    }
    int found = find_record(copier, &place, error);
    if (found < 0)
        return found;
    if (found == 1 && memcmp(place.frame_chain, copier->chain, SHA256_SIZE) != 0)
        return set_other_history(copier, place.frame_chain, error);
    int failed = log_reader_seek(reader, copier->position + 1, error);
    /* Behind a gap, if there is one: copying finds it (set_gap). */
    return failed == ERROR_NOT_FOUND ? 0 : failed;
}

/*--- Claiming --------------------------------------------------------------------------------*/

/* Makes any other copier of this log stop. Only of a position that was found to be ours: a run that
 * is refused must not end the one that works. 0; 1 when the row is another one by now. */
static int claim(struct copier *copier, struct error *error)
{
    char sql[300];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "UPDATE daa.replica SET epoch = epoch + 1"
                   " WHERE log = '%s' AND last_seq = %" PRIu64 " RETURNING epoch",
                   copier->log_text, copier->position);
    int failed = pg_query(copier->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    copier->claimed = pg_rows_count(rows) == 1;
    if (copier->claimed)
        copier->epoch = (uint64_t)pg_rows_integer(rows, 0, 0);
    pg_rows_free(rows);
    return copier->claimed ? 0 : 1;
}

/* Rows of derived tables that an older version made, or that --rebuild wants anew. */
static int make_derived(struct copier *copier, struct error *error)
{
    const struct family *family = &copier->family;
    int failed = 0;
    for (size_t i = 0; failed == 0 && i < family->count; i++)
        failed = rederive_log(copier->pg, family->logs[i].log, &copier->batch, &copier->changes,
                              copier->options.stop, &copier->stats.remade, error);
    return failed;
}

int copier_find_position(struct copier *copier, bool *ready, struct error *error)
{
    struct pg_rows *row;
    size_t chosen;
    *ready = false;
    int failed = family_read(&copier->family, copier->options.dir, error);
    if (failed == 0 && copier->family.count == 0) {
        look_for(copier->options.reader, 0);
        return 0; /* nothing was ever written there */
    }
    if (failed == 0)
        failed = family_ask(&copier->family, copier->pg, error);
    if (failed == 0)
        failed = erased_read(&copier->erased, copier->pg, error);
    if (failed < 0)
        return failed;
    failed = choose_log(copier, &chosen, &row, error);
    if (failed == 0)
        failed = take_log(copier, chosen, row, error);
    pg_rows_free(row);
    if (failed == 0)
        failed = check_history(copier, error);
    if (failed == 0 && !copier->claimed && is_ours(copier, chosen))
        failed = claim(copier, error);
    if (failed == 0)
        failed = make_derived(copier, error);
    if (failed != 0)
        return failed;
    *ready = true;
    copier->stats.position = copier->position;
    memcpy(copier->stats.log, copier->log, UUID_SIZE);
    return 1;
}
