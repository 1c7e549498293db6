/* daa-log bench: how fast a log is on this disk, beside what the disk does without one. */
#include "core/base/check.h"
#include "iouring/file.h"
#include "iouring/measure.h"
#include "log/log.h"
#include "tools/command/progress.h"
#include "tools/log/log.h"
#include "tools/log/words.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define MEMORY_MAX (512u << 20)
#define STAGE_BYTES_MAX (256u << 20) /* of the disk, for each number in flight */
#define FREE_MIN (1500ull << 20)     /* what all stages and the spares may take */
#define SAMPLES_MAX (1u << 20)
#define STARTED 4096u /* more than are in flight, a power of two */
#define BARE_SIZE (256u << 10)
#define BARE_DEPTH 8u
#define BARE_BYTES_MAX (4ull * STAGE_BYTES_MAX) /* over and over into one file */
#define BARE_FILE_SIZE (64u << 20)
#define EVENT_KIND 60000u /* of nothing that an agent writes */

struct bench {
    const struct command *command;
    const char *dir;
    bool json;
    uint64_t duration_ns, size;

    char scratch[PATH_MAX];
    struct budget budget;
    struct io *io;
    struct log *log;
    uint8_t *payload;
    uint64_t started_ns[STARTED], noted_seq;
    uint64_t *samples;
    uint64_t sample_count;
    uint64_t bare_mean_ns;
    struct text line;
};

static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static unsigned long long big(uint64_t number)
{
    return number;
}

static uint64_t a_second(uint64_t count, uint64_t took_ns)
{
    return took_ns == 0 ? 0 : (uint64_t)((double)count * (double)SECOND / (double)took_ns);
}

/*--- Printing ----------------------------------------------------------------------------------*/

struct row {
    const char *what;      /* for programs */
    uint64_t in_flight;    /* 0: not of appending */
    uint64_t count, bytes; /* a second */
    uint64_t p50_ns, p99_ns;
    double ratio; /* events in the time of a bare write of 4 KB; 0: of nothing */
};

static void print_row(struct bench *bench, const struct row *row, const char *words)
{
    char bytes[WORDS_SIZE], p50[WORDS_SIZE], p99[WORDS_SIZE];
    struct text *line = &bench->line;
    if (!bench->json) {
        printf("%-42s %10llu/s %10s/s", words, big(row->count), words_of_bytes(bytes, row->bytes));
        if (row->p50_ns > 0)
            printf("  half within %s, 99 %% within %s", words_of_duration(p50, row->p50_ns),
                   words_of_duration(p99, row->p99_ns));
        if (row->ratio > 0)
            printf("  (%.4g for a bare write)", row->ratio);
        putchar('\n');
        return;
    }
    text_json_open_object(line, NULL);
    text_json_cstring(line, "what", row->what);
    text_json_unsigned(line, "in_flight", row->in_flight);
    text_json_unsigned(line, "per_second", row->count);
    text_json_unsigned(line, "bytes_per_second", row->bytes);
    text_json_unsigned(line, "p50_ns", row->p50_ns);
    text_json_unsigned(line, "p99_ns", row->p99_ns);
    text_json_real(line, "ratio", row->ratio);
    text_json_close_object(line);
    printf("%s\n", text_string(line));
    text_clear(line);
}

/*--- The bare disk -----------------------------------------------------------------------------*/

struct bare {
    struct io_op op; /* first */
    struct io *io;
    uint64_t *done, *offset, end_ns;
    int *code;
};

/* Each that is done begins the next one, until it is time. */
static void bare_done(struct io_op *op, int result)
{
    struct bare *bare = (struct bare *)op;
    if (result != (int)BARE_SIZE) {
        *bare->code = result < 0 ? result : -EIO;
        return;
    }
    ++*bare->done;
    if (*bare->code < 0 || stopped || now_ns() >= bare->end_ns ||
        *bare->done * BARE_SIZE >= BARE_BYTES_MAX)
        return;
    op->offset = *bare->offset;
    *bare->offset = (*bare->offset + BARE_SIZE) % BARE_FILE_SIZE;
    io_submit(bare->io, op);
}

