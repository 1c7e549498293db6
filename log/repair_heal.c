/* What makes a segment better: tried out on the segment as it would be, never on its file. */
#include "log/diagnose.h"
#include "log/repair_inside.h"
#include "log/sealed.h"

#include "core/base/bytes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_BYTES (4u << 20)

static unsigned long long big(uint64_t number)
{
    return number;
}

/*--- Telling -----------------------------------------------------------------------------------*/

void repair_tell(struct repair *repair, const struct log_repair_step *step)
{
    if (repair->options->step != NULL)
        repair->options->step(step, repair->options->context);
}

void repair_tell_format(struct repair *repair, struct log_repair_step *step, const char *format,
                        ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(step->text, sizeof step->text, format, arguments);
    va_end(arguments);
    if (step->file[0] == '\0')
        snprintf(step->file, sizeof step->file, "%s", repair->segment.name);
    repair->result->lost += step->kind == LOG_REPAIR_LOST;
    repair_tell(repair, step);
}

/* What was taken from a copy so far. */
static void tell_pending(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    struct log_repair_step *step = &segment->pending;
    if (!segment->is_pending)
        return;
    segment->is_pending = false;
    repair_tell_format(
        repair, step, "%llu bytes with events %llu to %llu are taken from %s, which has them whole",
        big(step->size), big(step->first_seq), big(step->last_seq), step->from);
}

/*--- The segment as it would be ----------------------------------------------------------------*/

/* Bytes of a file, as far as it goes; zeros behind. */
static int read_base(struct repair_segment *segment, uint8_t *target, uint64_t offset,
                     uint64_t size)
{
    struct source *base = &segment->base;
    const uint8_t *bytes;
    uint64_t there = offset < base->size ? base->size - offset : 0;
    uint64_t some = size < there ? size : there;
    int code = some == 0 ? 0 : source_bytes(base, offset, some, &bytes);
    if (code == 0 && some > 0)
        memcpy(target, bytes, some);
    memset(target + (code == 0 ? some : 0), 0, size - (code == 0 ? some : 0));
    bool unreadable = code == -EIO || code == ERROR_DAMAGED;
    return unreadable && segment->zero_unreadable ? 0 : code;
}

/* The patch of a copy that holds `offset`, or where the next one begins (*end is set to it). */
static const struct repair_patch *taken_at(const struct repair_segment *segment, uint64_t offset,
                                           uint64_t *end)
{
    for (unsigned i = 0; i < segment->patch_count; i++) {
        const struct repair_patch *patch = &segment->patches[i];
        if (patch->copy < 0)
            continue;
        if (offset >= patch->offset && offset < patch->offset + patch->size) {
            if (patch->offset + patch->size < *end)
                *end = patch->offset + patch->size;
            return patch;
        }
        if (patch->offset > offset && patch->offset < *end)
            *end = patch->offset;
    }
    return NULL;
}

static void flip_back(const struct repair_segment *segment, uint8_t *target, uint64_t offset,
                      uint64_t size)
{
    for (unsigned i = 0; i < segment->patch_count; i++) {
        const struct repair_patch *patch = &segment->patches[i];
        if (patch->copy < 0 && patch->offset >= offset && patch->offset < offset + size)
            target[patch->offset - offset] ^= patch->mask;
    }
}

/* Opens the segment in a copy. False: it has none that can be used. */
static bool open_in_copy(struct repair_copy *copy, uint64_t segment_no)
{
    struct error ignored;
    if (copy->segment_no == segment_no)
        return true;
    copy->segment_no = 0;
    ptrdiff_t index = directory_find(&copy->directory, segment_no);
    if (index < 0 || directory_segment(&copy->directory, (size_t)index, &copy->source,
                                       &copy->header, &ignored) != SEGMENT_BEGUN)
        return false;
    copy->source.sequential = copy->source.remembers = true;
    copy->segment_no = segment_no;
    return true;
}

