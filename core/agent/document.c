#include "core/agent/document.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"
#include "core/base/id.h"
#include "core/event/event.h"
#include "core/event/message.h"
#include "core/event/privacy.h"
#include "core/flow/flow.h"

#include <string.h>

/*--- Keys --------------------------------------------------------------------------------------*/

static struct document_key key_of(char kind, const void *bytes, size_t size)
{
    struct document_key key = { .size = (uint8_t)(1 + size) };
    CHECK(1 + size <= sizeof key.bytes);
    key.bytes[0] = (uint8_t)kind;
    if (size > 0)
        memcpy(key.bytes + 1, bytes, size);
    return key;
}

/* Two parts after the kind: a number as keys have it, then bytes. */
static struct document_key key_of_number(char kind, uint64_t number, const void *bytes, size_t size)
{
    uint8_t parts[DOCUMENT_KEY_SIZE_MAX];
    uint64_t sorted = __builtin_bswap64(number);
    memcpy(parts, &sorted, sizeof sorted);
    if (size > 0)
        memcpy(parts + sizeof sorted, bytes, size);
    return key_of(kind, parts, sizeof sorted + size);
}

static uint64_t number_at(struct span key, size_t at)
{
    uint64_t number;
    memcpy(&number, key.bytes + at, sizeof number);
    return __builtin_bswap64(number);
}

struct document_key document_workflow_key(uint64_t stream)
{
    return key_of_number('w', stream, NULL, 0);
}

struct document_key document_active_key(uint64_t stream)
{
    return key_of_number('a', stream, NULL, 0);
}

struct document_key document_definition_key(const uint8_t digest[SHA256_SIZE])
{
    return key_of('d', digest, SHA256_SIZE);
}

struct document_key document_usage_key(const uint8_t digest[SHA256_SIZE])
{
    return key_of('u', digest, SHA256_SIZE);
}

struct document_key document_idempotency_key(const uint8_t digest[SHA256_SIZE])
{
    return key_of('k', digest, SHA256_SIZE);
}

struct document_key document_expiry_key(uint64_t expires_ns, const uint8_t digest[SHA256_SIZE])
{
    return key_of_number('x', expires_ns, digest, SHA256_SIZE);
}

struct document_key document_finished_key(uint64_t ended_ns, uint64_t stream)
{
    uint64_t sorted = __builtin_bswap64(stream);
    return key_of_number('f', ended_ns, &sorted, sizeof sorted);
}

struct document_key document_erased_key(uint32_t key_id)
{
    return key_of_number('e', key_id, NULL, 0);
}

struct document_key document_agent_key(void)
{
    return key_of('g', NULL, 0);
}

bool document_stream_of_key(struct span key, uint64_t *stream)
{
    if (key.size != 9 || (key.bytes[0] != 'w' && key.bytes[0] != 'a'))
        return false;
    *stream = number_at(key, 1);
    return true;
}

bool document_erased_of_key(struct span key, uint32_t *key_id)
{
    if (key.size != 9 || key.bytes[0] != 'e' || number_at(key, 1) > UINT32_MAX)
        return false;
    *key_id = (uint32_t)number_at(key, 1);
    return true;
}

bool document_expiry_of_key(struct span key, uint64_t *expires_ns, uint8_t digest[SHA256_SIZE])
{
    if (key.size != 9 + SHA256_SIZE || key.bytes[0] != 'x')
        return false;
    *expires_ns = number_at(key, 1);
    memcpy(digest, key.bytes + 9, SHA256_SIZE);
    return true;
}

bool document_finished_of_key(struct span key, uint64_t *ended_ns, uint64_t *stream)
{
    if (key.size != 17 || key.bytes[0] != 'f')
        return false;
    *ended_ns = number_at(key, 1);
    *stream = number_at(key, 9);
    return true;
}

/*--- Values that are not protobuf --------------------------------------------------------------*/

