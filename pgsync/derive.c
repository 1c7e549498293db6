#include "pgsync/derive.h"

#include "core/base/bytes.h"
#include "pgsync/changes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ROWS_MAX 1000u                  /* of a batch */
#define FETCH_BYTES (UINT64_C(8) << 20) /* aimed at with one FETCH */
#define FETCH_ROWS_MAX UINT64_C(1000)

struct walk {
    const struct derive *derive;
    struct text sql;
    uint64_t first, last; /* of the window, without what was taken already */
    uint64_t stream;      /* whose events come */
    uint64_t fetch_rows;
};

static int set_changed(uint64_t seq, struct error *error)
{
    return error_set(error, ERROR_MISMATCH,
                     "the record of event %" PRIu64 " in daa.events was changed: see daa-pgsync "
                     "--verify, and mend it with --repair",
                     seq);
}

/* The record that the digits are; its payload lies in `bytes`. 0, -ENOMEM, ERROR_DAMAGED. */
static int record_of_hex(struct text *bytes, const char *hex, struct record *record)
{
    size_t size = strlen(hex) / 2, used;
    bytes->size_max = SIZE_MAX;
    text_add_string(bytes, hex);
    uint8_t *target = (uint8_t *)bytes->bytes;
    if (bytes->failed < 0)
        return -ENOMEM;
    if (size == 0 || !bytes_from_hex(target, size, hex, 2 * size) ||
        record_decode(span_of(target, size), record, &used) < 0)
        return ERROR_DAMAGED;
    return 0;
}

static int project(const struct walk *walk, uint64_t seq, uint64_t stream, const char *hex,
                   struct error *error)
{
    struct record record;
    struct text bytes;
    text_init(&bytes);
    int failed = record_of_hex(&bytes, hex, &record);
    if (failed == 0 && (record.seq != seq || record.stream != stream))
        failed = ERROR_DAMAGED;
    if (failed == 0)
        failed = batch_project(walk->derive->batch, &record);
    text_free(&bytes);
    if (failed == ERROR_DAMAGED)
        return walk->derive->lenient ? 0 : set_changed(seq, error);
    return failed < 0 ? error_set(error, -ENOMEM, "no memory for event %" PRIu64, seq) : 0;
}

static int give(struct walk *walk, uint64_t last, struct error *error)
{
    const struct derive *derive = walk->derive;
    if (walk->first > last)
        return 0;
    int failed = derive->take(derive->context, derive->batch, walk->first, last, error);
    const struct scope *scope = derive->scope;
    batch_begin(derive->batch, scope->logs[scope->count - 1].log, &scope->owners);
    walk->first = last + 1;
    return failed;
}

static bool is_full(const struct batch *batch)
{
    return batch->changes.count >= ROWS_MAX || batch->payload_size >= BATCH_PAYLOAD_MAX;
}

static int take_event(struct walk *walk, const struct pg_rows *rows, int row, struct error *error)
{
    uint64_t seq = (uint64_t)pg_rows_integer(rows, row, 0);
    uint64_t stream = (uint64_t)pg_rows_integer(rows, row, 1);
    int failed = 0;
    /* What is given is whole: between two things only. */
    if (stream != walk->stream && is_full(walk->derive->batch))
        failed = give(walk, stream - 1, error);
    walk->stream = stream;
    if (failed < 0 || !scope_has(walk->derive->scope, stream))
        return failed;
    return project(walk, seq, stream, pg_rows_text(rows, row, 2), error);
}

static void window_condition(const struct walk *walk, char *condition, size_t size)
{
    const char *more = walk->derive->condition;
    (void)snprintf(condition, size,
                   "e.stream BETWEEN %" PRIu64 " AND %" PRIu64 " AND e.kind > %d%s%s", walk->first,
                   walk->last, LOG_KIND_OWN_MAX, more != NULL ? " AND " : "",
                   more != NULL ? more : "");
}

/* How many events the window has; as many are fetched at once as fit in memory when each is as
 * large as the largest. */
