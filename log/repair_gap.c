/* Frames of which the headers are gone: what is known of the gap that they leave, gathered from
 * both sides of it, from what is still whole in it, and from the records that somebody else has.
 * log/rebuild.h puts it together. */
#include "log/rebuild.h"
#include "log/repair_inside.h"
#include "log/storage.h"

#include "core/base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GAP_SIZE_MAX ((uint64_t)LOG_SEGMENT_SIZE)
enum { ENDS_MAX = 256 };

struct gap {
    struct repair *repair;
    struct repair_segment *segment;
    uint64_t offset, size, first_seq;
    uint64_t last_seq; /* UINT64_MAX: not known */
    bool demanded;     /* what follows the gap says what chain ends it */
    /* Where the segment ends: what its last record may know of the gap; 0: not known. */
    uint64_t end_offset, end_seq;
    struct rebuild rebuild;
    uint64_t ends[ENDS_MAX];
    uint8_t *disk, *records, *next;
    uint64_t *at, *places, *found; /* the latter: records that are whole here */
    size_t count_max;
    uint64_t records_capacity, found_count;
};

static unsigned long long big(uint64_t number)
{
    return number;
}

/*--- The two sides -----------------------------------------------------------------------------*/

/* The next header of ours that is whole, whatever became of its body. */
static bool find_next_header(struct gap *gap, struct frame_header *header,
                             uint8_t header_bytes[FRAME_HEADER_SIZE])
{
    struct repair_segment *segment = gap->segment;
    const struct scan *scan = &segment->scan;
    const uint8_t *bytes;
    for (uint64_t at = gap->offset + LOG_BLOCK_SIZE; at < scan->limit; at += LOG_BLOCK_SIZE) {
        if (source_bytes(&segment->healed, at, FRAME_HEADER_SIZE, &bytes) < 0 ||
            !scan_header_is_ours(&segment->header, at, bytes, header) ||
            header->epoch != segment->header.epoch || header->first_seq <= gap->first_seq ||
            (uint64_t)header->block_count * LOG_BLOCK_SIZE > scan->limit - at)
            continue;
        memcpy(header_bytes, bytes, FRAME_HEADER_SIZE);
        gap->size = at - gap->offset;
        gap->last_seq = header->first_seq - 1;
        return true;
    }
    return false;
}

/* Where the segment ends, by the one behind it or by CHECKPOINT, with the chain there. */
static const uint8_t *find_end(struct gap *gap)
{
    const struct repair_segment *segment = gap->segment;
    const struct segment_header *next = repair_told_end(segment);
    const struct checkpoint *checkpoint = &gap->repair->checkpoint;
    if (next != NULL) {
        gap->end_offset = next->prev_end_offset;
        gap->end_seq = next->prev_last_seq;
        return next->prev_chain;
    }
    if (gap->repair->witness.seq == 0 || checkpoint->segment_no != segment->segment_no ||
        memcmp(checkpoint->log_uuid, segment->header.log_uuid, UUID_SIZE) != 0)
        return NULL;
    gap->end_offset = checkpoint->end_offset;
    gap->end_seq = checkpoint->durable_seq;
    return checkpoint->chain;
}

/* The gap ends where the segment does, or nothing says where. */
static void end_without_frame(struct gap *gap, const uint8_t *chain)
{
    uint64_t size_max = segment_frame_size_max(gap->segment->header.capacity);
    if (chain != NULL && gap->end_offset > gap->offset && gap->end_seq >= gap->first_seq &&
        gap->end_offset <= gap->segment->scan.limit) {
        gap->size = gap->end_offset - gap->offset;
        gap->last_seq = gap->end_seq;
        gap->demanded = true;
        memcpy(gap->rebuild.chain, chain, SHA256_SIZE);
        return;
    }
    gap->size = gap->segment->scan.limit - gap->offset;
    if (gap->size > size_max)
        gap->size = size_max;
    gap->last_seq = UINT64_MAX;
}

/* 0, 1, negative. */
static int find_sides(struct gap *gap)
{
    uint8_t header_bytes[FRAME_HEADER_SIZE];
    struct frame_header header;
    uint64_t asked;
    const uint8_t *chain = find_end(gap);
    bool framed = find_next_header(gap, &header, header_bytes);
    if (!framed)
        end_without_frame(gap, chain);
    if (gap->size > GAP_SIZE_MAX) {
        repair_cannot_build(gap->segment, "more than 64 MiB in a row are gone");
        return 1;
    }
    if (!framed)
        return 0;
    /* Its body takes part in the chain that it demands. */
    int code = repair_build_body(gap->repair, gap->offset + gap->size, header_bytes, &header,
                                 &gap->next, &asked);
    gap->demanded = code == 0;
    gap->rebuild.next = gap->next;
    gap->rebuild.next_header = header;
    return code < 0 ? code : 0;
}

/* Numbers with which frames before the gap ended: as much was durable when a later one was closed.
 */
