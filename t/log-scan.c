/* A scan with the chain: bodies of frames to come are hashed along with one that is looked at, and
 * what is wrong is still found in the frame where it is, whatever the sizes. */
#include "log/scan.h"

#include "core/base/bytes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tap.h"

enum { FRAMES = 40, BLOCKS_MAX = 70, CAPACITY = (1 + FRAMES * BLOCKS_MAX) * LOG_BLOCK_SIZE };

static uint8_t segment[CAPACITY];
static uint64_t offsets[FRAMES + 1];
static struct segment_header header = {
    .first_seq = 1, .salt = 77, .epoch = 1, .capacity = CAPACITY, .hash = 1
};

static void add_frame(unsigned number, size_t payload_size, struct frame_header *before)
{
    static uint8_t payload[BLOCKS_MAX * LOG_BLOCK_SIZE];
    uint8_t *bytes = segment + offsets[number];
    memset(payload, (int)number + 1, payload_size);
    struct record record = {
        .seq = number + 1, .time_ns = 1, .kind = 20, .payload = span_of(payload, payload_size)
    };
    struct frame_header frame = { .salt = header.salt,
                                  .first_seq = record.seq,
                                  .file_offset = offsets[number],
                                  .record_count = 1,
                                  .body_size = (uint32_t)record_size(payload_size),
                                  .epoch = header.epoch,
                                  .flags = FRAME_CHAIN,
                                  .prev_blocks = before->block_count,
                                  .prev_link = number > 0 ? frame_link(before) : 0 };
    memset(bytes, 0, (size_t)frame_block_count(frame.body_size) * LOG_BLOCK_SIZE);
    record_encode(bytes + FRAME_HEADER_SIZE, &record);
    frame_finish(bytes, &frame, before->chain);
    offsets[number + 1] = offsets[number] + (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
    *before = frame;
}

/* Frames of one block, of many, and of sizes between. */
static void make_segment(void)
{
    struct frame_header before = { .block_count = 0 };
    memset(segment, 0, sizeof segment);
    offsets[0] = LOG_BLOCK_SIZE;
    for (unsigned i = 0; i < FRAMES; i++) {
        size_t blocks = i % 3 == 0 ? 1 : 1 + (size_t)lrand48() % (i % 3 == 1 ? 4 : BLOCKS_MAX - 1);
        add_frame(i, blocks * LOG_BLOCK_SIZE - 1000, &before);
    }
}

/* Changes a payload by the polynomial of CRC-32C: all checksums of the frame
 * stay right, and only the chain shows it. Twice, it is as it was. */
static void forge(unsigned number)
{
    uint8_t *payload = segment + offsets[number] + FRAME_HEADER_SIZE + RECORD_HEADER_SIZE;
    bytes_put_u64(payload, bytes_get_u64(payload) ^ (1 | 0x82f63b78ull << 1));
}

static int fill(void *context, uint8_t *target, uint64_t offset, uint64_t size)
{
    (void)context;
    memcpy(target, segment + offset, size);
    return 0;
}

static void begin(struct scan *scan, struct source *source)
{
    source_of_fill(source, fill, NULL, CAPACITY);
    scan_begin(scan, source, &header);
    scan->check_chain = true;
}

/* How many frames there are up to the first bad one. */
static unsigned scan_frames(struct scan *scan, unsigned count_max)
{
    struct frame_header frame;
    const uint8_t *bytes;
    unsigned count = 0;
    while (count < count_max && scan_next(scan, &frame, &bytes) == SCAN_FRAME)
        count++;
    return count;
}

static void a_forged_frame_is_found(uint64_t seed)
{
    static uint8_t whole[CAPACITY];
    struct source source;
    struct scan scan;
    unsigned misplaced = 0, otherwise = 0;
    begin(&scan, &source);
    is_int(scan_frames(&scan, FRAMES), FRAMES,
           "frames of 1 to %d blocks are scanned (seed %" PRIu64 ")", BLOCKS_MAX, seed);
    ok(memcmp(scan.here.chain, segment + offsets[FRAMES - 1] + FRAME_AT_CHAIN, SHA256_SIZE) == 0,
       "to the end of their chain");
    source_close(&source);
    memcpy(whole, segment, sizeof whole);
    for (unsigned i = 0; i < FRAMES; i++) {
        forge(i);
        begin(&scan, &source);
        misplaced += scan_frames(&scan, FRAMES) != i;
        otherwise += scan.what == NULL || strcmp(scan.what, "its chain does not match") != 0;
        source_close(&source);
        memcpy(segment, whole, sizeof whole);
    }
    is_int(misplaced, 0, "a payload that was changed under its checksums ends the scan just there");
    is_int(otherwise, 0, "for the chain");
}

/* A hash of what is not there any more would vouch for it. */
static void what_is_read_again_is_hashed_again(void)
{
    struct source source;
    struct scan scan;
    unsigned wrong = 0;
    for (unsigned i = 1; i < FRAMES; i++) {
        begin(&scan, &source);
        if (scan_frames(&scan, i) != i)
            tap_bail_out("frame %u is not whole", i);
        forge(i);
        source_forget(&source);
        wrong += scan_frames(&scan, 1) != 0;
        forge(i);
        source_forget(&source);
        wrong += scan_frames(&scan, 1) != 1; /* as it was */
        source_close(&source);
    }
    is_int(wrong, 0, "bytes that are read again are hashed again");
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
    srand48((long)seed);
    make_segment();
    a_forged_frame_is_found(seed);
    what_is_read_again_is_hashed_again();
    return tap_done();
}
