/* Keeps the state and the log within bounds: what is over expires, snapshots are recorded, the
 * oldest segments go.
 *
 *   look (documents, snapshots, segments) -> a command to the agent, whose event says what goes ->
 *   durable -> do what it said (files), look again
 *
 * One command at a time, and the next only when the one before is durable, as COMMAND_EXPIRE_KEYS
 * and COMMAND_EXPIRE_WORKFLOWS demand; nor is a workflow erased meanwhile. The commands go through
 * the inbox like those of clients and are bounded with them: with a full inbox housekeeping waits.
 *
 * Threads: a thread of its own; functions by any, open and close by one. */
#ifndef TOOLS_AGENT_HOUSEKEEPER_H
#define TOOLS_AGENT_HOUSEKEEPER_H

#include "core/base/error.h"
#include "tools/agent/snapshot.h"
#include "tools/config/config.h"

#include <pthread.h>
#include <stdint.h>

struct disk;
struct housekeeper;
struct inbox;
struct log;
struct loop;
struct snapshots;
struct state;

struct housekeeper_options {
    const struct config *config;
    struct state *state;
    struct inbox *inbox;
    struct loop *loop;
    const struct log *log;
    const struct disk *disk;
    struct snapshots *snapshots;
    const char *log_dir;
    struct budget *budget;
    pthread_mutex_t *removals; /* struct boot; taken while workflows expire */
    /* Tests: between the look at workflows that are over and the command; NULL: none. On its
     * thread. */
    void (*before_expiry)(void);
    /* Segments were removed: readers of this process may let go of them. On its thread. */
    void (*removed)(void *context);
    void *context;
};

int housekeeper_open(struct housekeeper **housekeeper, const struct housekeeper_options *options,
                     struct error *error);
void housekeeper_stop(struct housekeeper *housekeeper); /* begins nothing more; NULL is fine */
/* Stops and joins the thread, which calls no hook any more then; the loop must answer until then,
 * or have refused. What there is to be known stays. NULL is fine. */
void housekeeper_join(struct housekeeper *housekeeper);
void housekeeper_close(struct housekeeper *housekeeper); /* joins first; NULL is fine */

/* A snapshot was made and verified: to be recorded. */
void housekeeper_snapshot_made(struct housekeeper *housekeeper, const struct snapshot_info *info);

struct housekeeper_status {
    uint64_t looks;                           /* by this process; about one a second */
    uint64_t keys_expired, workflows_expired; /* by this process */
    uint64_t segments_removed, bytes_removed;
    char held[320];       /* why not more of the log goes, as a sentence; "" */
    char dropped[320];    /* which readers lack what went, as a sentence; of the last time; "" */
    struct error trouble; /* of the last look at the segments; code 0: none */
};
void housekeeper_status_get(struct housekeeper *housekeeper, struct housekeeper_status *status);

#endif
