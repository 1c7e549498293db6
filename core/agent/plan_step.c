#include "core/agent/plan.h"

#include <stdio.h>

static bool is_over(const struct plan *plan)
{
    return state_is_finished(plan->status);
}

static void set_planned(struct plan *plan, uint32_t index, int status)
{
    plan->steps[index].status = (uint8_t)status;
}

void plan_unblock(struct plan *plan, uint32_t index)
{
    const struct flow_step *step = &plan->workflow->flow->steps[index];
    plan->done++;
    for (uint32_t i = 0; i < step->wanted_by_count; i++) {
        uint32_t other = step->wanted_by[i];
        if (plan->steps[other].status != DAA__STEP_STATUS__STEP_BLOCKED ||
            --plan->steps[other].blocked_by > 0)
            continue;
        set_planned(plan, other, DAA__STEP_STATUS__STEP_READY);
        plan->ready[plan->ready_end++] = other;
    }
}

void plan_complete_step(struct plan *plan, uint32_t index, struct span output)
{
    Daa__StepCompleted *body =
        plan_event(plan, DAA__EVENT__BODY_STEP_COMPLETED, &daa__step_completed__descriptor);
    const struct step *step = &plan->workflow->steps[index];
    body->has_status = body->has_step = body->has_index = 1;
    body->status = DAA__STEP_STATUS__STEP_COMPLETED;
    body->step = data_of_span(plan->workflow->flow->steps[index].id);
    body->index = index;
    body->has_attempt = step->attempt > 0;
    body->attempt = step->attempt;
    if (output.size > 0) {
        body->has_output = 1;
        body->output = plan_json(plan, output);
        plan->steps[index].output = span_of_data(body->output);
    }
    set_planned(plan, index, DAA__STEP_STATUS__STEP_COMPLETED);
    if (!is_over(plan))
        plan_unblock(plan, index);
}

/*--- Failing ---------------------------------------------------------------------------------*/

static void schedule_retry(struct plan *plan, uint32_t index, int outcome, struct span error)
{
    Daa__StepRetryScheduled *body = plan_event(plan, DAA__EVENT__BODY_STEP_RETRY_SCHEDULED,
                                               &daa__step_retry_scheduled__descriptor);
    const struct flow_step *flow_step = &plan->workflow->flow->steps[index];
    const struct step *step = &plan->workflow->steps[index];
    uint64_t pause = flow_retry_pause_ns(&flow_step->retry, step->attempt, plan->moment->random);
    body->has_status = body->has_step = body->has_index = body->has_attempt = 1;
    body->has_outcome = body->has_error = body->has_due_ns = 1;
    body->status = DAA__STEP_STATUS__STEP_BACKOFF;
    body->step = data_of_span(flow_step->id);
    body->index = index;
    body->attempt = step->attempt;
    body->outcome = (Daa__Outcome)outcome;
    body->error = plan_text(plan, error);
    body->due_ns = agent_time(plan->agent, plan->moment->now_ns) + pause;
    set_planned(plan, index, DAA__STEP_STATUS__STEP_BACKOFF);
}

static void become_uncertain(struct plan *plan, uint32_t index, struct span error)
{
    Daa__StepUncertain *body =
        plan_event(plan, DAA__EVENT__BODY_STEP_UNCERTAIN, &daa__step_uncertain__descriptor);
    body->has_status = body->has_step = body->has_index = body->has_attempt = body->has_error = 1;
    body->status = DAA__STEP_STATUS__STEP_UNCERTAIN;
    body->step = data_of_span(plan->workflow->flow->steps[index].id);
    body->index = index;
    body->attempt = plan->workflow->steps[index].attempt;
    body->error = plan_text(plan, error);
    set_planned(plan, index, DAA__STEP_STATUS__STEP_UNCERTAIN);
    plan->parked++;
    if (plan->status != DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED)
        plan_pause(plan, index,
                   "may or may not have happened, and doing it twice is not safe: resolve it");
}

