#include "tools/agent/boot.h"

#include "core/agent/agent.h"
#include "core/agent/clock.h"
#include "iouring/file.h"
#include "iouring/io.h"
#include "log/ballast.h"
#include "log/event.h"
#include "log/keyring.h"
#include "log/log.h"
#include "log/reader.h"
#include "log/restore.h"
#include "tools/agent/clock.h"
#include "tools/agent/disk.h"
#include "tools/agent/doctor.h"
#include "tools/agent/effects.h"
#include "tools/agent/eraser.h"
#include "tools/agent/host.h"
#include "tools/agent/housekeeper.h"
#include "tools/agent/inbox.h"
#include "tools/agent/loop.h"
#include "tools/agent/notary.h"
#include "tools/agent/replicator.h"
#include "tools/agent/scrub.h"
#include "tools/agent/snapshots.h"
#include "tools/agent/state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define IO_OPS_MAX 80u
#define KEY_SIZE_ON_DISK 256u /* of an idempotency key: two documents, with what LMDB adds */
#define INBOX_BYTES_MAX (64ull << 20)

/*--- The data directory ------------------------------------------------------------------------*/

static int make_dirs(const char *path, struct error *error)
{
    char part[PATH_MAX];
    size_t size = strlen(path);
    if (size >= sizeof part)
        return error_set(error, -ENAMETOOLONG, "data directory: the path is too long");
    for (size_t i = 1; i <= size; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        int status = file_make_dir(part, error);
        if (status < 0)
            return error_wrap(error, status, "data directory %s", path);
    }
    return 0;
}

/* One agent per directory, from before the port, the socket and the token are touched until the
 * process ends: log_open() locks too, but later. */
static int lock_data_dir(const char *data_dir, int *lock_fd, struct error *error)
{
    char path[PATH_MAX], pid[32] = "";
    if (snprintf(path, sizeof path, "%s/agent.lock", data_dir) >= (int)sizeof path)
        return error_set(error, -ENAMETOOLONG, "data directory: the path is too long");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(error, -errno, "cannot open %s: %s", path, error_text(-errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        ssize_t size = errno == EWOULDBLOCK ? pread(fd, pid, sizeof pid - 1, 0) : 0;
        pid[size > 0 ? strspn(pid, "0123456789") : 0] = 0;
        close(fd);
        return error_set(error, ERROR_LOCKED,
                         "data directory %s belongs to another agent that runs, pid %s; stop it "
                         "first or choose another --data-dir",
                         data_dir, pid[0] ? pid : "unknown");
    }
    int size = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) < 0 || file_write_at(fd, pid, (size_t)size, 0) < 0)
        host_say("cannot write our pid into %s: %s", path, error_text(-errno));
    *lock_fd = fd;
    return 0;
}

int boot_data_dir(const char *data_dir, int *lock_fd, struct error *error)
{
    struct stat stat_of;
    struct statfs filesystem;
    int status = make_dirs(data_dir, error);
    if (status < 0)
        return status;
    if (stat(data_dir, &stat_of) < 0 || statfs(data_dir, &filesystem) < 0)
        return error_set(error, -errno, "data directory %s: %s", data_dir, error_text(-errno));
    if (!S_ISDIR(stat_of.st_mode))
        return error_set(error, -ENOTDIR, "data directory %s is a file", data_dir);
    if (filesystem.f_type == TMPFS_MAGIC || filesystem.f_type == RAMFS_MAGIC)
        return error_set(error, ERROR_INVALID,
                         "data directory %s is in memory (tmpfs), where nothing survives; choose "
                         "one on a disk",
                         data_dir);
    if (stat_of.st_uid != geteuid())
        return error_set(error, -EPERM,
                         "data directory %s belongs to uid %u, and this is uid %u; run as its "
                         "owner or choose another --data-dir",
                         data_dir, (unsigned)stat_of.st_uid, (unsigned)geteuid());
    if (stat_of.st_mode & (S_IWGRP | S_IWOTH))
        return error_set(error, -EPERM,
                         "data directory %s can be written by others; chmod 700 it or choose "
                         "another --data-dir",
                         data_dir);
    if (access(data_dir, R_OK | W_OK | X_OK) < 0)
        return error_set(error, -errno, "data directory %s is not writable: %s", data_dir,
                         error_text(-errno));
    char restoring[PATH_MAX];
    if (snprintf(restoring, sizeof restoring, "%s/" LOG_RESTORING_NAME, data_dir) < PATH_MAX &&
        access(restoring, F_OK) == 0)
        return error_set(error, ERROR_CONFLICT,
                         "data directory %s is being restored, or that was not ended: run the same "
                         "daa-log restore again, which goes on",
                         data_dir);
    return lock_data_dir(data_dir, lock_fd, error);
}

