/* The real start and the real loop with clocks that a test sets: log time to the nanosecond. */
#include "core/agent/clock.h"
#include "core/base/text.h"
#include "log/reader.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/boot.h"
#include "tools/agent/clock.h"
#include "tools/agent/effects.h"
#include "tools/agent/host.h"
#include "tools/agent/inbox.h"
#include "tools/agent/loop.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/stat.h>

#define SECOND 1000000000ull
#define HOUR (3600 * SECOND)
#define YEAR (8760 * HOUR)
#define BEGIN (1700000000 * SECOND)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the two */
static uint64_t machine_elapsed_ns = 5, machine_wall_ns = BEGIN;

static void read_clocks(uint64_t *elapsed_ns, uint64_t *wall_ns)
{
    pthread_mutex_lock(&lock);
    *elapsed_ns = machine_elapsed_ns;
    *wall_ns = machine_wall_ns;
    pthread_mutex_unlock(&lock);
}

static const struct host_clock machine = { read_clocks };

static void pass(uint64_t ns)
{
    pthread_mutex_lock(&lock);
    machine_elapsed_ns += ns;
    machine_wall_ns += ns;
    pthread_mutex_unlock(&lock);
}

/*--- A daemon without its API ----------------------------------------------------------------*/

struct daemon {
    struct config config;
    struct boot boot;
    pthread_t thread;
    sem_t booted, answered;
    int status;
    struct error error;
};

static void ignore_removed(void *context)
{
    (void)context;
}

static void ignore_ended(uint64_t stream, void *context)
{
    (void)stream;
    (void)context;
}

static void *run(void *argument)
{
    struct daemon *daemon = argument;
    struct boot_hooks hooks = { .ended = ignore_ended, .segments_removed = ignore_removed };
    daemon->status = boot_open(&daemon->boot, &hooks, &daemon->error);
    sem_post(&daemon->booted);
    if (daemon->status < 0)
        return NULL;
    daemon->status = loop_run(daemon->boot.loop, &daemon->error);
    struct error error;
    if (boot_close(&daemon->boot, daemon->status == 0, &error) < 0)
        tap_note("%s", error.text);
    return NULL;
}

