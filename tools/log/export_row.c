#include "tools/log/export_row.h"

#include "core/event/event.h"
#include "log/storage.h"

#include <string.h>

/* What the envelope of an event says; spans with bytes == NULL are not there. */
struct envelope {
    const char *actor_type; /* NULL: nobody is named */
    struct span actor_id, request_id, traceparent;
    bool withheld; /* a part of the payload */
};

void export_row_begin(struct export_row *row, enum export_format format, bool no_payload,
                      struct decryption *decryption)
{
    *row = (struct export_row){ .format = format, .no_payload = no_payload };
    printer_begin(&row->printer, true, decryption);
    record_line_begin(&row->record);
    text_init(&row->line);
    text_init(&row->payload);
    row->line.size_max = row->payload.size_max = row->printer.line.size_max;
}

void export_row_end(struct export_row *row)
{
    printer_end(&row->printer);
    record_line_end(&row->record);
    text_free(&row->line);
    text_free(&row->payload);
}

const char *export_row_header(const struct export_row *row)
{
    if (row->format != EXPORT_CSV)
        return "";
    return row->no_payload
               ? "seq,time,stream,kind,cause,actor_type,actor_id,request_id,traceparent\r\n"
               : "seq,time,stream,kind,cause,actor_type,actor_id,request_id,traceparent,"
                 "withheld,payload\r\n";
}

static const char *actor_type_name(int type)
{
    static const char *const names[] = { "system", "token", "uid", "peer", "anonymous" };
    return type >= 0 && type < (int)(sizeof names / sizeof names[0]) ? names[type] : "unknown";
}

static void fill_envelope(struct envelope *envelope, const Daa__Event *event)
{
    if (event->actor != NULL) {
        envelope->actor_type = actor_type_name((int)event->actor->type);
        envelope->actor_id = span_of_data(event->actor->id);
    }
    if (event->has_request_id)
        envelope->request_id = span_of_data(event->request_id);
    if (event->has_traceparent)
        envelope->traceparent = span_of_data(event->traceparent);
}

static void add_undecoded(struct text *payload, struct span bytes)
{
    text_json_open_object(payload, NULL);
    text_json_hex(payload, "undecoded", bytes);
    text_json_close_object(payload);
}

static void read_own(struct export_row *row, const struct record *record)
{
    struct text *payload = &row->payload;
    text_json_open_object(payload, NULL);
    if (record_own_kind_name(record->kind) == NULL ||
        storage_to_json(record->kind, record->payload, payload) < 0)
        text_json_hex(payload, "undecoded", record->payload);
    text_json_close_object(payload);
}

/* The envelope, in the printer's arena, and the payload if it is wanted. */
static void read_event(struct export_row *row, const struct record *record,
                       struct envelope *envelope)
{
    Daa__Event *event;
    text_clear(&row->payload);
    if (record->kind <= LOG_KIND_OWN_MAX) {
        if (!row->no_payload)
            read_own(row, record);
        return;
    }
    int opened =
        row->no_payload
            ? event_unpack(record->kind, record->payload, &row->printer.arena, &event)
            : decryption_show(row->printer.decryption, record, &row->printer.arena, &event);
    if (opened < 0) {
        if (!row->no_payload)
            add_undecoded(&row->payload, record->payload);
        return;
    }
    fill_envelope(envelope, event);
    envelope->withheld = opened >= DECRYPTION_NO_KEYS;
    if (!row->no_payload)
        event_payload_to_json(event, NULL, &row->printer.arena, &row->payload);
}

/*--- CSV, RFC 4180 -----------------------------------------------------------------------------*/

static void add_field(struct text *line, struct span field)
{
    const char *bytes = (const char *)field.bytes;
    bool quoted = false;
    for (size_t i = 0; i < field.size && !quoted; i++)
        quoted = strchr("\",\r\n", bytes[i]) != NULL; /* NUL too */
    if (!quoted) {
        text_add_span(line, field);
        return;
    }
    text_add(line, "\"", 1);
    for (size_t i = 0, begun = 0; i <= field.size; i++) {
        if (i < field.size && bytes[i] != '"')
            continue;
        text_add(line, bytes + begun, i - begun);
        if (i < field.size)
            text_add(line, "\"\"", 2);
        begun = i + 1;
    }
    text_add(line, "\"", 1);
}

static void fill_csv(struct export_row *row, const struct record *record,
                     const struct envelope *envelope)
{
    struct text *line = &row->line;
    text_printf(line, "%llu,", (unsigned long long)record->seq);
    struct text time;
    text_init(&time);
    text_json_time(&time, NULL, record->time_ns);
    if (time.size > 2) /* without its quotes */
        text_add(line, time.bytes + 1, time.size - 2);
    text_free(&time);
    text_printf(line, ",%llu,%s,", (unsigned long long)record->stream, kind_name(record->kind));
    if (record->cause != 0)
        text_printf(line, "%llu", (unsigned long long)record->cause);
    text_printf(line, ",%s,", envelope->actor_type != NULL ? envelope->actor_type : "");
    add_field(line, envelope->actor_id);
    text_add(line, ",", 1);
    add_field(line, envelope->request_id);
    text_add(line, ",", 1);
    add_field(line, envelope->traceparent);
    if (!row->no_payload) {
        text_add(line, ",", 1);
        if (envelope->withheld)
            text_printf(line, "%u", record->key_id);
        text_add(line, ",", 1);
        add_field(line, text_span(&row->payload));
    }
    text_add(line, "\r\n", 2);
}

/*--- JSON lines --------------------------------------------------------------------------------*/

/* As cat --json prints it, without the payload. */
static void fill_json(struct export_row *row, const struct record *record,
                      const struct envelope *envelope)
{
    struct text *line = &row->line;
    text_json_open_object(line, NULL);
    text_json_unsigned(line, "seq", record->seq);
    text_json_time(line, "time", record->time_ns);
    text_json_unsigned(line, "stream", record->stream);
    text_json_cstring(line, "kind", kind_name(record->kind));
    if (record->cause != 0)
        text_json_unsigned(line, "cause", record->cause);
    else
        text_json_null(line, "cause");
    if (envelope->actor_type != NULL) {
        text_json_open_object(line, "actor");
        text_json_cstring(line, "type", envelope->actor_type);
        text_json_string(line, "id", envelope->actor_id);
        text_json_close_object(line);
    } else {
        text_json_null(line, "actor");
    }
    if (envelope->request_id.bytes != NULL)
        text_json_string(line, "request_id", envelope->request_id);
    if (envelope->traceparent.bytes != NULL)
        text_json_string(line, "traceparent", envelope->traceparent);
    text_json_close_object(line);
    text_add(line, "\n", 1);
}

int export_row_fill(struct export_row *row, const uint8_t log_uuid[UUID_SIZE],
                    const struct record *record)
{
    struct envelope envelope = { .actor_type = NULL };
    text_clear(&row->line);
    if (row->format == EXPORT_RECORDS) {
        record_line_write(&row->record, log_uuid, record, &row->line);
        return row->line.failed;
    }
    if (row->format == EXPORT_JSONL && !row->no_payload) {
        text_add_string(&row->line, printer_line(&row->printer, record));
        text_add(&row->line, "\n", 1);
        return row->line.failed;
    }
    read_event(row, record, &envelope);
    if (row->format == EXPORT_CSV)
        fill_csv(row, record, &envelope);
    else
        fill_json(row, record, &envelope);
    arena_reset(&row->printer.arena);
    return row->payload.failed != 0 ? row->payload.failed : row->line.failed;
}
