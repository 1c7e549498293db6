#include "log/frame.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "core/base/error.h"

_Static_assert(FRAME_AT_HEADER_CRC == FRAME_AT_MAGIC + 4, "");
_Static_assert(FRAME_AT_SALT == FRAME_AT_HEADER_CRC + 4, "the header CRC covers all behind it");
_Static_assert(FRAME_AT_FIRST_SEQ == FRAME_AT_SALT + 8, "");
_Static_assert(FRAME_AT_FILE_OFFSET == FRAME_AT_FIRST_SEQ + 8, "");
_Static_assert(FRAME_AT_RECORD_COUNT == FRAME_AT_FILE_OFFSET + 8, "");
_Static_assert(FRAME_AT_BODY_SIZE == FRAME_AT_RECORD_COUNT + 4, "");
_Static_assert(FRAME_AT_BLOCK_COUNT == FRAME_AT_BODY_SIZE + 4, "");
_Static_assert(FRAME_AT_EPOCH == FRAME_AT_BLOCK_COUNT + 4, "");
_Static_assert(FRAME_AT_DURABLE_SEQ == FRAME_AT_EPOCH + 4, "");
_Static_assert(FRAME_AT_BASE_TIME_NS == FRAME_AT_DURABLE_SEQ + 8, "");
_Static_assert(FRAME_AT_BODY_CRC == FRAME_AT_BASE_TIME_NS + 8, "");
_Static_assert(FRAME_AT_FLAGS == FRAME_AT_BODY_CRC + 4, "");
_Static_assert(FRAME_AT_CODEC == FRAME_AT_FLAGS + 2, "");
_Static_assert(FRAME_AT_VERSION == FRAME_AT_CODEC + 1, "");
_Static_assert(FRAME_AT_RAW_SIZE == FRAME_AT_VERSION + 1, "");
_Static_assert(FRAME_AT_PREV_BLOCKS == FRAME_AT_RAW_SIZE + 4, "");
_Static_assert(FRAME_AT_PREV_LINK == FRAME_AT_PREV_BLOCKS + 4, "");
_Static_assert(FRAME_AT_RESERVED == FRAME_AT_PREV_LINK + 8, "");
_Static_assert(FRAME_AT_CHAIN == FRAME_AT_RESERVED + 8, "the chain covers all before it");
_Static_assert(FRAME_HEADER_SIZE == FRAME_AT_CHAIN + SHA256_SIZE, "");
_Static_assert(FRAME_HEADER_SIZE % 8 == 0, "records are aligned to 8 bytes");
_Static_assert(LOG_FRAME_SIZE_MAX % LOG_BLOCK_SIZE == 0, "");

enum { FRAME_VERSION = 1, OWN_FLAGS = FRAME_SEAL | FRAME_OPEN | FRAME_CLOSE };

static uint64_t frame_size(const struct frame_header *header)
{
    return (uint64_t)header->block_count * LOG_BLOCK_SIZE;
}

static void header_put(uint8_t *frame, const struct frame_header *header)
{
    memcpy(frame + FRAME_AT_MAGIC, FRAME_MAGIC, 4);
    bytes_put_u64(frame + FRAME_AT_SALT, header->salt);
    bytes_put_u64(frame + FRAME_AT_FIRST_SEQ, header->first_seq);
    bytes_put_u64(frame + FRAME_AT_FILE_OFFSET, header->file_offset);
    bytes_put_u32(frame + FRAME_AT_RECORD_COUNT, header->record_count);
    bytes_put_u32(frame + FRAME_AT_BODY_SIZE, header->body_size);
    bytes_put_u32(frame + FRAME_AT_BLOCK_COUNT, header->block_count);
    bytes_put_u32(frame + FRAME_AT_EPOCH, header->epoch);
    bytes_put_u64(frame + FRAME_AT_DURABLE_SEQ, header->durable_seq);
    bytes_put_u64(frame + FRAME_AT_BASE_TIME_NS, header->base_time_ns);
    bytes_put_u32(frame + FRAME_AT_BODY_CRC, header->body_crc);
    bytes_put_u16(frame + FRAME_AT_FLAGS, header->flags);
    frame[FRAME_AT_CODEC] = header->codec;
    frame[FRAME_AT_VERSION] = header->version;
    bytes_put_u32(frame + FRAME_AT_RAW_SIZE, header->raw_size);
    bytes_put_u32(frame + FRAME_AT_PREV_BLOCKS, header->prev_blocks);
    bytes_put_u64(frame + FRAME_AT_PREV_LINK, header->prev_link);
    bytes_put_u64(frame + FRAME_AT_RESERVED, 0);
}

