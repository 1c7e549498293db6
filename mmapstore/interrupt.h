/* A flag that ends waits at once: of whoever waits for an image's news (mmapstore/image.h) or for
 * nothing but time. Set once, never taken back.
 *
 * Threads: any; interrupt_raise() also in a signal's handler. */
#ifndef MMAPSTORE_INTERRUPT_H
#define MMAPSTORE_INTERRUPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct interrupt {
    atomic_bool is_raised; /* for those who only look */
    _Atomic uint32_t word; /* the same, for those who sleep */
};

void interrupt_raise(struct interrupt *interrupt);

/* Waits until it is raised or `timeout_ns` passed. True: it is raised. */
bool interrupt_wait(struct interrupt *interrupt, uint64_t timeout_ns);

#endif
