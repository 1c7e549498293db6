#include "tools/log/dump.h"

#include "core/base/bytes.h"
#include "log/format.h"
#include "tools/log/log.h"
#include "tools/log/words.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct field segment_fields[] = {
    { SEGMENT_AT_MAGIC, 8, "magic", FIELD_HEX },
    { SEGMENT_AT_MAJOR, 2, "major", FIELD_NUMBER },
    { SEGMENT_AT_MINOR, 2, "minor", FIELD_NUMBER },
    { SEGMENT_AT_CRC, 4, "crc", FIELD_NUMBER },
    { SEGMENT_AT_LOG_UUID, 16, "log_uuid", FIELD_HEX },
    { SEGMENT_AT_SEGMENT_NO, 8, "segment_no", FIELD_NUMBER },
    { SEGMENT_AT_FIRST_SEQ, 8, "first_seq", FIELD_NUMBER },
    { SEGMENT_AT_CREATED_NS, 8, "created_ns", FIELD_TIME },
    { SEGMENT_AT_SALT, 8, "salt", FIELD_NUMBER },
    { SEGMENT_AT_BLOCK_SIZE, 4, "block_size", FIELD_NUMBER },
    { SEGMENT_AT_EPOCH, 4, "epoch", FIELD_NUMBER },
    { SEGMENT_AT_CAPACITY, 8, "capacity", FIELD_NUMBER },
    { SEGMENT_AT_PREV_CHAIN, 32, "prev_chain", FIELD_HEX },
    { SEGMENT_AT_PREV_LAST_SEQ, 8, "prev_last_seq", FIELD_NUMBER },
    { SEGMENT_AT_PREV_END_OFFSET, 8, "prev_end_offset", FIELD_NUMBER },
    { SEGMENT_AT_COMPAT, 4, "compat", FIELD_NUMBER },
    { SEGMENT_AT_INCOMPAT, 4, "incompat", FIELD_NUMBER },
    { SEGMENT_AT_CHECKSUM, 1, "checksum", FIELD_NUMBER },
    { SEGMENT_AT_HASH, 1, "hash", FIELD_NUMBER },
    { SEGMENT_AT_EVENT_SCHEMA, 2, "event_schema", FIELD_NUMBER },
    { SEGMENT_AT_RESERVED, 4, "reserved", FIELD_NUMBER },
    { SEGMENT_AT_BOOT_ID, 16, "boot_id", FIELD_HEX },
    { SEGMENT_AT_PREV_SEGMENT_NO, 8, "prev_segment_no", FIELD_NUMBER },
    { SEGMENT_AT_DURABLE_SEQ, 8, "durable_seq", FIELD_NUMBER },
    { SEGMENT_AT_PARENT_UUID, 16, "parent_uuid", FIELD_HEX },
    { SEGMENT_AT_PARENT_SEQ, 8, "parent_seq", FIELD_NUMBER },
    { SEGMENT_AT_PARENT_CHAIN, 32, "parent_chain", FIELD_HEX },
    { .name = NULL },
};

const struct field frame_fields[] = {
    { FRAME_AT_MAGIC, 4, "magic", FIELD_HEX },
    { FRAME_AT_HEADER_CRC, 4, "header_crc", FIELD_NUMBER },
    { FRAME_AT_SALT, 8, "salt", FIELD_NUMBER },
    { FRAME_AT_FIRST_SEQ, 8, "first_seq", FIELD_NUMBER },
    { FRAME_AT_FILE_OFFSET, 8, "file_offset", FIELD_NUMBER },
    { FRAME_AT_RECORD_COUNT, 4, "record_count", FIELD_NUMBER },
    { FRAME_AT_BODY_SIZE, 4, "body_size", FIELD_NUMBER },
    { FRAME_AT_BLOCK_COUNT, 4, "block_count", FIELD_NUMBER },
    { FRAME_AT_EPOCH, 4, "epoch", FIELD_NUMBER },
    { FRAME_AT_DURABLE_SEQ, 8, "durable_seq", FIELD_NUMBER },
    { FRAME_AT_BASE_TIME_NS, 8, "base_time_ns", FIELD_TIME },
    { FRAME_AT_BODY_CRC, 4, "body_crc", FIELD_NUMBER },
    { FRAME_AT_FLAGS, 2, "flags", FIELD_FLAGS },
    { FRAME_AT_CODEC, 1, "codec", FIELD_NUMBER },
    { FRAME_AT_VERSION, 1, "version", FIELD_NUMBER },
    { FRAME_AT_RAW_SIZE, 4, "raw_size", FIELD_NUMBER },
    { FRAME_AT_PREV_BLOCKS, 4, "prev_blocks", FIELD_NUMBER },
    { FRAME_AT_PREV_LINK, 8, "prev_link", FIELD_NUMBER },
    { FRAME_AT_RESERVED, 8, "reserved", FIELD_NUMBER },
    { FRAME_AT_CHAIN, 32, "chain", FIELD_HEX },
    { .name = NULL },
};