static void fail_for_good(struct plan *plan, uint32_t index, int outcome, struct span error,
                          struct span output)
{
    Daa__StepFailed *body =
        plan_event(plan, DAA__EVENT__BODY_STEP_FAILED, &daa__step_failed__descriptor);
    const struct flow_step *flow_step = &plan->workflow->flow->steps[index];
    body->has_status = body->has_step = body->has_index = body->has_outcome = body->has_error = 1;
    body->status = DAA__STEP_STATUS__STEP_FAILED;
    body->step = data_of_span(flow_step->id);
    body->index = index;
    body->has_attempt = plan->workflow->steps[index].attempt > 0;
    body->attempt = plan->workflow->steps[index].attempt;
    body->outcome = (Daa__Outcome)outcome;
    body->error = plan_text(plan, error);
    if (output.size > 0) {
        body->has_output = 1;
        body->output = plan_json(plan, output);
        plan->steps[index].output = span_of_data(body->output);
    }
    set_planned(plan, index, DAA__STEP_STATUS__STEP_FAILED);
    if (is_over(plan))
        return;
    switch (flow_step->on_failure) {
    case FLOW_CONTINUE:
        plan_unblock(plan, index);
        return;
    case FLOW_FAIL:
        plan_fail(plan, index, error);
        return;
    case FLOW_PARK:
        plan->parked++;
        if (plan->status != DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED)
            plan_pause(plan, index, "failed: resolve it, or cancel the workflow");
        return;
    }
}

void plan_fail_step(struct plan *plan, uint32_t index, int outcome, struct span error,
                    struct span output, bool may_retry)
{
    const struct flow_step *flow_step = &plan->workflow->flow->steps[index];
    const struct step *step = &plan->workflow->steps[index];
    bool retries = may_retry && step->attempt < flow_step->retry.max_attempts && !is_over(plan);
    if (outcome == DAA__OUTCOME__OUTCOME_UNKNOWN && !flow_step->idempotent && !is_over(plan))
        become_uncertain(plan, index, error);
    else if (retries)
        schedule_retry(plan, index, outcome, error);
    else
        fail_for_good(plan, index, outcome, error, output);
}

/*--- Beginning -------------------------------------------------------------------------------*/

static void set_timer(struct plan *plan, uint32_t index, int status, uint64_t after_ns)
{
    Daa__TimerSet *body = plan_event(plan, DAA__EVENT__BODY_TIMER_SET, &daa__timer_set__descriptor);
    body->has_status = body->has_step = body->has_index = body->has_due_ns = 1;
    body->status = (Daa__StepStatus)status;
    body->step = data_of_span(plan->workflow->flow->steps[index].id);
    body->index = index;
    body->due_ns = agent_time(plan->agent, plan->moment->now_ns) + after_ns;
    set_planned(plan, index, status);
}

void plan_fire_timer(struct plan *plan, uint32_t index, int status)
{
    Daa__TimerFired *body =
        plan_event(plan, DAA__EVENT__BODY_TIMER_FIRED, &daa__timer_fired__descriptor);
    body->has_status = body->has_step = body->has_index = body->has_due_ns = 1;
    body->status = (Daa__StepStatus)status;
    body->step = data_of_span(plan->workflow->flow->steps[index].id);
    body->index = index;
    body->due_ns = plan->workflow->steps[index].due_ns;
    set_planned(plan, index, status);
}

static void start(struct plan *plan, uint32_t index, int status, uint32_t attempt)
{
    Daa__StepStarted *body =
        plan_event(plan, DAA__EVENT__BODY_STEP_STARTED, &daa__step_started__descriptor);
    body->has_status = body->has_step = body->has_index = body->has_attempt = 1;
    body->status = (Daa__StepStatus)status;
    body->step = data_of_span(plan->workflow->flow->steps[index].id);
    body->index = index;
    body->attempt = attempt;
    set_planned(plan, index, status);
}

