#include "tools/agent/housekeeper.h"

#include "core/agent/command.h"
#include "log/log.h"
#include "tools/agent/disk.h"
#include "tools/agent/errand.h"
#include "tools/agent/host.h"
#include "tools/agent/keeper.h"
#include "tools/agent/loop.h"
#include "tools/agent/snapshots.h"
#include "tools/agent/state.h"
#include "tools/agent/warmer.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_EVERY_NS 1000000000ull
#define SEGMENTS_EVERY_NS 60000000000ull /* when nothing says that there may be news */

struct housekeeper {
    struct housekeeper_options options;
    struct keeper keeper;
    pthread_t thread;

    pthread_mutex_t lock; /* guards what is below */
    pthread_cond_t news;
    bool stop;
    bool has_made;
    bool made_news;            /* and it was not looked at yet */
    struct snapshot_info made; /* not recorded yet, the newest */
    struct housekeeper_status status;

    /* The thread's own. */
    bool joined; /* whoever opened it */
    struct errand errand;
    bool settled_only; /* the last look at workflows came to nothing: without those to be loaded */
    uint64_t looked_ns, looked_segment, looked_bound; /* at the segments */
    bool looked_no_room;
    uint64_t unremoved; /* an event gave up those up to it, and not all could be removed; 0: none */
};

static bool is_stopped(struct housekeeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    bool stop = keeper->stop;
    pthread_mutex_unlock(&keeper->lock);
    return stop;
}

/* Asks the agent and waits until the answer is durable. False: it was not done; then the next look
 * finds the same again. */
static bool ask(struct housekeeper *keeper, const struct command *command)
{
    return !is_stopped(keeper) && errand_run(&keeper->errand, command);
}

static void note_trouble(struct housekeeper *keeper, const struct error *error)
{
    pthread_mutex_lock(&keeper->lock);
    bool is_new = error->code < 0 && strcmp(keeper->status.trouble.text, error->text) != 0;
    keeper->status.trouble = *error;
    pthread_mutex_unlock(&keeper->lock);
    if (is_new)
        host_say("%s", error->text);
}

/*--- Keys --------------------------------------------------------------------------------------*/

struct keys {
    struct expired_key items[COMMAND_EXPIRE_MAX];
    uint32_t count;
    uint64_t now_ns; /* agent time */
};

static bool add_key(struct span key, struct span bytes, void *context)
{
    struct keys *keys = context;
    struct expired_key *item = &keys->items[keys->count];
    (void)bytes;
    if (!document_expiry_of_key(key, &item->expires_ns, item->digest) ||
        item->expires_ns > keys->now_ns)
        return false;
    return ++keys->count < COMMAND_EXPIRE_MAX;
}

/* What the agent will ask for: it must not wait for a disk. */
static void read_keys_ahead(struct housekeeper *keeper, const struct keys *keys)
{
    for (uint32_t i = 0; i < keys->count; i++) {
        struct document_key key = document_idempotency_key(keys->items[i].digest);
        (void)warmer_read(keeper->options.state, &key);
    }
}

/* True: there may be more. */
static bool expire_keys(struct housekeeper *keeper, const struct loop_counts *counts)
{
    struct keys keys = { .count = 0 };
    if (counts->now_ns < counts->agent.shift_ns)
        return false;
    keys.now_ns = counts->now_ns - counts->agent.shift_ns;
    int status = state_walk(keeper->options.state, span_of_text("x"), span_of(NULL, 0), false,
                            add_key, &keys);
    if (status < 0 || keys.count == 0)
        return false;
    read_keys_ahead(keeper, &keys);
    struct command command = { .kind = COMMAND_EXPIRE_KEYS };
    command.expire_keys.items = keys.items;
    command.expire_keys.count = keys.count;
    if (!ask(keeper, &command) || keeper->errand.request.seq == 0)
        return false;
    pthread_mutex_lock(&keeper->lock);
    keeper->status.keys_expired += keeper->errand.request.expired;
    pthread_mutex_unlock(&keeper->lock);
    return keys.count == COMMAND_EXPIRE_MAX;
}

/*--- Workflows ---------------------------------------------------------------------------------*/

struct workflows {
    struct expired_workflow items[COMMAND_EXPIRE_MAX];
    uint32_t count;
    bool settled_only;       /* leave out what must be loaded first */
    uint64_t over_before_ns; /* agent time: what ended before is over */
    uint64_t too_much;       /* bytes that are to go in any case */
    bool by_size;
};

