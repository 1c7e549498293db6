#include "log/segment.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "log/record.h"

#include <stdio.h>

_Static_assert(sizeof SEGMENT_MAGIC - 1 == 8, "");
_Static_assert(SEGMENT_AT_MAJOR == SEGMENT_AT_MAGIC + 8, "");
_Static_assert(SEGMENT_AT_MINOR == SEGMENT_AT_MAJOR + 2, "");
_Static_assert(SEGMENT_AT_CRC == SEGMENT_AT_MINOR + 2, "");
_Static_assert(SEGMENT_AT_LOG_UUID == SEGMENT_AT_CRC + 4, "");
_Static_assert(SEGMENT_AT_SEGMENT_NO == SEGMENT_AT_LOG_UUID + UUID_SIZE, "");
_Static_assert(SEGMENT_AT_FIRST_SEQ == SEGMENT_AT_SEGMENT_NO + 8, "");
_Static_assert(SEGMENT_AT_CREATED_NS == SEGMENT_AT_FIRST_SEQ + 8, "");
_Static_assert(SEGMENT_AT_SALT == SEGMENT_AT_CREATED_NS + 8, "");
_Static_assert(SEGMENT_AT_BLOCK_SIZE == SEGMENT_AT_SALT + 8, "");
_Static_assert(SEGMENT_AT_EPOCH == SEGMENT_AT_BLOCK_SIZE + 4, "");
_Static_assert(SEGMENT_AT_CAPACITY == SEGMENT_AT_EPOCH + 4, "");
_Static_assert(SEGMENT_AT_PREV_CHAIN == SEGMENT_AT_CAPACITY + 8, "");
_Static_assert(SEGMENT_AT_PREV_LAST_SEQ == SEGMENT_AT_PREV_CHAIN + SHA256_SIZE, "");
_Static_assert(SEGMENT_AT_PREV_END_OFFSET == SEGMENT_AT_PREV_LAST_SEQ + 8, "");
_Static_assert(SEGMENT_AT_COMPAT == SEGMENT_AT_PREV_END_OFFSET + 8, "");
_Static_assert(SEGMENT_AT_INCOMPAT == SEGMENT_AT_COMPAT + 4, "");
_Static_assert(SEGMENT_AT_CHECKSUM == SEGMENT_AT_INCOMPAT + 4, "");
_Static_assert(SEGMENT_AT_HASH == SEGMENT_AT_CHECKSUM + 1, "");
_Static_assert(SEGMENT_AT_EVENT_SCHEMA == SEGMENT_AT_HASH + 1, "");
_Static_assert(SEGMENT_AT_RESERVED == SEGMENT_AT_EVENT_SCHEMA + 2, "");
_Static_assert(SEGMENT_AT_BOOT_ID == SEGMENT_AT_RESERVED + 4, "");
_Static_assert(SEGMENT_AT_PREV_SEGMENT_NO == SEGMENT_AT_BOOT_ID + 16, "");
_Static_assert(SEGMENT_AT_DURABLE_SEQ == SEGMENT_AT_PREV_SEGMENT_NO + 8, "");
_Static_assert(SEGMENT_END_OF_FIELDS_1_0 == SEGMENT_AT_DURABLE_SEQ + 8, "");
_Static_assert(SEGMENT_AT_PARENT_UUID == SEGMENT_END_OF_FIELDS_1_0, "");
_Static_assert(SEGMENT_AT_PARENT_SEQ == SEGMENT_AT_PARENT_UUID + UUID_SIZE, "");
_Static_assert(SEGMENT_AT_PARENT_CHAIN == SEGMENT_AT_PARENT_SEQ + 8, "");
_Static_assert(SEGMENT_END_OF_FIELDS == SEGMENT_AT_PARENT_CHAIN + SHA256_SIZE, "");
_Static_assert(SEGMENT_END_OF_FIELDS <= LOG_BLOCK_SIZE, "");
_Static_assert(LOG_SEGMENT_SIZE_MIN % LOG_BLOCK_SIZE == 0, "");
_Static_assert(LOG_SEGMENT_SIZE_MAX % LOG_BLOCK_SIZE == 0, "");

