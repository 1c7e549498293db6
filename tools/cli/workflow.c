/* daa-cli workflow: submit, list, get, history, signal, cancel, resolve, erase. */
#include "tools/cli/cli.h"
#include "tools/cli/client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_SIZE_MAX = 64 << 20, KEY_SIZE_MAX = 255 };

/*--- Input -------------------------------------------------------------------*/

static int read_file(const char *path, struct text *text, struct error *error)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "re");
    if (file == NULL)
        return error_set(error, -errno, "cannot open %s: %s", path, strerror(errno));
    char bytes[16384];
    size_t size;
    text->size_max = FILE_SIZE_MAX;
    errno = 0;
    while ((size = fread(bytes, 1, sizeof bytes, file)) > 0)
        text_add(text, bytes, size);
    int failed = ferror(file) ? -errno : text->failed;
    if (!standard)
        fclose(file);
    if (failed < 0)
        return error_set(error, failed, "cannot read %s: %s", path, error_text(failed));
    return 0;
}

/* `given` is JSON or @FILE; its checked bytes go into `text`. */
static int read_json(const char *option, const char *given, struct text *text, struct error *error)
{
    const char *what = given[0] == '@' ? given + 1 : option;
    int failed = 0;
    if (given[0] == '@')
        failed = read_file(given + 1, text, error);
    else
        text_add_string(text, given);
    if (failed == 0) {
        struct cli_json parsed;
        failed = cli_json_parse(&parsed, text_span(text), what, error);
        cli_json_free(&parsed);
    }
    return failed;
}

static bool is_header_value(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (*c < 0x20 || *c == 0x7f)
            return false;
    return true;
}

/*--- Output ------------------------------------------------------------------*/

static void print_field(struct cli_json *parsed, const char *label, const char *name)
{
    struct span value = cli_json_value(parsed, 0, name);
    if (value.size == 0)
        return;
    printf("%s%-10s%s", command_style(stdout, COMMAND_DIM), label,
           command_style(stdout, COMMAND_PLAIN));
    enum command_style style = cli_status_style(value);
    if (style != COMMAND_PLAIN)
        fputs(command_style(stdout, style), stdout);
    cli_print(value);
    if (style != COMMAND_PLAIN)
        fputs(command_style(stdout, COMMAND_PLAIN), stdout);
    putchar('\n');
}

static void print_steps(struct cli_json *parsed)
{
    static const char *const columns[] = { "id", "kind", "status", "attempts", "error" };
    static const char *const heads[] = { "STEP", "KIND", "STATUS", "ATTEMPTS", "ERROR" };
    uint32_t steps = json_member(&parsed->json, 0, "steps");
    struct cli_table table;
    cli_table_init(&table, 5);
    for (int i = 0; i < 5; i++)
        cli_table_add(&table, span_of_text(heads[i]));
    for (uint32_t step = steps != 0 ? json_first(&parsed->json, steps) : 0; step != 0;
         step = json_next(&parsed->json, steps, step))
        for (int i = 0; i < 5; i++) {
            struct span value = cli_json_value(parsed, step, columns[i]);
            cli_table_add(&table, value);
        }
    putchar('\n');
    cli_table_print(&table);
}

static int print_workflow(struct text *body, struct error *error)
{
    struct cli_json parsed;
    if (cli.json) {
        printf("%s\n", text_string(body));
        return 0;
    }
    int failed = cli_json_parse(&parsed, text_span(body), "the agent's answer", error);
    if (failed == 0) {
        static const char *const fields[][2] = {
            { "id", "id" },           { "name", "name" },     { "status", "status" },
            { "reason", "reason" },   { "error", "error" },   { "submitted", "submitted" },
            { "started", "started" }, { "ended", "ended" },   { "metadata", "metadata" },
            { "input", "input" },     { "output", "output" },
        };
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
            print_field(&parsed, fields[i][0], fields[i][1]);
        if (json_member(&parsed.json, 0, "steps") != 0)
            print_steps(&parsed);
    }
    cli_json_free(&parsed);
    return failed;
}