/*--- The log -----------------------------------------------------------------------------------*/

static int open_engine(struct boot *boot, struct error *error)
{
    int status;
    uint64_t engine = boot->config->log.engine;
    if (engine == CONFIG_ENGINE_PLAIN || !boot->config->runtime.enable_io_uring)
        status = io_open_plain(&boot->io);
    else if (engine == CONFIG_ENGINE_RING)
        status = io_open_ring(&boot->io, IO_OPS_MAX);
    else
        status = io_open_best(&boot->io, IO_OPS_MAX);
    if (status < 0)
        return error_set(
            error, status,
            "cannot open the I/O engine: %s; [log] engine = \"plain\" works everywhere",
            error_text(status));
    return 0;
}

static enum log_sync sync_of(const struct config *config)
{
    switch (config->log.sync) {
    case CONFIG_SYNC_DSYNC:
        return LOG_SYNC_DSYNC;
    case CONFIG_SYNC_FDATASYNC:
        return LOG_SYNC_FDATASYNC;
    default:
        return LOG_SYNC_PROBE;
    }
}

/* Documents of a log that is not there: somebody forgot to mount or to copy it. */
static int check_log_is_there(const struct boot *boot, const uint8_t uuid[16], uint64_t seq,
                              struct error *error)
{
    char text[UUID_TEXT_SIZE];
    if (seq == 0)
        return 0;
    uuid_to_text(text, uuid);
    return error_set(error, ERROR_NOT_FOUND,
                     "%s holds no event log, but the documents in %s stand for %" PRIu64
                     " events of log %s: put that log back; to begin a new one, move %s away",
                     boot->log_dir, boot->db_dir, seq, text, boot->db_dir);
}

/* Log time for what the log itself writes at its start. Where it is not certain that the wall clock
 * was trusted in the end, log time must not move to it before the replay says so. */
static void begin_clock(struct boot *boot, const struct log_recovery *before, uint64_t applied_seq,
                        bool is_its_state)
{
    uint64_t elapsed_ns, wall_ns;
    boot->host_clock->read(&elapsed_ns, &wall_ns);
    bool trusted = !before->exists || (is_its_state && clock_was_trusted(boot, applied_seq));
    if (trusted)
        log_clock_init(&boot->clock, before->last_time_ns, elapsed_ns, wall_ns);
    else
        log_clock_init_held(&boot->clock, before->last_time_ns, elapsed_ns);
}

/* Restored, or a copy of a directory that was in use: no event number may mean two things. */
static void say_fork(const struct boot *boot)
{
    char now[UUID_TEXT_SIZE], before[UUID_TEXT_SIZE];
    uuid_to_text(now, boot->log_uuid);
    uuid_to_text(before, boot->recovery.log_uuid);
    host_say("the event log goes on as %s, forked from %s behind event %" PRIu64 ": %s", now,
             before, boot->recovery.last_seq,
             boot->recovery.moved ? "the directory is a copy of one that was in use, or was moved "
                                    "while it was"
                                  : "it was restored");
}

/* A log that does not open for lack of room opens once there is some. */
static int open_with_ballast(struct boot *boot, const struct log_options *options,
                             struct error *error)
{
    struct error ignored;
    int status = log_open(&boot->log, options, &boot->recovery, error);
    if ((status != -ENOSPC && status != -EDQUOT) || ballast_release(boot->log_dir, &ignored) != 1)
        return status;
    host_say("%s: the ballast was given up", error->text);
    return log_open(&boot->log, options, &boot->recovery, error);
}

