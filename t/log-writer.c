/* The event log's writer, over each engine. */
#include "core/base/bytes.h"
#include "io_power.h"
#include "iouring/io.h"
#include "log/log.h"
#include "log/segment.h"
#include "log/storage.h"
#include "log_commands.h"
#include "scratch.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIME_NS 1700000000000000000u

/* ThreadSanitizer cannot see what the kernel reads and writes for a ring. */
#ifdef __SANITIZE_THREAD__
enum { RING_IS_VISIBLE = 0 };
#else
enum { RING_IS_VISIBLE = 1 };
#endif

static struct budget budget;

static void numbered_random(void *bytes, size_t size, void *context)
{
    uint64_t *state = context;
    for (size_t i = 0; i < size; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(*state >> 56);
    }
}

static struct log_options options_for(const char *dir, struct io *io)
{
    return (struct log_options){ .dir = dir,
                                 .io = io,
                                 .budget = &budget,
                                 .segment_size = LOG_SEGMENT_SIZE_MIN,
                                 .sync = LOG_SYNC_DSYNC,
                                 .maintain_inline = true,
                                 .allow_tmpfs = true,
                                 .verify = true,
                                 .start_time_ns = TIME_NS };
}

static struct log *open_log(const struct log_options *options, struct log_recovery *recovery)
{
    struct log *log = NULL;
    struct error error = { 0 };
    if (log_open(&log, options, recovery, &error) < 0)
        tap_bail_out("%s", error.text);
    return log;
}

static bool open_ring(struct io **io)
{
    return RING_IS_VISIBLE && io_open_ring(io, 16) == 0;
}

static bool close_log(struct log **log)
{
    struct error error = { 0 };
    int result = log_close(log, &error);
    if (result < 0)
        tap_note("%s", error.text);
    return result == 0;
}

static bool file_exists(const char *dir, const char *name)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static void first_opening(struct io *io)
{
    const char *dir = scratch_path("first");
    struct log_options options = options_for(dir, io);
    struct log_recovery recovery;
    struct log_replay replay;
    struct log_stats stats;
    struct log *log = open_log(&options, &recovery);
    ok(!recovery.exists, "a new log is made where there is none");
    is_int((intmax_t)log_durable_seq(log), 1, "its OPEN record is durable when log_open returns");
    log_stats_get(log, &stats);
    is_int(stats.epoch, 1, "in epoch 1");
    is_str(stats.engine, io_name(io), "over the engine that it was given");
    is_int((intmax_t)log_next_seq(log), 2, "the next event is 2");
    ok(file_exists(dir, "LOCK") && file_exists(dir, "CHECKPOINT") && file_exists(dir, "image"),
       "LOCK, CHECKPOINT and image are there");
    ok(close_log(&log) && log == NULL, "it closes");
    ok(!file_exists(dir, "image"), "and withdraws its image");
    ok(log_replay(dir, &replay, NULL, NULL) && replay.end_flags & FRAME_CLOSE, "the end is CLOSE");

    log = open_log(&options, &recovery);
    ok(recovery.exists && recovery.clean && recovery.verdict == LOG_SOUND,
       "the next opening finds a clean end");
    log_stats_get(log, &stats);
    is_int(stats.epoch, 2, "and begins epoch 2");
    is_int((intmax_t)stats.segment_no, 2, "in a segment of its own");
    log_abandon(&log);
    ok(log_replay(dir, &replay, NULL, NULL), "after that the log is as promised: %s", replay.fault);
    is_int((intmax_t)replay.last_seq, 3, "with OPEN, CLOSE and OPEN in it");
}

