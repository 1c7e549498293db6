#include "core/base/log_clock.h"

#include "core/base/check.h"

enum { SLEW_DIVISOR = 1000000 / LOG_CLOCK_SLEW_PPM };

_Static_assert(1000000 % LOG_CLOCK_SLEW_PPM == 0, "slewing is one ns in so many");

void log_clock_init(struct log_clock *clock, uint64_t last_ns, uint64_t elapsed_ns,
                    uint64_t wall_ns)
{
    *clock = (struct log_clock){
        .last_ns = last_ns > wall_ns ? last_ns : wall_ns,
        .last_elapsed_ns = elapsed_ns,
    };
}

void log_clock_init_held(struct log_clock *clock, uint64_t last_ns, uint64_t elapsed_ns)
{
    *clock = (struct log_clock){ .last_ns = last_ns, .last_elapsed_ns = elapsed_ns, .held = true };
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

static uint64_t apart_ns(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns > b_ns ? a_ns - b_ns : b_ns - a_ns;
}

/* What is nearer than 10 s needs no acceptance; and the wall clock that comes nearer by itself has
 * no right any more to be as far behind as it was. */
static void forget_behind(struct log_clock *clock, uint64_t wall_ns)
{
    uint64_t behind_ns = clock->last_ns > wall_ns ? clock->last_ns - wall_ns : 0;
    if (behind_ns < clock->behind_ns)
        clock->behind_ns = behind_ns;
    if (clock->behind_ns <= LOG_CLOCK_STEPPED_NS)
        clock->behind_ns = 0;
}

uint64_t log_clock_now(struct log_clock *clock, uint64_t elapsed_ns, uint64_t wall_ns)
{
    CHECK(elapsed_ns >= clock->last_elapsed_ns);
    uint64_t passed_ns = elapsed_ns - clock->last_elapsed_ns;
    uint64_t slew_ns = slew_allowed(clock, passed_ns);
    clock->last_ns += passed_ns;
    clock->last_elapsed_ns = elapsed_ns;
    if (clock->held || log_clock_stepped(clock, wall_ns))
        return clock->last_ns;
    uint64_t away_ns = apart_ns(wall_ns, clock->last_ns);
    if (slew_ns > away_ns)
        slew_ns = away_ns;
    if (wall_ns >= clock->last_ns)
        clock->last_ns += slew_ns;
    else
        clock->last_ns -= slew_ns;
    forget_behind(clock, wall_ns);
    return clock->last_ns;
}

int64_t log_clock_difference_ns(const struct log_clock *clock, uint64_t wall_ns)
{
    uint64_t away_ns = apart_ns(wall_ns, clock->last_ns);
    int64_t difference_ns = away_ns > INT64_MAX ? INT64_MAX : (int64_t)away_ns;
    return wall_ns >= clock->last_ns ? difference_ns : -difference_ns;
}

bool log_clock_stepped(const struct log_clock *clock, uint64_t wall_ns)
{
    uint64_t away_ns = apart_ns(wall_ns, clock->last_ns);
    if (wall_ns >= clock->last_ns)
        return away_ns > LOG_CLOCK_STEPPED_NS;
    return away_ns > LOG_CLOCK_STEPPED_NS && away_ns - LOG_CLOCK_STEPPED_NS > clock->behind_ns;
}

void log_clock_shift(struct log_clock *clock, uint64_t shift_ns)
{
    clock->last_ns += shift_ns;
}

uint64_t log_clock_slewing_ns(int64_t difference_ns)
{
    uint64_t away_ns = difference_ns < 0 ? -(uint64_t)difference_ns : (uint64_t)difference_ns;
    return away_ns > UINT64_MAX / SLEW_DIVISOR ? UINT64_MAX : away_ns * SLEW_DIVISOR;
}
