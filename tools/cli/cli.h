/* What the commands of daa-cli share: where the agent is, how to ask it, how to print.
 *
 * Threads: the main thread. */
#ifndef TOOLS_CLI_CLI_H
#define TOOLS_CLI_CLI_H

#include "core/base/arena.h"
#include "core/base/budget.h"
#include "core/base/json.h"
#include "core/base/text.h"
#include "tools/command/command.h"

#include <stdbool.h>

#define CLI_MEMORY_MAX (1ull << 30) /* bytes of answers and definitions held at once */

/* The options that every command takes; filled by command_parse(). */
struct cli {
    const char *url;        /* --url, $DAA_URL or the default */
    const char *token_file; /* --token-file, $DAA_TOKEN_FILE or NULL */
    bool json;              /* --json */
    struct budget budget;
};
extern struct cli cli;
extern const struct command_option cli_options[];

/* A parsed JSON text; `text` must stay. */
struct cli_json {
    struct json json;
    struct arena arena;
};
/* 0; negative with a sentence that names `what` and the place. Free it in any case. */
int cli_json_parse(struct cli_json *parsed, struct span text, const char *what,
                   struct error *error);
void cli_json_free(struct cli_json *parsed);
/* The value of a member as people read it: a string without its quotes, other values as they
 * stand, "" when it is missing or null. */
struct span cli_json_value(struct cli_json *parsed, uint32_t object, const char *name);

/* Prints text that others wrote: control characters become '?', so that it cannot reach the
 * terminal's state. */
void cli_print(struct span text);

/* Rows with aligned columns. Cells are copied. */
struct cli_table {
    struct text cells; /* terminated, one after the other */
    unsigned columns, count;
    unsigned widths[8];
};
void cli_table_init(struct cli_table *table, unsigned columns);
void cli_table_add(struct cli_table *table, struct span cell);
void cli_table_print(struct cli_table *table); /* the first row is the head; frees the table */

/* The colour of a status on a terminal. */
enum command_style cli_status_style(struct span status);

int cli_workflow(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_state(int argc, char **argv);
int cli_clock(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_log(int argc, char **argv);
int cli_scrub(int argc, char **argv); /* "log scrub" */
int cli_database(int argc, char **argv);
int cli_benchmark(int argc, char **argv);

#endif
