/* daa-log repair. */
#include "log/repair.h"
#include "iouring/file.h"
#include "log/lineage.h"
#include "log/storage.h"
#include "tools/command/progress.h"
#include "tools/log/beginning.h"
#include "tools/log/log.h"
#include "tools/log/repair_records.h"
#include "tools/rebuild/rebuild.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct mending {
    const struct command *command;
    bool json;
    struct log_repair_options options;
    struct progress progress;
    struct text line;
};

static unsigned long long big(uint64_t number)
{
    return number;
}

static const char *kind_text(enum log_repair_kind kind)
{
    static const char *const names[] = { "flip", "take", "build", "clear", "aside", "lost", "cut" };
    return names[kind];
}

static void print_line(struct mending *mending)
{
    printf("%s\n", text_string(&mending->line));
    text_clear(&mending->line);
}

static void print_step(const struct log_repair_step *step, void *context)
{
    struct mending *mending = context;
    struct text *line = &mending->line;
    progress_clear(&mending->progress);
    if (!mending->json) {
        bool lost = step->kind == LOG_REPAIR_LOST;
        printf("%s%-5s%s %s", command_style(stdout, lost ? COMMAND_RED : COMMAND_GREEN),
               kind_text(step->kind), command_style(stdout, COMMAND_PLAIN), step->file);
        if (step->size > 0)
            printf(" at %llu", big(step->offset));
        printf(": %s\n", step->text);
        return;
    }
    text_json_open_object(line, NULL);
    text_json_cstring(line, "step", kind_text(step->kind));
    text_json_cstring(line, "file", step->file);
    text_json_unsigned(line, "offset", step->offset);
    text_json_unsigned(line, "size", step->size);
    text_json_unsigned(line, "first_seq", step->first_seq);
    text_json_unsigned(line, "last_seq", step->last_seq);
    if (step->kind == LOG_REPAIR_FLIP)
        text_json_unsigned(line, "bit", step->bit);
    text_json_cstring(line, "from", step->from);
    text_json_cstring(line, "text", step->text);
    text_json_close_object(line);
    print_line(mending);
}

static void show_progress(uint64_t done_bytes, uint64_t all_bytes, void *context)
{
    struct mending *mending = context;
    progress_show(done_bytes, all_bytes, &mending->progress);
}

static void print_result_json(struct mending *mending, const struct log_repair_result *result,
                              const char *verdict)
{
    struct text *line = &mending->line;
    text_json_open_object(line, NULL);
    text_json_bool(line, "plan", mending->options.plan);
    text_json_unsigned(line, "segments", result->segments);
    text_json_unsigned(line, "mended", result->mended);
    text_json_unsigned(line, "lost", result->lost);
    text_json_unsigned(line, "last_seq", result->last_seq);
    text_json_unsigned(line, "cut_seq", result->cut_seq);
    text_json_unsigned(line, "gone_first", result->gone_first);
    text_json_unsigned(line, "gone_last", result->gone_last);
    text_json_bool(line, "cut", result->cut);
    text_json_cstring(line, "quarantine", result->quarantine[0] ? result->quarantine : NULL);
    text_json_cstring(line, "verdict", verdict);
    text_json_close_object(line);
    print_line(mending);
}

static void print_result(struct mending *mending, const struct log_repair_result *result,
                         const char *verdict)
{
    const char *dir = mending->options.dir;
    bool plan = mending->options.plan;
    if (mending->json) {
        print_result_json(mending, result, verdict);
        return;
    }
    if (result->mended == 0 && result->lost == 0 && !result->cut)
        printf("%s: nothing is to be mended\n", dir);
    else
        printf("%s: %llu segments %s, %llu places cannot be%s\n", dir, big(result->mended),
               plan ? "would be mended" : "were mended", big(result->lost),
               plan ? "; nothing was changed" : "");
    if (result->cut_seq != 0 && !result->cut)
        printf("to give up what lies behind event %llu, and go on from there: daa-log repair "
               "--cut-at %llu %s\n",
               big(result->cut_seq), big(result->cut_seq), dir);
    if (result->quarantine[0] != '\0')
        printf("the files as they were: %s\n", result->quarantine);
    if (verdict != NULL)
        printf("daa-log verify: %s\n", verdict);
}