/* Performs a request whose answer is one object, and prints it. */
static int ask(const struct command *command, const struct client_request *request,
               int (*print)(struct text *body, struct error *error))
{
    struct error error = { 0 };
    struct client_answer answer;
    int failed = client_perform(request, &answer, &error);
    if (failed == 0)
        failed = print(&answer.body, &error);
    client_answer_free(&answer);
    return failed == 0 ? COMMAND_GOOD : command_failed_error(command, &error);
}

/* "wf-... running" */
static int print_short(struct text *body, struct error *error)
{
    struct cli_json parsed;
    if (cli.json) {
        printf("%s\n", text_string(body));
        return 0;
    }
    int failed = cli_json_parse(&parsed, text_span(body), "the agent's answer", error);
    if (failed == 0) {
        cli_print(cli_json_value(&parsed, 0, "id"));
        putchar(' ');
        struct span status = cli_json_value(&parsed, 0, "status");
        cli_print(status.size > 0 ? status : span_of_text("accepted"));
        putchar('\n');
    }
    cli_json_free(&parsed);
    return failed;
}

static void workflow_path(struct text *path, const char *id, const char *tail)
{
    text_init(path);
    text_add_string(path, "/api/v1/workflows/");
    client_escape(path, id);
    text_add_string(path, tail);
}

/*--- submit ------------------------------------------------------------------*/

struct submit {
    const char *input, *key;
    struct command_list metadata;
    uint64_t wait_ns;
};

static int add_metadata(struct text *body, const struct command_list *pairs, struct error *error)
{
    text_json_open_object(body, "metadata");
    for (size_t i = 0; i < pairs->count; i++) {
        const char *pair = pairs->items[i], *equals = strchr(pair, '=');
        if (equals == NULL || equals == pair)
            return error_set(error, ERROR_INVALID, "--metadata: '%s': expected KEY=VALUE", pair);
        char *name = strndup(pair, (size_t)(equals - pair));
        if (name == NULL)
            return error_set(error, -ENOMEM, "--metadata: no memory");
        text_json_string(body, name, span_of_text(equals + 1));
        free(name);
    }
    text_json_close_object(body);
    return 0;
}

static int make_body(struct text *body, const char *path, const struct submit *submit,
                     struct error *error)
{
    struct text definition, input;
    text_init(&definition);
    text_init(&input);
    int failed = read_file(path, &definition, error);
    if (failed == 0) {
        struct cli_json parsed;
        failed = cli_json_parse(&parsed, text_span(&definition),
                                strcmp(path, "-") == 0 ? "standard input" : path, error);
        cli_json_free(&parsed);
    }
    if (failed == 0 && submit->input != NULL)
        failed = read_json("--input", submit->input, &input, error);
    text_json_open_object(body, NULL);
    text_json_raw(body, "definition", text_span(&definition));
    if (input.size > 0)
        text_json_raw(body, "input", text_span(&input));
    if (failed == 0 && submit->metadata.count > 0)
        failed = add_metadata(body, &submit->metadata, error);
    text_json_close_object(body);
    if (failed == 0 && body->failed < 0)
        failed = error_set(error, body->failed, "%s: %s", path, error_text(body->failed));
    text_free(&definition);
    text_free(&input);
    return failed;
}

/* What --wait promises: that it completed. */
static int judge(struct text *body, uint64_t wait_ns, struct error *error)
{
    struct cli_json parsed;
    int failed = cli_json_parse(&parsed, text_span(body), "the agent's answer", error);
    if (failed == 0) {
        struct span id = cli_json_value(&parsed, 0, "id");
        struct span status = cli_json_value(&parsed, 0, "status");
        if (span_is(status, "failed") || span_is(status, "cancelled"))
            failed =
                error_set(error, ERROR_INVALID, "workflow %.*s %.*s", (int)id.size,
                          (const char *)id.bytes, (int)status.size, (const char *)status.bytes);
        else if (!span_is(status, "completed"))
            failed = error_set(error, ERROR_INVALID,
                               "workflow %.*s is still %.*s after %" PRIu64
                               " ms; it goes on: 'daa-cli workflow get %.*s' shows it",
                               (int)id.size, (const char *)id.bytes, (int)status.size,
                               (const char *)status.bytes, wait_ns / 1000000, (int)id.size,
                               (const char *)id.bytes);
    }
    cli_json_free(&parsed);
    return failed;
}

