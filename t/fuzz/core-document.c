/* A document from a database that somebody else wrote: one byte of which it is, one of what is put
 * right, then its value. A workflow is made one of the definition that is there, with as many
 * steps, and its private fields are encrypted as they are written. It is shown or refused; the
 * agent loads it or refuses it. What is JSON in it was JSON in an event, and nobody looks again. */
#include "core/agent/agent.h"
#include "core/agent/document.h"
#include "core/base/check.h"
#include "core/event/message.h"
#include "core/event/privacy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum { BELONGS = 1, ENCRYPTED = 2, WIPED = 4, SIZES = 8 };

static const char source[] =
    "{\"name\":\"pay\",\"steps\":[{\"id\":\"a\",\"sleep\":\"1s\"},{\"id\":\"b\",\"needs\":[\"a\"],"
    "\"http\":{\"method\":\"GET\",\"url\":\"https://h/${{ input.id }}\"},\"idempotent\":false},"
    "{\"id\":\"c\",\"needs\":[\"b\"],\"exec\":{\"argv\":[\"/bin/cat\"]}},"
    "{\"id\":\"d\",\"signal\":{\"name\":\"go\",\"timeout\":\"1h\"}}]}";
static const uint8_t key[AEAD_KEY_SIZE] = { 1, 2, 3 };

struct target {
    struct budget budget;
    struct agent_options options;
    struct agent *agent;
    struct arena arena;
    struct flow *flow;
    uint8_t *definition; /* its document */
    size_t definition_size;
};

static int find_key(void *context, uint32_t key_id, uint8_t found[AEAD_KEY_SIZE])
{
    (void)key_id;
    memcpy(found, context, AEAD_KEY_SIZE);
    return 0;
}

static void load(struct target *target, const struct document_key *key_of, struct span bytes)
{
    struct document_key needs;
    int code = agent_load(target->agent, document_key_span(key_of), bytes, &needs);
    CHECK(code <= 1);
}

static void open_target(struct target *target)
{
    struct flow_problem problem;
    Daa__DefinitionDocument document = DAA__DEFINITION_DOCUMENT__INIT;
    struct span text = span_of_text(source);
    budget_init(&target->budget, 1 << 28);
    arena_init(&target->arena, &target->budget, BUDGET_REQUESTS, 4096);
    target->options = (struct agent_options){ .budget = &target->budget };
    CHECK(agent_open(&target->agent, &target->options, NULL) == 0);
    CHECK(flow_compile(&target->flow, &target->budget, text, &problem) == 0);
    document.has_source = document.has_seq = 1;
    document.source = (ProtobufCBinaryData){ text.size, (uint8_t *)(uintptr_t)text.bytes };
    document.seq = 1;
    target->definition_size = protobuf_c_message_get_packed_size(&document.base);
    target->definition = malloc(target->definition_size);
    CHECK(target->definition != NULL);
    protobuf_c_message_pack(&document.base, target->definition);
}

static void close_target(struct target *target)
{
    free(target->definition);
    flow_unref(target->flow);
    arena_free(&target->arena);
    agent_close(target->agent);
    CHECK(target->budget.used == 0);
}

static void show(struct target *target, struct span bytes, const struct event_keys *keys)
{
    struct span definitions[] = { span_of(target->definition, target->definition_size),
                                  span_of(NULL, 0) };
    static const uint8_t uuid[UUID_SIZE];
    for (int i = 0; i < 4; i++) {
        struct document_view view = { .log_uuid = uuid, .stream = 7, .basic = i & 2, .keys = keys };
        struct document_summary summary;
        struct text text;
        text_init(&text);
        (void)document_workflow_to_json(bytes, definitions[i & 1], &view, &target->arena, &text);
        text_free(&text);
        (void)document_workflow_summary(bytes, keys, &target->arena, &summary);
    }
}

static void put_sizes_right(Daa__WorkflowDocument *document)
{
    if (!document->has_encrypted || document->encrypted.len < PRIVACY_OVERHEAD)
        return;
    size_t left = document->encrypted.len - PRIVACY_OVERHEAD;
    for (size_t i = 0; i < document->n_private_sizes; i++) {
        uint32_t *size = &document->private_sizes[i];
        if (i + 1 == document->n_private_sizes || (*size > 0 && *size - 1 > left))
            *size = (uint32_t)left + 1;
        left -= *size > 0 ? *size - 1 : 0;
    }
}

static void put_right(struct target *target, Daa__WorkflowDocument *document, uint8_t what)
{
    if (what & BELONGS) {
        document->has_status = document->has_definition = document->has_key_id = 1;
        document->key_id = 1;
        document->definition = (ProtobufCBinaryData){ SHA256_SIZE, target->flow->digest };
        if (document->n_steps > target->flow->step_count)
            document->n_steps = target->flow->step_count;
    }
    if (what & SIZES)
        put_sizes_right(document);
    if (what & ENCRYPTED && !document->has_encrypted)
        CHECK(document_workflow_encrypt(document, what & WIPED ? NULL : key, &target->arena) == 0);
}

static void use_workflow(struct target *target, struct span bytes)
{
    struct event_keys keys = { find_key, (void *)(uintptr_t)key };
    struct document_key definition = document_definition_key(target->flow->digest),
                        workflow = document_workflow_key(7);
    show(target, bytes, &keys);
    show(target, bytes, NULL);
    load(target, &definition, span_of(target->definition, target->definition_size));
    load(target, &workflow, bytes);
}

static void fuzz_workflow(struct target *target, struct span value, uint8_t what)
{
    ProtobufCMessage *message;
    use_workflow(target, value);
    if (message_unpack(&daa__workflow_document__descriptor, value, &target->arena, &message) < 0 ||
        message->n_unknown_fields > 0)
        return;
    put_right(target, (Daa__WorkflowDocument *)message, what);
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);
    CHECK(bytes != NULL);
    protobuf_c_message_pack(message, bytes);
    use_workflow(target, span_of(bytes, size));
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct target target;
    struct document_totals totals;
    if (size < 2)
        return 0;
    struct span value = span_of(input + 2, size - 2);
    open_target(&target);
    const uint8_t *digest = target.flow->digest;
    struct document_key keys[] = {
        document_workflow_key(7),        document_active_key(7),
        document_definition_key(digest), document_idempotency_key(digest),
        document_usage_key(digest),      document_agent_key(),
    };
    unsigned which = input[0] % (sizeof keys / sizeof keys[0]);
    if (which == 0)
        fuzz_workflow(&target, value, input[1]);
    else
        load(&target, &keys[which], value);
    (void)document_totals(value, &totals);
    close_target(&target);
    return 0;
}
