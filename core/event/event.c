#include "core/event/event.h"

#include "core/base/check.h"
#include "core/base/ed25519.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/sha256.h"
#include "core/base/utf8.h"
#include "core/event/fields.h"
#include "core/event/message.h"
#include "core/event/private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    uint16_t kind;
    const char *name;
} kinds[] = {
    { DAA__EVENT__BODY_AGENT_REGISTERED, "agent.registered" },
    { DAA__EVENT__BODY_AGENT_STOPPED, "agent.stopped" },
    { DAA__EVENT__BODY_DEFINITION_INSTALLED, "definition.installed" },
    { DAA__EVENT__BODY_WORKFLOW_SUBMITTED, "workflow.submitted" },
    { DAA__EVENT__BODY_WORKFLOW_STARTED, "workflow.started" },
    { DAA__EVENT__BODY_WORKFLOW_COMPLETED, "workflow.completed" },
    { DAA__EVENT__BODY_WORKFLOW_FAILED, "workflow.failed" },
    { DAA__EVENT__BODY_WORKFLOW_CANCELLED, "workflow.cancelled" },
    { DAA__EVENT__BODY_WORKFLOW_PAUSED, "workflow.paused" },
    { DAA__EVENT__BODY_WORKFLOW_RESUMED, "workflow.resumed" },
    { DAA__EVENT__BODY_STEP_STARTED, "step.started" },
    { DAA__EVENT__BODY_STEP_COMPLETED, "step.completed" },
    { DAA__EVENT__BODY_STEP_FAILED, "step.failed" },
    { DAA__EVENT__BODY_STEP_RETRY_SCHEDULED, "step.retry_scheduled" },
    { DAA__EVENT__BODY_STEP_SKIPPED, "step.skipped" },
    { DAA__EVENT__BODY_STEP_UNCERTAIN, "step.uncertain" },
    { DAA__EVENT__BODY_STEP_RESOLVED, "step.resolved" },
    { DAA__EVENT__BODY_STEP_SPAWNED, "step.spawned" },
    { DAA__EVENT__BODY_TIMER_SET, "timer.set" },
    { DAA__EVENT__BODY_TIMER_FIRED, "timer.fired" },
    { DAA__EVENT__BODY_SIGNAL_RECEIVED, "signal.received" },
    { DAA__EVENT__BODY_CLOCK_STEPPED, "clock.stepped" },
    { DAA__EVENT__BODY_STATE_SNAPSHOT, "state.snapshot" },
    { DAA__EVENT__BODY_STORAGE_REMOVED, "storage.removed" },
    { DAA__EVENT__BODY_LOG_ANCHORED, "log.anchored" },
    { DAA__EVENT__BODY_KEYS_EXPIRED, "keys.expired" },
    { DAA__EVENT__BODY_WORKFLOWS_EXPIRED, "workflows.expired" },
    { DAA__EVENT__BODY_WORKFLOWS_ERASED, "workflows.erased" },
};

enum { KIND_COUNT = sizeof kinds / sizeof kinds[0] };

const char *event_kind_name(uint16_t kind)
{
    for (int i = 0; i < KIND_COUNT; i++)
        if (kinds[i].kind == kind)
            return kinds[i].name;
    return NULL;
}

uint16_t event_kind_of_name(struct span name)
{
    for (int i = 0; i < KIND_COUNT; i++)
        if (span_is(name, kinds[i].name))
            return kinds[i].kind;
    return 0;
}

uint16_t event_kind(const Daa__Event *event)
{
    return (uint16_t)event->body_case;
}

ProtobufCBinaryData data_of_span(struct span span)
{
    return (ProtobufCBinaryData){ span.size, (uint8_t *)(uintptr_t)span.bytes };
}

size_t event_size(const Daa__Event *event)
{
    return daa__event__get_packed_size(event);
}

void event_pack(const Daa__Event *event, uint8_t *target)
{
    (void)daa__event__pack(event, target);
}

/*--- Names of enums --------------------------------------------------------------------------*/

const char *workflow_status_name(int status)
{
    static const char *const names[] = { "unknown",   "pending", "running",  "paused",
                                         "completed", "failed",  "cancelled" };
    return status > 0 && status < (int)(sizeof names / sizeof names[0]) ? names[status] : names[0];
}

