/* What a batch changes in the derived tables (pgsync/projection.h): one change a row in memory,
 * then all of them in the tables, within a transaction of the caller's.
 *
 * Memory: on the budget. Threads: a changes belongs to one thread at a time; those of the pg. */
#ifndef PGSYNC_CHANGES_H
#define PGSYNC_CHANGES_H

#include "core/base/arena.h"
#include "core/base/table.h"
#include "pgsync/pg.h"
#include "pgsync/projection.h"

/* The histories of logs that were registered behind log %s: later(log, upto), for a WITH RECURSIVE.
 * Such a log has those events of `log` up to `upto`, and the workflows that they created. */
#define CHANGES_LATER_SQL                                                                          \
    "later(log, upto) AS ("                                                                        \
    " SELECT parent, parent_seq FROM daa.replica WHERE parent IS NOT NULL"                         \
    " AND number > (SELECT number FROM daa.replica WHERE log = '%s')"                              \
    " UNION SELECT r.parent, least(r.parent_seq, l.upto)"                                          \
    " FROM later l JOIN daa.replica r ON r.log = l.log WHERE r.parent IS NOT NULL)"

struct change_row; /* a row of a projection behind a header */

struct changes_of_table {
    struct table rows;        /* by hash */
    struct change_row *first; /* in the order in which they came */
    struct change_row **last_next;
};

struct changes {
    struct budget *budget;
    struct arena arena;
    struct changes_of_table tables[PROJECTIONS];
    uint64_t count;       /* rows, of all tables */
    uint64_t first, last; /* streams that are sent */
};

void changes_init(struct changes *changes, struct budget *budget);
void changes_free(struct changes *changes);
void changes_clear(struct changes *changes);

/* Rows that belong to workflows, and such that belong to logs. */
enum changes_of { CHANGES_OF_WORKFLOWS = 1, CHANGES_OF_LOGS = 2, CHANGES_OF_ALL = 3 };

/* Adds what an event changes (`event` as for projection.change), in tables of these kinds;
 * `scratch` is used meanwhile. 0 or ERROR_BUDGET. */
int changes_add(struct changes *changes, const struct event_header *header, const Daa__Event *event,
                enum changes_of which, struct columns_scratch *scratch);

/* From now on only rows of these streams are sent; those of no workflow are of stream 0. */
void changes_limit(struct changes *changes, uint64_t first, uint64_t last);

/* The least and the greatest stream of the rows that are to be sent; false: there are none. */
bool changes_streams(const struct changes *changes, uint64_t *first, uint64_t *last);

/* Makes the temporary tables that the changes go through; once a connection. */
int changes_make_tables(struct pg *pg, struct error *error);

/* Puts them into the tables. A row that a log registered later shows too (pgsync/fork.h) is left to
 * that one, but for what the log did before the fork: no batch may have events from both sides of
 * it. `refused`: what users gave stays as it is there, or null. `buffer` and `scratch` are used
 * meanwhile. 0 or negative. */
int changes_send(struct changes *changes, struct pg *pg, const struct projection_of *of,
                 struct columns_scratch *scratch, struct binary *buffer, bool refused,
                 struct error *error);

/* Puts them into the temporary tables and no further: whole rows, if all of a thing's events are
 * in. 0 or negative. */
int changes_send_apart(struct changes *changes, struct pg *pg, const struct projection_of *of,
                       struct columns_scratch *scratch, struct binary *buffer, bool refused,
                       struct error *error);

/* To be called before changes_send() is called again in the same transaction. */
int changes_empty_tables(struct pg *pg, struct error *error);

#endif
