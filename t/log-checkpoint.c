/* A CHECKPOINT that could not be written: another file takes its place, with what is known to have
 * been in it, and the next ones go there. */
#include "io_fault.h"
#include "log/directory.h"
#include "log/log.h"
#include "log/segment.h"
#include "log_commands.h"
#include "scratch.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define TIME_NS 1700000000000000000u

static struct budget budget;
static char dir[4096];
static struct error error;

static struct log_stats stats_of(const struct log *log)
{
    struct log_stats stats;
    log_stats_get(log, &stats);
    return stats;
}

static void wait_for_checkpoints(struct log *log, uint64_t count)
{
    for (int i = 0; i < 1000 && stats_of(log).checkpoints < count; i++)
        if (log_wait(log, -1, 100000000) < 0)
            tap_bail_out("%s", log_failure(log));
    if (stats_of(log).checkpoints < count)
        tap_bail_out("no CHECKPOINT is written");
}

static uint64_t seq_in_file(void)
{
    struct directory directory;
    struct source source = { .fd = -1 };
    struct checkpoint checkpoint = { .durable_seq = 0 };
    unsigned damaged;
    if (directory_open(&directory, dir, &error) < 0)
        tap_bail_out("%s", error.text);
    (void)directory_checkpoint(&directory, &source, &checkpoint, &damaged);
    source_close(&source);
    directory_close(&directory);
    return checkpoint.durable_seq;
}

static ino_t inode(void)
{
    struct stat status;
    char path[sizeof dir + 16];
    snprintf(path, sizeof path, "%s/CHECKPOINT", dir);
    return stat(path, &status) == 0 ? status.st_ino : 0;
}

static void maintain(struct log *log)
{
    int done;
    while ((done = log_maintain(log, &error)) > 0)
        continue;
    is_int(done, 0, "maintenance is done");
}

static void fails_once(enum log_sync sync, const char *what)
{
    struct io_fault fault = { .countdown = -1, .result = -EIO };
    struct log_commands commands = { .time_ns = TIME_NS };
    struct io *io;
    struct log *log;
    if (io_open_fault(&io, &fault) < 0)
        tap_bail_out("no engine");
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = LOG_SEGMENT_SIZE_MIN,
                                   .sync = sync,
                                   .maintain_inline = true,
                                   .allow_tmpfs = true,
                                   .start_time_ns = TIME_NS };
    scratch_remove(dir);
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    maintain(log);
    ok(log_commands_append(&commands, log, 3, 100) && log_commands_settle(log), "%s: events", what);
    wait_for_checkpoints(log, 1);
    uint64_t known = stats_of(log).durable_seq;
    ino_t before = inode();
    is_int(seq_in_file(), known, "%s: (CHECKPOINT knows of them)", what);

    ok(log_commands_append(&commands, log, 3, 100) && log_commands_settle(log), "%s: more", what);
    fault.kinds[sync == LOG_SYNC_DSYNC ? IO_WRITE : IO_SYNC] = true;
    fault.countdown = 0;
    while (fault.failed == 0)
        if (log_wait(log, -1, 1000000000) < 0)
            tap_bail_out("%s", log_failure(log));
    fault.countdown = -1;
    (void)log_wait(log, -1, 1); /* it is told of */
    maintain(log);
    ok(inode() != before, "%s: a file that could not be written is not written again", what);
    is_int(seq_in_file(), known, "%s: the one in its place knows what it knew", what);
    wait_for_checkpoints(log, 2);
    is_int(seq_in_file(), stats_of(log).durable_seq, "%s: and then of all", what);
    ok(log_commands_append(&commands, log, 1, 100) && log_commands_settle(log), "%s: more", what);
    wait_for_checkpoints(log, 3);
    is_int(seq_in_file(), stats_of(log).durable_seq, "%s: as do those that follow", what);
    is_int(log_close(&log, &error), 0, "%s: the log is closed", what);
    io_close(io);
    log_commands_free(&commands);
}

int main(void)
{
    budget_init(&budget, 1ull << 30);
    snprintf(dir, sizeof dir, "%s", scratch_path("log"));
    fails_once(LOG_SYNC_DSYNC, "a write");
    fails_once(LOG_SYNC_FDATASYNC, "a sync");
    return tap_done();
}
