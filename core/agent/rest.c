#include "core/agent/state.h"
#include "core/base/check.h"

/* Workflows at rest lie in one of two lists. Those that wait leave memory in the order in which
 * they were used last; of those that are queued the one that came last goes first, since the first
 * is needed next. */

void rest_enter(struct agent *agent, struct workflow *workflow)
{
    struct workflow_rest *rest = workflow->queue == READY_IDLE ? &agent->queued : &agent->waiting;
    if (workflow->changed || workflow->running > 0)
        return;
    CHECK(workflow->rest == NULL);
    workflow->rest = rest;
    workflow->older = rest->newest;
    if (rest->newest != NULL)
        rest->newest->newer = workflow;
    else
        rest->oldest = workflow;
    rest->newest = workflow;
    rest->count++;
    workflow->rest_bytes = workflow->arena.reserved; /* a decision may prepare more of it */
    rest->bytes += workflow->rest_bytes;
}

void rest_leave(struct workflow *workflow)
{
    struct workflow_rest *rest = workflow->rest;
    if (rest == NULL)
        return;
    if (workflow->newer != NULL)
        workflow->newer->older = workflow->older;
    else
        rest->newest = workflow->older;
    if (workflow->older != NULL)
        workflow->older->newer = workflow->newer;
    else
        rest->oldest = workflow->newer;
    workflow->newer = workflow->older = NULL;
    workflow->rest = NULL;
    rest->count--;
    rest->bytes -= workflow->rest_bytes;
}

/* Its timers stay; so does its place among the ready. False: no memory to remember that. */
static bool let_go(struct agent *agent, struct workflow *workflow)
{
    if (workflow->queue == READY_IDLE) {
        if (table_reserve(&agent->ready.away, 1) < 0)
            return false;
        ready_set_away(&agent->ready, workflow->stream, workflow->place);
    }
    state_workflow_leave(agent, workflow);
    return true;
}

static uint64_t limit_of(const struct agent *agent)
{
    uint64_t limit = agent->options.idle_bytes_max;
    return limit > 0 ? limit : agent->options.budget->limit / 4;
}

/* Beyond three quarters of the budget nothing is kept for later. */
static bool is_too_much(const struct agent *agent)
{
    const struct budget *budget = agent->options.budget;
    return agent->waiting.bytes + agent->queued.bytes > limit_of(agent) ||
           atomic_load_explicit(&budget->used, memory_order_relaxed) >
               budget->limit - budget->limit / 4;
}

void rest_trim(struct agent *agent)
{
    while (is_too_much(agent)) {
        struct workflow *workflow =
            agent->waiting.count > 0 ? agent->waiting.oldest : agent->queued.newest;
        if (workflow == NULL || !let_go(agent, workflow))
            return;
    }
}