static void read_ends(struct gap *gap)
{
    struct repair_segment *segment = gap->segment;
    uint64_t at = segment->scan.here.frame_offset, least = segment->header.durable_seq;
    struct frame_header frame;
    const uint8_t *bytes;
    size_t count = 0;
    gap->ends[count++] = gap->first_seq - 1;
    while (at != 0 && count < ENDS_MAX &&
           source_bytes(&segment->healed, at, FRAME_HEADER_SIZE, &bytes) == 0 &&
           scan_header_is_ours(&segment->header, at, bytes, &frame)) {
        if (count == 1)
            least = frame.durable_seq;
        if (frame.first_seq - 1 < least)
            break;
        gap->ends[count++] = frame.first_seq - 1;
        uint64_t before = (uint64_t)frame.prev_blocks * LOG_BLOCK_SIZE;
        at = before > 0 && before < at ? at - before : 0;
    }
    gap->rebuild.ends = gap->ends;
    gap->rebuild.end_count = count;
    gap->rebuild.durable_seq = least;
}

/*--- What is in it -----------------------------------------------------------------------------*/

static bool is_of_gap(const struct gap *gap, uint64_t seq)
{
    return seq >= gap->first_seq && seq - gap->first_seq < gap->count_max;
}

/* Records that are whole, wherever they stand: their places are where they were put. */
static void find_records(struct gap *gap)
{
    for (uint64_t at = FRAME_HEADER_SIZE; at + RECORD_HEADER_SIZE <= gap->size; at += 8) {
        const uint8_t *bytes = gap->disk + at;
        struct record record;
        size_t size;
        if (!is_of_gap(gap, bytes_get_u64(bytes + RECORD_AT_SEQ)) ||
            record_decode(span_of(bytes, gap->size - at), &record, &size) < 0)
            continue;
        uint64_t index = record.seq - gap->first_seq;
        if (gap->found[index] != 0)
            continue;
        gap->found[index] = gap->places[index] = at;
        gap->found_count++;
    }
}

static void take_index(struct gap *gap, const struct storage_sealed *sealed)
{
    uint64_t first = gap->offset / LOG_BLOCK_SIZE;
    for (uint64_t i = 0; i < gap->size / LOG_BLOCK_SIZE && first + i < sealed->block_count; i++) {
        const uint8_t *entry = sealed->index + (first + i) * SEALED_ENTRY_SIZE;
        uint64_t seq = sealed->first_seq + bytes_get_u32(entry);
        uint16_t at = bytes_get_u16(entry + 4);
        if (at < LOG_BLOCK_SIZE && is_of_gap(gap, seq))
            gap->places[seq - gap->first_seq] = i * LOG_BLOCK_SIZE + at;
    }
    gap->rebuild.indexed = true;
}

/* The last record of a segment that ended in order says which record begins each block. */
static int find_index(struct gap *gap)
{
    struct repair_segment *segment = gap->segment;
    struct storage_sealed sealed;
    struct frame_header frame;
    struct record record;
    struct span last;
    const uint8_t *bytes;
    size_t size;
    int code = 0;
    if (gap->end_seq == 0)
        return 0;
    if (scan_last_frame(&segment->healed, &segment->header, gap->end_offset, gap->end_seq, &frame,
                        &bytes) == 1 &&
        frame.record_count == 1)
        last = span_of(bytes + FRAME_HEADER_SIZE, frame.body_size);
    else
        code = repair_ask(gap->repair, gap->end_seq, &last);
    if (code != 0)
        return code < 0 ? code : 0;
    if (record_decode(last, &record, &size) == 0 &&
        (record.kind == LOG_KIND_SEALED || record.kind == LOG_KIND_CLOSED) &&
        storage_sealed_decode(record.payload, &sealed) == 0)
        take_index(gap, &sealed);
    return 0;
}

/*--- The records -------------------------------------------------------------------------------*/

/* 0; 1: they are more than the gap holds; -ENOMEM. */
static int add_record(struct gap *gap, size_t index, struct span record)
{
    uint64_t used = gap->at[index];
    if (record.size > gap->size - used)
        return 1;
    if (used + record.size > gap->records_capacity) {
        uint64_t more = (used + record.size) * 2 < gap->size ? (used + record.size) * 2 : gap->size;
        uint8_t *grown = realloc(gap->records, more);
        if (grown == NULL)
            return -ENOMEM;
        gap->records = grown;
        gap->records_capacity = more;
    }
    memcpy(gap->records + used, record.bytes, record.size);
    gap->at[index + 1] = used + record.size;
    return 0;
}

