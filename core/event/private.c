#include "core/event/private.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"
#include "core/event/fields.h"

#include <string.h>

#define OVERHEAD (AEAD_NONCE_SIZE + AEAD_TAG_SIZE)
#define PRIVATE_FIELDS_MAX 8u

/* The fields of a body that may be private, in the order of its descriptor. */
struct private_fields {
    const ProtobufCFieldDescriptor *fields[PRIVATE_FIELDS_MAX];
    unsigned count;
};

static struct private_fields fields_of(const ProtobufCMessage *body)
{
    struct private_fields fields = { .count = 0 };
    for (unsigned i = 0; i < body->descriptor->n_fields; i++) {
        if (!field_is_private(&body->descriptor->fields[i]))
            continue;
        CHECK(fields.count < PRIVATE_FIELDS_MAX);
        fields.fields[fields.count++] = &body->descriptor->fields[i];
    }
    return fields;
}

/*--- Encrypting --------------------------------------------------------------------------------*/

/* Bytes of the private fields that are there; false: there are none. */
static bool measure(const ProtobufCMessage *body, const struct private_fields *fields, size_t *size)
{
    bool any = false;
    *size = 0;
    for (unsigned i = 0; i < fields->count; i++) {
        const ProtobufCBinaryData *value = field_value(body, fields->fields[i]);
        if (value == NULL)
            continue;
        *size += value->len;
        any = true;
    }
    return any;
}

/* Moves the private fields out of the body. */
static void gather(ProtobufCMessage *body, const struct private_fields *fields, uint8_t *to,
                   uint32_t *sizes)
{
    for (unsigned i = 0; i < fields->count; i++) {
        const ProtobufCBinaryData *value = field_value(body, fields->fields[i]);
        if (value == NULL)
            continue;
        if (value->len > 0)
            memcpy(to, value->data, value->len);
        to += value->len;
        sizes[i] = (uint32_t)value->len + 1;
        field_set(body, fields->fields[i], NULL, 0);
    }
}

Daa__Event *event_withhold(const Daa__Event *event, struct arena *arena)
{
    const ProtobufCMessage *body = event_body(event);
    struct private_fields fields = fields_of(body);
    size_t size, body_size = body->descriptor->sizeof_message;
    if (!measure(body, &fields, &size))
        return (Daa__Event *)(uintptr_t)event;
    Daa__Event *withheld = arena_allocate(arena, sizeof *withheld);
    ProtobufCMessage *rest = arena_allocate(arena, body_size);
    uint32_t *sizes = arena_allocate(arena, fields.count * sizeof *sizes);
    uint8_t *bytes = arena_allocate(arena, size + OVERHEAD);
    if (withheld == NULL || rest == NULL || sizes == NULL || bytes == NULL)
        return NULL;
    memcpy(rest, body, body_size);
    gather(rest, &fields, bytes + AEAD_NONCE_SIZE, sizes);
    *withheld = *event;
    withheld->agent_registered = (void *)rest;
    withheld->schema = EVENT_SCHEMA_ENCRYPTED;
    withheld->n_private_sizes = fields.count;
    withheld->private_sizes = sizes;
    withheld->has_encrypted = 1;
    withheld->encrypted = (ProtobufCBinaryData){ size + OVERHEAD, bytes };
    return withheld;
}

/* What the tag vouches for beside the bytes: the event's place, and how they are divided. */
#define CONTEXT_SIZE_MAX (24u + PRIVATE_FIELDS_MAX * 4u)
static struct span context_of(uint8_t bytes[CONTEXT_SIZE_MAX], const struct event_header *header,
                              const Daa__Event *event)
{
    size_t size = 24;
    bytes_put_u64(bytes, header->seq);
    bytes_put_u64(bytes + 8, header->stream);
    bytes_put_u32(bytes + 16, header->kind);
    bytes_put_u32(bytes + 20, header->key_id);
    for (size_t i = 0; i < event->n_private_sizes; i++, size += 4)
        bytes_put_u32(bytes + size, event->private_sizes[i]);
    return span_of(bytes, size);
}