/*--- Documents of events that are given up -----------------------------------------------------*/

/* The data directory around the log's directory, if that is named as in one. */
static int find_data_dir(const char *log_dir, char data_dir[PATH_MAX], struct error *error)
{
    size_t size = strlen(log_dir);
    bool named = size > 4 && strcmp(log_dir + size - 4, "/log") == 0;
    data_dir[0] = '\0';
    if (named && size < PATH_MAX)
        memcpy(data_dir, log_dir, size + 1);
    else if (realpath(log_dir, data_dir) == NULL)
        return error_set(error, -errno, "%s: %s", log_dir, error_text(-errno));
    size = strlen(data_dir);
    if (size > 4 && strcmp(data_dir + size - 4, "/log") == 0)
        data_dir[size - 4] = '\0';
    else
        data_dir[0] = '\0';
    return 0;
}

/* True if the documents are of this log: what lies beside it may be somebody else's. */
static bool are_documents_of(const char *db_dir, const char *log_dir)
{
    uint8_t uuid[UUID_SIZE];
    struct log_lineage lineage;
    struct error ignored;
    bool found = false;
    if (rebuild_documents_seq(db_dir, uuid) == 0 ||
        log_lineage_read(&lineage, log_dir, &ignored) < 0)
        return false;
    for (size_t i = 0; i < lineage.count && !found; i++)
        found =
            memcmp(lineage.names[i].log_uuid, uuid, UUID_SIZE) == 0 ||
            (lineage.names[i].forked && memcmp(lineage.names[i].parent_uuid, uuid, UUID_SIZE) == 0);
    log_lineage_free(&lineage);
    return found;
}

/* What is derived stands for more than the log holds then, and would be taken for a witness that it
 * is damaged. The log is locked. */
static int move_documents(const char *log_dir, void *context, struct error *error)
{
    const struct mending *mending = context;
    char data_dir[PATH_MAX], from[PATH_MAX + 16], to[PATH_MAX + 64], stamp[32];
    struct tm parts;
    time_t now = (time_t)(mending->options.time_ns / 1000000000u);
    int code = find_data_dir(log_dir, data_dir, error);
    if (code < 0 || data_dir[0] == '\0')
        return code;
    snprintf(from, sizeof from, "%s/db", data_dir);
    if (!are_documents_of(from, log_dir))
        return 0;
    gmtime_r(&now, &parts);
    (void)strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &parts);
    snprintf(to, sizeof to, "%s.before-cut-%s", from, stamp);
    if (rename(from, to) < 0)
        return error_set(error, -errno, "cannot move %s to %s: %s", from, to, error_text(-errno));
    fprintf(stderr, "%s: the documents were moved to %s and are made anew from the log\n",
            mending->command->name, to);
    return file_sync_dir(data_dir, error);
}

/* A cut that is not possible is found before anything is changed. */
static int try_cut(const struct mending *mending, struct error *error)
{
    struct log_repair_options plan = mending->options;
    struct log_repair_result result;
    plan.plan = true;
    plan.step = NULL;
    plan.progress = NULL;
    return log_repair(&plan, &result, error);
}

/*--- The beginning -----------------------------------------------------------------------------*/

static void note_record(const struct record *record, void *context)
{
    beginning_note(context, record);
}

/* Reads all of it, with what its events say of its beginning: true if nothing says why it does not
 * begin with event 1. */
static bool is_headless(const char *dir, bool no_chain, struct beginning *beginning,
                        struct log_verify_result *result, int *code, struct error *error)
{
    struct log_finding ignored;
    const struct log_verify_options options = {
        .dir = dir, .no_chain = no_chain, .record = note_record, .context = beginning
    };
    *beginning = (struct beginning){ .first_seq = 0 };
    *code = log_verify(&options, result, error);
    return *code == 0 &&
           beginning_is_damage(beginning, beginning_state(beginning, result->first_seq, dir),
                               result, &ignored);
}

