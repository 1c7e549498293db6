/* Memory that is freed all at once, on a budget.
 *
 * An arena starts empty and costs nothing until the first allocation. Chunks grow from
 * `chunk_size` by doubling up to 64 KiB; a larger piece gets a chunk of its own.
 *
 * Threads: an arena belongs to one thread at a time. */
#ifndef CORE_BASE_ARENA_H
#define CORE_BASE_ARENA_H

#include "core/base/budget.h"
#include "core/base/span.h"

#include <stddef.h>
#include <stdint.h>

struct arena_chunk;

struct arena {
    struct budget *budget;
    enum budget_owner owner;
    uint32_t chunk_size;        /* of the next chunk, bytes */
    struct arena_chunk *chunks; /* newest first */
    size_t reserved;            /* bytes of all chunks: what the budget was asked for */
};

void arena_init(struct arena *arena, struct budget *budget, enum budget_owner owner,
                uint32_t chunk_size);

/* 16-byte aligned, zeroed; NULL when the budget or malloc refuses. `size` may be 0. */
void *arena_allocate(struct arena *arena, size_t size);

/* Makes sure that the next allocations of `size` bytes in all, each rounded up to 16, cannot fail.
 * 0 or ERROR_BUDGET. */
int arena_prepare(struct arena *arena, size_t size);

/* A copy with a terminating NUL behind it, which span.size does not count. An empty span with
 * bytes == NULL when refused; a copy of an empty span has bytes != NULL. */
struct span arena_copy(struct arena *arena, struct span span);

/* Frees everything but the newest chunk, which is kept for the next use. */
void arena_reset(struct arena *arena);

/* Frees everything. The arena may be used again. */
void arena_free(struct arena *arena);

#endif
