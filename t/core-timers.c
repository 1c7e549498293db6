/* Timers come out soonest first, whatever the order they went in. */
#include "tap.h"

#include "core/agent/timers.h"
#include "core/base/error.h"

#include <stdlib.h>

#define COUNT 10000u

static void come_out_in_order(unsigned seed)
{
    struct budget budget;
    struct timers timers;
    struct timer timer, before = { 0 };
    unsigned out_of_order = 0, count = 0;
    budget_init(&budget, 1 << 20);
    timers_init(&timers, &budget);
    srandom(seed);
    for (unsigned i = 0; i < COUNT; i++) {
        timer = (struct timer){ .due_ns = (uint64_t)random() % 1000, .stream = i + 1 };
        if (timers_reserve(&timers, 1) < 0)
            tap_bail_out("no budget for timer %u", i);
        timers_put(&timers, &timer);
    }
    for (; timers_first(&timers, &timer); count++, before = timer) {
        timers_drop_first(&timers);
        out_of_order += timer.due_ns < before.due_ns ||
                        (timer.due_ns == before.due_ns && timer.stream <= before.stream);
    }
    is_int(count, COUNT, "seed %u: as many timers come out as went in", seed);
    is_int(out_of_order, 0, "seed %u: soonest first, of those the older workflow's", seed);
    timers_free(&timers);
    is_int(budget.used, 0, "seed %u: and their memory is given back", seed);
}

static void the_budget_refuses(void)
{
    struct budget budget;
    struct timers timers;
    budget_init(&budget, 64 * sizeof(struct timer));
    timers_init(&timers, &budget);
    is_int(timers_reserve(&timers, 64), 0, "timers within the budget have room");
    is_int(timers_reserve(&timers, 65), ERROR_BUDGET, "more are refused");
    for (unsigned i = 0; i < 64; i++)
        timers_put(&timers, &(struct timer){ .due_ns = i, .stream = 1 });
    is_int(timers.count, 64, "and what was reserved still goes in");
    timers_free(&timers);
}

int main(void)
{
    const char *seed = getenv("SEED");
    come_out_in_order(seed ? (unsigned)strtoul(seed, NULL, 10) : 42);
    the_budget_refuses();
    return tap_done();
}
