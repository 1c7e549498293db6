/* Appends events through the log's writer as the daemon does: so many in flight, and another for
 * each that became durable. Chain on, spares made beside; with --seal segments that are over are
 * sealed beside too, and how far that falls behind is told, and how long it takes to catch up when
 * nothing is appended any more. Counts what a durable event costs: time, frames, syncs, allocations
 * of this thread, bytes on disk, and hops to a kernel thread. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "iouring/io.h"
#include "log/log.h"
#include "payload.h"

enum { IN_FLIGHT_MAX = 65536, BUCKETS = 64 * 128, OPS_MAX = 64, LOOK_NS = 100000000 };

static __thread uint64_t allocations; /* of this thread */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    allocations++;
    return __libc_realloc(memory, size);
}

struct run {
    const char *dir, *engine;
    unsigned size, in_flight;
    uint64_t segment_size;
    double seconds;
    enum log_sync sync;
    bool no_chain, seal;

    struct log *log;
    struct io *io;
    struct budget budget;
    char path[4096];
    char *payloads;
    uint64_t appended_ns[IN_FLIGHT_MAX]; /* by sequence number */
    uint64_t latencies[BUCKETS];         /* 128 for each doubling */
    uint64_t events, acknowledged;
    uint64_t began_ns, ended_ns;
    uint64_t allocations;
    struct log_stats before, after;
    struct io_counts io_before, io_after;
    int punts_fd; /* -1: not to be had */
    uint64_t punts;
    double cpu;
    uint64_t looked_ns, unsealed_max; /* segments */
    double catch_up_seconds;
};

static _Noreturn void fail(const char *text)
{
    fprintf(stderr, "append: %s\n", text);
    exit(1);
}

static uint64_t clock_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* A counter of the tracepoint that a request passes when the kernel hands it to a thread. */
static int open_punts(void)
{
    char text[16] = "";
    int fd = open("/sys/kernel/tracing/events/io_uring/io_uring_queue_async_work/id", O_RDONLY);
    if (fd < 0)
        return -1;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0)
        return -1;
    struct perf_event_attr attributes = { .type = PERF_TYPE_TRACEPOINT,
                                          .size = sizeof attributes,
                                          .config = strtoull(text, NULL, 10),
                                          .disabled = 0 };
    return (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static uint64_t read_punts(const struct run *run)
{
    uint64_t count = 0;
    if (run->punts_fd < 0 || read(run->punts_fd, &count, sizeof count) != sizeof count)
        return 0;
    return count;
}

static unsigned bucket_of(uint64_t ns)
{
    if (ns < 128)
        return (unsigned)ns;
    unsigned doublings = 63 - (unsigned)__builtin_clzll(ns) - 7;
    return (doublings + 1) * 128 + (unsigned)(ns >> doublings & 127);
}

static uint64_t bucket_ns(unsigned bucket)
{
    if (bucket < 128)
        return bucket;
    return (uint64_t)(128 + bucket % 128) << (bucket / 128 - 1);
}

static uint64_t percentile_ns(const struct run *run, double part)
{
    uint64_t seen = 0, wanted = (uint64_t)((double)run->events * part);
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += run->latencies[i];
        if (seen > wanted)
            return bucket_ns(i);
    }
    return 0;
}

/* As many as there is room for. False when it stopped early, the log being full for the moment. */
static bool append_events(struct run *run, uint64_t now_ns)
{
    uint64_t time_ns = clock_ns(CLOCK_REALTIME);
    while (log_next_seq(run->log) <= run->acknowledged + run->in_flight) {
        char *payload = run->payloads + log_next_seq(run->log) % PAYLOADS * run->size;
        struct record record = { .kind = 100,
                                 .time_ns = time_ns,
                                 .payload = span_of(payload, run->size) };
        int result = log_reserve(run->log, 1, run->size, &record.seq);
        if (result == ERROR_FULL)
            return false;
        if (result < 0)
            fail(log_failure(run->log));
        memcpy(payload, &record.seq, sizeof record.seq);
        log_append(run->log, &record);
        run->appended_ns[record.seq % IN_FLIGHT_MAX] = now_ns;
    }
    return true;
}

static void take_durable(struct run *run)
{
    uint64_t durable = log_durable_seq(run->log), now_ns = clock_ns(CLOCK_MONOTONIC);
    for (; run->acknowledged < durable; run->acknowledged++) {
        uint64_t appended_ns = run->appended_ns[(run->acknowledged + 1) % IN_FLIGHT_MAX];
        if (appended_ns == 0)
            continue; /* the log's own */
        run->appended_ns[(run->acknowledged + 1) % IN_FLIGHT_MAX] = 0;
        run->latencies[bucket_of(now_ns - appended_ns)]++;
        run->events++;
        run->ended_ns = now_ns;
    }
}

