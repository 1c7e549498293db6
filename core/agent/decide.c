#include "core/agent/plan.h"
#include "core/base/check.h"
#include "core/base/id.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define COMMAND_EVENTS_MAX 6u /* that one step's end or beginning can make, with the workflow's */
#define ADVANCE_SIZE_MAX (1u << 20) /* bytes of events and effects, then the next ADVANCE goes on */

/*--- Refusals and needs ----------------------------------------------------------------------*/

void plan_refuse(struct plan *plan, int status, const char *code, const char *format, ...)
{
    struct decision *decision = plan->decision;
    va_list arguments;
    decision->kind = DECISION_REFUSED;
    decision->event_count = 0;
    decision->refusal = (struct refusal){ .status = status, .code = code };
    decision->refusal.safe_to_retry = true; /* what is refused did nothing */
    va_start(arguments, format);
    (void)vsnprintf(decision->refusal.text, sizeof decision->refusal.text, format, arguments);
    va_end(arguments);
    agent_drop_prepared(plan->agent);
}

static void refuse_memory(struct plan *plan)
{
    plan_refuse(plan, 429, "memory-budget",
                "the memory budget is used up (owner %s): ask again when work has ended, or raise "
                "memory.max_heap_size",
                budget_owner_name(plan->no_memory_owner));
}

void plan_need(struct plan *plan, const struct document_key *key)
{
    struct decision *decision = plan->decision;
    CHECK(decision->needs_count < DECISION_NEEDS_MAX);
    decision->kind = DECISION_NEEDS;
    decision->needs[decision->needs_count++] = *key;
}

static const char *id_text(const struct plan *plan, char text[WORKFLOW_ID_SIZE])
{
    lineage_id_to_text(text, &plan->agent->logs, plan->command->stream);
    return text;
}

/* The workflow in memory with its key, if the command may end it; NULL: the decision is made. */
static struct workflow *find_workflow(struct plan *plan)
{
    char id[WORKFLOW_ID_SIZE];
    struct workflow *workflow = state_workflow(plan->agent, plan->command->stream);
    struct document_key key = document_workflow_key(plan->command->stream);
    if (workflow != NULL && workflow->has_key && !workflow->expired &&
        !state_is_finished(workflow->status) &&
        store_key(plan->agent, workflow->key_digest) == NULL) {
        key = document_idempotency_key(workflow->key_digest);
        if (!store_is_absent(plan->agent, &key)) {
            plan_need(plan, &key);
            return NULL;
        }
    }
    if (workflow != NULL && !workflow->expired)
        return workflow;
    if (workflow == NULL && plan->command->stream != 0 && !store_is_absent(plan->agent, &key))
        plan_need(plan, &key);
    else
        plan_refuse(plan, 404, "not-found", "there is no workflow %s", id_text(plan, id));
    return NULL;
}

static void refuse_finished(struct plan *plan, const char *what)
{
    char id[WORKFLOW_ID_SIZE];
    plan_refuse(plan, 409, "invalid-transition", "the workflow %s cannot be %s: it is %s",
                id_text(plan, id), what, workflow_status_name(plan->workflow->status));
}

/* The last eighth of the budget is for ending what was begun, which gives memory back: if new work
 * could take it, a change could not be encoded any more, and nothing would ever end. */
static bool is_memory_short(struct plan *plan)
{
    struct budget *budget = plan->agent->options.budget;
    uint64_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);
    if (used <= budget->limit - budget->limit / 8)
        return false;
    plan->no_memory_owner = BUDGET_WORKFLOWS;
    refuse_memory(plan);
    return true;
}

/* One workflow is one document, written again with each change, and needs as much memory again. */
static size_t workflow_size_max(const struct plan *plan)
{
    uint64_t part = plan->agent->options.budget->limit / 16;
    return part < STATE_WORKFLOW_SIZE_MAX ? (size_t)part : STATE_WORKFLOW_SIZE_MAX;
}

/* What is small may always be added: there are not many steps and signals. */
static bool is_too_large(const struct plan *plan, size_t more)
{
    size_t limit = workflow_size_max(plan), reserved = plan->workflow->arena.reserved;
    return more > 4096 && (more > limit || reserved > limit - more);
}

/*--- Submitting ------------------------------------------------------------------------------*/

