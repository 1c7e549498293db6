#include "mmapstore/futex.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)
#define SLICE_NS UINT64_C(100000000) /* where only one word can be waited for */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

const struct timespec *futex_deadline(struct timespec *deadline, uint64_t timeout_ns)
{
    uint64_t end_ns = now_ns() + timeout_ns;
    if (end_ns < timeout_ns || timeout_ns / SECOND_NS > INT_MAX)
        return NULL;
    deadline->tv_sec = (time_t)(end_ns / SECOND_NS);
    deadline->tv_nsec = (long)(end_ns % SECOND_NS);
    return deadline;
}

void futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static bool is_changed(const struct futex_word *words, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (atomic_load_explicit(words[i].word, memory_order_acquire) != words[i].seen)
            return true;
    return false;
}

/* Not private: the writer is another process. A read-only mapping will do. */
static int sleep_on_one(const struct futex_word *word, const struct timespec *deadline)
{
    return syscall(SYS_futex, word->word, FUTEX_WAIT_BITSET, word->seen, deadline, NULL,
                   FUTEX_BITSET_MATCH_ANY) < 0
               ? errno
               : 0;
}

static int sleep_on_two(const struct futex_word *words, const struct timespec *deadline)
{
#ifdef SYS_futex_waitv
    struct futex_waitv both[2];
    for (unsigned i = 0; i < 2; i++)
        both[i] = (struct futex_waitv){ .val = words[i].seen,
                                        .uaddr = (uintptr_t)words[i].word,
                                        .flags = FUTEX_32 };
    return syscall(SYS_futex_waitv, both, 2, 0, deadline, CLOCK_MONOTONIC) < 0 ? errno : 0;
#else
    (void)words;
    (void)deadline;
    return ENOSYS;
#endif
}

/* Before Linux 5.16, or where a filter forbids it: the second one is looked at now and then. */
static int sleep_on_first(const struct futex_word *words, const struct timespec *deadline)
{
    struct timespec slice;
    uint64_t end_ns = deadline == NULL
                          ? UINT64_MAX
                          : (uint64_t)deadline->tv_sec * SECOND_NS + (uint64_t)deadline->tv_nsec;
    uint64_t now = now_ns();
    if (now >= end_ns)
        return ETIMEDOUT;
    uint64_t left_ns = end_ns - now;
    int code = sleep_on_one(words, futex_deadline(&slice, left_ns < SLICE_NS ? left_ns : SLICE_NS));
    return code == ETIMEDOUT && left_ns > SLICE_NS ? EAGAIN : code;
}

bool futex_sleep(const struct futex_word *words, unsigned count, const struct timespec *deadline)
{
    if (is_changed(words, count))
        return true;
    int code = count == 1 ? sleep_on_one(words, deadline) : sleep_on_two(words, deadline);
    if (count == 2 && code != 0 && code != EAGAIN && code != EINTR && code != ETIMEDOUT)
        code = sleep_on_first(words, deadline);
    return code == 0 || code == EINTR || code == EAGAIN;
}
