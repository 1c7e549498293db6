/* daa-cli database migrate. */
#include "pgsync/schema.h"
#include "tools/cli/database.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* What is there, and what the statements that are missing amount to; `version` 0: no schema. */
static int look(struct pg *pg, uint64_t partition_rows, int64_t *version, struct text *sql,
                struct error *error)
{
    int found = server_schema_check(pg, error), failed = 0;
    *version = 0;
    if (found == 1)
        failed = server_schema_version(version, pg, error);
    if (found < 0 || failed < 0)
        return found < 0 ? found : failed;
    failed = schema_print(pg, partition_rows, sql, error);
    if (failed == 0 && sql->failed < 0)
        failed = error_set(error, sql->failed, "no memory for the statements");
    return failed;
}

static void print_result(int64_t from, struct text *sql, bool dry_run)
{
    bool changes = sql->size > 0;
    struct text json;
    if (cli.json) {
        text_init(&json);
        text_json_open_object(&json, NULL);
        text_json_bool(&json, "dry_run", dry_run);
        text_json_integer(&json, "from_version", from);
        text_json_unsigned(&json, "to_version", schema_newest_version());
        text_json_bool(&json, "changes", changes);
        text_json_cstring(&json, "sql", changes ? text_string(sql) : NULL);
        text_json_close_object(&json);
        database_print_json(&json);
    } else if (dry_run) {
        printf("%s", changes ? text_string(sql) : "-- nothing to do\n");
    } else if (!changes) {
        printf("schema daa is version %" PRId64 " already, with all of its indexes\n", from);
    } else if (from == 0) {
        printf("schema daa was made, version %" PRIu64 "\n", schema_newest_version());
    } else if ((uint64_t)from == schema_newest_version()) {
        printf("schema daa is version %" PRId64 " already; indexes that were missing were made\n",
               from);
    } else {
        printf("schema daa was carried over from version %" PRId64 " to %" PRIu64 "\n", from,
               schema_newest_version());
    }
}

static int migrate(struct pg *pg, uint64_t partition_rows, bool dry_run, struct error *error)
{
    int64_t from;
    struct text sql;
    struct schema schema;
    text_init(&sql);
    int failed = look(pg, partition_rows, &from, &sql, error);
    if (failed == 0 && !dry_run && sql.size > 0)
        failed = schema_open(&schema, pg, partition_rows, error);
    if (failed == 0 && !dry_run && sql.size > 0)
        failed = schema_make_indexes(pg, error);
    if (failed == 0)
        print_result(from, &sql, dry_run);
    text_free(&sql);
    return failed;
}

int database_migrate(int argc, char **argv)
{
    bool dry_run = false;
    uint64_t partition_rows = 0;
    const struct command_option options[] = {
        { "dry-run", 'n', NULL, COMMAND_FLAG, &dry_run,
          "change nothing, print the statements that would run" },
        { "partition-rows", 0, "N", COMMAND_NUMBER, &partition_rows,
          "events in each partition of a schema that is made now (10000000)" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-cli database migrate",
        .purpose = "Make schema \"daa\", or carry it over to this version, and make indexes that "
                   "are missing or not whole.\ndaa-pgsync does the same when it connects; this is "
                   "for whoever wants to see it first, or may do\nwhat daa-pgsync's role may not.",
        .options = options,
        .shared = database_options,
        .notes = "Exit status: 0 the schema is this version's (or would be), 1 failed, 2 wrong "
                 "usage.",
    };
    struct pg *pg;
    struct error error = { 0 };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status == COMMAND_GO_ON && partition_rows > INT64_MAX / 1000000)
        return command_misused(&command, "--partition-rows is too large");
    if (status == COMMAND_GO_ON)
        status = database_connect(&command, &pg);
    if (status != COMMAND_GO_ON)
        return status;
    int failed = migrate(pg, partition_rows, dry_run, &error);
    status = failed < 0 ? database_failed(&command, &error) : COMMAND_GOOD;
    pg_close(&pg);
    return status;
}
