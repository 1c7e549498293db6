#include "tools/agent/eraser.h"

#include "core/base/arena.h"
#include "log/keyring.h"
#include "log/reader.h"
#include "tools/agent/errand.h"
#include "tools/agent/host.h"
#include "tools/agent/snapshots.h"
#include "tools/agent/state.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_NS 60000000000ull
#define QUIET_NS 1000000000ull /* without another erasure, before snapshots are made */
/* So many more keys were used: those ahead are looked at again. A quarter of what is ahead, so that
 * they last while others are made. */
#define USED_STEP (KEYRING_AHEAD / 4)

struct eraser {
    struct eraser_options options;
    pthread_t thread;
    struct errand errand;       /* of whoever has options.removals */
    _Atomic uint32_t told_used; /* by the agent thread, the last time that it told */

    pthread_mutex_t lock; /* guards what is below */
    pthread_cond_t news;
    struct eraser_status status;
    uint32_t used, prepared; /* keys; and how many were when those ahead were made last */
    bool has_keys;           /* those ahead are there */
    bool looked;             /* at what a crash left */
    bool stop;
    uint64_t erased_ns; /* monotonic: when the last one was */
    uint64_t retry_ns;  /* not before then is tried again what failed */
};

static void note_trouble(struct eraser *eraser, const struct error *error)
{
    pthread_mutex_lock(&eraser->lock);
    bool is_new = error->code < 0 && strcmp(eraser->status.trouble.text, error->text) != 0;
    eraser->status.trouble = *error;
    eraser->retry_ns = error->code < 0 ? host_monotonic_ns() + RETRY_NS : 0;
    pthread_mutex_unlock(&eraser->lock);
    if (is_new)
        host_say("%s", error->text);
}

/*--- One erasure -------------------------------------------------------------------------------*/

/* What is known of a workflow beside its documents. */
struct subject {
    uint32_t key_id;
    bool has_key_digest;
    uint8_t key_digest[SHA256_SIZE]; /* of its idempotency key */
};

/* 1 with what the record says that submitted it; 0: it is not in the log, or not any more. */
static int read_submission(struct eraser *eraser, const struct record *record,
                           struct subject *subject)
{
    struct arena arena;
    Daa__Event *event;
    if (record->kind != DAA__EVENT__BODY_WORKFLOW_SUBMITTED)
        return 0;
    arena_init(&arena, eraser->options.budget, BUDGET_REQUESTS, 4096);
    int status = event_unpack(record->kind, record->payload, &arena, &event);
    if (status == 0) {
        subject->key_id = record->key_id;
        subject->has_key_digest = event->workflow_submitted->has_key_digest;
        if (subject->has_key_digest)
            memcpy(subject->key_digest, event->workflow_submitted->key_digest.data, SHA256_SIZE);
    }
    arena_free(&arena);
    return status < 0 ? status : 1;
}

static int look_into_log(struct eraser *eraser, uint64_t stream, struct subject *subject,
                         struct error *error)
{
    struct log_reader_options options = { .dir = eraser->options.log_dir,
                                          .budget = eraser->options.budget };
    struct log_reader *reader;
    struct record record;
    int status = log_reader_open(&reader, &options, error);
    if (status < 0)
        return status;
    status = log_reader_get(reader, stream, &record, NULL, error);
    if (status == 1) {
        status = read_submission(eraser, &record, subject);
        if (status < 0)
            error_set(error, status, "event %" PRIu64 " of the log cannot be read: %s", stream,
                      error_text(status));
    }
    log_reader_close(reader);
    return status;
}

/* The same of the document; of its idempotency key the agent knows. */
static int look_into_state(struct eraser *eraser, uint64_t stream, struct subject *subject,
                           struct error *error)
{
    struct document_key key = document_workflow_key(stream);
    struct document_summary summary;
    struct arena arena;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int status = state_get(eraser->options.state, document_key_span(&key), &bytes, &size);
    if (status == 1) {
        arena_init(&arena, eraser->options.budget, BUDGET_REQUESTS, 4096);
        status = document_workflow_summary(span_of(bytes, size), NULL, &arena, &summary);
        subject->key_id = summary.key_id;
        arena_free(&arena);
        status = status < 0 ? status : 1;
    }
    free(bytes);
    return status < 0
               ? error_set(error, status, "the workflow cannot be read: %s", error_text(status))
               : status;
}

/* 1 found, 0 there is no such workflow, negative. */
static int look_up(struct eraser *eraser, uint64_t stream, struct subject *subject,
                   struct error *error)
{
    *subject = (struct subject){ 0 };
    int status = look_into_log(eraser, stream, subject, error);
    return status == 0 ? look_into_state(eraser, stream, subject, error) : status;
}