/* True: the decision is made. */
static bool is_replay(struct plan *plan, const struct key_entry *key)
{
    char id[WORKFLOW_ID_SIZE];
    const struct command *command = plan->command;
    uint64_t now_ns = agent_time(plan->agent, plan->moment->now_ns);
    if (key == NULL || !key->there || (key->expires_ns != 0 && key->expires_ns <= now_ns))
        return false;
    if (memcmp(key->request_digest, command->request_digest, SHA256_SIZE) == 0) {
        plan->decision->replayed = true;
        plan->decision->replayed_stream = key->stream;
        return true;
    }
    lineage_id_to_text(id, &plan->agent->logs, key->stream);
    plan_refuse(
        plan, 422, "idempotency-key-reused",
        "the idempotency key \"%.*s\" was used for another request, which made the workflow %s: "
        "send a new key with a new request",
        command->key.size > 100 ? 100 : (int)command->key.size, (const char *)command->key.bytes,
        id);
    return true;
}

static bool is_exec_refused(struct plan *plan, const struct flow *flow)
{
    struct error error;
    for (uint32_t i = 0; flow->uses_exec && i < flow->step_count; i++)
        if (flow->steps[i].kind == FLOW_EXEC &&
            plan_exec_allowed(plan->agent, &flow->steps[i].exec, &error) < 0) {
            plan_refuse(plan, 403, "exec-not-allowed", "%s", error.text);
            return true;
        }
    return false;
}

static void plan_definition(struct plan *plan, const struct flow *flow)
{
    Daa__DefinitionInstalled *body = plan_event(plan, DAA__EVENT__BODY_DEFINITION_INSTALLED,
                                                &daa__definition_installed__descriptor);
    body->has_digest = body->has_name = body->has_source = 1;
    body->digest = data_of_span(span_of(flow->digest, sizeof flow->digest));
    body->name = data_of_span(flow->name);
    body->source = data_of_span(flow->source);
}

static void plan_submitted(struct plan *plan, const struct flow *flow)
{
    const struct command *command = plan->command;
    Daa__WorkflowSubmitted *body =
        plan_event(plan, DAA__EVENT__BODY_WORKFLOW_SUBMITTED, &daa__workflow_submitted__descriptor);
    plan->decision->events[plan->decision->event_count - 1].key_id = command->submit.key_id;
    body->has_status = body->has_name = body->has_definition = 1;
    body->status = DAA__WORKFLOW_STATUS__WORKFLOW_PENDING;
    body->name = plan_bytes(plan, flow->name);
    body->definition = data_of_span(span_of(flow->digest, sizeof flow->digest));
    body->has_input = command->submit.input.size > 0;
    body->input = plan_bytes(plan, command->submit.input);
    body->has_metadata = command->submit.metadata.size > 0;
    body->metadata = plan_bytes(plan, command->submit.metadata);
    if (!command->keyed)
        return;
    body->has_key_digest = body->has_request_digest = body->has_key = 1;
    body->key_digest = data_of_span(span_of(command->key_digest, SHA256_SIZE));
    body->request_digest = data_of_span(span_of(command->request_digest, SHA256_SIZE));
    body->key = plan_text(plan, command->key);
    body->has_key_ttl_ns = 1;
    body->key_ttl_ns = plan->agent->options.idempotency_ttl_ns;
}

/* False: the decision is made, since its key cannot be had. */
static bool take_cipher_key(struct plan *plan, struct workflow *workflow)
{
    uint32_t key_id = plan->decision->events[plan->decision->event_count - 1].key_id;
    if (state_take_cipher_key(plan->agent, workflow, key_id) == 0)
        return true;
    plan_refuse(plan, 503, "key-unavailable",
                "key %" PRIu32 " of the keyring cannot be had now: ask again in a moment", key_id);
    return false;
}

/* What the two events will be applied with. False: no memory. */
static bool prepare_submit(struct plan *plan, struct definition *definition)
{
    struct agent *agent = plan->agent;
    const struct command *command = plan->command;
    if (definition == NULL) {
        definition = store_definition_new(agent, command->submit.flow);
        agent->prepared.definition = definition;
        plan->no_memory_owner = BUDGET_DEFINITIONS;
    }
    if (definition == NULL)
        return false;
    plan->no_memory_owner = BUDGET_WORKFLOWS;
    agent->prepared.workflow = state_workflow_new(agent, definition, plan->memory);
    if (agent->prepared.workflow == NULL)
        return false;
    if (!take_cipher_key(plan, agent->prepared.workflow))
        return true;
    if (command->keyed && store_key(agent, command->key_digest) == NULL) {
        agent->prepared.key = store_new(agent, &agent->keys, command->key_digest);
        return agent->prepared.key != NULL;
    }
    return true;
}

