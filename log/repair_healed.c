/* The segment as it would be: its file, or that of a copy where there is none, with patches over
 * it. */
#include "log/repair_inside.h"
#include "log/sealed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool repair_open_in_copy(struct repair_copy *copy, uint64_t segment_no)
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

/* What lies below the patches; NULL: it cannot be opened any more. */
static struct source *base_of(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    if (segment->base_copy < 0)
        return &segment->base;
    struct repair_copy *copy = &repair->copies[segment->base_copy];
    return repair_open_in_copy(copy, segment->segment_no) ? &copy->source : NULL;
}

/* Bytes of a file, as far as it goes; zeros behind. */
static int read_base(struct repair *repair, uint8_t *target, uint64_t offset, uint64_t size)
{
    struct source *base = base_of(repair);
    const uint8_t *bytes;
    if (base == NULL)
        return -EIO;
    uint64_t there = offset < base->size ? base->size - offset : 0;
    uint64_t some = size < there ? size : there;
    int code = some == 0 ? 0 : source_bytes(base, offset, some, &bytes);
    if (code == 0 && some > 0)
        memcpy(target, bytes, some);
    memset(target + (code == 0 ? some : 0), 0, size - (code == 0 ? some : 0));
    bool unreadable = code == -EIO || code == ERROR_DAMAGED;
    return unreadable && offset >= repair->segment.zero_unreadable_from ? 0 : code;
}

/* The first patch that ends behind `offset`: they are in the order of the segment. */
static unsigned first_behind(const struct repair_segment *segment, uint64_t offset)
{
    unsigned low = 0, high = segment->patch_count;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        const struct repair_patch *patch = &segment->patches[middle];
        if (patch->offset + patch->size <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The patch whose bytes hold `offset`, or NULL. *end comes down to where that changes. */
static const struct repair_patch *taken_at(const struct repair_segment *segment, uint64_t offset,
                                           uint64_t *end)
{
    for (unsigned i = first_behind(segment, offset); i < segment->patch_count; i++) {
        const struct repair_patch *patch = &segment->patches[i];
        if (patch->copy == PATCH_FLIPPED)
            continue;
        bool holds = patch->offset <= offset;
        uint64_t change = holds ? patch->offset + patch->size : patch->offset;
        if (change < *end)
            *end = change;
        return holds ? patch : NULL;
    }
    return NULL;
}

static void flip_back(const struct repair_segment *segment, uint8_t *target, uint64_t offset,
                      uint64_t size)
{
    for (unsigned i = first_behind(segment, offset); i < segment->patch_count; i++) {
        const struct repair_patch *patch = &segment->patches[i];
        if (patch->offset >= offset + size || patch->offset >= segment->zero_from)
            return;
        if (patch->copy == PATCH_FLIPPED)
            target[patch->offset - offset] ^= patch->mask;
    }
}

static int read_patch(struct repair *repair, const struct repair_patch *patch, uint8_t *target,
                      uint64_t offset, uint64_t size)
{
    const uint8_t *bytes;
    if (patch->copy == PATCH_BUILT) {
        memcpy(target, patch->bytes + (offset - patch->offset), size);
        return 0;
    }
    struct repair_copy *copy = &repair->copies[patch->copy];
    int code = repair_open_in_copy(copy, repair->segment.segment_no)
                   ? source_bytes(&copy->source, offset, size, &bytes)
                   : -EIO;
    if (code == 0)
        memcpy(target, bytes, size);
    return code;
}

/* What the source `healed` is made of. What cannot be read hides no more than its blocks, and what
 * is zero anyway is not read. */
static int fill(void *context, uint8_t *target, uint64_t offset, uint64_t size)
{
    struct repair *repair = context;
    struct repair_segment *segment = &repair->segment;
    uint64_t at = offset, all_end = offset + size;
    int code = 0;
    while (code == 0 && at < all_end) {
        uint64_t end = at + SOURCE_WINDOW_SIZE < all_end ? at + SOURCE_WINDOW_SIZE : all_end;
        if (at >= segment->zero_from) {
            memset(target + (at - offset), 0, all_end - at);
            break;
        }
        if (segment->zero_from < end)
            end = segment->zero_from;
        if (segment->zero_unreadable_from < end && end > at + LOG_BLOCK_SIZE)
            end = at + LOG_BLOCK_SIZE;
        const struct repair_patch *taken = taken_at(segment, at, &end);
        code = taken == NULL ? read_base(repair, target + (at - offset), at, end - at)
                             : read_patch(repair, taken, target + (at - offset), at, end - at);
        at = end;
    }
    if (code < 0)
        return code;
    flip_back(segment, target, offset, size);
    return 0;
}

void repair_begin_healed(struct repair *repair)
{
    struct repair_segment *segment = &repair->segment;
    source_of_fill(&segment->healed, fill, repair, segment->header.capacity);
}

/*--- Patches -----------------------------------------------------------------------------------*/

static bool make_room(struct repair_segment *segment)
{
    if (segment->patch_count < segment->patch_capacity)
        return true;
    unsigned more = segment->patch_capacity == 0 ? 64 : segment->patch_capacity * 2;
    struct repair_patch *grown = realloc(segment->patches, more * sizeof *grown);
    if (grown == NULL)
        return false;
    segment->patches = grown;
    segment->patch_capacity = more;
    return true;
}

int repair_add_patch(struct repair_segment *segment, uint64_t offset, uint64_t size, int copy,
                     uint8_t mask)
{
    struct repair_patch *last =
        segment->patch_count == 0 ? NULL : &segment->patches[segment->patch_count - 1];
    source_forget(&segment->healed);
    if (last != NULL && copy >= 0 && last->copy == copy && last->offset + last->size == offset) {
        last->size += size;
        return 0;
    }
    if (!make_room(segment))
        return -ENOMEM;
    segment->patches[segment->patch_count++] =
        (struct repair_patch){ .offset = offset, .size = size, .copy = copy, .mask = mask };
    return 0;
}

int repair_add_built(struct repair_segment *segment, uint64_t offset, uint64_t size, uint8_t *bytes)
{
    source_forget(&segment->healed);
    if (!make_room(segment)) {
        free(bytes);
        return -ENOMEM;
    }
    segment->patches[segment->patch_count++] = (struct repair_patch){
        .offset = offset, .size = size, .copy = PATCH_BUILT, .bytes = bytes
    };
    return 0;
}

void repair_drop_patch(struct repair_segment *segment, uint64_t size)
{
    struct repair_patch *last = &segment->patches[segment->patch_count - 1];
    source_forget(&segment->healed);
    last->size -= last->copy >= 0 ? size : last->size;
    if (last->size > 0)
        return;
    free(last->bytes);
    segment->patch_count--;
}

bool repair_is_changed(const struct repair_segment *segment)
{
    return segment->patch_count > 0 || segment->resized || segment->zero_from != UINT64_MAX ||
           segment->base_copy >= 0 ||
           (segment->base.sealed != NULL && segment->base.sealed->flip_count > 0);
}

void repair_close_segment(struct repair_segment *segment)
{
    source_close(&segment->base);
    source_close(&segment->healed);
    for (unsigned i = 0; i < segment->patch_count; i++)
        free(segment->patches[i].bytes);
    free(segment->patches);
    segment->patches = NULL;
    segment->patch_count = segment->patch_capacity = 0;
}
