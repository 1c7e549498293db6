#include "tools/agent/filter.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/json.h"
#include "core/event/event.h"
#include "pgsync/plain.h"
#include "tools/command/moment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 100u
#define LIMIT_MAX 1000u
#define LABEL_PREFIX "metadata."

/*--- Reading -----------------------------------------------------------------------------------*/

static int64_t utc(int64_t time_s, void *context)
{
    (void)time_s;
    (void)context;
    return 0;
}

static bool read_time(const char *name, const char *value, uint64_t now_ns, uint64_t *us,
                      struct problem *problem)
{
    const struct moment_clock clock = { .now_ns = now_ns, .offset_s = utc };
    struct error error;
    uint64_t ns;
    if (moment_parse(value, &clock, &ns, &error) < 0) {
        problem_set(problem, 400, "invalid-parameter", "?%s=: %.400s", name, error.text);
        return false;
    }
    *us = ns / 1000 > 0 ? ns / 1000 : 1;
    return true;
}

static bool read_choice(const char *name, const char *value, const char *const *choices, int *index,
                        struct problem *problem)
{
    char expected[160] = "";
    for (*index = 0; choices[*index]; ++*index) {
        if (strcmp(choices[*index], value) == 0)
            return true;
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%s%s",
                 *index > 0 ? ", " : "", choices[*index]);
    }
    problem_set(problem, 400, "invalid-parameter", "?%s=%.60s: expected one of %s", name, value,
                expected);
    return false;
}

static bool read_limit(struct filter *filter, const char *value, struct problem *problem)
{
    char *end = NULL;
    errno = 0;
    uint64_t number = strtoull(value, &end, 10);
    if (errno == 0 && value[0] >= '0' && value[0] <= '9' && *end == 0 && number >= 1 &&
        number <= LIMIT_MAX) {
        filter->limit = number;
        return true;
    }
    problem_set(problem, 400, "invalid-parameter", "?limit=%.60s: expected a number from 1 to %u",
                value, LIMIT_MAX);
    return false;
}

static bool add_label(struct filter *filter, const char *key, const char *value,
                      struct problem *problem)
{
    if (filter->label_count == LOOKUP_LABELS_MAX) {
        problem_set(problem, 400, "invalid-parameter", "more than %u labels are asked for",
                    LOOKUP_LABELS_MAX);
        return false;
    }
    filter->labels[filter->label_count].key = key;
    filter->labels[filter->label_count++].value = value;
    return true;
}

/* What is no text cannot be a part of a workflow either, or PostgreSQL could not hold it. */
static bool is_text(const char *name, const char *value, size_t size, struct problem *problem)
{
    struct text copy;
    bool lossy = false;
    text_init(&copy);
    plain_text(&copy, span_of(value, size), &lossy);
    plain_text(&copy, span_of_text(name), &lossy);
    bool good = !lossy && copy.failed == 0;
    text_free(&copy);
    if (!good)
        problem_set(problem, 400, "invalid-parameter",
                    "a name or value of the query is not UTF-8, or has a NUL in it");
    return good;
}

enum parameter { STATUS, NAME, SINCE, UNTIL, SOURCE, LIMIT, CURSOR, PARAMETERS };

static bool read_value(struct filter *filter, enum parameter parameter, const char *value,
                       uint64_t now_ns, struct problem *problem)
{
    static const char *const states[] = { "pending", "running",   "paused", "completed",
                                          "failed",  "cancelled", "parked", NULL };
    static const char *const sources[] = { "local", "postgres", NULL };
    int index;
    switch (parameter) {
    case STATUS:
        filter->status = value;
        return read_choice("status", value, states, &index, problem);
    case NAME:
        filter->name = value;
        return true;
    case SINCE:
        filter->since = value;
        return read_time("since", value, now_ns, &filter->since_us, problem);
    case UNTIL:
        filter->until = value;
        return read_time("until", value, now_ns, &filter->until_us, problem);
    case SOURCE:
        if (!read_choice("source", value, sources, &index, problem))
            return false;
        filter->source = index == 0 ? FILTER_LOCAL : FILTER_POSTGRES;
        return true;
    case LIMIT:
        return read_limit(filter, value, problem);
    case CURSOR:
    case PARAMETERS:
        break;
    }
    filter->cursor = value;
    return true;
}

