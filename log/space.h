/* How much room the log has: a judgement on numbers. Pure.
 *
 *   OK --(free < low)--> LOW --(free < critical, or no room for a spare)--> CRITICAL
 *                                           --(and no spare is left)--> FULL
 *
 * LOW is a warning. CRITICAL is the last time to act: new work is refused, what is under way and
 * what says how it ended goes on, and the ballast (log/ballast.h) is given up so that it can. FULL:
 * not even that. Each state is left by itself when there is room again, a quarter more than what
 * made it begin, so that it does not come and go.
 *
 * Free bytes are counted as if the ballast were there: giving it up is no way out of CRITICAL, and
 * making it anew leads to no worse state.
 *
 * Threads: any. */
#ifndef LOG_SPACE_H
#define LOG_SPACE_H

#include <stdbool.h>
#include <stdint.h>

enum space_state { SPACE_OK = 0, SPACE_LOW = 1, SPACE_CRITICAL = 2, SPACE_FULL = 3 };

struct space_limits {
    uint64_t low_bytes, critical_bytes; /* free bytes below which the state begins */
    uint64_t ballast_bytes;             /* what the ballast should have */
};

/* What there is. */
struct space_look {
    uint64_t free_bytes;    /* of the filesystem, for us */
    uint64_t ballast_bytes; /* that are there */
    uint64_t spares;        /* segments made ahead and not used yet */
    bool refused;           /* the newest spare could not be made for lack of room */
};

/* What is wished for, cut down to what suits a filesystem of this size: low to a tenth of it,
 * critical to a fortieth, the ballast to a hundredth, of whole blocks, as it is made; but two
 * segments are critical and four are low. */
struct space_limits space_limits_for(const struct space_limits *wish, uint64_t total_bytes,
                                     uint64_t segment_size);

enum space_state space_next(enum space_state now, const struct space_limits *limits,
                            const struct space_look *look);

/* How many free bytes there have to be, the ballast as it is now, to leave this state. */
uint64_t space_bytes_to_leave(enum space_state now, const struct space_limits *limits,
                              const struct space_look *look);

const char *space_state_name(enum space_state state); /* "ok", "low", "critical", "full" */

#endif
