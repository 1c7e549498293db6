/* Reads a log in order, raw and sealed: makes one of so many full segments of events as workflows
 * have them, scans it with the reader (each record's CRC-32C, and with the chain), seals it, and
 * scans it again. Rates are of record bytes, headers too, by the clock and by the processor. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "iouring/io.h"
#include "log/log.h"
#include "log/reader.h"
#include "log/sealing.h"

struct run {
    const char *dir;
    unsigned segments, size;
    struct budget budget;
    struct error error;
};

struct rate {
    uint64_t bytes, records;
    double seconds, cpu_seconds;
};

static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static _Noreturn void fail(const struct run *run)
{
    fprintf(stderr, "read: %s\n", run->error.text);
    exit(1);
}

/* As an event has it: ids that differ, words that repeat, and a little that nothing predicts. */
static size_t make_payload(char *payload, size_t size, uint64_t seq)
{
    uint64_t noise = seq * 0x9e3779b97f4a7c15ull;
    size_t used = (size_t)snprintf(payload, size,
                                   "{\"workflow\":\"wf-8d1f02ab77c6d1e5-%" PRIu64
                                   "\",\"step\":\"s%" PRIu64 "\",\"status\":\"completed\","
                                   "\"token\":\"%016" PRIx64 "\",\"output\":{\"total\":%" PRIu64
                                   ",\"currency\":\"EUR\",\"note\":\"",
                                   seq / 8 * 8, seq % 8, noise, noise % 100000);
    for (; used < size; used++)
        payload[used] = "paid in full, thank you "[used % 24];
    return size;
}

static void append_some(struct run *run, struct log *log, uint64_t time_ns)
{
    static char payload[65536];
    uint64_t seq;
    for (int i = 0; i < 64; i++) {
        while (log_reserve(log, 1, run->size, &seq) == ERROR_FULL)
            (void)log_wait(log, -1, 1000000);
        size_t size = make_payload(payload, run->size, seq);
        struct record record = { .seq = seq,
                                 .stream = seq > 8 ? seq / 8 * 8 : seq,
                                 .time_ns = time_ns + seq * 1000,
                                 .kind = (uint16_t)(16 + seq % 8),
                                 .payload = span_of(payload, size) };
        log_append(log, &record);
    }
    (void)log_flush(log);
    if (log_wait(log, -1, 0) < 0)
        fail(run);
}

static void make_log(struct run *run)
{
    struct io *io;
    struct log *log;
    struct log_stats stats;
    uint64_t start_ns = 1700000000000000000u;
    if (io_open_plain(&io) < 0)
        fail(run);
    struct log_options options = { .dir = run->dir,
                                   .io = io,
                                   .budget = &run->budget,
                                   .sync = LOG_SYNC_DSYNC,
                                   .start_time_ns = start_ns };
    if (log_open(&log, &options, NULL, &run->error) < 0)
        fail(run);
    do {
        append_some(run, log, start_ns);
        log_stats_get(log, &stats);
    } while (stats.segment_no <= run->segments);
    if (log_close(&log, &run->error) < 0)
        fail(run);
    io_close(io);
}

static struct rate scan(struct run *run, bool chain)
{
    struct log_reader_options options = { .dir = run->dir,
                                          .budget = &run->budget,
                                          .verify_chain = chain };
    struct log_reader *reader;
    struct record record;
    struct log_place place;
    struct rate rate = { .bytes = 0 };
    int code;
    if (log_reader_open(&reader, &options, &run->error) < 0)
        fail(run);
    double begun = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    while ((code = log_reader_next(reader, &record, &place, &run->error)) == 1) {
        rate.bytes += record_size(record.payload.size);
        rate.records++;
    }
    if (code < 0)
        fail(run);
    rate.seconds = now(CLOCK_MONOTONIC) - begun;
    rate.cpu_seconds = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    log_reader_close(reader);
    return rate;
}

static struct rate seal(struct run *run, uint64_t *packed)
{
    struct directory directory;
    struct rate rate = { .bytes = 0 };
    double begun = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    if (directory_open(&directory, run->dir, &run->error) < 0)
        fail(run);
    struct sealing sealing = { .directory = &directory, .budget = &run->budget };
    for (size_t i = 0; i < directory.count; i++) {
        if (sealing_segment(&sealing, i, &run->error) < 0)
            fail(run);
        rate.bytes += sealing.raw;
        *packed += sealing.packed;
    }
    directory_close(&directory);
    rate.seconds = now(CLOCK_MONOTONIC) - begun;
    rate.cpu_seconds = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    return rate;
}

static void print(const char *name, struct rate rate)
{
    printf("\"%s\":{\"bytes\":%" PRIu64 ",\"records\":%" PRIu64
           ",\"seconds\":%.4f,\"bytes_per_second\":%.0f,\"bytes_per_cpu_second\":%.0f},",
           name, rate.bytes, rate.records, rate.seconds, (double)rate.bytes / rate.seconds,
           (double)rate.bytes / rate.cpu_seconds);
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "dir", required_argument, NULL, 'd' },
                                             { "segments", required_argument, NULL, 'n' },
                                             { "size", required_argument, NULL, 's' },
                                             { NULL, 0, NULL, 0 } };
    static struct run run = { .segments = 8, .size = 200 };
    uint64_t packed = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'd')
            run.dir = optarg;
        else if (option == 'n')
            run.segments = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 's')
            run.size = (unsigned)strtoul(optarg, NULL, 10);
        else
            return 2;
    }
    if (run.dir == NULL || run.size < 200 || run.size > 65536) {
        fprintf(stderr, "usage: read --dir NEW [--segments N] [--size 200..65536]\n");
        return 2;
    }
    budget_init(&run.budget, UINT64_MAX);
    make_log(&run);
    (void)scan(&run, false); /* into the page cache */
    printf("{");
    print("raw", scan(&run, false));
    print("raw_chain", scan(&run, true));
    print("seal", seal(&run, &packed));
    print("sealed", scan(&run, false));
    print("sealed_chain", scan(&run, true));
    printf("\"packed_bytes\":%" PRIu64 "}\n", packed);
    return 0;
}
