#include "core/agent/check_documents.h"

#include "core/agent/check_inside.h"
#include "core/base/bytes.h"
#include "core/event/message.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define DEFINITIONS_KEPT 64u
#define DEFINITIONS_SIZE_MAX (16u << 20) /* bytes, compiled, when they are more than one */

void check_documents_key_to_text(char text[CHECK_KEY_TEXT_SIZE], struct span key)
{
    size_t at = 0, size = key.size < DOCUMENT_KEY_SIZE_MAX ? key.size : DOCUMENT_KEY_SIZE_MAX;
    bool letter = size > 0 && key.bytes[0] >= 'a' && key.bytes[0] <= 'z';
    if (letter)
        text[at++] = (char)key.bytes[0];
    for (size_t i = letter; i < size; i++, at += 2)
        (void)snprintf(text + at, 3, "%02x", key.bytes[i]);
    text[at] = 0;
}

/*--- What all checks do ------------------------------------------------------------------------*/

int check_found(struct check_documents *check, struct span key, const char *format, ...)
{
    char sentence[CHECK_SENTENCE_SIZE];
    va_list arguments;
    if (check->result.findings++ >= CHECK_FINDINGS_TOLD_MAX)
        return 0;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    check->options.found(key, sentence, check->options.context);
    return 0;
}

int check_get(struct check_documents *check, const struct document_key *key, struct span *bytes)
{
    return check->options.get(document_key_span(key), bytes, check->options.context);
}

int check_unpack(struct check_documents *check, struct span key, struct span bytes,
                 const ProtobufCMessageDescriptor *type, ProtobufCMessage **message)
{
    int status = message_unpack(type, bytes, &check->arena, message);
    if (status == ERROR_DAMAGED)
        return check_found(check, key, "its bytes are no %s", type->short_name);
    return status < 0 ? status : 1;
}

int check_read(struct check_documents *check, struct span bytes,
               const ProtobufCMessageDescriptor *type, ProtobufCMessage **message)
{
    int status = message_unpack(type, bytes, &check->arena, message);
    return status == 0 ? 1 : status == ERROR_DAMAGED ? 0 : status;
}

/*--- Definitions and how often they are used ---------------------------------------------------*/

static void drop_definition(struct check_documents *check)
{
    struct definition *oldest = check->agent->idle_oldest;
    check->definitions_size -= flow_memory(oldest->flow);
    store_definition_remove(check->agent, oldest);
}

static void trim_definitions(struct check_documents *check)
{
    const struct agent *agent = check->agent;
    while (agent->idle_count > DEFINITIONS_KEPT ||
           (agent->idle_count > 1 && check->definitions_size > DEFINITIONS_SIZE_MAX))
        drop_definition(check);
}

/* 1 compiled and kept; 0 not sound; negative. */
static int compile(struct check_documents *check, const struct document_key *key, struct span bytes,
                   struct definition **definition)
{
    struct document_key needs;
    int status = agent_load(check->agent, document_key_span(key), bytes, &needs);
    if (status == ERROR_BUDGET && check->agent->idle_count > 0) {
        while (check->agent->idle_count > 0)
            drop_definition(check);
        status = agent_load(check->agent, document_key_span(key), bytes, &needs);
    }
    if (status < 0)
        return status == ERROR_BUDGET ? status : 0;
    *definition = store_definition(check->agent, key->bytes + 1);
    if (*definition == NULL)
        return 0;
    check->definitions_size += flow_memory((*definition)->flow);
    trim_definitions(check);
    return 1;
}

int check_definition(struct check_documents *check, const uint8_t digest[SHA256_SIZE],
                     struct definition **definition)
{
    struct document_key key = document_definition_key(digest);
    struct span bytes;
    *definition = store_definition(check->agent, digest);
    if (*definition != NULL)
        return 1;
    int status = check_get(check, &key, &bytes);
    return status == 1 ? compile(check, &key, bytes, definition) : status;
}

int check_counted(struct check_documents *check, const uint8_t digest[SHA256_SIZE],
                  struct counted **counted)
{
    struct agent *agent = check->agent;
    *counted = (struct counted *)store_usage(agent, digest);
    if (*counted != NULL)
        return 0;
    if (agent->usages.count >= CHECK_USAGES_MAX) {
        check->result.usages_checked = false;
        return 0;
    }
    *counted = store_new(agent, &agent->usages, digest);
    if (*counted == NULL)
        return ERROR_BUDGET;
    store_enter(agent, &agent->usages, *counted);
    return 0;
}