static int open_log(struct boot *boot, struct error *error)
{
    const struct config *config = boot->config;
    struct log_recovery before = { 0 };
    atomic_store(&boot->stage, BOOT_LOG);
    /* Which log it is and when it ends, before it is opened for good, and judged. */
    int status = log_glance(boot->log_dir, &before, error);
    if (status < 0 && status != -ENOENT)
        return status;
    uint8_t uuid[16];
    struct log_witness witness = { .name = "LMDB" };
    uint64_t seq = state_peek_applied_seq(boot->db_dir, uuid);
    if (!before.exists && (status = check_log_is_there(boot, uuid, seq, error)) < 0)
        return status;
    if (before.exists && memcmp(uuid, before.log_uuid, 16) == 0)
        witness.seq = seq;
    begin_clock(boot, &before, seq, witness.seq > 0);
    struct log_options options = {
        .dir = boot->log_dir,
        .io = boot->io,
        .budget = &boot->budget,
        .segment_size = config->log.segment_size,
        .event_schema = EVENT_SCHEMA_NEWEST,
        .frames_in_flight_max = (uint32_t)config->log.frames_in_flight,
        .spares = (uint32_t)config->log.spares,
        .second_dir = config->log.second_dir[0] != '\0' ? config->log.second_dir : NULL,
        .sync = sync_of(config),
        .no_chain = !config->log.chain,
        .seal = config->log.seal,
        .allow_tmpfs = boot->allow_tmpfs,
        .start_time_ns = boot->clock.last_ns,
        .witnesses = &witness,
        .witness_count = witness.seq > 0,
    };
    status = open_with_ballast(boot, &options, error);
    if (status < 0)
        return status;
    memcpy(boot->log_uuid, log_uuid(boot->log), sizeof boot->log_uuid);
    if (options.second_dir != NULL && strcmp(io_name(boot->io), "plain") == 0)
        host_say("[log] second_dir helps in no stall: without io_uring the agent itself waits for "
                 "each write");
    if (boot->recovery.exists && boot->recovery.verdict != LOG_SOUND)
        host_say("the event log's end: %s", boot->recovery.reason);
    if (boot->recovery.exists && memcmp(boot->log_uuid, boot->recovery.log_uuid, UUID_SIZE) != 0)
        say_fork(boot);
    return 0;
}

/*--- The keys of workflows ---------------------------------------------------------------------*/

/* A log may hold encrypted events though new ones are not to be. */
static int open_keyring(struct boot *boot, struct error *error)
{
    const struct config *config = boot->config;
    struct keyring_options options = { .dir = boot->keys_dir, .mode = KEYRING_WRITE };
    if (!config->log.encryption && access(boot->keys_dir, F_OK) < 0 && errno == ENOENT)
        return 0;
    return keyring_open(&boot->keyring, &options, error);
}

/* Which keys are taken. An agent that began without any would set aside all that is encrypted; a
 * directory without those of this log was refused before. */
static int look_at_keys(struct boot *boot, struct error *error)
{
    struct agent_counts counts;
    uint32_t before = 0;
    agent_counts_get(boot->agent, &counts);
    boot->keys_used = counts.keys_used;
    if (counts.keys_used > 0 && !boot->keyring)
        return error_set(error, ERROR_NOT_FOUND,
                         "the log is encrypted, and there are no keys in %s: put that directory "
                         "back, or say where it is (log.keys_dir); what is lost for good is given "
                         "up with daa-log keys --give-up",
                         boot->keys_dir);
    int status = 0;
    if (boot->config->log.encryption)
        status = keyring_begin(boot->keyring, boot->log_uuid, &before, error);
    if (before > boot->keys_used)
        boot->keys_used = before;
    return status;
}

/* Its keys are there before the first workflow is. */
static int open_eraser(struct boot *boot, struct error *error)
{
    struct eraser_options options = { .keyring = boot->keyring,
                                      .inbox = boot->inbox,
                                      .state = boot->state,
                                      .removals = &boot->removals,
                                      .log_dir = boot->log_dir,
                                      .budget = &boot->budget,
                                      .keys_used = boot->keys_used,
                                      .makes_keys = boot->config->log.encryption };
    return boot->keyring ? eraser_open(&boot->eraser, &options, error) : 0;
}

/*--- Effects that were under way ---------------------------------------------------------------*/

