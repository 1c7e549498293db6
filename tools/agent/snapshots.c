#include "tools/agent/snapshots.h"

#include "core/base/check.h"
#include "iouring/file.h"
#include "tools/agent/host.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS (5ull * 1000000000)
#define RETRY_NS (60ull * 1000000000)
#define NICE 10
#define KEPT 2

struct snapshots {
    struct snapshots_options options;
    char dir[PATH_MAX];
    pthread_t thread;
    _Atomic bool stop;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work, done;
    uint64_t asked, begun,
        ended; /* numbers of requests; those up to `begun` are in the one under way */
    bool under_way;
    struct snapshot_info last; /* the newest that is whole; seq 0: none */
    uint64_t previous_seq;     /* the one before it */
    uint64_t recorded_seq;     /* newest of which the log knows */
    uint64_t removed_for;      /* recorded_seq when files were last removed */
    uint64_t due_ns;           /* monotonic: for the interval; UINT64_MAX: never */
    uint64_t last_position, retry_ns;
    uint64_t count, made, last_ns;
    struct error trouble;
};

/*--- Files -------------------------------------------------------------------------------------*/

static bool path_of(const struct snapshots *snapshots, uint64_t seq, char path[PATH_MAX])
{
    char name[SNAPSHOT_NAME_SIZE];
    snapshot_name(name, seq);
    return snprintf(path, PATH_MAX, "%s/%s", snapshots->dir, name) < PATH_MAX;
}

/* What is there: the two newest whose beginning and end are whole and that we can read, and how
 * many files in all. */
static void look_around(struct snapshots *snapshots, struct snapshot_info newest[KEPT],
                        uint64_t *count)
{
    uint64_t *items;
    size_t files;
    unsigned good = 0;
    struct error error;
    char path[PATH_MAX];
    memset(newest, 0, KEPT * sizeof *newest);
    *count = 0;
    if (snapshot_list(snapshots->dir, &items, &files, &error) < 0) {
        host_say("%s", error.text);
        return;
    }
    *count = files;
    for (size_t i = 0; i < files && good < KEPT; i++)
        if (path_of(snapshots, items[i], path)) {
            if (snapshot_look(path, &newest[good], &error) == 0 &&
                newest[good].document_version == DOCUMENT_VERSION)
                good++;
            else
                newest[good] = (struct snapshot_info){ 0 };
        }
    free(items);
}

/* Removes those that are older than the second newest whole one. The two stay, whatever happens. */
static void remove_old(struct snapshots *snapshots)
{
    struct snapshot_info newest[KEPT];
    uint64_t *items, count;
    size_t files;
    struct error error;
    char path[PATH_MAX];
    look_around(snapshots, newest, &count);
    if (newest[KEPT - 1].seq == 0 || snapshot_list(snapshots->dir, &items, &files, &error) < 0)
        return;
    for (size_t i = 0; i < files; i++)
        if (items[i] < newest[KEPT - 1].seq && path_of(snapshots, items[i], path)) {
            if (unlink(path) == 0)
                count--;
            else
                host_say("cannot remove the snapshot %s: %s", path, error_text(-errno));
        }
    free(items);
    pthread_mutex_lock(&snapshots->lock);
    snapshots->count = count;
    pthread_mutex_unlock(&snapshots->lock);
}

/*--- The thread --------------------------------------------------------------------------------*/

static uint64_t position(const struct snapshots *snapshots)
{
    const struct snapshots_options *options = &snapshots->options;
    return options->log_position ? options->log_position(options->context) : 0;
}

/* A snapshot of what there is one of already would say nothing new. */
static bool is_due(const struct snapshots *snapshots, uint64_t now_ns)
{
    const struct snapshots_options *options = &snapshots->options;
    if (now_ns < snapshots->retry_ns || state_applied_seq(options->state) <= snapshots->last.seq)
        return false;
    return now_ns >= snapshots->due_ns ||
           (options->log_bytes > 0 && options->log_position &&
            position(snapshots) - snapshots->last_position >= options->log_bytes);
}

static void set_due(struct snapshots *snapshots, uint64_t now_ns)
{
    uint64_t interval_ns = snapshots->options.interval_ns;
    snapshots->due_ns = interval_ns == 0 ? UINT64_MAX : now_ns + interval_ns;
}

