/* Every crash of a small log, none left out: three frames of which two are under way at a time,
 * also with a roll, a failed write and a CHECKPOINT among them. At every op of the writer power may
 * fail; of the sectors of 512 bytes that are not durable then any choice may be on the disk; and
 * for each such disk power may fail again at every op of the opening that follows, with any choice
 * again.
 *
 * A sector that would be the same either way is no choice. Where more sectors are open than
 * SECTORS_MAX, those that lie side by side share a choice; how often is printed.
 *
 * In none of these cases is an acknowledged command missing or a command there by half, is the
 * verdict "damaged", or does another opening find something else than the first.
 *
 * TEST_EXHAUSTIVE=1 takes larger frames too, and lets two openings in a row fail after the small
 * ones. ONE=<n> runs one
 * scenario and says more. */
#include "io_steps.h"
#include "log/log.h"
#include "log/segment.h"
#include "log/verify.h"
#include "log_commands.h"
#include "scratch.h"
#include "tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIME_NS 1700000000000000000u

enum { LEVELS = 4, OPEN_SECTORS = 512, SECTORS_MAX = 10, FAULTS_MAX = 3 };

/* What is done, a letter each: 'm' makes spares, 'f' fills the segment but for two blocks, 'a'
 * appends a command of one record and flushes it, 'b' one of three, 'w' waits for one op, 's' for
 * all, 'x' lets the next op fail, 'c' waits for a CHECKPOINT. */
struct scenario {
    const char *name, *script;
    uint32_t size; /* of a payload */
    enum log_sync sync;
    bool newest_first;
    bool large; /* under TEST_EXHAUSTIVE only */
};

static const struct scenario scenarios[] = {
    { "two frames of a block in flight", "aabwww", 100, LOG_SYNC_DSYNC, false, false },
    { "two that end in the other order", "aabwww", 100, LOG_SYNC_DSYNC, true, false },
    { "two of three sectors each", "aaw", 1000, LOG_SYNC_DSYNC, false, false },
    { "writes that a sync makes durable", "aabsa", 400, LOG_SYNC_FDATASYNC, false, false },
    { "a roll", "mfaabw", 400, LOG_SYNC_DSYNC, false, false },
    { "a failover", "maxwwws", 400, LOG_SYNC_DSYNC, false, false },
    { "a failover of two", "maxaws", 100, LOG_SYNC_DSYNC, true, false },
    { "a CHECKPOINT", "asca", 100, LOG_SYNC_DSYNC, false, false },
    { "frames of two blocks", "aabw", 4300, LOG_SYNC_DSYNC, false, true },
    { "frames of five sectors", "aabaw", 2200, LOG_SYNC_DSYNC, false, true },
    { "five sectors that end in the other order", "aabaw", 2200, LOG_SYNC_DSYNC, true, true },
    { "a roll with larger frames", "mfaabaw", 1400, LOG_SYNC_DSYNC, true, true },
    { "a failover of larger frames", "maxaaws", 1400, LOG_SYNC_DSYNC, false, true },
    { "a command of several frames", "ab", 16000, LOG_SYNC_DSYNC, false, true },
    { "a failed sync", "maaxwwws", 400, LOG_SYNC_FDATASYNC, false, true },
};

/* What a directory has to hold. */
struct expected {
    uint64_t acknowledged;
    size_t commands;
    bool exactly; /* that many: an opening has seen them */
};

/* A life of the writer that is under way: level 0 is the one whose crashes are tried, the next its
 * opening after one of them, and so on. */
struct life {
    char dir[300];
    struct io *io;
    struct io_steps steps;
    struct expected expected;
};

static struct life lives[LEVELS];
static unsigned levels;   /* lives that power may end */
static struct log *first; /* of level 0, once it is open */
static struct log_commands commands;
static struct budget budget;
static uint64_t salt;
static bool loud;

static struct {
    uint64_t cases, crashes, torn, unproven, sound, grouped, two, faults;
    unsigned sectors_most;
} sum;

static void visit(unsigned level, const struct expected *expected);

static bool failed(unsigned level, const char *what)
{
    if (sum.faults++ < FAULTS_MAX)
        tap_note("case %llu, level %u: %s", (unsigned long long)sum.cases, level, what);
    return false;
}

static void next_bytes(void *bytes, size_t size, void *context)
{
    (void)context;
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)bytes)[i] =
            (uint8_t)((salt = salt * 6364136223846793005u + 1442695040888963407u) >> 40);
}

static void write_sector(const char *dir, const struct io_steps_sector *sector)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, sector->file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, sector->bytes, 512, (off_t)sector->offset) != 512)
        tap_bail_out("cannot write %s", path);
    close(fd);
}

