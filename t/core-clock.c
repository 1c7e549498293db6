/* The clock as the agent sees it, on a machine whose clocks do what a test says. */
#include "agent_shell.h"
#include "core/agent/clock.h"
#include "tap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND SHELL_SECOND
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define YEAR (365 * DAY)
#define BEGIN (1700000000 * SECOND)

struct machine {
    struct agent_shell shell;
    struct log_clock clock;
    struct clock_watch watch;
    uint64_t elapsed_ns, wall_ns;
    bool accepts;
};

/* What the loop does in each turn. */
static void look(struct machine *machine)
{
    struct agent_shell *shell = &machine->shell;
    struct command command;
    shell->now_ns = log_clock_now(&machine->clock, machine->elapsed_ns, machine->wall_ns);
    shell->wall_ns = machine->wall_ns;
    for (int i = 0; clock_watch_look(&machine->watch, shell->agent, &machine->clock,
                                     machine->wall_ns, &command);
         i++) {
        if (i == 4)
            tap_bail_out("the clock wants change after change");
        (void)shell_do(shell, &command);
        shell->now_ns += clock_watch_follow(&machine->watch, shell->agent, &machine->clock);
    }
}

static struct machine *begin(bool accepts)
{
    static struct machine machine;
    machine = (struct machine){ .elapsed_ns = 77, .wall_ns = BEGIN, .accepts = accepts };
    shell_open(&machine.shell);
    log_clock_init(&machine.clock, 0, machine.elapsed_ns, machine.wall_ns);
    clock_watch_init(&machine.watch, machine.shell.agent, accepts);
    look(&machine);
    return &machine;
}

static void pass(struct machine *machine, uint64_t ns)
{
    machine->elapsed_ns += ns;
    machine->wall_ns += ns;
    look(machine);
}

static void set(struct machine *machine, int64_t by_ns)
{
    machine->wall_ns += (uint64_t)by_ns;
    look(machine);
}

static bool accept_clock(struct machine *machine)
{
    struct command command = { .kind = COMMAND_CLOCK };
    command.clock.change = DAA__CLOCK_STEPPED__CHANGE__ACCEPTED;
    bool done = shell_do(&machine->shell, &command) == DECISION_EVENTS;
    machine->shell.now_ns +=
        clock_watch_follow(&machine->watch, machine->shell.agent, &machine->clock);
    return done;
}

/* The agent's last event tells how far log time has come. */
static void stop(struct machine *machine)
{
    struct command command = { .kind = COMMAND_STOP };
    command.stop.reason = span_of_text("a test");
    (void)shell_do(&machine->shell, &command);
}

/* The machine was off, or the agent alone, for so long. */
static void restart(struct machine *machine, uint64_t down_ns)
{
    struct agent_shell *shell = &machine->shell;
    uint64_t last_ns =
        shell->log_count > 0 ? shell->log[shell->log_count - 1].header.time_ns : shell->now_ns;
    shell_restart(shell, &shell->documents, shell->log_count);
    machine->elapsed_ns = 5;
    machine->wall_ns += down_ns;
    agent_clock_resume(shell->agent, &machine->clock, last_ns, machine->elapsed_ns,
                       machine->wall_ns);
    clock_watch_init(&machine->watch, shell->agent, machine->accepts);
    look(machine);
}

static Daa__ClockStepped *event_at(const struct machine *machine, size_t at, struct arena *arena)
{
    const struct shell_event *record = &machine->shell.log[at];
    Daa__Event *event;
    if (event_unpack(record->header.kind, span_of(record->bytes, record->size), arena, &event) < 0)
        tap_bail_out("an event cannot be unpacked");
    return event->clock_stepped;
}

/* "stepped +3600, accepted +3600 >3600": the changes, differences and shifts in seconds. */
static const char *story(struct machine *machine)
{
    static const char *const names[] = { "?", "stepped", "returned", "accepted" };
    static char text[2000];
    struct arena arena;
    arena_init(&arena, &machine->shell.budget, BUDGET_READERS, 4096);
    size_t size = 0;
    text[0] = '\0';
    for (size_t i = 0; i < machine->shell.log_count && size < sizeof text - 100; i++) {
        if (machine->shell.log[i].header.kind != DAA__EVENT__BODY_CLOCK_STEPPED)
            continue;
        const Daa__ClockStepped *body = event_at(machine, i, &arena);
        size +=
            (size_t)snprintf(text + size, sizeof text - size, "%s%s %+.0f", size > 0 ? ", " : "",
                             names[body->change], (double)body->difference_ns / 1e9);
        if (body->has_shift_ns)
            size += (size_t)snprintf(text + size, sizeof text - size, " >%.0f",
                                     (double)body->shift_ns / 1e9);
    }
    arena_free(&arena);
    return text;
}

