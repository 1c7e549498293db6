/* daa-cli status, daa-cli state. */
#include "tools/cli/cli.h"
#include "tools/cli/client.h"

#include <stdio.h>

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

static int show(const struct command *command, const char *path)
{
    struct error error = { 0 };
    struct client_answer answer;
    struct cli_json parsed = { 0 };
    struct client_request request = { .method = "GET", .path = path };
    int failed = client_perform(&request, &answer, &error);
    if (failed == 0 && cli.json)
        printf("%s\n", text_string(&answer.body));
    if (failed == 0 && !cli.json) {
        failed = cli_json_parse(&parsed, text_span(&answer.body), "the agent's answer", &error);
        if (failed == 0) {
            struct cli_table table;
            cli_table_init(&table, 2);
            cli_table_add(&table, span_of_text("NAME"));
            cli_table_add(&table, span_of_text("VALUE"));
            print_members(&parsed, 0, "", &table);
            cli_table_print(&table);
        }
        cli_json_free(&parsed);
    }
    client_answer_free(&answer);
    return failed == 0 ? COMMAND_GOOD : command_failed_error(command, &error);
}

int cli_status(int argc, char **argv)
{
    static const struct command command = { .name = "daa-cli status",
                                            .purpose = "Show what the agent says about itself.",
                                            .shared = cli_options };
    int first, status = command_parse(&command, argc, argv, &first);
    return status != COMMAND_GO_ON ? status : show(&command, "/status");
}

static int digest(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli state digest",
        .purpose =
            "Print the SHA-256 over all documents of the state, and the position in the log\n"
            "that they stand for. Two agents with the same log have the same digest.",
        .shared = cli_options
    };
    int first, status = command_parse(&command, argc, argv, &first);
    return status != COMMAND_GO_ON ? status : show(&command, "/api/v1/state/digest");
}

int cli_state(int argc, char **argv)
{
    static const struct command command = { .name = "daa-cli state",
                                            .purpose = "Show what the agent's state amounts to.",
                                            .shared = cli_options };
    static const struct command_entry entries[] = {
        { "digest", "print the digest of all documents", digest },
        { "snapshot", "write a snapshot now", NULL },
        { .name = NULL },
    };
    return command_dispatch(&command, entries, argc, argv);
}
