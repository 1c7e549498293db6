/* An event whose private fields are encrypted, by anybody who has the key: two bytes of kind, one
 * of what is put right, then a payload. It is put right as a writer would have made it: the sizes
 * are those of the encrypted bytes, which are encrypted again, so that what lies behind the tag is
 * reached. Opened with the key, without, and with another, it is refused or whole; one that is
 * withheld is blanked to the same sizes. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"
#include "core/event/message.h"
#include "core/event/privacy.h"
#include "core/event/private.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum { SCHEMA_RIGHT = 1, SIZES_RIGHT = 2, TAG_RIGHT = 4, WITHHELD = 8 };

static const uint8_t key[AEAD_KEY_SIZE] = { 1, 2, 3 }, nonce[AEAD_NONCE_SIZE] = { 4, 5 };

static int find_key(void *context, uint32_t key_id, uint8_t found[AEAD_KEY_SIZE])
{
    memcpy(found, context, AEAD_KEY_SIZE);
    return key_id == 1 ? 0 : ERROR_NOT_FOUND;
}

/* What is left of the encrypted bytes belongs to the last size. */
static void put_sizes_right(Daa__Event *event)
{
    size_t left = event->encrypted.len - PRIVACY_OVERHEAD;
    for (size_t i = 0; i < event->n_private_sizes; i++) {
        uint32_t *size = &event->private_sizes[i];
        bool last = i + 1 == event->n_private_sizes;
        if (last || (*size > 0 && *size - 1 > left))
            *size = (uint32_t)left + 1;
        left -= *size > 0 ? *size - 1 : 0;
    }
}

static void put_right(Daa__Event *event, const struct event_header *header, uint8_t what)
{
    if (what & SCHEMA_RIGHT) {
        event->has_schema = 1;
        event->schema = EVENT_SCHEMA_ENCRYPTED;
    }
    if (!event->has_encrypted || event->encrypted.len < PRIVACY_OVERHEAD)
        return;
    if (what & SIZES_RIGHT)
        put_sizes_right(event);
    if (what & TAG_RIGHT)
        event_encrypt(event, header, key, nonce);
}

/* The size of all private fields is the same, blank or not. */
static void open_one(const struct event_header *header, struct span payload,
                     const struct event_keys *keys, struct budget *budget)
{
    struct arena arena;
    Daa__Event *event;
    arena_init(&arena, budget, BUDGET_READERS, 4096);
    if (event_open(header, payload, keys, &arena, &event) == 0) {
        size_t bytes = event->encrypted.len;
        bool withheld = event_is_withheld(event);
        CHECK(event_check_private(event) == 0);
        CHECK(event_blank(event, &arena) == 0);
        CHECK(!event_is_withheld(event));
        CHECK(!withheld || bytes >= PRIVACY_OVERHEAD);
        (void)event_size(event);
    }
    arena_free(&arena);
}

static void open_each(const struct event_header *header, struct span payload, struct budget *budget)
{
    uint8_t other[AEAD_KEY_SIZE] = { 9 };
    struct event_keys none = { 0 }, right = { find_key, (void *)(uintptr_t)key },
                      wrong = { find_key, other };
    open_one(header, payload, &right, budget);
    open_one(header, payload, &wrong, budget);
    open_one(header, payload, &none, budget);
    open_one(header, payload, NULL, budget);
}

/* As the writer does with an event that nobody encrypted yet. */
static Daa__Event *made_private(uint16_t kind, struct span payload, struct arena *arena)
{
    Daa__Event *event;
    return event_unpack(kind, payload, arena, &event) == 0 ? event_withhold(event, arena) : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct budget budget;
    struct arena arena;
    if (size < 3)
        return 0;
    struct event_header header = {
        .seq = 7, .stream = 7, .kind = bytes_get_u16(input), .key_id = 1, .time_ns = 1
    };
    struct span payload = span_of(input + 3, size - 3);
    ProtobufCMessage *message = NULL;
    budget_init(&budget, 1 << 28);
    arena_init(&arena, &budget, BUDGET_REQUESTS, 4096);
    open_each(&header, payload, &budget);
    if (input[2] & WITHHELD)
        message = (ProtobufCMessage *)made_private(header.kind, payload, &arena);
    else if (message_unpack(&daa__event__descriptor, payload, &arena, &message) < 0)
        message = NULL;
    if (message != NULL && message->n_unknown_fields == 0) {
        Daa__Event *event = (Daa__Event *)message;
        put_right(event, &header, input[2]);
        size_t packed = protobuf_c_message_get_packed_size(message);
        uint8_t *bytes = malloc(packed + 1);
        CHECK(bytes != NULL);
        protobuf_c_message_pack(message, bytes);
        open_each(&header, span_of(bytes, packed), &budget);
        free(bytes);
    }
    arena_free(&arena);
    CHECK(budget.used == 0);
    return 0;
}
