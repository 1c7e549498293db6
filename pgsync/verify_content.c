/* Each column of each row, against rows made anew. */
#include "core/base/bytes.h"
#include "pgsync/changes.h"
#include "pgsync/derive.h"
#include "pgsync/verify_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The table's own columns, so that a newer schema's are compared too. */
int verify_list_columns(struct verifying *v, const char *table, const char *without,
                        struct error *error)
{
    char sql[1000];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "SELECT string_agg(format('e.%%I', attname), ', ' ORDER BY attnum),"
                   " string_agg(format('m.%%I', attname), ', ' ORDER BY attnum),"
                   " 'concat_ws('', '', ' || string_agg(format("
                   "'CASE WHEN e.%%1$I IS DISTINCT FROM m.%%1$I THEN %%1$L END', attname), ', '"
                   " ORDER BY attnum) || ')'"
                   " FROM pg_attribute WHERE attrelid = 'daa.%s'::regclass AND attnum > 0"
                   " AND NOT attisdropped AND attgenerated = ''"
                   " AND attname <> ALL (string_to_array('%s', ', '))",
                   table, without);
    int failed = pg_query(v->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    struct text *texts[] = { &v->columns, &v->compared, &v->differing };
    for (int i = 0; i < 3; i++) {
        const char *list = pg_rows_text(rows, 0, i);
        text_clear(texts[i]);
        text_add_string(texts[i], list != NULL ? list : "");
        if (texts[i]->failed < 0 || list == NULL)
            failed = error_set(error, -ENOMEM, "no memory for the columns of daa.%s", table);
    }
    pg_rows_free(rows);
    return failed;
}

int verify_content_open(struct verifying *v, struct error *error)
{
    int failed =
        pg_run(v->pg, "CREATE TEMP TABLE verify_events (LIKE daa.events) ON COMMIT DROP", error);
    return failed < 0 ? failed : verify_list_columns(v, "events", "log, seq, record", error);
}

static int add_columns(struct verifying *v, const struct pg_rows *rows, int row,
                       struct error *error)
{
    uint64_t seq = (uint64_t)pg_rows_integer(rows, row, 0);
    struct verify_difference difference = {
        .kind = VERIFY_CONTENT, .table = "events", .first = seq, .last = seq
    };
    memcpy(difference.log, v->log->log, UUID_SIZE);
    (void)snprintf(difference.columns, sizeof difference.columns, "%s", pg_rows_text(rows, row, 1));
    return verify_add(v, &difference, error);
}

int verify_content(struct verifying *v, struct error *error)
{
    struct text sql, unsaid;
    struct pg_rows *rows;
    text_init(&sql);
    text_init(&unsaid);
    int failed = verify_list_unsaid(v, &unsaid, error);
    text_printf(&sql,
                "SELECT e.seq, concat_ws(', ', nullif(%s, ''),"
                " CASE WHEN e.seq IN (%s) THEN 'its rows of daa.erased' END)"
                " FROM daa.events e JOIN pg_temp.verify_events m"
                " ON m.seq = e.seq AND m.record = e.record"
                " WHERE e.log = '%s' AND e.seq BETWEEN %" PRIu64 " AND %" PRIu64
                " AND ((%s) IS DISTINCT FROM (%s) OR e.seq IN (%s)) ORDER BY e.seq",
                text_string(&v->differing), text_string(&unsaid), v->log_text, v->side->first,
                v->side->first + v->side->count - 1, text_string(&v->columns),
                text_string(&v->compared), text_string(&unsaid));
    if (failed == 0)
        failed = pg_query(v->pg, text_string(&sql), &rows, error);
    text_free(&sql);
    text_free(&unsaid);
    if (failed < 0)
        return failed;
    for (int i = 0; failed == 0 && i < pg_rows_count(rows); i++)
        failed = add_columns(v, rows, i, error);
    pg_rows_free(rows);
    return failed;
}

/* Rows are only ever added there, so one that is missing is all that can be wrong but for what a
 * superuser does. */
int verify_anchors(struct verifying *v, struct error *error)
{
    char sql[500];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "SELECT seq FROM daa.events e WHERE log = '%s' AND seq BETWEEN %" PRIu64
                   " AND %" PRIu64 " AND kind = 90 AND payload->>'signature' IS NOT NULL"
                   " AND NOT EXISTS (SELECT FROM daa.anchors a WHERE a.log = e.log"
                   " AND a.event = e.seq AND a.seq = (e.payload->>'seq')::bigint"
                   " AND a.chain = decode(e.payload->>'chain', 'hex')"
                   " AND a.signature = decode(e.payload->>'signature', 'hex')) ORDER BY seq",
                   v->log_text, v->side->first, v->side->first + v->side->count - 1);
    int failed = pg_query(v->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    for (int i = 0; failed == 0 && i < pg_rows_count(rows); i++) {
        struct verify_difference difference = { .kind = VERIFY_MISSING, .table = "anchors" };
        difference.first = difference.last = (uint64_t)pg_rows_integer(rows, i, 0);
        memcpy(difference.log, v->log->log, UUID_SIZE);
        failed = verify_add(v, &difference, error);
    }
    pg_rows_free(rows);
    return failed;
}
