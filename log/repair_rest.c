/* What a repair mends beside frames and headers. */
#include "iouring/file.h"
#include "log/checkpoint.h"
#include "log/diagnose.h"
#include "log/repair_inside.h"

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

void repair_behind_end(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    uint64_t end = segment->scan.counted.end_offset;
    struct log_repair_step step = { .kind = LOG_REPAIR_CLEAR,
                                    .offset = end,
                                    .size = segment->header.capacity - end };
    /* Behind a crash lies what it left, which does not count and stays. */
    if (!segment->scan.ended || segment->lost || is_zero(&segment->healed, end))
        return;
    segment->zero_from = end;
    repair_tell_format(repair, &step,
                       "behind its last frame nothing was ever written: it is zeroed there");
}

/*--- Files that are no segment -----------------------------------------------------------------*/

static int check_spare(struct repair *repair, size_t index, struct error *error)
{
    struct log_repair_step step = { .kind = LOG_REPAIR_ASIDE };
    struct segment_header header;
    struct error ignored;
    struct source *probe = &repair->probe;
    int state = directory_segment(&repair->directory, index, probe, &header, &ignored);
    bool fits = probe->size == repair->before.capacity || repair->before.capacity == 0;
    probe->sequential = true;
    if (state == -ENOENT || (state == SEGMENT_SPARE && fits && is_zero(probe, 0)))
        return 0;
    segment_name(step.file, repair->directory.segments[index]);
    step.size = probe->size;
    repair_tell_format(repair, &step,
                       "it was not begun and holds no event, but is not a spare of zeros: it is "
                       "moved into the quarantine");
    return repair->options->plan ? 0 : repair_move_aside(repair, step.file, error);
}

int repair_spares(struct repair *repair, struct error *error)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < repair->directory.count; i++)
        if (repair->directory.segments[i] > repair->last_no)
            code = check_spare(repair, i, error);
    return code;
}

/*--- CHECKPOINT --------------------------------------------------------------------------------*/

/* True if the slot is not what it was; then it is what it should be. */
static bool mend_slot(struct repair *repair, uint64_t offset, uint8_t block[LOG_BLOCK_SIZE])
{
    struct checkpoint checkpoint;
    const uint8_t *bytes = NULL;
    struct log_repair_step step = { .kind = LOG_REPAIR_CLEAR,
                                    .file = LOG_CHECKPOINT_NAME,
                                    .offset = offset,
                                    .size = LOG_BLOCK_SIZE };
    bool readable = source_bytes(&repair->probe, offset, LOG_BLOCK_SIZE, &bytes) == 0;
    if (readable)
        memcpy(block, bytes, LOG_BLOCK_SIZE);
    if (readable && checkpoint_decode(block, &checkpoint) != ERROR_DAMAGED)
        return false;
    struct diagnosis found = { .kind = DIAGNOSIS_NONE };
    if (readable)
        found = diagnose_checkpoint(block);
    if (found.kind == DIAGNOSIS_FLIPPED) {
        step.kind = LOG_REPAIR_FLIP;
        step.offset = offset + found.offset;
        step.size = 1;
        step.bit = found.bit;
        block[found.offset] ^= (uint8_t)(1u << found.bit);
        repair_tell_format(repair, &step, "bit %u of byte 0x%llx is flipped back", found.bit,
                           (unsigned long long)step.offset);
        return true;
    }
    memset(block, 0, LOG_BLOCK_SIZE);
    repair_tell_format(repair, &step,
                       "this one of its two blocks is zeroed: the segments say what it did, and "
                       "the next writer writes it anew");
    return true;
}

int repair_checkpoint(struct repair *repair, struct error *error)
{
    static const char name[] = LOG_CHECKPOINT_NAME;
    uint8_t blocks[2 * LOG_BLOCK_SIZE] = { 0 };
    struct checkpoint ignored;
    unsigned damaged;
    (void)directory_checkpoint(&repair->directory, &repair->probe, &ignored, &damaged);
    if (repair->probe.fd < 0)
        return 0;
    bool changed = repair->probe.size != sizeof blocks;
    for (uint64_t slot = 0; slot < 2; slot++)
        if (mend_slot(repair, slot * LOG_BLOCK_SIZE, blocks + slot * LOG_BLOCK_SIZE))
            changed = true;
    source_close(&repair->probe);
    if (!changed || repair->options->plan)
        return 0;
    int code = repair_keep(repair, name, error);
    return code < 0 ? code
                    : file_replace(repair->directory.path, name, blocks, sizeof blocks, error);
}