const char *step_status_name(int status)
{
    static const char *const names[] = { "unknown",  "blocked", "ready",     "running",
                                         "sleeping", "waiting", "backoff",   "completed",
                                         "failed",   "skipped", "uncertain", "cancelled" };
    return status > 0 && status < (int)(sizeof names / sizeof names[0]) ? names[status] : names[0];
}

const char *outcome_name(int outcome)
{
    static const char *const names[] = { "unknown", "done", "not_done", "unknown" };
    return outcome > 0 && outcome < (int)(sizeof names / sizeof names[0]) ? names[outcome]
                                                                          : names[0];
}

/*--- Unpacking -------------------------------------------------------------------------------*/

static int check_bytes(const ProtobufCFieldDescriptor *field, const ProtobufCBinaryData *data)
{
    switch (field_content(field)) {
    case CONTENT_DIGEST:
        return data->len == SHA256_SIZE ? 0 : ERROR_DAMAGED;
    case CONTENT_ID:
        return data->len == 16 ? 0 : ERROR_DAMAGED;
    case CONTENT_SIGNATURE:
        return data->len == ED25519_SIGNATURE_SIZE ? 0 : ERROR_DAMAGED;
    case CONTENT_ENCRYPTED:
        return 0;
    case CONTENT_TEXT:
    case CONTENT_JSON:
        break;
    }
    return utf8_is_valid(span_of_data(*data)) ? 0 : ERROR_DAMAGED;
}

/* Its own fields and those of messages repeated in it; a single message is for the caller. */
static int check_fields(const ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const void *value = field_value(message, field);
        int result = 0;
        if (value == NULL)
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED && field->type == PROTOBUF_C_TYPE_MESSAGE)
            for (size_t j = 0; result == 0 && j < field_count(message, field); j++)
                result = check_fields((*(ProtobufCMessage *const *const *)value)[j]);
        else if (field->type == PROTOBUF_C_TYPE_BYTES)
            result = check_bytes(field, value);
        else if (field->type == PROTOBUF_C_TYPE_ENUM &&
                 protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)value) ==
                     NULL)
            result = ERROR_NEWER;
        if (result < 0)
            return result;
    }
    return 0;
}

int event_check(uint16_t kind, const Daa__Event *event)
{
    if (!event->has_schema || event->schema == 0)
        return ERROR_DAMAGED;
    if (event->schema > EVENT_SCHEMA_NEWEST)
        return ERROR_NEWER;
    const ProtobufCMessage *body = event_body(event);
    if (body == NULL || event_kind(event) != kind)
        return ERROR_DAMAGED;
    int result = event_check_private(event);
    if (result == 0)
        result = check_fields(&event->base);
    if (result == 0 && event->actor != NULL)
        result = check_fields(&event->actor->base);
    return result < 0 ? result : check_fields(body);
}

int event_unpack(uint16_t kind, struct span payload, struct arena *arena, Daa__Event **event)
{
    *event = NULL;
    if (event_kind_name(kind) == NULL)
        return ERROR_NEWER;
    ProtobufCMessage *message;
    int result = message_unpack(&daa__event__descriptor, payload, arena, &message);
    if (result < 0)
        return result;
    Daa__Event *unpacked = (Daa__Event *)message;
    result = event_check(kind, unpacked);
    if (result == 0)
        *event = unpacked;
    return result;
}

/*--- JSON ------------------------------------------------------------------------------------*/

/* "STEP_RETRY_SCHEDULED" of enum StepStatus is "retry_scheduled"; nested enums have no prefix. */
static void enum_to_json(const ProtobufCEnumDescriptor *type, int value, const char *key,
                         struct text *text)
{
    char name[48];
    size_t size = 0;
    const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(type, value);
    if (known == NULL) {
        text_json_integer(text, key, value);
        return;
    }
    const char *from = known->name;
    if (strcmp(type->short_name, "Type") != 0 && strchr(from, '_') != NULL)
        from = strchr(from, '_') + 1;
    for (; *from != '\0' && size < sizeof name; from++, size++)
        name[size] = (char)(*from >= 'A' && *from <= 'Z' ? *from - 'A' + 'a' : *from);
    text_json_string(text, key, span_of(name, size));
}

static void bytes_to_json(const ProtobufCFieldDescriptor *field, struct span bytes,
                          struct arena *arena, struct text *text)
{
    struct json json;
    switch (field_content(field)) {
    case CONTENT_DIGEST:
    case CONTENT_ID:
    case CONTENT_SIGNATURE:
        text_json_hex(text, field->name, bytes);
        return;
    case CONTENT_JSON:
        if (json_parse(&json, arena, bytes, NULL) == 0) {
            text_json_raw(text, field->name, json_text(&json, 0));
            return;
        }
        break;
    case CONTENT_ENCRYPTED: /* shown as a whole, by event_to_json() */
    case CONTENT_TEXT:
        break;
    }
    text_json_string(text, field->name, bytes);
}

