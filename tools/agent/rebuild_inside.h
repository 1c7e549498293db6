/* The inside of a rebuild: what rebuild.c and rebuild_snapshot.c share. For tools/agent/rebuild*.c
 * only. Threads: as tools/agent/rebuild.h says. */
#ifndef TOOLS_AGENT_REBUILD_INSIDE_H
#define TOOLS_AGENT_REBUILD_INSIDE_H

#include "core/base/arena.h"
#include "tools/agent/rebuild.h"

/* Between two hand-overs: a workflow that begins and ends in between is encoded once. A short event
 * may change a large workflow, so memory has a bound of its own. */
#define REPLAY_BATCH 4096u              /* events */
#define REPLAY_BATCH_BYTES (4ull << 20) /* of log */
#define REPLAY_BATCH_SHARE 16           /* one part in so many of the budget */
/* What waits for LMDB at most, so that a start stays within its memory; and what is committed at
 * once, so that two of them fit. With less memory less. */
#define REPLAY_LAG (40ull << 20)
#define REPLAY_LAG_SHARE 4
#define REPLAY_COMMIT_NS 1000000000ull
#define REPLAY_COMMIT_BYTES (16ull << 20)
#define REPLAY_COMMIT_SHARE 10

struct log_reader;

struct rebuild {
    const struct rebuild_options *options;
    struct rebuild_result *result;
    struct rebuild_progress *progress;
    struct log_reader *reader;
    struct arena arena;
    unsigned count;         /* events since the last hand-over */
    uint64_t at, bytes;     /* the newest record applied; of all of them */
    uint64_t handed_bytes;  /* of all records handed over */
    uint64_t handed_held;   /* memory that the agent held behind the last hand-over */
    struct state_mark mark; /* the last whole frame up to `at` */
};

void rebuild_say(const struct rebuild *rebuild, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void rebuild_stage(struct rebuild *rebuild, enum rebuild_stage stage, uint64_t first,
                   uint64_t last);

/* Loads the newest snapshot that can be used into the state, which stays as it is when there is
 * none. 0 in both cases; negative when the state cannot be written. */
int rebuild_load_snapshot(struct rebuild *rebuild, struct error *error);

#endif
