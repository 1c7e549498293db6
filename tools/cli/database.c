/* daa-cli database. */
#include "tools/cli/database.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *url;

const struct command_option database_options[] = {
    { "url", 'u', "URL", COMMAND_TEXT, &url,
      "the database: postgresql://user@host/name, or $DAA_PG_URL;\n"
      "the password from PGPASSWORD or PGPASSFILE" },
    { "json", 'j', NULL, COMMAND_FLAG, &cli.json, "print one JSON object" },
    { .name = NULL },
};

/*--- The connection ----------------------------------------------------------*/

/* Who ends daa-cli ends a wait by it. */
static const atomic_bool never;

int database_connect(const struct command *command, struct pg **pg)
{
    struct error error = { 0 };
    if (url == NULL)
        url = getenv("DAA_PG_URL");
    if (url == NULL || *url == '\0')
        return command_misused(command,
                               "say which database: --url postgresql://..., or $DAA_PG_URL");
    const struct pg_options options = { .url = url, .stop = &never, .name = "daa-cli" };
    int failed = pg_open_with(pg, &options, &error);
    if (failed == 0)
        return COMMAND_GO_ON;
    if (failed != ERROR_UNAVAILABLE)
        return command_failed_error(command, &error);
    return command_failed(command, "Postgres cannot be had: %s%s", error.text, pg_hint(&error));
}

int database_begin(const struct command *command, int argc, char **argv, struct pg **pg)
{
    int first, status = command_parse(command, argc, argv, &first);
    return status == COMMAND_GO_ON ? database_connect(command, pg) : status;
}

int database_failed(const struct command *command, const struct error *error)
{
    if (error->code == -EACCES)
        return command_failed(command, "%s%s", error->text, pg_hint(error));
    if (error->code == ERROR_UNAVAILABLE)
        return command_failed(command, "Postgres cannot answer now: %s%s", error->text,
                              pg_hint(error));
    return command_failed_error(command, error);
}

int database_check_schema(const struct command *command, struct pg *pg)
{
    struct error error = { 0 };
    int found = server_schema_check(pg, &error);
    if (found < 0)
        return database_failed(command, &error);
    if (found == 0)
        return command_failed(command, "this database has no schema \"daa\": is it the right one? "
                                       "'daa-cli database migrate' makes the schema, and so does "
                                       "daa-pgsync with its first copy");
    return COMMAND_GO_ON;
}

/*--- Rows --------------------------------------------------------------------*/

static void bytes_cell(char cell[DATABASE_CELL_SIZE], double bytes)
{
    static const char *const units[] = { "B", "KB", "MB", "GB", "TB", "PB" };
    unsigned unit = 0;
    while (bytes >= 1024 && unit < 5) {
        bytes /= 1024;
        unit++;
    }
    (void)snprintf(cell, DATABASE_CELL_SIZE, "%.*f %s", unit > 0 ? 1 : 0, bytes, units[unit]);
}

static void seconds_cell(char cell[DATABASE_CELL_SIZE], long long seconds)
{
    if (seconds < 120)
        (void)snprintf(cell, DATABASE_CELL_SIZE, "%lld s", seconds);
    else if (seconds < 7200)
        (void)snprintf(cell, DATABASE_CELL_SIZE, "%lld min", seconds / 60);
    else if (seconds < 2 * 86400)
        (void)snprintf(cell, DATABASE_CELL_SIZE, "%lld h", seconds / 3600);
    else
        (void)snprintf(cell, DATABASE_CELL_SIZE, "%lld days", seconds / 86400);
}

/* White space becomes one blank, and what is too long for a line is cut between two characters. */
static void query_cell(char cell[DATABASE_CELL_SIZE], const char *query)
{
    static const char blanks[] = " \t\r\n\f\v";
    size_t size = 0, last = DATABASE_CELL_SIZE - 4;
    for (const char *at = query + strspn(query, blanks); *at != '\0';) {
        size_t blank = strspn(at, blanks);
        if (size >= last) {
            while (size > 0 && ((unsigned char)cell[size] & 0xc0) == 0x80)
                size--;
            memcpy(cell + size, "...", 3);
            size += 3;
            break;
        }
        cell[size++] = blank > 0 ? ' ' : *at;
        at += blank > 0 ? blank : 1;
        cell[size] = *at; /* what would come next, for the cut */
    }
    cell[size] = '\0';
}

