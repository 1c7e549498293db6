#include "pgsync/lookup.h"

#include "core/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VALUES_MAX (8u + 2 * LOOKUP_LABELS_MAX)

/* In the order in which take_row() reads them. */
#define COLUMNS                                                                                    \
    "stream, last_seq, id, name, status, reason, encode(definition, 'hex') AS definition,"         \
    " metadata::text AS metadata,"                                                                 \
    " (extract(epoch FROM submitted_at) * 1000000)::bigint AS submitted,"                          \
    " (extract(epoch FROM started_at) * 1000000)::bigint AS started,"                              \
    " (extract(epoch FROM ended_at) * 1000000)::bigint AS ended,"                                  \
    " lossy, coalesce(last_log, log)::text AS history"
#define COLUMNS_TAKEN                                                                              \
    "stream, last_seq, id, name, status, reason, definition, metadata, submitted, started,"        \
    " ended, lossy, history"
enum { HISTORY = 12, INPUT = 13, OUTPUT = 14, TOTAL = 13 };

/* A statement under construction, with its values. */
struct statement {
    struct text sql;
    const char *values[VALUES_MAX];
    char numbers[VALUES_MAX][24];
    int count;
};

/* Adds `before`, the next parameter, and `after`. */
static void add_value(struct statement *statement, const char *before, const char *value,
                      const char *after)
{
    statement->values[statement->count++] = value;
    text_printf(&statement->sql, "%s$%d%s", before, statement->count, after);
}

static void add_number(struct statement *statement, const char *before, uint64_t number,
                       const char *after)
{
    char *text = statement->numbers[statement->count];
    uint64_t most = number <= INT64_MAX ? number : INT64_MAX;
    (void)snprintf(text, sizeof statement->numbers[0], "%" PRIu64, most);
    add_value(statement, before, text, after);
}

static int run(struct pg *pg, struct statement *statement, struct pg_rows **rows,
               struct error *error)
{
    int failed = statement->sql.failed;
    if (failed == 0)
        failed = pg_query_values(pg, text_string(&statement->sql), statement->values,
                                 statement->count, rows, error);
    else
        failed = error_set(error, failed, "no memory for a query");
    text_free(&statement->sql);
    return failed;
}

static uint64_t number_at(const struct pg_rows *rows, int row, int column)
{
    int64_t number = pg_rows_integer(rows, row, column);
    return number > 0 ? (uint64_t)number : 0;
}

static void take_row(const struct pg_rows *rows, int row, const struct lineage *lineage,
                     struct lookup_row *taken)
{
    char ours[UUID_TEXT_SIZE];
    const char *lossy = pg_rows_text(rows, row, 11);
    *taken = (struct lookup_row){
        .stream = number_at(rows, row, 0),
        .last_seq = number_at(rows, row, 1),
        .id = pg_rows_text(rows, row, 2),
        .name = pg_rows_text(rows, row, 3),
        .status = pg_rows_text(rows, row, 4),
        .reason = pg_rows_text(rows, row, 5),
        .definition = pg_rows_text(rows, row, 6),
        .metadata = pg_rows_text(rows, row, 7),
        .submitted_us = number_at(rows, row, 8),
        .started_us = number_at(rows, row, 9),
        .ended_us = number_at(rows, row, 10),
        .lossy = lossy != NULL && *lossy == 't',
    };
    const char *history = pg_rows_text(rows, row, HISTORY);
    uuid_to_text(ours, lineage_uuid(lineage, taken->last_seq));
    if (history != NULL && strcmp(history, ours) != 0)
        taken->history = history;
}

/*--- How far the copy is -----------------------------------------------------------------------*/

static void add_uuids(struct text *array, const struct lineage *lineage)
{
    char uuid[UUID_TEXT_SIZE];
    for (uint32_t i = 0; i < lineage->count; i++) {
        uuid_to_text(uuid, lineage->logs[i].uuid);
        text_printf(array, "%s%s", i == 0 ? "{" : ",", uuid);
    }
    text_add_string(array, lineage->count == 0 ? "{}" : "}");
}