static bool add_known(struct filter *filter, const char *name, const char *value, uint64_t now_ns,
                      struct problem *problem)
{
    static const char *const names[] = { "status", "name",  "since", "until",
                                         "source", "limit", "cursor" };
    for (int i = 0; i < PARAMETERS; i++) {
        if (strcmp(names[i], name) != 0)
            continue;
        if (filter->given & 1u << i) {
            problem_set(problem, 400, "invalid-parameter", "?%s= is there twice", name);
            return false;
        }
        filter->given |= 1u << i;
        return read_value(filter, (enum parameter)i, value, now_ns, problem);
    }
    problem_set(problem, 400, "unknown-parameter",
                "?%.60s= is not known here; what is: status, name, metadata.KEY, since, until, "
                "source, limit, cursor",
                name);
    return false;
}

bool filter_add(struct filter *filter, const char *name, const char *value, size_t value_size,
                uint64_t now_ns, struct problem *problem)
{
    if (!value)
        value = "";
    if (!is_text(name, value, value_size, problem))
        return false;
    size_t prefix = strlen(LABEL_PREFIX);
    if (strncmp(name, LABEL_PREFIX, prefix) == 0 && name[prefix] != 0)
        return add_label(filter, name + prefix, value, problem);
    return add_known(filter, name, value, now_ns, problem);
}

/*--- Cursors -----------------------------------------------------------------------------------*/

/* 16 digits of the last workflow looked at, 8 that tell which filter and source it belongs to. */
static uint32_t more_text(uint32_t sum, const char *text)
{
    return text ? crc32c_more(sum, text, strlen(text) + 1) : crc32c_more(sum, "\1", 1);
}

static uint32_t sum_of(const struct filter *filter)
{
    uint32_t sum = more_text(more_text(0, filter->status), filter->name);
    sum = more_text(more_text(sum, filter->since), filter->until);
    for (uint32_t i = 0; i < filter->label_count; i++)
        sum = more_text(more_text(sum, filter->labels[i].key), filter->labels[i].value);
    return sum;
}

static uint32_t sum_with(const struct filter *filter, enum filter_source source)
{
    return filter->sum ^ (source == FILTER_POSTGRES ? 0x9e3779b9u : 0);
}

void filter_cursor(const struct filter *filter, enum filter_source source, uint64_t stream,
                   char cursor[FILTER_CURSOR_SIZE])
{
    uint8_t bytes[12];
    bytes_put_u64(bytes, stream);
    bytes_put_u32(bytes + 8, sum_with(filter, source));
    bytes_to_hex(cursor, bytes, sizeof bytes);
}

static bool read_cursor(struct filter *filter)
{
    uint8_t bytes[12];
    if (!bytes_from_hex(bytes, sizeof bytes, filter->cursor, strlen(filter->cursor)))
        return false;
    uint32_t sum = bytes_get_u32(bytes + 8);
    filter->before = bytes_get_u64(bytes);
    for (int source = FILTER_LOCAL; source <= FILTER_POSTGRES; source++)
        if (sum == sum_with(filter, (enum filter_source)source) && filter->before > 0 &&
            (filter->source == FILTER_ANY || (int)filter->source == source)) {
            filter->source = (enum filter_source)source;
            return true;
        }
    return false;
}

bool filter_end(struct filter *filter, struct problem *problem)
{
    if (filter->limit == 0)
        filter->limit = LIMIT_DEFAULT;
    filter->sum = sum_of(filter);
    if (!filter->cursor || read_cursor(filter))
        return true;
    problem_set(problem, 400, "invalid-cursor",
                "this cursor is not one of this list with these filters; begin without it");
    return false;
}

void filter_free(struct filter *filter)
{
    text_free(&filter->json);
}

bool filter_is_search(const struct filter *filter)
{
    return filter->label_count > 0 || filter->since_us > 0 || filter->until_us > 0;
}

/*--- For PostgreSQL ----------------------------------------------------------------------------*/

