#include "tools/pgsync/restore.h"

#include "core/base/text.h"
#include "tools/command/progress.h"
#include "tools/pgsync/failed.h"

#include <inttypes.h>
#include <stdio.h>

static void print_json(const struct restore_result *result, const char *dir)
{
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "log", result->log);
    text_json_cstring(&text, "dir", dir);
    text_json_unsigned(&text, "last_seq", result->last_seq);
    text_json_unsigned(&text, "segments", result->segments);
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

int run_restore(const struct command *command, const struct restore_options *options, bool json)
{
    struct restore_options wanted = *options;
    struct restore_result result;
    struct progress progress;
    struct error error = { 0 };
    progress_begin(&progress, "restoring", PROGRESS_ITEMS, 0);
    wanted.progress = progress_show;
    wanted.context = &progress;
    int failed = restore_run(&wanted, &result, &error);
    progress_end(&progress);
    if (failed < 0)
        return pgsync_failed(command, &error);
    if (json)
        print_json(&result, options->dir);
    else
        printf("restored events 1 to %" PRIu64 " of log %s to %s; an agent that is started on it "
               "goes on under a name of its own\n",
               result.last_seq, result.log, options->dir);
    return COMMAND_GOOD;
}
