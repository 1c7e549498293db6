#include "core/agent/state.h"

#include "core/base/check.h"

/*--- Steps -----------------------------------------------------------------------------------*/

bool state_step_is_terminal(int status)
{
    return status == DAA__STEP_STATUS__STEP_COMPLETED || status == DAA__STEP_STATUS__STEP_FAILED ||
           status == DAA__STEP_STATUS__STEP_SKIPPED || status == DAA__STEP_STATUS__STEP_CANCELLED;
}

enum step_class state_step_class(const struct flow_step *step, int status)
{
    switch (status) {
    case DAA__STEP_STATUS__STEP_READY:
        return STEP_IS_READY;
    case DAA__STEP_STATUS__STEP_RUNNING:
        return STEP_IS_RUNNING;
    case DAA__STEP_STATUS__STEP_UNCERTAIN:
        return STEP_IS_PARKED;
    case DAA__STEP_STATUS__STEP_COMPLETED:
    case DAA__STEP_STATUS__STEP_SKIPPED:
        return STEP_IS_DONE;
    case DAA__STEP_STATUS__STEP_FAILED:
        return step->on_failure == FLOW_CONTINUE ? STEP_IS_DONE
               : step->on_failure == FLOW_PARK   ? STEP_IS_PARKED
                                                 : STEP_OTHER;
    default:
        return STEP_OTHER;
    }
}

bool state_step_is_timed(const struct step *step)
{
    return step->due_ns != 0 && (step->status == DAA__STEP_STATUS__STEP_SLEEPING ||
                                 step->status == DAA__STEP_STATUS__STEP_WAITING ||
                                 step->status == DAA__STEP_STATUS__STEP_BACKOFF);
}

static void count_step(struct agent *agent, struct workflow *workflow, uint32_t index, bool add)
{
    const struct step *step = &workflow->steps[index];
    uint32_t one = add ? 1 : UINT32_MAX; /* which takes one off */
    switch (state_step_class(&workflow->flow->steps[index], step->status)) {
    case STEP_IS_READY:
        workflow->ready += one;
        break;
    case STEP_IS_RUNNING:
        if (workflow->running == (add ? 0 : 1))
            agent->active += add ? 1 : UINT64_MAX;
        workflow->running += one;
        break;
    case STEP_IS_PARKED:
        workflow->parked += one;
        break;
    case STEP_IS_DONE:
        workflow->done += one;
        break;
    case STEP_OTHER:
        break;
    }
    if (state_step_is_timed(step))
        workflow->timed += one;
}

int state_reserve(struct agent *agent, uint32_t count)
{
    int result = timers_reserve(&agent->timers, count);
    return result < 0 ? result : ready_reserve(&agent->ready, count);
}

static struct timer timer_of(const struct workflow *workflow, uint32_t index)
{
    return (struct timer){ workflow->steps[index].due_ns, workflow->stream, index };
}

void state_set_step(struct agent *agent, struct workflow *workflow, uint32_t index, int status,
                    uint64_t due_ns)
{
    struct step *step = &workflow->steps[index];
    struct timer timer = timer_of(workflow, index);
    if (step->status != 0)
        count_step(agent, workflow, index, false);
    if (state_step_is_timed(step)) {
        timers_cancel(&agent->timers, &timer);
        workflow->timers_changed = true;
    }
    state_load_step(agent, workflow, index, status, due_ns);
    timer.due_ns = due_ns;
    if (!state_step_is_timed(step))
        return;
    timers_put(&agent->timers, &timer);
    workflow->timers_changed = true;
}

void state_load_step(struct agent *agent, struct workflow *workflow, uint32_t index, int status,
                     uint64_t due_ns)
{
    struct step *step = &workflow->steps[index];
    step->status = (uint8_t)status;
    step->due_ns = due_ns;
    count_step(agent, workflow, index, true);
}

/*--- Queues of ready workflows ---------------------------------------------------------------*/

