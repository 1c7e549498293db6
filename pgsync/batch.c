#include "pgsync/batch.h"

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/event/event.h"
#include "core/event/projection.h"
#include "log/storage.h"
#include "pgsync/plain.h"

#define EVENT_COLUMNS 17
#define CHANGE_COLUMNS 17
#define ARENA_CHUNK_SIZE 16384u

const char batch_events_sql[] =
    "COPY daa.events (log, seq, stream, time, time_ns, kind, kind_name, cause, stream_prev_seq,"
    " actor_type, actor_id, request_id, traceparent, payload, lossy, error, record)"
    " FROM STDIN (FORMAT binary)";

void batch_init(struct batch *batch, struct budget *budget)
{
    *batch = (struct batch){ .budget = budget };
    binary_init(&batch->events);
    arena_init(&batch->event_arena, budget, BUDGET_READERS, ARENA_CHUNK_SIZE);
    arena_init(&batch->change_arena, budget, BUDGET_READERS, ARENA_CHUNK_SIZE);
    table_init(&batch->changes, budget, BUDGET_READERS);
    text_init(&batch->json);
    text_init(&batch->plain);
}

void batch_free(struct batch *batch)
{
    binary_free(&batch->events);
    arena_free(&batch->event_arena);
    arena_free(&batch->change_arena);
    table_free(&batch->changes);
    text_free(&batch->json);
    text_free(&batch->plain);
}

void batch_begin(struct batch *batch, const uint8_t log[UUID_SIZE], const struct lineage *owners)
{
    memcpy(batch->log, log, UUID_SIZE);
    batch->owners = owners;
    table_free(&batch->changes);
    table_init(&batch->changes, batch->budget, BUDGET_READERS);
    arena_reset(&batch->change_arena);
    batch->rows = batch->payload_size = batch->lossy_rows = batch->last_seq = 0;
    batch->has_anchor = false;
    binary_clear(&batch->events);
    binary_header(&batch->events);
}

void batch_end(struct batch *batch)
{
    binary_trailer(&batch->events);
}

/*--- Columns ---------------------------------------------------------------------------------*/

/* bigint has a bit less than what the log has for a number. */
static void put_number(struct binary *target, uint64_t value, bool *lossy)
{
    if (value > INT64_MAX) {
        *lossy = true;
        value = INT64_MAX;
    }
    binary_bigint(target, (int64_t)value);
}

/* 0 means none. */
static void put_optional_number(struct binary *target, uint64_t value, bool *lossy)
{
    if (value == 0)
        binary_null(target);
    else
        put_number(target, value, lossy);
}

static void put_text(struct batch *batch, struct binary *target, struct span text, bool *lossy)
{
    text_clear(&batch->plain);
    plain_text(&batch->plain, text, lossy);
    if (text.size == 0 || batch->plain.failed != 0)
        binary_null(target);
    else
        binary_bytes(target, text_span(&batch->plain));
}

/* `json` is null when it cannot be had; *refusal says why, if nobody said so before. */
static void put_json(struct batch *batch, struct binary *target, struct span json, bool *lossy,
                     const char **refusal)
{
    text_clear(&batch->plain);
    int failed = plain_json(&batch->plain, json, lossy);
    if (failed < 0 || batch->plain.failed != 0) {
        *lossy = true;
        *refusal = failed < 0 ? "nested too deep for jsonb" : "too large for jsonb";
        binary_null(target);
        return;
    }
    binary_jsonb(target, text_span(&batch->plain));
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
        put_text(batch, rows, span_of_data(actor->id), lossy);
    }
    const struct span none = { NULL, 0 };
    put_text(batch, rows, event != NULL ? span_of_data(event->request_id) : none, lossy);
    put_text(batch, rows, event != NULL ? span_of_data(event->traceparent) : none, lossy);
}

static void undecoded_to_json(struct text *json, struct span payload)
{
    text_clear(json);
    text_json_open_object(json, NULL);
    text_json_hex(json, "undecoded", payload);
    text_json_close_object(json);
}

