/* The lines of several files in order, or of standard input, one at a time: also of a pipe, whose
 * size nobody knows, and also where the end of a line never comes.
 *
 * Memory: a buffer of 1 MiB, which a longer line makes grow up to twice `size_max`.
 * Threads: one at a time. */
#ifndef TOOLS_LOG_LINES_H
#define TOOLS_LOG_LINES_H

#include "core/base/error.h"
#include "core/base/span.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct lines {
    /* The caller's. */
    const char *const *paths; /* "-": standard input */
    size_t count;
    uint64_t size_max;       /* of a line, bytes */
    const atomic_bool *stop; /* -ECANCELED when it is set, also while nothing comes */

    /* To be read. */
    uint64_t number;                  /* of the newest line in its file, from 1 */
    bool cut;                         /* it is the last of its file and has no end */
    uint64_t done_bytes, total_bytes; /* read so far, and in all; 0: not known */

    /* Its own. */
    size_t at; /* the file */
    int fd;    /* -1: not open */
    bool over; /* its end was seen */
    char *buffer;
    size_t capacity, begin, seen, end; /* unread is begin to end, without a line's end up to seen */
};

/* Looks whether each of the files can be read, so that none is missed when those before it were
 * read. 0, or negative with a sentence. */
int lines_open(struct lines *lines, struct error *error);
void lines_close(struct lines *lines);

/* 1: the next line without its end, valid until the next call. 0: no more. Negative, with a
 * sentence: ERROR_TOO_LARGE a line, -ECANCELED, -errno with the file. */
int lines_next(struct lines *lines, struct span *line, struct error *error);

/* Of the newest line: the file's path, "standard input". */
const char *lines_name(const struct lines *lines);

#endif
