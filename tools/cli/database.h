/* What the commands of daa-cli database share: the connection, sentences about what went wrong, and
 * rows of the server as aligned columns or JSON.
 *
 * Threads: the main thread. */
#ifndef TOOLS_CLI_DATABASE_H
#define TOOLS_CLI_DATABASE_H

#include "core/base/text.h"
#include "pgsync/pg.h"
#include "pgsync/server_status.h"
#include "tools/cli/cli.h"

#include <stdbool.h>
#include <stdint.h>

/* --url, which is the database's here, and --json. */
extern const struct command_option database_options[];

/* Parses a command without arguments and connects. COMMAND_GO_ON with *pg (close it), or the status
 * to exit with. */
int database_begin(const struct command *command, int argc, char **argv, struct pg **pg);
/* The second half of it, for a command that checks its options in between. */
int database_connect(const struct command *command, struct pg **pg);

/* Prints the sentence and what to do about it; COMMAND_FAILED. */
int database_failed(const struct command *command, const struct error *error);
/* COMMAND_GO_ON when there is a schema `daa`, else the sentence and COMMAND_FAILED. */
int database_check_schema(const struct command *command, struct pg *pg);

enum database_kind {
    DATABASE_TEXT,
    DATABASE_NUMBER,
    DATABASE_BYTES,   /* "12.3 MB" for people */
    DATABASE_SECONDS, /* "3m" */
    DATABASE_MS,      /* "12.345" */
    DATABASE_FLAG,    /* "yes" */
    DATABASE_QUERY,   /* in one line and cut, for people */
};

/* What column n of the rows is; the table of them ends with one without a key. `head` is NULL for
 * what only JSON shows. At most eight have one. */
struct database_column {
    const char *key, *head;
    enum database_kind kind;
};
void database_print(const struct pg_rows *rows, const struct database_column *columns);
void database_json(struct text *json, const char *key, const struct pg_rows *rows,
                   const struct database_column *columns);

enum { DATABASE_CELL_SIZE = 128 };
/* A value as people read it, "-" for NULL. */
void database_cell(char cell[DATABASE_CELL_SIZE], enum database_kind kind, const char *value);

/* Prints the object and frees it. */
void database_print_json(struct text *json);

int database_migrate(int argc, char **argv);
int database_status(int argc, char **argv);
int database_analyze(int argc, char **argv);
int database_index_usage(int argc, char **argv);
int database_pool_stats(int argc, char **argv);
int database_reset_connections(int argc, char **argv);
int database_slow_queries(int argc, char **argv);
int database_tune(int argc, char **argv);

#endif
