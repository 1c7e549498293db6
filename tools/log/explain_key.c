/* What explain says of an event whose stream has a key. */
#include "core/event/fields.h"
#include "core/event/private.h"
#include "tools/log/explain.h"

#include <string.h>

#define MEMORY_MAX (64u << 20) /* to unpack one event */

static void take_sizes(struct explained_key *explained, const Daa__Event *event)
{
    const ProtobufCMessageDescriptor *body = event_body(event)->descriptor;
    size_t next = 0;
    explained->bytes = event->encrypted.len;
    for (unsigned i = 0; i < body->n_fields && next < event->n_private_sizes; i++) {
        if (!field_is_private(&body->fields[i]))
            continue;
        uint32_t size = event->private_sizes[next++];
        if (size == 0 || explained->count == EXPLAINED_FIELDS_MAX)
            continue;
        explained->fields[explained->count].name = body->fields[i].name;
        explained->fields[explained->count++].size = size - 1;
    }
}

void explained_key_find(struct explained_key *explained, struct decryption *keys,
                        const struct record *record)
{
    struct budget budget;
    struct arena arena;
    Daa__Event *event;
    *explained = (struct explained_key){ .key_id = record->key_id, .result = DECRYPTION_NONE };
    if (record->kind <= LOG_KIND_OWN_MAX)
        return;
    budget_init(&budget, MEMORY_MAX);
    arena_init(&arena, &budget, BUDGET_READERS, 4096);
    if (event_unpack(record->kind, record->payload, &arena, &event) == 0 &&
        event_is_withheld(event)) {
        take_sizes(explained, event);
        explained->result = decryption_open(keys, record, &arena, &event);
        explained->why = keys->why.text;
    }
    arena_free(&arena);
}

static const char *sentence_of(int result)
{
    static const char *const sentences[] = {
        [DECRYPTION_DONE] = "the key is there, and the tag fits",
        [DECRYPTION_NO_KEYS] = "there are no keys: say where they are (--keys)",
        [DECRYPTION_ERASED] = "the key was destroyed: what it encrypted is erased",
        [DECRYPTION_MISFIT] = "the tag does not fit the key that has this number: the keys are of "
                              "another log, or the event was not encrypted with it",
    };
    return sentences[result];
}

void explained_key_print(const struct explained_key *explained)
{
    if (explained->key_id == 0 && explained->result == DECRYPTION_NONE)
        return;
    if (explained->result == DECRYPTION_NONE) {
        printf("\nits stream has key %u; nothing of this event is encrypted\n", explained->key_id);
        return;
    }
    printf("\nencrypted with key %u, %zu bytes with nonce and tag\n", explained->key_id,
           explained->bytes);
    for (size_t i = 0; i < explained->count; i++)
        printf("  %-16s %u bytes\n", explained->fields[i].name, explained->fields[i].size);
    printf("  %s\n", explained->result == DECRYPTION_UNAVAILABLE ? explained->why
                                                                 : sentence_of(explained->result));
}

void explained_key_to_json(const struct explained_key *explained, struct text *text)
{
    static const char *const names[] = { [DECRYPTION_DONE] = "fits",
                                         [DECRYPTION_NO_KEYS] = "no_keys",
                                         [DECRYPTION_ERASED] = "destroyed",
                                         [DECRYPTION_UNAVAILABLE] = "unavailable",
                                         [DECRYPTION_MISFIT] = "does_not_fit" };
    if (explained->result == DECRYPTION_NONE) {
        text_json_null(text, "encrypted");
        return;
    }
    bool lost = explained->result == DECRYPTION_UNAVAILABLE;
    text_json_open_object(text, "encrypted");
    text_json_unsigned(text, "key_id", explained->key_id);
    text_json_unsigned(text, "bytes", explained->bytes);
    text_json_open_object(text, "fields");
    for (size_t i = 0; i < explained->count; i++)
        text_json_unsigned(text, explained->fields[i].name, explained->fields[i].size);
    text_json_close_object(text);
    text_json_cstring(text, "key", names[explained->result]);
    text_json_cstring(text, "text", lost ? explained->why : sentence_of(explained->result));
    text_json_close_object(text);
}
