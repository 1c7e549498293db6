/* The start of the daemon: from a configuration to an agent that stands where the log ends.
 *
 *   data directory -> log (lock, recovery, new segment) -> state (LMDB, tools/agent/rebuild.h) ->
 *   effects that have lost their owner -> snapshots from now on
 *
 * Threads: boot_open() and boot_close() by the agent thread, since the log's ring belongs to the
 * thread that opened it; boot_progress() by any meanwhile; the parts belong to whom their headers
 * say. */
#ifndef TOOLS_AGENT_BOOT_H
#define TOOLS_AGENT_BOOT_H

#include "core/base/budget.h"
#include "core/base/error.h"
#include "core/base/lineage.h"
#include "core/base/log_clock.h"
#include "log/recovery.h"
#include "tools/agent/rebuild.h"
#include "tools/config/config.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct agent;
struct disk;
struct doctor;
struct effects;
struct eraser;
struct host_clock;
struct housekeeper;
struct inbox;
struct io;
struct keyring;
struct log;
struct loop;
struct notary;
struct replicator;
struct snapshots;
struct state;

enum boot_stage {
    BOOT_BEGINS = 0,
    BOOT_LOG,   /* recovers the event log */
    BOOT_STATE, /* makes the state from LMDB, snapshots and the log */
    BOOT_READY,
};

/* What whoever serves clients is told. */
struct boot_hooks {
    void (*ended)(uint64_t stream, void *context); /* a workflow, durably; on the agent thread */
    /* Segments of the log were: readers may let go of them. On the housekeeper's thread. */
    void (*segments_removed)(void *context);
    void *context;
};

struct boot {
    const struct config *config;
    struct budget budget;
    char log_dir[PATH_MAX], db_dir[PATH_MAX], snapshots_dir[PATH_MAX], keys_dir[PATH_MAX];
    struct keyring *keyring; /* of workflows; NULL: no event was or will be encrypted */
    uint32_t keys_used;      /* in it, when the agent started: the next key is above */
    struct eraser *eraser;   /* NULL as well */
    /* Held by the housekeeper and the eraser, from their look at what is to leave the state until
     * that is durable (core/agent/command.h), so for as long as disks take. No other lock is taken
     * before it. */
    pthread_mutex_t removals;
    struct io *io;
    struct log *log;
    struct log_recovery recovery;        /* what was found */
    const struct host_clock *host_clock; /* boot_init() says the machine's */
    bool allow_tmpfs;                    /* tests only: the log may lie in memory */
    void (*before_read_ahead)(void);     /* tests (tools/agent/warmer.h) */
    void (*before_expiry)(void);         /* tests (tools/agent/housekeeper.h) */
    struct log_clock clock;
    struct state *state;
    struct agent *agent;
    struct inbox *inbox;
    struct effects *effects;
    struct disk *disk;
    struct loop *loop;
    struct snapshots *snapshots;
    struct housekeeper *_Atomic housekeeper;
    struct boot_hooks hooks;
    struct notary *notary;
    struct doctor *doctor;
    struct scrub *scrub;
    struct replicator *replicator; /* NULL: [database] sync is not wanted */
    uint8_t log_uuid[UUID_SIZE];
    bool rebuilt; /* the documents were of another history or version */
    struct rebuild_result rebuild;
    struct lineage lineage;      /* of the log; settled before the agent is ready */
    uint64_t orphans;            /* effects that have lost their owner */
    uint64_t began_ns, ready_ns; /* monotonic */

    _Atomic int stage; /* enum boot_stage */
    struct rebuild_progress progress;
};

/* Makes the data directory (0700) when it is missing and checks that it can be ours: ours, not
 * writable by others, on a disk, and no other agent's at work. It stays locked until the caller
 * closes *lock_fd. */
int boot_data_dir(const char *data_dir, int *lock_fd, struct error *error);

void boot_init(struct boot *boot, const struct config *config);

/* On failure everything is released. */
int boot_open(struct boot *boot, const struct boot_hooks *hooks, struct error *error);

/* Releases what there is, in order. `clean`: the log gets its CLOSE frame; otherwise nothing more
 * is written to it. The first failure is reported, the rest is released all the same. */
int boot_close(struct boot *boot, bool clean, struct error *error);

/* A sentence on how far the start is. */
void boot_progress(const struct boot *boot, char *text, size_t size);

#endif
