/* A command that a thread of the daemon itself sends to the agent, and waits for.
 *
 * Threads: an errand belongs to one thread. */
#ifndef TOOLS_AGENT_ERRAND_H
#define TOOLS_AGENT_ERRAND_H

#include "tools/agent/inbox.h"

#include <pthread.h>
#include <stdbool.h>

struct errand {
    struct request request; /* the last one, with its answer */
    struct inbox *inbox;
    pthread_mutex_t lock; /* guards `answered` */
    pthread_cond_t news;
    bool answered;
};

void errand_init(struct errand *errand, struct inbox *inbox);
void errand_free(struct errand *errand);

/* Asks, in the name of the system unless the command says in whose, and waits until the answer is
 * durable. True: it is, and request.seq is the event, 0 if there was nothing to do. False: it was
 * not done, or that is not known (request.answer; 0: it was not taken). */
bool errand_run(struct errand *errand, const struct command *command);

#endif
