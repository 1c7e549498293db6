#include "core/agent/plan.h"
#include "core/base/check.h"

/* Keeping the state and the log: what is over, snapshots, segments that may go, anchors. */

/*--- Keys ------------------------------------------------------------------------------------*/

/* Whether the key is what the `x` document says, and over. It may be asked for first. */
static bool is_key_over(struct plan *plan, const struct expired_key *item)
{
    const struct agent *agent = plan->agent;
    const struct key_entry *entry = store_key(agent, item->digest);
    struct document_key key = document_idempotency_key(item->digest);
    if (entry == NULL) {
        if (!store_is_absent(agent, &key))
            plan_need(plan, &key);
        return false;
    }
    return entry->there && entry->expires_ns == item->expires_ns && item->expires_ns != 0 &&
           item->expires_ns <= agent_time(agent, plan->moment->now_ns);
}

static void add_key(struct plan *plan, Daa__KeysExpired *body, const struct expired_key *item)
{
    Daa__ExpiredKey *one = plan_allocate(plan, sizeof *one);
    if (one == NULL)
        return;
    daa__expired_key__init(one);
    one->has_key_digest = one->has_expires_ns = 1;
    one->key_digest = data_of_span(span_of(item->digest, SHA256_SIZE));
    one->expires_ns = item->expires_ns;
    body->keys[body->n_keys++] = one;
}

void plan_expire_keys(struct plan *plan)
{
    const struct command *command = plan->command;
    uint32_t over[COMMAND_EXPIRE_MAX], count = 0;
    CHECK(command->expire_keys.count <= COMMAND_EXPIRE_MAX);
    for (uint32_t i = 0; i < command->expire_keys.count; i++)
        if (is_key_over(plan, &command->expire_keys.items[i]))
            over[count++] = i;
    if (count == 0 || plan->decision->kind == DECISION_NEEDS)
        return;
    Daa__ExpiredKey **list = plan_allocate(plan, count * sizeof *list);
    Daa__KeysExpired *body =
        plan_event(plan, DAA__EVENT__BODY_KEYS_EXPIRED, &daa__keys_expired__descriptor);
    if (list == NULL)
        return;
    body->keys = list;
    for (uint32_t i = 0; i < count; i++)
        add_key(plan, body, &command->expire_keys.items[over[i]]);
}

/*--- Workflows -------------------------------------------------------------------------------*/

/* Whether the workflow is what the `f` document says. One that an effect may still change must be
 * in memory, and its changes taken. */
static bool is_workflow_over(struct plan *plan, const struct expired_workflow *item)
{
    const struct agent *agent = plan->agent;
    const struct workflow *workflow = state_workflow(agent, item->stream);
    struct document_key key = document_workflow_key(item->stream);
    if (store_is_absent(agent, &key))
        return false;
    if (workflow == NULL && !item->settled)
        plan_need(plan, &key);
    if (workflow == NULL)
        return item->settled;
    struct document_key wanted = document_finished_key(item->ended_ns, item->stream),
                        is = state_finished_key(workflow);
    return !workflow->expired && !workflow->changed && state_is_finished(workflow->status) &&
           span_equal(document_key_span(&is), document_key_span(&wanted)) &&
           workflow->counted_size == item->size;
}

static void need_usage(struct plan *plan, const struct expired_workflow *item)
{
    struct document_key key = document_usage_key(item->definition);
    if (store_usage(plan->agent, item->definition) == NULL &&
        plan->decision->needs_count < DECISION_NEEDS_MAX)
        plan_need(plan, &key);
}

static void add_workflow(struct plan *plan, Daa__WorkflowsExpired *body,
                         const struct expired_workflow *item)
{
    Daa__ExpiredWorkflow *one = plan_allocate(plan, sizeof *one);
    if (one == NULL)
        return;
    daa__expired_workflow__init(one);
    one->has_stream = one->has_ended_ns = one->has_size = one->has_definition = 1;
    one->stream = item->stream;
    one->ended_ns = item->ended_ns;
    one->size = item->size;
    one->definition = data_of_span(span_of(item->definition, SHA256_SIZE));
    body->workflows[body->n_workflows++] = one;
}