static int adopt_orphans(struct boot *boot, struct error *error)
{
    static const char why[] = "the agent ended while this was under way";
    struct agent_orphan orphan;
    while (agent_next_orphan(boot->agent, &orphan)) {
        struct effect_outcome *outcome = calloc(1, sizeof *outcome);
        char *text = strdup(why);
        if (!outcome || !text) {
            free(outcome);
            free(text);
            return error_set(error, -ENOMEM, "no memory for effects that were under way");
        }
        if (orphan.pid != 0 && !effects_end_survivor(orphan.pid, orphan.start_time, orphan.boot_id))
            host_say("process %" PRIu64 " of an earlier run could not be ended", orphan.pid);
        outcome->stream = orphan.stream;
        outcome->index = orphan.index;
        outcome->attempt = orphan.attempt;
        /* Also without a pid: the program may have begun before the event that says so. */
        outcome->outcome = DAA__OUTCOME__OUTCOME_UNKNOWN;
        outcome->error = span_of(text, sizeof why - 1);
        inbox_put_outcome(boot->inbox, outcome);
        boot->orphans++;
    }
    return 0;
}

static void post_outcome(struct effect_outcome *outcome, void *inbox)
{
    inbox_put_outcome(inbox, outcome);
}

/*--- All of it ---------------------------------------------------------------------------------*/

static int open_agent(struct boot *boot, struct error *error)
{
    const struct config *config = boot->config;
    struct agent_options options = {
        .budget = &boot->budget,
        .max_concurrent_workflows = (uint32_t)config->orchestrator.max_concurrent_workflows,
        .max_pending = config->orchestrator.max_pending,
        .idempotency_ttl_ns = config->idempotency.ttl,
        .keys_max = config->idempotency.max_bytes / KEY_SIZE_ON_DISK,
        .idle_bytes_max = config->state.idle_bytes,
        .output_size_max = log_payload_size_max(boot->log) / 2,
        .keys = event_keys_of(boot->keyring),
        .exec_enabled = config->exec.enabled,
        .exec_allow = (const char *const *)config->exec.allow.items,
        .exec_allow_count = (uint32_t)config->exec.allow.count,
    };
    memcpy(options.log_uuid, boot->log_uuid, sizeof options.log_uuid);
    return agent_open(&boot->agent, &options, error);
}

static void say(const char *sentence, void *context)
{
    (void)context;
    host_say("%s", sentence);
}

static int rebuild(struct boot *boot, const struct state_found *found, struct error *error)
{
    struct rebuild_options options = { .log_dir = boot->log_dir,
                                       .snapshots_dir = boot->snapshots_dir,
                                       .db_dir = boot->db_dir,
                                       .state = boot->state,
                                       .found = found,
                                       .agent = boot->agent,
                                       .keyring = boot->keyring,
                                       .budget = &boot->budget,
                                       .progress = &boot->progress,
                                       .say = say };
    atomic_store(&boot->stage, BOOT_STATE);
    int status = rebuild_run(&options, &boot->rebuild, error);
    boot->rebuilt = found->rebuilt || boot->rebuild.foreign;
    if (status == 0 && boot->rebuild.seq < log_durable_seq(boot->log))
        status = error_set(error, ERROR_DAMAGED,
                           "the log's durable end is %" PRIu64 ", but its reader ends at %" PRIu64,
                           log_durable_seq(boot->log), boot->rebuild.seq);
    return status;
}

/* Now the events are known that say whether the wall clock is trusted. */
static void resume_clock(struct boot *boot)
{
    uint64_t elapsed_ns, wall_ns;
    boot->host_clock->read(&elapsed_ns, &wall_ns);
    agent_clock_resume(boot->agent, &boot->clock, clock_least_ns(boot), elapsed_ns, wall_ns);
}

static int make_state_and_agent(struct boot *boot, struct error *error)
{
    struct state_options options = { .dir = boot->db_dir,
                                     .budget = &boot->budget,
                                     .commit_interval_ns = boot->config->state.commit_interval,
                                     .commit_bytes = boot->config->state.commit_bytes };
    memcpy(options.log_uuid, boot->log_uuid, sizeof options.log_uuid);
    struct state_found found;
    int status = state_open(&boot->state, &options, &found, error);
    if (status == 0)
        status = open_agent(boot, error);
    if (status == 0)
        status = rebuild(boot, &found, error);
    return status;
}

/* Damage that LMDB finds only when it reads on. Once: what is made anew is not damaged, or the
 * machine is. */