static int check_d(struct check_documents *check, struct span key, struct span bytes)
{
    const uint8_t *digest = key.bytes + 1;
    struct document_key usage_key = document_usage_key(digest),
                        own = document_definition_key(digest);
    ProtobufCMessage *message;
    struct definition *definition;
    struct span usage;
    check->result.definitions++;
    int status = check_unpack(check, key, bytes, &daa__definition_document__descriptor, &message);
    if (status <= 0)
        return status;
    const Daa__DefinitionDocument *document = (const Daa__DefinitionDocument *)message;
    status = compile(check, &own, bytes, &definition);
    if (status < 0)
        return status;
    if (status == 0)
        check_found(check, key, "the definition does not compile, or is not what its key says");
    else if (definition->seq == 0 ||
             !span_equal(span_of_data(document->name), definition->flow->name))
        check_found(check, key, "the definition's name or event is not that of its source");
    status = check_get(check, &usage_key, &usage);
    return status != 0 ? (status < 0 ? status : 0)
                       : check_found(check, key, "no workflow is counted that uses the definition");
}

static int check_u(struct check_documents *check, struct span key, struct span bytes)
{
    const uint8_t *digest = key.bytes + 1;
    struct document_key definition_key = document_definition_key(digest);
    struct counted *counted;
    struct span definition;
    if (bytes.size != DOCUMENT_USAGE_SIZE || bytes_get_u64(bytes.bytes) == 0)
        check_found(check, key, "it counts no workflows that use a definition, and is there");
    int status = check_counted(check, digest, &counted);
    if (status < 0)
        return status;
    if (counted != NULL && bytes.size == DOCUMENT_USAGE_SIZE)
        counted->said.count = bytes_get_u64(bytes.bytes);
    status = check_get(check, &definition_key, &definition);
    return status != 0 ? (status < 0 ? status : 0)
                       : check_found(check, key, "workflows use a definition that is not there");
}

/*--- What was erased ---------------------------------------------------------------------------*/

static int check_erased(struct check_documents *check, struct span key, struct span bytes)
{
    uint32_t key_id;
    struct span workflow;
    if (!document_erased_of_key(key, &key_id) || key_id == 0 || bytes.size != DOCUMENT_ERASED_SIZE)
        return check_found(check, key, "it names no key, or no workflow");
    struct document_key workflow_key = document_workflow_key(bytes_get_u64(bytes.bytes));
    int status = check_get(check, &workflow_key, &workflow);
    return status != 1 ? status : check_found(check, key, "the workflow was erased, and is there");
}

/*--- The agent's document ----------------------------------------------------------------------*/

static int check_lists(struct check_documents *check, struct span key,
                       const Daa__AgentDocument *document)
{
    for (size_t i = 0; i < document->n_logs; i++)
        if (document->logs[i]->uuid.len != UUID_SIZE ||
            (i > 0 && document->logs[i]->first_seq <= document->logs[i - 1]->first_seq))
            return check_found(check, key, "the logs that it names do not ascend");
    if (document->anchored_seq >= document->anchor_event && document->anchor_event != 0)
        return check_found(check, key, "the anchor that it names signs what came behind it");
    if (document->n_snapshots > 2)
        return check_found(check, key, "it names more than two snapshots");
    for (size_t i = 0; i < document->n_snapshots; i++)
        if (document->snapshots[i]->digest.len != SHA256_SIZE || document->snapshots[i]->seq == 0 ||
            (i > 0 && document->snapshots[i]->seq < document->snapshots[i - 1]->seq))
            return check_found(check, key, "the snapshots that it names do not ascend");
    return 0;
}

static int check_g(struct check_documents *check, struct span key, struct span bytes)
{
    ProtobufCMessage *message;
    int status = check_unpack(check, key, bytes, &daa__agent_document__descriptor, &message);
    if (status <= 0)
        return status;
    const Daa__AgentDocument *document = (const Daa__AgentDocument *)message;
    check->has_agent = true;
    check->said = (struct agent_counts){ .pending = document->pending,
                                         .running = document->running,
                                         .paused = document->paused,
                                         .finished = document->finished,
                                         .finished_bytes = document->finished_bytes,
                                         .keys = document->keys,
                                         .definitions_there = document->definitions,
                                         .submitted = document->submitted,
                                         .completed = document->completed,
                                         .failed = document->failed,
                                         .cancelled = document->cancelled };
    return check_lists(check, key, document);
}

