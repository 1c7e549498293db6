#include "tools/agent/daemon.h"

#include "tools/agent/api.h"
#include "tools/agent/boot.h"
#include "tools/agent/doctor.h"
#include "tools/agent/effects.h"
#include "tools/agent/eraser.h"
#include "tools/agent/host.h"
#include "tools/agent/housekeeper.h"
#include "tools/agent/loop.h"
#include "tools/agent/notary.h"
#include "tools/agent/notify.h"
#include "tools/agent/replicator.h"
#include "tools/agent/scrub.h"
#include "tools/agent/snapshots.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum stage { STARTING, READY, STOPPING, FAILED };

#define EFFECTS_GRACE_NS (10ull * 1000000000)
#define ANCHOR_GRACE_NS (2ull * 1000000000)

struct daemon {
    const struct config *config;
    struct boot boot;
    struct api *api;
    pthread_t signals, agent;
    int lock_fd;                 /* of the data directory; open until the process ends */
    int event_fd;                /* a signal came, or the agent's loop has ended */
    _Atomic int stage;           /* enum stage */
    const struct error *failure; /* once the stage is FAILED */
    sem_t booted;                /* boot_open() has returned */
    sem_t released;              /* nobody uses the boot's parts any more */
    int boot_status, loop_status, close_status;
    struct error boot_error, loop_error, close_error;
};

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            host_say("the limit of open files stays as it is: %s", error_text(-errno));
    }
}

static void wake(struct daemon *daemon)
{
    uint64_t one = 1;
    if (write(daemon->event_fd, &one, sizeof one) < 0)
        host_say("cannot wake the main thread: %s", error_text(-errno));
}

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) < 0 && errno == EINTR)
        ;
}

static void ending_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

/* Before it is ready nothing was accepted, and while it stops somebody is in a hurry: then a signal
 * ends the process at once, which loses nothing that was acknowledged. One that has failed is about
 * to end by itself, and says why: a signal must not take the sentence away. */
static void take_signal(struct daemon *daemon, int number, bool *heard)
{
    int stage = READY;
    if (atomic_compare_exchange_strong(&daemon->stage, &stage, STOPPING)) {
        wake(daemon);
    } else if (stage != FAILED) {
        _exit(128 + number);
    } else if (*heard) { /* the second one is in a hurry */
        host_say("%s", daemon->failure->text);
        _exit(1);
    }
    *heard = true;
}

static void *watch_signals(void *argument)
{
    struct daemon *daemon = argument;
    sigset_t set;
    bool heard = false;
    int number;
    ending_signals(&set);
    for (;;)
        if (sigwait(&set, &number) == 0)
            take_signal(daemon, number, &heard);
    return NULL;
}

static void has_failed(struct daemon *daemon, const struct error *error)
{
    daemon->failure = error;
    atomic_store(&daemon->stage, FAILED);
}

/* The ring belongs to the thread that opened it: so this one opens, runs and closes the log. */
static void *run_agent(void *argument)
{
    struct daemon *daemon = argument;
    struct boot *boot = &daemon->boot;
    pthread_setname_np(pthread_self(), "daa-loop");
    struct boot_hooks hooks = { .ended = api_ended,
                                .segments_removed = api_segments_removed,
                                .context = daemon->api };
    daemon->boot_status = boot_open(boot, &hooks, &daemon->boot_error);
    if (daemon->boot_status < 0)
        has_failed(daemon, &daemon->boot_error);
    sem_post(&daemon->booted);
    if (daemon->boot_status < 0)
        return NULL;
    daemon->loop_status = loop_run(boot->loop, &daemon->loop_error);
    if (daemon->loop_status < 0)
        has_failed(daemon, &daemon->loop_error);
    wake(daemon);
    wait_for(&daemon->released);
    daemon->close_status = boot_close(boot, daemon->loop_status == 0, &daemon->close_error);
    return NULL;
}

static int start(struct daemon *daemon, struct error *error)
{
    int status = boot_data_dir(daemon->config->agent.data_dir, &daemon->lock_fd, error);
    if (status < 0)
        return status;
    boot_init(&daemon->boot, daemon->config);
    sem_init(&daemon->booted, 0, 0);
    sem_init(&daemon->released, 0, 0);
    status = api_open(&daemon->api, &daemon->boot, error);
    if (status < 0)
        return status;
    status = -pthread_create(&daemon->agent, NULL, run_agent, daemon);
    if (status < 0) {
        error_set(error, status, "cannot start the agent thread: %s", error_text(status));
    } else {
        wait_for(&daemon->booted);
        status = daemon->boot_status;
        if (status == 0)
            return 0;
        *error = daemon->boot_error;
        pthread_join(daemon->agent, NULL);
    }
    api_drain(daemon->api);
    api_close(daemon->api);
    return status;
}

static int stop(struct daemon *daemon, struct error *error)
{
    struct boot *boot = &daemon->boot;
    notify_send("STOPPING=1");
    housekeeper_stop(atomic_load(&boot->housekeeper));
    eraser_stop(boot->eraser);
    notary_refuse(boot->notary);
    api_drain(daemon->api);
    snapshots_stop(boot->snapshots);
    doctor_stop(boot->doctor);
    scrub_stop(boot->scrub);
    if (loop_drain(boot->loop)) {
        effects_end(boot->effects, EFFECTS_GRACE_NS); /* the API shows how many are under way */
        notary_finish(boot->notary, ANCHOR_GRACE_NS); /* of what they said too */
        loop_stop(boot->loop);
    }
    notary_stop(boot->notary);
    replicator_stop(boot->replicator);
    housekeeper_join(atomic_load(&boot->housekeeper)); /* it calls the API */
    api_close(daemon->api);
    sem_post(&daemon->released);
    pthread_join(daemon->agent, NULL);
    if (daemon->loop_status < 0 && daemon->close_status < 0)
        host_say("%s", daemon->close_error.text);
    *error = daemon->loop_status < 0 ? daemon->loop_error : daemon->close_error;
    return daemon->loop_status < 0 ? daemon->loop_status : daemon->close_status;
}

static int block_signals(struct daemon *daemon, struct error *error)
{
    sigset_t set;
    ending_signals(&set);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write past a limit is an error like any other */
    signal(SIGCHLD, SIG_DFL); /* ignored, as a parent may leave it, no exit status would be seen */
    daemon->event_fd = eventfd(0, EFD_CLOEXEC);
    int status = daemon->event_fd < 0 ? -errno : -pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (status == 0)
        status = -pthread_create(&daemon->signals, NULL, watch_signals, daemon);
    if (status < 0)
        return error_set(error, status, "cannot watch for signals: %s", error_text(status));
    return 0;
}

int daemon_run(const struct config *config, struct error *error)
{
    struct daemon *daemon = calloc(1, sizeof *daemon);
    if (!daemon)
        return error_set(error, -ENOMEM, "no memory for the daemon");
    daemon->config = config;
    raise_file_limit();
    int status = block_signals(daemon, error);
    if (status == 0)
        status = start(daemon, error);
    if (status < 0) /* the signal thread may look at it still: the process ends in a moment */
        return status;
    int stage = STARTING; /* it may have failed meanwhile */
    atomic_compare_exchange_strong(&daemon->stage, &stage, READY);
    api_ready(daemon->api);
    printf("daa-agent ready %s\n", api_url(daemon->api));
    fflush(stdout);
    notify_send("READY=1");
    uint64_t count;
    (void)doctor_begin(daemon->boot.doctor, &count); /* or somebody has asked already */
    while (read(daemon->event_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    return stop(daemon, error);
}