static void note_result(struct snapshots *snapshots, int status, const struct snapshot_info *info,
                        const struct error *error, uint64_t position_before)
{
    uint64_t now_ns = host_monotonic_ns();
    snapshots->trouble = status < 0 ? *error : (struct error){ 0 };
    snapshots->retry_ns = status < 0 ? now_ns + RETRY_NS : 0;
    if (status < 0)
        return;
    if (info->seq > snapshots->last.seq)
        snapshots->previous_seq = snapshots->last.seq;
    snapshots->count += info->seq > snapshots->last.seq;
    snapshots->last = *info;
    snapshots->last_position = position_before;
    snapshots->made++;
    set_due(snapshots, now_ns);
    if (!snapshots->options.made)
        snapshots->recorded_seq = info->seq;
}

/* The lock is held before and after, not meanwhile. */
static void make_one(struct snapshots *snapshots)
{
    const struct snapshots_options *options = &snapshots->options;
    struct snapshot_info info;
    struct error error = { 0 };
    snapshots->begun = snapshots->asked;
    snapshots->under_way = true;
    pthread_mutex_unlock(&snapshots->lock);
    uint64_t began_ns = host_monotonic_ns(), before = position(snapshots);
    /* Whoever asked wants what was there when asking. If it cannot be committed, what LMDB holds is
     * worth a snapshot all the same. */
    (void)state_commit_now(options->state, NULL);
    int status = snapshot_write(snapshots->dir, options->state, host_wall_ns(), &snapshots->stop,
                                &info, &error);
    if (status < 0 && status != -ECANCELED)
        host_say("no snapshot: %s", error.text);
    if (status == 0 && options->made)
        options->made(&info, options->context);
    pthread_mutex_lock(&snapshots->lock);
    error.code = status;
    note_result(snapshots, status, &info, &error, before);
    snapshots->last_ns = host_monotonic_ns() - began_ns;
    snapshots->under_way = false;
    snapshots->ended = snapshots->begun;
    pthread_cond_broadcast(&snapshots->done);
}

static void wait_for_work(struct snapshots *snapshots, uint64_t now_ns)
{
    uint64_t until_ns = snapshots->due_ns;
    if (snapshots->options.log_position && snapshots->options.log_bytes > 0 &&
        until_ns > now_ns + LOOK_NS)
        until_ns = now_ns + LOOK_NS;
    if (until_ns <= now_ns) /* due, and nothing to say or to be tried again later */
        until_ns = now_ns + LOOK_NS;
    if (until_ns == UINT64_MAX) {
        pthread_cond_wait(&snapshots->work, &snapshots->lock);
        return;
    }
    struct timespec at = { .tv_sec = (time_t)(until_ns / 1000000000),
                           .tv_nsec = (long)(until_ns % 1000000000) };
    pthread_cond_timedwait(&snapshots->work, &snapshots->lock, &at);
}

static void *run(void *argument)
{
    struct snapshots *snapshots = argument;
    pthread_setname_np(pthread_self(), "daa-snapshots");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* of this thread alone */
    pthread_mutex_lock(&snapshots->lock);
    while (!atomic_load(&snapshots->stop)) {
        uint64_t now_ns = host_monotonic_ns();
        if (snapshots->recorded_seq > snapshots->removed_for) {
            snapshots->removed_for = snapshots->recorded_seq;
            pthread_mutex_unlock(&snapshots->lock);
            remove_old(snapshots);
            pthread_mutex_lock(&snapshots->lock);
        } else if (snapshots->asked > snapshots->ended || is_due(snapshots, now_ns)) {
            make_one(snapshots);
        } else {
            wait_for_work(snapshots, now_ns);
        }
    }
    pthread_cond_broadcast(&snapshots->done);
    pthread_mutex_unlock(&snapshots->lock);
    return NULL;
}

/*--- Open and close ----------------------------------------------------------------------------*/

/* The age of the newest counts by the wall clock, which is all there is across a restart; if that
 * cannot be, it is as if it had just been made. */
static void take_stock(struct snapshots *snapshots)
{
    struct snapshot_info newest[KEPT];
    uint64_t now_ns = host_monotonic_ns(), wall_ns = host_wall_ns();
    look_around(snapshots, newest, &snapshots->count);
    snapshots->last = newest[0];
    snapshots->previous_seq = newest[1].seq;
    /* The agent may have ended between the newest and the event that records it. */
    snapshots->recorded_seq = newest[0].seq;
    if (snapshots->options.made && snapshots->options.recorded_seq < newest[0].seq)
        snapshots->recorded_seq = snapshots->options.recorded_seq;
    snapshots->removed_for = snapshots->recorded_seq;
    snapshots->last_position =
        snapshots->options.last_position ? snapshots->options.last_position : position(snapshots);
    set_due(snapshots, now_ns);
    uint64_t made_ns = newest[0].time_ns;
    if (snapshots->due_ns == UINT64_MAX || newest[0].seq == 0 || made_ns > wall_ns)
        return;
    uint64_t age_ns = wall_ns - made_ns, interval_ns = snapshots->options.interval_ns;
    snapshots->due_ns -= age_ns < interval_ns ? age_ns : interval_ns;
}