/* The event with which the log should begin; 0: it begins where it may. */
static uint64_t find_beginning(const char *dir)
{
    struct log_verify_result result;
    struct log_lineage lineage;
    struct beginning beginning;
    struct error ignored;
    int code;
    if (log_lineage_read(&lineage, dir, &ignored) < 0)
        return 0;
    bool late = lineage.count > 0 && lineage.names[0].first_seq > 1;
    log_lineage_free(&lineage);
    if (!late || !is_headless(dir, true, &beginning, &result, &code, &ignored))
        return 0;
    return beginning.removed_last_seq + 1;
}

/*--- The command -------------------------------------------------------------------------------*/

static int mend(struct mending *mending)
{
    struct log_repair_result result;
    struct log_verify_result verified = { .verdict = LOG_SOUND };
    struct error error = { 0 };
    struct beginning beginning;
    int code = 0;
    const char *verdict = NULL;
    bool plan = mending->options.plan;
    mending->options.begin_seq = find_beginning(mending->options.dir);
    if (mending->options.cut_seq != 0 && !plan)
        code = try_cut(mending, &error);
    if (code == 0)
        code = log_repair(&mending->options, &result, &error);
    progress_end(&mending->progress);
    if (code == 0 && !plan) {
        (void)is_headless(mending->options.dir, false, &beginning, &verified, &code, &error);
        verdict = log_verdict_name((uint16_t)verified.verdict);
    }
    if (code < 0)
        return command_failed_error(mending->command, &error);
    print_result(mending, &result, verdict);
    bool whole = result.lost == 0 || (result.cut && result.lost == 1);
    return whole && verified.verdict != LOG_DAMAGED ? COMMAND_GOOD : COMMAND_FAILED;
}

/* With the records of PostgreSQL, if that is wanted. */
static int mend_from(struct mending *mending, const char *url)
{
    struct repair_records records;
    struct error error = { 0 };
    if (url == NULL)
        return mend(mending);
    int failed = repair_records_open(&records, url, &error);
    if (failed == ERROR_SYNTAX || failed == ERROR_NOT_FOUND)
        return command_misused(mending->command, "%s", error.text);
    if (failed < 0)
        return command_failed_error(mending->command, &error);
    mending->options.records = &records.face;
    int status = mend(mending);
    mending->options.records = NULL;
    repair_records_close(&records);
    return status;
}

int log_mend(int argc, char **argv)
{
    static struct mending mending;
    static struct command_list copies;
    static const char *url;
    const struct command_option options[] = {
        { "plan", 0, NULL, COMMAND_FLAG, &mending.options.plan,
          "say what would be done, and change nothing" },
        { "from", 0, "COPY", COMMAND_LIST, &copies,
          "a backup or copy of the same log, to take from; may be given again" },
        { "from-postgres", 0, "URL", COMMAND_TEXT, &url,
          "build what is damaged anew out of the records there, where the chain\n"
          "proves it; '-' is $DAA_PG_URL; the password from PGPASSWORD or PGPASSFILE" },
        { "cut-at", 0, "SEQ", COMMAND_NUMBER, &mending.options.cut_seq,
          "the last event to keep, when the log's end cannot be mended" },
        { "json", 'j', NULL, COMMAND_FLAG, &mending.json,
          "print steps and the result as JSON, one object a line" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log repair",
        .purpose =
            "Mend a log whose agent is stopped: flip the one bit back that makes a frame, a "
            "header\n"
            "or a chunk whole, take from COPY what it still has whole, and build frames anew "
            "out of\n"
            "records. What helps is proven by checksums and chain first. The old files are kept in "
            "DIR/quarantine.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
        .notes =
            "A run that was stopped, or that failed, is run again: it goes on where it was.\n"
            "Exit status: 0 nothing is left to be mended; 1 something is, or it failed; 2 wrong "
            "usage.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    mending.command = &command;
    mending.options.dir = argv[first];
    mending.options.copies = copies.items;
    mending.options.copy_count = copies.count;
    mending.options.time_ns = wall_clock_ns();
    mending.options.before_cut = move_documents;
    mending.options.step = print_step;
    mending.options.progress = show_progress;
    mending.options.context = &mending;
    /* A limit on the size of files is an error like a full disk. */
    (void)signal(SIGXFSZ, SIG_IGN);
    text_init(&mending.line);
    progress_begin(&mending.progress, "repairing", PROGRESS_BYTES, 0);
    status = mend_from(&mending, url);
    text_free(&mending.line);
    return status;
}
