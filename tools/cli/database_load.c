/* daa-cli database pool-stats, reset-connections, slow-queries. */
#include "pgsync/server_load.h"
#include "tools/cli/database.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/*--- pool-stats --------------------------------------------------------------*/

static const struct database_column activity_columns[] = {
    { "application", "APPLICATION", DATABASE_TEXT },
    { "role", "ROLE", DATABASE_TEXT },
    { "database", "DATABASE", DATABASE_TEXT },
    { "state", "STATE", DATABASE_TEXT },
    { "connections", "COUNT", DATABASE_NUMBER },
    { "longest_seconds", "LONGEST SO", DATABASE_SECONDS },
    { "transaction_seconds", "LONGEST TRANSACTION", DATABASE_SECONDS },
    { "waiting", "WAIT FOR LOCKS", DATABASE_NUMBER },
    { .key = NULL },
};

static const struct database_column transaction_columns[] = {
    { "pid", "PID", DATABASE_NUMBER },
    { "application", "APPLICATION", DATABASE_TEXT },
    { "role", "ROLE", DATABASE_TEXT },
    { "state", "STATE", DATABASE_TEXT },
    { "transaction_seconds", "OPEN FOR", DATABASE_SECONDS },
    { "state_seconds", NULL, DATABASE_SECONDS },
    { "waits_for", "WAITS FOR", DATABASE_TEXT },
    { "query", "QUERY", DATABASE_QUERY },
    { .key = NULL },
};

static void print_pool(const struct server_facts *facts, const struct pg_rows *activity,
                       const struct pg_rows *transactions)
{
    struct text json;
    int64_t usable = facts->connections_max - facts->connections_reserved;
    if (!cli.json) {
        printf("connections  %" PRId64 " of %" PRId64 ", %" PRId64 " of them reserved; %" PRId64
               " more can come\n\n",
               facts->connections, facts->connections_max, facts->connections_reserved,
               usable > facts->connections ? usable - facts->connections : 0);
        database_print(activity, activity_columns);
        if (pg_rows_count(transactions) > 0) {
            printf("\nopen transactions, the longest first\n");
            database_print(transactions, transaction_columns);
        }
        if (!facts->sees_others)
            printf("\nwhat connections of other roles do is hidden from %s: GRANT "
                   "pg_read_all_stats TO it shows that\n",
                   facts->role);
        return;
    }
    text_init(&json);
    text_json_open_object(&json, NULL);
    text_json_integer(&json, "connections", facts->connections);
    text_json_integer(&json, "max_connections", facts->connections_max);
    text_json_integer(&json, "reserved_connections", facts->connections_reserved);
    text_json_bool(&json, "sees_others", facts->sees_others);
    database_json(&json, "groups", activity, activity_columns);
    database_json(&json, "transactions", transactions, transaction_columns);
    text_json_close_object(&json);
    database_print_json(&json);
}

int database_pool_stats(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli database pool-stats",
        .purpose = "Show the server's connections by application, role, database and state, "
                   "against max_connections,\nand the transactions that are open longest, with "
                   "the processes that they wait for.",
        .shared = database_options,
    };
    struct pg *pg;
    struct pg_rows *activity = NULL, *transactions = NULL;
    struct server_facts facts;
    struct error error = { 0 };
    int status = database_begin(&command, argc, argv, &pg);
    if (status != COMMAND_GO_ON)
        return status;
    int failed = server_facts_get(&facts, pg, &error);
    if (failed == 0)
        failed = server_activity(pg, &activity, &error);
    if (failed == 0)
        failed = server_transactions(pg, &transactions, &error);
    if (failed == 0)
        print_pool(&facts, activity, transactions);
    pg_rows_free(activity);
    pg_rows_free(transactions);
    pg_close(&pg);
    return failed < 0 ? database_failed(&command, &error) : COMMAND_GOOD;
}

/*--- reset-connections -------------------------------------------------------*/

enum { IDLE_COLUMNS = 5 };
static const struct database_column idle_columns[] = {
    { "pid", "PID", DATABASE_NUMBER },
    { "application", "APPLICATION", DATABASE_TEXT },
    { "role", "ROLE", DATABASE_TEXT },
    { "client", "CLIENT", DATABASE_TEXT },
    { "idle_seconds", "IDLE FOR", DATABASE_SECONDS },
    { .key = NULL },
};

/* What became of one connection; *bad: it should have ended and may not. */
static const char *end_one(const struct command *command, struct pg *pg, const struct pg_rows *idle,
                           int row, bool *bad, struct error *error)
{
    int ended = server_end_idle(pg, idle, row, error);
    if (ended >= 0)
        return ended == 1 ? "ended" : "busy or gone by now";
    *bad = true;
    (void)command_failed(command, "connection %s: %s", pg_rows_text(idle, row, 0), error->text);
    return ended == -EACCES ? "not allowed" : "failed";
}

