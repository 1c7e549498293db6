/* Readers beside a writer, in its process and in others: they see every event once it is durable
 * and none before, wake up when there is news, follow rolls, and outlive the writer. */
#include "log/log.h"
#include "log/reader.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io_power.h"
#include "log_commands.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY (256u << 10)
#define SECOND_NS 1000000000ull
#define START_NS 1700000000000000000u
#define FOLLOWERS 2

static struct budget budget;
static struct error error;
static struct log_commands commands;

static struct log *open_log(const char *dir, struct io *io, bool maintain_inline)
{
    struct log *log;
    struct log_options options = { .dir = dir,
                                   .io = io,
                                   .budget = &budget,
                                   .segment_size = CAPACITY,
                                   .sync = LOG_SYNC_DSYNC,
                                   .maintain_inline = maintain_inline,
                                   .start_time_ns = START_NS };
    if (log_open(&log, &options, NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    return log;
}

static struct io *open_plain(void)
{
    struct io *io;
    if (io_open_plain(&io) < 0)
        tap_bail_out("no engine");
    return io;
}

static struct log_reader *open_reader(const char *dir)
{
    struct log_reader *reader;
    struct log_reader_options options = { .dir = dir };
    if (log_reader_open(&reader, &options, &error) < 0)
        tap_bail_out("%s", error.text);
    return reader;
}

/* Reads what there is now; returns the last event's number, or `seq` when there was none. */
static uint64_t read_on(struct log_reader *reader, uint64_t seq)
{
    struct record record;
    int code;
    while ((code = log_reader_next(reader, &record, NULL, &error)) == 1) {
        if (record.seq != seq + 1) {
            tap_note("event %llu came behind %llu", (unsigned long long)record.seq,
                     (unsigned long long)seq);
            return 0;
        }
        seq = record.seq;
    }
    if (code < 0)
        tap_note("%s", error.text);
    return code < 0 ? 0 : seq;
}

static void test_durable_only(void)
{
    const char *dir = scratch_path("durable");
    struct io *io;
    if (io_open_power(&io, 7) < 0)
        tap_bail_out("no engine");
    struct log *log = open_log(dir, io, true);
    struct log_reader *reader = open_reader(dir);
    commands.time_ns = START_NS;
    while (log_maintain(log, &error) == 1)
        ;
    ok(log_reader_live(reader) || log_reader_durable_seq(reader) >= 1, "the reader sees a writer");
    uint64_t seq = read_on(reader, 0);
    is_int(seq, log_durable_seq(log), "it shows what is durable");
    bool early = false, late = false, half = false;
    for (uint32_t i = 0; i < 60; i++) {
        /* Every fifth is larger than a frame. */
        uint32_t count = i % 5 == 4 ? 40 : 1 + i % 3, size = i % 5 == 4 ? 2500 : 300;
        log_commands_append(&commands, log, count, size);
        uint64_t first_seq = log_next_seq(log) - count;
        log_flush(log);
        early = early || read_on(reader, seq) > log_durable_seq(log);
        while (log_durable_seq(log) + 1 < log_next_seq(log)) {
            log_wait(log, -1, 0);
            seq = read_on(reader, seq);
            early = early || seq > log_durable_seq(log);
            half = half || (seq >= first_seq && seq < first_seq + count - 1);
        }
        while (log_maintain(log, &error) == 1)
            ;
        seq = read_on(reader, seq);
        late = late || seq != log_durable_seq(log);
    }
    struct log_stats stats;
    log_stats_get(log, &stats);
    ok(stats.rolls > 3, "the log rolled on");
    ok(!early, "no event is shown that is not durable");
    ok(!late, "every event that is durable is shown");
    ok(!half, "no command is shown by half");
    ok(log_reader_live(reader), "the tail comes from the writer's image");
    log_abandon(&log);
    io_close(io);
    log_reader_close(reader);
    scratch_remove(dir);
    log_commands_free(&commands);
}

/* Another user, or a copy: no image to be had. */
static void test_without_image(void)
{
    const char *dir = scratch_path("plain");
    char image[4096];
    struct io *io = open_plain();
    struct log *log = open_log(dir, io, true);
    while (log_maintain(log, &error) == 1)
        ;
    snprintf(image, sizeof image, "%s/image", dir);
    unlink(image);
    struct log_reader *reader = open_reader(dir);
    uint64_t seq = read_on(reader, 0), first = seq;
    bool early = false;
    commands.time_ns = START_NS;
    for (int i = 0; i < 20; i++) {
        log_commands_append(&commands, log, 3, 300);
        log_commands_settle(log);
        seq = read_on(reader, seq);
        early = early || seq > log_durable_seq(log);
    }
    ok(!log_reader_live(reader), "without the image");
    ok(!early, "no event is shown that is not durable");
    ok(seq > first, "events are shown once a later frame says that they are durable");
    uint64_t last = log_next_seq(log);
    if (log_close(&log, &error) < 0)
        tap_note("%s", error.text);
    is_int(read_on(reader, seq), last, "and all of them when the writer has stopped");
    io_close(io);
    log_reader_close(reader);
    scratch_remove(dir);
    log_commands_free(&commands);
}

/* Followers. */

struct follower {
    const char *dir;
    struct log *log;         /* of the same process; NULL: of another */
    _Atomic uint64_t *until; /* the last event, once it is known; else 0 */
    uint64_t last;
    const char *fault;
};

/* Reads until storage.closed, or until the last event. */
static void follow(struct follower *follower)
{
    struct log_reader *reader = open_reader(follower->dir);
    struct record record;
    struct error what = { 0 };
    uint64_t seq = 0;
    uint16_t kind = 0;
    unsigned silent = 0;
    while (kind != LOG_KIND_CLOSED && follower->fault == NULL) {
        int code = log_reader_next(reader, &record, NULL, &what);
        if (code < 0)
            follower->fault = "the reader fails";
        if (code == 0 && follower->until != NULL && seq == atomic_load(follower->until))
            break;
        if (code == 0 && log_reader_wait(reader, SECOND_NS / 5) == 0 && ++silent > 300)
            follower->fault = "the end never comes";
        if (code != 1)
            continue;
        silent = 0;
        kind = record.kind;
        if (record.seq != seq + 1)
            follower->fault = "an event is missing or comes twice";
        seq = record.seq;
        /* The log is still there: it is closed only when every follower of this process ends. */
        if (follower->log != NULL && seq > log_durable_seq(follower->log))
            follower->fault = "an event is not durable";
    }
    if (follower->fault != NULL)
        tap_note("%s, behind event %llu: %s", follower->fault, (unsigned long long)seq, what.text);
    follower->last = seq;
    log_reader_close(reader);
}

static void *run_follower(void *context)
{
    follow(context);
    return NULL;
}

static pid_t fork_follower(const char *dir)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    struct follower follower = { .dir = dir };
    follow(&follower);
    _exit(follower.fault == NULL ? 0 : 1);
}

static bool ended_well(pid_t pid)
{
    int status;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define ROUNDS 300
#else
#define ROUNDS 3000
#endif

static void test_followers(void)
{
    const char *dir = scratch_path("followers");
    pthread_t threads[FOLLOWERS];
    struct follower followers[FOLLOWERS];
    pid_t pids[FOLLOWERS];
    mkdir(dir, 0700);
    for (int i = 0; i < FOLLOWERS; i++)
        pids[i] = fork_follower(dir);
    struct io *io = open_plain();
    struct log *log = open_log(dir, io, false);
    _Atomic uint64_t all = 0;
    for (int i = 0; i < FOLLOWERS; i++) {
        followers[i] = (struct follower){ .dir = dir, .log = log, .until = &all };
        pthread_create(&threads[i], NULL, run_follower, &followers[i]);
    }
    commands.time_ns = START_NS;
    bool good = true;
    for (uint32_t i = 0; i < ROUNDS && good; i++) {
        for (uint32_t count = 1; count <= 3 && good; count++)
            good = log_commands_append(&commands, log, count, 100 * count);
        good = good && log_commands_settle(log);
    }
    ok(good, "the writer writes on beside readers");
    atomic_store(&all, log_durable_seq(log));
    struct log_stats stats;
    log_stats_get(log, &stats);
    tap_note("%llu rolls", (unsigned long long)stats.rolls);
    for (int i = 0; i < FOLLOWERS; i++) {
        pthread_join(threads[i], NULL);
        ok(followers[i].fault == NULL && followers[i].last == all,
           "a reader in its process sees every event in order, none before it is durable");
    }
    if (log_close(&log, &error) < 0)
        tap_note("%s", error.text);
    for (int i = 0; i < FOLLOWERS; i++)
        ok(ended_well(pids[i]), "a reader in another process sees every event and the end");
    io_close(io);
    scratch_remove(dir);
    log_commands_free(&commands);
}

/* A writer that is killed, and the next one. */

/* Writes commands until it is killed, and tells the pipe what is durable. */
_Noreturn static void write_until_killed(const char *dir, int pipe_fd)
{
    struct io *io = open_plain();
    struct log *log = open_log(dir, io, false);
    commands.time_ns = START_NS;
    for (;;) {
        if (!log_commands_append(&commands, log, 2, 400) || !log_commands_settle(log))
            _exit(1);
        uint64_t seq = log_durable_seq(log);
        if (write(pipe_fd, &seq, sizeof seq) != sizeof seq)
            _exit(1);
    }
}

static void test_killed(void)
{
    const char *dir = scratch_path("killed");
    int ends[2];
    uint64_t acknowledged = 0, next;
    mkdir(dir, 0700);
    if (pipe(ends) < 0)
        tap_bail_out("no pipe");
    struct log_reader *reader = open_reader(dir);
    is_int(log_reader_first_seq(reader), 0, "a log that has not begun has no first event");
    pid_t pid = fork();
    if (pid == 0)
        write_until_killed(dir, ends[1]);
    close(ends[1]);
    uint64_t seen = 0;
    while (acknowledged < 600 && read(ends[0], &next, sizeof next) == sizeof next) {
        acknowledged = next;
        seen = read_on(reader, seen);
    }
    kill(pid, SIGKILL);
    while (read(ends[0], &next, sizeof next) == sizeof next)
        acknowledged = next;
    waitpid(pid, NULL, 0);
    close(ends[0]);
    for (int i = 0; seen < acknowledged && i < 60; i++)
        if (log_reader_wait(reader, SECOND_NS) == 1)
            seen = read_on(reader, seen);
    ok(seen >= acknowledged, "after kill -9 every acknowledged event is shown (%llu of %llu)",
       (unsigned long long)seen, (unsigned long long)acknowledged);
    struct io *io = open_plain();
    struct log *log = open_log(dir, io, false);
    commands.time_ns = START_NS + SECOND_NS;
    log_commands_append(&commands, log, 5, 100);
    log_commands_settle(log);
    uint64_t all = log_durable_seq(log);
    for (int i = 0; seen != 0 && seen < all && i < 60; i++) {
        log_reader_wait(reader, SECOND_NS);
        seen = read_on(reader, seen);
    }
    is_int(seen, all, "and then those of the next writer, without a gap");
    log_close(&log, &error);
    io_close(io);
    log_reader_close(reader);
    scratch_remove(dir);
    log_commands_free(&commands);
}

static void *raise_it(void *interrupt)
{
    interrupt_raise(interrupt);
    return NULL;
}

/* Waits without end, until another thread raises the interrupt. */
static void is_interrupted(struct log_reader *reader, const char *what)
{
    struct interrupt interrupt = { .word = 0 };
    struct record record;
    pthread_t thread;
    while (log_reader_next(reader, &record, NULL, &error) == 1)
        continue;
    if (pthread_create(&thread, NULL, raise_it, &interrupt) != 0)
        tap_bail_out("no thread");
    is_int(log_reader_wait_interruptible(reader, UINT64_MAX, &interrupt), 0,
           "an interrupt ends the wait %s", what);
    pthread_join(thread, NULL);
}

static void test_interrupted(void)
{
    const char *dir = scratch_path("interrupted");
    struct io *io = open_plain();
    struct log *log = open_log(dir, io, true);
    struct log_reader *reader = open_reader(dir);
    is_interrupted(reader, "on a writer's image");
    ok(log_reader_live(reader), "which it was");
    log_close(&log, &error);
    io_close(io);
    is_interrupted(reader, "for a writer");
    log_reader_close(reader);
    scratch_remove(dir);
}

int main(void)
{
    budget_init(&budget, 1u << 30);
    test_durable_only();
    test_without_image();
    test_followers();
    test_killed();
    test_interrupted();
    return tap_done();
}
