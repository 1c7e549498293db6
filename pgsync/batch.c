#include "pgsync/batch.h"

#include "core/base/error.h"
#include "core/event/event.h"
#include "log/event.h"
#include "log/storage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EVENT_COLUMNS 17
#define ARENA_CHUNK_SIZE 16384u

const char batch_events_sql[] =
    "COPY daa.events (" BATCH_EVENTS_COLUMNS ") FROM STDIN (FORMAT binary)";

void batch_init(struct batch *batch, struct budget *budget)
{
    *batch = (struct batch){ .rows = 0 };
    binary_init(&batch->events);
    changes_init(&batch->changes, budget);
    arena_init(&batch->scratch.arena, budget, BUDGET_READERS, ARENA_CHUNK_SIZE);
    text_init(&batch->scratch.json);
    text_init(&batch->scratch.plain);
    text_init(&batch->erasures);
    text_init(&batch->unopened);
    batch->erasures.size_max = batch->unopened.size_max = SIZE_MAX;
}

void batch_free(struct batch *batch)
{
    binary_free(&batch->events);
    changes_free(&batch->changes);
    arena_free(&batch->scratch.arena);
    text_free(&batch->scratch.json);
    text_free(&batch->scratch.plain);
    text_free(&batch->erasures);
    text_free(&batch->unopened);
}