static bool end_all(const struct command *command, struct pg *pg, const struct pg_rows *idle,
                    bool dry_run, struct error *error)
{
    struct cli_table table;
    struct text json;
    char cell[DATABASE_CELL_SIZE];
    bool bad = false;
    cli_table_init(&table, IDLE_COLUMNS + 1);
    for (int i = 0; i < IDLE_COLUMNS; i++)
        cli_table_add(&table, span_of_text(idle_columns[i].head));
    cli_table_add(&table, span_of_text("RESULT"));
    text_init(&json);
    text_json_open_object(&json, NULL);
    text_json_bool(&json, "dry_run", dry_run);
    text_json_open_array(&json, "connections");
    for (int row = 0; row < pg_rows_count(idle); row++) {
        const char *result = dry_run ? "would end" : end_one(command, pg, idle, row, &bad, error);
        text_json_open_object(&json, NULL);
        for (int i = 0; i < IDLE_COLUMNS; i++) {
            const char *value = pg_rows_text(idle, row, i);
            database_cell(cell, idle_columns[i].kind, value);
            cli_table_add(&table, span_of_text(cell));
            if (idle_columns[i].kind == DATABASE_TEXT)
                text_json_cstring(&json, idle_columns[i].key, value);
            else
                text_json_raw(&json, idle_columns[i].key, span_of_text(value));
        }
        cli_table_add(&table, span_of_text(result));
        text_json_cstring(&json, "result", result);
        text_json_close_object(&json);
    }
    text_json_close_array(&json);
    text_json_close_object(&json);
    if (cli.json)
        printf("%s\n", text_string(&json));
    else if (pg_rows_count(idle) > 0)
        cli_table_print(&table);
    else
        printf("no idle connection of daa-agent, daa-pgsync or daa-cli to this database\n");
    text_free(&table.cells);
    text_free(&json);
    return !bad;
}

