#include "core/base/arena.h"

#include "core/base/check.h"
#include "core/base/error.h"

#include <string.h>

enum { ALIGNMENT = 16, CHUNK_SIZE_MAX = 64 * 1024 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* with this header */
    size_t used; /* with this header */
    size_t unused_;
};

_Static_assert(sizeof(struct arena_chunk) % ALIGNMENT == 0, "what follows must be aligned");

void arena_init(struct arena *arena, struct budget *budget, enum budget_owner owner,
                uint32_t chunk_size)
{
    CHECK(chunk_size >= 64);
    *arena = (struct arena){ .budget = budget, .owner = owner, .chunk_size = chunk_size };
}

static struct arena_chunk *add_chunk(struct arena *arena, size_t size)
{
    size_t chunk_size = arena->chunk_size;
    if (size > SIZE_MAX / 2)
        return NULL;
    if (chunk_size < sizeof(struct arena_chunk) + size)
        chunk_size = sizeof(struct arena_chunk) + size;
    struct arena_chunk *chunk = budget_allocate(arena->budget, arena->owner, chunk_size);
    if (chunk == NULL)
        return NULL;
    *chunk = (struct arena_chunk){ arena->chunks, chunk_size, sizeof *chunk, 0 };
    arena->chunks = chunk;
    arena->reserved += chunk_size;
    if (arena->chunk_size < CHUNK_SIZE_MAX)
        arena->chunk_size *= 2;
    return chunk;
}

void *arena_allocate(struct arena *arena, size_t size)
{
    struct arena_chunk *chunk = arena->chunks;
    size_t rounded = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (rounded < size)
        return NULL;
    if (chunk == NULL || chunk->size - chunk->used < rounded) {
        chunk = add_chunk(arena, rounded);
        if (chunk == NULL)
            return NULL;
    }
    void *memory = (uint8_t *)chunk + chunk->used;
    chunk->used += rounded;
    memset(memory, 0, rounded);
    return memory;
}

int arena_prepare(struct arena *arena, size_t size)
{
    const struct arena_chunk *chunk = arena->chunks;
    if (chunk != NULL && chunk->size - chunk->used >= size)
        return 0;
    return add_chunk(arena, size) != NULL ? 0 : ERROR_BUDGET;
}

struct span arena_copy(struct arena *arena, struct span span)
{
    uint8_t *copy = arena_allocate(arena, span.size + 1);
    if (copy == NULL)
        return (struct span){ NULL, 0 };
    if (span.size > 0)
        memcpy(copy, span.bytes, span.size);
    return (struct span){ copy, span.size };
}

static void free_chunks(struct arena *arena, struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        arena->reserved -= chunk->size;
        budget_free(arena->budget, arena->owner, chunk, chunk->size);
        chunk = next;
    }
}

void arena_reset(struct arena *arena)
{
    if (arena->chunks == NULL)
        return;
    free_chunks(arena, arena->chunks->next);
    arena->chunks->next = NULL;
    arena->chunks->used = sizeof *arena->chunks;
}

void arena_free(struct arena *arena)
{
    free_chunks(arena, arena->chunks);
    arena->chunks = NULL;
}
