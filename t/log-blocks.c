/* Whole blocks of 4 KiB of a small log go wrong: each is made zero, is filled with noise, is
 * replaced by each other one, and changes places with each other one, in raw segments, sealed ones,
 * a spare and CHECKPOINT. log_verify() reports every change that takes a record away or alters one;
 * what it does not report is listed, and is harmless. Opening the log for writing afterwards loses
 * nothing in silence: it refuses, or says so, or verifying it still does.
 *
 * One block stands for all that are zero in a file. Opening is tried for a sample, of a full
 * segment only a sample is broken, and sanitizer builds take less of all; the seed is printed
 * (TEST_SEED=<n>). TEST_EXHAUSTIVE=1 takes everything. */
#include "log/directory.h"
#include "log/log.h"
#include "log/sealing.h"
#include "log/segment.h"
#include "log/verify.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "log_commands.h"
#include "log_replay.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY (256u << 10)
#define TIME_NS 1700000000000000000u

enum { FILES_MAX = 16, BLOCKS_MAX = 512, LISTED_MAX = 12 };

struct file {
    char name[64];
    int fd; /* of the one that is broken */
    uint8_t *bytes;
    unsigned long size;
};

struct block {
    const struct file *file;
    uint64_t offset;
    uint32_t size; /* 4096, or less at the end of a sealed file */
};

static struct file files[FILES_MAX];
static size_t file_count;
static struct block blocks[BLOCKS_MAX];
static size_t block_count;
static char broken[300], opened[300];
static uint64_t acknowledged;
static uint32_t digest; /* of the records up to there */
static struct budget budget;
static unsigned seed, verify_every, open_every;

static struct {
    unsigned tried, reported, harmless, elsewhere, missed, openings, refused, said, silent;
} sum;

static bool one_in(unsigned every)
{
    return every <= 1 || (unsigned)rand_r(&seed) % every == 0;
}

static const uint8_t *bytes_of(const struct block *block)
{
    return block->file->bytes + block->offset;
}

static void put(const struct block *block, const uint8_t *bytes, size_t size)
{
    if (pwrite(block->file->fd, bytes, size, (off_t)block->offset) != (ssize_t)size)
        tap_bail_out("cannot write %s", block->file->name);
}

struct digesting {
    uint32_t crc;
    uint64_t records;
};

static void digest_record(const struct record *record, void *context)
{
    struct digesting *digesting = context;
    uint64_t head[] = { digesting->crc, record->seq, record->stream, record->time_ns,
                        record->kind };
    if (record->seq > acknowledged)
        return;
    digesting->crc =
        crc32c(head, sizeof head) ^ crc32c(record->payload.bytes, record->payload.size);
    digesting->records++;
}

/* Whether the log in `dir` holds all that was acknowledged, by the test's own reader. */
static bool holds_all(const char *dir)
{
    struct digesting digesting = { .crc = 0 };
    struct log_replay replay;
    return log_replay(dir, &replay, digest_record, &digesting) && digesting.crc == digest &&
           digesting.records == acknowledged;
}

/* Any word but "sound", or an error. */
static bool verify_reports(const char *dir)
{
    struct log_verify_options options = { .dir = dir };
    struct log_verify_result result;
    struct error error = { 0 };
    return log_verify(&options, &result, &error) < 0 || result.verdict != LOG_SOUND ||
           result.findings > 0;
}

static struct log_options options_for(const char *dir, struct io *io)
{
    return (struct log_options){ .dir = dir,
                                 .io = io,
                                 .budget = &budget,
                                 .segment_size = CAPACITY,
                                 .sync = LOG_SYNC_DSYNC,
                                 .maintain_inline = true,
                                 .allow_tmpfs = true,
                                 .start_time_ns = TIME_NS };
}

/* As it were the directory itself, and no copy of it. */
static void copy_log(const char *from, const char *to)
{
    char path[400];
    scratch_remove(to);
    scratch_copy(from, to);
    snprintf(path, sizeof path, "%s/%s", to, LOG_PLACE_NAME);
    (void)unlink(path);
}

