/* The payloads of the log's own records: storage.opened, storage.sealed, storage.closed,
 * storage.failover, storage.space, storage.stalled. Pure.
 * Threads: any. */
#ifndef LOG_STORAGE_H
#define LOG_STORAGE_H

#include "core/base/id.h"
#include "core/base/sha256.h"
#include "core/base/span.h"
#include "core/base/text.h"
#include "log/format.h"
#include "log/space.h"

#include <stdint.h>

#define OPENED_REASON_SIZE_MAX 1000u
#define FAILOVER_REASON_SIZE_MAX 400u

struct storage_opened {
    uint16_t verdict;
    uint32_t epoch;
    uint8_t log_uuid[UUID_SIZE];
    uint8_t parent_uuid[UUID_SIZE];
    uint64_t parent_seq;
    uint8_t parent_chain[SHA256_SIZE];
    uint64_t prev_segment_no, prev_last_seq, prev_end_offset;
    uint64_t tail_bytes;
    uint64_t events_max;
    uint8_t boot_id[16];
    uint8_t sync_mode, engine;
    struct span reason;
};

struct storage_sealed {
    uint64_t first_seq, last_seq, record_count, frame_count, payload_bytes;
    uint64_t min_time_ns, max_time_ns;
    uint32_t block_count;
    const uint8_t *index; /* block_count x SEALED_ENTRY_SIZE, in the payload */
};

struct storage_failover {
    uint16_t count;
    uint32_t epoch;
    uint64_t failed_no, segment_no;
    uint64_t prev_segment_no, prev_last_seq, prev_end_offset;
    uint64_t frames, records;
    struct span reason;
};

size_t storage_opened_size(const struct storage_opened *opened);
void storage_opened_encode(uint8_t *target, const struct storage_opened *opened);
int storage_opened_decode(struct span payload,
                          struct storage_opened *opened); /* 0 or ERROR_DAMAGED */

static inline size_t storage_sealed_size(uint32_t block_count)
{
    return SEALED_AT_INDEX + (size_t)block_count * SEALED_ENTRY_SIZE;
}
void storage_sealed_encode(uint8_t *target, const struct storage_sealed *sealed);
int storage_sealed_decode(struct span payload,
                          struct storage_sealed *sealed); /* 0 or ERROR_DAMAGED */

size_t storage_failover_size(const struct storage_failover *failover);
void storage_failover_encode(uint8_t *target, const struct storage_failover *failover);
int storage_failover_decode(struct span payload,
                            struct storage_failover *failover); /* 0 or ERROR_DAMAGED */

struct storage_space {
    enum space_state before, state;
    uint64_t free_bytes, total_bytes, ballast_bytes, spares;
};

void storage_space_encode(uint8_t target[SPACE_SIZE], const struct storage_space *space);
int storage_space_decode(struct span payload, struct storage_space *space); /* 0 or ERROR_DAMAGED */

struct storage_stalled {
    uint32_t count;
    uint64_t longest_ns;
};

void storage_stalled_encode(uint8_t target[STALLED_SIZE], const struct storage_stalled *stalled);
int storage_stalled_decode(struct span payload,
                           struct storage_stalled *stalled); /* 0 or ERROR_DAMAGED */

const char *log_verdict_name(uint16_t verdict); /* "sound", "damaged", "torn", "unproven" */

/* The payload of one of the log's own kinds as members of an open JSON object. 0 or ERROR_DAMAGED.
 */
int storage_to_json(uint16_t kind, struct span payload, struct text *text);

#endif
