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
    stepped();
    never_back(given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL));
    return tap_done();
}
