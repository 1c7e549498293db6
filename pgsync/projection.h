/* The derived tables: each a function of events. To add one: a migration that makes the table, a
 * function of core/event/projection.h that says what an event does to a row, and one of these.
 *
 * Within a batch the changes of one row are merged into one, in memory; then they go through a
 * temporary table into the table, guarded by last_seq, so that what is in there already is
 * harmless.
 *
 * Pure. Threads: any. */
#ifndef PGSYNC_PROJECTION_H
#define PGSYNC_PROJECTION_H

#include "core/base/lineage.h"
#include "core/base/span.h"
#include "core/event/event.h"
#include "pgsync/columns.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Raised whenever a table comes, or what is made of an event changes: rows that an older version
 * made are made anew, for each log (daa.replica.derived). */
#define PROJECTIONS_VERSION 2
#define PROJECTION_SPANS_MAX 6u

/* Whose rows are made. */
struct projection_of {
    const uint8_t *log;           /* whose events these are */
    const struct lineage *owners; /* which log each workflow belongs to */
};

struct projection {
    const char *table;        /* in schema daa; its changes go through pg_temp.TABLE_changes */
    const char *columns;      /* as COPY has them */
    int16_t column_count;     /* so many */
    const char *types_sql;    /* the same, of the temporary table */
    const char *key_sql;      /* the columns of the primary key */
    const char *update_sql;   /* what a change does to a row w that is there; last_seq is done */
    const char *user_columns; /* what `refused` leaves null: "name, reason" */
    /* What becomes of a row s of this table when that of its workflow w is in, once all tables have
     * their changes: "SET ...", and on which condition. NULL: nothing. */
    const char *after_set_sql, *after_where_sql;
    bool by_workflow; /* rows belong to the log that the workflow does, and may change hands
                             * where a log forks; else to the log whose events these are */
    size_t row_size;
    /* 1 when the event changes a row, 0 when it does not. `event` is NULL for an event of the log's
     * own, or one that cannot be decoded. */
    int (*change)(const struct event_header *header, const Daa__Event *event, void *row);
    bool (*same)(const void *row, const void *other); /* are they of one row? */
    /* Puts a later change over an earlier one, and sets *lossy when what it took the place of was:
     * the row is as flagged as if each of the two had been sent by itself. */
    void (*merge)(struct columns_scratch *scratch, void *row, const void *later, bool *lossy);
    uint64_t (*hash)(const void *row); /* not 0 */
    /* Where the row points into the event's memory; how many. */
    size_t (*spans)(void *row, struct span *spans[PROJECTION_SPANS_MAX]);
    /* Writes the columns. With `refused` what users gave is null; `lossy` is what merge() set. */
    void (*put)(const struct projection_of *of, struct columns_scratch *scratch,
                struct binary *target, const void *row, bool refused, bool lossy);
};

extern const struct projection projection_workflows, projection_steps, projection_agents;

/* All of them, in the order in which their changes are sent. */
#define PROJECTIONS 3
extern const struct projection *const projections[PROJECTIONS];

#endif
