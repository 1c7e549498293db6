/* Events: counts and digests of a range on both sides, and what of it differs. */
#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/event/event.h"
#include "pgsync/verify_inside.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The rows of a range, and of those that the server refused altogether what daa.rejected has. */
#define ROWS_SQL                                                                                   \
    "(SELECT seq, record, CASE WHEN payload IS NULL THEN error END AS error"                       \
    " FROM daa.events WHERE log = '%s'"                                                            \
    " AND seq BETWEEN %" PRIu64 " AND %" PRIu64                                                    \
    " UNION ALL SELECT r.seq, r.record, r.message FROM daa.rejected r WHERE r.log = '%s'"          \
    " AND r.seq BETWEEN %" PRIu64 " AND %" PRIu64 " AND NOT r.in_events) s"

#define RANGE_BYTES (UINT64_C(64) << 20) /* of records, after which a range ends */

/*--- The log's side --------------------------------------------------------------------------*/

static int take_digest(struct verifying *v, const struct record *record, struct error *error)
{
    struct binary *buffer = &v->buffer;
    size_t size = record_size(record->payload.size);
    binary_clear(buffer);
    uint8_t *bytes = binary_bytes_room(buffer, size);
    if (bytes == NULL)
        return error_set(error, -ENOMEM, "no memory for event %" PRIu64, record->seq);
    record_encode(bytes, record);
    sha256_of(v->side->digests[v->side->count], bytes, size);
    v->side->count++;
    v->side->has_anchor |= record->kind == DAA__EVENT__BODY_LOG_ANCHORED;
    return 0;
}

static int check_place(struct verifying *v, uint64_t seq, const struct record *record,
                       const struct log_place *place, struct error *error)
{
    char text[UUID_TEXT_SIZE];
    if (record->seq != seq)
        return error_set(error, ERROR_NOT_FOUND,
                         "event %" PRIu64 " was removed from the log while it was compared: start "
                         "again",
                         seq);
    uuid_to_text(text, place->log_uuid);
    if (memcmp(place->log_uuid, v->log->log, UUID_SIZE) != 0)
        return error_set(error, ERROR_DAMAGED,
                         "event %" PRIu64 " stands under the name of log %s, where log %s should "
                         "go on; see daa-log verify",
                         seq, text, v->log_text);
    return 0;
}

/* The server's word for each row that it refused: such a row has no payload on our side too. */
struct refusals {
    struct pg_rows *rows; /* seq, sentence; in the order of seq */
    int next;
};

static int read_refusals(struct verifying *v, uint64_t first, uint64_t last,
                         struct refusals *refusals, struct error *error)
{
    char sql[300];
    refusals->next = 0;
    (void)snprintf(sql, sizeof sql,
                   "SELECT seq, error FROM daa.events WHERE log = '%s' AND seq BETWEEN %" PRIu64
                   " AND %" PRIu64 " AND error IS NOT NULL AND payload IS NULL ORDER BY seq",
                   v->log_text, first, last);
    return pg_query(v->pg, sql, &refusals->rows, error);
}

static const char *refusal_of(struct refusals *refusals, uint64_t seq)
{
    int count = pg_rows_count(refusals->rows);
    while (refusals->next < count &&
           (uint64_t)pg_rows_integer(refusals->rows, refusals->next, 0) < seq)
        refusals->next++;
    if (refusals->next == count ||
        (uint64_t)pg_rows_integer(refusals->rows, refusals->next, 0) != seq)
        return NULL;
    return pg_rows_text(refusals->rows, refusals->next, 1);
}

static int send_row(struct verifying *v, const struct record *record, struct refusals *refusals,
                    struct error *error)
{
    if (batch_add(&v->batch, record, refusal_of(refusals, record->seq)) < 0)
        return error_set(error, -ENOMEM, "no memory for event %" PRIu64, record->seq);
    return batch_send_events(&v->batch, v->pg, BATCH_PIECE_SIZE, error);
}