/* What the source `healed` is made of. What cannot be read hides no more than its blocks. */
static int fill(void *context, uint8_t *target, uint64_t offset, uint64_t size)
{
    struct repair *repair = context;
    struct repair_segment *segment = &repair->segment;
    uint64_t at = offset, all_end = offset + size;
    int code = 0;
    while (code == 0 && at < all_end) {
        uint64_t end = at + SOURCE_WINDOW_SIZE < all_end ? at + SOURCE_WINDOW_SIZE : all_end;
        if (segment->zero_unreadable && end > at + LOG_BLOCK_SIZE)
            end = at + LOG_BLOCK_SIZE;
        const struct repair_patch *taken = taken_at(segment, at, &end);
        const uint8_t *bytes;
        if (taken == NULL) {
            code = read_base(segment, target + (at - offset), at, end - at);
        } else {
            struct repair_copy *copy = &repair->copies[taken->copy];
            code = open_in_copy(copy, segment->segment_no)
                       ? source_bytes(&copy->source, at, end - at, &bytes)
                       : -EIO;
            if (code == 0)
                memcpy(target + (at - offset), bytes, end - at);
        }
        at = end;
    }
    if (code < 0)
        return code;
    flip_back(segment, target, offset, size);
    if (segment->zero_from < all_end) {
        uint64_t from = segment->zero_from > offset ? segment->zero_from : offset;
        memset(target + (from - offset), 0, all_end - from);
    }
    return 0;
}

static bool add_patch(struct repair_segment *segment, uint64_t offset, uint64_t size, int copy,
                      uint8_t mask)
{
    struct repair_patch *last =
        segment->patch_count == 0 ? NULL : &segment->patches[segment->patch_count - 1];
    source_forget(&segment->healed);
    if (last != NULL && copy >= 0 && last->copy == copy && last->offset + last->size == offset) {
        last->size += size;
        return true;
    }
    if (segment->patch_count == REPAIR_PATCHES_MAX)
        return false;
    segment->patches[segment->patch_count++] =
        (struct repair_patch){ .offset = offset, .size = size, .copy = copy, .mask = mask };
    return true;
}

static void drop_patch(struct repair_segment *segment, uint64_t size)
{
    struct repair_patch *last = &segment->patches[segment->patch_count - 1];
    source_forget(&segment->healed);
    last->size -= last->copy >= 0 ? size : last->size;
    segment->patch_count -= last->size == 0;
}

bool repair_is_changed(const struct repair_segment *segment)
{
    return segment->patch_count > 0 || segment->resized || segment->zero_from != UINT64_MAX ||
           !segment->there ||
           (segment->base.sealed != NULL && segment->base.sealed->flip_count > 0);
}

/*--- Headers -----------------------------------------------------------------------------------*/

/* True if a segment with this header may lie where we look for one: it goes on behind the one
 * before it, or the one behind it goes on behind it. */
static bool fits(const struct repair *repair, const struct segment_header *header)
{
    const struct segment_header *before = &repair->before;
    if (before->segment_no != 0 && header->prev_segment_no == before->segment_no)
        return segment_is_of_line(before, header) &&
               (!repair->joined ||
                (header->prev_last_seq == repair->mark.last_seq &&
                 memcmp(header->prev_chain, repair->mark.chain, SHA256_SIZE) == 0));
    return before->segment_no < header->segment_no;
}

/* One bit of the block makes it a header again. */
static bool mend_header(struct repair *repair, struct source *source, uint64_t segment_no,
                        struct segment_header *header, struct repair_segment *segment)
{
    uint8_t block[LOG_BLOCK_SIZE];
    const uint8_t *bytes;
    if (source_bytes(source, 0, LOG_BLOCK_SIZE, &bytes) < 0)
        return false;
    struct diagnosis found = diagnose_segment_header(bytes);
    if (found.kind != DIAGNOSIS_FLIPPED)
        return false;
    memcpy(block, bytes, sizeof block);
    block[found.offset] ^= (uint8_t)(1u << found.bit);
    if (segment_header_decode(block, header, NULL) != 0 || header->segment_no != segment_no ||
        !fits(repair, header))
        return false;
    if (segment != NULL) {
        struct log_repair_step step = {
            .kind = LOG_REPAIR_FLIP, .offset = found.offset, .size = 1, .bit = found.bit
        };
        (void)add_patch(segment, found.offset, 1, -1, (uint8_t)(1u << found.bit));
        repair_tell_format(repair, &step, "bit %u of byte 0x%llx, in its header, is flipped back",
                           found.bit, big(found.offset));
    }
    return true;
}

