/* daa-cli status, daa-cli state. */
#include "tools/cli/cli.h"
#include "tools/cli/client.h"

#include <stdio.h>

#define SNAPSHOT_WAIT_NS (3600ull * 1000000000)

/* "a.b  value" for each value in the object; arrays as they stand. */
static void print_members(struct cli_json *parsed, uint32_t object, const char *prefix,
                          struct cli_table *table)
{
    const struct json *json = &parsed->json;
    for (uint32_t key = json_first(json, object); key != 0; key = json_next(json, object, key)) {
        char name[512];
        struct span part = json_string(json, key, &parsed->arena);
        snprintf(name, sizeof name, "%s%s%.*s", prefix, prefix[0] != '\0' ? "." : "",
                 (int)part.size, (const char *)part.bytes);
        if (json->nodes[key + 1].kind == JSON_OBJECT) {
            print_members(parsed, key + 1, name, table);
            continue;
        }
        cli_table_add(table, span_of_text(name));
        cli_table_add(table, json->nodes[key + 1].kind == JSON_STRING
                                 ? json_string(json, key + 1, &parsed->arena)
                                 : json_text(json, key + 1));
    }
}

static void show_object(struct cli_json *parsed)
{
    struct cli_table table;
    cli_table_init(&table, 2);
    cli_table_add(&table, span_of_text("NAME"));
    cli_table_add(&table, span_of_text("VALUE"));
    print_members(parsed, 0, "", &table);
    cli_table_print(&table);
}

/* Asks, and prints the answer: as it is with --json, else by `print`. */
static int ask(const struct command *command, const struct client_request *request,
               void (*print)(struct cli_json *parsed))
{
    struct error error = { 0 };
    struct client_answer answer;
    struct cli_json parsed = { 0 };
    int failed = client_perform(request, &answer, &error);
    if (failed == 0 && cli.json)
        printf("%s\n", text_string(&answer.body));
    if (failed == 0 && !cli.json) {
        failed = cli_json_parse(&parsed, text_span(&answer.body), "the agent's answer", &error);
        if (failed == 0)
            print(&parsed);
        cli_json_free(&parsed);
    }
    client_answer_free(&answer);
    return failed == 0 ? COMMAND_GOOD : command_failed_error(command, &error);
}

static int show(const struct command *command, const char *path)
{
    struct client_request request = { .method = "GET", .path = path };
    return ask(command, &request, show_object);
}

int cli_status(int argc, char **argv)
{
    static const struct command command = { .name = "daa-cli status",
                                            .purpose = "Show what the agent says about itself.",
                                            .shared = cli_options };
    int first, status = command_parse(&command, argc, argv, &first);
    return status != COMMAND_GO_ON ? status : show(&command, "/status");
}

/*--- The state ---------------------------------------------------------------------------------*/

static int digest(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli state digest",
        .purpose =
            "Print the SHA-256 over all documents of the state, and the position in the log\n"
            "that they stand for. Two agents with the same log have the same digest, and so has\n"
            "what daa-log replay makes of it.",
        .shared = cli_options
    };
    int first, status = command_parse(&command, argc, argv, &first);
    return status != COMMAND_GO_ON ? status : show(&command, "/api/v1/state/digest");
}

static int snapshot(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli state snapshot",
        .purpose = "Write a snapshot of the state now, and wait until it is durable and was read\n"
                   "back. A rebuild of the state begins with the newest one.",
        .shared = cli_options,
        .notes = "This needs the administrator's token.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    struct client_request request = { .method = "POST",
                                      .path = "/api/v1/state:snapshot",
                                      .body = span_of_text("{}"),
                                      .wait_ns = SNAPSHOT_WAIT_NS };
    return ask(&command, &request, show_object);
}

static void show_snapshots(struct cli_json *parsed)
{
    static const char *const heads[] = { "SEQ", "TIME", "DOCUMENTS", "BYTES", "FILE", "TROUBLE" };
    static const char *const names[] = { "seq", "time", "documents", "bytes", "file", "trouble" };
    const struct json *json = &parsed->json;
    struct cli_table table;
    cli_table_init(&table, 6);
    for (unsigned i = 0; i < 6; i++)
        cli_table_add(&table, span_of_text(heads[i]));
    uint32_t items = json_member(json, 0, "items");
    for (uint32_t item = json_first(json, items); item != 0; item = json_next(json, items, item))
        for (unsigned i = 0; i < 6; i++)
            cli_table_add(&table, cli_json_value(parsed, item, names[i]));
    cli_table_print(&table);
}

static int snapshots(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli state snapshots",
        .purpose = "List the snapshots of the state, the newest first.",
        .shared = cli_options
    };
    int first, status = command_parse(&command, argc, argv, &first);
    struct client_request request = { .method = "GET", .path = "/api/v1/state/snapshots" };
    return status != COMMAND_GO_ON ? status : ask(&command, &request, show_snapshots);
}

int cli_state(int argc, char **argv)
{
    static const struct command command = { .name = "daa-cli state",
                                            .purpose = "Show what the agent's state amounts to.",
                                            .shared = cli_options };
    static const struct command_entry entries[] = {
        { "digest", "print the digest of all documents", digest },
        { "snapshot", "write a snapshot now", snapshot },
        { "snapshots", "list the snapshots", snapshots },
        { .name = NULL },
    };
    return command_dispatch(&command, entries, argc, argv);
}