/* Sizes from nothing to the largest, runs that are larger than a frame, one to 64 records. */
static void many_commands(struct io *io)
{
    const char *dir = scratch_path("many");
    struct log_options options = options_for(dir, io);
    struct log_commands commands = { .time_ns = TIME_NS };
    struct log_replay replay;
    struct log_stats stats;
    struct log *log = open_log(&options, NULL);
    uint32_t max = log_payload_size_max(log);
    const uint32_t sizes[] = { 0, 1, 7, 8, 200, 3903, 3904, 3905, 10000, max - 1, max };
    bool good = true;
    for (int round = 0; good && round < 12; round++)
        for (size_t i = 0; good && i < sizeof sizes / sizeof sizes[0]; i++) {
            good = log_commands_append(&commands, log, 1, sizes[i]) &&
                   log_commands_append(&commands, log, 5, sizes[i] / 5) &&
                   log_commands_append(&commands, log, 64, 100) && log_flush(log) == 0;
            if (i % 3 == 0)
                good = good && log_wait(log, -1, 0) == 0;
        }
    good = good && log_commands_append(&commands, log, 3, max) &&
           log_commands_append(&commands, log, 40, 4000) && log_commands_settle(log);
    ok(good, "%zu commands of 0 to %u bytes are taken", commands.count, max);
    log_stats_get(log, &stats);
    ok(stats.rolls > 10, "over many segments (%llu rolls)", (unsigned long long)stats.rolls);
    is_int((intmax_t)stats.durable_seq, (intmax_t)log_next_seq(log) - 1, "all are durable");
    ok(close_log(&log), "the log closes");
    size_t appended = commands.count;
    ok(log_commands_match(&commands, dir, stats.durable_seq, &replay), "all are there, in order");
    is_int((intmax_t)commands.count, (intmax_t)appended, "and none is missing");
    is_int((intmax_t)replay.segments, (intmax_t)stats.rolls + 1, "in a segment for each roll");
    ok(replay.runs >= 2, "commands larger than a frame are runs of frames");
    log_commands_free(&commands);
}

static void limits(struct io *io)
{
    const char *dir = scratch_path("limits");
    struct log_options options = options_for(dir, io);
    struct log_commands commands = { .time_ns = TIME_NS };
    struct log_replay replay;
    struct log_stats stats;
    struct error error = { 0 };
    uint64_t first_seq;
    struct log *log = open_log(&options, NULL);
    uint32_t max = log_payload_size_max(log);
    is_int(log_reserve(log, 1, max + 1ul, &first_seq), ERROR_TOO_LARGE,
           "a payload over the limit is refused");
    is_int(log_reserve(log, 64, LOG_SEGMENT_SIZE_MIN, &first_seq), ERROR_TOO_LARGE,
           "a command that no segment holds is refused");
    is_int(log_reserve(log, UINT32_MAX, 0, &first_seq), ERROR_TOO_LARGE,
           "so is one of too many records");
    is_int((intmax_t)log_next_seq(log), 2, "and no number is used up");
    for (int i = 0; i < 3; i++)
        log_commands_append(&commands, log, 1, max);
    is_int(log_reserve(log, 1, max, &first_seq), ERROR_FULL,
           "a roll is refused while no spare is made");
    log_stats_get(log, &stats);
    is_int((intmax_t)stats.spare_waits, 1, "which the statistics count");
    is_int((intmax_t)stats.spares, 0, "and show");
    is_int(log_maintain(log, &error), 1, "maintenance makes one");
    is_int(log_maintain(log, &error), 1, "and another");
    is_int(log_maintain(log, &error), 0, "and then has nothing to do");
    ok(log_commands_append(&commands, log, 1, max), "then the same command is taken");
    ok(log_commands_settle(log) && close_log(&log), "and becomes durable");
    ok(log_commands_match(&commands, dir, 5, &replay), "behind those before it");
    is_int((intmax_t)replay.segments, 2, "in the next segment");
    log_commands_free(&commands);
}

static void write_one_block(const char *path, off_t offset, const void *bytes)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, bytes, LOG_BLOCK_SIZE, offset) != LOG_BLOCK_SIZE)
        tap_bail_out("cannot write %s", path);
    close(fd);
}

static bool is_all_zero(const char *path)
{
    unsigned long size;
    uint8_t *bytes = scratch_read(path, &size);
    bool zero = size == LOG_SEGMENT_SIZE_MIN && bytes_are_zero(bytes, size);
    free(bytes);
    return zero;
}

/* Spares that an opening before this one left are not written over as they are: what holds nothing
 * of the log is made anew, and what holds a frame stays as it is. */