static bool take_header(struct repair *repair, uint64_t segment_no, struct segment_header *header,
                        struct repair_segment *segment)
{
    for (size_t i = 0; i < repair->options->copy_count; i++) {
        struct repair_copy *copy = &repair->copies[i];
        if (!open_in_copy(copy, segment_no) || !fits(repair, &copy->header))
            continue;
        *header = copy->header;
        if (segment == NULL)
            return true;
        struct log_repair_step step = { .kind = LOG_REPAIR_TAKE,
                                        .size = LOG_BLOCK_SIZE,
                                        .from = copy->path };
        if (!segment->there)
            step.size = header->capacity;
        (void)add_patch(segment, 0, step.size, (int)i, 0);
        repair_tell_format(repair, &step, "%s is taken from %s",
                           segment->there ? "its header" : "the file, which is missing,",
                           copy->path);
        return true;
    }
    return false;
}

int repair_header(struct repair *repair, uint64_t segment_no, struct segment_header *header,
                  struct repair_segment *segment, struct error *error)
{
    struct source *source = segment != NULL ? &segment->base : &repair->probe;
    struct error what = { 0 };
    ptrdiff_t index = directory_find(&repair->directory, segment_no);
    int state = -ENOENT;
    if (index >= 0)
        state = directory_segment(&repair->directory, (size_t)index, source, header, &what);
    if (state == ERROR_NEWER || state == ERROR_BUDGET || state == -ENOMEM || state == -EACCES)
        return error_set(error, state, "%s", what.text);
    if (segment != NULL) {
        segment->there = index >= 0;
        if (source->sealed != NULL || (index >= 0 && source->fd < 0))
            sealed_name(segment->name, segment_no);
    }
    if (state == SEGMENT_BEGUN)
        return 1;
    if (state == SEGMENT_DAMAGED && mend_header(repair, source, segment_no, header, segment))
        return 1;
    return take_header(repair, segment_no, header, segment);
}

/* The next segment that can be told to be one: 1, 0, negative. */
static int find_next(struct repair *repair, struct repair_segment *segment, struct error *error)
{
    for (uint64_t no = segment->segment_no + 1; no <= repair->last_no; no++) {
        int found = repair_header(repair, no, &segment->next, NULL, error);
        if (found != 0)
            return found;
    }
    return 0;
}

/*--- Frames ------------------------------------------------------------------------------------*/

/* Tries what scan_next() says now: true if the next frame is whole. */
static bool goes_on(struct repair_segment *segment, struct frame_header *frame)
{
    const uint8_t *bytes;
    return scan_next(&segment->scan, frame, &bytes) == SCAN_FRAME;
}

static bool flip_bit(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    struct frame_header frame;
    char text[DIAGNOSIS_TEXT_SIZE];
    uint64_t offset = segment->scan.here.end_offset;
    struct diagnosis found = diagnose_place(&repair->directory, &segment->healed, &repair->probe,
                                            &segment->header, offset, text);
    if (found.kind != DIAGNOSIS_FLIPPED ||
        !add_patch(segment, offset + found.offset, 1, -1, (uint8_t)(1u << found.bit)))
        return false;
    if (!goes_on(segment, &frame)) {
        drop_patch(segment, 1);
        return false;
    }
    tell_pending(repair);
    struct log_repair_step step = { .kind = LOG_REPAIR_FLIP,
                                    .offset = offset + found.offset,
                                    .size = 1,
                                    .bit = found.bit,
                                    .first_seq = frame.first_seq,
                                    .last_seq = frame_last_seq(&frame) };
    repair_tell_format(repair, &step,
                       "bit %u of byte 0x%llx is flipped back, which makes events %llu to %llu "
                       "whole",
                       found.bit, big(offset + found.offset), big(step.first_seq),
                       big(step.last_seq));
    return true;
}

