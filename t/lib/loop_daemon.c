#include "loop_daemon.h"

#include "core/base/text.h"
#include "scratch.h"
#include "tap.h"
#include "tools/agent/effects.h"
#include "tools/agent/host.h"
#include "tools/agent/loop.h"

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the two */
static uint64_t machine_elapsed_ns, machine_wall_ns;

static void read_clocks(uint64_t *elapsed_ns, uint64_t *wall_ns)
{
    pthread_mutex_lock(&lock);
    *elapsed_ns = machine_elapsed_ns;
    *wall_ns = machine_wall_ns;
    pthread_mutex_unlock(&lock);
}

static const struct host_clock machine = { read_clocks };

void loop_daemon_set_clocks(uint64_t elapsed_ns, uint64_t wall_ns)
{
    pthread_mutex_lock(&lock);
    machine_elapsed_ns = elapsed_ns;
    machine_wall_ns = wall_ns;
    pthread_mutex_unlock(&lock);
}

void loop_daemon_set_wall(uint64_t wall_ns)
{
    pthread_mutex_lock(&lock);
    machine_wall_ns = wall_ns;
    pthread_mutex_unlock(&lock);
}

void loop_daemon_pass(uint64_t ns)
{
    pthread_mutex_lock(&lock);
    machine_elapsed_ns += ns;
    machine_wall_ns += ns;
    pthread_mutex_unlock(&lock);
}

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
    struct loop_daemon *daemon = argument;
    struct boot_hooks hooks = { .ended = daemon->ended != NULL ? daemon->ended : ignore_ended,
                                .segments_removed = ignore_removed };
    daemon->status = boot_open(&daemon->boot, &hooks, &daemon->error);
    sem_post(&daemon->booted);
    if (daemon->status < 0)
        return NULL;
    daemon->status = loop_run(daemon->boot.loop, &daemon->error);
    sem_wait(&daemon->released);
    struct error error;
    if (boot_close(&daemon->boot, daemon->status == 0, &error) < 0)
        tap_note("%s", error.text);
    return NULL;
}

void loop_daemon_start(struct loop_daemon *daemon)
{
    char text[2048];
    struct error error;
    (void)snprintf(text, sizeof text,
                   "[agent]\ndata_dir = \"%s\"\n[log]\nsegment_size = \"256KB\"\nengine = "
                   "\"plain\"\nballast = \"0B\"\n%s",
                   scratch_path("data"), daemon->config != NULL ? daemon->config : "");
    if (config_load_text(&daemon->loaded, "test", span_of_text(text), NULL, &error) < 0)
        tap_bail_out("%s", error.text);
    (void)mkdir(scratch_path("data"), 0700);
    boot_init(&daemon->boot, &daemon->loaded);
    daemon->boot.host_clock = &machine;
    daemon->boot.before_read_ahead = daemon->before_read_ahead;
    daemon->boot.before_expiry = daemon->before_expiry;
    sem_init(&daemon->booted, 0, 0);
    sem_init(&daemon->answered, 0, 0);
    sem_init(&daemon->released, 0, 0);
    if (pthread_create(&daemon->thread, NULL, run, daemon) != 0)
        tap_bail_out("no thread");
    sem_wait(&daemon->booted);
    if (daemon->status < 0)
        tap_bail_out("%s", daemon->error.text);
}

void loop_daemon_stop(struct loop_daemon *daemon)
{
    if (loop_drain(daemon->boot.loop)) {
        effects_end(daemon->boot.effects, 0);
        loop_stop(daemon->boot.loop);
    }
    sem_post(&daemon->released);
    pthread_join(daemon->thread, NULL);
    is_int(daemon->status, 0, "the loop ends in order");
    config_free(&daemon->loaded);
    sem_destroy(&daemon->booted);
    sem_destroy(&daemon->answered);
    sem_destroy(&daemon->released);
}

struct question {
    struct request request; /* first */
    struct loop_daemon *daemon;
};

static void answered(struct request *request)
{
    sem_post(&((struct question *)request)->daemon->answered);
}

int loop_daemon_ask(struct loop_daemon *daemon, const struct command *command, uint64_t *stream)
{
    struct question question = { .daemon = daemon };
    question.request.done = answered;
    question.request.command = *command;
    int taken;
    /* Threads of the daemon ask too, and a test may leave room for one request at a time. */
    while ((taken = inbox_put_request(daemon->boot.inbox, &question.request)) == ERROR_FULL)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    if (taken < 0)
        tap_bail_out("a request is not taken: %d", taken);
    sem_wait(&daemon->answered);
    if (stream != NULL)
        *stream = question.request.stream;
    return question.request.answer == REQUEST_REFUSED ? question.request.refusal.status
                                                      : (int)question.request.answer;
}