static void unsigned_to_json(const char *name, uint64_t value, struct text *text)
{
    char time[32];
    text_json_unsigned(text, name, value);
    if (field_name_is_time(name)) {
        (void)snprintf(time, sizeof time, "%.*s", (int)(strlen(name) - 3), name);
        text_json_time(text, time, value);
    }
}

static void field_to_json(const ProtobufCFieldDescriptor *field, const void *value,
                          struct arena *arena, struct text *text)
{
    if (field->type == PROTOBUF_C_TYPE_BYTES)
        bytes_to_json(field, span_of_data(*(const ProtobufCBinaryData *)value), arena, text);
    else if (field->type == PROTOBUF_C_TYPE_ENUM)
        enum_to_json(field->descriptor, *(const int *)value, field->name, text);
    else if (field->type == PROTOBUF_C_TYPE_UINT32)
        text_json_unsigned(text, field->name, *(const uint32_t *)value);
    else if (field->type == PROTOBUF_C_TYPE_UINT64)
        unsigned_to_json(field->name, *(const uint64_t *)value, text);
    else if (field->type == PROTOBUF_C_TYPE_SINT64)
        text_json_integer(text, field->name, *(const int64_t *)value);
}

static void message_to_json(const ProtobufCMessage *message, const char *key, struct arena *arena,
                            struct text *text);

static void messages_to_json(const ProtobufCFieldDescriptor *field,
                             ProtobufCMessage *const *messages, size_t count, struct arena *arena,
                             struct text *text)
{
    text_json_open_array(text, field->name);
    for (size_t i = 0; i < count; i++)
        message_to_json(messages[i], NULL, arena, text);
    text_json_close_array(text);
}

/* Fields that a newer version knows are shown as they are. */
static void message_to_json(const ProtobufCMessage *message, const char *key, struct arena *arena,
                            struct text *text)
{
    char name[24];
    text_json_open_object(text, key);
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const void *value = field_value(message, field);
        if (value != NULL && field->label == PROTOBUF_C_LABEL_REPEATED)
            messages_to_json(field, *(ProtobufCMessage *const *const *)value,
                             field_count(message, field), arena, text);
        else if (value != NULL)
            field_to_json(field, value, arena, text);
    }
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *unknown = &message->unknown_fields[i];
        (void)snprintf(name, sizeof name, "field_%" PRIu32 "_%u", unknown->tag, i);
        text_json_hex(text, name, span_of(unknown->data, unknown->len));
    }
    text_json_close_object(text);
}

void event_payload_to_json(const Daa__Event *event, const char *key, struct arena *arena,
                           struct text *text)
{
    message_to_json(event_body(event), key, arena, text);
}

static void withheld_to_json(const Daa__Event *event, uint32_t key_id, struct text *text)
{
    text_json_open_object(text, "withheld");
    text_json_unsigned(text, "key_id", key_id);
    text_json_unsigned(text, "bytes", event->encrypted.len);
    text_json_close_object(text);
}

void event_opened_to_json(const struct event_header *header, struct span payload,
                          const Daa__Event *event, struct arena *arena, struct text *text)
{
    if (event == NULL) {
        text_json_null(text, "actor");
        text_json_open_object(text, "payload");
        text_json_hex(text, "undecoded", payload);
        text_json_close_object(text);
        return;
    }
    if (event->actor != NULL)
        message_to_json(&event->actor->base, "actor", arena, text);
    else
        text_json_null(text, "actor");
    if (event->has_request_id)
        text_json_string(text, "request_id", span_of_data(event->request_id));
    if (event->has_traceparent)
        text_json_string(text, "traceparent", span_of_data(event->traceparent));
    event_payload_to_json(event, "payload", arena, text);
    if (event_is_withheld(event))
        withheld_to_json(event, header->key_id, text);
}

void event_to_json(const struct event_header *header, struct span payload,
                   const struct event_keys *keys, struct arena *arena, struct text *text)
{
    Daa__Event *event;
    if (event_open(header, payload, keys, arena, &event) < 0)
        event = NULL;
    event_opened_to_json(header, payload, event, arena, text);
}