static int make_anew(struct boot *boot, struct error *error)
{
    host_say("%s", error->text);
    agent_close(boot->agent);
    boot->agent = NULL;
    state_close(boot->state, NULL);
    boot->state = NULL;
    int status = state_set_aside(boot->db_dir, error);
    if (status < 0)
        return status;
    host_say("%s was moved to %s" STATE_ASIDE ", and the documents are rebuilt", boot->db_dir,
             boot->db_dir);
    status = make_state_and_agent(boot, error);
    boot->rebuilt = true;
    return status;
}

static int open_state_and_agent(struct boot *boot, struct error *error)
{
    int status = make_state_and_agent(boot, error);
    if (status < 0 && boot->rebuild.documents_damaged)
        status = make_anew(boot, error);
    if (status == 0) {
        struct error violation;
        if (agent_check(boot->agent, &violation) < 0)
            host_say("a broken invariant, please report it: %s", violation.text);
        agent_live(boot->agent);
        boot->lineage = *agent_lineage(boot->agent);
        lineage_add(&boot->lineage, boot->log_uuid, log_next_seq(boot->log));
        resume_clock(boot);
    }
    return status;
}

static void wake_loop(void *inbox)
{
    inbox_wake(inbox);
}

static int open_workers(struct boot *boot, struct error *error)
{
    struct inbox_options inbox = { .requests_max = boot->config->orchestrator.workflow_queue_size,
                                   .bytes_max = INBOX_BYTES_MAX };
    int status = inbox_open(&boot->inbox, &inbox, error);
    struct effects_options effects = { .config = boot->config,
                                       .budget = &boot->budget,
                                       .post = post_outcome,
                                       .context = boot->inbox };
    if (status == 0)
        status = effects_open(&boot->effects, &effects, error);
    if (status == 0)
        status = adopt_orphans(boot, error);
    struct disk_options disk = { .dir = boot->log_dir,
                                 .log = boot->log,
                                 .wish = { .low_bytes = boot->config->log.space_low,
                                           .critical_bytes = boot->config->log.space_critical,
                                           .ballast_bytes = boot->config->log.ballast },
                                 .changed = wake_loop,
                                 .context = boot->inbox };
    return status == 0 ? disk_open(&boot->disk, &disk, error) : status;
}

static int open_loop(struct boot *boot, struct error *error)
{
    struct loop_options loop = { .agent = boot->agent,
                                 .log = boot->log,
                                 .state = boot->state,
                                 .inbox = boot->inbox,
                                 .effects = boot->effects,
                                 .clock = boot->clock,
                                 .host_clock = boot->host_clock,
                                 .accepts_clock =
                                     boot->config->clock.on_step == CONFIG_ON_STEP_ACCEPT,
                                 .keyring = boot->keyring,
                                 .encrypt = boot->config->log.encryption,
                                 .keys_used = boot->keys_used,
                                 .eraser = boot->eraser,
                                 .disk = boot->disk,
                                 .budget = &boot->budget,
                                 .before_read_ahead = boot->before_read_ahead,
                                 .ended = boot->hooks.ended,
                                 .context = boot->hooks.context };
    return loop_open(&boot->loop, &loop, error);
}

/*--- Snapshots ---------------------------------------------------------------------------------*/

static uint64_t log_position(void *context)
{
    const struct boot *boot = context;
    struct log_stats stats;
    log_stats_get(boot->log, &stats);
    return stats.segment_no * stats.capacity + stats.segment_offset;
}

/* The same for an event of the past; 0: not known. */
static uint64_t position_of(struct boot *boot, uint64_t seq)
{
    struct log_reader_options options = { .dir = boot->log_dir, .budget = &boot->budget };
    struct log_reader *reader;
    struct record record;
    struct log_place place;
    struct log_stats stats;
    uint64_t position = 0;
    if (seq == 0 || log_reader_open(&reader, &options, NULL) < 0)
        return 0;
    log_stats_get(boot->log, &stats);
    if (log_reader_get(reader, seq, &record, &place, NULL) == 1)
        position = place.segment_no * stats.capacity + place.record_offset;
    log_reader_close(reader);
    return position;
}

