/* The durable timers of all workflows that have not ended, in memory or not: 24 bytes a timer,
 * soonest first; of those due at the same time the one of the older workflow, so that replays
 * agree.
 *
 * Two binary heaps in the same order: what was set, and what was cancelled since. A timer leaves
 * when both have it on top, so that cancelling needs no search and no map from a step to its place;
 * when the cancelled ones are many, both heaps are sorted and subtracted.
 *
 * Threads: one owner. */
#ifndef CORE_AGENT_TIMERS_H
#define CORE_AGENT_TIMERS_H

#include "core/base/budget.h"

#include <stdbool.h>
#include <stdint.h>

struct timer {
    uint64_t due_ns; /* agent time (core/agent/state.h) */
    uint64_t stream;
    uint64_t index; /* of the step */
};

_Static_assert(sizeof(struct timer) == 24, "a timer costs 24 bytes");

struct timer_heap {
    struct timer *items;
    uint64_t count, capacity;
};

struct timers {
    struct budget *budget; /* BUDGET_WORKFLOWS */
    struct timer_heap set, cancelled;
};

void timers_init(struct timers *timers, struct budget *budget);
void timers_free(struct timers *timers);

/* Makes room for `count` more, so that as many puts and as many cancels cannot fail. 0 or
 * ERROR_BUDGET. */
int timers_reserve(struct timers *timers, uint64_t count);
void timers_put(struct timers *timers, const struct timer *timer);
/* One that was put and not cancelled yet. */
void timers_cancel(struct timers *timers, const struct timer *timer);

/* The soonest; false when there is none. */
bool timers_first(const struct timers *timers, struct timer *timer);
uint64_t timers_count(const struct timers *timers);

/* The soonest that are due at `now_ns`, at most `max`; some may have been cancelled. */
uint32_t timers_due(const struct timers *timers, uint64_t now_ns, struct timer *due, uint32_t max);

/* Sorts both heaps, drops what was cancelled, and gives the rest in order; for checks. */
const struct timer *timers_sorted(struct timers *timers, uint64_t *count);

#endif
