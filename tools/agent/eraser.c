#include "tools/agent/eraser.h"

#include "core/agent/document.h"
#include "log/keyring.h"
#include "tools/agent/eraser_revived.h"
#include "tools/agent/eraser_subject.h"
#include "tools/agent/errand.h"
#include "tools/agent/host.h"
#include "tools/agent/state.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_NS 60000000000ull /* what failed is tried again */
#define BUSY_NS 1000000000ull   /* what the agent could not take */
/* So many more keys were used: those ahead are looked at again. A quarter of what is ahead, so that
 * they last while others are made. */
#define USED_STEP (KEYRING_AHEAD / 4)

/* What the thread does when there is need, and tries again when it failed. */
struct duty {
    struct error trouble; /* of the last try; code 0: none */
    uint64_t retry_ns;    /* monotonic: not before then */
};

struct eraser {
    struct eraser_options options;
    pthread_t thread;
    bool started;
    struct errand errand;       /* of whoever has options.removals */
    _Atomic uint32_t told_used; /* by the agent thread, the last time that it told */

    pthread_mutex_t lock; /* guards what is below */
    pthread_cond_t news;
    struct duty keys, markers;
    uint64_t erased;
    uint32_t used, prepared; /* keys; and how many were when those ahead were made last */
    bool has_keys;           /* those ahead are there */
    bool looked;             /* at what was begun */
    bool stop;
};

/* What came of a try. */
static void note_try(struct eraser *eraser, struct duty *duty, int status,
                     const struct error *error)
{
    pthread_mutex_lock(&eraser->lock);
    bool is_new = status < 0 && strcmp(duty->trouble.text, error->text) != 0;
    duty->trouble = status < 0 ? *error : (struct error){ 0 };
    duty->retry_ns = status < 0 ? host_monotonic_ns() + RETRY_NS : 0;
    pthread_mutex_unlock(&eraser->lock);
    if (is_new)
        host_say("%s", error->text);
}

/* There is need to look at the markers, after a while. */
static void come_back(struct eraser *eraser, uint64_t delay_ns)
{
    pthread_mutex_lock(&eraser->lock);
    eraser->looked = false;
    eraser->markers.retry_ns = host_monotonic_ns() + delay_ns;
    pthread_cond_signal(&eraser->news);
    pthread_mutex_unlock(&eraser->lock);
}

/*--- Keys --------------------------------------------------------------------------------------*/

static bool wants_keys(const struct eraser *eraser)
{
    return eraser->options.makes_keys &&
           (!eraser->has_keys || eraser->used - eraser->prepared >= USED_STEP);
}

/* True if it is the time for what there is need of; else *until_ns is when it will be, if not
 * before then. */
static bool is_due(const struct duty *duty, bool is_needed, uint64_t *until_ns)
{
    if (is_needed && host_monotonic_ns() >= duty->retry_ns)
        return true;
    if (is_needed && duty->retry_ns < *until_ns)
        *until_ns = duty->retry_ns;
    return false;
}

static void make_keys(struct eraser *eraser)
{
    struct error error = { 0 };
    uint64_t until_ns = UINT64_MAX;
    pthread_mutex_lock(&eraser->lock);
    uint32_t used = eraser->used;
    bool due = is_due(&eraser->keys, wants_keys(eraser), &until_ns);
    pthread_mutex_unlock(&eraser->lock);
    if (!due)
        return;
    int status = used == UINT32_MAX ? 0 /* there are no more numbers */
                                    : keyring_prepare(eraser->options.keyring, used + 1, &error);
    note_try(eraser, &eraser->keys, status, &error);
    pthread_mutex_lock(&eraser->lock);
    eraser->prepared = status == 0 ? used : eraser->prepared;
    eraser->has_keys = eraser->has_keys || status == 0;
    pthread_mutex_unlock(&eraser->lock);
}

/*--- One erasure -------------------------------------------------------------------------------*/

static struct command command_of(const struct erasure *erasure,
                                 const struct eraser_subject *subject)
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

/* Nothing has happened. Nothing will, if the agent will never do it or nothing was begun; else the
 * marker stays, and is gone on with. */
static int refused(struct eraser *eraser, struct erasure *erasure,
                   const struct eraser_subject *subject, const struct refusal *refusal,
                   struct error *error)
{
    bool is_final = refusal->status == 404 || refusal->status == 409;
    bool waits = !is_final && subject->key_id != 0;
    erasure->answer = waits ? ERASURE_WAITS : ERASURE_REFUSED;
    erasure->status = waits ? 503 : refusal->status;
    snprintf(erasure->code, sizeof erasure->code, "%s", refusal->code);
    snprintf(erasure->text, sizeof erasure->text, "%s%.400s",
             waits ? "the erasure is begun, and will be gone on with: " : "", refusal->text);
    if (waits)
        come_back(eraser, BUSY_NS);
    return waits || subject->key_id == 0
               ? 0
               : keyring_spare(eraser->options.keyring, subject->key_id, erasure->stream, error);
}

