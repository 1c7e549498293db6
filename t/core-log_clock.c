#include "tap.h"

#include "core/base/log_clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

static const uint64_t second = 1000000000ull, year = 31557600ull * 1000000000ull;

static void start(void)
{
    struct log_clock clock;
    log_clock_init(&clock, 0, 77, 1000 * second);
    is_int(log_clock_now(&clock, 77, 1000 * second), 1000 * second,
           "a new log starts at wall time");
    log_clock_init(&clock, 2000 * second, 77, 1000 * second);
    is_int(log_clock_now(&clock, 77, 1000 * second), 2000 * second,
           "a log whose newest time lies ahead of the wall clock goes on from there");
    ok(log_clock_stepped(&clock, 1000 * second), "and the wall clock counts as stepped");
    log_clock_init(&clock, 500 * second, 77, 1000 * second);
    is_int(log_clock_now(&clock, 77, 1000 * second), 1000 * second,
           "one that lies behind continues at wall time");
    ok(!log_clock_stepped(&clock, 1000 * second), "which is no step");
}

static void slews(void)
{
    struct log_clock clock;
    log_clock_init(&clock, 0, 0, 1000 * second);
    is_int(log_clock_now(&clock, second, 1002 * second), 1001 * second + 500000,
           "a wall clock ahead pulls log time forward by 500 us a second");
    log_clock_init(&clock, 0, 0, 1000 * second);
    is_int(log_clock_now(&clock, second, 1000 * second), 1001 * second - 500000,
           "one behind holds it back by as much");
    log_clock_init(&clock, 0, 0, 1000 * second);
    is_int(log_clock_now(&clock, second, 1001 * second + 300), 1001 * second + 300,
           "a difference smaller than that is gone at once");
    log_clock_init(&clock, 0, 0, 1000 * second);
    for (uint64_t i = 1; i <= 1000000; i++)
        (void)log_clock_now(&clock, i * 100, 1002 * second);
    is_int(clock.last_ns, 1000 * second + 100050000,
           "calls every 100 ns slew as much as one call in 100 ms");
    log_clock_init(&clock, 0, 0, 1000 * second);
    is_int(log_clock_now(&clock, 3 * year, 1000 * second + 3 * year), 1000 * second + 3 * year,
           "three years between two calls are no problem");
}

/* What is off by more than 10 s may as well be the wall clock: log time is not spoiled by it. */
static void distrusts(void)
{
    struct log_clock clock;
    log_clock_init(&clock, 0, 0, 1000 * second);
    is_int(log_clock_now(&clock, 100 * second, 1200 * second), 1100 * second,
           "a wall clock that was stepped ahead does not pull");
    is_int(log_clock_now(&clock, 200 * second, 1000 * second), 1200 * second,
           "nor does one that was stepped back");
    is_int(log_clock_now(&clock, 300 * second, 1301 * second), 1300 * second + 50000000,
           "until it has returned");
    clock.held = true;
    is_int(log_clock_now(&clock, 400 * second, 1401 * second), 1400 * second + 50000000,
           "held, log time is not slewed at all");
    log_clock_init_held(&clock, 5 * second, 77);
    is_int(log_clock_now(&clock, 78, 1000 * second), 5 * second + 1,
           "a start that is held goes on from the log alone");
}

static void accepted(void)
{
    struct log_clock clock;
    log_clock_init(&clock, 5000 * second, 0, 1000 * second);
    ok(log_clock_stepped(&clock, 1000 * second), "4000 s behind is stepped");
    is_int(log_clock_difference_ns(&clock, 1000 * second), -4000 * (int64_t)second, "so far");
    clock.behind_ns = 4000 * second;
    ok(!log_clock_stepped(&clock, 1000 * second), "unless it was accepted so");
    is_int(log_clock_now(&clock, 1000 * second, 2000 * second), 6000 * second - second / 2,
           "then log time is slewed down");
    is_int(clock.behind_ns, 3999 * second + second / 2, "and less is left of what was accepted");
    ok(!log_clock_stepped(&clock, 1991 * second), "10 s more is no step");
    ok(log_clock_stepped(&clock, 1989 * second), "what is more is one");
    ok(!log_clock_stepped(&clock, 6000 * second), "to come back is none");
    ok(log_clock_stepped(&clock, 6010 * second), "to come back too far is one");
    is_int(log_clock_slewing_ns(-4000 * (int64_t)second), 8000000 * second,
           "4000 s are slewed away in 8 million");
    is_int(log_clock_slewing_ns(INT64_MIN) == UINT64_MAX, 1, "what is too much is very long");
    (void)log_clock_now(&clock, 1001 * second, 6000 * second);
    is_int(clock.behind_ns, 0, "once it is back, nothing is left of it");
    clock.held = true;
    log_clock_shift(&clock, 100 * second);
    is_int(log_clock_now(&clock, 1002 * second, 0), 6101 * second + second / 2 - 500000,
           "log time can be moved on");
    is_int(log_clock_difference_ns(&(struct log_clock){ .last_ns = 0 }, UINT64_MAX), INT64_MAX,
           "a difference has an end");
}

static void stepped(void)
{
    struct log_clock clock;
    log_clock_init(&clock, 0, 0, 2 * year);
    (void)log_clock_now(&clock, second, 2 * year + second);
    ok(!log_clock_stepped(&clock, 2 * year + 11 * second), "10 s ahead is no step");
    ok(log_clock_stepped(&clock, 2 * year + 11 * second + 1), "more is");
    ok(!log_clock_stepped(&clock, 2 * year - 9 * second), "10 s behind is no step");
    ok(log_clock_stepped(&clock, 2 * year - 9 * second - 1), "more is");
    ok(log_clock_stepped(&clock, 0), "so is a wall clock at its beginning");
    ok(log_clock_stepped(&clock, UINT64_MAX), "and one at its end");
}

static void never_back(uint64_t seed)
{
    struct log_clock clock;
    uint64_t monotonic = 0, wall = 10 * year, last = 0;
    unsigned back = 0, same = 0, far = 0;
    srand48((long)seed);
    log_clock_init(&clock, 0, monotonic, wall);
    last = log_clock_now(&clock, monotonic, wall);
    for (int i = 0; i < 300000; i++) {
        static const uint64_t steps[] = { 0, 1, 2, 3, 1000, 5000, 1000000, 60000000000ull };
        uint64_t elapsed = steps[lrand48() % 8];
        monotonic += elapsed;
        wall += elapsed;
        if (lrand48() % 100 == 0)
            wall = (uint64_t)lrand48() * 1000000000ull; /* the clock is set, up to 68 years */
        uint64_t now = log_clock_now(&clock, monotonic, wall);
        uint64_t moved = now - last, slack = elapsed / 2000 + 1;
        back += now < last;
        same += elapsed > 0 && now == last;
        far += moved > elapsed + slack || moved + slack < elapsed;
        last = now;
    }
    is_int(back, 0, "whatever the wall clock does, log time never goes back (seed %" PRIu64 ")",
           seed);
    is_int(same, 0, "nor stands still while the monotonic clock moves");
    is_int(far, 0, "nor differs from it by more than 500 ppm");
}

int main(void)
{
    const char *given = getenv("TEST_SEED");
    start();
    slews();
    distrusts();
    accepted();
    stepped();
    never_back(given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL));
    return tap_done();
}
