#include "core/agent/agent.h"

#include "core/agent/state.h"
#include "core/base/check.h"

#include <inttypes.h>

int agent_open(struct agent **result, const struct agent_options *options, struct error *error)
{
    struct budget *budget = options->budget;
    *result = NULL;
    struct agent *agent = budget_allocate(budget, BUDGET_WORKFLOWS, sizeof *agent);
    if (agent == NULL)
        return error_set(error, ERROR_BUDGET, "open agent: the memory budget is used up (owner %s)",
                         budget_owner_name(BUDGET_WORKFLOWS));
    memset(agent, 0, sizeof *agent);
    agent->options = *options;
    if (agent->options.output_size_max == 0 ||
        agent->options.output_size_max > STATE_OUTPUT_SIZE_MAX)
        agent->options.output_size_max = STATE_OUTPUT_SIZE_MAX;
    table_init(&agent->workflows, budget, BUDGET_WORKFLOWS);
    table_init(&agent->definitions, budget, BUDGET_DEFINITIONS);
    table_init(&agent->keys, budget, BUDGET_WORKFLOWS);
    timers_init(&agent->timers, budget);
    arena_init(&agent->scratch, budget, BUDGET_DOCUMENTS, 4096);
    agent->changed_end = &agent->changed;
    agent->changed_definitions_end = &agent->changed_definitions;
    agent->keys_end = &agent->keys_oldest;
    agent->effects_end = &agent->effects;
    *result = agent;
    return 0;
}

void agent_close(struct agent *agent)
{
    if (agent == NULL)
        return;
    struct workflow *workflow;
    struct effect *effect;
    uint64_t at = 0;
    agent_drop_prepared(agent);
    while ((effect = agent_next_effect(agent)) != NULL)
        effect_free(effect);
    while ((workflow = table_each(&agent->workflows, &at, NULL)) != NULL) {
        store_definition_release(agent, workflow->definition);
        state_workflow_free(workflow);
    }
    table_free(&agent->workflows);
    store_free(agent);
    timers_free(&agent->timers);
    arena_free(&agent->scratch);
    budget_free(agent->options.budget, BUDGET_WORKFLOWS, agent, sizeof *agent);
}

void agent_live(struct agent *agent)
{
    agent->live = true;
}

/* Those that have something under way come first: they count already. */
bool agent_next_ready(struct agent *agent, uint64_t *stream)
{
    const struct workflow *workflow = agent->ready_active.first;
    if (workflow == NULL && agent->active < agent->options.max_concurrent_workflows)
        workflow = agent->ready_idle.first;
    if (workflow == NULL)
        return false;
    *stream = workflow->stream;
    return true;
}

/*--- Timers ----------------------------------------------------------------------------------*/

static bool counts(const struct timer *timer, void *context)
{
    const struct workflow *workflow = state_workflow(context, timer->stream);
    if (workflow == NULL || timer->index >= workflow->flow->step_count)
        return false;
    const struct step *step = &workflow->steps[timer->index];
    return state_step_is_timed(step) && step->generation == timer->generation;
}

bool agent_next_timer(struct agent *agent, uint64_t now_ns, struct command *command)
{
    struct timer timer;
    /* Steps that ended otherwise leave their timers behind. */
    if (agent->timers.count > 2 * agent->timed + 1024)
        timers_sweep(&agent->timers, counts, agent);
    while (timers_first(&agent->timers, &timer) && !counts(&timer, agent))
        timers_drop_first(&agent->timers);
    if (!timers_first(&agent->timers, &timer) || timer.due_ns > now_ns)
        return false;
    *command = (struct command){ .kind = COMMAND_TIMER, .stream = timer.stream };
    command->timer.index = timer.index;
    command->timer.generation = timer.generation;
    command->timer.due_ns = timer.due_ns;
    return true;
}

uint64_t agent_next_deadline(const struct agent *agent)
{
    struct timer timer;
    return timers_first(&agent->timers, &timer) ? timer.due_ns : UINT64_MAX;
}

/*--- Orphans ---------------------------------------------------------------------------------*/

static bool next_orphan_of(struct agent *agent, struct agent_orphan *orphan)
{
    const struct workflow *workflow = agent->orphan;
    while (agent->orphan_index < workflow->flow->step_count) {
        uint32_t index = agent->orphan_index++;
        const struct step *step = &workflow->steps[index];
        if (step->status != DAA__STEP_STATUS__STEP_RUNNING)
            continue;
        *orphan = (struct agent_orphan){ .stream = workflow->stream,
                                         .index = index,
                                         .attempt = step->attempt,
                                         .kind = workflow->flow->steps[index].kind,
                                         .pid = step->pid,
                                         .start_time = step->start_time };
        memcpy(orphan->boot_id, step->boot_id, sizeof orphan->boot_id);
        return true;
    }
    return false;
}

bool agent_next_orphan(struct agent *agent, struct agent_orphan *orphan)
{
    for (;;) {
        if (agent->orphan != NULL && next_orphan_of(agent, orphan))
            return true;
        agent->orphan = table_each(&agent->workflows, &agent->orphan_at, NULL);
        agent->orphan_index = 0;
        if (agent->orphan == NULL)
            return false;
    }
}

/*--- Numbers ---------------------------------------------------------------------------------*/

void agent_counts_get(const struct agent *agent, struct agent_counts *result)
{
    *result = (struct agent_counts){ .workflows = agent->workflows.count,
                                     .unfinished = agent->unfinished,
                                     .active = agent->active + agent->ready_idle.count,
                                     .pending = agent->pending,
                                     .running = agent->running,
                                     .paused = agent->paused,
                                     .timers = agent->timed,
                                     .definitions = agent->definitions.count,
                                     .submitted = agent->submitted,
                                     .completed = agent->completed,
                                     .failed = agent->failed,
                                     .cancelled = agent->cancelled };
}
