/* The partitions of daa.events: by range of seq, each made before anything is written there, with
 * all indexes; old ones detached by policy.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_PARTITIONS_H
#define PGSYNC_PARTITIONS_H

#include "pgsync/pg.h"

#include <stdint.h>

/* Makes partition `number` (sequence numbers from number * rows on), or attaches one that was
 * detached, in a transaction of its own. 0 or the pg's. */
int partitions_make(struct pg *pg, uint64_t number, uint64_t rows, struct error *error);

/* Detaches the partitions that every log is past and whose newest event is older than `age_s`
 * seconds by the server's clock. They stay, as tables of their own, for whoever archives or drops
 * them. Outside of any transaction. How many, or the pg's. */
int partitions_detach(struct pg *pg, uint64_t age_s, struct error *error);

#endif