static struct command command_of(const struct erasure *erasure, const struct subject *subject)
{
    struct command command = { .kind = COMMAND_ERASE,
                               .stream = erasure->stream,
                               .actor = erasure->actor,
                               .request_id = erasure->request_id,
                               .traceparent = erasure->traceparent };
    command.erase.key_id = subject->key_id;
    if (subject->has_key_digest)
        command.erase.key_digest = span_of(subject->key_digest, SHA256_SIZE);
    command.erase.reason = erasure->reason;
    return command;
}

/* Nothing has happened, and nothing will. */
static int refused(struct eraser *eraser, struct erasure *erasure, const struct subject *subject,
                   const struct refusal *refusal, struct error *error)
{
    erasure->answer = ERASURE_REFUSED;
    erasure->status = refusal->status;
    snprintf(erasure->code, sizeof erasure->code, "%s", refusal->code);
    snprintf(erasure->text, sizeof erasure->text, "%s", refusal->text);
    return subject->key_id == 0
               ? 0
               : keyring_spare(eraser->options.keyring, subject->key_id, erasure->stream, error);
}

static void note_erased(struct eraser *eraser, uint64_t seq)
{
    pthread_mutex_lock(&eraser->lock);
    eraser->status.erased++;
    if (eraser->options.snapshots && seq > eraser->status.stale_until)
        eraser->status.stale_until = seq;
    eraser->erased_ns = host_monotonic_ns();
    pthread_cond_signal(&eraser->news);
    pthread_mutex_unlock(&eraser->lock);
}

/* The marker is there, if it has a key. */
static int finish(struct eraser *eraser, struct erasure *erasure, const struct subject *subject,
                  struct error *error)
{
    static const struct refusal busy = { .status = 503,
                                         .code = "busy",
                                         .text = "too much waits for the agent, or it stops: ask "
                                                 "again" };
    struct command command = command_of(erasure, subject);
    const struct request *request = &eraser->errand.request;
    bool durable = errand_run(&eraser->errand, &command);
    if (!durable && request->answer != REQUEST_UNKNOWN)
        return refused(eraser, erasure, subject,
                       request->answer == REQUEST_REFUSED ? &request->refusal : &busy, error);
    erasure->answer = durable ? ERASURE_DONE : ERASURE_UNKNOWN;
    erasure->seq = request->seq;
    if (!durable)
        return 0;
    int status = keyring_destroy(eraser->options.keyring, subject->key_id, error);
    if (status == 0)
        note_erased(eraser, erasure->seq);
    return status;
}

static int look_at_key(struct eraser *eraser, uint32_t key_id)
{
    uint8_t key[KEYRING_KEY_SIZE];
    int status = keyring_get(eraser->options.keyring, key_id, key, NULL);
    explicit_bzero(key, sizeof key);
    return status;
}

static bool is_destroyed(struct eraser *eraser, uint32_t key_id)
{
    return look_at_key(eraser, key_id) == ERROR_NOT_FOUND;
}

static bool has_key(struct eraser *eraser, uint32_t key_id)
{
    return look_at_key(eraser, key_id) == 0;
}

/* One without a key is refused by the agent, which knows why. */
static int erase(struct eraser *eraser, struct erasure *erasure, struct error *error)
{
    struct subject subject;
    int status = look_up(eraser, erasure->stream, &subject, error);
    if (status == 0)
        erasure->answer = ERASURE_MISSING;
    if (status == 1 && subject.key_id != 0 && is_destroyed(eraser, subject.key_id)) {
        erasure->answer = ERASURE_DONE;
        return 0;
    }
    if (status == 1 && subject.key_id != 0)
        status = keyring_condemn(eraser->options.keyring, subject.key_id, erasure->stream, error);
    if (status < 0 || erasure->answer == ERASURE_MISSING)
        return status;
    return finish(eraser, erasure, &subject, error);
}

int eraser_erase(struct eraser *eraser, struct erasure *erasure, struct error *error)
{
    pthread_mutex_lock(eraser->options.removals);
    int status = erase(eraser, erasure, error);
    pthread_mutex_unlock(eraser->options.removals);
    return status;
}

/*--- What a crash left -------------------------------------------------------------------------*/

