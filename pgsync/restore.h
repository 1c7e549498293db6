/* Makes a log directory of what PostgreSQL holds of a log (log/import.h says what is kept and what
 * is new). Each record's bytes are checked, and no number may be missing.
 *
 * All is read in one snapshot. Memory: one frame, and 8 MiB of rows or one of them. Threads: those
 * of the pg. */
#ifndef PGSYNC_RESTORE_H
#define PGSYNC_RESTORE_H

#include "core/base/error.h"
#include "core/base/id.h"

#include <stdatomic.h>
#include <stdint.h>

struct restore_options {
    const char *url;
    const char *dir; /* that is made */
    const char *log; /* uuid as text; NULL: the only one that no other was forked from */
    const atomic_bool *stop;
    uint64_t segment_size;                                        /* bytes; 0: LOG_SEGMENT_SIZE */
    uint64_t time_ns;                                             /* wall clock, to be noted */
    void (*progress)(uint64_t done, uint64_t all, void *context); /* may be NULL */
    void *context;
};

struct restore_result {
    char log[UUID_TEXT_SIZE]; /* that was restored; the next opening forks from it */
    uint64_t last_seq, segments;
};

/* ERROR_NOT_FOUND there is no such log, or an event of it is missing; ERROR_CONFLICT there are
 * several, the sentence says which; ERROR_DAMAGED a record was changed; ERROR_INVALID the directory
 * is there; ERROR_UNAVAILABLE the server cannot be had; -ECANCELED. Nothing is left of it then. */
int restore_run(const struct restore_options *options, struct restore_result *result,
                struct error *error);

#endif
