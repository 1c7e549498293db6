#include "core/agent/clock.h"

#include "core/agent/plan.h"

#define STEPPED DAA__CLOCK_STEPPED__CHANGE__STEPPED
#define RETURNED DAA__CLOCK_STEPPED__CHANGE__RETURNED
#define ACCEPTED DAA__CLOCK_STEPPED__CHANGE__ACCEPTED

static bool is_far_behind(int64_t difference_ns)
{
    return difference_ns < -(int64_t)LOG_CLOCK_STEPPED_NS;
}

/*--- What it is ------------------------------------------------------------------------------*/

bool agent_clock_is_trusted(const struct agent *agent)
{
    return !agent->clock_stepped;
}

uint64_t agent_time(const struct agent *agent, uint64_t log_ns)
{
    return log_ns > agent->shift_ns ? log_ns - agent->shift_ns : 0;
}

uint64_t agent_log_time(const struct agent *agent, uint64_t agent_ns)
{
    return agent_ns < UINT64_MAX - agent->shift_ns ? agent_ns + agent->shift_ns : UINT64_MAX;
}

uint64_t agent_shift_ns(const struct agent *agent)
{
    return agent->shift_ns;
}

void agent_clock_resume(const struct agent *agent, struct log_clock *clock, uint64_t last_ns,
                        uint64_t elapsed_ns, uint64_t wall_ns)
{
    if (agent->clock_stepped)
        log_clock_init_held(clock, last_ns, elapsed_ns);
    else
        log_clock_init(clock, last_ns, elapsed_ns, wall_ns);
    clock->behind_ns = agent->clock_behind_ns;
}

/*--- Which change is due ---------------------------------------------------------------------*/

void clock_watch_init(struct clock_watch *watch, const struct agent *agent, bool accepts)
{
    *watch = (struct clock_watch){ .accepts = accepts, .shift_ns = agent->shift_ns };
}

static bool is_steady(const struct clock_watch *watch, int64_t difference_ns)
{
    int64_t moved_ns;
    return !__builtin_sub_overflow(difference_ns, watch->difference_ns, &moved_ns) &&
           moved_ns <= CLOCK_JITTER_NS && moved_ns >= -CLOCK_JITTER_NS;
}

static int look_while_stepped(struct clock_watch *watch, const struct log_clock *clock,
                              uint64_t wall_ns)
{
    int64_t difference_ns = log_clock_difference_ns(clock, wall_ns);
    bool first = watch->stepped_ns == 0;
    if (first)
        watch->stepped_ns = clock->last_ns;
    if (first || !is_steady(watch, difference_ns)) {
        watch->difference_ns = difference_ns;
        watch->steady_ns = clock->last_ns;
    }
    /* A clock that trembles at the limit makes an event or two a second, not one a turn. */
    if (!log_clock_stepped(clock, wall_ns))
        return clock->last_ns - watch->stepped_ns >= CLOCK_RETURN_NS ? RETURNED : 0;
    return watch->accepts && clock->last_ns - watch->steady_ns >= CLOCK_STEADY_NS ? ACCEPTED : 0;
}

bool clock_watch_look(struct clock_watch *watch, const struct agent *agent,
                      const struct log_clock *clock, uint64_t wall_ns, struct command *command)
{
    int change = 0;
    if (agent->clock_stepped)
        change = look_while_stepped(watch, clock, wall_ns);
    else if (log_clock_stepped(clock, wall_ns))
        change = STEPPED;
    else if (agent->clock_behind_ns > 0 && !is_far_behind(log_clock_difference_ns(clock, wall_ns)))
        change = RETURNED;
    if (change == 0)
        return false;
    *command = (struct command){ .kind = COMMAND_CLOCK };
    command->clock.change = change;
    return true;
}

uint64_t clock_watch_follow(struct clock_watch *watch, const struct agent *agent,
                            struct log_clock *clock)
{
    uint64_t shift_ns = agent->shift_ns - watch->shift_ns;
    if (shift_ns > 0)
        log_clock_shift(clock, shift_ns);
    watch->shift_ns = agent->shift_ns;
    if (clock->held && !agent->clock_stepped)
        clock->behind_ns = agent->clock_behind_ns;
    clock->held = agent->clock_stepped;
    if (!agent->clock_stepped)
        watch->stepped_ns = 0;
    return shift_ns;
}

/*--- Decide and apply ------------------------------------------------------------------------*/

bool clock_decide(struct plan *plan)
{
    const struct agent *agent = plan->agent;
    const struct agent_moment *moment = plan->moment;
    int change = plan->command->clock.change;
    if (change == ACCEPTED && !agent->clock_stepped)
        return false;
    if ((change == STEPPED && agent->clock_stepped) ||
        (change == RETURNED && !agent->clock_stepped && agent->clock_behind_ns == 0))
        return true; /* it is so already */
    struct log_clock clock = { .last_ns = moment->now_ns };
    Daa__ClockStepped *body =
        plan_event(plan, DAA__EVENT__BODY_CLOCK_STEPPED, &daa__clock_stepped__descriptor);
    body->has_change = body->has_difference_ns = body->has_wall_ns = 1;
    body->change = (Daa__ClockStepped__Change)change;
    body->difference_ns = log_clock_difference_ns(&clock, moment->wall_ns);
    body->wall_ns = moment->wall_ns;
    if (change == ACCEPTED && body->difference_ns > 0) {
        body->has_shift_ns = 1;
        body->shift_ns = (uint64_t)body->difference_ns;
    }
    return true;
}

int clock_apply(struct agent *agent, const struct event_header *header,
                const Daa__ClockStepped *body)
{
    bool is_change =
        body->change == STEPPED || body->change == RETURNED || body->change == ACCEPTED;
    if (!body->has_change || !is_change || body->shift_ns > UINT64_MAX - agent->shift_ns)
        return ERROR_DAMAGED;
    agent->clock_stepped = body->change == STEPPED;
    if (body->change == ACCEPTED) {
        agent->shift_ns += body->shift_ns;
        if (body->shift_ns > 0)
            agent->shifted_at_ns = header->time_ns;
        agent->clock_behind_ns = 0;
        if (is_far_behind(body->difference_ns))
            agent->clock_behind_ns = -(uint64_t)body->difference_ns;
    }
    if (body->change == RETURNED && !is_far_behind(body->difference_ns))
        agent->clock_behind_ns = 0;
    agent->counts_changed = true;
    return 0;
}
