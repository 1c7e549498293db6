/* A frame out of the records that somebody else has. Where its header is whole, or one bit away
 * from it, that says all about the frame but its records, and has the chain that they must give.
 * Where it is not, repair_gap.c looks for what it must have been. */
#include "log/repair_inside.h"

#include "log/diagnose.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

void repair_cannot_build(struct repair_segment *segment, const char *format, ...)
{
    va_list arguments;
    memcpy(segment->unbuilt, "; ", 3);
    va_start(arguments, format);
    (void)vsnprintf(segment->unbuilt + 2, sizeof segment->unbuilt - 2, format, arguments);
    va_end(arguments);
}

/*--- Records -----------------------------------------------------------------------------------*/

static bool is_record(struct span bytes, uint64_t seq, size_t *size)
{
    struct record record;
    return record_decode(bytes, &record, size) == 0 && record.seq == seq;
}

int repair_ask(struct repair *repair, uint64_t seq, struct span *record)
{
    const struct log_repair_records *records = repair->options->records;
    struct repair_segment *segment = &repair->segment;
    struct error what = { .code = 0 };
    size_t size;
    int code = records->record(records->context, segment->header.log_uuid, seq, record, &what);
    if (code == 0 && (!is_record(*record, seq, &size) || size != record->size))
        code = error_set(&what, ERROR_DAMAGED, "what %s has as event %llu is damaged",
                         records->name, big(seq));
    if (code == ERROR_NOT_FOUND || code == ERROR_DAMAGED) {
        repair_cannot_build(segment, "%s", what.text);
        return 1;
    }
    if (code < 0)
        repair->failed = what;
    return code;
}

void repair_read_rest(struct repair_segment *segment, uint64_t offset, uint64_t size,
                      uint8_t *target)
{
    const uint8_t *bytes;
    memset(target, 0, size);
    for (uint64_t at = 0; at < size; at += LOG_BLOCK_SIZE)
        if (source_bytes(&segment->healed, offset + at, LOG_BLOCK_SIZE, &bytes) == 0)
            memcpy(target + at, bytes, LOG_BLOCK_SIZE);
}

/* Puts record `seq` at `target`, which has room for `room` bytes and holds what stands there. Its
 * size in *size. 0, 1, negative. */
static int put_record(struct repair *repair, uint64_t seq, uint8_t *target, uint64_t room,
                      size_t *size, uint64_t *asked)
{
    struct span record;
    if (is_record(span_of(target, room), seq, size))
        return 0;
    int code = repair_ask(repair, seq, &record);
    if (code != 0)
        return code;
    if (record.size > room) {
        repair_cannot_build(&repair->segment,
                            "what %s has as event %llu is larger than what stood "
                            "here",
                            repair->options->records->name, big(seq));
        return 1;
    }
    memcpy(target, record.bytes, record.size);
    *size = record.size;
    *asked += 1;
    return 0;
}

/*--- A frame behind its header -----------------------------------------------------------------*/

static int fill_body(struct repair *repair, const struct frame_header *header, uint8_t *frame,
                     uint64_t *asked)
{
    uint64_t at = FRAME_HEADER_SIZE, end = FRAME_HEADER_SIZE + (uint64_t)header->body_size;
    const char *what;
    int code = 0;
    for (uint32_t i = 0; code == 0 && i < header->record_count; i++) {
        size_t size = 0;
        code = put_record(repair, header->first_seq + i, frame + at, end - at, &size, asked);
        at += size;
    }
    if (code != 0)
        return code;
    memset(frame + end, 0, (uint64_t)header->block_count * LOG_BLOCK_SIZE - end);
    if (at == end && frame_check(frame, header, &what) == 0)
        return 0;
    repair_cannot_build(&repair->segment,
                        "events %llu to %llu of %s are not those that were written here: their "
                        "checksum is another",
                        big(header->first_seq), big(frame_last_seq(header)),
                        repair->options->records->name);
    return 1;
}

int repair_build_body(struct repair *repair, uint64_t offset, const uint8_t *header_bytes,
                      const struct frame_header *header, uint8_t **frame, uint64_t *asked)
{
    uint64_t size = (uint64_t)header->block_count * LOG_BLOCK_SIZE;
    *asked = 0;
    *frame = malloc(size);
    if (*frame == NULL)
        return -ENOMEM;
    repair_read_rest(&repair->segment, offset, size, *frame);
    memcpy(*frame, header_bytes, FRAME_HEADER_SIZE);
    int code = fill_body(repair, header, *frame, asked);
    if (code == 0)
        return 0;
    free(*frame);
    *frame = NULL;
    return code;
}

