#include "tools/log/record_line.h"

#include "core/base/bytes.h"
#include "core/base/json.h"
#include "tools/log/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* What JSON may take of a line of the greatest size that is nothing but a few strings. */
#define MEMORY_MAX (4u * RECORD_LINE_SIZE_MAX)

void record_line_begin(struct record_line *line)
{
    *line = (struct record_line){ .room = NULL };
    budget_init(&line->budget, MEMORY_MAX);
    arena_init(&line->arena, &line->budget, BUDGET_READERS, 4096);
}

void record_line_end(struct record_line *line)
{
    arena_free(&line->arena);
    free(line->room);
    line->room = NULL;
}

static int make_room(struct record_line *line, size_t size)
{
    if (size <= line->room_size)
        return 0;
    uint8_t *more = realloc(line->room, size);
    if (more == NULL)
        return -ENOMEM;
    line->room = more;
    line->room_size = size;
    return 0;
}

void record_line_write(struct record_line *line, const uint8_t log_uuid[UUID_SIZE],
                       const struct record *record, struct text *text)
{
    char uuid[UUID_TEXT_SIZE];
    size_t size = record_size(record->payload.size);
    if (make_room(line, size) < 0) {
        text->failed = -ENOMEM;
        return;
    }
    record_encode(line->room, record);
    uuid_to_text(uuid, log_uuid);
    text_json_open_object(text, NULL);
    text_json_unsigned(text, "seq", record->seq);
    text_json_time(text, "time", record->time_ns);
    text_json_cstring(text, "kind", kind_name(record->kind));
    text_json_cstring(text, "log", uuid);
    text_json_hex(text, "record", span_of(line->room, size));
    text_json_close_object(text);
    text_add(text, "\n", 1);
}

static int read_bytes(struct record_line *line, struct span hex, struct error *error)
{
    size_t size = hex.size / 2, taken;
    if (make_room(line, size) < 0)
        return error_set(error, -ENOMEM, "no memory for a record of %zu bytes", size);
    if (size == 0 || !bytes_from_hex(line->room, size, (const char *)hex.bytes, hex.size))
        return error_set(error, ERROR_INVALID,
                         "its member \"record\" is not an even number of hexadecimal digits");
    line->bytes = span_of(line->room, size);
    if (record_decode(line->bytes, &line->record, &taken) < 0 || taken != size)
        return error_set(error, ERROR_DAMAGED,
                         "its record is not the one that was exported: the checksum is wrong");
    return 0;
}

/* A member that must be a string, decoded; bytes == NULL when it is none. */
static struct span text_of(struct record_line *line, const struct json *json, const char *name)
{
    uint32_t node = json_member(json, 0, name);
    if (node == 0 || json->nodes[node].kind != JSON_STRING)
        return span_of(NULL, 0);
    return json_string(json, node, &line->arena);
}

static int read_members(struct record_line *line, const struct json *json, struct error *error)
{
    int64_t seq = 0;
    uint32_t number = json_member(json, 0, "seq");
    struct span hex = text_of(line, json, "record"), log = text_of(line, json, "log");
    if (hex.bytes == NULL)
        return error_set(error, ERROR_INVALID,
                         "it has no member \"record\" with the bytes of one: export the events "
                         "again, with --format records");
    if (log.bytes == NULL || !uuid_from_text(line->log_uuid, log))
        return error_set(error, ERROR_INVALID, "it has no member \"log\" with the uuid of a log");
    if (number == 0 || !json_get_integer(json, number, &seq) || seq < 1)
        return error_set(error, ERROR_INVALID,
                         "it has no member \"seq\" with the number of an event");
    int code = read_bytes(line, hex, error);
    if (code == 0 && line->record.seq != (uint64_t)seq)
        code = error_set(error, ERROR_INVALID,
                         "it says that it is event %" PRId64 ", and its record is event %" PRIu64,
                         seq, line->record.seq);
    return code;
}

int record_line_read(struct record_line *line, struct span text, struct error *error)
{
    struct json json;
    struct json_problem problem;
    arena_reset(&line->arena);
    int code = json_parse(&json, &line->arena, text, &problem);
    if (code == ERROR_SYNTAX)
        return error_set(error, code, "it is no JSON: %s, in column %" PRIu32, problem.message,
                         problem.column);
    if (code < 0)
        return error_set(error, code, "it holds more than the line of a record does: %s",
                         error_text(code));
    return read_members(line, &json, error);
}