/* A value that is a number, true, false or null in JSON, as PostgreSQL takes it. */
static bool is_other_scalar(const char *value, struct arena *arena)
{
    struct json json;
    struct text plain;
    bool lossy = false;
    if (json_parse(&json, arena, span_of_text(value), NULL) < 0 ||
        json.nodes[0].kind >= JSON_STRING)
        return false;
    text_init(&plain);
    bool good = plain_json(&plain, span_of_text(value), &lossy) == 0 && !lossy;
    text_free(&plain);
    return good;
}

/* Where in `json` each object begins; they end with NUL. */
static size_t add_object(struct filter *filter, uint32_t label, bool as_string)
{
    struct text *json = &filter->json;
    size_t at = json->size;
    const char *key = filter->labels[label].key, *value = filter->labels[label].value;
    text_json_open_object(json, NULL);
    if (as_string)
        text_json_cstring(json, key, value);
    else
        text_json_raw(json, key, span_of_text(value));
    text_json_close_object(json);
    text_add(json, "", 1);
    return at;
}

bool filter_to_lookup(struct filter *filter, struct arena *arena, struct lookup *lookup)
{
    size_t objects[LOOKUP_LABELS_MAX], others[LOOKUP_LABELS_MAX];
    bool has_other[LOOKUP_LABELS_MAX];
    bool parked = filter->status && strcmp(filter->status, "parked") == 0;
    *lookup = (struct lookup){ .status = parked ? NULL : filter->status,
                               .parked = parked,
                               .name = filter->name,
                               .label_count = filter->label_count,
                               .since_us = filter->since_us,
                               .until_us = filter->until_us,
                               .before = filter->before,
                               .limit = filter->limit };
    for (uint32_t i = 0; i < filter->label_count; i++) {
        objects[i] = add_object(filter, i, true);
        has_other[i] = is_other_scalar(filter->labels[i].value, arena);
        others[i] = has_other[i] ? add_object(filter, i, false) : 0;
    }
    if (filter->json.failed < 0)
        return false;
    for (uint32_t i = 0; i < filter->label_count; i++) {
        lookup->labels[i].object = filter->json.bytes + objects[i];
        lookup->labels[i].other = has_other[i] ? filter->json.bytes + others[i] : NULL;
    }
    return true;
}

/*--- Here --------------------------------------------------------------------------------------*/

static bool same_number(const struct json *json, uint32_t node, const struct json *wanted)
{
    int64_t a, b;
    double x, y;
    if (json_get_integer(json, node, &a) && json_get_integer(wanted, 0, &b))
        return a == b;
    return json_get_real(json, node, &x) && json_get_real(wanted, 0, &y) && x == y;
}

static bool has_label(const struct json *json, const char *key, const char *value,
                      struct arena *arena)
{
    uint32_t node = json_member(json, 0, key);
    struct json wanted;
    if (node == 0)
        return false;
    uint8_t kind = json->nodes[node].kind;
    if (kind == JSON_STRING)
        return json_string_is(json, node, value);
    if (kind > JSON_STRING || json_parse(&wanted, arena, span_of_text(value), NULL) < 0)
        return false;
    if (kind == JSON_INTEGER || kind == JSON_REAL)
        return same_number(json, node, &wanted);
    return kind == wanted.nodes[0].kind;
}

static bool has_labels(const struct filter *filter, struct span metadata, struct arena *arena)
{
    struct json json;
    if (filter->label_count == 0)
        return true;
    if (metadata.size == 0 || json_parse(&json, arena, metadata, NULL) < 0)
        return false;
    for (uint32_t i = 0; i < filter->label_count; i++)
        if (!has_label(&json, filter->labels[i].key, filter->labels[i].value, arena))
            return false;
    return true;
}

static bool has_status(const struct filter *filter, const struct document_summary *summary)
{
    if (!filter->status)
        return true;
    if (strcmp(filter->status, "parked") == 0)
        return summary->parked;
    return strcmp(workflow_status_name(summary->status), filter->status) == 0;
}

bool filter_wants(const struct filter *filter, const struct document_summary *summary,
                  struct arena *arena)
{
    uint64_t submitted_us = summary->submitted_ns / 1000;
    if (filter->name && !span_is(summary->name, filter->name))
        return false;
    if (filter->since_us > 0 && submitted_us < filter->since_us)
        return false;
    if (filter->until_us > 0 && submitted_us >= filter->until_us)
        return false;
    return has_status(filter, summary) && has_labels(filter, summary->metadata, arena);
}