/* What ended since the log began, and what has not, is what was submitted. */
static void compare_counts(struct check_documents *check, struct span key)
{
    const struct agent_counts *said = &check->said;
    const uint64_t *statuses = check->statuses;
    const struct {
        const char *what;
        uint64_t said, found;
    } counts[] = {
        { "pending workflows", said->pending, statuses[DAA__WORKFLOW_STATUS__WORKFLOW_PENDING] },
        { "running workflows", said->running, statuses[DAA__WORKFLOW_STATUS__WORKFLOW_RUNNING] },
        { "paused workflows", said->paused, statuses[DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED] },
        { "workflows that have ended", said->finished, check->finished },
        { "bytes of workflows that have ended", said->finished_bytes, check->finished_bytes },
        { "idempotency keys", said->keys, check->result.keys },
        { "definitions", said->definitions_there, check->result.definitions },
        { "submitted workflows", said->submitted,
          said->pending + said->running + said->paused + said->completed + said->failed +
              said->cancelled },
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i].said != counts[i].found)
            check_found(check, key, "it counts %" PRIu64 " %s, and there are %" PRIu64,
                        counts[i].said, counts[i].what, counts[i].found);
}

static void compare_usages(struct check_documents *check)
{
    for (const struct stored *at = check->agent->usages.oldest; at != NULL; at = at->next) {
        const struct counted *counted = (const struct counted *)at;
        struct document_key key = document_usage_key(at->digest);
        if (counted->said.count != counted->found)
            check_found(check, document_key_span(&key),
                        "it counts %" PRIu64 " workflows that use the definition, and there are "
                        "%" PRIu64,
                        counted->said.count, counted->found);
    }
}

int check_documents_end(struct check_documents *check, struct check_documents_result *result)
{
    struct document_key key = document_agent_key();
    struct span bytes;
    int status = check_get(check, &key, &bytes);
    if (status < 0)
        return status;
    if (status == 0 && check->result.documents > 0)
        check_found(check, document_key_span(&key), "the agent's own document is not there");
    if (check->has_agent)
        compare_counts(check, document_key_span(&key));
    if (check->finished != check->finished_listed)
        check_found(check, document_key_span(&key),
                    "%" PRIu64 " workflows have ended, and %" PRIu64
                    " are in the order of their ends",
                    check->finished, check->finished_listed);
    if (check->expiries != check->keys_ended)
        check_found(check, document_key_span(&key),
                    "%" PRIu64 " idempotency keys expire, and %" PRIu64
                    " are in the order in which they do",
                    check->keys_ended, check->expiries);
    compare_usages(check);
    *result = check->result;
    return 0;
}

/*--- All of them -------------------------------------------------------------------------------*/

typedef int check_function(struct check_documents *check, struct span key, struct span bytes);

int check_documents_add(struct check_documents *check, struct span key, struct span bytes)
{
    static const struct {
        char kind;
        uint8_t key_size;
        check_function *check;
    } kinds[] = {
        { 'a', 9, check_active },
        { 'd', 1 + SHA256_SIZE, check_d },
        { 'e', 9, check_erased },
        { 'f', 17, check_finished },
        { 'g', 1, check_g },
        { 'k', 1 + SHA256_SIZE, check_key },
        { 'u', 1 + SHA256_SIZE, check_u },
        { 'w', 9, check_workflow },
        { 'x', 9 + SHA256_SIZE, check_expiry },
    };
    check->result.documents++;
    check->result.bytes += key.size + bytes.size;
    arena_reset(&check->arena);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (key.size == kinds[i].key_size && key.bytes[0] == kinds[i].kind)
            return kinds[i].check(check, key, bytes);
    return check_found(check, key, "there is no such kind of document");
}

int check_documents_open(struct check_documents **opened,
                         const struct check_documents_options *options, struct error *error)
{
    struct budget *budget = options->budget;
    struct check_documents *check = budget_allocate(budget, BUDGET_READERS, sizeof *check);
    if (check == NULL)
        return error_set(error, ERROR_BUDGET,
                         "no check of the documents: the memory budget is used up (owner %s)",
                         budget_owner_name(BUDGET_READERS));
    *check = (struct check_documents){ .options = *options, .result = { .usages_checked = true } };
    arena_init(&check->arena, budget, BUDGET_READERS, 4096);
    struct agent_options agent = { .budget = budget, .keys = options->keys };
    int status = agent_open(&check->agent, &agent, error);
    if (status < 0) {
        budget_free(budget, BUDGET_READERS, check, sizeof *check);
        return status;
    }
    /* Empty still: its usages know what was counted, too. */
    store_init(&check->agent->usages, budget, sizeof(struct counted));
    *opened = check;
    return 0;
}

void check_documents_close(struct check_documents *check)
{
    if (check == NULL)
        return;
    struct budget *budget = check->options.budget;
    agent_close(check->agent);
    arena_free(&check->arena);
    budget_free(budget, BUDGET_READERS, check, sizeof *check);
}
