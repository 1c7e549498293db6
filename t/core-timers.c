/* Timers come out soonest first, whatever the order they went in. */
#include "tap.h"

#include "core/agent/timers.h"
#include "core/base/error.h"

#include <stdlib.h>

#define COUNT 10000u

/* A third is cancelled on the way, in any order. */
static void come_out_in_order(unsigned seed)
{
    struct budget budget;
    struct timers timers;
    struct timer timer, before = { 0 };
    static struct timer put[COUNT];
    unsigned out_of_order = 0, count = 0, cancelled = 0;
    budget_init(&budget, 1 << 20);
    timers_init(&timers, &budget);
    srandom(seed);
    for (unsigned i = 0; i < COUNT; i++) {
        put[i] = (struct timer){ .due_ns = (uint64_t)random() % 1000, .stream = i + 1 };
        if (timers_reserve(&timers, 1) < 0)
            tap_bail_out("no budget for timer %u", i);
        timers_put(&timers, &put[i]);
        unsigned other = (unsigned)random() % (i + 1);
        if (random() % 3 != 0 || put[other].stream == 0)
            continue;
        timers_cancel(&timers, &put[other]);
        put[other].stream = 0;
        cancelled++;
    }
    is_int(timers_count(&timers), COUNT - cancelled, "seed %u: what is cancelled counts no more",
           seed);
    for (; timers_first(&timers, &timer); count++, before = timer) {
        out_of_order += timer.due_ns < before.due_ns || put[timer.stream - 1].stream == 0 ||
                        (timer.due_ns == before.due_ns && timer.stream <= before.stream);
        timers_cancel(&timers, &timer);
    }
    is_int(count, COUNT - cancelled, "seed %u: as many timers come out as stayed in", seed);
    is_int(out_of_order, 0, "seed %u: soonest first, of those the older workflow's", seed);
    timers_free(&timers);
    is_int(budget.used, 0, "seed %u: and their memory is given back", seed);
}

/* The soonest without taking them out; memory stays bounded when timers are set and cancelled. */
static void are_looked_at(void)
{
    struct budget budget;
    struct timers timers;
    struct timer due[64];
    budget_init(&budget, 1 << 20);
    timers_init(&timers, &budget);
    for (unsigned i = 0; i < 100000; i++) {
        struct timer timer = { .due_ns = 1000000 + i, .stream = i + 1 };
        if (timers_reserve(&timers, 1) < 0)
            tap_bail_out("no budget for timer %u", i);
        timers_put(&timers, &timer);
        if (i % 1000 != 0)
            timers_cancel(&timers, &timer);
    }
    is_int(timers_count(&timers), 100, "of many timers that are set and cancelled some stay");
    is_int(timers_due(&timers, 999999, due, 64), 0, "none is due before its time");
    is_int(timers_due(&timers, UINT64_MAX, due, 64), 64, "as many as are asked for are due");
    unsigned wrong = 0;
    for (unsigned i = 1; i < 64; i++)
        wrong += due[i].due_ns <= due[i - 1].due_ns;
    is_int(wrong, 0, "soonest first");
    timers_free(&timers);
}

static void the_budget_refuses(void)
{
    struct budget budget;
    struct timers timers;
    budget_init(&budget, 128 * sizeof(struct timer));
    timers_init(&timers, &budget);
    is_int(timers_reserve(&timers, 64), 0, "timers within the budget have room");
    is_int(timers_reserve(&timers, 65), ERROR_BUDGET, "more are refused");
    for (unsigned i = 0; i < 64; i++)
        timers_put(&timers, &(struct timer){ .due_ns = i, .stream = 1 });
    is_int(timers_count(&timers), 64, "and what was reserved still goes in");
    timers_free(&timers);
}

int main(void)
{
    const char *seed = getenv("SEED");
    come_out_in_order(seed ? (unsigned)strtoul(seed, NULL, 10) : 42);
    are_looked_at();
    the_budget_refuses();
    return tap_done();
}
