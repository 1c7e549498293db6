/* What is known of a copy that goes on (follow.h): its state, what it did, what hinders it; and all
 * of that as metrics.
 *
 *    CONNECTING --> FOLLOWING <--> AWAY       the server cannot be had, and is tried again
 *        |              |           |
 *        '--------------'-----------'--> STOPPED  for good, with a reason
 *                                    --> ENDED    was told to
 *
 * Threads: a replication belongs to one thread, or to whoever holds the lock that its owner has. */
#ifndef TOOLS_REPLICATION_REPLICATION_H
#define TOOLS_REPLICATION_REPLICATION_H

#include "core/base/error.h"
#include "core/base/text.h"
#include "pgsync/copier.h"
#include "tools/replication/follow.h"
#include "tools/replication/lag.h"

#include <stdint.h>

enum replication_state {
    REPLICATION_CONNECTING = 0,
    REPLICATION_FOLLOWING,
    REPLICATION_AWAY,
    REPLICATION_STOPPED,
    REPLICATION_ENDED,
    REPLICATION_STATES
};

#define REPLICATION_CLASSES 8 /* of SQLSTATEs after which it is tried again */

struct replication {
    enum replication_state state;
    struct copier_stats stats;
    uint64_t position; /* the copy has everything up to here; before the first connection: as it was
                          told last in the log's directory */
    struct error trouble; /* AWAY: of the last try; STOPPED: why; else code 0 */
    struct error untold;  /* why the log's directory does not take the position; code 0: it does */
    uint64_t commit_ns_sum; /* of stats.batches */
    uint64_t retries[REPLICATION_CLASSES];
};

const char *replication_state_name(enum replication_state state); /* "connecting", ... */

uint64_t replication_retries(const struct replication *replication); /* of all classes */

/* Of nothing that has happened yet. `dir` and `reader_name` as in struct follow_options. */
void replication_begin(struct replication *replication, const char *dir, const char *reader_name);

/* To be called with each event, and with how follow_run() ended. */
void replication_note(struct replication *replication, const struct follow_event *event);
void replication_end(struct replication *replication, int code, const struct copier_stats *stats,
                     const struct error *error);

/* The text that Prometheus reads: daa_replication_*. */
void replication_metrics(struct text *text, const struct replication *replication,
                         const struct lag *lag);

#endif
