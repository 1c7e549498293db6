/* Documents on their way to LMDB, and back: the hand-over table, the state thread, and reads.
 *
 * The agent thread hands over the documents that a frame changed once the frame is durable; from
 * then on every reader sees them (hand-over table first, then LMDB). The state thread writes them
 * in one transaction with applied_seq every commit interval or commit size. A crash loses at most
 * what the log gives back.
 *
 * Threads: hand-over by the agent thread; reads by any. */
#ifndef TOOLS_AGENT_STATE_H
#define TOOLS_AGENT_STATE_H

#include "core/agent/document.h"
#include "core/base/budget.h"
#include "core/base/error.h"
#include "core/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct state;

/* A place in the history of a log: the seq that a frame ends with and the chain behind that frame.
 * Whoever finds another chain there has another history before it. seq 0: none. A chain of zeros
 * (a log without one) proves nothing. */
struct state_mark {
    uint64_t seq;
    uint8_t chain[SHA256_SIZE];
};

struct state_options {
    const char *dir; /* "<data_dir>/db" */
    struct budget *budget;
    uint64_t commit_interval_ns; /* 50 ms */
    uint64_t commit_bytes;       /* 8 MiB */
    uint64_t map_bytes;          /* of address space to begin with; 0: as mmapstore/kv.h says */
    uint8_t log_uuid[16];        /* written with every commit */
};

/* What was there. */
struct state_found {
    uint64_t applied_seq; /* everything up to there is in the documents; 0 for new ones */
    /* For the caller to compare with the log (tools/agent/rebuild.h), since a log may be another
     * one, or go on from another one. mark.seq 0: none. */
    uint8_t log_uuid[16];
    struct state_mark mark;
    bool rebuilt;  /* there were others, and they were deleted or, being damaged, set aside */
    bool aside;    /* set aside */
    char why[256]; /* they were; a clause. "" when not */
};

/* Documents of another DOCUMENT_VERSION, or without one, are deleted, never guessed: the log has
 * them all. A database that is damaged, or of another LMDB, is set aside (state_set_aside). Those
 * of another history are the caller's to find (state_found) and to delete with state_clear(),
 * before anything is handed over. */
int state_open(struct state **state, const struct state_options *options, struct state_found *found,
               struct error *error);
/* Deletes all documents, because they turned out to be of another history: as if new. Only before
 * the first hand-over. */
int state_clear(struct state *state, struct error *error);
/* Moves the database to "<dir>.aside", in place of what was there; nobody has it open. Errors say
 * what a person can do. */
#define STATE_ASIDE ".aside"
int state_set_aside(const char *dir, struct error *error);

/* Commits what is handed over, then closes. Negative: the commit failed (the log still has it all).
 */
int state_close(struct state *state, struct error *error);

/* The position LMDB holds without opening it for writing: a witness for log_recover(). 0 when there
 * is none. */
uint64_t state_peek_applied_seq(const char *dir, uint8_t log_uuid[16]);

/* A document in the same way, as state_get() gives it. */
int state_peek_document(const char *dir, struct span key, uint8_t **bytes, size_t *size);

/* A batch under construction: documents changed by events up to a seq that is not durable yet. */
struct state_batch;
struct state_batch *state_batch_new(struct state *state);
void state_batch_add(struct span key, struct span bytes,
                     void *batch); /* an agent_change_function */
bool state_batch_empty(const struct state_batch *batch);
/* Takes the batch: its documents reflect all events up to `applied_seq`, which is durable. Never
 * blocks for I/O. */
void state_hand_over(struct state *state, struct state_batch *batch, uint64_t applied_seq);
void state_batch_free(struct state_batch *batch); /* one that never became durable */

/* The newest frame known durable, for state_found.mark of a later start: committed with the
 * documents from now on. Ignored when it is newer than what was handed over. Cheap; the agent
 * thread. */
void state_mark(struct state *state, uint64_t seq, const uint8_t chain[SHA256_SIZE]);

/* While a log is replayed nobody waits for a commit: then they may be larger and fewer. 0, 0: as
 * the options say. */
void state_pace(struct state *state, uint64_t commit_interval_ns, uint64_t commit_bytes);

/* Copies a document's bytes out (malloc'ed, caller frees). 1 found, 0 not there, negative error. */
int state_get(struct state *state, struct span key, uint8_t **bytes, size_t *size);

/* Whether state_get() would find it, or that it was deleted, without a look into LMDB. */
bool state_is_handed(struct state *state, struct span key);

/* Walks keys with this prefix in order from `from` on (exclusive; empty: the first, or the last
 * when backwards), the hand-over table merged in; calls `each` until it returns false. 0 or
 * negative. */
typedef bool state_each_function(struct span key, struct span bytes, void *context);
int state_walk(struct state *state, struct span prefix, struct span from, bool backwards,
               state_each_function *each, void *context);

uint64_t state_applied_seq(const struct state *state);   /* in LMDB */
uint64_t state_pending_bytes(const struct state *state); /* handed over, not in LMDB yet */
uint64_t state_lag_ns(const struct state *state); /* since the oldest of them was handed over */

/* Why the documents cannot be committed at the moment (a full disk, say): true, with a sentence.
 * They stay in the hand-over table and are tried again every second; the log has it all. */
bool state_trouble(struct state *state, struct error *error);

/* Waits until everything handed over up to now is in LMDB. */
int state_commit_now(struct state *state, struct error *error);

/* SHA-256 over all documents in key order (key size, key, value size, value), after everything
 * handed over up to now is in LMDB; *seq is the position it stands for. */
int state_digest(struct state *state, uint8_t digest[SHA256_SIZE], uint64_t *seq,
                 struct error *error);

#endif
