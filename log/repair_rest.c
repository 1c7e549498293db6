/* What a repair mends beside frames and headers. */
#include "iouring/file.h"
#include "log/checkpoint.h"
#include "log/diagnose.h"
#include "log/repair_inside.h"
#include "log/sealed.h"

#include "core/base/bytes.h"

#include <errno.h>
#include <string.h>

static bool is_zero(struct source *source, uint64_t from)
{
    const uint8_t *bytes;
    bool zero = true;
    for (uint64_t at = from; zero && at < source->size; at += LOG_BLOCK_SIZE) {
        uint64_t size = source->size - at < LOG_BLOCK_SIZE ? source->size - at : LOG_BLOCK_SIZE;
        zero = source_bytes(source, at, size, &bytes) == 0 && bytes_are_zero(bytes, size);
    }
    return zero;
}

static bool can_be_read(struct source *source, uint64_t from, uint64_t end)
{
    const uint8_t *bytes;
    bool readable = source->size >= end;
    for (uint64_t at = from; readable && at < end; at += LOG_BLOCK_SIZE)
        readable = source_bytes(source, at, LOG_BLOCK_SIZE, &bytes) == 0;
    return readable;
}

/* Nothing of a sealed file can be read without its index: what a crash left behind its end comes
 * from a copy too, or is given up. */
static int take_rest(struct repair *repair, uint64_t end)
{
    struct repair_segment *segment = &repair->segment;
    uint64_t capacity = segment->header.capacity;
    for (size_t i = 0; i < repair->options->copy_count; i++) {
        struct repair_copy *copy = &repair->copies[i];
        if (repair_open_in_copy(copy, segment->segment_no) &&
            copy->header.salt == segment->header.salt && can_be_read(&copy->source, end, capacity))
            return repair_add_patch(segment, end, capacity - end, (int)i, 0);
    }
    segment->zero_from = end;
    return 0;
}

int repair_behind_end(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    const struct sealed *sealed = segment->base.sealed;
    uint64_t end = segment->scan.counted.end_offset;
    struct log_repair_step step = { .kind = LOG_REPAIR_CLEAR,
                                    .offset = end,
                                    .size = segment->header.capacity - end };
    if (segment->lost)
        return 0;
    if (sealed != NULL && !sealed->loaded && end < segment->header.capacity)
        return take_rest(repair, end);
    if (!segment->is_last)
        segment->zero_unreadable_from = end;
    source_forget(&segment->healed);
    /* Behind a crash lies what it left, which does not count and stays. */
    if (!segment->scan.ended || is_zero(&segment->healed, end))
        return 0;
    segment->zero_from = end;
    repair_tell_format(repair, &step,
                       "behind its last frame nothing was ever written: it is zeroed there");
    return 0;
}

/*--- The size of the file ----------------------------------------------------------------------*/

/* A frame that was acknowledged was written from its first sector on, and so were those before. */
static bool ends_with_zeros(struct repair_segment *segment)
{
    const uint8_t *sector;
    return source_bytes(&segment->base, segment->scan.here.end_offset, LOG_SECTOR_SIZE, &sector) ==
               0 &&
           bytes_are_zero(sector, LOG_SECTOR_SIZE);
}

