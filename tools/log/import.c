/* daa-log import: a log of the lines that export --format records writes. */
#include "core/base/sha256.h"
#include "core/event/event.h"
#include "log/event.h"
#include "tools/command/progress.h"
#include "tools/log/digests.h"
#include "tools/log/lines.h"
#include "tools/log/log.h"
#include "tools/log/record_line.h"

#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

struct importing {
    const struct command *command;
    const char *target;
    uint64_t segment_size;
    bool check_only, json;

    struct lines lines;
    struct record_line line;
    struct digests digests; /* of the events so far */
    char parent[PATH_MAX];  /* of the target */
    struct log_import *import;
    struct progress progress;
    uint64_t last_seq, repeated;
    uint8_t log_uuid[UUID_SIZE]; /* of the newest event */
    struct log_import_result result;
};

static atomic_bool stopped;

static unsigned long long big(uint64_t number)
{
    return number;
}

/*--- An event ----------------------------------------------------------------------------------*/

static int set_missing(const struct importing *importing, uint64_t seq, struct error *error)
{
    uint64_t first = importing->last_seq + 1;
    if (first == 1)
        return error_set(error, ERROR_INVALID,
                         "it is event %llu, and a log begins with event 1: give the export of "
                         "what comes before it first; where that was removed from the log, copy "
                         "it with daa-log backup",
                         big(seq));
    return error_set(error, ERROR_INVALID,
                     "events %llu to %llu are missing before it: give files in the order of their "
                     "events, and an export with --from %llu --to %llu before this line, without "
                     "other filters",
                     big(first), big(seq - 1), big(first), big(seq - 1));
}

static void digest_of(uint8_t digest[DIGEST_SIZE], const struct record_line *line)
{
    struct sha256 sha256;
    uint8_t whole[SHA256_SIZE];
    sha256_init(&sha256);
    sha256_more(&sha256, line->log_uuid, UUID_SIZE);
    sha256_more(&sha256, line->bytes.bytes, line->bytes.size);
    sha256_end(&sha256, whole);
    memcpy(digest, whole, DIGEST_SIZE);
}

/* An event that came already: fine when it is the same. */
static int pass(struct importing *importing, const uint8_t digest[DIGEST_SIZE], struct error *error)
{
    uint64_t seq = importing->line.record.seq;
    int same = digests_compare(&importing->digests, seq, digest, error);
    if (same == 0)
        return error_set(error, ERROR_CONFLICT,
                         "event %llu is another one than the event %llu that came before: these "
                         "are exports of different logs, or of one that went on in two ways",
                         big(seq), big(seq));
    importing->repeated++;
    return same < 0 ? same : 0;
}

static int take_line(struct importing *importing, struct span text, struct error *error)
{
    uint8_t digest[DIGEST_SIZE];
    const struct record_line *line = &importing->line;
    int code = record_line_read(&importing->line, text, error);
    if (code < 0)
        return code;
    digest_of(digest, line);
    if (line->record.seq <= importing->last_seq)
        return pass(importing, digest, error);
    if (line->record.seq != importing->last_seq + 1)
        return set_missing(importing, line->record.seq, error);
    code = event_import(importing->import, line->log_uuid, &line->record, error);
    if (code == 0)
        code = digests_add(&importing->digests, digest, error);
    if (code < 0)
        return code;
    importing->last_seq++;
    memcpy(importing->log_uuid, line->log_uuid, UUID_SIZE);
    return 0;
}

/*--- All of them -------------------------------------------------------------------------------*/

static bool begins_with(struct span text, const char *bytes)
{
    size_t size = strlen(bytes);
    return text.size >= size && memcmp(text.bytes, bytes, size) == 0;
}

/* Says of which line the error tells, and what to do where that is no line at all. */
static int name_line(const struct importing *importing, struct span text, struct error *error)
{
    const struct lines *lines = &importing->lines;
    const char *name = lines_name(lines), *advice = "";
    char export[200] = "";
    bool packed = begins_with(text, "\x28\xb5\x2f\xfd") || begins_with(text, "\x1f\x8b");
    if (error->code == ERROR_SYNTAX && lines->number == 1 && packed)
        advice = "; it is compressed: unpack it, as with zstdcat, into daa-log import -";
    else if (error->code == ERROR_SYNTAX && lines->cut)
        (void)snprintf(export, sizeof export,
                       "; the file ends in this line, which was cut off: leave it out, and go on "
                       "with an export from event %llu on",
                       big(importing->last_seq + 1));
    else if (error->code == ERROR_SYNTAX && lines->number == 1)
        advice = "; what is read is what daa-log export --format records writes";
    struct error plain = *error;
    return error_set(error, plain.code, "%s:%llu: %s%s%s", name, big(lines->number), plain.text,
                     advice, export);
}

static int read_all(struct importing *importing, struct error *error)
{
    struct span text;
    int code;
    while ((code = lines_next(&importing->lines, &text, error)) == 1) {
        code = take_line(importing, text, error);
        if (code < 0)
            return code <= ERROR_DAMAGED ? name_line(importing, text, error) : code;
        progress_update(&importing->progress, importing->lines.done_bytes);
    }
    return code;
}

