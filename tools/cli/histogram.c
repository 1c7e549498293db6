#include "tools/cli/histogram.h"

enum { STEPS = 64, STEP_BITS = 6 };

/* Below 64 each value has its bucket; above, the top six bits behind the highest one count. */
static unsigned bucket_of(uint64_t value)
{
    if (value < STEPS)
        return (unsigned)value;
    unsigned high = 63u - (unsigned)__builtin_clzll(value);
    unsigned shift = high - STEP_BITS;
    return (shift + 1) * STEPS + (unsigned)((value >> shift) - STEPS);
}

/* The middle of a bucket. */
static uint64_t value_of(unsigned bucket)
{
    if (bucket < STEPS)
        return bucket;
    unsigned shift = bucket / STEPS - 1;
    uint64_t low = (uint64_t)(bucket % STEPS + STEPS) << shift;
    return low + ((uint64_t)1 << shift) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->counts[bucket_of(value)]++;
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
}

uint64_t histogram_permille(const struct histogram *histogram, unsigned permille)
{
    uint64_t wanted = (histogram->count * permille + 999) / 1000;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && wanted > 0; i++) {
        seen += histogram->counts[i];
        if (seen >= wanted)
            return value_of(i) < histogram->max ? value_of(i) : histogram->max;
    }
    return 0;
}
