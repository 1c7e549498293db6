/* The keys of workflows in a running agent: made ahead of time, and destroyed when a workflow is
 * erased.
 *
 *   marker (keyring_condemn) -> the event workflows.erased, durable, with which the documents go ->
 *   the key destroyed
 *
 * A start, and the thread now and then, goes on with what markers are left of, until the event is
 * durable and the key is gone. Nothing is given up but what the agent will never do. No event is
 * written while the key cannot be destroyed, nor a second one.
 *
 * Threads: a thread of its own makes keys and goes on with what a crash left.
 * eraser_erase() by any, one at a time; eraser_used() by the agent thread; open, start, stop and
 * close by one. */
#ifndef TOOLS_AGENT_ERASER_H
#define TOOLS_AGENT_ERASER_H

#include "core/agent/command.h"
#include "core/base/error.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct eraser;
struct inbox;
struct keyring;
struct state;

struct eraser_options {
    struct keyring *keyring; /* open for writing; the caller's */
    struct inbox *inbox;
    struct state *state;
    pthread_mutex_t *removals; /* struct boot; taken for each erasure, from its look to its end */
    const char *log_dir;
    struct budget *budget;
    uint32_t keys_used; /* by workflows, to begin with */
    bool makes_keys;    /* new workflows get some */
};

/* Destroys the keys that came back with a copy of the keys, before anybody can use one, and makes
 * the first keys, if it is to make some. */
int eraser_open(struct eraser **eraser, const struct eraser_options *options, struct error *error);
/* Starts its thread, once. It asks the agent. NULL is fine. */
int eraser_start(struct eraser *eraser, struct error *error);
void eraser_stop(struct eraser *eraser);  /* begins nothing more; NULL is fine */
void eraser_close(struct eraser *eraser); /* joins; NULL is fine */

/* A workflow has this key now: others may have to be made. Does not wait. */
void eraser_used(struct eraser *eraser, uint32_t key_id);

struct erasure {
    uint64_t stream;
    struct command_actor actor;
    struct span request_id, traceparent, reason;
    /* What came of it: DONE, the key is destroyed, and `seq` says so; REFUSED, nothing has
     * happened, and the next three say why; WAITS, as REFUSED, but the thread goes on with it;
     * MISSING, there is no such workflow; UNKNOWN, the log has failed, and the next start goes on
     * with it. */
    enum erasure_answer {
        ERASURE_DONE = 1,
        ERASURE_REFUSED,
        ERASURE_WAITS,
        ERASURE_MISSING,
        ERASURE_UNKNOWN
    } answer;
    int status; /* HTTP */
    char code[40];
    char text[512];
    uint64_t seq; /* 0: it was erased before */
};

/* Erases a workflow that has ended, and waits for it. 0 with erasure->answer. Negative: the log
 * cannot be read, or a file of keys not written; what is begun is gone on with at the next start or
 * try. */
int eraser_erase(struct eraser *eraser, struct erasure *erasure, struct error *error);

struct eraser_status {
    uint64_t erased;      /* workflows, by this process */
    struct error trouble; /* of the last keys that could not be made, or erasure that could not be
                             gone on with; code 0: none */
};
void eraser_status_get(struct eraser *eraser, struct eraser_status *status);

#endif
