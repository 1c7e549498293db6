#include "core/agent/state.h"
#include "core/base/bytes.h"
#include "core/event/message.h"

/*--- Which documents -------------------------------------------------------------------------*/

/* Whether it is there already decides what the event counts. */
static bool installed_needs(const struct agent *agent, const Daa__DefinitionInstalled *body,
                            struct document_key *key)
{
    if (!body->has_digest)
        return false;
    *key = document_definition_key(body->digest.data);
    return store_definition(agent, body->digest.data) == NULL && !store_is_absent(agent, key);
}

static bool submitted_needs(const struct agent *agent, const Daa__WorkflowSubmitted *body,
                            struct document_key *key)
{
    if (!body->has_definition)
        return false;
    *key = document_definition_key(body->definition.data);
    if (store_definition(agent, body->definition.data) == NULL && !store_is_absent(agent, key))
        return true;
    *key = document_usage_key(body->definition.data);
    if (store_usage(agent, body->definition.data) == NULL)
        return true;
    if (!body->has_key_digest)
        return false;
    /* Whether the key is there already. */
    *key = document_idempotency_key(body->key_digest.data);
    return store_key(agent, body->key_digest.data) == NULL && !store_is_absent(agent, key);
}

static bool usage_needed(const struct agent *agent, protobuf_c_boolean has_definition,
                         ProtobufCBinaryData definition, struct document_key *key)
{
    if (!has_definition || store_usage(agent, definition.data) != NULL)
        return false;
    *key = document_usage_key(definition.data);
    return true;
}

static bool expired_needs(const struct agent *agent, const Daa__WorkflowsExpired *body,
                          struct document_key *key)
{
    for (size_t i = 0; i < body->n_workflows; i++)
        if (usage_needed(agent, body->workflows[i]->has_definition, body->workflows[i]->definition,
                         key))
            return true;
    return false;
}

static bool erased_needs(const struct agent *agent, const Daa__WorkflowsErased *body,
                         struct document_key *key)
{
    for (size_t i = 0; i < body->n_workflows; i++) {
        const Daa__ErasedWorkflow *one = body->workflows[i];
        if (usage_needed(agent, one->has_definition, one->definition, key))
            return true;
        if (!one->has_key_digest || store_key(agent, one->key_digest.data) != NULL)
            continue;
        *key = document_idempotency_key(one->key_digest.data);
        if (!store_is_absent(agent, key))
            return true;
    }
    return false;
}

bool agent_event_needs(struct agent *agent, const struct event_header *header,
                       const Daa__Event *event, struct document_key *key)
{
    switch ((int)event->body_case) {
    case DAA__EVENT__BODY_AGENT_REGISTERED:
    case DAA__EVENT__BODY_AGENT_STOPPED:
    case DAA__EVENT__BODY_CLOCK_STEPPED:
    case DAA__EVENT__BODY_STATE_SNAPSHOT:
    case DAA__EVENT__BODY_STORAGE_REMOVED:
    case DAA__EVENT__BODY_LOG_ANCHORED:
    case DAA__EVENT__BODY_KEYS_EXPIRED:
        return false;
    case DAA__EVENT__BODY_DEFINITION_INSTALLED:
        return installed_needs(agent, event->definition_installed, key);
    case DAA__EVENT__BODY_WORKFLOW_SUBMITTED:
        return submitted_needs(agent, event->workflow_submitted, key);
    case DAA__EVENT__BODY_WORKFLOWS_EXPIRED:
        return expired_needs(agent, event->workflows_expired, key);
    case DAA__EVENT__BODY_WORKFLOWS_ERASED:
        return erased_needs(agent, event->workflows_erased, key);
    default:
        break;
    }
    const struct workflow *workflow = state_workflow(agent, header->stream);
    *key = document_workflow_key(header->stream);
    if (workflow == NULL)
        return header->stream != 0 && !store_is_absent(agent, key);
    if (!workflow->has_key)
        return false;
    /* Its end says when the key expires. */
    *key = document_idempotency_key(workflow->key_digest);
    return (event->body_case == DAA__EVENT__BODY_WORKFLOW_COMPLETED ||
            event->body_case == DAA__EVENT__BODY_WORKFLOW_FAILED ||
            event->body_case == DAA__EVENT__BODY_WORKFLOW_CANCELLED) &&
           store_key(agent, workflow->key_digest) == NULL && !store_is_absent(agent, key);
}

