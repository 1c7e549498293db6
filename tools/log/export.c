/* daa-log export: events as JSON lines, as CSV, or as the bytes of their records, to standard
 * output or to a file that is there only when it is whole. */
#include "iouring/file.h"
#include "tools/command/progress.h"
#include "tools/log/export_row.h"
#include "tools/log/listing.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct exporting {
    const struct command *command;
    struct listing listing;
    const char *format_name, *path;
    enum export_format format;
    bool no_payload, json;

    FILE *out;
    char part[PATH_MAX]; /* of a file: where it is made */
    struct decryption keys;
    struct export_row row;
    struct progress progress;
    uint64_t events, last_seq;
    int failed; /* to write, or to make a row: negative */
};

static unsigned long long big(uint64_t number)
{
    return number;
}

static int write_event(const struct record *record, const struct log_place *place, void *context)
{
    struct exporting *exporting = context;
    const struct text *line = &exporting->row.line;
    exporting->failed = export_row_fill(&exporting->row, place->log_uuid, record);
    if (exporting->failed == 0 && fwrite(line->bytes, 1, line->size, exporting->out) != line->size)
        exporting->failed = errno != 0 ? -errno : -EIO;
    if (exporting->failed < 0)
        return 0;
    exporting->events++;
    exporting->last_seq = record->seq;
    if (exporting->events % 1024 == 0) {
        exporting->progress.total = exporting->listing.end_seq;
        progress_update(&exporting->progress, record->seq);
    }
    return 1;
}

/*--- The file ----------------------------------------------------------------------------------*/

static int open_file(struct exporting *exporting, struct error *error)
{
    exporting->out = stdout;
    if (exporting->path == NULL)
        return 0;
    struct stat there;
    if (stat(exporting->path, &there) == 0 && S_ISDIR(there.st_mode))
        return error_set(error, -EISDIR, "cannot write %s: it is a directory: name a file in it",
                         exporting->path);
    if (snprintf(exporting->part, sizeof exporting->part, "%s.part", exporting->path) >= PATH_MAX)
        return error_set(error, -ENAMETOOLONG, "%s: the path is too long", exporting->path);
    /* What agents did is nobody else's business, as in the log itself. */
    int fd = open(exporting->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    exporting->out = fd < 0 ? NULL : fdopen(fd, "w");
    if (exporting->out != NULL)
        return 0;
    int code = -errno;
    if (fd >= 0)
        close(fd);
    return error_set(error, code, "cannot write %s: %s", exporting->part, error_text(code));
}

static int sync_parent(const char *path, struct error *error)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return file_sync_dir(".", error);
    snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return file_sync_dir(dir, error);
}

/* Makes the file durable, and then gives it its name; one that is not whole goes. */
static int close_file(struct exporting *exporting, bool whole, struct error *error)
{
    if (exporting->path == NULL)
        return 0;
    int code = fflush(exporting->out) != 0 || fsync(fileno(exporting->out)) != 0 ? -errno : 0;
    if (fclose(exporting->out) != 0 && code == 0)
        code = -errno;
    if (code == 0 && whole && rename(exporting->part, exporting->path) != 0)
        code = -errno;
    if (code < 0 || !whole)
        unlink(exporting->part);
    if (code < 0)
        return error_set(error, code, "cannot write %s: %s", exporting->part, error_text(code));
    return whole ? sync_parent(exporting->path, error) : 0;
}

/*--- The command -------------------------------------------------------------------------------*/

static void tell_result(const struct exporting *exporting)
{
    /* What was looked at needs no second look, also when it did not match. */
    uint64_t next = exporting->listing.last_seq + 1, from = exporting->listing.filter.from;
    if (next < from)
        next = from;
    if (exporting->json) {
        printf("{\"events\":%llu,\"last_seq\":%llu,\"next_seq\":%llu,\"withheld\":%llu}\n",
               big(exporting->events), big(exporting->last_seq), big(next),
               big(exporting->keys.withheld));
        return;
    }
    fprintf(stderr, "%s: %llu events", exporting->command->name, big(exporting->events));
    if (exporting->events > 0)
        fprintf(stderr, ", the last is %llu", big(exporting->last_seq));
    if (exporting->keys.withheld > 0)
        fprintf(stderr, ", without what is encrypted of %llu", big(exporting->keys.withheld));
    fprintf(stderr, "; to go on: --from %llu\n", big(next));
}

