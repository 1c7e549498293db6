#include "core/agent/state.h"
#include "core/base/check.h"

/* Live, all that is copied here has its room already (decide.c); only replaying allocates. */
static int copy(struct workflow *workflow, ProtobufCBinaryData data, struct span *target)
{
    *target = (struct span){ NULL, 0 };
    if (data.len == 0)
        return 0;
    *target = arena_copy(&workflow->arena, span_of_data(data));
    return target->bytes != NULL ? 0 : ERROR_BUDGET;
}

void agent_drop_prepared(struct agent *agent)
{
    state_workflow_free(agent->prepared.workflow);
    agent->prepared.workflow = NULL;
    store_definition_free(agent, agent->prepared.definition);
    agent->prepared.definition = NULL;
    store_drop(agent, &agent->keys, agent->prepared.key);
    agent->prepared.key = NULL;
    store_drop(agent, &agent->usages, agent->prepared.usage);
    agent->prepared.usage = NULL;
    while (agent->prepared.effects != NULL) {
        struct effect *effect = agent->prepared.effects;
        agent->prepared.effects = effect->next;
        effect_free(effect);
    }
}

/*--- Definitions and submissions -------------------------------------------------------------*/

static int compile(struct agent *agent, const Daa__DefinitionInstalled *body,
                   struct definition **definition)
{
    struct flow *flow;
    struct flow_problem problem;
    int result = flow_compile(&flow, agent->options.budget, span_of_data(body->source), &problem);
    if (result < 0)
        return result == ERROR_BUDGET ? result : ERROR_DAMAGED;
    *definition = store_definition_new(agent, flow);
    flow_unref(flow);
    return *definition != NULL ? 0 : ERROR_BUDGET;
}

static int install(struct agent *agent, const struct event_header *header,
                   const Daa__DefinitionInstalled *body)
{
    if (!body->has_digest || !body->has_source)
        return ERROR_DAMAGED;
    struct definition *known = store_definition(agent, body->digest.data);
    if (known != NULL && !known->removed)
        return 0; /* once installed, a definition is what it is */
    struct definition *definition = known != NULL ? known : agent->prepared.definition;
    if (known == NULL)
        agent->prepared.definition = NULL;
    int result = definition == NULL ? compile(agent, body, &definition) : 0;
    if (result < 0)
        return result;
    if (memcmp(definition->flow->digest, body->digest.data, SHA256_SIZE) != 0) {
        store_definition_free(agent, definition);
        return ERROR_DAMAGED;
    }
    definition->seq = header->seq;
    definition->removed = false;
    store_definition_changed(agent, definition);
    if (known == NULL)
        store_definition_enter(agent, definition);
    agent->definitions_there++;
    agent->counts_changed = true;
    return 0;
}

/* The key as it was used now; an older use of it, which has expired, is written over. */
static int take_key(struct agent *agent, struct workflow *workflow,
                    const Daa__WorkflowSubmitted *body)
{
    if (!body->has_key_digest)
        return 0;
    workflow->has_key = true;
    memcpy(workflow->key_digest, body->key_digest.data, SHA256_SIZE);
    struct key_entry *key = store_key(agent, body->key_digest.data);
    if (key == NULL) {
        key = agent->prepared.key;
        agent->prepared.key = NULL;
        if (key == NULL)
            key = store_new(agent, &agent->keys, body->key_digest.data);
        if (key == NULL)
            return ERROR_BUDGET;
        store_enter(agent, &agent->keys, key);
    }
    agent->keys_there += !key->there;
    key->there = true;
    key->stream = workflow->stream;
    key->expires_ns = 0;
    key->ttl_ns = body->key_ttl_ns;
    if (body->has_request_digest)
        memcpy(key->request_digest, body->request_digest.data, SHA256_SIZE);
    store_changed(&agent->keys, key);
    return 0;
}

