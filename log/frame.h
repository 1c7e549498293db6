/* A frame: the unit of write, of checksum, of atomicity and of acknowledgement. Pure. Threads: any.
 */
#ifndef LOG_FRAME_H
#define LOG_FRAME_H

#include "core/base/sha256.h"
#include "core/base/span.h"
#include "log/format.h"
#include "log/record.h"

#include <stdbool.h>
#include <stdint.h>

struct frame_header {
    uint32_t header_crc; /* out of encode and decode */
    uint64_t salt;
    uint64_t first_seq;
    uint64_t file_offset;
    uint32_t record_count;
    uint32_t body_size;
    uint32_t block_count;
    uint32_t epoch;
    uint64_t durable_seq;
    uint64_t base_time_ns;
    uint32_t body_crc;
    uint16_t flags;
    uint8_t codec;
    uint8_t version;
    uint32_t raw_size;
    uint32_t prev_blocks;
    uint64_t prev_link;
    uint8_t chain[SHA256_SIZE];
};

static inline uint32_t frame_block_count(uint64_t body_size)
{
    return (uint32_t)((FRAME_HEADER_SIZE + body_size + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE);
}

static inline uint64_t frame_last_seq(const struct frame_header *header)
{
    return header->first_seq + header->record_count - 1;
}

static inline uint64_t frame_link(const struct frame_header *header)
{
    return (uint64_t)header->header_crc << 32 | header->body_crc;
}

/* What its body CRC and its chain cover: all behind the header, the padding too. */
static inline struct span frame_body(const uint8_t *frame, uint32_t block_count)
{
    return span_of(frame + FRAME_HEADER_SIZE,
                   (size_t)block_count * LOG_BLOCK_SIZE - FRAME_HEADER_SIZE);
}

/* Completes a frame in place: `frame` is block_count * 4096 bytes with the records at 128 and zeros
 * behind them. Fills header->block_count, body_crc, chain (from `prev_chain`, when FRAME_CHAIN is
 * set) and header_crc, and writes the header. */
void frame_finish(uint8_t *frame, struct frame_header *header,
                  const uint8_t prev_chain[SHA256_SIZE]);

/* The checksums of a body that still grows, so that little is left to do when it is whole. */
struct frame_digest {
    struct sha256 sha256;
    uint32_t crc;
    uint32_t size; /* bytes of the body that are taken in */
    bool chain;    /* sha256 is wanted */
};

void frame_digest_init(struct frame_digest *digest, bool chain);
/* Takes in the body up to `body_size`: bytes that do not change any more. */
void frame_digest_more(struct frame_digest *digest, const uint8_t *frame, uint32_t body_size);
/* frame_finish() for a body of which `digest` has taken in a part. */
void frame_finish_digest(uint8_t *frame, struct frame_header *header,
                         const uint8_t prev_chain[SHA256_SIZE], struct frame_digest *digest);

/* Reads and checks the 128 bytes of a header: magic, CRC, reserved bytes, limits and that the
 * counts agree. 0; ERROR_DAMAGED; ERROR_NEWER for unknown flags, codec or version under a good CRC.
 */
int frame_header_decode(const uint8_t bytes[FRAME_HEADER_SIZE], struct frame_header *header);

/* Checks the whole frame behind a decoded header: body CRC, every record's CRC, dense sequence
 * numbers, zero padding. 0 or ERROR_DAMAGED with `what` a short reason ("body checksum", ...). */
int frame_check(const uint8_t *frame, const struct frame_header *header, const char **what);

/* The chain after this frame. */
void frame_chain(uint8_t chain[SHA256_SIZE], const uint8_t prev_chain[SHA256_SIZE],
                 const uint8_t *frame, const struct frame_header *header);
/* The same, of the SHA-256 of frame_body(). */
void frame_chain_of_body(uint8_t chain[SHA256_SIZE], const uint8_t prev_chain[SHA256_SIZE],
                         const uint8_t *frame, const uint8_t body[SHA256_SIZE]);

/* Walks the records of a frame that frame_check() passed: start with *at = 0. False at the end. */
bool frame_next_record(const uint8_t *frame, const struct frame_header *header, uint32_t *at,
                       struct record *record);

#endif
