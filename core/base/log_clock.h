/* Log time: a clock that counts what elapses (also in suspend) plus an offset to wall time that is
 * slewed by at most 500 ppm. It never goes back, and never equals a time it gave before unless
 * nothing moved.
 *
 * A wall clock more than 10 s away counts as stepped. Log time is not slewed towards it then:
 * nobody knows yet which of the two is wrong, and a wrong wall clock would spoil for months what
 * was right; the owner holds log time (`held`) until the wall clock returns or is accepted.
 * Accepted ahead, log time moves on at once (log_clock_shift). Accepted behind, log time cannot go
 * back: `behind_ns` says how far the wall clock may be behind without being stepped, and it shrinks
 * with the difference, which is slewed away.
 *
 * Pure: both clocks come in as arguments. Threads: the one that owns the event log. */
#ifndef CORE_BASE_LOG_CLOCK_H
#define CORE_BASE_LOG_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_CLOCK_SLEW_PPM 500u
#define LOG_CLOCK_STEPPED_NS (10ull * 1000 * 1000 * 1000)

struct log_clock {
    uint64_t last_ns;         /* the last log time given out */
    uint64_t last_elapsed_ns; /* when it was given out */
    uint64_t behind_ns;       /* the wall clock may be: what was accepted and is not slewed away */
    uint32_t slew_rest;       /* of slewing allowed but not yet a whole ns, in 1/2000 ns */
    bool held;                /* no slewing: the wall clock is not to be trusted */
};

/* Log time goes on from `last_ns` (the newest time in the log, 0 for a new log) or from wall time,
 * whichever is later. */
void log_clock_init(struct log_clock *clock, uint64_t last_ns, uint64_t elapsed_ns,
                    uint64_t wall_ns);

/* Log time goes on from `last_ns` whatever the wall clock says, and is held. */
void log_clock_init_held(struct log_clock *clock, uint64_t last_ns, uint64_t elapsed_ns);

/* The log time now. `elapsed_ns` must not go back; the wall clock may do what it likes. */
uint64_t log_clock_now(struct log_clock *clock, uint64_t elapsed_ns, uint64_t wall_ns);

/* Wall time minus the last log time, as far as 64 bits go. Ask this and the next one right after
 * log_clock_now with the same wall time. */
int64_t log_clock_difference_ns(const struct log_clock *clock, uint64_t wall_ns);

/* True if wall time is more than 10 s away from the last log time (and from what was accepted): the
 * wall clock was stepped. */
bool log_clock_stepped(const struct log_clock *clock, uint64_t wall_ns);

/* Moves log time on. */
void log_clock_shift(struct log_clock *clock, uint64_t shift_ns);

/* How long slewing takes for this difference. */
uint64_t log_clock_slewing_ns(int64_t difference_ns);

#endif