static int run_bare(struct bench *bench, int fd, uint8_t *buffer, uint64_t *done)
{
    struct bare bares[BARE_DEPTH];
    int code = 0, ran;
    uint64_t offset = 0, end_ns = now_ns() + bench->duration_ns;
    for (uint32_t i = 0; i < BARE_DEPTH; i++) {
        bares[i] = (struct bare){ .op = { .kind = IO_WRITE,
                                          .fd = fd,
                                          .buffer = buffer,
                                          .size = BARE_SIZE,
                                          .offset = offset,
                                          .dsync = true,
                                          .done = bare_done },
                                  .io = bench->io,
                                  .done = done,
                                  .offset = &offset,
                                  .end_ns = end_ns,
                                  .code = &code };
        offset += BARE_SIZE;
        io_submit(bench->io, &bares[i].op);
    }
    while ((ran = io_run(bench->io)) > 0)
        continue;
    return ran < 0 ? ran : code;
}

/* What the disk makes durable a second, in large writes, several at a time. */
static int measure_bandwidth(struct bench *bench, uint64_t *a_second_bytes, struct error *error)
{
    static const char name[] = "bare";
    char path[PATH_MAX + 8];
    uint64_t done = 0;
    bool direct;
    snprintf(path, sizeof path, "%s/%s", bench->scratch, name);
    int code = file_make_zeroed(bench->scratch, name, BARE_FILE_SIZE, error);
    if (code < 0)
        return code;
    int fd = file_open_direct(path, true, &direct, error);
    uint8_t *buffer = file_aligned_buffer(BARE_SIZE);
    code = fd < 0 ? fd : buffer == NULL ? -ENOMEM : 0;
    uint64_t begun_ns = now_ns();
    if (code == 0)
        code = run_bare(bench, fd, buffer, &done);
    *a_second_bytes = a_second(done * BARE_SIZE, now_ns() - begun_ns);
    if (fd >= 0)
        close(fd);
    free(buffer);
    unlink(path);
    return code < 0 ? error_set(error, code, "cannot write %s: %s", path, error_text(code)) : 0;
}

static int measure_bare(struct bench *bench, struct error *error)
{
    struct measure measure;
    uint64_t bytes = 0;
    int code = measure_writes(bench->scratch, &measure, error);
    if (code == 0)
        code = measure_bandwidth(bench, &bytes, error);
    if (code < 0 || stopped)
        return code;
    const struct measure_times *times = &measure.of[MEASURE_DSYNC];
    if (measure.of[MEASURE_FDATASYNC].code == 0 &&
        measure.of[MEASURE_FDATASYNC].p50_ns * 115 < times->p50_ns * 100)
        times = &measure.of[MEASURE_FDATASYNC]; /* as the log chooses */
    bench->bare_mean_ns = times->mean_ns;
    struct row one = { .what = "bare-4k",
                       .count = a_second(1, times->mean_ns),
                       .p50_ns = times->p50_ns,
                       .p99_ns = times->p99_ns };
    one.bytes = one.count * FILE_BLOCK_SIZE;
    print_row(bench, &one, "bare writes of 4 KB, one at a time");
    struct row many = { .what = "bare-256k", .bytes = bytes, .count = bytes / BARE_SIZE };
    print_row(bench, &many, "bare writes of 256 KB, 8 at a time");
    return 0;
}

/*--- Appending ---------------------------------------------------------------------------------*/

static int append_one(struct bench *bench)
{
    uint64_t seq;
    int code = log_reserve(bench->log, 1, bench->size, &seq);
    if (code < 0)
        return code;
    struct record record = { .seq = seq,
                             .stream = seq,
                             .kind = EVENT_KIND,
                             .time_ns = wall_clock_ns(),
                             .payload = span_of(bench->payload, bench->size) };
    bench->started_ns[seq % STARTED] = now_ns();
    log_append(bench->log, &record);
    return 0;
}

static void note_durable(struct bench *bench)
{
    uint64_t durable = log_durable_seq(bench->log), time_ns = now_ns();
    while (bench->noted_seq < durable) {
        uint64_t *started = &bench->started_ns[++bench->noted_seq % STARTED];
        if (*started != 0 && bench->sample_count < SAMPLES_MAX)
            bench->samples[bench->sample_count++] = time_ns - *started;
        *started = 0; /* the log's own records have none */
    }
}

