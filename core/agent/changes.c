#include "core/agent/state.h"
#include "core/base/check.h"

/* Documents have no unknown fields and no defaults: what is 0 or empty is left out, so that the
 * same state always has the same bytes. */

struct changes {
    struct agent *agent;
    agent_change_function *change;
    void *context;
};

static int give(struct changes *changes, const struct document_key *key,
                const ProtobufCMessage *message)
{
    struct arena *arena = &changes->agent->scratch;
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = arena_allocate(arena, size);
    if (bytes == NULL)
        return ERROR_BUDGET;
    (void)protobuf_c_message_pack(message, bytes);
    changes->change(document_key_span(key), span_of(bytes, size), changes->context);
    return 0;
}

static void put(protobuf_c_boolean *has, ProtobufCBinaryData *field, struct span value)
{
    *has = value.size > 0;
    *field = data_of_span(value);
}

static void put_number(protobuf_c_boolean *has, uint64_t *field, uint64_t value)
{
    *has = value != 0;
    *field = value;
}

/*--- Workflows -------------------------------------------------------------------------------*/

static void fill_step(Daa__StepDocument *document, const struct step *step)
{
    daa__step_document__init(document);
    document->has_status = 1;
    document->status = (Daa__StepStatus)step->status;
    document->has_attempt = step->attempt != 0;
    document->attempt = step->attempt;
    put_number(&document->has_started_ns, &document->started_ns, step->started_ns);
    put_number(&document->has_ended_ns, &document->ended_ns, step->ended_ns);
    put_number(&document->has_due_ns, &document->due_ns, step->due_ns);
    document->has_outcome = step->outcome != 0;
    document->outcome = step->outcome != 0 ? (Daa__Outcome)step->outcome : document->outcome;
    put(&document->has_output, &document->output, step->output);
    put(&document->has_error, &document->error, step->error);
    put_number(&document->has_pid, &document->pid, step->pid);
    put_number(&document->has_start_time, &document->start_time, step->start_time);
    put(&document->has_boot_id, &document->boot_id,
        span_of(step->boot_id, step->pid != 0 ? sizeof step->boot_id : 0));
    put_number(&document->has_since_seq, &document->since_seq, step->since_seq);
}

static int fill_steps(Daa__WorkflowDocument *document, const struct workflow *workflow,
                      struct arena *arena)
{
    uint32_t count = workflow->flow->step_count;
    Daa__StepDocument *steps = arena_allocate(arena, count * sizeof *steps);
    document->steps = arena_allocate(arena, count * sizeof(Daa__StepDocument *));
    if (steps == NULL || document->steps == NULL)
        return ERROR_BUDGET;
    document->n_steps = count;
    for (uint32_t i = 0; i < count; i++) {
        fill_step(&steps[i], &workflow->steps[i]);
        document->steps[i] = &steps[i];
    }
    return 0;
}

static int fill_signals(Daa__WorkflowDocument *document, const struct workflow *workflow,
                        struct arena *arena)
{
    uint32_t count = workflow->signal_count, i = 0;
    if (count == 0)
        return 0;
    Daa__SignalDocument *signals = arena_allocate(arena, count * sizeof *signals);
    document->signals = arena_allocate(arena, count * sizeof(Daa__SignalDocument *));
    if (signals == NULL || document->signals == NULL)
        return ERROR_BUDGET;
    for (const struct kept_signal *at = workflow->signals; at != NULL; at = at->next, i++) {
        daa__signal_document__init(&signals[i]);
        put(&signals[i].has_name, &signals[i].name, at->name);
        put(&signals[i].has_payload, &signals[i].payload, at->payload);
        put_number(&signals[i].has_seq, &signals[i].seq, at->seq);
        document->signals[i] = &signals[i];
    }
    CHECK(i == count);
    document->n_signals = count;
    return 0;
}

static int fill_digests(Daa__WorkflowDocument *document, const struct workflow *workflow,
                        struct arena *arena)
{
    size_t count = 0;
    for (const struct signal_digest *at = workflow->digests; at != NULL; at = at->next)
        count++;
    document->signal_dedup = arena_allocate(arena, count * sizeof *document->signal_dedup);
    if (document->signal_dedup == NULL)
        return ERROR_BUDGET;
    for (const struct signal_digest *at = workflow->digests; at != NULL; at = at->next)
        document->signal_dedup[document->n_signal_dedup++] =
            data_of_span(span_of(at->digest, SHA256_SIZE));
    return 0;
}

static void fill_head(Daa__WorkflowDocument *document, const struct workflow *workflow)
{
    document->has_status = 1;
    document->status = (Daa__WorkflowStatus)workflow->status;
    put(&document->has_name, &document->name, workflow->name);
    put(&document->has_definition, &document->definition,
        span_of(workflow->flow->digest, SHA256_SIZE));
    put(&document->has_input, &document->input, workflow->input);
    put(&document->has_metadata, &document->metadata, workflow->metadata);
    put_number(&document->has_submitted_ns, &document->submitted_ns, workflow->submitted_ns);
    put_number(&document->has_started_ns, &document->started_ns, workflow->started_ns);
    put_number(&document->has_ended_ns, &document->ended_ns, workflow->ended_ns);
    put_number(&document->has_last_seq, &document->last_seq, workflow->last_seq);
    put(&document->has_reason, &document->reason, workflow->reason);
    put(&document->has_output, &document->output, workflow->output);
    put(&document->has_key_digest, &document->key_digest,
        span_of(workflow->key_digest, workflow->has_key ? SHA256_SIZE : 0));
    put(&document->has_reason_step, &document->reason_step, workflow->reason_step);
}

