#include "core/event/fields.h"

#include "core/base/check.h"

#include <string.h>

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);
    return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

/* Asked of every field of whatever is written and read: most differ in the first letter. */
static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (name[0] == names[i][0] && strcmp(name, names[i]) == 0)
            return true;
    return false;
}

enum content field_content(const ProtobufCFieldDescriptor *field)
{
    static const char *const json[] = { "input", "metadata", "output", "payload", "source" };
    if (is_one_of(field->name, json, sizeof json / sizeof json[0]))
        return CONTENT_JSON;
    if (strcmp(field->name, "definition") == 0 || ends_with(field->name, "digest") ||
        strcmp(field->name, "chain") == 0 || strcmp(field->name, "merkle_root") == 0 ||
        strcmp(field->name, "public_key") == 0)
        return CONTENT_DIGEST;
    if (strcmp(field->name, "signature") == 0)
        return CONTENT_SIGNATURE;
    if (strcmp(field->name, "boot_id") == 0 || strcmp(field->name, "log_uuid") == 0 ||
        strcmp(field->name, "keyring") == 0)
        return CONTENT_ID;
    if (strcmp(field->name, "encrypted") == 0)
        return CONTENT_ENCRYPTED;
    return CONTENT_TEXT;
}

/* `key_digest` and `dedup_digest` stay: the state finds what was sent before by them. */
bool field_is_private(const ProtobufCFieldDescriptor *field)
{
    static const char *const names[] = {
        "input", "metadata", "output", "payload", "error", "reason", "key", "request_digest",
    };
    return field->type == PROTOBUF_C_TYPE_BYTES && field->label == PROTOBUF_C_LABEL_OPTIONAL &&
           is_one_of(field->name, names, sizeof names / sizeof names[0]);
}

/* A time, unless it is one of the few that say how long. */
bool field_name_is_time(const char *name)
{
    return ends_with(name, "_ns") && strcmp(name, "key_ttl_ns") != 0 &&
           strcmp(name, "shift_ns") != 0;
}

const void *field_value(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const uint8_t *base = (const uint8_t *)message;
    const void *value = base + field->offset;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        const uint32_t *which = (const void *)(base + field->quantifier_offset);
        return *which == field->id ? value : NULL;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)(const void *)(base + field->quantifier_offset) > 0 ? value : NULL;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(ProtobufCMessage *const *)value != NULL ? value : NULL;
    const protobuf_c_boolean *has = (const void *)(base + field->quantifier_offset);
    return *has ? value : NULL;
}

size_t field_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const uint8_t *count = (const uint8_t *)message + field->quantifier_offset;
    CHECK(field->label == PROTOBUF_C_LABEL_REPEATED);
    return *(const size_t *)(const void *)count;
}

void field_set(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, uint8_t *bytes,
               size_t size)
{
    uint8_t *base = (uint8_t *)message;
    CHECK(field->type == PROTOBUF_C_TYPE_BYTES && field->label == PROTOBUF_C_LABEL_OPTIONAL);
    *(protobuf_c_boolean *)(void *)(base + field->quantifier_offset) = bytes != NULL;
    *(ProtobufCBinaryData *)(void *)(base + field->offset) = (ProtobufCBinaryData){ size, bytes };
}

ProtobufCMessage *event_body(const Daa__Event *event)
{
    return event->body_case == DAA__EVENT__BODY__NOT_SET ? NULL : &event->agent_registered->base;
}
