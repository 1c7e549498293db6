#include "pgsync/verify.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "pgsync/changes.h"
#include "pgsync/schema.h"
#include "pgsync/verify_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DURABLE_WAIT_NS UINT64_C(5000000000) /* for the log to show what was copied already */

/*--- Differences -----------------------------------------------------------------------------*/

static bool goes_on(const struct verify_difference *last, const struct verify_difference *next)
{
    return last->kind == next->kind && strcmp(last->table, "events") == 0 &&
           strcmp(next->table, "events") == 0 && last->last + 1 == next->first &&
           last->proven == next->proven && memcmp(last->log, next->log, UUID_SIZE) == 0 &&
           strcmp(last->columns, next->columns) == 0;
}

static int make_room(struct verify_result *result, struct error *error)
{
    if (result->difference_count < result->difference_capacity)
        return 0;
    size_t capacity = result->difference_capacity == 0 ? 64 : 2 * result->difference_capacity;
    struct verify_difference *more =
        realloc(result->differences, capacity * sizeof *result->differences);
    if (more == NULL)
        return error_set(error, -ENOMEM, "no memory for the differences");
    result->differences = more;
    result->difference_capacity = capacity;
    return 0;
}

int verify_add(struct verifying *v, const struct verify_difference *difference, struct error *error)
{
    struct verify_result *result = v->result;
    uint64_t count = difference->last - difference->first + 1;
    if (strcmp(difference->table, "events") == 0) {
        result->kinds[difference->kind] += count;
        if (difference->kind == VERIFY_EXTRA && !difference->proven)
            result->unproven += count;
    } else {
        result->rows_differ += count;
    }
    if (result->difference_count > 0) {
        struct verify_difference *last = &result->differences[result->difference_count - 1];
        if (goes_on(last, difference)) {
            last->last = difference->last;
            return 0;
        }
    }
    if (result->difference_count >= VERIFY_DIFFERENCES_MAX)
        return 0;
    int failed = make_room(result, error);
    if (failed == 0)
        result->differences[result->difference_count++] = *difference;
    return failed;
}

void verify_free(struct verify_result *result)
{
    free(result->differences);
    *result = (struct verify_result){ .log_count = 0 };
}

bool verify_chain_differs(const struct verify_result *result)
{
    for (size_t i = result->log_count; i-- > 0;)
        if (result->logs[i].known)
            return result->logs[i].chain == VERIFY_CHAIN_OTHER;
    return false;
}

bool verify_is_clean(const struct verify_result *result)
{
    uint64_t differ = result->rows_differ;
    for (int i = 0; i < VERIFY_KINDS; i++)
        differ += result->kinds[i];
    return differ == 0 && !verify_chain_differs(result);
}

/*--- One log ---------------------------------------------------------------------------------*/

/* The row of daa.replica: its chain as text into `chain`. 0 or negative. */
static int read_position(struct verifying *v, struct verify_log *log,
                         char chain[2 * SHA256_SIZE + 1], struct error *error)
{
    char sql[200];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "SELECT last_seq, encode(last_chain, 'hex') FROM daa.replica WHERE log = '%s'",
                   v->log_text);
    int failed = pg_query(v->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    log->known = pg_rows_count(rows) == 1;
    if (log->known) {
        log->position = (uint64_t)pg_rows_integer(rows, 0, 0);
        (void)snprintf(chain, 2 * SHA256_SIZE + 1, "%s", pg_rows_text(rows, 0, 1));
    }
    pg_rows_free(rows);
    return 0;
}