/*--- Definitions, keys, counts ---------------------------------------------------------------*/

static int load_definition(struct agent *agent, struct span key,
                           const Daa__DefinitionDocument *from)
{
    struct flow *flow;
    struct flow_problem problem;
    const uint8_t *digest = key.bytes + 1;
    if (store_definition(agent, digest) != NULL)
        return 0;
    store_trim_definitions(agent);
    int result = flow_compile(&flow, agent->options.budget, span_of_data(from->source), &problem);
    if (result < 0)
        return result == ERROR_BUDGET ? result : ERROR_DAMAGED;
    struct definition *definition = NULL;
    result = ERROR_DAMAGED;
    if (memcmp(flow->digest, digest, SHA256_SIZE) == 0) {
        definition = store_definition_new(agent, flow);
        result = definition != NULL ? 0 : ERROR_BUDGET;
    }
    flow_unref(flow);
    if (definition != NULL) {
        definition->seq = from->seq;
        store_definition_enter(agent, definition);
    }
    return result;
}

static int load_key(struct agent *agent, struct span document_key, const Daa__KeyDocument *from)
{
    const uint8_t *digest = document_key.bytes + 1;
    if (store_key(agent, digest) != NULL)
        return 0;
    if (!from->has_stream || from->request_digest.len != SHA256_SIZE)
        return ERROR_DAMAGED;
    struct key_entry *key = store_new(agent, &agent->keys, digest);
    if (key == NULL)
        return ERROR_BUDGET;
    key->stream = from->stream;
    key->expires_ns = key->indexed_ns = from->expires_ns;
    key->ttl_ns = from->ttl_ns;
    key->there = true;
    memcpy(key->request_digest, from->request_digest.data, SHA256_SIZE);
    store_enter(agent, &agent->keys, key);
    return 0;
}

/* No document: nobody uses the definition. */
static int load_usage(struct agent *agent, struct span key, struct span bytes)
{
    const uint8_t *digest = key.bytes + 1;
    if (store_usage(agent, digest) != NULL)
        return 0;
    if (bytes.bytes != NULL && bytes.size != DOCUMENT_USAGE_SIZE)
        return ERROR_DAMAGED;
    struct usage *usage = store_new(agent, &agent->usages, digest);
    if (usage == NULL)
        return ERROR_BUDGET;
    usage->count = bytes.bytes != NULL ? bytes_get_u64(bytes.bytes) : 0;
    store_enter(agent, &agent->usages, usage);
    return 0;
}

static int load_lists(struct agent *agent, const Daa__AgentDocument *from)
{
    for (size_t i = 0; i < from->n_logs; i++) {
        if (from->logs[i]->uuid.len != UUID_SIZE)
            return ERROR_DAMAGED;
        (void)lineage_add(&agent->logs, from->logs[i]->uuid.data, from->logs[i]->first_seq);
    }
    if (from->n_snapshots > 2)
        return ERROR_DAMAGED;
    for (size_t i = 0; i < from->n_snapshots; i++) {
        struct agent_snapshot *snapshot = &agent->snapshots[2 - from->n_snapshots + i];
        if (from->snapshots[i]->digest.len != SHA256_SIZE)
            return ERROR_DAMAGED;
        snapshot->seq = from->snapshots[i]->seq;
        memcpy(snapshot->digest, from->snapshots[i]->digest.data, SHA256_SIZE);
    }
    return 0;
}

