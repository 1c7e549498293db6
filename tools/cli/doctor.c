/* daa-cli doctor. */
#include "tools/cli/cli.h"
#include "tools/cli/client.h"

#include <stdio.h>

#define CHECK_WAIT_NS (3600ull * 1000000000)

static void print_value(struct cli_json *parsed, uint32_t object, const char *name)
{
    cli_print(cli_json_value(parsed, object, name));
}

static void print_findings(struct cli_json *parsed, bool any)
{
    const struct json *json = &parsed->json;
    uint32_t items = json_member(json, 0, "items");
    for (uint32_t item = json_first(json, items); item != 0; item = json_next(json, items, item)) {
        print_value(parsed, item, "document");
        printf(": ");
        print_value(parsed, item, "finding");
        putchar('\n');
    }
    print_value(parsed, 0, "documents");
    printf(" documents as of event ");
    print_value(parsed, 0, "seq");
    printf(" checked in ");
    print_value(parsed, 0, "took_ms");
    printf(" ms: %s", command_style(stdout, any ? COMMAND_RED : COMMAND_GREEN));
    if (any) {
        print_value(parsed, 0, "findings");
        printf(" broken invariants, please report them");
    } else {
        printf("nothing is wrong");
    }
    printf("%s\n", command_style(stdout, COMMAND_PLAIN));
    if (span_is(cli_json_value(parsed, 0, "usages_checked"), "false"))
        printf("How often definitions are used was not checked: there are too many of them.\n");
}

static int check(const struct command *command)
{
    struct error error = { 0 };
    struct client_answer answer;
    struct cli_json parsed = { 0 };
    const struct client_request request = { .method = "POST",
                                            .path = "/api/v1/state:check",
                                            .body = span_of_text("{}"),
                                            .wait_ns = CHECK_WAIT_NS };
    bool any = false;
    int failed = client_perform(&request, &answer, &error);
    if (failed == 0) {
        failed = cli_json_parse(&parsed, text_span(&answer.body), "the agent's answer", &error);
        any = failed == 0 && !span_is(cli_json_value(&parsed, 0, "findings"), "0");
        if (failed == 0 && cli.json)
            printf("%s\n", text_string(&answer.body));
        else if (failed == 0)
            print_findings(&parsed, any);
        cli_json_free(&parsed);
    }
    client_answer_free(&answer);
    if (failed < 0)
        return command_failed_error(command, &error);
    return any ? COMMAND_FAILED : COMMAND_GOOD;
}

static int state(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli doctor state",
        .purpose =
            "Check all documents of the state: that every workflow that has not ended waits for\n"
            "something that exists, and that the documents agree with each other. Prints what is\n"
            "wrong, document by document, at most the first hundred.",
        .shared = cli_options,
        .notes = "This needs the administrator's token. Exit status: 0 nothing is wrong, 1 a\n"
                 "finding or no answer, 2 wrong usage.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    return status != COMMAND_GO_ON ? status : check(&command);
}

int cli_doctor(int argc, char **argv)
{
    static const struct command command = { .name = "daa-cli doctor",
                                            .purpose = "Look for what is wrong.",
                                            .shared = cli_options };
    static const struct command_entry entries[] = {
        { "state", "check the agent's state: every document, and each against the others", state },
        { "machine", "check this machine's settings", NULL },
        { .name = NULL },
    };
    return command_dispatch(&command, entries, argc, argv);
}
