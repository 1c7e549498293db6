/* Reads documents of workflows ahead, so that the agent thread does not wait for a disk: LMDB is a
 * mapped file, and what was read once is in memory when the agent thread reads it. It hands nothing
 * over, so it can be neither wrong nor late: what the agent thread reads is what is there then.
 *
 * Threads: one asks and looks; the reading is on a thread of its own. */
#ifndef TOOLS_AGENT_WARMER_H
#define TOOLS_AGENT_WARMER_H

#include "core/agent/document.h"
#include "core/base/budget.h"
#include "core/base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define WARMER_STREAMS_MAX 64u

struct state;
struct warmer;

struct warmer_options {
    struct state *state;
    struct budget *budget;
    void (*done)(void *context); /* what was asked for was read; on the warmer's thread */
    void *context;
    void (*before)(
        void); /* tests: a disk that takes its time; NULL: none. On the warmer's thread */
};

int warmer_open(struct warmer **warmer, const struct warmer_options *options, struct error *error);
void warmer_close(struct warmer *warmer); /* NULL is fine */

/* For other threads that know what the agent thread will ask for: reads one document; true: it is
 * there. And all that a command to a workflow needs, its document, its definition and its
 * idempotency key: how many of them are there. */
bool warmer_read(struct state *state, const struct document_key *key);
unsigned warmer_read_workflow(struct state *state, uint64_t stream, struct arena *arena);

/* Reads these workflows with what they need; what was asked for before must be done. */
void warmer_ask(struct warmer *warmer, const uint64_t *streams, uint32_t count);
bool warmer_is_done(struct warmer *warmer);

#endif