static void leave_active(struct agent *agent, struct workflow *workflow)
{
    struct workflow_queue *queue = &agent->ready_active;
    if (workflow->queue_previous != NULL)
        workflow->queue_previous->queue_next = workflow->queue_next;
    else
        queue->first = workflow->queue_next;
    if (workflow->queue_next != NULL)
        workflow->queue_next->queue_previous = workflow->queue_previous;
    else
        queue->last = workflow->queue_previous;
    workflow->queue_next = workflow->queue_previous = NULL;
    queue->count--;
}

static void enter_active(struct agent *agent, struct workflow *workflow)
{
    struct workflow_queue *queue = &agent->ready_active;
    workflow->queue_previous = queue->last;
    if (queue->last != NULL)
        queue->last->queue_next = workflow;
    else
        queue->first = workflow;
    queue->last = workflow;
    queue->count++;
}

static enum ready_queue queue_wanted(const struct workflow *workflow)
{
    bool may_advance = workflow->status == DAA__WORKFLOW_STATUS__WORKFLOW_PENDING ||
                       workflow->status == DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING;
    return !may_advance || workflow->ready == 0 ? READY_NONE
           : workflow->running > 0              ? READY_ACTIVE
                                                : READY_IDLE;
}

static void enter_queue(struct agent *agent, struct workflow *workflow, enum ready_queue wanted)
{
    if (workflow->queue == wanted)
        return;
    if (workflow->queue == READY_ACTIVE)
        leave_active(agent, workflow);
    else if (workflow->queue == READY_IDLE)
        ready_leave(&agent->ready);
    workflow->queue = wanted;
    workflow->place = 0;
    if (wanted == READY_ACTIVE)
        enter_active(agent, workflow);
    else if (wanted == READY_IDLE)
        workflow->place = ready_put(&agent->ready, workflow->stream);
}

void state_settle(struct agent *agent, struct workflow *workflow)
{
    enter_queue(agent, workflow, queue_wanted(workflow));
}

void state_give_up(struct agent *agent, struct workflow *workflow)
{
    bool rests = workflow->rest != NULL;
    if (workflow->aside)
        return;
    workflow->aside = true;
    rest_leave(workflow); /* its list depends on its queue */
    enter_queue(agent, workflow, READY_NONE);
    if (rests)
        rest_enter(agent, workflow);
    agent->active -= workflow->running > 0;
}

uint8_t state_active_flags(const struct workflow *workflow)
{
    return (uint8_t)((queue_wanted(workflow) != READY_NONE ? DOCUMENT_READY : 0) |
                     (workflow->running > 0 ? DOCUMENT_RUNNING : 0));
}

static bool has_place(uint64_t stream, uint64_t place, void *context)
{
    const struct agent *agent = context;
    const struct workflow *workflow = state_workflow(agent, stream);
    return place == (workflow != NULL ? workflow->place : ready_away(&agent->ready, stream));
}

static void has_moved(uint64_t stream, uint64_t place, void *context)
{
    struct agent *agent = context;
    struct workflow *workflow = state_workflow(agent, stream);
    if (workflow != NULL)
        workflow->place = place;
    else
        ready_set_away(&agent->ready, stream, place);
}

void state_pack_ready(struct agent *agent)
{
    ready_pack(&agent->ready, has_place, has_moved, agent);
}

uint64_t state_first_ready(struct agent *agent)
{
    return ready_first(&agent->ready, has_place, agent);
}

/*--- Workflows -------------------------------------------------------------------------------*/

bool state_is_finished(int status)
{
    return status == DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED ||
           status == DAA__WORKFLOW_STATUS__WORKFLOW_FAILED ||
           status == DAA__WORKFLOW_STATUS__WORKFLOW_CANCELLED;
}