/* The event may be there or not: a second one says the same. */
static int go_on_alone(uint32_t key_id, uint64_t stream, void *context, struct error *error)
{
    struct eraser *eraser = context;
    struct erasure erasure = { .stream = stream };
    struct subject subject;
    erasure.reason = span_of_text("an erasure that was interrupted");
    int status = look_up(eraser, stream, &subject, error);
    if (status < 0)
        return status;
    subject.key_id = key_id; /* retention may have taken the record meanwhile */
    status = finish(eraser, &erasure, &subject, error);
    if (status == 0 && erasure.answer == ERASURE_UNKNOWN)
        return error_set(error, ERROR_UNAVAILABLE, "the log has failed");
    if (status == 0 && erasure.answer == ERASURE_REFUSED)
        host_say("the erasure of the workflow of event %" PRIu64 " that was interrupted is given "
                 "up: %s",
                 stream, erasure.text);
    return status;
}

static int go_on(uint32_t key_id, uint64_t stream, void *context, struct error *error)
{
    struct eraser *eraser = context;
    pthread_mutex_lock(eraser->options.removals);
    int status = go_on_alone(key_id, stream, eraser, error);
    pthread_mutex_unlock(eraser->options.removals);
    return status;
}

/*--- Keys that came back -----------------------------------------------------------------------*/

#define REVIVED_MAX 256u

struct revived {
    struct eraser *eraser;
    uint32_t keys[REVIVED_MAX], count;
    struct document_key last; /* looked at */
    bool more;
};

static bool look_at_erased(struct span key, struct span bytes, void *context)
{
    struct revived *revived = context;
    uint32_t key_id;
    (void)bytes;
    if (!document_erased_of_key(key, &key_id))
        return true;
    revived->last = document_erased_key(key_id);
    if (has_key(revived->eraser, key_id))
        revived->keys[revived->count++] = key_id;
    revived->more = revived->count == REVIVED_MAX;
    return !revived->more;
}

/* Who puts keys back from a copy brings back those that were destroyed since. */
static int destroy_revived(struct eraser *eraser, struct error *error)
{
    struct revived revived = { .eraser = eraser };
    uint64_t count = 0;
    int status = 0;
    do {
        struct document_key from = revived.last;
        revived.count = 0;
        revived.more = false;
        status = state_walk(eraser->options.state, span_of_text("e"), document_key_span(&from),
                            false, look_at_erased, &revived);
        if (status < 0)
            return error_set(error, status, "the documents cannot be read: %s", error_text(status));
        for (uint32_t i = 0; status == 0 && i < revived.count; i++, count++)
            status = keyring_destroy(eraser->options.keyring, revived.keys[i], error);
    } while (status == 0 && revived.more);
    if (count > 0)
        host_say("%" PRIu64 " keys of workflows that were erased had come back with a copy of the "
                 "keys: they are destroyed again",
                 count);
    return status;
}

static void look_at_markers(struct eraser *eraser)
{
    struct error error = { 0 };
    int status = keyring_condemned(eraser->options.keyring, go_on, eraser, &error);
    if (status == 0) {
        pthread_mutex_lock(eraser->options.removals);
        status = destroy_revived(eraser, &error);
        pthread_mutex_unlock(eraser->options.removals);
    }
    if (status < 0)
        error_wrap(&error, status, "erasures that were begun cannot be ended");
    note_trouble(eraser, &error);
    pthread_mutex_lock(&eraser->lock);
    eraser->looked = status == 0;
    pthread_mutex_unlock(&eraser->lock);
}

/*--- The thread --------------------------------------------------------------------------------*/

static void make_keys(struct eraser *eraser, uint32_t used)
{
    struct error error = { 0 };
    if (keyring_prepare(eraser->options.keyring, used + 1, &error) == 0) {
        pthread_mutex_lock(&eraser->lock);
        eraser->prepared = used;
        eraser->has_keys = true;
        pthread_mutex_unlock(&eraser->lock);
    }
    note_trouble(eraser, &error);
}

/* Until the two that are kept are newer than the last erasure. */
static void renew_snapshots(struct eraser *eraser, uint64_t stale_until)
{
    struct snapshots_status status;
    struct snapshot_info info;
    struct error error = { 0 };
    snapshots_status_get(eraser->options.snapshots, &status);
    if (status.bound_seq < stale_until && (status.count > 0 || status.under_way)) {
        if (snapshots_make(eraser->options.snapshots, &info, &error) < 0)
            note_trouble(eraser, &error);
        return;
    }
    pthread_mutex_lock(&eraser->lock);
    if (eraser->status.stale_until == stale_until)
        eraser->status.stale_until = 0;
    pthread_mutex_unlock(&eraser->lock);
}

enum work { WORK_NONE, WORK_MARKERS, WORK_KEYS, WORK_SNAPSHOTS };

