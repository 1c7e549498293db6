/* Private fields of events: what of an event is encrypted and what is not, for every kind there is;
 * that nothing of it can be changed or moved; and what is left when the key is gone. */
#include "core/base/error.h"
#include "core/event/fields.h"
#include "core/event/private.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct budget budget;
static struct arena arena;

static const uint8_t nonce[AEAD_NONCE_SIZE] = "twelve bytes";

/* The key n is n, over and over; 99 was destroyed, and 98 cannot be had now. */
static int find(void *context, uint32_t key_id, uint8_t key[AEAD_KEY_SIZE])
{
    (void)context;
    memset(key, (int)key_id, AEAD_KEY_SIZE);
    return key_id == 99 ? ERROR_NOT_FOUND : key_id == 98 ? ERROR_UNAVAILABLE : 0;
}

static const struct event_keys keys = { find, &budget };

/*--- Events of all kinds, with a word in each field --------------------------------------------*/

static const char word[] = "\"XYZZY-and-more-than-a-digest-has\"";

static void fill_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    static uint8_t digest[64] = "XYZZY-digest";
    uint8_t *base = (uint8_t *)message;
    enum content content = field_content(field);
    if (field->label == PROTOBUF_C_LABEL_REPEATED || field->type == PROTOBUF_C_TYPE_MESSAGE)
        return;
    if (field->type != PROTOBUF_C_TYPE_BYTES) {
        *(protobuf_c_boolean *)(void *)(base + field->quantifier_offset) = 1;
        if (field->type == PROTOBUF_C_TYPE_ENUM || field->type == PROTOBUF_C_TYPE_UINT32)
            *(uint32_t *)(void *)(base + field->offset) = 1;
        else
            *(uint64_t *)(void *)(base + field->offset) = 1;
        return;
    }
    size_t size = content == CONTENT_DIGEST      ? 32
                  : content == CONTENT_ID        ? 16
                  : content == CONTENT_SIGNATURE ? 64
                                                 : sizeof word - 1;
    field_set(message, field, size == sizeof word - 1 ? (uint8_t *)(uintptr_t)word : digest, size);
}

static Daa__Event *event_of(const ProtobufCFieldDescriptor *kind)
{
    const ProtobufCMessageDescriptor *type = kind->descriptor;
    Daa__Event *event = arena_allocate(&arena, sizeof *event);
    ProtobufCMessage *body = arena_allocate(&arena, type->sizeof_message);
    daa__event__init(event);
    protobuf_c_message_init(type, body);
    for (unsigned i = 0; i < type->n_fields; i++)
        fill_field(body, &type->fields[i]);
    event->has_schema = 1;
    event->schema = EVENT_SCHEMA;
    event->body_case = (Daa__Event__BodyCase)kind->id;
    event->agent_registered = (void *)body;
    return event;
}

static unsigned private_count(const ProtobufCMessageDescriptor *type)
{
    unsigned count = 0;
    for (unsigned i = 0; i < type->n_fields; i++)
        count += field_is_private(&type->fields[i]);
    return count;
}

static struct span pack(const Daa__Event *event)
{
    size_t size = event_size(event);
    uint8_t *bytes = arena_allocate(&arena, size);
    event_pack(event, bytes);
    return span_of(bytes, size);
}

static struct event_header header_of(const Daa__Event *event, uint32_t key_id)
{
    return (
        struct event_header){ .seq = 7, .stream = 5, .kind = event_kind(event), .key_id = key_id };
}

static struct span encrypted(const Daa__Event *event, uint32_t key_id)
{
    struct event_header header = header_of(event, key_id);
    uint8_t key[AEAD_KEY_SIZE];
    Daa__Event *withheld = event_withhold(event, &arena);
    (void)find(NULL, key_id, key);
    event_encrypt(withheld, &header, key, nonce);
    return pack(withheld);
}

static unsigned words_in(struct span bytes)
{
    unsigned count = 0;
    for (size_t i = 0; i + 5 <= bytes.size; i++)
        count += memcmp(bytes.bytes + i, "XYZZY", 5) == 0;
    return count;
}

/*--- Claims ------------------------------------------------------------------------------------*/

struct sums {
    unsigned kinds, with_private, not_same, leaked, lost, changed_size, not_withheld, unreadable;
};

