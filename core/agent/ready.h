/* The workflows that have something ready and nothing under way, in the order in which they became
 * so: a ring of their numbers, for they need not be in memory (a million pending ones are not).
 *
 * An entry counts while the workflow says that it has this place: the workflow itself keeps it, or,
 * when it is not in memory, the table `away` does. One that left otherwise leaves its entry behind,
 * which is dropped when it comes up, or when such entries are many.
 *
 * Threads: one owner. */
#ifndef CORE_AGENT_READY_H
#define CORE_AGENT_READY_H

#include "core/base/budget.h"
#include "core/base/table.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether the workflow has this place, and where it is if the ring is packed. */
typedef bool ready_has_function(uint64_t stream, uint64_t place, void *context);
typedef void ready_moved_function(uint64_t stream, uint64_t place, void *context);

struct ready {
    struct budget *budget; /* BUDGET_WORKFLOWS */
    uint64_t *streams;     /* place p lies at p modulo capacity */
    uint64_t capacity;     /* a power of two, or 0 */
    uint64_t first, end;   /* places; the first is 1 */
    uint64_t members;      /* workflows that have a place */
    struct table away;     /* stream -> place of those that are not in memory */
};

void ready_init(struct ready *ready, struct budget *budget);
void ready_free(struct ready *ready);

/* Room for `count` more entries. 0 or ERROR_BUDGET. */
int ready_reserve(struct ready *ready, uint64_t count);

/* A new member at the end: its place. */
uint64_t ready_put(struct ready *ready, uint64_t stream);
void ready_leave(struct ready *ready); /* a member less; its entry stays behind */

/* A member leaves memory or comes back. */
void ready_set_away(struct ready *ready, uint64_t stream, uint64_t place);
uint64_t ready_take_back(struct ready *ready, uint64_t stream); /* its place; 0: it had none */
uint64_t ready_away(const struct ready *ready, uint64_t stream);

/* The first member; 0: there is none. Drops entries that do not count. */
uint64_t ready_first(struct ready *ready, ready_has_function *has, void *context);

/* When more than half of the entries do not count: packs the ring. */
void ready_pack(struct ready *ready, ready_has_function *has, ready_moved_function *moved,
                void *context);

/* The first of the ring's entries that are away, at most `max`. */
uint32_t ready_next_away(const struct ready *ready, uint64_t *streams, uint32_t max);

#endif
