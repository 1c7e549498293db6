/* A process that appends is killed at a random moment, again and again: what it had said to be
 * durable is there when the log is opened next, at once, while the kernel may still be writing. So
 * when its writes fail now and then, or do not end, and it may be killed while the log fails over,
 * or goes on in its second directory or comes back from it. */
#include "io_fault.h"
#include "iouring/io.h"
#include "log/log.h"
#include "log/segment.h"
#include "log_commands.h"
#include "scratch.h"
#include "tap.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_NS 1700000000000000000u

enum { KILLS = 30, SIZE = 700, FAULT_EVERY = 25 /* ops, at most */ };
enum trouble { NONE, FAILS, STALLS };

#define STALL_NS 2000000u

static struct budget budget;
static const char *second; /* directory; NULL: none */
static bool is_child;

static struct log *open_log(const char *dir, struct io *io, uint64_t stall_ns,
                            struct log_recovery *recovery)
{
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = LOG_SEGMENT_SIZE_MIN,
                                   .sync = LOG_SYNC_DSYNC,
                                   .second_dir = second,
                                   .seal = second != NULL,
                                   .stall_ns = stall_ns,
                                   .allow_tmpfs = true,
                                   .start_time_ns = START_NS };
    struct error error = { 0 };
    struct log *log;
    if (log_open(&log, &options, recovery, &error) == 0)
        return log;
    if (!is_child)
        tap_bail_out("%s", error.text);
    tap_note("%s", error.text);
    fflush(stdout);
    _exit(5); /* the scratch directory is the parent's */
}

static struct io *open_engine(void)
{
    struct io *io;
#ifdef __SANITIZE_THREAD__
    int result = io_open_plain(&io);
#else
    int result = io_open_best(&io, 16);
#endif
    if (result < 0)
        tap_bail_out("no engine: %s", error_text(result));
    return io;
}

/* Fails every so often from now on. */
static void go_on_failing(struct io_fault *fault, unsigned *seed)
{
    if (fault->countdown >= 0)
        return;
    fault->countdown = rand_r(seed) % FAULT_EVERY;
    fault->times = fault->failed + 1 + (unsigned)rand_r(seed) % 2;
    fault->written = (unsigned)rand_r(seed) % 3 * 2048;
}

/* Its device stops to answer, or answers again. */
static void go_on_stalling(struct io_fault *fault, unsigned *seed)
{
    if (rand_r(seed) % 12 == 0)
        fault->hold = !fault->hold;
}

/* The child: appends for ever, and tells the pipe what is durable. */
static _Noreturn void append_for_ever(const char *dir, int pipe, enum trouble trouble,
                                      unsigned seed)
{
    is_child = true;
    struct log_recovery recovery;
    struct io_fault fault = { .countdown = -1, .result = -EIO, .hold_dir = dir };
    struct io *io = open_engine();
    if (trouble != NONE && io_open_fault_over(&io, &fault, io) < 0)
        _exit(4);
    struct log *log = open_log(dir, io, trouble == STALLS ? STALL_NS : 0, &recovery);
    struct log_commands commands = { .time_ns =
                                         recovery.exists ? recovery.last_time_ns : START_NS };
    uint64_t told = 0;
    for (;;) {
        if (trouble == FAILS)
            go_on_failing(&fault, &seed);
        if (trouble == STALLS)
            go_on_stalling(&fault, &seed);
        for (uint32_t i = 0; i < 5; i++)
            if (!log_commands_append(&commands, log, 1, SIZE))
                _exit(1);
        if (log_flush(log) < 0 || log_wait(log, -1, 1000000) < 0)
            _exit(2);
        uint64_t durable = log_durable_seq(log);
        if (durable > told && write(pipe, &durable, sizeof durable) != sizeof durable)
            _exit(3);
        told = durable;
    }
}

/* Kills the child some time after it told of its first durable event; the last one it told of. */
static uint64_t kill_one(const char *dir, unsigned delay_us, enum trouble trouble)
{
    int pipes[2];
    if (pipe(pipes) < 0)
        tap_bail_out("no pipe");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(pipes[0]);
        append_for_ever(dir, pipes[1], trouble, delay_us);
    }
    close(pipes[1]);
    uint64_t told = 0, next;
    bool killed = false;
    while (read(pipes[0], &next, sizeof next) == sizeof next) {
        told = next;
        if (killed)
            continue; /* what was told before it died */
        nanosleep(&(struct timespec){ .tv_nsec = delay_us * 1000l }, NULL);
        kill(child, SIGKILL);
        killed = true;
    }
    close(pipes[0]);
    waitpid(child, NULL, 0);
    return told;
}

static uint64_t failovers; /* that the log tells of */

static void remember(const struct record *record, void *context)
{
    struct log_commands *commands = context;
    failovers += record->kind == LOG_KIND_FAILOVER;
    if (record->kind > LOG_KIND_OWN_MAX)
        log_commands_expect(commands, record->seq, 1, SIZE);
}

static void kill_many(const char *dir, unsigned *seed, enum trouble trouble, const char *who)
{
    unsigned sound = 0, whole = 0;
    uint64_t told = 0;
    for (int i = 0; i < KILLS; i++) {
        struct log_commands commands = { .count = 0 };
        struct log_recovery recovery;
        struct log_replay replay;
        told =
            kill_one(dir, (unsigned)rand_r(seed) % (trouble == STALLS ? 100000u : 20000u), trouble);
        struct io *io = open_engine();
        struct log *log = open_log(dir, io, 0, &recovery);
        sound += recovery.verdict != LOG_DAMAGED && recovery.last_seq >= told && told > 0;
        log_abandon(&log);
        io_close(io);
        failovers = 0;
        log_replay(dir, &replay, remember, &commands);
        whole += log_commands_match(&commands, dir, told, &replay);
        log_commands_free(&commands);
    }
    tap_note("%s: %llu events, %llu failovers", who, (unsigned long long)told,
             (unsigned long long)failovers);
    is_int(sound, KILLS, "%s was killed: the log opens at once, with all it told of", who);
    is_int(whole, KILLS, "%s was killed: every event is whole", who);
    ok((failovers > 0) == (trouble != NONE), "%s: the log failed over if writes failed or stalled",
       who);
}

int main(void)
{
    unsigned seed = (unsigned)getpid();
    budget_init(&budget, 1ull << 30);
    tap_note("seed %u", seed);
    kill_many(scratch_path("log"), &seed, NONE, "a writer");
    kill_many(scratch_path("failing"), &seed, FAILS, "a writer on a disk that fails");
    second = scratch_path("second");
    kill_many(scratch_path("stalling"), &seed, STALLS, "a writer on a disk that stalls");
    return tap_done();
}
