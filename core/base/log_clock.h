/* Log time: the monotonic clock plus an offset to wall time that is slewed by at most 500 ppm.
 * It never goes back, and never equals a time it gave before unless nothing moved. Slewing goes on
 * while the wall clock counts as stepped: what is wrong for minutes moves log time by some ms, and
 * a step that stays is caught up with in the end.
 *
 * Pure: both clocks come in as arguments. Threads: the one that owns the event log. */
#ifndef CORE_BASE_LOG_CLOCK_H
#define CORE_BASE_LOG_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_CLOCK_SLEW_PPM 500u
#define LOG_CLOCK_STEPPED_NS (10ull * 1000 * 1000 * 1000)

struct log_clock {
    uint64_t last_ns;           /* the last log time given out */
    uint64_t last_monotonic_ns; /* when it was given out */
    uint32_t slew_rest;         /* of slewing allowed but not yet a whole ns, in 1/2000 ns */
};

/* Log time goes on from `last_ns` (the newest time in the log, 0 for a new log) or from wall time,
 * whichever is later. */
void log_clock_init(struct log_clock *clock, uint64_t last_ns, uint64_t monotonic_ns,
                    uint64_t wall_ns);

/* The log time now. `monotonic_ns` must not go back; the wall clock may do what it likes. */
uint64_t log_clock_now(struct log_clock *clock, uint64_t monotonic_ns, uint64_t wall_ns);

/* True if wall time is more than 10 s away from the last log time: the wall clock was stepped. Ask
 * right after log_clock_now with the same wall time. */
bool log_clock_stepped(const struct log_clock *clock, uint64_t wall_ns);

#endif
