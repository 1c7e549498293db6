#include "core/agent/state.h"

#include <inttypes.h>

/* Every workflow by itself, then what they add up to. */

struct sums {
    uint64_t unfinished, active, timed, ready, idle_ready, resting;
};

struct tally {
    uint32_t ready, running, parked, done, timed, waiting;
};

static int wrong(const struct workflow *workflow, struct error *error, const char *what)
{
    return error_set(error, ERROR_CONFLICT, "workflow %" PRIu64 " (%s): %s", workflow->stream,
                     workflow_status_name(workflow->status), what);
}

static bool is_of_kind(int status, enum flow_kind kind)
{
    switch (status) {
    case DAA__STEP_STATUS__STEP_RUNNING:
    case DAA__STEP_STATUS__STEP_BACKOFF:
    case DAA__STEP_STATUS__STEP_UNCERTAIN:
        return kind == FLOW_HTTP || kind == FLOW_EXEC;
    case DAA__STEP_STATUS__STEP_SLEEPING:
        return kind == FLOW_SLEEP;
    case DAA__STEP_STATUS__STEP_WAITING:
        return kind == FLOW_SIGNAL;
    default:
        return true;
    }
}

static int check_step(const struct workflow *workflow, uint32_t index, struct error *error)
{
    const struct flow_step *flow_step = &workflow->flow->steps[index];
    const struct step *step = &workflow->steps[index];
    uint32_t blocked_by = 0;
    if (!is_of_kind(step->status, flow_step->kind))
        return wrong(workflow, error, "a step does what no step of its kind does");
    for (uint32_t i = 0; i < flow_step->needs_count; i++) {
        uint32_t needed = flow_step->needs[i];
        blocked_by += state_step_class(&workflow->flow->steps[needed],
                                       workflow->steps[needed].status) != STEP_IS_DONE;
    }
    if (state_is_finished(workflow->status))
        return state_step_is_terminal(step->status)
                   ? 0
                   : wrong(workflow, error, "it has ended and one of its steps has not");
    if (step->status == DAA__STEP_STATUS__STEP_BLOCKED &&
        (blocked_by == 0 || blocked_by != step->blocked_by))
        return wrong(workflow, error, "a step waits for steps that are done");
    if (step->status != DAA__STEP_STATUS__STEP_BLOCKED && blocked_by > 0)
        return wrong(workflow, error, "a step has begun before those it needs were done");
    if ((step->status == DAA__STEP_STATUS__STEP_SLEEPING ||
         step->status == DAA__STEP_STATUS__STEP_BACKOFF) &&
        step->due_ns == 0)
        return wrong(workflow, error, "a step waits for a timer that was never set");
    return 0;
}

static struct tally tally_of(const struct workflow *workflow)
{
    struct tally tally = { 0 };
    for (uint32_t i = 0; i < workflow->flow->step_count; i++) {
        const struct step *step = &workflow->steps[i];
        enum step_class class = state_step_class(&workflow->flow->steps[i], step->status);
        tally.ready += class == STEP_IS_READY;
        tally.running += class == STEP_IS_RUNNING;
        tally.parked += class == STEP_IS_PARKED;
        tally.done += class == STEP_IS_DONE;
        tally.timed += state_step_is_timed(step);
        tally.waiting += step->status == DAA__STEP_STATUS__STEP_WAITING;
    }
    return tally;
}

/* Of what it can wait for, by its document. */
static int check_waits(const struct workflow *workflow, const struct tally *tally,
                       struct error *error)
{
    bool paused = workflow->status == DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED;
    if (state_is_finished(workflow->status) != (workflow->ended_ns != 0))
        return wrong(workflow, error, "its status and the time of its end contradict each other");
    if (state_is_finished(workflow->status))
        return 0;
    if ((workflow->status == DAA__WORKFLOW_STATUS__WORKFLOW_PENDING) != (workflow->started_ns == 0))
        return wrong(workflow, error, "its status and the time of its start contradict each other");
    if (paused && tally->parked == 0)
        return wrong(workflow, error, "it is paused and nothing of it is parked");
    if (!paused && tally->parked > 0)
        return wrong(workflow, error, "a step of it is parked and it is not paused");
    if (!paused && tally->ready + tally->running + tally->timed + tally->waiting == 0)
        return wrong(workflow, error, "it waits for nothing");
    return 0;
}

