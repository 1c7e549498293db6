/* The snapshots of a running agent: when one is made, and which are kept.
 *
 *   due (so much log, so much time, or somebody asks) -> written and read back -> made() -> the
 *   agent records it in the log -> snapshots_recorded() -> all but the two newest are removed
 *
 * An older one is removed only after a newer one is recorded: so at any time the newest recorded
 * one and the one before it are there. A failure leaves the others as they are, is said in the
 * status, and is tried again after a minute.
 *
 * Threads: a thread of its own, of low priority, which reads LMDB while the agent goes on. The
 * functions may be called by any, open and close by one. */
#ifndef TOOLS_AGENT_SNAPSHOTS_H
#define TOOLS_AGENT_SNAPSHOTS_H

#include "core/base/error.h"
#include "tools/agent/snapshot.h"

#include <stdbool.h>
#include <stdint.h>

struct snapshots;

struct snapshots_options {
    const char *dir; /* made when missing (0700) */
    struct state *state;
    uint64_t interval_ns; /* between two; 0: never for that reason */
    uint64_t log_bytes;   /* of log between two; 0: never for that reason */
    /* Where the log ends, in bytes that only grow; looked at every few seconds. NULL: log_bytes is
     * not looked at. */
    uint64_t (*log_position)(void *context);
    /* Where it ended, so counted, when the newest snapshot there was made; 0: at open. */
    uint64_t last_position;
    uint64_t recorded_seq; /* of the newest that the log knows; 0: of none */
    /* One was made. On the snapshot thread; must not wait for snapshots_recorded(). NULL: it counts
     * as recorded at once, as those that are there do. */
    void (*made)(const struct snapshot_info *info, void *context);
    void *context;
};

int snapshots_open(struct snapshots **snapshots, const struct snapshots_options *options,
                   struct error *error);
/* Nothing more is begun, one under way is given up, and whoever waits gets -ECANCELED. */
void snapshots_stop(struct snapshots *snapshots);
/* The same, and releases all. Nobody waits any more. NULL is fine. */
void snapshots_close(struct snapshots *snapshots);

/* Makes one now, or joins with others who asked and whose snapshot has not begun, and waits for it.
 * 0 with *info. */
int snapshots_make(struct snapshots *snapshots, struct snapshot_info *info, struct error *error);
/* The same without waiting. */
void snapshots_request(struct snapshots *snapshots);

/* The event that says so is durable: older ones than the two newest may go. */
void snapshots_recorded(struct snapshots *snapshots, uint64_t seq);

struct snapshots_status {
    struct snapshot_info newest; /* seq 0: none */
    bool unrecorded;             /* the log does not know it yet */
    /* Of the older of the two newest, both whole and recorded: the log is needed from there on. 0:
     * from its beginning. */
    uint64_t bound_seq;
    uint64_t count; /* files */
    uint64_t made;  /* by this process */
    bool under_way;
    uint64_t last_ns;     /* how long the last one took */
    struct error trouble; /* of the last try; code 0: none */
};
void snapshots_status_get(struct snapshots *snapshots, struct snapshots_status *status);

#endif