/* Asks the agent for the event. 0 with erasure->answer, or negative. */
static int ask(struct eraser *eraser, struct erasure *erasure, const struct eraser_subject *subject,
               struct error *error)
{
    static const struct refusal busy = { .status = 503,
                                         .code = "busy",
                                         .text = "too much waits for the agent, or it stops" };
    const struct eraser_options *options = &eraser->options;
    struct command command = command_of(erasure, subject);
    const struct request *request = &eraser->errand.request;
    eraser_read_ahead(options->state, options->budget, erasure->stream, subject);
    bool durable = errand_run(&eraser->errand, &command);
    if (!durable && request->answer != REQUEST_UNKNOWN)
        return refused(eraser, erasure, subject,
                       request->answer == REQUEST_REFUSED ? &request->refusal : &busy, error);
    erasure->answer = durable ? ERASURE_DONE : ERASURE_UNKNOWN;
    erasure->seq = request->seq;
    return 0;
}

/* The event is there or not: `is_noted` says which. The marker is, if it has a key. */
static int finish(struct eraser *eraser, struct erasure *erasure,
                  const struct eraser_subject *subject, bool is_noted, struct error *error)
{
    erasure->answer = ERASURE_DONE;
    int status = is_noted ? 0 : ask(eraser, erasure, subject, error);
    if (status < 0 || erasure->answer != ERASURE_DONE)
        return status;
    status = keyring_destroy(eraser->options.keyring, subject->key_id, error);
    if (status < 0) {
        come_back(eraser, RETRY_NS);
        return status;
    }
    pthread_mutex_lock(&eraser->lock);
    eraser->erased++;
    pthread_mutex_unlock(&eraser->lock);
    return 0;
}

/* 1: the state says that what this key encrypts was erased; 0: not. */
static int look_for_event(struct eraser *eraser, uint32_t key_id, struct error *error)
{
    struct document_key key = document_erased_key(key_id);
    uint8_t *bytes = NULL;
    size_t size = 0;
    int status = state_get(eraser->options.state, document_key_span(&key), &bytes, &size);
    free(bytes);
    return status < 0
               ? error_set(error, status, "the documents cannot be read: %s", error_text(status))
               : status;
}

static bool is_destroyed(struct eraser *eraser, uint32_t key_id)
{
    uint8_t key[KEYRING_KEY_SIZE];
    int status = keyring_get(eraser->options.keyring, key_id, key, NULL);
    explicit_bzero(key, sizeof key);
    return status == ERROR_NOT_FOUND;
}

/* Of one that has a key. No event says that it is erased while its key cannot be destroyed. */
static int erase_encrypted(struct eraser *eraser, struct erasure *erasure,
                           const struct eraser_subject *subject, struct error *error)
{
    struct keyring *keyring = eraser->options.keyring;
    int noted = look_for_event(eraser, subject->key_id, error);
    if (noted == 1 && is_destroyed(eraser, subject->key_id)) {
        erasure->answer = ERASURE_DONE;
        return 0;
    }
    int status = noted < 0 ? noted : keyring_check(keyring, subject->key_id, error);
    if (status == 0)
        status = keyring_condemn(keyring, subject->key_id, erasure->stream, error);
    return status < 0 ? status : finish(eraser, erasure, subject, noted == 1, error);
}

/* One without a key is refused by the agent, which knows why. */
static int erase(struct eraser *eraser, struct erasure *erasure, struct error *error)
{
    const struct eraser_options *options = &eraser->options;
    struct eraser_subject subject;
    int found = eraser_look_up(options->log_dir, options->state, options->budget, erasure->stream,
                               &subject, error);
    if (found < 0)
        return found;
    if (found != ERASER_FOUND) {
        erasure->answer = ERASURE_MISSING;
        return 0;
    }
    return subject.key_id == 0 ? finish(eraser, erasure, &subject, false, error)
                               : erase_encrypted(eraser, erasure, &subject, error);
}

int eraser_erase(struct eraser *eraser, struct erasure *erasure, struct error *error)
{
    pthread_mutex_lock(eraser->options.removals);
    int status = erase(eraser, erasure, error);
    pthread_mutex_unlock(eraser->options.removals);
    return status;
}

/*--- What was begun ----------------------------------------------------------------------------*/

struct walk {
    struct eraser *eraser;
    bool ended;          /* the rest is for another time: the agent is busy, or stops */
    struct error failed; /* the first that could not be gone on with; code 0: none */
};

/* The marker is about something else than this log has under these numbers. */
static int spare_foreign(struct eraser *eraser, uint32_t key_id, uint64_t stream,
                         struct error *error)
{
    host_say("the marker of an erasure, of key %" PRIu32 " and the workflow of event %" PRIu64
             ", is not about this log, where that event has no such key: it is removed",
             key_id, stream);
    return keyring_spare(eraser->options.keyring, key_id, stream, error);
}

