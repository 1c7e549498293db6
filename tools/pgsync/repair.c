#include "tools/pgsync/repair.h"

#include "pgsync/repair.h"
#include "tools/command/progress.h"
#include "tools/pgsync/failed.h"

#include <inttypes.h>
#include <stdio.h>

#define ROUNDS_MAX 5 /* derived rows can be compared once the events are the same */

struct repair {
    const struct command *command;
    const struct verify_wish *wish;
    struct progress progress;
    struct verify_options options;
    struct repair_result done;
};

static int compare(struct repair *repair, struct verify_result *found, struct error *error)
{
    progress_begin(&repair->progress, "verifying", PROGRESS_ITEMS, 0);
    int failed = verify_run(&repair->options, found, error);
    progress_end(&repair->progress);
    return failed;
}

static int mend(struct repair *repair, const struct verify_result *found, struct error *error)
{
    progress_begin(&repair->progress, "repairing", PROGRESS_ITEMS, 0);
    int failed = repair_run(&repair->options, found, &repair->done, error);
    progress_end(&repair->progress);
    return failed;
}

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

static void print_done(const struct repair_result *done)
{
    const char *comma = "";
    printf("repaired: ");
    if (done->copied > 0) {
        printf("%" PRIu64 " event%s copied again", done->copied, plural(done->copied));
        comma = ", ";
    }
    if (done->refused > 0)
        printf(" (%" PRIu64 " without what the server refuses)", done->refused);
    if (done->removed > 0) {
        printf("%s%" PRIu64 " extra event%s removed", comma, done->removed, plural(done->removed));
        comma = ", ";
    }
    if (done->rows > 0) {
        printf("%s%" PRIu64 " derived row%s made anew", comma, done->rows, plural(done->rows));
        comma = ", ";
    }
    if (done->anchors > 0) {
        printf("%s%" PRIu64 " anchor%s added", comma, done->anchors, plural(done->anchors));
        comma = ", ";
    }
    if (done->chains > 0) {
        printf("%sthe chain at the position put right", comma);
        comma = ", ";
    }
    printf("%s; %" PRIu64 " transaction%s\n", *comma == '\0' ? "nothing" : "", done->transactions,
           plural(done->transactions));
}

static void print_left(const struct verify_result *left)
{
    if (left->unproven > 0)
        printf("%" PRIu64 " extra event%s stay%s in Postgres: the log ends before, so the log does "
               "not prove that they are wrong\n",
               left->unproven, plural(left->unproven), left->unproven == 1 ? "s" : "");
    if (repair_is_due(left))
        printf("DIFFERENT still: see daa-pgsync --verify --content\n");
    else if (left->unproven == 0)
        printf("clean: %" PRIu64 " events and %" PRIu64 " derived rows are the same\n",
               left->events, left->rows);
}

static void print_json(const struct repair_result *done, const struct verify_result *left,
                       bool dry_run)
{
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_bool(&text, "dry_run", dry_run);
    text_json_unsigned(&text, "copied", done->copied);
    text_json_unsigned(&text, "refused_payloads", done->refused);
    text_json_unsigned(&text, "removed", done->removed);
    text_json_unsigned(&text, "rows_remade", done->rows);
    text_json_unsigned(&text, "anchors", done->anchors);
    text_json_unsigned(&text, "chains", done->chains);
    text_json_unsigned(&text, "transactions", done->transactions);
    text_json_open_object(&text, "left");
    verified_to_json(&text, left);
    text_json_close_object(&text);
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

static int refuse(const struct repair *repair, const struct verify_result *found)
{
    struct repair_result none = { .copied = 0 };
    struct error error = { 0 };
    (void)repair_run(&repair->options, found, &none, &error);
    return command_failed_error(repair->command, &error);
}

static int print_wish(const struct repair *repair, const struct verify_result *found)
{
    uint64_t again =
        found->kinds[VERIFY_MISSING] + found->kinds[VERIFY_RECORD] + found->kinds[VERIFY_CONTENT];
    uint64_t extra = found->kinds[VERIFY_EXTRA] - found->unproven;
    if (repair->wish->json) {
        print_json(&repair->done, found, true);
        return verify_is_clean(found) ? COMMAND_GOOD : COMMAND_FAILED;
    }
    print_verified(found);
    if (repair_is_refused(found))
        return refuse(repair, found);
    printf("would copy %" PRIu64 " event%s again, remove %" PRIu64 " extra event%s, make %" PRIu64
           " derived row%s anew%s%s\n",
           again, plural(again), extra, plural(extra), found->rows_differ,
           plural(found->rows_differ),
           verify_chain_differs(found) ? ", and put the chain at the position right" : "",
           again > 0 ? "; and rows of what those events are about" : "");
    return verify_is_clean(found) ? COMMAND_GOOD : COMMAND_FAILED;
}

/* Until nothing is due, or nothing more can be done. */
static int work(struct repair *repair, struct verify_result *found, struct error *error)
{
    int failed = 0;
    for (int round = 0; failed == 0 && round < ROUNDS_MAX && repair_is_due(found); round++) {
        failed = mend(repair, found, error);
        verify_free(found);
        if (failed == 0)
            failed = compare(repair, found, error);
    }
    return failed;
}

int run_repair(const struct command *command, const struct verify_wish *wish, bool dry_run)
{
    struct repair repair = { .command = command, .wish = wish };
    struct verify_result found;
    struct error error = { 0 };
    repair.options = (struct verify_options){
        .url = wish->url,
        .dir = wish->dir,
        .reader = wish->reader,
        .keys = wish->keys,
        .budget = wish->budget,
        .stop = wish->stop,
        .content = true,
        .progress = progress_show,
        .context = &repair.progress,
    };
    int status = COMMAND_FAILED;
    int failed = compare(&repair, &found, &error);
    if (failed == 0 && dry_run) {
        status = print_wish(&repair, &found);
        verify_free(&found);
        return status;
    }
    if (failed == 0 && !wish->json)
        print_verified(&found);
    if (failed == 0)
        failed = work(&repair, &found, &error);
    if (failed == 0 && wish->json)
        print_json(&repair.done, &found, false);
    if (!wish->json && (failed == 0 || repair.done.transactions > 0))
        print_done(&repair.done);
    if (failed == 0 && !wish->json)
        print_left(&found);
    status = failed < 0 ? pgsync_failed(command, &error)
                        : (verify_is_clean(&found) ? COMMAND_GOOD : COMMAND_FAILED);
    verify_free(&found);
    return status;
}
