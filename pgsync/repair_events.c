/* Events that are missing or differ, copied again: as many as fit one transaction. */
#include "core/base/bytes.h"
#include "pgsync/erasure.h"
#include "pgsync/rejected.h"
#include "pgsync/repair_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the server said of an event, and how far it goes in. */
struct refusal {
    struct error error;
    char sqlstate[8];
    bool left_out; /* not even without its payload */
};

/* The reader to event `seq`. To look a place up takes longer than to read over a few hundred. */
static int go_to(struct repairing *r, uint64_t seq, struct error *error)
{
    struct log_reader *reader = r->options->reader;
    struct record record;
    struct log_place place;
    int found = r->reader_seq > 0 && seq >= r->reader_seq && seq - r->reader_seq < 500;
    for (; found == 1 && r->reader_seq < seq; r->reader_seq++)
        found = log_reader_next(reader, &record, &place, error);
    if (found == 1)
        return 0;
    int failed = log_reader_seek(reader, seq, error);
    r->reader_seq = failed < 0 ? 0 : seq;
    return failed;
}

/* The next record, which is event `seq`. */
static int next(struct repairing *r, uint64_t seq, struct record *record, struct error *error)
{
    struct log_place place;
    int found = log_reader_next(r->options->reader, record, &place, error);
    r->reader_seq = found == 1 ? seq + 1 : 0;
    if (found < 0)
        return found == ERROR_INVALID ? ERROR_DAMAGED : found;
    if (found == 0 || record->seq != seq || memcmp(place.log_uuid, r->log, UUID_SIZE) != 0)
        return error_set(error, ERROR_NOT_FOUND,
                         "event %" PRIu64 " is not in the log any more: start again", seq);
    return 0;
}

/*--- What goes into one transaction ----------------------------------------------------------*/

/* Adds what fits of first to last: large records make it less. *behind is the event behind it. */
static int add_range(struct repairing *r, struct repair_set *set, uint64_t *bytes, uint64_t first,
                     uint64_t last, uint64_t *behind, struct error *error)
{
    struct repair_range *range = &set->ranges[set->count];
    uint64_t seq = first;
    int failed = go_to(r, first, error);
    for (;
         failed == 0 && seq <= last && set->rows < VERIFY_RANGE_ROWS && *bytes < BATCH_PAYLOAD_MAX;
         seq++) {
        struct record record;
        failed = next(r, seq, &record, error);
        if (failed < 0)
            return failed;
        *bytes += record.payload.size;
        set->rows++;
    }
    *behind = seq;
    if (failed == 0 && seq > first) {
        *range = (struct repair_range){ first, seq - 1 };
        set->count++;
    }
    return failed;
}

static bool goes_with(const struct repairing *r, const struct verify_difference *difference)
{
    return strcmp(difference->table, "events") == 0 && difference->kind != VERIFY_EXTRA &&
           memcmp(difference->log, r->log, UUID_SIZE) == 0;
}

/* From event *from of difference *at on; both are moved behind what was taken. */
static int fill(struct repairing *r, const struct verify_result *found, size_t *at, uint64_t *from,
                struct repair_set *set, struct error *error)
{
    uint64_t bytes = 0;
    int failed = 0;
    set->count = 0;
    set->rows = 0;
    while (failed == 0 && *at < found->difference_count && set->count < REPAIR_RANGES_MAX &&
           set->rows < VERIFY_RANGE_ROWS && bytes < BATCH_PAYLOAD_MAX &&
           goes_with(r, &found->differences[*at])) {
        const struct verify_difference *difference = &found->differences[*at];
        uint64_t first = *from > difference->first ? *from : difference->first;
        failed = add_range(r, set, &bytes, first, difference->last, from, error);
        if (*from > difference->last) {
            *from = 0;
            ++*at;
        }
    }
    return failed;
}

/*--- Copying ---------------------------------------------------------------------------------*/

static int send_event(struct repairing *r, uint64_t seq, const char *refusal, struct error *error)
{
    struct record record;
    int failed = next(r, seq, &record, error);
    if (failed < 0)
        return failed;
    if (batch_add(&r->batch, &record, refusal) < 0)
        return error_set(error, -ENOMEM, "no memory for event %" PRIu64, seq);
    return batch_send_events(&r->batch, r->pg, BATCH_PIECE_SIZE, error);
}

static int send_range(struct repairing *r, const struct repair_range *range, const char *refusal,
                      struct error *error)
{
    int failed = go_to(r, range->first, error);
    for (uint64_t seq = range->first; failed == 0 && seq <= range->last; seq++)
        failed = send_event(r, seq, refusal, error);
    return failed;
}

static int copy_set(struct repairing *r, const struct repair_set *set, const char *refusal,
                    struct error *error)
{
    int failed = pg_copy_begin(r->pg, batch_events_sql, error);
    if (failed < 0)
        return failed;
    batch_begin(&r->batch, r->log, &r->family.owners);
    for (size_t i = 0; failed == 0 && i < set->count; i++)
        failed = send_range(r, &set->ranges[i], refusal, error);
    batch_end(&r->batch);
    if (failed == 0)
        failed = batch_send_events(&r->batch, r->pg, 0, error);
    if (failed < 0)
        pg_copy_abort(r->pg);
    return failed < 0 ? failed : pg_copy_end(r->pg, error);
}

/* The server refused it alone: its exact bytes go where the copier puts such. */
static int reject(struct repairing *r, uint64_t seq, const struct refusal *refusal,
                  struct error *error)
{
    const struct rejection rejection = { refusal->sqlstate, refusal->error.text,
                                         !refusal->left_out };
    struct record record;
    int failed = go_to(r, seq, error);
    if (failed == 0)
        failed = next(r, seq, &record, error);
    if (failed == 0 && batch_count(&r->batch, &record) < 0)
        failed = error_set(error, -ENOMEM, "no memory for event %" PRIu64, seq);
    return failed < 0 ? failed : rejected_add(r->pg, r->log_text, &record, &rejection, error);
}