static bool add_workflow(struct span key, struct span bytes, void *context)
{
    struct workflows *workflows = context;
    struct expired_workflow *item = &workflows->items[workflows->count];
    struct document_finished finished;
    if (!document_finished_of_key(key, &item->ended_ns, &item->stream) ||
        !document_finished_decode(bytes, &finished))
        return false;
    if (item->ended_ns >= workflows->over_before_ns) {
        if (workflows->too_much == 0)
            return false;
        workflows->by_size = true;
    }
    if (workflows->settled_only && !finished.settled)
        return true;
    item->size = finished.size;
    item->settled = finished.settled;
    memcpy(item->definition, finished.definition, SHA256_SIZE);
    workflows->too_much -=
        workflows->too_much < finished.size ? workflows->too_much : finished.size;
    return ++workflows->count < COMMAND_EXPIRE_MAX;
}

/* The bytes as the documents say, not as the agent counts: these are what is walked. */
static uint64_t finished_bytes(struct housekeeper *keeper)
{
    struct document_key key = document_agent_key();
    struct document_totals totals = { 0 };
    uint8_t *bytes = NULL;
    size_t size = 0;
    if (state_get(keeper->options.state, document_key_span(&key), &bytes, &size) == 1)
        (void)document_totals(span_of(bytes, size), &totals);
    free(bytes);
    return totals.finished_bytes;
}

static void read_workflows_ahead(struct housekeeper *keeper, const struct workflows *workflows)
{
    struct state *state = keeper->options.state;
    struct arena arena;
    bool unsettled = false; /* of these the agent takes one */
    arena_init(&arena, keeper->options.budget, BUDGET_READERS, 4096);
    for (uint32_t i = 0; i < workflows->count; i++) {
        const struct expired_workflow *item = &workflows->items[i];
        struct document_key usage = document_usage_key(item->definition);
        if (i == 0 || memcmp(item->definition, item[-1].definition, SHA256_SIZE) != 0)
            (void)warmer_read(state, &usage);
        if (item->settled || unsettled)
            continue;
        unsettled = true;
        (void)warmer_read_workflow(state, item->stream, &arena);
        arena_reset(&arena);
    }
    arena_free(&arena);
}

static bool expire_workflows_alone(struct housekeeper *keeper, const struct loop_counts *counts)
{
    const struct config *config = keeper->options.config;
    struct workflows workflows = { .count = 0 };
    uint64_t bytes = finished_bytes(keeper), ttl_ns = config->state.finished_ttl;
    uint64_t now_ns =
        counts->now_ns > counts->agent.shift_ns ? counts->now_ns - counts->agent.shift_ns : 0;
    workflows.over_before_ns = now_ns > ttl_ns ? now_ns - ttl_ns : 0;
    workflows.settled_only = keeper->settled_only;
    if (config->state.finished_max_bytes > 0 && bytes > config->state.finished_max_bytes)
        workflows.too_much = bytes - config->state.finished_max_bytes;
    int status = state_walk(keeper->options.state, span_of_text("f"), span_of(NULL, 0), false,
                            add_workflow, &workflows);
    if (status < 0 || workflows.count == 0) {
        keeper->settled_only = false; /* it is the turn of the others again */
        return false;
    }
    read_workflows_ahead(keeper, &workflows);
    if (keeper->options.before_expiry)
        keeper->options.before_expiry();
    struct command command = { .kind = COMMAND_EXPIRE_WORKFLOWS };
    command.expire_workflows.items = workflows.items;
    command.expire_workflows.count = workflows.count;
    command.expire_workflows.reason =
        span_of_text(workflows.by_size ? "state.finished_max_bytes" : "state.finished_ttl");
    /* One that cannot be loaded must not hold up the others for ever. */
    bool done = ask(keeper, &command) && keeper->errand.request.seq > 0;
    keeper->settled_only = !done && !keeper->settled_only;
    if (!done)
        return false;
    pthread_mutex_lock(&keeper->lock);
    keeper->status.workflows_expired += keeper->errand.request.expired;
    pthread_mutex_unlock(&keeper->lock);
    return workflows.count == COMMAND_EXPIRE_MAX || workflows.too_much > 0;
}

static bool expire_workflows(struct housekeeper *keeper, const struct loop_counts *counts)
{
    pthread_mutex_lock(keeper->options.removals);
    bool more = expire_workflows_alone(keeper, counts);
    pthread_mutex_unlock(keeper->options.removals);
    return more;
}

/*--- Snapshots ---------------------------------------------------------------------------------*/

void housekeeper_snapshot_made(struct housekeeper *keeper, const struct snapshot_info *info)
{
    pthread_mutex_lock(&keeper->lock);
    keeper->made = *info;
    keeper->has_made = keeper->made_news = true;
    pthread_cond_broadcast(&keeper->news);
    pthread_mutex_unlock(&keeper->lock);
}

