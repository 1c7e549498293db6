/* Where records begin in a segment: for each 4 KiB block the first record that begins in it. The
 * same entries as in SEAL and CLOSE; built here from frames, or taken from there. For log/ only.
 *
 * Memory: 6 bytes a block, on the budget. Threads: an index belongs to one thread. */
#ifndef LOG_BLOCK_INDEX_H
#define LOG_BLOCK_INDEX_H

#include "core/base/budget.h"
#include "log/frame.h"
#include "log/storage.h"

#include <stdbool.h>
#include <stdint.h>

struct block_index {
    struct budget *budget;
    uint64_t first_seq;   /* what entries count from */
    uint32_t block_count; /* entries that are filled in */
    uint32_t capacity;    /* blocks of the segment; 0: nothing allocated */
    uint8_t *entries;
};

/* Empty, for a segment of `capacity` bytes that begins with `first_seq`; keeps its memory when it
 * is large enough. 0, ERROR_BUDGET or -ENOMEM. */
int block_index_reset(struct block_index *index, uint64_t capacity, uint64_t first_seq);
void block_index_free(struct block_index *index);

/* Takes in a frame that frame_check() passed. */
void block_index_add(struct block_index *index, const uint8_t *bytes,
                     const struct frame_header *frame);

/* Takes over what SEAL or CLOSE says. */
void block_index_take(struct block_index *index, const struct storage_sealed *sealed);

/* True if the entries of `sealed` are these. */
bool block_index_matches(const struct block_index *index, const struct storage_sealed *sealed);

/* The place of the last record at a block's start list that is not behind `seq`: walk records from
 * there. False when there is none. */
bool block_index_find(const struct block_index *index, uint64_t seq, uint64_t *offset);

/* Going down from `block`: true if a frame may begin in it, that is, if a record stands right
 * behind where its header would be. */
bool block_index_may_begin(const struct block_index *index, uint64_t block);

#endif
