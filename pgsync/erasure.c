#include "pgsync/erasure.h"

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/text.h"
#include "pgsync/rejected.h"
#include "pgsync/scope.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FETCH_BYTES (UINT64_C(8) << 20) /* aimed at with one FETCH */
#define FETCH_ROWS_MAX UINT64_C(1000)

/* Whose events are meant: each log that has the workflow. */
#define HEIRS_SQL                                                                                  \
    "WITH RECURSIVE heirs(log, stream) AS ("                                                       \
    " SELECT owner, stream FROM daa.erased WHERE log = '%s'"                                       \
    " AND seq BETWEEN %" PRIu64 " AND %" PRIu64 " UNION SELECT r.log, h.stream"                    \
    " FROM heirs h JOIN daa.replica r ON r.parent = h.log AND r.parent_seq >= h.stream)"

/* What is the same already stays; what was in daa.rejected alone comes in. */
#define PUT_SQL                                                                                    \
    "DELETE FROM daa.rejected r USING pg_temp.remade m WHERE r.log = m.log AND r.seq = m.seq;"     \
    "DELETE FROM %s e USING pg_temp.remade m WHERE e.log = m.log AND e.seq = m.seq"                \
    " AND (e.payload, e.lossy, e.error) IS DISTINCT FROM (m.payload, m.lossy, m.error);"           \
    "INSERT INTO %s (" BATCH_EVENTS_COLUMNS ") SELECT " BATCH_EVENTS_COLUMNS                       \
    " FROM pg_temp.remade m WHERE NOT EXISTS"                                                      \
    " (SELECT FROM %s e WHERE e.log = m.log AND e.seq = m.seq)"

static const char copy_sql[] =
    "COPY pg_temp.remade (" BATCH_EVENTS_COLUMNS ") FROM STDIN (FORMAT binary)";

struct erasure {
    struct pg *pg;
    char log[UUID_TEXT_SIZE]; /* whose events say so */
    uint64_t first, last;
    const char *table; /* whose rows are made anew */
    struct batch batch;
    struct text sql;
};

/* What one FETCH gave. */
struct part {
    const struct pg_rows *rows;
    uint8_t *bytes; /* of one record */
};

/*--- Making rows anew --------------------------------------------------------------------------*/

static int set_no_memory(uint64_t seq, struct error *error)
{
    return error_set(error, -ENOMEM, "no memory for event %" PRIu64, seq);
}

/* The record of a row, in part->bytes; false: it was changed since it was copied. */
static bool decode(struct part *part, int row, struct record *record)
{
    const char *hex = pg_rows_text(part->rows, row, 2);
    size_t size = strlen(hex) / 2, used;
    return bytes_from_hex(part->bytes, size, hex, 2 * size) &&
           record_decode(span_of(part->bytes, size), record, &used) == 0 &&
           record->seq == (uint64_t)pg_rows_integer(part->rows, row, 1) &&
           record->stream == (uint64_t)pg_rows_integer(part->rows, row, 3);
}

static int send_rows(struct erasure *e, struct part *part, int first, int end, const char *refusal,
                     struct error *error)
{
    static const struct lineage nobody;
    uint8_t log[UUID_SIZE] = { 0 };
    (void)uuid_from_text(log, span_of_text(pg_rows_text(part->rows, first, 0)));
    batch_begin(&e->batch, log, &nobody);
    for (int row = first; row < end; row++) {
        struct record record;
        if (!decode(part, row, &record))
            continue; /* blank_row() */
        if (batch_add_event(&e->batch, &record, refusal) < 0)
            return set_no_memory(record.seq, error);
        int failed = batch_send_events(&e->batch, e->pg, BATCH_PIECE_SIZE, error);
        if (failed < 0)
            return failed;
    }
    batch_end(&e->batch);
    return batch_send_events(&e->batch, e->pg, 0, error);
}

static int put(struct erasure *e, struct part *part, int first, int end, const char *refusal,
               struct error *error)
{
    int failed = pg_run(e->pg, "TRUNCATE pg_temp.remade", error);
    if (failed == 0)
        failed = pg_copy_begin(e->pg, copy_sql, error);
    if (failed < 0)
        return failed;
    failed = send_rows(e, part, first, end, refusal, error);
    if (failed < 0)
        pg_copy_abort(e->pg);
    else
        failed = pg_copy_end(e->pg, error);
    if (failed < 0)
        return failed;
    text_clear(&e->sql);
    text_printf(&e->sql, PUT_SQL, e->table, e->table, e->table);
    return pg_run(e->pg, text_string(&e->sql), error);
}