/* A log whose writer is starting may not show its end yet. */
static int wait_durable(struct verifying *v, uint64_t seq, struct error *error)
{
    struct log_reader *reader = v->options->reader;
    for (uint64_t waited_ns = 0; log_reader_durable_seq(reader) < seq;
         waited_ns += DURABLE_WAIT_NS / 100) {
        if (atomic_load(v->options->stop))
            return error_set(error, -ECANCELED, "stopped before all was compared");
        if (waited_ns >= DURABLE_WAIT_NS)
            return error_set(error, ERROR_MISMATCH,
                             "this Postgres holds log %s up to seq %" PRIu64
                             ", but here it ends at %" PRIu64
                             ": this is an older copy of the log, or one that lost its end",
                             v->log_text, seq, log_reader_durable_seq(reader));
        (void)log_reader_wait(reader, DURABLE_WAIT_NS / 100);
    }
    return 0;
}

static int compare_chain(struct verifying *v, const char *chain, struct error *error)
{
    struct verify_log *log = v->log;
    struct record record;
    struct log_place place;
    uint8_t there[SHA256_SIZE];
    if (log->last_seq < log->first_seq || log->last_seq != log->position)
        return 0; /* it was left before, or nothing of it is here */
    int found = log_reader_get(v->options->reader, log->position, &record, &place, error);
    if (found <= 0)
        return found;
    memcpy(log->chain_here, place.frame_chain, SHA256_SIZE);
    bool same = bytes_from_hex(there, SHA256_SIZE, chain, strlen(chain)) &&
                memcmp(there, place.frame_chain, SHA256_SIZE) == 0;
    log->chain = same ? VERIFY_CHAIN_SAME : VERIFY_CHAIN_OTHER;
    return 0;
}

static int add_extra(struct verifying *v, const struct pg_rows *rows, bool proven,
                     struct error *error)
{
    int failed = 0;
    for (int i = 0; failed == 0 && i < pg_rows_count(rows); i++) {
        struct verify_difference difference = { .kind = VERIFY_EXTRA,
                                                .table = "events",
                                                .proven = proven };
        memcpy(difference.log, v->log->log, UUID_SIZE);
        difference.first = difference.last = (uint64_t)pg_rows_integer(rows, i, 0);
        failed = verify_add(v, &difference, error);
    }
    return failed;
}

/* Rows where the log has none: `condition` on seq. */
static int find_extra(struct verifying *v, const char *condition, bool proven, struct error *error)
{
    char sql[300];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "SELECT seq FROM daa.events WHERE log = '%s' AND %s ORDER BY seq LIMIT %u",
                   v->log_text, condition, VERIFY_DIFFERENCES_MAX);
    int failed = pg_query(v->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    failed = add_extra(v, rows, proven, error);
    pg_rows_free(rows);
    return failed;
}

/* Of a log that went on elsewhere, what is there behind the fork is for its own directory to
 * say. */
static int find_extra_beyond(struct verifying *v, uint64_t end, struct error *error)
{
    uint64_t position = v->log->position;
    char condition[60];
    if (v->log != &v->result->logs[v->result->log_count - 1])
        return 0;
    (void)snprintf(condition, sizeof condition, "seq > %" PRIu64, position > end ? position : end);
    return find_extra(v, condition, false, error);
}

/* `begin` is the first event that can be under this name, `end` the last that the log has. */
static int find_extras(struct verifying *v, uint64_t begin, uint64_t end, struct error *error)
{
    char condition[100];
    (void)snprintf(condition, sizeof condition, "seq < %" PRIu64, begin);
    int failed = find_extra(v, condition, true, error);
    (void)snprintf(condition, sizeof condition, "seq > %" PRIu64 " AND seq <= %" PRIu64,
                   v->log->position, end);
    if (failed == 0 && v->log->position < end)
        failed = find_extra(v, condition, true, error);
    return failed < 0 ? failed : find_extra_beyond(v, end, error);
}

static int by_first(const void *one, const void *other)
{
    const struct verify_difference *a = one, *b = other;
    return a->first < b->first ? -1 : a->first > b->first;
}

/* What is missing in a range is found before what differs there; a repair copies in order. */
static void sort_differences(struct verify_result *result, size_t from)
{
    if (result->difference_count > from)
        qsort(result->differences + from, result->difference_count - from,
              sizeof *result->differences, by_first);
}