/* Keeps so many in flight until it is time. */
static int keep_in_flight(struct bench *bench, uint64_t in_flight, uint64_t end_ns,
                          uint64_t bytes_end)
{
    struct log_stats stats;
    int code = 0;
    bool more = true;
    while (code == 0 && (more || log_durable_seq(bench->log) + 1 < log_next_seq(bench->log))) {
        while (more && code == 0 &&
               log_next_seq(bench->log) - log_durable_seq(bench->log) <= in_flight)
            code = append_one(bench);
        if (code == ERROR_FULL) /* no spare is ready, or the disk is behind */
            code = 0;
        if (code == 0)
            code = log_flush(bench->log);
        if (code == 0)
            code = log_wait(bench->log, -1, SECOND / 10);
        note_durable(bench);
        log_stats_get(bench->log, &stats);
        more = !stopped && now_ns() < end_ns && stats.disk_bytes < bytes_end;
    }
    return code;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static int append_stage(struct bench *bench, uint64_t in_flight, struct error *error)
{
    struct log_stats before, after;
    char words[64];
    log_stats_get(bench->log, &before);
    bench->sample_count = 0;
    bench->noted_seq = log_durable_seq(bench->log);
    uint64_t begun_ns = now_ns();
    int code = keep_in_flight(bench, in_flight, begun_ns + bench->duration_ns,
                              before.disk_bytes + STAGE_BYTES_MAX);
    uint64_t took_ns = now_ns() - begun_ns;
    if (code < 0)
        return error_set(error, code, "%s: %s", bench->scratch,
                         log_failure(bench->log) ? log_failure(bench->log) : error_text(code));
    log_stats_get(bench->log, &after);
    if (stopped || bench->sample_count == 0)
        return 0;
    qsort(bench->samples, bench->sample_count, sizeof *bench->samples, compare);
    struct row row = { .what = "append",
                       .in_flight = in_flight,
                       .count = a_second(after.records - before.records, took_ns),
                       .bytes = a_second(after.disk_bytes - before.disk_bytes, took_ns),
                       .p50_ns = bench->samples[bench->sample_count / 2],
                       .p99_ns = bench->samples[bench->sample_count * 99 / 100] };
    row.ratio = (double)row.count / (double)SECOND * (double)bench->bare_mean_ns;
    snprintf(words, sizeof words, "events of %llu bytes, %llu in flight", big(bench->size),
             big(in_flight));
    print_row(bench, &row, words);
    return 0;
}

static int open_log(struct bench *bench, struct error *error)
{
    struct log_options options = { .dir = bench->scratch,
                                   .io = bench->io,
                                   .budget = &bench->budget,
                                   .start_time_ns = wall_clock_ns() };
    return log_open(&bench->log, &options, NULL, error);
}

static int measure_appends(struct bench *bench, struct error *error)
{
    static const uint64_t in_flight[] = { 1, 50, 1000 };
    int code = open_log(bench, error);
    for (size_t i = 0; code == 0 && !stopped && i < sizeof in_flight / sizeof in_flight[0]; i++)
        code = append_stage(bench, in_flight[i], error);
    if (bench->log != NULL && code < 0)
        log_abandon(&bench->log);
    else if (bench->log != NULL)
        code = log_close(&bench->log, error);
    return code;
}

/*--- Reading -----------------------------------------------------------------------------------*/

static void forget_cache(const struct bench *bench)
{
    DIR *names = opendir(bench->scratch);
    struct dirent *entry;
    while (names != NULL && (entry = readdir(names)) != NULL) {
        int fd = openat(dirfd(names), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0) {
            (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            close(fd);
        }
    }
    if (names != NULL)
        closedir(names);
}

static int measure_reads(struct bench *bench, struct error *error)
{
    struct log_reader *reader;
    struct record record;
    struct log_reader_options options = { .dir = bench->scratch, .budget = &bench->budget };
    uint64_t count = 0, bytes = 0;
    forget_cache(bench);
    uint64_t begun_ns = now_ns();
    int code = log_reader_open(&reader, &options, error);
    if (code < 0)
        return code;
    while (!stopped && (code = log_reader_next(reader, &record, NULL, error)) == 1) {
        count++;
        bytes += record.payload.size;
    }
    uint64_t took_ns = now_ns() - begun_ns;
    log_reader_close(reader);
    if (code < 0 || stopped)
        return code < 0 ? code : 0;
    struct row row = { .what = "read",
                       .count = a_second(count, took_ns),
                       .bytes = a_second(bytes, took_ns) };
    print_row(bench, &row, "events read back, each checked");
    return 0;
}

/*--- The scratch log ---------------------------------------------------------------------------*/

static int make_scratch(struct bench *bench, struct error *error)
{
    struct statvfs status;
    char words[WORDS_SIZE], needed[WORDS_SIZE];
    if (statvfs(bench->dir, &status) < 0)
        return error_set(error, -errno, "%s: %s", bench->dir, error_text(-errno));
    uint64_t room = (uint64_t)status.f_bavail * status.f_frsize;
    if (room < FREE_MIN)
        return error_set(error, -ENOSPC, "%s: %s are free there, and %s may be needed", bench->dir,
                         words_of_bytes(words, room), words_of_bytes(needed, FREE_MIN));
    if (snprintf(bench->scratch, sizeof bench->scratch, "%s/daa-bench-XXXXXX", bench->dir) >=
        PATH_MAX)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", bench->dir);
    if (mkdtemp(bench->scratch) == NULL) {
        int code = -errno;
        bench->scratch[0] = '\0';
        return error_set(error, code, "no directory can be made in %s: %s", bench->dir,
                         error_text(code));
    }
    return 0;
}

/* Nothing but files lie in it. */
static void remove_scratch(struct bench *bench)
{
    struct dirent *entry;
    DIR *names = bench->scratch[0] != '\0' ? opendir(bench->scratch) : NULL;
    if (names == NULL)
        return;
    while ((entry = readdir(names)) != NULL)
        if (entry->d_name[0] != '.' && unlinkat(dirfd(names), entry->d_name, 0) < 0)
            (void)unlinkat(dirfd(names), entry->d_name, AT_REMOVEDIR);
    closedir(names);
    if (rmdir(bench->scratch) < 0)
        fprintf(stderr, "%s: cannot remove %s: %s\n", bench->command->name, bench->scratch,
                error_text(-errno));
}

static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = stop };
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
    signal(SIGXFSZ, SIG_IGN);
}

