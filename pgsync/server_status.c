#include "pgsync/server_status.h"

#include "core/base/check.h"
#include "core/base/text.h"

#include <errno.h>
#include <stdio.h>

#define UTC(time) "to_char(" time " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
#define SCHEMA_OID "(SELECT oid FROM pg_namespace WHERE nspname = 'daa')"
/* The table or index that a partition is one of; itself for any other. */
#define ROOT_OF(oid) "coalesce(pg_partition_root(" oid ")::oid, " oid ")"

/* backend_type and state of others' connections are hidden from a role without the right. */
static const char facts_sql[] =
    "SELECT current_setting('server_version'), current_setting('server_version_num'),"
    " current_database(), current_user, pg_is_in_recovery(),"
    " inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr(),"
    " pg_database_size(current_database()),"
    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    "   OR backend_type IS NULL AND usesysid IS NOT NULL),"
    " current_setting('max_connections'),"
    " (SELECT sum(setting::int) FROM pg_settings"
    "   WHERE name IN ('superuser_reserved_connections', 'reserved_connections')),"
    " " UTC("pg_postmaster_start_time()") ","
                                          " (SELECT " UTC(
                                              "stats_reset") " FROM pg_stat_database WHERE datname "
                                                             "= current_database()),"
                                                             " pg_has_role('pg_read_all_stats', "
                                                             "'USAGE')";

static void copy_text(char *to, size_t size, const struct pg_rows *rows, int column)
{
    const char *text = pg_rows_text(rows, 0, column);
    (void)snprintf(to, size, "%s", text != NULL ? text : "");
}

static bool is_true(const struct pg_rows *rows, int column)
{
    const char *text = pg_rows_text(rows, 0, column);
    return text != NULL && *text == 't';
}

int server_facts_get(struct server_facts *facts, struct pg *pg, struct error *error)
{
    struct pg_rows *rows;
    int failed = pg_query(pg, facts_sql, &rows, error);
    if (failed < 0)
        return failed;
    copy_text(facts->version, sizeof facts->version, rows, 0);
    facts->version_number = pg_rows_integer(rows, 0, 1);
    copy_text(facts->database, sizeof facts->database, rows, 2);
    copy_text(facts->role, sizeof facts->role, rows, 3);
    facts->standby = is_true(rows, 4);
    facts->local = is_true(rows, 5);
    facts->size = pg_rows_integer(rows, 0, 6);
    facts->connections = pg_rows_integer(rows, 0, 7);
    facts->connections_max = pg_rows_integer(rows, 0, 8);
    facts->connections_reserved = pg_rows_integer(rows, 0, 9);
    copy_text(facts->started, sizeof facts->started, rows, 10);
    copy_text(facts->statistics_since, sizeof facts->statistics_since, rows, 11);
    facts->sees_others = is_true(rows, 12);
    pg_rows_free(rows);
    return 0;
}

int server_schema_check(struct pg *pg, struct error *error)
{
    struct pg_rows *rows;
    int failed = pg_query(pg,
                          "SELECT has_schema_privilege(oid, 'USAGE'), pg_get_userbyid(nspowner),"
                          " current_user FROM pg_namespace WHERE nspname = 'daa'",
                          &rows, error);
    if (failed < 0)
        return failed;
    int found = pg_rows_count(rows);
    if (found == 1 && !is_true(rows, 0))
        found = error_set(error, -EACCES,
                          "role \"%s\" may not look into schema \"daa\", which belongs to \"%s\"",
                          pg_rows_text(rows, 0, 2), pg_rows_text(rows, 0, 1));
    pg_rows_free(rows);
    return found;
}

int server_schema_version(int64_t *version, struct pg *pg, struct error *error)
{
    struct pg_rows *rows;
    int failed = pg_query(pg, "SELECT to_regclass('daa.meta') IS NOT NULL", &rows, error);
    if (failed < 0)
        return failed;
    bool there = is_true(rows, 0);
    pg_rows_free(rows);
    *version = 0;
    if (!there)
        return 0;
    failed = pg_query(pg, "SELECT version FROM daa.meta", &rows, error);
    if (failed < 0)
        return failed;
    if (pg_rows_count(rows) == 1)
        *version = pg_rows_integer(rows, 0, 0);
    pg_rows_free(rows);
    return 0;
}

