/* Puts what a batch changes in daa.workflows there, within a transaction of the caller's.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_CHANGES_H
#define PGSYNC_CHANGES_H

#include "pgsync/batch.h"
#include "pgsync/binary.h"
#include "pgsync/pg.h"

/* Makes the temporary table that the changes go through; once a connection. */
extern const char changes_table_sql[];

/* A row that a log registered later shows too (pgsync/fork.h) is left to that one. `refused`: what
 * users gave stays as it is there, or null. `buffer` is used meanwhile. 0 or negative. */
int changes_send(struct pg *pg, struct batch *batch, struct binary *buffer, bool refused,
                 struct error *error);

#endif