/* One bit of a sealed file's chunk, whose packed bytes have a checksum of their own. */
static bool flip_packed_bit(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    struct sealed *sealed = segment->base.sealed;
    uint64_t at;
    unsigned bit;
    if (sealed == NULL || segment->base.bad_size == 0 || segment->base.bad_code != ERROR_DAMAGED ||
        !sealed->loaded)
        return false;
    uint32_t chunk = (uint32_t)(segment->base.bad_offset / sealed->front.chunk_size);
    if (!sealed_mend(sealed, segment->base.fd, chunk, &at, &bit))
        return false;
    segment->base.bad_size = 0;
    source_forget(&segment->base);
    source_forget(&segment->healed);
    tell_pending(repair);
    struct log_repair_step step = { .kind = LOG_REPAIR_FLIP, .offset = at, .size = 1, .bit = bit };
    repair_tell_format(repair, &step,
                       "bit %u of byte 0x%llx of the sealed file is flipped back, which makes "
                       "chunk %u whole",
                       bit, big(at), chunk);
    return true;
}

static void note_taken(struct repair *repair, const struct repair_copy *copy, uint64_t offset,
                       const struct frame_header *frame)
{
    struct repair_segment *segment = &repair->segment;
    struct log_repair_step *step = &segment->pending;
    uint64_t size = (uint64_t)frame->block_count * LOG_BLOCK_SIZE;
    if (segment->is_pending && step->from == copy->path && step->offset + step->size == offset) {
        step->size += size;
        step->last_seq = frame_last_seq(frame);
        return;
    }
    tell_pending(repair);
    *step = (struct log_repair_step){ .kind = LOG_REPAIR_TAKE,
                                      .offset = offset,
                                      .size = size,
                                      .first_seq = frame->first_seq,
                                      .last_seq = frame_last_seq(frame),
                                      .from = copy->path };
    segment->is_pending = true;
}

