#include "pgsync/migration.h"

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/sha256.h"
#include "core/base/version.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define NOTED_SINCE 4 /* daa.migrations is there from this one on */

static void checksum_of(char hex[2 * SHA256_SIZE + 1], size_t number)
{
    uint8_t digest[SHA256_SIZE];
    const char *sql = migrations[number - 1].sql;
    sha256_of(digest, sql, strlen(sql));
    bytes_to_hex(hex, digest, SHA256_SIZE);
}

/* One that was applied before there were notes has none of what it was. */
static void add_note(struct text *sql, size_t number, uint64_t from)
{
    char checksum[2 * SHA256_SIZE + 1];
    checksum_of(checksum, number);
    if (number <= from)
        text_printf(sql,
                    "INSERT INTO daa.migrations (number, name, applied_at) VALUES (%zu, '%s', NULL)"
                    " ON CONFLICT DO NOTHING;\n",
                    number, migrations[number - 1].name);
    else
        text_printf(sql,
                    "INSERT INTO daa.migrations (number, name, checksum, applied_by)"
                    " VALUES (%zu, '%s', '\\x%s', 'daa %s');\n",
                    number, migrations[number - 1].name, checksum, DAA_VERSION);
}

static void add_end(struct text *sql, uint64_t from, uint64_t partition_rows)
{
    if (from == 0)
        text_printf(sql,
                    "INSERT INTO daa.meta (version, partition_rows) VALUES (%zu, %" PRIu64 ");\n",
                    migrations_count, partition_rows);
    else
        text_printf(sql, "UPDATE daa.meta SET version = %zu;\n", migrations_count);
    for (size_t number = from < NOTED_SINCE ? 1 : from + 1; number <= migrations_count; number++)
        add_note(sql, number, from);
}

void migration_print(struct text *sql, uint64_t from, uint64_t partition_rows)
{
    for (size_t number = from + 1; number <= migrations_count; number++)
        text_printf(sql, "--- migration %s\n%s\n", migrations[number - 1].name,
                    migrations[number - 1].sql);
    add_end(sql, from, partition_rows);
}

int migration_apply(struct pg *pg, uint64_t from, uint64_t partition_rows, struct error *error)
{
    struct text end;
    int failed = 0;
    for (size_t number = from + 1; failed == 0 && number <= migrations_count; number++) {
        failed = pg_run(pg, migrations[number - 1].sql, error);
        if (failed < 0)
            return error_wrap(error, failed, "migration %s", migrations[number - 1].name);
    }
    text_init(&end);
    add_end(&end, from, partition_rows);
    failed = end.failed < 0 ? error_set(error, -ENOMEM, "no memory for the notes of migrations")
                            : pg_run(pg, text_string(&end), error);
    text_free(&end);
    return failed;
}

static int check_row(const struct pg_rows *rows, int row, struct error *error)
{
    char checksum[2 * SHA256_SIZE + 1];
    int64_t number = pg_rows_integer(rows, row, 0);
    const char *noted = pg_rows_text(rows, row, 1);
    if (number < 1 || (uint64_t)number > migrations_count || noted == NULL)
        return 0;
    checksum_of(checksum, (size_t)number);
    if (strcmp(noted, checksum) == 0)
        return 0;
    return error_set(error, ERROR_MISMATCH,
                     "schema \"daa\" was made by other text under migration %s (SHA-256 %.16s..., "
                     "here %.16s...): by a changed or unreleased daa-pgsync; use that one, or drop "
                     "schema \"daa\" to copy anew",
                     migrations[number - 1].name, noted, checksum);
}

int migration_check(struct pg *pg, uint64_t version, struct error *error)
{
    struct pg_rows *rows;
    if (version < NOTED_SINCE)
        return 0;
    int failed = pg_query(pg,
                          "SELECT number, encode(checksum, 'hex') FROM daa.migrations"
                          " ORDER BY number",
                          &rows, error);
    if (failed < 0)
        return failed;
    for (int row = 0; failed == 0 && row < pg_rows_count(rows); row++)
        failed = check_row(rows, row, error);
    pg_rows_free(rows);
    return failed;
}
