/* daa-log restore. */
#include "log/restore.h"
#include "tools/command/progress.h"
#include "tools/log/log.h"
#include "tools/rebuild/rebuild.h"

#include <signal.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

static void print_json(const struct log_restore_result *result, const char *dir)
{
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "dir", dir);
    text_json_cstring(&text, "parent", result->parent_uuid);
    text_json_unsigned(&text, "first_seq", result->first_seq);
    text_json_unsigned(&text, "last_seq", result->last_seq);
    text_json_hex(&text, "chain", span_of(result->chain, sizeof result->chain));
    text_json_unsigned(&text, "segments", result->segments);
    text_json_unsigned(&text, "segments_copied", result->segments_copied);
    text_json_unsigned(&text, "bytes_copied", result->bytes_copied);
    text_json_unsigned(&text, "snapshots", result->snapshots);
    text_json_bool(&text, "resumed", result->resumed);
    text_json_bool(&text, "plain_copy", result->plain);
    text_json_unsigned(&text, "missing_first", result->missing_first);
    text_json_unsigned(&text, "missing_last", result->missing_last);
    text_json_cstring(&text, "reason", result->reason[0] != '\0' ? result->reason : NULL);
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

static void print_text(const struct log_restore_result *result, const char *dir)
{
    printf("%s holds events %llu to %llu; its next start goes on as a new log, whose parent is log "
           "%s at event %llu\n",
           dir, big(result->first_seq), big(result->last_seq), result->parent_uuid,
           big(result->last_seq));
    if (result->missing_first != 0)
        printf("events %llu to %llu are missing: %s\n", big(result->missing_first),
               big(result->missing_last), result->reason);
    else if (result->reason[0] != '\0')
        printf("what lay behind event %llu was left out: %s\n", big(result->last_seq),
               result->reason);
}

static int restore(const struct command *command, const struct log_restore_options *options,
                   bool json)
{
    struct log_restore_result result;
    struct error error;
    int code = log_restore(options, &result, &error);
    progress_end(options->context);
    if (code < 0)
        return command_failed_error(command, &error);
    if (result.left_out[0] != '\0')
        fprintf(stderr, "daa-log restore: a snapshot was left out: %s\n", result.left_out);
    if (json)
        print_json(&result, options->dir);
    else
        print_text(&result, options->dir);
    return result.missing_first == 0 && result.reason[0] == '\0' ? COMMAND_GOOD : LOG_EXIT_UNPROVEN;
}

int log_restore_backup(int argc, char **argv)
{
    bool json = false;
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &json, "print the result as one JSON object" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log restore",
        .purpose =
            "Make a data directory of a backup, or of a whole one and those since an event, in\n"
            "the order in which they were made. DIR must be missing or empty. BACKUP may also be "
            "a\n"
            "plain copy of a data or log directory: what is whole of it is taken.",
        .arguments = "BACKUP... DIR",
        .arguments_min = 2,
        .arguments_max = -1,
        .options = options,
        .notes = "A run that was stopped, or that failed, is run again: it goes on where it was.\n"
                 "Exit status: 0 good; 1 failed; 2 wrong usage; 3 restored, but the end of a plain "
                 "copy\n"
                 "was left out or is known to be missing, which is said.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    struct progress progress;
    const char *const *paths = (const char *const *)(argv + first);
    struct log_restore_options restoring = { .backups = paths,
                                             .backup_count = (size_t)(argc - first - 1),
                                             .dir = argv[argc - 1],
                                             .time_ns = wall_clock_ns(),
                                             .check = rebuild_check_snapshot,
                                             .progress = progress_show,
                                             .context = &progress };
    /* A limit on the size of files is an error like a full disk. */
    (void)signal(SIGXFSZ, SIG_IGN);
    progress_begin(&progress, "restoring", PROGRESS_BYTES, 0);
    return restore(&command, &restoring, json);
}
