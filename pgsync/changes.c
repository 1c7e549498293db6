#include "pgsync/changes.h"

#include "core/base/check.h"
#include "core/base/error.h"
#include "core/base/text.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>

#define ARENA_CHUNK_SIZE 16384u
#define ROW_SIZE_MAX 512u

struct change_row {
    struct change_row *next;
    bool lossy;      /* a value that was replaced since was */
    uint64_t stream; /* of the workflow; 0: of none */
    alignas(max_align_t) char row[];
};

void changes_init(struct changes *changes, struct budget *budget)
{
    *changes = (struct changes){ .budget = budget };
    arena_init(&changes->arena, budget, BUDGET_READERS, ARENA_CHUNK_SIZE);
    for (size_t i = 0; i < PROJECTIONS; i++)
        table_init(&changes->tables[i].rows, budget, BUDGET_READERS);
    changes_clear(changes);
}

void changes_free(struct changes *changes)
{
    arena_free(&changes->arena);
    for (size_t i = 0; i < PROJECTIONS; i++)
        table_free(&changes->tables[i].rows);
}

void changes_clear(struct changes *changes)
{
    for (size_t i = 0; i < PROJECTIONS; i++) {
        struct changes_of_table *table = &changes->tables[i];
        table_free(&table->rows);
        table_init(&table->rows, changes->budget, BUDGET_READERS);
        table->first = NULL;
        table->last_next = &table->first;
    }
    arena_reset(&changes->arena);
    changes->count = 0;
    changes_limit(changes, 0, UINT64_MAX);
}

void changes_limit(struct changes *changes, uint64_t first, uint64_t last)
{
    changes->first = first;
    changes->last = last;
}

static bool is_wanted(const struct changes *changes, const struct change_row *row)
{
    return row->stream >= changes->first && row->stream <= changes->last;
}

bool changes_streams(const struct changes *changes, uint64_t *first, uint64_t *last)
{
    bool any = false;
    for (size_t i = 0; i < PROJECTIONS; i++)
        for (const struct change_row *row = changes->tables[i].first; row != NULL; row = row->next)
            if (is_wanted(changes, row)) {
                *first = !any || row->stream < *first ? row->stream : *first;
                *last = !any || row->stream > *last ? row->stream : *last;
                any = true;
            }
    return any;
}

/*--- In memory -------------------------------------------------------------------------------*/

/* What the row's spans point into lasts until the next record only. */
static int copy_spans(struct changes *changes, const struct projection *projection, void *row)
{
    struct span *spans[PROJECTION_SPANS_MAX];
    size_t count = projection->spans(row, spans);
    for (size_t i = 0; i < count; i++) {
        if (spans[i]->size == 0)
            continue;
        *spans[i] = arena_copy(&changes->arena, *spans[i]);
        if (spans[i]->bytes == NULL)
            return ERROR_BUDGET;
    }
    return 0;
}

/* The row of the same key, or NULL, with *key where it belongs. */
static struct change_row *find(const struct changes_of_table *table,
                               const struct projection *projection, const void *row, uint64_t *key)
{
    struct change_row *found;
    *key = projection->hash(row);
    while ((found = table_get(&table->rows, *key)) != NULL && !projection->same(found->row, row))
        *key = *key == UINT64_MAX ? 1 : *key + 1;
    return found;
}

static int keep(struct changes *changes, size_t index, uint64_t stream,
                struct columns_scratch *scratch, void *row)
{
    const struct projection *projection = projections[index];
    struct changes_of_table *table = &changes->tables[index];
    uint64_t key;
    struct change_row *found = find(table, projection, row, &key);
    int failed = copy_spans(changes, projection, row);
    if (failed < 0)
        return failed;
    if (found != NULL) {
        projection->merge(scratch, found->row, row, &found->lossy);
        return 0;
    }
    failed = table_reserve(&table->rows, 1);
    found =
        failed == 0 ? arena_allocate(&changes->arena, sizeof *found + projection->row_size) : NULL;
    if (found == NULL)
        return ERROR_BUDGET;
    found->lossy = false;
    found->stream = projection->by_workflow ? stream : 0;
    memcpy(found->row, row, projection->row_size);
    table_put(&table->rows, key, found);
    *table->last_next = found;
    table->last_next = &found->next;
    changes->count++;
    return 0;
}

int changes_add(struct changes *changes, const struct event_header *header, const Daa__Event *event,
                enum changes_of which, struct columns_scratch *scratch)
{
    alignas(max_align_t) char row[ROW_SIZE_MAX];
    int failed = 0;
    for (size_t i = 0; failed == 0 && i < PROJECTIONS; i++) {
        CHECK(projections[i]->row_size <= sizeof row);
        if (!(which & (projections[i]->by_workflow ? CHANGES_OF_WORKFLOWS : CHANGES_OF_LOGS)))
            continue;
        if (projections[i]->change(header, event, row) == 1)
            failed = keep(changes, i, header->stream, scratch, row);
    }
    return failed;
}

/*--- In the tables ---------------------------------------------------------------------------*/

int changes_make_tables(struct pg *pg, struct error *error)
{
    struct text sql;
    text_init(&sql);
    for (size_t i = 0; i < PROJECTIONS; i++)
        text_printf(&sql, "CREATE TEMP TABLE %s_changes (%s) ON COMMIT DELETE ROWS;",
                    projections[i]->table, projections[i]->types_sql);
    int failed = pg_run(pg, text_string(&sql), error);
    text_free(&sql);
    return failed;
}