static int open_all(struct importing *importing, struct error *error)
{
    const struct log_import_options options = {
        .dir = importing->target,
        .segment_size = importing->segment_size,
        .event_schema = EVENT_SCHEMA,
        .time_ns = wall_clock_ns(),
        .check_only = importing->check_only,
        .stop = &stopped,
        .progress = progress_show,
        .context = &importing->progress,
    };
    record_line_begin(&importing->line);
    int code = lines_open(&importing->lines, error);
    if (code == 0)
        code = log_import_open(&importing->import, &options, error);
    if (code == 0) {
        (void)snprintf(importing->parent, sizeof importing->parent, "%s", importing->target);
        code = digests_open(&importing->digests, dirname(importing->parent), error);
    }
    return code;
}

static int import_all(struct importing *importing, struct error *error)
{
    int code = open_all(importing, error);
    progress_begin(&importing->progress, "importing", PROGRESS_BYTES, importing->lines.total_bytes);
    if (code == 0)
        code = read_all(importing, error);
    progress_end(&importing->progress);
    progress_begin(&importing->progress, "checking", PROGRESS_BYTES, 0);
    if (code == 0)
        code = log_import_finish(importing->import, &importing->result, error);
    progress_end(&importing->progress);
    log_import_close(&importing->import);
    digests_close(&importing->digests);
    lines_close(&importing->lines);
    return code;
}

/*--- The command -------------------------------------------------------------------------------*/

static void print_json(const struct importing *importing, const char *log)
{
    const struct log_import_result *result = &importing->result;
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_cstring(&text, "dir", importing->target);
    text_json_cstring(&text, "log", log);
    text_json_unsigned(&text, "last_seq", result->last_seq);
    text_json_unsigned(&text, "repeated", importing->repeated);
    text_json_bool(&text, "dry_run", importing->check_only);
    if (!importing->check_only) {
        text_json_unsigned(&text, "segments", result->segments);
        text_json_hex(&text, "chain", span_of(result->chain, sizeof result->chain));
    }
    text_json_close_object(&text);
    printf("%s\n", text_string(&text));
    text_free(&text);
}

static void print_text(const struct importing *importing, const char *log)
{
    uint64_t last_seq = importing->result.last_seq;
    if (importing->check_only)
        printf("events 1 to %llu of log %s can be imported to %s", big(last_seq), log,
               importing->target);
    else
        printf("%s holds events 1 to %llu; its next start goes on as a new log, whose parent is "
               "log %s at event %llu",
               importing->target, big(last_seq), log, big(last_seq));
    if (importing->repeated > 0)
        printf("; left out were %llu that came again, the same", big(importing->repeated));
    putchar('\n');
}

static int run(struct importing *importing)
{
    struct error error = { 0 };
    char log[UUID_TEXT_SIZE];
    int code = import_all(importing, &error);
    record_line_end(&importing->line);
    if (code < 0 && atomic_load(&stopped))
        return command_failed(importing->command, "stopped by a signal: nothing was made");
    if (code < 0)
        return command_failed_error(importing->command, &error);
    uuid_to_text(log, importing->log_uuid);
    if (importing->json)
        print_json(importing, log);
    else
        print_text(importing, log);
    return COMMAND_GOOD;
}

static void stop(int number)
{
    (void)number;
    atomic_store(&stopped, true);
}

/* The second one ends it at once; the next run then takes away what is left. */
static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = stop, .sa_flags = (int)SA_RESETHAND };
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
    /* A limit on the size of files is an error like a full disk. */
    (void)signal(SIGXFSZ, SIG_IGN);
}

int log_make_import(int argc, char **argv)
{
    static struct importing importing;
    const struct command_option options[] = {
        { "dry-run", 'n', NULL, COMMAND_FLAG, &importing.check_only,
          "only check what would be imported" },
        { "segment-size", 0, "SIZE", COMMAND_SIZE, &importing.segment_size,
          "of the log's segments: 256KiB to 1GiB (64MiB)" },
        { "json", 'j', NULL, COMMAND_FLAG, &importing.json, "print the result as one JSON object" },
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log import",
        .purpose =
            "Make a data directory of what daa-log export --format records wrote, with the same\n"
            "records. TARGET must be missing; FILE may be - for standard input. Files are read in\n"
            "order; events that come again are left out if they are the same.",
        .arguments = "FILE... TARGET",
        .arguments_min = 2,
        .arguments_max = -1,
        .options = options,
        .shared = log_options,
        .notes = "What fails leaves nothing. Example, from another machine:\n"
                 "  ssh host daa-log export --format records /var/lib/daa | daa-log import - "
                 "/srv/daa",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    if (importing.segment_size != 0 && (importing.segment_size < LOG_SEGMENT_SIZE_MIN ||
                                        importing.segment_size > LOG_SEGMENT_SIZE_MAX ||
                                        importing.segment_size % LOG_BLOCK_SIZE != 0))
        return command_misused(&command, "--segment-size: a segment has 256KiB to 1GiB, in whole "
                                         "blocks of 4KiB");
    if (argv[argc - 1][0] == '\0')
        return command_misused(&command, "TARGET is empty");
    importing.command = &command;
    importing.target = argv[argc - 1];
    importing.lines = (struct lines){ .paths = (const char *const *)(argv + first),
                                      .count = (size_t)(argc - first - 1),
                                      .size_max = RECORD_LINE_SIZE_MAX,
                                      .stop = &stopped,
                                      .fd = -1 };
    catch_signals();
    return run(&importing);
}