static bool prepare_expiry(struct plan *plan, uint32_t count)
{
    if (store_reserve_removals(plan->agent, 3 * count) == 0)
        return true;
    plan->no_memory = true;
    plan->no_memory_owner = BUDGET_DOCUMENTS;
    return false;
}

void plan_expire_workflows(struct plan *plan)
{
    const struct command *command = plan->command;
    const struct expired_workflow *items = command->expire_workflows.items;
    uint32_t over[COMMAND_EXPIRE_MAX], count = 0, unsettled = 0;
    CHECK(command->expire_workflows.count <= COMMAND_EXPIRE_MAX);
    for (uint32_t i = 0; i < command->expire_workflows.count; i++) {
        if (!items[i].settled && unsettled++ > 0)
            continue; /* one a command: memory may be too short to hold two */
        if (is_workflow_over(plan, &items[i]))
            over[count++] = i;
    }
    for (uint32_t i = 0; i < count; i++)
        need_usage(plan, &items[over[i]]);
    if (count == 0 || plan->decision->kind == DECISION_NEEDS || !prepare_expiry(plan, count))
        return;
    Daa__ExpiredWorkflow **list = plan_allocate(plan, count * sizeof *list);
    Daa__WorkflowsExpired *body =
        plan_event(plan, DAA__EVENT__BODY_WORKFLOWS_EXPIRED, &daa__workflows_expired__descriptor);
    if (list == NULL)
        return;
    body->workflows = list;
    body->has_reason = 1;
    body->reason = plan_text(plan, command->expire_workflows.reason);
    for (uint32_t i = 0; i < count; i++)
        add_workflow(plan, body, &items[over[i]]);
}

/*--- Snapshots and segments ------------------------------------------------------------------*/

void plan_snapshot(struct plan *plan)
{
    const struct command *command = plan->command;
    Daa__StateSnapshot *body =
        plan_event(plan, DAA__EVENT__BODY_STATE_SNAPSHOT, &daa__state_snapshot__descriptor);
    body->has_seq = body->has_digest = body->has_documents = body->has_bytes = 1;
    body->seq = command->snapshot.seq;
    body->digest = data_of_span(span_of(command->snapshot.digest, SHA256_SIZE));
    body->documents = command->snapshot.documents;
    body->bytes = command->snapshot.bytes;
}

void plan_remove(struct plan *plan)
{
    const struct command *command = plan->command;
    if (command->remove.last_segment <= plan->agent->removed_segment)
        return; /* it is in the log already */
    Daa__StorageRemoved *body =
        plan_event(plan, DAA__EVENT__BODY_STORAGE_REMOVED, &daa__storage_removed__descriptor);
    body->has_first_segment = body->has_last_segment = body->has_first_seq = 1;
    body->has_last_seq = body->has_bytes = body->has_reason = 1;
    body->first_segment = command->remove.first_segment;
    body->last_segment = command->remove.last_segment;
    body->first_seq = command->remove.first_seq;
    body->last_seq = command->remove.last_seq;
    body->bytes = command->remove.bytes;
    body->reason = plan_text(plan, command->remove.reason);
}

/*--- Anchors -----------------------------------------------------------------------------------*/

/* The anchors are one row in time: one that names another predecessor than the newest was signed
 * before that was known, and is not recorded. */
void plan_anchor(struct plan *plan)
{
    const struct anchor *anchor = plan->command->anchor.signed_head;
    if (anchor->previous != plan->agent->anchor.event)
        return;
    Daa__AnchoredSegment *segments =
        plan_allocate(plan, (anchor->segment_count + 1) * sizeof *segments);
    Daa__AnchoredSegment **list = plan_allocate(plan, (anchor->segment_count + 1) * sizeof *list);
    Daa__LogAnchored *body =
        plan_event(plan, DAA__EVENT__BODY_LOG_ANCHORED, &daa__log_anchored__descriptor);
    if (segments != NULL && list != NULL)
        anchor_to_event(anchor, body, segments, list);
}
