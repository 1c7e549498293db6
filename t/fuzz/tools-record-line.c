/* A line of an export comes from anybody: whatever it is, reading it stays in bounds, and a record
 * that was read is written and read again as the same. */
#include "core/base/check.h"
#include "tools/log/record_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct record_line line, again;
    struct error error = { 0 };
    struct text text;
    record_line_begin(&line);
    record_line_begin(&again);
    text_init(&text);
    if (record_line_read(&line, span_of(input, size), &error) == 0) {
        CHECK(line.record.seq >= 1);
        record_line_write(&again, line.log_uuid, &line.record, &text);
        CHECK(text.failed == 0);
        CHECK(record_line_read(&again, span_of(text.bytes, text.size - 1), &error) == 0);
        CHECK(span_equal(line.bytes, again.bytes));
        CHECK(memcmp(line.log_uuid, again.log_uuid, UUID_SIZE) == 0);
    } else {
        CHECK(error.text[0] != '\0');
    }
    text_free(&text);
    record_line_end(&line);
    record_line_end(&again);
    return 0;
}