/* One that nobody recorded: it was made before this thread was there, or an earlier process ended
 * between the two. */
static void find_unrecorded(struct housekeeper *keeper)
{
    struct snapshots_status status;
    snapshots_status_get(keeper->options.snapshots, &status);
    if (!status.unrecorded)
        return;
    pthread_mutex_lock(&keeper->lock);
    if (!keeper->has_made)
        keeper->made = status.newest;
    keeper->has_made = true;
    pthread_mutex_unlock(&keeper->lock);
}

static void record_snapshot(struct housekeeper *keeper)
{
    find_unrecorded(keeper);
    pthread_mutex_lock(&keeper->lock);
    bool has_made = keeper->has_made;
    keeper->made_news = false;
    struct snapshot_info info = keeper->made;
    pthread_mutex_unlock(&keeper->lock);
    struct command command = { .kind = COMMAND_SNAPSHOT };
    command.snapshot.seq = info.seq;
    command.snapshot.documents = info.documents;
    command.snapshot.bytes = info.file_bytes;
    memcpy(command.snapshot.digest, info.digest, SHA256_SIZE);
    if (!has_made || !ask(keeper, &command))
        return;
    pthread_mutex_lock(&keeper->lock);
    keeper->has_made = keeper->made.seq != info.seq;
    pthread_mutex_unlock(&keeper->lock);
    snapshots_recorded(keeper->options.snapshots, info.seq);
}

/*--- Segments ----------------------------------------------------------------------------------*/

static void remove_files(struct housekeeper *keeper, uint64_t last_segment)
{
    struct log_removed removed = { 0 };
    struct error error = { 0 };
    bool failed = keeper_remove(&keeper->keeper, last_segment, &removed, &error) < 0;
    if (failed || keeper->unremoved > 0)
        note_trouble(keeper, &error);
    keeper->unremoved = failed ? last_segment : 0;
    pthread_mutex_lock(&keeper->lock);
    keeper->status.segments_removed += removed.segments;
    keeper->status.bytes_removed += removed.disk_bytes;
    pthread_mutex_unlock(&keeper->lock);
    if (removed.segments > 0)
        keeper->options.removed(keeper->options.context);
}

static void plan_removal(struct housekeeper *keeper, const struct keeper_bounds *bounds)
{
    struct keeper_removal removal = { 0 };
    struct error error = { 0 };
    int found = keeper_plan(&keeper->keeper, bounds, &removal, &error);
    if (found < 0 || keeper->unremoved == 0)
        note_trouble(keeper, &error);
    pthread_mutex_lock(&keeper->lock);
    snprintf(keeper->status.held, sizeof keeper->status.held, "%s", removal.held);
    pthread_mutex_unlock(&keeper->lock);
    if (found != 1)
        return;
    struct command command = { .kind = COMMAND_REMOVE };
    command.remove.first_segment = removal.first_segment;
    command.remove.last_segment = removal.last_segment;
    command.remove.first_seq = removal.first_seq;
    command.remove.last_seq = removal.last_seq;
    command.remove.bytes = removal.bytes;
    char reason[sizeof removal.reason + sizeof removal.dropped + 2];
    snprintf(reason, sizeof reason, "%s%s%s", removal.reason, removal.dropped[0] ? "; " : "",
             removal.dropped);
    command.remove.reason = span_of_text(reason);
    if (!ask(keeper, &command))
        return;
    if (removal.dropped[0]) {
        host_say("[retention] on_full: %s", removal.dropped);
        pthread_mutex_lock(&keeper->lock);
        memcpy(keeper->status.dropped, removal.dropped, sizeof keeper->status.dropped);
        pthread_mutex_unlock(&keeper->lock);
    }
    remove_files(keeper, removal.last_segment);
}

