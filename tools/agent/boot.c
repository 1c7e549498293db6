#include "tools/agent/boot.h"

#include "core/agent/agent.h"
#include "core/agent/clock.h"
#include "core/base/check.h"
#include "iouring/file.h"
#include "iouring/io.h"
#include "log/log.h"
#include "log/reader.h"
#include "tools/agent/clock.h"
#include "tools/agent/effects.h"
#include "tools/agent/handover.h"
#include "tools/agent/host.h"
#include "tools/agent/inbox.h"
#include "tools/agent/loop.h"
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
#include <time.h>
#include <unistd.h>

#define IO_OPS_MAX 64u
#define OWN_KINDS 16u      /* kinds below are the log's own */
#define REPLAY_BATCH 1000u /* events between two hand-overs */
#define REPLAY_LAG (64ull << 20)
#define LOAD_LEVELS 2
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
        if (mkdir(part, 0700) < 0 && errno != EEXIST)
            return error_set(error, -errno, "data directory %s: cannot make %s: %s", path, part,
                             error_text(-errno));
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

static int open_log(struct boot *boot, struct error *error)
{
    const struct config *config = boot->config;
    struct log_recovery before = { 0 };
    atomic_store(&boot->stage, BOOT_LOG);
    /* A look without a witness: which log it is and when it ends, before it is opened for good. */
    int status = log_recover(boot->log_dir, NULL, 0, &before, error);
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
        .frames_in_flight_max = (uint32_t)config->log.frames_in_flight,
        .spares = (uint32_t)config->log.spares,
        .sync = sync_of(config),
        .no_chain = !config->log.chain,
        .start_time_ns = boot->clock.last_ns,
        .witnesses = &witness,
        .witness_count = witness.seq > 0,
    };
    status = log_open(&boot->log, &options, &boot->recovery, error);
    if (status < 0)
        return status;
    memcpy(boot->log_uuid, log_uuid(boot->log), sizeof boot->log_uuid);
    if (boot->recovery.exists && boot->recovery.verdict != LOG_SOUND)
        host_say("the event log's end: %s", boot->recovery.reason);
    return 0;
}

/*--- Documents ---------------------------------------------------------------------------------*/

/* An `a` document may ask for its workflow first, and a workflow for its definition: two levels. */
static int load(struct boot *boot, struct span key, int levels, struct error *error)
{
    struct document_key needs;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int status = state_get(boot->state, key, &bytes, &size);
    if (status >= 0) {
        struct span value = status == 1 ? span_of(bytes, size) : span_of(NULL, 0);
        status = agent_load(boot->agent, key, value, &needs);
        if (status == 1 && levels > 0 &&
            (status = load(boot, document_key_span(&needs), levels - 1, error)) == 0)
            status = agent_load(boot->agent, key, value, &needs);
    }
    free(bytes);
    if (status == 0)
        return 0;
    return error_set(error, status < 0 ? status : ERROR_DAMAGED,
                     "a document of the state cannot be loaded: %s; move %s away and it is rebuilt "
                     "from the log",
                     error_text(status < 0 ? status : ERROR_DAMAGED), boot->db_dir);
}

struct streams {
    uint64_t *items;
    size_t count, capacity;
};

static bool note_stream(struct span key, struct span bytes, void *context)
{
    struct streams *streams = context;
    uint64_t stream;
    (void)bytes;
    if (!document_stream_of_key(key, &stream))
        return true;
    if (streams->count == streams->capacity) {
        streams->capacity = streams->capacity ? streams->capacity * 2 : 1024;
        streams->items = realloc(streams->items, streams->capacity * sizeof(uint64_t));
        CHECK(streams->items);
    }
    streams->items[streams->count++] = stream;
    return true;
}

static int load_unfinished(struct boot *boot, struct error *error)
{
    atomic_store(&boot->stage, BOOT_DOCUMENTS);
    struct document_key agent_key = document_agent_key();
    int status = load(boot, document_key_span(&agent_key), 0, error);
    if (status < 0)
        return status;
    struct streams streams = { 0 };
    status =
        state_walk(boot->state, span_of_text("a"), span_of(NULL, 0), false, note_stream, &streams);
    if (status < 0)
        error_set(error, status, "the state cannot be read: %s", error_text(status));
    for (size_t i = 0; i < streams.count && status == 0; i++) {
        struct document_key key = document_active_key(streams.items[i]);
        status = load(boot, document_key_span(&key), LOAD_LEVELS, error);
    }
    boot->loaded = streams.count;
    free(streams.items);
    return status;
}

/*--- Replay ------------------------------------------------------------------------------------*/

