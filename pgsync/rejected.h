/* daa.rejected: the records that this server refused as they are, with what it said.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_REJECTED_H
#define PGSYNC_REJECTED_H

#include "log/record.h"
#include "pgsync/pg.h"

#include <stdbool.h>

struct rejection {
    const char *sqlstate, *message; /* what the server said */
    bool in_events;                 /* the record has a row there, without its payload */
};

/* Adds a record of `log` (its uuid as text), within the caller's transaction; of one that is there
 * the rejection changes. 0, -ENOMEM or the pg's. */
int rejected_add(struct pg *pg, const char *log, const struct record *record,
                 const struct rejection *rejection, struct error *error);

#endif