static int load_agent(struct agent *agent, const Daa__AgentDocument *from)
{
    agent->submitted = from->submitted;
    agent->completed = from->completed;
    agent->failed = from->failed;
    agent->cancelled = from->cancelled;
    agent->pending = from->pending;
    agent->running = from->running;
    agent->paused = from->paused;
    agent->unfinished = from->pending + from->running + from->paused;
    agent->finished = from->finished;
    agent->finished_bytes = from->finished_bytes;
    agent->keys_there = from->keys;
    agent->definitions_there = from->definitions;
    agent->keys_used = (uint32_t)from->keys_used;
    if (from->has_keyring && from->keyring.len != UUID_SIZE)
        return ERROR_DAMAGED;
    if (from->has_keyring)
        memcpy(agent->keyring, from->keyring.data, UUID_SIZE);
    agent->removed_segment = from->removed_segment;
    agent->removed_seq = from->removed_seq;
    agent->anchor = (struct agent_anchor){ .event = from->anchor_event,
                                           .seq = from->anchored_seq,
                                           .segment_no = from->anchored_segment };
    agent->shift_ns = from->shift_ns;
    agent->shifted_at_ns = from->shifted_at_ns;
    agent->clock_stepped = from->clock_stepped;
    agent->clock_behind_ns = from->clock_behind_ns;
    return load_lists(agent, from);
}

/* An `a` document: the workflow's timers and its place among the ready; the workflow itself when
 * something of it is under way. */
static int load_active(struct agent *agent, uint64_t stream, struct span bytes,
                       struct document_key *needs)
{
    int64_t count = document_active_timers(bytes);
    struct workflow *workflow = state_workflow(agent, stream);
    if (count < 0)
        return ERROR_DAMAGED;
    if (bytes.bytes[0] & DOCUMENT_RUNNING && workflow == NULL) {
        *needs = document_workflow_key(stream);
        return 1;
    }
    if (timers_reserve(&agent->timers, (uint64_t)count) < 0 ||
        ready_reserve(&agent->ready, 1) < 0 || table_reserve(&agent->ready.away, 1) < 0)
        return ERROR_BUDGET;
    for (int64_t i = 0; i < count; i++) {
        struct timer timer = { .stream = stream };
        uint32_t index;
        document_active_timer_get(bytes, (uint32_t)i, &index, &timer.due_ns);
        timer.index = index;
        timers_put(&agent->timers, &timer);
    }
    if (bytes.bytes[0] & DOCUMENT_READY && workflow == NULL)
        ready_set_away(&agent->ready, stream, ready_put(&agent->ready, stream));
    return 0;
}

/*--- Workflows -------------------------------------------------------------------------------*/

static int copy(struct workflow *workflow, ProtobufCBinaryData data, struct span *target)
{
    *target = (struct span){ NULL, 0 };
    if (data.len == 0)
        return 0;
    *target = arena_copy(&workflow->arena, span_of_data(data));
    return target->bytes != NULL ? 0 : ERROR_BUDGET;
}

/* All of a step but its status, which counts for the agent. */
static int load_step(struct workflow *workflow, uint32_t index, const Daa__StepDocument *from)
{
    struct step *step = &workflow->steps[index];
    if (!from->has_status || from->status < DAA__STEP_STATUS__STEP_BLOCKED ||
        from->status > DAA__STEP_STATUS__STEP_CANCELLED)
        return ERROR_DAMAGED;
    step->attempt = from->attempt;
    step->started_ns = from->started_ns;
    step->ended_ns = from->ended_ns;
    step->outcome = from->has_outcome ? (uint8_t)from->outcome : 0;
    step->since_seq = from->since_seq;
    step->pid = from->pid;
    step->start_time = from->start_time;
    if (from->boot_id.len == sizeof step->boot_id)
        memcpy(step->boot_id, from->boot_id.data, sizeof step->boot_id);
    int result = copy(workflow, from->output, &step->output);
    return result < 0 ? result : copy(workflow, from->error, &step->error);
}

static void count_blocked(struct workflow *workflow)
{
    const struct flow *flow = workflow->flow;
    for (uint32_t i = 0; i < flow->step_count; i++) {
        const struct flow_step *step = &flow->steps[i];
        for (uint32_t j = 0; j < step->needs_count; j++) {
            uint32_t needed = step->needs[j];
            int status = workflow->steps[needed].status;
            workflow->steps[i].blocked_by =
                (uint16_t)(workflow->steps[i].blocked_by +
                           (state_step_class(&flow->steps[needed], status) != STEP_IS_DONE));
        }
    }
}

