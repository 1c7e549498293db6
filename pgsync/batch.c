#include "pgsync/batch.h"

#include "core/base/error.h"
#include "core/event/event.h"
#include "log/storage.h"

#define EVENT_COLUMNS 17
#define ARENA_CHUNK_SIZE 16384u

const char batch_events_sql[] =
    "COPY daa.events (log, seq, stream, time, time_ns, kind, kind_name, cause, stream_prev_seq,"
    " actor_type, actor_id, request_id, traceparent, payload, lossy, error, record)"
    " FROM STDIN (FORMAT binary)";

void batch_init(struct batch *batch, struct budget *budget)
{
    *batch = (struct batch){ .rows = 0 };
    binary_init(&batch->events);
    changes_init(&batch->changes, budget);
    arena_init(&batch->scratch.arena, budget, BUDGET_READERS, ARENA_CHUNK_SIZE);
    text_init(&batch->scratch.json);
    text_init(&batch->scratch.plain);
}

void batch_free(struct batch *batch)
{
    binary_free(&batch->events);
    changes_free(&batch->changes);
    arena_free(&batch->scratch.arena);
    text_free(&batch->scratch.json);
    text_free(&batch->scratch.plain);
}

void batch_begin(struct batch *batch, const uint8_t log[UUID_SIZE], const struct lineage *owners)
{
    memcpy(batch->log, log, UUID_SIZE);
    batch->owners = owners;
    changes_clear(&batch->changes);
    batch->rows = batch->payload_size = batch->lossy_rows = batch->last_seq = 0;
    batch->has_anchor = false;
    binary_clear(&batch->events);
    binary_header(&batch->events);
}

void batch_end(struct batch *batch)
{
    binary_trailer(&batch->events);
}

/*--- events ----------------------------------------------------------------------------------*/

static const char *actor_type_name(int type)
{
    static const char *const names[] = { "system", "token", "uid", "peer", "anonymous" };
    return type >= 0 && type < (int)(sizeof names / sizeof names[0]) ? names[type] : "unknown";
}

static void put_actor(struct batch *batch, const Daa__Event *event, bool *lossy)
{
    struct binary *rows = &batch->events;
    const Daa__Actor *actor = event != NULL ? event->actor : NULL;
    if (actor == NULL) {
        binary_null(rows);
        binary_null(rows);
    } else {
        binary_text(rows, actor_type_name((int)actor->type));
        columns_text(&batch->scratch, rows, span_of_data(actor->id), lossy);
    }
    const struct span none = { NULL, 0 };
    columns_text(&batch->scratch, rows, event != NULL ? span_of_data(event->request_id) : none,
                 lossy);
    columns_text(&batch->scratch, rows, event != NULL ? span_of_data(event->traceparent) : none,
                 lossy);
}

static void undecoded_to_json(struct text *json, struct span payload)
{
    text_clear(json);
    text_json_open_object(json, NULL);
    text_json_hex(json, "undecoded", payload);
    text_json_close_object(json);
}

/* The payload as JSON into batch->scratch.json. `event` is NULL for what cannot be unpacked. */
static void render_payload(struct batch *batch, const struct record *record,
                           const Daa__Event *event)
{
    struct text *json = &batch->scratch.json;
    text_clear(json);
    if (record->kind <= LOG_KIND_OWN_MAX) {
        text_json_open_object(json, NULL);
        int failed = storage_to_json(record->kind, record->payload, json);
        text_json_close_object(json);
        if (failed < 0)
            undecoded_to_json(json, record->payload);
    } else if (event != NULL) {
        event_payload_to_json(event, NULL, &batch->scratch.arena, json);
    } else {
        undecoded_to_json(json, record->payload);
    }
}

static void put_payload(struct batch *batch, const struct record *record, const Daa__Event *event,
                        bool *lossy, const char **refusal)
{
    if (*refusal != NULL) {
        *lossy = true;
        binary_null(&batch->events);
        return;
    }
    render_payload(batch, record, event);
    if (batch->scratch.json.failed != 0) {
        *lossy = true;
        *refusal = "too large for jsonb";
        binary_null(&batch->events);
        return;
    }
    columns_json(&batch->scratch, &batch->events, text_span(&batch->scratch.json), lossy, refusal);
}

