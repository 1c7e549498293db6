/* Rows of the derived tables, against such made anew of the events that are there. */
#include "core/base/bytes.h"
#include "pgsync/changes.h"
#include "pgsync/derive.h"
#include "pgsync/verify_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Lists of a table's columns. */
struct columns {
    struct text ours, made; /* but for the key and what users gave: "e.a, e.b"; "m.a, m.b" */
    struct text differing;  /* names those of all that differ */
};

struct comparing {
    struct verifying *v;
    const struct scope *scope;
    struct columns columns[PROJECTIONS];
};

static int add_row(struct verifying *v, const struct projection *projection,
                   const struct pg_rows *rows, int row, struct error *error)
{
    const char *hex = pg_rows_text(rows, row, 0), *what = pg_rows_text(rows, row, 2);
    struct verify_difference difference = {
        .table = projection->table,
        .kind = *what == 'm'   ? VERIFY_MISSING
                : *what == 'e' ? VERIFY_EXTRA
                               : VERIFY_CONTENT,
        .proven = true,
    };
    difference.first = difference.last = (uint64_t)pg_rows_integer(rows, row, 1);
    if (!bytes_from_hex(difference.log, UUID_SIZE, hex, strlen(hex)))
        return 0;
    if (difference.kind == VERIFY_CONTENT)
        (void)snprintf(difference.columns, sizeof difference.columns, "%s",
                       pg_rows_text(rows, row, 3));
    return verify_add(v, &difference, error);
}

/* "(e.name, e.reason) IS DISTINCT FROM (m.name, m.reason)" of "name, reason". */
static void add_users_differ(struct text *sql, const struct projection *projection)
{
    for (int side = 0; side < 2; side++) {
        text_printf(sql, side == 0 ? "(" : " IS DISTINCT FROM (");
        for (const char *at = projection->user_columns; *at != '\0';) {
            size_t size = strcspn(at, ",");
            text_printf(sql, "%c.%.*s", "em"[side], (int)size, at);
            at += size + strspn(at + size, ", ");
            text_add_string(sql, *at != '\0' ? ", " : ")");
        }
    }
}

/* Of a row that the server refused what users gave is null, or all of it is missing; daa.rejected
 * has the event. */
#define REFUSED_SQL                                                                                \
    "EXISTS (SELECT FROM daa.rejected r LEFT JOIN daa.events x ON x.log = r.log"                   \
    " AND x.seq = r.seq WHERE coalesce(x.stream, m.stream) = m.stream)"

static void add_key_join(struct text *sql, const struct projection *projection)
{
    text_printf(sql, " FULL JOIN m USING (%s)", projection->key_sql);
}

static void make_query(struct comparing *c, size_t index, struct text *sql, const char *stream,
                       const char *refused)
{
    const struct projection *projection = projections[index];
    struct columns *columns = &c->columns[index];
    bool tolerant = c->v->result->refused > 0;
    text_printf(sql,
                ", m AS (SELECT * FROM pg_temp.%s_changes)"
                " SELECT encode(uuid_send(log), 'hex'), %s,"
                " CASE WHEN e.last_seq IS NULL THEN 'm' WHEN m.last_seq IS NULL THEN 'e' ELSE 'c'"
                " END, %s FROM e",
                projection->table, stream, text_string(&columns->differing));
    add_key_join(sql, projection);
    text_printf(sql,
                " WHERE e.last_seq IS NULL%s%s OR m.last_seq IS NULL OR e.last_seq IS NOT NULL"
                " AND ((%s) IS DISTINCT FROM (%s) OR ",
                tolerant ? " AND NOT " : "", tolerant ? refused : "", text_string(&columns->ours),
                text_string(&columns->made));
    add_users_differ(sql, projection);
    text_printf(sql, "%s OR (m.lossy AND NOT e.lossy)) ORDER BY 2",
                tolerant ? " AND NOT e.lossy" : "");
}

static int ask(struct comparing *c, size_t index, struct text *sql, struct error *error)
{
    struct verifying *v = c->v;
    struct pg_rows *rows;
    int failed = pg_query(v->pg, text_string(sql), &rows, error);
    if (failed < 0)
        return failed;
    for (int i = 0; failed == 0 && i < pg_rows_count(rows); i++)
        failed = add_row(v, projections[index], rows, i, error);
    pg_rows_free(rows);
    return failed;
}

static int compare_table(struct comparing *c, size_t index, uint64_t first, uint64_t last,
                         struct error *error)
{
    struct text sql;
    text_init(&sql);
    text_printf(&sql,
                "WITH e AS (SELECT * FROM daa.%s w WHERE w.stream BETWEEN %" PRIu64 " AND %" PRIu64
                " AND ",
                projections[index]->table, first, last);
    scope_add_rows(&sql, c->scope, "w");
    text_add_string(&sql, ")");
    make_query(c, index, &sql, "stream", REFUSED_SQL);
    int failed = ask(c, index, &sql, error);
    text_free(&sql);
    return failed;
}