enum { CHECKSUM_CRC32C = 1, HASH_SHA256 = 1 };

static uint32_t header_crc(const uint8_t *block)
{
    return crc32c_more(crc32c(block, SEGMENT_AT_CRC), block + SEGMENT_AT_LOG_UUID,
                       LOG_BLOCK_SIZE - SEGMENT_AT_LOG_UUID);
}

void segment_header_encode(uint8_t block[LOG_BLOCK_SIZE], const struct segment_header *header)
{
    memset(block, 0, LOG_BLOCK_SIZE);
    memcpy(block + SEGMENT_AT_MAGIC, SEGMENT_MAGIC, 8);
    bytes_put_u16(block + SEGMENT_AT_MAJOR, LOG_VERSION_MAJOR);
    bytes_put_u16(block + SEGMENT_AT_MINOR, LOG_VERSION_MINOR);
    memcpy(block + SEGMENT_AT_LOG_UUID, header->log_uuid, UUID_SIZE);
    bytes_put_u64(block + SEGMENT_AT_SEGMENT_NO, header->segment_no);
    bytes_put_u64(block + SEGMENT_AT_FIRST_SEQ, header->first_seq);
    bytes_put_u64(block + SEGMENT_AT_CREATED_NS, header->created_ns);
    bytes_put_u64(block + SEGMENT_AT_SALT, header->salt);
    bytes_put_u32(block + SEGMENT_AT_BLOCK_SIZE, LOG_BLOCK_SIZE);
    bytes_put_u32(block + SEGMENT_AT_EPOCH, header->epoch);
    bytes_put_u64(block + SEGMENT_AT_CAPACITY, header->capacity);
    memcpy(block + SEGMENT_AT_PREV_CHAIN, header->prev_chain, SHA256_SIZE);
    bytes_put_u64(block + SEGMENT_AT_PREV_LAST_SEQ, header->prev_last_seq);
    bytes_put_u64(block + SEGMENT_AT_PREV_END_OFFSET, header->prev_end_offset);
    bytes_put_u32(block + SEGMENT_AT_COMPAT, header->compat);
    bytes_put_u32(block + SEGMENT_AT_INCOMPAT, header->incompat);
    block[SEGMENT_AT_CHECKSUM] = CHECKSUM_CRC32C;
    block[SEGMENT_AT_HASH] = header->hash;
    memcpy(block + SEGMENT_AT_BOOT_ID, header->boot_id, 16);
    bytes_put_u64(block + SEGMENT_AT_PREV_SEGMENT_NO, header->prev_segment_no);
    bytes_put_u64(block + SEGMENT_AT_DURABLE_SEQ, header->durable_seq);
    bytes_put_u16(block + SEGMENT_AT_EVENT_SCHEMA, header->event_schema);
    memcpy(block + SEGMENT_AT_PARENT_UUID, header->parent_uuid, UUID_SIZE);
    bytes_put_u64(block + SEGMENT_AT_PARENT_SEQ, header->parent_seq);
    memcpy(block + SEGMENT_AT_PARENT_CHAIN, header->parent_chain, SHA256_SIZE);
    bytes_put_u32(block + SEGMENT_AT_CRC, header_crc(block));
}

