/* daa-cli clock. */
#include "tools/cli/cli.h"
#include "tools/cli/client.h"

#include <stdio.h>

static void print_clock(struct cli_json *parsed)
{
    static const char *const names[] = { "state",         "reason",   "log_time",    "wall_time",
                                         "difference_ns", "shift_ns", "agree_in_ns", "on_step" };
    struct cli_table table;
    cli_table_init(&table, 2);
    cli_table_add(&table, span_of_text("NAME"));
    cli_table_add(&table, span_of_text("VALUE"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct span value = cli_json_value(parsed, 0, names[i]);
        if (value.size == 0)
            continue;
        cli_table_add(&table, span_of_text(names[i]));
        cli_table_add(&table, value);
    }
    cli_table_print(&table);
}

static int ask(const struct command *command, const char *method, const char *path,
               struct span body)
{
    struct error error = { 0 };
    struct client_answer answer;
    struct cli_json parsed = { 0 };
    struct client_request request = { .method = method, .path = path, .body = body };
    int failed = client_perform(&request, &answer, &error);
    if (failed == 0 && cli.json)
        printf("%s\n", text_string(&answer.body));
    if (failed == 0 && !cli.json) {
        failed = cli_json_parse(&parsed, text_span(&answer.body), "the agent's answer", &error);
        if (failed == 0)
            print_clock(&parsed);
        cli_json_free(&parsed);
    }
    client_answer_free(&answer);
    return failed == 0 ? COMMAND_GOOD : command_failed_error(command, &error);
}

static int show(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli clock show",
        .purpose =
            "Show log time, wall time, how far they are apart, and whether the agent trusts\n"
            "the wall clock (state \"ok\") or not (\"degraded\").",
        .shared = cli_options
    };
    int first, status = command_parse(&command, argc, argv, &first);
    return status != COMMAND_GO_ON ? status
                                   : ask(&command, "GET", "/api/v1/clock", span_of(NULL, 0));
}

static int accept_clock(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli clock accept",
        .purpose =
            "Say that the wall clock, which was stepped, is right. If it is ahead of log time, "
            "log\n"
            "time moves to it at once, and timers that count what elapses do not fire early. If "
            "it\n"
            "is behind, log time cannot go back: it is slowed down by 500 ppm until they agree,\n"
            "and the answer says how long that takes.",
        .shared = cli_options,
        .notes = "This needs the administrator's token.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    return status != COMMAND_GO_ON
               ? status
               : ask(&command, "POST", "/api/v1/clock:accept", span_of_text("{}"));
}

int cli_clock(int argc, char **argv)
{
    static const struct command command = { .name = "daa-cli clock",
                                            .purpose =
                                                "Show the agent's clock, or accept a wall clock "
                                                "that was stepped.",
                                            .shared = cli_options,
                                            .fallback = "show" };
    static const struct command_entry entries[] = {
        { "show", "show log time and wall time", show },
        { "accept", "say that the wall clock is right", accept_clock },
        { .name = NULL },
    };
    return command_dispatch(&command, entries, argc, argv);
}
