/* A write or a sync of the log fails, the n-th for every n: the log goes on in a spare without
 * being opened again, whatever it was that failed, also when the first segments it turns to fail
 * too. What was acknowledged stays, what was not keeps its numbers and becomes durable, a reader
 * that follows sees all of it once and nothing early, and the log is sound
 * and can be sealed. A process that dies on the way leaves what any crash leaves. */
#include "io_fault.h"
#include "log/log.h"
#include "log/reader.h"
#include "log/segment.h"
#include "log/storage.h"
#include "log/verify.h"
#include "log_commands.h"
#include "log_follower.h"
#include "scratch.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define TIME_NS 1700000000000000000u

enum { SPARES = 5, LIVES_ON = -1 };

static struct budget budget;
static char dir[256];

struct fault_case {
    const char *name;
    int result;
    unsigned written, times;
    enum log_sync sync;
    bool syncs_only, over_ring;
};

/* What became of one run. */
struct outcome {
    unsigned runs, whole, failed_over, followed, sound, told, reopened;
    unsigned most; /* failovers in one run */
};

/* One run. */
struct trial {
    const struct fault_case *fault_case;
    struct io_fault fault;
    int dies_after; /* waits behind the fault; LIVES_ON: never */
    int waits;      /* behind it so far */
    struct io *io;
    struct log *log;
    struct log_commands commands;
    struct log_follower follower;
};

static struct log_options options_for(struct io *io, enum log_sync sync)
{
    return (struct log_options){ .dir = dir,
                                 .io = io,
                                 .budget = &budget,
                                 .segment_size = LOG_SEGMENT_SIZE_MIN,
                                 .frames_in_flight_max = 4,
                                 .spares = SPARES,
                                 .sync = sync,
                                 .verify = true,
                                 .maintain_inline = true,
                                 .allow_tmpfs = true,
                                 .start_time_ns = TIME_NS };
}

static void maintain(struct log *log)
{
    struct error error;
    while (log_maintain(log, &error) == 1)
        continue;
}

static struct io *open_engine(struct trial *trial)
{
    struct io *io, *inner = NULL;
    const struct fault_case *fault_case = trial->fault_case;
    if ((fault_case->over_ring && io_open_best(&inner, 16) < 0) ||
        io_open_fault_over(&io, &trial->fault, inner) < 0)
        tap_bail_out("no engine");
    return io;
}

static void begin(struct trial *trial)
{
    struct error error = { 0 };
    scratch_remove(dir);
    trial->fault.countdown = -1;
    trial->io = open_engine(trial);
    struct log_options options = options_for(trial->io, trial->fault_case->sync);
    if (log_open(&trial->log, &options, NULL, &error) < 0 ||
        log_follower_open(&trial->follower, dir, &error) < 0)
        tap_bail_out("%s", error.text);
    maintain(trial->log);
}