static int64_t put_rows(const struct changes *changes, size_t index, const struct projection_of *of,
                        struct columns_scratch *scratch, struct binary *target, bool refused)
{
    const struct projection *projection = projections[index];
    binary_clear(target);
    binary_header(target);
    for (const struct change_row *row = changes->tables[index].first; row != NULL;
         row = row->next) {
        if (!is_wanted(changes, row))
            continue;
        arena_reset(&scratch->arena);
        binary_row(target, projection->column_count);
        projection->put(of, scratch, target, row->row, refused, row->lossy);
    }
    binary_trailer(target);
    return target->failed;
}

static int copy(struct pg *pg, const struct projection *projection, const struct binary *rows,
                struct error *error)
{
    struct text sql;
    text_init(&sql);
    text_printf(&sql, "COPY pg_temp.%s_changes (%s) FROM STDIN (FORMAT binary)", projection->table,
                projection->columns);
    int failed = pg_copy_begin(pg, text_string(&sql), error);
    text_free(&sql);
    if (failed < 0)
        return failed;
    failed = pg_copy_data(pg, binary_span(rows), error);
    return failed < 0 ? failed : pg_copy_end(pg, error);
}

/* The guard makes a change that is in there already harmless. */
static int merge(struct pg *pg, const struct projection *projection, const char *log,
                 struct error *error)
{
    struct text sql;
    text_init(&sql);
    if (projection->by_workflow)
        text_printf(&sql, "WITH RECURSIVE " CHANGES_LATER_SQL, log);
    text_printf(&sql, " INSERT INTO daa.%s AS w (%s) SELECT %s FROM pg_temp.%s_changes c",
                projection->table, projection->columns, projection->columns, projection->table);
    if (projection->by_workflow)
        text_printf(&sql,
                    " WHERE NOT EXISTS (SELECT FROM later l WHERE l.log = c.log"
                    " AND c.stream <= l.upto AND (c.log <> '%s' OR c.last_seq > l.upto))",
                    log);
    text_printf(&sql,
                " ON CONFLICT (%s) DO UPDATE SET %s, last_seq = excluded.last_seq"
                " WHERE excluded.last_seq > w.last_seq",
                projection->key_sql, projection->update_sql);
    int failed = pg_run(pg, text_string(&sql), error);
    text_free(&sql);
    return failed;
}

int changes_empty_tables(struct pg *pg, struct error *error)
{
    struct text sql;
    text_init(&sql);
    for (size_t i = 0; i < PROJECTIONS; i++)
        text_printf(&sql, "TRUNCATE pg_temp.%s_changes;", projections[i]->table);
    int failed = pg_run(pg, text_string(&sql), error);
    text_free(&sql);
    return failed;
}

/* Puts all into the temporary tables, and what is there into the others where `log` is given. */
static int send_tables(struct changes *changes, struct pg *pg, const struct projection_of *of,
                       struct columns_scratch *scratch, struct binary *buffer, bool refused,
                       const char *log, struct error *error)
{
    int failed = 0;
    for (size_t i = 0; failed == 0 && i < PROJECTIONS; i++) {
        if (changes->tables[i].first == NULL)
            continue;
        if (put_rows(changes, i, of, scratch, buffer, refused) < 0)
            return error_set(error, -ENOMEM, "no memory for the rows of a batch");
        failed = copy(pg, projections[i], buffer, error);
        if (failed == 0 && log != NULL)
            failed = merge(pg, projections[i], log, error);
    }
    return failed;
}

/* What is due in the tables schema.TABLEsuffix once `workflows` is whole. */
static int finish(const struct changes *changes, struct pg *pg, const char *schema,
                  const char *suffix, const char *workflows, struct error *error)
{
    struct text sql;
    text_init(&sql);
    for (size_t i = 0; i < PROJECTIONS && changes->tables[0].first != NULL; i++)
        if (projections[i]->after_set_sql != NULL)
            text_printf(&sql, "UPDATE %s.%s%s s %s FROM %s w WHERE %s;", schema,
                        projections[i]->table, suffix, projections[i]->after_set_sql, workflows,
                        projections[i]->after_where_sql);
    int failed = sql.size > 0 ? pg_run(pg, text_string(&sql), error) : 0;
    text_free(&sql);
    return failed;
}

/* Rows of workflows as they are by now, if it is these changes that made them so and they are over.
 * The status is the change's, which is the same: a condition on it is met by few of the changes,
 * where one on that of daa.workflows had the planner read all of that table. */
#define ENDED_SQL                                                                                  \
    "(SELECT t.log, t.stream, t.last_seq, t.last_log, t.ended_at, c.status FROM "                  \
    "pg_temp.workflows_changes c JOIN daa.workflows t ON t.log = c.log"                            \
    " AND t.stream = c.stream AND t.last_seq = c.last_seq"                                         \
    " AND t.last_log IS NOT DISTINCT FROM c.last_log WHERE c.ended_at IS NOT NULL)"

int changes_send(struct changes *changes, struct pg *pg, const struct projection_of *of,
                 struct columns_scratch *scratch, struct binary *buffer, bool refused,
                 struct error *error)
{
    char log[UUID_TEXT_SIZE];
    uuid_to_text(log, of->log);
    int failed = send_tables(changes, pg, of, scratch, buffer, refused, log, error);
    return failed < 0 ? failed : finish(changes, pg, "daa", "", ENDED_SQL, error);
}

int changes_send_apart(struct changes *changes, struct pg *pg, const struct projection_of *of,
                       struct columns_scratch *scratch, struct binary *buffer, bool refused,
                       struct error *error)
{
    int failed = send_tables(changes, pg, of, scratch, buffer, refused, NULL, error);
    return failed < 0
               ? failed
               : finish(changes, pg, "pg_temp", "_changes", "pg_temp.workflows_changes", error);
}