static int count_use(struct agent *agent, const uint8_t *definition)
{
    struct usage *usage = store_usage(agent, definition);
    if (usage == NULL) {
        usage = agent->prepared.usage;
        agent->prepared.usage = NULL;
        if (usage == NULL)
            usage = store_new(agent, &agent->usages, definition);
        if (usage == NULL)
            return ERROR_BUDGET;
        store_enter(agent, &agent->usages, usage);
    }
    usage->count++;
    store_changed(&agent->usages, usage);
    return 0;
}

static void begin_steps(struct agent *agent, struct workflow *workflow, uint64_t seq)
{
    for (uint32_t i = 0; i < workflow->flow->step_count; i++) {
        uint32_t needs = workflow->flow->steps[i].needs_count;
        workflow->steps[i].blocked_by = (uint16_t)needs;
        workflow->steps[i].since_seq = seq;
        state_set_step(agent, workflow, i,
                       needs == 0 ? DAA__STEP_STATUS__STEP_READY : DAA__STEP_STATUS__STEP_BLOCKED,
                       0);
    }
}

static int fill(struct workflow *workflow, const struct event_header *header,
                const Daa__WorkflowSubmitted *body)
{
    workflow->stream = workflow->last_seq = header->seq;
    workflow->submitted_ns = header->time_ns;
    int result = copy(workflow, body->name, &workflow->name);
    if (result == 0)
        result = copy(workflow, body->input, &workflow->input);
    if (result == 0)
        result = copy(workflow, body->metadata, &workflow->metadata);
    return result;
}

static int submit(struct agent *agent, const struct event_header *header,
                  const Daa__WorkflowSubmitted *body)
{
    if (header->seq == 0 || header->stream != header->seq || !body->has_definition ||
        state_workflow(agent, header->seq) != NULL)
        return ERROR_DAMAGED;
    struct definition *definition = store_definition(agent, body->definition.data);
    if (definition == NULL || definition->removed)
        return ERROR_NOT_FOUND;
    struct workflow *workflow = agent->prepared.workflow;
    agent->prepared.workflow = NULL;
    if (workflow == NULL)
        workflow = state_workflow_new(agent, definition, 0);
    if (workflow == NULL || state_reserve(agent, 1) < 0) {
        state_workflow_free(workflow);
        return ERROR_BUDGET;
    }
    int result = fill(workflow, header, body);
    if (result == 0 && workflow->key_id != header->key_id)
        result = state_take_cipher_key(agent, workflow, header->key_id);
    if (result == 0)
        result = take_key(agent, workflow, body);
    if (result == 0)
        result = count_use(agent, body->definition.data);
    if (result < 0) {
        state_workflow_free(workflow);
        return result;
    }
    struct document_key absent = document_workflow_key(workflow->stream);
    store_forget_absent(agent, &absent);
    state_workflow_enter(agent, workflow);
    state_set_status(agent, workflow, DAA__WORKFLOW_STATUS__WORKFLOW_PENDING);
    begin_steps(agent, workflow, header->seq);
    agent->submitted++;
    if (header->key_id > agent->keys_used)
        agent->keys_used = header->key_id;
    agent->counts_changed = true;
    state_settle(agent, workflow);
    state_mark_changed(agent, workflow);
    return 0;
}

/*--- Steps -----------------------------------------------------------------------------------*/

/* The steps that waited only for this one are ready. */
static void unblock(struct agent *agent, struct workflow *workflow, uint32_t index, uint64_t seq)
{
    const struct flow_step *step = &workflow->flow->steps[index];
    for (uint32_t i = 0; i < step->wanted_by_count; i++) {
        struct step *other = &workflow->steps[step->wanted_by[i]];
        if (other->status != DAA__STEP_STATUS__STEP_BLOCKED || --other->blocked_by > 0)
            continue;
        other->since_seq = seq;
        state_set_step(agent, workflow, step->wanted_by[i], DAA__STEP_STATUS__STEP_READY, 0);
    }
}

static void set_step(struct agent *agent, struct workflow *workflow, uint32_t index, int status,
                     uint64_t due_ns, const struct event_header *header)
{
    struct step *step = &workflow->steps[index];
    bool begins = step->status == DAA__STEP_STATUS__STEP_READY && step->started_ns == 0;
    state_set_step(agent, workflow, index, status, due_ns);
    step->since_seq = header->seq;
    if (begins)
        step->started_ns = header->time_ns;
    if (state_step_is_terminal(status))
        step->ended_ns = header->time_ns;
    if (state_step_class(&workflow->flow->steps[index], status) == STEP_IS_DONE &&
        !state_is_finished(workflow->status))
        unblock(agent, workflow, index, header->seq);
}

