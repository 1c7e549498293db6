/* Percentiles of the benchmark: tools/cli/histogram.h. */
#include "tools/cli/histogram.h"

#include <stdlib.h>
#include <time.h>

#include "tap.h"

static struct histogram histogram;

/* True if `got` is within 1.6 % of `want`. */
static bool near(uint64_t got, uint64_t want)
{
    double ratio = (double)got / (double)want;
    return ratio > 0.984 && ratio < 1.016;
}

static void percentiles_are_near_the_truth(void)
{
    for (uint64_t value = 1; value <= 1000000; value++)
        histogram_add(&histogram, value * 1000);
    ok(near(histogram_permille(&histogram, 500), 500000000), "p50 of 1 to a million is near half");
    ok(near(histogram_permille(&histogram, 990), 990000000), "p99 is near 99 %%");
    ok(near(histogram_permille(&histogram, 999), 999000000), "p99.9 is near 99.9 %%");
    is_int(histogram_permille(&histogram, 1000), 1000000000, "p100 is the maximum itself");
    is_int(histogram.count, 1000000, "all are counted");
    is_int(histogram.max, 1000000000, "the maximum is exact");
}

static void every_value_has_its_place(void)
{
    unsigned seed = (unsigned)time(NULL);
    tap_note("seed %u", seed);
    srand(seed);
    int far = 0;
    for (int i = 0; i < 2000; i++) {
        struct histogram one = { 0 };
        uint64_t value = ((uint64_t)rand() << 33 ^ (uint64_t)rand() << 2) >> (rand() % 63);
        histogram_add(&one, value);
        uint64_t got = histogram_permille(&one, 500);
        far += value == 0 ? got != 0 : !near(got, value);
    }
    is_int(far, 0, "a single value of any size is found again");
    struct histogram edge = { 0 };
    histogram_add(&edge, UINT64_MAX);
    histogram_add(&edge, 0);
    is_int(histogram_permille(&edge, 500), 0, "zero has a place");
    ok(near(histogram_permille(&edge, 1000), UINT64_MAX), "so has the largest value");
}

static void nothing_has_no_percentile(void)
{
    struct histogram empty = { 0 };
    is_int(histogram_permille(&empty, 990), 0, "without values a percentile is 0");
}

int main(void)
{
    percentiles_are_near_the_truth();
    every_value_has_its_place();
    nothing_has_no_percentile();
    return tap_done();
}
