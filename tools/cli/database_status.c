/* daa-cli database status, index-usage, analyze. */
#include "pgsync/schema.h"
#include "tools/cli/database.h"
#include "tools/command/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/*--- status ------------------------------------------------------------------*/

static const struct database_column log_columns[] = {
    { "log", "LOG", DATABASE_TEXT },
    { "last_seq", "COPIED TO", DATABASE_NUMBER },
    { "updated_at", "UPDATED", DATABASE_TEXT },
    { "age_seconds", "AGO", DATABASE_SECONDS },
    { "epoch", "EPOCH", DATABASE_NUMBER },
    { "parent", "PARENT", DATABASE_TEXT },
    { "parent_seq", "FORKED AT", DATABASE_NUMBER },
    { .key = NULL },
};

static const struct database_column table_columns[] = {
    { "table", "TABLE", DATABASE_TEXT },          { "partition", "PARTITION", DATABASE_TEXT },
    { "partitions", NULL, DATABASE_NUMBER },      { "rows", "ROWS", DATABASE_NUMBER },
    { "dead_rows", "DEAD", DATABASE_NUMBER },     { "table_bytes", "SIZE", DATABASE_BYTES },
    { "index_bytes", "INDEXES", DATABASE_BYTES }, { "analyzed_at", "ANALYZED", DATABASE_TEXT },
    { "vacuumed_at", "VACUUMED", DATABASE_TEXT }, { .key = NULL },
};

static const struct database_column invalid_columns[] = {
    { "index", "INVALID INDEX", DATABASE_TEXT },
    { "table", "TABLE", DATABASE_TEXT },
    { "ready", NULL, DATABASE_FLAG },
    { .key = NULL },
};

struct status {
    struct server_facts facts;
    bool there;                              /* the schema, and we may look into it */
    bool ours;                               /* it is this version's */
    int64_t version;                         /* 0: not known */
    struct error trouble;                    /* with the schema; code 0: none */
    struct pg_rows *logs, *tables, *invalid; /* NULL: not asked */
};

/* What is wrong with the schema is a part of the answer; the rest of it is asked all the same. */
static int look_at_schema(struct status *status, struct pg *pg, struct error *error)
{
    int found = server_schema_check(pg, &status->trouble);
    if (found < 0)
        return 0;
    status->there = found == 1;
    if (!status->there) {
        error_set(&status->trouble, ERROR_NOT_FOUND,
                  "this database has no schema \"daa\": is it the right one? 'daa-cli database "
                  "migrate' makes the schema, and so does daa-pgsync with its first copy");
        return 0;
    }
    if (server_schema_version(&status->version, pg, &status->trouble) < 0)
        return 0;
    status->ours = schema_check(pg, &status->trouble) == 1 &&
                   status->version == (int64_t)schema_newest_version();
    int failed = server_limit_locks(pg, error);
    if (failed == 0)
        failed = server_tables(pg, &status->tables, error);
    if (failed == 0)
        failed = server_invalid_indexes(pg, &status->invalid, error);
    if (failed == 0 && status->trouble.code == 0)
        (void)server_logs(pg, &status->logs, &status->trouble);
    return failed;
}

static void print_server(const struct status *status)
{
    const struct server_facts *facts = &status->facts;
    char cell[DATABASE_CELL_SIZE], number[32];
    (void)snprintf(number, sizeof number, "%" PRId64, facts->size);
    database_cell(cell, DATABASE_BYTES, number);
    printf("server       PostgreSQL %s, %s, up since %s\n", facts->version,
           facts->standby ? "a standby" : "a primary", facts->started);
    printf("database     %s, %s, as role %s\n", facts->database, cell, facts->role);
    printf("connections  %" PRId64 " of %" PRId64 ", %" PRId64 " of them reserved\n",
           facts->connections, facts->connections_max, facts->connections_reserved);
    if (status->version > 0 && status->ours)
        printf("schema       daa, version %" PRId64 ", as this program's\n", status->version);
    else if (status->version > 0)
        printf("schema       daa, version %" PRId64 "; this program's is %" PRIu64 "\n",
               status->version, schema_newest_version());
    else
        printf("schema       %s\n", status->there ? "daa, of no known version" : "none to be seen");
}

static void print_part(const struct pg_rows *rows, const struct database_column *columns)
{
    if (rows == NULL || pg_rows_count(rows) == 0)
        return;
    putchar('\n');
    database_print(rows, columns);
}

static void part_json(struct text *json, const char *key, const struct pg_rows *rows,
                      const struct database_column *columns)
{
    if (rows == NULL)
        text_json_null(json, key);
    else
        database_json(json, key, rows, columns);
}

