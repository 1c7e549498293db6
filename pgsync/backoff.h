/* How long to wait before the next try: decorrelated jitter, so that many clients of a server that
 * comes back do not all return at once. Pure: the caller brings the randomness and does the
 * waiting.
 *
 * Each delay is drawn evenly between BACKOFF_MIN_NS and three times the one before, and is never
 * over BACKOFF_MAX_NS. Threads: a backoff belongs to its owner. */
#ifndef PGSYNC_BACKOFF_H
#define PGSYNC_BACKOFF_H

#include <stdint.h>

#define BACKOFF_MIN_NS UINT64_C(100000000)   /* 100 ms */
#define BACKOFF_MAX_NS UINT64_C(30000000000) /* 30 s */

struct backoff {
    uint64_t delay_ns; /* the one before; 0: the next is the first after a success */
};

/* After a success: the next delay is short again. */
void backoff_reset(struct backoff *backoff);

/* The next delay in nanoseconds; `random` is any 64 random bits. */
uint64_t backoff_next(struct backoff *backoff, uint64_t random);

#endif
