/* Lines of records: tools/log/record_line.h. */
#include "tools/log/record_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "tap.h"

static const uint8_t uuid[UUID_SIZE] = { 0xd6, 0x32, 0xbe, 0x89, 0xc8, 0x51, 0x4e, 0xbf, 0xac };
static uint8_t payload[LOG_PAYLOAD_SIZE_MAX];
static struct record_line writer, reader;
static struct text line;

static const struct record plain = { .seq = 17, .time_ns = 1795689000123456789u, .kind = 999 };

/* Its line, without the end. */
static struct span line_of(const struct record *record)
{
    text_clear(&line);
    record_line_write(&writer, uuid, record, &line);
    return span_of(line.bytes, line.size - 1);
}

static bool comes_back(const struct record *record)
{
    struct error error;
    struct span text = line_of(record);
    if (memchr(text.bytes, '\n', text.size) != NULL || line.bytes[line.size - 1] != '\n')
        return false;
    const struct record *got = &reader.record;
    return record_line_read(&reader, text, &error) == 0 &&
           memcmp(reader.log_uuid, uuid, UUID_SIZE) == 0 && got->seq == record->seq &&
           got->stream == record->stream && got->time_ns == record->time_ns &&
           got->cause == record->cause && got->stream_prev_seq == record->stream_prev_seq &&
           got->key_id == record->key_id && got->kind == record->kind &&
           got->flags == record->flags && span_equal(got->payload, record->payload) &&
           reader.bytes.size == record_size(record->payload.size);
}

static void every_field_comes_back(void)
{
    static const uint16_t kinds[] = { 0, 1, 15, 16, 100, 999, 1024, 60000, UINT16_MAX };
    static const size_t sizes[] = { 0, 1, 7, 8, 9, 4096, sizeof payload };
    struct record full = { .seq = INT64_MAX,
                           .stream = UINT64_MAX,
                           .time_ns = UINT64_MAX,
                           .cause = (UINT64_C(1) << 53) + 1,
                           .stream_prev_seq = UINT64_MAX - 1,
                           .key_id = UINT32_MAX,
                           .flags = UINT16_MAX };
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i * 167 >> 3);
    ok(comes_back(&plain), "a record without a payload comes back");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        full.kind = kinds[i];
        ok(comes_back(&full), "one of kind %u, each number the greatest", kinds[i]);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        full.payload = span_of(payload, sizes[i]);
        ok(comes_back(&full), "one with %zu bytes of any value", sizes[i]);
    }
}

static int read_text(const char *text, struct error *error)
{
    *error = (struct error){ 0 };
    return record_line_read(&reader, span_of_text(text), error);
}

/* The line of `plain` with `to` in the place of `from`. */
static int read_with(const char *from, const char *to, struct error *error)
{
    char changed[1024];
    (void)line_of(&plain);
    const char *at = strstr(text_string(&line), from);
    if (at == NULL)
        tap_bail_out("%s holds no %s", line.bytes, from);
    (void)snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - line.bytes), line.bytes, to,
                   at + strlen(from));
    return read_text(changed, error);
}

