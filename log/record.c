#include "log/record.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "core/base/error.h"

_Static_assert(RECORD_AT_CRC == RECORD_AT_SIZE + 4, "the CRC follows the size");
_Static_assert(RECORD_AT_SEQ == RECORD_AT_CRC + 4, "the CRC covers all behind it");
_Static_assert(RECORD_AT_STREAM == RECORD_AT_SEQ + 8, "");
_Static_assert(RECORD_AT_TIME_NS == RECORD_AT_STREAM + 8, "");
_Static_assert(RECORD_AT_KIND == RECORD_AT_TIME_NS + 8, "");
_Static_assert(RECORD_AT_FLAGS == RECORD_AT_KIND + 2, "");
_Static_assert(RECORD_AT_PAYLOAD_SIZE == RECORD_AT_FLAGS + 2, "");
_Static_assert(RECORD_AT_CAUSE == RECORD_AT_PAYLOAD_SIZE + 4, "");
_Static_assert(RECORD_AT_STREAM_PREV_SEQ == RECORD_AT_CAUSE + 8, "");
_Static_assert(RECORD_AT_KEY_ID == RECORD_AT_STREAM_PREV_SEQ + 8, "");
_Static_assert(RECORD_AT_RESERVED == RECORD_AT_KEY_ID + 4, "");
_Static_assert(RECORD_HEADER_SIZE == RECORD_AT_RESERVED + 4, "");
_Static_assert(RECORD_HEADER_SIZE % 8 == 0, "payloads are aligned like records");

static uint32_t record_crc(const uint8_t *bytes, size_t size)
{
    return crc32c_more(crc32c(bytes, RECORD_AT_CRC), bytes + RECORD_AT_SEQ, size - RECORD_AT_SEQ);
}

void record_encode(uint8_t *target, const struct record *record)
{
    CHECK(record->payload.size <= LOG_PAYLOAD_SIZE_MAX);
    size_t size = record_size(record->payload.size);
    size_t end = RECORD_HEADER_SIZE + record->payload.size;

    bytes_put_u32(target + RECORD_AT_SIZE, (uint32_t)size);
    bytes_put_u64(target + RECORD_AT_SEQ, record->seq);
    bytes_put_u64(target + RECORD_AT_STREAM, record->stream);
    bytes_put_u64(target + RECORD_AT_TIME_NS, record->time_ns);
    bytes_put_u16(target + RECORD_AT_KIND, record->kind);
    bytes_put_u16(target + RECORD_AT_FLAGS, record->flags);
    bytes_put_u32(target + RECORD_AT_PAYLOAD_SIZE, (uint32_t)record->payload.size);
    bytes_put_u64(target + RECORD_AT_CAUSE, record->cause);
    bytes_put_u64(target + RECORD_AT_STREAM_PREV_SEQ, record->stream_prev_seq);
    bytes_put_u32(target + RECORD_AT_KEY_ID, record->key_id);
    bytes_put_u32(target + RECORD_AT_RESERVED, 0);
    if (record->payload.size > 0)
        memcpy(target + RECORD_HEADER_SIZE, record->payload.bytes, record->payload.size);
    memset(target + end, 0, size - end);
    bytes_put_u32(target + RECORD_AT_CRC, record_crc(target, size));
}

/* True if the sizes agree with each other and with the bytes that are there. */
static bool sizes_agree(struct span bytes)
{
    if (bytes.size < RECORD_HEADER_SIZE)
        return false;
    size_t size = bytes_get_u32(bytes.bytes + RECORD_AT_SIZE);
    size_t payload_size = bytes_get_u32(bytes.bytes + RECORD_AT_PAYLOAD_SIZE);
    return size <= bytes.size && payload_size <= LOG_PAYLOAD_SIZE_MAX &&
           size == record_size(payload_size);
}

int record_decode(struct span bytes, struct record *record, size_t *size)
{
    if (record_view(bytes, record, size) < 0)
        return ERROR_DAMAGED;
    size_t end = RECORD_HEADER_SIZE + record->payload.size;
    if (bytes_get_u32(bytes.bytes + RECORD_AT_CRC) != record_crc(bytes.bytes, *size))
        return ERROR_DAMAGED;
    if (bytes_get_u32(bytes.bytes + RECORD_AT_RESERVED) != 0)
        return ERROR_DAMAGED;
    return bytes_are_zero(bytes.bytes + end, *size - end) ? 0 : ERROR_DAMAGED;
}

int record_view(struct span bytes, struct record *record, size_t *size)
{
    if (!sizes_agree(bytes))
        return ERROR_DAMAGED;
    const uint8_t *source = bytes.bytes;
    *record = (struct record){
        .seq = bytes_get_u64(source + RECORD_AT_SEQ),
        .stream = bytes_get_u64(source + RECORD_AT_STREAM),
        .time_ns = bytes_get_u64(source + RECORD_AT_TIME_NS),
        .cause = bytes_get_u64(source + RECORD_AT_CAUSE),
        .stream_prev_seq = bytes_get_u64(source + RECORD_AT_STREAM_PREV_SEQ),
        .key_id = bytes_get_u32(source + RECORD_AT_KEY_ID),
        .kind = bytes_get_u16(source + RECORD_AT_KIND),
        .flags = bytes_get_u16(source + RECORD_AT_FLAGS),
        .payload =
            span_of(source + RECORD_HEADER_SIZE, bytes_get_u32(source + RECORD_AT_PAYLOAD_SIZE)),
    };
    *size = bytes_get_u32(source + RECORD_AT_SIZE);
    return 0;
}

const char *record_own_kind_name(uint16_t kind)
{
    switch (kind) {
    case LOG_KIND_OPENED:
        return "storage.opened";
    case LOG_KIND_SEALED:
        return "storage.sealed";
    case LOG_KIND_CLOSED:
        return "storage.closed";
    case LOG_KIND_FAILOVER:
        return "storage.failover";
    case LOG_KIND_SPACE:
        return "storage.space";
    case LOG_KIND_STALLED:
        return "storage.stalled";
    default:
        return NULL;
    }
}
