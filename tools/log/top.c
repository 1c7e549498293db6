#include "tools/log/top.h"

#include <stdlib.h>
#include <string.h>

#define PLACES (2 * TOP_ENTRIES_MAX)

bool top_init(struct top *top)
{
    *top = (struct top){ .places = calloc(PLACES, sizeof *top->places),
                         .sorted = calloc(TOP_ENTRIES_MAX, sizeof *top->sorted) };
    return top->places != NULL && top->sorted != NULL;
}

void top_free(struct top *top)
{
    free(top->places);
    free(top->sorted);
    top->places = top->sorted = NULL;
}

static struct top_entry *place_of(struct top_entry *places, uint64_t key)
{
    uint64_t at = key * 0x9e3779b97f4a7c15u >> 40;
    while (places[at % PLACES].weight != 0 && places[at % PLACES].key != key)
        at++;
    return &places[at % PLACES];
}

static int by_weight(const void *a, const void *b)
{
    const struct top_entry *first = a, *second = b;
    if (first->weight != second->weight)
        return first->weight < second->weight ? 1 : -1;
    return first->key < second->key ? -1 : first->key > second->key;
}

/* Takes the median from each, and forgets what is left with nothing: half of them. */
static void forget(struct top *top)
{
    struct top_entry *old = top->sorted;
    uint32_t count = 0;
    for (uint32_t i = 0; i < PLACES; i++)
        if (top->places[i].weight != 0)
            old[count++] = top->places[i];
    qsort(old, count, sizeof *old, by_weight);
    uint64_t taken = old[count / 2].weight;
    memset(top->places, 0, PLACES * sizeof *top->places);
    top->count = 0;
    top->error += taken;
    for (uint32_t i = 0; i < count && old[i].weight > taken; i++) {
        *place_of(top->places, old[i].key) =
            (struct top_entry){ .key = old[i].key, .weight = old[i].weight - taken };
        top->count++;
    }
}

void top_add(struct top *top, uint64_t key, uint64_t weight)
{
    if (weight == 0)
        return;
    struct top_entry *place = place_of(top->places, key);
    if (place->weight == 0 && top->count == TOP_ENTRIES_MAX) {
        forget(top);
        place = place_of(top->places, key);
    }
    top->count += place->weight == 0;
    place->key = key;
    place->weight += weight;
}

uint32_t top_largest(const struct top *top, struct top_entry *largest, uint32_t max)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < PLACES; i++) {
        const struct top_entry *entry = &top->places[i];
        if (entry->weight == 0 || (count == max && by_weight(&largest[max - 1], entry) < 0))
            continue;
        uint32_t at = count < max ? count++ : max - 1;
        for (; at > 0 && by_weight(&largest[at - 1], entry) > 0; at--)
            largest[at] = largest[at - 1];
        largest[at] = *entry;
    }
    return count;
}
