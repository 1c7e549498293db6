#include "core/agent/plan.h"
#include "core/base/check.h"
#include "core/base/id.h"

/* Erasing a workflow: its documents go with the event, and the shell destroys its key behind it. */

static const char *id_text(const struct plan *plan, char text[WORKFLOW_ID_SIZE])
{
    lineage_id_to_text(text, &plan->agent->logs, plan->command->stream);
    return text;
}

/* The workflow in memory; NULL: its documents have expired, or must be loaded. */
static const struct workflow *find(struct plan *plan)
{
    const struct workflow *workflow = state_workflow(plan->agent, plan->command->stream);
    struct document_key key = document_workflow_key(plan->command->stream);
    if (workflow == NULL && !store_is_absent(plan->agent, &key))
        plan_need(plan, &key);
    return workflow != NULL && workflow->expired ? NULL : workflow;
}

/* True: the decision is made. */
static bool is_refused(struct plan *plan, const struct workflow *workflow, uint32_t key_id)
{
    char id[WORKFLOW_ID_SIZE];
    if (key_id == 0)
        plan_refuse(plan, 409, "not-encrypted",
                    "the events of the workflow %s are not encrypted, so they cannot be erased: "
                    "they are in the log until retention removes them (new workflows are encrypted "
                    "with log.encryption = true)",
                    id_text(plan, id));
    else if (workflow != NULL && !state_is_finished(workflow->status))
        plan_refuse(plan, 409, "invalid-transition",
                    "the workflow %s cannot be erased: it is %s; cancel it first",
                    id_text(plan, id), workflow_status_name(workflow->status));
    else if (workflow != NULL && workflow->changed)
        plan_refuse(plan, 503, "not-durable-yet",
                    "what the workflow %s ended with is not durable yet: ask again in a moment",
                    id_text(plan, id));
    else
        return false;
    return true;
}

/* Of its idempotency key; NULL: it had none. */
static const uint8_t *key_digest(const struct plan *plan, const struct workflow *workflow)
{
    if (workflow != NULL)
        return workflow->has_key ? workflow->key_digest : NULL;
    struct span digest = plan->command->erase.key_digest;
    return digest.size == SHA256_SIZE ? digest.bytes : NULL;
}

/* What the event names is in memory. */
static bool is_ready(struct plan *plan, const struct workflow *workflow, const uint8_t *digest)
{
    struct agent *agent = plan->agent;
    if (workflow != NULL && store_usage(agent, workflow->flow->digest) == NULL) {
        struct document_key usage = document_usage_key(workflow->flow->digest);
        plan_need(plan, &usage);
    }
    if (digest != NULL && store_key(agent, digest) == NULL) {
        struct document_key key = document_idempotency_key(digest);
        if (!store_is_absent(agent, &key))
            plan_need(plan, &key);
    }
    if (plan->decision->kind == DECISION_NEEDS)
        return false;
    plan->no_memory_owner = BUDGET_DOCUMENTS;
    plan->no_memory = store_reserve_removals(agent, ERASE_REMOVALS) < 0;
    return !plan->no_memory;
}

static void name_documents(Daa__ErasedWorkflow *one, const struct workflow *workflow)
{
    uint64_t stream;
    struct document_key key = state_finished_key(workflow);
    CHECK(document_finished_of_key(document_key_span(&key), &one->ended_ns, &stream));
    one->has_ended_ns = one->has_size = one->has_definition = 1;
    one->size = workflow->counted_size;
    one->definition = data_of_span(span_of(workflow->flow->digest, SHA256_SIZE));
}

/* Its idempotency key, if that is kept still and was not used again since. */
static void name_key(const struct plan *plan, Daa__ErasedWorkflow *one, const uint8_t *digest)
{
    const struct key_entry *key = digest != NULL ? store_key(plan->agent, digest) : NULL;
    if (key == NULL || !key->there || key->stream != plan->command->stream)
        return;
    one->has_key_digest = 1;
    one->key_digest = data_of_span(span_of(digest, SHA256_SIZE));
}

void plan_erase(struct plan *plan)
{
    const struct command *command = plan->command;
    const struct workflow *workflow = find(plan);
    uint32_t key_id = workflow != NULL ? workflow->key_id : command->erase.key_id;
    const uint8_t *digest = key_digest(plan, workflow);
    if (plan->decision->kind == DECISION_NEEDS || is_refused(plan, workflow, key_id) ||
        !is_ready(plan, workflow, digest))
        return;
    Daa__ErasedWorkflow *one = plan_allocate(plan, sizeof *one);
    Daa__ErasedWorkflow **list = plan_allocate(plan, sizeof(Daa__ErasedWorkflow *));
    Daa__WorkflowsErased *body =
        plan_event(plan, DAA__EVENT__BODY_WORKFLOWS_ERASED, &daa__workflows_erased__descriptor);
    if (one == NULL || list == NULL)
        return;
    daa__erased_workflow__init(one);
    one->has_stream = one->has_key_id = 1;
    one->stream = command->stream;
    one->key_id = key_id;
    if (workflow != NULL)
        name_documents(one, workflow);
    name_key(plan, one, digest);
    list[0] = one;
    body->workflows = list;
    body->n_workflows = 1;
    body->has_reason = command->erase.reason.size > 0;
    body->reason = plan_text(plan, command->erase.reason);
}
