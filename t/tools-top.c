/* The largest of many in bounded memory: tools/log/top.h, tools/log/statistics.h. */
#include "tools/log/top.h"

#include "tools/log/statistics.h"

#include "tap.h"

#define FEW 1000u
#define MANY 300000u

static struct top top;

static void few_are_exact(void)
{
    struct top_entry largest[5];
    top_init(&top);
    for (unsigned round = 1; round <= FEW; round++)
        for (unsigned key = round; key <= FEW; key++)
            top_add(&top, key, 2);
    is_int(top_largest(&top, largest, 5), 5, "five are asked for and there");
    bool right = true;
    for (unsigned i = 0; i < 5; i++)
        right = right && largest[i].key == FEW - i && largest[i].weight == 2 * (FEW - i);
    ok(right, "the largest first, with what each was given");
    is_int(top.error, 0, "and nothing was forgotten");
    top_free(&top);
}

static void many_are_bounded(void)
{
    struct top_entry largest[3];
    top_init(&top);
    for (unsigned i = 1; i <= MANY; i++) {
        top_add(&top, 1000 + i, 1);
        top_add(&top, 7, 3);
        if (i % 2 == 0)
            top_add(&top, 8, 1);
    }
    is_int(top_largest(&top, largest, 3), 3, "of many there are the largest");
    ok(largest[0].key == 7 && largest[1].key == 8, "whoever has most is not forgotten");
    ok(top.error > 0 && largest[0].weight <= 3ull * MANY &&
           largest[0].weight + top.error >= 3ull * MANY,
       "and has what is said, give or take what is said too");
    ok(top.count <= TOP_ENTRIES_MAX, "memory is bounded");
    top_free(&top);
    top_init(&top);
    is_int(top_largest(&top, largest, 3), 0, "of nothing there is none");
    top_add(&top, 5, 0);
    is_int(top_largest(&top, largest, 3), 0, "nor of what weighs nothing");
    top_free(&top);
}

static void spreads_have_groups(void)
{
    struct spread spread = { .count = 0 };
    const uint64_t values[] = { 0, 1, 2, 3, 4, UINT64_MAX };
    for (unsigned i = 0; i < 6; i++)
        spread_add(&spread, values[i]);
    ok(spread.groups[0] == 1 && spread.groups[1] == 1 && spread.groups[2] == 2 &&
           spread.groups[3] == 1 && spread.groups[64] == 1,
       "values are in groups by powers of two");
    ok(spread_least(0) == 0 && spread_least(1) == 1 && spread_least(64) == 1ull << 63,
       "each with its smallest value");
    is_int(spread.max, UINT64_MAX, "and there is a largest");
}

static void rates_widen(void)
{
    struct rate rate = { .used = 0 };
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 100000; i++)
        rate_add(&rate, 1700000000000000000u + i * 12345678);
    for (unsigned i = 0; i < rate.used; i++)
        sum += rate.events[i];
    is_int(sum, 100000, "events over time are all counted");
    ok(rate.used > RATE_BUCKETS / 2 && rate.used <= RATE_BUCKETS, "in a bounded number of spans");
    ok(rate.events[0] > 0 && rate.events[rate.used - 1] > 0 &&
           rate.width_ns * rate.used >= 100000ull * 12345678 - rate.width_ns,
       "which cover the time");
    rate_add(&rate, 5);
    ok(rate.events[0] > 1, "a time before the first counts as the first");
    rate_add(&rate, UINT64_MAX);
    ok(rate.used <= RATE_BUCKETS, "the end of time has a place");
}

static struct commits commits;

static void commits_are_measured(void)
{
    commits_add(&commits, 1000, 10, 0);
    commits_add(&commits, 5000, 20, 10);
    is_int(commits.latency_ns.count, 0, "a frame that nothing overlapped is not measured");
    commits_add(&commits, 6000, 30, 10);
    commits_add(&commits, 9000, 40, 30);
    is_int(commits.latency_ns.count, 1, "one that was, is");
    is_int(commits.latency_ns.max, 4000, "up to the frame that knows it to be durable");
    for (uint64_t i = 0; i < 3ull * COMMITS_MAX; i++)
        commits_add(&commits, 10000 + i, 50 + i, 40);
    ok(commits.count <= COMMITS_MAX, "what is never known to be durable is bounded");
    commits_add(&commits, 99999, UINT64_MAX, UINT64_MAX - 1);
    is_int(commits.count, 1, "and all is done in the end");
}

int main(void)
{
    few_are_exact();
    many_are_bounded();
    spreads_have_groups();
    rates_widen();
    commits_are_measured();
    return tap_done();
}
