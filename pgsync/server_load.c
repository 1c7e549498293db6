#include "pgsync/server_load.h"

#include "core/base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECONDS_SINCE(time) "greatest(0, extract(epoch FROM clock_timestamp() - " time "))"
/* Connections of clients. Of which kind another role's is may be hidden, as a null. */
#define OF_CLIENTS                                                                                 \
    "(backend_type = 'client backend' OR backend_type IS NULL AND usesysid IS NOT NULL)"

int server_activity(struct pg *pg, struct pg_rows **rows, struct error *error)
{
    return pg_query(
        pg,
        "SELECT application_name, usename, datname, state, count(*),"
        " max(" SECONDS_SINCE(
            "state_change") ")::bigint,"
                            " max(" SECONDS_SINCE(
                                "xact_start") ")::bigint,"
                                              " count(*) FILTER (WHERE wait_event_type = 'Lock')"
                                              " FROM pg_stat_activity WHERE " OF_CLIENTS
                                              " GROUP BY 1, 2, 3, 4"
                                              " ORDER BY 5 DESC, 1, 2, 3, 4",
        rows, error);
}

int server_transactions(struct pg *pg, struct pg_rows **rows, struct error *error)
{
    return pg_query(
        pg,
        "SELECT pid, application_name, usename, state,"
        " " SECONDS_SINCE(
            "xact_start") "::bigint,"
                          " " SECONDS_SINCE(
                              "state_change") "::bigint,"
                                              " CASE WHEN wait_event_type = 'Lock'"
                                              "  THEN array_to_string(pg_blocking_pids(pid), ' ') "
                                              "ELSE '' END,"
                                              " left(query, 200)"
                                              " FROM pg_stat_activity WHERE " OF_CLIENTS
                                              " AND xact_start IS NOT NULL"
                                              " AND pid <> pg_backend_pid() ORDER BY xact_start "
                                              "LIMIT 10",
        rows, error);
}

#define OURS                                                                                       \
    "datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle'"                  \
    " AND application_name IN ('daa-agent', 'daa-pgsync', 'daa-cli')"

int server_idle(struct pg *pg, uint64_t idle_s, struct pg_rows **rows, struct error *error)
{
    char sql[700];
    (void)snprintf(sql, sizeof sql,
                   "SELECT pid, application_name, usename,"
                   " coalesce(host(client_addr), 'local'),"
                   " " SECONDS_SINCE("state_change") "::bigint, backend_start"
                                                     " FROM pg_stat_activity WHERE " OURS
                                                     " AND " SECONDS_SINCE(
                                                         "state_change") " >= %" PRIu64
                                                                         " ORDER BY 5 DESC, 1",
                   idle_s);
    return pg_query(pg, sql, rows, error);
}

/* A pid may be another connection's by now, and an idle one busy. */
int server_end_idle(struct pg *pg, const struct pg_rows *idle, int row, struct error *error)
{
    char sql[500];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE " OURS
                   " AND pid = %" PRId64 " AND backend_start = '%.64s'",
                   pg_rows_integer(idle, row, 0), pg_rows_text(idle, row, 5));
    int failed = pg_query(pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    bool told = pg_rows_count(rows) == 1 && pg_rows_text(rows, 0, 0) != NULL &&
                *pg_rows_text(rows, 0, 0) == 't';
    pg_rows_free(rows);
    return told;
}

/* shared_preload_libraries is seen by pg_read_all_settings alone; without that we can only try. */
static const char statements_sql[] =
    "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements'),"
    " (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries'),"
    " (SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n"
    "  ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements')";

int server_statements_check(struct server_statements_state *state, struct pg *pg,
                            struct error *error)
{
    struct pg_rows *rows;
    int failed = pg_query(pg, statements_sql, &rows, error);
    if (failed < 0)
        return failed;
    const char *libraries = pg_rows_text(rows, 0, 1), *schema = pg_rows_text(rows, 0, 2);
    *state = (struct server_statements_state){ .libraries_seen = libraries != NULL };
    (void)snprintf(state->libraries, sizeof state->libraries, "%s", libraries ? libraries : "");
    (void)snprintf(state->schema, sizeof state->schema, "%s", schema != NULL ? schema : "");
    if (*pg_rows_text(rows, 0, 0) != 't')
        state->state = SERVER_STATEMENTS_MISSING;
    else if (libraries != NULL && strstr(libraries, "pg_stat_statements") == NULL)
        state->state = SERVER_STATEMENTS_NOT_LOADED;
    else if (schema == NULL)
        state->state = SERVER_STATEMENTS_NOT_CREATED;
    pg_rows_free(rows);
    return 0;
}

int server_statements_create(struct pg *pg, struct error *error)
{
    /* Named, for the first schema of a role "daa" would be ours. */
    return pg_run(pg, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public", error);
}

int server_slow(struct pg *pg, const struct server_statements_state *state, uint64_t mean_ms,
                uint64_t limit, bool by_mean, struct pg_rows **rows, struct error *error)
{
    char sql[900];
    CHECK(state->state == SERVER_STATEMENTS_READY);
    (void)snprintf(sql, sizeof sql,
                   "SELECT queryid, calls, total_exec_time, mean_exec_time, max_exec_time, rows,"
                   " shared_blks_hit, shared_blks_read,"
                   " CASE WHEN query <> '<insufficient privilege>' THEN query END"
                   " FROM %s.pg_stat_statements"
                   " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
                   " AND mean_exec_time > %" PRIu64 " ORDER BY %s DESC, calls DESC LIMIT %" PRIu64,
                   state->schema, mean_ms, by_mean ? "mean_exec_time" : "total_exec_time", limit);
    return pg_query(pg, sql, rows, error);
}