/* The payload as JSON into batch->json. `event` is NULL for what cannot be unpacked. */
static void render_payload(struct batch *batch, const struct record *record,
                           const Daa__Event *event)
{
    struct text *json = &batch->json;
    text_clear(json);
    if (record->kind <= LOG_KIND_OWN_MAX) {
        text_json_open_object(json, NULL);
        int failed = storage_to_json(record->kind, record->payload, json);
        text_json_close_object(json);
        if (failed < 0)
            undecoded_to_json(json, record->payload);
    } else if (event != NULL) {
        event_payload_to_json(event, NULL, &batch->event_arena, json);
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
    if (batch->json.failed != 0) {
        *lossy = true;
        *refusal = "too large for jsonb";
        binary_null(&batch->events);
        return;
    }
    put_json(batch, &batch->events, text_span(&batch->json), lossy, refusal);
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
    put_number(rows, record->seq, &lossy);
    put_number(rows, record->stream, &lossy);
    binary_time(rows, record->time_ns);
    put_number(rows, record->time_ns, &lossy);
    binary_integer(rows, record->kind);
    binary_text(rows, kind_name);
    put_optional_number(rows, record->cause, &lossy);
    put_optional_number(rows, record->stream_prev_seq, &lossy);
    put_actor(batch, event, &lossy);
    put_payload(batch, record, event, &lossy, &refusal);
    binary_bool(rows, lossy);
    binary_text(rows, refusal);
    uint8_t *bytes = binary_bytes_room(rows, record_size(record->payload.size));
    if (bytes != NULL)
        record_encode(bytes, record);
    batch->lossy_rows += lossy;
}

/*--- workflows -------------------------------------------------------------------------------*/

/* What the row's spans point into lasts until the next record only. */
static int copy_spans(struct batch *batch, struct workflow_row *row)
{
    struct span *spans[] = { &row->name,     &row->definition, &row->input,
                             &row->metadata, &row->reason,     &row->output };
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        if (spans[i]->size == 0)
            continue;
        *spans[i] = arena_copy(&batch->change_arena, *spans[i]);
        if (spans[i]->bytes == NULL)
            return ERROR_BUDGET;
    }
    return 0;
}

static int keep_change(struct batch *batch, struct workflow_row *change)
{
    struct workflow_row *row;
    int failed = copy_spans(batch, change);
    if (failed < 0 || change->stream == 0 || change->stream > INT64_MAX)
        return failed; /* no workflow has such a number: the record lies about its stream */
    row = table_get(&batch->changes, change->stream);
    if (row != NULL) {
        if (row->last_seq < change->last_seq)
            projection_workflow_merge(row, change);
        return 0;
    }
    failed = table_reserve(&batch->changes, 1);
    row = failed == 0 ? arena_allocate(&batch->change_arena, sizeof *row) : NULL;
    if (row == NULL)
        return ERROR_BUDGET;
    *row = *change;
    table_put(&batch->changes, change->stream, row);
    return 0;
}

static int project(struct batch *batch, const struct record *record, const Daa__Event *event)
{
    struct workflow_row change;
    const struct event_header header = {
        .seq = record->seq,
        .stream = record->stream,
        .time_ns = record->time_ns,
        .cause = record->cause,
        .stream_prev_seq = record->stream_prev_seq,
        .kind = record->kind,
    };
    if (event == NULL || projection_workflow(&header, event, &change) == 0)
        return 0;
    return keep_change(batch, &change);
}

/* Null, the JSON that the bytes are, or a string of what they hold. */
static void put_user_json(struct batch *batch, struct binary *target, struct span bytes,
                          bool *lossy)
{
    struct json json;
    struct span text = bytes;
    const char *refusal = NULL;
    if (bytes.size == 0) {
        binary_null(target);
        return;
    }
    if (json_parse(&json, &batch->event_arena, bytes, NULL) < 0) {
        text_clear(&batch->json);
        text_json_string(&batch->json, NULL, bytes);
        text = text_span(&batch->json);
    }
    put_json(batch, target, text, lossy, &refusal);
}