static unsigned public_words(const ProtobufCMessageDescriptor *type)
{
    unsigned count = 0;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        count += field->type == PROTOBUF_C_TYPE_BYTES &&
                 field->label == PROTOBUF_C_LABEL_OPTIONAL && !field_is_private(field);
    }
    return count;
}

static void blanked(struct sums *sums, const Daa__Event *event, struct span payload)
{
    struct event_header header = header_of(event, 17);
    Daa__Event *opened;
    if (event_open(&header, payload, NULL, &arena, &opened) < 0 || !event_is_withheld(opened)) {
        sums->not_withheld += private_count(event_body(event)->descriptor) > 0;
        return;
    }
    if (event_blank(opened, &arena) < 0 || event_check(header.kind, opened) < 0)
        sums->unreadable++;
    opened->schema = event->schema;
    sums->changed_size += event_size(opened) != event_size(event);
    sums->lost += words_in(pack(opened)) != public_words(event_body(event)->descriptor);
}

static void one_kind(struct sums *sums, const ProtobufCFieldDescriptor *kind)
{
    Daa__Event *event = event_of(kind), *opened;
    const ProtobufCMessageDescriptor *type = kind->descriptor;
    struct span before = pack(event), payload = encrypted(event, 17);
    struct event_header header = header_of(event, 17);
    sums->kinds++;
    sums->with_private += private_count(type) > 0;
    sums->leaked += words_in(payload) != public_words(type);
    sums->not_same += !span_equal(before, pack(event));
    if (event_open(&header, payload, &keys, &arena, &opened) < 0) {
        sums->unreadable++;
        return;
    }
    opened->schema = event->schema;
    sums->not_same += !span_equal(before, pack(opened));
    blanked(sums, event, payload);
}

static void all_kinds(void)
{
    const ProtobufCMessageDescriptor *type = &daa__event__descriptor;
    struct sums sums = { 0 };
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].id >= 16)
            one_kind(&sums, &type->fields[i]);
    ok(sums.kinds > 25 && sums.with_private >= 14,
       "of %u kinds of events %u may have private fields", sums.kinds, sums.with_private);
    is_int(sums.leaked, 0,
           "encrypted, none of them shows a word of a private field, and all of others");
    is_int(sums.unreadable, 0, "with the key each is read again");
    is_int(sums.not_same, 0, "with the same bytes, and encrypting changed nothing of it");
    is_int(sums.not_withheld, 0, "without keys its private fields are withheld");
    is_int(sums.changed_size, 0, "blank, it is as large as it was");
    is_int(sums.lost, 0, "with all that is not private, and nothing that is");
}

static const ProtobufCFieldDescriptor *kind_of(unsigned id)
{
    const ProtobufCMessageDescriptor *type = &daa__event__descriptor;
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].id == id)
            return &type->fields[i];
    return NULL;
}

static void wrong_keys(void)
{
    Daa__Event *event = event_of(kind_of(32)), *opened;
    struct span payload = encrypted(event, 17), gone = encrypted(event, 99);
    struct event_header header = header_of(event, 18), none = header_of(event, 0);
    is_int(event_open(&header, payload, &keys, &arena, &opened), ERROR_DAMAGED,
           "with another key it is damage, not nonsense");
    header.key_id = 98;
    is_int(event_open(&header, payload, &keys, &arena, &opened), ERROR_UNAVAILABLE,
           "a key that cannot be had now is said so");
    is_int(event_open(&none, payload, &keys, &arena, &opened), ERROR_DAMAGED,
           "an encrypted event whose record names no key is damage");
    header.key_id = 99;
    is_int(event_open(&header, gone, &keys, &arena, &opened), 0,
           "when its key was destroyed it is opened all the same");
    ok(event_is_withheld(opened) && !opened->workflow_submitted->has_input &&
           opened->workflow_submitted->has_definition,
       "without what was private, with what was not");
}

