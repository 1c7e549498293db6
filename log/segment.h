/* A segment's header and name. Pure. Threads: any. */
#ifndef LOG_SEGMENT_H
#define LOG_SEGMENT_H

#include "core/base/error.h"
#include "core/base/id.h"
#include "core/base/sha256.h"
#include "log/format.h"

#include <stdbool.h>
#include <stdint.h>

#define SEGMENT_NO_MAX 9999999999ull /* what a name holds */

struct segment_header {
    uint8_t log_uuid[UUID_SIZE];
    uint64_t segment_no;
    uint64_t first_seq;
    uint64_t created_ns;
    uint64_t salt;
    uint32_t epoch;
    uint64_t capacity;
    uint8_t prev_chain[SHA256_SIZE];
    uint64_t prev_segment_no;
    uint64_t prev_last_seq;
    uint64_t prev_end_offset;
    uint64_t durable_seq;
    uint32_t compat, incompat;
    uint8_t hash; /* 0 no chain, 1 SHA-256 */
    uint8_t boot_id[16];
    uint16_t minor;        /* of the format that it was written in; encoding writes ours */
    uint16_t event_schema; /* the highest that its writer may write; decoding turns 0 into 1 */
    /* With LOG_INCOMPAT_FORKED, else zero. */
    uint8_t parent_uuid[UUID_SIZE];
    uint64_t parent_seq;
    uint8_t parent_chain[SHA256_SIZE];
};

void segment_header_encode(uint8_t block[LOG_BLOCK_SIZE], const struct segment_header *header);

/* 0; 1 when the block is all zero (a spare); ERROR_DAMAGED; ERROR_NEWER with what is newer. */
int segment_header_decode(const uint8_t block[LOG_BLOCK_SIZE], struct segment_header *header,
                          struct error *error);

/* True if the log that `header` belongs to has a parent. */
static inline bool segment_is_forked(const struct segment_header *header)
{
    return (header->incompat & LOG_INCOMPAT_FORKED) != 0;
}

/* True if `later` may stand behind `header` as far as names go: both are of one log, or `later`
 * forked where `header` ends. A name under which nothing was written before the next fork was
 * passed over: both name the same parent then. */
bool segment_is_of_line(const struct segment_header *header, const struct segment_header *later);

void segment_name(char name[LOG_SEGMENT_NAME_SIZE], uint64_t segment_no);
/* False unless it is exactly a segment's name. */
bool segment_no_of_name(const char *name, uint64_t *segment_no);

/* The largest frame and payload for a segment of this capacity (bytes). */
uint32_t segment_frame_size_max(uint64_t capacity);
uint32_t segment_payload_size_max(uint64_t capacity);

#endif
