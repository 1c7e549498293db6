#include "core/base/log_clock.h"

#include "core/base/check.h"

enum { SLEW_DIVISOR = 1000000 / LOG_CLOCK_SLEW_PPM };

_Static_assert(1000000 % LOG_CLOCK_SLEW_PPM == 0, "slewing is one ns in so many");

void log_clock_init(struct log_clock *clock, uint64_t last_ns, uint64_t monotonic_ns,
                    uint64_t wall_ns)
{
    *clock = (struct log_clock){
        .last_ns = last_ns > wall_ns ? last_ns : wall_ns,
        .last_monotonic_ns = monotonic_ns,
    };
}

/* How far log time may be moved in `elapsed_ns`. Calls can be closer together than 2000 ns, so the
 * rest is kept; it stays below what elapsed, so that log time always moves on. */
static uint64_t slew_allowed(struct log_clock *clock, uint64_t elapsed_ns)
{
    uint64_t rest = elapsed_ns % SLEW_DIVISOR + clock->slew_rest;
    uint64_t allowed = elapsed_ns / SLEW_DIVISOR + rest / SLEW_DIVISOR;
    clock->slew_rest = (uint32_t)(rest % SLEW_DIVISOR);
    if (allowed >= elapsed_ns)
        allowed = elapsed_ns > 0 ? elapsed_ns - 1 : 0;
    return allowed;
}

uint64_t log_clock_now(struct log_clock *clock, uint64_t monotonic_ns, uint64_t wall_ns)
{
    CHECK(monotonic_ns >= clock->last_monotonic_ns);
    uint64_t elapsed_ns = monotonic_ns - clock->last_monotonic_ns;
    uint64_t now_ns = clock->last_ns + elapsed_ns, slew_ns = slew_allowed(clock, elapsed_ns);
    if (wall_ns >= now_ns)
        now_ns += wall_ns - now_ns < slew_ns ? wall_ns - now_ns : slew_ns;
    else
        now_ns -= now_ns - wall_ns < slew_ns ? now_ns - wall_ns : slew_ns;
    clock->last_ns = now_ns;
    clock->last_monotonic_ns = monotonic_ns;
    return now_ns;
}

bool log_clock_stepped(const struct log_clock *clock, uint64_t wall_ns)
{
    uint64_t away_ns =
        wall_ns > clock->last_ns ? wall_ns - clock->last_ns : clock->last_ns - wall_ns;
    return away_ns > LOG_CLOCK_STEPPED_NS;
}