#define MAY(status) (1u << DAA__STEP_STATUS__STEP_##status)

/* What each event may follow. A cancelled step may still learn how its last attempt ended. */
static unsigned may_follow(int kind)
{
    switch (kind) {
    case DAA__EVENT__BODY_STEP_STARTED:
        return MAY(READY) | MAY(BACKOFF);
    case DAA__EVENT__BODY_STEP_SPAWNED:
    case DAA__EVENT__BODY_STEP_RETRY_SCHEDULED:
    case DAA__EVENT__BODY_STEP_UNCERTAIN:
        return MAY(RUNNING);
    case DAA__EVENT__BODY_STEP_COMPLETED:
        return MAY(READY) | MAY(RUNNING) | MAY(SLEEPING) | MAY(WAITING) | MAY(CANCELLED);
    case DAA__EVENT__BODY_STEP_FAILED:
        return MAY(READY) | MAY(RUNNING) | MAY(WAITING) | MAY(BACKOFF) | MAY(CANCELLED);
    case DAA__EVENT__BODY_STEP_RESOLVED:
        return MAY(UNCERTAIN) | MAY(FAILED);
    case DAA__EVENT__BODY_TIMER_SET:
        return MAY(READY);
    case DAA__EVENT__BODY_TIMER_FIRED:
        return MAY(SLEEPING) | MAY(WAITING) | MAY(BACKOFF);
    default:
        return 0;
    }
}

/* The step that an event is of, or NULL when the event contradicts the state. */
static struct step *step_of(struct workflow *workflow, const Daa__Event *event,
                            protobuf_c_boolean has_index, uint32_t index)
{
    if (!has_index || index >= workflow->flow->step_count)
        return NULL;
    struct step *step = &workflow->steps[index];
    return may_follow((int)event->body_case) >> step->status & 1 ? step : NULL;
}

static int started(struct agent *agent, struct workflow *workflow,
                   const struct event_header *header, const Daa__Event *event)
{
    const Daa__StepStarted *body = event->step_started;
    struct step *step = step_of(workflow, event, body->has_index, body->index);
    if (step == NULL || (body->status != DAA__STEP_STATUS__STEP_RUNNING &&
                         body->status != DAA__STEP_STATUS__STEP_WAITING))
        return ERROR_DAMAGED;
    step->attempt = body->attempt;
    step->pid = step->start_time = 0;
    memset(step->boot_id, 0, sizeof step->boot_id);
    set_step(agent, workflow, body->index, (int)body->status, 0, header);
    if (agent->live && body->status == DAA__STEP_STATUS__STEP_RUNNING)
        effect_due(agent,
                   workflow->flow->steps[body->index].kind == FLOW_HTTP ? EFFECT_HTTP : EFFECT_EXEC,
                   workflow->stream, body->index, header->seq, 0);
    return 0;
}

static int spawned(struct workflow *workflow, const Daa__Event *event)
{
    const Daa__StepSpawned *body = event->step_spawned;
    struct step *step = step_of(workflow, event, body->has_index, body->index);
    if (step == NULL)
        return ERROR_DAMAGED;
    step->pid = body->pid;
    step->start_time = body->start_time;
    if (body->boot_id.len == sizeof step->boot_id)
        memcpy(step->boot_id, body->boot_id.data, sizeof step->boot_id);
    return 0;
}

/* A signal step that completes without having waited took the oldest signal that was kept. */
static void take_signal(struct workflow *workflow, uint32_t index)
{
    const struct flow_step *step = &workflow->flow->steps[index];
    struct kept_signal **at = &workflow->signals;
    if (step->kind != FLOW_SIGNAL || workflow->steps[index].status != DAA__STEP_STATUS__STEP_READY)
        return;
    while (*at != NULL && !span_equal((*at)->name, step->signal.name))
        at = &(*at)->next;
    if (*at == NULL)
        return;
    *at = (*at)->next;
    if (*at == NULL)
        workflow->signals_end = at;
    workflow->signal_count--;
}

