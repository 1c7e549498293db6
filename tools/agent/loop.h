/* The agent thread: one turn after another of what core/agent/agent.h describes.
 *
 *   take from the inbox -> decide, reserve, apply, append (256 commands or 1 ms) -> flush
 *        ^                                                                             |
 *        '---- sleep on (a write, the inbox, the next timer) <- what became durable: documents are
 *                                            handed over, clients answered, effects started
 *
 * Each turn that appended something keeps, until its last event is durable: the documents it
 * changed, the requests it answers, the effects it intends. That order is the promise: nothing is
 * shown, said or done before it is durable, and a client that was answered reads what it wrote.
 *
 * When the key of a workflow cannot be had (log/keyring.h), nothing of it can be recorded: what a
 * client asks of it is refused, and when it would go on by itself it is set aside until the next
 * start. The others go on.
 *
 * While the disk is critical (tools/agent/disk.h) new workflows are refused (507); what is under
 * way goes on. When the log has no room for the moment, commands wait; after 2 s requests are
 * refused (503). When the log has failed, loop_run() answers everything that is not durable with
 * REQUEST_UNKNOWN and returns; the process is to end, the next start recovers.
 *
 * Threads: loop_run() is the agent thread; loop_drain(), loop_stop() and loop_counts_get() any
 * other. */
#ifndef TOOLS_AGENT_LOOP_H
#define TOOLS_AGENT_LOOP_H

#include "core/agent/agent.h"
#include "core/base/error.h"
#include "core/base/log_clock.h"
#include "log/log.h"
#include "tools/agent/disk.h"
#include "tools/agent/effects.h"
#include "tools/agent/host.h"
#include "tools/agent/inbox.h"
#include "tools/agent/state.h"

#include <stdint.h>

struct loop;

struct loop_options {
    struct agent *agent; /* loaded and live; the loop's from loop_run() on */
    struct log *log;     /* the same */
    struct state *state;
    struct inbox *inbox;
    struct effects *effects;
    struct log_clock clock; /* as it stands after the start */
    const struct host_clock *host_clock;
    bool accepts_clock;      /* a wall clock that was stepped and is steady, by itself */
    struct keyring *keyring; /* of workflows whose events are encrypted; NULL: there is none */
    bool encrypt;            /* each new workflow gets a key of its own */
    uint32_t keys_used;      /* the next one is above it */
    struct eraser *eraser;   /* that is told which keys are used; NULL: none */
    struct disk *disk;       /* NULL: it is not watched */
    struct budget *budget;
    void (*before_read_ahead)(void); /* tests (tools/agent/warmer.h); NULL */
    /* A workflow has ended, durably; on the agent thread. */
    void (*ended)(uint64_t stream, void *context);
    void *context;
};

/* loop_run() failed because documents in LMDB are damaged: they are to be set aside, so that the
 * next start makes them anew. After loop_run(). */
bool loop_documents_damaged(const struct loop *loop);

int loop_open(struct loop **loop, const struct loop_options *options, struct error *error);
void loop_close(struct loop *loop);

/* Until loop_stop(): 0, with everything durable and `agent.stopped` the last event. Negative with a
 * sentence when the log failed. */
int loop_run(struct loop *loop, struct error *error);

/* From now on no step begins and no timer fires. Returns when what had begun is durable and its
 * effects were started, so that the effects may be ended. False: the loop has ended. */
bool loop_drain(struct loop *loop);

/* After loop_drain() and the end of the effects: returns when what is left in the inbox is done and
 * the loop has ended. It calls nobody any more then: neither `ended` nor a request's done(). */
void loop_stop(struct loop *loop);

struct loop_counts {
    struct agent_counts agent;
    uint64_t turns, commands, stalls;
    /* From one wait to the next: how many took over 1 ms, and the longest. Includes the time that
     * others had the processor. */
    uint64_t long_turns, longest_turn_ns;
    uint64_t reads_ahead;      /* times that documents of due workflows had to be read from disk */
    uint64_t waiting_for_keys; /* workflows that were set aside until the next start */
    uint64_t now_ns;           /* log time */
    uint64_t elapsed_ns, wall_ns; /* of the host's clocks, then */
    uint64_t shift_ns;            /* that is in now_ns */
    uint64_t next_deadline_ns;
};
void loop_counts_get(struct loop *loop, struct loop_counts *counts);

#endif
