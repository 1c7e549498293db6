/* Counts of durations, 64 steps to each doubling: a percentile is within 1.6 % of the truth.
 *
 * Threads: one. */
#ifndef TOOLS_CLI_HISTOGRAM_H
#define TOOLS_CLI_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS (64u * 59u)

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count, sum, max;
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The value below which `permille` of 1000 lie; 0 when there is none. */
uint64_t histogram_permille(const struct histogram *histogram, unsigned permille);

#endif
