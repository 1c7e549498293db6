#include "log/diagnose.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "log/checkpoint.h"
#include "log/record.h"
#include "log/scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CRC32C_POLYNOMIAL 0x82f63b78u /* reflected */

/* What one byte does to a CRC: `of[b]` is the CRC of byte b behind nothing, and the highest byte
 * of each is another one, so that a step can be taken back. */
struct crc_steps {
    uint32_t of[256];
    uint8_t by_high_byte[256];
};

static void make_steps(struct crc_steps *steps)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int i = 0; i < 8; i++)
            crc = crc & 1 ? crc >> 1 ^ CRC32C_POLYNOMIAL : crc >> 1;
        steps->of[byte] = crc;
        steps->by_high_byte[crc >> 24] = (uint8_t)byte;
    }
}

uint64_t diagnose_bit(uint32_t stored, uint32_t computed, uint64_t size)
{
    struct crc_steps steps;
    uint32_t difference = stored ^ computed;
    if (difference == 0)
        return UINT64_MAX;
    make_steps(&steps);
    for (uint64_t at = size; at-- > 0;) {
        uint8_t byte = steps.by_high_byte[difference >> 24];
        if (byte != 0 && (byte & (byte - 1)) == 0 && steps.of[byte] == difference)
            return at * 8 + (unsigned)__builtin_ctz(byte);
        difference = (difference ^ steps.of[byte]) << 8 | byte;
    }
    return UINT64_MAX;
}

/* A piece that holds its own CRC, four bytes at `crc_at`, over [0, head) and what follows it. */
static struct diagnosis find_flip(const uint8_t *bytes, uint64_t size, uint64_t head,
                                  uint64_t crc_at)
{
    uint64_t tail_at = crc_at + 4, covered = head + size - tail_at;
    uint32_t stored = bytes_get_u32(bytes + crc_at);
    uint32_t computed =
        crc32c_more(head > 0 ? crc32c(bytes, head) : 0, bytes + tail_at, size - tail_at);
    uint32_t difference = stored ^ computed;
    struct diagnosis found = { .kind = DIAGNOSIS_FLIPPED };
    if (difference != 0 && (difference & (difference - 1)) == 0) { /* in the CRC itself */
        found.bit = (unsigned)__builtin_ctz(difference);
        found.offset = crc_at + found.bit / 8;
        found.bit %= 8;
        return found;
    }
    uint64_t bit = diagnose_bit(stored, computed, covered);
    if (bit == UINT64_MAX)
        return (struct diagnosis){ .kind = DIAGNOSIS_NONE };
    found.offset = bit / 8 < head ? bit / 8 : bit / 8 - head + tail_at;
    found.bit = bit % 8;
    return found;
}

static void flip(uint8_t *bytes, const struct diagnosis *diagnosis)
{
    bytes[diagnosis->offset] ^= (uint8_t)(1u << diagnosis->bit);
}

struct diagnosis diagnose_segment_header(const uint8_t block[LOG_BLOCK_SIZE])
{
    uint8_t copy[LOG_BLOCK_SIZE];
    struct segment_header header;
    struct diagnosis found = find_flip(block, LOG_BLOCK_SIZE, SEGMENT_AT_CRC, SEGMENT_AT_CRC);
    if (found.kind == DIAGNOSIS_NONE)
        return found;
    memcpy(copy, block, sizeof copy);
    flip(copy, &found);
    if (segment_header_decode(copy, &header, NULL) != 0)
        found.kind = DIAGNOSIS_NONE;
    return found;
}

struct diagnosis diagnose_checkpoint(const uint8_t block[LOG_BLOCK_SIZE])
{
    uint8_t copy[LOG_BLOCK_SIZE];
    struct checkpoint checkpoint;
    struct diagnosis found = find_flip(block, LOG_BLOCK_SIZE, CHECKPOINT_AT_CRC, CHECKPOINT_AT_CRC);
    if (found.kind == DIAGNOSIS_NONE)
        return found;
    memcpy(copy, block, sizeof copy);
    flip(copy, &found);
    if (checkpoint_decode(copy, &checkpoint) != 0)
        found.kind = DIAGNOSIS_NONE;
    return found;
}

/* No checksum covers the magic. */
static struct diagnosis find_flip_in_magic(const uint8_t *bytes)
{
    uint32_t difference = bytes_get_u32(bytes) ^ bytes_get_u32((const uint8_t *)FRAME_MAGIC);
    if (difference == 0 || (difference & (difference - 1)) != 0)
        return (struct diagnosis){ .kind = DIAGNOSIS_NONE };
    unsigned bit = (unsigned)__builtin_ctz(difference);
    return (struct diagnosis){ .kind = DIAGNOSIS_FLIPPED, .offset = bit / 8, .bit = bit % 8 };
}

