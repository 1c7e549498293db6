/* Makes a log known to PostgreSQL: its row of daa.replica, which begins where its parent was left,
 * and the rows of daa.workflows that it takes over.
 *
 * A workflow from before a fork goes on in each log that has it, and has one row, under the log
 * that created it. The row shows the history of the log that was registered last, and the others
 * change it no more (pgsync/changes.h); daa.events has the events of all. So where the parent, or
 * another child of it, went on behind the fork, such rows are first made what they were there, from
 * the events in PostgreSQL.
 *
 * A log that has lost its parent's events to retention does not wait for them. It counts as
 * registered behind its parent all the same, and when the parent's copier comes to the fork, the
 * rows that the child touched before it had all their history are made from that again.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_FORK_H
#define PGSYNC_FORK_H

#include "core/base/sha256.h"
#include "pgsync/batch.h"
#include "pgsync/binary.h"
#include "pgsync/pg.h"

struct fork {
    const uint8_t *parent;        /* uuid; NULL: the log has none */
    const uint8_t *log;           /* uuid */
    uint64_t seq;                 /* the last event that both have; 0: no parent */
    const uint8_t *chain;         /* there, as the log has it */
    const uint8_t *parent_chain;  /* there, as PostgreSQL must have it if its position is there */
    const uint8_t *record_digest; /* SHA-256 of that event's record in the log; NULL: it is gone */
    bool alone;                   /* neither the log nor PostgreSQL has the parent up to there */
    const struct lineage *owners;
};

/* In one transaction, which keeps out every copier of this database. *position is how far that has
 * the parent; what it has behind the fork stays. 0; 1 when daa.replica is not what `fork` says,
 * or has the log: look again; ERROR_MISMATCH when what PostgreSQL has of the parent is another
 * history; the pg's. `batch` and `changes` are used meanwhile. */
int fork_register(struct pg *pg, const struct fork *fork, struct batch *batch,
                  struct binary *changes, uint64_t *position, struct error *error);

/* Makes the rows anew that are shown by logs which were forked from `log` behind event `seq`, and
 * registered when PostgreSQL did not have it up to there. To be called once it has, in the same
 * transaction, which holds daa.replica in EXCLUSIVE MODE. Events are opened as `like` does it.
 * `changes` is used meanwhile. */
int fork_complete(struct pg *pg, const uint8_t log[UUID_SIZE], uint64_t seq, struct budget *budget,
                  const struct batch *like, struct binary *changes, struct error *error);

#endif
