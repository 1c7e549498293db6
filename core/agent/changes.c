#include "core/agent/state.h"
#include "core/base/bytes.h"
#include "core/base/check.h"

/* Documents have no unknown fields and no defaults: what is 0 or empty is left out, so that the
 * same state always has the same bytes. */

struct changes {
    struct agent *agent;
    agent_change_function *change;
    void *context;
};

static int pack(const ProtobufCMessage *message, struct arena *arena, struct span *packed)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = arena_allocate(arena, size);
    if (bytes == NULL)
        return ERROR_BUDGET;
    (void)protobuf_c_message_pack(message, bytes);
    *packed = span_of(bytes, size);
    return 0;
}

static int give(struct changes *changes, const struct document_key *key,
                const ProtobufCMessage *message)
{
    struct span bytes;
    int result = pack(message, &changes->agent->scratch, &bytes);
    if (result == 0)
        changes->change(document_key_span(key), bytes, changes->context);
    return result;
}

static void give_deleted(struct changes *changes, const struct document_key *key)
{
    changes->change(document_key_span(key), span_of(NULL, 0), changes->context);
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
    put_number(&document->has_ended_shift_ns, &document->ended_shift_ns, workflow->ended_shift_ns);
    put_number(&document->has_last_seq, &document->last_seq, workflow->last_seq);
    put(&document->has_reason, &document->reason, workflow->reason);
    put(&document->has_output, &document->output, workflow->output);
    put(&document->has_key_digest, &document->key_digest,
        span_of(workflow->key_digest, workflow->has_key ? SHA256_SIZE : 0));
    put(&document->has_reason_step, &document->reason_step, workflow->reason_step);
    put_number(&document->has_key_id, &document->key_id, workflow->key_id);
}

int state_encode_workflow(const struct workflow *workflow, struct arena *arena, struct span *bytes)
{
    Daa__WorkflowDocument document = DAA__WORKFLOW_DOCUMENT__INIT;
    fill_head(&document, workflow);
    int result = fill_steps(&document, workflow, arena);
    if (result == 0)
        result = fill_signals(&document, workflow, arena);
    if (result == 0)
        result = fill_digests(&document, workflow, arena);
    if (result == 0 && workflow->key_id != 0)
        result = document_workflow_encrypt(
            &document, workflow->has_cipher_key ? workflow->cipher_key : NULL, arena);
    return result < 0 ? result : pack(&document.base, arena, bytes);
}

int state_encode_active(const struct workflow *workflow, struct arena *arena, struct span *bytes)
{
    uint32_t count = 0;
    size_t size = document_active_size(workflow->timed);
    uint8_t *value = arena_allocate(arena, size);
    if (value == NULL)
        return ERROR_BUDGET;
    value[0] = state_active_flags(workflow);
    for (uint32_t i = 0; i < workflow->flow->step_count; i++)
        if (state_step_is_timed(&workflow->steps[i]))
            document_active_timer_put(value, count++, i, workflow->steps[i].due_ns);
    CHECK(count == workflow->timed);
    *bytes = span_of(value, size);
    return 0;
}

void state_encode_finished(const struct workflow *workflow, uint64_t size,
                           uint8_t value[DOCUMENT_FINISHED_SIZE])
{
    struct document_finished finished = { .size = size, .settled = state_is_settled(workflow) };
    memcpy(finished.definition, workflow->flow->digest, SHA256_SIZE);
    document_finished_encode(value, &finished);
}

/* What a cold start needs of a workflow that has not ended; given again only when it is another. */
static int give_active(struct changes *changes, struct workflow *workflow)
{
    struct document_key key = document_active_key(workflow->stream);
    struct span bytes;
    if (workflow->listed && !workflow->timers_changed &&
        state_active_flags(workflow) == workflow->listed_flags)
        return 0;
    int result = state_encode_active(workflow, &changes->agent->scratch, &bytes);
    if (result == 0)
        changes->change(document_key_span(&key), bytes, changes->context);
    return result;
}

static void give_finished(struct changes *changes, struct workflow *workflow, uint64_t size)
{
    struct agent *agent = changes->agent;
    struct document_key active = document_active_key(workflow->stream),
                        key = state_finished_key(workflow);
    uint8_t value[DOCUMENT_FINISHED_SIZE];
    state_encode_finished(workflow, size, value);
    changes->change(document_key_span(&key), span_of(value, sizeof value), changes->context);
    if (workflow->listed)
        give_deleted(changes, &active);
    /* Counted once, also when all of it is given again for lack of memory. */
    agent->finished_bytes += size - workflow->counted_size;
    agent->counts_changed = true;
    workflow->counted_size = size;
}

static int give_workflow(struct changes *changes, struct workflow *workflow)
{
    struct document_key key = document_workflow_key(workflow->stream);
    struct span bytes;
    if (workflow->expired) {
        struct document_key active = document_active_key(workflow->stream);
        if (workflow->listed)
            give_deleted(changes, &active);
        return 0;
    }
    arena_reset(&changes->agent->scratch);
    int result = state_encode_workflow(workflow, &changes->agent->scratch, &bytes);
    if (result < 0)
        return result;
    changes->change(document_key_span(&key), bytes, changes->context);
    if (!state_is_finished(workflow->status))
        return give_active(changes, workflow);
    give_finished(changes, workflow, bytes.size);
    return 0;
}

