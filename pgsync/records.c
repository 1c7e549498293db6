#include "pgsync/records.h"

#include "core/base/bytes.h"
#include "log/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 256u
#define ROW_BYTES_MAX (LOG_PAYLOAD_SIZE_MAX + RECORD_HEADER_SIZE + 8)
#define ROWS_BYTES_MAX (1u << 20) /* but for the last row of an answer */

struct records {
    struct pg *pg;
    bool rejects; /* there is a table for what the other one does not take */
    bool asked;   /* the three below are of this log */
    uint8_t log[UUID_SIZE];
    char log_text[UUID_TEXT_SIZE];
    uint64_t last_seq;
    struct pg_rows *rows; /* seq and record, in order */
    uint8_t *bytes;
    size_t capacity;
};

int records_open(struct records **out, struct pg *pg, struct error *error)
{
    struct pg_rows *rows;
    *out = NULL;
    int failed = pg_query(pg,
                          "SELECT to_regclass('daa.events') IS NOT NULL"
                          " AND to_regclass('daa.replica') IS NOT NULL,"
                          " to_regclass('daa.rejected') IS NOT NULL",
                          &rows, error);
    if (failed < 0)
        return failed;
    bool there = *pg_rows_text(rows, 0, 0) == 't', rejects = *pg_rows_text(rows, 0, 1) == 't';
    pg_rows_free(rows);
    if (!there)
        return error_set(error, ERROR_MISMATCH,
                         "this database has no copy of a log: there is no table daa.events that "
                         "this role may see");
    struct records *records = calloc(1, sizeof *records);
    if (records == NULL)
        return error_set(error, -ENOMEM, "no memory for records");
    records->pg = pg;
    records->rejects = rejects;
    *out = records;
    return 0;
}

static void drop_rows(struct records *records)
{
    pg_rows_free(records->rows);
    records->rows = NULL;
}

void records_close(struct records **records)
{
    if (*records == NULL)
        return;
    drop_rows(*records);
    free((*records)->bytes);
    free(*records);
    *records = NULL;
}

/* Turns to this log, if it is another one. */
static int turn_to(struct records *records, const uint8_t log[UUID_SIZE], struct error *error)
{
    struct pg_rows *rows;
    if (records->asked && memcmp(records->log, log, UUID_SIZE) == 0)
        return 0;
    records->asked = false;
    drop_rows(records);
    memcpy(records->log, log, UUID_SIZE);
    uuid_to_text(records->log_text, log);
    const char *const values[] = { records->log_text };
    int failed =
        pg_query_values(records->pg, "SELECT last_seq FROM daa.replica WHERE log = $1::uuid",
                        values, 1, &rows, error);
    if (failed < 0)
        return failed;
    int64_t last_seq = pg_rows_count(rows) > 0 ? pg_rows_integer(rows, 0, 0) : 0;
    pg_rows_free(rows);
    records->last_seq = last_seq > 0 ? (uint64_t)last_seq : 0;
    records->asked = true;
    return 0;
}

int records_last_seq(struct records *records, const uint8_t log[UUID_SIZE], uint64_t *seq,
                     struct error *error)
{
    int failed = turn_to(records, log, error);
    *seq = failed < 0 ? 0 : records->last_seq;
    return failed;
}

/* An event whose row was refused may be in both tables. */
#define SELECT_FROM(table)                                                                         \
    "SELECT seq, record FROM daa." table " WHERE log = $1::uuid AND seq >= $2::bigint"             \
    " AND seq < $3::bigint AND octet_length(record) <= $4::bigint"

/* The rows of `seq` and of those behind it. */
static int fetch(struct records *records, uint64_t seq, struct error *error)
{
    char sql[900], first[24], end[24], bytes_max[24];
    drop_rows(records);
    (void)snprintf(sql, sizeof sql,
                   "SELECT seq, encode(record, 'hex') FROM (SELECT seq, record,"
                   " sum(octet_length(record)) OVER (ORDER BY seq) - octet_length(record) AS before"
                   " FROM (%s%s) AS wanted) AS sized WHERE before < %u ORDER BY seq",
                   SELECT_FROM("events"),
                   records->rejects ? " UNION ALL " SELECT_FROM("rejected") : "", ROWS_BYTES_MAX);
    (void)snprintf(first, sizeof first, "%" PRIu64, seq);
    (void)snprintf(end, sizeof end, "%" PRIu64, seq + ROWS_MAX);
    (void)snprintf(bytes_max, sizeof bytes_max, "%u", ROW_BYTES_MAX);
    const char *const values[] = { records->log_text, first, end, bytes_max };
    return pg_query_values(records->pg, sql, values, 4, &records->rows, error);
}

/* The first row of `seq`; -1: there is none. */
static int row_of(const struct records *records, uint64_t seq)
{
    int low = 0, high = records->rows == NULL ? 0 : pg_rows_count(records->rows);
    int count = high;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if ((uint64_t)pg_rows_integer(records->rows, middle, 0) < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && (uint64_t)pg_rows_integer(records->rows, low, 0) == seq ? low : -1;
}

/* 0; 1: the row's record is not whole, or another one's; -ENOMEM. */
static int take_row(struct records *records, int row, uint64_t seq, struct span *taken)
{
    const char *text = pg_rows_text(records->rows, row, 1);
    size_t size = text == NULL ? 0 : strlen(text) / 2, decoded;
    struct record record;
    if (size > records->capacity) {
        uint8_t *grown = realloc(records->bytes, size);
        if (grown == NULL)
            return -ENOMEM;
        records->bytes = grown;
        records->capacity = size;
    }
    if (size == 0 || !bytes_from_hex(records->bytes, size, text, 2 * size))
        return 1;
    *taken = span_of(records->bytes, size);
    return record_decode(*taken, &record, &decoded) < 0 || decoded != size || record.seq != seq;
}

static int set_missing(const struct records *records, uint64_t seq, struct error *error)
{
    if (records->last_seq == 0)
        return error_set(error, ERROR_NOT_FOUND, "PostgreSQL has no copy of log %s",
                         records->log_text);
    if (seq > records->last_seq)
        return error_set(error, ERROR_NOT_FOUND,
                         "PostgreSQL has log %s only up to event %" PRIu64 ", and %" PRIu64
                         " is wanted",
                         records->log_text, records->last_seq, seq);
    return error_set(error, ERROR_NOT_FOUND,
                     "PostgreSQL has no row of event %" PRIu64
                     "; if its partition was detached, attach it again",
                     seq);
}

int records_get(struct records *records, const uint8_t log[UUID_SIZE], uint64_t seq,
                struct span *record, struct error *error)
{
    int failed = turn_to(records, log, error);
    if (failed < 0)
        return failed;
    if (seq > records->last_seq || seq > INT64_MAX - ROWS_MAX)
        return set_missing(records, seq, error);
    int row = row_of(records, seq);
    if (row < 0) {
        failed = fetch(records, seq, error);
        if (failed < 0)
            return failed;
        row = row_of(records, seq);
    }
    if (row < 0)
        return set_missing(records, seq, error);
    int count = pg_rows_count(records->rows), taken = 1;
    for (; taken == 1 && row < count; row++) {
        if ((uint64_t)pg_rows_integer(records->rows, row, 0) != seq)
            break;
        taken = take_row(records, row, seq, record);
    }
    if (taken < 0)
        return error_set(error, taken, "no memory for event %" PRIu64, seq);
    return taken == 0
               ? 0
               : error_set(error, ERROR_DAMAGED,
                           "what PostgreSQL has as event %" PRIu64 " is damaged: its checksum "
                           "is wrong",
                           seq);
}