int database_reset_connections(int argc, char **argv)
{
    bool dry_run = false;
    uint64_t idle_ns = 0;
    const struct command_option options[] = {
        { "dry-run", 'n', NULL, COMMAND_FLAG, &dry_run, "end nothing, only say which would" },
        { "idle", 'i', "DURATION", COMMAND_DURATION, &idle_ns,
          "only those that have been idle for so long (0s)" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-cli database reset-connections",
        .purpose = "End the idle connections to this database whose application_name is "
                   "daa-agent, daa-pgsync or\ndaa-cli, and say which. Those programs connect "
                   "again when they need to. No other connection,\nand none that is busy or in a "
                   "transaction, is touched.",
        .options = options,
        .shared = database_options,
        .notes = "Exit status: 0 good, also when there was none, 1 one could not be ended, or "
                 "failed, 2 wrong\nusage.",
    };
    struct pg *pg;
    struct pg_rows *idle;
    struct error error = { 0 };
    int status = database_begin(&command, argc, argv, &pg);
    if (status != COMMAND_GO_ON)
        return status;
    int failed = server_idle(pg, idle_ns / 1000000000u, &idle, &error);
    if (failed < 0) {
        status = database_failed(&command, &error);
    } else {
        status = end_all(&command, pg, idle, dry_run, &error) ? COMMAND_GOOD : COMMAND_FAILED;
        pg_rows_free(idle);
    }
    pg_close(&pg);
    return status;
}

/*--- slow-queries ------------------------------------------------------------*/

static const struct database_column slow_columns[] = {
    { "id", NULL, DATABASE_TEXT },           { "calls", "CALLS", DATABASE_NUMBER },
    { "total_ms", "TOTAL MS", DATABASE_MS }, { "mean_ms", "MEAN MS", DATABASE_MS },
    { "max_ms", "LONGEST MS", DATABASE_MS }, { "rows", "ROWS", DATABASE_NUMBER },
    { "blocks_hit", NULL, DATABASE_NUMBER }, { "blocks_read", NULL, DATABASE_NUMBER },
    { "query", "QUERY", DATABASE_QUERY },    { .key = NULL },
};

static int say_missing(const struct command *command, const struct server_statements_state *state)
{
    switch (state->state) {
    case SERVER_STATEMENTS_MISSING:
        return command_failed(command,
                              "the server has no extension pg_stat_statements: install "
                              "PostgreSQL's contrib modules there (it is a part of Debian's "
                              "postgresql-NN, and of postgresql-contrib elsewhere)");
    case SERVER_STATEMENTS_NOT_LOADED:
        return command_failed(command,
                              "the server does not load pg_stat_statements: add it to "
                              "shared_preload_libraries%s%s%s in postgresql.conf, restart the "
                              "server, then CREATE EXTENSION pg_stat_statements (or "
                              "--create-extension here)",
                              state->libraries_seen ? " (now '" : "", state->libraries,
                              state->libraries_seen ? "')" : "");
    case SERVER_STATEMENTS_NOT_CREATED:
    case SERVER_STATEMENTS_READY:
    default:
        return command_failed(command, "this database has no extension pg_stat_statements: CREATE "
                                       "EXTENSION pg_stat_statements, or --create-extension here");
    }
}

/* COMMAND_GO_ON when there is something to ask. */
static int make_ready(const struct command *command, struct pg *pg, bool create,
                      struct server_statements_state *state)
{
    struct error error = { 0 };
    int failed = server_statements_check(state, pg, &error);
    if (failed == 0 && state->state == SERVER_STATEMENTS_NOT_CREATED && create) {
        failed = server_statements_create(pg, &error);
        if (failed < 0)
            error_wrap(&error, failed, "CREATE EXTENSION pg_stat_statements");
        else
            failed = server_statements_check(state, pg, &error);
    }
    if (failed < 0)
        return database_failed(command, &error);
    return state->state == SERVER_STATEMENTS_READY ? COMMAND_GO_ON : say_missing(command, state);
}

static void print_slow(const struct pg_rows *rows, uint64_t mean_ms)
{
    struct text json;
    bool hidden = false;
    for (int row = 0; row < pg_rows_count(rows); row++)
        hidden = hidden || pg_rows_text(rows, row, 8) == NULL;
    if (cli.json) {
        text_init(&json);
        text_json_open_object(&json, NULL);
        text_json_unsigned(&json, "mean_ms", mean_ms);
        database_json(&json, "queries", rows, slow_columns);
        text_json_close_object(&json);
        database_print_json(&json);
        return;
    }
    if (pg_rows_count(rows) == 0)
        printf("no statement of this database took more than %" PRIu64 " ms in the mean\n",
               mean_ms);
    else
        database_print(rows, slow_columns);
    if (hidden)
        printf("\nthe text of other roles' statements is hidden: GRANT pg_read_all_stats shows "
               "it\n");
}

/* Without the right to see shared_preload_libraries it is the view that tells. */
static int show_slow(const struct command *command, struct pg *pg,
                     struct server_statements_state *state, uint64_t mean_ms, uint64_t limit,
                     bool by_mean)
{
    struct pg_rows *rows;
    struct error error = { 0 };
    int failed = server_slow(pg, state, mean_ms, limit, by_mean, &rows, &error);
    if (failed == ERROR_UNAVAILABLE && !state->libraries_seen && pg_alive(pg)) {
        state->state = SERVER_STATEMENTS_NOT_LOADED;
        return say_missing(command, state);
    }
    if (failed < 0)
        return database_failed(command, &error);
    print_slow(rows, mean_ms);
    pg_rows_free(rows);
    return COMMAND_GOOD;
}

int database_slow_queries(int argc, char **argv)
{
    uint64_t mean_ms = 100, limit = 10;
    bool by_mean = false, create = false;
    const struct command_option options[] = {
        { "mean-ms", 'm', "MS", COMMAND_NUMBER, &mean_ms,
          "only statements that took more in the mean (100)" },
        { "limit", 'n', "COUNT", COMMAND_NUMBER, &limit, "at most so many (10)" },
        { "by-mean", 0, NULL, COMMAND_FLAG, &by_mean,
          "the largest mean first, not the largest total" },
        { "create-extension", 0, NULL, COMMAND_FLAG, &create,
          "make the extension pg_stat_statements in this database if\nit is missing" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-cli database slow-queries",
        .purpose = "Show the statements of this database that took longest in all, as "
                   "pg_stat_statements counted them.",
        .options = options,
        .shared = database_options,
    };
    struct pg *pg;
    struct server_statements_state state;
    int first, status = command_parse(&command, argc, argv, &first);
    if (status == COMMAND_GO_ON && (limit > 100000 || mean_ms > UINT64_C(1000000000)))
        return command_misused(&command, "%s is too large",
                               limit > 100000 ? "--limit" : "--mean-ms");
    if (status == COMMAND_GO_ON)
        status = database_connect(&command, &pg);
    if (status != COMMAND_GO_ON)
        return status;
    status = make_ready(&command, pg, create, &state);
    if (status == COMMAND_GO_ON)
        status = show_slow(&command, pg, &state, mean_ms, limit, by_mean);
    pg_close(&pg);
    return status;
}