static void header_get(const uint8_t *block, struct segment_header *header)
{
    *header = (struct segment_header){
        .segment_no = bytes_get_u64(block + SEGMENT_AT_SEGMENT_NO),
        .first_seq = bytes_get_u64(block + SEGMENT_AT_FIRST_SEQ),
        .created_ns = bytes_get_u64(block + SEGMENT_AT_CREATED_NS),
        .salt = bytes_get_u64(block + SEGMENT_AT_SALT),
        .epoch = bytes_get_u32(block + SEGMENT_AT_EPOCH),
        .capacity = bytes_get_u64(block + SEGMENT_AT_CAPACITY),
        .prev_segment_no = bytes_get_u64(block + SEGMENT_AT_PREV_SEGMENT_NO),
        .prev_last_seq = bytes_get_u64(block + SEGMENT_AT_PREV_LAST_SEQ),
        .prev_end_offset = bytes_get_u64(block + SEGMENT_AT_PREV_END_OFFSET),
        .durable_seq = bytes_get_u64(block + SEGMENT_AT_DURABLE_SEQ),
        .compat = bytes_get_u32(block + SEGMENT_AT_COMPAT),
        .incompat = bytes_get_u32(block + SEGMENT_AT_INCOMPAT),
        .hash = block[SEGMENT_AT_HASH],
        .minor = bytes_get_u16(block + SEGMENT_AT_MINOR),
        .event_schema = bytes_get_u16(block + SEGMENT_AT_EVENT_SCHEMA),
        .parent_seq = bytes_get_u64(block + SEGMENT_AT_PARENT_SEQ),
    };
    if (header->event_schema == 0)
        header->event_schema = 1;
    memcpy(header->log_uuid, block + SEGMENT_AT_LOG_UUID, UUID_SIZE);
    memcpy(header->prev_chain, block + SEGMENT_AT_PREV_CHAIN, SHA256_SIZE);
    memcpy(header->boot_id, block + SEGMENT_AT_BOOT_ID, 16);
    memcpy(header->parent_uuid, block + SEGMENT_AT_PARENT_UUID, UUID_SIZE);
    memcpy(header->parent_chain, block + SEGMENT_AT_PARENT_CHAIN, SHA256_SIZE);
}

/* What a newer program may have written that this one must not read. */
static int check_version(const uint8_t *block, struct error *error)
{
    unsigned major = bytes_get_u16(block + SEGMENT_AT_MAJOR);
    unsigned minor = bytes_get_u16(block + SEGMENT_AT_MINOR);
    if (major > LOG_VERSION_MAJOR)
        return error_set(error, ERROR_NEWER,
                         "it has format %u.%u and this program reads up to %u.x: use a newer one",
                         major, minor, LOG_VERSION_MAJOR);
    uint32_t incompat = bytes_get_u32(block + SEGMENT_AT_INCOMPAT) & ~LOG_INCOMPAT_KNOWN;
    if (incompat != 0)
        return error_set(error, ERROR_NEWER,
                         "it needs features 0x%x that this program does not have: use a newer one",
                         incompat);
    if (block[SEGMENT_AT_CHECKSUM] != CHECKSUM_CRC32C || block[SEGMENT_AT_HASH] > HASH_SHA256)
        return error_set(
            error, ERROR_NEWER,
            "it uses checksum %u and hash %u, unknown to this program: use a newer one",
            block[SEGMENT_AT_CHECKSUM], block[SEGMENT_AT_HASH]);
    if (bytes_get_u32(block + SEGMENT_AT_BLOCK_SIZE) != LOG_BLOCK_SIZE)
        return error_set(error, ERROR_NEWER,
                         "it has blocks of %u bytes and this program reads %u: use a newer one",
                         bytes_get_u32(block + SEGMENT_AT_BLOCK_SIZE), LOG_BLOCK_SIZE);
    return 0;
}

/* Reserved bytes may mean something only in a newer minor version. */
static bool reserved_are_zero(const uint8_t *block)
{
    unsigned minor = bytes_get_u16(block + SEGMENT_AT_MINOR);
    unsigned from = minor == 0 ? SEGMENT_AT_EVENT_SCHEMA : SEGMENT_AT_RESERVED;
    unsigned end = minor == 0 ? SEGMENT_END_OF_FIELDS_1_0 : SEGMENT_END_OF_FIELDS;
    return minor > LOG_VERSION_MINOR || (bytes_are_zero(block + from, SEGMENT_AT_BOOT_ID - from) &&
                                         bytes_are_zero(block + end, LOG_BLOCK_SIZE - end));
}

static bool parent_agrees(const struct segment_header *header)
{
    if (!segment_is_forked(header))
        return header->parent_seq == 0 && bytes_are_zero(header->parent_uuid, UUID_SIZE) &&
               bytes_are_zero(header->parent_chain, SHA256_SIZE);
    return !bytes_are_zero(header->parent_uuid, UUID_SIZE) &&
           memcmp(header->parent_uuid, header->log_uuid, UUID_SIZE) != 0 &&
           header->parent_seq <= header->prev_last_seq;
}