static void start(struct daemon *daemon)
{
    char text[1024];
    struct error error;
    (void)snprintf(text, sizeof text,
                   "[agent]\ndata_dir = \"%s\"\n[log]\nsegment_size = \"256KB\"\nengine = "
                   "\"plain\"\n",
                   scratch_path("data"));
    if (config_load_text(&daemon->config, "test", span_of_text(text), NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    (void)mkdir(scratch_path("data"), 0700);
    boot_init(&daemon->boot, &daemon->config);
    daemon->boot.host_clock = &machine;
    sem_init(&daemon->booted, 0, 0);
    sem_init(&daemon->answered, 0, 0);
    if (pthread_create(&daemon->thread, NULL, run, daemon) != 0)
        tap_bail_out("no thread");
    sem_wait(&daemon->booted);
    if (daemon->status < 0)
        tap_bail_out("%s", daemon->error.text);
}

static void stop(struct daemon *daemon)
{
    if (loop_drain(daemon->boot.loop)) {
        effects_close(daemon->boot.effects, 0);
        daemon->boot.effects = NULL;
        loop_stop(daemon->boot.loop);
    }
    pthread_join(daemon->thread, NULL);
    is_int(daemon->status, 0, "the loop ends in order");
    config_free(&daemon->config);
    sem_destroy(&daemon->booted);
    sem_destroy(&daemon->answered);
}

struct question {
    struct request request;
    struct daemon *daemon;
};

static void answered(struct request *request)
{
    sem_post(&((struct question *)request)->daemon->answered);
}

/* Accepts the clock; the answer, or the status of the refusal. */
static int accept_clock(struct daemon *daemon)
{
    struct question question = { .daemon = daemon };
    question.request.done = answered;
    question.request.command.kind = COMMAND_CLOCK;
    question.request.command.clock.change = DAA__CLOCK_STEPPED__CHANGE__ACCEPTED;
    if (inbox_put_request(daemon->boot.inbox, &question.request) < 0)
        tap_bail_out("a request is not taken");
    sem_wait(&daemon->answered);
    return question.request.answer == REQUEST_REFUSED ? question.request.refusal.status
                                                      : (int)question.request.answer;
}

/* Sets the wall clock and waits until the loop has made it durable. */
static void set(struct daemon *daemon, uint64_t to_ns, bool degraded)
{
    struct clock_view view;
    pthread_mutex_lock(&lock);
    machine_wall_ns = to_ns;
    pthread_mutex_unlock(&lock);
    do {
        inbox_wake(daemon->boot.inbox);
        sched_yield();
        if (clock_view_get(&daemon->boot, &view) < 0)
            tap_bail_out("the clock cannot be read");
    } while (view.degraded != degraded);
}

/*--- What is in the log ----------------------------------------------------------------------*/

/* "storage.opened +0, agent.registered +0, ..." in seconds since BEGIN. */
static const char *story(void)
{
    static char text[4000];
    struct log_reader_options options = { .dir = scratch_path("data") };
    struct log_reader *reader;
    struct record record;
    struct error error;
    size_t size = 0;
    if (log_reader_open(&reader, &options, &error) < 0 || log_reader_seek(reader, 1, &error) < 0)
        tap_bail_out("%s", error.text);
    text[0] = '\0';
    while (log_reader_next(reader, &record, NULL, &error) == 1 && size < sizeof text - 100) {
        const char *name = event_kind_name(record.kind);
        if (name == NULL)
            name = "storage";
        int64_t since_ns = (int64_t)(record.time_ns - BEGIN);
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%s %+.6f",
                                 size > 0 ? ", " : "", name, (double)since_ns / 1e9);
    }
    log_reader_close(reader);
    return text;
}

static void keeps_log_time(void)
{
    static struct daemon daemon;
    struct clock_view view;
    start(&daemon);
    is_int(accept_clock(&daemon), 409, "there is nothing to accept");
    pass(HOUR);
    is_int(accept_clock(&daemon), 409, "nor after a suspend of an hour");
    set(&daemon, BEGIN + HOUR + YEAR, true);
    (void)clock_view_get(&daemon.boot, &view);
    is_int(view.difference_ns, YEAR, "a year is a step");
    is_int(view.log_ns, BEGIN + HOUR, "and moves log time by nothing");
    stop(&daemon);
    start(&daemon);
    set(&daemon, BEGIN + 3 * HOUR, true);
    (void)clock_view_get(&daemon.boot, &view);
    is_int(view.log_ns, BEGIN + HOUR, "nor does a restart");
    is_int(accept_clock(&daemon), REQUEST_DURABLE, "it is accepted");
    (void)clock_view_get(&daemon.boot, &view);
    ok(!view.degraded, "and trusted");
    is_int(view.log_ns, BEGIN + 3 * HOUR, "log time is wall time");
    is_int(view.shift_ns, 2 * HOUR, "and was moved by so much");
    stop(&daemon);
    pass(HOUR);
    start(&daemon);
    (void)clock_view_get(&daemon.boot, &view);
    is_int(view.log_ns, BEGIN + 4 * HOUR, "a restart an hour later is an hour later");
    stop(&daemon);
    is_str(story(),
           "storage +0.000000, agent.registered +0.000000, clock.stepped +3600.000000, "
           "agent.stopped +3600.000000, storage +3600.000000, "
           "storage +3600.000000, agent.registered +3600.000000, clock.stepped +3600.000000, "
           "agent.stopped +10800.000000, storage +10800.000000, "
           "storage +14400.000000, agent.registered +14400.000000, agent.stopped +14400.000000, "
           "storage +14400.000000",
           "the log has the times");
}

int main(void)
{
    keeps_log_time();
    return tap_done();
}
