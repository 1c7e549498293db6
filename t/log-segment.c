/* A segment's header and name, and the CHECKPOINT's slots. */
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/error.h"
#include "log/checkpoint.h"
#include "log/segment.h"
#include "tap.h"

static uint8_t block[LOG_BLOCK_SIZE];

static struct segment_header sample(void)
{
    struct segment_header header = { .segment_no = 3,
                                     .first_seq = 51,
                                     .created_ns = 1700000000000000000,
                                     .salt = 0x1122334455667788,
                                     .epoch = 2,
                                     .capacity = LOG_SEGMENT_SIZE,
                                     .prev_segment_no = 2,
                                     .prev_last_seq = 50,
                                     .prev_end_offset = 12288,
                                     .durable_seq = 50,
                                     .compat = 0x8000,
                                     .hash = 1,
                                     .event_schema = 7 };
    memset(header.log_uuid, 0xab, UUID_SIZE);
    memset(header.prev_chain, 0xcd, SHA256_SIZE);
    memset(header.boot_id, 0xef, 16);
    return header;
}

static struct segment_header forked_sample(void)
{
    struct segment_header header = sample();
    header.incompat = LOG_INCOMPAT_FORKED;
    header.parent_seq = 40;
    memset(header.parent_uuid, 0x12, UUID_SIZE);
    memset(header.parent_chain, 0x34, SHA256_SIZE);
    return header;
}

static void seal(void)
{
    bytes_put_u32(block + 12, crc32c_more(crc32c(block, 12), block + 16, LOG_BLOCK_SIZE - 16));
}

static void round_trip(void)
{
    struct segment_header in = sample(), out;
    segment_header_encode(block, &in);
    is_int(segment_header_decode(block, &out, NULL), 0, "a segment's header comes back");
    ok(in.segment_no == out.segment_no && in.first_seq == out.first_seq &&
           in.created_ns == out.created_ns && in.salt == out.salt && in.epoch == out.epoch &&
           in.capacity == out.capacity && in.prev_segment_no == out.prev_segment_no &&
           in.prev_last_seq == out.prev_last_seq && in.prev_end_offset == out.prev_end_offset &&
           in.durable_seq == out.durable_seq && in.compat == out.compat && in.hash == out.hash,
       "with its numbers");
    ok(memcmp(in.log_uuid, out.log_uuid, UUID_SIZE) == 0 &&
           memcmp(in.prev_chain, out.prev_chain, SHA256_SIZE) == 0 &&
           memcmp(in.boot_id, out.boot_id, 16) == 0,
       "and its identities");
    ok(out.minor == LOG_VERSION_MINOR && out.event_schema == 7, "with its versions");
    ok(!segment_is_forked(&out) && bytes_are_zero(out.parent_uuid, UUID_SIZE), "and no parent");
    in = forked_sample();
    segment_header_encode(block, &in);
    is_int(segment_header_decode(block, &out, NULL), 0, "that of a log with a parent comes back");
    ok(segment_is_forked(&out) && out.parent_seq == 40 &&
           memcmp(in.parent_uuid, out.parent_uuid, UUID_SIZE) == 0 &&
           memcmp(in.parent_chain, out.parent_chain, SHA256_SIZE) == 0,
       "with where it left it");
    memset(block, 0, sizeof block);
    is_int(segment_header_decode(block, &out, NULL), 1, "a block of zeros is a spare's");
}