static int completed(struct agent *agent, struct workflow *workflow,
                     const struct event_header *header, const Daa__Event *event)
{
    const Daa__StepCompleted *body = event->step_completed;
    struct step *step = step_of(workflow, event, body->has_index, body->index);
    if (step == NULL)
        return ERROR_DAMAGED;
    int result = copy(workflow, body->output, &step->output);
    if (result < 0)
        return result;
    take_signal(workflow, body->index);
    step->outcome = DAA__OUTCOME__OUTCOME_DONE;
    step->error = (struct span){ NULL, 0 };
    set_step(agent, workflow, body->index, DAA__STEP_STATUS__STEP_COMPLETED, 0, header);
    return 0;
}

static int failed(struct agent *agent, struct workflow *workflow, const struct event_header *header,
                  const Daa__Event *event)
{
    const Daa__StepFailed *body = event->step_failed;
    struct step *step = step_of(workflow, event, body->has_index, body->index);
    if (step == NULL)
        return ERROR_DAMAGED;
    int result = copy(workflow, body->error, &step->error);
    if (result == 0)
        result = copy(workflow, body->output, &step->output);
    if (result < 0)
        return result;
    step->outcome = (uint8_t)body->outcome;
    set_step(agent, workflow, body->index, DAA__STEP_STATUS__STEP_FAILED, 0, header);
    return 0;
}

static int retry_scheduled(struct agent *agent, struct workflow *workflow,
                           const struct event_header *header, const Daa__Event *event)
{
    const Daa__StepRetryScheduled *body = event->step_retry_scheduled;
    struct step *step = step_of(workflow, event, body->has_index, body->index);
    if (step == NULL || body->due_ns == 0)
        return ERROR_DAMAGED;
    /* One arena a workflow: what an earlier attempt said is written over, so that a thousand
     * attempts take no more memory than the longest of their errors. */
    int result = 0;
    if (step->error.size >= body->error.len && body->error.len > 0) {
        memcpy((uint8_t *)(uintptr_t)step->error.bytes, body->error.data, body->error.len);
        step->error.size = body->error.len;
    } else {
        result = copy(workflow, body->error, &step->error);
    }
    if (result < 0)
        return result;
    step->outcome = (uint8_t)body->outcome;
    set_step(agent, workflow, body->index, DAA__STEP_STATUS__STEP_BACKOFF, body->due_ns, header);
    return 0;
}

static int uncertain(struct agent *agent, struct workflow *workflow,
                     const struct event_header *header, const Daa__Event *event)
{
    const Daa__StepUncertain *body = event->step_uncertain;
    struct step *step = step_of(workflow, event, body->has_index, body->index);
    if (step == NULL)
        return ERROR_DAMAGED;
    int result = copy(workflow, body->error, &step->error);
    if (result < 0)
        return result;
    step->outcome = DAA__OUTCOME__OUTCOME_UNKNOWN;
    set_step(agent, workflow, body->index, DAA__STEP_STATUS__STEP_UNCERTAIN, 0, header);
    return 0;
}

static int resolved(struct agent *agent, struct workflow *workflow,
                    const struct event_header *header, const Daa__Event *event)
{
    const Daa__StepResolved *body = event->step_resolved;
    struct step *step = step_of(workflow, event, body->has_index, body->index);
    int status = (int)body->status;
    if (step == NULL ||
        (status != DAA__STEP_STATUS__STEP_COMPLETED && status != DAA__STEP_STATUS__STEP_FAILED &&
         status != DAA__STEP_STATUS__STEP_READY))
        return ERROR_DAMAGED;
    int result = 0;
    if (status == DAA__STEP_STATUS__STEP_COMPLETED) {
        result = copy(workflow, body->output, &step->output);
        step->outcome = DAA__OUTCOME__OUTCOME_DONE;
    }
    if (result < 0)
        return result;
    step->ended_ns = 0;
    set_step(agent, workflow, body->index, status, 0, header);
    return 0;
}