int server_limit_locks(struct pg *pg, struct error *error)
{
    return pg_run(pg, "SET lock_timeout = '3s'", error);
}

int server_logs(struct pg *pg, struct pg_rows **rows, struct error *error)
{
    return pg_query(
        pg,
        "SELECT log, last_seq, " UTC("updated_at") ","
                                                   " greatest(0, extract(epoch FROM now() - "
                                                   "updated_at))::bigint, epoch, parent,"
                                                   " parent_seq FROM daa.replica ORDER BY number",
        rows, error);
}

/* A partitioned table has no rows of its own: its sums are its leaves'. Its ANALYZE is its own,
 * since nobody but a person or daa ever asks for that. */
int server_tables(struct pg *pg, struct pg_rows **rows, struct error *error)
{
    static const char sql[] = "WITH part AS (SELECT c.oid, " ROOT_OF(
        "c.oid") " AS root, c.relname, c.relkind,"
                 "  CASE WHEN c.reltuples >= 0 AND c.relkind = 'r' THEN c.reltuples::bigint END AS "
                 "rows,"
                 "  s.n_dead_tup AS dead, pg_table_size(c.oid) AS size, pg_indexes_size(c.oid) AS "
                 "indexes,"
                 "  greatest(s.last_analyze, s.last_autoanalyze) AS analyzed,"
                 "  greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed"
                 "  FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid"
                 "  WHERE c.relnamespace = " SCHEMA_OID " AND c.relkind IN ('r', 'p')),"
                 " shown AS (SELECT root, NULL::name AS partition,"
                 "  count(*) FILTER (WHERE oid <> root) AS partitions, sum(rows) AS rows, "
                 "sum(dead) AS dead,"
                 "  sum(size) AS size, sum(indexes) AS indexes,"
                 "  max(analyzed) FILTER (WHERE oid = root) AS analyzed, max(vacuumed) AS vacuumed"
                 "  FROM part GROUP BY root"
                 "  UNION ALL SELECT root, relname, 0, rows, dead, size, indexes, analyzed, "
                 "vacuumed"
                 "  FROM part WHERE oid <> root)"
                 " SELECT c.relname, partition, partitions, rows, dead, size, indexes, " UTC(
                     "analyzed") ","
                                 "  " UTC("vacuumed") " FROM shown JOIN pg_class c ON c.oid = root"
                                                      " ORDER BY c.relname, partition NULLS FIRST";
    return pg_query(pg, sql, rows, error);
}

int server_indexes(struct pg *pg, struct pg_rows **rows, struct error *error)
{
    static const char sql[] = "WITH one AS (SELECT " ROOT_OF("i.indexrelid") " AS root, " ROOT_OF(
        "i.indrelid") "  AS root_table, c.relkind, s.idx_scan, s.idx_tup_read, i.indisunique,"
                      "  CASE WHEN c.relkind = 'i' THEN pg_relation_size(c.oid) ELSE 0 END AS size,"
                      "  i.indisvalid AND i.indisready AS whole"
                      "  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
                      "  LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid"
                      "  WHERE c.relnamespace = " SCHEMA_OID "),"
                      " whole AS (SELECT root_table, root, count(*) FILTER (WHERE relkind = 'i') "
                      "AS parts,"
                      "  coalesce(sum(idx_scan), 0) AS scans, coalesce(sum(idx_tup_read), 0) AS "
                      "read,"
                      "  sum(size) AS size, bool_or(indisunique) AS is_unique, bool_and(whole) AS "
                      "whole"
                      "  FROM one GROUP BY root_table, root)"
                      " SELECT t.relname, x.relname, parts, scans, read, size, is_unique, whole,"
                      "  CASE WHEN NOT whole THEN 'invalid' WHEN scans > 0 THEN ''"
                      "  WHEN is_unique THEN 'never used, keeps keys unique' ELSE 'never used' END"
                      " FROM whole JOIN pg_class x ON x.oid = root JOIN pg_class t ON t.oid = "
                      "root_table"
                      " ORDER BY scans DESC, t.relname, x.relname";
    return pg_query(pg, sql, rows, error);
}

