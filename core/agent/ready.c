#include "core/agent/ready.h"

#include "core/base/check.h"
#include "core/base/error.h"

#define CAPACITY_MIN 64u
#define LEFT_BEHIND_MIN 1024u
#define LOOKED_AT_MAX 256u

void ready_init(struct ready *ready, struct budget *budget)
{
    *ready = (struct ready){ .budget = budget, .first = 1, .end = 1 };
    table_init(&ready->away, budget, BUDGET_WORKFLOWS);
}

void ready_free(struct ready *ready)
{
    budget_free(ready->budget, BUDGET_WORKFLOWS, ready->streams,
                ready->capacity * sizeof *ready->streams);
    table_free(&ready->away);
    ready_init(ready, ready->budget);
}

static uint64_t *entry(const struct ready *ready, uint64_t place)
{
    return &ready->streams[place & (ready->capacity - 1)];
}

int ready_reserve(struct ready *ready, uint64_t count)
{
    struct ready grown = *ready;
    uint64_t needed = ready->end - ready->first + count;
    if (needed > ready->capacity) {
        grown.capacity = ready->capacity > 0 ? ready->capacity : CAPACITY_MIN;
        while (grown.capacity < needed)
            grown.capacity *= 2;
        grown.streams = budget_allocate(ready->budget, BUDGET_WORKFLOWS,
                                        grown.capacity * sizeof *grown.streams);
        if (grown.streams == NULL)
            return ERROR_BUDGET;
        for (uint64_t place = ready->first; place < ready->end; place++)
            *entry(&grown, place) = *entry(ready, place);
        budget_free(ready->budget, BUDGET_WORKFLOWS, ready->streams,
                    ready->capacity * sizeof *ready->streams);
        *ready = grown;
    }
    return 0;
}

uint64_t ready_put(struct ready *ready, uint64_t stream)
{
    CHECK(ready->end - ready->first < ready->capacity);
    *entry(ready, ready->end) = stream;
    ready->members++;
    return ready->end++;
}

void ready_leave(struct ready *ready)
{
    CHECK(ready->members > 0);
    ready->members--;
}

static void *value_of(uint64_t place)
{
    return (void *)(uintptr_t)place;
}

void ready_set_away(struct ready *ready, uint64_t stream, uint64_t place)
{
    table_put(&ready->away, stream, value_of(place));
}

uint64_t ready_take_back(struct ready *ready, uint64_t stream)
{
    return (uint64_t)(uintptr_t)table_remove(&ready->away, stream);
}

uint64_t ready_away(const struct ready *ready, uint64_t stream)
{
    return (uint64_t)(uintptr_t)table_get(&ready->away, stream);
}

uint64_t ready_first(struct ready *ready, ready_has_function *has, void *context)
{
    while (ready->first < ready->end && !has(*entry(ready, ready->first), ready->first, context))
        ready->first++;
    return ready->first < ready->end ? *entry(ready, ready->first) : 0;
}

void ready_pack(struct ready *ready, ready_has_function *has, ready_moved_function *moved,
                void *context)
{
    uint64_t to = ready->first;
    if (ready->end - ready->first <= 2 * ready->members + LEFT_BEHIND_MIN)
        return;
    for (uint64_t place = ready->first; place < ready->end; place++) {
        uint64_t stream = *entry(ready, place);
        if (!has(stream, place, context))
            continue;
        *entry(ready, to) = stream;
        moved(stream, to++, context);
    }
    CHECK(to - ready->first == ready->members);
    ready->end = to;
}

uint32_t ready_next_away(const struct ready *ready, uint64_t *streams, uint32_t max)
{
    uint32_t count = 0;
    for (uint64_t place = ready->first;
         place < ready->end && place - ready->first < LOOKED_AT_MAX && count < max; place++)
        if (ready_away(ready, *entry(ready, place)) == place)
            streams[count++] = *entry(ready, place);
    return count;
}
