#include "log/tail.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "log/diagnose.h"
#include "log/record.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What the blocks behind the end hold. */
struct survey {
    uint64_t last_byte_end;           /* behind the last byte that is not zero; 0: all zero */
    uint64_t unreadable;              /* offset of the first block that cannot be read; 0: none */
    uint64_t unreadable_end;          /* behind the last of them */
    uint64_t frames;                  /* valid frame headers in their places */
    uint64_t highest_seq, frames_end; /* the furthest of them */
    struct tail_witness witness;      /* the best of them */
    uint64_t misplaced;               /* offset of a frame that belongs elsewhere; 0: none */
    uint64_t misplaced_seq;           /* its first event */
};

/* A frame of this segment that should stand at another place, with events that are missing: the
 * disk has put it there. */
static void note_misplaced(struct survey *survey, const struct scan *scan, uint64_t offset,
                           const struct frame_header *frame)
{
    if (survey->misplaced != 0 || frame->salt != scan->header.salt ||
        frame->file_offset == offset || frame_last_seq(frame) <= scan->counted.last_seq)
        return;
    survey->misplaced = offset;
    survey->misplaced_seq = frame->first_seq;
}

static void survey_block(struct survey *survey, const struct scan *scan, uint64_t offset,
                         const uint8_t *block, size_t size)
{
    struct frame_header frame;
    if (bytes_are_zero(block, size))
        return;
    size_t last = size;
    while (block[last - 1] == 0)
        last--;
    survey->last_byte_end = offset + last;
    if (size < FRAME_HEADER_SIZE || memcmp(block, FRAME_MAGIC, 4) != 0)
        return;
    if (!scan_header_is_ours(&scan->header, offset, block, &frame)) {
        if (frame_header_decode(block, &frame) == 0)
            note_misplaced(survey, scan, offset, &frame);
        return;
    }
    survey->frames++;
    if (frame_last_seq(&frame) >= survey->highest_seq) {
        survey->highest_seq = frame_last_seq(&frame);
        survey->frames_end = offset + (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
    }
    if (frame.durable_seq > survey->witness.seq)
        survey->witness = (struct tail_witness){ frame.durable_seq, offset, "a frame" };
}

/* Looks at every block of [from, end of the file or of the segment). */
static int survey_tail(struct survey *survey, struct scan *scan, uint64_t from)
{
    struct source *source = scan->source;
    uint64_t end = source->size < scan->header.capacity ? source->size : scan->header.capacity;
    for (uint64_t at = from; at < end; at += LOG_BLOCK_SIZE) {
        const uint8_t *block;
        uint64_t size = end - at < LOG_BLOCK_SIZE ? end - at : LOG_BLOCK_SIZE;
        int code = source_bytes(source, at, size, &block);
        if (code == ERROR_BUDGET || code == -ENOMEM)
            return code;
        if (code == 0) {
            survey_block(survey, scan, at, block, (size_t)size);
            continue;
        }
        survey->unreadable = survey->unreadable == 0 ? at : survey->unreadable;
        survey->unreadable_end = at + size;
    }
    return 0;
}

/* True when a sector of the frame that should hold bytes is still zero. Records that check out are
 * written, zeros in them are their own. */
static bool has_unwritten_sector(const uint8_t *bytes, const struct frame_header *frame)
{
    size_t end = FRAME_HEADER_SIZE + frame->body_size, at = FRAME_HEADER_SIZE;
    struct record record;
    size_t size;
    while (at < end && record_decode(span_of(bytes + at, end - at), &record, &size) == 0)
        at += size;
    if (at == end)
        return false;
    for (at = at / LOG_SECTOR_SIZE * LOG_SECTOR_SIZE; at < end; at += LOG_SECTOR_SIZE) {
        size_t rest = end - at < LOG_SECTOR_SIZE ? end - at : LOG_SECTOR_SIZE;
        if (bytes_are_zero(bytes + at, rest))
            return true;
    }
    return false;
}

static void give(struct tail *tail, enum log_verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void give(struct tail *tail, enum log_verdict verdict, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tail->verdict = verdict;
    vsnprintf(tail->reason, sizeof tail->reason, format, arguments);
    va_end(arguments);
}

static unsigned long long big(uint64_t number)
{
    return number;
}

/* The frame at X is ours and in order, but its body does not check out. */
static int judge_body(struct tail *tail, struct scan *scan)
{
    const struct frame_header *frame = &scan->bad;
    uint64_t size = (uint64_t)frame->block_count * LOG_BLOCK_SIZE;
    const uint8_t *bytes;
    int code = source_bytes(scan->source, scan->here.end_offset, size, &bytes);
    if (code < 0)
        return code; /* cannot be: scan_next() has just read it */
    uint64_t body_size = size - FRAME_HEADER_SIZE;
    uint32_t computed = crc32c(bytes + FRAME_HEADER_SIZE, body_size);
    if (computed == frame->body_crc) {
        give(tail, LOG_DAMAGED, "the frame there is whole, but not as a writer leaves it: %s",
             scan->what);
        return 0;
    }
    uint64_t bit = diagnose_bit(frame->body_crc, computed, body_size);
    bool unwritten = has_unwritten_sector(bytes, frame);
    if (bit != UINT64_MAX && unwritten)
        give(
            tail, LOG_UNPROVEN,
            "the frame there was not written to its end, or one bit of it, at offset %llu, flipped",
            big(scan->here.end_offset + FRAME_HEADER_SIZE + bit / 8));
    else if (bit != UINT64_MAX)
        give(tail, LOG_DAMAGED, "one flipped bit, at offset %llu, makes the frame there wrong",
             big(scan->here.end_offset + FRAME_HEADER_SIZE + bit / 8));
    else if (unwritten)
        give(tail, LOG_TORN, "the frame there was not written to its end");
    else
        give(tail, LOG_DAMAGED, "each sector of the frame there is written, yet its %s is wrong",
             scan->what);
    return 0;
}

static int judge_bad_frame(struct tail *tail, struct scan *scan)
{
    const uint8_t *sector;
    switch (scan->fault) {
    case SCAN_NO_HEADER:
        if (source_bytes(scan->source, scan->here.end_offset, LOG_SECTOR_SIZE, &sector) == 0 &&
            bytes_are_zero(sector, LOG_SECTOR_SIZE))
            give(tail, LOG_TORN, "the frame there was not written from its start");
        else
            give(tail, LOG_DAMAGED, "the first sector there is written, yet its %s is wrong",
                 scan->what);
        return 0;
    case SCAN_FOREIGN:
        give(tail, LOG_DAMAGED, "the frame there is not of this segment: %s", scan->what);
        return 0;
    case SCAN_MISFIT:
        give(tail, LOG_DAMAGED, "the frame there is whole, but %s", scan->what);
        return 0;
    case SCAN_BODY:
        return judge_body(tail, scan);
    case SCAN_NEWER:
        break;
    }
    return ERROR_NEWER;
}

/* From what the bytes look like alone. */
static int judge_shape(struct tail *tail, struct scan *scan, int result,
                       const struct survey *survey)
{
    const struct source *source = scan->source;
    bool is_short = source->size < scan->header.capacity;
    if (result < 0 && result != ERROR_TRUNCATED) {
        give(tail, LOG_DAMAGED, "it cannot be read: %s", error_text(result));
    } else if (survey->misplaced != 0) {
        give(tail, LOG_DAMAGED, "a frame with event %llu stands at offset %llu, a wrong place",
             big(survey->misplaced_seq), big(survey->misplaced));
    } else if (result == SCAN_BAD && scan->fault == SCAN_FOREIGN) {
        return judge_bad_frame(tail, scan);
    } else if (result == ERROR_TRUNCATED && is_short) {
        give(tail, LOG_DAMAGED, "the file ends there, %llu bytes long instead of %llu",
             big(source->size), big(scan->header.capacity));
    } else if (survey->last_byte_end > scan->here.end_offset) {
        if (result == SCAN_BAD)
            return judge_bad_frame(tail, scan);
        give(tail, LOG_DAMAGED, "there are bytes behind the segment's last frame");
    } else if (scan->in_run) {
        give(tail, LOG_TORN, "a command of several frames is not finished");
    } else if (survey->unreadable != 0 && result != SCAN_END) {
        give(tail, LOG_TORN,
             "the frame there was not written from its start, and the block at offset %llu cannot "
             "be read",
             big(survey->unreadable));
    } else if (is_short) {
        give(tail, LOG_TORN,
             "nothing was written there, but the file is %llu bytes long instead of %llu",
             big(source->size), big(scan->header.capacity));
    } else {
        give(tail, LOG_SOUND, "nothing lies behind it");
    }
    return 0;
}

/* What cannot be read counts as bytes, but not behind SEAL and CLOSE. */
static void count_events(struct tail *tail, const struct scan *scan, int result,
                         const struct survey *survey)
{
    uint64_t known_end = scan->counted.end_offset, first = scan->counted.last_seq + 1;
    uint64_t last_byte_end = survey->last_byte_end;
    if (result != SCAN_END && survey->unreadable_end > last_byte_end)
        last_byte_end = survey->unreadable_end;
    tail->bytes = last_byte_end == 0 ? 0 : last_byte_end - known_end;
    tail->events_max = 0;
    if (survey->frames > 0 && survey->highest_seq >= first) {
        tail->events_max = survey->highest_seq - first + 1;
        known_end = survey->frames_end;
    }
    /* Behind the last header that can be read there may be as many as fit. */
    if (last_byte_end > known_end)
        tail->events_max +=
            (last_byte_end - known_end + RECORD_HEADER_SIZE - 1) / RECORD_HEADER_SIZE;
}

int tail_judge(struct tail *tail, struct scan *scan, int result)
{
    struct survey survey = { .last_byte_end = 0 };
    /* No memory for a frame says nothing of the frame. */
    if (result == ERROR_BUDGET || result == -ENOMEM)
        return result;
    int code = survey_tail(&survey, scan, scan->counted.end_offset);
    if (code == 0)
        code = judge_shape(tail, scan, result, &survey);
    if (code < 0)
        return code;
    tail->shape = tail->verdict;
    tail->unreadable = survey.unreadable;
    count_events(tail, scan, result, &survey);
    if (survey.witness.seq > tail->witness.seq)
        tail->witness = survey.witness;
    uint64_t expected = scan->counted.last_seq + 1;
    if (tail->witness.seq < expected)
        return 0;
    char shape[sizeof tail->reason];
    memcpy(shape, tail->reason, sizeof shape);
    give(tail, LOG_DAMAGED, "events up to %llu were durable (%s%s says so), but %.300s",
         big(tail->witness.seq), tail->witness.name, tail->witness.offset != 0 ? " behind it" : "",
         shape);
    if (tail->events_max < tail->witness.seq - expected + 1)
        tail->events_max = tail->witness.seq - expected + 1;
    return 0;
}