int server_invalid_indexes(struct pg *pg, struct pg_rows **rows, struct error *error)
{
    return pg_query(pg,
                    "SELECT x.relname, t.relname, i.indisready FROM pg_index i"
                    " JOIN pg_class x ON x.oid = i.indexrelid"
                    " JOIN pg_class t ON t.oid = i.indrelid"
                    " WHERE x.relnamespace = " SCHEMA_OID
                    " AND NOT (i.indisvalid AND i.indisready) ORDER BY 2, 1",
                    rows, error);
}

int server_analyzable(struct pg *pg, struct pg_rows **rows, struct error *error)
{
    return pg_query(pg,
                    "SELECT c.relname, count(p.inhrelid), coalesce(sum(pg_table_size(p.inhrelid)),"
                    " 0)::bigint + pg_table_size(c.oid) FROM pg_class c"
                    " LEFT JOIN pg_inherits p ON p.inhparent = c.oid"
                    " WHERE c.relnamespace = " SCHEMA_OID
                    " AND c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition"
                    " GROUP BY c.oid, c.relname ORDER BY c.relname",
                    rows, error);
}

/* A name that stood in the catalog, with what it may hold doubled. */
static void add_quoted(struct text *sql, const char *name, char quote)
{
    text_add(sql, &quote, 1);
    for (; *name != '\0'; name++) {
        text_add(sql, name, 1);
        if (*name == quote)
            text_add(sql, name, 1);
    }
    text_add(sql, &quote, 1);
}

int server_analyze(struct pg *pg, const char *table, struct error *error)
{
    struct text sql;
    text_init(&sql);
    text_add_string(&sql, "ANALYZE daa.");
    add_quoted(&sql, table, '"');
    pg_be_patient(pg, true);
    int failed = sql.failed == 0 ? pg_run(pg, text_string(&sql), error) : sql.failed;
    pg_be_patient(pg, false);
    text_free(&sql);
    /* Whoever may not is told by a warning alone, and the statement succeeds. */
    if (failed == 0 && pg_warning(pg)[0] != '\0')
        failed = error_set(error, -EACCES, "%s", pg_warning(pg));
    return failed;
}

int server_targets(struct pg *pg, struct pg_rows **rows, struct error *error)
{
    static const char sql[] =
        "SELECT c.relname, a.attname, coalesce(a.attstattarget, -1), 1000,"
        " coalesce(a.attstattarget, -1) >= 1000"
        " FROM (VALUES ('workflows', 'status'), ('transactions', 'created_at')) AS wanted (t, a)"
        " JOIN pg_class c ON c.relname = wanted.t AND c.relnamespace = " SCHEMA_OID
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = wanted.a ORDER BY 1, 2";
    return pg_query(pg, sql, rows, error);
}

int server_settings(struct pg *pg, const char *const *names, unsigned count, struct pg_rows **rows,
                    struct error *error)
{
    struct text sql;
    CHECK(count > 0);
    text_init(&sql);
    text_add_string(&sql, "SELECT name, setting, unit, context, source, pending_restart"
                          " FROM pg_settings WHERE name IN (");
    for (unsigned i = 0; i < count; i++) {
        text_add_string(&sql, i == 0 ? "" : ", ");
        add_quoted(&sql, names[i], '\'');
    }
    text_add_string(&sql, ")");
    int failed = sql.failed == 0 ? pg_query(pg, text_string(&sql), rows, error) : sql.failed;
    text_free(&sql);
    return failed;
}