/*--- The rest --------------------------------------------------------------------------------*/

static int give_definition(struct changes *changes, const struct definition *definition)
{
    const struct flow *flow = definition->flow;
    Daa__DefinitionDocument document = DAA__DEFINITION_DOCUMENT__INIT;
    struct document_key key = document_definition_key(flow->digest);
    if (definition->removed) {
        changes->change(document_key_span(&key), span_of(NULL, 0), changes->context);
        return 0;
    }
    put(&document.has_name, &document.name, flow->name);
    put(&document.has_source, &document.source, flow->source);
    put_number(&document.has_seq, &document.seq, definition->seq);
    arena_reset(&changes->agent->scratch);
    return give(changes, &key, &document.base);
}

static int give_key(struct changes *changes, struct key_entry *entry)
{
    const uint8_t *digest = entry->stored.digest;
    Daa__KeyDocument document = DAA__KEY_DOCUMENT__INIT;
    struct document_key key = document_idempotency_key(digest),
                        before = document_expiry_key(entry->indexed_ns, digest),
                        after = document_expiry_key(entry->expires_ns, digest);
    uint64_t expires_ns = entry->there ? entry->expires_ns : 0;
    if (entry->indexed_ns != 0 && entry->indexed_ns != expires_ns)
        give_deleted(changes, &before);
    if (expires_ns != 0 && entry->indexed_ns != expires_ns)
        changes->change(document_key_span(&after), span_of("", 0), changes->context);
    if (!entry->there) {
        give_deleted(changes, &key);
        return 0;
    }
    put_number(&document.has_stream, &document.stream, entry->stream);
    put(&document.has_request_digest, &document.request_digest,
        span_of(entry->request_digest, SHA256_SIZE));
    put_number(&document.has_expires_ns, &document.expires_ns, entry->expires_ns);
    put_number(&document.has_ttl_ns, &document.ttl_ns, entry->ttl_ns);
    arena_reset(&changes->agent->scratch);
    return give(changes, &key, &document.base);
}

static int give_keys(struct changes *changes)
{
    const struct store *keys = &changes->agent->keys;
    int result = 0;
    for (struct stored *at = keys->changed; result == 0 && at != NULL; at = at->changed_next)
        result = give_key(changes, (struct key_entry *)at);
    return result;
}

static void give_usages(struct changes *changes)
{
    const struct store *usages = &changes->agent->usages;
    for (const struct stored *at = usages->changed; at != NULL; at = at->changed_next) {
        const struct usage *usage = (const struct usage *)at;
        struct document_key key = document_usage_key(at->digest);
        uint8_t value[DOCUMENT_USAGE_SIZE];
        bytes_put_u64(value, usage->count);
        if (usage->count > 0)
            changes->change(document_key_span(&key), span_of(value, sizeof value),
                            changes->context);
        else
            give_deleted(changes, &key);
    }
}

static int fill_agent(Daa__AgentDocument *document, const struct agent *agent, struct arena *arena)
{
    Daa__LogDocument *logs = arena_allocate(arena, (agent->logs.count + 1) * sizeof *logs);
    Daa__SnapshotDocument *snapshots = arena_allocate(arena, 2 * sizeof *snapshots);
    document->logs = arena_allocate(arena, (agent->logs.count + 1) * sizeof *document->logs);
    document->snapshots = arena_allocate(arena, 2 * sizeof *document->snapshots);
    if (logs == NULL || snapshots == NULL || document->logs == NULL || document->snapshots == NULL)
        return ERROR_BUDGET;
    for (uint32_t i = 0; i < agent->logs.count; i++) {
        daa__log_document__init(&logs[i]);
        put(&logs[i].has_uuid, &logs[i].uuid, span_of(agent->logs.logs[i].uuid, UUID_SIZE));
        put_number(&logs[i].has_first_seq, &logs[i].first_seq, agent->logs.logs[i].first_seq);
        document->logs[document->n_logs++] = &logs[i];
    }
    for (int i = 0; i < 2; i++) {
        const struct agent_snapshot *snapshot = &agent->snapshots[i];
        if (snapshot->seq == 0)
            continue;
        daa__snapshot_document__init(&snapshots[i]);
        put_number(&snapshots[i].has_seq, &snapshots[i].seq, snapshot->seq);
        put(&snapshots[i].has_digest, &snapshots[i].digest, span_of(snapshot->digest, SHA256_SIZE));
        document->snapshots[document->n_snapshots++] = &snapshots[i];
    }
    return 0;
}