/* The disk of `level` as it is without what is not durable, in the next level's directory. */
static void copy_life(unsigned level)
{
    char path[400];
    scratch_remove(lives[level + 1].dir);
    scratch_copy(lives[level].dir, lives[level + 1].dir);
    /* It stands for the same directory, and no copy of it. */
    snprintf(path, sizeof path, "%s/%s", lives[level + 1].dir, LOG_PLACE_NAME);
    (void)unlink(path);
}

static void try_choice(unsigned level, const struct io_steps_sector *sectors, size_t count,
                       unsigned groups, uint64_t choice)
{
    struct expected expected = lives[level].expected;
    if (level == 0)
        expected.acknowledged = first != NULL ? log_durable_seq(first) : 0;
    copy_life(level);
    for (size_t i = 0; i < count; i++)
        if (choice >> i * groups / count & 1)
            write_sector(lives[level + 1].dir, sectors + i);
    visit(level + 1, &expected);
}

static void look(void *context)
{
    unsigned level = (unsigned)((struct life *)context - lives);
    struct io_steps_sector *sectors = malloc(OPEN_SECTORS * sizeof *sectors);
    if (sectors == NULL)
        tap_bail_out("no memory");
    size_t count = io_steps_sectors(lives[level].io, sectors, OPEN_SECTORS);
    unsigned groups = count > SECTORS_MAX ? (unsigned)SECTORS_MAX : (unsigned)count;
    sum.crashes++;
    sum.grouped += groups < count;
    sum.two += level == 0 && io_underway(lives[0].io) == 2;
    if (count > sum.sectors_most)
        sum.sectors_most = (unsigned)count;
    if (loud && level == 0)
        tap_note("crash with %zu sectors open in %u choices", count, groups);
    for (uint64_t choice = 0; choice < 1ull << groups && sum.faults < FAULTS_MAX; choice++)
        try_choice(level, sectors, count, groups, choice);
    free(sectors);
}

/* Opens the log in this level's directory; power may fail meanwhile if more levels follow. */
static struct log *open_life(unsigned level, enum log_sync sync, bool watched)
{
    struct life *life = &lives[level];
    struct error error = { 0 };
    struct log *log = NULL;
    life->steps.look = watched ? look : NULL;
    life->steps.context = life;
    if (io_open_steps(&life->io, &life->steps) < 0)
        tap_bail_out("no engine");
    struct log_options options = { .dir = life->dir,
                                   .io = life->io,
                                   .budget = &budget,
                                   .segment_size = LOG_SEGMENT_SIZE_MIN,
                                   .frames_in_flight_max = 2,
                                   .sync = sync,
                                   .maintain_inline = true,
                                   .allow_tmpfs = true,
                                   .start_time_ns = TIME_NS,
                                   .random = next_bytes };
    if (log_open(&log, &options, NULL, &error) < 0)
        failed(level, error.text);
    return log;
}

static bool close_life(unsigned level, struct log **log)
{
    struct error error = { 0 };
    bool good = *log != NULL && (log_close(log, &error) == 0 || failed(level, error.text));
    io_close(lives[level].io);
    return good;
}

/* What the directory holds must be what is expected; *found is what another opening must find. */
static bool check_commands(unsigned level, const struct expected *expected, struct expected *found,
                           struct log_replay *replay)
{
    struct log_commands view = commands;
    if (!log_commands_match(&view, lives[level].dir, expected->acknowledged, replay))
        return failed(level, "it does not hold what was appended");
    if (expected->exactly && view.count != expected->commands)
        return failed(level, "an opening found more or less than the one before it");
    *found = (struct expected){ replay->last_seq, view.count, true };
    return true;
}

static bool check_library(unsigned level, const struct log_replay *replay)
{
    struct log_recovery recovery;
    struct log_verify_result result;
    struct error error = { 0 };
    if (log_recover(lives[level].dir, NULL, 0, &recovery, &error) < 0)
        return failed(level, error.text);
    sum.torn += recovery.verdict == LOG_TORN;
    sum.unproven += recovery.verdict == LOG_UNPROVEN;
    sum.sound += recovery.verdict == LOG_SOUND;
    if (recovery.verdict == LOG_DAMAGED)
        return failed(level, recovery.reason);
    if (recovery.last_seq != replay->last_seq)
        return failed(level, "recovery ends elsewhere than the frames do");
    struct log_verify_options options = { .dir = lives[level].dir };
    if (recovery.exists && log_verify(&options, &result, &error) < 0)
        return failed(level, error.text);
    return !recovery.exists || result.verdict != LOG_DAMAGED ||
           failed(level, "log_verify() finds damage");
}