struct diagnosis diagnose_frame_header(const uint8_t bytes[FRAME_HEADER_SIZE])
{
    uint8_t copy[FRAME_HEADER_SIZE];
    struct diagnosis found = find_flip_in_magic(bytes);
    if (found.kind == DIAGNOSIS_NONE)
        found = find_flip(bytes, FRAME_HEADER_SIZE, 0, FRAME_AT_HEADER_CRC);
    if (found.kind == DIAGNOSIS_NONE)
        return found;
    memcpy(copy, bytes, sizeof copy);
    flip(copy, &found);
    if (frame_header_decode(copy, &found.frame) != 0)
        found.kind = DIAGNOSIS_NONE;
    return found;
}

/* The body behind a header that is whole. */
static struct diagnosis diagnose_body(uint8_t *bytes, const struct frame_header *frame)
{
    struct diagnosis found = { .kind = DIAGNOSIS_NONE, .frame = *frame };
    uint64_t size = (uint64_t)frame->block_count * LOG_BLOCK_SIZE - FRAME_HEADER_SIZE;
    const char *what;
    uint32_t computed = crc32c(bytes + FRAME_HEADER_SIZE, size);
    if (computed == frame->body_crc) {
        if (frame_check(bytes, frame, &what) == 0)
            found.kind = DIAGNOSIS_WHOLE;
        return found;
    }
    uint64_t bit = diagnose_bit(frame->body_crc, computed, size);
    if (bit == UINT64_MAX)
        return found;
    found.offset = FRAME_HEADER_SIZE + bit / 8;
    found.bit = bit % 8;
    flip(bytes, &found);
    if (frame_check(bytes, frame, &what) == 0)
        found.kind = DIAGNOSIS_FLIPPED;
    flip(bytes, &found);
    return found;
}

static bool names_place(const struct frame_header *frame, const struct segment_header *segment,
                        uint64_t offset)
{
    return frame->salt == segment->salt && frame->file_offset == offset &&
           frame->epoch == segment->epoch;
}

struct diagnosis diagnose_frame(uint8_t *bytes, uint64_t size, const struct segment_header *segment,
                                uint64_t offset)
{
    struct diagnosis found = { .kind = DIAGNOSIS_NONE };
    if (size < FRAME_HEADER_SIZE)
        return found;
    int code = frame_header_decode(bytes, &found.frame);
    bool header_flipped = code == ERROR_DAMAGED;
    if (header_flipped)
        found = diagnose_frame_header(bytes);
    if (code == ERROR_NEWER || (header_flipped && found.kind == DIAGNOSIS_NONE))
        return found;
    bool here = names_place(&found.frame, segment, offset);
    bool all_there = size >= (uint64_t)found.frame.block_count * LOG_BLOCK_SIZE;
    if (header_flipped) {
        if (!here || (all_there && diagnose_body(bytes, &found.frame).kind != DIAGNOSIS_WHOLE))
            found.kind = DIAGNOSIS_NONE;
        return found;
    }
    if (!here)
        found.kind = DIAGNOSIS_MISPLACED;
    else if (all_there)
        found = diagnose_body(bytes, &found.frame);
    return found;
}

/* With one bit of its size flipped the record may be whole: all else hangs on that. */
static struct diagnosis diagnose_record_size(const uint8_t *bytes, uint64_t size)
{
    uint32_t stated = bytes_get_u32(bytes + RECORD_AT_SIZE);
    uint32_t stored = bytes_get_u32(bytes + RECORD_AT_CRC);
    uint8_t head[4];
    for (unsigned bit = 0; bit < 32; bit++) {
        uint32_t other = stated ^ 1u << bit;
        if (other < RECORD_HEADER_SIZE || other > size)
            continue;
        bytes_put_u32(head, other);
        if (crc32c_more(crc32c(head, sizeof head), bytes + RECORD_AT_SEQ, other - RECORD_AT_SEQ) ==
            stored)
            return (struct diagnosis){ .kind = DIAGNOSIS_FLIPPED,
                                       .offset = RECORD_AT_SIZE + bit / 8,
                                       .bit = bit % 8 };
    }
    return (struct diagnosis){ .kind = DIAGNOSIS_NONE };
}