static void try_opening(const char *what)
{
    struct log_recovery recovery;
    struct error error = { 0 };
    struct log *log;
    struct io *io;
    copy_log(broken, opened);
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log_options options = options_for(opened, io);
    int result = log_open(&log, &options, &recovery, &error);
    if (result == 0)
        (void)log_close(&log, &error);
    io_close(io);
    bool said = result == 0 && recovery.verdict != LOG_SOUND;
    sum.openings++;
    sum.refused += result < 0;
    sum.said += said;
    if (result == 0 && !said && !verify_reports(opened) && !holds_all(opened) && sum.silent++ < 3)
        tap_note("%s: opening it loses events in silence", what);
    if (result < 0 && error.text[0] == '\0' && sum.silent++ < 3)
        tap_note("%s: it does not open and does not say why", what);
}

/* The log is broken now, in the way that `what` says. */
static void try_change(const char *what)
{
    bool reported = verify_reports(broken);
    sum.tried++;
    sum.reported += reported;
    if (!reported && !holds_all(broken)) {
        if (sum.missed++ < 3)
            tap_note("%s is not reported", what);
    } else if (!reported) {
        sum.elsewhere += strncmp(what, LOG_CHECKPOINT_NAME, strlen(LOG_CHECKPOINT_NAME)) != 0;
        if (sum.harmless++ < LISTED_MAX)
            tap_note("harmless: %s", what);
    }
    if (one_in(open_every))
        try_opening(what);
}

static void describe(char *text, size_t size, const char *verb, const struct block *block,
                     const struct block *other)
{
    snprintf(text, size, "%s at %llu %s %s at %llu", block->file->name,
             (unsigned long long)block->offset, verb, other != NULL ? other->file->name : "",
             other != NULL ? (unsigned long long)other->offset : 0ull);
}

/* Puts other bytes there, and back. */
static void replace(const struct block *block, const struct block *other, const uint8_t *bytes,
                    size_t size, const char *verb)
{
    char what[300];
    if (memcmp(bytes_of(block), bytes, size) == 0 || !one_in(verify_every))
        return;
    describe(what, sizeof what, verb, block, other);
    put(block, bytes, size);
    try_change(what);
    put(block, bytes_of(block), block->size);
}

static void swap(const struct block *a, const struct block *b)
{
    char what[300];
    size_t size = a->size < b->size ? a->size : b->size;
    if (memcmp(bytes_of(a), bytes_of(b), size) == 0 || !one_in(verify_every))
        return;
    describe(what, sizeof what, "swapped with", a, b);
    put(a, bytes_of(b), size);
    put(b, bytes_of(a), size);
    try_change(what);
    put(a, bytes_of(a), a->size);
    put(b, bytes_of(b), b->size);
}

static void break_block(size_t index)
{
    static const uint8_t zeros[LOG_BLOCK_SIZE];
    static uint8_t noise[LOG_BLOCK_SIZE];
    const struct block *block = &blocks[index];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(rand_r(&seed) >> 8);
    replace(block, NULL, zeros, block->size, "made zero");
    replace(block, NULL, noise, block->size, "filled with noise");
    for (size_t i = 0; i < block_count; i++) {
        size_t size = blocks[i].size < block->size ? blocks[i].size : block->size;
        if (i != index)
            replace(block, &blocks[i], bytes_of(&blocks[i]), size, "replaced by");
        if (i > index)
            swap(block, &blocks[i]);
    }
}

static void take_file(const char *dir, const char *name)
{
    char path[700];
    struct file *file = &files[file_count++];
    bool zero_taken = false;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(file->name, sizeof file->name, "%.60s", name);
    file->bytes = scratch_read(path, &file->size);
    file->fd = open(path, O_RDWR | O_CLOEXEC);
    if (file->fd < 0)
        tap_bail_out("cannot open %s", path);
    for (uint64_t at = 0; at < file->size; at += LOG_BLOCK_SIZE) {
        uint64_t left = file->size - at;
        uint32_t size = left < LOG_BLOCK_SIZE ? (uint32_t)left : LOG_BLOCK_SIZE;
        bool zero = bytes_are_zero(file->bytes + at, size);
        if ((zero && zero_taken) || block_count == BLOCKS_MAX)
            continue;
        zero_taken = zero_taken || zero;
        blocks[block_count++] = (struct block){ file, at, size };
    }
}

