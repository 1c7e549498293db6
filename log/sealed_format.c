/* The bytes of a sealed segment that are not zstd's: front, index, seek table. Pure. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "log/sealed.h"

#include <stdio.h>
#include <string.h>
#include <zstd.h>

void sealed_name(char name[LOG_SEGMENT_NAME_SIZE], uint64_t segment_no)
{
    CHECK(segment_no > 0);
    snprintf(name, LOG_SEGMENT_NAME_SIZE, SEALED_NAME_FORMAT, (unsigned long long)segment_no);
}

bool sealed_no_of_name(const char *name, uint64_t *segment_no)
{
    char raw[LOG_SEGMENT_NAME_SIZE];
    if (strlen(name) != 19 || memcmp(name + 14, ".zlog", 5) != 0)
        return false;
    snprintf(raw, sizeof raw, "%.14s.log", name);
    return segment_no_of_name(raw, segment_no);
}

static uint32_t front_crc(const uint8_t *bytes)
{
    uint32_t crc = crc32c(bytes, FRONT_AT_CRC);
    return crc32c_more(crc, bytes + FRONT_AT_CRC + 4, SEALED_FRONT_SIZE - FRONT_AT_CRC - 4);
}

void sealed_front_encode(uint8_t bytes[SEALED_FRONT_SIZE], const struct sealed_front *front)
{
    memset(bytes, 0, SEALED_FRONT_SIZE);
    bytes_put_u32(bytes + FRONT_AT_ZSTD_MAGIC, SEALED_FRONT_MAGIC);
    bytes_put_u32(bytes + FRONT_AT_ZSTD_SIZE, SEALED_FRONT_SIZE - 8);
    memcpy(bytes + FRONT_AT_MAGIC, SEALED_NAME_MAGIC, 8);
    bytes_put_u32(bytes + FRONT_AT_VERSION, SEALED_VERSION);
    bytes_put_u64(bytes + FRONT_AT_USED, front->used);
    bytes_put_u64(bytes + FRONT_AT_END_OFFSET, front->end_offset);
    bytes_put_u64(bytes + FRONT_AT_LAST_SEQ, front->last_seq);
    memcpy(bytes + FRONT_AT_CHAIN, front->chain, SHA256_SIZE);
    bytes_put_u64(bytes + FRONT_AT_RECORD_COUNT, front->record_count);
    bytes_put_u64(bytes + FRONT_AT_MIN_TIME_NS, front->min_time_ns);
    bytes_put_u64(bytes + FRONT_AT_MAX_TIME_NS, front->max_time_ns);
    bytes_put_u64(bytes + FRONT_AT_FILE_SIZE, front->file_size);
    bytes_put_u64(bytes + FRONT_AT_INDEX, front->index_offset);
    bytes_put_u32(bytes + FRONT_AT_CHUNK_SIZE, front->chunk_size);
    bytes_put_u32(bytes + FRONT_AT_CHUNK_COUNT, front->chunk_count);
    memcpy(bytes + FRONT_AT_MERKLE_ROOT, front->merkle_root, SHA256_SIZE);
    memcpy(bytes + FRONT_AT_HEADER, front->block, LOG_BLOCK_SIZE);
    bytes_put_u32(bytes + FRONT_AT_CRC, front_crc(bytes));
}

static void front_get(const uint8_t *bytes, struct sealed_front *front)
{
    front->used = bytes_get_u64(bytes + FRONT_AT_USED);
    front->end_offset = bytes_get_u64(bytes + FRONT_AT_END_OFFSET);
    front->last_seq = bytes_get_u64(bytes + FRONT_AT_LAST_SEQ);
    memcpy(front->chain, bytes + FRONT_AT_CHAIN, SHA256_SIZE);
    front->record_count = bytes_get_u64(bytes + FRONT_AT_RECORD_COUNT);
    front->min_time_ns = bytes_get_u64(bytes + FRONT_AT_MIN_TIME_NS);
    front->max_time_ns = bytes_get_u64(bytes + FRONT_AT_MAX_TIME_NS);
    front->file_size = bytes_get_u64(bytes + FRONT_AT_FILE_SIZE);
    front->index_offset = bytes_get_u64(bytes + FRONT_AT_INDEX);
    front->chunk_size = bytes_get_u32(bytes + FRONT_AT_CHUNK_SIZE);
    front->chunk_count = bytes_get_u32(bytes + FRONT_AT_CHUNK_COUNT);
    memcpy(front->merkle_root, bytes + FRONT_AT_MERKLE_ROOT, SHA256_SIZE);
    memcpy(front->block, bytes + FRONT_AT_HEADER, LOG_BLOCK_SIZE);
}

static bool chunks_agree(const struct sealed_front *front)
{
    uint32_t size = front->chunk_size;
    if (size < SEALED_CHUNK_SIZE_MIN || size > SEALED_CHUNK_SIZE_MAX || (size & (size - 1)) != 0)
        return false;
    return front->chunk_count == (front->used + size - 1) / size;
}

static bool front_agrees(const struct sealed_front *front)
{
    const struct segment_header *header = &front->header;
    if (front->used < front->end_offset || front->used > header->capacity ||
        front->used % LOG_BLOCK_SIZE != 0)
        return false;
    if (front->end_offset < LOG_BLOCK_SIZE || front->end_offset % LOG_BLOCK_SIZE != 0)
        return false;
    if (!chunks_agree(front) || front->last_seq + 1 < header->first_seq ||
        front->record_count != front->last_seq + 1 - header->first_seq)
        return false;
    return front->index_offset > SEALED_FRONT_SIZE && front->index_offset < front->file_size &&
           front->file_size - front->index_offset ==
               sealed_index_size(front->chunk_count) + sealed_table_size(front->chunk_count);
}

int sealed_front_decode(const uint8_t bytes[SEALED_FRONT_SIZE], struct sealed_front *front,
                        struct error *error)
{
    if (bytes_get_u32(bytes + FRONT_AT_ZSTD_MAGIC) != SEALED_FRONT_MAGIC ||
        bytes_get_u32(bytes + FRONT_AT_ZSTD_SIZE) != SEALED_FRONT_SIZE - 8 ||
        memcmp(bytes + FRONT_AT_MAGIC, SEALED_NAME_MAGIC, 8) != 0)
        return error_set(error, ERROR_DAMAGED, "it does not begin as a sealed segment does");
    if (bytes_get_u32(bytes + FRONT_AT_CRC) != front_crc(bytes))
        return error_set(error, ERROR_DAMAGED, "the checksum of its front is wrong");
    uint32_t version = bytes_get_u32(bytes + FRONT_AT_VERSION);
    if (version > SEALED_VERSION)
        return error_set(error, ERROR_NEWER,
                         "it is a sealed segment of version %u, and this program reads up to %u: "
                         "use a newer one",
                         version, SEALED_VERSION);
    front_get(bytes, front);
    int code = segment_header_decode(front->block, &front->header, error);
    if (code < 0)
        return code;
    if (code > 0 || version == 0 || !front_agrees(front) ||
        !bytes_are_zero(bytes + FRONT_END_OF_FIELDS, FRONT_AT_HEADER - FRONT_END_OF_FIELDS))
        return error_set(error, ERROR_DAMAGED, "the fields of its front contradict each other");
    return 0;
}

/* One entry of zstd's seek table. */
static uint8_t *put_entry(uint8_t *target, uint64_t packed, uint32_t raw)
{
    bytes_put_u32(target, (uint32_t)packed);
    bytes_put_u32(target + 4, raw);
    return target + 8;
}