static void look_at_sealing(struct run *run, uint64_t now_ns)
{
    struct log_stats stats;
    if (!run->seal || now_ns < run->looked_ns + LOOK_NS)
        return;
    run->looked_ns = now_ns;
    log_stats_get(run->log, &stats);
    if (stats.seal_error[0] != '\0')
        fail(stats.seal_error);
    run->unsealed_max = stats.unsealed > run->unsealed_max ? stats.unsealed : run->unsealed_max;
}

static void await_sealing(struct run *run)
{
    struct log_stats stats;
    uint64_t begun_ns = clock_ns(CLOCK_MONOTONIC), now_ns = begun_ns;
    do {
        if (log_wait(run->log, -1, 10000000) < 0)
            fail(log_failure(run->log));
        now_ns = clock_ns(CLOCK_MONOTONIC);
        look_at_sealing(run, now_ns);
        log_stats_get(run->log, &stats);
    } while (stats.unsealed > 0);
    run->catch_up_seconds = (double)(now_ns - begun_ns) / 1e9;
}

static void append_for_a_while(struct run *run)
{
    run->acknowledged = log_durable_seq(run->log);
    log_stats_get(run->log, &run->before);
    io_counts_get(run->io, &run->io_before);
    uint64_t allocations_before = allocations, punts_before = read_punts(run);
    double cpu_before = cpu_seconds();
    run->began_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t stop_ns = run->began_ns + (uint64_t)(run->seconds * 1e9), now_ns = run->began_ns;
    while (now_ns < stop_ns || run->acknowledged + 1 < log_next_seq(run->log)) {
        bool full = now_ns < stop_ns && !append_events(run, now_ns);
        (void)log_flush(run->log);
        if (log_wait(run->log, -1, full ? 1000000 : 1000000000) < 0)
            fail(log_failure(run->log));
        take_durable(run);
        now_ns = clock_ns(CLOCK_MONOTONIC);
        look_at_sealing(run, now_ns);
    }
    run->allocations = allocations - allocations_before;
    run->punts = read_punts(run) - punts_before;
    run->cpu = cpu_seconds() - cpu_before;
    io_counts_get(run->io, &run->io_after);
    log_stats_get(run->log, &run->after);
}

static void open_all(struct run *run)
{
    struct error error = { 0 };
    int result = strcmp(run->engine, "ring") == 0 ? io_open_ring(&run->io, OPS_MAX)
                                                  : io_open_plain(&run->io);
    if (result < 0)
        fail(error_text(result));
    snprintf(run->path, sizeof run->path, "%s/append-%ld", run->dir, (long)getpid());
    budget_init(&run->budget, 4ull << 30);
    struct log_options options = { .dir = run->path,
                                   .io = run->io,
                                   .budget = &run->budget,
                                   .segment_size = run->segment_size,
                                   .spares = 4,
                                   .sync = run->sync,
                                   .no_chain = run->no_chain,
                                   .seal = run->seal,
                                   .start_time_ns = clock_ns(CLOCK_REALTIME) };
    if (log_open(&run->log, &options, NULL, &error) < 0)
        fail(error.text);
    struct log_stats stats;
    do {
        log_stats_get(run->log, &stats);
        if (log_wait(run->log, -1, 10000000) < 0)
            fail(log_failure(run->log));
    } while (stats.spares < options.spares);
    run->punts_fd = open_punts();
    run->payloads = payloads_make(run->size);
}

static void close_all(struct run *run)
{
    char command[4200];
    struct error error = { 0 };
    if (log_close(&run->log, &error) < 0)
        fail(error.text);
    io_close(run->io);
    snprintf(command, sizeof command, "rm -rf '%s'", run->path);
    if (system(command) != 0)
        fail("cannot remove what was written");
}

static double per(uint64_t count, double of)
{
    return of > 0 ? (double)count / of : 0;
}

static void print_sealing(const struct run *run)
{
    printf("\"unsealed_max\":%" PRIu64 ",\"unsealed_after\":%" PRIu64
           ",\"sealed_bytes_per_second\":%.0f,\"catch_up_seconds\":%.2f,",
           run->unsealed_max, run->after.unsealed,
           per(run->after.sealed_raw_bytes - run->before.sealed_raw_bytes,
               (double)(run->ended_ns - run->began_ns) / 1e9),
           run->catch_up_seconds);
}

