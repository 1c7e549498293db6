#include "pgsync/restore.h"

#include "core/base/bytes.h"
#include "core/base/text.h"
#include "core/event/event.h"
#include "log/event.h"
#include "pgsync/schema.h"
#include "pgsync/scope.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the server refused altogether is whole in daa.rejected. */
#define RECORDS_SQL                                                                                \
    "(SELECT log, seq, record FROM daa.events"                                                     \
    " UNION ALL SELECT log, seq, record FROM daa.rejected WHERE NOT in_events)"

#define WINDOW UINT64_C(10000)          /* events of which the size is asked for at once */
#define FETCH_BYTES (UINT64_C(8) << 20) /* aimed at with one query */

struct restoring {
    const struct restore_options *options;
    struct pg *pg;
    struct log_import *import;
    struct scope scope;
    uint8_t *bytes; /* of one record */
    size_t bytes_size;
};

/*--- Which log -------------------------------------------------------------------------------*/

static int set_ambiguous(const struct pg_rows *rows, struct error *error)
{
    struct text names;
    text_init(&names);
    for (int i = 0; i < pg_rows_count(rows) && i < 10; i++)
        text_printf(&names, "%s%s (up to %s)", i > 0 ? ", " : "", pg_rows_text(rows, i, 0),
                    pg_rows_text(rows, i, 1));
    int code = error_set(error, ERROR_CONFLICT,
                         "this Postgres holds several logs: say which one is meant with --log: %s",
                         text_string(&names));
    text_free(&names);
    return code;
}

/* Its uuid as text into `log`. */
static int choose_log(struct restoring *r, char log[UUID_TEXT_SIZE], struct error *error)
{
    struct pg_rows *rows;
    uint8_t uuid[UUID_SIZE];
    if (r->options->log != NULL) {
        if (!uuid_from_text(uuid, span_of_text(r->options->log)))
            return error_set(error, ERROR_SYNTAX, "\"%s\" is no uuid of a log", r->options->log);
        uuid_to_text(log, uuid);
        return 0;
    }
    int failed = pg_query(r->pg,
                          "SELECT log, last_seq FROM daa.replica r WHERE last_seq > 0"
                          " AND NOT EXISTS (SELECT FROM daa.replica c WHERE c.parent = r.log)"
                          " ORDER BY number",
                          &rows, error);
    if (failed < 0)
        return failed;
    if (pg_rows_count(rows) == 1)
        (void)snprintf(log, UUID_TEXT_SIZE, "%s", pg_rows_text(rows, 0, 0));
    else if (pg_rows_count(rows) == 0)
        failed = error_set(error, ERROR_NOT_FOUND, "this Postgres holds no events of any log");
    else
        failed = set_ambiguous(rows, error);
    pg_rows_free(rows);
    return failed;
}

/*--- Records ---------------------------------------------------------------------------------*/

static int set_missing(uint64_t seq, const char *log, struct error *error)
{
    return error_set(error, ERROR_NOT_FOUND,
                     "event %" PRIu64 " of log %s is not in Postgres, and a log has no gaps: "
                     "nothing was restored; where the log still is, copy it with daa-pgsync "
                     "--repair, else restore a backup with daa-log restore",
                     seq, log);
}

static int set_changed(uint64_t seq, const char *log, struct error *error)
{
    return error_set(
        error, ERROR_DAMAGED,
        "the record of event %" PRIu64 " of log %s in daa.events was changed, its "
        "checksum is wrong: nothing was restored; where the log still is, mend it with "
        "daa-pgsync --repair, else restore a backup with daa-log restore",
        seq, log);
}

static int decode(struct restoring *r, const char *hex, struct record *record)
{
    size_t size = strlen(hex) / 2, used;
    if (size > r->bytes_size) {
        uint8_t *more = realloc(r->bytes, size);
        if (more == NULL)
            return -ENOMEM;
        r->bytes = more;
        r->bytes_size = size;
    }
    if (!bytes_from_hex(r->bytes, size, hex, 2 * size) ||
        record_decode(span_of(r->bytes, size), record, &used) < 0 || used != size)
        return ERROR_DAMAGED;
    return 0;
}

static int add_row(struct restoring *r, const struct scope_log *log, const char *name,
                   uint64_t wanted, const struct pg_rows *rows, int row, struct error *error)
{
    uint64_t seq = (uint64_t)pg_rows_integer(rows, row, 0);
    struct record record;
    if (seq != wanted)
        return set_missing(wanted, name, error);
    int failed = decode(r, pg_rows_text(rows, row, 1), &record);
    if (failed == -ENOMEM)
        return error_set(error, failed, "no memory for event %" PRIu64, seq);
    if (failed < 0 || record.seq != seq)
        return set_changed(seq, name, error);
    return event_import(r->import, log->log, &record, error);
}

