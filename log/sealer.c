/* Seals segments that are over, oldest first. A thread of its own, at a low priority: one takes
 * tenths of a second, and a spare must not wait for that. */
#include "log/sealing.h"
#include "log/writer.h"

#include <errno.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    NICE = 10,
    RETRY_S = 60 /* after it could not be done for want of room or of a disk that works */
};

static void count(struct sealer *sealer, const struct sealing *sealing)
{
    atomic_fetch_add_explicit(&sealer->sealed, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&sealer->raw_bytes, sealing->raw, memory_order_relaxed);
    atomic_fetch_add_explicit(&sealer->packed_bytes, sealing->packed, memory_order_relaxed);
}

/* True if the next segment would fare the same: there is no room, no memory, or no time. Whatever
 * else is wrong is wrong with this one (it is damaged, cannot be read, must not be opened); it
 * stays as it is, for whoever has a copy, and does not keep those behind from being sealed. */
static bool ends_round(int code)
{
    return code == -ENOSPC || code == -EDQUOT || code == -EFBIG || code == -ENOMEM ||
           code == -EMFILE || code == -ENFILE || code == -EROFS || code == ERROR_BUDGET ||
           code == -ECANCELED || code == -EBUSY;
}

/* One segment: 1, or 0 when it is left as it is. */
static int seal_one(struct sealer *sealer, struct sealing *sealing, size_t index,
                    struct error *trouble)
{
    struct error what = { 0 };
    int code = sealing_segment(sealing, index, &what);
    if (code == 1)
        count(sealer, sealing);
    if (code < 0 && code != -ECANCELED && code != -EBUSY)
        *trouble = what;
    return code < 0 && !ends_round(code) ? 0 : code;
}

/* All that are over, or the next one. */
static int seal_some(struct log *log, bool all, struct error *error)
{
    struct sealer *sealer = &log->sealer;
    struct directory directory;
    struct sealing sealing = { .directory = &directory,
                               .budget = log->options.budget,
                               .stop = &sealer->stop };
    uint64_t newest = counter_get(&log->counters.segment_no);
    struct error trouble = { 0 };
    bool tried = false;
    /* What was passed over is known by the links of those behind it, which sealing takes away. */
    if (atomic_load(&log->maintenance.sweep))
        return 0;
    int code = directory_open(&directory, log->dir, error);
    if (code < 0)
        return code;
    for (size_t i = 0; code >= 0 && i < directory.count && directory.segments[i] < newest; i++) {
        if (directory.segments[i] <= atomic_load(&sealer->done_no))
            continue;
        tried = true;
        code = seal_one(sealer, &sealing, i, &trouble);
        if (code >= 0)
            atomic_store(&sealer->done_no, directory.segments[i]);
        if (code == 1 && !all)
            break;
    }
    directory_close(&directory);
    if (trouble.code < 0 && error != NULL)
        *error = trouble;
    /* One that was passed over is told of until the next start, and what is over is forgotten. */
    sealer->passed_over = sealer->passed_over || (trouble.code < 0 && code >= 0);
    if (trouble.code < 0 || (tried && !sealer->passed_over && code != -ECANCELED))
        trouble_set(sealer->trouble, &trouble);
    return code == -EBUSY ? 0 : code; /* whoever ends the write wakes the sealer */
}

int sealer_step(struct log *log, struct error *error)
{
    return log->options.seal ? seal_some(log, false, error) : 0;
}

void sealer_wake(struct log *log)
{
    if (log->sealer.threaded)
        sem_post(&log->sealer.wake);
}

static void *run_thread(void *context)
{
    struct log *log = context;
    struct sealer *sealer = &log->sealer;
    pthread_setname_np(pthread_self(), "daa-sealer");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* of this thread alone */
    sealing_remove_leftovers(log->dir);
    while (!atomic_load(&sealer->stop)) {
        struct error error = { 0 };
        int code = seal_some(log, true, &error);
        if (code >= 0) {
            (void)sem_wait(&sealer->wake); /* whatever woke us: look again */
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += RETRY_S;
        while (!atomic_load(&sealer->stop) &&
               sem_clockwait(&sealer->wake, CLOCK_MONOTONIC, &until) < 0 && errno == EINTR)
            ;
    }
    return NULL;
}

int sealer_start_thread(struct log *log)
{
    struct sealer *sealer = &log->sealer;
    if (!log->options.seal)
        return 0;
    int code = -pthread_create(&sealer->thread, NULL, run_thread, log);
    sealer->threaded = code == 0;
    return code;
}

bool sealer_stop_thread(struct log *log)
{
    struct sealer *sealer = &log->sealer;
    if (!sealer->threaded)
        return true;
    atomic_store(&sealer->stop, true);
    sem_post(&sealer->wake);
    sealer->threaded = !spares_join(sealer->thread);
    return !sealer->threaded;
}
