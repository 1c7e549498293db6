/* A frame's bytes: every bit counts, and counts that disagree are refused whatever the checksums
 * say. */
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/error.h"
#include "log/frame.h"
#include "tap.h"

#include <stdlib.h>

#define BLOCKS_MAX 4

static uint8_t frame[BLOCKS_MAX * LOG_BLOCK_SIZE];
static uint8_t zero_chain[SHA256_SIZE];

/* Builds a frame of `count` records with payloads of `size` bytes from sequence number 100. */
static struct frame_header build(uint32_t count, size_t size, uint16_t flags)
{
    static uint8_t payload[LOG_BLOCK_SIZE];
    memset(payload, 0x5a, sizeof payload);
    memset(frame, 0, sizeof frame);
    struct frame_header header = { .salt = 0x1122334455667788,
                                   .first_seq = 100,
                                   .file_offset = 8192,
                                   .record_count = count,
                                   .epoch = 2,
                                   .durable_seq = 98,
                                   .base_time_ns = 1700000000000000000,
                                   .flags = flags,
                                   .prev_blocks = 1,
                                   .prev_link = 0xaabbccdd };
    for (uint32_t i = 0; i < count; i++) {
        struct record record = { .seq = 100 + i,
                                 .time_ns = header.base_time_ns + i,
                                 .kind = 20,
                                 .payload = span_of(payload, size) };
        record_encode(frame + FRAME_HEADER_SIZE + header.body_size, &record);
        header.body_size += (uint32_t)record_size(size);
    }
    frame_finish(frame, &header, zero_chain);
    return header;
}

static int decode_and_check(void)
{
    struct frame_header header;
    const char *what;
    int status = frame_header_decode(frame, &header);
    return status < 0 ? status : frame_check(frame, &header, &what);
}

static void round_trip(void)
{
    struct frame_header in = build(5, 300, FRAME_CHAIN), out;
    is_int(frame_header_decode(frame, &out), 0, "a frame's header comes back");
    static uint8_t again[sizeof frame];
    struct frame_header rewritten = out;
    memcpy(again + FRAME_HEADER_SIZE, frame + FRAME_HEADER_SIZE, in.body_size);
    frame_finish(again, &rewritten, zero_chain);
    is_mem(again, frame, sizeof frame, "and makes the same frame");
    is_int(out.block_count, 1, "five records of 300 bytes fit one block");
    is_int((intmax_t)frame_last_seq(&out), 104, "the last sequence number follows from the count");
    const char *what;
    is_int(frame_check(frame, &out, &what), 0, "and the whole frame is sound");
    uint32_t at = 0, seen = 0;
    struct record record;
    while (frame_next_record(frame, &out, &at, &record))
        seen += record.seq == 100 + seen && record.payload.size == 300;
    is_int(seen, 5, "its records are walked in order");
}

static void full_block(void)
{
    struct frame_header header = build(1, LOG_BLOCK_SIZE - 128 - 64, 0);
    is_int(header.block_count, 1, "a body that fills the block takes one");
    is_int(decode_and_check(), 0, "and needs no padding");
    header = build(1, LOG_BLOCK_SIZE - 128 - 63, 0);
    is_int(header.block_count, 2, "one byte more takes two");
    is_int(decode_and_check(), 0, "and is sound too");
}