/* The opening, with its own crashes; then another one, which finds the same. */
static void visit(unsigned level, const struct expected *expected)
{
    struct expected found;
    struct log_replay replay;
    sum.cases++;
    if (!check_commands(level, expected, &found, &replay) || !check_library(level, &replay))
        return;
    for (int i = 0; i < 2; i++) {
        bool watched = i == 0 && level < levels;
        lives[level].expected = found;
        struct log *log = open_life(level, LOG_SYNC_DSYNC, watched);
        lives[level].steps.look = NULL; /* CLOSE is a frame as others are */
        if (!close_life(level, &log) || !check_commands(level, &found, &found, &replay))
            return;
        if (!(replay.end_flags & FRAME_CLOSE))
            failed(level, "the log does not end with CLOSE");
        if (level > 1)
            return;
    }
}

static void fill(struct log *log)
{
    struct log_stats stats;
    for (log_stats_get(log, &stats); stats.segment_offset + (4u << 12) < stats.capacity;
         log_stats_get(log, &stats)) {
        uint64_t left = stats.capacity - stats.segment_offset - (3u << 12);
        uint32_t size = left > 30000 ? 30000 : 100;
        if (!log_commands_append(&commands, log, 1, size) || !log_commands_settle(log))
            tap_bail_out("the segment cannot be filled");
    }
}

static void wait_for_checkpoint(struct log *log)
{
    struct log_stats stats = { .checkpoints = 0 };
    for (uint64_t before = (log_stats_get(log, &stats), stats.checkpoints);
         stats.checkpoints == before; log_stats_get(log, &stats))
        if (log_wait(log, -1, 1000000000) < 0)
            tap_bail_out("no CHECKPOINT");
}

static bool do_step(struct log *log, char step, uint32_t size)
{
    struct error error;
    switch (step) {
    case 'a':
    case 'b':
        return log_commands_append(&commands, log, step == 'a' ? 1 : 3, size) &&
               log_flush(log) == 0;
    case 'c':
        wait_for_checkpoint(log);
        return true;
    case 'f':
        lives[0].steps.look = NULL;
        fill(log);
        lives[0].steps.look = look;
        return true;
    case 'm':
        while (log_maintain(log, &error) == 1)
            continue;
        return true;
    case 's':
        return log_commands_settle(log);
    case 'w':
        return log_wait(log, -1, 0) == 0;
    default:
        return lives[0].steps.fails = true;
    }
}

static void run(const struct scenario *scenario)
{
    struct expected everything, found;
    struct log_replay replay;
    uint64_t cases = sum.cases, crashes = sum.crashes;
    memset(lives, 0, sizeof lives);
    for (unsigned i = 0; i < LEVELS; i++)
        snprintf(lives[i].dir, sizeof lives[i].dir, "%s/%u", scratch_memory_dir(), i);
    scratch_remove(lives[0].dir);
    commands = (struct log_commands){ .time_ns = TIME_NS };
    lives[0].steps.newest_first = scenario->newest_first;
    first = open_life(0, scenario->sync, false);
    lives[0].steps.look = look;
    for (const char *step = scenario->script; first != NULL && *step != '\0'; step++)
        if (!do_step(first, *step, scenario->size))
            failed(0, log_failure(first) != NULL ? log_failure(first) : "a step failed");
    if (first != NULL && !log_commands_settle(first))
        failed(0, "the log failed");
    everything = (struct expected){ log_durable_seq(first), commands.count, true };
    if (close_life(0, &first))
        check_commands(0, &everything, &found, &replay);
    log_commands_free(&commands);
    tap_note("%s: %llu cases at %llu ops", scenario->name, (unsigned long long)(sum.cases - cases),
             (unsigned long long)(sum.crashes - crashes));
}

int main(void)
{
    bool exhaustive = getenv("TEST_EXHAUSTIVE") != NULL;
    const char *one = getenv("ONE");
    loud = one != NULL;
    budget_init(&budget, 1ull << 30);
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        bool chosen =
            one != NULL ? strtoull(one, NULL, 10) == i : exhaustive || !scenarios[i].large;
        levels = exhaustive && !scenarios[i].large ? 3 : 2;
        if (chosen && sum.faults == 0)
            run(&scenarios[i]);
    }
    tap_note(
        "%llu cases at %llu ops; at most %u sectors open, %llu times they shared choices; ends: "
        "%llu torn, %llu unproven, %llu sound",
        (unsigned long long)sum.cases, (unsigned long long)sum.crashes, sum.sectors_most,
        (unsigned long long)sum.grouped, (unsigned long long)sum.torn,
        (unsigned long long)sum.unproven, (unsigned long long)sum.sound);
    is_int((intmax_t)sum.faults, 0,
           "after every crash, and every crash of the opening, what was acknowledged is there, "
           "whole, and nothing else is found later");
    is_int((intmax_t)budget.used, 0, "all memory was given back");
    if (one == NULL) {
        ok(sum.two > 0, "two frames were under way in some of them");
        ok(sum.torn > 0, "some left a torn end");
    }
    return tap_done();
}
