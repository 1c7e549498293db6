/* Sleeping on a word of memory until somebody changes it. For mmapstore/ only.
 *
 * Threads: any. */
#ifndef MMAPSTORE_FUTEX_H
#define MMAPSTORE_FUTEX_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* A word and what it was when it was last looked at. Of shared memory, also of another process's
 * that is mapped read-only. */
struct futex_word {
    _Atomic uint32_t *word;
    uint32_t seen;
};

/* `timeout_ns` from now, monotonic. NULL: longer than a clock can say. */
const struct timespec *futex_deadline(struct timespec *deadline, uint64_t timeout_ns);

void futex_wake_all(_Atomic uint32_t *word);

/* Sleeps until one of `count` words (1 or 2) is not what was seen, or the deadline. False when the
 * deadline is over; true may mean nothing. */
bool futex_sleep(const struct futex_word *words, unsigned count, const struct timespec *deadline);

#endif
