/* Which workflows a list is to show: GET /api/v1/workflows?...
 *
 *   status=S  name=N            the workflow's
 *   metadata.KEY=VALUE          a member of its metadata, up to 8 of them: a string with these
 *                               characters, or a number, true, false or null that is written so
 *   since=TIME  until=TIME      submitted at or after, and before; "2026-11-26T10:00:00Z", UTC
 *                               without an offset, or "2 hours ago"
 *   source=local|postgres       who is asked
 *   limit=N  cursor=C           a page
 *
 * The same workflows match here as in PostgreSQL, which has times to the microsecond.
 *
 * Threads: a filter belongs to one thread at a time. */
#ifndef TOOLS_AGENT_FILTER_H
#define TOOLS_AGENT_FILTER_H

#include "core/agent/document.h"
#include "core/base/arena.h"
#include "pgsync/lookup.h"
#include "tools/agent/problem.h"

#include <stdbool.h>
#include <stdint.h>

#define FILTER_CURSOR_SIZE 25u /* with the terminating NUL */

enum filter_source { FILTER_ANY = 0, FILTER_LOCAL, FILTER_POSTGRES };

struct filter {
    const char *status, *name; /* NULL: any */
    struct {
        const char *key, *value;
    } labels[LOOKUP_LABELS_MAX];
    uint32_t label_count;
    uint64_t since_us, until_us; /* 0: any */
    const char *since, *until;   /* as they were given: "an hour ago" moves from page to page */
    unsigned given;              /* one bit for each parameter but labels */
    enum filter_source source;   /* that was asked for, or that the cursor is of */
    uint64_t limit;
    uint64_t before; /* the cursor's; 0: none */
    uint32_t sum;    /* over what it filters by */
    const char *cursor;
    struct text json; /* that the lookup's labels lie in */
};

/* Adds one parameter of the query; `value` may hold anything (NULL: no '='). False: *problem says
 * what is wrong. The strings are kept, not copied. */
bool filter_add(struct filter *filter, const char *name, const char *value, size_t value_size,
                uint64_t now_ns, struct problem *problem);

/* After the last one. */
bool filter_end(struct filter *filter, struct problem *problem);

void filter_free(struct filter *filter);

/* Whether it asks for what only a search finds. */
bool filter_is_search(const struct filter *filter);

/* What it says, for PostgreSQL; texts lie in the filter. False: no memory. */
bool filter_to_lookup(struct filter *filter, struct arena *arena, struct lookup *lookup);

bool filter_wants(const struct filter *filter, const struct document_summary *summary,
                  struct arena *arena);

/* For the page behind the workflow `stream`, of this source. */
void filter_cursor(const struct filter *filter, enum filter_source source, uint64_t stream,
                   char cursor[FILTER_CURSOR_SIZE]);

#endif
