/* How far a copy is behind the log: in events, in bytes of the log, and in time.
 *
 * Threads: those of the reader. */
#ifndef TOOLS_REPLICATION_LAG_H
#define TOOLS_REPLICATION_LAG_H

#include "core/base/error.h"
#include "log/reader.h"

#include <stdint.h>

/* All zero when nothing is behind. */
struct lag {
    uint64_t durable_seq; /* the log's end */
    uint64_t events;      /* durable ones that are not copied */
    uint64_t bytes;       /* of the log, from the oldest of them to its end */
    uint64_t age_ns;      /* of the oldest of them */
};

/* Of a copy that has everything up to `position`; `now_ns` is log time, or the wall clock where
 * that is not at hand. What was removed from the log and not copied counts as events only. Moves
 * the reader. 0, or the reader's error; events are known all the same. */
int lag_measure(struct lag *lag, struct log_reader *reader, uint64_t position, uint64_t now_ns,
                struct error *error);

#endif
