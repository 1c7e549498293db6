/* Makes a copy anew, or its derived rows alone: notes in one transaction what is to be made again,
 * and the next copier does it (daa-pgsync --rebuild is that, and then copies).
 *
 * Threads: those of the reader. */
#ifndef PGSYNC_RECOPY_H
#define PGSYNC_RECOPY_H

#include "core/base/error.h"
#include "log/reader.h"

#include <stdatomic.h>
#include <stdint.h>

struct recopy_options {
    const char *url;
    const char *dir;
    struct log_reader *reader; /* the caller's; its cursor is not moved */
    const atomic_bool *stop;
    uint64_t from; /* events from this one on are taken away and copied again; 0: none */
};

struct recopy_result {
    uint64_t removed;  /* events */
    uint64_t position; /* behind which copying goes on */
};

/* 0. ERROR_NOT_FOUND there is no copy of this log; ERROR_INVALID `from` cannot be: the sentence
 * says which can; the pg's and the log's. Whoever copies this log meanwhile stops. */
int recopy_run(const struct recopy_options *options, struct recopy_result *result,
               struct error *error);

#endif
