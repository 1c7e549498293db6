/* The durable timers of workflows in memory: a binary heap of 24 bytes a timer, soonest first; of
 * those due at the same time the one of the older workflow, so that replays agree.
 *
 * A timer is never taken out of the middle: the step it belongs to counts generations, and one
 * whose generation is not the step's any more is dropped when it comes up.
 *
 * Threads: one owner. */
#ifndef CORE_AGENT_TIMERS_H
#define CORE_AGENT_TIMERS_H

#include "core/base/budget.h"

#include <stdbool.h>
#include <stdint.h>

struct timer {
    uint64_t due_ns; /* log time */
    uint64_t stream;
    uint32_t index; /* of the step */
    uint32_t generation;
};

_Static_assert(sizeof(struct timer) == 24, "a timer costs 24 bytes");

struct timers {
    struct budget *budget; /* BUDGET_WORKFLOWS */
    struct timer *heap;
    uint64_t count, capacity;
};

void timers_init(struct timers *timers, struct budget *budget);
void timers_free(struct timers *timers);

/* Makes room for `count` more, so that as many puts cannot fail. 0 or ERROR_BUDGET. */
int timers_reserve(struct timers *timers, uint64_t count);
void timers_put(struct timers *timers, const struct timer *timer);

/* The soonest; false when there is none. */
bool timers_first(const struct timers *timers, struct timer *timer);
void timers_drop_first(struct timers *timers);

/* Drops all that `keep` says no to. */
typedef bool timers_keep_function(const struct timer *timer, void *context);
void timers_sweep(struct timers *timers, timers_keep_function *keep, void *context);

#endif
