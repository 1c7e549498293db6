/* Reads a log in order, raw and sealed: makes one of so many full segments of events as workflows
 * have them, scans it with the reader (each record's CRC-32C, and with the chain), seals it, and
 * scans it again. Rates are of record bytes, headers too, by the clock and by the processor.
 *
 * Then single records at random places, 256 reads under way, against what limits that: the device
 * with a bare loop of reads of the same size, and zstd with chunks that are in memory. What limits
 * the chain is SHA-256, which is measured too.
 *
 * When each part began is told too, for a profile of it alone: perf record -k mono -e cpu-clock,
 * perf report --time BEGUN,BEGUN+SECONDS. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "core/base/sha256.h"
#include "iouring/file.h"
#include "iouring/io.h"
#include "log/log.h"
#include "log/read_many.h"
#include "log/reader.h"
#include "log/sealed.h"
#include "log/sealing.h"
#include "payload.h"

struct run {
    const char *dir;
    unsigned segments, size;
    struct budget budget;
    struct error error;
};

struct rate {
    uint64_t bytes, records;
    double begun, seconds, cpu_seconds; /* begun: on the monotonic clock, as a profiler wants it */
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

static void append_some(struct run *run, struct log *log, uint64_t time_ns)
{
    static char payload[65536];
    uint64_t seq;
    for (int i = 0; i < 64; i++) {
        while (log_reserve(log, 1, run->size, &seq) == ERROR_FULL)
            (void)log_wait(log, -1, 1000000);
        payload_make(payload, run->size, seq);
        struct record record = { .seq = seq,
                                 .stream = seq > 8 ? seq / 8 * 8 : seq,
                                 .time_ns = time_ns + seq * 1000,
                                 .kind = (uint16_t)(16 + seq % 8),
                                 .payload = span_of(payload, run->size) };
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
    double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    rate.begun = now(CLOCK_MONOTONIC);
    while ((code = log_reader_next(reader, &record, &place, &run->error)) == 1) {
        rate.bytes += record_size(record.payload.size);
        rate.records++;
    }
    if (code < 0)
        fail(run);
    rate.seconds = now(CLOCK_MONOTONIC) - rate.begun;
    rate.cpu_seconds = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    log_reader_close(reader);
    return rate;
}

enum { POINTS = 20000, DEPTH = 256 };

static uint64_t next_random(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void count_record(size_t index, int result, const struct record *record,
                         const struct error *error, void *context)
{
    struct rate *rate = context;
    (void)index;
    (void)error;
    if (result == 1) {
        rate->records++;
        rate->bytes += record_size(record->payload.size);
    }
}

/* Of `last` records. */
static struct rate points(struct run *run, uint64_t last, struct log_many_counts *counts)
{
    struct log_many_options options = { .dir = run->dir, .budget = &run->budget };
    static uint64_t seqs[POINTS];
    struct log_many *many;
    struct rate rate = { .bytes = 0 };
    for (size_t i = 0; i < POINTS; i++)
        seqs[i] = 1 + next_random() % last;
    if (log_many_open(&many, &options, &run->error) < 0)
        fail(run);
    double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    rate.begun = now(CLOCK_MONOTONIC);
    if (log_read_many(many, seqs, POINTS, count_record, &rate, &run->error) < 0)
        fail(run);
    rate.seconds = now(CLOCK_MONOTONIC) - rate.begun;
    rate.cpu_seconds = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    log_many_counts_get(many, counts);
    log_many_close(many);
    if (rate.records != POINTS) {
        fprintf(stderr, "read: %" PRIu64 " of %d records are found\n", rate.records, POINTS);
        exit(1);
    }
    return rate;
}

struct bare {
    struct io_op op; /* first */
    struct io *io;
    int *fds;
    unsigned files;
    uint64_t blocks; /* of a file */
    uint64_t *left;
};

static void read_on(struct io_op *op, int result)
{
    struct bare *bare = (struct bare *)op;
    if (result < 0)
        exit(1);
    if (*bare->left == 0)
        return;
    --*bare->left;
    op->fd = bare->fds[next_random() % bare->files];
    op->offset = next_random() % (bare->blocks - op->size / 4096) * 4096;
    io_submit(bare->io, op);
}

/* As many reads of `size` bytes at random places of the raw segments: a second. */
static double device(struct run *run, uint32_t size)
{
    static struct bare reads[DEPTH];
    static int fds[64];
    unsigned files = run->segments < 64 ? run->segments : 64;
    uint64_t left = POINTS;
    struct io *io;
    if (io_open_best(&io, DEPTH) < 0)
        fail(run);
    uint8_t *buffers = file_aligned_buffer((size_t)DEPTH * size);
    for (unsigned i = 0; i < files; i++) {
        char path[4096];
        bool direct;
        snprintf(path, sizeof path, "%s/seg-%010u.log", run->dir, i + 1);
        fds[i] = file_open_direct(path, false, &direct, &run->error);
        if (fds[i] < 0 || buffers == NULL)
            fail(run);
    }
    double begun = now(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < DEPTH; i++) {
        reads[i] = (struct bare){ .op = { .kind = IO_READ,
                                          .buffer = buffers + (size_t)i * size,
                                          .size = size,
                                          .done = read_on },
                                  .io = io,
                                  .fds = fds,
                                  .files = files,
                                  .blocks = LOG_SEGMENT_SIZE / 4096,
                                  .left = &left };
        read_on(&reads[i].op, 0);
    }
    while (io_underway(io) > 0)
        if (io_run(io) < 0)
            fail(run);
    double seconds = now(CLOCK_MONOTONIC) - begun;
    io_close(io);
    free(buffers);
    for (unsigned i = 0; i < files; i++)
        close(fds[i]);
    return POINTS / seconds;
}

/* Bytes a second of a processor that are hashed, from memory: what limits the chain. */
static double hashes(void)
{
    enum { TIMES = 512 };
    static uint8_t bytes[1 << 20], digest[SHA256_SIZE];
    double begun = now(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < TIMES; i++) {
        sha256_of(digest, bytes, sizeof bytes);
        bytes[0] = digest[0];
    }
    return TIMES * (double)sizeof bytes / (now(CLOCK_PROCESS_CPUTIME_ID) - begun);
}

static uint8_t *read_file(struct run *run, int fd, uint64_t size)
{
    uint64_t room = (size + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    uint8_t *bytes = file_aligned_buffer(room);
    if (bytes == NULL || file_read_at(fd, bytes, room, 0) != (int64_t)size)
        fail(run);
    return bytes;
}

/* Chunks at random places of one file that zstd unpacks, as it is by default, from memory: a second
 * of a processor. */
static double unpacks(struct run *run)
{
    enum { TIMES = 5000 };
    static uint8_t target[SEALED_CHUNK_SIZE_MAX];
    struct source source;
    uint64_t ignored = 0;
    if (source_open_sealed(&source, run->dir, "seg-0000000001.zlog", 1, NULL, &run->error) < 0 ||
        sealed_load(source.sealed, source.fd, &ignored) < 0)
        fail(run);
    const struct sealed *sealed = source.sealed;
    uint8_t *bytes = read_file(run, source.fd, sealed->front.file_size);
    ZSTD_DCtx *zstd = ZSTD_createDCtx();
    double begun = now(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < TIMES; i++) {
        uint64_t chunk = next_random() % sealed->front.chunk_count;
        uint64_t from = sealed->offsets[chunk], size = sealed->offsets[chunk + 1] - from;
        if (ZSTD_isError(ZSTD_decompressDCtx(zstd, target, sizeof target, bytes + from, size)))
            fail(run);
    }
    double seconds = now(CLOCK_PROCESS_CPUTIME_ID) - begun;
    ZSTD_freeDCtx(zstd);
    free(bytes);
    source_close(&source);
    return TIMES / seconds;
}

static void print_points(const char *name, struct rate rate, const struct log_many_counts *counts)
{
    printf("\"%s\":{\"begun\":%.6f,\"seconds\":%.6f,\"records_per_second\":%.0f,\"reads\":%" PRIu64
           ",\"bytes\":%" PRIu64 ",\"cpu_us_each\":%.2f,\"one_by_one\":%" PRIu64 "},",
           name, rate.begun, rate.seconds, (double)rate.records / rate.seconds, counts->reads,
           counts->bytes, 1e6 * rate.cpu_seconds / (double)rate.records, counts->one_by_one);
}

static struct rate seal(struct run *run, uint64_t *packed)
{
    struct directory directory;
    struct rate rate = { .bytes = 0 };
    double cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    rate.begun = now(CLOCK_MONOTONIC);
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
    rate.seconds = now(CLOCK_MONOTONIC) - rate.begun;
    rate.cpu_seconds = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    return rate;
}

static void print(const char *name, struct rate rate)
{
    printf("\"%s\":{\"bytes\":%" PRIu64 ",\"records\":%" PRIu64
           ",\"begun\":%.6f,\"seconds\":%.6f,\"bytes_per_second\":%.0f,\"bytes_per_cpu_second\":%."
           "0f},",
           name, rate.bytes, rate.records, rate.begun, rate.seconds,
           (double)rate.bytes / rate.seconds, (double)rate.bytes / rate.cpu_seconds);
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
    struct rate raw = scan(&run, false);
    print("raw", raw);
    print("raw_chain", scan(&run, true));
    struct log_many_counts counts;
    printf("\"device_8k\":%.0f,\"device_16k\":%.0f,", device(&run, 8192), device(&run, 16384));
    print_points("raw_points", points(&run, raw.records, &counts), &counts);
    print("seal", seal(&run, &packed));
    print("sealed", scan(&run, false));
    print("sealed_chain", scan(&run, true));
    print_points("sealed_points", points(&run, raw.records, &counts), &counts);
    printf("\"unpacks\":%.0f,\"sha256\":%.0f,", unpacks(&run), hashes());
    printf("\"packed_bytes\":%" PRIu64 "}\n", packed);
    return 0;
}