static void unclean_spares(struct io *io)
{
    const char *dir = scratch_path("unclean");
    struct log_options options = options_for(dir, io);
    struct log_commands commands = { .time_ns = TIME_NS };
    struct log_stats stats;
    struct error error = { 0 };
    char first[4200], next[4200];
    unsigned long size;
    options.spares = 3;
    struct log *log = open_log(&options, NULL);
    ok(log_commands_append(&commands, log, 1, 100) && log_commands_settle(log), "(a log)");
    while (log_maintain(log, &error) == 1)
        ;
    close_log(&log);
    snprintf(first, sizeof first, "%s/seg-0000000001.log", dir);
    uint8_t *begun = scratch_read(first, &size), garbage[LOG_BLOCK_SIZE];
    memset(garbage, 7, sizeof garbage);
    snprintf(first, sizeof first, "%s/seg-0000000002.log", dir);
    snprintf(next, sizeof next, "%s/seg-0000000003.log", dir);
    write_one_block(first, 40960, garbage);
    write_one_block(next, 40960, garbage);
    log = open_log(&options, NULL);
    ok(log_commands_append(&commands, log, 1, 100) && log_commands_settle(log),
       "a spare with bytes that are not of the log does no harm");
    is_int(log_maintain(log, &error), 1, "nor does the next one");
    ok(is_all_zero(next), "it was made anew");
    close_log(&log);
    uint8_t *written = scratch_read(first, &size);
    ok(bytes_are_zero(written + 40960, LOG_BLOCK_SIZE), "so was the first");
    free(written);
    snprintf(next, sizeof next, "%s/seg-0000000004.log", dir);
    write_one_block(next, 2l * LOG_BLOCK_SIZE, begun + 2l * LOG_BLOCK_SIZE);
    free(begun);
    log = open_log(&options, NULL);
    is_int(log_maintain(log, &error), ERROR_DAMAGED, "one that holds a frame is not taken");
    log_stats_get(log, &stats);
    ok(strstr(stats.spare_error, "seg-0000000004.log") != NULL, "which is said: %s",
       stats.spare_error);
    ok(!is_all_zero(next), "and it stays as it is");
    close_log(&log);
    log_commands_free(&commands);
}