static int load_signals(struct workflow *workflow, const Daa__WorkflowDocument *from)
{
    for (size_t i = 0; i < from->n_signals; i++) {
        struct kept_signal *signal = arena_allocate(&workflow->arena, sizeof *signal);
        if (signal == NULL || copy(workflow, from->signals[i]->name, &signal->name) < 0 ||
            copy(workflow, from->signals[i]->payload, &signal->payload) < 0)
            return ERROR_BUDGET;
        signal->seq = from->signals[i]->seq;
        *workflow->signals_end = signal;
        workflow->signals_end = &signal->next;
        workflow->signal_count++;
    }
    for (size_t i = 0; i < from->n_signal_dedup; i++) {
        struct signal_digest *digest = arena_allocate(&workflow->arena, sizeof *digest);
        if (digest == NULL)
            return ERROR_BUDGET;
        if (from->signal_dedup[i].len != SHA256_SIZE)
            return ERROR_DAMAGED;
        memcpy(digest->digest, from->signal_dedup[i].data, SHA256_SIZE);
        *workflow->digests_end = digest;
        workflow->digests_end = &digest->next;
    }
    return 0;
}

static int load_texts(struct workflow *workflow, const Daa__WorkflowDocument *from)
{
    const struct {
        ProtobufCBinaryData from;
        struct span *to;
    } texts[] = {
        { from->name, &workflow->name },         { from->input, &workflow->input },
        { from->metadata, &workflow->metadata }, { from->reason, &workflow->reason },
        { from->output, &workflow->output },     { from->reason_step, &workflow->reason_step },
    };
    int result = 0;
    for (size_t i = 0; result == 0 && i < sizeof texts / sizeof texts[0]; i++)
        result = copy(workflow, texts[i].from, texts[i].to);
    return result;
}

/* All that can fail, before the agent knows of the workflow: half of one must never be there. */
static int load_all(struct workflow *workflow, const Daa__WorkflowDocument *from, size_t size)
{
    bool finished = state_is_finished((int)from->status);
    workflow->status = (int)from->status;
    workflow->counted_size = finished ? size : 0;
    workflow->last_seq = from->last_seq;
    workflow->submitted_ns = from->submitted_ns;
    workflow->started_ns = from->started_ns;
    workflow->ended_ns = from->ended_ns;
    workflow->ended_shift_ns = from->ended_shift_ns;
    workflow->listed = !finished;
    workflow->has_key = from->key_digest.len == SHA256_SIZE;
    if (workflow->has_key)
        memcpy(workflow->key_digest, from->key_digest.data, SHA256_SIZE);
    int result = load_texts(workflow, from);
    if (result == 0)
        result = load_signals(workflow, from);
    for (uint32_t i = 0; result == 0 && i < workflow->flow->step_count; i++)
        result = load_step(workflow, i, from->steps[i]);
    return result;
}

/* Into the queue that it belongs to; its place among the ready is there already. */
static void return_to_queue(struct agent *agent, struct workflow *workflow)
{
    workflow->place = ready_take_back(&agent->ready, workflow->stream);
    if (workflow->place != 0)
        workflow->queue = READY_IDLE;
    state_settle(agent, workflow);
    workflow->listed_flags = state_active_flags(workflow);
    rest_enter(agent, workflow);
}