static void break_log(const char *dir, const char *name)
{
    struct digesting digesting = { .crc = 0 };
    struct log_replay replay;
    copy_log(dir, broken);
    file_count = block_count = 0;
    memset(&sum, 0, sizeof sum);
    if (!ok(log_replay(broken, &replay, digest_record, &digesting) && !verify_reports(broken),
            "%s is sound", name))
        tap_note("%s", replay.fault);
    digest = digesting.crc;
    DIR *names = opendir(broken);
    for (struct dirent *entry; names != NULL && (entry = readdir(names)) != NULL;)
        if (strncmp(entry->d_name, "seg-", 4) == 0 ||
            strcmp(entry->d_name, LOG_CHECKPOINT_NAME) == 0)
            take_file(broken, entry->d_name);
    closedir(names);
    for (size_t i = 0; i < block_count; i++)
        break_block(i);
    for (size_t i = 0; i < file_count; i++) {
        close(files[i].fd);
        free(files[i].bytes);
    }
    tap_note("%s: %zu blocks of %zu files; %u changes, %u reported, %u harmless", name, block_count,
             file_count, sum.tried, sum.reported, sum.harmless);
    tap_note("%u openings: %u refused, %u said so", sum.openings, sum.refused, sum.said);
    is_int(sum.missed, 0, "%s: each of %u changes that matter is reported", name,
           sum.tried - sum.harmless);
    is_int(sum.elsewhere, 0, "%s: the others are in CHECKPOINT, which only hints", name);
    ok(sum.silent == 0 && sum.openings > 0, "%s: and no opening loses anything in silence", name);
}

/* Openings of the writer, each with a segment of its own; `full` fills one with commands of several
 * frames, so that it ends with SEAL. */
static void write_log(const char *dir, unsigned openings, bool full)
{
    struct log_commands commands = { .time_ns = TIME_NS };
    struct error error = { 0 };
    struct log *log;
    struct io *io;
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log_options options = options_for(dir, io);
    for (unsigned i = 0; i < openings; i++) {
        if (log_open(&log, &options, NULL, &error) < 0)
            tap_bail_out("%s", error.text);
        for (uint32_t c = 0; c < 4; c++)
            if (!log_commands_append(&commands, log, 1 + c, c == 2 ? 1500 : 80) ||
                !log_commands_settle(log))
                tap_bail_out("the log fails");
        while (full && i == 0 && log_maintain(log, &error) == 1)
            continue;
        for (uint32_t c = 0; full && i == 0 && c < 3; c++)
            if (!log_commands_append(&commands, log, 2, 40000) || !log_commands_settle(log))
                tap_bail_out("the log fails");
        acknowledged = log_durable_seq(log);
        if (log_close(&log, &error) < 0)
            tap_bail_out("%s", error.text);
    }
    io_close(io);
    log_commands_free(&commands);
}

static void seal_first(const char *dir)
{
    struct directory directory;
    struct error error = { 0 };
    struct sealing sealing = { .directory = &directory };
    if (directory_open(&directory, dir, &error) < 0 || sealing_segment(&sealing, 0, &error) != 1)
        tap_bail_out("cannot seal: %s", error.text);
    directory_close(&directory);
}

int main(void)
{
    const char *text = getenv("TEST_SEED");
    bool exhaustive = getenv("TEST_EXHAUSTIVE") != NULL;
    seed = text != NULL ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
    verify_every = open_every = 1;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    verify_every = exhaustive ? 1 : 8;
#endif
    open_every = exhaustive ? 1 : 7;
    tap_note("TEST_SEED=%u", seed);
    budget_init(&budget, 1ull << 30);
    /* Buffers come and go with every case; fresh pages for each would take most of the time. */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    snprintf(broken, sizeof broken, "%s/broken", scratch_memory_dir());
    snprintf(opened, sizeof opened, "%s/opened", scratch_memory_dir());
    const char *small = scratch_path("small"), *full = scratch_path("full");
    write_log(small, 3, false);
    break_log(small, "a small log");
    seal_first(small);
    break_log(small, "the same with a sealed segment");
    write_log(full, 2, true);
    verify_every *= exhaustive ? 1 : 8;
    break_log(full, "a log with a full segment");
    seal_first(full);
    break_log(full, "the same with that one sealed");
    return tap_done();
}
