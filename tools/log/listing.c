#include "tools/log/listing.h"

#include "log/recovery.h"
#include "log/storage.h"

#include <errno.h>

#define WAIT_NS 1000000000u

static unsigned long long big(uint64_t number)
{
    return number;
}

int listing_find_time(struct log_reader *reader, uint64_t time_ns, uint64_t *seq,
                      struct error *error)
{
    struct record record;
    uint64_t low = log_reader_first_seq(reader), end = log_reader_durable_seq(reader) + 1;
    uint64_t high = end;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int found = log_reader_get(reader, middle, &record, NULL, error);
        if (found <= 0)
            return found < 0 ? found
                             : error_set(error, ERROR_NOT_FOUND, "event %llu cannot be found",
                                         big(middle));
        if (record.time_ns < time_ns)
            low = middle + 1;
        else
            high = middle;
    }
    *seq = low;
    return low < end;
}

/* Hands the record on if it is wanted. 1 go on, 0 nothing behind it can be wanted, or negative. */
static int list_record(struct listing *listing, const struct record *record,
                       const struct log_place *place)
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
    listing->last_seq = record->seq;
    if (!filter_matches(filter, record))
        return 1;
    int code = listing->show(record, place, listing->context);
    if (code <= 0)
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
    int code = log_recover(listing->dir, NULL, 0, &recovery, &error);
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
    struct log_place place;
    struct error error;
    int code = 1;
    while (code > 0) {
        code = log_reader_next(listing->reader, &record, &place, &error);
        if (code == 1)
            code = list_record(listing, &record, &place);
        else if (code == ERROR_NOT_FOUND)
            code = pass_removed(listing, &error) == 0;
        else if (code < 0)
            return command_failed_error(listing->command, &error);
        else if (fflush(stdout) != 0)
            code = -EPIPE;
        else
            code = wait_for_more(listing);
    }
    listing->skipped = log_reader_skipped(listing->reader);
    if (listing->skipped > 0)
        listing->status = COMMAND_FAILED;
    return listing->status;
}

/* Where the listing begins. A time is looked for at once; where that does not work for damage,
 * what lies before it is read and passed over. */
static uint64_t find_beginning(struct listing *listing, uint64_t last_count)
{
    struct error ignored;
    uint64_t from = listing->filter.from, last = log_reader_durable_seq(listing->reader), seq;
    if (listing->filter.since_ns != 0 &&
        listing_find_time(listing->reader, listing->filter.since_ns, &seq, &ignored) >= 0 &&
        seq > from)
        from = seq;
    if (last_count != UINT64_MAX && last + 1 > from + last_count)
        from = last + 1 - last_count;
    return from;
}

int listing_run(struct listing *listing, uint64_t last_count)
{
    struct error error;
    listing->reader = open_reader(listing->command, listing->dir, true);
    if (listing->reader == NULL)
        return COMMAND_FAILED;
    int status;
    if (filter_begin(&listing->filter, listing->dir, &error) < 0) {
        status = command_misused(listing->command, "%s", error.text);
    } else {
        uint64_t from = find_beginning(listing, last_count);
        uint64_t end = listing->end_seq = log_reader_durable_seq(listing->reader);
        listing->live = log_reader_live(listing->reader);
        if (listing->bounded && listing->live &&
            (listing->filter.to == 0 || listing->filter.to > end))
            listing->filter.to = end;
        /* What begins later, begins there. */
        if (log_reader_seek(listing->reader, from, &error) == ERROR_DAMAGED)
            (void)command_failed_error(listing->command, &error);
        else
            tell_beginning(listing, from);
        uint64_t first_seq = log_reader_first_seq(listing->reader);
        listing->expected = from > first_seq ? from : first_seq;
        status = list(listing);
    }
    log_reader_close(listing->reader);
    return status;
}