static int compare_events(struct verifying *v, struct error *error)
{
    struct verify_log *log = v->log;
    size_t from = v->result->difference_count;
    int failed = 0;
    if (log->last_seq >= log->first_seq)
        failed = log_reader_seek(v->options->reader, log->first_seq, error);
    for (uint64_t seq = log->first_seq, end; failed == 0 && seq <= log->last_seq; seq = end + 1) {
        if (atomic_load(v->options->stop))
            return error_set(error, -ECANCELED, "stopped before all was compared");
        failed = verify_events(v, seq, log->last_seq, &end, error);
    }
    sort_differences(v->result, from);
    return failed;
}

/* What can be compared of it. */
static void set_limits(struct verifying *v, uint64_t begin, uint64_t end)
{
    struct verify_log *log = v->log;
    uint64_t first = log_reader_first_seq(v->options->reader);
    uint64_t last = log->position < end ? log->position : end;
    log->first_seq = first > begin ? first : begin;
    log->last_seq = last;
    log->left = log->position > end ? log->position - end : 0;
    log->lag = end - last;
    if (last >= begin && log->first_seq > begin)
        log->gone = (log->first_seq <= last ? log->first_seq : last + 1) - begin;
    if (last < log->first_seq || v->attached <= log->first_seq)
        return;
    uint64_t next = v->attached <= last ? v->attached : last + 1;
    log->detached = next - log->first_seq;
    log->first_seq = next;
}

static int compare_log(struct verifying *v, size_t i, struct error *error)
{
    const struct family_log *log = &v->family.logs[i];
    struct log_reader *reader = v->options->reader;
    char chain[2 * SHA256_SIZE + 1] = "";
    uint64_t begin = i > 0 ? v->family.logs[i - 1].end_seq + 1 : 1;
    bool newest = log->end_seq == UINT64_MAX;
    v->log = &v->result->logs[i];
    uuid_to_text(v->log_text, log->log);
    int failed = read_position(v, v->log, chain, error);
    if (failed == 0 && newest && v->log->known)
        failed = wait_durable(v, v->log->position, error);
    uint64_t end = newest ? log_reader_durable_seq(reader) : log->end_seq;
    if (failed < 0)
        return failed;
    /* Of a log older than all segments the first event is not known. */
    if (i == 0 && log->gone)
        begin = end + 1;
    set_limits(v, begin, end);
    if (i == 0 && log->gone)
        v->log->gone = v->log->last_seq;
    if (!v->log->known)
        return 0;
    failed = compare_events(v, error);
    if (failed == 0 && !log->gone)
        failed = find_extras(v, begin, end, error);
    return failed < 0 ? failed : compare_chain(v, chain, error);
}

/*--- All -------------------------------------------------------------------------------------*/

static void count_work(struct verifying *v)
{
    v->all = log_reader_durable_seq(v->options->reader);
    if (v->options->content)
        v->all *= 2;
    v->all += 1;
}

/* Old partitions may be detached, by choice: what is in them is not there any more. */
static int find_attached(struct verifying *v, struct error *error)
{
    struct pg_rows *rows;
    int failed = pg_query(v->pg,
                          "SELECT coalesce(min(substring(c.relname from 8)::bigint), 0)"
                          " * (SELECT partition_rows FROM daa.meta)"
                          " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                          " WHERE i.inhparent = 'daa.events'::regclass"
                          " AND c.relname ~ '^events_[0-9]+$'",
                          &rows, error);
    if (failed < 0)
        return failed;
    v->attached = (uint64_t)pg_rows_integer(rows, 0, 0);
    pg_rows_free(rows);
    return 0;
}

/* The newest of the family that is there; NULL none. */
static const struct verify_log *newest_known(const struct verify_result *result)
{
    for (size_t i = result->log_count; i-- > 0;)
        if (result->logs[i].known)
            return &result->logs[i];
    return NULL;
}