/* Ends the test: a replay of the log from its beginning gives the same documents. */
static void end(struct machine *machine)
{
    struct agent_shell *shell = &machine->shell;
    struct shell_documents documents = { NULL, 0, 0 };
    uint8_t live[SHA256_SIZE], replayed[SHA256_SIZE];
    agent_close(shell_replay(shell, &documents, 0));
    shell_documents_digest(&shell->documents, live);
    shell_documents_digest(&documents, replayed);
    is_mem(replayed, live, sizeof live, "a replay gives the same documents");
    shell_documents_free(&documents);
    shell_close(shell);
}

static bool trusts(const struct machine *machine)
{
    return agent_clock_is_trusted(machine->shell.agent);
}

static uint64_t now(const struct machine *machine)
{
    return machine->shell.now_ns;
}

static uint64_t agent_now(const struct machine *machine)
{
    return agent_time(machine->shell.agent, machine->shell.now_ns);
}

/*--- What is no step -------------------------------------------------------------------------*/

static void small_things(void)
{
    struct machine *machine = begin(false);
    set(machine, SECOND);
    pass(machine, HOUR);
    set(machine, -2 * (int64_t)SECOND);
    pass(machine, HOUR);
    set(machine, SECOND);
    pass(machine, 2 * HOUR);
    is_int(now(machine), machine->wall_ns, "+-1 s is slewed away");
    for (int i = 0; i < 10000; i++) {
        uint64_t before_ns = now(machine);
        set(machine, i % 2 == 0 ? -5 * (int64_t)SECOND : 5 * (int64_t)SECOND);
        pass(machine, 1000);
        if (now(machine) <= before_ns)
            tap_bail_out("log time went back");
    }
    uint64_t before_ns = now(machine);
    pass(machine, 8 * HOUR);
    is_int(now(machine) - before_ns, 8 * HOUR, "suspend is time that passed");
    is_str(story(machine), "", "none of it, nor jitter of 5 s, is worth an event");
    end(machine);
}

static void drift(int64_t ppm)
{
    struct machine *machine = begin(false);
    uint64_t apart_ns = 0;
    for (uint64_t i = 0; i < 30 * DAY / (10 * SECOND); i++) {
        machine->wall_ns += (uint64_t)(ppm * 10000); /* of 10 s, in ns */
        pass(machine, 10 * SECOND);
        int64_t difference_ns = log_clock_difference_ns(&machine->clock, machine->wall_ns);
        uint64_t away_ns = (uint64_t)llabs(difference_ns);
        apart_ns = away_ns > apart_ns ? away_ns : apart_ns;
    }
    is_str(story(machine), "", "a month of %+" PRId64 " ppm is no step", ppm);
    is_int(apart_ns, 0, "log time follows it");
    end(machine);
}

static void too_much_drift(void)
{
    struct machine *machine = begin(false);
    for (int i = 0; i < 30000; i++) {
        machine->wall_ns += SECOND / 1000;
        pass(machine, SECOND);
    }
    is_str(story(machine), "stepped +10", "1000 ppm is a broken clock, and is told in the end");
    end(machine);
}

/*--- Steps -----------------------------------------------------------------------------------*/

static void step_and_return(int64_t by_ns, const char *want)
{
    struct machine *machine = begin(false);
    pass(machine, HOUR);
    uint64_t stepped_ns = now(machine);
    set(machine, by_ns);
    is_int(now(machine), stepped_ns, "log time is as before");
    ok(!trusts(machine), "a time of day is not to be acted upon");
    pass(machine, DAY);
    is_int(now(machine) - stepped_ns, DAY, "what elapses is counted, and nothing else");
    set(machine, -by_ns);
    pass(machine, SECOND);
    ok(trusts(machine), "when it is back it is trusted again");
    is_int(now(machine), machine->wall_ns, "log time is wall time again");
    is_int(agent_shift_ns(machine->shell.agent), 0, "and was never moved");
    is_str(story(machine), want, "the log tells it");
    end(machine);
}