static int run(struct bench *bench, struct error *error)
{
    bench->payload = malloc(bench->size + 1);
    bench->samples = malloc(SAMPLES_MAX * sizeof *bench->samples);
    if (bench->payload == NULL || bench->samples == NULL)
        return error_set(error, -ENOMEM, "no memory");
    for (uint64_t i = 0; i < bench->size; i++)
        bench->payload[i] = (uint8_t)('a' + i % 23);
    int code = make_scratch(bench, error);
    if (code == 0 && (code = io_open_best(&bench->io, 64)) < 0)
        error_set(error, code, "no engine: %s", error_text(code));
    if (code == 0)
        code = measure_bare(bench, error);
    if (code == 0 && !stopped)
        code = measure_appends(bench, error);
    if (code == 0 && !stopped)
        code = measure_reads(bench, error);
    return code;
}

int log_bench(int argc, char **argv)
{
    static struct bench bench = { .duration_ns = 3 * SECOND, .size = 200 };
    const struct command_option options[] = {
        { "duration", 'd', "DURATION", COMMAND_DURATION, &bench.duration_ns,
          "how long each is measured, at most (3s)" },
        { "size", 's', "BYTES", COMMAND_SIZE, &bench.size, "of an event's payload (200)" },
        { "json", 'j', NULL, COMMAND_FLAG, &bench.json, "print one JSON object a line" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log bench",
        .purpose =
            "Measure how fast a log is on the disk of DIR: durable events a second with 1, 50 and\n"
            "1000 in flight, and reading them back, beside what the disk does without a log.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
        .notes = "The log is made in a directory of its own in DIR, which is removed at the end.\n"
                 "Beside something else that uses the disk the figures say nothing.",
    };
    struct error error = { 0 };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (bench.size > (1u << 20) || bench.duration_ns == 0)
        return command_misused(&command, bench.duration_ns == 0
                                             ? "--duration: it must be longer than nothing"
                                             : "--size: it can be 1MB at most");
    bench.command = &command;
    bench.dir = argv[first];
    budget_init(&bench.budget, MEMORY_MAX);
    text_init(&bench.line);
    catch_signals();
    int code = run(&bench, &error);
    if (bench.io != NULL && io_underway(bench.io) == 0)
        io_close(bench.io);
    remove_scratch(&bench);
    free(bench.payload);
    free(bench.samples);
    text_free(&bench.line);
    if (code < 0)
        return command_failed_error(&command, &error);
    return stopped ? command_failed(&command, "stopped by a signal") : COMMAND_GOOD;
}