static int run(struct exporting *exporting)
{
    struct error error = { 0 };
    /* A limit on the size of files is an error like a full disk. */
    (void)signal(SIGXFSZ, SIG_IGN);
    if (open_file(exporting, &error) < 0)
        return command_failed_error(exporting->command, &error);
    export_row_begin(&exporting->row, exporting->format, exporting->no_payload, &exporting->keys);
    fputs(export_row_header(&exporting->row), exporting->out);
    progress_begin(&exporting->progress, "exporting", PROGRESS_ITEMS, 0);
    exporting->listing.command = exporting->command;
    exporting->listing.show = write_event;
    exporting->listing.context = exporting;
    exporting->listing.bounded = true;
    int status = listing_run(&exporting->listing, UINT64_MAX);
    progress_end(&exporting->progress);
    export_row_end(&exporting->row);
    bool usable =
        exporting->failed == 0 && exporting->listing.end_seq != 0 && status != COMMAND_USAGE;
    int code = close_file(exporting, usable, &error);
    if (exporting->failed < 0 && exporting->failed != -EPIPE)
        return command_failed(exporting->command, "event %llu cannot be written: %s",
                              big(exporting->listing.last_seq), error_text(exporting->failed));
    if (code < 0)
        return command_failed_error(exporting->command, &error);
    if (usable)
        tell_result(exporting);
    return status;
}

/* COMMAND_GO_ON, or that the options do not go together. */
static int choose_format(struct exporting *exporting)
{
    static const char *const names[] = { "jsonl", "csv", "records" };
    const struct command *command = exporting->command;
    size_t count = sizeof names / sizeof names[0], i = 0;
    while (i < count && strcmp(exporting->format_name, names[i]) != 0)
        i++;
    if (i == count)
        return command_misused(command, "--format: '%s' is none of jsonl, csv and records",
                               exporting->format_name);
    exporting->format = (enum export_format)i;
    if (exporting->format == EXPORT_RECORDS && exporting->no_payload)
        return command_misused(command, "--no-payload: a record's bytes hold its payload");
    if (exporting->json && exporting->path == NULL)
        return command_misused(command, "--json: standard output is for the events; give --output");
    return COMMAND_GO_ON;
}

int log_export(int argc, char **argv)
{
    static struct exporting exporting = { .format_name = "jsonl" };
    const struct command_option options[] = {
        { "format", 0, "FORMAT", COMMAND_TEXT, &exporting.format_name,
          "jsonl, as cat --json prints (default); csv; or records, JSON lines with the\n"
          "exact bytes of each, of which daa-log import makes the log again" },
        { "output", 'o', "FILE", COMMAND_TEXT, &exporting.path,
          "write FILE.part, and name it FILE when it is whole and durable" },
        { "no-payload", 0, NULL, COMMAND_FLAG, &exporting.no_payload, "leave payloads out" },
        { "json", 'j', NULL, COMMAND_FLAG, &exporting.json,
          "print the result as one JSON object (with --output)" },
        { "limit", 'n', "COUNT", COMMAND_NUMBER, &exporting.listing.filter.limit,
          "stop after COUNT events" },
        KEYS_OPTIONS(exporting.keys),
        FILTER_OPTIONS(exporting.listing.filter),
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log export",
        .purpose = "Write events in another format, up to what is durable when it begins.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .shared = log_options,
        .notes =
            "Columns of CSV (RFC 4180): seq, time, stream, kind, cause, actor_type, actor_id,\n"
            "request_id, traceparent, withheld (the number of the key without which a part is\n"
            "left out), payload (JSON). The last line, on stderr, says with which --from the\n"
            "next export goes on.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    exporting.command = &command;
    exporting.listing.dir = argv[first];
    status = choose_format(&exporting);
    if (status == COMMAND_GO_ON)
        status = decryption_begin(&exporting.keys, &command, exporting.listing.dir);
    if (status == COMMAND_GO_ON)
        status = run(&exporting);
    decryption_end(&exporting.keys);
    return status;
}
