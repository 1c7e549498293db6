/* Every byte of a small log flipped, and its files cut at every length: log_verify() reports each
 * one and nothing crashes, the reader and recovery neither.
 *
 * All of that with TEST_EXHAUSTIVE=1 (`make check-all`, minutes). Otherwise, of long runs of zeros
 * and of long payloads, each under one checksum, every 61st byte is flipped, and the cuts are those
 * around the edges of sectors. Sanitizer builds take a sample; its seed is printed. The copy
 * that is broken lies in memory where there is such a filesystem, since every case reads it all;
 * O_DIRECT has tests of its own. */
#include "log/log.h"
#include "log/reader.h"
#include "log/verify.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "log_commands.h"
#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY (256u << 10)
#define PATH_SIZE 4096

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SAMPLE 31
#else
#define SAMPLE 1
#endif

static char memory_dir[] = "/dev/shm/daa-verify-XXXXXX";
static char broken[PATH_SIZE];
static unsigned seed;
static bool exhaustive;
static struct error error;

static void remove_memory_dir(void)
{
    scratch_remove(memory_dir);
}

static void choose_place(void)
{
    if (mkdtemp(memory_dir) == NULL) {
        snprintf(broken, sizeof broken, "%s/broken", scratch_dir());
        return;
    }
    atexit(remove_memory_dir);
    snprintf(broken, sizeof broken, "%s/broken", memory_dir);
}

/* Three segments from the writer: OPEN, small frames, a command larger than a frame, SEAL; more
 * frames, CLOSE; a fork; spares and CHECKPOINT. Its copy is known for one, which may not hide
 * anything: the other log's is not. */
static void write_log(const char *dir)
{
    struct budget budget;
    struct io *io;
    struct log *log;
    struct log_commands commands = { .count = 0 };
    budget_init(&budget, 1u << 30);
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = CAPACITY,
                                   .sync = LOG_SYNC_DSYNC,
                                   .maintain_inline = true,
                                   .start_time_ns = 1700000000000000000u };
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    commands.time_ns = options.start_time_ns;
    bool good = true;
    for (uint32_t i = 0; i < 3; i++)
        good = good && log_commands_append(&commands, log, 1 + i, 100 * (i + 1)) &&
               log_commands_settle(log);
    good = good && log_commands_append(&commands, log, 40, 3000) && log_commands_settle(log);
    good = good && log_commands_append(&commands, log, 40, 3000) && log_commands_settle(log);
    good = good && log_commands_append(&commands, log, 2, 50) && log_commands_settle(log);
    if (!ok(good, "the writer takes the events of a small log"))
        tap_note("%s", log_failure(log) != NULL ? log_failure(log) : "no failure");
    if (log_close(&log, &error) < 0)
        tap_bail_out("%s", error.text);
    options.fork = true;
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    ok(log_commands_append(&commands, log, 1, 10) && log_commands_settle(log), "and a fork's");
    while (log_maintain(log, &error) == 1)
        continue;
    if (log_close(&log, &error) < 0)
        tap_bail_out("%s", error.text);
    io_close(io);
    log_commands_free(&commands);
}

static enum log_verdict verify(const char *dir, struct log_verify_result *result)
{
    struct log_verify_options options = { .dir = dir };
    if (log_verify(&options, result, &error) < 0)
        return LOG_DAMAGED; /* an error is a report too */
    return result->verdict;
}

static void note_finding(const struct log_finding *finding, void *context)
{
    (void)context;
    tap_note("%s at %llu + %llu: %s", finding->file, (unsigned long long)finding->offset,
             (unsigned long long)finding->size, finding->text);
}

/* Recovery and both kinds of reader go over the broken log: whatever they say, they end. */
static void use_broken(void)
{
    struct log_recovery recovery;
    struct record record;
    (void)log_recover(broken, NULL, 0, &recovery, &error);
    for (int skip = 0; skip < 2; skip++) {
        struct log_reader *reader;
        struct log_reader_options options = { .dir = broken, .skip_damage = skip };
        if (log_reader_open(&reader, &options, &error) < 0)
            continue;
        uint64_t last = 0;
        while (log_reader_next(reader, &record, NULL, &error) == 1) {
            if (record.seq <= last)
                tap_bail_out("a reader gives event %llu behind event %llu",
                             (unsigned long long)record.seq, (unsigned long long)last);
            last = record.seq;
        }
        log_reader_close(reader);
    }
}

