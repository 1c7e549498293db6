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
    store_init(&agent->keys, budget, sizeof(struct key_entry));
    store_init(&agent->usages, budget, sizeof(struct usage));
    timers_init(&agent->timers, budget);
    ready_init(&agent->ready, budget);
    arena_init(&agent->removals_arena, budget, BUDGET_DOCUMENTS, 4096);
    agent->removals_end = &agent->removals;
    arena_init(&agent->scratch, budget, BUDGET_DOCUMENTS, 4096);
    agent->changed_end = &agent->changed;
    agent->changed_definitions_end = &agent->changed_definitions;
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
    ready_free(&agent->ready);
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
    *stream = agent->ready_active.first != NULL ? agent->ready_active.first->stream : 0;
    if (*stream == 0 && agent->active < agent->options.max_concurrent_workflows)
        *stream = state_first_ready(agent);
    return *stream != 0;
}

/*--- Timers ----------------------------------------------------------------------------------*/

bool agent_next_timer(struct agent *agent, uint64_t now_ns, struct command *command)
{
    struct timer timer;
    if (!timers_first(&agent->timers, &timer) || timer.due_ns > agent_time(agent, now_ns))
        return false;
    *command = (struct command){ .kind = COMMAND_TIMER, .stream = timer.stream };
    command->timer.index = (uint32_t)timer.index;
    command->timer.due_ns = timer.due_ns;
    return true;
}

uint64_t agent_next_deadline(const struct agent *agent)
{
    struct timer timer;
    return timers_first(&agent->timers, &timer) ? agent_log_time(agent, timer.due_ns) : UINT64_MAX;
}

void agent_give_up(struct agent *agent, const struct command *command)
{
    struct timer timer = { command->timer.due_ns, command->stream, command->timer.index };
    struct workflow *workflow = state_workflow(agent, command->stream);
    if (command->kind == COMMAND_TIMER && timers_reserve(&agent->timers, 1) == 0)
        timers_cancel(&agent->timers, &timer);
    if (workflow != NULL)
        state_give_up(agent, workflow);
    else if (command->kind == COMMAND_ADVANCE &&
             ready_take_back(&agent->ready, command->stream) != 0)
        ready_leave(&agent->ready);
}

uint32_t agent_soon(struct agent *agent, uint64_t now_ns, uint64_t *streams, uint32_t max)
{
    struct timer due[COMMAND_EXPIRE_MAX];
    uint32_t count = 0, found = max < COMMAND_EXPIRE_MAX ? max : COMMAND_EXPIRE_MAX;
    found = timers_due(&agent->timers, agent_time(agent, now_ns), due, found);
    for (uint32_t i = 0; i < found; i++)
        if (state_workflow(agent, due[i].stream) == NULL)
            streams[count++] = due[i].stream;
    return count + ready_next_away(&agent->ready, streams + count, max - count);
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
    *result = (struct agent_counts){
        .workflows = agent->workflows.count,
        .unfinished = agent->unfinished,
        .active = agent->active + agent->ready.members,
        .pending = agent->pending,
        .running = agent->running,
        .paused = agent->paused,
        .timers = timers_count(&agent->timers),
        .definitions = agent->definitions.count,
        .finished = agent->finished,
        .finished_bytes = agent->finished_bytes,
        .keys = agent->keys_there,
        .definitions_there = agent->definitions_there,
        .keys_used = agent->keys_used,
        .idle_bytes = agent->waiting.bytes + agent->queued.bytes,
        .removed_segment = agent->removed_segment,
        .removed_seq = agent->removed_seq,
        .anchor = agent->anchor,
        .snapshots = { agent->snapshots[0], agent->snapshots[1] },
        .clock_stepped = agent->clock_stepped,
        .shift_ns = agent->shift_ns,
        .shifted_at_ns = agent->shifted_at_ns,
        .submitted = agent->submitted,
        .completed = agent->completed,
        .failed = agent->failed,
        .cancelled = agent->cancelled,
    };
    memcpy(result->keyring, agent->keyring, UUID_SIZE);
}

const struct lineage *agent_lineage(const struct agent *agent)
{
    return &agent->logs;
}