void document_active_timer_put(uint8_t *value, uint32_t i, uint32_t index, uint64_t due_ns)
{
    bytes_put_u32(value + document_active_size(i), index);
    bytes_put_u64(value + document_active_size(i) + 4, due_ns);
}

int64_t document_active_timers(struct span value)
{
    if (value.size < 1 || (value.size - 1) % DOCUMENT_TIMER_SIZE != 0 ||
        value.bytes[0] > (DOCUMENT_READY | DOCUMENT_RUNNING))
        return -1;
    return (int64_t)((value.size - 1) / DOCUMENT_TIMER_SIZE);
}

void document_active_timer_get(struct span value, uint32_t i, uint32_t *index, uint64_t *due_ns)
{
    *index = bytes_get_u32(value.bytes + document_active_size(i));
    *due_ns = bytes_get_u64(value.bytes + document_active_size(i) + 4);
}

void document_finished_encode(uint8_t value[DOCUMENT_FINISHED_SIZE],
                              const struct document_finished *finished)
{
    bytes_put_u64(value, finished->size);
    value[8] = finished->settled;
    memcpy(value + 9, finished->definition, SHA256_SIZE);
}

bool document_finished_decode(struct span value, struct document_finished *finished)
{
    if (value.size != DOCUMENT_FINISHED_SIZE || value.bytes[8] > 1)
        return false;
    finished->size = bytes_get_u64(value.bytes);
    finished->settled = value.bytes[8] == 1;
    memcpy(finished->definition, value.bytes + 9, SHA256_SIZE);
    return true;
}

/*--- What is encrypted -------------------------------------------------------------------------*/

/* Not the stream: no two have the same key. */
static struct span place_of(const Daa__WorkflowDocument *document, uint8_t bytes[12])
{
    memcpy(bytes, "document", 8);
    bytes_put_u32(bytes + 8, (uint32_t)document->key_id);
    return span_of(bytes, 12);
}

int document_workflow_encrypt(Daa__WorkflowDocument *document, const uint8_t *key,
                              struct arena *arena)
{
    struct privacy privacy;
    uint8_t place[12];
    if (!privacy_wanted(&document->base))
        return 0;
    int result = privacy_take(&document->base, arena, &privacy);
    if (result < 0)
        return result;
    if (key != NULL)
        privacy_encrypt_again(&privacy, key, place_of(document, place));
    else
        privacy_wipe(&privacy);
    document->has_encrypted = 1;
    document->encrypted = privacy.encrypted;
    document->private_sizes = privacy.sizes;
    document->n_private_sizes = privacy.count;
    return 0;
}

int document_workflow_decrypt(Daa__WorkflowDocument *document, const uint8_t *key,
                              struct arena *arena)
{
    struct privacy privacy = { document->encrypted, document->private_sizes,
                               document->n_private_sizes };
    uint8_t place[12];
    if (!document->has_encrypted)
        return privacy.count == 0 ? 0 : ERROR_DAMAGED;
    int result = privacy_check(&document->base, &privacy);
    if (result < 0)
        return result;
    document->has_encrypted = 0;
    document->encrypted = (ProtobufCBinaryData){ 0, NULL };
    document->private_sizes = NULL;
    document->n_private_sizes = 0;
    if (key == NULL || privacy_is_wiped(&privacy))
        return privacy_blank(&document->base, &privacy, arena);
    if (!privacy_decrypt(&privacy, key, place_of(document, place)))
        return ERROR_DAMAGED;
    privacy_give(&document->base, &privacy);
    return 0;
}

bool document_workflow_is_wiped(struct span bytes, struct arena *arena)
{
    ProtobufCMessage *message;
    if (message_unpack(&daa__workflow_document__descriptor, bytes, arena, &message) < 0)
        return false;
    const Daa__WorkflowDocument *document = (const Daa__WorkflowDocument *)message;
    return document->has_encrypted &&
           bytes_are_zero(document->encrypted.data, document->encrypted.len);
}

/*--- What the API shows ------------------------------------------------------------------------*/