/* True: there are as many keys as may be, and this one would be new. */
static bool are_keys_too_many(struct plan *plan, const struct key_entry *entry)
{
    const struct agent *agent = plan->agent;
    if (!plan->command->keyed || agent->options.keys_max == 0 || (entry != NULL && entry->there) ||
        agent->keys_there < agent->options.keys_max)
        return false;
    plan_refuse(plan, 429, "too-many-keys",
                "%" PRIu64
                " idempotency keys are known, which is what idempotency.max_bytes allows: "
                "none is forgotten early, so ask again when some have expired, or send the request "
                "without a key",
                agent->keys_there);
    return true;
}

static void need_for_submit(struct plan *plan)
{
    const struct agent *agent = plan->agent;
    const struct command *command = plan->command;
    const uint8_t *definition = command->submit.flow->digest;
    struct document_key key = document_idempotency_key(command->key_digest),
                        digest = document_definition_key(definition),
                        usage = document_usage_key(definition);
    if (command->keyed && store_key(agent, command->key_digest) == NULL &&
        !store_is_absent(agent, &key))
        plan_need(plan, &key);
    if (store_definition(agent, definition) == NULL && !store_is_absent(agent, &digest))
        plan_need(plan, &digest);
    if (store_usage(agent, definition) == NULL)
        plan_need(plan, &usage);
}

static void decide_submit(struct plan *plan)
{
    struct agent *agent = plan->agent;
    const struct command *command = plan->command;
    const struct flow *flow = command->submit.flow;
    store_trim_definitions(agent); /* while all is refused nothing else would do it */
    struct key_entry *entry = command->keyed ? store_key(agent, command->key_digest) : NULL;
    struct definition *definition = store_definition(agent, flow->digest);
    need_for_submit(plan);
    if (plan->decision->kind == DECISION_NEEDS || is_replay(plan, entry) ||
        is_exec_refused(plan, flow) || is_memory_short(plan) || are_keys_too_many(plan, entry))
        return;
    if (agent->unfinished >= agent->options.max_pending) {
        plan_refuse(plan, 429, "too-many-workflows",
                    "%" PRIu64
                    " workflows have not ended, and orchestrator.max_pending allows %" PRIu64
                    ": ask again when some have ended",
                    agent->unfinished, agent->options.max_pending);
        return;
    }
    if (command->submit.key_id != 0 && agent->keys_used == UINT32_MAX) {
        plan_refuse(plan, 503, "no-keys-left",
                    "each of the 4294967295 keys that a log can have was used: begin another log, "
                    "or set log.encryption = false");
        return;
    }
    if (command->submit.input.size + command->submit.metadata.size > workflow_size_max(plan)) {
        plan_refuse(
            plan, 413, "workflow-too-large",
            "input and metadata have %zu bytes, and a workflow holds at most %zu: send less",
            command->submit.input.size + command->submit.metadata.size, workflow_size_max(plan));
        return;
    }
    CHECK(command->submit.key_id == 0 || command->submit.key_id > agent->keys_used);
    if (definition == NULL || definition->removed)
        plan_definition(plan, flow);
    plan_submitted(plan, flow);
    if (plan->no_memory || !prepare_submit(plan, definition) ||
        (plan->decision->kind == DECISION_EVENTS && !plan_end(plan)))
        refuse_memory(plan);
}

/*--- Clients' other commands -----------------------------------------------------------------*/

static bool was_received(const struct workflow *workflow, const uint8_t *digest)
{
    for (const struct signal_digest *at = workflow->digests; at != NULL; at = at->next)
        if (memcmp(at->digest, digest, SHA256_SIZE) == 0)
            return true;
    return false;
}