static void what_is_no_line_is_refused(void)
{
    static const char *const texts[] = { "",        " ",    "{",         "seq,time,stream",
                                         "{}{}",    "null", "[]",        "\"seq\"",
                                         "{\"a\":", "17",   "\x28\xb5/", "{\"seq\":01}" };
    struct error error;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        ok(read_text(texts[i], &error) < 0 && error.text[0] != '\0', "'%s' is refused: %s",
           texts[i], error.text);
    is_int(read_with("\"record\"", "\"payload\"", &error), ERROR_INVALID, "without a record: %s",
           error.text);
    is_int(read_with("\"record\":\"", "\"record\":\"0", &error), ERROR_INVALID,
           "with an odd number of digits: %s", error.text);
    is_int(read_with("\"record\":\"4", "\"record\":\"g", &error), ERROR_INVALID,
           "with another letter: %s", error.text);
    is_int(read_with("\"log\"", "\"dog\"", &error), ERROR_INVALID, "without a log: %s", error.text);
    is_int(read_with("\"d632be89", "\"D632BE89", &error), ERROR_INVALID, "with no uuid: %s",
           error.text);
    is_int(read_with("\"seq\":17", "\"seq\":18", &error), ERROR_INVALID, "of another event: %s",
           error.text);
    is_int(read_with("\"seq\":17", "\"seq\":-1", &error), ERROR_INVALID, "of none: %s", error.text);
    is_int(read_with("\"seq\":17", "\"seq\":\"17\"", &error), ERROR_INVALID, "of a text: %s",
           error.text);
    is_int(read_with("\"seq\":17", "\"seq\":17,\"seq\":17", &error), ERROR_SYNTAX,
           "that says so twice: %s", error.text);
    is_int(read_with("\"seq\":17", "\"seq\":17,\"stream\":-1.5e3,\"x\":[{}]", &error), 0,
           "members that it does not know are passed over");
    is_int(read_with("{\"seq\":17", " {\"se\\u0071\" : 17\r", &error), 0,
           "as is JSON that somebody else wrote");
}

static void no_cut_line_is_read(void)
{
    struct error error;
    struct record record = plain;
    size_t read = 0;
    record.payload = span_of("\0\xff\"\\\n", 5);
    struct span whole = line_of(&record);
    for (size_t size = 0; size < whole.size; size++) {
        char *exact = malloc(size + 1); /* so that a sanitizer sees what is read behind it */
        memcpy(exact, whole.bytes, size);
        read += record_line_read(&reader, span_of(exact, size), &error) != ERROR_SYNTAX;
        free(exact);
    }
    is_int(read, 0, "a line that is cut anywhere is no JSON");
}

/* `log` has no checksum here: log/import.h holds it against the events. */
static void no_changed_record_is_read(void)
{
    struct error error;
    struct record record = plain;
    size_t wrong = 0, refused = 0;
    record.payload = span_of("{\"a\":1}", 7);
    struct span whole = line_of(&record);
    char *changed = malloc(whole.size);
    uint8_t before[256];
    if (record_line_read(&reader, whole, &error) < 0 || reader.bytes.size > sizeof before)
        tap_bail_out("%s", error.text);
    size_t size = reader.bytes.size;
    memcpy(before, reader.bytes.bytes, size);
    for (size_t bit = 0; bit < whole.size * 8; bit++) {
        memcpy(changed, whole.bytes, whole.size);
        changed[bit / 8] = (char)(changed[bit / 8] ^ 1 << bit % 8);
        if (record_line_read(&reader, span_of(changed, whole.size), &error) < 0)
            refused++;
        else
            wrong += reader.bytes.size != size || memcmp(reader.bytes.bytes, before, size) != 0;
    }
    is_int(wrong, 0, "no flipped bit of a line gives another record");
    ok(refused > size * 2 * 7, "most make it no line");
    free(changed);
}

static void what_is_too_much_is_refused(void)
{
    struct error error;
    size_t size = RECORD_LINE_SIZE_MAX;
    char *text = malloc(size);
    memset(text, '[', size);
    is_int(record_line_read(&reader, span_of(text, size), &error), ERROR_SYNTAX,
           "32 MiB of brackets are refused");
    for (size_t i = 1; i < size; i++)
        text[i] = i % 2 != 0 ? '0' : ',';
    is_int(record_line_read(&reader, span_of(text, size), &error), ERROR_BUDGET,
           "32 MiB of numbers are more than it takes memory for: %s", error.text);
    ok(comes_back(&plain), "and the next line is read");
    free(text);
}

int main(void)
{
    text_init(&line);
    record_line_begin(&writer);
    record_line_begin(&reader);
    every_field_comes_back();
    what_is_no_line_is_refused();
    no_cut_line_is_read();
    no_changed_record_is_read();
    what_is_too_much_is_refused();
    record_line_end(&writer);
    record_line_end(&reader);
    text_free(&line);
    return tap_done();
}
