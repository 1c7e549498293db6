/* A write to the log's device does not end, the n-th for every n: the log goes on in its second
 * directory, whatever it was that stalled. What was acknowledged stays, what was not keeps its
 * numbers and becomes durable while the write is still under way, and a reader that follows sees
 * all of it once and nothing early. The write may end well or not, or never: nothing changes. The
 * log comes back when its device answers, and is sound and can be sealed. A process that dies on
 * the way leaves what any crash leaves. */
#include "io_fault.h"
#include "log/directory.h"
#include "log/log.h"
#include "log/reader.h"
#include "log/second.h"
#include "log/segment.h"
#include "log/verify.h"
#include "log_commands.h"
#include "log_follower.h"
#include "scratch.h"
#include "tap.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIME_NS 1700000000000000000u
#define STALL_NS 1000000u

enum { LIVES_ON = -1, SPARES = 2 };

/* What becomes of the writes that stall. */
enum late {
    ENDS_WELL,  /* they end while the log is elsewhere */
    FAILS,      /* they fail then */
    HALF,       /* and part of them is on the disk */
    NEVER_ENDS, /* they are still under way when the log is closed */
    LATES
};

static struct budget budget;
static char dir[256], second[256];

struct outcome {
    unsigned runs, turned, whole, followed, told, sound, came_back, swept, reopened, left;
};

struct trial {
    enum log_sync sync;
    enum late late;
    bool seals;
    struct io_fault fault;
    int dies_after; /* waits behind the stall; LIVES_ON: never */
    int waits;
    struct io *io;
    struct log *log;
    struct log_commands commands;
    struct log_follower follower;
};

static struct log_options options_for(struct io *io, enum log_sync sync)
{
    return (struct log_options){ .dir = dir,
                                 .second_dir = second,
                                 .io = io,
                                 .budget = &budget,
                                 .segment_size = LOG_SEGMENT_SIZE_MIN,
                                 .frames_in_flight_max = 4,
                                 .spares = SPARES,
                                 .sync = sync,
                                 .verify = true,
                                 .maintain_inline = true,
                                 .allow_tmpfs = true,
                                 .stall_ns = STALL_NS,
                                 .start_time_ns = TIME_NS };
}

static void maintain(struct log *log)
{
    struct error error = { 0 };
    int more;
    while ((more = log_maintain(log, &error)) == 1)
        continue;
    if (more < 0)
        tap_note("maintenance: %s", error.text);
}

static void begin(struct trial *trial)
{
    struct error error = { 0 };
    scratch_remove(dir);
    scratch_remove(second);
    trial->fault = (struct io_fault){ .countdown = -1, .hold_dir = dir };
    if (io_open_fault(&trial->io, &trial->fault) < 0)
        tap_bail_out("no engine");
    struct log_options options = options_for(trial->io, trial->sync);
    options.seal = trial->seals;
    if (log_open(&trial->log, &options, NULL, &error) < 0 ||
        log_follower_open(&trial->follower, dir, &error) < 0)
        tap_bail_out("%s", error.text);
    maintain(trial->log);
}

/* The writes that were held end now. */
static void end_writes(struct trial *trial)
{
    trial->fault.hold = false;
    if (trial->fault.held == 0 || trial->late == ENDS_WELL)
        return;
    trial->fault.result = -EIO;
    trial->fault.written = trial->late == HALF ? 512 : 0;
    trial->fault.countdown = 0;
    trial->fault.times = trial->fault.held;
}

static bool wait_once(struct trial *trial)
{
    bool good = log_wait(trial->log, -1, STALL_NS / 8) == 0;
    trial->waits += trial->fault.hold;
    log_follower_look(&trial->follower, trial->log);
    return good && (trial->dies_after == LIVES_ON || trial->waits < trial->dies_after);
}

static bool settle(struct trial *trial)
{
    bool good = true;
    while (good && log_durable_seq(trial->log) + 1 < log_next_seq(trial->log))
        good = wait_once(trial);
    return good;
}

static bool append(struct trial *trial, uint32_t count, uint32_t size)
{
    return log_commands_append(&trial->commands, trial->log, count, size) &&
           log_flush(trial->log) == 0;
}

