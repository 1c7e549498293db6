#include "tools/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct cli cli = { .url = "http://127.0.0.1:8080" };

const struct command_option cli_options[] = {
    { "url", 'u', "URL", COMMAND_TEXT, &cli.url,
      "where the agent is: http://ADDRESS:PORT or unix:///PATH\n"
      "(default: $DAA_URL, else http://127.0.0.1:8080)" },
    { "token-file", 't', "FILE", COMMAND_TEXT, &cli.token_file,
      "file with the token to show (default: $DAA_TOKEN_FILE)" },
    { "json", 'j', NULL, COMMAND_FLAG, &cli.json, "print JSON, one object a line" },
    { .name = NULL },
};

/*--- JSON --------------------------------------------------------------------*/

int cli_json_parse(struct cli_json *parsed, struct span text, const char *what, struct error *error)
{
    struct json_problem problem = { 0 };
    arena_init(&parsed->arena, &cli.budget, BUDGET_REQUESTS, 4096);
    int failed = json_parse(&parsed->json, &parsed->arena, text, &problem);
    if (failed == ERROR_SYNTAX)
        return error_set(error, failed, "%s is not JSON: line %u, column %u: %s", what,
                         problem.line, problem.column, problem.message);
    if (failed < 0)
        return error_set(error, failed, "%s: %s", what, error_text(failed));
    return 0;
}

void cli_json_free(struct cli_json *parsed)
{
    arena_free(&parsed->arena);
}

struct span cli_json_value(struct cli_json *parsed, uint32_t object, const char *name)
{
    uint32_t node = json_member(&parsed->json, object, name);
    if (node == 0 || parsed->json.nodes[node].kind == JSON_NULL)
        return span_of("", 0);
    if (parsed->json.nodes[node].kind == JSON_STRING)
        return json_string(&parsed->json, node, &parsed->arena);
    return json_text(&parsed->json, node);
}

/*--- Printing ----------------------------------------------------------------*/

void cli_print(struct span text)
{
    for (size_t i = 0; i < text.size; i++)
        putchar(text.bytes[i] < 0x20 || text.bytes[i] == 0x7f ? '?' : text.bytes[i]);
}

/* Columns that UTF-8 text takes, near enough: one a character. */
static unsigned width_of(struct span text)
{
    unsigned width = 0;
    for (size_t i = 0; i < text.size; i++)
        width += (text.bytes[i] & 0xc0) != 0x80;
    return width;
}

void cli_table_init(struct cli_table *table, unsigned columns)
{
    *table = (struct cli_table){ .columns = columns };
    text_init(&table->cells);
}

void cli_table_add(struct cli_table *table, struct span cell)
{
    unsigned column = table->count++ % table->columns;
    const uint8_t *end = cell.size > 0 ? memchr(cell.bytes, 0, cell.size) : NULL;
    if (end != NULL)
        cell.size = (size_t)(end - cell.bytes);
    unsigned width = width_of(cell);
    if (width > table->widths[column])
        table->widths[column] = width;
    text_add_span(&table->cells, cell);
    text_add(&table->cells, "", 1);
}

enum command_style cli_status_style(struct span status)
{
    if (span_is(status, "completed"))
        return COMMAND_GREEN;
    if (span_is(status, "failed") || span_is(status, "cancelled"))
        return COMMAND_RED;
    if (span_is(status, "paused") || span_is(status, "uncertain"))
        return COMMAND_YELLOW;
    return COMMAND_PLAIN;
}

void cli_table_print(struct cli_table *table)
{
    const char *cell = table->cells.bytes;
    unsigned gap = 0; /* printed only before a cell that shows something */
    for (unsigned i = 0; i < table->count && table->cells.failed == 0; i++) {
        struct span text = span_of_text(cell);
        unsigned column = i % table->columns;
        enum command_style style = i < table->columns ? COMMAND_BOLD : cli_status_style(text);
        if (text.size > 0)
            printf("%*s%s", (int)gap, "",
                   style != COMMAND_PLAIN ? command_style(stdout, style) : "");
        gap = text.size > 0 ? table->widths[column] - width_of(text) + 2
                            : gap + table->widths[column] + 2;
        cli_print(text);
        if (text.size > 0 && style != COMMAND_PLAIN)
            fputs(command_style(stdout, COMMAND_PLAIN), stdout);
        if (column + 1 == table->columns) {
            putchar('\n');
            gap = 0;
        }
        cell += text.size + 1;
    }
    text_free(&table->cells);
}
