/* The inside of a repair: what repair*.c share. For pgsync/repair*.c only. */
#ifndef PGSYNC_REPAIR_INSIDE_H
#define PGSYNC_REPAIR_INSIDE_H

#include "core/base/text.h"
#include "pgsync/batch.h"
#include "pgsync/binary.h"
#include "pgsync/family.h"
#include "pgsync/pg.h"
#include "pgsync/repair.h"
#include "pgsync/schema.h"

#define REPAIR_RANGES_MAX 512u /* in one transaction */

struct repair_range {
    uint64_t first, last; /* seq */
};

/* Events of one log that are mended in one transaction, in order. */
struct repair_set {
    struct repair_range ranges[REPAIR_RANGES_MAX];
    size_t count;
    uint64_t rows;
};

struct repairing {
    const struct verify_options *options;
    struct repair_result *result;
    struct pg *pg;
    struct schema schema;
    struct family family;
    struct batch batch, rows; /* of events, of derived tables */
    struct erased erased;     /* of both */
    struct binary buffer;
    struct text sql;
    const uint8_t *log; /* whose events are mended */
    char log_text[UUID_TEXT_SIZE];
    uint64_t reader_seq; /* the event that the reader gives next; 0: not known */
    uint64_t last_seq;   /* its position, as seen under the lock */
    uint64_t rows_from;  /* what was created before cannot be made anew */
};

/* Begins a transaction: no copier of any log is in one while this is. */
int repair_begin(struct repairing *r, struct error *error);
/* Ends it: commits, or rolls back if `failed`, which is what it returns then. */
int repair_end(struct repairing *r, int failed, struct error *error);

/* `statement` on the events of the set. */
int repair_run_on(struct repairing *r, const char *statement, const struct repair_set *set,
                  struct error *error);
/* Puts the streams of its events into pg_temp.mended. */
int repair_note_streams(struct repairing *r, const struct repair_set *set, struct error *error);
/* Makes the derived rows of pg_temp.mended anew that log `hex` shows; or all of them, which this
 * log shows, or one that was forked from it. */
int repair_rows_of(struct repairing *r, const char *hex, bool lenient, struct error *error);
int repair_rows(struct repairing *r, struct error *error);

/* Copies the events of consecutive differences, from number *at on, again. */
int repair_events(struct repairing *r, const struct verify_result *found, size_t *at,
                  struct error *error);

#endif
