/* daa-log cat and tail. */
#include "log/recovery.h"
#include "log/storage.h"
#include "tools/log/log.h"

#include <errno.h>
#include <string.h>

#define WAIT_NS 1000000000u

struct listing {
    const struct command *command;
    const char *dir;
    struct filter filter;
    struct printer printer;
    struct log_reader *reader;
    bool json, follow;
    uint64_t expected; /* the next sequence number, if nothing is missing; 0: any */
    int status;
};

static unsigned long long big(uint64_t number)
{
    return number;
}

/* Prints the record if it is wanted. 1 go on, 0 nothing behind it can be wanted, or negative. */
static int list_record(struct listing *listing, const struct record *record)
{
    struct filter *filter = &listing->filter;
    if (listing->expected != 0 && record->seq > listing->expected) {
        fflush(stdout);
        listing->status =
            command_failed(listing->command,
                           "events %llu to %llu are damaged and left out: run "
                           "daa-log verify %s",
                           big(listing->expected), big(record->seq - 1), listing->dir);
    }
    listing->expected = record->seq + 1;
    if (filter_is_past(filter, record))
        return 0;
    if (!filter_matches(filter, record))
        return 1;
    int code = printer_event(&listing->printer, record);
    if (code < 0)
        return code;
    filter->shown++;
    return filter->limit == 0 || filter->shown < filter->limit;
}

/* Says what the end of a log is like that nobody writes. */
static void tell_end(struct listing *listing)
{
    struct log_recovery recovery;
    struct error error;
    if (log_reader_live(listing->reader))
        return;
    int code = log_recover_now(listing->dir, NULL, 0, &recovery, &error);
    if (code == ERROR_LOCKED)
        return;
    if (code < 0)
        listing->status = command_failed_error(listing->command, &error);
    else if (recovery.exists && recovery.verdict == LOG_DAMAGED)
        listing->status = command_failed(listing->command, "%s", recovery.reason);
    else if (recovery.exists && recovery.verdict != LOG_SOUND)
        (void)command_failed(listing->command, "%s", recovery.reason);
}

/* At the end of what is there: 1 there is more, 0 the listing is over. */
static int wait_for_more(struct listing *listing)
{
    if (!listing->follow) {
        tell_end(listing);
        return 0;
    }
    while (log_reader_wait(listing->reader, WAIT_NS) == 0)
        if (fflush(stdout) != 0)
            return 0;
    return 1;
}

/* What was to come next was removed meanwhile: says so and goes on where the log begins now. */
static int pass_removed(struct listing *listing, const struct error *what)
{
    struct error error;
    uint64_t first_seq = log_reader_first_seq(listing->reader);
    fflush(stdout);
    listing->status = command_failed(listing->command, "%s; it was removed meanwhile", what->text);
    listing->expected = 0;
    int code = log_reader_seek(listing->reader, first_seq, &error);
    return code == ERROR_NOT_FOUND ? 0 : code;
}

/* A beginning that was asked for and is not there. */
static void tell_beginning(const struct listing *listing, uint64_t from)
{
    uint64_t first_seq = log_reader_first_seq(listing->reader);
    if (first_seq > 1 && from < first_seq)
        (void)command_failed(listing->command,
                             "the log begins with event %llu; those before it are not there any "
                             "more",
                             big(first_seq));
}

static int list(struct listing *listing)
{
    struct record record;
    struct error error;
    int code = 1;
    while (code > 0) {
        code = log_reader_next(listing->reader, &record, NULL, &error);
        if (code == 1)
            code = list_record(listing, &record);
        else if (code == ERROR_NOT_FOUND)
            code = pass_removed(listing, &error) == 0;
        else if (code < 0)
            return command_failed_error(listing->command, &error);
        else if (fflush(stdout) != 0)
            code = -EPIPE;
        else
            code = wait_for_more(listing);
    }
    if (log_reader_skipped(listing->reader) > 0)
        listing->status = COMMAND_FAILED;
    return listing->status;
}

/* Opens the reader, reads the filter, lists from `from` on (0: where the filter begins). */
static int run(struct listing *listing, uint64_t last_count)
{
    struct error error;
    listing->reader = open_reader(listing->command, listing->dir, true);
    if (listing->reader == NULL)
        return COMMAND_FAILED;
    int status;
    if (filter_begin(&listing->filter, listing->dir, wall_clock_ns(), &error) < 0) {
        status = command_misused(listing->command, "%s", error.text);
    } else {
        uint64_t from = listing->filter.from, last = log_reader_durable_seq(listing->reader);
        if (last_count != UINT64_MAX && last + 1 > from + last_count)
            from = last + 1 - last_count;
        tell_beginning(listing, from);
        /* What begins later, begins there. */
        (void)log_reader_seek(listing->reader, from, &error);
        listing->expected = from > log_reader_first_seq(listing->reader) ? from : 0;
        printer_begin(&listing->printer, listing->json);
        status = list(listing);
        printer_end(&listing->printer);
    }
    log_reader_close(listing->reader);
    return status;
}

int log_cat(int argc, char **argv)
{
    static struct listing listing;
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &listing.json, "print one JSON object a line" },
        { "limit", 'n', "COUNT", COMMAND_NUMBER, &listing.filter.limit, "stop after COUNT events" },
        FILTER_OPTIONS(listing.filter),
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log cat",
        .purpose = "Print the events of a log in order.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
        .notes = "What is damaged is left out and named on stderr; the exit status is 1 then.",
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    listing.command = &command;
    listing.dir = argv[first];
    return run(&listing, UINT64_MAX);
}

int log_tail(int argc, char **argv)
{
    static struct listing listing;
    uint64_t count = 10;
    const struct command_option options[] = {
        { "json", 'j', NULL, COMMAND_FLAG, &listing.json, "print one JSON object a line" },
        { "lines", 'n', "COUNT", COMMAND_NUMBER, &count, "begin with the last COUNT events (10)" },
        { "follow", 'f', NULL, COMMAND_FLAG, &listing.follow, "go on with those to come" },
        FILTER_OPTIONS(listing.filter),
        { .name = NULL },
    };
    const struct command command = {
        .name = "daa-log tail",
        .purpose = "Print the last events of a log; of these, the ones that match.",
        .arguments = "DIR",
        .arguments_min = 1,
        .arguments_max = 1,
        .options = options,
    };
    int first, status = command_parse(&command, argc, argv, &first);
    if (status != COMMAND_GO_ON)
        return status;
    listing.command = &command;
    listing.dir = argv[first];
    return run(&listing, count);
}
