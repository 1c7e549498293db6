/* Which of a log's oldest segments may go. Pure.
 *
 * The policy says what should go; each bound says what must stay: the snapshots that the state is
 * rebuilt from, readers that were seen lately, and readers that are required. A segment goes when
 * the policy wants it gone and every bound is behind its last event. Where there is no room, the
 * policy decides between the readers and the agent: it refuses new work (log/space.h), or they are
 * dropped, and it is said what they lack.
 *
 * Threads: any. */
#ifndef TOOLS_AGENT_RETENTION_H
#define TOOLS_AGENT_RETENTION_H

#include "log/readers.h"
#include "log/removal.h"

#include <stddef.h>
#include <stdint.h>

struct retention_policy {
    uint64_t max_bytes;     /* of all segments that were begun, on the disk; 0: no limit */
    uint64_t max_age_ns;    /* of a segment's newest event; 0: no limit */
    uint64_t reader_ttl_ns; /* a reader that is not required holds nothing when not seen so long */
    const char *const *required; /* names of readers, beside those whose file says so */
    size_t required_count;
    bool drops_readers; /* where there is no room, readers hold nothing */
};

struct retention_bounds {
    uint64_t now_ns;  /* log time */
    uint64_t wall_ns; /* the clock that readers write down; it may be far from log time */
    /* It is not trusted: nobody can say then that a reader was not seen for long. */
    bool degraded;
    bool no_room; /* for the log: it is CRITICAL or FULL (log/space.h) */
    /* By accepted clocks log time was moved on by shift_ns in all, the last time at shifted_at_ns
     * (log time before it): nothing grew older by that. */
    uint64_t shift_ns, shifted_at_ns;
    uint64_t snapshot_seq; /* of the older of the two newest verified snapshots; 0: there are none,
                              so nothing may go */
    const struct log_reader_position *readers; /* bad ones too: they hold everything */
    /* Of each: elapsed since its file was found changed; UINT64_MAX: it was not. NULL: of none. */
    const uint64_t *changed_ago_ns;
    size_t reader_count;
};

struct retention_decision {
    size_t segments;   /* so many of the oldest go */
    size_t wanted;     /* so many the policy wants gone */
    char reason[160];  /* why they should go, as a clause; "" when none should */
    char held[320];    /* why not more of them go, as a sentence; "" when all do */
    char dropped[320]; /* which readers hold nothing for lack of room, and what they lack when these
                          are gone, as a sentence; "" when none */
};

/* `segments` are all that were begun, oldest first (log_segments()). */
void retention_decide(const struct log_segment *segments, size_t count,
                      const struct retention_policy *policy, const struct retention_bounds *bounds,
                      struct retention_decision *decision);

#endif