static int make_dir(const char *dir, struct error *error)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return error_set(error, -errno, "cannot make %s: %s", dir, error_text(-errno));
    return 0;
}

int snapshots_open(struct snapshots **opened, const struct snapshots_options *options,
                   struct error *error)
{
    int status = make_dir(options->dir, error);
    if (status < 0)
        return status;
    struct snapshots *snapshots = calloc(1, sizeof *snapshots);
    if (!snapshots)
        return error_set(error, -ENOMEM, "no memory for snapshots");
    snapshots->options = *options;
    snprintf(snapshots->dir, sizeof snapshots->dir, "%s", options->dir);
    pthread_mutex_init(&snapshots->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&snapshots->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&snapshots->done, NULL);
    snapshot_remove_leftovers(snapshots->dir);
    take_stock(snapshots);
    status = -pthread_create(&snapshots->thread, NULL, run, snapshots);
    if (status < 0) {
        free(snapshots);
        return error_set(error, status, "cannot start the snapshot thread: %s", error_text(status));
    }
    *opened = snapshots;
    return 0;
}

void snapshots_stop(struct snapshots *snapshots)
{
    pthread_mutex_lock(&snapshots->lock);
    atomic_store(&snapshots->stop, true);
    pthread_cond_signal(&snapshots->work);
    pthread_cond_broadcast(&snapshots->done);
    pthread_mutex_unlock(&snapshots->lock);
}

void snapshots_close(struct snapshots *snapshots)
{
    if (!snapshots)
        return;
    snapshots_stop(snapshots);
    pthread_join(snapshots->thread, NULL);
    pthread_cond_destroy(&snapshots->work);
    pthread_cond_destroy(&snapshots->done);
    pthread_mutex_destroy(&snapshots->lock);
    free(snapshots);
}

/*--- For others --------------------------------------------------------------------------------*/

void snapshots_request(struct snapshots *snapshots)
{
    pthread_mutex_lock(&snapshots->lock);
    snapshots->asked = snapshots->begun + 1;
    pthread_cond_signal(&snapshots->work);
    pthread_mutex_unlock(&snapshots->lock);
}

int snapshots_make(struct snapshots *snapshots, struct snapshot_info *info, struct error *error)
{
    pthread_mutex_lock(&snapshots->lock);
    uint64_t number = snapshots->asked = snapshots->begun + 1;
    pthread_cond_signal(&snapshots->work);
    while (snapshots->ended < number && !atomic_load(&snapshots->stop))
        pthread_cond_wait(&snapshots->done, &snapshots->lock);
    int status = snapshots->ended < number ? -ECANCELED : snapshots->trouble.code;
    if (status == 0)
        *info = snapshots->last;
    else if (error)
        *error = snapshots->trouble;
    pthread_mutex_unlock(&snapshots->lock);
    return status == -ECANCELED ? error_set(error, status, "no snapshot was made: the agent stops")
                                : status;
}

void snapshots_recorded(struct snapshots *snapshots, uint64_t seq)
{
    pthread_mutex_lock(&snapshots->lock);
    if (seq > snapshots->recorded_seq)
        snapshots->recorded_seq = seq;
    pthread_cond_signal(&snapshots->work);
    pthread_mutex_unlock(&snapshots->lock);
}

void snapshots_status_get(struct snapshots *snapshots, struct snapshots_status *status)
{
    pthread_mutex_lock(&snapshots->lock);
    *status =
        (struct snapshots_status){ .newest = snapshots->last,
                                   .unrecorded = snapshots->recorded_seq < snapshots->last.seq,
                                   .count = snapshots->count,
                                   .made = snapshots->made,
                                   .under_way = snapshots->under_way,
                                   .last_ns = snapshots->last_ns,
                                   .trouble = snapshots->trouble };
    if (!status->unrecorded)
        status->bound_seq = snapshots->previous_seq;
    pthread_mutex_unlock(&snapshots->lock);
}
