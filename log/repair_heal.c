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
void repair_tell_pending(struct repair *repair)
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

/*--- Frames ------------------------------------------------------------------------------------*/

/* Tries what scan_next() says now: true if the next frame is whole. */
static bool goes_on(struct repair_segment *segment, struct frame_header *frame)
{
    const uint8_t *bytes;
    return scan_next(&segment->scan, frame, &bytes) == SCAN_FRAME;
}

/* The same with a patch that was just added: 1; 0, and it is taken away again. */
static int try_patch(struct repair_segment *segment, uint64_t size, struct frame_header *frame)
{
    if (goes_on(segment, frame))
        return 1;
    repair_drop_patch(segment, size);
    return 0;
}

static int flip_bit(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    struct frame_header frame;
    char text[DIAGNOSIS_TEXT_SIZE];
    uint64_t offset = segment->scan.here.end_offset;
    struct diagnosis found = diagnose_place(&repair->directory, &segment->healed, &repair->probe,
                                            &segment->header, offset, text);
    if (found.kind != DIAGNOSIS_FLIPPED)
        return 0;
    int code = repair_add_patch(segment, offset + found.offset, 1, PATCH_FLIPPED,
                                (uint8_t)(1u << found.bit));
    if (code == 0)
        code = try_patch(segment, 1, &frame);
    if (code <= 0)
        return code;
    repair_tell_pending(repair);
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
    return 1;
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
    repair_tell_pending(repair);
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
    repair_tell_pending(repair);
    *step = (struct log_repair_step){ .kind = LOG_REPAIR_TAKE,
                                      .offset = offset,
                                      .size = size,
                                      .first_seq = frame->first_seq,
                                      .last_seq = frame_last_seq(frame),
                                      .from = copy->path };
    segment->is_pending = true;
}