struct document_key state_finished_key(const struct workflow *workflow)
{
    uint64_t shift_ns = workflow->ended_shift_ns, ended_ns = workflow->ended_ns;
    return document_finished_key(ended_ns > shift_ns ? ended_ns - shift_ns : 0, workflow->stream);
}

bool state_is_settled(const struct workflow *workflow)
{
    for (uint32_t i = 0; i < workflow->flow->step_count; i++)
        if (workflow->steps[i].status == DAA__STEP_STATUS__STEP_CANCELLED &&
            workflow->steps[i].ended_ns == 0)
            return false;
    return state_is_finished(workflow->status);
}

struct workflow *state_workflow(const struct agent *agent, uint64_t stream)
{
    return stream != 0 ? table_get(&agent->workflows, stream) : NULL;
}

struct workflow *state_workflow_new(struct agent *agent, struct definition *definition,
                                    size_t bytes)
{
    struct arena arena;
    size_t steps_size = definition->flow->step_count * sizeof(struct step);
    size_t size = sizeof(struct workflow) + steps_size + bytes + 64;
    if (table_reserve(&agent->workflows, 1) < 0)
        return NULL;
    arena_init(&arena, agent->options.budget, BUDGET_WORKFLOWS, 1024);
    if (arena_prepare(&arena, size) < 0)
        return NULL;
    struct workflow *workflow = arena_allocate(&arena, sizeof *workflow);
    workflow->steps = arena_allocate(&arena, steps_size);
    workflow->arena = arena;
    workflow->definition = definition;
    workflow->flow = definition->flow;
    workflow->signals_end = &workflow->signals;
    workflow->digests_end = &workflow->digests;
    return workflow;
}

int state_take_cipher_key(const struct agent *agent, struct workflow *workflow, uint32_t key_id)
{
    int result = event_key_get(&agent->options.keys, key_id, workflow->cipher_key);
    if (result == ERROR_DAMAGED || result == ERROR_NEWER) /* the key, not what is read with it */
        return ERROR_UNAVAILABLE;
    if (result < 0)
        return result;
    workflow->key_id = key_id;
    workflow->has_cipher_key = result == 1;
    return 0;
}

void state_workflow_free(struct workflow *workflow)
{
    if (workflow == NULL)
        return;
    explicit_bzero(workflow->cipher_key, sizeof workflow->cipher_key);
    struct arena arena = workflow->arena; /* it frees the workflow that it lies in */
    arena_free(&arena);
}

static uint64_t *count_of(struct agent *agent, int status)
{
    switch (status) {
    case DAA__WORKFLOW_STATUS__WORKFLOW_PENDING:
        return &agent->pending;
    case DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING:
        return &agent->running;
    case DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED:
        return &agent->paused;
    default:
        return NULL;
    }
}

void state_set_status(struct agent *agent, struct workflow *workflow, int status)
{
    uint64_t *before = count_of(agent, workflow->status), *after = count_of(agent, status);
    if (before != NULL)
        --*before;
    if (after != NULL)
        ++*after;
    agent->unfinished += (uint64_t)(after != NULL) - (uint64_t)(before != NULL);
    agent->counts_changed = true;
    workflow->status = status;
}

void state_workflow_enter(struct agent *agent, struct workflow *workflow)
{
    table_put(&agent->workflows, workflow->stream, workflow);
    store_definition_use(agent, workflow->definition);
}

void state_workflow_leave(struct agent *agent, struct workflow *workflow)
{
    CHECK(!workflow->changed);
    CHECK(workflow->running == 0);
    rest_leave(workflow);
    (void)table_remove(&agent->workflows, workflow->stream);
    store_definition_release(agent, workflow->definition);
    state_workflow_free(workflow);
}

void state_mark_changed(struct agent *agent, struct workflow *workflow)
{
    if (workflow->changed)
        return;
    rest_leave(workflow);
    workflow->changed = true;
    workflow->changed_next = NULL;
    *agent->changed_end = workflow;
    agent->changed_end = &workflow->changed_next;
}