int state_workflow_read(struct agent *agent, uint64_t stream, Daa__WorkflowDocument *from,
                        size_t size, struct definition *definition, struct workflow **read)
{
    uint32_t count = definition->flow->step_count;
    if (!from->has_status || from->status < DAA__WORKFLOW_STATUS__WORKFLOW_PENDING ||
        from->status > DAA__WORKFLOW_STATUS__WORKFLOW_CANCELLED || from->n_steps != count)
        return ERROR_DAMAGED;
    struct workflow *workflow = state_workflow_new(agent, definition, 0);
    if (workflow == NULL)
        return ERROR_BUDGET;
    workflow->stream = stream;
    int result = state_take_cipher_key(agent, workflow, (uint32_t)from->key_id);
    if (result == 0)
        result = document_workflow_decrypt(
            from, workflow->has_cipher_key ? workflow->cipher_key : NULL, &agent->scratch);
    if (result == 0)
        result = load_all(workflow, from, size);
    if (result < 0) {
        state_workflow_free(workflow);
        return result;
    }
    for (uint32_t i = 0; i < count; i++)
        state_load_step(agent, workflow, i, (int)from->steps[i]->status, from->steps[i]->due_ns);
    count_blocked(workflow);
    *read = workflow;
    return 0;
}

static int load_workflow(struct agent *agent, uint64_t stream, Daa__WorkflowDocument *from,
                         size_t size, struct document_key *needs)
{
    if (from->definition.len != SHA256_SIZE)
        return ERROR_DAMAGED;
    struct definition *definition = store_definition(agent, from->definition.data);
    if (definition == NULL) {
        *needs = document_definition_key(from->definition.data);
        return 1;
    }
    rest_trim(agent);
    struct workflow *workflow;
    int result = state_reserve(agent, 1);
    if (result == 0)
        result = state_workflow_read(agent, stream, from, size, definition, &workflow);
    if (result < 0)
        return result;
    state_workflow_enter(agent, workflow);
    return_to_queue(agent, workflow);
    return 0;
}

/*--- All of them -----------------------------------------------------------------------------*/

static int load_message(struct agent *agent, struct span key, struct span bytes,
                        struct document_key *needs)
{
    static const struct {
        char kind;
        const ProtobufCMessageDescriptor *type;
    } kinds[] = {
        { 'w', &daa__workflow_document__descriptor },
        { 'd', &daa__definition_document__descriptor },
        { 'k', &daa__key_document__descriptor },
        { 'g', &daa__agent_document__descriptor },
    };
    ProtobufCMessage *message;
    uint64_t stream;
    size_t kind = 0;
    while (kind < 3 && kinds[kind].kind != key.bytes[0])
        kind++;
    int result = message_unpack(kinds[kind].type, bytes, &agent->scratch, &message);
    if (result < 0)
        return result;
    const void *document = message;
    switch (key.bytes[0]) {
    case 'w':
        if (!document_stream_of_key(key, &stream))
            return ERROR_INVALID;
        return state_workflow(agent, stream) != NULL
                   ? 0
                   : load_workflow(agent, stream, (Daa__WorkflowDocument *)message, bytes.size,
                                   needs);
    case 'd':
        return load_definition(agent, key, document);
    case 'k':
        return load_key(agent, key, document);
    default:
        return load_agent(agent, document);
    }
}

static int load_absent(struct agent *agent, struct span key)
{
    struct document_key absent = { .size = (uint8_t)key.size };
    memcpy(absent.bytes, key.bytes, key.size);
    if (!store_is_absent(agent, &absent))
        store_set_absent(agent, &absent);
    return 0;
}

int agent_load(struct agent *agent, struct span key, struct span bytes, struct document_key *needs)
{
    uint64_t stream;
    char kind = key.size > 0 ? (char)key.bytes[0] : 0;
    size_t size = kind == 'w' || kind == 'a'                  ? 9
                  : kind == 'g'                               ? 1
                  : kind == 'd' || kind == 'k' || kind == 'u' ? 1 + SHA256_SIZE
                                                              : 0;
    if (size == 0 || key.size != size)
        return ERROR_INVALID;
    if (kind == 'u')
        return load_usage(agent, key, bytes);
    if (bytes.bytes == NULL)
        return load_absent(agent, key);
    if (kind == 'a')
        return document_stream_of_key(key, &stream) ? load_active(agent, stream, bytes, needs)
                                                    : ERROR_INVALID;
    int result = load_message(agent, key, bytes, needs);
    arena_reset(&agent->scratch);
    return result;
}