static int timer_set(struct agent *agent, struct workflow *workflow,
                     const struct event_header *header, const Daa__Event *event)
{
    const Daa__TimerSet *body = event->timer_set;
    struct step *step = step_of(workflow, event, body->has_index, body->index);
    if (step == NULL || body->due_ns == 0 ||
        (body->status != DAA__STEP_STATUS__STEP_SLEEPING &&
         body->status != DAA__STEP_STATUS__STEP_WAITING))
        return ERROR_DAMAGED;
    set_step(agent, workflow, body->index, (int)body->status, body->due_ns, header);
    return 0;
}

static int timer_fired(struct agent *agent, struct workflow *workflow,
                       const struct event_header *header, const Daa__Event *event)
{
    const Daa__TimerFired *body = event->timer_fired;
    struct step *step = step_of(workflow, event, body->has_index, body->index);
    if (step == NULL ||
        ((int)body->status != step->status && body->status != DAA__STEP_STATUS__STEP_READY))
        return ERROR_DAMAGED;
    set_step(agent, workflow, body->index, (int)body->status, 0, header);
    return 0;
}

/*--- Signals ---------------------------------------------------------------------------------*/

static int keep_signal(struct workflow *workflow, const struct event_header *header,
                       const Daa__SignalReceived *body)
{
    struct kept_signal *signal = arena_allocate(&workflow->arena, sizeof *signal);
    if (signal == NULL || copy(workflow, body->name, &signal->name) < 0 ||
        copy(workflow, body->payload, &signal->payload) < 0)
        return ERROR_BUDGET;
    signal->seq = header->seq;
    *workflow->signals_end = signal;
    workflow->signals_end = &signal->next;
    workflow->signal_count++;
    return 0;
}

static int signalled(struct workflow *workflow, const struct event_header *header,
                     const Daa__SignalReceived *body)
{
    if (body->has_dedup_digest) {
        struct signal_digest *digest = arena_allocate(&workflow->arena, sizeof *digest);
        if (digest == NULL)
            return ERROR_BUDGET;
        memcpy(digest->digest, body->dedup_digest.data, SHA256_SIZE);
        *workflow->digests_end = digest;
        workflow->digests_end = &digest->next;
    }
    return body->has_index ? 0 : keep_signal(workflow, header, body);
}

/*--- The workflow itself ---------------------------------------------------------------------*/

/* What was under way may have happened: its outcome is unknown until it comes. */
static void cancel_steps(struct agent *agent, struct workflow *workflow,
                         const struct event_header *header)
{
    for (uint32_t i = 0; i < workflow->flow->step_count; i++) {
        struct step *step = &workflow->steps[i];
        bool running = step->status == DAA__STEP_STATUS__STEP_RUNNING;
        if (state_step_is_terminal(step->status))
            continue;
        state_set_step(agent, workflow, i, DAA__STEP_STATUS__STEP_CANCELLED, 0);
        step->since_seq = header->seq;
        if (running)
            step->outcome = DAA__OUTCOME__OUTCOME_UNKNOWN;
        else
            step->ended_ns = header->time_ns;
    }
}

static int end(struct agent *agent, struct workflow *workflow, const struct event_header *header,
               int status)
{
    uint64_t *count = status == DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED ? &agent->completed
                      : status == DAA__WORKFLOW_STATUS__WORKFLOW_FAILED  ? &agent->failed
                                                                         : &agent->cancelled;
    if (state_is_finished(workflow->status))
        return ERROR_DAMAGED;
    ++*count;
    agent->finished++;
    workflow->ended_ns = header->time_ns;
    workflow->ended_shift_ns = agent->shift_ns;
    workflow->signals = NULL;
    workflow->signals_end = &workflow->signals;
    workflow->signal_count = 0;
    state_set_status(agent, workflow, status);
    cancel_steps(agent, workflow, header);
    struct key_entry *key = workflow->has_key ? store_key(agent, workflow->key_digest) : NULL;
    if (key != NULL && key->stream == workflow->stream) {
        key->expires_ns = agent_time(agent, header->time_ns) + key->ttl_ns;
        store_changed(&agent->keys, key);
    }
    if (agent->live)
        effect_due(agent, EFFECT_FINISHED, workflow->stream, 0, header->seq, status);
    return 0;
}

