#include "tools/agent/handover.h"

#include "core/base/bytes.h"
#include "core/base/check.h"

#include <stdlib.h>

#define CHUNK_SIZE_MIN 4096u
#define CHUNK_SIZE_MAX 65536u
#define TABLE_CAPACITY_MIN 256u
#define TABLE_CAPACITY_KEPT 65536u

struct handover_chunk {
    struct handover_chunk *next;
    size_t size, used; /* bytes, without this header */
    bool reserved;     /* on the budget */
    _Alignas(16) uint8_t bytes[];
};

uint64_t handover_hash(struct span key)
{
    uint64_t hash = key.size * 0x9e3779b97f4a7c15ull;
    size_t at = 0;
    for (; at + 8 <= key.size; at += 8)
        hash = (hash ^ bytes_get_u64(key.bytes + at)) * 0x9ddfea08eb382d69ull, hash ^= hash >> 32;
    for (; at < key.size; at++)
        hash = (hash ^ key.bytes[at]) * 0x100000001b3ull;
    hash *= 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}

static void *take(struct state_batch *batch, size_t size)
{
    struct handover_chunk *chunk = batch->chunks;
    size = (size + 15) & ~(size_t)15;
    if (!chunk || chunk->size - chunk->used < size) {
        size_t wanted = chunk ? CHUNK_SIZE_MAX : CHUNK_SIZE_MIN;
        if (wanted < size)
            wanted = size;
        chunk = malloc(sizeof *chunk + wanted);
        CHECK(chunk);
        *chunk = (struct handover_chunk){ .next = batch->chunks, .size = wanted };
        chunk->reserved =
            budget_reserve(batch->budget, BUDGET_DOCUMENTS, sizeof *chunk + wanted) == 0;
        batch->chunks = chunk;
    }
    void *memory = chunk->bytes + chunk->used;
    chunk->used += size;
    return memory;
}

struct state_batch *handover_batch_new(struct budget *budget)
{
    struct state_batch *batch = calloc(1, sizeof *batch);
    CHECK(batch);
    batch->budget = budget;
    atomic_init(&batch->references, 1);
    return batch;
}

void handover_batch_add(struct state_batch *batch, struct span key, struct span bytes)
{
    struct handover_entry *entry = take(batch, sizeof *entry + key.size + bytes.size);
    *entry = (struct handover_entry){ .batch = batch,
                                      .hash = handover_hash(key),
                                      .key_size = (uint32_t)key.size,
                                      .value_size = (uint32_t)bytes.size,
                                      .deleted = bytes.bytes == NULL };
    memcpy(entry->bytes, key.bytes, key.size);
    if (bytes.size > 0)
        memcpy(entry->bytes + key.size, bytes.bytes, bytes.size);
    *(batch->last ? &batch->last->next : &batch->first) = entry;
    batch->last = entry;
    batch->bytes += key.size + bytes.size;
}

struct handover_entry *handover_batch_find(const struct state_batch *batch, struct span key)
{
    uint64_t hash = handover_hash(key);
    struct handover_entry *found = NULL;
    for (struct handover_entry *entry = batch->first; entry; entry = entry->next)
        if (entry->hash == hash && span_equal(handover_key(entry), key))
            found = entry;
    return found;
}

void handover_batch_unref(struct state_batch *batch)
{
    if (!batch || atomic_fetch_sub(&batch->references, 1) != 1)
        return;
    for (struct handover_chunk *chunk = batch->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        if (chunk->reserved)
            budget_release(batch->budget, BUDGET_DOCUMENTS, sizeof *chunk + chunk->size);
        free(chunk);
    }
    free(batch);
}

static struct handover_entry **slot_of(const struct handover_table *table, struct span key,
                                       uint64_t hash)
{
    for (uint64_t at = hash;; at++) {
        struct handover_entry **slot = &table->slots[at & (table->capacity - 1)];
        if (!*slot || ((*slot)->hash == hash && span_equal(handover_key(*slot), key)))
            return slot;
    }
}

static void grow(struct handover_table *table)
{
    struct handover_table old = *table;
    table->capacity = old.capacity ? old.capacity * 2 : TABLE_CAPACITY_MIN;
    table->slots = calloc(table->capacity, sizeof(struct handover_entry *));
    CHECK(table->slots);
    for (uint64_t i = 0; i < old.capacity; i++)
        if (old.slots[i])
            *slot_of(table, handover_key(old.slots[i]), old.slots[i]->hash) = old.slots[i];
    free(old.slots);
}

void handover_table_put(struct handover_table *table, struct handover_entry *entry)
{
    if (table->count * 4 >= table->capacity * 3)
        grow(table);
    struct handover_entry **slot = slot_of(table, handover_key(entry), entry->hash);
    if (!*slot)
        table->count++;
    *slot = entry;
}

struct handover_entry *handover_table_get(const struct handover_table *table, struct span key,
                                          uint64_t hash)
{
    return table->count == 0 ? NULL : *slot_of(table, key, hash);
}

/* Keys are compared by their first bytes, which lie in the array and not all over the memory. */
struct sortable {
    uint64_t high, low; /* the first 16 bytes, big-endian, zeros behind a shorter key */
    struct handover_entry *entry;
};

static struct sortable sortable_of(struct handover_entry *entry)
{
    uint8_t bytes[16] = { 0 };
    memcpy(bytes, entry->bytes, entry->key_size < sizeof bytes ? entry->key_size : sizeof bytes);
    return (struct sortable){ .high = __builtin_bswap64(bytes_get_u64(bytes)),
                              .low = __builtin_bswap64(bytes_get_u64(bytes + 8)),
                              .entry = entry };
}

static int compare_sortable(const void *a, const void *b)
{
    const struct sortable *left = a, *right = b;
    if (left->high != right->high)
        return left->high < right->high ? -1 : 1;
    if (left->low != right->low)
        return left->low < right->low ? -1 : 1;
    const struct handover_entry *one = left->entry, *other = right->entry;
    size_t common = one->key_size < other->key_size ? one->key_size : other->key_size;
    int order = memcmp(one->bytes, other->bytes, common);
    return order != 0 ? order
                      : (one->key_size > other->key_size) - (one->key_size < other->key_size);
}

struct handover_entry **handover_table_sorted(const struct handover_table *table)
{
    struct sortable *sortable = malloc((table->count + 1) * sizeof *sortable);
    struct handover_entry **entries = malloc((table->count + 1) * sizeof(struct handover_entry *));
    CHECK(sortable && entries);
    uint64_t count = 0;
    for (uint64_t i = 0; i < table->capacity; i++)
        if (table->slots[i])
            sortable[count++] = sortable_of(table->slots[i]);
    qsort(sortable, count, sizeof *sortable, compare_sortable);
    for (uint64_t i = 0; i < count; i++)
        entries[i] = sortable[i].entry;
    free(sortable);
    return entries;
}

void handover_table_clear(struct handover_table *table)
{
    if (table->capacity > TABLE_CAPACITY_KEPT)
        handover_table_free(table);
    else if (table->count > 0)
        memset(table->slots, 0, table->capacity * sizeof(struct handover_entry *));
    table->count = 0;
}

void handover_table_free(struct handover_table *table)
{
    free(table->slots);
    *table = (struct handover_table){ 0 };
}
