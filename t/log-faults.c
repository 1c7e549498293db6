/* The n-th op of the writer fails, for every n until none does, while the log is opened and closed
 * too: with an error, with a full disk, with a write that stops in the middle. What was
 * acknowledged stays so. Where no spare is ready to go on in, the log says that it has failed and
 * why, takes nothing more, and after it is opened again it goes on. With spares: t/log-
 * failover.c. */
#include "io_fault.h"
#include "log/log.h"
#include "log/segment.h"
#include "log_commands.h"
#include "scratch.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define TIME_NS 1700000000000000000u

static struct budget budget;
static char dir[256];

struct fault_case {
    const char *name;
    int result;
    enum log_sync sync;
    bool for_ever;
    bool writes_only;
};

/* What became of one run. */
struct outcome {
    unsigned opened, closed, failed, stayed_failed, said_why, failed_over, closed_failed, reopened;
    unsigned runs;
};

static struct log_options options_for(struct io *io, enum log_sync sync)
{
    return (struct log_options){ .dir = dir,
                                 .io = io,
                                 .budget = &budget,
                                 .segment_size = LOG_SEGMENT_SIZE_MIN,
                                 .frames_in_flight_max = 3,
                                 .sync = sync,
                                 .maintain_inline = true,
                                 .allow_tmpfs = true,
                                 .start_time_ns = TIME_NS };
}

/* Commands over two rolls, a run of frames among them. False when the log stops taking them. */
static bool append_some(struct log_commands *commands, struct log *log)
{
    bool good = true;
    for (uint32_t i = 0; good && i < 12; i++) {
        good = log_commands_append(commands, log, 1 + i % 3, 5000 * (i % 4)) && log_flush(log) == 0;
        if (good && i % 4 == 3)
            good = log_wait(log, -1, 0) == 0;
    }
    return good && log_commands_append(commands, log, 4, 30000) &&
           log_commands_append(commands, log, 4, 50000) && log_commands_settle(log);
}

/* A log that failed stays as it is, whatever is asked of it. */
static bool stays_failed(struct log *log)
{
    uint64_t first_seq, durable = log_durable_seq(log);
    bool refused = true;
    for (int i = 0; i < 3; i++)
        refused = refused && log_wait(log, -1, 0) == ERROR_UNAVAILABLE &&
                  log_flush(log) == ERROR_UNAVAILABLE &&
                  log_reserve(log, 1, 10, &first_seq) == ERROR_UNAVAILABLE;
    return refused && log_health(log) == LOG_FAILED && log_durable_seq(log) == durable;
}

/* Opens again without faults: all that was acknowledged is there, and it goes on. */
static bool goes_on(struct log_commands *commands, uint64_t acknowledged)
{
    struct log_replay replay;
    struct error error = { 0 };
    struct log *log = NULL;
    struct io *io;
    if (!log_commands_match(commands, dir, acknowledged, &replay) || io_open_plain(&io) < 0)
        return false;
    struct log_options options = options_for(io, LOG_SYNC_DSYNC);
    int result = log_open(&log, &options, NULL, &error);
    bool good =
        result == 0 && log_commands_append(commands, log, 2, 100) && log_commands_settle(log);
    if (good)
        acknowledged = log_durable_seq(log);
    if (result == 0)
        good = log_close(&log, &error) == 0 && good;
    io_close(io);
    if (!good)
        tap_note("opened again: %s", error.text);
    return good && log_commands_match(commands, dir, acknowledged, &replay);
}

static void count_failure(struct outcome *outcome, struct log *log)
{
    const char *why = log_failure(log);
    outcome->failed++;
    outcome->stayed_failed += stays_failed(log);
    outcome->said_why += why != NULL && strstr(why, "seg-0") != NULL;
}

/* The n-th op fails. Returns false when there was no n-th. */
static bool try_one(const struct fault_case *fault_case, int n, struct outcome *outcome)
{
    struct log_commands commands = { .time_ns = TIME_NS };
    struct error error = { 0 };
    struct log *log = NULL;
    struct io *io;
    struct io_fault fault = { .countdown = n,
                              .result = fault_case->result,
                              .for_ever = fault_case->for_ever,
                              .kinds = { [IO_WRITE] = fault_case->writes_only } };
    uint64_t acknowledged = 0;
    scratch_remove(dir);
    if (io_open_fault(&io, &fault) < 0)
        tap_bail_out("no engine");
    struct log_options options = options_for(io, fault_case->sync);
    int result = log_open(&log, &options, NULL, &error);
    if (result == 0) {
        bool taken = append_some(&commands, log);
        struct log_stats stats;
        log_stats_get(log, &stats);
        acknowledged = log_durable_seq(log);
        outcome->opened++;
        if (!taken)
            count_failure(outcome, log);
        outcome->failed_over += taken && stats.failovers > 0;
        bool closed = log_close(&log, &error) == 0;
        outcome->closed += closed;
        outcome->closed_failed += closed && !taken;
    }
    io_close(io);
    outcome->runs++;
    outcome->reopened += goes_on(&commands, acknowledged);
    log_commands_free(&commands);
    return fault.failed > 0;
}

static void try_all(const struct fault_case *fault_case)
{
    struct outcome outcome = { .runs = 0 }, before = { .runs = 0 };
    int n = 0;
    while (try_one(fault_case, n, &outcome)) {
        before = outcome;
        n++;
    }
    tap_note("%s: %d ops failed in turn; %u openings, %u endings in order", fault_case->name, n,
             outcome.opened, outcome.closed);
    ok(n > 15, "%s: there are ops to fail", fault_case->name);
    is_int(outcome.reopened, outcome.runs, "%s: nothing acknowledged is lost, and the log goes on",
           fault_case->name);
    is_int(outcome.closed - before.closed, 1, "%s: without a fault all goes well",
           fault_case->name);
    ok(before.failed > 3 && (!fault_case->for_ever || before.failed_over == 0),
       "%s: the log fails where it cannot go on", fault_case->name);
    is_int(before.stayed_failed, before.failed, "%s: for good", fault_case->name);
    is_int(before.said_why, before.failed, "%s: and it says which file", fault_case->name);
    /* Of those that were opened, a fault in the last ops alone lets log_close() fail, or, in
     * CHECKPOINT, nothing. */
    ok(before.opened - before.failed - before.failed_over <= 4, "%s: each fault is noticed",
       fault_case->name);
    is_int(before.closed_failed, 0, "%s: no log that failed closes in order", fault_case->name);
}

int main(void)
{
    static const struct fault_case cases[] = {
        { "EIO", -EIO, LOG_SYNC_DSYNC, false, false },
        { "EIO for ever", -EIO, LOG_SYNC_DSYNC, true, false },
        { "a full disk", -ENOSPC, LOG_SYNC_DSYNC, false, false },
        { "a short write", 1536, LOG_SYNC_DSYNC, false, true },
        { "nothing written", 0, LOG_SYNC_DSYNC, false, true },
        { "EIO with fdatasync", -EIO, LOG_SYNC_FDATASYNC, false, false },
        { "a short write before fdatasync", 512, LOG_SYNC_FDATASYNC, true, true },
    };
    budget_init(&budget, 1ull << 30);
    snprintf(dir, sizeof dir, "%s/log", scratch_memory_dir());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        try_all(&cases[i]);
    is_int((intmax_t)atomic_load(&budget.used), 0, "all memory went back to the budget");
    return tap_done();
}