static int pause(struct agent *agent, struct workflow *workflow, const Daa__WorkflowPaused *body)
{
    if (state_is_finished(workflow->status))
        return ERROR_DAMAGED;
    state_set_status(agent, workflow, DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED);
    int result = copy(workflow, body->reason, &workflow->reason);
    return result < 0 ? result : copy(workflow, body->step, &workflow->reason_step);
}

static int begin(struct agent *agent, struct workflow *workflow, const struct event_header *header)
{
    if (workflow->status != DAA__WORKFLOW_STATUS__WORKFLOW_PENDING)
        return ERROR_DAMAGED;
    workflow->started_ns = header->time_ns;
    state_set_status(agent, workflow, DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING);
    return 0;
}

static int resume(struct agent *agent, struct workflow *workflow)
{
    if (workflow->status != DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED)
        return ERROR_DAMAGED;
    workflow->reason = workflow->reason_step = (struct span){ NULL, 0 };
    state_set_status(agent, workflow, DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING);
    return 0;
}

static int apply_to_workflow(struct agent *agent, struct workflow *workflow,
                             const struct event_header *header, const Daa__Event *event)
{
    int result;
    switch ((int)event->body_case) {
    case DAA__EVENT__BODY_WORKFLOW_STARTED:
        return begin(agent, workflow, header);
    case DAA__EVENT__BODY_WORKFLOW_COMPLETED:
        result = copy(workflow, event->workflow_completed->output, &workflow->output);
        return result < 0 ? result
                          : end(agent, workflow, header, DAA__WORKFLOW_STATUS__WORKFLOW_COMPLETED);
    case DAA__EVENT__BODY_WORKFLOW_FAILED:
        result = copy(workflow, event->workflow_failed->error, &workflow->reason);
        if (result == 0)
            result = copy(workflow, event->workflow_failed->step, &workflow->reason_step);
        return result < 0 ? result
                          : end(agent, workflow, header, DAA__WORKFLOW_STATUS__WORKFLOW_FAILED);
    case DAA__EVENT__BODY_WORKFLOW_CANCELLED:
        workflow->reason_step = (struct span){ NULL, 0 };
        result = copy(workflow, event->workflow_cancelled->reason, &workflow->reason);
        return result < 0 ? result
                          : end(agent, workflow, header, DAA__WORKFLOW_STATUS__WORKFLOW_CANCELLED);
    case DAA__EVENT__BODY_WORKFLOW_PAUSED:
        return pause(agent, workflow, event->workflow_paused);
    case DAA__EVENT__BODY_WORKFLOW_RESUMED:
        return resume(agent, workflow);
    case DAA__EVENT__BODY_STEP_STARTED:
        return started(agent, workflow, header, event);
    case DAA__EVENT__BODY_STEP_SPAWNED:
        return spawned(workflow, event);
    case DAA__EVENT__BODY_STEP_COMPLETED:
        return completed(agent, workflow, header, event);
    case DAA__EVENT__BODY_STEP_FAILED:
        return failed(agent, workflow, header, event);
    case DAA__EVENT__BODY_STEP_RETRY_SCHEDULED:
        return retry_scheduled(agent, workflow, header, event);
    case DAA__EVENT__BODY_STEP_UNCERTAIN:
        return uncertain(agent, workflow, header, event);
    case DAA__EVENT__BODY_STEP_RESOLVED:
        return resolved(agent, workflow, header, event);
    case DAA__EVENT__BODY_TIMER_SET:
        return timer_set(agent, workflow, header, event);
    case DAA__EVENT__BODY_TIMER_FIRED:
        return timer_fired(agent, workflow, header, event);
    case DAA__EVENT__BODY_SIGNAL_RECEIVED:
        return signalled(workflow, header, event->signal_received);
    default:
        return ERROR_NEWER;
    }
}