/* The same, and if the server refuses it, all is as it was. */
static int try_put(struct erasure *e, struct part *part, int first, int end, const char *refusal,
                   struct error *error)
{
    int failed = pg_run(e->pg, "SAVEPOINT anew", error);
    if (failed == 0)
        failed = put(e, part, first, end, refusal, error);
    if (failed == 0)
        return pg_run(e->pg, "RELEASE anew", error);
    if (failed != ERROR_INVALID || !pg_alive(e->pg))
        return failed;
    failed = pg_run(e->pg, "ROLLBACK TO anew; RELEASE anew", NULL);
    return failed < 0 ? failed : ERROR_INVALID;
}

/*--- What the server refuses -------------------------------------------------------------------*/

static int remove_row(struct erasure *e, const struct part *part, int row, struct error *error)
{
    text_clear(&e->sql);
    text_printf(&e->sql, "DELETE FROM %s WHERE log = '%s' AND seq = %s", e->table,
                pg_rows_text(part->rows, row, 0), pg_rows_text(part->rows, row, 1));
    return pg_run(e->pg, text_string(&e->sql), error);
}

/* One row: without its payload, then not at all, as the copier does; `why` is what was said. */
static int put_refused(struct erasure *e, struct part *part, int row, const struct error *why,
                       struct error *error)
{
    char sqlstate[8];
    struct record record;
    (void)snprintf(sqlstate, sizeof sqlstate, "%s", pg_sqlstate(e->pg));
    struct rejection rejection = { sqlstate, why->text, true };
    int failed = try_put(e, part, row, row + 1, why->text, error);
    if (failed == ERROR_INVALID && pg_alive(e->pg)) {
        rejection.in_events = false;
        failed = remove_row(e, part, row, error);
    }
    return failed < 0 || !decode(part, row, &record)
               ? failed
               : rejected_add(e->pg, pg_rows_text(part->rows, row, 0), &record, &rejection, error);
}

/* Halves what the server refuses, down to one row. */
static int put_part(struct erasure *e, struct part *part, int first, int end, struct error *error)
{
    struct error why = { 0 };
    int failed = try_put(e, part, first, end, NULL, &why);
    if (failed != ERROR_INVALID || !pg_alive(e->pg)) {
        if (failed < 0)
            *error = why;
        return failed;
    }
    if (end - first == 1)
        return put_refused(e, part, first, &why, error);
    int middle = first + (end - first) / 2;
    failed = put_part(e, part, first, middle, error);
    return failed < 0 ? failed : put_part(e, part, middle, end, error);
}

/*--- One table ---------------------------------------------------------------------------------*/

/* A row whose record was changed cannot be made anew of it: it shows nothing, until a repair. */
static int blank_row(struct erasure *e, struct part *part, int row, struct error *error)
{
    struct record record;
    const char *log = pg_rows_text(part->rows, row, 0), *seq = pg_rows_text(part->rows, row, 1);
    if (decode(part, row, &record))
        return 0;
    text_clear(&e->sql);
    text_printf(&e->sql,
                "UPDATE %s SET payload = NULL, error = 'erased' WHERE log = '%s' AND seq = %s;"
                "UPDATE daa.rejected SET message = 'erased' WHERE log = '%s' AND seq = %s",
                e->table, log, seq, log, seq);
    return pg_run(e->pg, text_string(&e->sql), error);
}

/* Rows of one log each. */
static int put_rows(struct erasure *e, const struct pg_rows *rows, struct error *error)
{
    struct part part = { .rows = rows };
    size_t size_max = 0;
    int failed = 0, count = pg_rows_count(rows);
    for (int i = 0; i < count; i++) {
        size_t size = strlen(pg_rows_text(rows, i, 2)) / 2;
        size_max = size > size_max ? size : size_max;
    }
    part.bytes = malloc(size_max + 1);
    if (part.bytes == NULL)
        return error_set(error, -ENOMEM, "no memory for events that were erased");
    for (int first = 0, end; failed == 0 && first < count; first = end) {
        end = first + 1;
        while (end < count && strcmp(pg_rows_text(rows, end, 0), pg_rows_text(rows, first, 0)) == 0)
            end++;
        failed = put_part(e, &part, first, end, error);
        for (int row = first; failed == 0 && row < end; row++)
            failed = blank_row(e, &part, row, error);
    }
    free(part.bytes);
    return failed;
}