int plan_exec_allowed(const struct agent *agent, const struct flow_exec *exec, struct error *error)
{
    const struct agent_options *options = &agent->options;
    struct span program = exec->argv[0];
    int size = program.size > 200 ? 200 : (int)program.size;
    if (!options->exec_enabled)
        return error_set(error, ERROR_INVALID,
                         "the program %.*s may not run: exec is off; set exec.enabled = true and "
                         "put it into exec.allow",
                         size, (const char *)program.bytes);
    for (uint32_t i = 0; i < options->exec_allow_count; i++)
        if (span_is(program, options->exec_allow[i]))
            return 0;
    return error_set(error, ERROR_INVALID, "the program %.*s may not run: it is not in exec.allow",
                     size, (const char *)program.bytes);
}

/* A program or a template that is wrong stays wrong: it is not tried again. */
void plan_start_effect(struct plan *plan, uint32_t index)
{
    const struct flow_step *step = &plan->workflow->flow->steps[index];
    struct error error;
    struct effect *effect = NULL;
    int result = 0;
    if (step->kind == FLOW_EXEC)
        result = plan_exec_allowed(plan->agent, &step->exec, &error);
    if (result == 0)
        result = effect_render(plan->agent, plan->workflow, index, &effect, &error);
    if (result == ERROR_BUDGET) {
        plan->no_memory = true;
        plan->no_memory_owner = BUDGET_EFFECTS;
        return;
    }
    if (result == 0) {
        effect_prepare(plan->agent, effect);
        plan->effects_size += effect->arena.reserved;
        start(plan, index, DAA__STEP_STATUS__STEP_RUNNING, effect->attempt);
        return;
    }
    struct span text = arena_copy(&plan->decision->arena, span_of_text(error.text));
    if (text.bytes == NULL) {
        plan->no_memory = true;
        plan->no_memory_owner = BUDGET_REQUESTS;
        return;
    }
    plan_fail_step(plan, index, DAA__OUTCOME__OUTCOME_NOT_DONE, text, span_of(NULL, 0), false);
}

static bool is_taken(const struct plan *plan, uint32_t signal)
{
    for (uint32_t i = 0; i < plan->signals_taken_count; i++)
        if (plan->signals_taken[i] == signal)
            return true;
    return false;
}

static const struct kept_signal *take_kept(struct plan *plan, struct span name)
{
    uint32_t index = 0;
    const struct kept_signal *signal = plan->workflow->signals;
    for (; signal != NULL; signal = signal->next, index++)
        if (span_equal(signal->name, name) && !is_taken(plan, index)) {
            plan->signals_taken[plan->signals_taken_count++] = index;
            return signal;
        }
    return NULL;
}

static void wait_for_signal(struct plan *plan, uint32_t index)
{
    const struct flow_signal *wanted = &plan->workflow->flow->steps[index].signal;
    const struct kept_signal *kept = take_kept(plan, wanted->name);
    if (kept != NULL)
        plan_complete_step(plan, index, kept->payload);
    else if (wanted->timeout_ns > 0)
        set_timer(plan, index, DAA__STEP_STATUS__STEP_WAITING, wanted->timeout_ns);
    else
        start(plan, index, DAA__STEP_STATUS__STEP_WAITING, 1);
}

void plan_begin_step(struct plan *plan, uint32_t index)
{
    const struct flow_step *step = &plan->workflow->flow->steps[index];
    switch (step->kind) {
    case FLOW_HTTP:
    case FLOW_EXEC:
        plan_start_effect(plan, index);
        return;
    case FLOW_SLEEP:
        if (step->sleep_ns == 0)
            plan_complete_step(plan, index, span_of(NULL, 0));
        else
            set_timer(plan, index, DAA__STEP_STATUS__STEP_SLEEPING, step->sleep_ns);
        return;
    case FLOW_SIGNAL:
        wait_for_signal(plan, index);
        return;
    }
}
