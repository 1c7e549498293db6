/* What PostgreSQL knows of the workflows of one log, for whoever answers questions: searches in
 * pages, and single ones. Nothing is changed there.
 *
 * A log that forked (pgsync/fork.h) has workflows of those that it was forked from, under their
 * uuids: `lineage` says up to where each counts. A row that another log shows, because that one was
 * registered later, is given with that log's uuid.
 *
 * Pages are in the order of submission, newest first, and each begins behind the last workflow of
 * the one before it: what is written meanwhile moves no workflow from one page to another.
 *
 * All values travel as parameters.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_LOOKUP_H
#define PGSYNC_LOOKUP_H

#include "core/base/error.h"
#include "core/base/lineage.h"
#include "pgsync/pg.h"

#include <stdbool.h>
#include <stdint.h>

#define LOOKUP_LABELS_MAX 8u

/* A member of the metadata: "{\"team\": \"blue\"}". `other` is a second way to have it; NULL: there
 * is none. Both are JSON that PostgreSQL takes (pgsync/plain.h). */
struct lookup_label {
    const char *object, *other;
};

struct lookup {
    const struct lineage *lineage; /* of the log */
    const char *status;            /* NULL: any; like name */
    bool parked;                   /* of those paused, the ones that say why */
    const char *name;
    struct lookup_label labels[LOOKUP_LABELS_MAX]; /* all of them */
    uint32_t label_count;
    uint64_t since_us, until_us; /* submitted at or after, and before that; since 1970; 0: any */
    uint64_t before;             /* only workflows with a smaller number; 0: from the newest on */
    uint64_t limit;
    uint64_t bytes_max; /* of what is given, about: at least one is */
};

/* Texts are valid during the call; NULL where there is none. Times are microseconds since 1970; 0:
 * none. */
struct lookup_row {
    uint64_t stream, last_seq;
    const char *id, *name, *status, *reason;
    const char *definition;                /* hexadecimal */
    const char *metadata, *input, *output; /* JSON; the last two only of lookup_one() */
    uint64_t submitted_us, started_us, ended_us;
    bool lossy;
    const char *history; /* uuid of the log whose history the row shows, when it is none of ours */
};

typedef void lookup_function(const struct lookup_row *row, void *context);

/* Everything up to *seq of the log is in what is read after this; 0: nothing is known of it. 0;
 * ERROR_MISMATCH when there are no such tables; the pg's. */
int lookup_position(struct pg *pg, const struct lineage *lineage, uint64_t *seq,
                    struct error *error);

/* Calls `each` for every workflow of the page. *more: there are others behind it. 0 or negative. */
int lookup_page(struct pg *pg, const struct lookup *lookup, lookup_function *each, void *context,
                bool *more, struct error *error);

/* The same for one workflow, whole. 1 found, 0 it is not there, negative. */
int lookup_one(struct pg *pg, const struct lineage *lineage, uint64_t stream, lookup_function *each,
               void *context, struct error *error);

/* And what it has of its steps, in the order of the definition: of those that an event told of. */
struct lookup_step {
    const char *id, *status, *outcome, *error;
    const char *output; /* JSON */
    uint64_t attempts, started_us, ended_us;
};
typedef void lookup_step_function(const struct lookup_step *step, void *context);
int lookup_steps(struct pg *pg, const struct lineage *lineage, uint64_t stream,
                 lookup_step_function *each, void *context, struct error *error);

#endif
