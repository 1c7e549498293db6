#include "pgsync/indexes.h"

#include "core/base/error.h"

/* Name, table, what follows the table's name. The first ones come with migrations, and are there to
 * be found when they are invalid, or missing, or a partition lacks its part. */
#define MADE_BY_MIGRATION "5"
#define WANTED_SQL                                                                                 \
    "wanted(number, name, tab, tail) AS (VALUES"                                                   \
    " (1, 'events_time', 'events', 'USING brin (time)'),"                                          \
    " (2, 'events_stream', 'events', '(log, stream, seq)'),"                                       \
    " (3, 'events_error', 'events', '(log, seq) WHERE error IS NOT NULL'),"                        \
    " (4, 'workflows_open', 'workflows',"                                                          \
    " '(status, submitted_at) WHERE status IN (''pending'', ''running'', ''paused'')'),"           \
    " (5, 'workflows_metadata', 'workflows', 'USING gin (metadata jsonb_path_ops)'),"              \
    " (6, 'workflows_failed', 'workflows', '(ended_at) WHERE status = ''failed'''),"               \
    " (7, 'workflows_submitted', 'workflows', '(submitted_at)'),"                                  \
    " (8, 'steps_open', 'steps', '(status, started_at) WHERE ended_at IS NULL'),"                  \
    " (9, 'agents_active', 'agents', '(id, last_heartbeat) WHERE active'))"

/* Each partition with its index by name, and whether that is there, and attached. */
#define PARTS_SQL                                                                                  \
    "parts AS ("                                                                                   \
    " SELECT w.number, w.name, w.tail, c.relname AS part, c.relname || substr(w.name, 7) AS child" \
    " FROM wanted w JOIN pg_inherits i ON i.inhparent = to_regclass('daa.' || w.tab)"              \
    " JOIN pg_class c ON c.oid = i.inhrelid WHERE w.tab = 'events' AND NOT EXISTS"                 \
    " (SELECT FROM pg_inherits a JOIN pg_index x ON x.indexrelid = a.inhrelid"                     \
    " WHERE a.inhparent = to_regclass('daa.' || w.name) AND x.indrelid = c.oid))"

/* A REINDEX CONCURRENTLY that was killed leaves one with more behind its name. */
#define BASE_NAME_SQL "regexp_replace(c.relname, '_cc(new|old)\\d*$', '')"

/* Ours, whole or not: the keys, those by name, and what a partition has of them. One of somebody's
 * own may be impossible, as a unique one of values that are not. */
#define IS_OURS_SQL                                                                                \
    "(EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid)"                                 \
    " OR EXISTS (SELECT FROM pg_constraint k JOIN pg_class b ON b.oid = k.conindid"                \
    " WHERE k.conrelid = x.indrelid AND b.relname = " BASE_NAME_SQL ")"                            \
    " OR EXISTS (SELECT FROM wanted w JOIN pg_class t ON t.oid = x.indrelid"                       \
    " WHERE " BASE_NAME_SQL " IN (w.name, t.relname || substr(w.name, 7)))"                        \
    " OR c.relname ~ '^events_\\d{6,}_.*_cc(new|old)\\d*$')"

/* The statements, in the order in which they are to be run: first the invalid ones, but for those
 * that somebody makes just now. What a REINDEX CONCURRENTLY that failed leaves has a name of its
 * own. An index ON ONLY the parent is invalid until every partition has its part, which is as it
 * should be. Where a table is still to be made, by a migration, it will lack all that does not come
 * with it. */
static const char statements_sql[] =
    "WITH " WANTED_SQL ", " PARTS_SQL " SELECT statement FROM ("
    " SELECT 0 AS number, 0 AS nth, c.relname AS name,"
    " CASE WHEN c.relname ~ '_cc(new|old)\\d*$' THEN 'DROP' ELSE 'REINDEX' END"
    " || ' INDEX CONCURRENTLY daa.' || quote_ident(c.relname) AS statement"
    " FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid"
    " WHERE c.relnamespace = to_regnamespace('daa') AND c.relkind = 'i' AND NOT x.indisvalid"
    " AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid)"
    " AND " IS_OURS_SQL " UNION ALL"
    " SELECT w.number, 0, w.name, format('CREATE INDEX CONCURRENTLY %I ON daa.%I %s', w.name,"
    " w.tab, w.tail) FROM wanted w LEFT JOIN pg_class t ON t.oid = to_regclass('daa.' || w.tab)"
    " WHERE (t.relkind = 'r' OR (t.oid IS NULL AND w.number > " MADE_BY_MIGRATION
    ")) AND to_regclass('daa.' || w.name) IS NULL"
    " UNION ALL"
    " SELECT w.number, 0, w.name, format('CREATE INDEX IF NOT EXISTS %I ON ONLY daa.%I %s',"
    " w.name, w.tab, w.tail) FROM wanted w JOIN pg_class t ON t.oid = to_regclass('daa.' || w.tab)"
    " WHERE t.relkind = 'p' AND to_regclass('daa.' || w.name) IS NULL"
    " UNION ALL"
    " SELECT p.number, 1, p.part, format('CREATE INDEX CONCURRENTLY %I ON daa.%I %s', p.child,"
    " p.part, p.tail) FROM parts p WHERE to_regclass('daa.' || p.child) IS NULL"
    " UNION ALL"
    " SELECT p.number, 2, p.part, format('ALTER INDEX daa.%I ATTACH PARTITION daa.%I', p.name,"
    " p.child) FROM parts p"
    ") s ORDER BY number, nth, name";

int indexes_print(struct pg *pg, struct text *sql, struct error *error)
{
    struct pg_rows *rows;
    int failed = pg_query(pg, statements_sql, &rows, error);
    if (failed < 0)
        return failed;
    for (int row = 0; row < pg_rows_count(rows); row++)
        text_printf(sql, "%s;\n", pg_rows_text(rows, row, 0));
    pg_rows_free(rows);
    return 0;
}

int indexes_make(struct pg *pg, struct error *error)
{
    struct pg_rows *rows;
    int failed = pg_query(pg, statements_sql, &rows, error);
    if (failed < 0)
        return failed;
    int count = pg_rows_count(rows);
    pg_be_patient(pg, true);
    for (int row = 0; failed == 0 && row < count; row++) {
        failed = pg_run(pg, pg_rows_text(rows, row, 0), error);
        if (failed < 0)
            error_wrap(error, failed, "%s", pg_rows_text(rows, row, 0));
    }
    pg_be_patient(pg, false);
    pg_rows_free(rows);
    return failed < 0 ? failed : count;
}
