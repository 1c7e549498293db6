/* What the erasure of workflows takes away in PostgreSQL: the rows of their events are made anew
 * of their records as if the keys were gone, whether they are or not yet, and their rows in the
 * derived tables go. So nobody sees whether the events were copied before the erasure or behind it.
 *
 * Partitions that were detached are tables of their own in schema `daa`, and treated alike; a row
 * that this server refused, and what it said of that, too. Tables that were moved elsewhere, dead
 * rows until VACUUM, the server's own log, WAL and backups are out of reach.
 *
 * Memory: 8 MiB of records, or one of them. Threads: those of the pg. */
#ifndef PGSYNC_ERASURE_H
#define PGSYNC_ERASURE_H

#include "pgsync/batch.h"
#include "pgsync/pg.h"

/* Of the erasures that `batch` noted (batch->erasures), which events `first` to `last` of its log
 * say: adds them to daa.erased and takes away what they take. Within the caller's transaction,
 * which holds daa.replica in EXCLUSIVE MODE and has the batch's own rows in. 0 at once when there
 * are none. Else 0 or negative; ERROR_INVALID: the server refuses to let go of a row. */
int erasure_apply(struct pg *pg, const struct batch *batch, uint64_t first, uint64_t last,
                  struct budget *budget, struct error *error);

#endif