void event_encrypt(Daa__Event *withheld, const struct event_header *header,
                   const uint8_t key[AEAD_KEY_SIZE], const uint8_t nonce[AEAD_NONCE_SIZE])
{
    uint8_t context[CONTEXT_SIZE_MAX];
    if (!event_is_withheld(withheld))
        return;
    uint8_t *bytes = withheld->encrypted.data;
    size_t size = withheld->encrypted.len - OVERHEAD;
    memcpy(bytes, nonce, AEAD_NONCE_SIZE);
    aead_encrypt(key, nonce, context_of(context, header, withheld), bytes + AEAD_NONCE_SIZE, size,
                 bytes + AEAD_NONCE_SIZE + size);
}

/*--- Opening -----------------------------------------------------------------------------------*/

bool event_is_withheld(const Daa__Event *event)
{
    return event->has_encrypted;
}

int event_check_private(const Daa__Event *event)
{
    const ProtobufCMessage *body = event_body(event);
    uint64_t sum = OVERHEAD;
    if (!event->has_encrypted)
        return event->n_private_sizes == 0 ? 0 : ERROR_DAMAGED;
    struct private_fields fields = fields_of(body);
    if (fields.count == 0 || event->n_private_sizes != fields.count)
        return ERROR_DAMAGED;
    for (unsigned i = 0; i < fields.count; i++) {
        sum += event->private_sizes[i] > 0 ? event->private_sizes[i] - 1 : 0;
        if (field_value(body, fields.fields[i]) != NULL)
            return ERROR_DAMAGED;
    }
    return sum == event->encrypted.len ? 0 : ERROR_DAMAGED;
}

/* Puts the private fields back into the body. */
static void scatter(Daa__Event *event, uint8_t *from)
{
    ProtobufCMessage *body = event_body(event);
    struct private_fields fields = fields_of(body);
    for (unsigned i = 0; i < fields.count; i++) {
        size_t size = event->private_sizes[i];
        if (size == 0)
            continue;
        field_set(body, fields.fields[i], from, size - 1);
        from += size - 1;
    }
    event->has_encrypted = 0;
    event->encrypted = (ProtobufCBinaryData){ 0, NULL };
    event->n_private_sizes = 0;
    event->private_sizes = NULL;
}

static int decrypt(Daa__Event *event, const struct event_header *header,
                   const struct event_keys *keys)
{
    uint8_t key[AEAD_KEY_SIZE], context[CONTEXT_SIZE_MAX];
    uint8_t *bytes = event->encrypted.data;
    size_t size = event->encrypted.len - OVERHEAD;
    int result = keys->find(keys->context, header->key_id, key);
    if (result == ERROR_NOT_FOUND)
        return 0;
    if (result < 0)
        return result;
    bool good = aead_decrypt(key, bytes, context_of(context, header, event),
                             bytes + AEAD_NONCE_SIZE, size, bytes + AEAD_NONCE_SIZE + size);
    explicit_bzero(key, sizeof key);
    if (!good)
        return ERROR_DAMAGED;
    scatter(event, bytes + AEAD_NONCE_SIZE);
    return 0;
}

int event_open(const struct event_header *header, struct span payload,
               const struct event_keys *keys, struct arena *arena, Daa__Event **event)
{
    int result = event_unpack(header->kind, payload, arena, event);
    if (result < 0 || !event_is_withheld(*event) || keys == NULL || keys->context == NULL)
        return result;
    result = header->key_id == 0 ? ERROR_DAMAGED : decrypt(*event, header, keys);
    if (result == 0)
        result = event_check(header->kind, *event);
    if (result < 0)
        *event = NULL;
    return result;
}

/* JSON for JSON, and for the rest what its checks let pass. */
static void fill_blank(uint8_t *bytes, size_t size, const ProtobufCFieldDescriptor *field)
{
    enum content content = field_content(field);
    memset(bytes, content == CONTENT_DIGEST ? 0 : ' ', size);
    if (content == CONTENT_JSON)
        memcpy(bytes, size < 4 ? "0" : "null", size < 4 ? size > 0 : 4);
}

int event_blank(Daa__Event *event, struct arena *arena)
{
    if (!event_is_withheld(event))
        return 0;
    struct private_fields fields = fields_of(event_body(event));
    uint8_t *bytes = arena_allocate(arena, event->encrypted.len), *at = bytes;
    if (bytes == NULL)
        return ERROR_BUDGET;
    for (unsigned i = 0; i < fields.count; i++) {
        size_t size = event->private_sizes[i] > 0 ? event->private_sizes[i] - 1 : 0;
        fill_blank(at, size, fields.fields[i]);
        at += size;
    }
    scatter(event, bytes);
    return 0;
}
