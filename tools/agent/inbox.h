/* What waits for the agent thread: requests of clients, outcomes of effects.
 *
 * Requests are bounded in number and bytes, from inbox_put_request() until the agent thread has
 * answered them (so the bound is on what is not durable yet, not on a queue). Outcomes are not
 * bounded here: room for each was given when its effect began, and they are served first.
 *
 * The agent thread is woken through an eventfd, and only when it sleeps.
 *
 * Threads: put by any; take, sleep and answered by the agent thread. */
#ifndef TOOLS_AGENT_INBOX_H
#define TOOLS_AGENT_INBOX_H

#include "core/agent/agent.h"
#include "core/agent/command.h"
#include "core/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct effect_outcome;
struct inbox;

enum request_answer {
    REQUEST_DURABLE = 1, /* `stream`, `seq`, `replayed` say what */
    REQUEST_REFUSED,     /* nothing has happened: `refusal` */
    REQUEST_UNKNOWN,     /* it may or may not have happened: ask again with the key */
};

/* A command of a client. The client's side owns it; it is the agent thread's from
 * inbox_put_request() until done() is called, exactly once, on the agent thread. */
struct request {
    struct command command;
    uint64_t size; /* bytes it holds, counted against the limit */
    void (*done)(struct request *request);

    enum request_answer answer;
    struct refusal refusal;
    uint64_t stream;      /* the workflow */
    uint64_t seq;         /* of the event that answers it */
    uint64_t expired;     /* of COMMAND_EXPIRE_...: so many the event names */
    bool replayed;        /* the key was known: this is what the first one made */
    struct request *next; /* whoever owns it */
};

struct inbox_options {
    uint64_t requests_max; /* not answered yet */
    uint64_t bytes_max;    /* of these; the memory itself is on its owner's account */
};

int inbox_open(struct inbox **inbox, const struct inbox_options *options, struct error *error);
void inbox_close(struct inbox *inbox); /* what is still in there is not answered */

/* 0: taken. ERROR_FULL: too many; ERROR_TOO_LARGE: too many bytes; ERROR_UNAVAILABLE after
 * inbox_refuse(). */
int inbox_put_request(struct inbox *inbox, struct request *request);

/* Takes the outcome; cannot refuse. */
void inbox_put_outcome(struct inbox *inbox, struct effect_outcome *outcome);

/* From now on requests are refused; outcomes go on. Wakes the agent thread. */
void inbox_refuse(struct inbox *inbox);
/* The same by the agent thread, when it is not going to serve: requests that were put before are
 * answered with the refusal. Only after it the threads that put some can be joined. */
void inbox_abandon(struct inbox *inbox, const struct refusal *refusal);
void inbox_wake(struct inbox *inbox);

/* Moves everything to the ends of the caller's lists (`*_last` points to the last next pointer). */
struct inbox_lists {
    struct request *requests, **requests_last;
    struct effect_outcome *outcomes, **outcomes_last;
};
void inbox_take(struct inbox *inbox, struct inbox_lists *lists);

/* The request is answered: gives its place back, then calls done(). */
void inbox_answered(struct inbox *inbox, struct request *request);

/* For log_wait(): an eventfd, readable when woken between inbox_sleep() and inbox_awake().
 * inbox_sleep() is false, and no inbox_awake() is due, when something waits already. */
int inbox_wake_fd(const struct inbox *inbox);
bool inbox_sleep(struct inbox *inbox);
void inbox_awake(struct inbox *inbox);

uint64_t inbox_requests(const struct inbox *inbox); /* not answered yet */
uint64_t inbox_bytes(const struct inbox *inbox);

#endif
