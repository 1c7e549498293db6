/* The schema's versions: numbered SQL files in pgsync/migrations/, which are part of the program.
 * A file that was released never changes; what comes later is another file. Each is kept in
 * daa.migrations with the SHA-256 of its text, so that a database that was made by other text under
 * the same number is told apart.
 *
 * Threads: those of the pg. */
#ifndef PGSYNC_MIGRATION_H
#define PGSYNC_MIGRATION_H

#include "core/base/text.h"
#include "pgsync/pg.h"

#include <stddef.h>
#include <stdint.h>

struct migration {
    const char *name; /* "0003-anchors" */
    const char *sql;
};

/* By number: the first is 1. Made of the files by the build. */
extern const struct migration migrations[];
extern const size_t migrations_count;

/* Applies those behind number `from` within the transaction that is open, and notes them. For a new
 * schema `from` is 0, and each partition will have `partition_rows` numbers. 0 or the pg's. */
int migration_apply(struct pg *pg, uint64_t from, uint64_t partition_rows, struct error *error);

/* Holds what is noted for numbers up to `version` against the files: ERROR_MISMATCH names the first
 * that is another. */
int migration_check(struct pg *pg, uint64_t version, struct error *error);

/* Appends what migration_apply() would run. */
void migration_print(struct text *sql, uint64_t from, uint64_t partition_rows);

#endif