void frame_chain_of_body(uint8_t chain[SHA256_SIZE], const uint8_t prev_chain[SHA256_SIZE],
                         const uint8_t *frame, const uint8_t body[SHA256_SIZE])
{
    struct sha256 sha256;
    sha256_init(&sha256);
    sha256_more(&sha256, prev_chain, SHA256_SIZE);
    sha256_more(&sha256, frame + FRAME_AT_SALT, FRAME_AT_CHAIN - FRAME_AT_SALT);
    sha256_more(&sha256, body, SHA256_SIZE);
    sha256_end(&sha256, chain);
}

void frame_chain(uint8_t chain[SHA256_SIZE], const uint8_t prev_chain[SHA256_SIZE],
                 const uint8_t *frame, const struct frame_header *header)
{
    uint8_t hash[SHA256_SIZE];
    struct span body = frame_body(frame, header->block_count);
    sha256_of(hash, body.bytes, body.size);
    frame_chain_of_body(chain, prev_chain, frame, hash);
}

void frame_digest_init(struct frame_digest *digest, bool chain)
{
    digest->crc = digest->size = 0;
    digest->chain = chain;
    if (chain)
        sha256_init(&digest->sha256);
}

void frame_digest_more(struct frame_digest *digest, const uint8_t *frame, uint32_t body_size)
{
    const uint8_t *more = frame + FRAME_HEADER_SIZE + digest->size;
    uint32_t size = body_size - digest->size;
    digest->crc = crc32c_more(digest->crc, more, size);
    if (digest->chain)
        sha256_more(&digest->sha256, more, size);
    digest->size = body_size;
}

void frame_finish_digest(uint8_t *frame, struct frame_header *header,
                         const uint8_t prev_chain[SHA256_SIZE], struct frame_digest *digest)
{
    uint8_t body[SHA256_SIZE];
    CHECK(header->record_count > 0);
    header->block_count = frame_block_count(header->body_size);
    header->codec = 0;
    header->version = FRAME_VERSION;
    header->raw_size = header->body_size;
    CHECK(frame_size(header) <= LOG_FRAME_SIZE_MAX);
    frame_digest_more(digest, frame, (uint32_t)frame_size(header) - FRAME_HEADER_SIZE);
    header->body_crc = digest->crc;
    header_put(frame, header);
    memset(header->chain, 0, SHA256_SIZE);
    if (digest->chain) {
        sha256_end(&digest->sha256, body);
        frame_chain_of_body(header->chain, prev_chain, frame, body);
    }
    memcpy(frame + FRAME_AT_CHAIN, header->chain, SHA256_SIZE);
    header->header_crc = crc32c(frame + FRAME_AT_SALT, FRAME_HEADER_SIZE - FRAME_AT_SALT);
    bytes_put_u32(frame + FRAME_AT_HEADER_CRC, header->header_crc);
}

void frame_finish(uint8_t *frame, struct frame_header *header,
                  const uint8_t prev_chain[SHA256_SIZE])
{
    struct frame_digest digest;
    frame_digest_init(&digest, header->flags & FRAME_CHAIN);
    frame_finish_digest(frame, header, prev_chain, &digest);
}

static void header_get(const uint8_t *bytes, struct frame_header *header)
{
    *header = (struct frame_header){
        .header_crc = bytes_get_u32(bytes + FRAME_AT_HEADER_CRC),
        .salt = bytes_get_u64(bytes + FRAME_AT_SALT),
        .first_seq = bytes_get_u64(bytes + FRAME_AT_FIRST_SEQ),
        .file_offset = bytes_get_u64(bytes + FRAME_AT_FILE_OFFSET),
        .record_count = bytes_get_u32(bytes + FRAME_AT_RECORD_COUNT),
        .body_size = bytes_get_u32(bytes + FRAME_AT_BODY_SIZE),
        .block_count = bytes_get_u32(bytes + FRAME_AT_BLOCK_COUNT),
        .epoch = bytes_get_u32(bytes + FRAME_AT_EPOCH),
        .durable_seq = bytes_get_u64(bytes + FRAME_AT_DURABLE_SEQ),
        .base_time_ns = bytes_get_u64(bytes + FRAME_AT_BASE_TIME_NS),
        .body_crc = bytes_get_u32(bytes + FRAME_AT_BODY_CRC),
        .flags = bytes_get_u16(bytes + FRAME_AT_FLAGS),
        .codec = bytes[FRAME_AT_CODEC],
        .version = bytes[FRAME_AT_VERSION],
        .raw_size = bytes_get_u32(bytes + FRAME_AT_RAW_SIZE),
        .prev_blocks = bytes_get_u32(bytes + FRAME_AT_PREV_BLOCKS),
        .prev_link = bytes_get_u64(bytes + FRAME_AT_PREV_LINK),
    };
    memcpy(header->chain, bytes + FRAME_AT_CHAIN, SHA256_SIZE);
}