/* Commands over a roll and more, runs of frames among them, several frames under way. False when
 * the log stops taking them, or the process dies. */
static bool append_some(struct trial *trial)
{
    bool good = true;
    for (uint32_t i = 0; good && i < 9; i++) {
        bool run = i % 3 == 2;
        good = append(trial, run ? 4 : 1 + i % 2, run ? 22000 : 4000 * (i % 4));
        if (good && i % 2 == 1)
            good = wait_once(trial);
        if (i % 4 == 3)
            maintain(trial->log);
    }
    return good && settle(trial);
}

/* Over another roll: by now there are files of its own device for it. */
static bool come_back(struct trial *trial)
{
    bool good = true;
    for (uint32_t i = 0; good && i < 6; i++) {
        maintain(trial->log);
        good = append(trial, 2, 30000) && settle(trial);
    }
    maintain(trial->log);
    log_follower_look(&trial->follower, trial->log);
    return good;
}

static void note_finding(const struct log_finding *finding, void *context)
{
    (void)context;
    if (finding->verdict == LOG_DAMAGED)
        tap_note("verify: %s: %s", finding->file, finding->text);
}

static bool verifies(void)
{
    struct log_verify_options options = { .dir = dir, .finding = note_finding };
    struct log_verify_result result;
    struct error error = { 0 };
    int code = log_verify(&options, &result, &error);
    if (code < 0 || result.verdict != LOG_SOUND)
        tap_note("verify: %s", code < 0 ? error.text : log_verdict_name((uint16_t)result.verdict));
    return code == 0 && result.verdict == LOG_SOUND;
}

/* The segments: no spares but the last ones, and all of them of use. */
static bool is_swept(void)
{
    struct directory directory;
    struct source source = { .fd = -1 };
    struct segment_header header;
    struct error error = { 0 };
    unsigned spares = 0, linked = 0;
    bool good = directory_open(&directory, dir, &error) == 0;
    for (size_t i = 0; good && i < directory.count; i++) {
        int state = directory_segment(&directory, i, &source, &header, &error);
        good = state == SEGMENT_SPARE || (state == SEGMENT_BEGUN && spares == 0);
        spares += state == SEGMENT_SPARE;
        linked += directory_is_linked(&directory, i);
    }
    good = good && scratch_count(second) == linked;
    if (!good)
        tap_note("%u spares, %u of %u files in the second directory have links: %s", spares, linked,
                 scratch_count(second), error.text);
    source_close(&source);
    directory_close(&directory);
    return good;
}

static unsigned two_names; /* times that it left a spare with two */

/* A process dies while the first spare of the second directory moves up: it has two names. */
static bool die_moving_up(void)
{
    char name[LOG_SEGMENT_NAME_SIZE], higher[LOG_SEGMENT_NAME_SIZE], target[PATH_MAX];
    struct directory directory;
    struct source source = { .fd = -1 };
    struct segment_header header;
    struct error error = { 0 };
    bool good = directory_open(&directory, dir, &error) == 0;
    bool done = !good;
    for (size_t i = 0; !done && i < directory.count; i++) {
        if (!directory_is_linked(&directory, i) ||
            directory_segment(&directory, i, &source, &header, &error) != SEGMENT_SPARE)
            continue;
        segment_name(name, directory.segments[i]);
        segment_name(higher, directory.segments[directory.count - 1] + 1);
        good =
            second_target(dir, name, target) == 1 && second_link(dir, higher, target, &error) == 0;
        done = true;
    }
    source_close(&source);
    directory_close(&directory);
    return good && done;
}

/* Processes die in the middle of what maintenance makes anew, or before: no opening leaves what the
 * next one stumbles over. */
static bool opens_and_dies(const struct trial *trial)
{
    struct error error = { 0 };
    struct log *log = NULL;
    struct io *io;
    int result = io_open_plain(&io);
    for (int i = 0; result == 0 && i < 6; i++) {
        struct log_options options = options_for(io, trial->sync);
        two_names += die_moving_up();
        result = log_open(&log, &options, NULL, &error);
        for (int steps = i / 2, more = 1; result == 0 && steps > 0 && more == 1; steps--)
            more = log_maintain(log, &error);
        if (result == 0)
            log_abandon(&log);
    }
    io_close(io);
    if (result < 0)
        tap_note("opened once more: %s", error.text);
    return result == 0;
}