/* *erased: its key was destroyed. */
static int unpack_workflow(struct span bytes, const struct event_keys *keys, struct arena *arena,
                           Daa__WorkflowDocument **document, bool *erased)
{
    ProtobufCMessage *message;
    uint8_t key[AEAD_KEY_SIZE];
    int code = message_unpack(&daa__workflow_document__descriptor, bytes, arena, &message);
    if (code < 0)
        return code;
    *document = (Daa__WorkflowDocument *)message;
    if (!(*document)->has_status)
        return ERROR_DAMAGED;
    code = event_key_get(keys, (uint32_t)(*document)->key_id, key);
    if (code < 0)
        return code;
    *erased = code == 0 && (*document)->key_id != 0 && keys != NULL && keys->context != NULL;
    code = document_workflow_decrypt(*document, code == 1 ? key : NULL, arena);
    explicit_bzero(key, sizeof key);
    return code;
}

/* The compiled definition; NULL when there is none or it does not compile any more (then ids and
 * kinds are left out: a document must always be shown). */
static struct flow *flow_of(struct span definition, struct arena *arena)
{
    ProtobufCMessage *message;
    struct flow_problem problem;
    struct flow *flow = NULL;
    if (definition.size == 0 ||
        message_unpack(&daa__definition_document__descriptor, definition, arena, &message) < 0)
        return NULL;
    const Daa__DefinitionDocument *document = (const Daa__DefinitionDocument *)message;
    if (flow_compile(&flow, arena->budget, span_of_data(document->source), &problem) < 0)
        return NULL;
    return flow;
}

static void add_time(struct text *text, const char *key, protobuf_c_boolean has, uint64_t time_ns)
{
    if (has)
        text_json_time(text, key, time_ns);
}

static void add_string(struct text *text, const char *key, protobuf_c_boolean has,
                       ProtobufCBinaryData value)
{
    if (has)
        text_json_string(text, key, span_of_data(value));
}

static void add_json(struct text *text, const char *key, protobuf_c_boolean has,
                     ProtobufCBinaryData value)
{
    if (has)
        text_json_raw(text, key, span_of_data(value));
}

static const char *waiting_for(int status)
{
    switch (status) {
    case DAA__STEP_STATUS__STEP_BLOCKED:
        return "steps";
    case DAA__STEP_STATUS__STEP_RUNNING:
        return "effect";
    case DAA__STEP_STATUS__STEP_SLEEPING:
    case DAA__STEP_STATUS__STEP_BACKOFF:
        return "timer";
    case DAA__STEP_STATUS__STEP_WAITING:
        return "signal";
    case DAA__STEP_STATUS__STEP_UNCERTAIN:
        return "resolve";
    default:
        return NULL;
    }
}

static void add_step(struct text *text, const Daa__StepDocument *step,
                     const struct flow_step *known, uint64_t shift_ns)
{
    text_json_open_object(text, NULL);
    if (known != NULL) {
        text_json_string(text, "id", known->id);
        text_json_cstring(text, "kind", flow_kind_name(known->kind));
    }
    text_json_cstring(text, "status", step_status_name((int)step->status));
    text_json_unsigned(text, "attempts", step->attempt);
    add_time(text, "started", step->has_started_ns, step->started_ns);
    add_time(text, "ended", step->has_ended_ns, step->ended_ns);
    add_time(text, "due", step->has_due_ns && step->due_ns != 0, step->due_ns + shift_ns);
    if (step->has_outcome)
        text_json_cstring(text, "outcome", outcome_name((int)step->outcome));
    if (waiting_for((int)step->status) != NULL)
        text_json_cstring(text, "waiting_for", waiting_for((int)step->status));
    if (known != NULL && known->kind == FLOW_SIGNAL)
        text_json_string(text, "signal", known->signal.name);
    add_json(text, "output", step->has_output, step->output);
    add_string(text, "error", step->has_error, step->error);
    text_json_close_object(text);
}