void batch_begin(struct batch *batch, const uint8_t log[UUID_SIZE], const struct lineage *owners)
{
    memcpy(batch->log, log, UUID_SIZE);
    batch->owners = owners;
    changes_clear(&batch->changes);
    batch->rows = batch->payload_size = batch->lossy_rows = batch->last_seq = 0;
    batch->has_anchor = false;
    batch->withheld_rows = batch->unopened_last = 0;
    text_clear(&batch->erasures);
    text_clear(&batch->unopened);
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

/* An event as it can be read here. */
struct opened {
    Daa__Event *event; /* NULL: one of the log's own, or one that cannot be unpacked */
    enum opening {
        OPENED,           /* nothing of it is hidden */
        OPENED_ERASED,    /* its workflow was erased */
        OPENED_DESTROYED, /* so says its key, and no event as yet */
        OPENED_LOCKED,    /* its key cannot be had */
    } how;
    char why[sizeof((struct batch_withheld *)0)->why]; /* "": all of it can be read */
};

static void put_event(struct batch *batch, const struct record *record, const struct opened *opened,
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
    put_actor(batch, opened->event, &lossy);
    put_payload(batch, record, opened->event, &lossy, &refusal);
    if (refusal == NULL && opened->why[0] != '\0')
        refusal = opened->why;
    binary_bool(rows, lossy);
    binary_text(rows, refusal);
    uint8_t *bytes = binary_bytes_room(rows, record_size(record->payload.size));
    if (bytes != NULL)
        record_encode(bytes, record);
    batch->lossy_rows += lossy;
}

/*--- Opening ---------------------------------------------------------------------------------*/

static bool was_erased(const struct batch *batch, uint64_t stream)
{
    return batch->is_erasing ||
           (batch->erased != NULL && stream > 0 &&
            erased_has(batch->erased, lineage_uuid(batch->owners, stream), stream));
}

static bool has_keys(const struct batch *batch)
{
    return batch->keys != NULL && batch->keys->context != NULL;
}

/* What is said of private fields that stay encrypted; `code` is event_open()'s. */
static void explain(const struct batch *batch, const struct record *record, int code,
                    struct opened *opened)
{
    if (opened->event == NULL || !event_is_withheld(opened->event))
        return;
    if (opened->how != OPENED_ERASED)
        opened->how = (has_keys(batch) && code == 0) || event_is_wiped(opened->event)
                          ? OPENED_DESTROYED
                          : OPENED_LOCKED;
    if (opened->how != OPENED_LOCKED)
        (void)snprintf(opened->why, sizeof opened->why, "erased");
    else
        (void)snprintf(opened->why, sizeof opened->why,
                       "encrypted with key %" PRIu32 ", which is %s", record->key_id,
                       code == ERROR_DAMAGED ? "damaged" : "not here");
}

/* 0 or ERROR_BUDGET. */
static int open_event(struct batch *batch, const struct record *record, struct opened *opened)
{
    const struct event_header header = event_header_of(record);
    *opened = (struct opened){ .how = OPENED };
    arena_reset(&batch->scratch.arena);
    if (record->kind <= LOG_KIND_OWN_MAX)
        return 0;
    if (was_erased(batch, record->stream))
        opened->how = OPENED_ERASED;
    const struct event_keys *keys = opened->how == OPENED_ERASED ? NULL : batch->keys;
    int code = event_open(&header, record->payload, keys, &batch->scratch.arena, &opened->event);
    if (code < 0 && code != ERROR_BUDGET) {
        arena_reset(&batch->scratch.arena);
        int failed =
            event_unpack(record->kind, record->payload, &batch->scratch.arena, &opened->event);
        code = failed == ERROR_BUDGET ? failed : code;
    }
    explain(batch, record, code, opened);
    return code == ERROR_BUDGET ? code : 0;
}

/* `number` is what the batch has it by: its event, or its stream. */
static void note_unopened(struct batch *batch, const struct record *record, uint64_t number,
                          const struct opened *opened)
{
    if (opened->how == OPENED_LOCKED && batch->withheld.seq == 0) {
        batch->withheld.seq = record->seq;
        memcpy(batch->withheld.why, opened->why, sizeof opened->why);
    }
    if ((opened->how != OPENED_LOCKED && opened->how != OPENED_DESTROYED) ||
        batch->unopened_last == number)
        return;
    text_printf(&batch->unopened, "%s%" PRIu64, batch->unopened.size > 0 ? "," : "", number);
    batch->unopened_last = number;
}

/* Of what an event says was erased, nothing is opened from here on. 0 or ERROR_BUDGET. */
static int note_erasures(struct batch *batch, const struct record *record, const Daa__Event *event)
{
    char log[UUID_TEXT_SIZE], owner[UUID_TEXT_SIZE];
    if (event == NULL || record->kind != DAA__EVENT__BODY_WORKFLOWS_ERASED)
        return 0;
    uuid_to_text(log, batch->log);
    for (size_t i = 0; i < event->workflows_erased->n_workflows; i++) {
        uint64_t stream = event->workflows_erased->workflows[i]->stream;
        const uint8_t *of = lineage_uuid(batch->owners, stream);
        if (stream == 0 || stream >= record->seq || record->seq > INT64_MAX)
            continue; /* no workflow that was there */
        if (batch->erased != NULL && erased_add(batch->erased, of, stream) < 0)
            return ERROR_BUDGET;
        uuid_to_text(owner, of);
        text_printf(&batch->erasures, "%s('%s', %" PRIu64 ", '%s', %" PRIu64 ")",
                    batch->erasures.size > 0 ? ", " : "", log, record->seq, owner, stream);
    }
    return 0;
}

/*--- Records ---------------------------------------------------------------------------------*/

static int add_changes(struct batch *batch, const struct record *record,
                       const struct opened *opened, enum changes_of which)
{
    const struct event_header header = event_header_of(record);
    if (opened->how == OPENED_ERASED)
        which &= CHANGES_OF_LOGS;
    return changes_add(&batch->changes, &header, opened->event, which, &batch->scratch);
}

int batch_project(struct batch *batch, const struct record *record)
{
    struct opened opened;
    int failed = open_event(batch, record, &opened);
    batch->payload_size += record->payload.size;
    if (failed < 0)
        return failed;
    note_unopened(batch, record, record->stream, &opened);
    return add_changes(batch, record, &opened, CHANGES_OF_WORKFLOWS);
}

static void count(struct batch *batch, const struct record *record)
{
    batch->rows++;
    batch->payload_size += record->payload.size;
    batch->last_seq = record->seq;
}

int batch_count(struct batch *batch, const struct record *record)
{
    struct opened opened;
    int failed = open_event(batch, record, &opened);
    count(batch, record);
    return failed < 0 ? failed : note_erasures(batch, record, opened.event);
}

int batch_project_agent(struct batch *batch, const struct record *record)
{
    struct opened opened;
    int failed = open_event(batch, record, &opened);
    return failed < 0 ? failed : add_changes(batch, record, &opened, CHANGES_OF_LOGS);
}

int batch_add_changes(struct batch *batch, const struct record *record)
{
    struct opened opened;
    int failed = open_event(batch, record, &opened);
    return failed < 0 ? failed : add_changes(batch, record, &opened, CHANGES_OF_ALL);
}

static int add_event(struct batch *batch, const struct record *record, const struct opened *opened,
                     const char *refusal)
{
    put_event(batch, record, opened, refusal);
    count(batch, record);
    note_unopened(batch, record, record->seq, opened);
    batch->withheld_rows += opened->how == OPENED_LOCKED;
    batch->has_anchor |= record->kind == DAA__EVENT__BODY_LOG_ANCHORED;
    int failed = note_erasures(batch, record, opened->event);
    return failed < 0 ? failed : batch->events.failed;
}

int batch_add_event(struct batch *batch, const struct record *record, const char *refusal)
{
    struct opened opened;
    int failed = open_event(batch, record, &opened);
    return failed < 0 ? failed : add_event(batch, record, &opened, refusal);
}

int batch_add(struct batch *batch, const struct record *record, const char *refusal)
{
    struct opened opened;
    int failed = open_event(batch, record, &opened);
    if (failed == 0)
        failed = add_changes(batch, record, &opened, CHANGES_OF_ALL);
    return failed < 0 ? failed : add_event(batch, record, &opened, refusal);
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