struct replay {
    struct boot *boot;
    struct log_reader *reader;
    struct arena arena;
    struct state_batch *batch;
    unsigned count; /* events since the last hand-over */
    uint64_t at;    /* the newest record seen */
};

static void take_change(struct span key, struct span bytes, void *context)
{
    struct replay *replay = context;
    state_batch_add(key, bytes, replay->batch);
}

static int hand_over(struct replay *replay, struct error *error)
{
    struct boot *boot = replay->boot;
    replay->batch = state_batch_new(boot->state);
    int status = agent_take_changes(boot->agent, take_change, replay);
    if (status < 0) {
        state_batch_free(replay->batch);
        return error_set(error, status, "replay: %s; raise [memory] max_heap_size",
                         error_text(status));
    }
    state_hand_over(boot->state, replay->batch, replay->at);
    replay->count = 0;
    struct error trouble;
    while (state_pending_bytes(boot->state) > REPLAY_LAG) {
        if (state_trouble(boot->state, &trouble))
            return error_set(error, trouble.code, "replay: %s", trouble.text);
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
    }
    return 0;
}

static int replay_event(struct replay *replay, const struct record *record, struct error *error)
{
    struct agent *agent = replay->boot->agent;
    struct event_header header = { .seq = record->seq,
                                   .stream = record->stream,
                                   .time_ns = record->time_ns,
                                   .cause = record->cause,
                                   .stream_prev_seq = record->stream_prev_seq,
                                   .kind = record->kind };
    Daa__Event *event;
    struct document_key key;
    arena_reset(&replay->arena);
    int status = event_unpack(record->kind, record->payload, &replay->arena, &event);
    if (status == ERROR_NEWER)
        return error_set(error, status,
                         "event %" PRIu64
                         " of kind %u was written by a newer version of daa-agent; "
                         "start that one, or read the log with daa-log",
                         record->seq, record->kind);
    while (status == 0 && agent_event_needs(agent, &header, event, &key))
        if ((status = load(replay->boot, document_key_span(&key), LOAD_LEVELS, error)) < 0)
            return status;
    if (status == 0)
        status = agent_apply(agent, &header, event);
    if (status < 0)
        return error_set(error, status, "event %" PRIu64 " of the log cannot be applied: %s%s",
                         record->seq, error_text(status),
                         status == ERROR_BUDGET ? "; raise [memory] max_heap_size" : "");
    replay->boot->replayed++;
    return ++replay->count >= REPLAY_BATCH ? hand_over(replay, error) : 0;
}

static int replay_all(struct replay *replay, uint64_t applied_seq, struct error *error)
{
    struct boot *boot = replay->boot;
    struct record record;
    int status = log_reader_seek(replay->reader, applied_seq + 1, error);
    if (status < 0)
        return status;
    uint64_t last = log_durable_seq(boot->log);
    atomic_store(&boot->replay_first, applied_seq + 1);
    atomic_store(&boot->replay_last, last);
    replay->at = applied_seq;
    while (replay->at < last) {
        status = log_reader_next(replay->reader, &record, NULL, error);
        if (status < 0)
            return status;
        if (status == 0)
            return error_set(error, ERROR_DAMAGED,
                             "replay: the log's durable end is %" PRIu64 ", but its reader ends at "
                             "%" PRIu64,
                             last, replay->at);
        replay->at = record.seq;
        atomic_store(&boot->replay_at, record.seq);
        if (record.kind >= OWN_KINDS && (status = replay_event(replay, &record, error)) < 0)
            return status;
    }
    return replay->at > applied_seq ? hand_over(replay, error) : 0;
}

static int catch_up(struct boot *boot, uint64_t applied_seq, struct error *error)
{
    struct replay replay = { .boot = boot };
    atomic_store(&boot->stage, BOOT_REPLAY);
    struct log_reader_options options = { .dir = boot->log_dir, .budget = &boot->budget };
    int status = log_reader_open(&replay.reader, &options, error);
    if (status < 0)
        return status;
    arena_init(&replay.arena, &boot->budget, BUDGET_READERS, 4096);
    status = replay_all(&replay, applied_seq, error);
    arena_free(&replay.arena);
    log_reader_close(replay.reader);
    if (status == ERROR_DAMAGED || status == ERROR_TRUNCATED || status == ERROR_NOT_FOUND)
        return error_wrap(
            error, status,
            "the documents cannot be made from the log, so put its damaged or missing "
            "segments back from a copy (daa-log verify %s names them)",
            boot->log_dir);
    return status;
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
        .output_size_max = log_payload_size_max(boot->log) / 2,
        .exec_enabled = config->exec.enabled,
        .exec_allow = (const char *const *)config->exec.allow.items,
        .exec_allow_count = (uint32_t)config->exec.allow.count,
    };
    memcpy(options.log_uuid, boot->log_uuid, sizeof options.log_uuid);
    return agent_open(&boot->agent, &options, error);
}

