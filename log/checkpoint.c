#include "log/checkpoint.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/error.h"

_Static_assert(sizeof CHECKPOINT_MAGIC - 1 == 8, "");
_Static_assert(CHECKPOINT_AT_VERSION == CHECKPOINT_AT_MAGIC + 8, "");
_Static_assert(CHECKPOINT_AT_CRC == CHECKPOINT_AT_VERSION + 4, "");
_Static_assert(CHECKPOINT_AT_LOG_UUID == CHECKPOINT_AT_CRC + 4, "");
_Static_assert(CHECKPOINT_AT_DURABLE_SEQ == CHECKPOINT_AT_LOG_UUID + UUID_SIZE, "");
_Static_assert(CHECKPOINT_AT_SEGMENT_NO == CHECKPOINT_AT_DURABLE_SEQ + 8, "");
_Static_assert(CHECKPOINT_AT_END_OFFSET == CHECKPOINT_AT_SEGMENT_NO + 8, "");
_Static_assert(CHECKPOINT_AT_CHAIN == CHECKPOINT_AT_END_OFFSET + 8, "");
_Static_assert(CHECKPOINT_AT_TIME_NS == CHECKPOINT_AT_CHAIN + SHA256_SIZE, "");
_Static_assert(CHECKPOINT_AT_GENERATION == CHECKPOINT_AT_TIME_NS + 8, "");
_Static_assert(CHECKPOINT_END_OF_FIELDS == CHECKPOINT_AT_GENERATION + 8, "");

enum { CHECKPOINT_VERSION = 1 };

static uint32_t block_crc(const uint8_t *block)
{
    return crc32c_more(crc32c(block, CHECKPOINT_AT_CRC), block + CHECKPOINT_AT_LOG_UUID,
                       LOG_BLOCK_SIZE - CHECKPOINT_AT_LOG_UUID);
}

void checkpoint_encode(uint8_t block[LOG_BLOCK_SIZE], const struct checkpoint *checkpoint)
{
    memset(block, 0, LOG_BLOCK_SIZE);
    memcpy(block + CHECKPOINT_AT_MAGIC, CHECKPOINT_MAGIC, 8);
    bytes_put_u32(block + CHECKPOINT_AT_VERSION, CHECKPOINT_VERSION);
    memcpy(block + CHECKPOINT_AT_LOG_UUID, checkpoint->log_uuid, UUID_SIZE);
    bytes_put_u64(block + CHECKPOINT_AT_DURABLE_SEQ, checkpoint->durable_seq);
    bytes_put_u64(block + CHECKPOINT_AT_SEGMENT_NO, checkpoint->segment_no);
    bytes_put_u64(block + CHECKPOINT_AT_END_OFFSET, checkpoint->end_offset);
    memcpy(block + CHECKPOINT_AT_CHAIN, checkpoint->chain, SHA256_SIZE);
    bytes_put_u64(block + CHECKPOINT_AT_TIME_NS, checkpoint->time_ns);
    bytes_put_u64(block + CHECKPOINT_AT_GENERATION, checkpoint->generation);
    bytes_put_u32(block + CHECKPOINT_AT_CRC, block_crc(block));
}

int checkpoint_decode(const uint8_t block[LOG_BLOCK_SIZE], struct checkpoint *checkpoint)
{
    if (bytes_are_zero(block, LOG_BLOCK_SIZE))
        return 1;
    if (memcmp(block + CHECKPOINT_AT_MAGIC, CHECKPOINT_MAGIC, 8) != 0)
        return ERROR_DAMAGED;
    if (bytes_get_u32(block + CHECKPOINT_AT_CRC) != block_crc(block))
        return ERROR_DAMAGED;
    if (bytes_get_u32(block + CHECKPOINT_AT_VERSION) != CHECKPOINT_VERSION)
        return ERROR_NEWER;
    if (!bytes_are_zero(block + CHECKPOINT_END_OF_FIELDS,
                        LOG_BLOCK_SIZE - CHECKPOINT_END_OF_FIELDS))
        return ERROR_DAMAGED;
    *checkpoint = (struct checkpoint){
        .durable_seq = bytes_get_u64(block + CHECKPOINT_AT_DURABLE_SEQ),
        .segment_no = bytes_get_u64(block + CHECKPOINT_AT_SEGMENT_NO),
        .end_offset = bytes_get_u64(block + CHECKPOINT_AT_END_OFFSET),
        .time_ns = bytes_get_u64(block + CHECKPOINT_AT_TIME_NS),
        .generation = bytes_get_u64(block + CHECKPOINT_AT_GENERATION),
    };
    memcpy(checkpoint->log_uuid, block + CHECKPOINT_AT_LOG_UUID, UUID_SIZE);
    memcpy(checkpoint->chain, block + CHECKPOINT_AT_CHAIN, SHA256_SIZE);
    return 0;
}