/* The event may be there or not. What retention took of the log had this key. */
static int go_on_alone(struct walk *walk, uint32_t key_id, uint64_t stream, struct error *error)
{
    struct eraser *eraser = walk->eraser;
    const struct eraser_options *options = &eraser->options;
    struct erasure erasure = { .stream = stream };
    struct eraser_subject subject;
    erasure.reason = span_of_text("an erasure that was interrupted");
    int found =
        eraser_look_up(options->log_dir, options->state, options->budget, stream, &subject, error);
    if (found < 0)
        return found;
    if (found == ERASER_NONE || (found == ERASER_FOUND && subject.key_id != key_id))
        return spare_foreign(eraser, key_id, stream, error);
    subject.key_id = key_id;
    int noted = look_for_event(eraser, key_id, error);
    int status = noted < 0 ? noted : keyring_check(options->keyring, key_id, error);
    if (status == 0)
        status = finish(eraser, &erasure, &subject, noted == 1, error);
    walk->ended = erasure.answer == ERASURE_WAITS || erasure.answer == ERASURE_UNKNOWN;
    if (status == 0 && erasure.answer == ERASURE_UNKNOWN)
        return error_set(error, ERROR_UNAVAILABLE, "the log has failed");
    if (status == 0 && erasure.answer == ERASURE_REFUSED)
        host_say("the erasure of the workflow of event %" PRIu64 " that was interrupted is given "
                 "up: %s",
                 stream, erasure.text);
    return status;
}

static bool is_stopped(struct eraser *eraser)
{
    pthread_mutex_lock(&eraser->lock);
    bool stop = eraser->stop;
    pthread_mutex_unlock(&eraser->lock);
    return stop;
}

/* One that fails does not hold up the others. */
static int go_on(uint32_t key_id, uint64_t stream, void *context, struct error *error)
{
    struct walk *walk = context;
    struct eraser *eraser = walk->eraser;
    struct error why = { 0 };
    (void)error;
    if (walk->ended || is_stopped(eraser)) {
        walk->ended = true;
        return 0;
    }
    make_keys(eraser);
    pthread_mutex_lock(eraser->options.removals);
    int status = go_on_alone(walk, key_id, stream, &why);
    pthread_mutex_unlock(eraser->options.removals);
    if (status < 0 && walk->failed.code == 0)
        walk->failed = why;
    return 0;
}

/* What is begun meanwhile, and cannot be ended, is looked at once more. */
static void look_at_markers(struct eraser *eraser)
{
    struct walk walk = { .eraser = eraser };
    struct error error = { 0 };
    pthread_mutex_lock(&eraser->lock);
    eraser->looked = true;
    pthread_mutex_unlock(&eraser->lock);
    int status = keyring_condemned(eraser->options.keyring, go_on, &walk, &error);
    if (status == 0 && walk.failed.code < 0) {
        error = walk.failed;
        status = error.code;
    }
    if (status < 0)
        error_wrap(&error, status, "erasures that were begun cannot be ended");
    note_try(eraser, &eraser->markers, status, &error);
    if (status < 0 || walk.ended)
        come_back(eraser, walk.ended ? BUSY_NS : RETRY_NS);
}

/*--- The thread --------------------------------------------------------------------------------*/

enum work { WORK_NONE, WORK_MARKERS, WORK_KEYS };

/* With the lock. *until_ns: when there may be something to do, though nobody says so. */
static enum work next_work(const struct eraser *eraser, uint64_t *until_ns)
{
    *until_ns = UINT64_MAX;
    if (is_due(&eraser->keys, wants_keys(eraser), until_ns))
        return WORK_KEYS;
    return is_due(&eraser->markers, !eraser->looked, until_ns) ? WORK_MARKERS : WORK_NONE;
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
        if (work == WORK_NONE) {
            sleep_until(eraser, until_ns);
            continue;
        }
        pthread_mutex_unlock(&eraser->lock);
        if (work == WORK_KEYS)
            make_keys(eraser);
        else
            look_at_markers(eraser);
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
    *opened = NULL;
    int status = eraser_destroy_revived(options->keyring, options->state, error);
    if (status < 0)
        return status;
    struct eraser *eraser = calloc(1, sizeof *eraser);
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
    make_keys(eraser); /* those that fail now are tried again by the thread */
    *opened = eraser;
    return 0;
}

int eraser_start(struct eraser *eraser, struct error *error)
{
    int code = eraser ? -pthread_create(&eraser->thread, NULL, run, eraser) : 0;
    if (code < 0)
        return error_set(error, code, "cannot start the thread for the keys of workflows: %s",
                         error_text(code));
    if (eraser)
        eraser->started = true;
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
    if (eraser->started)
        pthread_join(eraser->thread, NULL);
    free_eraser(eraser);
}

void eraser_used(struct eraser *eraser, uint32_t key_id)
{
    uint32_t told = atomic_load_explicit(&eraser->told_used, memory_order_relaxed);
    if (key_id < told || key_id - told < USED_STEP / 4)
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
    status->erased = eraser->erased;
    status->trouble =
        eraser->keys.trouble.code < 0 ? eraser->keys.trouble : eraser->markers.trouble;
    pthread_mutex_unlock(&eraser->lock);
}
