#include "tools/agent/inbox.h"

#include "core/base/check.h"
#include "tools/agent/effects.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct inbox {
    struct inbox_options options;
    int wake_fd;
    _Atomic uint64_t count, bytes; /* of requests not answered */
    _Atomic bool refuses;
    _Atomic bool sleeping; /* the agent thread waits on wake_fd, or is about to */
    _Atomic bool woken;    /* inbox_wake() was called since it slept last */

    pthread_mutex_t lock; /* guards the lists */
    struct inbox_lists lists;
};

int inbox_open(struct inbox **opened, const struct inbox_options *options, struct error *error)
{
    struct inbox *inbox = calloc(1, sizeof *inbox);
    if (!inbox)
        return error_set(error, -ENOMEM, "no memory for the inbox");
    inbox->options = *options;
    inbox->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (inbox->wake_fd < 0) {
        int status = -errno;
        free(inbox);
        return error_set(error, status, "cannot make an eventfd: %s", error_text(status));
    }
    pthread_mutex_init(&inbox->lock, NULL);
    inbox->lists.requests_last = &inbox->lists.requests;
    inbox->lists.outcomes_last = &inbox->lists.outcomes;
    *opened = inbox;
    return 0;
}

void inbox_close(struct inbox *inbox)
{
    if (!inbox)
        return;
    while (inbox->lists.outcomes) {
        struct effect_outcome *outcome = inbox->lists.outcomes;
        inbox->lists.outcomes = outcome->next;
        effect_outcome_free(outcome);
    }
    close(inbox->wake_fd);
    pthread_mutex_destroy(&inbox->lock);
    free(inbox);
}

static void ring(struct inbox *inbox)
{
    if (atomic_exchange(&inbox->sleeping, false)) {
        uint64_t one = 1;
        /* Cannot fail: the counter is far from its limit, as each sleep is woken once. */
        ssize_t written = write(inbox->wake_fd, &one, sizeof one);
        CHECK(written == sizeof one);
    }
}

static int admit(struct inbox *inbox, uint64_t size)
{
    if (atomic_fetch_add(&inbox->count, 1) >= inbox->options.requests_max) {
        atomic_fetch_sub(&inbox->count, 1);
        return ERROR_FULL;
    }
    if (atomic_fetch_add(&inbox->bytes, size) + size > inbox->options.bytes_max) {
        atomic_fetch_sub(&inbox->bytes, size);
        atomic_fetch_sub(&inbox->count, 1);
        return ERROR_TOO_LARGE;
    }
    return 0;
}

static void discharge(struct inbox *inbox, uint64_t size)
{
    atomic_fetch_sub(&inbox->bytes, size);
    atomic_fetch_sub(&inbox->count, 1);
}

int inbox_put_request(struct inbox *inbox, struct request *request)
{
    int status = admit(inbox, request->size);
    if (status < 0)
        return status;
    request->next = NULL;
    pthread_mutex_lock(&inbox->lock);
    /* Under the lock, so that after inbox_refuse() and one more take nothing comes behind. */
    if (atomic_load(&inbox->refuses)) {
        pthread_mutex_unlock(&inbox->lock);
        discharge(inbox, request->size);
        return ERROR_UNAVAILABLE;
    }
    *inbox->lists.requests_last = request;
    inbox->lists.requests_last = &request->next;
    pthread_mutex_unlock(&inbox->lock);
    ring(inbox);
    return 0;
}

void inbox_put_outcome(struct inbox *inbox, struct effect_outcome *outcome)
{
    outcome->next = NULL;
    pthread_mutex_lock(&inbox->lock);
    *inbox->lists.outcomes_last = outcome;
    inbox->lists.outcomes_last = &outcome->next;
    pthread_mutex_unlock(&inbox->lock);
    ring(inbox);
}

void inbox_refuse(struct inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    atomic_store(&inbox->refuses, true);
    pthread_mutex_unlock(&inbox->lock);
    inbox_wake(inbox);
}

void inbox_abandon(struct inbox *inbox, const struct refusal *refusal)
{
    inbox_refuse(inbox);
    pthread_mutex_lock(&inbox->lock);
    struct request *request = inbox->lists.requests;
    inbox->lists.requests = NULL;
    inbox->lists.requests_last = &inbox->lists.requests;
    pthread_mutex_unlock(&inbox->lock);
    for (struct request *next; request; request = next) {
        next = request->next;
        request->answer = REQUEST_REFUSED;
        request->refusal = *refusal;
        inbox_answered(inbox, request);
    }
}

void inbox_wake(struct inbox *inbox)
{
    atomic_store(&inbox->woken, true);
    ring(inbox);
}

void inbox_take(struct inbox *inbox, struct inbox_lists *lists)
{
    pthread_mutex_lock(&inbox->lock);
    if (inbox->lists.requests) {
        *lists->requests_last = inbox->lists.requests;
        lists->requests_last = inbox->lists.requests_last;
        inbox->lists.requests = NULL;
        inbox->lists.requests_last = &inbox->lists.requests;
    }
    if (inbox->lists.outcomes) {
        *lists->outcomes_last = inbox->lists.outcomes;
        lists->outcomes_last = inbox->lists.outcomes_last;
        inbox->lists.outcomes = NULL;
        inbox->lists.outcomes_last = &inbox->lists.outcomes;
    }
    pthread_mutex_unlock(&inbox->lock);
}

void inbox_answered(struct inbox *inbox, struct request *request)
{
    discharge(inbox, request->size);
    request->done(request);
}

int inbox_wake_fd(const struct inbox *inbox)
{
    return inbox->wake_fd;
}

bool inbox_sleep(struct inbox *inbox)
{
    atomic_store(&inbox->sleeping, true);
    pthread_mutex_lock(&inbox->lock);
    bool waits = inbox->lists.requests || inbox->lists.outcomes;
    pthread_mutex_unlock(&inbox->lock);
    waits |= atomic_exchange(&inbox->woken, false);
    /* Somebody who came in between has rung: then the eventfd is to be cleared as after a sleep. */
    return !waits || !atomic_exchange(&inbox->sleeping, false);
}

void inbox_awake(struct inbox *inbox)
{
    if (!atomic_exchange(&inbox->sleeping, false)) {
        uint64_t count;
        /* The one who cleared the flag writes, if not yet, then in a moment: the wake-up is spent
         * on a later sleep, which only looks once more. */
        ssize_t got = read(inbox->wake_fd, &count, sizeof count);
        (void)got;
    }
}

uint64_t inbox_requests(const struct inbox *inbox)
{
    return atomic_load(&inbox->count);
}

uint64_t inbox_bytes(const struct inbox *inbox)
{
    return atomic_load(&inbox->bytes);
}