static int check_itself(const struct workflow *workflow, const struct tally *tally,
                        struct error *error)
{
    int result = 0;
    for (uint32_t i = 0; result == 0 && i < workflow->flow->step_count; i++)
        result = check_step(workflow, i, error);
    return result < 0 ? result : check_waits(workflow, tally, error);
}

int state_check_workflow(const struct workflow *workflow, struct error *error)
{
    struct tally tally = tally_of(workflow);
    return check_itself(workflow, &tally, error);
}

/* Of its place in memory. */
static int check_place(const struct workflow *workflow, const struct tally *tally,
                       struct error *error)
{
    bool paused = workflow->status == DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED;
    if (state_is_finished(workflow->status))
        return workflow->queue == READY_NONE ? 0 : wrong(workflow, error, "it has ended, queued");
    if ((workflow->queue == READY_IDLE) != (workflow->place != 0))
        return wrong(workflow, error, "it has a place among the ready and is not, or has none");
    if ((workflow->rest != NULL) != (!workflow->changed && workflow->running == 0))
        return wrong(workflow, error, "it may leave memory and is not listed, or may not and is");
    if ((workflow->queue != READY_NONE) != (!paused && tally->ready > 0))
        return wrong(workflow, error, "it is ready and not queued, or queued and not ready");
    return 0;
}

static int check_workflow(const struct workflow *workflow, struct sums *sums, struct error *error)
{
    struct tally tally = tally_of(workflow);
    sums->unfinished += !state_is_finished(workflow->status);
    sums->resting += workflow->rest != NULL;
    if (workflow->aside)
        return check_itself(workflow, &tally, error);
    int result = check_itself(workflow, &tally, error);
    if (result == 0)
        result = check_place(workflow, &tally, error);
    if (result < 0)
        return result;
    if (tally.ready != workflow->ready || tally.running != workflow->running ||
        tally.parked != workflow->parked || tally.done != workflow->done ||
        tally.timed != workflow->timed)
        return wrong(workflow, error, "its counts of steps are not those of its steps");
    sums->active += tally.running > 0;
    sums->timed += tally.timed;
    sums->ready += workflow->queue != READY_NONE;
    sums->idle_ready += workflow->queue == READY_IDLE;
    return 0;
}

/* Timers of workflows in memory that are not those of their steps, or UINT64_MAX. */
static uint64_t count_timers(struct agent *agent)
{
    uint64_t total, count = 0;
    const struct timer *timers = timers_sorted(&agent->timers, &total);
    for (uint64_t i = 0; i < total; i++) {
        const struct workflow *workflow = state_workflow(agent, timers[i].stream);
        if (workflow == NULL || workflow->aside)
            continue;
        if (timers[i].index >= workflow->flow->step_count)
            return UINT64_MAX;
        const struct step *step = &workflow->steps[timers[i].index];
        if (!state_step_is_timed(step) || step->due_ns != timers[i].due_ns)
            return UINT64_MAX;
        count++;
    }
    return count;
}

static int check_sums(struct agent *agent, const struct sums *sums, struct error *error)
{
    if (agent->unfinished != agent->pending + agent->running + agent->paused ||
        sums->unfinished > agent->unfinished)
        return error_set(error, ERROR_CONFLICT,
                         "%" PRIu64 " workflows in memory have not ended, of %" PRIu64,
                         sums->unfinished, agent->unfinished);
    if (sums->active != agent->active ||
        sums->idle_ready + agent->ready.away.count != agent->ready.members ||
        sums->ready - sums->idle_ready != agent->ready_active.count)
        return error_set(error, ERROR_CONFLICT,
                         "%" PRIu64 " workflows are active and %" PRIu64
                         " ready, not as many as counted",
                         sums->active, sums->ready);
    if (sums->resting != agent->waiting.count + agent->queued.count)
        return error_set(error, ERROR_CONFLICT,
                         "%" PRIu64 " workflows may leave memory, not as many as are listed",
                         sums->resting);
    uint64_t timers = count_timers(agent);
    if (timers != sums->timed)
        return error_set(error, ERROR_CONFLICT,
                         "%" PRIu64 " steps in memory wait for a timer, and %" PRIu64
                         " timers of theirs are there",
                         sums->timed, timers);
    return 0;
}

int agent_check(struct agent *agent, struct error *error)
{
    struct sums sums = { 0 };
    const struct workflow *workflow;
    uint64_t at = 0;
    while ((workflow = table_each(&agent->workflows, &at, NULL)) != NULL) {
        int result = check_workflow(workflow, &sums, error);
        if (result < 0)
            return result;
    }
    return check_sums(agent, &sums, error);
}
