/* The largest of many things that are counted by number, in bounded memory: exact while there are
 * at most TOP_ENTRIES_MAX of them. Of more, small ones are forgotten, and each count may be too low
 * by `error` at most (Misra and Gries); what has more than that is never forgotten.
 *
 * Threads: a top belongs to one thread. */
#ifndef TOOLS_LOG_TOP_H
#define TOOLS_LOG_TOP_H

#include <stdbool.h>
#include <stdint.h>

#define TOP_ENTRIES_MAX 32768u

struct top_entry {
    uint64_t key;    /* not 0 */
    uint64_t weight; /* 0: a free place */
};

struct top {
    struct top_entry *places; /* twice TOP_ENTRIES_MAX, by hash */
    struct top_entry *sorted; /* room for TOP_ENTRIES_MAX */
    uint32_t count;
    uint64_t error;
};

bool top_init(struct top *top); /* false: no memory */
void top_free(struct top *top);
void top_add(struct top *top, uint64_t key, uint64_t weight);

/* Fills in the `max` largest, the largest first; returns how many they are. */
uint32_t top_largest(const struct top *top, struct top_entry *largest, uint32_t max);

#endif