static void wiped(void)
{
    Daa__Event *event = event_of(kind_of(50)), *opened, *withheld = event_withhold(event, &arena);
    struct event_header header = header_of(event, 98);
    size_t size = event_size(withheld);
    ok(!event_is_wiped(event) && !event_is_wiped(withheld), "(an event is not wiped by itself)");
    event_wipe(withheld);
    struct span payload = pack(withheld);
    is_int(payload.size, size, "an event that nobody is to read has the size that it would have");
    is_int(words_in(payload), public_words(event_body(event)->descriptor),
           "and nothing private in it");
    is_int(event_open(&header, payload, &keys, &arena, &opened), 0,
           "it is opened whatever the keys say");
    ok(event_is_wiped(opened) && !opened->step_failed->has_error, "without what was private");
    is_int(event_blank(opened, &arena), 0, "and can be blanked");
    withheld = event_of(kind_of(48));
    event_wipe(withheld);
    ok(!event_is_wiped(withheld), "one without private fields stays as it is");
}

static void moved(void)
{
    Daa__Event *event = event_of(kind_of(49)), *opened;
    struct span payload = encrypted(event, 17);
    struct event_header right = header_of(event, 17), wrong = right;
    wrong.seq++;
    is_int(event_open(&wrong, payload, &keys, &arena, &opened), ERROR_DAMAGED,
           "under another number it does not fit");
    wrong = right;
    wrong.stream++;
    is_int(event_open(&wrong, payload, &keys, &arena, &opened), ERROR_DAMAGED,
           "nor in another stream");
    is_int(event_open(&right, payload, &keys, &arena, &opened), 0, "where it was it does");
}

/* A changed bit that is accepted must not have changed what is private. */
static void flipped(void)
{
    Daa__Event *event = event_of(kind_of(50)), *opened;
    struct span payload = encrypted(event, 17);
    struct event_header header = header_of(event, 17);
    uint8_t *bytes = arena_allocate(&arena, payload.size);
    unsigned changed = 0, refused = 0;
    for (size_t bit = 0; bit < payload.size * 8; bit++) {
        memcpy(bytes, payload.bytes, payload.size);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int status = event_open(&header, span_of(bytes, payload.size), &keys, &arena, &opened);
        refused += status < 0;
        changed += status == 0 && opened->has_schema && !event_is_withheld(opened) &&
                   (opened->step_failed->has_error || opened->step_failed->has_output) &&
                   (!span_is(span_of_data(opened->step_failed->error), word) ||
                    !span_is(span_of_data(opened->step_failed->output), word));
    }
    ok(refused > sizeof word * 2 * 8, "%u of %zu flipped bits are refused", refused,
       payload.size * 8);
    is_int(changed, 0, "and none of the others has changed a private field");
}

static void sizes_that_lie(void)
{
    Daa__Event *event = event_of(kind_of(49)), *opened;
    struct event_header header = header_of(event, 17);
    Daa__Event *withheld = event_withhold(event, &arena);
    withheld->private_sizes[0]++;
    is_int(event_open(&header, pack(withheld), &keys, &arena, &opened), ERROR_DAMAGED,
           "sizes that do not add up are damage");
    withheld->private_sizes[0]--;
    withheld->n_private_sizes = 0;
    is_int(event_open(&header, pack(withheld), NULL, &arena, &opened), ERROR_DAMAGED,
           "so are sizes that are not there, with a key or without");
    withheld->n_private_sizes = 1;
    withheld->step_completed->has_output = 1;
    withheld->step_completed->output = data_of_span(span_of_text("1"));
    is_int(event_open(&header, pack(withheld), NULL, &arena, &opened), ERROR_DAMAGED,
           "and a private field beside them");
}

static void nothing_private(void)
{
    Daa__Event *event = event_of(kind_of(48));
    ok(event_withhold(event, &arena) == event, "an event without private fields stays as it is");
}

static void little_memory(void)
{
    struct budget small;
    struct arena tight;
    budget_init(&small, 64);
    arena_init(&tight, &small, BUDGET_REQUESTS, 64);
    ok(event_withhold(event_of(kind_of(32)), &tight) == NULL, "without memory it is refused");
    arena_free(&tight);
}

int main(void)
{
    budget_init(&budget, 1 << 26);
    arena_init(&arena, &budget, BUDGET_REQUESTS, 65536);
    all_kinds();
    wrong_keys();
    wiped();
    moved();
    flipped();
    sizes_that_lie();
    nothing_private();
    little_memory();
    arena_free(&arena);
    is_int(budget.used, 0, "nothing is left on the budget");
    return tap_done();
}
