/* Signed heads: the bytes that are signed, there and back through an event and through JSON, what
 * does not hold, and one row of them in the agent's state. */
#include "core/event/anchor.h"

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

static struct budget budget;
static struct arena arena;
static uint8_t private_key[ED25519_KEY_SIZE] = { 1, 2, 3 };

static struct anchor an_anchor(uint32_t segment_count)
{
    struct anchor anchor = { .event = 99,
                             .seq = 0x1122334455667788,
                             .segment_no = 7,
                             .signed_ns = 1700000000000000001,
                             .previous = 42,
                             .segment_count = segment_count };
    for (unsigned i = 0; i < UUID_SIZE; i++)
        anchor.log_uuid[i] = (uint8_t)(0xa0 + i);
    for (unsigned i = 0; i < SHA256_SIZE; i++)
        anchor.chain[i] = (uint8_t)i;
    for (uint32_t i = 0; i < segment_count; i++) {
        anchor.segments[i] = (struct anchor_segment){ 5 + i, 100 * i + 1, 100 * i + 100, { 0 } };
        memset(anchor.segments[i].merkle_root, (int)(0x40 + i), SHA256_SIZE);
    }
    return anchor;
}

static bool is_same(const struct anchor *one, const struct anchor *other)
{
    uint8_t messages[2][ANCHOR_MESSAGE_MAX];
    size_t size = anchor_message(one, messages[0]);
    return size == anchor_message(other, messages[1]) &&
           memcmp(messages[0], messages[1], size) == 0 && one->event == other->event &&
           memcmp(one->public_key, other->public_key, ED25519_KEY_SIZE) == 0 &&
           memcmp(one->signature, other->signature, ED25519_SIGNATURE_SIZE) == 0;
}

static void test_message(void)
{
    struct anchor anchor = an_anchor(1);
    uint8_t message[ANCHOR_MESSAGE_MAX];
    char text[2 * ANCHOR_MESSAGE_MAX + 1];
    bytes_to_hex(text, message, anchor_message(&anchor, message));
    is_str(text,
           "646161206c6f6720616e63686f722031"
           "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
           "8877665544332211"
           "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
           "0700000000000000"
           "01002a36fe9c9717"
           "2a00000000000000"
           "01000000"
           "0500000000000000"
           "0100000000000000"
           "6400000000000000"
           "4040404040404040404040404040404040404040404040404040404040404040",
           "the bytes that are signed are those of the man page");
    anchor = an_anchor(ANCHOR_SEGMENTS_MAX);
    is_int(anchor_message(&anchor, message), ANCHOR_MESSAGE_MAX, "with all segments they just fit");
}

/* Every byte of what is signed, of the key and of the signature. */
static void test_signature(void)
{
    struct anchor anchor = an_anchor(3), other;
    unsigned held = 0;
    anchor_sign(&anchor, private_key);
    ok(anchor_signature_holds(&anchor), "a signature holds");
    for (size_t at = offsetof(struct anchor, log_uuid); at < sizeof anchor; at++) {
        other = anchor;
        ((uint8_t *)&other)[at] ^= 1;
        bool unused = (at >= offsetof(struct anchor, segments[3]) &&
                       at < offsetof(struct anchor, public_key)) ||
                      (at >= offsetof(struct anchor, segment_count) &&
                       at < offsetof(struct anchor, segments));
        held += !unused && anchor_signature_holds(&other);
    }
    is_int(held, 0, "but for nothing else");
    other = anchor;
    other.segment_count = 2;
    ok(!anchor_signature_holds(&other), "nor for fewer segments");
    other = anchor;
    other.event = 5;
    ok(anchor_signature_holds(&other), "the event that records it is not part of it");
}

static void test_equal(void)
{
    const struct anchor anchor = an_anchor(3);
    struct anchor other = an_anchor(3);
    ok(anchor_equal(&anchor, &other), "an anchor is equal to itself");
    other.event++;
    bool found = anchor_equal(&anchor, &other);
    other = anchor;
    other.segments[2].merkle_root[31] ^= 1;
    found |= anchor_equal(&anchor, &other);
    other = anchor;
    other.segment_count = 2;
    found |= anchor_equal(&anchor, &other);
    other = anchor;
    other.signature[63] ^= 1;
    found |= anchor_equal(&anchor, &other);
    ok(!found, "and not to one of another event, root, length or signature");
}