/* Events first to last, `rows_max` at a time. */
static int read_window(struct restoring *r, const struct scope_log *log, const char *name,
                       uint64_t first, uint64_t last, uint64_t rows_max, struct error *error)
{
    char sql[500];
    int failed = 0;
    for (uint64_t seq = first; failed == 0 && seq <= last;) {
        struct pg_rows *rows;
        (void)snprintf(sql, sizeof sql,
                       "SELECT seq, encode(record, 'hex') FROM " RECORDS_SQL " e WHERE log = '%s'"
                       " AND seq BETWEEN %" PRIu64 " AND %" PRIu64 " ORDER BY seq LIMIT %" PRIu64,
                       name, seq, last, rows_max);
        failed = pg_query(r->pg, sql, &rows, error);
        if (failed < 0)
            return failed;
        int count = pg_rows_count(rows);
        for (int i = 0; failed == 0 && i < count; i++)
            failed = add_row(r, log, name, seq++, rows, i, error);
        pg_rows_free(rows);
        if (failed == 0 && count == 0)
            failed = set_missing(seq, name, error);
    }
    return failed;
}

static int measure(struct restoring *r, const char *name, uint64_t first, uint64_t last,
                   uint64_t *rows_max, struct error *error)
{
    char sql[500];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "SELECT coalesce(max(octet_length(record)), 0) FROM " RECORDS_SQL " e"
                   " WHERE log = '%s' AND seq BETWEEN %" PRIu64 " AND %" PRIu64,
                   name, first, last);
    int failed = pg_query(r->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    *rows_max = FETCH_BYTES / (2 * (uint64_t)pg_rows_integer(rows, 0, 0) + 100) + 1;
    pg_rows_free(rows);
    return 0;
}

static int read_log(struct restoring *r, const struct scope_log *log, uint64_t first,
                    struct error *error)
{
    char name[UUID_TEXT_SIZE];
    int failed = 0;
    uuid_to_text(name, log->log);
    for (uint64_t last = 0; failed == 0 && first <= log->upto; first = last + 1) {
        uint64_t rows_max = 1;
        last = log->upto - first < WINDOW ? log->upto : first + WINDOW - 1;
        if (atomic_load(r->options->stop))
            return error_set(error, -ECANCELED, "stopped: nothing was restored");
        failed = measure(r, name, first, last, &rows_max, error);
        if (failed == 0)
            failed = read_window(r, log, name, first, last, rows_max, error);
        if (r->options->progress != NULL)
            r->options->progress(last, r->scope.last_seq, r->options->context);
    }
    return failed;
}

/*--- All -------------------------------------------------------------------------------------*/

static int open_all(struct restoring *r, char log[UUID_TEXT_SIZE], struct error *error)
{
    uint8_t uuid[UUID_SIZE] = { 0 };
    int failed = pg_open(&r->pg, r->options->url, r->options->stop, error);
    int found = failed == 0 ? schema_check(r->pg, error) : failed;
    if (found == 0)
        return error_set(error, ERROR_NOT_FOUND, "this Postgres holds no events of any log");
    failed = found < 0 ? found
                       : pg_run(r->pg, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", error);
    if (failed == 0)
        failed = choose_log(r, log, error);
    if (failed == 0 && uuid_from_text(uuid, span_of_text(log)))
        failed = scope_read(&r->scope, r->pg, uuid, error);
    return failed;
}

static int run(struct restoring *r, struct restore_result *result, struct error *error)
{
    struct log_import_result made;
    const struct log_import_options wanted = {
        .dir = r->options->dir,
        .segment_size = r->options->segment_size,
        .event_schema = EVENT_SCHEMA,
        .time_ns = r->options->time_ns,
    };
    int failed = open_all(r, result->log, error);
    if (failed == 0)
        failed = log_import_open(&r->import, &wanted, error);
    for (size_t i = 0; failed == 0 && i < r->scope.count; i++)
        failed = read_log(r, &r->scope.logs[i], i > 0 ? r->scope.logs[i - 1].upto + 1 : 1, error);
    if (failed == 0)
        failed = log_import_finish(r->import, &made, error);
    if (failed < 0)
        return failed;
    result->last_seq = made.last_seq;
    result->segments = made.segments;
    return 0;
}

int restore_run(const struct restore_options *options, struct restore_result *result,
                struct error *error)
{
    struct restoring r = { .options = options };
    *result = (struct restore_result){ .last_seq = 0 };
    int failed = run(&r, result, error);
    log_import_close(&r.import);
    pg_close(&r.pg);
    free(r.bytes);
    return failed;
}
