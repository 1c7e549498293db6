/* Documents on their way: batches of immutable values, and tables of the newest value of each key.
 *
 * A batch is filled by one thread, then only read. Its entries live as long as the batch, which is
 * counted: tables hold no count, whoever puts a batch into a table keeps the batch until it takes
 * the table's entries out again; a reader takes a reference under the table's lock and copies
 * without it.
 *
 * Memory is on the budget (BUDGET_DOCUMENTS) as far as it goes. A changed document cannot be
 * refused any more, so past the limit a batch takes memory all the same; what bounds it then is
 * admission (tools/agent/loop.h).
 *
 * Threads: a batch and a table belong to whoever holds the lock of their owner; references may be
 * dropped by any thread. */
#ifndef TOOLS_AGENT_HANDOVER_H
#define TOOLS_AGENT_HANDOVER_H

#include "core/base/budget.h"
#include "core/base/span.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct state_batch;

struct handover_entry {
    struct state_batch *batch;
    struct handover_entry *next; /* in its batch, in the order added */
    uint64_t hash;
    uint32_t key_size;
    uint32_t value_size;
    bool deleted;
    uint8_t bytes[]; /* key, then value */
};

struct handover_chunk;

struct state_batch {
    struct budget *budget;
    struct handover_chunk *chunks;
    struct handover_entry *first, *last;
    size_t bytes; /* keys and values */
    _Atomic uint32_t references;
    struct state_batch *next; /* the owner's */
};

static inline struct span handover_key(const struct handover_entry *entry)
{
    return span_of(entry->bytes, entry->key_size);
}

static inline struct span handover_value(const struct handover_entry *entry)
{
    return span_of(entry->bytes + entry->key_size, entry->value_size);
}

uint64_t handover_hash(struct span key);

struct state_batch *handover_batch_new(struct budget *budget); /* one reference */
void handover_batch_add(struct state_batch *batch, struct span key, struct span bytes);
/* The newest entry of this key, or NULL: a search through the whole batch. */
struct handover_entry *handover_batch_find(const struct state_batch *batch, struct span key);
void handover_batch_unref(struct state_batch *batch);

/* Open addressing, no removal: a table is emptied as a whole. */
struct handover_table {
    struct handover_entry **slots;
    uint64_t capacity; /* a power of two, or 0 */
    uint64_t count;
};

void handover_table_put(struct handover_table *table, struct handover_entry *entry);
struct handover_entry *handover_table_get(const struct handover_table *table, struct span key,
                                          uint64_t hash);
/* The entries in key order; the caller frees the array. */
struct handover_entry **handover_table_sorted(const struct handover_table *table);
void handover_table_clear(struct handover_table *table); /* keeps a small array of slots */
void handover_table_free(struct handover_table *table);

#endif
