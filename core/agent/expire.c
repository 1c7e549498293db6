#include "core/agent/state.h"
#include "core/base/check.h"

/* What is over leaves by events that name it and all that the documents hold of it. Live, decide.c
 * has made sure that each can be applied; replaying allocates, and loads the usages only. */

static int expire_key(struct agent *agent, const Daa__ExpiredKey *body)
{
    if (!body->has_key_digest || body->expires_ns == 0)
        return ERROR_DAMAGED;
    struct key_entry *key = store_key(agent, body->key_digest.data);
    if (key == NULL) {
        key = store_new(agent, &agent->keys, body->key_digest.data);
        if (key == NULL)
            return ERROR_BUDGET;
        key->expires_ns = key->indexed_ns = body->expires_ns;
        key->there = true;
        store_enter(agent, &agent->keys, key);
    }
    if (!key->there || key->expires_ns != body->expires_ns || agent->keys_there == 0)
        return ERROR_DAMAGED;
    key->there = false;
    agent->keys_there--;
    agent->counts_changed = true;
    store_changed(&agent->keys, key);
    return 0;
}

int expire_keys(struct agent *agent, const Daa__KeysExpired *body)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < body->n_keys; i++)
        result = expire_key(agent, body->keys[i]);
    return result;
}

/* Nobody is left who uses the definition: its document goes too. */
static int remove_definition(struct agent *agent, const uint8_t *digest)
{
    struct definition *definition = store_definition(agent, digest);
    struct document_key key = document_definition_key(digest);
    agent->definitions_there--;
    if (definition == NULL)
        return store_remove_document(agent, &key);
    definition->removed = true;
    store_definition_changed(agent, definition);
    return 0;
}

static int use_less(struct agent *agent, const uint8_t *digest)
{
    struct usage *usage = store_usage(agent, digest);
    if (usage == NULL)
        return ERROR_NOT_FOUND;
    if (usage->count == 0)
        return ERROR_DAMAGED;
    store_changed(&agent->usages, usage);
    return --usage->count == 0 ? remove_definition(agent, digest) : 0;
}

static int expire_workflow(struct agent *agent, const Daa__ExpiredWorkflow *body)
{
    struct workflow *workflow = state_workflow(agent, body->stream);
    /* While replaying, its last change may not have been counted yet; then it never will be. */
    uint64_t counted = workflow != NULL ? workflow->counted_size : body->size;
    if (body->stream == 0 || !body->has_definition || agent->finished == 0 ||
        agent->finished_bytes < counted ||
        (workflow != NULL && (workflow->expired || !state_is_finished(workflow->status))))
        return ERROR_DAMAGED;
    struct document_key key = document_workflow_key(body->stream),
                        finished = document_finished_key(body->ended_ns, body->stream);
    int result = store_reserve_removals(agent, 3);
    if (result == 0)
        result = use_less(agent, body->definition.data);
    if (result < 0)
        return result;
    CHECK(store_remove_document(agent, &key) == 0);
    CHECK(store_remove_document(agent, &finished) == 0);
    agent->finished--;
    agent->finished_bytes -= counted;
    agent->counts_changed = true;
    if (workflow == NULL)
        return 0;
    workflow->expired = true;
    state_mark_changed(agent, workflow);
    return 0;
}

/* The key is kept for its time, so that nothing is done twice; not what was asked with it. */
static int forget_request(struct agent *agent, const Daa__ErasedWorkflow *body)
{
    if (!body->has_key_digest)
        return 0;
    struct key_entry *key = store_key(agent, body->key_digest.data);
    if (key == NULL)
        return ERROR_NOT_FOUND;
    if (!key->there || key->stream != body->stream)
        return ERROR_DAMAGED;
    memset(key->request_digest, 0, SHA256_SIZE);
    store_changed(&agent->keys, key);
    return 0;
}

/* What is left of it goes as if it had expired. */
static int erase_workflow(struct agent *agent, const Daa__ErasedWorkflow *body)
{
    Daa__ExpiredWorkflow documents = DAA__EXPIRED_WORKFLOW__INIT;
    int result = body->stream == 0 || body->key_id == 0 ? ERROR_DAMAGED : 0;
    if (result == 0)
        result = store_reserve_removals(agent, ERASE_REMOVALS);
    if (result == 0)
        result = forget_request(agent, body);
    if (result == 0)
        result = store_note_erased(agent, body->key_id, body->stream);
    if (result < 0 || !body->has_definition)
        return result;
    documents.stream = body->stream;
    documents.ended_ns = body->ended_ns;
    documents.size = body->size;
    documents.has_definition = 1;
    documents.definition = body->definition;
    return expire_workflow(agent, &documents);
}

int erase_workflows(struct agent *agent, const Daa__WorkflowsErased *body)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < body->n_workflows; i++)
        result = erase_workflow(agent, body->workflows[i]);
    return result;
}

int expire_workflows(struct agent *agent, const Daa__WorkflowsExpired *body)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < body->n_workflows; i++)
        result = expire_workflow(agent, body->workflows[i]);
    return result;
}