/* The end of the newest segment may be what is missing. */
static void leave_size(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    const struct scan_mark *end = &segment->scan.counted;
    uint64_t size = segment->base.size;
    struct log_repair_step step = { .kind = LOG_REPAIR_LOST,
                                    .offset = size,
                                    .size = segment->header.capacity - size,
                                    .first_seq = end->last_seq + 1 };
    if (size < end->end_offset)
        size = end->end_offset;
    segment->size = (size + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    if (segment->lost)
        return;
    repair_tell_format(
        repair, &step,
        "its file is %llu bytes long instead of %llu, and nothing says that no event "
        "stood there: it stays so; give a copy that goes further, or cut it behind "
        "event %llu",
        (unsigned long long)segment->base.size, (unsigned long long)segment->header.capacity,
        (unsigned long long)end->last_seq);
}

void repair_judge_size(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    uint64_t size = segment->base.size, capacity = segment->header.capacity;
    struct log_repair_step step = { .kind = LOG_REPAIR_CLEAR,
                                    .offset = size < capacity ? size : capacity,
                                    .size = size < capacity ? capacity - size : size - capacity };
    if (segment->base_copy >= 0 || segment->base.fd < 0 || size == capacity)
        return;
    if (segment->is_last && !segment->scan.ended && size < capacity && !ends_with_zeros(segment)) {
        leave_size(repair);
        return;
    }
    segment->resized = true;
    repair_tell_format(repair, &step,
                       "its file is %llu bytes long instead of %llu, and no event stood there: it "
                       "gets its size again",
                       (unsigned long long)size, (unsigned long long)capacity);
}

/*--- Files that are no segment -----------------------------------------------------------------*/

/* 1: it is a spare of zeros, or gone; 0. */
static int is_spare(struct repair *repair, size_t index)
{
    struct segment_header header;
    struct error ignored;
    struct source *probe = &repair->probe;
    int state = directory_segment(&repair->directory, index, probe, &header, &ignored);
    bool fits = probe->size == repair->before.capacity || repair->before.capacity == 0;
    probe->sequential = true;
    return state == -ENOENT || (state == SEGMENT_SPARE && fits && is_zero(probe, 0));
}

/* Newest first, so that no number is ever missing before another. */
static int move_spares_aside(struct repair *repair, size_t from, struct error *error)
{
    int code = 0;
    for (size_t i = repair->directory.count; code == 0 && i-- > from;) {
        struct log_repair_step step = { .kind = LOG_REPAIR_ASIDE };
        bool good = is_spare(repair, i);
        segment_name(step.file, repair->directory.segments[i]);
        step.size = repair->probe.size;
        repair_tell_format(repair, &step,
                           good ? "it is a spare behind one that is none: it is moved into the "
                                  "quarantine too"
                                : "it was not begun and holds no event, but is not a spare of "
                                  "zeros: it is moved into the quarantine");
        code = repair->options->plan ? 0 : repair_move_aside(repair, step.file, error);
    }
    return code;
}

/* What is missing before a spare may have been begun. */
static void note_gap(struct repair *repair, uint64_t missing)
{
    struct log_repair_result *result = repair->result;
    struct log_repair_step step = { .kind = LOG_REPAIR_LOST,
                                    .first_seq = repair->mark.last_seq + 1 };
    segment_name(step.file, missing);
    repair_tell_format(repair, &step,
                       "it is missing, and later ones, which were not begun, are there: give a "
                       "copy that has it, or cut the log behind event %llu",
                       (unsigned long long)repair->mark.last_seq);
    repair->gap = true;
    if (result->cut_seq != 0 || !repair->joined)
        return;
    result->cut_seq = repair->mark.last_seq;
    result->gone_first = result->cut_seq + 1;
}

int repair_spares(struct repair *repair, struct error *error)
{
    uint64_t missing;
    int gap = directory_gap(&repair->directory, repair->last_no, &missing);
    if (gap < 0)
        return error_set(error, gap, "the files of the log changed meanwhile");
    if (gap == 1) { /* moving spares aside would hide it */
        note_gap(repair, missing);
        return 0;
    }
    for (size_t i = 0; i < repair->directory.count; i++)
        if (repair->directory.segments[i] > repair->last_no && !is_spare(repair, i))
            return move_spares_aside(repair, i, error);
    return 0;
}

/*--- CHECKPOINT --------------------------------------------------------------------------------*/

/* What makes the slot right: FLIPPED, WHOLE, or NONE. It is as it should be then, or zero. */
static struct diagnosis mend_slot(struct source *source, uint64_t offset,
                                  uint8_t block[LOG_BLOCK_SIZE])
{
    struct checkpoint checkpoint;
    const uint8_t *bytes;
    struct diagnosis found = { .kind = DIAGNOSIS_NONE };
    memset(block, 0, LOG_BLOCK_SIZE);
    if (source_bytes(source, offset, LOG_BLOCK_SIZE, &bytes) < 0)
        return found;
    if (checkpoint_decode(bytes, &checkpoint) != ERROR_DAMAGED)
        found.kind = DIAGNOSIS_WHOLE;
    else
        found = diagnose_checkpoint(bytes);
    if (found.kind != DIAGNOSIS_NONE)
        memcpy(block, bytes, LOG_BLOCK_SIZE);
    if (found.kind == DIAGNOSIS_FLIPPED)
        block[found.offset] ^= (uint8_t)(1u << found.bit);
    return found;
}

/* Opens it in the probe. False: it is not there. */
static bool open_checkpoint(struct repair *repair)
{
    struct checkpoint ignored;
    unsigned damaged;
    (void)directory_checkpoint(&repair->directory, &repair->probe, &ignored, &damaged);
    return repair->probe.fd >= 0;
}

bool repair_read_checkpoint(struct repair *repair, struct checkpoint *checkpoint)
{
    uint8_t block[LOG_BLOCK_SIZE];
    struct checkpoint one;
    bool there = false;
    if (!open_checkpoint(repair))
        return false;
    for (uint64_t slot = 0; slot < 2; slot++) {
        (void)mend_slot(&repair->probe, slot * LOG_BLOCK_SIZE, block);
        if (checkpoint_decode(block, &one) != 0 ||
            (there && one.generation <= checkpoint->generation))
            continue;
        *checkpoint = one;
        there = true;
    }
    return there;
}

/* True if the slot is to be written. */
static bool tell_slot(struct repair *repair, uint64_t offset, const struct diagnosis *found)
{
    struct log_repair_step step = { .kind = LOG_REPAIR_CLEAR,
                                    .file = LOG_CHECKPOINT_NAME,
                                    .offset = offset,
                                    .size = LOG_BLOCK_SIZE };
    if (found->kind == DIAGNOSIS_WHOLE)
        return false;
    if (found->kind == DIAGNOSIS_FLIPPED) {
        step.kind = LOG_REPAIR_FLIP;
        step.offset = offset + found->offset;
        step.size = 1;
        step.bit = found->bit;
        repair_tell_format(repair, &step, "bit %u of byte 0x%llx is flipped back", found->bit,
                           (unsigned long long)step.offset);
        return true;
    }
    repair_tell_format(repair, &step,
                       "this one of its two blocks is zeroed: the segments say what it did, and "
                       "the next writer writes it anew");
    return true;
}

int repair_checkpoint(struct repair *repair, struct error *error)
{
    static const char name[] = LOG_CHECKPOINT_NAME;
    uint8_t blocks[2 * LOG_BLOCK_SIZE];
    struct diagnosis found[2];
    if (!open_checkpoint(repair))
        return 0;
    bool changed = repair->probe.size != sizeof blocks, hopeless = changed;
    for (uint64_t slot = 0; slot < 2; slot++) {
        uint64_t offset = slot * LOG_BLOCK_SIZE;
        found[slot] = mend_slot(&repair->probe, offset, blocks + offset);
        hopeless = hopeless || found[slot].kind == DIAGNOSIS_NONE;
    }
    source_close(&repair->probe);
    /* What cannot be mended may still tell somebody something while places are lost. */
    if (hopeless && repair->result->lost > 0)
        return 0;
    for (uint64_t slot = 0; slot < 2; slot++)
        changed = tell_slot(repair, slot * LOG_BLOCK_SIZE, &found[slot]) || changed;
    if (!changed || repair->options->plan)
        return 0;
    int code = repair_keep(repair, name, error);
    return code < 0 ? code
                    : file_replace(repair->directory.path, name, blocks, sizeof blocks, error);
}
