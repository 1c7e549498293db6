#include "tools/replication/follow.h"

#include "pgsync/backoff.h"
#include "pgsync/pg.h"
#include "tools/replication/report.h"

#include <inttypes.h>
#include <sys/random.h>
#include <time.h>

#define GATHER_NS UINT64_C(10000000)
#define ONCE_PATIENCE_NS UINT64_C(60000000000) /* how long a lost server may be away */

/* What is known from step to step. */
struct follow {
    const struct follow_options *options;
    struct copier *copier;
    struct backoff backoff;
    struct report report;
    uint64_t goal;     /* of `once`: the end, as it was when we began */
    uint64_t lost_ns;  /* since when nothing can be copied; 0: it can */
    uint64_t failures; /* since then */
    uint64_t tries;    /* that failed since it was last told that it is connected */
    uint64_t batches;  /* that went in, as it was after the last step */
    uint64_t forks;    /* told so far */
    bool withheld;     /* told */
    uint64_t tick_ns;  /* when the last FOLLOW_TICK was told */
    uint64_t woken_ns; /* when there was news last */
    bool positioned;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool is_stopping(const struct follow *follow)
{
    return atomic_load(&follow->options->stop->is_raised);
}

static void tell(const struct follow *follow, struct follow_event event)
{
    struct copier_stats stats;
    copier_stats_get(follow->copier, &stats);
    event.stats = &stats;
    if (follow->options->tell != NULL)
        follow->options->tell(follow->options->context, &event);
}

/* How long until the next one is due; UINT64_MAX: never. One that is due is told. */
static uint64_t tick(struct follow *follow)
{
    uint64_t every_ns = follow->options->tick_ns, now = now_ns();
    if (every_ns == 0)
        return UINT64_MAX;
    if (follow->tick_ns != 0 && now - follow->tick_ns < every_ns)
        return every_ns - (now - follow->tick_ns);
    follow->tick_ns = now;
    tell(follow, (struct follow_event){ .news = FOLLOW_TICK });
    return every_ns;
}

/* Ends early when it is to stop. */
static void wait_for(struct follow *follow, uint64_t wait_ns)
{
    uint64_t end_ns = now_ns() + wait_ns;
    for (uint64_t now = now_ns(); now < end_ns; now = now_ns()) {
        uint64_t tick_in_ns = tick(follow), left_ns = end_ns - now;
        if (interrupt_wait(follow->options->stop, tick_in_ns < left_ns ? tick_in_ns : left_ns))
            break;
    }
}

static void found(struct follow *follow)
{
    bool first = !follow->positioned;
    if (!first && follow->tries == 0)
        return;
    follow->positioned = true;
    follow->tries = 0;
    tell(follow, (struct follow_event){ .news = FOLLOW_CONNECTED, .first = first });
}

/* 0 after a wait, or why it is not tried again. */
static int lost(struct follow *follow, struct error *error)
{
    bool once = follow->options->once;
    if (is_stopping(follow))
        return 0; /* that is why the server was not waited for */
    follow->tries++;
    follow->failures++;
    if (once && !follow->positioned) {
        struct error why = *error;
        return error_set(error, ERROR_UNAVAILABLE, "Postgres cannot be had: %s%s", why.text,
                         pg_hint(&why));
    }
    if (follow->lost_ns == 0) {
        follow->lost_ns = now_ns();
    } else if (once && now_ns() - follow->lost_ns > ONCE_PATIENCE_NS) {
        struct error why = *error;
        return error_set(error, ERROR_UNAVAILABLE,
                         "Postgres was away for a minute and %" PRIu64
                         " tries; what is copied stays, start again to go on: %s",
                         follow->failures, why.text);
    }
    tell(follow,
         (struct follow_event){ .news = FOLLOW_LOST, .error = error, .tries = follow->tries });
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = now_ns();
    wait_for(follow, backoff_next(&follow->backoff, random));
    return 0;
}

/* Rows went in, or there are none to copy. A connection alone is no such success: a server whose
 * disk is full takes those. */
static void succeeded(struct follow *follow)
{
    follow->lost_ns = 0;
    follow->failures = 0;
    backoff_reset(&follow->backoff);
}

static void progressed(struct follow *follow)
{
    struct copier_stats stats;
    copier_stats_get(follow->copier, &stats);
    if (stats.batches != follow->batches)
        succeeded(follow);
    follow->batches = stats.batches;
    if (stats.forks != follow->forks) {
        follow->forks = stats.forks;
        tell(follow, (struct follow_event){ .news = FOLLOW_FORK });
    }
    if (stats.withheld.seq > 0 && !follow->withheld) {
        follow->withheld = true;
        tell(follow, (struct follow_event){ .news = FOLLOW_WITHHELD });
    }
    if (stats.state != COPIER_READY)
        return;
    found(follow);
    tell(follow, (struct follow_event){ .news = FOLLOW_PROGRESS });
}

/* Tells the log's directory how far the copy is, when that is due; `last`: for the last time.
 * 0, an error of the server, or 1: it moves just now, so it stays due. */
static int tell_position(struct follow *follow, bool last, struct error *error)
{
    struct copier_stats stats;
    uint8_t chain[SHA256_SIZE];
    uint64_t position;
    copier_stats_get(follow->copier, &stats);
    if (stats.state != COPIER_READY ||
        !report_is_due(&follow->report, stats.position, now_ns(), last))
        return 0;
    int failed = copier_flush(follow->copier, &position, chain, error);
    if (failed != 0)
        return failed;
    struct error why;
    int code = report_write(&follow->report, position, chain, now_ns(), last, &why);
    if (code < 0 || !follow->report.failed) /* it goes on failing: that was told */
        tell(follow, (struct follow_event){ .news = FOLLOW_TOLD, .error = code < 0 ? &why : NULL });
    return 0;
}

static bool is_done(const struct follow *follow)
{
    struct copier_stats stats;
    copier_stats_get(follow->copier, &stats);
    return follow->options->once && stats.state == COPIER_READY && stats.position >= follow->goal;
}

/* 1 step again, 0 everything durable is copied, or an error of the copier. */
static int step(struct follow *follow, struct error *error)
{
    int done = copier_step(follow->copier, error);
    if (done == 1)
        progressed(follow);
    if (done == 0 || done == 1) {
        int told = tell_position(follow, false, error);
        done = told < 0 ? told : done;
    }
    if (done == 0)
        succeeded(follow);
    return done;
}

/* Until there are new events, or the position is to be told without. Where events come one by one,
 * each would be a transaction, and the server on the same machine in the agent's way: so not before
 * GATHER_NS after the last time, in which more of them come. */
static void wait_for_news(struct follow *follow)
{
    struct copier_stats stats;
    copier_stats_get(follow->copier, &stats);
    uint64_t wait_ns = UINT64_MAX;
    if (stats.state == COPIER_READY)
        wait_ns = report_due_in(&follow->report, stats.position, now_ns());
    uint64_t tick_in_ns = tick(follow);
    if (wait_ns > tick_in_ns)
        wait_ns = tick_in_ns;
    if (log_reader_wait_interruptible(follow->options->reader, wait_ns, follow->options->stop) == 0)
        return;
    uint64_t ago_ns = now_ns() - follow->woken_ns;
    if (ago_ns < GATHER_NS)
        (void)interrupt_wait(follow->options->stop, GATHER_NS - ago_ns);
    follow->woken_ns = now_ns();
}

/* Steps until done or stopped. */
static int copy(struct follow *follow, struct error *error)
{
    for (bool last = false; !is_stopping(follow) && !last;) {
        /* One step behind the goal: where a log is damaged, its end as it was known may be just
         * before the damage, and that must be told. */
        last = is_done(follow);
        (void)tick(follow);
        int done = step(follow, error);
        if (done == ERROR_UNAVAILABLE)
            done = lost(follow, error);
        else if (done == 0 && follow->options->once)
            return 0;
        else if (done == 0)
            wait_for_news(follow);
        if (done < 0)
            return done;
    }
    return 0;
}

int follow_run(const struct follow_options *options, struct copier_stats *stats,
               struct error *error)
{
    struct follow follow = { .options = options,
                             .report = { .dir = options->dir, .name = options->reader_name } };
    const struct copier_options wanted = {
        .url = options->url,
        .dir = options->dir,
        .reader = options->reader,
        .keys = options->keys,
        .budget = options->budget,
        .stop = &options->stop->is_raised,
        .batch_rows_max = options->batch_rows_max,
        .partition_rows = options->partition_rows,
        .detach = options->detach,
        .detach_age_s = options->detach_age_s,
    };
    *stats = (struct copier_stats){ 0 };
    int failed = copier_open(&follow.copier, &wanted, error);
    if (failed < 0)
        return failed;
    struct error ignored;
    follow.goal = log_reader_durable_seq(options->reader);
    failed = copy(&follow, error);
    (void)tell_position(&follow, true, &ignored);
    copier_stats_get(follow.copier, stats);
    copier_close(&follow.copier);
    return failed;
}