/* The first may be made before there is somebody to record it, who looks for it then. */
static void snapshot_made(const struct snapshot_info *info, void *context)
{
    struct boot *boot = context;
    struct housekeeper *housekeeper = atomic_load(&boot->housekeeper);
    if (housekeeper)
        housekeeper_snapshot_made(housekeeper, info);
}

static int open_housekeeper(struct boot *boot, struct error *error)
{
    struct housekeeper *housekeeper;
    struct housekeeper_options options = { .config = boot->config,
                                           .state = boot->state,
                                           .inbox = boot->inbox,
                                           .loop = boot->loop,
                                           .log = boot->log,
                                           .disk = boot->disk,
                                           .snapshots = boot->snapshots,
                                           .log_dir = boot->log_dir,
                                           .budget = &boot->budget,
                                           .removals = &boot->removals,
                                           .before_expiry = boot->before_expiry,
                                           .removed = boot->hooks.segments_removed,
                                           .context = boot->hooks.context };
    int status = housekeeper_open(&housekeeper, &options, error);
    if (status == 0)
        atomic_store(&boot->housekeeper, housekeeper);
    return status;
}

static int open_notary(struct boot *boot, struct error *error)
{
    struct agent_counts counts;
    agent_counts_get(boot->agent, &counts);
    struct notary_options options = { .config = boot->config,
                                      .inbox = boot->inbox,
                                      .loop = boot->loop,
                                      .log = boot->log,
                                      .log_dir = boot->log_dir,
                                      .newest = counts.anchor,
                                      .lineage = &boot->lineage,
                                      .budget = &boot->budget };
    return notary_open(&boot->notary, &options, error);
}

static int open_snapshots(struct boot *boot, struct error *error)
{
    uint64_t *items;
    size_t count;
    rebuild_set_aside(boot->log_dir, boot->snapshots_dir, &boot->budget, say, NULL);
    int status = snapshot_list(boot->snapshots_dir, &items, &count, error);
    if (status < 0)
        return status;
    struct agent_counts counts;
    agent_counts_get(boot->agent, &counts);
    struct snapshots_options options = { .dir = boot->snapshots_dir,
                                         .state = boot->state,
                                         .recorded_seq = counts.snapshots[1].seq,
                                         .interval_ns = boot->config->state.snapshot_interval,
                                         .log_bytes = boot->config->state.snapshot_bytes,
                                         .log_position = log_position,
                                         .last_position = position_of(boot, count ? items[0] : 0),
                                         .made = snapshot_made,
                                         .context = boot };
    free(items);
    return snapshots_open(&boot->snapshots, &options, error);
}

static int open_scrub(struct boot *boot, struct error *error)
{
    struct scrub_options options = { .data_dir = boot->config->agent.data_dir,
                                     .log_dir = boot->log_dir,
                                     .interval_ns = boot->config->log.scrub_interval,
                                     .budget = &boot->budget };
    return scrub_open(&boot->scrub, &options, error);
}

/* What can fail comes first: threads that ask the agent wait for the loop, which runs only when all
 * went well. */
static int open_askers(struct boot *boot, struct error *error)
{
    int status = open_notary(boot, error);
    if (status == 0)
        status = open_housekeeper(boot, error);
    if (status == 0)
        status = notary_start(boot->notary, error);
    if (status == 0)
        status = eraser_start(boot->eraser, error);
    return status;
}

static void give_up(struct boot *boot, const struct error *why)
{
    struct error error;
    struct refusal refusal = { .status = 503, .code = "starting", .safe_to_retry = true };
    (void)snprintf(refusal.text, sizeof refusal.text, "the agent does not start: %.400s",
                   why->text);
    if (boot->inbox)
        inbox_abandon(boot->inbox, &refusal);
    if (boot_close(boot, false, &error) < 0)
        host_say("%s", error.text);
}

void boot_init(struct boot *boot, const struct config *config)
{
    *boot = (struct boot){ .config = config,
                           .host_clock = &host_clock,
                           .removals = PTHREAD_MUTEX_INITIALIZER,
                           .began_ns = host_monotonic_ns() };
    budget_init(&boot->budget, config->memory.max_heap_size);
}

