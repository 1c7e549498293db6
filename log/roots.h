/* The Merkle roots that the sealed segments of a log have in their fronts (log/merkle.h): for
 * whoever signs them. They were taken when a segment was sealed, from records that were checked
 * against the chain; log/verify.h takes them again.
 *
 * Threads: any. */
#ifndef LOG_ROOTS_H
#define LOG_ROOTS_H

#include "core/base/error.h"
#include "core/base/sha256.h"

#include <stddef.h>
#include <stdint.h>

struct log_root {
    uint64_t segment_no, first_seq, last_seq;
    uint8_t merkle_root[SHA256_SIZE];
};

/* Of the oldest `max` segments with a higher number than `after_no` that are sealed and hold a
 * record; others are passed over. How many, or negative. */
int log_roots(const char *dir, uint64_t after_no, struct log_root *roots, size_t max,
              struct error *error);

#endif