/* Of the newest log that has a position; of a parent no more than where it was left. */
static uint64_t newest_position(const struct pg_rows *rows, const struct lineage *lineage)
{
    char uuid[UUID_TEXT_SIZE];
    uint64_t end = UINT64_MAX;
    for (uint32_t i = lineage->count; i-- > 0; end = lineage->logs[i].first_seq - 1) {
        uuid_to_text(uuid, lineage->logs[i].uuid);
        for (int row = 0; row < pg_rows_count(rows); row++) {
            uint64_t position = number_at(rows, row, 1);
            if (strcmp(pg_rows_text(rows, row, 0), uuid) == 0)
                return position < end ? position : end;
        }
    }
    return 0;
}

int lookup_position(struct pg *pg, const struct lineage *lineage, uint64_t *seq,
                    struct error *error)
{
    struct statement statement = { .count = 0 };
    struct text uuids;
    struct pg_rows *rows;
    *seq = 0;
    text_init(&uuids);
    text_init(&statement.sql);
    add_uuids(&uuids, lineage);
    add_value(&statement, "SELECT log::text, last_seq FROM daa.replica WHERE log = ANY (",
              text_string(&uuids), "::uuid[])");
    int failed = run(pg, &statement, &rows, error);
    text_free(&uuids);
    if (failed < 0)
        return failed;
    *seq = newest_position(rows, lineage);
    pg_rows_free(rows);
    return 0;
}

/*--- Pages -------------------------------------------------------------------------------------*/

/* The part of a page that is of one log. */
struct part {
    const char *log;
    uint64_t from, before; /* numbers */
    uint64_t limit, bytes_max;
};

static void add_labels(struct statement *statement, const struct lookup *lookup)
{
    for (uint32_t i = 0; i < lookup->label_count; i++) {
        const struct lookup_label *label = &lookup->labels[i];
        add_value(statement, " AND (metadata @> ", label->object, "::jsonb");
        if (label->other != NULL)
            add_value(statement, " OR metadata @> ", label->other, "::jsonb");
        text_add_string(&statement->sql, ")");
    }
}

static void add_conditions(struct statement *statement, const struct lookup *lookup,
                           const struct part *part)
{
    add_value(statement, " WHERE log = ", part->log, "::uuid");
    add_number(statement, " AND stream >= ", part->from, "::bigint");
    add_number(statement, " AND stream < ", part->before, "::bigint");
    if (lookup->status != NULL)
        add_value(statement, " AND status = ", lookup->status, "::text");
    if (lookup->parked)
        text_add_string(&statement->sql, " AND status = 'paused' AND reason IS NOT NULL");
    if (lookup->name != NULL)
        add_value(statement, " AND name = ", lookup->name, "::text");
    if (lookup->since_us > 0)
        add_number(statement, " AND submitted_at >= 'epoch'::timestamptz + ", lookup->since_us,
                   "::bigint * interval '1 microsecond'");
    if (lookup->until_us > 0)
        add_number(statement, " AND submitted_at < 'epoch'::timestamptz + ", lookup->until_us,
                   "::bigint * interval '1 microsecond'");
    add_labels(statement, lookup);
}

/* One row more than wanted tells whether there are others; rows behind so many bytes stay there. */
static int ask_part(struct pg *pg, const struct lookup *lookup, const struct part *part,
                    struct pg_rows **rows, struct error *error)
{
    struct statement statement = { .count = 0 };
    text_init(&statement.sql);
    text_add_string(&statement.sql,
                    "SELECT " COLUMNS_TAKEN ", total FROM (SELECT " COLUMNS_TAKEN ", size,"
                    " count(*) OVER () AS total, sum(size) OVER (ORDER BY stream DESC) AS upto"
                    " FROM (SELECT " COLUMNS ", coalesce(octet_length(metadata::text), 0)"
                    " + coalesce(octet_length(reason), 0) + 300 AS size FROM daa.workflows");
    add_conditions(&statement, lookup, part);
    add_number(&statement, " ORDER BY stream DESC LIMIT ", part->limit + 1,
               "::bigint) AS wanted) AS sized");
    add_number(&statement, " WHERE upto - size < ", part->bytes_max,
               "::bigint ORDER BY stream DESC");
    return run(pg, &statement, rows, error);
}