/* Marks of numbers that are to be made, in whose place there is a segment. */
static unsigned stale_marks(void)
{
    unsigned count = 0;
    char name[LOG_SEGMENT_NAME_SIZE], path[PATH_MAX], mark[PATH_MAX];
    for (uint64_t segment_no = 1; segment_no < 100; segment_no++) {
        struct stat ignored;
        segment_name(name, segment_no);
        snprintf(path, sizeof path, "%s/%s", dir, name);
        snprintf(mark, sizeof mark, "%s/%s.tmp", dir, name);
        count += lstat(path, &ignored) == 0 && lstat(mark, &ignored) == 0;
    }
    return count;
}

/* Opens again without stalls, and seals: all that was acknowledged is there, and it goes on. */
static bool goes_on(struct trial *trial, uint64_t acknowledged)
{
    struct log_replay replay;
    struct log_stats stats;
    struct error error = { 0 };
    struct log *log = NULL;
    struct io *io;
    if (!log_commands_match(&trial->commands, dir, acknowledged, &replay) ||
        !opens_and_dies(trial) || io_open_plain(&io) < 0)
        return false;
    struct log_options options = options_for(io, trial->sync);
    options.seal = true;
    int result = log_open(&log, &options, NULL, &error);
    bool good = result == 0 && log_commands_append(&trial->commands, log, 2, 100) &&
                log_commands_settle(log);
    if (good) {
        maintain(log);
        log_stats_get(log, &stats);
        good = stats.unsealed == 0 && stats.seal_error[0] == '\0' && stats.second_error[0] == '\0';
        acknowledged = log_durable_seq(log);
    }
    if (result == 0)
        good = log_close(&log, &error) == 0 && good;
    io_close(io);
    if (!good)
        tap_note("opened again: %s %s", error.text, result == 0 ? stats.seal_error : "");
    return good && log_commands_match(&trial->commands, dir, acknowledged, &replay) && verifies() &&
           is_swept() && scratch_count(second) == 2 && stale_marks() == 0;
}

static bool is_stuck(const struct log *log)
{
    struct log_stats stats;
    log_stats_get(log, &stats);
    return stats.stuck;
}

/* The log is in the second directory, and the writes that it left are still held. */
static void look_at_turn(const struct trial *trial, struct outcome *outcome)
{
    struct log_stats stats;
    uint64_t count;
    const char *text = log_failover(trial->log, &count);
    log_stats_get(trial->log, &stats);
    outcome->turned += stats.failovers == 1 && count == 1 && stats.stuck && stats.in_second &&
                       strstr(text, "stall") != NULL;
}

static void look_at_end(struct trial *trial, struct outcome *outcome)
{
    struct log_replay replay;
    struct log_stats stats;
    struct error error = { 0 };
    look_at_turn(trial, outcome);
    if (trial->late != NEVER_ENDS) {
        end_writes(trial);
        while (is_stuck(trial->log) && log_wait(trial->log, -1, STALL_NS / 8) == 0)
            continue;
        bool back = come_back(trial);
        log_stats_get(trial->log, &stats);
        bool once = back && !stats.in_second && stats.failovers == 1;
        outcome->came_back += once;
        if (!once)
            tap_note("%llu failovers: %s", (unsigned long long)stats.failovers,
                     log_failover(trial->log, &stats.failovers));
        outcome->swept += is_swept();
    }
    maintain(trial->log); /* the reader is told of the image, and sees all */
    log_follower_look(&trial->follower, trial->log);
    uint64_t acknowledged = log_durable_seq(trial->log);
    outcome->followed += trial->follower.seen == acknowledged && !trial->follower.strange;
    outcome->told += trial->follower.failovers == 1;
    size_t appended = trial->commands.count;
    bool closed = log_close(&trial->log, &error) == 0;
    outcome->whole += closed && log_commands_match(&trial->commands, dir, acknowledged, &replay) &&
                      trial->commands.count == appended;
    outcome->sound += verifies();
}