/* The header that stands at the scan's place, with a bit flipped back where that is all. */
static bool header_here(const struct repair_segment *segment, struct source *source,
                        uint8_t bytes[FRAME_HEADER_SIZE], struct frame_header *header)
{
    uint64_t offset = segment->scan.here.end_offset;
    const uint8_t *there;
    if (source_bytes(source, offset, FRAME_HEADER_SIZE, &there) < 0)
        return false;
    memcpy(bytes, there, FRAME_HEADER_SIZE);
    if (frame_header_decode(bytes, header) == ERROR_DAMAGED) {
        struct diagnosis found = diagnose_frame_header(bytes);
        if (found.kind != DIAGNOSIS_FLIPPED)
            return false;
        bytes[found.offset] ^= (uint8_t)(1u << found.bit);
    }
    return scan_header_is_ours(&segment->header, offset, bytes, header) &&
           header->epoch == segment->header.epoch &&
           header->first_seq == segment->scan.here.last_seq + 1 &&
           (uint64_t)header->block_count * LOG_BLOCK_SIZE <= segment->scan.limit - offset;
}

static int build_here(struct repair *repair, const uint8_t bytes[FRAME_HEADER_SIZE],
                      const struct frame_header *header, struct repair_built *built)
{
    struct repair_segment *segment = &repair->segment;
    const struct scan_mark *here = &segment->scan.here;
    uint8_t chain[SHA256_SIZE];
    int code =
        repair_build_body(repair, here->end_offset, bytes, header, &built->bytes, &built->asked);
    if (code != 0)
        return code;
    built->size = (uint64_t)header->block_count * LOG_BLOCK_SIZE;
    built->records = header->record_count;
    frame_chain(chain, here->chain, built->bytes, header);
    if (memcmp(chain, header->chain, SHA256_SIZE) == 0)
        return 0;
    free(built->bytes);
    built->bytes = NULL;
    repair_cannot_build(segment, "events %llu to %llu of %s do not give the chain that stands here",
                        big(header->first_seq), big(frame_last_seq(header)),
                        repair->options->records->name);
    return 1;
}

/*--- What comes of it --------------------------------------------------------------------------*/

static void tell_built(struct repair *repair, const struct repair_built *built, uint64_t offset,
                       uint64_t first_seq)
{
    const char *name = repair->options->records->name;
    struct log_repair_step step = { .kind = LOG_REPAIR_BUILD,
                                    .offset = offset,
                                    .size = built->size,
                                    .first_seq = first_seq,
                                    .last_seq = first_seq + built->records - 1,
                                    .from = name };
    repair_tell_pending(repair);
    repair_tell_format(repair, &step,
                       "%llu bytes with events %llu to %llu are built anew, %llu of these from %s "
                       "and %llu from what is whole here, as the chain demands",
                       big(built->size), big(step.first_seq), big(step.last_seq), big(built->asked),
                       name, big(built->records - built->asked));
}

static int use_built(struct repair *repair, const struct repair_built *built)
{
    struct repair_segment *segment = &repair->segment;
    uint64_t offset = segment->scan.here.end_offset;
    uint64_t first_seq = segment->scan.here.last_seq + 1;
    struct frame_header frame;
    const uint8_t *bytes;
    int code = repair_add_built(segment, offset, built->size, built->bytes);
    if (code < 0)
        return code;
    if (scan_next(&segment->scan, &frame, &bytes) != SCAN_FRAME) {
        repair_drop_patch(segment, built->size);
        repair_cannot_build(segment, "what comes of the records of %s does not go on here",
                            repair->options->records->name);
        return 0;
    }
    tell_built(repair, built, offset, first_seq);
    return 1;
}

int repair_build(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    struct repair_built built = { .bytes = NULL };
    uint8_t bytes[FRAME_HEADER_SIZE];
    struct frame_header header;
    segment->unbuilt[0] = '\0';
    if (repair->options->records == NULL)
        return 0;
    if (segment->header.hash == 0 || !segment->scan.here.chain_known) {
        repair_cannot_build(segment, "no chain before it would prove what is built of records");
        return 0;
    }
    int code = header_here(segment, &segment->healed, bytes, &header)
                   ? build_here(repair, bytes, &header, &built)
                   : repair_build_gap(repair, &built);
    if (code != 0)
        return code < 0 ? code : 0;
    return use_built(repair, &built);
}
