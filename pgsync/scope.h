/* Which rows of the derived tables a log shows, and which events they are made of.
 *
 * A row of a thing that was created before a fork is shown by the log that was registered last
 * (pgsync/fork.h). So log X shows the rows that its history has, X itself and the logs that it was
 * forked from, but for those that a log registered behind it has too.
 *
 * Pure but for scope_read(). Threads: any. */
#ifndef PGSYNC_SCOPE_H
#define PGSYNC_SCOPE_H

#include "core/base/lineage.h"
#include "core/base/text.h"
#include "pgsync/pg.h"

#include <stddef.h>

/* log, seq, stream, kind and record of all events: what the server refused altogether is whole in
 * daa.rejected, and its stream and kind are where a record has them. */
#define SCOPE_EVENTS_SQL                                                                           \
    "(SELECT log, seq, stream, kind, record FROM daa.events"                                       \
    " UNION ALL SELECT log, seq, (SELECT sum(get_byte(record, 16 + i)::bigint << 8 * i)::bigint"   \
    " FROM generate_series(0, 7) i), get_byte(record, 32) | (get_byte(record, 33) << 8), record"   \
    " FROM daa.rejected WHERE NOT in_events AND octet_length(record) >= 40)"

struct scope_log {
    uint8_t log[UUID_SIZE];
    uint64_t upto;  /* its last event that is of this history, and is in PostgreSQL */
    uint64_t taken; /* things created up to this event are shown by another log */
};

struct scope {
    struct scope_log logs[LINEAGE_MAX + 1]; /* oldest first, the log itself last */
    size_t count;
    /* Of things created before this event PostgreSQL may not have all events: their rows cannot be
     * made anew. */
    uint64_t first_stream;
    uint64_t last_seq; /* of the log itself in PostgreSQL */
    struct lineage owners;
};

/* Of `log`, which daa.replica must have. 0; ERROR_NOT_FOUND it has not; the pg's. */
int scope_read(struct scope *scope, struct pg *pg, const uint8_t log[UUID_SIZE],
               struct error *error);

/* Looks for events up to `limit` that are missing in PostgreSQL between others: what was created
 * before the last of them is not in the scope then. Counts rows, so it takes its time. 0, or the
 * pg's error. */
int scope_find_gaps(struct scope *scope, struct pg *pg, uint64_t limit, struct error *error);

/* Whether this log shows what event `stream` created, and its row can be made anew. */
bool scope_has(const struct scope *scope, uint64_t stream);

/* The same as a condition on the columns log and stream of `alias`: "((w.log = ... ) OR ...)". */
void scope_add_rows(struct text *sql, const struct scope *scope, const char *alias);

/* "SELECT <columns> FROM <events> e WHERE log = ... AND <condition> UNION ALL ...": the events of
 * this history, of each of which the index on (log, stream, seq) can be used. */
void scope_add_events(struct text *sql, const struct scope *scope, const char *columns,
                      const char *condition);

#endif
