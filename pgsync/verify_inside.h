/* The inside of a comparison: what verify*.c share. For pgsync/verify*.c only. */
#ifndef PGSYNC_VERIFY_INSIDE_H
#define PGSYNC_VERIFY_INSIDE_H

#include "core/base/text.h"
#include "pgsync/batch.h"
#include "pgsync/binary.h"
#include "pgsync/family.h"
#include "pgsync/pg.h"
#include "pgsync/verify.h"

/* One side of a range: what the log has. */
struct verify_side {
    uint64_t first, count;                           /* dense: first, first + 1, ... */
    uint8_t digests[VERIFY_RANGE_ROWS][SHA256_SIZE]; /* of each record's bytes */
    bool has_anchor;
};

struct verifying {
    const struct verify_options *options;
    struct verify_result *result;
    struct pg *pg;
    struct family family;
    struct verify_log *log; /* the one under comparison */
    char log_text[UUID_TEXT_SIZE];
    struct verify_side *side;
    struct batch batch;
    struct erased erased;
    struct binary buffer;  /* what is being sent; or one record */
    struct text columns;   /* of events, as verify_content_open() makes them: "e.a, e.b" */
    struct text compared;  /* the same of the rows made of the log */
    struct text differing; /* an expression that names those that differ */
    uint64_t attached;     /* the first event of the partitions that are attached */
    uint64_t done, all;    /* events, for the progress */
};

/* Adds a difference, to the one before it where it goes on. 0 or -ENOMEM. */
int verify_add(struct verifying *v, const struct verify_difference *difference,
               struct error *error);

/* Makes columns, compared and differing for daa.<table> as `e` and pg_temp.<other> as `m`; the
 * columns in `without` ("log, seq") are left out. */
int verify_list_columns(struct verifying *v, const char *table, const char *without,
                        struct error *error);

/* Makes the table that rows of the log are put in, within the transaction. */
int verify_content_open(struct verifying *v, struct error *error);

/* Compares the events from `first` on, up to `last` at most, of which one range is taken: *end is
 * its last. The reader stands at `first`. */
int verify_events(struct verifying *v, uint64_t first, uint64_t last, uint64_t *end,
                  struct error *error);

/* Compares the other columns of the rows in the side, whose rows of the log were sent. */
int verify_content(struct verifying *v, struct error *error);

/* Finds out which rows of derived tables `log` shows, and compares them if
 * result->rows_compared. */
int verify_derived(struct verifying *v, const uint8_t log[UUID_SIZE], struct error *error);

/* Compares the anchors of the side with the events that say them. */
int verify_anchors(struct verifying *v, struct error *error);

/* What cannot be opened here (batch.unopened) is taken as it is there: of the side's rows that were
 * sent, or of the rows of a derived table that were sent apart. */
int verify_take_unopened(struct verifying *v, struct error *error);
int verify_take_unopened_rows(struct verifying *v, const struct projection *projection,
                              struct error *error);

/* Appends the events of the side of which daa.erased has not what they say (batch.erasures), or
 * more: "7,9", or "0" of none. */
int verify_list_unsaid(struct verifying *v, struct text *seqs, struct error *error);

#endif
