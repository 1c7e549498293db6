/* The agent's view of the wall clock: a function of the events clock.stepped alone.
 *
 *   STEPPED    the wall clock is more than 10 s away from log time: DEGRADED. What counts elapsed
 *              time (timers, leases, windows) goes on by log time; what waits for a time of day
 *              does not (agent_clock_is_trusted).
 *   RETURNED   it came back by itself, or what was accepted behind was slewed away.
 *   ACCEPTED   it is right: ahead, log time was moved on by shift_ns; behind, log time stands and
 *              is slewed down.
 *
 * Agent time is log time less all that it was moved on: it only counts what elapses, and is what
 * timers, leases and windows are kept in, so that accepting a clock fires none of them early.
 *
 * A struct clock_watch is the shell's: it looks at the clocks in each turn and says which of these
 * changes is due. It holds nothing that a restart must keep.
 *
 * Threads: the agent's. */
#ifndef CORE_AGENT_CLOCK_H
#define CORE_AGENT_CLOCK_H

#include "core/agent/command.h"
#include "core/base/log_clock.h"

#include <stdbool.h>
#include <stdint.h>

struct agent;
struct plan;

#define CLOCK_STEADY_NS (60ull * 1000 * 1000 * 1000) /* then it may be accepted by itself */
#define CLOCK_JITTER_NS (1000 * 1000 * 1000)         /* of a difference that is steady */
#define CLOCK_RETURN_NS (1000ull * 1000 * 1000)      /* DEGRADED at least so long */

/* Whether a time of day may be acted upon: not DEGRADED. */
bool agent_clock_is_trusted(const struct agent *agent);

/* Between log time and agent time. */
uint64_t agent_time(const struct agent *agent, uint64_t log_ns);
uint64_t agent_log_time(const struct agent *agent, uint64_t agent_ns);

/* How far accepted clocks moved log time on. */
uint64_t agent_shift_ns(const struct agent *agent);

/* For a start: the log clock as events left it. `last_ns`: the newest time in the log. */
void agent_clock_resume(const struct agent *agent, struct log_clock *clock, uint64_t last_ns,
                        uint64_t elapsed_ns, uint64_t wall_ns);

struct clock_watch {
    bool accepts;          /* by itself, what is steady for 60 s */
    uint64_t shift_ns;     /* that the log clock stands for */
    uint64_t stepped_ns;   /* log time when DEGRADED was seen first; 0: it is not */
    uint64_t steady_ns;    /* log time since when the difference is steady */
    int64_t difference_ns; /* then */
};

void clock_watch_init(struct clock_watch *watch, const struct agent *agent, bool accepts);

/* Right after log_clock_now() with the same wall time. True: *command is due. */
bool clock_watch_look(struct clock_watch *watch, const struct agent *agent,
                      const struct log_clock *clock, uint64_t wall_ns, struct command *command);

/* After events were applied: the log clock does what they say. How far log time was moved on. */
uint64_t clock_watch_follow(struct clock_watch *watch, const struct agent *agent,
                            struct log_clock *clock);

/* COMMAND_CLOCK. False: the clock was not stepped, so that there is nothing to accept. */
bool clock_decide(struct plan *plan);

/* Applies clock.stepped. 0 or ERROR_DAMAGED. */
int clock_apply(struct agent *agent, const struct event_header *header,
                const Daa__ClockStepped *body);

#endif