static int give_agent(struct changes *changes)
{
    const struct agent *agent = changes->agent;
    Daa__AgentDocument document = DAA__AGENT_DOCUMENT__INIT;
    struct document_key key = document_agent_key();
    arena_reset(&changes->agent->scratch);
    put_number(&document.has_submitted, &document.submitted, agent->submitted);
    put_number(&document.has_completed, &document.completed, agent->completed);
    put_number(&document.has_failed, &document.failed, agent->failed);
    put_number(&document.has_cancelled, &document.cancelled, agent->cancelled);
    put_number(&document.has_schema, &document.schema, EVENT_SCHEMA);
    put_number(&document.has_pending, &document.pending, agent->pending);
    put_number(&document.has_running, &document.running, agent->running);
    put_number(&document.has_paused, &document.paused, agent->paused);
    put_number(&document.has_finished, &document.finished, agent->finished);
    put_number(&document.has_finished_bytes, &document.finished_bytes, agent->finished_bytes);
    put_number(&document.has_keys, &document.keys, agent->keys_there);
    put_number(&document.has_keys_used, &document.keys_used, agent->keys_used);
    if (!bytes_are_zero(agent->keyring, UUID_SIZE))
        put(&document.has_keyring, &document.keyring, span_of(agent->keyring, UUID_SIZE));
    put_number(&document.has_definitions, &document.definitions, agent->definitions_there);
    put_number(&document.has_removed_segment, &document.removed_segment, agent->removed_segment);
    put_number(&document.has_removed_seq, &document.removed_seq, agent->removed_seq);
    put_number(&document.has_anchor_event, &document.anchor_event, agent->anchor.event);
    put_number(&document.has_anchored_seq, &document.anchored_seq, agent->anchor.seq);
    put_number(&document.has_anchored_segment, &document.anchored_segment,
               agent->anchor.segment_no);
    put_number(&document.has_shift_ns, &document.shift_ns, agent->shift_ns);
    put_number(&document.has_shifted_at_ns, &document.shifted_at_ns, agent->shifted_at_ns);
    put_number(&document.has_clock_behind_ns, &document.clock_behind_ns, agent->clock_behind_ns);
    document.has_clock_stepped = document.clock_stepped = agent->clock_stepped;
    int result = fill_agent(&document, agent, &changes->agent->scratch);
    return result < 0 ? result : give(changes, &key, &document.base);
}

static void give_removal(struct changes *changes, const struct removal *removal)
{
    uint8_t value[DOCUMENT_ERASED_SIZE];
    if (removal->erased == 0) {
        give_deleted(changes, &removal->key);
        return;
    }
    bytes_put_u64(value, removal->erased);
    changes->change(document_key_span(&removal->key), span_of(value, sizeof value),
                    changes->context);
}

/* What goes comes first: a definition may be there again. The agent's own document comes last, for
 * it counts the others. */
static int give_all(struct changes *changes)
{
    const struct agent *agent = changes->agent;
    int result = 0;
    for (const struct removal *at = agent->removals; at != NULL; at = at->next)
        give_removal(changes, at);
    for (const struct definition *at = agent->changed_definitions; result == 0 && at != NULL;
         at = at->changed_next)
        result = give_definition(changes, at);
    give_usages(changes);
    if (result == 0)
        result = give_keys(changes);
    for (struct workflow *at = agent->changed; result == 0 && at != NULL; at = at->changed_next)
        result = give_workflow(changes, at);
    if (result == 0 && agent->counts_changed)
        result = give_agent(changes);
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
        at->listed_flags = state_active_flags(at);
        at->timers_changed = false;
        if (state_is_finished(at->status))
            state_workflow_leave(agent, at);
        else
            rest_enter(agent, at);
    }
    agent->changed = NULL;
    agent->changed_end = &agent->changed;
}

static void forget_definitions(struct agent *agent)
{
    struct definition *next;
    for (struct definition *at = agent->changed_definitions; at != NULL; at = next) {
        next = at->changed_next;
        at->changed = false;
        at->changed_next = NULL;
        if (at->removed && at->idle)
            store_definition_remove(agent, at);
    }
    agent->changed_definitions = NULL;
    agent->changed_definitions_end = &agent->changed_definitions;
}

static void forget_keys(struct agent *agent)
{
    for (struct stored *at = agent->keys.changed; at != NULL; at = at->changed_next) {
        struct key_entry *entry = (struct key_entry *)at;
        entry->indexed_ns = entry->there ? entry->expires_ns : 0;
    }
    store_take_changes(&agent->keys);
}

int agent_take_changes(struct agent *agent, agent_change_function *change, void *context)
{
    struct changes changes = { agent, change, context };
    int result = give_all(&changes);
    arena_reset(&agent->scratch);
    if (result < 0)
        return result;
    agent->counts_changed = false;
    agent->removals = NULL;
    agent->removals_end = &agent->removals;
    arena_reset(&agent->removals_arena);
    forget_workflows(agent);
    forget_definitions(agent);
    forget_keys(agent);
    store_take_changes(&agent->usages);
    state_pack_ready(agent);
    rest_trim(agent);
    store_trim(agent); /* behind it: a workflow that has gone uses no definition */
    return 0;
}
