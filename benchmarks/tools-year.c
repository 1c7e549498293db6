/* The simulated year (t/lib/year.h), or some days of it: what was measured as CSV, and one JSON
 * object on standard output. Exit 1 when something did not hold. */
#include "scratch.h"
#include "year.h"

#include <getopt.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MINUTE_NS INT64_C(60000000000)
#define HOUR_NS INT64_C(3600000000000)

/* Each kind of DESIGN §3, and some of them across restarts. Those that are accepted stay. */
static const struct year_jump jumps[] = {
    { .day = 45.3, .by_ns = 1000000000 },
    { .day = 52.1, .by_ns = -1000000000 },
    { .day = 60.4, .by_ns = HOUR_NS, .return_ns = YEAR_DAY_NS / 12 },
    { .day = 75.6, .by_ns = -HOUR_NS, .return_ns = YEAR_DAY_NS / 12 },
    { .day = 90.2, .by_ns = HOUR_NS, .accept = true },
    { .day = 110.5, .by_ns = 365 * 24 * HOUR_NS, .return_ns = YEAR_DAY_NS / 4 },
    { .day = 130.8, .by_ns = 8 * HOUR_NS, .suspend = true },
    { .day = 150.3, .by_ns = -365 * 24 * HOUR_NS, .return_ns = YEAR_DAY_NS / 4 },
    { .day = 170.7, .by_ns = -HOUR_NS, .accept = true },
    { .day = 200.1, .by_ns = 365 * 24 * HOUR_NS, .return_ns = 9 * YEAR_DAY_NS },
    { .day = 275.1, .by_ns = 2 * MINUTE_NS, .return_ns = YEAR_DAY_NS / 2 },
    { .day = 300.9, .by_ns = 8 * HOUR_NS, .suspend = true },
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double began;

static void tell(uint32_t day, uint64_t events)
{
    if (day % 10 == 0)
        fprintf(stderr, "day %" PRIu32 ": %" PRIu64 " events in %.0f s\n", day, events,
                seconds_now() - began);
}

static uint64_t most(const struct year_result *result, size_t offset)
{
    uint64_t largest = 0, value;
    for (uint32_t i = 0; i < result->sample_count; i++) {
        memcpy(&value, (const uint8_t *)&result->samples[i] + offset, sizeof value);
        largest = value > largest ? value : largest;
    }
    return largest;
}

static void print(const struct year_result *result)
{
    printf("{\"days\":%" PRIu32 ",\"seconds\":%.1f,\"events\":%" PRIu64
           ",\"removed_events\":%" PRIu64 ",\"workflows\":%" PRIu64 ",\"completed\":%" PRIu64
           ",\"failed\":%" PRIu64 ",\"cancelled\":%" PRIu64 ",\"waiting\":%" PRIu64,
           result->sample_count, seconds_now() - began, result->events, result->removed_events,
           result->workflows, result->completed, result->failed, result->cancelled,
           result->waiting);
    printf(",\"keys_sent_again\":%" PRIu64 ",\"starts\":%" PRIu32 ",\"kills\":%" PRIu64
           ",\"unknown_after_kill\":%" PRIu64 ",\"of_these_there\":%" PRIu64 ",\"jumps\":%" PRIu64
           ",\"digests\":%" PRIu64 ",\"checked_documents\":%" PRIu64,
           result->replays, result->start_count, result->kills, result->resent,
           result->resent_there, result->jumps, result->digests, result->checked);
    printf(",\"most\":{\"budget_used\":%" PRIu64 ",\"rss_anon\":%" PRIu64 ",\"segments\":%" PRIu64
           ",\"segment_bytes\":%" PRIu64 ",\"lmdb_file_bytes\":%" PRIu64 ",\"documents\":%" PRIu64
           "},\"failures\":%" PRIu64 "}\n",
           most(result, offsetof(struct year_sample, budget_used)),
           most(result, offsetof(struct year_sample, rss_anon)),
           most(result, offsetof(struct year_sample, segments)),
           most(result, offsetof(struct year_sample, segment_bytes)),
           most(result, offsetof(struct year_sample, lmdb_file_bytes)),
           most(result, offsetof(struct year_sample, documents)), result->failures);
}

static struct year_options options = {
    .seed = 1,
    .days = 365,
    .workflows_a_day = 2400,
    .tick_ns = 10 * MINUTE_NS,
    .restart_days = 7,
    .long_run_from = 238,
    .long_run_to = 322,
    .config = "[state]\nfinished_ttl = \"7d\"\nsnapshot_interval = \"0s\"\n"
              "[idempotency]\nttl = \"1d\"\n[retention]\nmax_age = \"30d\"\n"
              "max_bytes = \"30MB\"\n[memory]\nmax_heap_size = \"64MB\"\n",
    .finished_ttl_ns = 7 * YEAR_DAY_NS,
    .retention_bytes = UINT64_C(30) << 20,
    .retention_days = 30,
    .jumps = jumps,
    .jump_count = sizeof jumps / sizeof jumps[0],
    .busy_days = { 120, 250 },
    .progress = tell,
};

static const char *out = ".";

static bool read_options(int argc, char **argv)
{
    static const struct option known[] = { { "dir", required_argument, NULL, 'd' },
                                           { "out", required_argument, NULL, 'o' },
                                           { "days", required_argument, NULL, 'n' },
                                           { "workflows-a-day", required_argument, NULL, 'w' },
                                           { "seed", required_argument, NULL, 's' },
                                           { NULL, 0, NULL, 0 } };
    for (int letter; (letter = getopt_long(argc, argv, "", known, NULL)) != -1;)
        if (letter == 'd')
            options.dir = optarg;
        else if (letter == 'o')
            out = optarg;
        else if (letter == 'n')
            options.days = (uint32_t)strtoul(optarg, NULL, 10);
        else if (letter == 'w')
            options.workflows_a_day = (uint32_t)strtoul(optarg, NULL, 10);
        else if (letter == 's')
            options.seed = strtoull(optarg, NULL, 10);
        else
            return false;
    return optind == argc && options.days > 0 && options.days <= YEAR_DAYS_MAX;
}

static int write_all(const struct year_result *result)
{
    char samples[4096], starts[4096];
    if (snprintf(samples, sizeof samples, "%s/year-days.csv", out) >= (int)sizeof samples ||
        snprintf(starts, sizeof starts, "%s/year-starts.csv", out) >= (int)sizeof starts)
        return -1;
    if (year_write_samples(result, samples) == 0 && year_write_starts(result, starts) == 0)
        return 0;
    fprintf(stderr, "tools-year: cannot write into %s\n", out);
    return -1;
}

static int run(void)
{
    began = seconds_now();
    struct year_result *result = year_run(&options);
    if (!result)
        return 1;
    /* The second month and the twelfth: by then all that stays for a month is there. */
    if (result->failures == 0 && options.days >= 365)
        year_compare(result, 40, 335, 30, 1.25);
    print(result);
    for (unsigned i = 0; i < result->failures && i < YEAR_FAILURES_TOLD; i++)
        fprintf(stderr, "tools-year: %s\n", result->failure[i]);
    int status = write_all(result) < 0 || result->failures > 0;
    year_free(result);
    return status;
}

int main(int argc, char **argv)
{
    if (!read_options(argc, argv)) {
        fprintf(stderr, "usage: tools-year [--dir DIR] [--out DIR] [--days N] "
                        "[--workflows-a-day N] [--seed N]\n");
        return 2;
    }
    if (!options.dir)
        options.dir = scratch_memory_dir();
    return run();
}