struct diagnosis diagnose_record(const uint8_t *bytes, uint64_t size)
{
    struct diagnosis found = { .kind = DIAGNOSIS_NONE };
    struct record record;
    size_t decoded;
    if (size < RECORD_HEADER_SIZE)
        return found;
    if (record_decode(span_of(bytes, size), &record, &decoded) == 0) {
        found.kind = DIAGNOSIS_WHOLE;
        return found;
    }
    uint32_t stated = bytes_get_u32(bytes + RECORD_AT_SIZE);
    if (stated >= RECORD_HEADER_SIZE && stated <= size)
        found = find_flip(bytes, stated, RECORD_AT_CRC, RECORD_AT_CRC);
    return found.kind == DIAGNOSIS_NONE ? diagnose_record_size(bytes, size) : found;
}

/*--- For a person ------------------------------------------------------------------------------*/

static unsigned long long big(uint64_t number)
{
    return number;
}

void diagnosis_describe_flip(const struct diagnosis *diagnosis, uint64_t base,
                             char text[DIAGNOSIS_TEXT_SIZE])
{
    snprintf(text, DIAGNOSIS_TEXT_SIZE, "flipping bit %u of byte 0x%llx makes it whole",
             diagnosis->bit, big(base + diagnosis->offset));
}

/* The number of the segment with this salt; 0: none of those here that can be read, and whether
 * that is all of them. */
static uint64_t segment_of_salt(const struct directory *directory, struct source *probe,
                                uint64_t salt, bool *all)
{
    struct segment_header header;
    struct error ignored;
    *all = true;
    for (size_t i = 0; i < directory->count; i++) {
        int state = directory_segment(directory, i, probe, &header, &ignored);
        if (state == SEGMENT_BEGUN && header.salt == salt)
            return header.segment_no;
        *all = *all && (state == SEGMENT_BEGUN || state == SEGMENT_SPARE);
    }
    return 0;
}

static void describe_misplaced(const struct diagnosis *found, uint64_t segment_no, bool all,
                               uint64_t here_no, uint64_t offset, char text[DIAGNOSIS_TEXT_SIZE])
{
    char belongs[64], here[32] = "";
    snprintf(belongs, sizeof belongs, "%s",
             all ? "a segment that is not in this log" : "a segment that cannot be read here");
    if (segment_no == here_no)
        snprintf(belongs, sizeof belongs, "this segment");
    else if (segment_no != 0)
        snprintf(belongs, sizeof belongs, "segment %llu", big(segment_no));
    if (segment_no != here_no)
        snprintf(here, sizeof here, " of segment %llu", big(here_no));
    snprintf(text, DIAGNOSIS_TEXT_SIZE,
             "the frame there, with events %llu to %llu, says that it belongs at 0x%llx of %s, and "
             "lies at 0x%llx%s",
             big(found->frame.first_seq), big(frame_last_seq(&found->frame)),
             big(found->frame.file_offset), belongs, big(offset), here);
}

/* The frame's bytes as far as they are there, to be freed; NULL: none can be read. */
static uint8_t *copy_frame(struct source *source, uint64_t offset, uint64_t *size)
{
    struct frame_header frame;
    const uint8_t *bytes;
    *size = FRAME_HEADER_SIZE;
    if (source_bytes(source, offset, *size, &bytes) < 0)
        return NULL;
    struct diagnosis header = { .kind = DIAGNOSIS_NONE };
    int code = frame_header_decode(bytes, &frame);
    if (code == ERROR_DAMAGED) {
        header = diagnose_frame_header(bytes);
        frame = header.frame;
    }
    uint64_t whole = (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
    if ((code == 0 || header.kind == DIAGNOSIS_FLIPPED) &&
        source_bytes(source, offset, whole, &bytes) == 0)
        *size = whole;
    else if (source_bytes(source, offset, *size, &bytes) < 0)
        return NULL;
    uint8_t *copy = malloc(*size);
    if (copy != NULL)
        memcpy(copy, bytes, *size);
    return copy;
}

struct diagnosis diagnose_place(const struct directory *directory, struct source *source,
                                struct source *probe, const struct segment_header *segment,
                                uint64_t offset, char text[DIAGNOSIS_TEXT_SIZE])
{
    struct diagnosis found = { .kind = DIAGNOSIS_NONE };
    uint64_t size;
    text[0] = '\0';
    uint8_t *bytes = copy_frame(source, offset, &size);
    if (bytes == NULL)
        return found;
    found = diagnose_frame(bytes, size, segment, offset);
    free(bytes);
    if (found.kind == DIAGNOSIS_FLIPPED)
        diagnosis_describe_flip(&found, offset, text);
    if (found.kind == DIAGNOSIS_MISPLACED) {
        bool all;
        uint64_t belongs_no = segment_of_salt(directory, probe, found.frame.salt, &all);
        describe_misplaced(&found, belongs_no, all, segment->segment_no, offset, text);
    }
    return found;
}
