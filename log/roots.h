/* The Merkle roots that the sealed segments of a log have in their fronts (log/merkle.h): for
 * whoever signs them. They were taken when a segment was sealed, from records that were checked
 * against the chain; log/verify.h takes them again.
 *
 * Threads: any. */
#ifndef LOG_ROOTS_H
#define LOG_ROOTS_H

#include "core/base/error.h"
#include "core/base/sha256.h"

#include <stdbool.h>
#include <stdint.h>

struct log_root {
    uint64_t segment_no;
    bool sealed; /* if not, or not to be read: the segment has no root yet, and nothing below is */
    uint64_t first_seq, last_seq;
    uint8_t merkle_root[SHA256_SIZE];
};

struct log_roots_visitor {
    bool (*wants)(uint64_t segment_no, void *context);
    /* Once for each that is wanted, but for those that are sealed and hold no record. Negative
     * ends it and is returned, as is 1. */
    int (*take)(const struct log_root *root, void *context, struct error *error);
    void *context;
};

/* Shows the wanted segments, oldest first. 0 all of them, what `take` says, or negative. */
int log_roots(const char *dir, const struct log_roots_visitor *visitor, struct error *error);

#endif
