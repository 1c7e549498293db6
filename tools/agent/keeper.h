/* Keeps the log as short as the configuration wants it, for whoever owns the agent's events.
 *
 *   keeper_plan() -> the agent appends storage.removed and waits for the disk -> keeper_remove()
 *
 * The event comes first, so that no segment is ever gone without one. After a crash between the two
 * keeper_remove() is called again with the number that the newest event names
 * (AgentDocument.removed_segment), and no second event is needed; keeper_plan() leaves out what an
 * event has given up already.
 *
 * It has no thread of its own. Every call reads a block of each segment and the files of the
 * readers, which may take milliseconds: call it where that may wait, when a segment was begun or a
 * snapshot recorded, and now and then because events grow old.
 *
 * Threads: any, one call at a time. */
#ifndef TOOLS_AGENT_KEEPER_H
#define TOOLS_AGENT_KEEPER_H

#include "core/base/error.h"
#include "log/removal.h"
#include "tools/agent/retention.h"
#include "tools/config/config.h"

#include <limits.h>
#include <stdint.h>

/* When the file of a reader was found changed, so that a wall clock which is set makes no reader
 * old. Of more readers than these only the wall clock counts. */
#define KEEPER_SEEN_MAX 64u
struct keeper_seen {
    char name[LOG_READER_NAME_SIZE];
    uint64_t seq, flushed_seq, time_ns; /* that it said */
    uint64_t changed_ns;                /* elapsed time; UINT64_MAX: it was always so */
};

struct keeper {
    char log_dir[PATH_MAX];
    struct retention_policy policy; /* points into the configuration */
    struct keeper_seen seen[KEEPER_SEEN_MAX];
    size_t seen_count;
};

/* `config` has to stay. -ENAMETOOLONG. */
int keeper_init(struct keeper *keeper, const struct config *config, const char *log_dir,
                struct error *error);

/* What the agent knows. */
struct keeper_bounds {
    uint64_t now_ns;                  /* log time */
    uint64_t wall_ns, elapsed_ns;     /* of the host's clocks, then */
    bool degraded;                    /* the wall clock is not trusted */
    bool no_room;                     /* for the log: it is CRITICAL or FULL */
    uint64_t shift_ns, shifted_at_ns; /* as in tools/agent/retention.h */
    uint64_t snapshot_seq;    /* of the older of the two newest verified snapshots; 0: there are not
                                 two */
    uint64_t removed_segment; /* the newest that storage.removed has given up; 0: none */
};

/* What should go: the fields of storage.removed. */
struct keeper_removal {
    uint64_t first_segment, last_segment; /* both 0: nothing goes */
    uint64_t first_seq, last_seq;
    uint64_t bytes;    /* on the disk */
    char reason[160];  /* why it should, as a clause */
    char held[320];    /* why not more goes, as a sentence; "" when all goes that should */
    char dropped[320]; /* as in tools/agent/retention.h */
};

/* Changes nothing but what it has seen. 1 something should go; 0 nothing may or should (`held` says
 * which, also when nothing goes); negative when the log or its readers cannot be read: then nothing
 * goes. */
int keeper_plan(struct keeper *keeper, const struct keeper_bounds *bounds,
                struct keeper_removal *removal, struct error *error);

/* Removes the segments up to and with `last_segment`, once the event that names it is durable, or
 * again after a start. `removed` says what this call did; it may be NULL. */
int keeper_remove(const struct keeper *keeper, uint64_t last_segment, struct log_removed *removed,
                  struct error *error);

#endif
