#include "pgsync/backoff.h"

void backoff_reset(struct backoff *backoff)
{
    backoff->delay_ns = 0;
}

uint64_t backoff_next(struct backoff *backoff, uint64_t random)
{
    uint64_t top = backoff->delay_ns == 0 ? BACKOFF_MIN_NS * 3 : backoff->delay_ns * 3;
    if (top > BACKOFF_MAX_NS)
        top = BACKOFF_MAX_NS;
    backoff->delay_ns = BACKOFF_MIN_NS + random % (top - BACKOFF_MIN_NS + 1);
    return backoff->delay_ns;
}
