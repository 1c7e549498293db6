/* A closed loop of clients that submit workflows: each waits for its answer before it asks again.
 *
 * One thread, epoll, kept connections and requests made beforehand, because the load shares its
 * processors with the agent that it measures.
 *
 * With `retry_ns` each submission has an idempotency key of its own and is asked again, on a new
 * connection and with the same key, until the agent says yes or the time is over: what a careful
 * client does when the agent dies under it.
 *
 * Threads: one. */
#ifndef TOOLS_CLI_LOAD_H
#define TOOLS_CLI_LOAD_H

#include "core/base/error.h"
#include "core/base/span.h"
#include "tools/cli/client.h"
#include "tools/cli/histogram.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define LOAD_CLIENTS_MAX 10000u

struct load_options {
    const struct client_place *place; /* http:// with a numeric or named host, or a socket */
    struct span body;                 /* of each submission */
    uint64_t clients;
    uint64_t count;       /* submissions; 0: as many as `duration_ns` allows */
    uint64_t duration_ns; /* after the warm-up */
    uint64_t warmup_ns;   /* not measured */
    uint64_t retry_ns;    /* 0: a failure is an error at once */
    bool wait;            /* for the end of each workflow; else for its acceptance */
    FILE *record;         /* gets the id of each acknowledged workflow, a line each; or NULL */
    void (*measuring)(void *context); /* the warm-up is over; may be NULL */
    void *context;
};

struct load_result {
    uint64_t good;    /* answers that say completed (wait) or accepted, in the measured time */
    uint64_t errors;  /* anything else */
    uint64_t retries; /* asked again with the same key */
    uint64_t elapsed_ns;
    struct histogram latency; /* ns, from first asking to the good answer */
    char first_error[300];    /* one of the errors, in words */
};

/* 0 also when there were errors; negative when the agent cannot be reached at all. */
int load_run(const struct load_options *options, struct load_result *result, struct error *error);

#endif