static void put_optional_time(struct binary *target, bool given, uint64_t time_ns)
{
    if (given)
        binary_time(target, time_ns);
    else
        binary_null(target);
}

static void put_optional_bytes(struct binary *target, struct span bytes)
{
    if (bytes.size == 0)
        binary_null(target);
    else
        binary_bytes(target, bytes);
}

static void put_change(struct batch *batch, struct binary *target, const struct workflow_row *row,
                       bool refused)
{
    const struct span none = { NULL, 0 };
    char id[WORKFLOW_ID_SIZE];
    bool lossy = refused;
    const uint8_t *log = lineage_uuid(batch->owners, row->stream);
    const uint8_t *last_log = lineage_uuid(batch->owners, row->last_seq);
    workflow_id_to_text(id, log, row->stream);
    binary_row(target, CHANGE_COLUMNS);
    binary_uuid(target, log);
    put_number(target, row->stream, &lossy);
    binary_text(target, id);
    put_text(batch, target, refused ? none : row->name, &lossy);
    binary_text(target, row->has_status ? workflow_status_name(row->status) : NULL);
    put_text(batch, target, refused ? none : row->reason, &lossy);
    binary_bool(target, row->has_reason);
    put_optional_bytes(target, row->definition);
    put_user_json(batch, target, refused ? none : row->input, &lossy);
    put_user_json(batch, target, refused ? none : row->output, &lossy);
    put_user_json(batch, target, refused ? none : row->metadata, &lossy);
    binary_bool(target, lossy);
    put_optional_time(target, row->created, row->submitted_ns);
    put_optional_time(target, row->has_started, row->started_ns);
    put_optional_time(target, row->has_ended, row->ended_ns);
    put_number(target, row->last_seq, &lossy);
    if (memcmp(log, last_log, UUID_SIZE) == 0)
        binary_null(target);
    else
        binary_uuid(target, last_log);
}

int64_t batch_changes(struct batch *batch, struct binary *target, bool refused)
{
    uint64_t at = 0, stream;
    const struct workflow_row *row;
    binary_clear(target);
    if (batch->changes.count == 0)
        return 0;
    binary_header(target);
    while ((row = table_each(&batch->changes, &at, &stream)) != NULL) {
        arena_reset(&batch->event_arena);
        put_change(batch, target, row, refused);
    }
    binary_trailer(target);
    return target->failed < 0 ? target->failed : (int64_t)batch->changes.count;
}

/*--- Records ---------------------------------------------------------------------------------*/

/* NULL for the log's own events and for what cannot be unpacked. 0 or ERROR_BUDGET. */
static int unpack(struct batch *batch, const struct record *record, Daa__Event **event)
{
    int failed = 0;
    *event = NULL;
    arena_reset(&batch->event_arena);
    if (record->kind > LOG_KIND_OWN_MAX)
        failed = event_unpack(record->kind, record->payload, &batch->event_arena, event);
    return failed == ERROR_BUDGET ? failed : 0;
}

int batch_project(struct batch *batch, const struct record *record)
{
    Daa__Event *event;
    int failed = unpack(batch, record, &event);
    batch->payload_size += record->payload.size;
    return failed < 0 ? failed : project(batch, record, event);
}

int batch_add(struct batch *batch, const struct record *record, const char *refusal)
{
    Daa__Event *event;
    int failed = unpack(batch, record, &event);
    if (failed == 0)
        failed = project(batch, record, event);
    if (failed < 0)
        return failed;
    put_event(batch, record, event, refusal);
    batch->rows++;
    batch->payload_size += record->payload.size;
    batch->last_seq = record->seq;
    batch->has_anchor |= record->kind == DAA__EVENT__BODY_LOG_ANCHORED;
    return batch->events.failed;
}
