#include "core/base/table.h"

#include "core/base/check.h"
#include "core/base/error.h"

#include <stddef.h>
#include <string.h>

enum { CAPACITY_MIN = 16 };

/* A bijection, so that dense keys spread and no two keys are the same hash. */
static uint64_t hash(uint64_t key)
{
    key ^= key >> 32;
    key *= 0xd6e8feb86659fd93ull;
    key ^= key >> 32;
    key *= 0xd6e8feb86659fd93ull;
    key ^= key >> 32;
    return key;
}

static uint64_t home(const struct table *table, uint64_t key)
{
    return hash(key) & (table->capacity - 1);
}

static uint64_t room(uint64_t capacity)
{
    return capacity - capacity / 4;
}

/* The slot that holds `key`, or the free one where it would go. */
static uint64_t find(const struct table *table, uint64_t key)
{
    uint64_t index = home(table, key);
    while (table->slots[index].key != 0 && table->slots[index].key != key)
        index = (index + 1) & (table->capacity - 1);
    return index;
}

void table_init(struct table *table, struct budget *budget, enum budget_owner owner)
{
    *table = (struct table){ .budget = budget, .owner = owner };
}

void table_free(struct table *table)
{
    budget_free(table->budget, table->owner, table->slots, table->capacity * sizeof *table->slots);
    table_init(table, table->budget, table->owner);
}

void *table_get(const struct table *table, uint64_t key)
{
    CHECK(key != 0);
    if (table->count == 0)
        return NULL;
    return table->slots[find(table, key)].value;
}

int table_reserve(struct table *table, uint64_t count)
{
    if (count > UINT32_MAX || table->count + count > UINT32_MAX)
        return ERROR_BUDGET;
    uint64_t needed = table->count + count, capacity = table->capacity;
    if (needed <= room(capacity))
        return 0;
    if (capacity < CAPACITY_MIN)
        capacity = CAPACITY_MIN;
    while (room(capacity) < needed)
        capacity *= 2;

    size_t size = capacity * sizeof *table->slots;
    struct table_slot *slots = budget_allocate(table->budget, table->owner, size);
    if (slots == NULL)
        return ERROR_BUDGET;
    memset(slots, 0, size);
    struct table old = *table;
    table->slots = slots;
    table->capacity = capacity;
    for (uint64_t i = 0; i < old.capacity; i++)
        if (old.slots[i].key != 0)
            table->slots[find(table, old.slots[i].key)] = old.slots[i];
    budget_free(old.budget, old.owner, old.slots, old.capacity * sizeof *old.slots);
    return 0;
}

void table_put(struct table *table, uint64_t key, void *value)
{
    CHECK(key != 0);
    CHECK(value != NULL);
    CHECK(table->capacity > 0);
    struct table_slot *slot = &table->slots[find(table, key)];
    if (slot->key == 0) {
        CHECK(table->count < room(table->capacity));
        table->count++;
    }
    *slot = (struct table_slot){ key, value };
}

void *table_remove(struct table *table, uint64_t key)
{
    CHECK(key != 0);
    if (table->count == 0)
        return NULL;
    uint64_t mask = table->capacity - 1, hole = find(table, key);
    void *value = table->slots[hole].value;
    if (value == NULL)
        return NULL;
    /* Whoever comes after the hole and could live in it moves there, so that no search ends at
     * it too early and no tombstones pile up. */
    for (uint64_t next = (hole + 1) & mask; table->slots[next].key != 0; next = (next + 1) & mask) {
        uint64_t distance = (next - home(table, table->slots[next].key)) & mask;
        if (distance >= ((next - hole) & mask)) {
            table->slots[hole] = table->slots[next];
            hole = next;
        }
    }
    table->slots[hole] = (struct table_slot){ 0, NULL };
    table->count--;
    return value;
}

void *table_each(const struct table *table, uint64_t *at, uint64_t *key)
{
    while (*at < table->capacity) {
        const struct table_slot *slot = &table->slots[(*at)++];
        if (slot->key != 0) {
            if (key != NULL)
                *key = slot->key;
            return slot->value;
        }
    }
    return NULL;
}