/* As many as can be had. 0 or negative. */
static int gather_records(struct gap *gap)
{
    struct rebuild *rebuild = &gap->rebuild;
    size_t count = 0;
    int code = 0;
    gap->at[0] = 0;
    while (code == 0 && count < gap->count_max) {
        uint64_t seq = gap->first_seq + count, place = gap->found[count];
        struct span record;
        if (place != 0)
            record = span_of(gap->disk + place, bytes_get_u32(gap->disk + place));
        else
            code = repair_ask(gap->repair, seq, &record);
        if (code == 0)
            code = add_record(gap, count, record);
        count += code == 0;
    }
    rebuild->records = gap->records;
    rebuild->count = count;
    rebuild->all = gap->demanded && count == gap->count_max;
    return code < 0 ? code : 0;
}

/*--- The gap -----------------------------------------------------------------------------------*/

/* 0, 1, negative. */
static int prepare(struct gap *gap)
{
    uint64_t most = gap->size / RECORD_HEADER_SIZE, wanted = gap->last_seq - gap->first_seq + 1;
    bool known = gap->last_seq != UINT64_MAX;
    gap->count_max = known && wanted < most ? wanted : most;
    if (known && wanted > most) {
        repair_cannot_build(gap->segment, "events %llu to %llu do not fit the gap",
                            big(gap->first_seq), big(gap->last_seq));
        return 1;
    }
    gap->disk = malloc(gap->size);
    gap->at = calloc(gap->count_max + 1, sizeof *gap->at);
    gap->places = calloc(gap->count_max + 1, sizeof *gap->places);
    gap->found = calloc(gap->count_max + 1, sizeof *gap->found);
    if (gap->disk == NULL || gap->at == NULL || gap->places == NULL || gap->found == NULL)
        return -ENOMEM;
    repair_read_rest(gap->segment, gap->offset, gap->size, gap->disk);
    /* Where nothing demands a chain, only the frame's own place can have it. */
    if (!gap->demanded && bytes_are_zero(gap->disk + FRAME_AT_CHAIN, SHA256_SIZE)) {
        if (gap->segment->unbuilt[0] == '\0')
            repair_cannot_build(gap->segment, "nothing that is whole says what chain ends here");
        return 1;
    }
    gap->rebuild.segment = &gap->segment->header;
    gap->rebuild.before = &gap->segment->scan.here;
    gap->rebuild.in_run = gap->segment->scan.in_run;
    gap->rebuild.disk = gap->disk;
    gap->rebuild.size = gap->size;
    gap->rebuild.at = gap->at;
    gap->rebuild.places = gap->places;
    read_ends(gap);
    return 0;
}

static void count_built(const struct gap *gap, struct repair_built *built)
{
    struct frame_header frame;
    for (uint64_t at = 0; at < built->size; at += (uint64_t)frame.block_count * LOG_BLOCK_SIZE) {
        if (frame_header_decode(built->bytes + at, &frame) < 0)
            return;
        built->records += frame.record_count;
    }
    for (uint64_t i = 0; i < built->records; i++)
        built->asked += gap->found[i] == 0;
}

/* 0, 1, negative. */
static int put_together(struct gap *gap, struct repair_built *built)
{
    uint8_t *target = malloc(gap->size);
    if (target == NULL)
        return -ENOMEM;
    int64_t proven = rebuild_frames(&gap->rebuild, target);
    if (proven <= 0) {
        free(target);
        return proven < 0 ? (int)proven : 1;
    }
    *built = (struct repair_built){ .bytes = target, .size = (uint64_t)proven };
    count_built(gap, built);
    return 0;
}

static int try_gap(struct gap *gap, bool from_here, struct repair_built *built)
{
    struct repair_segment *segment = gap->segment;
    memset(gap->places, 0, (gap->count_max + 1) * sizeof *gap->places);
    memset(gap->found, 0, (gap->count_max + 1) * sizeof *gap->found);
    if (from_here)
        find_records(gap);
    int code = find_index(gap);
    segment->unbuilt[0] = '\0';
    if (code == 0)
        code = gather_records(gap);
    return code == 0 ? put_together(gap, built) : code;
}

static void free_gap(struct gap *gap)
{
    free(gap->disk);
    free(gap->records);
    free(gap->next);
    free(gap->at);
    free(gap->places);
    free(gap->found);
}

int repair_build_gap(struct repair *repair, struct repair_built *built)
{
    struct repair_segment *segment = &repair->segment;
    struct gap gap = { .repair = repair,
                       .segment = segment,
                       .offset = segment->scan.here.end_offset,
                       .first_seq = segment->scan.here.last_seq + 1 };
    int code = find_sides(&gap);
    if (code == 0)
        code = prepare(&gap);
    if (code == 0)
        code = try_gap(&gap, true, built);
    /* What looks like a record here may be a part of another. */
    if (code == 1 && gap.found_count > 0)
        code = try_gap(&gap, false, built);
    if (code == 1 && segment->unbuilt[0] == '\0')
        repair_cannot_build(segment,
                            "the records of %s do not give the chain that is demanded there, or "
                            "too little is left to tell where its frames began",
                            repair->options->records->name);
    free_gap(&gap);
    return code;
}
