#include "mmapstore/interrupt.h"

#include "mmapstore/futex.h"

void interrupt_raise(struct interrupt *interrupt)
{
    atomic_store(&interrupt->is_raised, true);
    atomic_store(&interrupt->word, 1);
    futex_wake_all(&interrupt->word);
}

bool interrupt_wait(struct interrupt *interrupt, uint64_t timeout_ns)
{
    struct timespec time;
    const struct timespec *deadline = futex_deadline(&time, timeout_ns);
    const struct futex_word word = { &interrupt->word, 0 };
    while (!atomic_load(&interrupt->is_raised) && futex_sleep(&word, 1, deadline))
        continue;
    return atomic_load(&interrupt->is_raised);
}
