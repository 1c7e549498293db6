/* Some days of the simulated year (t/lib/year.h): restarts, snapshots, retention and expiry with
 * the short times that make them happen within days. `make year` runs a whole one. */
#include "scratch.h"
#include "tap.h"
#include "year.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DAYS 12

static const struct year_jump jumps[] = {
    { .day = 2.2, .by_ns = 1000000000 },
    { .day = 3.3, .by_ns = 3600ll * 1000000000, .return_ns = 2 * YEAR_HOUR_NS },
    { .day = 4.4, .by_ns = -3600ll * 1000000000, .accept = true },
    { .day = 5.5, .by_ns = 8 * 3600ll * 1000000000, .suspend = true },
    { .day = 6.6, .by_ns = 365 * 24 * 3600ll * 1000000000, .return_ns = 30 * YEAR_HOUR_NS },
    { .day = 9.1, .by_ns = 3600ll * 1000000000, .accept = true },
};

/* The comparison of months finds what grows. */
static void test_compare(struct year_result *result)
{
    uint64_t before = result->failures;
    year_compare(result, 6, 9, 3, 1.6);
    is_int(result->failures, before, "the last days are as bounded as those before");
    result->samples[DAYS - 1].documents *= 10;
    result->samples[DAYS - 2].segments *= 10;
    year_compare(result, 6, 9, 3, 1.6);
    is_int(result->failures, before + 2, "what grew tenfold would be found");
    result->samples[DAYS - 1].documents /= 10;
    result->samples[DAYS - 2].segments /= 10;
}

/* So does that of starts; the factor is for what is measured each day. */
static void test_compare_starts(struct year_result *result)
{
    uint64_t before = result->failures;
    struct year_start *last = NULL;
    for (uint32_t i = 0; i < result->start_count; i++) {
        result->starts[i].cpu_ms = 20;
        if (result->starts[i].kind == YEAR_CRASH)
            last = &result->starts[i];
    }
    if (!last || last->day < 7)
        tap_bail_out("no start late enough");
    last->cpu_ms = 54;
    year_compare(result, 0, 9, 3, 1e6);
    is_int(result->failures, before, "a start that takes twice as long beside some noise is none");
    last->cpu_ms = 56;
    year_compare(result, 0, 9, 3, 1e6);
    is_int(result->failures, before + 1, "one that takes longer would be found");
}

/* The oracle finds what should have ended and has not. */
static void test_late(struct year_options options)
{
    options.days = 5;
    options.jump_count = 0;
    options.nobody_resolves = true;
    struct year_result *result = year_run(&options);
    if (!result)
        tap_bail_out("no memory");
    ok(result->failures > 0, "workflows that are parked for too long would be found");
    unsigned others = 0;
    for (unsigned i = 0; i < result->failures && i < YEAR_FAILURES_TOLD; i++)
        if (!strstr(result->failure[i], "\"parked\" has not ended after")) {
            tap_note("%s", result->failure[i]);
            others++;
        }
    is_int(others, 0, "and nothing else");
    year_free(result);
}

/* Whoever acts on a workflow sleeps when the machine does, whatever was under way then. */
static void test_suspend(struct year_options options)
{
    const int64_t sleep_ns = 40 * 3600ll * 1000000000;
    const struct year_jump sleeps[] = { { .day = 0.1, .by_ns = sleep_ns, .suspend = true },
                                        { .day = 1.9, .by_ns = sleep_ns, .suspend = true },
                                        { .day = 3.7, .by_ns = sleep_ns, .suspend = true } };
    options.days = 5;
    options.workflows_a_day = 5000;
    options.tick_ns = YEAR_HOUR_NS / 6;
    options.jumps = sleeps;
    options.jump_count = sizeof sleeps / sizeof sleeps[0];
    struct year_result *result = year_run(&options);
    if (!result)
        tap_bail_out("no memory");
    is_int(result->failures, 0, "nobody acts too early when the machine has slept");
    for (unsigned i = 0; i < result->failures && i < YEAR_FAILURES_TOLD; i++)
        tap_note("%s", result->failure[i]);
    year_free(result);
}

int main(void)
{
    const char *seed = getenv("TEST_SEED");
    const struct year_options options = {
        .dir = scratch_memory_dir(),
        .seed = seed ? strtoull(seed, NULL, 10) : 1,
        .days = DAYS,
        .workflows_a_day = 250,
        .tick_ns = YEAR_HOUR_NS / 2,
        .restart_days = 1.4,
        .config = "[state]\nfinished_ttl = \"2d\"\nsnapshot_interval = \"0s\"\n"
                  "[idempotency]\nttl = \"1d\"\n[retention]\nmax_age = \"3d\"\n"
                  "[memory]\nmax_heap_size = \"64MB\"\n",
        .finished_ttl_ns = 2 * YEAR_DAY_NS,
        .retention_days = 3,
        .jumps = jumps,
        .jump_count = sizeof jumps / sizeof jumps[0],
    };
    tap_note("seed %" PRIu64, options.seed);
    struct year_result *result = year_run(&options);
    if (!result)
        tap_bail_out("no memory");
    is_int(result->failures, 0, "nothing that should hold does not");
    for (unsigned i = 0; i < result->failures && i < YEAR_FAILURES_TOLD; i++)
        tap_note("%s", result->failure[i]);
    const struct year_sample *last = &result->samples[result->sample_count - 1];
    is_int(result->sample_count, DAYS, "every day came");
    is_int(result->jumps, sizeof jumps / sizeof jumps[0], "with every jump of the clock");
    ok(result->kills >= 3, "there were crashes");
    ok(result->digests >= 3, "and rebuilds were compared");
    ok(result->replays > 20, "keys were sent again");
    is_int(result->workflows,
           result->completed + result->failed + result->cancelled + result->waiting,
           "each of %" PRIu64 " workflows is accounted for", result->workflows);
    ok(result->completed > 100 && result->failed > 100 && result->cancelled > 100,
       "and they ended in every way");
    ok(result->removed_events > result->events / 2, "more than half of the log is gone");
    ok(last->expired_keys > 100 && last->expired_workflows > 1000, "keys and workflows expired");
    unsigned more = 0;
    for (uint32_t i = 0; i < result->sample_count; i++)
        more += result->samples[i].snapshots > 2;
    is_int(more, 0, "no day ended with more than two snapshots");
    is_int(last->f + last->unfinished, last->w, "what is left has ended lately, or waits");
    ok(last->f < result->workflows / 2, "and most has left");
    ok(result->checked > 1000, "%" PRIu64 " documents were checked", result->checked);
    ok(result->resent_there <= result->resent,
       "of what nobody knew after a crash, %" PRIu64 " of %" PRIu64 " were there",
       result->resent_there, result->resent);
    test_compare(result);
    test_compare_starts(result);
    year_free(result);
    test_late(options);
    test_suspend(options);
    return tap_done();
}
