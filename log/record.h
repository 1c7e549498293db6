/* One record of the event log, in memory and in bytes (log/format.h). Pure. Threads: any. */
#ifndef LOG_RECORD_H
#define LOG_RECORD_H

#include "core/base/span.h"
#include "log/format.h"

#include <stddef.h>
#include <stdint.h>

struct record {
    uint64_t seq;
    uint64_t stream;
    uint64_t time_ns;
    uint64_t cause;
    uint64_t stream_prev_seq;
    uint32_t key_id;
    uint16_t kind;
    uint16_t flags;
    struct span payload;
};

/* Bytes in the log of a record with a payload of `payload_size`. */
static inline size_t record_size(size_t payload_size)
{
    return (RECORD_HEADER_SIZE + payload_size + 7) & ~(size_t)7;
}

/* Writes record_size(record->payload.size) bytes. The payload is within LOG_PAYLOAD_SIZE_MAX. */
void record_encode(uint8_t *target, const struct record *record);

/* Reads the record at the start of `bytes`, CRC checked; its payload points into them. *size is how
 * many bytes it takes. 0 or ERROR_DAMAGED. */
int record_decode(struct span bytes, struct record *record, size_t *size);

/* The same without the CRC, for bytes that a frame's checksum vouches for already: only the sizes
 * are checked. */
int record_view(struct span bytes, struct record *record, size_t *size);

/* "storage.opened", ... for the log's own kinds; NULL for others. */
const char *record_own_kind_name(uint16_t kind);

#endif