const struct field record_fields[] = {
    { RECORD_AT_SIZE, 4, "size", FIELD_NUMBER },
    { RECORD_AT_CRC, 4, "crc", FIELD_NUMBER },
    { RECORD_AT_SEQ, 8, "seq", FIELD_NUMBER },
    { RECORD_AT_STREAM, 8, "stream", FIELD_NUMBER },
    { RECORD_AT_TIME_NS, 8, "time_ns", FIELD_TIME },
    { RECORD_AT_KIND, 2, "kind", FIELD_KIND },
    { RECORD_AT_FLAGS, 2, "flags", FIELD_NUMBER },
    { RECORD_AT_PAYLOAD_SIZE, 4, "payload_size", FIELD_NUMBER },
    { RECORD_AT_CAUSE, 8, "cause", FIELD_NUMBER },
    { RECORD_AT_STREAM_PREV_SEQ, 8, "stream_prev_seq", FIELD_NUMBER },
    { RECORD_AT_KEY_ID, 4, "key_id", FIELD_NUMBER },
    { RECORD_AT_RESERVED, 4, "reserved", FIELD_NUMBER },
    { .name = NULL },
};

const struct field opened_fields[] = {
    { OPENED_AT_VERSION, 2, "version", FIELD_NUMBER },
    { OPENED_AT_VERDICT, 2, "verdict", FIELD_NUMBER },
    { OPENED_AT_EPOCH, 4, "epoch", FIELD_NUMBER },
    { OPENED_AT_LOG_UUID, 16, "log_uuid", FIELD_HEX },
    { OPENED_AT_PARENT_UUID, 16, "parent_uuid", FIELD_HEX },
    { OPENED_AT_PARENT_SEQ, 8, "parent_seq", FIELD_NUMBER },
    { OPENED_AT_PARENT_CHAIN, 32, "parent_chain", FIELD_HEX },
    { OPENED_AT_PREV_SEGMENT_NO, 8, "prev_segment_no", FIELD_NUMBER },
    { OPENED_AT_PREV_LAST_SEQ, 8, "prev_last_seq", FIELD_NUMBER },
    { OPENED_AT_PREV_END_OFFSET, 8, "prev_end_offset", FIELD_NUMBER },
    { OPENED_AT_TAIL_BYTES, 8, "tail_bytes", FIELD_NUMBER },
    { OPENED_AT_EVENTS_MAX, 8, "events_max", FIELD_NUMBER },
    { OPENED_AT_BOOT_ID, 16, "boot_id", FIELD_HEX },
    { OPENED_AT_SYNC_MODE, 1, "sync_mode", FIELD_NUMBER },
    { OPENED_AT_ENGINE, 1, "engine", FIELD_NUMBER },
    { OPENED_AT_REASON_SIZE, 2, "reason_size", FIELD_NUMBER },
    { .name = NULL },
};

const struct field sealed_fields[] = {
    { SEALED_AT_VERSION, 2, "version", FIELD_NUMBER },
    { SEALED_AT_BLOCK_COUNT, 4, "block_count", FIELD_NUMBER },
    { SEALED_AT_FIRST_SEQ, 8, "first_seq", FIELD_NUMBER },
    { SEALED_AT_LAST_SEQ, 8, "last_seq", FIELD_NUMBER },
    { SEALED_AT_RECORD_COUNT, 8, "record_count", FIELD_NUMBER },
    { SEALED_AT_FRAME_COUNT, 8, "frame_count", FIELD_NUMBER },
    { SEALED_AT_PAYLOAD_BYTES, 8, "payload_bytes", FIELD_NUMBER },
    { SEALED_AT_MIN_TIME_NS, 8, "min_time_ns", FIELD_TIME },
    { SEALED_AT_MAX_TIME_NS, 8, "max_time_ns", FIELD_TIME },
    { .name = NULL },
};

