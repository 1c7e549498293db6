#include "core/base/budget.h"

#include "core/base/check.h"
#include "core/base/error.h"

#include <stdlib.h>

void budget_init(struct budget *budget, uint64_t limit_bytes)
{
    budget->limit = limit_bytes;
    atomic_init(&budget->used, 0);
    atomic_init(&budget->refusals, 0);
    for (int i = 0; i < BUDGET_OWNERS; i++) {
        atomic_init(&budget->owner_used[i], 0);
        atomic_init(&budget->owner_peak[i], 0);
    }
}

static void raise_peak(_Atomic uint64_t *peak, uint64_t used)
{
    uint64_t seen = atomic_load_explicit(peak, memory_order_relaxed);
    while (seen < used && !atomic_compare_exchange_weak_explicit(
                              peak, &seen, used, memory_order_relaxed, memory_order_relaxed))
        ;
}

int budget_reserve(struct budget *budget, enum budget_owner owner, uint64_t bytes)
{
    CHECK(owner < BUDGET_OWNERS);
    uint64_t before = atomic_fetch_add_explicit(&budget->used, bytes, memory_order_relaxed);
    if (bytes > budget->limit || before > budget->limit - bytes) {
        atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&budget->refusals, 1, memory_order_relaxed);
        return ERROR_BUDGET;
    }
    uint64_t used =
        atomic_fetch_add_explicit(&budget->owner_used[owner], bytes, memory_order_relaxed) + bytes;
    raise_peak(&budget->owner_peak[owner], used);
    return 0;
}

void budget_release(struct budget *budget, enum budget_owner owner, uint64_t bytes)
{
    CHECK(owner < BUDGET_OWNERS);
    uint64_t used =
        atomic_fetch_sub_explicit(&budget->owner_used[owner], bytes, memory_order_relaxed);
    CHECK(used >= bytes);
    used = atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
    CHECK(used >= bytes);
}

const char *budget_owner_name(enum budget_owner owner)
{
    static const char *const names[BUDGET_OWNERS] = {
        [BUDGET_WORKFLOWS] = "workflows", [BUDGET_DEFINITIONS] = "definitions",
        [BUDGET_REQUESTS] = "requests",   [BUDGET_EFFECTS] = "effects",
        [BUDGET_DOCUMENTS] = "documents", [BUDGET_LOG] = "log",
        [BUDGET_READERS] = "readers",
    };
    CHECK(owner < BUDGET_OWNERS);
    return names[owner];
}

void *budget_allocate(struct budget *budget, enum budget_owner owner, size_t bytes)
{
    if (budget_reserve(budget, owner, bytes) < 0)
        return NULL;
    void *memory = malloc(bytes);
    if (memory == NULL)
        budget_release(budget, owner, bytes);
    return memory;
}

void budget_free(struct budget *budget, enum budget_owner owner, void *memory, size_t bytes)
{
    if (memory == NULL)
        return;
    free(memory);
    budget_release(budget, owner, bytes);
}