static int64_t find_waiting(const struct workflow *workflow, struct span name)
{
    for (uint32_t i = 0; i < workflow->flow->step_count; i++) {
        const struct flow_step *step = &workflow->flow->steps[i];
        if (workflow->steps[i].status == DAA__STEP_STATUS__STEP_WAITING &&
            step->kind == FLOW_SIGNAL && span_equal(step->signal.name, name))
            return i;
    }
    return -1;
}

static void plan_signal(struct plan *plan, int64_t step)
{
    const struct command *command = plan->command;
    Daa__SignalReceived *body =
        plan_event(plan, DAA__EVENT__BODY_SIGNAL_RECEIVED, &daa__signal_received__descriptor);
    body->has_name = 1;
    body->name = plan_bytes(plan, command->signal.name);
    body->has_payload = command->signal.payload.size > 0;
    body->payload = plan_bytes(plan, command->signal.payload);
    plan->memory += sizeof(struct kept_signal) + sizeof(struct signal_digest) + 32;
    if (command->keyed) {
        body->has_dedup_digest = 1;
        body->dedup_digest = data_of_span(span_of(command->key_digest, SHA256_SIZE));
    }
    if (step < 0)
        return;
    body->has_step = body->has_index = 1;
    body->step = data_of_span(plan->workflow->flow->steps[step].id);
    body->index = (uint32_t)step;
    plan_complete_step(plan, (uint32_t)step, command->signal.payload);
    plan_complete_if_done(plan);
}

static void decide_signal(struct plan *plan)
{
    const struct workflow *workflow = plan->workflow;
    struct span name = plan->command->signal.name;
    char id[WORKFLOW_ID_SIZE];
    if (plan->command->keyed && was_received(workflow, plan->command->key_digest)) {
        plan->decision->replayed = true;
        plan->decision->replayed_stream = workflow->stream;
        return;
    }
    if (state_is_finished(workflow->status)) {
        refuse_finished(plan, "signalled");
        return;
    }
    if (is_memory_short(plan))
        return;
    if (is_too_large(plan, 2 * plan->command->signal.payload.size)) {
        plan_refuse(plan, 413, "workflow-too-large",
                    "the workflow %s would hold more than %zu bytes with this signal: send less",
                    id_text(plan, id), workflow_size_max(plan));
        return;
    }
    int64_t step = find_waiting(workflow, name);
    if (step < 0 && workflow->signal_count >= STATE_SIGNALS_KEPT_MAX) {
        plan_refuse(
            plan, 429, "too-many-signals",
            "the workflow %s keeps %u signals that no step has taken yet, which is the limit: "
            "ask again when it has gone on",
            id_text(plan, id), workflow->signal_count);
        return;
    }
    plan_signal(plan, step);
}

static void decide_cancel(struct plan *plan)
{
    if (state_is_finished(plan->workflow->status)) {
        refuse_finished(plan, "cancelled");
        return;
    }
    Daa__WorkflowCancelled *body =
        plan_event(plan, DAA__EVENT__BODY_WORKFLOW_CANCELLED, &daa__workflow_cancelled__descriptor);
    body->has_status = 1;
    body->status = DAA__WORKFLOW_STATUS__WORKFLOW_CANCELLED;
    body->has_reason = plan->command->cancel.reason.size > 0;
    body->reason = plan_text(plan, plan->command->cancel.reason);
    plan_prepare_finished(plan);
}

/* What is parked still, when one step is not any more. */
static void go_on(struct plan *plan)
{
    if (plan->parked == 0) {
        Daa__WorkflowResumed *body =
            plan_event(plan, DAA__EVENT__BODY_WORKFLOW_RESUMED, &daa__workflow_resumed__descriptor);
        body->has_status = 1;
        body->status = DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING;
        plan->status = DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING;
        plan_complete_if_done(plan);
        return;
    }
    const struct flow *flow = plan->workflow->flow;
    uint32_t i = 0;
    while (state_step_class(&flow->steps[i], plan->steps[i].status) != STEP_IS_PARKED)
        i++;
    plan_pause(plan, i,
               plan->steps[i].status == DAA__STEP_STATUS__STEP_UNCERTAIN
                   ? "may or may not have happened, and doing it twice is not safe: resolve it"
                   : "failed: resolve it, or cancel the workflow");
}