struct counts {
    unsigned tried, missed;
    uint64_t first_missed;
};

static void try_one(struct counts *counts, const char *what, const char *name, uint64_t at)
{
    struct log_verify_result result;
    if (verify(broken, &result) == LOG_SOUND && counts->missed++ == 0)
        tap_note("%s %s at %llu is not reported", what, name, (unsigned long long)at);
    if (counts->tried++ % 37 == 0)
        use_broken();
}

/* Bytes that hold anything are flipped one by one, of blocks of zeros one byte each. */
static void flip_bytes(int fd, const char *name, const uint8_t *bytes, uint64_t size)
{
    struct counts counts = { .tried = 0 };
    uint64_t in_block = 0;
    for (uint64_t at = 0; at < size; at++) {
        uint64_t block = at / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
        if (at == block)
            in_block = (unsigned)rand_r(&seed) % LOG_BLOCK_SIZE;
        bool zeros = bytes_are_zero(bytes + block, LOG_BLOCK_SIZE);
        bool payload =
            memcmp(bytes + block, "DAF1", 4) != 0 && block != 0 && strncmp(name, "seg-", 4) == 0;
        bool padding = at - block >= 64 && bytes_are_zero(bytes + at - 64, 64);
        bool all = exhaustive || !(payload || padding) || at % 61 == 0;
        if (zeros ? at != block + in_block : !all)
            continue;
        if (SAMPLE > 1 && counts.tried > 0 && (unsigned)rand_r(&seed) % SAMPLE != 0)
            continue;
        uint8_t flipped = bytes[at] ^ (uint8_t)(1u << at % 8);
        if (pwrite(fd, &flipped, 1, (off_t)at) != 1)
            tap_bail_out("cannot write %s", name);
        try_one(&counts, "a flipped bit in", name, at);
        if (pwrite(fd, bytes + at, 1, (off_t)at) != 1)
            tap_bail_out("cannot write %s", name);
    }
    ok(counts.missed == 0 && counts.tried > 0, "%s: each of %u flipped bytes is reported", name,
       counts.tried);
}

/* The next shorter length to try: around each edge of a sector, and somewhere between; in a block
 * of zeros, where one cut is like the other, at its two ends. */
static uint64_t shorter(const uint8_t *bytes, uint64_t at)
{
    uint64_t in_sector = at % LOG_SECTOR_SIZE, block = at / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    if (exhaustive)
        return at - 1;
    if (at < block + LOG_BLOCK_SIZE - 1 && at > block + 1 &&
        bytes_are_zero(bytes + block, LOG_BLOCK_SIZE))
        return block + 1;
    uint64_t step = in_sector < 2                      ? 1
                    : in_sector == LOG_SECTOR_SIZE - 1 ? 200
                    : in_sector > 200                  ? 111
                                                       : in_sector - 1;
    step *= SAMPLE;
    return step < at ? at - step : 0;
}

/* From the longest to the shortest, so that nothing has to be written between two cuts. */
static void cut(int fd, const char *name, const uint8_t *bytes, uint64_t size)
{
    struct counts counts = { .tried = 0 };
    for (uint64_t at = size; at > 0;) {
        at = at == size ? size - 1 : shorter(bytes, at);
        if (ftruncate(fd, (off_t)at) < 0)
            tap_bail_out("cannot cut %s", name);
        try_one(&counts, "a cut of", name, at);
    }
    if (pwrite(fd, bytes, size, 0) != (ssize_t)size)
        tap_bail_out("cannot write %s", name);
    ok(counts.missed == 0 && counts.tried > 0 && (!exhaustive || counts.tried == size),
       "%s: each of %u cuts is reported", name, counts.tried);
}

