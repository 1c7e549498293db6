#include "core/event/privacy.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"
#include "core/event/fields.h"

#include <string.h>

/*--- The row of private fields -----------------------------------------------------------------*/

/* Called for each, in order. False ends it. */
typedef bool each_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                        void *context);

static bool walk(const ProtobufCMessage *message, each_field *each, void *context)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const void *value;
        if (field_is_private(field)) {
            if (!each((ProtobufCMessage *)(uintptr_t)message, field, context))
                return false;
        } else if (field->label == PROTOBUF_C_LABEL_REPEATED &&
                   field->type == PROTOBUF_C_TYPE_MESSAGE &&
                   (value = field_value(message, field)) != NULL) {
            ProtobufCMessage *const *messages = *(ProtobufCMessage *const *const *)value;
            for (size_t j = 0; j < field_count(message, field); j++)
                if (!walk(messages[j], each, context))
                    return false;
        }
    }
    return true;
}

struct sums {
    size_t fields, there, bytes;
};

static bool add_up(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, void *context)
{
    struct sums *sums = context;
    const ProtobufCBinaryData *value = field_value(message, field);
    sums->fields++;
    sums->there += value != NULL;
    sums->bytes += value != NULL ? value->len : 0;
    return true;
}

static struct sums sums_of(const ProtobufCMessage *message)
{
    struct sums sums = { 0 };
    (void)walk(message, add_up, &sums);
    return sums;
}

bool privacy_wanted(const ProtobufCMessage *message)
{
    return sums_of(message).there > 0;
}

/*--- Out of the message and back ---------------------------------------------------------------*/

struct cursor {
    const struct privacy *privacy;
    uint8_t *bytes;
    size_t index;
};

static bool take(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, void *context)
{
    struct cursor *cursor = context;
    const ProtobufCBinaryData *value = field_value(message, field);
    uint32_t *size = &cursor->privacy->sizes[cursor->index++];
    if (value == NULL)
        return true;
    *size = (uint32_t)value->len + 1;
    if (value->len > 0)
        memcpy(cursor->bytes, value->data, value->len);
    cursor->bytes += value->len;
    field_set(message, field, NULL, 0);
    return true;
}

int privacy_take(ProtobufCMessage *message, struct arena *arena, struct privacy *privacy)
{
    struct sums sums = sums_of(message);
    size_t size = sums.bytes + PRIVACY_OVERHEAD;
    *privacy = (struct privacy){ .count = sums.fields };
    privacy->sizes = arena_allocate(arena, sums.fields * sizeof *privacy->sizes);
    privacy->encrypted = (ProtobufCBinaryData){ size, arena_allocate(arena, size) };
    if (privacy->sizes == NULL || privacy->encrypted.data == NULL)
        return ERROR_BUDGET;
    struct cursor cursor = { privacy, privacy->encrypted.data + AEAD_NONCE_SIZE, 0 };
    (void)walk(message, take, &cursor);
    return 0;
}

static bool give(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, void *context)
{
    struct cursor *cursor = context;
    if (cursor->index == cursor->privacy->count)
        return false;
    uint32_t size = cursor->privacy->sizes[cursor->index++];
    if (size == 0)
        return true;
    field_set(message, field, cursor->bytes, size - 1);
    cursor->bytes += size - 1;
    return true;
}

void privacy_give(ProtobufCMessage *message, const struct privacy *privacy)
{
    struct cursor cursor = { privacy, privacy->encrypted.data + AEAD_NONCE_SIZE, 0 };
    (void)walk(message, give, &cursor);
}

int privacy_check(const ProtobufCMessage *message, const struct privacy *privacy)
{
    struct sums sums = sums_of(message);
    uint64_t bytes = PRIVACY_OVERHEAD;
    for (size_t i = 0; i < privacy->count; i++)
        bytes += privacy->sizes[i] > 0 ? privacy->sizes[i] - 1 : 0;
    if (sums.there > 0 || privacy->count == 0 || bytes != privacy->encrypted.len)
        return ERROR_DAMAGED;
    return privacy->count <= sums.fields ? 0 : ERROR_NEWER;
}