static void accept_ahead(uint64_t by_ns, const char *want)
{
    struct machine *machine = begin(false);
    ok(!accept_clock(machine), "a clock that was not stepped cannot be accepted");
    is_str(machine->shell.decision.refusal.code, "clock-not-stepped", "with that reason");
    is_int(machine->shell.decision.refusal.status, 409, "and status");
    set(machine, (int64_t)by_ns);
    pass(machine, MINUTE);
    uint64_t log_ns = now(machine), agent_ns = agent_now(machine);
    ok(accept_clock(machine), "it can be accepted when it was");
    is_int(now(machine) - log_ns, by_ns, "log time moves on at once");
    is_int(now(machine), machine->wall_ns, "to wall time");
    is_int(agent_now(machine), agent_ns, "agent time does not");
    is_int(agent_log_time(machine->shell.agent, agent_ns), now(machine),
           "which can be turned into log time");
    is_int(agent_shift_ns(machine->shell.agent), by_ns, "the agent knows how far it was");
    ok(trusts(machine), "and trusts the clock");
    pass(machine, HOUR);
    is_int(agent_now(machine) - agent_ns, HOUR, "both go on");
    is_int(now(machine), machine->wall_ns, "from there");
    ok(!accept_clock(machine), "once is enough");
    restart(machine, HOUR);
    is_int(now(machine), machine->wall_ns, "after a restart log time is wall time");
    is_int(agent_now(machine) - agent_ns, 2 * HOUR, "and agent time has gone on with it");
    is_str(story(machine), want, "the log tells it");
    end(machine);
}

static void accept_behind(void)
{
    struct machine *machine = begin(false);
    set(machine, -(int64_t)HOUR);
    uint64_t log_ns = now(machine);
    ok(accept_clock(machine), "a wall clock that is behind can be accepted");
    is_int(now(machine), log_ns, "log time stands for what it is");
    ok(trusts(machine), "the wall clock is trusted");
    pass(machine, 1000 * SECOND);
    is_int(now(machine) - log_ns, 1000 * SECOND - SECOND / 2, "log time is slowed down");
    stop(machine);
    restart(machine, 0);
    ok(trusts(machine), "a restart does not doubt what was accepted");
    set(machine, -(int64_t)HOUR);
    ok(!trusts(machine), "a clock that goes back further was stepped again");
    set(machine, (int64_t)HOUR);
    pass(machine, SECOND);
    ok(trusts(machine), "and has returned where it was accepted");
    uint64_t hours = 0;
    while (strstr(story(machine), "returned -8") == NULL && hours++ < 3000)
        pass(machine, HOUR);
    is_int(hours, 1995, "2000 times as long as what is left over 10 s, they agree again");
    pass(machine, 6 * HOUR);
    is_int(now(machine), machine->wall_ns, "in the end log time is wall time");
    is_str(story(machine),
           "stepped -3600, accepted -3600, stepped -7200, returned -3600, returned -8",
           "the log tells it");
    end(machine);
}

static void accept_by_itself(void)
{
    struct machine *machine = begin(true);
    set(machine, (int64_t)HOUR);
    for (int i = 0; i < 59; i++)
        pass(machine, SECOND);
    ok(!trusts(machine), "before a minute is over nothing is accepted");
    pass(machine, SECOND);
    ok(trusts(machine), "what is steady for a minute is");
    is_int(now(machine), machine->wall_ns, "as if somebody had accepted it");
    set(machine, (int64_t)HOUR);
    for (int i = 0; i < 100; i++) {
        pass(machine, 30 * SECOND);
        set(machine, i % 2 == 0 ? 2 * (int64_t)SECOND : -2 * (int64_t)SECOND);
    }
    ok(!trusts(machine), "what is not steady is not");
    is_str(story(machine), "stepped +3600, accepted +3600 >3600, stepped +3600",
           "the log tells it");
    end(machine);
}