static bool has_next(const char *name)
{
    char path[PATH_SIZE + 256], next[LOG_SEGMENT_NAME_SIZE];
    segment_name(next, strtoull(name + strlen("seg-"), NULL, 10) + 1);
    snprintf(path, sizeof path, "%s/%s", broken, next);
    return access(path, F_OK) == 0;
}

/* It was taken away. A spare before another one could have been begun, for all that is known. */
static void may_be_missing(const char *name, const uint8_t *bytes)
{
    struct log_verify_result result;
    bool checkpoint = strcmp(name, LOG_CHECKPOINT_NAME) == 0;
    bool spare = !checkpoint && bytes_are_zero(bytes, LOG_BLOCK_SIZE);
    if (spare && has_next(name))
        ok(verify(broken, &result) != LOG_SOUND, "%s: it is missed, for a spare follows", name);
    else if (spare || checkpoint)
        is_int(verify(broken, &result), LOG_SOUND, "%s: it may be missing", name);
}

static void break_file(const char *from, const char *name)
{
    char path[PATH_SIZE + 256];
    unsigned long size;
    snprintf(path, sizeof path, "%s/%s", from, name);
    uint8_t *bytes = scratch_read(path, &size);
    snprintf(path, sizeof path, "%s/%s", broken, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        tap_bail_out("cannot open %s", path);
    flip_bytes(fd, name, bytes, size);
    cut(fd, name, bytes, size);
    close(fd);
    struct log_verify_result result;
    is_int(verify(broken, &result), LOG_SOUND, "%s: put right again, the log is sound", name);
    unlink(path);
    may_be_missing(name, bytes);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        tap_bail_out("cannot write %s", path);
    close(fd);
    free(bytes);
}

static void break_all(const char *dir, const char *what)
{
    struct log_verify_result result;
    struct log_verify_options options = { .dir = dir, .finding = note_finding };
    int code = log_verify(&options, &result, &error);
    if (!ok(code == 0 && result.verdict == LOG_SOUND && result.findings == 0, "%s is sound", what))
        tap_note("%s", error.text);
    tap_note("%llu segments, %llu spares, %llu frames, %llu records",
             (unsigned long long)result.segments, (unsigned long long)result.spares,
             (unsigned long long)result.frames, (unsigned long long)result.records);
    scratch_copy(dir, broken);
    DIR *names = opendir(dir);
    struct dirent *entry;
    while (names != NULL && (entry = readdir(names)) != NULL)
        if (strncmp(entry->d_name, "seg-", 4) == 0 ||
            strcmp(entry->d_name, LOG_CHECKPOINT_NAME) == 0)
            break_file(dir, entry->d_name);
    closedir(names);
    scratch_remove(broken);
}

/* By hand: a run of two small frames, which the writer makes only of large commands. */
static void make_log(const char *dir)
{
    struct log_maker maker;
    log_maker_init(&maker, CAPACITY);
    log_maker_open(&maker);
    log_maker_frame(&maker, 0, 3, 20);
    log_maker_frame(&maker, FRAME_TXN | FRAME_TXN_BEGIN, 2, 30);
    log_maker_frame(&maker, FRAME_TXN | FRAME_TXN_END, 1, 40);
    maker.durable_seq = maker.next_seq - 1;
    log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    log_maker_next(&maker, 0);
    log_maker_frame(&maker, 0, 1, 0);
    log_maker_write(&maker, dir);
    log_maker_write_checkpoint(&maker, dir, maker.next_seq - 1);
    log_maker_free(&maker);
}

int main(void)
{
    const char *text = getenv("TEST_SEED");
    seed = text != NULL ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
    tap_note("TEST_SEED=%u", seed);
    exhaustive = getenv("TEST_EXHAUSTIVE") != NULL;
    choose_place();
    /* Buffers come and go with every case; fresh pages for each would take most of the time. */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    const char *made = scratch_path("made"), *written = scratch_path("written");
    make_log(made);
    break_all(made, "a log made by hand");
    write_log(written);
    break_all(written, "a log from the writer");
    return tap_done();
}