static int submit_body(const struct command *command, const struct submit *submit, struct span body)
{
    char path[64] = "/api/v1/workflows";
    struct error error = { 0 };
    struct client_answer answer;
    if (submit->wait_ns > 0)
        snprintf(path, sizeof path, "/api/v1/workflows?wait=%" PRIu64 "ms",
                 submit->wait_ns / 1000000 + (submit->wait_ns % 1000000 != 0));
    struct client_request request = {
        .method = "POST", .path = path, .body = body, .key = submit->key, .wait_ns = submit->wait_ns
    };
    int failed = client_perform(&request, &answer, &error);
    if (failed == 0)
        failed = submit->wait_ns > 0 ? print_workflow(&answer.body, &error)
                                     : print_short(&answer.body, &error);
    if (failed == 0 && answer.replayed && !cli.json)
        printf("the same request had been accepted before: this is its answer\n");
    if (failed == 0 && submit->wait_ns > 0)
        failed = judge(&answer.body, submit->wait_ns, &error);
    client_answer_free(&answer);
    return failed == 0 ? COMMAND_GOOD : command_failed_error(command, &error);
}

static int submit(int argc, char **argv)
{
    struct submit given = { 0 };
    const struct command_option options[] = {
        { "input", 'i', "JSON", COMMAND_TEXT, &given.input, "input of the workflow, or @FILE" },
        { "metadata", 'm', "KEY=VALUE", COMMAND_LIST, &given.metadata,
          "a label; may be given more than once" },
        { "key", 'k', "KEY", COMMAND_TEXT, &given.key,
          "idempotency key: asking again with the same key and file\n"
          "gives the same workflow, never a second one" },
        { "wait", 'w', "DURATION", COMMAND_DURATION, &given.wait_ns,
          "wait so long for the end (30s), and print it" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-cli workflow submit",
        .purpose = "Submit a workflow. Its definition is JSON in FILE (-: standard input).\n"
                   "It is durable when this command has printed its id.",
        .arguments = "FILE",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = cli_options,
        .notes = "Exit status: 0 accepted (with --wait: completed), 1 not, 2 wrong usage.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (given.key != NULL &&
        (given.key[0] == '\0' || strlen(given.key) > KEY_SIZE_MAX || !is_header_value(given.key)))
        return command_misused(&command, "--key: expected 1 to %d bytes without control characters",
                               KEY_SIZE_MAX);
    struct error error = { 0 };
    struct text body;
    text_init(&body);
    int failed = make_body(&body, argv[first], &given, &error);
    status = failed == 0 ? submit_body(&command, &given, text_span(&body))
                         : command_failed_error(&command, &error);
    text_free(&body);
    return status;
}

/*--- list, history -----------------------------------------------------------*/

/* A list that comes in pages. */
struct page {
    struct text path; /* with '?' in it: more can be added */
    uint64_t limit;   /* of all pages together; 0: none */
    uint64_t shown;
    const char *const *members; /* columns of the table */
    unsigned member_count;
    bool backwards; /* each page is older than the one before it, and in order in itself */
    struct text *bodies;
    size_t count;
    char removed[24]; /* the newest event of it that is no longer in the log; "": none */
    char source[400]; /* a sentence on where it comes from; "": there is nothing to say */
};

static void show_items(struct page *page, struct cli_json *parsed, struct cli_table *table)
{
    const struct json *json = &parsed->json;
    uint32_t items = json_member(json, 0, "items");
    for (uint32_t item = items != 0 ? json_first(json, items) : 0;
         item != 0 && (page->limit == 0 || page->shown < page->limit);
         item = json_next(json, items, item)) {
        page->shown++;
        if (cli.json) {
            struct span text = json_text(json, item);
            printf("%.*s\n", (int)text.size, (const char *)text.bytes);
            continue;
        }
        for (unsigned i = 0; i < page->member_count; i++)
            cli_table_add(table, cli_json_value(parsed, item, page->members[i]));
    }
}

/* A copy in Postgres that is not up to date, or that was not asked. */
static void note_source(struct page *page, struct cli_json *parsed)
{
    struct span copied = cli_json_value(parsed, 0, "copied_seq");
    struct span durable = cli_json_value(parsed, 0, "durable_seq");
    struct span why = cli_json_value(parsed, 0, "why");
    if (why.size > 0)
        snprintf(page->source, sizeof page->source,
                 "only what the agent itself has was looked at: %.*s",
                 why.size > 300 ? 300 : (int)why.size, (const char *)why.bytes);
    else if (copied.size > 0 && !span_equal(copied, durable))
        snprintf(page->source, sizeof page->source,
                 "from Postgres, which has the log up to event %.*s of %.*s", (int)copied.size,
                 (const char *)copied.bytes, (int)durable.size, (const char *)durable.bytes);
}

/* Gets one page and keeps it; *cursor is the next one's afterwards, empty at the end. Adds the
 * number of its items to *items. */
static int get_page(struct page *page, struct text *cursor, uint64_t *items, struct error *error)
{
    struct text path;
    struct client_answer answer;
    struct cli_json parsed = { 0 };
    text_init(&path);
    text_add_string(&path, text_string(&page->path));
    if (cursor->size > 0) {
        text_add_string(&path, "&cursor=");
        client_escape(&path, text_string(cursor));
    }
    struct client_request request = { .method = "GET", .path = text_string(&path) };
    int failed = client_perform(&request, &answer, error);
    struct text *longer = reallocarray(page->bodies, page->count + 1, sizeof *longer);
    if (longer != NULL)
        page->bodies = longer;
    if (failed == 0 && longer == NULL)
        failed = error_set(error, -ENOMEM, "no memory for the list");
    if (failed == 0)
        failed = cli_json_parse(&parsed, text_span(&answer.body), "the agent's answer", error);
    text_clear(cursor);
    if (failed == 0) {
        uint32_t list = json_member(&parsed.json, 0, "items");
        *items += list != 0 ? parsed.json.nodes[list].count : 0;
        text_add_span(cursor, cli_json_value(&parsed, 0, "next_cursor"));
        struct span removed = cli_json_value(&parsed, 0, "removed_up_to");
        snprintf(page->removed, sizeof page->removed, "%.*s", (int)removed.size,
                 (const char *)removed.bytes);
        note_source(page, &parsed);
        page->bodies[page->count++] = answer.body;
    } else {
        client_answer_free(&answer);
    }
    if (parsed.arena.budget != NULL)
        cli_json_free(&parsed);
    text_free(&path);
    return failed;
}

static void show_bodies(struct page *page, const char *const *heads)
{
    struct cli_table table;
    cli_table_init(&table, page->member_count);
    for (unsigned i = 0; i < page->member_count; i++)
        cli_table_add(&table, span_of_text(heads[i]));
    for (size_t i = 0; i < page->count; i++) {
        struct text *body = &page->bodies[page->backwards ? page->count - 1 - i : i];
        struct cli_json parsed;
        if (cli_json_parse(&parsed, text_span(body), "the agent's answer", NULL) == 0)
            show_items(page, &parsed, &table);
        cli_json_free(&parsed);
    }
    if (cli.json)
        text_free(&table.cells);
    else
        cli_table_print(&table);
}

static int show_pages(const struct command *command, struct page *page, const char *const *heads)
{
    struct error error = { 0 };
    struct text cursor;
    uint64_t items = 0;
    int failed;
    text_init(&cursor);
    do
        failed = get_page(page, &cursor, &items, &error);
    while (failed == 0 && cursor.size > 0 && (page->limit == 0 || items < page->limit));
    if (failed == 0)
        show_bodies(page, heads);
    if (failed == 0 && !cli.json && (cursor.size > 0 || page->shown < items))
        printf("there are more; --all shows them\n");
    if (failed == 0 && page->source[0])
        fprintf(cli.json ? stderr : stdout, "%s\n", page->source);
    if (failed == 0 && !cli.json && page->removed[0])
        printf("its events up to %s were removed from the log by retention\n", page->removed);
    for (size_t i = 0; i < page->count; i++)
        text_free(&page->bodies[i]);
    free(page->bodies);
    text_free(&cursor);
    text_free(&page->path);
    return failed == 0 ? COMMAND_GOOD : command_failed_error(command, &error);
}

static void add_parameter(struct text *path, const char *name, const char *value)
{
    if (value == NULL)
        return;
    text_printf(path, "&%s=", name);
    client_escape(path, value);
}

static bool add_labels(struct text *path, const struct command_list *pairs)
{
    for (size_t i = 0; i < pairs->count; i++) {
        const char *pair = pairs->items[i], *equals = strchr(pair, '=');
        char *key =
            equals != NULL && equals != pair ? strndup(pair, (size_t)(equals - pair)) : NULL;
        if (key == NULL)
            return false;
        text_add_string(path, "&metadata.");
        client_escape(path, key);
        text_add_string(path, "=");
        client_escape(path, equals + 1);
        free(key);
    }
    return true;
}

static int list(int argc, char **argv)
{
    static const char *const members[] = { "id", "name", "status", "submitted", "reason" };
    static const char *const heads[] = { "ID", "NAME", "STATUS", "SUBMITTED", "REASON" };
    const char *wanted = NULL, *name = NULL, *since = NULL, *until = NULL, *source = NULL;
    struct command_list metadata = { 0 };
    uint64_t limit = 100;
    bool all = false;
    const struct command_option options[] = {
        { "status", 's', "STATUS", COMMAND_TEXT, &wanted,
          "only those: pending, running, paused, parked,\ncompleted, failed, cancelled" },
        { "name", 0, "NAME", COMMAND_TEXT, &name, "only those of this name" },
        { "metadata", 'm', "KEY=VALUE", COMMAND_LIST, &metadata,
          "only those with this label; may be given more than once" },
        { "since", 0, "TIME", COMMAND_TEXT, &since,
          "only those submitted then or later: 2026-11-26T10:00Z, '2 hours ago'" },
        { "until", 0, "TIME", COMMAND_TEXT, &until, "only those submitted before" },
        { "source", 0, "SOURCE", COMMAND_TEXT, &source,
          "who is asked: local, the agent alone, or postgres" },
        { "limit", 'n', "COUNT", COMMAND_NUMBER, &limit, "show at most so many (default: 100)" },
        { "all", 'a', NULL, COMMAND_FLAG, &all, "show all" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-cli workflow list",
        .purpose = "List workflows, newest first. With labels or times they are searched in\n"
                   "Postgres, when the agent has one.",
        .options = options,
        .shared = cli_options
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (limit == 0)
        return command_misused(&command, "--limit: expected 1 or more");
    if (source != NULL && strcmp(source, "local") != 0 && strcmp(source, "postgres") != 0)
        return command_misused(&command, "--source is local or postgres, not \"%s\"", source);
    struct page page = { .limit = all ? 0 : limit, .members = members, .member_count = 5 };
    text_init(&page.path);
    text_printf(&page.path, "/api/v1/workflows?limit=%" PRIu64,
                all || limit > 1000 ? (uint64_t)1000 : limit);
    add_parameter(&page.path, "status", wanted);
    add_parameter(&page.path, "name", name);
    add_parameter(&page.path, "since", since);
    add_parameter(&page.path, "until", until);
    add_parameter(&page.path, "source", source);
    if (add_labels(&page.path, &metadata))
        return show_pages(&command, &page, heads);
    text_free(&page.path);
    return command_misused(&command, "--metadata: expected KEY=VALUE");
}

static int history(int argc, char **argv)
{
    static const char *const members[] = { "seq", "time", "kind", "cause", "payload" };
    static const char *const heads[] = { "SEQ", "TIME", "KIND", "CAUSE", "EVENT" };
    const struct command command = { .name = "daa-cli workflow history",
                                     .purpose = "Show every event of a workflow, in order.",
                                     .arguments = "ID",
                                     .arguments_min = 1,
                                     .arguments_max = 1,
                                     .shared = cli_options };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    struct page page = { .members = members, .member_count = 5, .backwards = true };
    workflow_path(&page.path, argv[first], "/history?limit=10000");
    return show_pages(&command, &page, heads);
}

/*--- The others --------------------------------------------------------------*/

static int get(int argc, char **argv)
{
    const struct command command = { .name = "daa-cli workflow get",
                                     .purpose = "Show a workflow and its steps.",
                                     .arguments = "ID",
                                     .arguments_min = 1,
                                     .arguments_max = 1,
                                     .shared = cli_options };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    struct text path;
    workflow_path(&path, argv[first], "");
    struct client_request request = { .method = "GET", .path = text_string(&path) };
    status = ask(&command, &request, print_workflow);
    text_free(&path);
    return status;
}

static int send_signal(int argc, char **argv)
{
    const char *key = NULL;
    const struct command_option options[] = {
        { "key", 'k', "KEY", COMMAND_TEXT, &key, "idempotency key: the same key counts once" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-cli workflow signal",
        .purpose = "Send a signal to a workflow. The payload is JSON, or @FILE.",
        .arguments = "ID NAME [JSON]",
        .arguments_min = 2,
        .arguments_max = 3,
        .options = options,
        .shared = cli_options
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (key != NULL && (key[0] == '\0' || strlen(key) > KEY_SIZE_MAX || !is_header_value(key)))
        return command_misused(&command, "--key: expected 1 to %d bytes without control characters",
                               KEY_SIZE_MAX);
    struct text path, body;
    struct error error = { 0 };
    text_init(&body);
    workflow_path(&path, argv[first], "/signals/");
    client_escape(&path, argv[first + 1]);
    int failed =
        argv[first + 2] != NULL ? read_json("the payload", argv[first + 2], &body, &error) : 0;
    if (body.size == 0)
        text_add_string(&body, "null");
    struct client_request request = {
        .method = "POST", .path = text_string(&path), .body = text_span(&body), .key = key
    };
    status =
        failed == 0 ? ask(&command, &request, print_short) : command_failed_error(&command, &error);
    text_free(&path);
    text_free(&body);
    return status;
}

/* POSTs to ID:VERB, with a reason if there is one. */
static int post_with_reason(const struct command *command, const char *id, const char *verb,
                            const char *reason)
{
    struct text path, body;
    text_init(&body);
    text_json_open_object(&body, NULL);
    if (reason != NULL)
        text_json_cstring(&body, "reason", reason);
    text_json_close_object(&body);
    workflow_path(&path, id, verb);
    struct client_request request = { .method = "POST",
                                      .path = text_string(&path),
                                      .body = text_span(&body) };
    int status = ask(command, &request, print_short);
    text_free(&path);
    text_free(&body);
    return status;
}

static int cancel(int argc, char **argv)
{
    const char *reason = NULL;
    const struct command_option options[] = {
        { "reason", 'r', "TEXT", COMMAND_TEXT, &reason, "why, for the history" },
        { .name = NULL },
    };
    const struct command command = { .name = "daa-cli workflow cancel",
                                     .purpose = "Cancel a workflow that has not ended.",
                                     .arguments = "ID",
                                     .arguments_min = 1,
                                     .arguments_max = 1,
                                     .options = options,
                                     .shared = cli_options };
    int first, status = command_parse(&command, argc, argv, &first);
    return status != COMMAND_GO_ON ? status
                                   : post_with_reason(&command, argv[first], ":cancel", reason);
}

static int erase(int argc, char **argv)
{
    const char *reason = NULL;
    bool yes = false;
    const struct command_option options[] = {
        { "reason", 'r', "TEXT", COMMAND_TEXT, &reason, "why; it stays in the log for ever" },
        { "yes", 'y', NULL, COMMAND_FLAG, &yes, "it is meant" },
        { .name = NULL },
    };
    const struct command command = { .name = "daa-cli workflow erase",
                                     .purpose = "Make what a workflow that has ended was given and "
                                                "gave unreadable for ever.",
                                     .arguments = "ID",
                                     .arguments_min = 1,
                                     .arguments_max = 1,
                                     .options = options,
                                     .shared = cli_options };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (!yes)
        return command_misused(&command, "this cannot be undone: add --yes if it is meant");
    return post_with_reason(&command, argv[first], ":erase", reason);
}

static int resolve(int argc, char **argv)
{
    const char *as = NULL, *output = NULL, *reason = NULL;
    const struct command_option options[] = {
        { "as", 0, "done|failed|retry", COMMAND_TEXT, &as,
          "done: it happened; failed: it did not and shall not;\nretry: do it again" },
        { "output", 'o', "JSON", COMMAND_TEXT, &output, "what came of it, for done; or @FILE" },
        { "reason", 'r', "TEXT", COMMAND_TEXT, &reason, "why, for the history" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-cli workflow resolve",
        .purpose = "Decide about a step that may have happened and is not repeated by itself.",
        .arguments = "ID STEP",
        .arguments_min = 2,
        .arguments_max = 2,
        .options = options,
        .shared = cli_options
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (as == NULL ||
        (strcmp(as, "done") != 0 && strcmp(as, "failed") != 0 && strcmp(as, "retry") != 0))
        return command_misused(&command, "--as: expected done, failed or retry");
    struct text path, body, value;
    struct error error = { 0 };
    text_init(&body);
    text_init(&value);
    int failed = output != NULL ? read_json("--output", output, &value, &error) : 0;
    text_json_open_object(&body, NULL);
    text_json_cstring(&body, "step", argv[first + 1]);
    text_json_cstring(&body, "as", as);
    if (value.size > 0)
        text_json_raw(&body, "output", text_span(&value));
    if (reason != NULL)
        text_json_cstring(&body, "reason", reason);
    text_json_close_object(&body);
    workflow_path(&path, argv[first], ":resolve");
    struct client_request request = { .method = "POST",
                                      .path = text_string(&path),
                                      .body = text_span(&body) };
    status =
        failed == 0 ? ask(&command, &request, print_short) : command_failed_error(&command, &error);
    text_free(&path);
    text_free(&body);
    text_free(&value);
    return status;
}

int cli_workflow(int argc, char **argv)
{
    static const struct command command = {
        .name = "daa-cli workflow",
        .purpose = "Submit workflows, look at them, signal, cancel, resolve, erase.",
        .shared = cli_options
    };
    static const struct command_entry entries[] = {
        { "submit", "submit a workflow", submit },
        { "list", "list workflows", list },
        { "get", "show a workflow and its steps", get },
        { "history", "show every event of a workflow", history },
        { "signal", "send a signal to a workflow", send_signal },
        { "cancel", "cancel a workflow", cancel },
        { "resolve", "decide about an uncertain step", resolve },
        { "erase", "make a workflow's data unreadable for ever", erase },
        { "pause", "pause a workflow", NULL },
        { "resume", "resume a paused workflow", NULL },
        { "watch", "follow a workflow", NULL },
        { .name = NULL },
    };
    return command_dispatch(&command, entries, argc, argv);
}