/* When there may be news: another segment, another snapshot, no room any more, or after a while. */
static void look_at_segments(struct housekeeper *keeper, const struct loop_counts *counts)
{
    const struct config *config = keeper->options.config;
    struct snapshots_status snapshots;
    struct log_stats log;
    if (config->retention.max_bytes == 0 && config->retention.max_age == 0)
        return;
    snapshots_status_get(keeper->options.snapshots, &snapshots);
    log_stats_get(keeper->options.log, &log);
    uint64_t now_ns = host_monotonic_ns();
    bool no_room = disk_state(keeper->options.disk) >= SPACE_CRITICAL;
    if (keeper->looked_segment == log.segment_no && keeper->looked_bound == snapshots.bound_seq &&
        keeper->looked_no_room == no_room && now_ns - keeper->looked_ns < SEGMENTS_EVERY_NS)
        return;
    keeper->looked_segment = log.segment_no;
    keeper->looked_bound = snapshots.bound_seq;
    keeper->looked_ns = now_ns;
    keeper->looked_no_room = no_room;
    struct keeper_bounds bounds = { .now_ns = counts->now_ns,
                                    .wall_ns = counts->wall_ns,
                                    .elapsed_ns = counts->elapsed_ns,
                                    .degraded = counts->agent.clock_stepped,
                                    .no_room = no_room,
                                    .shift_ns = counts->agent.shift_ns,
                                    .shifted_at_ns = counts->agent.shifted_at_ns,
                                    .snapshot_seq = snapshots.bound_seq,
                                    .removed_segment = counts->agent.removed_segment };
    plan_removal(keeper, &bounds);
}

/*--- The thread --------------------------------------------------------------------------------*/

static void look(struct housekeeper *keeper)
{
    struct loop_counts counts;
    record_snapshot(keeper);
    do {
        loop_counts_get(keeper->options.loop, &counts);
    } while (expire_keys(keeper, &counts) && !is_stopped(keeper));
    do {
        loop_counts_get(keeper->options.loop, &counts);
    } while (expire_workflows(keeper, &counts) && !is_stopped(keeper));
    loop_counts_get(keeper->options.loop, &counts);
    if (keeper->unremoved > 0)
        remove_files(keeper, keeper->unremoved);
    look_at_segments(keeper, &counts);
    pthread_mutex_lock(&keeper->lock);
    keeper->status.looks++;
    pthread_mutex_unlock(&keeper->lock);
}

static void wait_for_news(struct housekeeper *keeper)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(LOOK_EVERY_NS / 1000000000ull);
    pthread_mutex_lock(&keeper->lock);
    int status = 0;
    /* What could not be recorded is tried again at the next look: not at once and for ever. */
    while (!keeper->stop && !keeper->made_news && status == 0)
        status = pthread_cond_timedwait(&keeper->news, &keeper->lock, &until);
    pthread_mutex_unlock(&keeper->lock);
}

static void *run(void *argument)
{
    struct housekeeper *keeper = argument;
    struct loop_counts counts;
    pthread_setname_np(pthread_self(), "daa-housekeeper");
    /* What an event gave up before the last end, and was not removed then. */
    loop_counts_get(keeper->options.loop, &counts);
    if (counts.agent.removed_segment > 0)
        remove_files(keeper, counts.agent.removed_segment);
    while (!is_stopped(keeper)) {
        look(keeper);
        wait_for_news(keeper);
    }
    return NULL;
}

int housekeeper_open(struct housekeeper **opened, const struct housekeeper_options *options,
                     struct error *error)
{
    pthread_condattr_t monotonic;
    struct housekeeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper)
        return error_set(error, -ENOMEM, "no memory for housekeeping");
    keeper->options = *options;
    int status = keeper_init(&keeper->keeper, options->config, options->log_dir, error);
    if (status < 0) {
        free(keeper);
        return status;
    }
    errand_init(&keeper->errand, options->inbox);
    pthread_mutex_init(&keeper->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&keeper->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    status = -pthread_create(&keeper->thread, NULL, run, keeper);
    if (status < 0) {
        free(keeper);
        return error_set(error, status, "cannot start the thread for housekeeping: %s",
                         error_text(status));
    }
    *opened = keeper;
    return 0;
}

void housekeeper_stop(struct housekeeper *keeper)
{
    if (!keeper)
        return;
    pthread_mutex_lock(&keeper->lock);
    keeper->stop = true;
    pthread_cond_broadcast(&keeper->news);
    pthread_mutex_unlock(&keeper->lock);
}

void housekeeper_join(struct housekeeper *keeper)
{
    if (!keeper || keeper->joined)
        return;
    housekeeper_stop(keeper);
    pthread_join(keeper->thread, NULL);
    keeper->joined = true;
}

void housekeeper_close(struct housekeeper *keeper)
{
    if (!keeper)
        return;
    housekeeper_join(keeper);
    errand_free(&keeper->errand);
    pthread_mutex_destroy(&keeper->lock);
    pthread_cond_destroy(&keeper->news);
    free(keeper);
}

void housekeeper_status_get(struct housekeeper *keeper, struct housekeeper_status *status)
{
    pthread_mutex_lock(&keeper->lock);
    *status = keeper->status;
    pthread_mutex_unlock(&keeper->lock);
}