/* What the log left to the engine goes when it ends. */
static void end_engine(struct trial *trial, struct outcome *outcome)
{
    outcome->left += io_underway(trial->io) > 0 && atomic_load(&budget.used) > 0;
    end_writes(trial);
    while (io_underway(trial->io) > 0)
        io_run(trial->io);
    io_close(trial->io);
}

/* The n-th op in the log's directory stalls. Returns false when there was no n-th. */
static bool try_one(struct trial *trial, int n, struct outcome *outcome)
{
    trial->commands = (struct log_commands){ .time_ns = TIME_NS };
    begin(trial);
    trial->fault.hold_after = (unsigned)n + 1;
    bool went_on = append_some(trial);
    uint64_t acknowledged = log_durable_seq(trial->log);
    bool held = trial->fault.held > 0;
    if (held) {
        outcome->runs++;
        if (!went_on && trial->dies_after == LIVES_ON)
            tap_note("op %d: %s", n, log_failure(trial->log));
        if (went_on)
            look_at_end(trial, outcome);
    }
    if (trial->log != NULL && went_on)
        acknowledged = log_durable_seq(trial->log);
    log_follower_close(&trial->follower);
    if (trial->log != NULL)
        log_abandon(&trial->log);
    end_engine(trial, outcome);
    if (held)
        outcome->reopened += goes_on(trial, acknowledged);
    log_commands_free(&trial->commands);
    return held;
}

static void try_all(enum log_sync sync, enum late late, bool seals, const char *name)
{
    struct outcome lives = { .runs = 0 }, dies = { .runs = 0 };
    int n = 0;
    two_names = 0;
    for (bool more = true; more;) {
        struct trial living = {
            .sync = sync, .late = late, .seals = seals, .dies_after = LIVES_ON
        };
        struct trial dying = { .sync = sync, .late = late, .seals = seals };
        more = try_one(&living, n, &lives);
        for (int at = 1; more && at < 24; at += 6 + n % 5) {
            dying.dies_after = at;
            dying.waits = 0;
            (void)try_one(&dying, n, &dies);
        }
        n += more;
    }
    ok(n >= 10, "%s: there are ops to stall (%d)", name, n);
    is_int(lives.turned, lives.runs, "%s: the log goes on in the second directory meanwhile", name);
    is_int(lives.whole, lives.runs, "%s: all that was appended is there, with its numbers", name);
    is_int(lives.followed, lives.runs, "%s: a reader that follows sees all of it in time", name);
    is_int(lives.told, lives.runs, "%s: the log tells of it", name);
    is_int(lives.sound, lives.runs, "%s: and is sound", name);
    is_int(lives.came_back, late == NEVER_ENDS ? 0 : lives.runs, "%s: it comes back", name);
    is_int(lives.swept, late == NEVER_ENDS ? 0 : lives.runs, "%s: and leaves nothing behind", name);
    is_int(lives.left, late == NEVER_ENDS ? lives.runs : 0,
           "%s: what does not end is left to the engine when the log is closed", name);
    is_int(lives.reopened + dies.reopened, lives.runs + dies.runs,
           "%s: it is opened again, also when the process died on the way", name);
    ok(two_names > lives.runs, "%s: also while a spare moved up (%u times)", name, two_names);
    is_int((intmax_t)atomic_load(&budget.used), 0, "%s: all memory went back to the budget", name);
}

int main(void)
{
    budget_init(&budget, 1ull << 30);
    snprintf(dir, sizeof dir, "%s/log", scratch_memory_dir());
    snprintf(second, sizeof second, "%s/second", scratch_memory_dir());
    try_all(LOG_SYNC_DSYNC, ENDS_WELL, false, "a stall that ends well");
    try_all(LOG_SYNC_DSYNC, FAILS, true, "one that fails");
    try_all(LOG_SYNC_DSYNC, HALF, false, "one that fails halfway");
    try_all(LOG_SYNC_DSYNC, NEVER_ENDS, false, "one that never ends");
    try_all(LOG_SYNC_FDATASYNC, ENDS_WELL, true, "one of a sync");
    try_all(LOG_SYNC_FDATASYNC, NEVER_ENDS, false, "one of a sync that never ends");
    return tap_done();
}
