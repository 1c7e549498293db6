/* daa-cli log. */
#include "tools/cli/cli.h"
#include "tools/cli/client.h"

#include <stdio.h>

static void show_anchor(struct cli_json *parsed)
{
    static const char *const names[] = { "event", "signed",     "log",        "seq",
                                         "chain", "segment_no", "public_key", "signature" };
    char count[16];
    struct cli_table table;
    uint32_t segments = json_member(&parsed->json, 0, "segments");
    cli_table_init(&table, 2);
    cli_table_add(&table, span_of_text("NAME"));
    cli_table_add(&table, span_of_text("VALUE"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        cli_table_add(&table, span_of_text(names[i]));
        cli_table_add(&table, cli_json_value(parsed, 0, names[i]));
    }
    snprintf(count, sizeof count, "%u", segments != 0 ? parsed->json.nodes[segments].count : 0);
    cli_table_add(&table, span_of_text("segments"));
    cli_table_add(&table, span_of_text(count));
    cli_table_print(&table);
}

static void show_anchors(struct cli_json *parsed)
{
    static const char *const heads[] = { "EVENT", "SIGNED", "UP TO", "CHAIN" };
    static const char *const names[] = { "event", "signed", "seq", "chain" };
    struct cli_table table;
    cli_table_init(&table, 4);
    for (unsigned i = 0; i < 4; i++)
        cli_table_add(&table, span_of_text(heads[i]));
    uint32_t items = json_member(&parsed->json, 0, "items");
    for (uint32_t item = json_first(&parsed->json, items); item != 0;
         item = json_next(&parsed->json, items, item))
        for (unsigned i = 0; i < 4; i++)
            cli_table_add(&table, cli_json_value(parsed, item, names[i]));
    cli_table_print(&table);
}

static int ask(const struct command *command, const struct client_request *request,
               void (*show)(struct cli_json *))
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
            show(&parsed);
        cli_json_free(&parsed);
    }
    client_answer_free(&answer);
    return failed == 0 ? COMMAND_GOOD : command_failed_error(command, &error);
}

static int anchor(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli log anchor",
        .purpose =
            "Sign the head of the event log now, record that in it, and print what was signed.\n"
            "What is carried away from this machine shows later that nothing up to there was\n"
            "changed or cut off (daa-log verify --anchor FILE).",
        .shared = cli_options,
        .notes = "This needs the administrator's token.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    struct client_request request = { .method = "POST",
                                      .path = "/api/v1/log:anchor",
                                      .body = span_of_text("{}") };
    return ask(&command, &request, show_anchor);
}

static int anchors(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli log anchors",
        .purpose = "List the newest signed heads of the event log, the newest first.",
        .shared = cli_options,
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    struct client_request request = { .method = "GET", .path = "/api/v1/log/anchors" };
    return ask(&command, &request, show_anchors);
}

int cli_log(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli log",
        .purpose = "Sign the head of the agent's event log, show those that "
                   "were signed, or have all of it read through.",
        .shared = cli_options
    };
    static const struct command_entry entries[] = {
        { "anchor", "sign the head now", anchor },
        { "anchors", "list signed heads", anchors },
        { "scrub", "have the log read through for damage", cli_scrub },
        { .name = NULL },
    };
    return command_dispatch(&command, entries, argc, argv);
}
