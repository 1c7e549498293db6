#include "core/event/anchor.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"

#include <string.h>

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

static uint8_t *put_number(uint8_t *at, uint64_t number)
{
    bytes_put_u64(at, number);
    return at + 8;
}

size_t anchor_message(const struct anchor *anchor, uint8_t message[ANCHOR_MESSAGE_MAX])
{
    uint8_t *at = message;
    CHECK(anchor->segment_count <= ANCHOR_SEGMENTS_MAX);
    at = put_bytes(at, "daa log anchor 1", 16);
    at = put_bytes(at, anchor->log_uuid, UUID_SIZE);
    at = put_number(at, anchor->seq);
    at = put_bytes(at, anchor->chain, SHA256_SIZE);
    at = put_number(at, anchor->segment_no);
    at = put_number(at, anchor->signed_ns);
    at = put_number(at, anchor->previous);
    bytes_put_u32(at, anchor->segment_count);
    at += 4;
    for (uint32_t i = 0; i < anchor->segment_count; i++) {
        at = put_number(at, anchor->segments[i].segment_no);
        at = put_number(at, anchor->segments[i].first_seq);
        at = put_number(at, anchor->segments[i].last_seq);
        at = put_bytes(at, anchor->segments[i].merkle_root, SHA256_SIZE);
    }
    return (size_t)(at - message);
}

void anchor_sign(struct anchor *anchor, const uint8_t private_key[ED25519_KEY_SIZE])
{
    uint8_t message[ANCHOR_MESSAGE_MAX];
    size_t size = anchor_message(anchor, message);
    ed25519_public_key(anchor->public_key, private_key);
    ed25519_sign(anchor->signature, anchor->public_key, private_key, span_of(message, size));
}

bool anchor_signature_holds(const struct anchor *anchor)
{
    uint8_t message[ANCHOR_MESSAGE_MAX];
    size_t size = anchor_message(anchor, message);
    return ed25519_verify(anchor->signature, anchor->public_key, span_of(message, size));
}

bool anchor_equal(const struct anchor *a, const struct anchor *b)
{
    uint8_t message[ANCHOR_MESSAGE_MAX], other[ANCHOR_MESSAGE_MAX];
    size_t size = anchor_message(a, message);
    return a->event == b->event && size == anchor_message(b, other) &&
           memcmp(message, other, size) == 0 &&
           memcmp(a->public_key, b->public_key, ED25519_KEY_SIZE) == 0 &&
           memcmp(a->signature, b->signature, ED25519_SIGNATURE_SIZE) == 0;
}

/*--- The event ---------------------------------------------------------------------------------*/

static bool take(void *target, size_t size, ProtobufCBinaryData data)
{
    if (data.len != size)
        return false;
    memcpy(target, data.data, size);
    return true;
}

bool anchor_of_event(struct anchor *anchor, uint64_t event, const Daa__LogAnchored *body)
{
    *anchor = (struct anchor){ .event = event,
                               .seq = body->seq,
                               .segment_no = body->segment_no,
                               .signed_ns = body->signed_ns,
                               .previous = body->previous,
                               .segment_count = (uint32_t)body->n_segments };
    if (body->n_segments > ANCHOR_SEGMENTS_MAX || body->seq == 0 ||
        !take(anchor->log_uuid, UUID_SIZE, body->log_uuid) ||
        !take(anchor->chain, SHA256_SIZE, body->chain) ||
        !take(anchor->public_key, ED25519_KEY_SIZE, body->public_key) ||
        !take(anchor->signature, ED25519_SIGNATURE_SIZE, body->signature))
        return false;
    for (size_t i = 0; i < body->n_segments; i++) {
        const Daa__AnchoredSegment *from = body->segments[i];
        struct anchor_segment *segment = &anchor->segments[i];
        segment->segment_no = from->segment_no;
        segment->first_seq = from->first_seq;
        segment->last_seq = from->last_seq;
        if (!take(segment->merkle_root, SHA256_SIZE, from->merkle_root))
            return false;
    }
    return true;
}

bool anchor_of_record(struct anchor *anchor, uint64_t seq, uint16_t kind, struct span payload,
                      struct arena *arena)
{
    Daa__Event *event;
    return kind == DAA__EVENT__BODY_LOG_ANCHORED &&
           event_unpack(kind, payload, arena, &event) == 0 &&
           anchor_of_event(anchor, seq, event->log_anchored);
}

void anchor_to_event(const struct anchor *anchor, Daa__LogAnchored *body,
                     Daa__AnchoredSegment *segments, Daa__AnchoredSegment **list)
{
    body->has_seq = body->has_chain = body->has_segment_no = body->has_signed_ns = 1;
    body->has_previous = body->has_log_uuid = body->has_public_key = body->has_signature = 1;
    body->log_uuid = data_of_span(span_of(anchor->log_uuid, UUID_SIZE));
    body->seq = anchor->seq;
    body->chain = data_of_span(span_of(anchor->chain, SHA256_SIZE));
    body->segment_no = anchor->segment_no;
    body->signed_ns = anchor->signed_ns;
    body->previous = anchor->previous;
    body->public_key = data_of_span(span_of(anchor->public_key, ED25519_KEY_SIZE));
    body->signature = data_of_span(span_of(anchor->signature, ED25519_SIGNATURE_SIZE));
    body->n_segments = anchor->segment_count;
    body->segments = list;
    for (uint32_t i = 0; i < anchor->segment_count; i++) {
        const struct anchor_segment *from = &anchor->segments[i];
        daa__anchored_segment__init(&segments[i]);
        segments[i].has_segment_no = segments[i].has_first_seq = segments[i].has_last_seq = 1;
        segments[i].has_merkle_root = 1;
        segments[i].segment_no = from->segment_no;
        segments[i].first_seq = from->first_seq;
        segments[i].last_seq = from->last_seq;
        segments[i].merkle_root = data_of_span(span_of(from->merkle_root, SHA256_SIZE));
        list[i] = &segments[i];
    }
}

