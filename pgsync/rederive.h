/* Makes all rows of the derived tables that a log shows anew, from its events in PostgreSQL: when
 * tables came, or what is made of an event changed (PROJECTIONS_VERSION), and on demand.
 *
 * daa.replica.derived says which version each log's rows are of; 0 is none. It is set to 0 in the
 * transaction that makes them wrong, and to the version once all are made, so whoever is killed in
 * between leaves it to the next copier. The rows are made window by window, each in a transaction
 * that keeps every copier out; between them copiers go on.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_REDERIVE_H
#define PGSYNC_REDERIVE_H

#include "core/base/id.h"
#include "pgsync/batch.h"
#include "pgsync/binary.h"
#include "pgsync/pg.h"

#include <stdatomic.h>

/* If the rows of `log` are older than this program's. A record in daa.events that was changed is
 * passed over: --verify finds it. 0 (*rows counts those that were made), ERROR_UNAVAILABLE when
 * *stop, the pg's. `batch` and `buffer` are used meanwhile; outside of any transaction, with
 * changes_make_tables(). */
int rederive_log(struct pg *pg, const uint8_t log[UUID_SIZE], struct batch *batch,
                 struct binary *buffer, const atomic_bool *stop, uint64_t *rows,
                 struct error *error);

#endif