static void every_bit(struct segment_header in, const char *what)
{
    struct segment_header out;
    size_t caught = 0, bits = sizeof block * 8;
    segment_header_encode(block, &in);
    for (size_t bit = 0; bit < bits; bit++) {
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        caught += segment_header_decode(block, &out, NULL) == ERROR_DAMAGED;
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    is_int((intmax_t)caught, (intmax_t)bits, "each flipped bit of the block is caught, %s", what);
}

static void forged(void)
{
    static const struct {
        const char *name;
        size_t at, size;
        uint64_t value;
        int want;
    } cases[] = {
        { "a newer major version", SEGMENT_AT_MAJOR, 2, 2, ERROR_NEWER },
        { "an unknown incompatible feature", SEGMENT_AT_INCOMPAT, 4, 2, ERROR_NEWER },
        { "an unknown checksum", SEGMENT_AT_CHECKSUM, 1, 2, ERROR_NEWER },
        { "an unknown hash", SEGMENT_AT_HASH, 1, 2, ERROR_NEWER },
        { "another block size", SEGMENT_AT_BLOCK_SIZE, 4, 512, ERROR_NEWER },
        { "a capacity below the least", SEGMENT_AT_CAPACITY, 8, 4096, ERROR_DAMAGED },
        { "a capacity over the limit", SEGMENT_AT_CAPACITY, 8, 1ull << 40, ERROR_DAMAGED },
        { "a capacity of part blocks", SEGMENT_AT_CAPACITY, 8, (64u << 20) + 1, ERROR_DAMAGED },
        { "segment 0", SEGMENT_AT_SEGMENT_NO, 8, 0, ERROR_DAMAGED },
        { "a segment before the one it follows", SEGMENT_AT_SEGMENT_NO, 8, 2, ERROR_DAMAGED },
        { "a gap in the sequence", SEGMENT_AT_FIRST_SEQ, 8, 52, ERROR_DAMAGED },
        { "a witness to what comes after", SEGMENT_AT_DURABLE_SEQ, 8, 51, ERROR_DAMAGED },
        { "an end beyond the largest segment", SEGMENT_AT_PREV_END_OFFSET, 8, 1ull << 62,
          ERROR_DAMAGED },
        { "no segment before it, but events", SEGMENT_AT_PREV_SEGMENT_NO, 8, 0, ERROR_DAMAGED },
        { "epoch 0", SEGMENT_AT_EPOCH, 4, 0, ERROR_DAMAGED },
        { "a reserved byte in use", SEGMENT_AT_RESERVED + 3, 1, 1, ERROR_DAMAGED },
        { "format 1.0 with an event schema", SEGMENT_AT_MINOR, 2, 0, ERROR_DAMAGED },
        { "a parent without its bit", SEGMENT_AT_PARENT_UUID, 1, 1, ERROR_DAMAGED },
        { "a parent's number without its bit", SEGMENT_AT_PARENT_SEQ, 1, 1, ERROR_DAMAGED },
        { "a parent's chain without its bit", SEGMENT_AT_PARENT_CHAIN + 31, 1, 1, ERROR_DAMAGED },
        { "the bit without a parent", SEGMENT_AT_INCOMPAT, 4, 1, ERROR_DAMAGED },
        { "a byte in use behind the fields", LOG_BLOCK_SIZE - 1, 1, 1, ERROR_DAMAGED },
    };
    struct segment_header in = sample(), out;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error = { 0 };
        segment_header_encode(block, &in);
        memcpy(block + cases[i].at, &cases[i].value, cases[i].size);
        seal();
        is_int(segment_header_decode(block, &out, &error), cases[i].want, "%s is refused: %s",
               cases[i].name, error.text);
    }
    segment_header_encode(block, &in);
    block[SEGMENT_AT_MINOR] = LOG_VERSION_MINOR + 1;
    block[SEGMENT_END_OF_FIELDS] = 1;
    seal();
    is_int(segment_header_decode(block, &out, NULL), 0,
           "a newer minor version may use more of the block");
}

/* Of format 1.0: no schema, no parent, and neither may be read into reserved bytes. */
static void old_version(void)
{
    struct segment_header in = sample(), out;
    in.event_schema = 0;
    segment_header_encode(block, &in);
    block[SEGMENT_AT_MINOR] = 0;
    seal();
    is_int(segment_header_decode(block, &out, NULL), 0, "format 1.0 is read");
    ok(out.minor == 0 && out.event_schema == 1, "as of event schema 1");
    for (size_t at = SEGMENT_END_OF_FIELDS_1_0; at < SEGMENT_END_OF_FIELDS; at += 8) {
        block[at] = 1;
        seal();
        if (segment_header_decode(block, &out, NULL) != ERROR_DAMAGED)
            tap_bail_out("byte %zu is not reserved in format 1.0", at);
        block[at] = 0;
    }
    in = forked_sample();
    segment_header_encode(block, &in);
    block[SEGMENT_AT_MINOR] = 0;
    seal();
    is_int(segment_header_decode(block, &out, NULL), ERROR_DAMAGED, "and knows no parents");
}

static void forged_parents(void)
{
    struct segment_header in = forked_sample(), out;
    memcpy(in.parent_uuid, in.log_uuid, UUID_SIZE);
    segment_header_encode(block, &in);
    is_int(segment_header_decode(block, &out, NULL), ERROR_DAMAGED, "no log is its own parent");
    in = forked_sample();
    in.parent_seq = in.first_seq;
    segment_header_encode(block, &in);
    is_int(segment_header_decode(block, &out, NULL), ERROR_DAMAGED,
           "nor left one behind events to come");
}