/* Now the events are known that say whether the wall clock is trusted. */
static void resume_clock(struct boot *boot)
{
    uint64_t elapsed_ns, wall_ns;
    boot->host_clock->read(&elapsed_ns, &wall_ns);
    agent_clock_resume(boot->agent, &boot->clock, boot->clock.last_ns, elapsed_ns, wall_ns);
}

static int open_state_and_agent(struct boot *boot, struct error *error)
{
    struct state_options options = { .dir = boot->db_dir,
                                     .budget = &boot->budget,
                                     .commit_interval_ns = boot->config->state.commit_interval,
                                     .commit_bytes = boot->config->state.commit_bytes };
    memcpy(options.log_uuid, boot->log_uuid, sizeof options.log_uuid);
    uint64_t applied_seq;
    int status = state_open(&boot->state, &options, &applied_seq, &boot->rebuilt, error);
    if (status == 0)
        status = open_agent(boot, error);
    if (status == 0)
        status = load_unfinished(boot, error);
    if (status == 0)
        status = catch_up(boot, applied_seq, error);
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

static int open_workers(struct boot *boot, void (*ended)(uint64_t stream, void *context),
                        void *context, struct error *error)
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
    struct loop_options loop = { .agent = boot->agent,
                                 .log = boot->log,
                                 .state = boot->state,
                                 .inbox = boot->inbox,
                                 .effects = boot->effects,
                                 .clock = boot->clock,
                                 .host_clock = boot->host_clock,
                                 .accepts_clock =
                                     boot->config->clock.on_step == CONFIG_ON_STEP_ACCEPT,
                                 .budget = &boot->budget,
                                 .ended = ended,
                                 .context = context };
    if (status == 0)
        status = loop_open(&boot->loop, &loop, error);
    return status;
}

void boot_init(struct boot *boot, const struct config *config)
{
    *boot = (struct boot){ .config = config,
                           .host_clock = &host_clock,
                           .began_ns = host_monotonic_ns() };
    budget_init(&boot->budget, config->memory.max_heap_size);
}

int boot_open(struct boot *boot, void (*ended)(uint64_t stream, void *context), void *context,
              struct error *error)
{
    const char *data_dir = boot->config->agent.data_dir;
    if (snprintf(boot->log_dir, sizeof boot->log_dir, "%s/log", data_dir) >= PATH_MAX ||
        snprintf(boot->db_dir, sizeof boot->db_dir, "%s/db", data_dir) >= PATH_MAX)
        return error_set(error, -ENAMETOOLONG, "data directory: the path is too long");
    int status = open_engine(boot, error);
    if (status == 0)
        status = open_log(boot, error);
    if (status == 0)
        status = open_state_and_agent(boot, error);
    if (status == 0)
        status = open_workers(boot, ended, context, error);
    if (status < 0) {
        struct error ignored;
        if (boot_close(boot, false, &ignored) < 0)
            host_say("%s", ignored.text);
        return status;
    }
    boot->ready_ns = host_monotonic_ns();
    atomic_store(&boot->stage, BOOT_READY);
    return 0;
}

int boot_close(struct boot *boot, bool clean, struct error *error)
{
    int status = 0;
    if (boot->effects)
        effects_close(boot->effects, 0);
    loop_close(boot->loop);
    inbox_close(boot->inbox);
    agent_close(boot->agent);
    if (boot->state)
        status = state_close(boot->state, error);
    if (boot->log && clean) {
        struct error log_error = { 0 };
        int closed = log_close(&boot->log, &log_error);
        if (closed < 0 && status == 0)
            status = closed, *error = log_error;
    } else if (boot->log) {
        log_abandon(&boot->log);
    }
    if (boot->io)
        io_close(boot->io);
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
    uint64_t first = atomic_load(&boot->replay_first), last = atomic_load(&boot->replay_last);
    switch (atomic_load(&boot->stage)) {
    case BOOT_LOG:
        snprintf(text, size, "starting: recovers the event log");
        break;
    case BOOT_DOCUMENTS:
        snprintf(text, size, "starting: loads unfinished workflows");
        break;
    case BOOT_REPLAY:
        snprintf(text, size,
                 "starting: replays the log, at event %" PRIu64 " of %" PRIu64 " to %" PRIu64,
                 atomic_load(&boot->replay_at), first, last);
        break;
    case BOOT_READY:
        snprintf(text, size, "ready");
        break;
    default:
        snprintf(text, size, "starting");
    }
}
