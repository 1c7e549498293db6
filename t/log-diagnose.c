/* Single flipped bits are found by their checksums alone, each where it is, and a frame that lies
 * where another one should is known by what it says of itself: log/diagnose.h. */
#include "log/diagnose.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "log/checkpoint.h"
#include "log/verify.h"
#include "log_maker.h"
#include "scratch.h"
#include "tap.h"

#define CAPACITY (256u << 10)

static void flip(uint8_t *bytes, uint64_t bit)
{
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

static bool is_flip(struct diagnosis diagnosis, uint64_t bit)
{
    return diagnosis.kind == DIAGNOSIS_FLIPPED && diagnosis.offset == bit / 8 &&
           diagnosis.bit == bit % 8;
}

static void test_checksums(void)
{
    uint8_t bytes[300];
    unsigned found = 0;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    uint32_t stored = crc32c(bytes, sizeof bytes);
    for (unsigned bit = 0; bit < sizeof bytes * 8; bit++) {
        flip(bytes, bit);
        found += diagnose_bit(stored, crc32c(bytes, sizeof bytes), sizeof bytes) == bit;
        flip(bytes, bit);
    }
    is_int(found, sizeof bytes * 8, "each flipped bit is found from the checksums alone");
    flip(bytes, 24);
    flip(bytes, 1600);
    ok(diagnose_bit(stored, crc32c(bytes, sizeof bytes), sizeof bytes) == UINT64_MAX,
       "two flipped bits are not taken for one");
    ok(diagnose_bit(stored, stored, sizeof bytes) == UINT64_MAX, "nothing is wrong with what is "
                                                                 "right");
    ok(diagnose_bit(stored, ~stored, 0) == UINT64_MAX, "no bytes have no bit");
}

/* A segment with a frame of three records of two blocks, and one behind it. */
static uint64_t make(struct log_maker *maker)
{
    log_maker_init(maker, CAPACITY);
    log_maker_open(maker);
    uint64_t offset = log_maker_frame(maker, 0, 3, 1500);
    log_maker_frame(maker, 0, 1, 100);
    return offset;
}

static void test_frame(void)
{
    struct log_maker maker;
    uint64_t offset = make(&maker), size = 2ull * LOG_BLOCK_SIZE;
    uint8_t *frame = maker.bytes + offset, before[2 * LOG_BLOCK_SIZE];
    memcpy(before, frame, size);
    struct diagnosis whole = diagnose_frame(frame, size, &maker.header, offset);
    is_int(whole.kind, DIAGNOSIS_WHOLE, "a whole frame is whole");
    uint64_t found = 0, found_alone = 0, changed = 0;
    for (uint64_t bit = 0; bit < size * 8; bit++) {
        flip(frame, bit);
        found += is_flip(diagnose_frame(frame, size, &maker.header, offset), bit);
        if (bit < FRAME_HEADER_SIZE * 8ull)
            found_alone += is_flip(diagnose_frame_header(frame), bit);
        flip(frame, bit);
        changed += memcmp(before, frame, size) != 0;
    }
    is_int(found, size * 8, "each flipped bit of a frame, padding too, is found where it is");
    is_int(found_alone, FRAME_HEADER_SIZE * 8ull, "those of its header without its body");
    is_int(changed, 0, "and the bytes come back as they were");
    flip(frame, 1);
    flip(frame, 3000);
    is_int(diagnose_frame(frame, size, &maker.header, offset).kind, DIAGNOSIS_NONE,
           "one in the header and one in the body are not taken for one");
    flip(frame, 1);
    flip(frame, 3001);
    is_int(diagnose_frame(frame, size, &maker.header, offset).kind, DIAGNOSIS_NONE,
           "nor are two in the body");
    log_maker_free(&maker);
}

/* What has a right checksum with one bit flipped by chance is no frame yet. */
static void test_chance(void)
{
    struct log_maker maker;
    uint64_t offset = make(&maker), size = 2ull * LOG_BLOCK_SIZE;
    uint8_t *frame = maker.bytes + offset;
    struct frame_header header;
    ok(frame_header_decode(frame, &header) == 0, "the header decodes");
    memset(frame + 1000, 0x5a, 600);
    flip(frame, 40000);
    header.body_crc = crc32c(frame + FRAME_HEADER_SIZE, size - FRAME_HEADER_SIZE);
    bytes_put_u32(frame + FRAME_AT_BODY_CRC, header.body_crc);
    bytes_put_u32(frame + FRAME_AT_HEADER_CRC,
                  crc32c(frame + FRAME_AT_SALT, FRAME_HEADER_SIZE - FRAME_AT_SALT));
    flip(frame, 40000);
    is_int(diagnose_frame(frame, size, &maker.header, offset).kind, DIAGNOSIS_NONE,
           "a bit that makes the body's checksum right, and no record, is not the answer");
    log_maker_free(&maker);
}

static void test_records(void)
{
    struct log_maker maker;
    uint64_t offset = make(&maker), found = 0;
    uint8_t *bytes = maker.bytes + offset + FRAME_HEADER_SIZE;
    uint64_t size = bytes_get_u32(bytes + RECORD_AT_SIZE);
    is_int(diagnose_record(bytes, 2 * size).kind, DIAGNOSIS_WHOLE, "a whole record is whole");
    for (uint64_t bit = 0; bit < size * 8; bit++) {
        flip(bytes, bit);
        found += is_flip(diagnose_record(bytes, 2 * size), bit);
        flip(bytes, bit);
    }
    is_int(found, size * 8, "each flipped bit of a record is found, those of its size too");
    is_int(diagnose_record(bytes, 10).kind, DIAGNOSIS_NONE, "of ten bytes nothing can be said");
    log_maker_free(&maker);
}

static void test_blocks(void)
{
    struct log_maker maker;
    uint8_t block[LOG_BLOCK_SIZE];
    uint64_t found = 0;
    log_maker_init(&maker, CAPACITY);
    segment_header_encode(block, &maker.header);
    for (uint64_t bit = 0; bit < sizeof block * 8; bit++) {
        flip(block, bit);
        found += is_flip(diagnose_segment_header(block), bit);
        flip(block, bit);
    }
    is_int(found, sizeof block * 8, "each flipped bit of a segment's header is found");
    struct checkpoint checkpoint = { .durable_seq = 7, .generation = 3, .segment_no = 1 };
    checkpoint_encode(block, &checkpoint);
    found = 0;
    for (uint64_t bit = 0; bit < sizeof block * 8; bit++) {
        flip(block, bit);
        found += is_flip(diagnose_checkpoint(block), bit);
        flip(block, bit);
    }
    is_int(found, sizeof block * 8, "and of CHECKPOINT");
    log_maker_free(&maker);
}

/* Whatever the bytes are, the answer is one. */
static void test_garbage(void)
{
    struct log_maker maker;
    uint8_t bytes[2 * LOG_BLOCK_SIZE];
    unsigned seed = (unsigned)time(NULL), answered = 0;
    tap_note("seed %u", seed);
    srand(seed);
    log_maker_init(&maker, CAPACITY);
    for (int i = 0; i < 200; i++) {
        for (size_t at = 0; at < sizeof bytes; at++)
            bytes[at] = (uint8_t)rand();
        if (i % 2 == 0)
            memcpy(bytes, FRAME_MAGIC, 4);
        uint64_t size = (uint64_t)rand() % sizeof bytes;
        answered +=
            diagnose_frame(bytes, size, &maker.header, LOG_BLOCK_SIZE).kind == DIAGNOSIS_NONE &&
            diagnose_record(bytes, size).kind == DIAGNOSIS_NONE;
    }
    is_int(answered, 200, "of random bytes nothing can be said");
    log_maker_free(&maker);
}

/*--- Through verify ----------------------------------------------------------------------------*/

struct seen {
    unsigned count;
    struct log_finding last;
};

static void see(const struct log_finding *finding, void *context)
{
    struct seen *seen = context;
    if (seen->count++ == 0)
        seen->last = *finding;
}

static struct seen verify(const char *dir)
{
    struct seen seen = { .count = 0 };
    struct log_verify_result result;
    struct error error;
    struct log_verify_options options = { .dir = dir, .finding = see, .context = &seen };
    if (log_verify(&options, &result, &error) < 0)
        tap_bail_out("%s", error.text);
    return seen;
}

static void test_verify(void)
{
    const char *dir = scratch_path("log");
    struct log_maker maker;
    uint64_t offset = make(&maker);
    flip(maker.bytes + offset, 8 * 700 + 3);
    log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    log_maker_next(&maker, 0);
    log_maker_open(&maker);
    log_maker_write(&maker, dir);
    struct seen seen = verify(dir);
    ok(seen.last.flipped && seen.last.flipped_offset == offset + 700 && seen.last.flipped_bit == 3,
       "verify names the bit: %s", seen.last.diagnosis);
    log_maker_free(&maker);
    scratch_remove(dir);
}

static void test_misplaced(void)
{
    const char *dir = scratch_path("log");
    struct log_maker maker;
    uint64_t offset = make(&maker);
    uint8_t kept[2 * LOG_BLOCK_SIZE];
    memcpy(kept, maker.bytes + offset, sizeof kept);
    memcpy(maker.bytes + maker.offset, kept, sizeof kept);
    log_maker_write(&maker, dir);
    struct seen seen = verify(dir);
    ok(seen.last.offset == maker.offset &&
           strstr(seen.last.diagnosis, "it belongs at 0x2000 of this segment, and lies at") != NULL,
       "a frame that lies at another place of its segment is known: %s", seen.last.diagnosis);
    memset(maker.bytes + maker.offset, 0, sizeof kept);
    log_maker_seal(&maker, FRAME_SEAL);
    log_maker_write(&maker, dir);
    log_maker_next(&maker, 0);
    log_maker_frame(&maker, 0, 1, 100);
    memcpy(maker.bytes + maker.offset, kept, sizeof kept);
    log_maker_write(&maker, dir);
    seen = verify(dir);
    ok(strstr(seen.last.diagnosis,
              "belongs at 0x2000 of segment 1, and lies at 0x2000 of segment 2") != NULL,
       "so is one of another segment: %s", seen.last.diagnosis);
    log_maker_free(&maker);
    scratch_remove(dir);
}

int main(void)
{
    test_checksums();
    test_frame();
    test_chance();
    test_records();
    test_blocks();
    test_garbage();
    test_verify();
    test_misplaced();
    return tap_done();
}
