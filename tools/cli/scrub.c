/* daa-cli log scrub. */
#include "tools/cli/cli.h"
#include "tools/cli/client.h"
#include "tools/command/progress.h"

#include <poll.h>
#include <stdio.h>

#define LOOK_MS 250

static bool is_true(struct cli_json *parsed, const char *name)
{
    return span_is(cli_json_value(parsed, 0, name), "true");
}

static uint64_t number(struct cli_json *parsed, const char *name)
{
    uint64_t value = 0;
    struct span text = cli_json_value(parsed, 0, name);
    for (size_t i = 0; i < text.size && text.bytes[i] >= '0' && text.bytes[i] <= '9'; i++)
        value = value * 10 + (uint64_t)(text.bytes[i] - '0');
    return value;
}

static void print_value(struct cli_json *parsed, uint32_t object, const char *name)
{
    cli_print(cli_json_value(parsed, object, name));
}

static void print_damages(struct cli_json *parsed)
{
    const struct json *json = &parsed->json;
    uint32_t items = json_member(json, 0, "damaged");
    for (uint32_t item = json_first(json, items); item != 0; item = json_next(json, items, item)) {
        printf("%sdamaged%s: ", command_style(stdout, COMMAND_RED),
               command_style(stdout, COMMAND_PLAIN));
        print_value(parsed, item, "file");
        printf(" at ");
        print_value(parsed, item, "offset");
        printf(": ");
        print_value(parsed, item, "text");
        putchar('\n');
    }
}

static void print_text(struct cli_json *parsed)
{
    bool ever = cli_json_value(parsed, 0, "last_ended").size > 0;
    print_damages(parsed);
    if (cli_json_value(parsed, 0, "trouble").size > 0) {
        printf("the log was not read through: ");
        print_value(parsed, 0, "trouble");
        putchar('\n');
    }
    if (is_true(parsed, "under_way")) {
        printf("the log is being read through, %llu segments so far\n",
               (unsigned long long)number(parsed, "segments"));
        return;
    }
    printf(ever ? "last read through: " : "never read through yet");
    print_value(parsed, 0, "last_ended");
    if (cli_json_value(parsed, 0, "due").size > 0)
        printf("; next: ");
    print_value(parsed, 0, "due");
    printf("; damaged places: ");
    print_value(parsed, 0, "damages");
    putchar('\n');
}

/* One request; *bad: there is damage, or trouble. */
static int ask(const char *method, const char *path, struct progress *progress, bool print,
               bool *under_way, bool *bad, struct error *error)
{
    struct client_answer answer;
    struct cli_json parsed = { 0 };
    const struct client_request request = { .method = method,
                                            .path = path,
                                            .body = span_of_text(method[0] == 'P' ? "{}" : "") };
    int failed = client_perform(&request, &answer, error);
    if (failed == 0)
        failed = cli_json_parse(&parsed, text_span(&answer.body), "the agent's answer", error);
    if (failed == 0) {
        *under_way = is_true(&parsed, "under_way");
        *bad = number(&parsed, "damages") > 0 || cli_json_value(&parsed, 0, "trouble").size > 0;
        if (progress != NULL)
            progress_show(number(&parsed, "done_bytes"), number(&parsed, "all_bytes"), progress);
        if (print && cli.json)
            printf("%s\n", text_string(&answer.body));
        else if (print)
            print_text(&parsed);
    }
    cli_json_free(&parsed);
    client_answer_free(&answer);
    return failed;
}

static int wait_for_end(struct error *error, bool *bad)
{
    struct progress progress;
    bool under_way = true;
    int failed = 0;
    progress_begin(&progress, "reading the log", PROGRESS_BYTES, 0);
    while (failed == 0 && under_way) {
        failed = ask("GET", "/api/v1/log/scrub", &progress, false, &under_way, bad, error);
        if (under_way)
            poll(NULL, 0, LOOK_MS);
    }
    progress_end(&progress);
    return failed;
}

int cli_scrub(int argc, char **argv)
{
    bool wait = false, show = false;
    const struct command_option options[] = {
        { "wait", 'w', NULL, COMMAND_FLAG, &wait,
          "wait until it is done, and print what it found" },
        { "show", 's', NULL, COMMAND_FLAG, &show, "begin nothing, only print what is known" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-cli log scrub",
        .purpose = "Have the agent read all closed segments of its log through now, at the lowest\n"
                   "priority, to find damage while there are copies to mend it from. It does so by "
                   "itself\n"
                   "every [log] scrub_interval.",
        .options = options,
        .shared = cli_options,
        .notes = "To begin one needs the administrator's token. Exit status: 0 no damage is known, "
                 "1\ndamage, trouble or no answer, 2 wrong usage.",
    };
    struct error error = { 0 };
    bool under_way, bad = false;
    int first, status = command_parse(&command, argc, argv, &first), failed = 0;
    if (status != COMMAND_GO_ON)
        return status;
    if (!show)
        failed = ask("POST", "/api/v1/log:scrub", NULL, !wait, &under_way, &bad, &error);
    if (failed == 0 && wait)
        failed = wait_for_end(&error, &bad);
    if (failed == 0 && (wait || show))
        failed = ask("GET", "/api/v1/log/scrub", NULL, true, &under_way, &bad, &error);
    if (failed < 0)
        return command_failed_error(&command, &error);
    return bad ? COMMAND_FAILED : COMMAND_GOOD;
}