static void plan_resolved(struct plan *plan, uint32_t index, int status)
{
    const struct command *command = plan->command;
    Daa__StepResolved *body =
        plan_event(plan, DAA__EVENT__BODY_STEP_RESOLVED, &daa__step_resolved__descriptor);
    body->has_status = body->has_step = body->has_index = body->has_resolution = 1;
    body->status = (Daa__StepStatus)status;
    body->step = data_of_span(plan->workflow->flow->steps[index].id);
    body->index = index;
    body->resolution = (Daa__Resolution)command->resolve.resolution;
    if (status == DAA__STEP_STATUS__STEP_COMPLETED && command->resolve.output.size > 0) {
        body->has_output = 1;
        body->output = plan_json(plan, command->resolve.output);
        plan->steps[index].output = span_of_data(body->output);
    }
    body->has_reason = command->resolve.reason.size > 0;
    body->reason = plan_text(plan, command->resolve.reason);
    plan->steps[index].status = (uint8_t)status;
    plan->parked--;
}

/* "It did not happen and shall not": the step has failed. One that would be parked for that fails
 * the workflow, since somebody has just decided not to do it. */
static void resolve_failed(struct plan *plan, uint32_t index)
{
    const struct flow_step *step = &plan->workflow->flow->steps[index];
    struct span error = plan->workflow->steps[index].error;
    plan_resolved(plan, index, DAA__STEP_STATUS__STEP_FAILED);
    if (step->on_failure == FLOW_CONTINUE) {
        plan_unblock(plan, index);
        go_on(plan);
    } else {
        plan_fail(plan, index, error);
    }
}

static void decide_resolve(struct plan *plan)
{
    char id[WORKFLOW_ID_SIZE];
    const struct workflow *workflow = plan->workflow;
    struct span step = plan->command->resolve.step;
    int shown = step.size > 100 ? 100 : (int)step.size;
    int64_t index = flow_find_step(workflow->flow, step);
    if (index < 0) {
        plan_refuse(plan, 404, "not-found", "the workflow %s has no step \"%.*s\"",
                    id_text(plan, id), shown, (const char *)step.bytes);
        return;
    }
    int status = workflow->steps[index].status;
    if (workflow->status != DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED ||
        state_step_class(&workflow->flow->steps[index], status) != STEP_IS_PARKED) {
        plan_refuse(
            plan, 409, "invalid-transition",
            "the step \"%.*s\" of the workflow %s is %s, and the workflow %s: there is nothing "
            "to resolve",
            shown, (const char *)step.bytes, id_text(plan, id), step_status_name(status),
            workflow_status_name(workflow->status));
        return;
    }
    switch (plan->command->resolve.resolution) {
    case DAA__RESOLUTION__RESOLVE_DONE:
        plan_resolved(plan, (uint32_t)index, DAA__STEP_STATUS__STEP_COMPLETED);
        plan_unblock(plan, (uint32_t)index);
        go_on(plan);
        return;
    case DAA__RESOLUTION__RESOLVE_RETRY:
        plan_resolved(plan, (uint32_t)index, DAA__STEP_STATUS__STEP_READY);
        go_on(plan);
        return;
    case DAA__RESOLUTION__RESOLVE_FAILED:
        resolve_failed(plan, (uint32_t)index);
        return;
    default:
        plan_refuse(plan, 422, "invalid-resolution", "a resolution is done, failed or retry");
    }
}

/*--- The shell's commands --------------------------------------------------------------------*/

static void decide_advance(struct plan *plan)
{
    if (plan->status == DAA__WORKFLOW_STATUS__WORKFLOW_PENDING) {
        Daa__WorkflowStarted *body =
            plan_event(plan, DAA__EVENT__BODY_WORKFLOW_STARTED, &daa__workflow_started__descriptor);
        body->has_status = 1;
        body->status = DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING;
        plan->status = DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING;
    }
    while (plan->status == DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING && !plan->no_memory &&
           plan->ready_first < plan->ready_end &&
           plan->memory + plan->effects_size < ADVANCE_SIZE_MAX &&
           plan->decision->event_count + COMMAND_EVENTS_MAX <= DECISION_EVENTS_MAX)
        plan_begin_step(plan, plan->ready[plan->ready_first++]);
    plan_complete_if_done(plan);
}

