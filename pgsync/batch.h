/* The rows of one transaction, made of records: those of `events` as the bytes of a COPY, and
 * those of the derived tables reduced to one change a row (pgsync/changes.h).
 *
 * Nothing that a record may hold stops a batch: what PostgreSQL cannot hold is replaced and the
 * row flagged lossy, what cannot be decoded is shown as hex; the exact bytes are in `record`.
 *
 * Private fields (core/event/private.h) are opened with `keys`. Where that cannot be, or must not
 * since the workflow was erased, the payload lacks them, and the column `error` says why: "erased",
 * also when only the key tells that, or "encrypted with key N, which is ...". What was erased
 * changes no row of the derived tables.
 *
 * Memory: the bytes of the largest record a few times over, and the changes, on the budget. Pure
 * but for memory. Threads: a batch belongs to one thread at a time. */
#ifndef PGSYNC_BATCH_H
#define PGSYNC_BATCH_H

#include "core/base/budget.h"
#include "core/base/id.h"
#include "core/base/lineage.h"
#include "core/event/private.h"
#include "log/record.h"
#include "pgsync/binary.h"
#include "pgsync/changes.h"
#include "pgsync/erased.h"

#include <stdint.h>

/* "COPY ..." for the rows of events that this makes, which have these columns. */
extern const char batch_events_sql[];
#define BATCH_EVENTS_COLUMNS                                                                       \
    "log, seq, stream, time, time_ns, kind, kind_name, cause, stream_prev_seq, actor_type,"        \
    " actor_id, request_id, traceparent, payload, lossy, error, record"

/* On a row e of events: its private fields are left out for want of the key. */
#define BATCH_WITHHELD_SQL "e.payload IS NOT NULL AND starts_with(e.error, 'encrypted with key ')"

#define BATCH_PAYLOAD_MAX (16u << 20) /* bytes of payload after which a batch should end */

/* Of an event whose private fields stay encrypted for want of the key. */
struct batch_withheld {
    uint64_t seq; /* 0: there was none */
    char why[60]; /* "encrypted with key 7, which is not here" */
};

struct batch {
    const struct event_keys *keys;  /* the owner's to set; NULL: there are none */
    struct erased *erased;          /* as well; erasures that are met are added. NULL: unknown */
    bool is_erasing;                /* as well: each record is of a workflow that was erased */
    struct batch_withheld withheld; /* the first since batch_init() */
    uint8_t log[UUID_SIZE];
    const struct lineage *owners; /* the caller's */
    struct binary events;         /* rows that are not sent yet; whoever sends them clears it */
    uint64_t rows;                /* added so far */
    uint64_t payload_size;        /* of all records so far */
    uint64_t lossy_rows;
    uint64_t last_seq; /* of the newest row */
    bool has_anchor;   /* a log.anchored is among them */
    uint64_t withheld_rows;
    struct text erasures; /* that are said: rows for daa.erased, "('LOG', SEQ, 'OWNER', STREAM)" */
    /* "7, 9": events that were added, and streams that were projected, of which private fields
     * could not be read, though nothing says that they were erased but their key, or nothing. */
    struct text unopened;
    uint64_t unopened_last;
    struct changes changes;
    struct columns_scratch scratch;
};

void batch_init(struct batch *batch, struct budget *budget);
void batch_free(struct batch *batch);

/* Empties it and begins with the header of the COPY. All records are of `log`; `owners` says which
 * log each workflow that they change belongs to, and stays until the next batch. */
void batch_begin(struct batch *batch, const uint8_t log[UUID_SIZE], const struct lineage *owners);

/* Adds a record: its row of events, and what it changes. With `refusal` its payload is left null,
 * and the sentence goes to the column `error`. 0, -ENOMEM or ERROR_BUDGET: the batch is of no more
 * use. */
int batch_add(struct batch *batch, const struct record *record, const char *refusal);

/* The parts of it, for a record that the server refuses: only the row of events, or only counting
 * it and what it says of erasures, and only what it changes. */
int batch_add_event(struct batch *batch, const struct record *record, const char *refusal);
int batch_count(struct batch *batch, const struct record *record);
int batch_add_changes(struct batch *batch, const struct record *record);

/* Adds only what the record changes in the tables of workflows. 0, or as batch_add(). */
int batch_project(struct batch *batch, const struct record *record);

/* Adds only what the record changes in the tables of logs. */
int batch_project_agent(struct batch *batch, const struct record *record);

/* Ends the COPY of events. */
void batch_end(struct batch *batch);

/* Sends the rows of events that were not sent yet, once they are `at_least` so many bytes, into the
 * COPY that is under way. 0, -ENOMEM, the pg's. */
#define BATCH_PIECE_SIZE 60000u /* of COPY data handed to libpq at once */
int batch_send_events(struct batch *batch, struct pg *pg, size_t at_least, struct error *error);

/* Puts the changes into the derived tables (changes_send()). */
int batch_send_changes(struct batch *batch, struct pg *pg, struct binary *buffer, bool refused,
                       struct error *error);

/* Puts them only into the temporary tables (changes_send_apart()). */
int batch_send_apart(struct batch *batch, struct pg *pg, struct binary *buffer, bool refused,
                     struct error *error);

#endif