/* How many are left out behind the part: 1 or 0, or negative. */
static int give_part(struct pg *pg, const struct lookup *lookup, struct part *part,
                     lookup_function *each, void *context, struct error *error)
{
    struct pg_rows *rows;
    struct lookup_row row;
    int failed = ask_part(pg, lookup, part, &rows, error);
    if (failed < 0)
        return failed;
    int count = pg_rows_count(rows);
    uint64_t total = count > 0 ? number_at(rows, 0, TOTAL) : 0;
    uint64_t given = (uint64_t)count < part->limit ? (uint64_t)count : part->limit;
    for (int i = 0; i < (int)given; i++) {
        take_row(rows, i, lookup->lineage, &row);
        each(&row, context);
    }
    pg_rows_free(rows);
    part->limit -= given;
    return total > given;
}

int lookup_page(struct pg *pg, const struct lookup *lookup, lookup_function *each, void *context,
                bool *more, struct error *error)
{
    char log[UUID_TEXT_SIZE];
    const struct lineage *lineage = lookup->lineage;
    struct part part = { .log = log, .limit = lookup->limit, .bytes_max = lookup->bytes_max };
    uint64_t before = lookup->before > 0 ? lookup->before : UINT64_MAX;
    int found = 0;
    for (uint32_t i = lineage->count; found == 0 && i-- > 0;) {
        part.from = i == 0 ? 0 : lineage->logs[i].first_seq;
        part.before = before;
        if (part.from >= before)
            continue;
        uuid_to_text(log, lineage->logs[i].uuid);
        found = give_part(pg, lookup, &part, each, context, error);
        before = part.from;
    }
    *more = found == 1;
    return found < 0 ? found : 0;
}

/*--- One ---------------------------------------------------------------------------------------*/

/* Runs `sql`, which ends where the key of a workflow belongs. */
static int ask_of_one(struct pg *pg, const char *sql, const struct lineage *lineage,
                      uint64_t stream, const char *order, struct pg_rows **rows,
                      struct error *error)
{
    struct statement statement = { .count = 0 };
    char log[UUID_TEXT_SIZE];
    uuid_to_text(log, lineage_uuid(lineage, stream));
    text_init(&statement.sql);
    add_value(&statement, sql, log, "::uuid");
    add_number(&statement, " AND stream = ", stream, "::bigint");
    text_add_string(&statement.sql, order);
    return run(pg, &statement, rows, error);
}

int lookup_one(struct pg *pg, const struct lineage *lineage, uint64_t stream, lookup_function *each,
               void *context, struct error *error)
{
    static const char sql[] =
        "SELECT " COLUMNS ", input::text, output::text FROM daa.workflows WHERE log = ";
    struct pg_rows *rows;
    struct lookup_row row;
    int failed = ask_of_one(pg, sql, lineage, stream, "", &rows, error);
    if (failed < 0)
        return failed;
    int found = pg_rows_count(rows) == 1;
    if (found) {
        take_row(rows, 0, lineage, &row);
        row.input = pg_rows_text(rows, 0, INPUT);
        row.output = pg_rows_text(rows, 0, OUTPUT);
        each(&row, context);
    }
    pg_rows_free(rows);
    return found;
}

int lookup_steps(struct pg *pg, const struct lineage *lineage, uint64_t stream,
                 lookup_step_function *each, void *context, struct error *error)
{
    static const char sql[] = "SELECT step, status, outcome, error, output::text, attempts,"
                              " (extract(epoch FROM started_at) * 1000000)::bigint,"
                              " (extract(epoch FROM ended_at) * 1000000)::bigint"
                              " FROM daa.steps WHERE log = ";
    struct pg_rows *rows;
    int failed = ask_of_one(pg, sql, lineage, stream, " ORDER BY step_index", &rows, error);
    if (failed < 0)
        return failed;
    for (int i = 0; i < pg_rows_count(rows); i++) {
        const struct lookup_step step = {
            .id = pg_rows_text(rows, i, 0),
            .status = pg_rows_text(rows, i, 1),
            .outcome = pg_rows_text(rows, i, 2),
            .error = pg_rows_text(rows, i, 3),
            .output = pg_rows_text(rows, i, 4),
            .attempts = number_at(rows, i, 5),
            .started_us = number_at(rows, i, 6),
            .ended_us = number_at(rows, i, 7),
        };
        each(&step, context);
    }
    pg_rows_free(rows);
    return 0;
}