/* Who may stand behind whom in one directory. */
static void lines(void)
{
    struct segment_header first = sample(), second = sample(), third;
    second.segment_no = 4;
    ok(segment_is_of_line(&first, &second), "segments of one log are of one line");
    second.incompat = LOG_INCOMPAT_FORKED;
    memcpy(second.parent_uuid, first.log_uuid, UUID_SIZE);
    second.parent_seq = second.prev_last_seq;
    memcpy(second.parent_chain, second.prev_chain, SHA256_SIZE);
    ok(!segment_is_of_line(&first, &second), "but a log has a parent in all of them or in none");
    memset(second.log_uuid, 0x77, UUID_SIZE);
    ok(segment_is_of_line(&first, &second), "a fork goes on behind its parent");
    ok(!segment_is_of_line(&second, &first), "not before it");
    third = second;
    memset(third.log_uuid, 0x99, UUID_SIZE);
    ok(segment_is_of_line(&second, &third), "and passes over a name that was never used");
    third.prev_last_seq = third.parent_seq + 1;
    ok(!segment_is_of_line(&second, &third), "but not over one that was");
    second.parent_chain[0] ^= 1;
    ok(!segment_is_of_line(&first, &second), "it left the history that is there");
    second.parent_chain[0] ^= 1;
    second.parent_seq--;
    ok(!segment_is_of_line(&first, &second), "at its end");
    second.parent_seq++;
    second.parent_uuid[0] ^= 1;
    ok(!segment_is_of_line(&first, &second), "under its name");
}

static void names(void)
{
    char name[LOG_SEGMENT_NAME_SIZE];
    uint64_t no = 0;
    segment_name(name, 42);
    is_str(name, "seg-0000000042.log", "a segment is named by its number");
    ok(segment_no_of_name(name, &no) && no == 42, "and its number read from the name");
    segment_name(name, 9999999999);
    ok(segment_no_of_name(name, &no) && no == 9999999999, "up to ten digits");
    static const char *const others[] = {
        "",
        "seg-42.log",
        "seg-0000000000.log",
        "seg-0000000042.log~",
        "seg-000000004x.log",
        "seg-+000000042.log",
        "seg-0000000042.zlog",
        "xseg-000000042.log",
        "seg-00000000042.log",
    };
    int refused = 0;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        refused += !segment_no_of_name(others[i], &no);
    is_int(refused, sizeof others / sizeof others[0], "nothing else is taken for a segment's name");
}

static void limits(void)
{
    is_int(segment_frame_size_max(LOG_SEGMENT_SIZE), LOG_FRAME_SIZE_MAX,
           "a 64 MiB segment takes frames of 16 MiB");
    is_int(segment_payload_size_max(LOG_SEGMENT_SIZE), LOG_PAYLOAD_SIZE_MAX,
           "and payloads of 8 MiB");
    is_int(segment_frame_size_max(LOG_SEGMENT_SIZE_MIN), 64 << 10,
           "a 256 KiB segment frames of a quarter");
    is_int(segment_payload_size_max(LOG_SEGMENT_SIZE_MIN), (64 << 10) - 128 - 64,
           "and payloads that fit one");
}

static void checkpoints(void)
{
    struct checkpoint in = { .durable_seq = 77,
                             .segment_no = 3,
                             .end_offset = 8192,
                             .time_ns = 1700000000000000000,
                             .generation = 9 };
    struct checkpoint out;
    memset(in.log_uuid, 0x11, UUID_SIZE);
    memset(in.chain, 0x22, SHA256_SIZE);
    memset(block, 0, sizeof block);
    is_int(checkpoint_decode(block, &out), 1, "a slot of zeros was never written");
    checkpoint_encode(block, &in);
    is_int(checkpoint_decode(block, &out), 0, "a slot comes back");
    ok(memcmp(&in, &out, sizeof in) == 0, "as it went in");
    size_t caught = 0, bits = sizeof block * 8;
    for (size_t bit = 0; bit < bits; bit++) {
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        caught += checkpoint_decode(block, &out) == ERROR_DAMAGED;
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    is_int((intmax_t)caught, (intmax_t)bits, "each flipped bit of a slot is caught");
    block[CHECKPOINT_AT_VERSION] = 2;
    seal();
    is_int(checkpoint_decode(block, &out), ERROR_NEWER, "a slot of a newer version is not read");
    checkpoint_encode(block, &in);
    block[CHECKPOINT_END_OF_FIELDS] = 1;
    seal();
    is_int(checkpoint_decode(block, &out), ERROR_DAMAGED, "nor one with reserved bytes in use");
}

int main(void)
{
    round_trip();
    every_bit(sample(), "without a parent");
    every_bit(forked_sample(), "with one");
    forged();
    old_version();
    forged_parents();
    lines();
    names();
    limits();
    checkpoints();
    return tap_done();
}