static void print_status_json(const struct status *status)
{
    const struct server_facts *facts = &status->facts;
    struct text json;
    text_init(&json);
    text_json_open_object(&json, NULL);
    text_json_open_object(&json, "server");
    text_json_cstring(&json, "version", facts->version);
    text_json_integer(&json, "version_number", facts->version_number);
    text_json_bool(&json, "standby", facts->standby);
    text_json_cstring(&json, "started_at", facts->started);
    text_json_cstring(&json, "database", facts->database);
    text_json_integer(&json, "database_bytes", facts->size);
    text_json_cstring(&json, "role", facts->role);
    text_json_integer(&json, "connections", facts->connections);
    text_json_integer(&json, "max_connections", facts->connections_max);
    text_json_integer(&json, "reserved_connections", facts->connections_reserved);
    text_json_close_object(&json);
    text_json_open_object(&json, "schema");
    text_json_bool(&json, "exists", status->there);
    text_json_integer(&json, "version", status->version);
    text_json_unsigned(&json, "program_version", schema_newest_version());
    text_json_bool(&json, "current", status->ours);
    text_json_cstring(&json, "trouble", status->trouble.code != 0 ? status->trouble.text : NULL);
    text_json_close_object(&json);
    part_json(&json, "logs", status->logs, log_columns);
    part_json(&json, "tables", status->tables, table_columns);
    part_json(&json, "invalid_indexes", status->invalid, invalid_columns);
    text_json_close_object(&json);
    database_print_json(&json);
}

int database_status(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli database status",
        .purpose = "Show the server, the version of schema \"daa\", how far each log is copied, "
                   "and the tables\nwith their sizes, estimated rows and last ANALYZE and VACUUM. "
                   "Indexes that are not whole\nare listed.",
        .shared = database_options,
        .notes = "Exit status: 0 there is a schema that this version knows, 1 there is none, or "
                 "failed,\n2 wrong usage.",
    };
    struct pg *pg;
    struct status status = { .there = false };
    struct error error = { 0 };
    int exit_status = database_begin(&command, argc, argv, &pg);
    if (exit_status != COMMAND_GO_ON)
        return exit_status;
    int failed = server_facts_get(&status.facts, pg, &error);
    if (failed == 0)
        failed = look_at_schema(&status, pg, &error);
    if (failed == 0 && cli.json) {
        print_status_json(&status);
    } else if (failed == 0) {
        print_server(&status);
        print_part(status.logs, log_columns);
        print_part(status.tables, table_columns);
        print_part(status.invalid, invalid_columns);
    }
    pg_rows_free(status.logs);
    pg_rows_free(status.tables);
    pg_rows_free(status.invalid);
    pg_close(&pg);
    if (failed < 0 || status.trouble.code != 0)
        return database_failed(&command, failed < 0 ? &error : &status.trouble);
    return COMMAND_GOOD;
}

/*--- index-usage -------------------------------------------------------------*/

static const struct database_column index_columns[] = {
    { "table", "TABLE", DATABASE_TEXT },      { "index", "INDEX", DATABASE_TEXT },
    { "indexes", "PARTS", DATABASE_NUMBER },  { "scans", "SCANS", DATABASE_NUMBER },
    { "rows_read", "READ", DATABASE_NUMBER }, { "bytes", "SIZE", DATABASE_BYTES },
    { "unique", NULL, DATABASE_FLAG },        { "valid", NULL, DATABASE_FLAG },
    { "state", "STATE", DATABASE_TEXT },      { .key = NULL },
};

static void print_usage(const struct server_facts *facts, const struct pg_rows *rows)
{
    struct text json;
    const char *since = facts->statistics_since[0] != '\0' ? facts->statistics_since : NULL;
    if (!cli.json) {
        database_print(rows, index_columns);
        printf("\ncounted since %s, on this server alone%s\n",
               since != NULL ? since : "the database was made",
               facts->standby ? ", which is a standby" : "; a standby counts its own");
        return;
    }
    text_init(&json);
    text_json_open_object(&json, NULL);
    text_json_cstring(&json, "since", since);
    text_json_bool(&json, "standby", facts->standby);
    database_json(&json, "indexes", rows, index_columns);
    text_json_close_object(&json);
    database_print_json(&json);
}