/* A spare that cannot be made is shown, and troubles no append until a roll needs it. */
static void no_spare(struct io *io)
{
    const char *dir = scratch_path("no-spare");
    struct log_options options = options_for(dir, io);
    struct log_commands commands = { .time_ns = TIME_NS };
    struct log_replay replay;
    struct log_stats stats;
    struct error error = { 0 };
    char path[4200];
    uint64_t first_seq;
    struct log *log = open_log(&options, NULL);
    snprintf(path, sizeof path, "%s/seg-0000000002.log", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    is_int(log_maintain(log, &error), ERROR_INVALID, "a spare that cannot be made is an error");
    log_stats_get(log, &stats);
    is_str(stats.spare_error, error.text, "that is kept and shown");
    ok(strstr(error.text, "remove it") != NULL, "with the way out: %s", error.text);
    ok(log_commands_append(&commands, log, 1, 60000) && log_commands_settle(log),
       "appends go on meanwhile");
    ok(log_commands_append(&commands, log, 2, 60000) &&
           log_commands_append(&commands, log, 1, 60000) && log_commands_settle(log),
       "until the segment is full");
    is_int(log_reserve(log, 1, 60000, &first_seq), ERROR_FULL, "then they are refused");
    ok(log_health(log) == LOG_OPEN, "and the log is healthy all the same");
    unlink(path);
    is_int(log_maintain(log, &error), 1, "when a spare can be made again");
    log_stats_get(log, &stats);
    is_str(stats.spare_error, "", "the error is gone");
    ok(log_commands_append(&commands, log, 1, 60000) && log_commands_settle(log) &&
           close_log(&log) && log_commands_match(&commands, dir, 6, &replay),
       "appends go on, and nothing was lost");
    log_commands_free(&commands);
}

/* Two commands of the same frame; and one that waits for a slot. */
static void group_commit(struct io *io)
{
    struct log_options options = options_for(scratch_path("group"), io);
    struct log_commands commands = { .time_ns = TIME_NS };
    struct log_stats before, after;
    options.frames_in_flight_max = 1;
    struct log *log = open_log(&options, NULL);
    log_stats_get(log, &before);
    bool good = true;
    for (int i = 0; i < 3; i++)
        good = good && log_commands_append(&commands, log, 2, 100);
    is_int(log_flush(log), 0, "a flush closes the open frame while a slot is free");
    for (int i = 0; i < 5; i++)
        good = good && log_commands_append(&commands, log, 1, 100) && log_flush(log) == 0;
    is_int((intmax_t)log_durable_seq(log), 1, "nothing is durable before the disk says so");
    ok(good && log_commands_settle(log), "all commands become durable");
    log_stats_get(log, &after);
    is_int((intmax_t)(after.frames - before.frames), 2, "those that had to wait share one frame");
    is_int((intmax_t)(after.syncs - before.syncs), 2, "and a frame is one durable write");
    is_int((intmax_t)after.frames_in_flight_max, 1, "no more are in flight than was said");
    log_abandon(&log);
    log_commands_free(&commands);
}

static void two_syncs(struct io *io)
{
    const char *dir = scratch_path("fdatasync");
    struct log_options options = options_for(dir, io);
    struct log_commands commands = { .time_ns = TIME_NS };
    struct log_replay replay;
    struct log_stats stats;
    options.sync = LOG_SYNC_FDATASYNC;
    struct log *log = open_log(&options, NULL);
    bool good = true;
    for (int i = 0; good && i < 300; i++)
        good = log_commands_append(&commands, log, 3, 1000) && log_flush(log) == 0 &&
               (i % 5 != 0 || log_wait(log, -1, 0) == 0);
    ok(good && log_commands_settle(log), "writes followed by fdatasync become durable too");
    log_stats_get(log, &stats);
    is_int(stats.sync, LOG_SYNC_FDATASYNC, "as was asked for");
    ok(close_log(&log) && log_commands_match(&commands, dir, stats.durable_seq, &replay),
       "and are all there");
    log_commands_free(&commands);
}

static void two_openers(struct io *io)
{
    const char *dir = scratch_path("locked");
    struct log_options options = options_for(dir, io);
    struct error error = { 0 };
    struct log *log = open_log(&options, NULL), *other = NULL;
    char pid[32];
    snprintf(pid, sizeof pid, "process %d:", (int)getpid());
    is_int(log_open(&other, &options, NULL, &error), ERROR_LOCKED, "a second opening is refused");
    ok(strstr(error.text, pid) != NULL, "naming the process: %s", error.text);
    ok(strstr(error.text, dir) != NULL, "and the directory");
    log_abandon(&log);
    log = open_log(&options, NULL);
    ok(log != NULL, "after the first is gone it is not");
    log_abandon(&log);
}

static void refused_directories(struct io *io)
{
    struct log_options options = options_for("/dev/shm/daa-log-writer-test", io);
    struct log *log = NULL;
    struct error error = { 0 };
    options.allow_tmpfs = false;
    if (access("/dev/shm", W_OK) == 0) {
        int result = log_open(&log, &options, NULL, &error);
        rmdir(options.dir);
        is_int(result, ERROR_INVALID, "a directory in memory is refused");
        ok(strstr(error.text, "disk") != NULL, "saying what to do: %s", error.text);
    } else {
        tap_skip(2, "no filesystem in memory to try");
    }
    options = options_for(scratch_path("no/such/parent"), io);
    is_int(log_open(&log, &options, NULL, &error), -ENOENT, "a directory that cannot be made too");
    options = options_for(scratch_path("odd"), io);
    options.segment_size = LOG_SEGMENT_SIZE_MIN + 1;
    is_int(log_open(&log, &options, NULL, &error), ERROR_INVALID, "and segments of part blocks");
    struct budget small;
    budget_init(&small, 1000);
    options = options_for(scratch_path("poor"), io);
    options.budget = &small;
    is_int(log_open(&log, &options, NULL, &error), ERROR_BUDGET, "and a budget without room");
    is_int((intmax_t)atomic_load(&small.used), 0, "from which nothing stays taken");
}

/* A witness knows more than the log holds: nothing may be changed. */
static void damaged(struct io *io)
{
    const char *dir = scratch_path("damaged");
    struct log_options options = options_for(dir, io);
    struct log_witness witness = { .name = "LMDB", .seq = 50 };
    struct log_recovery recovery;
    struct log_stats stats;
    struct error error = { 0 };
    struct log *log = open_log(&options, NULL);
    log_abandon(&log);
    options.witnesses = &witness;
    options.witness_count = 1;
    is_int(log_open(&log, &options, &recovery, &error), ERROR_DAMAGED,
           "a log that lost acknowledged events is not opened");
    is_int(recovery.verdict, LOG_DAMAGED, "with the verdict");
    ok(strstr(error.text, "daa-log verify") != NULL, "and the way out: %s", error.text);
    options.witness_count = 0;
    log = open_log(&options, &recovery);
    log_stats_get(log, &stats);
    is_int((intmax_t)stats.segment_no, 2, "and nothing was changed by the refusal");
    log_abandon(&log);
}

/* Where CHECKPOINT says that the log ends. */
static void checkpoint(struct io *io)
{
    const char *dir = scratch_path("checkpoint");
    struct log_options options = options_for(dir, io);
    struct log_commands commands = { .time_ns = TIME_NS };
    struct log_recovery recovery;
    struct log_stats stats;
    struct log *log = open_log(&options, NULL);
    ok(log_commands_append(&commands, log, 3, 100) && log_commands_settle(log), "three events");
    do {
        if (log_wait(log, -1, 1000000000) < 0)
            break;
        log_stats_get(log, &stats);
    } while (stats.checkpoints == 0);
    is_int((intmax_t)stats.checkpoints, 1, "when the log idles it writes a CHECKPOINT");
    log_abandon(&log);
    log = open_log(&options, &recovery);
    is_int((intmax_t)recovery.witness_seq, 4, "that knows of all of them");
    is_str(recovery.witness, "CHECKPOINT", "when the next opening asks");
    log_abandon(&log);
    log_commands_free(&commands);
}

static void thread_makes_spares(struct io *io)
{
    const char *dir = scratch_path("thread");
    struct log_options options = options_for(dir, io);
    struct log_commands commands = { .time_ns = TIME_NS };
    struct log_replay replay;
    options.maintain_inline = false;
    struct log *log = open_log(&options, NULL);
    bool good = true;
    for (int i = 0; good && i < 200; i++)
        good = log_commands_append(&commands, log, 1, 8000) && log_flush(log) == 0;
    tap_note("%llu times the log was full", (unsigned long long)commands.refused);
    ok(good && log_commands_settle(log), "a thread makes what rolls need");
    ok(close_log(&log), "and ends with the log");
    ok(log_commands_match(&commands, dir, 1, &replay), "which is whole");
    log_commands_free(&commands);
}

static void each(struct io *io)
{
    tap_note("over the %s engine", io_name(io));
    first_opening(io);
    many_commands(io);
    limits(io);
    no_spare(io);
    unclean_spares(io);
    group_commit(io);
    two_syncs(io);
    two_openers(io);
    refused_directories(io);
    damaged(io);
    checkpoint(io);
    thread_makes_spares(io);
    io_close(io);
    scratch_remove(scratch_dir());
    mkdir(scratch_dir(), 0700);
}

enum { SAME_SEGMENTS = 6 };

/* Puts a fixed engine into OPEN, and completes every frame and header behind it again. */
static void name_no_engine(const char *path, uint8_t chain[SHA256_SIZE], uint64_t *link,
                           uint8_t *bytes)
{
    struct segment_header header;
    struct frame_header frame;
    unsigned long size;
    unsigned char *file = scratch_read(path, &size);
    memcpy(bytes, file, size);
    free(file);
    if (segment_header_decode(bytes, &header, NULL) != 0)
        return;
    memcpy(header.prev_chain, chain, SHA256_SIZE);
    segment_header_encode(bytes, &header);
    for (uint64_t at = LOG_BLOCK_SIZE; at < size; at += (uint64_t)frame.block_count * 4096) {
        if (frame_header_decode(bytes + at, &frame) < 0)
            break;
        struct record record;
        uint32_t inside = 0;
        if (frame.flags & FRAME_OPEN) {
            uint8_t payload[2000];
            frame_next_record(bytes + at, &frame, &inside, &record);
            memcpy(payload, record.payload.bytes, record.payload.size);
            payload[OPENED_AT_ENGINE] = 0;
            record.payload.bytes = payload;
            record_encode(bytes + at + FRAME_HEADER_SIZE, &record);
        }
        frame.prev_link = *link;
        frame_finish(bytes + at, &frame, chain);
        memcpy(chain, frame.chain, SHA256_SIZE);
        *link = frame_link(&frame);
    }
}

static void write_same(const char *dir, struct io *io)
{
    static const uint8_t boot_id[16] = "a boot of a test";
    uint64_t state = 42;
    struct log_options options = options_for(dir, io);
    struct log_commands commands = { .time_ns = TIME_NS };
    options.random = numbered_random;
    options.random_context = &state;
    options.boot_id = boot_id;
    struct log *log = open_log(&options, NULL);
    for (uint32_t i = 0; i < 40; i++) {
        log_commands_append(&commands, log, 1 + i % 4, i * 400);
        log_commands_settle(log);
    }
    log_commands_append(&commands, log, 30, 3000);
    log_commands_settle(log);
    close_log(&log);
    log_commands_free(&commands);
}

/* The bytes that one engine wrote into the segments 1 to SAME_SEGMENTS. */
static uint8_t *bytes_of_engine(const char *dir, struct io *io)
{
    uint8_t *bytes = calloc(SAME_SEGMENTS, LOG_SEGMENT_SIZE_MIN), chain[SHA256_SIZE] = { 0 };
    uint64_t link = 0;
    if (bytes == NULL)
        tap_bail_out("no memory");
    write_same(dir, io);
    io_close(io);
    for (uint64_t no = 1; no <= SAME_SEGMENTS; no++) {
        char name[LOG_SEGMENT_NAME_SIZE], path[4200];
        segment_name(name, no);
        snprintf(path, sizeof path, "%s/%s", dir, name);
        if (access(path, F_OK) == 0)
            name_no_engine(path, chain, &link, bytes + (no - 1) * LOG_SEGMENT_SIZE_MIN);
    }
    return bytes;
}

static void same_bytes(void)
{
    size_t size = (size_t)SAME_SEGMENTS * LOG_SEGMENT_SIZE_MIN;
    struct io *io;
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    uint8_t *plain = bytes_of_engine(scratch_path("plain"), io), *other;
    ok(!bytes_are_zero(plain, size), "the plain engine writes a log");
    if (open_ring(&io)) {
        other = bytes_of_engine(scratch_path("ring"), io);
        is_mem(other, plain, size, "the ring writes the same bytes but for the engine's name");
        free(other);
    } else if (RING_IS_VISIBLE) {
        tap_skip(1, "no io_uring here");
    }
    if (io_open_power(&io, 1) < 0)
        tap_bail_out("no engine");
    other = bytes_of_engine(scratch_path("power"), io);
    is_mem(other, plain, size, "and so does the simulator's");
    free(other);
    free(plain);
}

/* Runs in a child: a log of 64 MiB segments as a user who may lock 8 MiB. */
static int write_as_nobody(const char *dir)
{
    struct rlimit memlock = { .rlim_cur = 8 << 20, .rlim_max = 8 << 20 };
    struct log_commands commands = { .time_ns = TIME_NS };
    struct error error = { 0 };
    struct log *log;
    struct io *io;
    if (setrlimit(RLIMIT_MEMLOCK, &memlock) < 0)
        return 2;
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0))
        return 3;
    if (!open_ring(&io) && io_open_plain(&io) < 0)
        return 4;
    struct log_options options = options_for(dir, io);
    options.segment_size = 0;
    options.maintain_inline = false;
    if (log_open(&log, &options, NULL, &error) < 0) {
        tap_note("%s", error.text);
        return 5;
    }
    for (int i = 0; i < 100; i++)
        if (!log_commands_append(&commands, log, 8, 8000) || log_flush(log) < 0)
            return 6;
    if (!log_commands_settle(log))
        return 7;
    return close_log(&log) ? 0 : 8;
}

static void unprivileged(void)
{
    struct log_replay replay;
    const char *dir = scratch_path("nobody");
    mkdir(dir, 0700);
    if (chmod(scratch_dir(), 0711) < 0 || (geteuid() == 0 && chown(dir, 65534, 65534) < 0))
        tap_bail_out("cannot prepare %s", dir);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(write_as_nobody(dir));
    int status = -1;
    waitpid(child, &status, 0);
    is_int(WEXITSTATUS(status), 0, "an ordinary user with 8 MiB of lockable memory writes a log");
    ok(log_replay(dir, &replay, NULL, NULL), "of 64 MiB segments, which is whole: %s",
       replay.fault);
    is_int((intmax_t)replay.records, 802, "with all its events");
}

int main(void)
{
    budget_init(&budget, 1ull << 30);
    struct io *io;
    unprivileged();
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    each(io);
    if (open_ring(&io))
        each(io);
    else if (RING_IS_VISIBLE)
        tap_skip(1, "no io_uring here");
    same_bytes();
    is_int((intmax_t)atomic_load(&budget.used), 0, "all memory went back to the budget");
    return tap_done();
}