/*--- JSON --------------------------------------------------------------------------------------*/

void anchor_to_json(const struct anchor *anchor, const char *key, struct text *text)
{
    char uuid[UUID_TEXT_SIZE];
    uuid_to_text(uuid, anchor->log_uuid);
    text_json_open_object(text, key);
    text_json_unsigned(text, "event", anchor->event);
    text_json_time(text, "signed", anchor->signed_ns);
    text_json_cstring(text, "log", uuid);
    text_json_unsigned(text, "seq", anchor->seq);
    text_json_hex(text, "chain", span_of(anchor->chain, SHA256_SIZE));
    text_json_unsigned(text, "segment_no", anchor->segment_no);
    text_json_unsigned(text, "signed_ns", anchor->signed_ns);
    text_json_unsigned(text, "previous", anchor->previous);
    text_json_open_array(text, "segments");
    for (uint32_t i = 0; i < anchor->segment_count; i++) {
        const struct anchor_segment *segment = &anchor->segments[i];
        text_json_open_object(text, NULL);
        text_json_unsigned(text, "segment_no", segment->segment_no);
        text_json_unsigned(text, "first_seq", segment->first_seq);
        text_json_unsigned(text, "last_seq", segment->last_seq);
        text_json_hex(text, "merkle_root", span_of(segment->merkle_root, SHA256_SIZE));
        text_json_close_object(text);
    }
    text_json_close_array(text);
    text_json_hex(text, "public_key", span_of(anchor->public_key, ED25519_KEY_SIZE));
    text_json_hex(text, "signature", span_of(anchor->signature, ED25519_SIGNATURE_SIZE));
    text_json_close_object(text);
}

/* What is read, and the first member that was wrong. */
struct reading {
    const struct json *json;
    uint32_t node;
    const char *wrong;
};

static uint64_t number(struct reading *reading, const char *name)
{
    int64_t value = -1;
    uint32_t at = json_member(reading->json, reading->node, name);
    if ((at == 0 || !json_get_integer(reading->json, at, &value) || value < 0) &&
        reading->wrong == NULL)
        reading->wrong = name;
    return value < 0 ? 0 : (uint64_t)value;
}

static void hex(struct reading *reading, const char *name, uint8_t *target, size_t size)
{
    uint32_t at = json_member(reading->json, reading->node, name);
    struct span text = at != 0 ? json_text(reading->json, at) : span_of(NULL, 0);
    bool quoted = text.size >= 2 && text.bytes[0] == '"';
    if ((!quoted || !bytes_from_hex(target, size, (const char *)text.bytes + 1, text.size - 2)) &&
        reading->wrong == NULL)
        reading->wrong = name;
}

static void uuid(struct reading *reading, uint8_t target[UUID_SIZE])
{
    uint32_t at = json_member(reading->json, reading->node, "log");
    struct span text = at != 0 ? json_text(reading->json, at) : span_of(NULL, 0);
    bool quoted = text.size >= 2 && text.bytes[0] == '"';
    if ((!quoted || !uuid_from_text(target, span_of(text.bytes + 1, text.size - 2))) &&
        reading->wrong == NULL)
        reading->wrong = "log";
}

static void segments(struct reading *reading, struct anchor *anchor)
{
    const struct json *json = reading->json;
    uint32_t list = json_member(json, reading->node, "segments"), outer = reading->node;
    if (list == 0 || json->nodes[list].kind != JSON_ARRAY ||
        json->nodes[list].count > ANCHOR_SEGMENTS_MAX) {
        reading->wrong = "segments";
        return;
    }
    for (uint32_t i = json_first(json, list); i != 0; i = json_next(json, list, i)) {
        struct anchor_segment *segment = &anchor->segments[anchor->segment_count++];
        reading->node = i;
        segment->segment_no = number(reading, "segment_no");
        segment->first_seq = number(reading, "first_seq");
        segment->last_seq = number(reading, "last_seq");
        hex(reading, "merkle_root", segment->merkle_root, SHA256_SIZE);
    }
    reading->node = outer;
}

int anchor_of_json(struct anchor *anchor, const struct json *json, uint32_t node, const char **what)
{
    struct reading reading = { .json = json, .node = node };
    memset(anchor, 0, sizeof *anchor);
    anchor->event = number(&reading, "event");
    uuid(&reading, anchor->log_uuid);
    anchor->seq = number(&reading, "seq");
    hex(&reading, "chain", anchor->chain, SHA256_SIZE);
    anchor->segment_no = number(&reading, "segment_no");
    anchor->signed_ns = number(&reading, "signed_ns");
    anchor->previous = number(&reading, "previous");
    segments(&reading, anchor);
    hex(&reading, "public_key", anchor->public_key, ED25519_KEY_SIZE);
    hex(&reading, "signature", anchor->signature, ED25519_SIGNATURE_SIZE);
    *what = reading.wrong;
    return reading.wrong == NULL ? 0 : ERROR_SYNTAX;
}