static void put_event(struct batch *batch, const struct record *record, const Daa__Event *event,
                      const char *refusal)
{
    struct binary *rows = &batch->events;
    bool lossy = false;
    const char *kind_name = record->kind <= LOG_KIND_OWN_MAX ? record_own_kind_name(record->kind)
                                                             : event_kind_name(record->kind);
    binary_row(rows, EVENT_COLUMNS);
    binary_uuid(rows, batch->log);
    columns_number(rows, record->seq, &lossy);
    columns_number(rows, record->stream, &lossy);
    binary_time(rows, record->time_ns);
    columns_number(rows, record->time_ns, &lossy);
    binary_integer(rows, record->kind);
    binary_text(rows, kind_name);
    columns_optional_number(rows, record->cause, &lossy);
    columns_optional_number(rows, record->stream_prev_seq, &lossy);
    put_actor(batch, event, &lossy);
    put_payload(batch, record, event, &lossy, &refusal);
    binary_bool(rows, lossy);
    binary_text(rows, refusal);
    uint8_t *bytes = binary_bytes_room(rows, record_size(record->payload.size));
    if (bytes != NULL)
        record_encode(bytes, record);
    batch->lossy_rows += lossy;
}

/*--- Records ---------------------------------------------------------------------------------*/

/* NULL for the log's own events and for what cannot be unpacked. 0 or ERROR_BUDGET. */
static int unpack(struct batch *batch, const struct record *record, Daa__Event **event)
{
    int failed = 0;
    *event = NULL;
    arena_reset(&batch->scratch.arena);
    if (record->kind > LOG_KIND_OWN_MAX)
        failed = event_unpack(record->kind, record->payload, &batch->scratch.arena, event);
    return failed == ERROR_BUDGET ? failed : 0;
}

static int add_changes(struct batch *batch, const struct record *record, const Daa__Event *event,
                       enum changes_of which)
{
    const struct event_header header = {
        .seq = record->seq,
        .stream = record->stream,
        .time_ns = record->time_ns,
        .cause = record->cause,
        .stream_prev_seq = record->stream_prev_seq,
        .kind = record->kind,
    };
    return changes_add(&batch->changes, &header, event, which, &batch->scratch);
}

int batch_project(struct batch *batch, const struct record *record)
{
    Daa__Event *event;
    int failed = unpack(batch, record, &event);
    batch->payload_size += record->payload.size;
    return failed < 0 ? failed : add_changes(batch, record, event, CHANGES_OF_WORKFLOWS);
}

void batch_count(struct batch *batch, const struct record *record)
{
    batch->rows++;
    batch->payload_size += record->payload.size;
    batch->last_seq = record->seq;
}

int batch_project_agent(struct batch *batch, const struct record *record)
{
    Daa__Event *event;
    int failed = unpack(batch, record, &event);
    return failed < 0 ? failed : add_changes(batch, record, event, CHANGES_OF_LOGS);
}

int batch_add_changes(struct batch *batch, const struct record *record)
{
    Daa__Event *event;
    int failed = unpack(batch, record, &event);
    return failed < 0 ? failed : add_changes(batch, record, event, CHANGES_OF_ALL);
}

static int add_event(struct batch *batch, const struct record *record, const Daa__Event *event,
                     const char *refusal)
{
    put_event(batch, record, event, refusal);
    batch_count(batch, record);
    batch->has_anchor |= record->kind == DAA__EVENT__BODY_LOG_ANCHORED;
    return batch->events.failed;
}

int batch_add_event(struct batch *batch, const struct record *record, const char *refusal)
{
    Daa__Event *event;
    int failed = unpack(batch, record, &event);
    return failed < 0 ? failed : add_event(batch, record, event, refusal);
}

int batch_add(struct batch *batch, const struct record *record, const char *refusal)
{
    Daa__Event *event;
    int failed = unpack(batch, record, &event);
    if (failed == 0)
        failed = add_changes(batch, record, event, CHANGES_OF_ALL);
    return failed < 0 ? failed : add_event(batch, record, event, refusal);
}

int batch_send_events(struct batch *batch, struct pg *pg, size_t at_least, struct error *error)
{
    struct binary *rows = &batch->events;
    if (rows->failed < 0)
        return error_set(error, rows->failed, "no memory for the rows of a batch");
    for (size_t sent = 0; rows->size >= at_least && sent < rows->size;) {
        size_t left = rows->size - sent;
        size_t size = left < BATCH_PIECE_SIZE ? left : BATCH_PIECE_SIZE;
        int failed = pg_copy_data(pg, span_of(rows->bytes + sent, size), error);
        if (failed < 0)
            return failed;
        sent += size;
        if (sent == rows->size)
            binary_clear(rows);
    }
    return 0;
}

int batch_send_changes(struct batch *batch, struct pg *pg, struct binary *buffer, bool refused,
                       struct error *error)
{
    const struct projection_of of = { .log = batch->log, .owners = batch->owners };
    return changes_send(&batch->changes, pg, &of, &batch->scratch, buffer, refused, error);
}

int batch_send_apart(struct batch *batch, struct pg *pg, struct binary *buffer, bool refused,
                     struct error *error)
{
    const struct projection_of of = { .log = batch->log, .owners = batch->owners };
    return changes_send_apart(&batch->changes, pg, &of, &batch->scratch, buffer, refused, error);
}
