/* The state from the log: what a start, a replay into another directory and tests have in common.
 *
 *   documents of another history in LMDB? -> deleted
 *   LMDB empty, or behind the log's first event? -> the newest snapshot that is whole and of this
 *       history is loaded; a damaged one is said and passed over
 *   what has not ended is loaded into the agent, and the rest of the log is replayed
 *
 * "Of this history": the log's event at the documents' seq lies under the uuid that they name, or
 * that is the uuid of the log's end (a rebuild that was interrupted before it came to the fork says
 * so), and the chain at their mark is the log's. So documents and snapshots stay good in a log that
 * goes on from theirs (a restore, a fork), and those of a past that did not become this log's are
 * not used.
 *
 * Threads: one, that of the state and the agent; progress may be looked at by any. */
#ifndef TOOLS_AGENT_REBUILD_H
#define TOOLS_AGENT_REBUILD_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "tools/agent/state.h"
#include "tools/rebuild/rebuild.h"

#include <stdbool.h>
#include <stdint.h>

/* A sentence: how far it is, how fast, and about how much is left. */
void rebuild_progress_text(const struct rebuild_progress *progress, char *text, size_t size);

struct agent;
struct keyring;

struct rebuild_options {
    const char *log_dir;
    const char *snapshots_dir; /* NULL: none are used */
    const char *db_dir;        /* for messages */
    struct state *state;
    const struct state_found *found; /* by state_open() */
    struct agent *agent;             /* new; not live */
    struct keyring *keyring; /* of encrypted events; NULL: there is none, and such events end it */
    struct budget *budget;
    uint64_t until_seq;                /* 0: all that is durable */
    struct rebuild_progress *progress; /* NULL: nobody looks */
    /* What a person should know though it goes on. May be NULL. */
    void (*say)(const char *sentence, void *context);
    void *context;
};

/* 0 with the state standing for until_seq (or less when the log is shorter) and the agent with it;
 * what is handed over may not be in LMDB yet. Errors name the event, file or document, and the way
 * out. */
int rebuild_run(const struct rebuild_options *options, struct rebuild_result *result,
                struct error *error);

struct log_reader;

/* Whether documents of log `uuid` that stand for everything up to `seq` are of the log's history.
 * 1, 0 with a clause in `why`, negative. */
int rebuild_history(struct log_reader *reader, const uint8_t uuid[16], uint64_t seq,
                    const struct state_mark *mark, char *why, size_t why_size, struct error *error);

/* Gives snapshots of another history (a log that was put back to an earlier end, say) another name,
 * "snap-....zst.other", so that nobody takes them for newer ones of this log. Says so. */
void rebuild_set_aside(const char *log_dir, const char *snapshots_dir, struct budget *budget,
                       void (*say)(const char *sentence, void *context), void *context);

#endif