/* Reads the records of the range; with `refusals` sends their rows too. */
static int read_side(struct verifying *v, uint64_t first, uint64_t last, struct refusals *refusals,
                     struct error *error)
{
    struct verify_side *side = v->side;
    uint64_t bytes = 0;
    side->first = first;
    side->count = 0;
    side->has_anchor = false;
    for (uint64_t seq = first; seq <= last && bytes < RANGE_BYTES; seq++) {
        struct record record;
        struct log_place place;
        int found = log_reader_next(v->options->reader, &record, &place, error);
        if (found <= 0)
            return found < 0 ? found
                             : error_set(error, ERROR_UNAVAILABLE,
                                         "event %" PRIu64 " cannot be read yet", seq);
        int failed = check_place(v, seq, &record, &place, error);
        if (failed == 0)
            failed = take_digest(v, &record, error);
        if (failed == 0 && refusals != NULL)
            failed = send_row(v, &record, refusals, error);
        if (failed < 0)
            return failed;
        bytes += record.payload.size;
    }
    return 0;
}

/* "COPY daa.events (...) FROM ...", into our table instead. */
static int begin_copy(struct verifying *v, struct error *error)
{
    static const char table[] = "daa.events";
    char sql[1000];
    const char *at = strstr(batch_events_sql, table);
    CHECK(at != NULL);
    (void)snprintf(sql, sizeof sql, "%.*spg_temp.verify_events%s", (int)(at - batch_events_sql),
                   batch_events_sql, at + sizeof table - 1);
    int failed = pg_run(v->pg, "SAVEPOINT part; TRUNCATE pg_temp.verify_events", error);
    return failed < 0 ? failed : pg_copy_begin(v->pg, sql, error);
}

static int copy_side(struct verifying *v, uint64_t first, uint64_t last, struct error *error)
{
    struct refusals refusals = { .rows = NULL };
    int failed = read_refusals(v, first, last, &refusals, error);
    if (failed == 0)
        failed = begin_copy(v, error);
    if (failed == 0) {
        batch_begin(&v->batch, v->log->log, &v->family.owners);
        failed = read_side(v, first, last, &refusals, error);
        batch_end(&v->batch);
        if (failed == 0)
            failed = batch_send_events(&v->batch, v->pg, 0, error);
        if (failed < 0)
            pg_copy_abort(v->pg);
        else
            failed = pg_copy_end(v->pg, error);
    }
    pg_rows_free(refusals.rows);
    return failed < 0 ? failed : pg_run(v->pg, "RELEASE part", error);
}

/*--- The server's side -----------------------------------------------------------------------*/

static int add_event(struct verifying *v, enum verify_kind kind, uint64_t seq, struct error *error)
{
    struct verify_difference difference = {
        .kind = kind, .table = "events", .first = seq, .last = seq, .proven = true
    };
    memcpy(difference.log, v->log->log, UUID_SIZE);
    return verify_add(v, &difference, error);
}

static int add_missing(struct verifying *v, uint64_t first, uint64_t end, struct error *error)
{
    int failed = 0;
    for (uint64_t seq = first; failed == 0 && seq < end; seq++)
        failed = add_event(v, VERIFY_MISSING, seq, error);
    return failed;
}

/* `rows` has seq and digest of each row of the range. */
static int compare_rows(struct verifying *v, const struct pg_rows *rows, struct error *error)
{
    const struct verify_side *side = v->side;
    uint64_t next = side->first;
    int failed = 0;
    for (int i = 0; failed == 0 && i < pg_rows_count(rows); i++) {
        uint64_t seq = (uint64_t)pg_rows_integer(rows, i, 0);
        const char *hex = pg_rows_text(rows, i, 1);
        uint8_t digest[SHA256_SIZE];
        failed = add_missing(v, next, seq, error);
        next = seq + 1;
        if (failed == 0 && (!bytes_from_hex(digest, SHA256_SIZE, hex, strlen(hex)) ||
                            memcmp(digest, side->digests[seq - side->first], SHA256_SIZE) != 0))
            failed = add_event(v, VERIFY_RECORD, seq, error);
    }
    return failed < 0 ? failed : add_missing(v, next, side->first + side->count, error);
}

