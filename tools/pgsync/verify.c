#include "tools/pgsync/verify.h"

#include "core/base/id.h"
#include "tools/command/progress.h"
#include "tools/pgsync/failed.h"

#include <inttypes.h>
#include <stdio.h>

#define LINES_MAX 50u /* of differences, for people */

static const char *const kind_names[VERIFY_KINDS] = {
    [VERIFY_MISSING] = "missing",
    [VERIFY_EXTRA] = "extra",
    [VERIFY_RECORD] = "record",
    [VERIFY_CONTENT] = "content",
};

static const char *chain_name(enum verify_chain chain)
{
    static const char *const names[] = { "not comparable", "same", "other" };
    return names[chain];
}

/*--- For people ------------------------------------------------------------------------------*/

static void print_log(const struct verify_log *log)
{
    char uuid[UUID_TEXT_SIZE];
    uuid_to_text(uuid, log->log);
    if (!log->known) {
        printf("log %s: not in Postgres\n", uuid);
        return;
    }
    printf("log %s: position %" PRIu64 ", ", uuid, log->position);
    if (log->last_seq >= log->first_seq)
        printf("events %" PRIu64 " to %" PRIu64 " compared, chain %s\n", log->first_seq,
               log->last_seq, chain_name(log->chain));
    else
        printf("nothing to compare\n");
    if (log->gone > 0)
        printf("  %" PRIu64 " older events are not in the log any more: not comparable\n",
               log->gone);
    if (log->detached > 0)
        printf("  %" PRIu64 " events are in partitions that were detached: not compared\n",
               log->detached);
    if (log->left > 0)
        printf("  %" PRIu64 " events behind the fork are not this log's: not compared\n",
               log->left);
    if (log->lag > 0)
        printf("  %" PRIu64 " events behind the position: not copied yet\n", log->lag);
}

static void print_difference(const struct verify_difference *difference)
{
    static const char *const words[VERIFY_KINDS] = {
        [VERIFY_MISSING] = "missing in Postgres",
        [VERIFY_EXTRA] = "in Postgres only",
        [VERIFY_RECORD] = "other record bytes",
        [VERIFY_CONTENT] = "other content",
    };
    char uuid[UUID_TEXT_SIZE];
    uuid_to_text(uuid, difference->log);
    printf("  %s %" PRIu64, difference->table, difference->first);
    if (difference->last != difference->first)
        printf(" to %" PRIu64, difference->last);
    printf(" of log %s: %s", uuid, words[difference->kind]);
    if (difference->columns[0] != '\0')
        printf(" (%s)", difference->columns);
    if (difference->kind == VERIFY_EXTRA && !difference->proven)
        printf(", and the log ends before");
    printf("\n");
}

void print_verified(const struct verify_result *result)
{
    for (size_t i = 0; i < result->log_count; i++)
        print_log(&result->logs[i]);
    for (size_t i = 0; i < result->difference_count && i < LINES_MAX; i++)
        print_difference(&result->differences[i]);
    if (result->difference_count > LINES_MAX)
        printf("  and %zu more: --json lists them\n", result->difference_count - LINES_MAX);
    if (result->refused > 0)
        printf("%" PRIu64 " events have no payload, since the server refused it (column error)\n",
               result->refused);
    if (result->unopened > 0)
        printf("%" PRIu64 " events are encrypted with keys that cannot be had, or were destroyed: "
               "what these hide was not compared\n",
               result->unopened);
    if (result->content && !result->rows_compared)
        printf("the derived tables were not compared, since events differ that they are made of\n");
    if (result->rows_compared && result->rows_from > 1)
        printf("rows of what was created before event %" PRIu64
               " were not compared: Postgres does not have all of their events\n",
               result->rows_from);
}

static void print_verdict(const struct verify_result *result)
{
    uint64_t differ = 0;
    for (int i = 0; i < VERIFY_KINDS; i++)
        differ += result->kinds[i];
    if (verify_is_clean(result) && result->content)
        printf("clean: %" PRIu64 " events and %" PRIu64
               " derived rows are the same, in every column\n",
               result->events, result->rows);
    else if (verify_is_clean(result))
        printf("clean: %" PRIu64 " events are the same\n", result->events);
    else
        printf("DIFFERENT: %" PRIu64 " events (%" PRIu64 " missing, %" PRIu64 " extra, %" PRIu64
               " other records, %" PRIu64 " other content), %" PRIu64 " derived rows%s\n",
               differ, result->kinds[VERIFY_MISSING], result->kinds[VERIFY_EXTRA],
               result->kinds[VERIFY_RECORD], result->kinds[VERIFY_CONTENT], result->rows_differ,
               verify_chain_differs(result) ? ", another chain" : "");
}