static int registered(struct agent *agent, const struct event_header *header,
                      const Daa__AgentRegistered *body)
{
    if (body->has_log_uuid && lineage_add(&agent->logs, body->log_uuid.data, header->seq))
        agent->counts_changed = true;
    if (!body->has_keyring)
        return 0;
    if (body->keyring.len != UUID_SIZE)
        return ERROR_DAMAGED;
    memcpy(agent->keyring, body->keyring.data, UUID_SIZE);
    agent->counts_changed = true;
    return 0;
}

static int snapshot(struct agent *agent, const Daa__StateSnapshot *body)
{
    if (!body->has_digest || body->seq == 0)
        return ERROR_DAMAGED;
    agent->snapshots[0] = agent->snapshots[1];
    agent->snapshots[1].seq = body->seq;
    memcpy(agent->snapshots[1].digest, body->digest.data, SHA256_SIZE);
    agent->counts_changed = true;
    return 0;
}

static int removed(struct agent *agent, const Daa__StorageRemoved *body)
{
    agent->removed_segment = body->last_segment;
    agent->removed_seq = body->last_seq;
    agent->counts_changed = true;
    return 0;
}

static int anchored(struct agent *agent, const struct event_header *header,
                    const Daa__LogAnchored *body)
{
    agent->anchor.event = header->seq;
    agent->anchor.seq = body->seq;
    for (size_t i = 0; i < body->n_segments; i++) /* one that was sealed late lies behind others */
        if (body->segments[i]->segment_no > agent->anchor.segment_no)
            agent->anchor.segment_no = body->segments[i]->segment_no;
    agent->counts_changed = true;
    return 0;
}

/* 1: the event is of a workflow. */
static int apply_to_agent(struct agent *agent, const struct event_header *header,
                          const Daa__Event *event)
{
    switch ((int)event->body_case) {
    case DAA__EVENT__BODY_AGENT_REGISTERED:
        return registered(agent, header, event->agent_registered);
    case DAA__EVENT__BODY_AGENT_STOPPED:
        return 0;
    case DAA__EVENT__BODY_DEFINITION_INSTALLED:
        return install(agent, header, event->definition_installed);
    case DAA__EVENT__BODY_WORKFLOW_SUBMITTED:
        return submit(agent, header, event->workflow_submitted);
    case DAA__EVENT__BODY_STATE_SNAPSHOT:
        return snapshot(agent, event->state_snapshot);
    case DAA__EVENT__BODY_STORAGE_REMOVED:
        return removed(agent, event->storage_removed);
    case DAA__EVENT__BODY_LOG_ANCHORED:
        return anchored(agent, header, event->log_anchored);
    case DAA__EVENT__BODY_KEYS_EXPIRED:
        return expire_keys(agent, event->keys_expired);
    case DAA__EVENT__BODY_WORKFLOWS_EXPIRED:
        return expire_workflows(agent, event->workflows_expired);
    case DAA__EVENT__BODY_WORKFLOWS_ERASED:
        return erase_workflows(agent, event->workflows_erased);
    case DAA__EVENT__BODY_CLOCK_STEPPED:
        return clock_apply(agent, header, event->clock_stepped);
    default:
        return 1;
    }
}

int agent_apply(struct agent *agent, const struct event_header *header, const Daa__Event *event)
{
    int result = apply_to_agent(agent, header, event);
    if (result <= 0)
        return result;
    struct workflow *workflow = state_workflow(agent, header->stream);
    if (workflow == NULL || workflow->expired)
        return ERROR_NOT_FOUND;
    if (header->seq <= workflow->last_seq || header->stream_prev_seq != workflow->last_seq)
        return ERROR_DAMAGED;
    state_mark_changed(agent, workflow); /* first: at rest it counts as it was */
    result = state_reserve(agent, workflow->flow->step_count);
    if (result == 0)
        result = apply_to_workflow(agent, workflow, header, event);
    if (result < 0)
        return result;
    workflow->last_seq = header->seq;
    state_settle(agent, workflow);
    return 0;
}