/* With the lock. *until_ns: when there may be something to do, though nobody says so. */
static enum work next_work(const struct eraser *eraser, uint64_t *until_ns)
{
    uint64_t now_ns = host_monotonic_ns();
    bool keys = eraser->options.makes_keys &&
                (!eraser->has_keys || eraser->used - eraser->prepared >= USED_STEP);
    bool snapshots = eraser->status.stale_until != 0;
    *until_ns = UINT64_MAX;
    if (now_ns < eraser->retry_ns) {
        *until_ns = eraser->retry_ns;
        return WORK_NONE;
    }
    if (keys)
        return WORK_KEYS;
    if (!eraser->looked)
        return WORK_MARKERS;
    if (snapshots && now_ns >= eraser->erased_ns + QUIET_NS)
        return WORK_SNAPSHOTS;
    if (snapshots)
        *until_ns = eraser->erased_ns + QUIET_NS;
    return WORK_NONE;
}

static void sleep_until(struct eraser *eraser, uint64_t until_ns)
{
    struct timespec until = { .tv_sec = (time_t)(until_ns / 1000000000),
                              .tv_nsec = (long)(until_ns % 1000000000) };
    if (until_ns == UINT64_MAX)
        pthread_cond_wait(&eraser->news, &eraser->lock);
    else
        pthread_cond_timedwait(&eraser->news, &eraser->lock, &until);
}

static void *run(void *argument)
{
    struct eraser *eraser = argument;
    uint64_t until_ns;
    pthread_setname_np(pthread_self(), "daa-eraser");
    pthread_mutex_lock(&eraser->lock);
    while (!eraser->stop) {
        enum work work = next_work(eraser, &until_ns);
        uint32_t used = eraser->used;
        uint64_t stale_until = eraser->status.stale_until;
        if (work == WORK_NONE) {
            sleep_until(eraser, until_ns);
            continue;
        }
        pthread_mutex_unlock(&eraser->lock);
        if (work == WORK_KEYS)
            make_keys(eraser, used);
        else if (work == WORK_MARKERS)
            look_at_markers(eraser);
        else
            renew_snapshots(eraser, stale_until);
        pthread_mutex_lock(&eraser->lock);
    }
    pthread_mutex_unlock(&eraser->lock);
    return NULL;
}

/*--- For others --------------------------------------------------------------------------------*/

static void free_eraser(struct eraser *eraser)
{
    errand_free(&eraser->errand);
    pthread_mutex_destroy(&eraser->lock);
    pthread_cond_destroy(&eraser->news);
    free(eraser);
}

int eraser_open(struct eraser **opened, const struct eraser_options *options, struct error *error)
{
    pthread_condattr_t monotonic;
    struct eraser *eraser = calloc(1, sizeof *eraser);
    *opened = NULL;
    if (!eraser)
        return error_set(error, -ENOMEM, "no memory for the keys of workflows");
    eraser->options = *options;
    eraser->used = options->keys_used;
    atomic_init(&eraser->told_used, options->keys_used);
    errand_init(&eraser->errand, options->inbox);
    pthread_mutex_init(&eraser->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&eraser->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (options->makes_keys) /* those that fail now are tried again by the thread */
        make_keys(eraser, eraser->used);
    int status = -pthread_create(&eraser->thread, NULL, run, eraser);
    if (status < 0) {
        free_eraser(eraser);
        return error_set(error, status, "cannot start the thread for the keys of workflows: %s",
                         error_text(status));
    }
    *opened = eraser;
    return 0;
}

void eraser_stop(struct eraser *eraser)
{
    if (!eraser)
        return;
    pthread_mutex_lock(&eraser->lock);
    eraser->stop = true;
    pthread_cond_signal(&eraser->news);
    pthread_mutex_unlock(&eraser->lock);
}

void eraser_close(struct eraser *eraser)
{
    if (!eraser)
        return;
    eraser_stop(eraser);
    pthread_join(eraser->thread, NULL);
    free_eraser(eraser);
}

void eraser_used(struct eraser *eraser, uint32_t key_id)
{
    uint32_t told = atomic_load_explicit(&eraser->told_used, memory_order_relaxed);
    if (key_id < told + USED_STEP / 4)
        return;
    atomic_store_explicit(&eraser->told_used, key_id, memory_order_relaxed);
    pthread_mutex_lock(&eraser->lock);
    eraser->used = key_id;
    pthread_cond_signal(&eraser->news);
    pthread_mutex_unlock(&eraser->lock);
}

void eraser_status_get(struct eraser *eraser, struct eraser_status *status)
{
    pthread_mutex_lock(&eraser->lock);
    *status = eraser->status;
    pthread_mutex_unlock(&eraser->lock);
}
