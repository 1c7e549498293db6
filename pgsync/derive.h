/* Makes rows of the derived tables anew from the events in PostgreSQL.
 *
 * derive_walk() reads the events of a log's history thing by thing, and gives the whole rows a few
 * at a time. derive_remake() takes rows away and puts such ones there.
 *
 * Memory: a thousand rows, or 16 MiB of records, or what one thing needs if that is more. Threads:
 * those of the pg. */
#ifndef PGSYNC_DERIVE_H
#define PGSYNC_DERIVE_H

#include "pgsync/batch.h"
#include "pgsync/binary.h"
#include "pgsync/pg.h"
#include "pgsync/scope.h"

#include <stdatomic.h>

#define DERIVE_WINDOW UINT64_C(20000) /* streams that are asked for at once */

/* The batch has the rows of all things that the scope shows from `first` to `last`. 0 or negative.
 */
typedef int derive_rows(void *context, struct batch *batch, uint64_t first, uint64_t last,
                        struct error *error);

struct derive {
    struct pg *pg; /* in a transaction; with changes_make_tables() */
    const struct scope *scope;
    struct batch *batch;
    const char *condition; /* on events e, beside the streams; NULL: none */
    bool lenient;          /* a record that was changed is passed over, and no error */
    derive_rows *take;
    void *context;
};

/* The things that events from `first` to `last` created. 0, take()'s, ERROR_MISMATCH (a record in
 * daa.events was changed, the sentence says which), the pg's. */
int derive_walk(const struct derive *derive, uint64_t first, uint64_t last, struct error *error);

/* Makes the rows of these things anew, in the transaction that is open; with `condition` only those
 * of streams for which it, on the column stream of `daa.events e`, is true; `rows` is the same
 * condition for `w`. Rows without events go. `buffer` is used meanwhile; *made counts up. */
struct derive_remake {
    struct pg *pg;
    const struct scope *scope;
    struct batch *batch;
    struct binary *buffer;
    const char *events_condition, *rows_condition; /* NULL: all */
    bool lenient;                                  /* as above */
    uint64_t made;
};
int derive_remake(struct derive_remake *remake, uint64_t first, uint64_t last, struct error *error);

/* The batch has the row of daa.agents of this log, made of its events that are there. */
int derive_agent(struct pg *pg, const uint8_t log[UUID_SIZE], struct batch *batch,
                 struct error *error);

/* Makes that row anew, in the transaction that is open. */
int derive_remake_agent(struct pg *pg, const uint8_t log[UUID_SIZE], struct batch *batch,
                        struct binary *buffer, struct error *error);

/* Sends the rows of the batch, with `apart` as batch_send_apart() does, else as
 * batch_send_changes(). Of a thing that the server refuses what users gave is left out, and if it
 * refuses that too, the thing; all others are whole. 0 or negative. */
int derive_send(struct pg *pg, struct batch *batch, struct binary *buffer, bool apart,
                struct error *error);

#endif
