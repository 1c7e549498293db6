#include "tools/agent/snapshot_format.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SKIPPABLE_MAGIC 0x184d2a50u /* of zstd: a frame that decoders pass over */

static const char header_magic[8] = "DAASNAP", trailer_magic[8] = "DAASNEND";

enum header_at {
    HEADER_AT_SKIPPABLE = 0,
    HEADER_AT_SIZE = 4,
    HEADER_AT_MAGIC = 8,
    HEADER_AT_VERSION = 16,
    HEADER_AT_DOCUMENT_VERSION = 20,
    HEADER_AT_LOG_UUID = 24,
    HEADER_AT_SEQ = 40,
    HEADER_AT_MARK_SEQ = 48,
    HEADER_AT_MARK_CHAIN = 56,
    HEADER_AT_DOCUMENTS = 88,
    HEADER_AT_TIME = 96,
    HEADER_AT_CRC = 124, /* of all before it */
};

enum trailer_at {
    TRAILER_AT_SKIPPABLE = 0,
    TRAILER_AT_SIZE = 4,
    TRAILER_AT_MAGIC = 8,
    TRAILER_AT_DOCUMENTS = 16,
    TRAILER_AT_BYTES = 24,
    TRAILER_AT_DIGEST = 32,
    TRAILER_AT_FILE_CRC = 64, /* of all before the trailer */
    TRAILER_AT_CRC = 76,      /* of all before it */
};

static bool is_whole(const uint8_t *source, uint32_t size, const char magic[8])
{
    return bytes_get_u32(source) == SKIPPABLE_MAGIC && bytes_get_u32(source + 4) == size - 8 &&
           memcmp(source + HEADER_AT_MAGIC, magic, 8) == 0 &&
           bytes_get_u32(source + size - 4) == crc32c(source, size - 4);
}

static void begin(uint8_t *target, uint32_t size, const char magic[8])
{
    memset(target, 0, size);
    bytes_put_u32(target + HEADER_AT_SKIPPABLE, SKIPPABLE_MAGIC);
    bytes_put_u32(target + HEADER_AT_SIZE, size - 8);
    memcpy(target + HEADER_AT_MAGIC, magic, 8);
}

void snapshot_header_encode(uint8_t target[SNAPSHOT_HEADER_SIZE], const struct snapshot_info *info)
{
    begin(target, SNAPSHOT_HEADER_SIZE, header_magic);
    bytes_put_u32(target + HEADER_AT_VERSION, SNAPSHOT_VERSION);
    bytes_put_u32(target + HEADER_AT_DOCUMENT_VERSION, info->document_version);
    memcpy(target + HEADER_AT_LOG_UUID, info->log_uuid, sizeof info->log_uuid);
    bytes_put_u64(target + HEADER_AT_SEQ, info->seq);
    bytes_put_u64(target + HEADER_AT_MARK_SEQ, info->mark.seq);
    memcpy(target + HEADER_AT_MARK_CHAIN, info->mark.chain, SHA256_SIZE);
    bytes_put_u64(target + HEADER_AT_DOCUMENTS, info->documents);
    bytes_put_u64(target + HEADER_AT_TIME, info->time_ns);
    bytes_put_u32(target + HEADER_AT_CRC, crc32c(target, HEADER_AT_CRC));
}

int snapshot_header_decode(const uint8_t source[SNAPSHOT_HEADER_SIZE], struct snapshot_info *info)
{
    if (!is_whole(source, SNAPSHOT_HEADER_SIZE, header_magic))
        return ERROR_DAMAGED;
    if (bytes_get_u32(source + HEADER_AT_VERSION) != SNAPSHOT_VERSION)
        return ERROR_NEWER;
    info->document_version = bytes_get_u32(source + HEADER_AT_DOCUMENT_VERSION);
    memcpy(info->log_uuid, source + HEADER_AT_LOG_UUID, sizeof info->log_uuid);
    info->seq = bytes_get_u64(source + HEADER_AT_SEQ);
    info->mark.seq = bytes_get_u64(source + HEADER_AT_MARK_SEQ);
    memcpy(info->mark.chain, source + HEADER_AT_MARK_CHAIN, SHA256_SIZE);
    info->documents = bytes_get_u64(source + HEADER_AT_DOCUMENTS);
    info->time_ns = bytes_get_u64(source + HEADER_AT_TIME);
    return 0;
}

void snapshot_trailer_encode(uint8_t target[SNAPSHOT_TRAILER_SIZE],
                             const struct snapshot_info *info, uint32_t crc)
{
    begin(target, SNAPSHOT_TRAILER_SIZE, trailer_magic);
    bytes_put_u64(target + TRAILER_AT_DOCUMENTS, info->documents);
    bytes_put_u64(target + TRAILER_AT_BYTES, info->bytes);
    memcpy(target + TRAILER_AT_DIGEST, info->digest, SHA256_SIZE);
    bytes_put_u32(target + TRAILER_AT_FILE_CRC, crc);
    bytes_put_u32(target + TRAILER_AT_CRC, crc32c(target, TRAILER_AT_CRC));
}

int snapshot_trailer_decode(const uint8_t source[SNAPSHOT_TRAILER_SIZE], struct snapshot_info *info,
                            uint32_t *crc)
{
    if (!is_whole(source, SNAPSHOT_TRAILER_SIZE, trailer_magic) ||
        bytes_get_u64(source + TRAILER_AT_DOCUMENTS) != info->documents)
        return ERROR_DAMAGED;
    info->bytes = bytes_get_u64(source + TRAILER_AT_BYTES);
    *crc = bytes_get_u32(source + TRAILER_AT_FILE_CRC);
    memcpy(info->digest, source + TRAILER_AT_DIGEST, SHA256_SIZE);
    return 0;
}

void snapshot_name(char name[SNAPSHOT_NAME_SIZE], uint64_t seq)
{
    snprintf(name, SNAPSHOT_NAME_SIZE, "snap-%020llu.zst", (unsigned long long)seq);
}
