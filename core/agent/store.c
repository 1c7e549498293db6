#include "core/agent/state.h"
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"

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
    agent->idle_bytes -= flow_memory(definition->flow);
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
    agent->idle_bytes += flow_memory(definition->flow);
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

void store_definition_remove(struct agent *agent, struct definition *definition)
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

void store_definition_changed(struct agent *agent, struct definition *definition)
{
    if (definition->changed)
        return;
    definition->changed = true;
    definition->changed_next = NULL;
    *agent->changed_definitions_end = definition;
    agent->changed_definitions_end = &definition->changed_next;
}

/*--- What is cached by a digest --------------------------------------------------------------*/

void store_init(struct store *store, struct budget *budget, size_t item_size)
{
    *store = (struct store){ .item_size = item_size };
    table_init(&store->table, budget, BUDGET_WORKFLOWS);
    store->end = &store->oldest;
    store->changed_end = &store->changed;
}

static struct stored *get(const struct store *store, const uint8_t *digest)
{
    struct stored *item = table_get(&store->table, slot_of(digest));
    while (item != NULL && !same_digest(item->digest, digest))
        item = item->chain;
    return item;
}

struct key_entry *store_key(const struct agent *agent, const uint8_t *digest)
{
    return (struct key_entry *)get(&agent->keys, digest);
}

struct usage *store_usage(const struct agent *agent, const uint8_t *digest)
{
    return (struct usage *)get(&agent->usages, digest);
}

void *store_new(struct agent *agent, struct store *store, const uint8_t *digest)
{
    if (table_reserve(&store->table, 1) < 0)
        return NULL;
    struct stored *item =
        budget_allocate(agent->options.budget, BUDGET_WORKFLOWS, store->item_size);
    if (item != NULL) {
        memset(item, 0, store->item_size);
        memcpy(item->digest, digest, SHA256_SIZE);
    }
    return item;
}

void store_drop(struct agent *agent, struct store *store, void *item)
{
    if (item != NULL)
        budget_free(agent->options.budget, BUDGET_WORKFLOWS, item, store->item_size);
}

void store_enter(struct agent *agent, struct store *store, void *entered)
{
    struct stored *item = entered;
    uint64_t slot = slot_of(item->digest);
    item->chain = table_get(&store->table, slot);
    table_put(&store->table, slot, item);
    struct document_key document = store == &agent->keys ? document_idempotency_key(item->digest)
                                                         : document_usage_key(item->digest);
    store_forget_absent(agent, &document);
    *store->end = item;
    store->end = &item->next;
    store->count++;
}

static void remove_oldest(struct agent *agent, struct store *store)
{
    struct stored *item = store->oldest;
    uint64_t slot = slot_of(item->digest);
    struct stored *first = table_get(&store->table, slot);
    store->oldest = item->next;
    if (store->oldest == NULL)
        store->end = &store->oldest;
    if (first != item) {
        while (first->chain != item)
            first = first->chain;
        first->chain = item->chain;
    } else if (item->chain != NULL) {
        table_put(&store->table, slot, item->chain);
    } else {
        (void)table_remove(&store->table, slot);
    }
    store->count--;
    store_drop(agent, store, item);
}

void store_changed(struct store *store, void *changed)
{
    struct stored *item = changed;
    if (item->changed)
        return;
    item->changed = true;
    item->changed_next = NULL;
    *store->changed_end = item;
    store->changed_end = &item->changed_next;
}

void store_take_changes(struct store *store)
{
    for (struct stored *at = store->changed; at != NULL; at = at->changed_next)
        at->changed = false;
    store->changed = NULL;
    store->changed_end = &store->changed;
}

static void trim(struct agent *agent, struct store *store, uint64_t count_max)
{
    while (store->count > count_max && !store->oldest->changed)
        remove_oldest(agent, store);
}

/* Beyond three quarters of the budget nothing is kept for later. */
static bool are_definitions_too_much(const struct agent *agent)
{
    const struct budget *budget = agent->options.budget;
    return agent->idle_count > STATE_DEFINITIONS_IDLE_MAX ||
           agent->idle_bytes > budget->limit / STATE_DEFINITIONS_IDLE_SHARE ||
           atomic_load_explicit(&budget->used, memory_order_relaxed) >
               budget->limit - budget->limit / 4;
}

void store_trim_definitions(struct agent *agent)
{
    while (agent->idle_count > 1 && !agent->idle_oldest->changed && are_definitions_too_much(agent))
        store_definition_remove(agent, agent->idle_oldest);
}

void store_trim(struct agent *agent)
{
    trim(agent, &agent->keys, STATE_KEYS_MAX);
    trim(agent, &agent->usages, STATE_USAGES_MAX);
    store_trim_definitions(agent);
}

void store_free(struct agent *agent)
{
    while (agent->keys.oldest != NULL)
        remove_oldest(agent, &agent->keys);
    while (agent->usages.oldest != NULL)
        remove_oldest(agent, &agent->usages);
    while (agent->idle_oldest != NULL)
        store_definition_remove(agent, agent->idle_oldest);
    table_free(&agent->keys.table);
    table_free(&agent->usages.table);
    table_free(&agent->definitions);
    arena_free(&agent->removals_arena);
}

/*--- Documents that go -----------------------------------------------------------------------*/

int store_reserve_removals(struct agent *agent, uint32_t count)
{
    return arena_prepare(&agent->removals_arena, count * ((sizeof(struct removal) + 15) / 16 * 16));
}

static int add_removal(struct agent *agent, const struct document_key *key, uint64_t erased)
{
    struct removal *removal = arena_allocate(&agent->removals_arena, sizeof *removal);
    if (removal == NULL)
        return ERROR_BUDGET;
    removal->key = *key;
    removal->erased = erased;
    *agent->removals_end = removal;
    agent->removals_end = &removal->next;
    return 0;
}

int store_remove_document(struct agent *agent, const struct document_key *key)
{
    return add_removal(agent, key, 0);
}

int store_note_erased(struct agent *agent, uint32_t key_id, uint64_t stream)
{
    struct document_key key = document_erased_key(key_id);
    return add_removal(agent, &key, stream);
}

static bool is_removed(const struct agent *agent, const struct document_key *key)
{
    for (const struct removal *at = agent->removals; at != NULL; at = at->next)
        if (span_equal(document_key_span(&at->key), document_key_span(key)))
            return true;
    return false;
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
    return is_removed(agent, key);
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
