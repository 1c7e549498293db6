/* Writes that take long. Where there is no second directory (failover.c) nothing is done about one
 * but to wait: to write the same elsewhere on the same device would not help. It is told of while
 * it lasts and when it is over.
 *
 * Several frames are under way at once, so one stall delays many: what was submitted before a stall
 * was over belongs to it. */
#include "log/writer.h"

#define STALL_NS 500000000ull

uint64_t stall_after_ns(const struct log *log)
{
    return log->options.stall_ns > 0 ? log->options.stall_ns : STALL_NS;
}

void stall_watch(struct log *log, uint64_t began_ns)
{
    counter_set(&log->counters.waiting_since_ns, began_ns);
}

void stall_note(struct log *log, uint64_t began_ns, uint64_t now_ns)
{
    struct stalls *stalls = &log->stalls;
    uint64_t took_ns = now_ns - began_ns;
    if (took_ns < stall_after_ns(log))
        return;
    bool another = began_ns > stalls->end_ns;
    stalls->end_ns = now_ns;
    stalls->untold.count += another || stalls->untold.count == 0;
    if (took_ns > stalls->untold.longest_ns)
        stalls->untold.longest_ns = took_ns;
    counter_add(&log->counters.stalls, another);
    if (took_ns > counter_get(&log->counters.stall_longest_ns))
        counter_set(&log->counters.stall_longest_ns, took_ns);
}

uint64_t log_stalled_ns(const struct log *log)
{
    uint64_t since_ns = counter_get(&log->counters.waiting_since_ns);
    uint64_t now_ns = since_ns > 0 ? pipeline_now_ns() : 0;
    return now_ns > since_ns + stall_after_ns(log) ? now_ns - since_ns : 0;
}

bool log_stalls(const struct log *log)
{
    return log->stalls.untold.count > 0;
}

void log_take_stalls(struct log *log, struct storage_stalled *stalled)
{
    *stalled = log->stalls.untold;
    log->stalls.untold = (struct storage_stalled){ .count = 0 };
}