void sealed_tables_encode(uint8_t *bytes, const struct sealed_front *front, const uint32_t *sizes,
                          const uint32_t *checksums)
{
    uint32_t count = front->chunk_count;
    uint64_t index_size = sealed_index_size(count), table_size = sealed_table_size(count);
    uint8_t *at = bytes;
    bytes_put_u32(at, SEALED_INDEX_MAGIC);
    bytes_put_u32(at + 4, (uint32_t)(index_size - 8));
    at += 8;
    for (uint32_t i = 0; i < count; i++, at += SEALED_ENTRY_BYTES) {
        bytes_put_u32(at, sizes[i]);
        bytes_put_u32(at + 4, checksums[i]);
    }
    bytes_put_u32(at, crc32c(bytes, (size_t)(at - bytes)));
    at += 4;
    bytes_put_u32(at, SEALED_TABLE_MAGIC);
    bytes_put_u32(at + 4, (uint32_t)(table_size - 8));
    at = put_entry(at + 8, SEALED_FRONT_SIZE, 0);
    for (uint32_t i = 0; i < count; i++)
        at = put_entry(at, sizes[i], sealed_chunk_bytes(front, i));
    at = put_entry(at, index_size, 0);
    bytes_put_u32(at, count + 2);
    at[4] = 0; /* no checksums in the table: the index has better ones */
    bytes_put_u32(at + 5, SEALED_TABLE_END);
}

/* The seek table says what the index says. */
static bool table_agrees(const uint8_t *at, const struct sealed_front *front, const uint8_t *index)
{
    uint8_t entry[8];
    uint32_t count = front->chunk_count;
    bool same = bytes_get_u32(at) == SEALED_TABLE_MAGIC &&
                bytes_get_u32(at + 4) == sealed_table_size(count) - 8;
    at += 8;
    for (uint64_t i = 0; same && i < (uint64_t)count + 2; i++, at += 8) {
        if (i == 0)
            put_entry(entry, SEALED_FRONT_SIZE, 0);
        else if (i > count)
            put_entry(entry, sealed_index_size(count), 0);
        else
            put_entry(entry, bytes_get_u32(index + 8 + (i - 1) * SEALED_ENTRY_BYTES),
                      sealed_chunk_bytes(front, (uint32_t)(i - 1)));
        same = memcmp(at, entry, sizeof entry) == 0;
    }
    return same && bytes_get_u32(at) == count + 2 && at[4] == 0 &&
           bytes_get_u32(at + 5) == SEALED_TABLE_END;
}

int sealed_tables_decode(const uint8_t *bytes, const struct sealed_front *front, uint64_t *offsets,
                         uint32_t *checksums, struct error *error)
{
    uint32_t count = front->chunk_count;
    uint64_t size = sealed_index_size(count), offset = SEALED_FRONT_SIZE;
    if (bytes_get_u32(bytes) != SEALED_INDEX_MAGIC || bytes_get_u32(bytes + 4) != size - 8 ||
        bytes_get_u32(bytes + size - 4) != crc32c(bytes, size - 4))
        return error_set(error, ERROR_DAMAGED, "the checksum of its index is wrong");
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *entry = bytes + 8 + (uint64_t)i * SEALED_ENTRY_BYTES;
        uint32_t packed = bytes_get_u32(entry);
        offsets[i] = offset;
        checksums[i] = bytes_get_u32(entry + 4);
        if (packed == 0 || packed > ZSTD_COMPRESSBOUND((size_t)front->chunk_size))
            return error_set(error, ERROR_DAMAGED, "its index contradicts itself");
        offset += packed;
    }
    offsets[count] = offset;
    if (offset != front->index_offset)
        return error_set(error, ERROR_DAMAGED, "its index contradicts its front");
    if (!table_agrees(bytes + size, front, bytes))
        return error_set(error, ERROR_DAMAGED, "its seek table contradicts its index");
    return 0;
}