/* The frame that should stand here, from the first copy whose frame fits the chain. */
static bool take_frame(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    uint64_t offset = segment->scan.here.end_offset;
    struct frame_header frame;
    const uint8_t *bytes;
    for (size_t i = 0; i < repair->options->copy_count; i++) {
        struct repair_copy *copy = &repair->copies[i];
        if (!open_in_copy(copy, segment->segment_no) || copy->header.salt != segment->header.salt ||
            source_bytes(&copy->source, offset, FRAME_HEADER_SIZE, &bytes) < 0 ||
            !scan_header_is_ours(&segment->header, offset, bytes, &frame))
            continue;
        uint64_t size = (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
        if (size > copy->source.size - offset || size > segment->healed.size - offset ||
            !add_patch(segment, offset, size, (int)i, 0))
            continue;
        if (goes_on(segment, &frame)) {
            note_taken(repair, copy, offset, &frame);
            return true;
        }
        drop_patch(segment, size);
    }
    return false;
}

/* Nothing has it: goes on behind it, as log_verify() does. */
static void pass_lost(struct repair *repair, const char *why)
{
    struct repair_segment *segment = &repair->segment;
    struct scan *scan = &segment->scan;
    struct frame_header frame;
    struct log_repair_step step = { .kind = LOG_REPAIR_LOST,
                                    .offset = scan->here.end_offset,
                                    .first_seq = scan->here.last_seq + 1 };
    uint64_t offset = scan_find_resume(scan, &frame);
    bool resumes = offset < scan->limit;
    step.size = offset - step.offset;
    step.last_seq = resumes             ? frame.first_seq - 1
                    : segment->has_next ? segment->next.prev_last_seq
                                        : step.first_seq;
    if (step.last_seq < step.first_seq)
        step.last_seq = step.first_seq;
    tell_pending(repair);
    repair_tell_format(repair, &step,
                       "events %llu to %llu cannot be mended (%s): give another copy",
                       big(step.first_seq), big(step.last_seq), why);
    scan->in_run = resumes && (frame.flags & FRAME_TXN) && !(frame.flags & FRAME_TXN_BEGIN);
    scan->here.end_offset = offset;
    scan->here.last_seq = step.last_seq;
    scan->here.link_known = scan->here.chain_known = false;
    if (resumes)
        scan->here.blocks = frame.prev_blocks;
    scan->counted = scan->here;
    segment->lost = true;
}

/* The end of the newest segment: 1 it is damaged, 0 nothing to be mended lies there, negative. */
static int judge_end(struct repair *repair, int result, struct tail *tail)
{
    struct scan *scan = &repair->segment.scan;
    *tail = (struct tail){ .witness = repair->witness };
    if (tail->witness.name == NULL)
        tail->witness.name = "nothing";
    if (scan->witness_seq > tail->witness.seq)
        tail->witness = (struct tail_witness){ .seq = scan->witness_seq, .name = "a frame" };
    int code = tail_judge(tail, scan, result);
    return code < 0 ? code : tail->verdict == LOG_DAMAGED;
}

/* Where the log can be cut, and what that gives up. */
static void note_cut(struct repair *repair, const struct tail *tail)
{
    struct log_repair_result *result = repair->result;
    const struct scan_mark *end = &repair->segment.scan.counted;
    struct log_repair_step step = { .kind = LOG_REPAIR_LOST,
                                    .offset = end->end_offset,
                                    .size = tail->bytes,
                                    .first_seq = end->last_seq + 1,
                                    .last_seq = end->last_seq + tail->events_max };
    result->cut_seq = end->last_seq;
    result->gone_first = step.first_seq;
    result->gone_last = step.last_seq;
    tell_pending(repair);
    repair->segment.lost = true;
    repair_tell_format(repair, &step,
                       "the end cannot be mended: %s; give another copy, or give up at most %llu "
                       "events behind event %llu",
                       tail->reason, big(tail->events_max), big(end->last_seq));
}

static bool mend(struct repair *repair)
{
    return flip_packed_bit(repair) || flip_bit(repair) || take_frame(repair);
}

/* What would say where it ends is missing, and nothing stands here. */
static bool ends_unknown(struct repair_segment *segment)
{
    const uint8_t *sector;
    bool told = segment->has_next && segment->next.prev_segment_no == segment->segment_no;
    return !told && !segment->is_last &&
           source_bytes(&segment->healed, segment->scan.here.end_offset, LOG_SECTOR_SIZE,
                        &sector) == 0 &&
           bytes_are_zero(sector, LOG_SECTOR_SIZE);
}

static int heal_frames(struct repair *repair, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    struct scan *scan = &segment->scan;
    struct frame_header frame;
    const uint8_t *bytes;
    struct tail tail;
    int result;
    while ((result = scan_next(scan, &frame, &bytes)) != SCAN_END) {
        repair->done_bytes +=
            result == SCAN_FRAME ? (uint64_t)frame.block_count * LOG_BLOCK_SIZE : 0;
        if (result == SCAN_FRAME)
            continue;
        if (result == ERROR_BUDGET || result == -ENOMEM)
            return error_set(error, result, "%s: %s", segment->name, error_text(result));
        if (result == SCAN_BAD && scan->fault == SCAN_NEWER)
            return error_set(error, ERROR_NEWER,
                             "%s, frame at offset %llu: a newer version wrote "
                             "it: use that one",
                             segment->name, big(scan->here.end_offset));
        char why[96];
        snprintf(why, sizeof why, "%s", result == SCAN_BAD ? scan->what : error_text(result));
        if (ends_unknown(segment))
            break;
        int damaged = segment->is_last ? judge_end(repair, result, &tail) : 1;
        if (damaged < 0)
            return error_set(error, damaged, "%s: %s", segment->name, error_text(damaged));
        if (damaged == 0)
            break;
        if (mend(repair))
            continue;
        if (segment->is_last) {
            note_cut(repair, &tail);
            break;
        }
        pass_lost(repair, why);
    }
    tell_pending(repair);
    /* It ended in order, and a witness knows of more. */
    int damaged = result == SCAN_END && segment->is_last ? judge_end(repair, result, &tail) : 0;
    if (damaged < 0)
        return error_set(error, damaged, "%s: %s", segment->name, error_text(damaged));
    if (damaged > 0 && tail.witness.seq > scan->counted.last_seq)
        note_cut(repair, &tail);
    return 0;
}

/* What the next segment says of this one's end. */
static void check_end(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    const struct scan_mark *end = &segment->scan.counted;
    const struct segment_header *next = &segment->next;
    struct log_repair_step step = { .kind = LOG_REPAIR_LOST,
                                    .offset = end->end_offset,
                                    .first_seq = end->last_seq };
    if (segment->lost || !segment->has_next || next->prev_segment_no != segment->segment_no)
        return;
    if (end->last_seq == next->prev_last_seq && end->end_offset == next->prev_end_offset &&
        memcmp(end->chain, next->prev_chain, SHA256_SIZE) == 0)
        return;
    segment->lost = true;
    repair_tell_format(repair, &step,
                       "it ends with event %llu, and segment %llu goes on behind event %llu of "
                       "another history: give a copy of the right one",
                       big(end->last_seq), big(next->segment_no), big(next->prev_last_seq));
}

static void begin_scan(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    const struct segment_header *header = &segment->header, *next = &segment->next;
    scan_begin(&segment->scan, &segment->healed, header);
    segment->scan.check_chain = true;
    if (segment->has_next && next->prev_segment_no == segment->segment_no &&
        next->prev_end_offset < segment->scan.limit)
        segment->scan.limit = next->prev_end_offset;
    if (repair->joined && header->prev_segment_no == repair->before.segment_no) {
        segment->scan.here.link = repair->mark.link;
        segment->scan.here.link_known = repair->mark.link_known;
    }
}

/* Segments between the one before and this one that nobody has. */
static void check_gap(struct repair *repair)
{
    const struct segment_header *header = &repair->segment.header;
    struct log_repair_step step = { .kind = LOG_REPAIR_LOST,
                                    .first_seq = repair->mark.last_seq + 1,
                                    .last_seq = header->prev_last_seq };
    if (repair->before.segment_no == 0 || header->prev_segment_no == repair->before.segment_no)
        return;
    segment_name(step.file, header->prev_segment_no);
    repair_tell_format(repair, &step, "the file is missing: give a copy that has it");
}

int repair_heal(struct repair *repair, uint64_t segment_no, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    *segment = (struct repair_segment){ .segment_no = segment_no,
                                        .zero_from = UINT64_MAX,
                                        .base = { .fd = -1, .remembers = true },
                                        .healed = { .fd = -1 } };
    segment->is_last = segment_no == repair->last_no;
    segment_name(segment->raw_name, segment_no);
    segment_name(segment->name, segment_no);
    int found = repair_header(repair, segment_no, &segment->header, segment, error);
    if (found <= 0)
        return found;
    segment->base.sequential = true;
    source_of_fill(&segment->healed, fill, repair, segment->header.capacity);
    segment->resized =
        segment->there && segment->base.fd >= 0 && segment->base.size != segment->header.capacity;
    check_gap(repair);
    int has_next = find_next(repair, segment, error);
    if (has_next < 0)
        return has_next;
    segment->has_next = has_next;
    begin_scan(repair);
    int code = heal_frames(repair, error);
    if (code < 0)
        return code;
    check_end(repair);
    repair_behind_end(repair);
    return 1;
}

void repair_close_segment(struct repair_segment *segment)
{
    source_close(&segment->base);
    source_close(&segment->healed);
}
