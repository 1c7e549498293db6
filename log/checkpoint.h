/* CHECKPOINT: a witness to what was durable when the pipeline last drained. A hint, never the
 * truth. Pure. Threads: any. */
#ifndef LOG_CHECKPOINT_H
#define LOG_CHECKPOINT_H

#include "core/base/id.h"
#include "core/base/sha256.h"
#include "log/format.h"

#include <stdint.h>

#define CHECKPOINT_SIZE (2u * LOG_BLOCK_SIZE) /* of the file: two slots, written in turn */

struct checkpoint {
    uint8_t log_uuid[UUID_SIZE];
    uint64_t durable_seq;
    uint64_t segment_no;
    uint64_t end_offset;
    uint8_t chain[SHA256_SIZE];
    uint64_t time_ns;
    uint64_t generation;
};

void checkpoint_encode(uint8_t block[LOG_BLOCK_SIZE], const struct checkpoint *checkpoint);
/* 0; 1 when the slot is all zero (never written); ERROR_DAMAGED; ERROR_NEWER. */
int checkpoint_decode(const uint8_t block[LOG_BLOCK_SIZE], struct checkpoint *checkpoint);

#endif