static bool fields_agree(const struct segment_header *header)
{
    if (header->capacity < LOG_SEGMENT_SIZE_MIN || header->capacity > LOG_SEGMENT_SIZE_MAX)
        return false;
    if (header->prev_end_offset > LOG_SEGMENT_SIZE_MAX)
        return false;
    if (header->capacity % LOG_BLOCK_SIZE != 0 || header->prev_end_offset % LOG_BLOCK_SIZE != 0)
        return false;
    if (header->segment_no == 0 || header->segment_no > SEGMENT_NO_MAX || header->epoch == 0)
        return false;
    if (header->prev_segment_no >= header->segment_no || !parent_agrees(header))
        return false;
    if (header->prev_segment_no == 0 && header->prev_last_seq != 0)
        return false;
    return header->first_seq == header->prev_last_seq + 1 &&
           header->durable_seq <= header->prev_last_seq;
}

int segment_header_decode(const uint8_t block[LOG_BLOCK_SIZE], struct segment_header *header,
                          struct error *error)
{
    if (bytes_are_zero(block, LOG_BLOCK_SIZE))
        return 1;
    if (memcmp(block + SEGMENT_AT_MAGIC, SEGMENT_MAGIC, 8) != 0)
        return error_set(error, ERROR_DAMAGED, "its header does not begin as a segment's does");
    if (bytes_get_u32(block + SEGMENT_AT_CRC) != header_crc(block))
        return error_set(error, ERROR_DAMAGED, "the checksum of its header is wrong");
    int status = check_version(block, error);
    if (status < 0)
        return status;
    header_get(block, header);
    if (!reserved_are_zero(block) || !fields_agree(header))
        return error_set(error, ERROR_DAMAGED, "the fields of its header contradict each other");
    return 0;
}

bool segment_is_of_line(const struct segment_header *header, const struct segment_header *later)
{
    bool same_parent = header->parent_seq == later->parent_seq &&
                       memcmp(header->parent_uuid, later->parent_uuid, UUID_SIZE) == 0 &&
                       memcmp(header->parent_chain, later->parent_chain, SHA256_SIZE) == 0;
    if (memcmp(header->log_uuid, later->log_uuid, UUID_SIZE) == 0)
        return same_parent;
    if (!segment_is_forked(later) || later->parent_seq != later->prev_last_seq ||
        memcmp(later->parent_chain, later->prev_chain, SHA256_SIZE) != 0)
        return false;
    return same_parent || memcmp(later->parent_uuid, header->log_uuid, UUID_SIZE) == 0;
}

void segment_name(char name[LOG_SEGMENT_NAME_SIZE], uint64_t segment_no)
{
    CHECK(segment_no > 0);
    CHECK(segment_no <= SEGMENT_NO_MAX);
    snprintf(name, LOG_SEGMENT_NAME_SIZE, LOG_SEGMENT_NAME_FORMAT, (unsigned long long)segment_no);
}

bool segment_no_of_name(const char *name, uint64_t *segment_no)
{
    uint64_t no = 0;
    size_t length = strlen(name);
    if (length != 18 || memcmp(name, "seg-", 4) != 0 || memcmp(name + 14, ".log", 4) != 0)
        return false;
    for (size_t i = 4; i < 14; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        no = no * 10 + (uint64_t)(name[i] - '0');
    }
    *segment_no = no;
    return no > 0;
}

uint32_t segment_frame_size_max(uint64_t capacity)
{
    uint64_t quarter = capacity / 4 / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
    return quarter < LOG_FRAME_SIZE_MAX ? (uint32_t)quarter : LOG_FRAME_SIZE_MAX;
}

uint32_t segment_payload_size_max(uint64_t capacity)
{
    uint32_t fits = segment_frame_size_max(capacity) - FRAME_HEADER_SIZE - RECORD_HEADER_SIZE;
    return fits < LOG_PAYLOAD_SIZE_MAX ? fits : LOG_PAYLOAD_SIZE_MAX;
}