static void add_steps(struct text *text, const Daa__WorkflowDocument *document,
                      const struct flow *flow, uint64_t shift_ns)
{
    text_json_open_array(text, "steps");
    for (size_t i = 0; i < document->n_steps; i++)
        add_step(text, document->steps[i],
                 flow != NULL && i < flow->step_count ? &flow->steps[i] : NULL, shift_ns);
    text_json_close_array(text);
}

static void add_head(struct text *text, const Daa__WorkflowDocument *document,
                     const struct document_view *view)
{
    char id[WORKFLOW_ID_SIZE];
    workflow_id_to_text(id, view->log_uuid, view->stream);
    text_json_cstring(text, "id", id);
    add_string(text, "name", document->has_name, document->name);
    text_json_cstring(text, "status", workflow_status_name((int)document->status));
    add_string(text, "reason", document->has_reason, document->reason);
    add_string(text, "step", document->has_reason_step, document->reason_step);
    text_json_unsigned(text, "seq", view->stream);
    text_json_unsigned(text, "last_seq", document->last_seq);
    add_time(text, "submitted", document->has_submitted_ns, document->submitted_ns);
    add_time(text, "started", document->has_started_ns, document->started_ns);
    add_time(text, "ended", document->has_ended_ns, document->ended_ns);
    add_json(text, "metadata", document->has_metadata, document->metadata);
}

static int show(struct span bytes, const struct flow *flow, const struct document_view *view,
                struct arena *arena, struct text *text)
{
    Daa__WorkflowDocument *document;
    bool erased;
    int code = unpack_workflow(bytes, view->keys, arena, &document, &erased);
    if (code < 0)
        return code;
    text_json_open_object(text, NULL);
    add_head(text, document, view);
    if (erased)
        text_json_bool(text, "erased", true);
    if (!view->basic) {
        if (document->has_definition)
            text_json_hex(text, "definition", span_of_data(document->definition));
        add_json(text, "input", document->has_input, document->input);
        add_json(text, "output", document->has_output, document->output);
        add_steps(text, document, flow, view->shift_ns);
    }
    text_json_close_object(text);
    return 0;
}

int document_workflow_to_json(struct span bytes, struct span definition,
                              const struct document_view *view, struct arena *arena,
                              struct text *text)
{
    struct flow *flow = view->basic ? NULL : flow_of(definition, arena);
    int code = show(bytes, flow, view, arena, text);
    flow_unref(flow);
    return code;
}

int document_workflow_show(struct span bytes, const struct flow *flow,
                           const struct document_view *view, struct arena *arena, struct text *text)
{
    return show(bytes, flow, view, arena, text);
}

int document_workflow_summary(struct span bytes, const struct event_keys *keys, struct arena *arena,
                              struct document_summary *summary)
{
    bool erased;
    Daa__WorkflowDocument *document;
    int code = unpack_workflow(bytes, keys, arena, &document, &erased);
    if (code < 0)
        return code;
    summary->status = (int)document->status;
    summary->parked =
        document->status == DAA__WORKFLOW_STATUS__WORKFLOW_PAUSED && document->has_reason;
    summary->name = span_of_data(document->name);
    summary->definition = span_of_data(document->definition);
    summary->key = span_of_data(document->key_digest);
    summary->metadata = span_of_data(document->metadata);
    summary->submitted_ns = document->submitted_ns;
    summary->last_seq = document->last_seq;
    summary->key_id = (uint32_t)document->key_id;
    return 0;
}

int document_totals(struct span document, struct document_totals *totals)
{
    Daa__AgentDocument *agent = daa__agent_document__unpack(NULL, document.size, document.bytes);
    *totals = (struct document_totals){ 0 };
    if (agent == NULL)
        return ERROR_DAMAGED;
    totals->finished = agent->finished;
    totals->finished_bytes = agent->finished_bytes;
    totals->keys = agent->keys;
    totals->definitions = agent->definitions;
    daa__agent_document__free_unpacked(agent, NULL);
    return 0;
}
