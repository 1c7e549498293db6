/* One memory budget for the whole process, with an account for each owner.
 *
 * Whoever allocates something that can grow reserves it here first and releases it when it
 * is freed. A refusal is an answer that names the owner, never an abort: the caller turns it
 * into 429 or 503. Fixed memory made at start is reserved too, so that the sum is true.
 *
 * Threads: any; the counts are atomic. The limit may be passed for an instant by two
 * threads at once, never by more than what they asked for. */
#ifndef CORE_BASE_BUDGET_H
#define CORE_BASE_BUDGET_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum budget_owner {
    BUDGET_WORKFLOWS = 0, /* state of workflows in memory */
    BUDGET_DEFINITIONS,   /* compiled definitions */
    BUDGET_REQUESTS,      /* requests that are not durable yet */
    BUDGET_EFFECTS,       /* effects under way and their outcomes */
    BUDGET_DOCUMENTS,     /* changed documents that LMDB does not hold yet */
    BUDGET_LOG,           /* buffers of the event log */
    BUDGET_READERS,       /* buffers of log readers */
    BUDGET_OWNERS
};

struct budget {
    uint64_t limit; /* bytes */
    _Atomic uint64_t used;
    _Atomic uint64_t owner_used[BUDGET_OWNERS];
    _Atomic uint64_t owner_peak[BUDGET_OWNERS];
    _Atomic uint64_t refusals;
};

void budget_init(struct budget *budget, uint64_t limit_bytes);

/* 0, or ERROR_BUDGET when the sum would pass the limit (nothing is reserved then). */
int budget_reserve(struct budget *budget, enum budget_owner owner, uint64_t bytes);

/* Gives back what was reserved. Giving back more is a broken invariant. */
void budget_release(struct budget *budget, enum budget_owner owner, uint64_t bytes);

/* "workflows", "definitions", ... for messages and metrics. */
const char *budget_owner_name(enum budget_owner owner);

/* malloc and free on the budget; `bytes` must be the same in both. NULL when refused. */
void *budget_allocate(struct budget *budget, enum budget_owner owner, size_t bytes);
void budget_free(struct budget *budget, enum budget_owner owner, void *memory, size_t bytes);

#endif