static int open_cursor(struct erasure *e, const char *source, uint64_t *fetch_rows,
                       struct error *error)
{
    struct pg_rows *rows;
    text_clear(&e->sql);
    text_printf(&e->sql, HEIRS_SQL, e->log, e->first, e->last);
    text_printf(&e->sql,
                " SELECT coalesce(max(octet_length(e.record)), 0) FROM heirs h JOIN %s e"
                " ON e.log = h.log AND e.stream = h.stream",
                source);
    int failed = pg_query(e->pg, text_string(&e->sql), &rows, error);
    if (failed < 0)
        return failed;
    *fetch_rows = FETCH_BYTES / ((uint64_t)pg_rows_integer(rows, 0, 0) + 100) + 1;
    if (*fetch_rows > FETCH_ROWS_MAX)
        *fetch_rows = FETCH_ROWS_MAX;
    pg_rows_free(rows);
    text_clear(&e->sql);
    text_add_string(&e->sql, "DECLARE erasing NO SCROLL CURSOR FOR ");
    text_printf(&e->sql, HEIRS_SQL, e->log, e->first, e->last);
    text_printf(&e->sql,
                " SELECT e.log, e.seq, encode(e.record, 'hex'), e.stream FROM heirs h JOIN %s e"
                " ON e.log = h.log AND e.stream = h.stream ORDER BY 1, 2",
                source);
    return pg_run(e->pg, text_string(&e->sql), error);
}

/* `source` gives log, seq, stream and record of the events whose rows are in the table. */
static int erase_in(struct erasure *e, const char *table, const char *source, struct error *error)
{
    char fetch[60];
    uint64_t fetch_rows = 1;
    int failed = open_cursor(e, source, &fetch_rows, error);
    e->table = table;
    (void)snprintf(fetch, sizeof fetch, "FETCH %" PRIu64 " FROM erasing", fetch_rows);
    for (int count = 1; failed == 0 && count > 0;) {
        struct pg_rows *rows;
        failed = pg_query(e->pg, fetch, &rows, error);
        if (failed < 0)
            return failed;
        count = pg_rows_count(rows);
        failed = put_rows(e, rows, error);
        pg_rows_free(rows);
    }
    return failed < 0 ? failed : pg_run(e->pg, "CLOSE erasing", error);
}

/* Partitions that were detached, and such that are half way: no query of daa.events shows them. */
static int erase_detached(struct erasure *e, struct error *error)
{
    struct pg_rows *tables;
    int failed = pg_query(e->pg,
                          "SELECT format('daa.%I', c.relname) FROM pg_class c"
                          " LEFT JOIN pg_inherits i ON i.inhrelid = c.oid"
                          " WHERE c.relnamespace = 'daa'::regnamespace AND c.relkind = 'r'"
                          " AND c.relname ~ '^events_\\d{6,}$' AND (i.inhrelid IS NULL"
                          " OR to_jsonb(i)->>'inhdetachpending' = 'true') ORDER BY 1",
                          &tables, error);
    if (failed < 0)
        return failed;
    for (int i = 0; failed == 0 && i < pg_rows_count(tables); i++)
        failed = erase_in(e, pg_rows_text(tables, i, 0), pg_rows_text(tables, i, 0), error);
    pg_rows_free(tables);
    return failed;
}

/*--- All ---------------------------------------------------------------------------------------*/

static int note(struct erasure *e, const struct batch *batch, struct error *error)
{
    if (batch->erasures.failed < 0)
        return error_set(error, -ENOMEM, "no memory for erasures");
    text_clear(&e->sql);
    text_printf(&e->sql,
                "INSERT INTO daa.erased (log, seq, owner, stream) VALUES %.*s"
                " ON CONFLICT DO NOTHING; DROP TABLE IF EXISTS pg_temp.remade;"
                "CREATE TEMP TABLE remade (LIKE daa.events) ON COMMIT DROP",
                (int)batch->erasures.size, batch->erasures.bytes);
    return pg_run(e->pg, text_string(&e->sql), error);
}

static int remove_derived(struct erasure *e, struct error *error)
{
    text_clear(&e->sql);
    for (size_t i = 0; i < PROJECTIONS; i++)
        if (projections[i]->by_workflow)
            text_printf(&e->sql,
                        "DELETE FROM daa.%s w USING daa.erased x WHERE x.log = '%s'"
                        " AND x.seq BETWEEN %" PRIu64 " AND %" PRIu64
                        " AND w.log = x.owner AND w.stream = x.stream;",
                        projections[i]->table, e->log, e->first, e->last);
    return pg_run(e->pg, text_string(&e->sql), error);
}

int erasure_apply(struct pg *pg, const struct batch *batch, uint64_t first, uint64_t last,
                  struct budget *budget, struct error *error)
{
    struct erasure e = { .pg = pg, .first = first, .last = last };
    if (batch->erasures.size == 0 && batch->erasures.failed == 0)
        return 0;
    uuid_to_text(e.log, batch->log);
    batch_init(&e.batch, budget);
    e.batch.is_erasing = true;
    text_init(&e.sql);
    e.sql.size_max = SIZE_MAX;
    int failed = note(&e, batch, error);
    if (failed == 0)
        failed = erase_in(&e, "daa.events", SCOPE_EVENTS_SQL, error);
    if (failed == 0)
        failed = erase_detached(&e, error);
    if (failed == 0)
        failed = remove_derived(&e, error);
    batch_free(&e.batch);
    text_free(&e.sql);
    return failed;
}
