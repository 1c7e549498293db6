/* The real start and the real loop of the daemon, without its API, on clocks that a test sets. */
#ifndef LOOP_DAEMON_H
#define LOOP_DAEMON_H

#include "tools/agent/boot.h"
#include "tools/agent/inbox.h"

#include <pthread.h>
#include <semaphore.h>

struct loop_daemon {
    const char *config;                            /* more TOML; NULL: none */
    void (*before_read_ahead)(void);               /* NULL: none */
    void (*before_expiry)(void);                   /* NULL: none */
    void (*ended)(uint64_t stream, void *context); /* NULL: none */
    struct config loaded;
    struct boot boot;
    pthread_t thread;
    sem_t booted, answered, released;
    int status;
    struct error error;
};

/* The machine's clocks: both 0 at first. */
void loop_daemon_set_clocks(uint64_t elapsed_ns, uint64_t wall_ns);
void loop_daemon_set_wall(uint64_t wall_ns);
void loop_daemon_pass(uint64_t ns);

/* On <scratch>/data, with segments of 256 KiB and the plain engine. */
void loop_daemon_start(struct loop_daemon *daemon);
void loop_daemon_stop(struct loop_daemon *daemon);

/* Asks the loop and waits: the request's answer, or the status of the refusal. `stream` (may be
 * NULL) gets the workflow's. */
int loop_daemon_ask(struct loop_daemon *daemon, const struct command *command, uint64_t *stream);

#endif
