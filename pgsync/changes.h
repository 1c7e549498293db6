/* Puts what a batch changes in daa.workflows there, within a transaction of the caller's.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_CHANGES_H
#define PGSYNC_CHANGES_H

#include "pgsync/batch.h"
#include "pgsync/binary.h"
#include "pgsync/pg.h"

/* The histories of logs that were registered behind log %s: later(log, upto), for a WITH RECURSIVE.
 * Such a log has those events of `log` up to `upto`, and the workflows that they created. */
#define CHANGES_LATER_SQL                                                                          \
    "later(log, upto) AS ("                                                                        \
    " SELECT parent, parent_seq FROM daa.replica WHERE parent IS NOT NULL"                         \
    " AND number > (SELECT number FROM daa.replica WHERE log = '%s')"                              \
    " UNION SELECT r.parent, least(r.parent_seq, l.upto)"                                          \
    " FROM later l JOIN daa.replica r ON r.log = l.log WHERE r.parent IS NOT NULL)"

/* Makes the temporary table that the changes go through; once a connection. */
extern const char changes_table_sql[];

/* A row that a log registered later shows too (pgsync/fork.h) is left to that one, but for what the
 * log did before the fork: no batch may have events from both sides of it. `refused`: what users
 * gave stays as it is there, or null. `buffer` is used meanwhile. 0 or negative. */
int changes_send(struct pg *pg, struct batch *batch, struct binary *buffer, bool refused,
                 struct error *error);

#endif
