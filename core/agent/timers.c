#include "core/agent/timers.h"

#include "core/base/check.h"
#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 64u
#define CANCELLED_MIN 1024u /* before it is worth the sorting */
#define DUE_MAX 64u

void timers_init(struct timers *timers, struct budget *budget)
{
    *timers = (struct timers){ .budget = budget };
}

static void heap_free(struct timers *timers, struct timer_heap *heap)
{
    budget_free(timers->budget, BUDGET_WORKFLOWS, heap->items,
                heap->capacity * sizeof *heap->items);
    *heap = (struct timer_heap){ .count = 0 };
}

void timers_free(struct timers *timers)
{
    heap_free(timers, &timers->set);
    heap_free(timers, &timers->cancelled);
}

static int heap_reserve(struct timers *timers, struct timer_heap *heap, uint64_t count)
{
    uint64_t capacity = heap->capacity > 0 ? heap->capacity : CAPACITY_MIN;
    if (heap->capacity - heap->count >= count)
        return 0;
    while (capacity - heap->count < count)
        capacity *= 2;
    struct timer *items =
        budget_allocate(timers->budget, BUDGET_WORKFLOWS, capacity * sizeof *items);
    if (items == NULL)
        return ERROR_BUDGET;
    if (heap->count > 0)
        memcpy(items, heap->items, heap->count * sizeof *items);
    budget_free(timers->budget, BUDGET_WORKFLOWS, heap->items, heap->capacity * sizeof *items);
    heap->items = items;
    heap->capacity = capacity;
    return 0;
}

int timers_reserve(struct timers *timers, uint64_t count)
{
    int result = heap_reserve(timers, &timers->set, count);
    return result < 0 ? result : heap_reserve(timers, &timers->cancelled, count);
}

/*--- Heaps -----------------------------------------------------------------------------------*/

static int compare(const struct timer *a, const struct timer *b)
{
    if (a->due_ns != b->due_ns)
        return a->due_ns < b->due_ns ? -1 : 1;
    if (a->stream != b->stream)
        return a->stream < b->stream ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static int compare_items(const void *a, const void *b)
{
    return compare(a, b);
}

static void heap_put(struct timer_heap *heap, const struct timer *timer)
{
    CHECK(heap->count < heap->capacity);
    uint64_t at = heap->count++;
    for (; at > 0 && compare(timer, &heap->items[(at - 1) / 2]) < 0; at = (at - 1) / 2)
        heap->items[at] = heap->items[(at - 1) / 2];
    heap->items[at] = *timer;
}

static void heap_drop_first(struct timer_heap *heap)
{
    struct timer last = heap->items[--heap->count];
    uint64_t at = 0;
    for (;;) {
        uint64_t child = 2 * at + 1;
        if (child + 1 < heap->count && compare(&heap->items[child + 1], &heap->items[child]) < 0)
            child++;
        if (child >= heap->count || compare(&heap->items[child], &last) >= 0)
            break;
        heap->items[at] = heap->items[child];
        at = child;
    }
    if (heap->count > 0)
        heap->items[at] = last;
}

/* So that the first of `set` is one that counts. */
static void settle(struct timers *timers)
{
    while (timers->cancelled.count > 0) {
        int order = compare(&timers->cancelled.items[0], &timers->set.items[0]);
        CHECK(order >= 0); /* what is cancelled was set */
        if (order > 0)
            return;
        heap_drop_first(&timers->cancelled);
        heap_drop_first(&timers->set);
    }
}

/* A sorted array is a heap. */
static void subtract(struct timers *timers)
{
    struct timer_heap *set = &timers->set, *cancelled = &timers->cancelled;
    uint64_t kept = 0, gone = 0;
    if (set->count > 1)
        qsort(set->items, set->count, sizeof *set->items, compare_items);
    if (cancelled->count > 1)
        qsort(cancelled->items, cancelled->count, sizeof *cancelled->items, compare_items);
    for (uint64_t i = 0; i < set->count; i++) {
        if (gone < cancelled->count && compare(&set->items[i], &cancelled->items[gone]) == 0)
            gone++;
        else
            set->items[kept++] = set->items[i];
    }
    CHECK(gone == cancelled->count);
    set->count = kept;
    cancelled->count = 0;
}

void timers_put(struct timers *timers, const struct timer *timer)
{
    heap_put(&timers->set, timer);
}

void timers_cancel(struct timers *timers, const struct timer *timer)
{
    heap_put(&timers->cancelled, timer);
    if (timers->cancelled.count > timers->set.count / 2 + CANCELLED_MIN)
        subtract(timers);
    else
        settle(timers);
}

bool timers_first(const struct timers *timers, struct timer *timer)
{
    if (timers->set.count == 0)
        return false;
    *timer = timers->set.items[0];
    return true;
}

uint64_t timers_count(const struct timers *timers)
{
    return timers->set.count - timers->cancelled.count;
}

/* Best first, over the places whose parents were taken; they are few, so a search is quick. */
uint32_t timers_due(const struct timers *timers, uint64_t now_ns, struct timer *due, uint32_t max)
{
    const struct timer_heap *heap = &timers->set;
    uint64_t places[DUE_MAX + 2] = { 0 };
    uint32_t open = heap->count > 0, count = 0;
    while (open > 0 && count < max && count < DUE_MAX) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < open; i++)
            if (compare(&heap->items[places[i]], &heap->items[places[best]]) < 0)
                best = i;
        uint64_t place = places[best];
        if (heap->items[place].due_ns > now_ns)
            break;
        due[count++] = heap->items[place];
        places[best] = places[--open];
        for (uint64_t child = 2 * place + 1; child <= 2 * place + 2 && child < heap->count; child++)
            places[open++] = child;
    }
    return count;
}

const struct timer *timers_sorted(struct timers *timers, uint64_t *count)
{
    subtract(timers);
    *count = timers->set.count;
    return timers->set.items;
}
