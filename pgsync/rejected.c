#include "pgsync/rejected.h"

#include "core/base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The record's bytes as a literal of bytea; the caller frees it. NULL: no memory. */
static char *literal_of(const struct record *record)
{
    size_t size = record_size(record->payload.size);
    uint8_t *bytes = malloc(size);
    char *literal = malloc(2 * size + 3);
    if (bytes != NULL && literal != NULL) {
        record_encode(bytes, record);
        memcpy(literal, "\\x", 2);
        bytes_to_hex(literal + 2, bytes, size);
        free(bytes);
        return literal;
    }
    free(bytes);
    free(literal);
    return NULL;
}

int rejected_add(struct pg *pg, const char *log, const struct record *record,
                 const struct rejection *rejection, struct error *error)
{
    static const char sql[] =
        "INSERT INTO daa.rejected (log, seq, sqlstate, message, record, in_events)"
        " VALUES ($1::uuid, $2::bigint, $3, $4, $5::bytea, $6::boolean)"
        " ON CONFLICT (log, seq) DO UPDATE SET sqlstate = excluded.sqlstate,"
        " message = excluded.message, in_events = excluded.in_events, rejected_at = now()"
        " RETURNING seq";
    char seq[24], *literal = literal_of(record);
    struct pg_rows *rows = NULL;
    if (literal == NULL)
        return error_set(error, -ENOMEM, "no memory for event %" PRIu64, record->seq);
    (void)snprintf(seq, sizeof seq, "%" PRIu64, record->seq);
    const char *const values[] = { log,
                                   seq,
                                   rejection->sqlstate,
                                   rejection->message,
                                   literal,
                                   rejection->in_events ? "true" : "false" };
    int failed = pg_query_values(pg, sql, values, 6, &rows, error);
    if (failed == 0)
        pg_rows_free(rows);
    free(literal);
    return failed;
}
