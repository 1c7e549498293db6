/* A hash table from a 64-bit key to a pointer: open addressing, linear probing, backward-shift
 * deletion, at most 3/4 full. Key 0 is not allowed, nor is a NULL value. Keys are numbers that we
 * give out (sequence numbers): the hash is fixed and no defence against chosen keys.
 *
 * A table never shrinks. Growing moves every key at once, about 20 ns each, and holds the old and
 * the new slots until it is done: reserve early for what is known to come.
 *
 * Threads: a table belongs to one thread at a time. */
#ifndef CORE_BASE_TABLE_H
#define CORE_BASE_TABLE_H

#include "core/base/budget.h"

#include <stdint.h>

struct table_slot {
    uint64_t key; /* 0: free */
    void *value;
};

struct table {
    struct budget *budget;
    enum budget_owner owner;
    struct table_slot *slots;
    uint64_t capacity; /* a power of two, or 0 */
    uint64_t count;
};

void table_init(struct table *table, struct budget *budget, enum budget_owner owner);
void table_free(struct table *table);                     /* the values stay the caller's */
void *table_get(const struct table *table, uint64_t key); /* NULL: not there */
/* Makes room for `count` more keys than there are now, so that the next `count` puts of new keys
 * cannot fail. 0 or ERROR_BUDGET (nothing has changed then); at most 2^32 - 1 keys. */
int table_reserve(struct table *table, uint64_t count);
/* Puts or replaces. Room must have been reserved for a new key. */
void table_put(struct table *table, uint64_t key, void *value);
void *table_remove(struct table *table, uint64_t key); /* what was there, or NULL */
/* Walks all, in no order: start with *at = 0; returns the next value, or NULL at the end. `key`
 * may be NULL. No puts or removals in between. */
void *table_each(const struct table *table, uint64_t *at, uint64_t *key);

#endif
