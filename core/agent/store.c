#include "core/agent/state.h"
#include "core/base/bytes.h"
#include "core/base/check.h"

/* Digests are spread evenly: eight bytes of one find the chain, the whole of it the entry. */
static uint64_t slot_of(const uint8_t *digest)
{
    uint64_t slot = bytes_get_u64(digest);
    return slot != 0 ? slot : 1;
}

static bool same_digest(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, SHA256_SIZE) == 0;
}

/*--- Definitions -----------------------------------------------------------------------------*/

struct definition *store_definition(const struct agent *agent, const uint8_t *digest)
{
    struct definition *definition = table_get(&agent->definitions, slot_of(digest));
    while (definition != NULL && !same_digest(definition->flow->digest, digest))
        definition = definition->chain;
    return definition;
}

struct definition *store_definition_new(struct agent *agent, struct flow *flow)
{
    if (table_reserve(&agent->definitions, 1) < 0)
        return NULL;
    struct definition *definition =
        budget_allocate(agent->options.budget, BUDGET_DEFINITIONS, sizeof *definition);
    if (definition != NULL)
        *definition = (struct definition){ .flow = flow_ref(flow) };
    return definition;
}

void store_definition_free(struct agent *agent, struct definition *definition)
{
    if (definition == NULL)
        return;
    flow_unref(definition->flow);
    budget_free(agent->options.budget, BUDGET_DEFINITIONS, definition, sizeof *definition);
}

static void leave_idle(struct agent *agent, struct definition *definition)
{
    if (!definition->idle)
        return;
    if (definition->newer != NULL)
        definition->newer->older = definition->older;
    else
        agent->idle_newest = definition->older;
    if (definition->older != NULL)
        definition->older->newer = definition->newer;
    else
        agent->idle_oldest = definition->newer;
    definition->newer = definition->older = NULL;
    definition->idle = false;
    agent->idle_count--;
}

static void enter_idle(struct agent *agent, struct definition *definition)
{
    definition->idle = true;
    definition->older = agent->idle_newest;
    if (agent->idle_newest != NULL)
        agent->idle_newest->newer = definition;
    else
        agent->idle_oldest = definition;
    agent->idle_newest = definition;
    agent->idle_count++;
}

void store_definition_enter(struct agent *agent, struct definition *definition)
{
    uint64_t slot = slot_of(definition->flow->digest);
    definition->chain = table_get(&agent->definitions, slot);
    table_put(&agent->definitions, slot, definition);
    struct document_key key = document_definition_key(definition->flow->digest);
    store_forget_absent(agent, &key);
    enter_idle(agent, definition);
}

void store_definition_use(struct agent *agent, struct definition *definition)
{
    leave_idle(agent, definition);
    definition->users++;
}

void store_definition_release(struct agent *agent, struct definition *definition)
{
    CHECK(definition->users > 0);
    if (--definition->users == 0)
        enter_idle(agent, definition);
}

static void remove_definition(struct agent *agent, struct definition *definition)
{
    uint64_t slot = slot_of(definition->flow->digest);
    struct definition *first = table_get(&agent->definitions, slot);
    leave_idle(agent, definition);
    if (first != definition) {
        while (first->chain != definition)
            first = first->chain;
        first->chain = definition->chain;
    } else if (definition->chain != NULL) {
        table_put(&agent->definitions, slot, definition->chain);
    } else {
        (void)table_remove(&agent->definitions, slot);
    }
    store_definition_free(agent, definition);
}

/*--- Idempotency keys ------------------------------------------------------------------------*/

struct key_entry *store_key(const struct agent *agent, const uint8_t *digest)
{
    struct key_entry *key = table_get(&agent->keys, slot_of(digest));
    while (key != NULL && !same_digest(key->digest, digest))
        key = key->chain;
    return key;
}

struct key_entry *store_key_new(struct agent *agent, const uint8_t *digest)
{
    if (table_reserve(&agent->keys, 1) < 0)
        return NULL;
    struct key_entry *key = budget_allocate(agent->options.budget, BUDGET_WORKFLOWS, sizeof *key);
    if (key != NULL) {
        *key = (struct key_entry){ .stream = 0 };
        memcpy(key->digest, digest, SHA256_SIZE);
    }
    return key;
}

void store_key_free(struct agent *agent, struct key_entry *key)
{
    budget_free(agent->options.budget, BUDGET_WORKFLOWS, key, sizeof *key);
}

void store_key_enter(struct agent *agent, struct key_entry *key)
{
    uint64_t slot = slot_of(key->digest);
    key->chain = table_get(&agent->keys, slot);
    table_put(&agent->keys, slot, key);
    struct document_key document = document_idempotency_key(key->digest);
    store_forget_absent(agent, &document);
    *agent->keys_end = key;
    agent->keys_end = &key->next;
    agent->keys_count++;
}

static void remove_oldest_key(struct agent *agent)
{
    struct key_entry *key = agent->keys_oldest;
    uint64_t slot = slot_of(key->digest);
    struct key_entry *first = table_get(&agent->keys, slot);
    agent->keys_oldest = key->next;
    if (agent->keys_oldest == NULL)
        agent->keys_end = &agent->keys_oldest;
    if (first != key) {
        while (first->chain != key)
            first = first->chain;
        first->chain = key->chain;
    } else if (key->chain != NULL) {
        table_put(&agent->keys, slot, key->chain);
    } else {
        (void)table_remove(&agent->keys, slot);
    }
    agent->keys_count--;
    store_key_free(agent, key);
}

void store_trim(struct agent *agent)
{
    while (agent->keys_count > STATE_KEYS_MAX && !agent->keys_oldest->changed)
        remove_oldest_key(agent);
    while (agent->idle_count > STATE_DEFINITIONS_IDLE_MAX && !agent->idle_oldest->changed)
        remove_definition(agent, agent->idle_oldest);
}

void store_free(struct agent *agent)
{
    while (agent->keys_oldest != NULL)
        remove_oldest_key(agent);
    while (agent->idle_oldest != NULL)
        remove_definition(agent, agent->idle_oldest);
    table_free(&agent->keys);
    table_free(&agent->definitions);
}

/*--- What is not there -----------------------------------------------------------------------*/

static bool same_key(const struct document_key *a, const struct document_key *b)
{
    return span_equal(document_key_span(a), document_key_span(b));
}

bool store_is_absent(const struct agent *agent, const struct document_key *key)
{
    for (uint32_t i = 0; i < STATE_ABSENT_MAX; i++)
        if (same_key(&agent->absent[i], key))
            return true;
    return false;
}

void store_set_absent(struct agent *agent, const struct document_key *key)
{
    agent->absent[agent->absent_next++ % STATE_ABSENT_MAX] = *key;
}

void store_forget_absent(struct agent *agent, const struct document_key *key)
{
    for (uint32_t i = 0; i < STATE_ABSENT_MAX; i++)
        if (same_key(&agent->absent[i], key))
            agent->absent[i].size = 0;
}