/* The frame that should stand at `offset`, as a copy has it: its size; 0: it has none. */
static uint64_t find_in_copy(struct repair *repair, struct repair_copy *copy, uint64_t offset)
{
    struct repair_segment *segment = &repair->segment;
    struct frame_header frame;
    const uint8_t *bytes;
    if (!repair_open_in_copy(copy, segment->segment_no) ||
        copy->header.salt != segment->header.salt || offset >= copy->source.size ||
        source_bytes(&copy->source, offset, FRAME_HEADER_SIZE, &bytes) < 0 ||
        !scan_header_is_ours(&segment->header, offset, bytes, &frame))
        return 0;
    uint64_t size = (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
    return size <= copy->source.size - offset && size <= segment->healed.size - offset ? size : 0;
}

/* The frame that should stand here, from the first copy whose frame fits the chain. 1, 0, negative.
 */
static int take_frame(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    uint64_t offset = segment->scan.here.end_offset;
    struct frame_header frame;
    for (size_t i = 0; i < repair->options->copy_count; i++) {
        struct repair_copy *copy = &repair->copies[i];
        uint64_t size = find_in_copy(repair, copy, offset);
        int code = size == 0 ? 0 : repair_add_patch(segment, offset, size, (int)i, 0);
        if (code == 0 && size != 0)
            code = try_patch(segment, size, &frame);
        if (code == 1)
            note_taken(repair, copy, offset, &frame);
        if (code != 0)
            return code;
    }
    return 0;
}

/* Nothing has it: goes on behind it, as log_verify() does. 0 or negative. */
static int pass_lost(struct repair *repair, const char *why, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    struct scan *scan = &segment->scan;
    struct frame_header frame;
    struct log_repair_step step = { .kind = LOG_REPAIR_LOST,
                                    .offset = scan->here.end_offset,
                                    .first_seq = scan->here.last_seq + 1 };
    uint64_t offset;
    int code = scan_find_resume(scan, &frame, &offset);
    if (code < 0)
        return error_set(error, code, "%s: %s", segment->name, error_text(code));
    bool resumes = offset < scan->limit;
    step.size = offset - step.offset;
    step.last_seq = resumes                 ? frame.first_seq - 1
                    : segment->next != NULL ? segment->next->header.prev_last_seq
                                            : step.first_seq;
    if (step.last_seq < step.first_seq)
        step.last_seq = step.first_seq;
    repair_tell_pending(repair);
    repair_tell_format(repair, &step,
                       "events %llu to %llu cannot be mended (%s%s): give another copy",
                       big(step.first_seq), big(step.last_seq), why, segment->unbuilt);
    scan->in_run = resumes && (frame.flags & FRAME_TXN) && !(frame.flags & FRAME_TXN_BEGIN);
    scan->here.end_offset = offset;
    scan->here.last_seq = step.last_seq;
    scan->here.link_known = scan->here.chain_known = false;
    if (resumes)
        scan->here.blocks = frame.prev_blocks;
    scan->counted = scan->here;
    segment->lost = true;
    return 0;
}

/* The end of the newest segment: 1 it is damaged, 0 nothing to be mended lies there, negative. */
static int judge_end(struct repair *repair, int result, struct tail *tail)
{
    struct scan *scan = &repair->segment.scan;
    *tail = (struct tail){ .witness = repair->segment.witness };
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
    repair_tell_pending(repair);
    repair->segment.lost = true;
    repair_tell_format(repair, &step,
                       "the end cannot be mended: %s%s; give another copy, or give up at most %llu "
                       "events behind event %llu",
                       tail->reason, repair->segment.unbuilt, big(tail->events_max),
                       big(end->last_seq));
}

/* 1, 0, negative. */
static int mend(struct repair *repair)
{
    if (flip_packed_bit(repair))
        return 1;
    int code = flip_bit(repair);
    if (code == 0)
        code = take_frame(repair);
    return code != 0 ? code : repair_build(repair);
}

/* The place where the segment behind it says that it ends; NULL: none says so. */
const struct segment_header *repair_told_end(const struct repair_segment *segment)
{
    const struct repair_entry *next = segment->next;
    return next != NULL && next->header.prev_segment_no == segment->segment_no ? &next->header
                                                                               : NULL;
}

/* What would say where it ends is missing, and nothing stands here. */
static bool ends_unknown(struct repair_segment *segment)
{
    const uint8_t *sector;
    return repair_told_end(segment) == NULL && !segment->is_last &&
           source_bytes(&segment->healed, segment->scan.here.end_offset, LOG_SECTOR_SIZE,
                        &sector) == 0 &&
           bytes_are_zero(sector, LOG_SECTOR_SIZE);
}

static int fail(struct repair *repair, int code, struct error *error)
{
    if (repair->failed.code != 0)
        return error_set(error, code, "%s: %s", repair->segment.name, repair->failed.text);
    return error_set(error, code, "%s: %s", repair->segment.name, error_text(code));
}

/* What is not the next frame: 1 go on, 0 the segment's end, negative. */
static int heal_place(struct repair *repair, int result, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    struct scan *scan = &segment->scan;
    struct tail tail;
    char why[96];
    if (result == ERROR_BUDGET || result == -ENOMEM)
        return fail(repair, result, error);
    if (result == SCAN_BAD && scan->fault == SCAN_NEWER)
        return error_set(error, ERROR_NEWER,
                         "%s, frame at offset %llu: a newer version wrote it: use that one",
                         segment->name, big(scan->here.end_offset));
    snprintf(why, sizeof why, "%s", result == SCAN_BAD ? scan->what : error_text(result));
    if (ends_unknown(segment))
        return 0;
    /* To judge an end all that lies behind it is read: not where a witness says enough. */
    bool known = segment->is_last && segment->witness.seq > scan->here.last_seq;
    int mended = known ? mend(repair) : 0;
    int damaged = segment->is_last && mended == 0 ? judge_end(repair, result, &tail) : 1;
    if (damaged > 0 && !known)
        mended = mend(repair);
    if (damaged < 0 || mended < 0)
        return fail(repair, damaged < 0 ? damaged : mended, error);
    if (damaged == 0 || mended == 1)
        return mended;
    if (segment->is_last) {
        note_cut(repair, &tail);
        return 0;
    }
    int code = pass_lost(repair, why, error);
    return code < 0 ? code : 1;
}

static int heal_frames(struct repair *repair, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    struct scan *scan = &segment->scan;
    struct frame_header frame;
    const uint8_t *bytes;
    struct tail tail;
    int result, more = 1;
    while (more == 1 && (result = scan_next(scan, &frame, &bytes)) != SCAN_END) {
        if (result == SCAN_FRAME)
            repair->done_bytes += (uint64_t)frame.block_count * LOG_BLOCK_SIZE;
        else
            more = heal_place(repair, result, error);
    }
    if (more < 0)
        return more;
    repair_tell_pending(repair);
    /* It ended in order, and a witness knows of more. */
    int damaged = more == 1 && segment->is_last ? judge_end(repair, SCAN_END, &tail) : 0;
    if (damaged < 0)
        return fail(repair, damaged, error);
    if (damaged > 0 && tail.witness.seq > scan->counted.last_seq)
        note_cut(repair, &tail);
    return 0;
}

/* What the next segment says of this one's end. 0, or ERROR_MISMATCH: it is a copy's, and not of
 * this log. */
static int check_end(struct repair *repair, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    const struct scan_mark *end = &segment->scan.counted;
    const struct segment_header *next = repair_told_end(segment);
    struct log_repair_step step = { .kind = LOG_REPAIR_LOST,
                                    .offset = end->end_offset,
                                    .first_seq = end->last_seq };
    if (segment->lost || next == NULL)
        return 0;
    if (end->last_seq == next->prev_last_seq && end->end_offset == next->prev_end_offset &&
        memcmp(end->chain, next->prev_chain, SHA256_SIZE) == 0)
        return 0;
    if (segment->next->from >= 0 && !segment->next->proven && segment->entry->from < 0 &&
        segment->patch_count == 0)
        return error_set(error, ERROR_MISMATCH,
                         "%s has a segment %llu that goes on behind event %llu of another history "
                         "than this log's: leave it out",
                         repair->copies[segment->next->from].path, big(next->segment_no),
                         big(next->prev_last_seq));
    segment->lost = segment->refused = true;
    repair_tell_format(repair, &step,
                       "it ends with event %llu, and segment %llu goes on behind event %llu of "
                       "another history: nothing of it is changed; give a copy of the right one",
                       big(end->last_seq), big(next->segment_no), big(next->prev_last_seq));
    return 0;
}

/*--- The segment -------------------------------------------------------------------------------*/

/* Opens its file, if there is one. */
static void open_base(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    struct segment_header ignored;
    struct error what;
    ptrdiff_t index = directory_find(&repair->directory, segment->segment_no);
    segment_name(segment->raw_name, segment->segment_no);
    segment_name(segment->name, segment->segment_no);
    if (index < 0)
        return;
    (void)directory_segment(&repair->directory, (size_t)index, &segment->base, &ignored, &what);
    if (segment->base.sealed != NULL || segment->base.fd < 0)
        sealed_name(segment->name, segment->segment_no);
    segment->base.sequential = true;
}

static int flip_header_back(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    struct segment_header header;
    struct diagnosis found;
    const uint8_t *block;
    int code = source_bytes(&segment->base, 0, LOG_BLOCK_SIZE, &block);
    if (code == 0 && !repair_flip_header(block, segment->segment_no, &header, &found))
        code = ERROR_DAMAGED;
    if (code < 0)
        return code;
    struct log_repair_step step = {
        .kind = LOG_REPAIR_FLIP, .offset = found.offset, .size = 1, .bit = found.bit
    };
    repair_tell_format(repair, &step, "bit %u of byte 0x%llx, in its header, is flipped back",
                       found.bit, big(found.offset));
    return repair_add_patch(segment, found.offset, 1, PATCH_FLIPPED, (uint8_t)(1u << found.bit));
}

/* Its header, or all of it when there is no file that was begun. */
static int take_header(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    const struct repair_entry *entry = segment->entry;
    const char *path = repair->copies[entry->from].path, *what = "its header";
    struct log_repair_step step = { .kind = LOG_REPAIR_TAKE, .size = LOG_BLOCK_SIZE, .from = path };
    if (entry->blank) {
        what = entry->there ? "the whole of it, which was never begun here,"
                            : "the file, which is missing,";
        step.size = entry->header.capacity;
        segment->base_copy = entry->from;
    }
    repair_tell_format(repair, &step, "%s is taken from %s", what, path);
    return entry->blank ? 0 : repair_add_patch(segment, 0, LOG_BLOCK_SIZE, entry->from, 0);
}

static int begin_header(struct repair *repair, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    int code = 0;
    if (segment->entry->from == REPAIR_FLIPPED)
        code = flip_header_back(repair);
    else if (segment->entry->from >= 0)
        code = take_header(repair);
    segment->header = segment->entry->header;
    segment->size = segment->header.capacity;
    repair_begin_healed(repair);
    return code < 0 ? fail(repair, code, error) : 0;
}

/* The records of another place are of events that were durable. */
static int ask_witness(struct repair *repair)
{
    const struct log_repair_records *records = repair->options->records;
    struct repair_segment *segment = &repair->segment;
    uint64_t seq = 0;
    if (records == NULL || records->last_seq == NULL)
        return 0;
    int code = records->last_seq(records->context, segment->header.log_uuid, &seq, &repair->failed);
    if (code == 0 && seq > segment->witness.seq)
        segment->witness = (struct tail_witness){ .seq = seq, .name = records->name };
    return code;
}

/* What is known to be durable of the newest: a copy that goes further knows it. 0 or negative. */
static int find_witness(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    segment->witness = repair->witness;
    if (!segment->is_last || repair->forks)
        return 0;
    for (size_t i = 0; i < repair->options->copy_count; i++) {
        struct repair_copy *copy = &repair->copies[i];
        if (!repair_open_in_copy(copy, segment->segment_no) ||
            copy->header.salt != segment->header.salt)
            continue;
        uint64_t seq = repair_copy_end(copy);
        if (seq > segment->witness.seq)
            segment->witness = (struct tail_witness){ .seq = seq, .name = copy->path };
    }
    return ask_witness(repair);
}

static void begin_scan(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    const struct segment_header *header = &segment->header, *next = repair_told_end(segment);
    scan_begin(&segment->scan, &segment->healed, header);
    segment->scan.check_chain = true;
    if (next != NULL && next->prev_end_offset < segment->scan.limit)
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
    if (header->prev_segment_no == repair->before.segment_no || header->prev_segment_no == 0 ||
        header->prev_segment_no >= header->segment_no)
        return;
    if (repair->before.segment_no == 0) {
        uint64_t begin_seq = repair->options->begin_seq;
        if (repair->segment.entry != repair->line || begin_seq == 0 ||
            header->first_seq <= begin_seq)
            return;
        step.first_seq = begin_seq;
    }
    segment_name(step.file, header->prev_segment_no);
    repair_tell_format(repair, &step, "the file is missing: give a copy that has it");
}

int repair_heal(struct repair *repair, size_t index, struct error *error)
{
    struct repair_segment *segment = &repair->segment;
    const struct repair_entry *entry = &repair->line[index];
    *segment = (struct repair_segment){ .entry = entry,
                                        .segment_no = entry->segment_no,
                                        .is_last = entry->segment_no == repair->last_no,
                                        .base_copy = -1,
                                        .zero_from = UINT64_MAX,
                                        .zero_unreadable_from = UINT64_MAX,
                                        .base = { .fd = -1, .remembers = true },
                                        .healed = { .fd = -1 } };
    open_base(repair);
    if (entry->from == REPAIR_NOBODY)
        return 0;
    for (size_t i = index + 1; segment->next == NULL && i < repair->line_count; i++)
        if (repair->line[i].from != REPAIR_NOBODY)
            segment->next = &repair->line[i];
    int code = begin_header(repair, error);
    if (code < 0)
        return code;
    check_gap(repair);
    code = find_witness(repair);
    if (code < 0)
        return fail(repair, code, error);
    begin_scan(repair);
    code = heal_frames(repair, error);
    if (code == 0)
        code = check_end(repair, error);
    if (code < 0)
        return code;
    code = repair_behind_end(repair);
    if (code < 0)
        return fail(repair, code, error);
    repair_judge_size(repair);
    return 1;
}
