/* Delays between tries: their bounds and their spread. */
#include "pgsync/backoff.h"
#include "tap.h"

int main(void)
{
    struct backoff backoff = { 0 };
    is_int(backoff_next(&backoff, 0), BACKOFF_MIN_NS, "the shortest first delay is 100 ms");

    backoff_reset(&backoff);
    uint64_t first = backoff_next(&backoff, 2 * BACKOFF_MIN_NS);
    is_int(first, 3 * BACKOFF_MIN_NS, "the longest first delay is three times that");
    is_int(backoff_next(&backoff, 8 * BACKOFF_MIN_NS), 9 * BACKOFF_MIN_NS,
           "a delay is at most three times the one before");

    uint64_t random = 88172645463325252u;
    bool within = true, differs = false;
    uint64_t highest = 0, before = 0;
    for (int i = 0; i < 100000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        uint64_t delay = backoff_next(&backoff, random);
        within = within && delay >= BACKOFF_MIN_NS && delay <= BACKOFF_MAX_NS;
        differs = differs || (i > 0 && delay != before);
        highest = delay > highest ? delay : highest;
        before = delay;
    }
    ok(within, "no delay leaves 100 ms to 30 s, however many there were");
    ok(differs, "delays differ");
    ok(highest > BACKOFF_MAX_NS / 10 * 9, "long failure leads to delays near 30 s");

    backoff.delay_ns = BACKOFF_MAX_NS;
    ok(backoff_next(&backoff, UINT64_MAX) <= BACKOFF_MAX_NS,
       "the largest random number stays within");

    backoff_reset(&backoff);
    ok(backoff_next(&backoff, UINT64_MAX) <= 3 * BACKOFF_MIN_NS,
       "after a success the next delay is short again");
    return tap_done();
}
