/* A record's bytes: what goes in comes out, and nothing else is taken for a record. */
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/error.h"
#include "log/record.h"
#include "tap.h"

#include <stdlib.h>

static uint8_t bytes[RECORD_HEADER_SIZE + 4096 + 8];

static struct record sample(const void *payload, size_t size)
{
    return (struct record){ .seq = 0x0102030405060708,
                            .stream = 7,
                            .time_ns = 1700000000123456789,
                            .cause = 41,
                            .stream_prev_seq = 40,
                            .key_id = 3,
                            .kind = 0x1234,
                            .flags = 0,
                            .payload = span_of(payload, size) };
}

static bool same(const struct record *a, const struct record *b)
{
    return a->seq == b->seq && a->stream == b->stream && a->time_ns == b->time_ns &&
           a->cause == b->cause && a->stream_prev_seq == b->stream_prev_seq &&
           a->key_id == b->key_id && a->kind == b->kind && a->flags == b->flags &&
           span_equal(a->payload, b->payload);
}

static void round_trips(void)
{
    static uint8_t payload[4096];
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i * 31 + 1);
    int good = 0;
    for (size_t size = 0; size <= 300; size++) {
        struct record in = sample(payload, size), out, view;
        size_t taken = 0, viewed = 0;
        memset(bytes, 0xee, sizeof bytes);
        record_encode(bytes, &in);
        bool whole = record_decode(span_of(bytes, sizeof bytes), &out, &taken) == 0 &&
                     record_view(span_of(bytes, sizeof bytes), &view, &viewed) == 0;
        good += whole && same(&in, &out) && same(&in, &view) && taken == record_size(size) &&
                viewed == taken && taken % 8 == 0 && bytes[taken] == 0xee;
    }
    is_int(good, 301, "records with payloads of 0 to 300 bytes come back as they went in");
}

static void every_bit(void)
{
    struct record in = sample("seventeen bytes!!", 17), out;
    size_t size = record_size(17), taken;
    int caught = 0;
    record_encode(bytes, &in);
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        caught += record_decode(span_of(bytes, sizeof bytes), &out, &taken) == ERROR_DAMAGED;
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    is_int(caught, (int)size * 8, "each flipped bit of a record is caught, padding too");
}

static void every_cut(void)
{
    struct record in = sample("seventeen bytes!!", 17), out;
    size_t size = record_size(17), taken;
    int caught = 0;
    record_encode(bytes, &in);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut > 0 ? cut : 1); /* exact, so that a sanitizer sees one over */
        memcpy(copy, bytes, cut);
        caught += record_decode(span_of(copy, cut), &out, &taken) == ERROR_DAMAGED;
        free(copy);
    }
    is_int(caught, (int)size, "a record that is cut short is refused at every length");
}

static void repair_crc(size_t size)
{
    bytes_put_u32(bytes + 4, crc32c_more(crc32c(bytes, 4), bytes + 8, size - 8));
}

static void forged(void)
{
    static const struct {
        const char *name;
        size_t at;
        uint32_t value;
    } cases[] = {
        { "a size below the header's", RECORD_AT_SIZE, 56 },
        { "a size that is no multiple of 8", RECORD_AT_SIZE, 85 },
        { "a size beyond the bytes", RECORD_AT_SIZE, 0xfffffff8 },
        { "a payload that needs another size", RECORD_AT_PAYLOAD_SIZE, 25 },
        { "a payload over the limit", RECORD_AT_PAYLOAD_SIZE, LOG_PAYLOAD_SIZE_MAX + 1 },
        { "a payload of 4 GiB", RECORD_AT_PAYLOAD_SIZE, 0xffffffff },
        { "reserved bytes that are not zero", RECORD_AT_RESERVED, 1 },
    };
    struct record in = sample("seventeen bytes!!", 17), out;
    size_t taken;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        record_encode(bytes, &in);
        bytes_put_u32(bytes + cases[i].at, cases[i].value);
        repair_crc(record_size(17));
        is_int(record_decode(span_of(bytes, sizeof bytes), &out, &taken), ERROR_DAMAGED,
               "%s is refused under a good checksum", cases[i].name);
    }
    record_encode(bytes, &in);
    bytes[RECORD_HEADER_SIZE + 17] = 1;
    repair_crc(record_size(17));
    is_int(record_decode(span_of(bytes, sizeof bytes), &out, &taken), ERROR_DAMAGED,
           "padding that is not zero is refused under a good checksum");
}

static void layout(void)
{
    static const uint8_t want[RECORD_HEADER_SIZE] = {
        72,   0,    0,    0,    0,    0,    0, 0, 8, 7, 6,    5,    4,    3,
        2,    1,    7,    0,    0,    0,    0, 0, 0, 0, 0x15, 0xcd, 0xc0, 0xc9,
        0x9a, 0x9c, 0x97, 0x17, 0x34, 0x12, 0, 0, 5, 0, 0,    0,    41,
    };
    struct record in = sample("hello", 5);
    uint8_t expected[RECORD_HEADER_SIZE];
    memcpy(expected, want, sizeof expected);
    bytes_put_u64(expected + 24, 1700000000123456789);
    expected[48] = 40;
    expected[56] = 3;
    record_encode(bytes, &in);
    memcpy(expected + 4, bytes + 4, 4); /* the CRC is computed below */
    is_mem(bytes, expected, sizeof expected, "the header has the layout that the manual gives");
    is_int(bytes_get_u32(bytes + 4), crc32c_more(crc32c(bytes, 4), bytes + 8, 64),
           "its checksum covers the size and all behind the checksum");
    is_mem(bytes + 64, "hello\0\0", 8, "the payload follows, padded with zeros to 8");
}

int main(void)
{
    round_trips();
    every_bit();
    every_cut();
    forged();
    layout();
    is_str(record_own_kind_name(LOG_KIND_OPENED), "storage.opened", "the log names its own kinds");
    is_str(record_own_kind_name(LOG_KIND_FAILOVER), "storage.failover", "all of them");
    ok(record_own_kind_name(16) == NULL, "and no others");
    return tap_done();
}