static void trembles(void)
{
    struct machine *machine = begin(false);
    for (int i = 0; i < 100000; i++) {
        machine->wall_ns = now(machine) + 100000 + 10 * SECOND + (i % 2 == 0 ? 1000 : 0);
        machine->elapsed_ns += 100000;
        look(machine);
    }
    ok(machine->shell.log_count >= 2 && machine->shell.log_count <= 22,
       "10 s of trembling at the limit are %zu events, two a second at most",
       machine->shell.log_count);
    end(machine);
}

/*--- Restarts --------------------------------------------------------------------------------*/

static void restarts(void)
{
    struct machine *machine = begin(false);
    set(machine, (int64_t)HOUR);
    set(machine, -(int64_t)HOUR);
    pass(machine, SECOND);
    restart(machine, DAY);
    ok(trusts(machine), "a day later at a start is a day later");
    is_int(now(machine), machine->wall_ns, "log time is wall time");
    is_str(story(machine), "stepped +3600, returned +0", "and that is no event");
    uint64_t last_ns = machine->shell.log[machine->shell.log_count - 1].header.time_ns;
    machine->wall_ns = last_ns - HOUR;
    restart(machine, 0);
    ok(!trusts(machine), "an hour before the newest event is a step");
    is_int(now(machine), last_ns, "log time goes on from the newest event");
    restart(machine, MINUTE);
    ok(!trusts(machine), "which another start does not forget");
    machine->wall_ns = now(machine) + YEAR;
    restart(machine, 0);
    ok(!trusts(machine), "nor one at which the clock is ahead");
    is_int(now(machine), last_ns, "log time does not follow it");
    machine->wall_ns = now(machine);
    look(machine);
    pass(machine, SECOND);
    ok(trusts(machine), "until it is back");
    is_str(story(machine), "stepped +3600, returned +0, stepped -3600, returned +0",
           "each told once");
    end(machine);
}

/* Killed right behind the event that accepts, before anything was written at the new log time. */
static void killed_after_accepting(void)
{
    struct machine *machine = begin(false);
    set(machine, (int64_t)YEAR);
    (void)accept_clock(machine);
    uint64_t log_ns = now(machine), agent_ns = agent_now(machine);
    restart(machine, SECOND);
    is_int(now(machine) - log_ns, SECOND, "log time is where it was moved to");
    is_int(agent_now(machine) - agent_ns, SECOND, "and agent time goes on");
    end(machine);
}

/*--- What is not our event -------------------------------------------------------------------*/

static void damaged(void)
{
    struct machine *machine = begin(false);
    struct agent *agent = machine->shell.agent;
    Daa__Event event = DAA__EVENT__INIT;
    Daa__ClockStepped body = DAA__CLOCK_STEPPED__INIT;
    struct event_header header = { .seq = 1, .stream = 1, .time_ns = BEGIN };
    event.body_case = DAA__EVENT__BODY_CLOCK_STEPPED;
    event.clock_stepped = &body;
    is_int(agent_apply(agent, &header, &event), ERROR_DAMAGED,
           "a change without a name is refused");
    body.has_change = 1;
    body.change = (Daa__ClockStepped__Change)4;
    is_int(agent_apply(agent, &header, &event), ERROR_DAMAGED, "one with an unknown name too");
    body.change = DAA__CLOCK_STEPPED__CHANGE__ACCEPTED;
    body.has_shift_ns = 1;
    body.shift_ns = UINT64_MAX;
    is_int(agent_apply(agent, &header, &event), 0, "a shift may be as large as it gets");
    body.shift_ns = 1;
    is_int(agent_apply(agent, &header, &event), ERROR_DAMAGED, "but not larger");
    is_int(agent_time(agent, 5), 0, "agent time has a beginning");
    is_int(agent_log_time(agent, 5) == UINT64_MAX, 1, "and log time an end");
    shell_close(&machine->shell);
}

/*--- Anything --------------------------------------------------------------------------------*/

struct walk {
    uint64_t log_ns, agent_ns;
    uint64_t due_ns, lasts_ns, began_ns; /* a timer, in agent time; since when, in true time */
    uint64_t true_ns, starts;
    unsigned back, fast, slow, early, fired;
};

static uint64_t some(uint64_t below)
{
    return ((uint64_t)lrand48() << 31 ^ (uint64_t)lrand48()) % below;
}