static int compare_rows(void *context, struct batch *batch, uint64_t first, uint64_t last,
                        struct error *error)
{
    struct comparing *c = context;
    struct verifying *v = c->v;
    int failed = derive_send(v->pg, batch, &v->buffer, true, error);
    v->result->rows += batch->changes.count;
    for (size_t i = 0; failed == 0 && i < PROJECTIONS; i++) {
        if (!projections[i]->by_workflow)
            continue;
        failed = verify_take_unopened_rows(v, projections[i], error);
        if (failed == 0)
            failed = compare_table(c, i, first, last, error);
    }
    return failed;
}

/* The last window goes on to the end: what is there behind all things is wrong. */
static int walk(struct comparing *c, struct error *error)
{
    struct verifying *v = c->v;
    const struct derive derive = {
        .pg = v->pg,
        .scope = c->scope,
        .batch = &v->batch,
        .take = compare_rows,
        .context = c,
    };
    int failed = 0;
    uint64_t first = c->scope->first_stream;
    for (bool last = false; failed == 0 && !last; first += DERIVE_WINDOW) {
        if (atomic_load(v->options->stop))
            return error_set(error, -ECANCELED, "stopped before all was compared");
        last = first + DERIVE_WINDOW > c->scope->last_seq;
        failed = derive_walk(&derive, first, last ? INT64_MAX : first + DERIVE_WINDOW - 1, error);
        v->done += DERIVE_WINDOW;
        if (v->options->progress != NULL)
            v->options->progress(v->done < v->all ? v->done : v->all, v->all, v->options->context);
    }
    return failed;
}

/* The row of each log that is known: one that it has events of. */
static int compare_agents(struct comparing *c, struct error *error)
{
    struct verifying *v = c->v;
    int failed = 0;
    for (size_t i = 0; failed == 0 && i < v->result->log_count; i++) {
        struct text sql;
        char log[UUID_TEXT_SIZE];
        if (!v->result->logs[i].known)
            continue;
        uuid_to_text(log, v->result->logs[i].log);
        failed = derive_agent(v->pg, v->result->logs[i].log, &v->batch, error);
        if (failed == 0)
            failed = derive_send(v->pg, &v->batch, &v->buffer, true, error);
        v->result->rows += v->batch.changes.count;
        text_init(&sql);
        text_printf(&sql, "WITH e AS (SELECT * FROM daa.agents WHERE log = '%s')", log);
        make_query(c, 2, &sql, "coalesce(e.last_seq, m.last_seq)", "true");
        if (failed == 0)
            failed = ask(c, 2, &sql, error);
        text_free(&sql);
    }
    return failed;
}

/*--- All -------------------------------------------------------------------------------------*/

/* Of what the log does not have any more nothing else says whether it is whole. */
static int find_scope(struct verifying *v, const uint8_t log[UUID_SIZE], struct scope *scope,
                      struct error *error)
{
    uint64_t first = log_reader_first_seq(v->options->reader);
    int failed = scope_read(scope, v->pg, log, error);
    if (failed == 0 && first > 1)
        failed = scope_find_gaps(scope, v->pg, first - 1, error);
    v->result->rows_from = scope->first_stream;
    return failed;
}

static int list_columns(struct verifying *v, const struct projection *projection,
                        struct columns *columns, struct error *error)
{
    char without[300];
    int failed = verify_list_columns(v, projection->table, projection->key_sql, error);
    if (failed < 0)
        return failed;
    text_add_string(&columns->differing, text_string(&v->differing));
    (void)snprintf(without, sizeof without, "%s, lossy, %s", projection->key_sql,
                   projection->user_columns);
    failed = verify_list_columns(v, projection->table, without, error);
    if (failed < 0)
        return failed;
    text_add_string(&columns->ours, text_string(&v->columns));
    text_add_string(&columns->made, text_string(&v->compared));
    return 0;
}

int verify_derived(struct verifying *v, const uint8_t log[UUID_SIZE], struct error *error)
{
    struct scope scope;
    struct comparing comparing = { .v = v, .scope = &scope };
    int failed = find_scope(v, log, &scope, error);
    if (failed < 0 || !v->result->rows_compared)
        return failed;
    for (size_t i = 0; i < PROJECTIONS; i++) {
        struct columns *columns = &comparing.columns[i];
        text_init(&columns->ours);
        text_init(&columns->made);
        text_init(&columns->differing);
        if (failed == 0)
            failed = list_columns(v, projections[i], columns, error);
    }
    if (failed == 0)
        failed = walk(&comparing, error);
    if (failed == 0)
        failed = compare_agents(&comparing, error);
    for (size_t i = 0; i < PROJECTIONS; i++) {
        text_free(&comparing.columns[i].ours);
        text_free(&comparing.columns[i].made);
        text_free(&comparing.columns[i].differing);
    }
    return failed;
}