static void test_event(void)
{
    struct anchor anchor = an_anchor(ANCHOR_SEGMENTS_MAX), back;
    Daa__AnchoredSegment segments[ANCHOR_SEGMENTS_MAX], *list[ANCHOR_SEGMENTS_MAX];
    Daa__LogAnchored body = DAA__LOG_ANCHORED__INIT;
    Daa__Event event = DAA__EVENT__INIT, *unpacked;
    anchor_sign(&anchor, private_key);
    anchor_to_event(&anchor, &body, segments, list);
    event.has_schema = 1;
    event.schema = EVENT_SCHEMA;
    event.body_case = DAA__EVENT__BODY_LOG_ANCHORED;
    event.log_anchored = &body;
    size_t size = event_size(&event);
    uint8_t *bytes = malloc(size);
    event_pack(&event, bytes);
    is_int(event_unpack(DAA__EVENT__BODY_LOG_ANCHORED, span_of(bytes, size), &arena, &unpacked), 0,
           "as an event it is unpacked");
    ok(anchor_of_event(&back, 99, unpacked->log_anchored) && anchor_signature_holds(&back) &&
           is_same(&anchor, &back),
       "and is the same");
    body.public_key.len = 31;
    event_pack(&event, bytes);
    is_int(event_unpack(DAA__EVENT__BODY_LOG_ANCHORED, span_of(bytes, event_size(&event)), &arena,
                        &unpacked),
           ERROR_DAMAGED, "a key of another size is damage");
    body.public_key.len = 32;
    body.signature.len = 63;
    event_pack(&event, bytes);
    is_int(event_unpack(DAA__EVENT__BODY_LOG_ANCHORED, span_of(bytes, event_size(&event)), &arena,
                        &unpacked),
           ERROR_DAMAGED, "so is a signature");
    body.signature.len = 64;
    body.n_segments = 0;
    body.has_chain = 0;
    body.chain.len = 0;
    ok(!anchor_of_event(&back, 99, &body), "without a chain it is none");
    free(bytes);
    arena_reset(&arena);
}

static int read_back(struct anchor *anchor, struct span text, const char **what)
{
    struct json json;
    if (json_parse(&json, &arena, text, NULL) < 0)
        return ERROR_SYNTAX;
    return anchor_of_json(anchor, &json, 0, what);
}

static void test_json(void)
{
    struct anchor anchor = an_anchor(2), back;
    const char *what = NULL;
    struct text text;
    text_init(&text);
    anchor_sign(&anchor, private_key);
    anchor_to_json(&anchor, NULL, &text);
    is_int(read_back(&back, text_span(&text), &what), 0, "as JSON it is read back");
    ok(anchor_signature_holds(&back) && is_same(&anchor, &back), "and is the same");
    static const char *const names[] = { "\"log\":",      "\"seq\":",        "\"chain\":",
                                         "\"previous\":", "\"signed_ns\":",  "\"segments\":",
                                         "\"last_seq\":", "\"public_key\":", "\"signature\":" };
    unsigned missed = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *at = strstr(text.bytes, names[i]);
        at[1] ^= 1;
        missed += read_back(&back, text_span(&text), &what) != ERROR_SYNTAX || what == NULL ||
                  strncmp(what, names[i] + 1, strlen(what)) != 0;
        at[1] ^= 1;
    }
    is_int(missed, 0, "a member that is missing is named");
    is_int(read_back(&back, span_of_text("[1]"), &what), ERROR_SYNTAX, "something else is refused");
    text_free(&text);
    arena_reset(&arena);
}

int main(void)
{
    budget_init(&budget, 1u << 30);
    arena_init(&arena, &budget, BUDGET_READERS, 4096);
    test_message();
    test_signature();
    test_equal();
    test_event();
    test_json();
    arena_free(&arena);
    return tap_done();
}