int database_index_usage(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli database index-usage",
        .purpose = "Show how often each index of schema \"daa\" was used, those of a table's "
                   "partitions summed up,\nwith those that were never used and those that are "
                   "not whole marked.",
        .shared = database_options,
    };
    struct pg *pg;
    struct pg_rows *rows = NULL;
    struct server_facts facts;
    struct error error = { 0 };
    int status = database_begin(&command, argc, argv, &pg);
    if (status != COMMAND_GO_ON)
        return status;
    status = database_check_schema(&command, pg);
    if (status == COMMAND_GO_ON) {
        int failed = server_facts_get(&facts, pg, &error);
        if (failed == 0)
            failed = server_limit_locks(pg, &error);
        if (failed == 0)
            failed = server_indexes(pg, &rows, &error);
        if (failed == 0)
            print_usage(&facts, rows);
        status = failed < 0 ? database_failed(&command, &error) : COMMAND_GOOD;
    }
    pg_rows_free(rows);
    pg_close(&pg);
    return status;
}

/*--- analyze -----------------------------------------------------------------*/

static const struct database_column target_columns[] = {
    { "table", "TABLE", DATABASE_TEXT },
    { "column", "COLUMN", DATABASE_TEXT },
    { "target", "STATISTICS TARGET", DATABASE_NUMBER },
    { "wanted", "WANTED", DATABASE_NUMBER },
    { "right", "RIGHT", DATABASE_FLAG },
    { .key = NULL },
};

/* One after the other; *refused counts those that the server skipped for want of a right. */
static int analyze_tables(const struct command *command, struct pg *pg, const struct pg_rows *rows,
                          struct text *json, unsigned *refused, struct error *error)
{
    struct progress progress;
    int count = pg_rows_count(rows), failed = 0;
    uint64_t total = 0, done = 0;
    for (int row = 0; row < count; row++)
        total += (uint64_t)pg_rows_integer(rows, row, 1) + 1;
    progress_begin(&progress, "analyzing", PROGRESS_ITEMS, total);
    text_json_open_array(json, "tables");
    for (int row = 0; row < count && failed == 0; row++) {
        const char *table = pg_rows_text(rows, row, 0);
        int64_t partitions = pg_rows_integer(rows, row, 1);
        progress_update(&progress, done);
        failed = server_analyze(pg, table, error);
        bool skipped = failed == -EACCES;
        done += (uint64_t)partitions + 1;
        text_json_open_object(json, NULL);
        text_json_cstring(json, "table", table);
        text_json_integer(json, "partitions", partitions);
        text_json_bool(json, "analyzed", failed == 0);
        text_json_close_object(json);
        progress_clear(&progress);
        if (skipped) {
            ++*refused;
            (void)command_failed(command, "%s", error->text);
            failed = 0;
        } else if (failed == 0 && !cli.json && partitions > 0) {
            printf("analyzed %s and its %" PRId64 " partitions\n", table, partitions);
        } else if (failed == 0 && !cli.json) {
            printf("analyzed %s\n", table);
        }
        (void)fflush(stdout);
    }
    text_json_close_array(json);
    progress_end(&progress);
    return failed;
}

static int analyze(const struct command *command, struct pg *pg, struct text *json,
                   unsigned *refused, struct error *error)
{
    struct pg_rows *tables = NULL, *targets = NULL;
    text_json_open_object(json, NULL);
    int failed = server_analyzable(pg, &tables, error);
    if (failed == 0)
        failed = analyze_tables(command, pg, tables, json, refused, error);
    if (failed == 0)
        failed = server_targets(pg, &targets, error);
    if (failed == 0 && cli.json) {
        database_json(json, "targets", targets, target_columns);
        text_json_close_object(json);
        printf("%s\n", text_string(json));
    } else if (failed == 0 && pg_rows_count(targets) > 0) {
        putchar('\n');
        database_print(targets, target_columns);
    }
    pg_rows_free(tables);
    pg_rows_free(targets);
    return failed;
}

int database_analyze(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli database analyze",
        .purpose = "Renew the statistics of daa's tables, by which PostgreSQL plans queries: after "
                   "a first copy, and\nnow and then for partitioned tables, which autovacuum "
                   "leaves out. Checks the statistics targets\nthat daa sets.",
        .shared = database_options,
        .notes = "Only the owner of a table may. Exit status: 0 all tables were analyzed, 1 some "
                 "were not, 2 wrong\nusage.",
    };
    struct pg *pg;
    struct text json;
    struct error error = { 0 };
    unsigned refused = 0;
    int status = database_begin(&command, argc, argv, &pg);
    if (status != COMMAND_GO_ON)
        return status;
    text_init(&json);
    status = database_check_schema(&command, pg);
    if (status == COMMAND_GO_ON) {
        int failed = analyze(&command, pg, &json, &refused, &error);
        status = failed < 0 ? database_failed(&command, &error) : COMMAND_GOOD;
    }
    if (refused > 0)
        status = command_failed(&command, "%u tables were not analyzed: connect as their owner",
                                refused);
    text_free(&json);
    pg_close(&pg);
    return status;
}
