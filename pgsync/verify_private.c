/* What is encrypted, and what was erased. */
#include "pgsync/verify_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int run(struct verifying *v, struct text *sql, struct error *error)
{
    int failed = sql->failed < 0 ? error_set(error, -ENOMEM, "no memory for a query")
                                 : pg_run(v->pg, text_string(sql), error);
    text_free(sql);
    return failed;
}

int verify_take_unopened(struct verifying *v, struct error *error)
{
    struct text sql;
    const struct text *unopened = &v->batch.unopened;
    if (unopened->size == 0 && unopened->failed == 0)
        return 0;
    for (size_t i = 0; i < unopened->size; i++)
        v->result->unopened += unopened->bytes[i] == ',';
    v->result->unopened++;
    text_init(&sql);
    text_printf(&sql,
                "UPDATE pg_temp.verify_events m SET payload = e.payload, lossy = e.lossy,"
                " error = e.error FROM daa.events e WHERE e.log = '%s' AND e.seq = m.seq"
                " AND e.seq BETWEEN %" PRIu64 " AND %" PRIu64 " AND m.seq IN (%.*s)",
                v->log_text, v->side->first, v->side->first + v->side->count - 1,
                (int)unopened->size, unopened->bytes);
    return run(v, &sql, error);
}

/* "name = e.name, reason = e.reason" of "name, reason". */
static void add_assignments(struct text *sql, const char *names)
{
    for (const char *at = names; *at != '\0';) {
        int size = (int)strcspn(at, ",");
        text_printf(sql, "%.*s = e.%.*s, ", size, at, size, at);
        at += size;
        at += strspn(at, ", ");
    }
}

int verify_take_unopened_rows(struct verifying *v, const struct projection *projection,
                              struct error *error)
{
    struct text sql;
    const struct text *unopened = &v->batch.unopened;
    if (unopened->size == 0 && unopened->failed == 0)
        return 0;
    text_init(&sql);
    text_printf(&sql, "UPDATE pg_temp.%s_changes m SET ", projection->table);
    add_assignments(&sql, projection->user_columns);
    text_printf(
        &sql,
        "lossy = e.lossy FROM daa.%s e WHERE e.log = m.log AND e.stream = m.stream%s"
        " AND m.stream IN (%.*s)",
        projection->table,
        strstr(projection->key_sql, "step_index") != NULL ? " AND e.step_index = m.step_index" : "",
        (int)unopened->size, unopened->bytes);
    return run(v, &sql, error);
}

int verify_list_unsaid(struct verifying *v, struct text *seqs, struct error *error)
{
    struct text sql;
    struct pg_rows *rows;
    const struct text *said = &v->batch.erasures;
    text_init(&sql);
    text_add_string(&sql, "WITH said(log, seq, owner, stream) AS (");
    if (said->size > 0)
        text_printf(&sql,
                    "SELECT v.a::uuid, v.b::bigint, v.c::uuid, v.d::bigint"
                    " FROM (VALUES %.*s) v(a, b, c, d)",
                    (int)said->size, said->bytes);
    else
        text_add_string(&sql, "SELECT log, seq, owner, stream FROM daa.erased WHERE false");
    text_printf(&sql,
                "), there AS (SELECT log, seq, owner, stream FROM daa.erased WHERE log = '%s'"
                " AND seq BETWEEN %" PRIu64 " AND %" PRIu64 ") SELECT string_agg(seq::text, ',')"
                " FROM ((TABLE said EXCEPT TABLE there) UNION ALL"
                " (TABLE there EXCEPT TABLE said)) s",
                v->log_text, v->side->first, v->side->first + v->side->count - 1);
    int failed = said->failed < 0 || sql.failed < 0
                     ? error_set(error, -ENOMEM, "no memory for a query")
                     : pg_query(v->pg, text_string(&sql), &rows, error);
    text_free(&sql);
    if (failed < 0)
        return failed;
    const char *list = pg_rows_text(rows, 0, 0);
    text_add_string(seqs, list != NULL ? list : "0");
    pg_rows_free(rows);
    return 0;
}
