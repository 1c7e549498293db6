#include "pgsync/pool.h"

#include "core/base/check.h"
#include "pgsync/hosts.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define CONNECT_MS_MAX 10000
#define PING_MS_MAX 5000
#define SETUP_MS_MAX 10000
#define STOP_MS 1 /* for what is under way when the pool stops: nobody waits for it any more */
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

/* A borrower without a permit, on its own stack. */
struct waiter {
    pthread_cond_t news;
    bool granted;
    struct pool_loan loan; /* what came back just then, if it is good */
    struct waiter *next;
};

/* A permit is the right to have one connection: size + overflow of them are there. */
struct pool {
    struct pool_options options;
    atomic_bool stop;
    pthread_mutex_t lock; /* guards what is below; never held over a call of pg */
    struct waiter *first, **last;
    uint32_t permits;       /* taken */
    uint32_t idle;          /* in `kept` */
    struct pool_loan *kept; /* options.size places, the one that came back last on top */
    struct pool_stats stats;
};

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static uint64_t now_of(const struct pool *pool)
{
    return pool->options.now_ns != NULL ? pool->options.now_ns(pool->options.context)
                                        : monotonic_ns();
}

int pool_open(struct pool **out, const struct pool_options *options, struct error *error)
{
    CHECK(options->size > 0);
    struct pool *pool = calloc(1, sizeof *pool);
    struct pool_loan *kept = calloc(options->size, sizeof *kept);
    if (pool == NULL || kept == NULL) {
        free(pool);
        free(kept);
        return error_set(error, -ENOMEM, "no memory for a pool of connections");
    }
    pool->options = *options;
    pool->kept = kept;
    pool->last = &pool->first;
    pool->stats.size = options->size;
    pool->stats.overflow_max = options->overflow;
    pthread_mutex_init(&pool->lock, NULL);
    *out = pool;
    return 0;
}

/*--- Permits -----------------------------------------------------------------------------------*/

static uint32_t permits_max(const struct pool *pool)
{
    return pool->options.size + pool->options.overflow;
}

static void remove_waiter(struct pool *pool, struct waiter *waiter)
{
    struct waiter **at = &pool->first;
    while (*at != waiter)
        at = &(*at)->next;
    *at = waiter->next;
    if (pool->last == &waiter->next)
        pool->last = at;
}

/* Under the lock: to whoever waits longest, with the connection that it was for. False: nobody
 * waits, and the permit is free. */
static bool pass_permit(struct pool *pool, const struct pool_loan *loan)
{
    struct waiter *waiter = pool->first;
    if (waiter == NULL) {
        pool->permits--;
        return false;
    }
    remove_waiter(pool, waiter);
    waiter->granted = true;
    waiter->loan = *loan;
    pthread_cond_signal(&waiter->news);
    return true;
}

/* Under the lock, which is not held meanwhile. */
static bool wait_for_permit(struct pool *pool, uint64_t deadline_ns, struct pool_loan *loan)
{
    struct waiter waiter = { .granted = false };
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&waiter.news, &attributes);
    pthread_condattr_destroy(&attributes);
    *pool->last = &waiter;
    pool->last = &waiter.next;
    pool->stats.waits++;
    pool->stats.waiting++;
    uint64_t since_ns = monotonic_ns();
    const struct timespec until = { (time_t)(deadline_ns / SECOND), (long)(deadline_ns % SECOND) };
    int failed = 0;
    while (!waiter.granted && failed == 0 && !atomic_load(&pool->stop))
        failed = pthread_cond_timedwait(&waiter.news, &pool->lock, &until);
    if (waiter.granted)
        *loan = waiter.loan;
    else
        remove_waiter(pool, &waiter);
    pool->stats.waiting--;
    pool->stats.wait_ns += monotonic_ns() - since_ns;
    pthread_cond_destroy(&waiter.news);
    return waiter.granted;
}

/* With the permit a kept connection, when there is one. */
static int take_permit(struct pool *pool, uint64_t timeout_ns, uint64_t deadline_ns,
                       struct pool_loan *loan, struct error *error)
{
    pthread_mutex_lock(&pool->lock);
    bool free_at_once = pool->permits < permits_max(pool) && pool->first == NULL;
    pool->permits += free_at_once;
    bool taken = free_at_once || wait_for_permit(pool, deadline_ns, loan);
    bool stopped = atomic_load(&pool->stop);
    if (taken && loan->pg == NULL && pool->idle > 0)
        *loan = pool->kept[--pool->idle];
    pool->stats.timeouts += !taken && !stopped;
    pthread_mutex_unlock(&pool->lock);
    if (taken && stopped)
        pool_return(pool, loan);
    if (stopped)
        return error_set(error, ERROR_UNAVAILABLE, "the pool of connections is being closed");
    if (taken)
        return 0;
    return error_set(error, ERROR_FULL,
                     "no connection to Postgres came free within %.1f s: all %u are lent "
                     "([database] pool_size and max_overflow say how many there may be, "
                     "pool_timeout how long to wait)",
                     (double)timeout_ns / 1e9, permits_max(pool));
}

/* One without a connection. */
static void return_permit(struct pool *pool)
{
    const struct pool_loan none = { .pg = NULL };
    pthread_mutex_lock(&pool->lock);
    (void)pass_permit(pool, &none);
    pthread_mutex_unlock(&pool->lock);
}

/*--- Connections -------------------------------------------------------------------------------*/

