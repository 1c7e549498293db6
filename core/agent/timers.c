#include "core/agent/timers.h"

#include "core/base/check.h"
#include "core/base/error.h"

#include <string.h>

#define CAPACITY_MIN 64u

void timers_init(struct timers *timers, struct budget *budget)
{
    *timers = (struct timers){ .budget = budget };
}

void timers_free(struct timers *timers)
{
    budget_free(timers->budget, BUDGET_WORKFLOWS, timers->heap,
                timers->capacity * sizeof *timers->heap);
    timers_init(timers, timers->budget);
}

int timers_reserve(struct timers *timers, uint64_t count)
{
    uint64_t capacity = timers->capacity > 0 ? timers->capacity : CAPACITY_MIN;
    if (timers->capacity - timers->count >= count)
        return 0;
    while (capacity - timers->count < count)
        capacity *= 2;
    struct timer *heap = budget_allocate(timers->budget, BUDGET_WORKFLOWS, capacity * sizeof *heap);
    if (heap == NULL)
        return ERROR_BUDGET;
    if (timers->count > 0)
        memcpy(heap, timers->heap, timers->count * sizeof *heap);
    budget_free(timers->budget, BUDGET_WORKFLOWS, timers->heap, timers->capacity * sizeof *heap);
    timers->heap = heap;
    timers->capacity = capacity;
    return 0;
}

static bool sooner(const struct timer *a, const struct timer *b)
{
    if (a->due_ns != b->due_ns)
        return a->due_ns < b->due_ns;
    if (a->stream != b->stream)
        return a->stream < b->stream;
    return a->index < b->index;
}

void timers_put(struct timers *timers, const struct timer *timer)
{
    CHECK(timers->count < timers->capacity);
    uint64_t at = timers->count++;
    for (; at > 0 && sooner(timer, &timers->heap[(at - 1) / 2]); at = (at - 1) / 2)
        timers->heap[at] = timers->heap[(at - 1) / 2];
    timers->heap[at] = *timer;
}

bool timers_first(const struct timers *timers, struct timer *timer)
{
    if (timers->count == 0)
        return false;
    *timer = timers->heap[0];
    return true;
}

void timers_drop_first(struct timers *timers)
{
    CHECK(timers->count > 0);
    struct timer last = timers->heap[--timers->count];
    uint64_t at = 0;
    for (;;) {
        uint64_t child = 2 * at + 1;
        if (child + 1 < timers->count && sooner(&timers->heap[child + 1], &timers->heap[child]))
            child++;
        if (child >= timers->count || !sooner(&timers->heap[child], &last))
            break;
        timers->heap[at] = timers->heap[child];
        at = child;
    }
    if (timers->count > 0)
        timers->heap[at] = last;
}

void timers_sweep(struct timers *timers, timers_keep_function *keep, void *context)
{
    uint64_t count = timers->count;
    timers->count = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct timer timer = timers->heap[i]; /* a put writes at most up to here */
        if (keep(&timer, context))
            timers_put(timers, &timer);
    }
}
