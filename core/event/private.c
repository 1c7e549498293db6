#include "core/event/private.h"

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/event/fields.h"
#include "core/event/privacy.h"

#include <string.h>

#define PLACE_SIZE 24u

/* The place of an event. */
static struct span place_of(uint8_t bytes[PLACE_SIZE], const struct event_header *header)
{
    bytes_put_u64(bytes, header->seq);
    bytes_put_u64(bytes + 8, header->stream);
    bytes_put_u32(bytes + 16, header->kind);
    bytes_put_u32(bytes + 20, header->key_id);
    return span_of(bytes, PLACE_SIZE);
}

static struct privacy privacy_of(const Daa__Event *event)
{
    return (struct privacy){ event->encrypted, event->private_sizes, event->n_private_sizes };
}

static void set_privacy(Daa__Event *event, const struct privacy *privacy)
{
    event->has_encrypted = privacy->count > 0;
    event->encrypted = privacy->encrypted;
    event->private_sizes = privacy->sizes;
    event->n_private_sizes = privacy->count;
}

Daa__Event *event_withhold(const Daa__Event *event, struct arena *arena)
{
    const ProtobufCMessage *body = event_body(event);
    struct privacy privacy;
    if (!privacy_wanted(body))
        return (Daa__Event *)(uintptr_t)event;
    Daa__Event *withheld = arena_allocate(arena, sizeof *withheld);
    ProtobufCMessage *rest = arena_allocate(arena, body->descriptor->sizeof_message);
    if (withheld == NULL || rest == NULL)
        return NULL;
    memcpy(rest, body, body->descriptor->sizeof_message);
    if (privacy_take(rest, arena, &privacy) < 0)
        return NULL;
    *withheld = *event;
    withheld->agent_registered = (void *)rest;
    withheld->schema = EVENT_SCHEMA_ENCRYPTED;
    set_privacy(withheld, &privacy);
    return withheld;
}

void event_encrypt(Daa__Event *withheld, const struct event_header *header,
                   const uint8_t key[AEAD_KEY_SIZE], const uint8_t nonce[AEAD_NONCE_SIZE])
{
    uint8_t place[PLACE_SIZE];
    struct privacy privacy = privacy_of(withheld);
    if (event_is_withheld(withheld))
        privacy_encrypt(&privacy, key, nonce, place_of(place, header));
}

void event_wipe(Daa__Event *withheld)
{
    struct privacy privacy = privacy_of(withheld);
    if (event_is_withheld(withheld))
        privacy_wipe(&privacy);
}

bool event_is_wiped(const Daa__Event *event)
{
    struct privacy privacy = privacy_of(event);
    return event_is_withheld(event) && privacy_is_wiped(&privacy);
}

bool event_is_withheld(const Daa__Event *event)
{
    return event->has_encrypted;
}

int event_check_private(const Daa__Event *event)
{
    struct privacy privacy = privacy_of(event);
    if (!event->has_encrypted)
        return event->n_private_sizes == 0 ? 0 : ERROR_DAMAGED;
    return privacy_check(event_body(event), &privacy);
}

int event_key_get(const struct event_keys *keys, uint32_t key_id, uint8_t key[AEAD_KEY_SIZE])
{
    if (key_id == 0 || keys == NULL || keys->context == NULL)
        return 0;
    int result = keys->find(keys->context, key_id, key);
    return result == ERROR_NOT_FOUND ? 0 : result < 0 ? result : 1;
}

static int decrypt(Daa__Event *event, const struct event_header *header,
                   const struct event_keys *keys)
{
    static const struct privacy nothing;
    uint8_t key[AEAD_KEY_SIZE], place[PLACE_SIZE];
    struct privacy privacy = privacy_of(event);
    int result = privacy_is_wiped(&privacy) ? 0 : event_key_get(keys, header->key_id, key);
    if (result <= 0)
        return result;
    bool good = privacy_decrypt(&privacy, key, place_of(place, header));
    explicit_bzero(key, sizeof key);
    if (!good)
        return ERROR_DAMAGED;
    privacy_give(event_body(event), &privacy);
    set_privacy(event, &nothing);
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

int event_blank(Daa__Event *event, struct arena *arena)
{
    static const struct privacy nothing;
    struct privacy privacy = privacy_of(event);
    if (!event_is_withheld(event))
        return 0;
    int result = privacy_blank(event_body(event), &privacy, arena);
    if (result == 0)
        set_privacy(event, &nothing);
    return result;
}
