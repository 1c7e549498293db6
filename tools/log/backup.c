/* daa-log backup. */
#include "log/backup.h"
#include "tools/command/progress.h"
#include "tools/log/log.h"
#include "tools/rebuild/rebuild.h"

#include <signal.h>

static unsigned long long big(uint64_t number)
{
    return number;
}

static void print_json(const struct log_backup_result *result, const char *target)
{
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "target", target);
    text_json_cstring(&text, "log", result->log_uuid);
    text_json_unsigned(&text, "first_seq", result->first_seq);
    text_json_unsigned(&text, "last_seq", result->last_seq);
    text_json_hex(&text, "chain", span_of(result->chain, sizeof result->chain));
    text_json_unsigned(&text, "segments", result->segments);
    text_json_unsigned(&text, "segments_copied", result->segments_copied);
    text_json_unsigned(&text, "bytes_copied", result->bytes_copied);
    text_json_unsigned(&text, "snapshots", result->snapshots);
    text_json_unsigned(&text, "snapshots_copied", result->snapshots_copied);
    text_json_bool(&text, "live", result->live);
    text_json_bool(&text, "incremental", result->incremental);
    text_json_bool(&text, "resumed", result->resumed);
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

static void print_text(const struct log_backup_result *result, const char *target)
{
    printf("%s holds events %llu to %llu of log %s in %llu segments and %llu snapshots; copied "
           "now: %llu segments, %llu bytes, %llu snapshots%s%s\n",
           target, big(result->first_seq), big(result->last_seq), result->log_uuid,
           big(result->segments), big(result->snapshots), big(result->segments_copied),
           big(result->bytes_copied), big(result->snapshots_copied),
           result->resumed ? "; an earlier run was gone on with" : "",
           result->live ? "; a writer is running" : "");
}

/* A beginning that is gone and was not left out on purpose needs a snapshot, or there is nothing to
 * begin with: log_restore() refuses it. */
static void warn_of_beginning(const struct log_backup_options *backup,
                              const struct log_backup_result *result)
{
    if (result->left_out[0] != '\0')
        fprintf(stderr, "daa-log backup: a snapshot was left out: %s\n", result->left_out);
    if (result->first_seq > 1 && result->snapshots == 0 && backup->since_seq == 0)
        fprintf(stderr,
                "daa-log backup: %s begins with event %llu and holds no snapshot of what came "
                "before: alone it cannot be restored; back up the data directory, once its agent "
                "has made a snapshot\n",
                backup->target, big(result->first_seq));
}

int log_make_backup(int argc, char **argv)
{
    bool json = false;
    struct log_backup_options backup = { .since_seq = 0 };
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &json, "print the result as one JSON object" },
        { "since", 0, "SEQ", COMMAND_NUMBER, &backup.since_seq,
          "only segments that hold events from this one on, into a new TARGET" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log backup",
        .purpose =
            "Copy a log, which may be live, to TARGET; run again on the same TARGET, add what is\n"
            "new. TARGET is a directory that daa-log reads like any log.",
        .arguments = "DIR TARGET",
        .arguments_min = 2,
        .arguments_max = 2,
        .options = options,
        .notes = "A run that was stopped, or that failed, is run again: it goes on where it was.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    struct progress progress;
    struct log_backup_result result;
    struct error error;
    /* A limit on the size of files is an error like a full disk. */
    (void)signal(SIGXFSZ, SIG_IGN);
    progress_begin(&progress, "backing up", PROGRESS_BYTES, 0);
    backup.dir = argv[first];
    backup.target = argv[first + 1];
    backup.time_ns = wall_clock_ns();
    backup.check = rebuild_check_snapshot;
    backup.progress = progress_show;
    backup.context = &progress;
    int code = log_backup(&backup, &result, &error);
    progress_end(&progress);
    if (code < 0)
        return command_failed_error(&command, &error);
    if (json)
        print_json(&result, backup.target);
    else
        print_text(&result, backup.target);
    warn_of_beginning(&backup, &result);
    return COMMAND_GOOD;
}