const struct field failover_fields[] = {
    { FAILOVER_AT_VERSION, 2, "version", FIELD_NUMBER },
    { FAILOVER_AT_COUNT, 2, "count", FIELD_NUMBER },
    { FAILOVER_AT_EPOCH, 4, "epoch", FIELD_NUMBER },
    { FAILOVER_AT_FAILED_NO, 8, "failed_segment_no", FIELD_NUMBER },
    { FAILOVER_AT_SEGMENT_NO, 8, "segment_no", FIELD_NUMBER },
    { FAILOVER_AT_PREV_SEGMENT_NO, 8, "prev_segment_no", FIELD_NUMBER },
    { FAILOVER_AT_PREV_LAST_SEQ, 8, "prev_last_seq", FIELD_NUMBER },
    { FAILOVER_AT_PREV_END_OFFSET, 8, "prev_end_offset", FIELD_NUMBER },
    { FAILOVER_AT_FRAMES, 8, "frames", FIELD_NUMBER },
    { FAILOVER_AT_RECORDS, 8, "records", FIELD_NUMBER },
    { FAILOVER_AT_REASON_SIZE, 2, "reason_size", FIELD_NUMBER },
    { .name = NULL },
};

const struct field space_fields[] = {
    { SPACE_AT_VERSION, 2, "version", FIELD_NUMBER },
    { SPACE_AT_BEFORE, 1, "before", FIELD_NUMBER },
    { SPACE_AT_STATE, 1, "state", FIELD_NUMBER },
    { SPACE_AT_RESERVED, 4, "reserved", FIELD_NUMBER },
    { SPACE_AT_FREE_BYTES, 8, "free_bytes", FIELD_NUMBER },
    { SPACE_AT_TOTAL_BYTES, 8, "total_bytes", FIELD_NUMBER },
    { SPACE_AT_BALLAST_BYTES, 8, "ballast_bytes", FIELD_NUMBER },
    { SPACE_AT_SPARES, 8, "spares", FIELD_NUMBER },
    { .name = NULL },
};

const struct field stalled_fields[] = {
    { STALLED_AT_VERSION, 2, "version", FIELD_NUMBER },
    { STALLED_AT_RESERVED, 2, "reserved", FIELD_NUMBER },
    { STALLED_AT_COUNT, 4, "count", FIELD_NUMBER },
    { STALLED_AT_LONGEST_NS, 8, "longest_ns", FIELD_NUMBER },
    { .name = NULL },
};

const struct field checkpoint_fields[] = {
    { CHECKPOINT_AT_MAGIC, 8, "magic", FIELD_HEX },
    { CHECKPOINT_AT_VERSION, 4, "version", FIELD_NUMBER },
    { CHECKPOINT_AT_CRC, 4, "crc", FIELD_NUMBER },
    { CHECKPOINT_AT_LOG_UUID, 16, "log_uuid", FIELD_HEX },
    { CHECKPOINT_AT_DURABLE_SEQ, 8, "durable_seq", FIELD_NUMBER },
    { CHECKPOINT_AT_SEGMENT_NO, 8, "segment_no", FIELD_NUMBER },
    { CHECKPOINT_AT_END_OFFSET, 8, "end_offset", FIELD_NUMBER },
    { CHECKPOINT_AT_CHAIN, 32, "chain", FIELD_HEX },
    { CHECKPOINT_AT_TIME_NS, 8, "time_ns", FIELD_TIME },
    { CHECKPOINT_AT_GENERATION, 8, "generation", FIELD_NUMBER },
    { .name = NULL },
};

static unsigned long long big(uint64_t number)
{
    return number;
}

void dump_begin(struct dump *dump, bool json, const char *file)
{
    *dump = (struct dump){ .json = json, .file = file, .to = UINT64_MAX };
    text_init(&dump->line);
}

void dump_end(struct dump *dump)
{
    text_free(&dump->line);
}

static bool is_wanted(const struct dump *dump, uint64_t offset, uint64_t size)
{
    return offset < dump->to && offset + size > dump->from;
}

static void open_object(struct dump *dump, const char *what, uint64_t offset, uint64_t size)
{
    text_clear(&dump->line);
    text_json_open_object(&dump->line, NULL);
    text_json_cstring(&dump->line, "what", what);
    text_json_cstring(&dump->line, "file", dump->file);
    text_json_unsigned(&dump->line, "offset", offset);
    text_json_unsigned(&dump->line, "size", size);
}

static void close_object(struct dump *dump)
{
    text_json_close_object(&dump->line);
    printf("%s\n", text_string(&dump->line));
}

void dump_heading(struct dump *dump, const char *what, uint64_t offset, uint64_t size,
                  const char *format, ...)
{
    char text[512];
    va_list arguments;
    if (!is_wanted(dump, offset, size))
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!dump->json) {
        printf("\n%s%s at 0x%llx, %llu bytes%s%s%s\n", command_style(stdout, COMMAND_BOLD), what,
               big(offset), big(size), *text != '\0' ? ": " : "", text,
               command_style(stdout, COMMAND_PLAIN));
        return;
    }
    open_object(dump, what, offset, size);
    text_json_cstring(&dump->line, "text", text);
    close_object(dump);
}