int boot_open(struct boot *boot, const struct boot_hooks *hooks, struct error *error)
{
    boot->hooks = *hooks;
    const char *data_dir = boot->config->agent.data_dir;
    if (snprintf(boot->log_dir, sizeof boot->log_dir, "%s/log", data_dir) >= PATH_MAX ||
        snprintf(boot->db_dir, sizeof boot->db_dir, "%s/db", data_dir) >= PATH_MAX ||
        snprintf(boot->snapshots_dir, sizeof boot->snapshots_dir, "%s/snapshots", data_dir) >=
            PATH_MAX ||
        !config_path(boot->config, boot->config->log.keys_dir, boot->keys_dir))
        return error_set(error, -ENAMETOOLONG, "data directory: the path is too long");
    int status = open_keyring(boot, error);
    if (status == 0)
        status = open_engine(boot, error);
    if (status == 0)
        status = open_log(boot, error);
    if (status == 0)
        status = open_state_and_agent(boot, error);
    if (status == 0)
        status = look_at_keys(boot, error);
    if (status == 0)
        status = open_workers(boot, error);
    if (status == 0)
        status = open_snapshots(boot, error);
    if (status == 0)
        status = open_eraser(boot, error);
    if (status == 0)
        status = open_loop(boot, error);
    if (status == 0)
        status = doctor_open(&boot->doctor,
                             &(struct doctor_options){ boot->state, &boot->budget, boot->keyring },
                             error);
    if (status == 0)
        status = open_scrub(boot, error);
    if (status == 0 && boot->config->database.sync)
        status =
            replicator_open(&boot->replicator, boot->config, boot->log_dir, boot->keyring, error);
    if (status == 0)
        status = open_askers(boot, error);
    if (status < 0) {
        give_up(boot, error);
        return status;
    }
    boot->ready_ns = host_monotonic_ns();
    atomic_store(&boot->stage, BOOT_READY);
    return 0;
}

int boot_close(struct boot *boot, bool clean, struct error *error)
{
    int status = 0;
    replicator_stop(boot->replicator);
    scrub_close(boot->scrub);
    boot->scrub = NULL;
    doctor_close(boot->doctor);
    boot->doctor = NULL;
    if (boot->snapshots)
        snapshots_stop(boot->snapshots);
    notary_close(boot->notary);
    boot->notary = NULL;
    eraser_close(boot->eraser);
    /* Each calls the other: both threads end before either is released. */
    housekeeper_join(atomic_load(&boot->housekeeper));
    snapshots_close(boot->snapshots);
    boot->snapshots = NULL;
    housekeeper_close(atomic_exchange(&boot->housekeeper, NULL));
    bool damaged = boot->loop && loop_documents_damaged(boot->loop);
    if (boot->effects)
        effects_close(boot->effects, 0);
    loop_close(boot->loop);
    disk_close(boot->disk);
    boot->disk = NULL;
    inbox_close(boot->inbox);
    agent_close(boot->agent);
    if (boot->state)
        status = state_close(boot->state, error);
    if (damaged)
        status = state_set_aside(boot->db_dir, error);
    if (boot->log && clean) {
        struct error log_error = { 0 };
        int closed = log_close(&boot->log, &log_error);
        if (closed < 0 && status == 0)
            status = closed, *error = log_error;
    } else if (boot->log) {
        log_abandon(&boot->log);
    }
    if (boot->io && io_underway(boot->io) > 0)
        host_say(
            "a write to the log is still under way and does not end: it is left to the kernel");
    else if (boot->io)
        io_close(boot->io);
    replicator_close(boot->replicator); /* the last: it may have to wait for its server */
    keyring_close(boot->keyring);
    boot->replicator = NULL;
    boot->eraser = NULL;
    boot->keyring = NULL;
    boot->effects = NULL;
    boot->loop = NULL;
    boot->inbox = NULL;
    boot->agent = NULL;
    boot->state = NULL;
    boot->io = NULL;
    return status;
}

void boot_progress(const struct boot *boot, char *text, size_t size)
{
    char what[200];
    switch (atomic_load(&boot->stage)) {
    case BOOT_LOG:
        snprintf(text, size, "starting: recovers the event log");
        break;
    case BOOT_STATE:
        rebuild_progress_text(&boot->progress, what, sizeof what);
        snprintf(text, size, "starting: %s", what);
        break;
    case BOOT_READY:
        snprintf(text, size, "ready");
        break;
    default:
        snprintf(text, size, "starting");
    }
}
