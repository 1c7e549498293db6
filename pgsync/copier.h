/* Copies one log into PostgreSQL, each event exactly once.
 *
 * The rows and the position (daa.replica) change in one transaction, so that they cannot
 * disagree, and nothing else remembers the position: after a kill, a lost connection or a COMMIT
 * whose answer never came, the copier reads it back and goes on from there.
 *
 *                    connected, schema good          history the same, claimed
 *    DISCONNECTED ---------------------> CONNECTED -----------------------> READY
 *      ^   ^                              |     ^                           |   ^
 *      |   '------------ lost ------------'     | refused for now           v   | committed; or
 *      |                                        '---- (lock, disk) ---- COPYING | refused: the next
 *      '----------------------------- lost -----------------------------'   '---' is smaller
 *
 *    any -- another history, another schema, taken over, damage in the log --> STOPPED
 *
 * Fencing: the first claim adds 1 to the epoch of the log's row, and every transaction locks the
 * row and compares. So of two copiers the older one stops. What is there already is held against
 * the log before the claim, so a copier that is refused stops nobody.
 *
 * Only the newest log of the directory is claimed. The part that it has of an older one may be
 * copied beside that one's own copier: whoever finds that the row has moved looks again and goes
 * on from there.
 *
 * Refused rows (pgsync/poison.h): a batch that the server refuses is sent again up to the row
 * that it names; that one goes in with a null payload and the server's sentence in `error`, or
 * not at all, and into daa.rejected with its exact bytes, in the same transaction.
 *
 * synchronous_commit is off for these transactions: if the server loses the last of them in a
 * crash, it loses the position with them, and they are sent again. So what is committed may still
 * be needed from the log; copier_flush() says what is not.
 *
 * Forks (DESIGN 4, Identity): each record goes in under the uuid of the log that it was written
 * in, and each log has a position of its own. Where PostgreSQL has the parent up to the fork, or
 * further, the copier registers the new log (pgsync/fork.h) and goes on with it; else it copies
 * the rest of the parent first, or does without it when the log does not have that any more.
 * What the parent had behind the fork stays there, and is told in the stats.
 *
 * Encrypted events (core/event/private.h) are opened with the caller's keys; one whose key cannot
 * be had goes in without its private fields, and is counted. Of erasures (pgsync/erasure.h): a
 * batch ends in front of the first, and the one that begins with it holds daa.replica in EXCLUSIVE
 * MODE, so that no copier of any log writes what was erased behind it.
 *
 * The log is never held up: this only reads, and only what is durable.
 *
 * Threads: a copier belongs to one thread, and so does its reader. Memory: batch.h's, and 128
 * KiB. */
#ifndef PGSYNC_COPIER_H
#define PGSYNC_COPIER_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "log/reader.h"
#include "pgsync/batch.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define COPIER_BATCH_ROWS_MAX UINT64_C(20000)

struct copier;

enum copier_state {
    COPIER_DISCONNECTED = 0, /* the next step connects */
    COPIER_CONNECTED,        /* the schema is there; the next step reads the position */
    COPIER_READY,            /* the reader stands behind the position; the next step copies */
    COPIER_COPYING,          /* within a transaction; only inside of a step */
    COPIER_STOPPED           /* for good; every step gives the same error */
};

struct copier_options {
    const char *url;
    const char *dir;               /* of the log, as for log_reader_open() */
    struct log_reader *reader;     /* the caller's, open until after copier_close() */
    const struct event_keys *keys; /* the caller's; NULL: none */
    struct budget *budget;
    const atomic_bool *stop; /* true: waits for the server end within 10 s */
    uint64_t batch_rows_max; /* 0: COPIER_BATCH_ROWS_MAX; less is chosen for short transactions */
    uint64_t partition_rows; /* of a new schema; 0: SCHEMA_PARTITION_ROWS */
    bool detach;             /* partitions of events older than that (pgsync/partitions.h) */
    uint64_t detach_age_s;
};

/* A fork that PostgreSQL came to know. */
struct copier_fork {
    uint8_t parent[UUID_SIZE], log[UUID_SIZE];
    uint64_t seq;     /* the last event that both have */
    uint64_t left;    /* events of the parent behind it, which only PostgreSQL may still have */
    uint64_t missing; /* events of the parent before it, which neither has */
};

struct copier_stats {
    enum copier_state state;
    uint8_t log[UUID_SIZE];  /* that is copied: the reader's, or one that it was forked from */
    uint64_t position;       /* the newest event that is in PostgreSQL for sure */
    uint64_t forks;          /* so far */
    uint64_t left;           /* over all of them */
    struct copier_fork fork; /* the newest */
    uint64_t rows, batches, lossy_rows, refused_rows, connections;
    uint64_t withheld_rows;         /* without their private fields, for want of keys */
    struct batch_withheld withheld; /* the first, also of rows that were made anew */
    uint64_t batch_rows;            /* the size of batch that is aimed at now */
    uint64_t commit_ns;             /* how long the last transaction took */
    uint64_t detached;              /* partitions, so far */
    uint64_t remade;                /* rows of derived tables that were made anew, so far */
    char index_trouble[400]; /* why an index could not be made, with this connection; or "" */
};

/* Connects to nothing yet. 0 or -ENOMEM. */
int copier_open(struct copier **copier, const struct copier_options *options, struct error *error);
void copier_close(struct copier **copier); /* a transaction under way is given up */

/* Takes one step: connects, reads the position, or copies one batch.
 *   1  something was done: step again
 *   0  everything durable is copied: wait for more (log_reader_wait())
 *   ERROR_UNAVAILABLE  the server cannot be had now: wait (pgsync/backoff.h), then step again
 *   any other  STOPPED, with a sentence that says what to do */
int copier_step(struct copier *copier, struct error *error);

/* Makes the server sync what was committed, so that it keeps *position (with the log's chain there)
 * also over a crash of its own: events up to it are not needed again. Only when READY, within no
 * step. 0; 1 when somebody else has moved the position: step first; or an error as of
 * copier_step(). */
int copier_flush(struct copier *copier, uint64_t *position, uint8_t chain[SHA256_SIZE],
                 struct error *error);

void copier_stats_get(const struct copier *copier, struct copier_stats *stats);

/* What PostgreSQL knows about the log: for --status. Changes nothing there. */
struct copier_status {
    bool known; /* there is a position for this log, or for one that it was forked from */
    uint8_t log[UUID_SIZE]; /* which; the position is at most where that was left */
    uint64_t last_seq;
    uint64_t epoch;
    uint64_t withheld; /* events there without their private fields, for want of keys */
    char updated_at[40];
};
int copier_status_get(const char *url, const char *dir, const atomic_bool *stop,
                      struct copier_status *status, struct error *error);

#endif