static void fire(struct plan *plan, uint32_t index)
{
    char text[200];
    const struct step *step = &plan->workflow->steps[index];
    const struct flow_step *flow_step = &plan->workflow->flow->steps[index];
    switch (step->status) {
    case DAA__STEP_STATUS__STEP_SLEEPING:
        plan_fire_timer(plan, index, DAA__STEP_STATUS__STEP_SLEEPING);
        plan_complete_step(plan, index, span_of(NULL, 0));
        break;
    case DAA__STEP_STATUS__STEP_WAITING:
        (void)snprintf(text, sizeof text, "no signal \"%.*s\" came in time",
                       (int)flow_step->signal.name.size,
                       (const char *)flow_step->signal.name.bytes);
        plan_fire_timer(plan, index, DAA__STEP_STATUS__STEP_WAITING);
        plan_fail_step(plan, index, DAA__OUTCOME__OUTCOME_NOT_DONE,
                       arena_copy(&plan->decision->arena, span_of_text(text)), span_of(NULL, 0),
                       false);
        break;
    default:
        if (plan->status == DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED)
            plan_fire_timer(plan, index, DAA__STEP_STATUS__STEP_READY);
        else
            plan_start_effect(plan, index);
    }
    plan_complete_if_done(plan);
}

static void decide_timer(struct plan *plan)
{
    const struct command *command = plan->command;
    uint32_t index = command->timer.index;
    if (index >= plan->workflow->flow->step_count)
        return;
    const struct step *step = &plan->workflow->steps[index];
    if (state_step_is_timed(step) && step->due_ns == command->timer.due_ns)
        fire(plan, index);
}

static bool may_learn(const struct step *step, uint32_t attempt, int outcome)
{
    if (step->attempt != attempt)
        return false;
    if (step->status == DAA__STEP_STATUS__STEP_RUNNING)
        return true;
    return step->status == DAA__STEP_STATUS__STEP_CANCELLED && step->ended_ns == 0 &&
           step->outcome == DAA__OUTCOME__OUTCOME_UNKNOWN &&
           outcome != DAA__OUTCOME__OUTCOME_UNKNOWN;
}

static struct span not_kept(struct plan *plan, size_t size)
{
    char text[160];
    (void)snprintf(text, sizeof text,
                   "its output of %zu bytes is not kept: the workflow would hold more than %zu",
                   size, workflow_size_max(plan));
    struct span copy = arena_copy(&plan->decision->arena, span_of_text(text));
    return copy.bytes != NULL ? copy : span_of_text("its output is not kept: no memory");
}

static void decide_outcome(struct plan *plan)
{
    const struct command *command = plan->command;
    uint32_t index = command->outcome.index;
    if (index >= plan->workflow->flow->step_count ||
        !may_learn(&plan->workflow->steps[index], command->outcome.attempt,
                   command->outcome.outcome))
        return;
    struct span error = command->outcome.error, output = command->outcome.output;
    if (is_too_large(plan, 2 * output.size)) {
        if (error.size == 0)
            error = not_kept(plan, output.size);
        output = span_of(NULL, 0);
    }
    /* Done, with an error: what came of it is lost, and steps behind it must not go on without. */
    bool lost = error.size > 0;
    if (error.size == 0)
        error = span_of_text("no reason was given");
    if (command->outcome.outcome == DAA__OUTCOME__OUTCOME_DONE && !lost)
        plan_complete_step(plan, index, output);
    else
        plan_fail_step(plan, index, command->outcome.outcome, error, output,
                       command->outcome.outcome != DAA__OUTCOME__OUTCOME_DONE);
    plan_complete_if_done(plan);
}

static void decide_spawned(struct plan *plan)
{
    const struct command *command = plan->command;
    uint32_t index = command->spawned.index;
    if (index >= plan->workflow->flow->step_count ||
        plan->workflow->steps[index].status != DAA__STEP_STATUS__STEP_RUNNING ||
        plan->workflow->steps[index].attempt != command->spawned.attempt)
        return;
    Daa__StepSpawned *body =
        plan_event(plan, DAA__EVENT__BODY_STEP_SPAWNED, &daa__step_spawned__descriptor);
    body->has_status = body->has_step = body->has_index = body->has_attempt = 1;
    body->status = DAA__STEP_STATUS__STEP_RUNNING;
    body->step = data_of_span(plan->workflow->flow->steps[index].id);
    body->index = index;
    body->attempt = command->spawned.attempt;
    body->has_pid = body->has_start_time = 1;
    body->pid = command->spawned.pid;
    body->start_time = command->spawned.start_time;
    if (command->spawned.boot_id.size == 16) {
        body->has_boot_id = 1;
        body->boot_id = data_of_span(command->spawned.boot_id);
    }
}