/*--- JSON ------------------------------------------------------------------------------------*/

static void log_to_json(struct text *text, const struct verify_log *log)
{
    char uuid[UUID_TEXT_SIZE];
    uuid_to_text(uuid, log->log);
    text_json_open_object(text, NULL);
    text_json_cstring(text, "log", uuid);
    text_json_bool(text, "known", log->known);
    text_json_unsigned(text, "position", log->position);
    if (log->last_seq >= log->first_seq) {
        text_json_unsigned(text, "from_seq", log->first_seq);
        text_json_unsigned(text, "to_seq", log->last_seq);
    }
    text_json_unsigned(text, "gone", log->gone);
    text_json_unsigned(text, "detached", log->detached);
    text_json_unsigned(text, "left", log->left);
    text_json_unsigned(text, "lag", log->lag);
    text_json_cstring(text, "chain", chain_name(log->chain));
    text_json_close_object(text);
}

static void difference_to_json(struct text *text, const struct verify_difference *difference)
{
    char uuid[UUID_TEXT_SIZE];
    uuid_to_text(uuid, difference->log);
    text_json_open_object(text, NULL);
    text_json_cstring(text, "what", kind_names[difference->kind]);
    text_json_cstring(text, "table", difference->table);
    text_json_cstring(text, "log", uuid);
    text_json_unsigned(text, "first", difference->first);
    text_json_unsigned(text, "last", difference->last);
    if (difference->columns[0] != '\0')
        text_json_cstring(text, "columns", difference->columns);
    if (difference->kind == VERIFY_EXTRA)
        text_json_bool(text, "proven", difference->proven);
    text_json_close_object(text);
}

void verified_to_json(struct text *text, const struct verify_result *result)
{
    text_json_bool(text, "clean", verify_is_clean(result));
    text_json_unsigned(text, "events", result->events);
    for (int i = 0; i < VERIFY_KINDS; i++)
        text_json_unsigned(text, kind_names[i], result->kinds[i]);
    text_json_unsigned(text, "refused", result->refused);
    text_json_unsigned(text, "unopened", result->unopened);
    text_json_bool(text, "columns_compared", result->content);
    text_json_bool(text, "rows_compared", result->rows_compared);
    text_json_unsigned(text, "rows", result->rows);
    text_json_unsigned(text, "rows_differ", result->rows_differ);
    text_json_unsigned(text, "rows_from", result->rows_from);
    text_json_open_array(text, "logs");
    for (size_t i = 0; i < result->log_count; i++)
        log_to_json(text, &result->logs[i]);
    text_json_close_array(text);
    text_json_open_array(text, "differences");
    for (size_t i = 0; i < result->difference_count; i++)
        difference_to_json(text, &result->differences[i]);
    text_json_close_array(text);
}

static void print_json(const struct verify_result *result)
{
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    verified_to_json(&text, result);
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

int run_verify(const struct command *command, const struct verify_wish *wish)
{
    struct verify_result result;
    struct progress progress;
    struct error error = { 0 };
    const struct verify_options options = {
        .url = wish->url,
        .dir = wish->dir,
        .reader = wish->reader,
        .keys = wish->keys,
        .budget = wish->budget,
        .stop = wish->stop,
        .content = wish->content,
        .progress = progress_show,
        .context = &progress,
    };
    progress_begin(&progress, "verifying", PROGRESS_ITEMS, 0);
    int failed = verify_run(&options, &result, &error);
    progress_end(&progress);
    int status = COMMAND_FAILED;
    if (failed < 0) {
        status = pgsync_failed(command, &error);
    } else if (wish->json) {
        print_json(&result);
    } else {
        print_verified(&result);
        print_verdict(&result);
    }
    if (failed == 0 && verify_is_clean(&result))
        status = COMMAND_GOOD;
    verify_free(&result);
    return status;
}