static int put_events(struct repairing *r, const struct repair_set *set,
                      const struct refusal *refusal, struct error *error)
{
    int failed = 0;
    batch_begin(&r->batch, r->log, &r->family.owners);
    if (refusal != NULL)
        failed = reject(r, set->ranges[0].first, refusal, error);
    if (failed == 0 && (refusal == NULL || !refusal->left_out))
        failed = copy_set(r, set, refusal != NULL ? refusal->error.text : NULL, error);
    return failed;
}

static int put_set(struct repairing *r, const struct repair_set *set, const struct refusal *refusal,
                   struct error *error)
{
    uint64_t first = set->ranges[0].first, last = set->ranges[set->count - 1].last;
    int failed = repair_begin(r, error);
    /* What is behind the position is the copier's. */
    if (failed == 0 && last > r->last_seq)
        return repair_end(r, 0, error);
    if (failed == 0)
        failed = repair_note_streams(r, set, error);
    if (failed == 0)
        failed = repair_run_on(r, "DELETE FROM daa.events", set, error);
    if (failed == 0)
        failed = repair_run_on(r, "DELETE FROM daa.rejected", set, error);
    if (failed == 0)
        failed = repair_run_on(r, "DELETE FROM daa.erased", set, error);
    if (failed == 0)
        failed = put_events(r, set, refusal, error);
    if (failed == 0)
        failed = repair_note_streams(r, set, error);
    if (failed == 0 && r->batch.has_anchor)
        failed = schema_add_anchors(r->pg, r->log_text, first - 1, last, error);
    if (failed == 0)
        failed = erasure_apply(r->pg, &r->batch, first, last, r->options->budget, error);
    if (failed == 0)
        failed = repair_rows(r, error);
    failed = repair_end(r, failed, error);
    if (failed == 0)
        r->result->copied += set->rows;
    return failed;
}

/* The first half of a set into one, the rest into another. */
static void split(const struct repair_set *set, struct repair_set *one, struct repair_set *two)
{
    uint64_t left = set->rows / 2;
    one->count = two->count = 0;
    one->rows = left;
    two->rows = set->rows - left;
    for (size_t i = 0; i < set->count; i++) {
        struct repair_range range = set->ranges[i];
        uint64_t size = range.last - range.first + 1, take = size < left ? size : left;
        if (take > 0)
            one->ranges[one->count++] =
                (struct repair_range){ range.first, range.first + take - 1 };
        if (take < size)
            two->ranges[two->count++] = (struct repair_range){ range.first + take, range.last };
        left -= take;
    }
}

static int mend_set(struct repairing *r, const struct repair_set *set, struct error *error);

static int mend_halves(struct repairing *r, const struct repair_set *set, struct error *error)
{
    struct repair_set *halves = malloc(2 * sizeof *halves);
    if (halves == NULL)
        return error_set(error, -ENOMEM, "no memory to mend a part of the events");
    split(set, &halves[0], &halves[1]);
    int failed = mend_set(r, &halves[0], error);
    if (failed == 0)
        failed = mend_set(r, &halves[1], error);
    free(halves);
    return failed;
}

/* One event: without its payload, then not at all but in daa.rejected. */
static int mend_refused(struct repairing *r, const struct repair_set *set, struct refusal *refusal,
                        struct error *error)
{
    struct error again = { 0 };
    int failed = put_set(r, set, refusal, &again);
    if (failed == ERROR_INVALID && pg_alive(r->pg)) {
        refusal->left_out = true;
        failed = put_set(r, set, refusal, &again);
    }
    if (failed < 0)
        *error = again;
    r->result->refused += failed == 0;
    return failed;
}

/* Halves what the server refuses, down to one event. */
static int mend_set(struct repairing *r, const struct repair_set *set, struct error *error)
{
    struct refusal refusal = { .left_out = false };
    int failed = put_set(r, set, NULL, &refusal.error);
    if (failed == ERROR_INVALID && pg_alive(r->pg)) {
        (void)snprintf(refusal.sqlstate, sizeof refusal.sqlstate, "%s", pg_sqlstate(r->pg));
        return set->rows > 1 ? mend_halves(r, set, error) : mend_refused(r, set, &refusal, error);
    }
    if (failed < 0)
        *error = refusal.error;
    return failed;
}

/* Partitions may have been taken away with their rows. */
static int extend(struct repairing *r, const struct repair_set *set, struct error *error)
{
    int failed = 0;
    for (size_t i = 0; failed == 0 && i < set->count; i++) {
        failed = schema_extend(&r->schema, r->pg, set->ranges[i].first, error);
        if (failed == 0)
            failed = schema_extend(&r->schema, r->pg, set->ranges[i].last, error);
    }
    return failed;
}

int repair_events(struct repairing *r, const struct verify_result *found, size_t *at,
                  struct error *error)
{
    struct repair_set *set = malloc(sizeof *set);
    uint64_t from = 0;
    int failed = 0;
    if (set == NULL)
        return error_set(error, -ENOMEM, "no memory to mend events");
    do {
        if (atomic_load(r->options->stop))
            failed = error_set(error, -ECANCELED,
                               "stopped before all was repaired: run it again to go on");
        if (failed == 0)
            failed = fill(r, found, at, &from, set, error);
        if (failed == 0)
            failed = extend(r, set, error);
        if (failed == 0)
            failed = mend_set(r, set, error);
    } while (failed == 0 && from > 0);
    free(set);
    return failed;
}
