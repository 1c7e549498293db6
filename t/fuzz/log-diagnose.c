/* A diagnosis of any bytes leaves them as they were, and a bit that it names makes them whole. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "log/diagnose.h"
#include "log/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void check_frame(uint8_t *bytes, size_t size)
{
    struct segment_header segment = { .salt = 1, .epoch = 1, .capacity = 1u << 20 };
    struct frame_header frame;
    if (size >= FRAME_HEADER_SIZE) {
        segment.salt = bytes_get_u64(bytes + FRAME_AT_SALT);
        segment.epoch = bytes_get_u32(bytes + FRAME_AT_EPOCH);
    }
    struct diagnosis found = diagnose_frame(bytes, size, &segment, LOG_BLOCK_SIZE);
    if (found.kind != DIAGNOSIS_FLIPPED)
        return;
    CHECK(found.offset < size || found.offset < FRAME_HEADER_SIZE);
    bytes[found.offset] ^= (uint8_t)(1u << found.bit);
    CHECK(frame_header_decode(bytes, &frame) == 0);
    bytes[found.offset] ^= (uint8_t)(1u << found.bit);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    uint8_t *bytes = malloc(size + 1);
    CHECK(bytes != NULL);
    memcpy(bytes, input, size);
    check_frame(bytes, size);
    struct diagnosis found = diagnose_record(bytes, size);
    CHECK(found.kind != DIAGNOSIS_FLIPPED || found.offset < size);
    if (size >= LOG_BLOCK_SIZE) {
        (void)diagnose_segment_header(bytes);
        (void)diagnose_checkpoint(bytes);
    }
    CHECK(memcmp(bytes, input, size) == 0);
    free(bytes);
    return 0;
}
