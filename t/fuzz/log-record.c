/* The first byte says whether the sizes and the checksum are put right; the rest is a record. What
 * is decoded comes back the same when it is encoded. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/crc32c.h"
#include "core/base/text.h"
#include "log/record.h"
#include "log/storage.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void put_right(uint8_t *bytes, size_t size)
{
    if (size < RECORD_HEADER_SIZE)
        return;
    size_t whole = size / 8 * 8;
    uint32_t payload_size = bytes_get_u32(bytes + RECORD_AT_PAYLOAD_SIZE);
    if (record_size(payload_size) > whole)
        payload_size = (uint32_t)(whole - RECORD_HEADER_SIZE);
    uint32_t total = (uint32_t)record_size(payload_size);
    bytes_put_u32(bytes + RECORD_AT_PAYLOAD_SIZE, payload_size);
    bytes_put_u32(bytes + RECORD_AT_SIZE, total);
    bytes_put_u32(bytes + RECORD_AT_CRC,
                  crc32c_more(crc32c(bytes, 4), bytes + RECORD_AT_SEQ, total - RECORD_AT_SEQ));
}

static void show(const struct record *record)
{
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    (void)storage_to_json(record->kind, record->payload, &text);
    text_json_close_object(&text);
    text_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct record record;
    size_t taken;
    if (size < 1)
        return 0;
    uint8_t *bytes = malloc(size);
    CHECK(bytes != NULL);
    memcpy(bytes, input + 1, size - 1);
    if (input[0] & 1)
        put_right(bytes, size - 1);
    if (record_decode(span_of(bytes, size - 1), &record, &taken) == 0) {
        CHECK(taken <= size - 1);
        uint8_t *again = malloc(taken);
        CHECK(again != NULL);
        record_encode(again, &record);
        CHECK(memcmp(again, bytes, taken) == 0);
        free(again);
        show(&record);
    }
    free(bytes);
    return 0;
}
