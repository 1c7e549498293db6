/* Makes a fork known to PostgreSQL: its row of daa.replica, which begins where the parent was
 * left, and the rows of daa.workflows that it takes over.
 *
 * A workflow from before a fork goes on in each log that has it, and has one row, under the log
 * that created it. The row shows the history of the log that was registered last, and the others
 * change it no more (pgsync/changes.h); daa.events has the events of all. So where the parent, or
 * another child of it, went on behind the fork, such rows are first made what they were there, from
 * the events in PostgreSQL.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_FORK_H
#define PGSYNC_FORK_H

#include "core/base/sha256.h"
#include "pgsync/batch.h"
#include "pgsync/binary.h"
#include "pgsync/pg.h"

struct fork {
    const uint8_t *parent, *log;  /* uuids */
    uint64_t seq;                 /* the last event that both have */
    const uint8_t *chain;         /* there, as the log has it */
    const uint8_t *record_digest; /* SHA-256 of that event's record in the log; NULL: it is gone */
    const struct lineage *owners;
};

/* In one transaction, which keeps out every copier of this database. *left is how many events of
 * the parent PostgreSQL has behind the fork; they stay. 0; ERROR_MISMATCH when what PostgreSQL has
 * of the parent is another history; ERROR_UNAVAILABLE, also when the parent is not there up to the
 * fork, or the log already is. `batch` and `changes` are used meanwhile. */
int fork_register(struct pg *pg, const struct fork *fork, struct batch *batch,
                  struct binary *changes, uint64_t *left, struct error *error);

#endif
