#include "log/block_index.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"

#include <errno.h>
#include <stdlib.h>

static uint8_t *entry_at(const struct block_index *index, uint64_t block)
{
    return index->entries + block * SEALED_ENTRY_SIZE;
}

static uint32_t seq_delta(const uint8_t *entry)
{
    return bytes_get_u32(entry);
}

static uint16_t record_offset(const uint8_t *entry)
{
    return bytes_get_u16(entry + 4);
}

void block_index_free(struct block_index *index)
{
    if (index->budget != NULL && index->capacity > 0)
        budget_release(index->budget, BUDGET_READERS,
                       (uint64_t)index->capacity * SEALED_ENTRY_SIZE);
    free(index->entries);
    index->entries = NULL;
    index->capacity = index->block_count = 0;
}

int block_index_reset(struct block_index *index, uint64_t capacity, uint64_t first_seq)
{
    uint32_t blocks = (uint32_t)(capacity / LOG_BLOCK_SIZE);
    size_t size = (size_t)blocks * SEALED_ENTRY_SIZE;
    if (blocks > index->capacity) {
        block_index_free(index);
        if (index->budget != NULL && budget_reserve(index->budget, BUDGET_READERS, size) < 0)
            return ERROR_BUDGET;
        index->entries = malloc(size);
        if (index->entries == NULL) {
            if (index->budget != NULL)
                budget_release(index->budget, BUDGET_READERS, size);
            return -ENOMEM;
        }
        index->capacity = blocks;
    }
    memset(index->entries, 0xff, size);
    index->first_seq = first_seq;
    index->block_count = 0;
    return 0;
}

void block_index_add(struct block_index *index, const uint8_t *bytes,
                     const struct frame_header *frame)
{
    uint64_t end = frame->file_offset / LOG_BLOCK_SIZE + frame->block_count;
    struct record record;
    CHECK(end <= index->capacity);
    for (uint32_t at = 0, before = 0; frame_next_record(bytes, frame, &at, &record); before = at) {
        uint64_t place = frame->file_offset + FRAME_HEADER_SIZE + before;
        uint8_t *entry = entry_at(index, place / LOG_BLOCK_SIZE);
        if (record_offset(entry) != SEALED_NO_RECORD)
            continue;
        bytes_put_u32(entry, (uint32_t)(record.seq - index->first_seq));
        bytes_put_u16(entry + 4, (uint16_t)(place % LOG_BLOCK_SIZE));
    }
    index->block_count = (uint32_t)end;
}

void block_index_take(struct block_index *index, const struct storage_sealed *sealed)
{
    uint32_t count = sealed->block_count < index->capacity ? sealed->block_count : index->capacity;
    memcpy(index->entries, sealed->index, (size_t)count * SEALED_ENTRY_SIZE);
    index->first_seq = sealed->first_seq;
    index->block_count = count;
}

bool block_index_matches(const struct block_index *index, const struct storage_sealed *sealed)
{
    if (sealed->block_count > index->capacity || sealed->first_seq != index->first_seq)
        return false;
    for (uint32_t block = 0; block < sealed->block_count; block++) {
        const uint8_t *ours = entry_at(index, block);
        const uint8_t *theirs = sealed->index + (size_t)block * SEALED_ENTRY_SIZE;
        if (record_offset(ours) != record_offset(theirs))
            return false;
        if (record_offset(ours) != SEALED_NO_RECORD && seq_delta(ours) != seq_delta(theirs))
            return false;
    }
    return true;
}

/* The nearest block at or below `block` in which a record begins; 0 when there is none (block 0 is
 * the segment's header). */
static uint64_t nearest(const struct block_index *index, uint64_t block)
{
    while (block > 0 && record_offset(entry_at(index, block)) == SEALED_NO_RECORD)
        block--;
    return block;
}

bool block_index_find(const struct block_index *index, uint64_t seq, uint64_t *offset)
{
    uint64_t low = 1, high = index->block_count;
    if (seq < index->first_seq || high <= 1)
        return false;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2, block = nearest(index, middle);
        if (block == 0 || seq_delta(entry_at(index, block)) <= seq - index->first_seq)
            low = middle + 1;
        else
            high = middle;
    }
    uint64_t block = nearest(index, low - 1);
    if (block == 0)
        return false;
    *offset = block * LOG_BLOCK_SIZE + record_offset(entry_at(index, block));
    return true;
}

bool block_index_may_begin(const struct block_index *index, uint64_t block)
{
    return block > 0 && block < index->block_count &&
           record_offset(entry_at(index, block)) == FRAME_HEADER_SIZE;
}
