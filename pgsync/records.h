/* Records of a log as PostgreSQL has them: their exact bytes, by number, for whoever mends a log
 * (log/repair.h).
 *
 * A log that forked has its events in the tables under the names that it had when they were
 * written; so who asks says of which log the event is, as the header of its segment names it.
 *
 * What is given was checked by its own checksum. That it is what the log had is for the caller to
 * prove, by the chain: anybody who may write to the tables can write a record whose checksum is
 * right.
 *
 * Records are read ahead, so that asking for one behind the other costs a statement for some
 * hundred. Memory: about 1 MiB and three times the largest record. Nothing is changed there.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_RECORDS_H
#define PGSYNC_RECORDS_H

#include "core/base/id.h"
#include "core/base/span.h"
#include "pgsync/pg.h"

struct records;

/* `pg` stays the caller's, and longer there. 0; ERROR_MISMATCH: there are no such tables; -ENOMEM;
 * the pg's. */
int records_open(struct records **records, struct pg *pg, struct error *error);
void records_close(struct records **records); /* sets it to NULL; NULL is fine */

/* The record of event `seq` of that log, valid until the next call. 0; ERROR_NOT_FOUND: it is not
 * there, and why; ERROR_DAMAGED: its checksum is wrong; -ENOMEM; the pg's. */
int records_get(struct records *records, const uint8_t log[UUID_SIZE], uint64_t seq,
                struct span *record, struct error *error);

/* How far that log was copied; 0: not at all. 0, or the pg's. */
int records_last_seq(struct records *records, const uint8_t log[UUID_SIZE], uint64_t *seq,
                     struct error *error);

#endif