/* But for extra ones behind the position, which nothing is made of. */
static bool events_differ(const struct verify_result *result)
{
    uint64_t differ = 0;
    for (int i = 0; i < VERIFY_KINDS; i++)
        differ += result->kinds[i];
    return differ > result->unproven;
}

static int compare_all(struct verifying *v, struct error *error)
{
    struct verify_result *result = v->result;
    result->content = v->options->content;
    result->log_count = v->family.count;
    for (size_t i = 0; i < result->log_count; i++)
        memcpy(result->logs[i].log, v->family.logs[i].log, UUID_SIZE);
    int failed = find_attached(v, error);
    for (size_t i = 0; failed == 0 && i < result->log_count; i++)
        failed = compare_log(v, i, error);
    const struct verify_log *newest = newest_known(result);
    if (failed == 0 && newest == NULL)
        failed = error_set(error, ERROR_NOT_FOUND,
                           "this Postgres has no copy of log %s: make one with daa-pgsync --once",
                           v->log_text);
    result->rows_compared = v->options->content && newest != NULL && !events_differ(result);
    if (failed == 0 && result->content && newest != NULL)
        failed = verify_derived(v, newest->log, error);
    return failed;
}

/* One snapshot. Temporary tables are made in it, so it is read-only only where there are none. */
static int begin(struct verifying *v, struct error *error)
{
    bool content = v->options->content;
    int failed = content ? changes_make_tables(v->pg, error) : 0;
    if (failed == 0)
        failed = pg_run(v->pg,
                        content ? "BEGIN ISOLATION LEVEL REPEATABLE READ"
                                : "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
                        error);
    if (failed == 0 && content)
        failed = verify_content_open(v, error);
    return failed;
}

static int run(struct verifying *v, struct error *error)
{
    const struct verify_options *options = v->options;
    int failed = pg_open(&v->pg, options->url, options->stop, error);
    int found = failed == 0 ? schema_check(v->pg, error) : failed;
    if (found == 0)
        return error_set(error, ERROR_NOT_FOUND,
                         "this Postgres has no copy of any log: make one with daa-pgsync --once");
    failed = found < 0 ? found : begin(v, error);
    if (failed == 0)
        failed = family_read(&v->family, options->dir, error);
    if (failed == 0 && v->family.count == 0)
        failed = error_set(error, ERROR_NOT_FOUND,
                           "nothing was ever written to log %s, so there is nothing to compare: is "
                           "it the right directory?",
                           options->dir);
    if (failed == 0 && v->family.count > VERIFY_LOGS_MAX)
        failed = error_set(error, ERROR_TOO_LARGE, "the log was forked more than %u times",
                           VERIFY_LOGS_MAX);
    if (failed == 0)
        failed = family_ask(&v->family, v->pg, error);
    if (failed == 0 && options->content)
        failed = erased_read(&v->erased, v->pg, error);
    count_work(v);
    if (failed == 0)
        failed = compare_all(v, error);
    return failed < 0 ? failed : pg_run(v->pg, "ROLLBACK", error);
}

int verify_run(const struct verify_options *options, struct verify_result *result,
               struct error *error)
{
    struct verifying v = { .options = options, .result = result };
    *result = (struct verify_result){ .rows_from = 1 };
    v.side = malloc(sizeof *v.side);
    if (v.side == NULL)
        return error_set(error, -ENOMEM, "no memory to compare");
    batch_init(&v.batch, options->budget);
    erased_init(&v.erased, options->budget);
    v.batch.keys = options->keys;
    v.batch.erased = &v.erased;
    binary_init(&v.buffer);
    text_init(&v.columns);
    text_init(&v.compared);
    text_init(&v.differing);
    int failed = run(&v, error);
    pg_close(&v.pg);
    family_free(&v.family);
    batch_free(&v.batch);
    erased_free(&v.erased);
    binary_free(&v.buffer);
    text_free(&v.columns);
    text_free(&v.compared);
    text_free(&v.differing);
    free(v.side);
    return failed;
}