/* One frame of the log's own stands alone; begin and end only mark a run. */
static bool flags_agree(const struct frame_header *header)
{
    unsigned own = header->flags & OWN_FLAGS;
    unsigned txn = header->flags & (FRAME_TXN | FRAME_TXN_BEGIN | FRAME_TXN_END);
    if ((own & (own - 1)) != 0)
        return false;
    if (own != 0 && (txn != 0 || header->record_count != 1))
        return false;
    if (txn != 0 && (txn & FRAME_TXN) == 0)
        return false;
    return (header->flags & FRAME_CHAIN) != 0 || bytes_are_zero(header->chain, SHA256_SIZE);
}

static bool counts_agree(const struct frame_header *header)
{
    if (header->record_count == 0 || header->body_size % 8 != 0)
        return false;
    if (header->body_size > LOG_FRAME_SIZE_MAX - FRAME_HEADER_SIZE)
        return false;
    if ((uint64_t)header->record_count * RECORD_HEADER_SIZE > header->body_size)
        return false;
    if (header->block_count != frame_block_count(header->body_size))
        return false;
    if (header->raw_size != header->body_size)
        return false;
    return header->prev_blocks <= LOG_FRAME_SIZE_MAX / LOG_BLOCK_SIZE;
}

static bool positions_agree(const struct frame_header *header)
{
    if (header->first_seq == 0 || header->first_seq > UINT64_MAX - header->record_count)
        return false;
    if (header->durable_seq >= header->first_seq)
        return false;
    if (header->file_offset < LOG_BLOCK_SIZE || header->file_offset % LOG_BLOCK_SIZE != 0)
        return false;
    return header->file_offset <= LOG_SEGMENT_SIZE_MAX - frame_size(header);
}

int frame_header_decode(const uint8_t bytes[FRAME_HEADER_SIZE], struct frame_header *header)
{
    if (memcmp(bytes + FRAME_AT_MAGIC, FRAME_MAGIC, 4) != 0)
        return ERROR_DAMAGED;
    if (bytes_get_u32(bytes + FRAME_AT_HEADER_CRC) !=
        crc32c(bytes + FRAME_AT_SALT, FRAME_HEADER_SIZE - FRAME_AT_SALT))
        return ERROR_DAMAGED;
    header_get(bytes, header);
    if (header->version != FRAME_VERSION || header->codec != 0)
        return ERROR_NEWER;
    if ((header->flags & ~(unsigned)FRAME_FLAGS_KNOWN) != 0)
        return ERROR_NEWER;
    if (bytes_get_u64(bytes + FRAME_AT_RESERVED) != 0)
        return ERROR_DAMAGED;
    if (!counts_agree(header) || !positions_agree(header) || !flags_agree(header))
        return ERROR_DAMAGED;
    return 0;
}

/* The kind of the only record of a frame of the log's own; 0: any kind. */
static uint16_t own_kind(uint16_t flags)
{
    if (flags & FRAME_OPEN)
        return LOG_KIND_OPENED;
    if (flags & FRAME_SEAL)
        return LOG_KIND_SEALED;
    return flags & FRAME_CLOSE ? LOG_KIND_CLOSED : 0;
}

static int records_check(const uint8_t *frame, const struct frame_header *header, const char **what)
{
    struct span rest = span_of(frame + FRAME_HEADER_SIZE, header->body_size);
    uint16_t own = own_kind(header->flags);
    for (uint32_t i = 0; i < header->record_count; i++) {
        struct record record;
        size_t size;
        *what = "record checksum";
        if (record_decode(rest, &record, &size) < 0)
            return ERROR_DAMAGED;
        *what = "record sequence number";
        if (record.seq != header->first_seq + i)
            return ERROR_DAMAGED;
        *what = "record kind";
        if (own != 0 && record.kind != own)
            return ERROR_DAMAGED;
        rest = span_of(rest.bytes + size, rest.size - size);
    }
    *what = "record count";
    return rest.size == 0 ? 0 : ERROR_DAMAGED;
}

int frame_check(const uint8_t *frame, const struct frame_header *header, const char **what)
{
    uint64_t size = frame_size(header);
    uint64_t end = FRAME_HEADER_SIZE + (uint64_t)header->body_size;
    *what = "body checksum";
    if (crc32c(frame + FRAME_HEADER_SIZE, size - FRAME_HEADER_SIZE) != header->body_crc)
        return ERROR_DAMAGED;
    *what = "padding";
    if (!bytes_are_zero(frame + end, size - end))
        return ERROR_DAMAGED;
    return records_check(frame, header, what);
}

bool frame_next_record(const uint8_t *frame, const struct frame_header *header, uint32_t *at,
                       struct record *record)
{
    CHECK(*at <= header->body_size);
    if (*at == header->body_size)
        return false;
    size_t size;
    struct span rest = span_of(frame + FRAME_HEADER_SIZE + *at, header->body_size - *at);
    if (record_view(rest, record, &size) < 0)
        return false;
    *at += (uint32_t)size;
    return true;
}