/*--- Encrypting --------------------------------------------------------------------------------*/

/* What the tag vouches for beside the bytes: their place, and how they are divided. Of a digest,
 * since the sizes may be many. */
static void context_of(uint8_t digest[SHA256_SIZE], const struct privacy *privacy,
                       struct span place)
{
    struct sha256 sha256;
    uint8_t number[4];
    sha256_init(&sha256);
    sha256_more(&sha256, place.bytes, place.size);
    for (size_t i = 0; i < privacy->count; i++) {
        bytes_put_u32(number, privacy->sizes[i]);
        sha256_more(&sha256, number, sizeof number);
    }
    sha256_end(&sha256, digest);
}

static struct span bytes_of(const struct privacy *privacy)
{
    return span_of(privacy->encrypted.data + AEAD_NONCE_SIZE,
                   privacy->encrypted.len - PRIVACY_OVERHEAD);
}

void privacy_encrypt(struct privacy *privacy, const uint8_t key[AEAD_KEY_SIZE],
                     const uint8_t nonce[AEAD_NONCE_SIZE], struct span place)
{
    uint8_t context[SHA256_SIZE], *bytes = privacy->encrypted.data;
    size_t size = bytes_of(privacy).size;
    context_of(context, privacy, place);
    memcpy(bytes, nonce, AEAD_NONCE_SIZE);
    aead_encrypt(key, nonce, span_of(context, sizeof context), bytes + AEAD_NONCE_SIZE, size,
                 bytes + AEAD_NONCE_SIZE + size);
}

void privacy_encrypt_again(struct privacy *privacy, const uint8_t key[AEAD_KEY_SIZE],
                           struct span place)
{
    uint8_t context[SHA256_SIZE], nonce[AEAD_NONCE_SIZE];
    context_of(context, privacy, place);
    aead_synthetic_nonce(key, span_of(context, sizeof context), bytes_of(privacy), nonce);
    privacy_encrypt(privacy, key, nonce, place);
}

bool privacy_decrypt(struct privacy *privacy, const uint8_t key[AEAD_KEY_SIZE], struct span place)
{
    uint8_t context[SHA256_SIZE], *bytes = privacy->encrypted.data;
    size_t size = bytes_of(privacy).size;
    context_of(context, privacy, place);
    return aead_decrypt(key, bytes, span_of(context, sizeof context), bytes + AEAD_NONCE_SIZE, size,
                        bytes + AEAD_NONCE_SIZE + size);
}

void privacy_wipe(struct privacy *privacy)
{
    memset(privacy->encrypted.data, 0, privacy->encrypted.len);
}

bool privacy_is_wiped(const struct privacy *privacy)
{
    return bytes_are_zero(privacy->encrypted.data, privacy->encrypted.len);
}

/*--- Without the key ---------------------------------------------------------------------------*/

static bool blank(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, void *context)
{
    struct cursor *cursor = context;
    uint8_t *bytes = cursor->bytes;
    bool more = give(message, field, context);
    size_t size = (size_t)(cursor->bytes - bytes);
    enum content content = field_content(field);
    memset(bytes, content == CONTENT_DIGEST ? 0 : ' ', size);
    if (content == CONTENT_JSON)
        memcpy(bytes, size < 4 ? "0" : "null", size < 4 ? size > 0 : 4);
    return more;
}

int privacy_blank(ProtobufCMessage *message, const struct privacy *privacy, struct arena *arena)
{
    uint8_t *bytes = arena_allocate(arena, privacy->encrypted.len);
    struct cursor cursor = { privacy, bytes, 0 };
    if (bytes == NULL)
        return ERROR_BUDGET;
    (void)walk(message, blank, &cursor);
    return 0;
}
