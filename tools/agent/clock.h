/* What the daemon needs to know of the clock outside of its loop.
 *
 * Threads: the first two by whoever starts, clock_view_get() by any once the loop is open. */
#ifndef TOOLS_AGENT_CLOCK_H
#define TOOLS_AGENT_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct boot;

/* Before the log is opened for writing and the documents for good: whether the log surely ends
 * with a wall clock that was trusted. `applied_seq` is what LMDB, of this log, stands for; the
 * events behind it are looked through. False also when they cannot be read. */
bool clock_was_trusted(const struct boot *boot, uint64_t applied_seq);

/* Once the log is open and the agent made: what log time has come to at least. The event that
 * accepts a clock which is ahead has the time before the move; when it is the agent's newest one,
 * nothing else in the log has the time that was accepted. */
uint64_t clock_least_ns(const struct boot *boot);

/* The clock as durable events and the host's clocks have it now. */
struct clock_view {
    bool degraded;
    uint64_t log_ns, wall_ns;
    int64_t difference_ns; /* wall time minus log time */
    uint64_t shift_ns;     /* how far accepted clocks moved log time on */
    uint64_t slewing_ns;   /* until they agree; not when DEGRADED */
};

/* 0, or negative when the documents cannot be read. */
int clock_view_get(const struct boot *boot, struct clock_view *view);

#endif
