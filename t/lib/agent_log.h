/* An agent, its log and its state, as the daemon has them but without threads and effects: for
 * tests and benchmarks that need a real log of real workflows, and what the live state was at each
 * place of it. Bails out when something fails.
 *
 * Threads: one. */
#ifndef AGENT_LOG_H
#define AGENT_LOG_H

#include "core/agent/agent.h"
#include "iouring/io.h"
#include "log/log.h"
#include "tools/agent/state.h"

#include <stdint.h>

struct agent_log {
    const char *log_dir, *db_dir;
    uint64_t segment_size; /* 0: 64 MiB */
    struct budget budget;
    struct io *io;
    struct log *log;
    struct agent *agent;
    struct state *state;
    struct decision decision;
    uint64_t now_ns, random;
    uint64_t events; /* appended here */
};

/* The three first members are the caller's, the rest is zero. Begins a new log. */
void agent_log_open(struct agent_log *made);
/* Everything durable and in LMDB; the log is closed in order. */
void agent_log_close(struct agent_log *made);

struct flow *agent_log_flow(struct agent_log *made, const char *source);
/* Its stream. `key` may be NULL. */
uint64_t agent_log_submit(struct agent_log *made, struct flow *flow, const char *input,
                          const char *key);
/* Any command. False: it was refused. */
bool agent_log_do(struct agent_log *made, const struct command *command);
/* Moves log time on and lets timers fire. */
void agent_log_wait(struct agent_log *made, uint64_t ns);
/* Makes all durable and hands the changed documents over, with the mark. The log's last seq. */
uint64_t agent_log_commit(struct agent_log *made);

/* An agent of these options, for a replay. The caller closes it. */
struct agent *agent_log_agent(const struct agent_log *made, const uint8_t log_uuid[16],
                              struct budget *budget);

#endif