void database_cell(char cell[DATABASE_CELL_SIZE], enum database_kind kind, const char *value)
{
    if (value == NULL)
        (void)snprintf(cell, DATABASE_CELL_SIZE, "-");
    else if (kind == DATABASE_BYTES)
        bytes_cell(cell, strtod(value, NULL));
    else if (kind == DATABASE_SECONDS)
        seconds_cell(cell, strtoll(value, NULL, 10));
    else if (kind == DATABASE_MS)
        (void)snprintf(cell, DATABASE_CELL_SIZE, "%.3f", strtod(value, NULL));
    else if (kind == DATABASE_FLAG)
        (void)snprintf(cell, DATABASE_CELL_SIZE, "%s", *value == 't' ? "yes" : "no");
    else if (kind == DATABASE_QUERY)
        query_cell(cell, value);
    else
        (void)snprintf(cell, DATABASE_CELL_SIZE, "%s", value);
}

void database_print(const struct pg_rows *rows, const struct database_column *columns)
{
    struct cli_table table;
    char cell[DATABASE_CELL_SIZE];
    unsigned shown = 0;
    for (int i = 0; columns[i].key != NULL; i++)
        shown += columns[i].head != NULL;
    cli_table_init(&table, shown);
    for (int i = 0; columns[i].key != NULL; i++) {
        if (columns[i].head != NULL)
            cli_table_add(&table, span_of_text(columns[i].head));
    }
    for (int row = 0; row < pg_rows_count(rows); row++) {
        for (int i = 0; columns[i].key != NULL; i++) {
            if (columns[i].head == NULL)
                continue;
            database_cell(cell, columns[i].kind, pg_rows_text(rows, row, i));
            cli_table_add(&table, span_of_text(cell));
        }
    }
    cli_table_print(&table);
}

static void value_json(struct text *json, const struct database_column *column, const char *value)
{
    if (value == NULL)
        text_json_null(json, column->key);
    else if (column->kind == DATABASE_TEXT || column->kind == DATABASE_QUERY)
        text_json_cstring(json, column->key, value);
    else if (column->kind == DATABASE_FLAG)
        text_json_bool(json, column->key, *value == 't');
    else
        text_json_raw(json, column->key, span_of_text(value));
}

void database_json(struct text *json, const char *key, const struct pg_rows *rows,
                   const struct database_column *columns)
{
    text_json_open_array(json, key);
    for (int row = 0; row < pg_rows_count(rows); row++) {
        text_json_open_object(json, NULL);
        for (int i = 0; columns[i].key != NULL; i++)
            value_json(json, &columns[i], pg_rows_text(rows, row, i));
        text_json_close_object(json);
    }
    text_json_close_array(json);
}

void database_print_json(struct text *json)
{
    printf("%s\n", text_string(json));
    text_free(json);
}

/*--- The commands ------------------------------------------------------------*/

int cli_database(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli database",
        .purpose = "Look at the PostgreSQL database that daa-pgsync copies to, and say how to tune "
                   "it.\nThese commands ask the database, not the agent.",
        .shared = database_options,
        .notes = "Exit status: 0 good, 1 failed, 2 wrong usage.",
    };
    static const struct command_entry entries[] = {
        { "migrate", "make the schema, or carry it over to this version", database_migrate },
        { "status", "show the schema, how far each log is copied, tables and their sizes",
          database_status },
        { "analyze", "renew the statistics by which queries are planned", database_analyze },
        { "pool-stats", "show who is connected, doing what, and who waits for whom",
          database_pool_stats },
        { "slow-queries", "show the statements that took longest", database_slow_queries },
        { "index-usage", "show how much each index is used", database_index_usage },
        { "tune", "compare the server's settings with what this machine could have",
          database_tune },
        { "reset-connections", "end idle connections of daa's programs",
          database_reset_connections },
        { .name = NULL },
    };
    return command_dispatch(&command, entries, argc, argv);
}
