/* A write takes long: the log says so while it lasts, counts it once however many frames it held
 * up, and says so when it is over. Nothing is lost, nothing is acknowledged meanwhile. */
#include "io_fault.h"
#include "log/log.h"
#include "log_commands.h"
#include "scratch.h"
#include "tap.h"

#include "core/base/bytes.h"

#include <stdio.h>

#define TIME_NS 1700000000000000000u
#define STALL_NS 5000000u

static struct budget budget;

static struct log *open_log(const char *dir, struct io *io, enum log_sync sync)
{
    struct error error = { 0 };
    struct log *log;
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = LOG_SEGMENT_SIZE_MIN,
                                   .frames_in_flight_max = 4,
                                   .sync = sync,
                                   .stall_ns = STALL_NS,
                                   .maintain_inline = true,
                                   .allow_tmpfs = true,
                                   .start_time_ns = TIME_NS };
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    while (log_maintain(log, &error) == 1)
        continue;
    return log;
}

static void append(struct log_commands *commands, struct log *log)
{
    log_commands_append(commands, log, 1, 100);
    log_flush(log);
}

static void wait_for_stall(struct log *log)
{
    while (log_stalled_ns(log) == 0)
        log_wait(log, -1, 1000000);
}

static void stalls(const char *dir, enum log_sync sync, const char *name)
{
    struct log_commands commands = { .time_ns = TIME_NS };
    struct io_fault fault = { .countdown = -1 };
    struct storage_stalled stalled;
    struct log_stats before, stats;
    struct log_replay replay;
    struct error error = { 0 };
    struct io *io;
    if (io_open_fault(&io, &fault) < 0)
        tap_bail_out("no engine");
    struct log *log = open_log(dir, io, sync);
    append(&commands, log);
    log_commands_settle(log);
    log_take_stalls(log, &stalled); /* of this machine, perhaps */
    log_stats_get(log, &before);
    uint64_t durable = log_durable_seq(log);

    fault.hold = true;
    append(&commands, log);
    append(&commands, log);
    wait_for_stall(log);
    ok(log_stalled_ns(log) > STALL_NS, "%s: the log says for how long it has been", name);
    is_int((intmax_t)log_durable_seq(log), (intmax_t)durable, "%s: nothing is acknowledged", name);
    ok(!log_stalls(log), "%s: it is not over", name);
    append(&commands, log);
    fault.hold = false;
    log_commands_settle(log);
    is_int((intmax_t)log_stalled_ns(log), 0, "%s: then it is", name);
    ok(log_stalls(log), "%s: and there is something to tell", name);
    log_stats_get(log, &stats);
    ok(stats.stalls > before.stalls && stats.stall_longest_ns > STALL_NS, "%s: it is counted",
       name);
    log_take_stalls(log, &stalled);
    ok(stalled.count >= 1 && stalled.longest_ns > STALL_NS, "%s: and told", name);
    ok(!log_stalls(log), "%s: once", name);
    uint64_t acknowledged = log_durable_seq(log);
    is_int(log_close(&log, &error), 0, "%s: the log goes on", name);
    ok(log_commands_match(&commands, dir, acknowledged, &replay), "%s: and is whole", name);
    log_commands_free(&commands);
    io_close(io);
}

/* What is held up together counts once: frames under way at the same time end one after another. */
static void coincide(const char *dir)
{
    struct log_commands commands = { .time_ns = TIME_NS };
    struct io_fault fault = { .countdown = -1 };
    struct storage_stalled stalled;
    struct io *io;
    if (io_open_fault(&io, &fault) < 0)
        tap_bail_out("no engine");
    struct log *log = open_log(dir, io, LOG_SYNC_DSYNC);
    log_commands_settle(log);
    log_take_stalls(log, &stalled);
    fault.hold = true;
    append(&commands, log);
    append(&commands, log);
    wait_for_stall(log);
    fault.hold = false;
    while (log_durable_seq(log) + 1 < log_next_seq(log))
        log_wait(log, -1, 0);
    log_take_stalls(log, &stalled);
    is_int(stalled.count, 1, "two frames that one stall held up are one stall");
    log_abandon(&log);
    log_commands_free(&commands);
    io_close(io);
}

static void record(void)
{
    uint8_t bytes[STALLED_SIZE];
    struct storage_stalled in = { 3, 2500000000u }, out;
    storage_stalled_encode(bytes, &in);
    is_int(storage_stalled_decode(span_of(bytes, sizeof bytes), &out), 0,
           "storage.stalled comes back");
    ok(out.count == in.count && out.longest_ns == in.longest_ns, "with all its fields");
    is_int(storage_stalled_decode(span_of(bytes, sizeof bytes - 1), &out), ERROR_DAMAGED,
           "one that is too short is refused");
    bytes[STALLED_AT_RESERVED] = 1;
    is_int(storage_stalled_decode(span_of(bytes, sizeof bytes), &out), ERROR_DAMAGED,
           "so are reserved bytes in use");
}

int main(void)
{
    char dir[256];
    budget_init(&budget, 1ull << 30);
    snprintf(dir, sizeof dir, "%s/dsync", scratch_memory_dir());
    stalls(dir, LOG_SYNC_DSYNC, "dsync");
    snprintf(dir, sizeof dir, "%s/fdatasync", scratch_memory_dir());
    stalls(dir, LOG_SYNC_FDATASYNC, "fdatasync");
    snprintf(dir, sizeof dir, "%s/coincide", scratch_memory_dir());
    coincide(dir);
    record();
    return tap_done();
}