static int give_workflow(struct changes *changes, const struct workflow *workflow)
{
    struct arena *arena = &changes->agent->scratch;
    Daa__WorkflowDocument document = DAA__WORKFLOW_DOCUMENT__INIT;
    struct document_key key = document_workflow_key(workflow->stream),
                        active = document_active_key(workflow->stream);
    arena_reset(arena);
    fill_head(&document, workflow);
    int result = fill_steps(&document, workflow, arena);
    if (result == 0)
        result = fill_signals(&document, workflow, arena);
    if (result == 0)
        result = fill_digests(&document, workflow, arena);
    if (result == 0)
        result = give(changes, &key, &document.base);
    if (result < 0)
        return result;
    bool finished = state_is_finished(workflow->status);
    if (!finished && !workflow->listed)
        changes->change(document_key_span(&active), span_of("", 0), changes->context);
    if (finished && workflow->listed)
        changes->change(document_key_span(&active), span_of(NULL, 0), changes->context);
    return 0;
}

/*--- The rest --------------------------------------------------------------------------------*/

static int give_definition(struct changes *changes, const struct definition *definition)
{
    const struct flow *flow = definition->flow;
    Daa__DefinitionDocument document = DAA__DEFINITION_DOCUMENT__INIT;
    struct document_key key = document_definition_key(flow->digest);
    put(&document.has_name, &document.name, flow->name);
    put(&document.has_source, &document.source, flow->source);
    put_number(&document.has_seq, &document.seq, definition->seq);
    arena_reset(&changes->agent->scratch);
    return give(changes, &key, &document.base);
}

static int give_key(struct changes *changes, const struct key_entry *entry)
{
    Daa__KeyDocument document = DAA__KEY_DOCUMENT__INIT;
    struct document_key key = document_idempotency_key(entry->digest);
    put_number(&document.has_stream, &document.stream, entry->stream);
    put(&document.has_request_digest, &document.request_digest,
        span_of(entry->request_digest, SHA256_SIZE));
    put_number(&document.has_expires_ns, &document.expires_ns, entry->expires_ns);
    put_number(&document.has_ttl_ns, &document.ttl_ns, entry->ttl_ns);
    arena_reset(&changes->agent->scratch);
    return give(changes, &key, &document.base);
}

static int give_counts(struct changes *changes)
{
    const struct agent *agent = changes->agent;
    Daa__AgentDocument document = DAA__AGENT_DOCUMENT__INIT;
    struct document_key key = document_agent_key();
    put_number(&document.has_submitted, &document.submitted, agent->submitted);
    put_number(&document.has_completed, &document.completed, agent->completed);
    put_number(&document.has_failed, &document.failed, agent->failed);
    put_number(&document.has_cancelled, &document.cancelled, agent->cancelled);
    put_number(&document.has_schema, &document.schema, EVENT_SCHEMA);
    put_number(&document.has_shift_ns, &document.shift_ns, agent->shift_ns);
    put_number(&document.has_clock_behind_ns, &document.clock_behind_ns, agent->clock_behind_ns);
    document.has_clock_stepped = document.clock_stepped = agent->clock_stepped;
    arena_reset(&changes->agent->scratch);
    return give(changes, &key, &document.base);
}

static int give_all(struct changes *changes)
{
    const struct agent *agent = changes->agent;
    int result = agent->counts_changed ? give_counts(changes) : 0;
    for (const struct definition *at = agent->changed_definitions; result == 0 && at != NULL;
         at = at->changed_next)
        result = give_definition(changes, at);
    if (agent->keys_changed > 0)
        for (const struct key_entry *at = agent->keys_oldest; result == 0 && at != NULL;
             at = at->next)
            if (at->changed)
                result = give_key(changes, at);
    for (const struct workflow *at = agent->changed; result == 0 && at != NULL;
         at = at->changed_next)
        result = give_workflow(changes, at);
    return result;
}

static void forget_workflows(struct agent *agent)
{
    struct workflow *next;
    for (struct workflow *at = agent->changed; at != NULL; at = next) {
        next = at->changed_next;
        at->changed = false;
        at->changed_next = NULL;
        at->listed = !state_is_finished(at->status);
        if (at->leaving)
            state_workflow_leave(agent, at);
    }
    agent->changed = NULL;
    agent->changed_end = &agent->changed;
}

int agent_take_changes(struct agent *agent, agent_change_function *change, void *context)
{
    struct changes changes = { agent, change, context };
    int result = give_all(&changes);
    arena_reset(&agent->scratch);
    if (result < 0)
        return result;
    agent->counts_changed = false;
    struct definition *next;
    for (struct definition *at = agent->changed_definitions; at != NULL; at = next) {
        next = at->changed_next;
        at->changed = false;
        at->changed_next = NULL;
    }
    agent->changed_definitions = NULL;
    agent->changed_definitions_end = &agent->changed_definitions;
    if (agent->keys_changed > 0)
        for (struct key_entry *at = agent->keys_oldest; at != NULL; at = at->next)
            at->changed = false;
    agent->keys_changed = 0;
    forget_workflows(agent);
    store_trim(agent);
    return 0;
}
