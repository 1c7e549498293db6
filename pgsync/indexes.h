/* The secondary indexes of the tables: which there are to be, and how they come about beside
 * readers and writers, without a lock that holds them up: CREATE INDEX CONCURRENTLY; that of the
 * partitioned table ON ONLY the parent, one a partition, then attached. One that a killed server
 * or a full disk left INVALID is made again; indexes of others are left alone.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_INDEXES_H
#define PGSYNC_INDEXES_H

#include "core/base/text.h"
#include "pgsync/pg.h"

/* Makes what is missing, outside of any transaction and with all the time that it takes. Whoever
 * calls it keeps others out. The number of statements that were run, or the pg's. */
int indexes_make(struct pg *pg, struct error *error);

/* Appends the statements that indexes_make() would run, and those for tables that migrations are
 * still to make. */
int indexes_print(struct pg *pg, struct text *sql, struct error *error);

#endif