static int measure(struct walk *walk, uint64_t *events, struct error *error)
{
    char condition[500];
    struct pg_rows *rows;
    window_condition(walk, condition, sizeof condition);
    text_clear(&walk->sql);
    text_add_string(&walk->sql, "SELECT count(*), coalesce(max(size), 0) FROM (");
    scope_add_events(&walk->sql, walk->derive->scope, "octet_length(e.record) AS size", condition);
    text_add_string(&walk->sql, ") s");
    int failed = pg_query(walk->derive->pg, text_string(&walk->sql), &rows, error);
    if (failed < 0)
        return failed;
    *events = (uint64_t)pg_rows_integer(rows, 0, 0);
    walk->fetch_rows = FETCH_BYTES / ((uint64_t)pg_rows_integer(rows, 0, 1) + 100) + 1;
    if (walk->fetch_rows > FETCH_ROWS_MAX)
        walk->fetch_rows = FETCH_ROWS_MAX;
    pg_rows_free(rows);
    return 0;
}

static int open_cursor(struct walk *walk, struct error *error)
{
    char condition[500];
    window_condition(walk, condition, sizeof condition);
    text_clear(&walk->sql);
    text_add_string(&walk->sql, "DECLARE things NO SCROLL CURSOR FOR ");
    scope_add_events(&walk->sql, walk->derive->scope, "e.seq, e.stream, encode(e.record, 'hex')",
                     condition);
    text_add_string(&walk->sql, " ORDER BY 2, 1");
    return pg_run(walk->derive->pg, text_string(&walk->sql), error);
}

static int read_events(struct walk *walk, struct error *error)
{
    struct pg *pg = walk->derive->pg;
    char fetch[60];
    int failed = open_cursor(walk, error);
    (void)snprintf(fetch, sizeof fetch, "FETCH %" PRIu64 " FROM things", walk->fetch_rows);
    for (int count = 1; failed == 0 && count > 0;) {
        struct pg_rows *rows;
        failed = pg_query(pg, fetch, &rows, error);
        if (failed < 0)
            return failed;
        count = pg_rows_count(rows);
        for (int i = 0; failed == 0 && i < count; i++)
            failed = take_event(walk, rows, i, error);
        pg_rows_free(rows);
    }
    return failed < 0 ? failed : pg_run(pg, "CLOSE things", error);
}

int derive_walk(const struct derive *derive, uint64_t first, uint64_t last, struct error *error)
{
    const struct scope *scope = derive->scope;
    struct walk walk = { .derive = derive, .first = first, .last = last };
    uint64_t events;
    text_init(&walk.sql);
    batch_begin(derive->batch, scope->logs[scope->count - 1].log, &scope->owners);
    int failed = measure(&walk, &events, error);
    if (failed == 0 && events > 0)
        failed = read_events(&walk, error);
    if (failed == 0)
        failed = give(&walk, last, error);
    text_free(&walk.sql);
    return failed;
}

/*--- Anew ------------------------------------------------------------------------------------*/

static int delete_rows(const struct derive_remake *remake, uint64_t first, uint64_t last,
                       struct error *error)
{
    struct text sql;
    text_init(&sql);
    for (size_t i = 0; i < PROJECTIONS; i++) {
        if (!projections[i]->by_workflow)
            continue;
        text_printf(&sql,
                    "DELETE FROM daa.%s w WHERE w.stream BETWEEN %" PRIu64 " AND %" PRIu64 " AND ",
                    projections[i]->table, first, last);
        scope_add_rows(&sql, remake->scope, "w");
        if (remake->rows_condition != NULL)
            text_printf(&sql, " AND %s", remake->rows_condition);
        text_add_string(&sql, ";");
    }
    int failed = pg_run(remake->pg, text_string(&sql), error);
    text_free(&sql);
    return failed;
}

struct sending {
    struct pg *pg;
    struct batch *batch;
    struct binary *buffer;
    bool apart;
};

/* ERROR_INVALID: the server refuses a value, and all is as it was. */
static int try_rows(const struct sending *sending, bool refused, struct error *error)
{
    struct pg *pg = sending->pg;
    int failed = pg_run(pg, "SAVEPOINT rows", error);
    if (failed == 0 && !sending->apart)
        failed = changes_empty_tables(pg, error);
    if (failed == 0)
        failed = (sending->apart ? batch_send_apart : batch_send_changes)(
            sending->batch, pg, sending->buffer, refused, error);
    if (failed == 0)
        return pg_run(pg, "RELEASE rows", error);
    if (failed != ERROR_INVALID || !pg_alive(pg))
        return failed;
    failed = pg_run(pg, "ROLLBACK TO rows; RELEASE rows", error);
    return failed < 0 ? failed : ERROR_INVALID;
}