static void print(const struct run *run)
{
    const struct log_stats *before = &run->before, *after = &run->after;
    double seconds = (double)(run->ended_ns - run->began_ns) / 1e9;
    double frames = (double)(after->frames - before->frames);
    double events = (double)run->events;
    uint64_t syscalls = run->io_after.syscalls - run->io_before.syscalls;
    printf("{\"size\":%u,\"in_flight\":%u,\"engine\":\"%s\",\"sync\":\"%s\",\"chain\":%s,"
           "\"events\":%" PRIu64 ",\"seconds\":%.3f,\"events_per_second\":%.0f,"
           "\"p50_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64 ",\"frames\":%.0f,"
           "\"frames_per_second\":%.0f,\"depth\":%" PRIu64 ",\"frame_mean_ns\":%.0f,",
           run->size, run->in_flight, after->engine,
           after->sync == LOG_SYNC_DSYNC ? "dsync" : "fdatasync", run->no_chain ? "false" : "true",
           run->events, seconds, events / seconds, percentile_ns(run, 0.50),
           percentile_ns(run, 0.99), frames, frames / seconds, after->depth,
           per(after->commit_ns_sum - before->commit_ns_sum, frames));
    printf("\"syncs_per_1000_commits\":%.1f,\"syscalls_per_1000_commits\":%.1f,",
           per((after->syncs - before->syncs) * 1000, frames), per(syscalls * 1000, frames));
    if (run->punts_fd >= 0)
        printf("\"punts_per_1000_commits\":%.2f,", per(run->punts * 1000, frames));
    else
        printf("\"punts_per_1000_commits\":\"not measured\",");
    if (run->seal)
        print_sealing(run);
    printf("\"allocations_per_append\":%.6f,\"disk_bytes_per_event_byte\":%.3f,"
           "\"disk_bytes_per_second\":%.0f,\"rolls\":%" PRIu64 ",\"spare_waits\":%" PRIu64
           ",\"cpu_seconds\":%.3f}\n",
           per(run->allocations, events),
           per(after->disk_bytes - before->disk_bytes, events * run->size),
           (double)(after->disk_bytes - before->disk_bytes) / seconds, after->rolls - before->rolls,
           after->spare_waits - before->spare_waits, run->cpu);
}

static _Noreturn void usage(int status)
{
    fputs("usage: append [--dir DIR] [--size BYTES] [--in-flight N] [--seconds S]\n"
          "              [--engine ring|plain] [--sync dsync|fdatasync|probe] [--no-chain]\n"
          "              [--segment-size BYTES] [--seal]\n"
          "Appends events of BYTES (200) with N (1) in flight for S seconds (3) and prints one "
          "JSON object.\n",
          status == 0 ? stdout : stderr);
    exit(status);
}

static bool set(struct run *run, int option)
{
    if (option == 'd')
        run->dir = optarg;
    else if (option == 's')
        run->size = (unsigned)strtoul(optarg, NULL, 10);
    else if (option == 'n')
        run->in_flight = (unsigned)strtoul(optarg, NULL, 10);
    else if (option == 't')
        run->seconds = strtod(optarg, NULL);
    else if (option == 'e')
        run->engine = optarg;
    else if (option == 'c')
        run->no_chain = true;
    else if (option == 'l')
        run->seal = true;
    else if (option == 'g')
        run->segment_size = strtoull(optarg, NULL, 10);
    else if (option == 'y')
        run->sync = strcmp(optarg, "dsync") == 0       ? LOG_SYNC_DSYNC
                    : strcmp(optarg, "fdatasync") == 0 ? LOG_SYNC_FDATASYNC
                                                       : LOG_SYNC_PROBE;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "dir", required_argument, NULL, 'd' },
                                             { "size", required_argument, NULL, 's' },
                                             { "in-flight", required_argument, NULL, 'n' },
                                             { "seconds", required_argument, NULL, 't' },
                                             { "engine", required_argument, NULL, 'e' },
                                             { "sync", required_argument, NULL, 'y' },
                                             { "no-chain", no_argument, NULL, 'c' },
                                             { "segment-size", required_argument, NULL, 'g' },
                                             { "seal", no_argument, NULL, 'l' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    static struct run run = { .dir = ".",
                              .engine = "ring",
                              .size = 200,
                              .in_flight = 1,
                              .seconds = 3,
                              .sync = LOG_SYNC_DSYNC };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        if (!set(&run, option))
            usage(option == 'h' ? 0 : 2);
    if (optind != argc || run.size < 8 || run.size > 65536 || run.in_flight < 1 ||
        run.in_flight >= IN_FLIGHT_MAX || !(run.seconds > 0))
        usage(2);
    open_all(&run);
    append_for_a_while(&run);
    if (run.seal)
        await_sealing(&run);
    close_all(&run);
    print(&run);
    return 0;
}
