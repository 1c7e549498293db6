/* rebuild_frames(): frames come out of their records as they were, or not at all. */
#include "core/base/bytes.h"
#include "log/rebuild.h"
#include "log_maker.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

#define CAPACITY (8u << 20)
enum { FRAMES = 900, RECORDS_MAX = 4 * FRAMES };

static struct log_maker maker;
static uint64_t offsets[FRAMES + 1]; /* of each frame, and behind the last one */
static uint64_t first_seqs[FRAMES + 1];
static uint64_t places[RECORDS_MAX]; /* of each record, in the segment; by number */
static uint64_t at[RECORDS_MAX], here_places[RECORDS_MAX];
static uint8_t records[CAPACITY], disk[CAPACITY], target[CAPACITY];

static void note_records(uint64_t offset)
{
    struct frame_header frame;
    struct record record;
    uint32_t next = 0, before = 0;
    if (frame_header_decode(maker.bytes + offset, &frame) < 0)
        tap_bail_out("a made frame does not decode");
    for (; frame_next_record(maker.bytes + offset, &frame, &next, &record); before = next)
        places[record.seq] = offset + FRAME_HEADER_SIZE + before;
}

/* Frames of one block, each closed while `lag` before it were under way. */
static void make_segment(unsigned lag, size_t payload_size)
{
    log_maker_init(&maker, CAPACITY);
    for (unsigned i = 0; i < FRAMES; i++) {
        offsets[i] = maker.offset;
        first_seqs[i] = maker.next_seq;
        maker.durable_seq = i > lag ? first_seqs[i - lag] - 1 : 0;
        (void)log_maker_frame(&maker, 0, 1 + i % 3, payload_size);
        note_records(offsets[i]);
    }
    offsets[FRAMES] = maker.offset;
    first_seqs[FRAMES] = maker.next_seq;
}

/* What is known when frames first to last - 1 are gone. */
struct known {
    struct rebuild rebuild;
    struct scan_mark before;
    uint64_t ends[8];
};

static void take_records(struct rebuild *rebuild, unsigned first, unsigned last, bool indexed)
{
    at[0] = 0;
    for (uint64_t seq = first_seqs[first]; seq < first_seqs[last]; seq++) {
        const uint8_t *bytes = maker.bytes + places[seq];
        uint64_t size = bytes_get_u32(bytes);
        memcpy(records + at[rebuild->count], bytes, size);
        here_places[rebuild->count] = indexed ? places[seq] - offsets[first] : 0;
        at[rebuild->count + 1] = at[rebuild->count] + size;
        rebuild->count++;
    }
}

static void lose(struct known *known, unsigned first, unsigned last, bool indexed)
{
    struct rebuild *rebuild = &known->rebuild;
    struct frame_header frame;
    *known = (struct known){ .ends = { 0 } };
    (void)frame_header_decode(maker.bytes + offsets[first - 1], &frame);
    known->before = (struct scan_mark){ .end_offset = offsets[first],
                                        .frame_offset = offsets[first - 1],
                                        .last_seq = first_seqs[first] - 1,
                                        .link = frame_link(&frame),
                                        .link_known = true,
                                        .blocks = frame.block_count,
                                        .chain_known = true };
    memcpy(known->before.chain, frame.chain, SHA256_SIZE);
    for (unsigned i = 0; i < 8 && i < first; i++)
        known->ends[rebuild->end_count++] = first_seqs[first - i] - 1;
    memset(disk, 0, sizeof disk);
    rebuild->segment = &maker.header;
    rebuild->before = &known->before;
    rebuild->durable_seq = frame.durable_seq;
    rebuild->ends = known->ends;
    rebuild->disk = disk;
    rebuild->size = offsets[last] - offsets[first];
    rebuild->records = records;
    rebuild->at = at;
    rebuild->places = here_places;
    rebuild->indexed = indexed;
    rebuild->all = true;
    take_records(rebuild, first, last, indexed);
    if (last == FRAMES) {
        memcpy(rebuild->chain, maker.chain, SHA256_SIZE);
        return;
    }
    rebuild->next = maker.bytes + offsets[last];
    (void)frame_header_decode(rebuild->next, &rebuild->next_header);
}

static void comes_back(struct known *known, unsigned first, unsigned last, const char *name)
{
    uint64_t size = offsets[last] - offsets[first];
    memset(target, 0x5a, sizeof target);
    is_int(rebuild_frames(&known->rebuild, target), (intmax_t)size, "%s: all of it is proven",
           name);
    ok(memcmp(target, maker.bytes + offsets[first], size) == 0, "%s: as it was", name);
    ok(target[size] == 0x5a, "%s: and nothing behind it", name);
}

static void test_lags(void)
{
    static const unsigned lags[] = { 0, 1, 3, 7, FRAMES };
    for (size_t i = 0; i < sizeof lags / sizeof *lags; i++) {
        struct known known;
        char name[64];
        make_segment(lags[i], 300);
        lose(&known, 10, FRAMES - 10, true);
        (void)snprintf(name, sizeof name, "hundreds of frames, %u under way", lags[i]);
        comes_back(&known, 10, FRAMES - 10, name);
        lose(&known, FRAMES - 3, FRAMES, true);
        comes_back(&known, FRAMES - 3, FRAMES, "the last ones");
        log_maker_free(&maker);
    }
}

static void test_no_index(void)
{
    struct known known;
    make_segment(1, 300);
    lose(&known, 20, 21, false);
    comes_back(&known, 20, 21, "one without an index");
    lose(&known, 20, 23, false);
    comes_back(&known, 20, 23, "three without an index");
    lose(&known, 20, 21, false);
    known.rebuild.all = false;
    is_int(rebuild_frames(&known.rebuild, target), 0, "nothing is proven where nothing demands it");
    memcpy(disk + FRAME_AT_CHAIN, maker.bytes + offsets[20] + FRAME_AT_CHAIN, SHA256_SIZE);
    comes_back(&known, 20, 21, "but where its own chain still stands");
    log_maker_free(&maker);
}

static void test_refusals(void)
{
    struct known known;
    make_segment(1, 300);
    lose(&known, 20, 24, true);
    records[at[3] + 100] ^= 1;
    is_int(rebuild_frames(&known.rebuild, target), 0, "another bit of a record, and none is");
    lose(&known, 20, 24, true);
    known.before.chain[0] ^= 1;
    is_int(rebuild_frames(&known.rebuild, target), 0, "another chain before it");
    lose(&known, FRAMES - 3, FRAMES, true);
    known.rebuild.chain[31] ^= 1;
    is_int(rebuild_frames(&known.rebuild, target), 0, "another chain behind it");
    lose(&known, 20, 24, true);
    known.rebuild.size -= LOG_BLOCK_SIZE;
    is_int(rebuild_frames(&known.rebuild, target), 0, "more records than there is room");
    lose(&known, 20, 24, true);
    known.before.chain_known = false;
    is_int(rebuild_frames(&known.rebuild, target), 0, "no chain before it");
    lose(&known, 20, 24, true);
    known.rebuild.count = 0;
    is_int(rebuild_frames(&known.rebuild, target), 0, "no record");
    log_maker_free(&maker);
}

int main(void)
{
    test_lags();
    test_no_index();
    test_refusals();
    return tap_done();
}
