#include "pgsync/scope.h"

#include "core/base/bytes.h"
#include "pgsync/changes.h"
#include "pgsync/family.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Which thing's rows each log leaves to others, up to where it has events, and with which it
 * begins. */
#define SCOPE_SQL                                                                                  \
    "WITH RECURSIVE history(log, upto, depth) AS ("                                                \
    " SELECT log, last_seq, 0 FROM daa.replica WHERE log = '%s'"                                   \
    " UNION ALL SELECT r.parent, r.parent_seq, h.depth + 1"                                        \
    " FROM history h JOIN daa.replica r ON r.log = h.log"                                          \
    " WHERE r.parent IS NOT NULL AND h.depth < %u), " CHANGES_LATER_SQL                            \
    " SELECT encode(uuid_send(h.log), 'hex'), h.upto, coalesce(r.last_seq, 0),"                    \
    " coalesce((SELECT max(l.upto) FROM later l WHERE l.log = h.log), 0),"                         \
    " coalesce(least((SELECT min(e.seq) FROM daa.events e WHERE e.log = h.log AND e.seq > 0),"     \
    " (SELECT min(x.seq) FROM daa.rejected x WHERE x.log = h.log AND NOT x.in_events)), 0)"        \
    " FROM history h LEFT JOIN daa.replica r ON r.log = h.log ORDER BY h.depth DESC"

/* Of each log of the history in turn: a gap before an event makes the rows of what was created
 * before it incomplete. */
static void take_row(struct scope *scope, const struct pg_rows *rows, int row)
{
    struct scope_log *log = &scope->logs[scope->count];
    const char *hex = pg_rows_text(rows, row, 0);
    uint64_t wanted = (uint64_t)pg_rows_integer(rows, row, 1);
    uint64_t position = (uint64_t)pg_rows_integer(rows, row, 2);
    uint64_t begins = (uint64_t)pg_rows_integer(rows, row, 4);
    uint64_t end = scope->count == 0 ? 0 : scope->logs[scope->count - 1].upto;
    if (!bytes_from_hex(log->log, UUID_SIZE, hex, strlen(hex)))
        return;
    log->upto = wanted;
    log->taken = (uint64_t)pg_rows_integer(rows, row, 3);
    if (position < wanted)
        scope->first_stream = wanted + 1;
    else if (begins > end + 1 && begins <= wanted)
        scope->first_stream = begins;
    else if ((begins == 0 || begins > wanted) && wanted > end)
        scope->first_stream = wanted + 1;
    scope->last_seq = wanted;
    scope->count++;
}

int scope_read(struct scope *scope, struct pg *pg, const uint8_t log[UUID_SIZE],
               struct error *error)
{
    char sql[sizeof SCOPE_SQL + 200], text[UUID_TEXT_SIZE];
    struct pg_rows *rows;
    uuid_to_text(text, log);
    *scope = (struct scope){ .first_stream = 1 };
    (void)snprintf(sql, sizeof sql, SCOPE_SQL, text, LINEAGE_MAX, text);
    int failed = pg_query(pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    for (int i = 0; i < pg_rows_count(rows); i++)
        take_row(scope, rows, i);
    pg_rows_free(rows);
    if (scope->count == 0)
        return error_set(
            error, ERROR_NOT_FOUND,
            "daa.replica does not have log %s: daa-cli database status shows the logs that it has",
            text);
    return family_owners(&scope->owners, pg, log, error);
}

/* Of one log, of which the scope should have first to last. */
static int find_gap(struct scope *scope, struct pg *pg, const char *log, uint64_t first,
                    uint64_t last, struct error *error)
{
    char sql[1200];
    struct pg_rows *rows;
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*) FROM " SCOPE_EVENTS_SQL
                   " e WHERE log = '%s' AND seq BETWEEN %" PRIu64 " AND %" PRIu64,
                   log, first, last);
    int failed = pg_query(pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    bool whole = (uint64_t)pg_rows_integer(rows, 0, 0) == last - first + 1;
    pg_rows_free(rows);
    if (whole)
        return 0;
    (void)snprintf(
        sql, sizeof sql,
        "SELECT coalesce(max(next), %" PRIu64 ") FROM (SELECT seq,"
        " lead(seq, 1, %" PRIu64 ") OVER (ORDER BY seq) AS next FROM " SCOPE_EVENTS_SQL " e"
        " WHERE log = '%s' AND seq BETWEEN %" PRIu64 " AND %" PRIu64 ") s WHERE next > seq + 1",
        last + 1, last + 1, log, first, last);
    failed = pg_query(pg, sql, &rows, error);
    if (failed < 0)
        return failed;
    scope->first_stream = (uint64_t)pg_rows_integer(rows, 0, 0);
    pg_rows_free(rows);
    return 0;
}

int scope_find_gaps(struct scope *scope, struct pg *pg, uint64_t limit, struct error *error)
{
    int failed = 0;
    for (size_t i = 0; failed == 0 && i < scope->count; i++) {
        uint64_t first = i > 0 ? scope->logs[i - 1].upto + 1 : 1;
        uint64_t last = scope->logs[i].upto < limit ? scope->logs[i].upto : limit;
        char text[UUID_TEXT_SIZE];
        if (first < scope->first_stream)
            first = scope->first_stream;
        uuid_to_text(text, scope->logs[i].log);
        if (first <= last)
            failed = find_gap(scope, pg, text, first, last, error);
    }
    return failed;
}

/* The log of the history that event `stream` belongs to. */
static const struct scope_log *owner_of(const struct scope *scope, uint64_t stream)
{
    size_t i = 0;
    while (i + 1 < scope->count && stream > scope->logs[i].upto)
        i++;
    return &scope->logs[i];
}

bool scope_has(const struct scope *scope, uint64_t stream)
{
    return stream >= scope->first_stream && stream <= scope->last_seq &&
           stream > owner_of(scope, stream)->taken;
}

void scope_add_rows(struct text *sql, const struct scope *scope, const char *alias)
{
    text_add_string(sql, "(");
    for (size_t i = 0; i < scope->count; i++) {
        const struct scope_log *log = &scope->logs[i];
        uint64_t from = scope->first_stream;
        uint64_t end = i > 0 ? scope->logs[i - 1].upto : 0;
        char text[UUID_TEXT_SIZE];
        if (from <= log->taken)
            from = log->taken + 1;
        if (from <= end)
            from = end + 1;
        uuid_to_text(text, log->log);
        text_printf(sql, "%s(%s.log = '%s' AND %s.stream >= %" PRIu64, i > 0 ? " OR " : "", alias,
                    text, alias, from);
        /* Beyond its end the log itself has no rows: one that is there is wrong. */
        if (i + 1 < scope->count)
            text_printf(sql, " AND %s.stream <= %" PRIu64, alias, log->upto);
        text_add_string(sql, ")");
    }
    text_add_string(sql, ")");
}

void scope_add_events(struct text *sql, const struct scope *scope, const char *columns,
                      const char *condition)
{
    for (size_t i = 0; i < scope->count; i++) {
        char text[UUID_TEXT_SIZE];
        uuid_to_text(text, scope->logs[i].log);
        text_printf(sql,
                    "%sSELECT %s FROM " SCOPE_EVENTS_SQL
                    " e WHERE e.log = '%s' AND e.seq <= %" PRIu64 " AND %s",
                    i > 0 ? " UNION ALL " : "", columns, text, scope->logs[i].upto, condition);
    }
}
