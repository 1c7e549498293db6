/* The first byte says what is put right of the sizes and checksums; the rest is a frame. One that
 * checks out has as many records as it says. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "log/frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void put_records_right(uint8_t *bytes, uint32_t body_size)
{
    uint32_t at = 0;
    while (body_size - at >= RECORD_HEADER_SIZE) {
        uint8_t *record = bytes + FRAME_HEADER_SIZE + at;
        uint32_t size = bytes_get_u32(record + RECORD_AT_SIZE);
        if (size < RECORD_HEADER_SIZE || size > body_size - at)
            return;
        bytes_put_u32(record + RECORD_AT_CRC,
                      crc32c_more(crc32c(record, 4), record + RECORD_AT_SEQ, size - RECORD_AT_SEQ));
        at += size;
    }
}

static void put_right(uint8_t *bytes, size_t blocks, uint8_t what)
{
    size_t size = blocks * LOG_BLOCK_SIZE;
    uint32_t body_size = bytes_get_u32(bytes + FRAME_AT_BODY_SIZE);
    if (body_size > size - FRAME_HEADER_SIZE)
        body_size = (uint32_t)(size - FRAME_HEADER_SIZE);
    if (what & 1) {
        bytes_put_u32(bytes + FRAME_AT_BODY_SIZE, body_size);
        bytes_put_u32(bytes + FRAME_AT_RAW_SIZE, body_size);
        bytes_put_u32(bytes + FRAME_AT_BLOCK_COUNT, frame_block_count(body_size));
    }
    if (what & 2)
        put_records_right(bytes, body_size);
    if (what & 4)
        bytes_put_u32(
            bytes + FRAME_AT_BODY_CRC,
            crc32c(bytes + FRAME_HEADER_SIZE,
                   (size_t)frame_block_count(body_size) * LOG_BLOCK_SIZE - FRAME_HEADER_SIZE));
    if (what & 8)
        bytes_put_u32(bytes + FRAME_AT_HEADER_CRC,
                      crc32c(bytes + FRAME_AT_SALT, FRAME_HEADER_SIZE - FRAME_AT_SALT));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct frame_header header;
    struct record record;
    const char *what;
    if (size < 1)
        return 0;
    size_t blocks = (size - 1 + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE + 1;
    uint8_t *bytes = calloc(blocks, LOG_BLOCK_SIZE);
    CHECK(bytes != NULL);
    memcpy(bytes, input + 1, size - 1);
    put_right(bytes, blocks, input[0]);
    if (frame_header_decode(bytes, &header) == 0 && header.block_count <= blocks &&
        frame_check(bytes, &header, &what) == 0) {
        uint32_t count = 0;
        for (uint32_t at = 0; frame_next_record(bytes, &header, &at, &record); count++)
            CHECK(record.seq == header.first_seq + count);
        CHECK(count == header.record_count);
    }
    free(bytes);
    return 0;
}