static void decide_register(struct plan *plan)
{
    const struct command *command = plan->command;
    Daa__AgentRegistered *body =
        plan_event(plan, DAA__EVENT__BODY_AGENT_REGISTERED, &daa__agent_registered__descriptor);
    body->has_version = body->has_pid = body->has_host = body->has_log_uuid = 1;
    body->log_uuid = data_of_span(span_of(plan->agent->options.log_uuid, UUID_SIZE));
    body->version = plan_text(plan, command->registered.version);
    body->pid = command->registered.pid;
    body->host = plan_text(plan, command->registered.host);
    body->has_keyring = command->registered.keyring.size == UUID_SIZE;
    body->keyring = data_of_span(command->registered.keyring);
}

static void decide_stop(struct plan *plan)
{
    Daa__AgentStopped *body =
        plan_event(plan, DAA__EVENT__BODY_AGENT_STOPPED, &daa__agent_stopped__descriptor);
    body->has_reason = 1;
    body->reason = plan_text(plan, plan->command->stop.reason);
}

/*--- All of them -----------------------------------------------------------------------------*/

void decision_init(struct decision *decision, struct budget *budget)
{
    memset(decision, 0, sizeof *decision);
    arena_init(&decision->arena, budget, BUDGET_REQUESTS, 16384);
}

void decision_free(struct decision *decision)
{
    arena_free(&decision->arena);
}

static void decide_of_workflow(struct plan *plan)
{
    static void (*const decide[])(struct plan *) = {
        [COMMAND_SIGNAL] = decide_signal,   [COMMAND_CANCEL] = decide_cancel,
        [COMMAND_RESOLVE] = decide_resolve, [COMMAND_ADVANCE] = decide_advance,
        [COMMAND_TIMER] = decide_timer,     [COMMAND_OUTCOME] = decide_outcome,
        [COMMAND_SPAWNED] = decide_spawned,
    };
    struct workflow *workflow = find_workflow(plan);
    if (workflow == NULL)
        return;
    if (plan_begin(plan, workflow))
        decide[plan->command->kind](plan);
    if (plan->decision->kind == DECISION_EVENTS && !plan_end(plan))
        refuse_memory(plan);
}

void agent_decide(struct agent *agent, const struct command *command,
                  const struct agent_moment *moment, struct decision *decision)
{
    struct plan plan = {
        .agent = agent, .command = command, .moment = moment, .decision = decision
    };
    agent_drop_prepared(agent);
    arena_reset(&decision->arena);
    decision->kind = DECISION_EVENTS;
    decision->event_count = decision->needs_count = 0;
    decision->replayed = false;
    decision->replayed_stream = 0;
    switch (command->kind) {
    case COMMAND_SUBMIT:
        decide_submit(&plan);
        return;
    case COMMAND_REGISTER:
        decide_register(&plan);
        break;
    case COMMAND_STOP:
        decide_stop(&plan);
        break;
    case COMMAND_EXPIRE_KEYS:
        plan_expire_keys(&plan);
        break;
    case COMMAND_EXPIRE_WORKFLOWS:
        plan_expire_workflows(&plan);
        break;
    case COMMAND_ERASE:
        plan_erase(&plan);
        break;
    case COMMAND_SNAPSHOT:
        plan_snapshot(&plan);
        break;
    case COMMAND_REMOVE:
        plan_remove(&plan);
        break;
    case COMMAND_ANCHOR:
        plan_anchor(&plan);
        break;
    case COMMAND_SIGNAL:
    case COMMAND_CANCEL:
    case COMMAND_RESOLVE:
    case COMMAND_ADVANCE:
    case COMMAND_TIMER:
    case COMMAND_OUTCOME:
    case COMMAND_SPAWNED:
        decide_of_workflow(&plan);
        return;
    case COMMAND_CLOCK:
        if (!clock_decide(&plan))
            plan_refuse(&plan, 409, "clock-not-stepped",
                        "there is nothing to accept: the wall clock is not stepped");
        break;
    }
    if (plan.no_memory)
        refuse_memory(&plan);
}