static void every_bit(uint32_t count, size_t size, uint16_t flags)
{
    struct frame_header header = build(count, size, flags);
    size_t bits = (size_t)header.block_count * LOG_BLOCK_SIZE * 8;
    size_t caught = 0;
    for (size_t bit = 0; bit < bits; bit++) {
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
        caught += decode_and_check() < 0;
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    is_int((intmax_t)caught, (intmax_t)bits, "each of %zu flipped bits is caught (%u records)",
           bits, count);
}

static void seal_header(void)
{
    bytes_put_u32(frame + FRAME_AT_HEADER_CRC,
                  crc32c(frame + FRAME_AT_SALT, FRAME_HEADER_SIZE - FRAME_AT_SALT));
}

struct forged {
    const char *name;
    size_t at;
    size_t size; /* bytes */
    uint64_t value;
    int want;
};

static void forged_headers(void)
{
    static const struct forged cases[] = {
        { "no record", FRAME_AT_RECORD_COUNT, 4, 0, ERROR_DAMAGED },
        { "more records than the body holds", FRAME_AT_RECORD_COUNT, 4, 100, ERROR_DAMAGED },
        { "a body beyond the limit", FRAME_AT_BODY_SIZE, 4, LOG_FRAME_SIZE_MAX, ERROR_DAMAGED },
        { "a body of 4 GiB", FRAME_AT_BODY_SIZE, 4, 0xfffffff8, ERROR_DAMAGED },
        { "a body that is no multiple of 8", FRAME_AT_BODY_SIZE, 4, 1821, ERROR_DAMAGED },
        { "too many blocks", FRAME_AT_BLOCK_COUNT, 4, 2, ERROR_DAMAGED },
        { "no block", FRAME_AT_BLOCK_COUNT, 4, 0, ERROR_DAMAGED },
        { "another raw size", FRAME_AT_RAW_SIZE, 4, 8, ERROR_DAMAGED },
        { "sequence number 0", FRAME_AT_FIRST_SEQ, 8, 0, ERROR_DAMAGED },
        { "sequence numbers that wrap", FRAME_AT_FIRST_SEQ, 8, UINT64_MAX - 1, ERROR_DAMAGED },
        { "a witness to itself", FRAME_AT_DURABLE_SEQ, 8, 100, ERROR_DAMAGED },
        { "the header's own block", FRAME_AT_FILE_OFFSET, 8, 0, ERROR_DAMAGED },
        { "an offset inside a block", FRAME_AT_FILE_OFFSET, 8, 8200, ERROR_DAMAGED },
        { "an offset beyond any segment", FRAME_AT_FILE_OFFSET, 8, UINT64_MAX - 4095,
          ERROR_DAMAGED },
        { "a frame before it larger than any", FRAME_AT_PREV_BLOCKS, 4, 4097, ERROR_DAMAGED },
        { "reserved bytes in use", FRAME_AT_RESERVED, 8, 1, ERROR_DAMAGED },
        { "five records in a frame of the log's own", FRAME_AT_FLAGS, 2, FRAME_SEAL,
          ERROR_DAMAGED },
        { "a run's end outside a run", FRAME_AT_FLAGS, 2, FRAME_TXN_END, ERROR_DAMAGED },
        { "a chain that its flags deny", FRAME_AT_FLAGS, 2, 0, ERROR_DAMAGED },
        { "an unknown flag", FRAME_AT_FLAGS, 2, 512, ERROR_NEWER },
        { "a compressed body", FRAME_AT_FLAGS, 2, FRAME_ZSTD | FRAME_CHAIN, ERROR_NEWER },
        { "an encrypted body", FRAME_AT_FLAGS, 2, FRAME_ENCRYPTED, ERROR_NEWER },
        { "an unknown codec", FRAME_AT_CODEC, 1, 1, ERROR_NEWER },
        { "an unknown version", FRAME_AT_VERSION, 1, 2, ERROR_NEWER },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct frame_header header;
        build(5, 300, FRAME_CHAIN);
        memcpy(frame + cases[i].at, &cases[i].value, cases[i].size);
        seal_header();
        is_int(frame_header_decode(frame, &header), cases[i].want,
               "%s is refused under a good checksum", cases[i].name);
    }
}

/* Makes the frame's checksums good again after its body was changed. */
static int recheck(struct frame_header *header, const char **what)
{
    frame_finish(frame, header, zero_chain);
    return frame_check(frame, header, what);
}

static void forged_bodies(void)
{
    const char *what;
    struct frame_header header = build(2, 100, 0);
    struct record record = { .seq = 103, .kind = 20, .payload = span_of("x", 1) };
    frame[FRAME_HEADER_SIZE + RECORD_HEADER_SIZE + 3] ^= 1;
    is_int(recheck(&header, &what), ERROR_DAMAGED, "a record that changed is found by its own CRC");
    is_str(what, "record checksum", "and named");

    header = build(1, 1, 0);
    record_encode(frame + FRAME_HEADER_SIZE, &record);
    is_int(recheck(&header, &what), ERROR_DAMAGED, "a record out of sequence is refused");
    is_str(what, "record sequence number", "and named");

    header = build(2, 100, 0);
    header.record_count = 1;
    is_int(recheck(&header, &what), ERROR_DAMAGED, "bytes behind the last record are refused");
    is_str(what, "record count", "and named");

    header = build(2, 100, 0);
    frame[LOG_BLOCK_SIZE - 1] = 1;
    is_int(recheck(&header, &what), ERROR_DAMAGED, "padding that is not zero is refused");
    is_str(what, "padding", "and named");

    header = build(1, 100, 0);
    header.flags = FRAME_CLOSE;
    is_int(recheck(&header, &what), ERROR_DAMAGED, "a CLOSE frame with another record is refused");
    is_str(what, "record kind", "and named");

    header = build(2, 100, 0);
    frame[LOG_BLOCK_SIZE - 1] = 1;
    is_int(frame_check(frame, &header, &what), ERROR_DAMAGED,
           "any byte is covered by the body CRC");
    is_str(what, "body checksum", "and named");
}

static void chains(void)
{
    uint8_t first[SHA256_SIZE], second[SHA256_SIZE], again[SHA256_SIZE], body[SHA256_SIZE];
    struct frame_header header = build(3, 50, FRAME_CHAIN);
    frame_chain(first, zero_chain, frame, &header);
    is_mem(first, header.chain, SHA256_SIZE, "the chain field is the chain after the frame");

    struct sha256 by_hand;
    sha256_of(body, frame + 128, LOG_BLOCK_SIZE - 128);
    sha256_init(&by_hand);
    sha256_more(&by_hand, zero_chain, SHA256_SIZE);
    sha256_more(&by_hand, frame + 8, 88);
    sha256_more(&by_hand, body, SHA256_SIZE);
    sha256_end(&by_hand, again);
    is_mem(again, first, SHA256_SIZE, "computed over the chain before, the header, and the body");

    frame_chain(second, first, frame, &header);
    ok(memcmp(second, first, SHA256_SIZE) != 0, "another past gives another chain");
    header = build(3, 50, 0);
    ok(bytes_are_zero(header.chain, SHA256_SIZE), "without the flag the field is zero");
}

/* The checksums taken while the body grows are those taken at the end. */
static void digests(void)
{
    static uint8_t whole[BLOCKS_MAX * LOG_BLOCK_SIZE];
    struct frame_header header = build(9, 700, FRAME_CHAIN), again = header;
    int same = 0;
    memcpy(whole, frame, sizeof frame);
    for (uint32_t cut = 0; cut <= header.body_size; cut += 8) {
        struct frame_digest digest;
        frame_digest_init(&digest, true);
        frame_digest_more(&digest, frame, cut / 2);
        frame_digest_more(&digest, frame, cut);
        frame_finish_digest(frame, &again, zero_chain, &digest);
        same += memcmp(frame, whole, sizeof frame) == 0;
    }
    is_int(same, (int)header.body_size / 8 + 1,
           "checksums of a growing body are those of the whole one");
}

int main(void)
{
    digests();
    round_trip();
    full_block();
    every_bit(3, 200, FRAME_CHAIN);
    every_bit(1, 0, 0);
    every_bit(2, 3000, FRAME_CHAIN | FRAME_TXN | FRAME_TXN_BEGIN);
    forged_headers();
    forged_bodies();
    chains();
    return tap_done();
}