static int left_ms(uint64_t deadline_ns, int max_ms)
{
    uint64_t now_ns = monotonic_ns();
    uint64_t left = deadline_ns > now_ns ? (deadline_ns - now_ns) / MS : 0;
    if (left == 0)
        return 1;
    return left < (uint64_t)max_ms ? (int)left : max_ms;
}

static void note_opening(struct pool *pool, int failed, const struct error *error)
{
    pthread_mutex_lock(&pool->lock);
    pool->stats.opened += failed == 0;
    pool->stats.failed_opens += failed < 0;
    pool->stats.trouble = failed < 0 ? *error : (struct error){ 0 };
    pthread_mutex_unlock(&pool->lock);
}

/* pg.h tries each server of the url with a time of its own: here all of them share one. */
static int share_ms(const struct pool *pool, uint64_t deadline_ns)
{
    int share = left_ms(deadline_ns, INT_MAX) / (int)hosts_count(pool->options.url);
    return share < 1 ? 1 : share < CONNECT_MS_MAX ? share : CONNECT_MS_MAX;
}

static int open_connection(struct pool *pool, uint64_t deadline_ns, struct pool_loan *loan,
                           struct error *error)
{
    const struct pool_options *options = &pool->options;
    const struct pg_options wanted = {
        .url = options->url,
        .stop = &pool->stop,
        .name = options->name,
        .connect_ms = share_ms(pool, deadline_ns),
        .answer_ms = options->answer_ms,
        .stop_ms = STOP_MS,
    };
    struct error why = { 0 };
    int failed = pg_open_with(&loan->pg, &wanted, &why);
    if (failed == 0 && options->setup != NULL)
        failed = pg_run_within(loan->pg, options->setup, left_ms(deadline_ns, SETUP_MS_MAX), &why);
    if (failed < 0)
        pg_close(&loan->pg);
    loan->opened_ns = now_of(pool);
    note_opening(pool, failed, &why);
    return failed < 0 ? error_set(error, failed, "%s", why.text) : 0;
}

static void count(struct pool *pool, uint64_t *number)
{
    pthread_mutex_lock(&pool->lock);
    ++*number;
    pthread_mutex_unlock(&pool->lock);
}

/* Closes a kept connection that is too old or does not answer. Half of the time is left for
 * another one. */
static void look_at(struct pool *pool, uint64_t deadline_ns, struct pool_loan *loan)
{
    const struct pool_options *options = &pool->options;
    if (options->recycle_ns > 0 && now_of(pool) - loan->opened_ns >= options->recycle_ns) {
        count(pool, &pool->stats.recycled);
        pg_close(&loan->pg);
        return;
    }
    if (!options->pre_ping)
        return;
    count(pool, &pool->stats.pings);
    if (pg_ping(loan->pg, (left_ms(deadline_ns, 2 * PING_MS_MAX) + 1) / 2, NULL) == 0)
        return;
    count(pool, &pool->stats.pings_failed);
    pg_close(&loan->pg);
}

int pool_borrow(struct pool *pool, uint64_t timeout_ns, struct pool_loan *loan, struct error *error)
{
    if (timeout_ns == 0 || timeout_ns > pool->options.timeout_ns)
        timeout_ns = pool->options.timeout_ns;
    uint64_t deadline_ns = monotonic_ns() + timeout_ns;
    *loan = (struct pool_loan){ .pg = NULL };
    int failed = take_permit(pool, timeout_ns, deadline_ns, loan, error);
    if (failed < 0)
        return failed;
    if (loan->pg != NULL)
        look_at(pool, deadline_ns, loan);
    if (loan->pg == NULL)
        failed = open_connection(pool, deadline_ns, loan, error);
    if (failed < 0)
        return_permit(pool);
    else
        count(pool, &pool->stats.borrowed);
    return failed;
}

void pool_return(struct pool *pool, struct pool_loan *loan)
{
    bool good = loan->pg != NULL && pg_is_idle(loan->pg) && !atomic_load(&pool->stop);
    pthread_mutex_lock(&pool->lock);
    /* Those that are lent count too: what is over the size came as overflow. */
    bool keep = good && (pool->first != NULL || pool->idle + pool->permits <= pool->options.size);
    if (keep && !pass_permit(pool, loan))
        pool->kept[pool->idle++] = *loan;
    pthread_mutex_unlock(&pool->lock);
    if (!keep) {
        pg_close(&loan->pg); /* before somebody opens another in its place */
        return_permit(pool);
    }
    loan->pg = NULL;
}

/*--- The end, and what is told -----------------------------------------------------------------*/

void pool_stop(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, true);
    for (struct waiter *waiter = pool->first; waiter != NULL; waiter = waiter->next)
        pthread_cond_signal(&waiter->news);
    pthread_mutex_unlock(&pool->lock);
}

void pool_close(struct pool **out)
{
    struct pool *pool = *out;
    if (pool == NULL)
        return;
    CHECK(pool->permits == 0);
    while (pool->idle > 0)
        pg_close(&pool->kept[--pool->idle].pg);
    pthread_mutex_destroy(&pool->lock);
    free(pool->kept);
    free(pool);
    *out = NULL;
}

void pool_stats_get(struct pool *pool, struct pool_stats *stats)
{
    pthread_mutex_lock(&pool->lock);
    *stats = pool->stats;
    stats->idle = pool->idle;
    stats->in_use = pool->permits;
    uint32_t all = pool->idle + pool->permits;
    stats->overflow = all > stats->size ? all - stats->size : 0;
    pthread_mutex_unlock(&pool->lock);
}