/* Halves what the server refuses, down to one thing. */
static int send_part(const struct sending *sending, uint64_t first, uint64_t last,
                     struct error *error)
{
    struct changes *changes = &sending->batch->changes;
    changes_limit(changes, first, last);
    if (!changes_streams(changes, &first, &last))
        return 0;
    int failed = try_rows(sending, false, error);
    if (failed != ERROR_INVALID || !pg_alive(sending->pg))
        return failed;
    if (first < last) {
        uint64_t middle = first + (last - first) / 2;
        failed = send_part(sending, first, middle, error);
        return failed < 0 ? failed : send_part(sending, middle + 1, last, error);
    }
    failed = try_rows(sending, true, error);
    return failed == ERROR_INVALID && pg_alive(sending->pg) ? 0 : failed;
}

int derive_send(struct pg *pg, struct batch *batch, struct binary *buffer, bool apart,
                struct error *error)
{
    const struct sending sending = { pg, batch, buffer, apart };
    int failed = changes_empty_tables(pg, error);
    if (failed == 0)
        failed = send_part(&sending, 0, UINT64_MAX, error);
    changes_limit(&batch->changes, 0, UINT64_MAX);
    return failed;
}

static int put_rows(void *context, struct batch *batch, uint64_t first, uint64_t last,
                    struct error *error)
{
    struct derive_remake *remake = context;
    (void)first;
    (void)last;
    remake->made += batch->changes.count;
    return derive_send(remake->pg, batch, remake->buffer, false, error);
}

int derive_remake(struct derive_remake *remake, uint64_t first, uint64_t last, struct error *error)
{
    const struct derive derive = {
        .pg = remake->pg,
        .scope = remake->scope,
        .batch = remake->batch,
        .condition = remake->events_condition,
        .lenient = remake->lenient,
        .take = put_rows,
        .context = remake,
    };
    int failed = delete_rows(remake, first, last, error);
    return failed < 0 ? failed : derive_walk(&derive, first, last, error);
}

/*--- Agents ----------------------------------------------------------------------------------*/

static int project_agent(struct batch *batch, const struct pg_rows *rows, int row,
                         struct error *error)
{
    struct record record;
    uint64_t seq = (uint64_t)pg_rows_integer(rows, row, 0);
    struct text bytes;
    text_init(&bytes);
    int failed = record_of_hex(&bytes, pg_rows_text(rows, row, 1), &record);
    if (failed == 0 && record.seq == seq)
        failed = batch_project_agent(batch, &record);
    text_free(&bytes);
    if (failed == -ENOMEM || failed == ERROR_BUDGET)
        return error_set(error, -ENOMEM, "no memory for event %" PRIu64, seq);
    return 0; /* one that was changed is passed over */
}

int derive_agent(struct pg *pg, const uint8_t log[UUID_SIZE], struct batch *batch,
                 struct error *error)
{
    static const struct lineage nobody;
    char sql[1600], text[UUID_TEXT_SIZE];
    struct pg_rows *rows;
    uuid_to_text(text, log);
    (void)snprintf(sql, sizeof sql,
                   "SELECT seq, encode(record, 'hex') FROM " SCOPE_EVENTS_SQL " e"
                   " WHERE log = '%s' AND (kind IN (%d, %d) OR seq = greatest("
                   "(SELECT max(seq) FROM daa.events WHERE log = '%s'),"
                   " (SELECT max(seq) FROM daa.rejected WHERE log = '%s' AND NOT in_events)))"
                   " ORDER BY seq",
                   text, DAA__EVENT__BODY_AGENT_REGISTERED, DAA__EVENT__BODY_AGENT_STOPPED, text,
                   text);
    batch_begin(batch, log, &nobody);
    int failed = pg_query(pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    for (int i = 0; failed == 0 && i < pg_rows_count(rows); i++)
        failed = project_agent(batch, rows, i, error);
    pg_rows_free(rows);
    return failed;
}

int derive_remake_agent(struct pg *pg, const uint8_t log[UUID_SIZE], struct batch *batch,
                        struct binary *buffer, struct error *error)
{
    char sql[100], text[UUID_TEXT_SIZE];
    uuid_to_text(text, log);
    (void)snprintf(sql, sizeof sql, "DELETE FROM daa.agents WHERE log = '%s'", text);
    int failed = derive_agent(pg, log, batch, error);
    if (failed == 0)
        failed = pg_run(pg, sql, error);
    return failed < 0 ? failed : derive_send(pg, batch, buffer, false, error);
}