void dump_damage(struct dump *dump, uint64_t offset, uint64_t size, const char *text)
{
    if (!is_wanted(dump, offset, size))
        return;
    if (!dump->json) {
        printf("%s  !! at 0x%llx: %s%s\n", command_style(stdout, COMMAND_RED), big(offset), text,
               command_style(stdout, COMMAND_PLAIN));
        return;
    }
    open_object(dump, "damage", offset, size);
    text_json_cstring(&dump->line, "text", text);
    close_object(dump);
}

void dump_flags(uint16_t flags, char text[64])
{
    static const char *const names[] = { "TXN_BEGIN", "TXN_END", "ZSTD",      "CHAIN", "SEAL",
                                         "OPEN",      "CLOSE",   "ENCRYPTED", "TXN" };
    size_t at = 0;
    text[0] = '\0';
    for (unsigned bit = 0; bit < sizeof names / sizeof names[0]; bit++)
        if (flags & 1u << bit)
            at += (size_t)snprintf(text + at, 64 - at, "%s%s", at > 0 ? " " : "", names[bit]);
}

/* What a number means, or nothing. */
static void explain_value(const struct field *field, uint64_t value, char text[64])
{
    char time[WORDS_SIZE];
    text[0] = '\0';
    if (field->kind == FIELD_TIME)
        snprintf(text, 64, "%s", words_of_time(time, value));
    else if (field->kind == FIELD_KIND)
        snprintf(text, 64, "%s", kind_name((uint16_t)value));
    else if (field->kind == FIELD_FLAGS)
        dump_flags((uint16_t)value, text);
}

static void dump_field(struct dump *dump, const struct field *field, const uint8_t *bytes,
                       uint64_t offset)
{
    char hex[80], meaning[64];
    uint64_t value = 0;
    bool number = field->kind != FIELD_HEX;
    if (number)
        memcpy(&value, bytes, field->size);
    explain_value(field, value, meaning);
    if (dump->json) {
        open_object(dump, "field", offset, field->size);
        text_json_cstring(&dump->line, "name", field->name);
        text_json_hex(&dump->line, "hex", span_of(bytes, field->size));
        if (number)
            text_json_unsigned(&dump->line, "value", value);
        if (meaning[0] != '\0')
            text_json_cstring(&dump->line, "meaning", meaning);
        close_object(dump);
        return;
    }
    bytes_to_hex(hex, bytes, field->size);
    printf("  %10llx  %-64s %s", big(offset), hex, field->name);
    if (number)
        printf(" = %llu", big(value));
    if (meaning[0] != '\0')
        printf(" (%s)", meaning);
    putchar('\n');
}

void dump_fields(struct dump *dump, const struct field *fields, const uint8_t *bytes, uint64_t size,
                 uint64_t offset)
{
    for (; fields->name != NULL; fields++)
        if (fields->at + fields->size <= size && is_wanted(dump, offset + fields->at, fields->size))
            dump_field(dump, fields, bytes + fields->at, offset + fields->at);
}

static void dump_line(const uint8_t *bytes, uint64_t count, uint64_t offset)
{
    printf("  %10llx ", big(offset));
    for (uint64_t i = 0; i < 16; i++)
        if (i < count)
            printf(" %02x", bytes[i]);
        else
            printf("   ");
    printf("  ");
    for (uint64_t i = 0; i < count; i++)
        putchar(isprint(bytes[i]) ? bytes[i] : '.');
    putchar('\n');
}

void dump_bytes(struct dump *dump, const char *name, const uint8_t *bytes, uint64_t size,
                uint64_t offset)
{
    bool starred = false;
    for (uint64_t at = 0; at < size; at += 16) {
        uint64_t count = size - at < 16 ? size - at : 16;
        bool repeats = at > 0 && at + 16 < size && bytes_are_zero(bytes + at - 16, 16 + count);
        if (!is_wanted(dump, offset + at, count))
            continue;
        if (dump->json) {
            open_object(dump, "bytes", offset + at, count);
            text_json_cstring(&dump->line, "name", name);
            text_json_hex(&dump->line, "hex", span_of(bytes + at, count));
            close_object(dump);
        } else if (!repeats) {
            dump_line(bytes + at, count, offset + at);
        } else if (!starred) {
            printf("           *\n");
        }
        starred = repeats;
    }
}