/* `allowed_ns` is what a start may add: up to 10 s are no step. */
static void check(struct machine *machine, struct walk *walk, uint64_t passed_ns,
                  uint64_t allowed_ns)
{
    uint64_t slack_ns = passed_ns / 2000 + 1 + allowed_ns, moved_ns = agent_now(machine);
    walk->true_ns += passed_ns;
    walk->back += now(machine) < walk->log_ns || moved_ns < walk->agent_ns;
    moved_ns -= walk->agent_ns;
    walk->fast += moved_ns > passed_ns + slack_ns;
    walk->slow += allowed_ns == 0 && moved_ns + slack_ns < passed_ns;
    walk->log_ns = now(machine);
    walk->agent_ns = agent_now(machine);
    if (walk->agent_ns < walk->due_ns)
        return;
    uint64_t took_ns = walk->true_ns - walk->began_ns;
    walk->fired += walk->due_ns > 0;
    walk->early += walk->due_ns > 0 &&
                   took_ns + took_ns / 2000 + 1000 + walk->starts * 10 * SECOND < walk->lasts_ns;
    walk->lasts_ns = 1 + some(DAY);
    walk->due_ns = walk->agent_ns + walk->lasts_ns;
    walk->began_ns = walk->true_ns;
    walk->starts = 0;
}

static void step_of_walk(struct machine *machine, struct walk *walk)
{
    static const uint64_t passes[] = { 1, 1000, SECOND, MINUTE, HOUR };
    static const uint64_t jumps[] = { 1000, SECOND, 20 * SECOND, HOUR, YEAR };
    uint64_t ns = passes[some(5)] * (1 + some(3)), by_ns = jumps[some(5)] * (1 + some(3));
    switch (some(20)) {
    case 0:
        if (some(2) == 0 || machine->wall_ns < 10 * YEAR)
            machine->wall_ns += by_ns;
        else
            machine->wall_ns -= by_ns;
        look(machine);
        check(machine, walk, 0, 0);
        break;
    case 1:
        (void)accept_clock(machine);
        check(machine, walk, 0, 0);
        break;
    case 2:
        machine->wall_ns = walk->log_ns + some(20 * SECOND) - 10 * SECOND;
        look(machine);
        check(machine, walk, 0, 0);
        break;
    default:
        machine->wall_ns += some(3) * (ns / 4000); /* it drifts */
        pass(machine, ns);
        check(machine, walk, ns, 0);
    }
}

static void start_of_walk(struct machine *machine, struct walk *walk)
{
    stop(machine);
    uint64_t down_ns = some(2) * some(HOUR);
    restart(machine, down_ns);
    walk->starts++;
    check(machine, walk, down_ns, 10 * SECOND);
}

static void anything(uint64_t seed)
{
    struct machine *machine = begin(seed % 2 == 0);
    struct walk walk = { .log_ns = now(machine), .agent_ns = agent_now(machine) };
    srand48((long)seed);
    for (int i = 0; i < 60000; i++) {
        if (some(500) == 0)
            start_of_walk(machine, &walk);
        else
            step_of_walk(machine, &walk);
    }
    is_int(walk.back, 0, "neither log time nor agent time goes back (seed %" PRIu64 ")", seed);
    is_int(walk.fast, 0, "agent time is never more than 500 ppm fast");
    is_int(walk.slow, 0, "nor slow");
    is_int(walk.early, 0, "no timer fires early");
    ok(walk.fired > 100, "of %u", walk.fired);
    end(machine);
}

int main(void)
{
    const char *given = getenv("TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    small_things();
    drift(200);
    drift(-200);
    too_much_drift();
    step_and_return((int64_t)HOUR, "stepped +3600, returned +0");
    step_and_return(-(int64_t)HOUR, "stepped -3600, returned +0");
    step_and_return((int64_t)YEAR, "stepped +31536000, returned +0");
    step_and_return(-(int64_t)YEAR, "stepped -31536000, returned +0");
    accept_ahead(HOUR, "stepped +3600, accepted +3600 >3600");
    accept_ahead(YEAR, "stepped +31536000, accepted +31536000 >31536000");
    accept_behind();
    accept_by_itself();
    trembles();
    restarts();
    killed_after_accepting();
    damaged();
    anything(seed);
    anything(seed + 1);
    return tap_done();
}