/* One wait. False when the process dies behind it. */
static bool wait_once(struct trial *trial)
{
    bool good = log_wait(trial->log, -1, 0) == 0;
    trial->waits += trial->fault.failed > 0;
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

/* Commands over a roll and more, runs of frames among them, several frames under way. False when
 * the log stops taking them, or the process dies. */
static bool append_some(struct trial *trial)
{
    bool good = true;
    for (uint32_t i = 0; good && i < 9; i++) {
        bool run = i % 3 == 2;
        good = log_commands_append(&trial->commands, trial->log, run ? 4 : 1 + i % 2,
                                   run ? 22000 : 3000 * (i % 4)) &&
               log_flush(trial->log) == 0;
        if (good && i % 2 == 1)
            good = wait_once(trial);
        if (i % 4 == 3)
            maintain(trial->log);
    }
    return good && settle(trial);
}

static bool verifies(void)
{
    struct log_verify_options options = { .dir = dir };
    struct log_verify_result result;
    struct error error = { 0 };
    int code = log_verify(&options, &result, &error);
    if (code < 0 || result.verdict != LOG_SOUND)
        tap_note("verify: %s", code < 0 ? error.text : log_verdict_name((uint16_t)result.verdict));
    return code == 0 && result.verdict == LOG_SOUND;
}

/* What a failover left can be sealed as any segment can. */
static bool seals(void)
{
    struct log_verify_options verifying = { .dir = dir };
    struct log_verify_result result;
    struct log_stats stats = { .sealed = 0 };
    struct error error = { 0 };
    struct log *log;
    struct io *io;
    if (io_open_plain(&io) < 0)
        return false;
    struct log_options options = options_for(io, LOG_SYNC_DSYNC);
    options.seal = true;
    bool good = log_open(&log, &options, NULL, &error) == 0;
    if (good) {
        maintain(log);
        log_stats_get(log, &stats);
        good = stats.sealed > 0 && stats.unsealed == 0 && stats.seal_error[0] == '\0';
        good = log_close(&log, &error) == 0 && good;
    }
    io_close(io);
    good = good && log_verify(&verifying, &result, &error) == 0 && result.verdict == LOG_SOUND &&
           result.sealed == stats.sealed;
    if (!good)
        tap_note("sealed: %s %s", error.text, stats.seal_error);
    return good;
}

/* Opens again without faults: all that was acknowledged is there, and it goes on. */
static bool goes_on(struct trial *trial, uint64_t acknowledged)
{
    struct log_replay replay;
    struct error error = { 0 };
    struct log *log = NULL;
    struct io *io;
    if (!log_commands_match(&trial->commands, dir, acknowledged, &replay) || io_open_plain(&io) < 0)
        return false;
    struct log_options options = options_for(io, LOG_SYNC_DSYNC);
    int result = log_open(&log, &options, NULL, &error);
    bool good = result == 0 && log_commands_append(&trial->commands, log, 2, 100) &&
                log_commands_settle(log);
    if (good)
        acknowledged = log_durable_seq(log);
    if (result == 0)
        good = log_close(&log, &error) == 0 && good;
    io_close(io);
    if (!good)
        tap_note("opened again: %s", error.text);
    return good && log_commands_match(&trial->commands, dir, acknowledged, &replay) && verifies() &&
           (trial->fault.started % 2 != 0 || seals());
}

/* The run went through to its end. */
static void look_at_end(struct trial *trial, struct outcome *outcome)
{
    struct log_replay replay;
    struct log_stats stats;
    struct error error = { 0 };
    maintain(trial->log); /* the reader is told of the image, and sees all */
    log_follower_look(&trial->follower, trial->log);
    log_stats_get(trial->log, &stats);
    uint64_t acknowledged = log_durable_seq(trial->log), count;
    const char *text = log_failover(trial->log, &count);
    /* Frames that were under way together fail together. */
    outcome->failed_over += stats.failovers > 0 && stats.failovers <= trial->fault.failed;
    if (stats.failovers > outcome->most)
        outcome->most = (unsigned)stats.failovers;
    outcome->told += trial->follower.failovers == stats.failovers && count == stats.failovers &&
                     text != NULL && strstr(text, "seg-0") != NULL;
    outcome->followed += trial->follower.seen == acknowledged && !trial->follower.strange;
    trial->fault.countdown = -1;
    size_t appended = trial->commands.count;
    bool closed = log_close(&trial->log, &error) == 0;
    outcome->whole += closed && log_commands_match(&trial->commands, dir, acknowledged, &replay) &&
                      trial->commands.count == appended;
    outcome->sound += verifies();
}

/* The n-th op fails. Returns false when there was no n-th. */
static bool try_one(const struct fault_case *fault_case, int n, int dies_after,
                    struct outcome *outcome)
{
    struct trial trial = { .fault_case = fault_case,
                           .fault = { .result = fault_case->result,
                                      .written = fault_case->written,
                                      .times = fault_case->times,
                                      .kinds = { [IO_SYNC] = fault_case->syncs_only } },
                           .dies_after = dies_after,
                           .commands = { .time_ns = TIME_NS } };
    begin(&trial);
    trial.fault.countdown = n;
    bool went_on = append_some(&trial);
    uint64_t acknowledged = log_durable_seq(trial.log);
    unsigned failed = trial.fault.failed;
    if (failed > 0) {
        outcome->runs++;
        if (!went_on && dies_after == LIVES_ON)
            tap_note("%s, op %d: %s", fault_case->name, n, log_failure(trial.log));
        if (went_on)
            look_at_end(&trial, outcome);
    }
    trial.fault.countdown = -1;
    log_follower_close(&trial.follower);
    if (trial.log != NULL)
        log_abandon(&trial.log);
    io_close(trial.io);
    if (failed > 0)
        outcome->reopened += goes_on(&trial, acknowledged);
    log_commands_free(&trial.commands);
    return failed > 0;
}

static void try_all(const struct fault_case *fault_case)
{
    struct outcome lives = { .runs = 0 }, dies = { .runs = 0 };
    int n = 0;
    while (try_one(fault_case, n, LIVES_ON, &lives)) {
        (void)try_one(fault_case, n, 1 + n % 4, &dies);
        n++;
    }
    const char *name = fault_case->name;
    ok(n >= (fault_case->syncs_only ? 4 : 10), "%s: there are ops to fail (%d)", name, n);
    is_int(lives.failed_over, lives.runs, "%s: each fault lets the log fail over", name);
    ok(lives.most >= fault_case->times, "%s: %u times if need be", name, fault_case->times);
    is_int(lives.whole, lives.runs, "%s: all that was appended is there, with its numbers", name);
    is_int(lives.followed, lives.runs, "%s: a reader that follows sees all of it in time", name);
    is_int(lives.told, lives.runs, "%s: the log tells of it", name);
    is_int(lives.sound, lives.runs, "%s: and is sound", name);
    is_int(lives.reopened + dies.reopened, lives.runs + dies.runs,
           "%s: it is opened again, also when the process died on the way", name);
}

/* The maintenance thread asks for a salt before a spare is ready, and waits here meanwhile. */
static sem_t gate;
static _Atomic bool gate_is_closed;

static void random_behind_gate(void *bytes, size_t size, void *context)
{
    static _Atomic uint8_t next = 1;
    (void)context;
    if (gate_is_closed)
        sem_wait(&gate);
    memset(bytes, next++, size);
}

static uint64_t ready_spares(const struct log *log)
{
    struct log_stats stats;
    log_stats_get(log, &stats);
    return stats.spares;
}

/* All spares fail while another is being made. */
static void no_spare_yet(void)
{
    struct log_commands commands = { .time_ns = TIME_NS };
    struct io_fault fault = { .countdown = -1, .result = -EIO, .times = 3 };
    struct log_replay replay;
    struct error error = { 0 };
    char path[sizeof dir + 32];
    struct log *log;
    struct io *io;
    scratch_remove(dir);
    sem_init(&gate, 0, 0);
    if (io_open_fault(&io, &fault) < 0)
        tap_bail_out("no engine");
    struct log_options options = options_for(io, LOG_SYNC_DSYNC);
    options.maintain_inline = false;
    options.spares = 2;
    options.random = random_behind_gate;
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    while (ready_spares(log) < 2)
        sched_yield();
    gate_is_closed = true;
    fault.countdown = 0;
    uint64_t durable = log_durable_seq(log);
    bool good = log_commands_append(&commands, log, 1, 10);
    while (good && ready_spares(log) > 0)
        good = log_wait(log, -1, UINT64_MAX) == 0;
    for (int i = 0; good && i < 10; i++)
        good = log_wait(log, -1, UINT64_MAX) == 0;
    is_int((intmax_t)fault.failed, 3, "a frame fails, and the headers of both spares");
    ok(good, "without another spare the log waits for one that is being made");
    is_int((intmax_t)log_durable_seq(log), (intmax_t)durable, "and acknowledges nothing");
    snprintf(path, sizeof path, "%s/seg-0000000003.log", dir);
    ok(access(path, F_OK) < 0, "the file whose header failed is gone before that");
    gate_is_closed = false;
    sem_post(&gate);
    ok(log_commands_settle(log), "once there is one it goes on");
    uint64_t acknowledged = log_durable_seq(log);
    is_int(log_close(&log, &error), 0, "to its end");
    ok(log_commands_match(&commands, dir, acknowledged, &replay) && verifies(), "and is whole");
    log_commands_free(&commands);
    io_close(io);
    sem_destroy(&gate);
}

/* The process that wrote was killed, and a write of its is still under way: it may begin a segment
 * that fences off what is at the end now. */
static void a_last_write(void)
{
    struct log_commands commands = { .time_ns = TIME_NS };
    char path[sizeof dir + 32];
    struct log_recovery recovery;
    struct error error = { 0 };
    struct log *log;
    struct io *io;
    scratch_remove(dir);
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    struct log_options options = options_for(io, LOG_SYNC_DSYNC);
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    maintain(log);
    log_commands_append(&commands, log, 1, 10);
    log_commands_settle(log);
    log_abandon(&log);
    io_close(io);
    log_commands_free(&commands);
    is_int(log_recover(dir, NULL, 0, &recovery, &error), 0, "the end of a log is found");
    snprintf(path, sizeof path, "%s/" LOG_SEGMENT_NAME_FORMAT, dir, 3ull);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ok(fd >= 0 && flock(fd, LOCK_EX) == 0, "(as a write holds it that is under way)");
    is_int(log_recover(dir, NULL, 0, &recovery, &error), ERROR_LOCKED,
           "but not while a write to any of its spares may be under way");
    close(fd);
    is_int(log_recover(dir, NULL, 0, &recovery, &error), 0, "and once that is over, it is");
}

int main(void)
{
    static const struct fault_case cases[] = {
        { "EIO", -EIO, 0, 1, LOG_SYNC_DSYNC, false, false },
        { "EIO though all was written", -EIO, 1 << 20, 1, LOG_SYNC_DSYNC, false, false },
        { "a full disk", -ENOSPC, 0, 1, LOG_SYNC_DSYNC, false, true },
        { "a short write", 512, 0, 1, LOG_SYNC_DSYNC, false, true },
        { "two in a row", -EIO, 512, 2, LOG_SYNC_DSYNC, false, false },
        { "three in a row", 1536, 0, 3, LOG_SYNC_DSYNC, false, true },
        { "EIO before fdatasync", -EIO, 1536, 1, LOG_SYNC_FDATASYNC, false, false },
        { "fdatasync", -EIO, 0, 1, LOG_SYNC_FDATASYNC, true, true },
        { "fdatasync twice", -EIO, 0, 2, LOG_SYNC_FDATASYNC, true, false },
    };
    budget_init(&budget, 1ull << 30);
    snprintf(dir, sizeof dir, "%s/log", scratch_memory_dir());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        try_all(&cases[i]);
    a_last_write();
    no_spare_yet();
    is_int((intmax_t)atomic_load(&budget.used), 0, "all memory went back to the budget");
    return tap_done();
}
