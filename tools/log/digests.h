/* Digests of what came under the numbers 1, 2, 3, ..., so that what comes under one of them once
 * more can be compared. They are 16 bytes each in a file without a name, of which nothing is left
 * whatever happens, so that memory does not grow with them.
 *
 * Threads: one at a time. */
#ifndef TOOLS_LOG_DIGESTS_H
#define TOOLS_LOG_DIGESTS_H

#include "core/base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define DIGEST_SIZE 16 /* of SHA-256, its beginning */

struct digests {
    const char *dir;
    FILE *file;  /* NULL: not open */
    bool behind; /* the file is, what was added is in memory */
};

/* `dir` holds the file and is used as long as it is open. 0 or negative, with the directory. */
int digests_open(struct digests *digests, const char *dir, struct error *error);
void digests_close(struct digests *digests);

/* Keeps that of the next number. 0 or negative. */
int digests_add(struct digests *digests, const uint8_t digest[DIGEST_SIZE], struct error *error);

/* 1: that of this number, which was added, is the same; 0: it is another; negative. */
int digests_compare(struct digests *digests, uint64_t number, const uint8_t digest[DIGEST_SIZE],
                    struct error *error);

#endif