static int list_rows(struct verifying *v, struct error *error)
{
    char sql[700];
    struct pg_rows *rows;
    uint64_t first = v->side->first, last = first + v->side->count - 1;
    (void)snprintf(sql, sizeof sql,
                   "SELECT seq, encode(sha256(record), 'hex') FROM " ROWS_SQL " ORDER BY seq",
                   v->log_text, first, last, v->log_text, first, last);
    int failed = pg_query(v->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    failed = compare_rows(v, rows, error);
    pg_rows_free(rows);
    return failed;
}

static int compare_side(struct verifying *v, struct error *error)
{
    struct verify_side *side = v->side;
    char sql[1000], want[2 * SHA256_SIZE + 1];
    uint64_t first = side->first, last = first + side->count - 1;
    uint8_t digest[SHA256_SIZE];
    struct pg_rows *rows;
    sha256_of(digest, side->digests, side->count * SHA256_SIZE);
    bytes_to_hex(want, digest, SHA256_SIZE);
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*), coalesce(encode(sha256(string_agg(sha256(record), ''::bytea"
                   " ORDER BY seq)), 'hex'), ''), greatest(count(error), (SELECT count(*)"
                   " FROM daa.rejected WHERE log = '%s' AND seq BETWEEN %" PRIu64 " AND %" PRIu64
                   ")) FROM " ROWS_SQL,
                   v->log_text, first, last, v->log_text, first, last, v->log_text, first, last);
    int failed = pg_query(v->pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    bool same = (uint64_t)pg_rows_integer(rows, 0, 0) == side->count &&
                strcmp(pg_rows_text(rows, 0, 1), want) == 0;
    v->result->refused += (uint64_t)pg_rows_integer(rows, 0, 2);
    pg_rows_free(rows);
    return same ? 0 : list_rows(v, error);
}

/*--- Both ------------------------------------------------------------------------------------*/

static int compare_range(struct verifying *v, uint64_t first, uint64_t last, bool content,
                         uint64_t *end, struct error *error)
{
    int failed =
        content ? copy_side(v, first, last, error) : read_side(v, first, last, NULL, error);
    if (failed < 0)
        return failed;
    *end = first + v->side->count - 1;
    failed = compare_side(v, error);
    if (failed == 0 && content)
        failed = verify_take_unopened(v, error);
    if (failed == 0 && content)
        failed = verify_content(v, error);
    if (failed == 0 && content && v->side->has_anchor)
        failed = verify_anchors(v, error);
    v->done += v->side->count;
    v->result->events += v->side->count;
    return failed;
}

/* A value that the server refuses though the row there does not say so: half of the range, down to
 * one event, of which only the bytes are compared. */
static int compare_refused(struct verifying *v, uint64_t first, uint64_t last, uint64_t *end,
                           struct error *error)
{
    int failed = pg_run(v->pg, "ROLLBACK TO part", error);
    if (failed == 0)
        failed = log_reader_seek(v->options->reader, first, error);
    if (failed < 0)
        return failed;
    if (first < last)
        return verify_events(v, first, first + (last - first) / 2, end, error);
    struct verify_difference difference = { .kind = VERIFY_CONTENT,
                                            .table = "events",
                                            .first = first,
                                            .last = last,
                                            .columns = "payload" };
    memcpy(difference.log, v->log->log, UUID_SIZE);
    failed = compare_range(v, first, last, false, end, error);
    return failed < 0 ? failed : verify_add(v, &difference, error);
}

int verify_events(struct verifying *v, uint64_t first, uint64_t last, uint64_t *end,
                  struct error *error)
{
    uint64_t aligned = first / VERIFY_RANGE_ROWS * VERIFY_RANGE_ROWS + VERIFY_RANGE_ROWS - 1;
    if (last > aligned)
        last = aligned;
    int failed = compare_range(v, first, last, v->options->content, end, error);
    if (failed == ERROR_INVALID && v->options->content && pg_alive(v->pg))
        failed = compare_refused(v, first, last, end, error);
    if (v->options->progress != NULL)
        v->options->progress(v->done, v->all, v->options->context);
    return failed;
}
