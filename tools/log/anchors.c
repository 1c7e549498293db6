#include "tools/log/anchors.h"

#include "core/base/json.h"
#include "tools/log/fetch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MEMORY_MAX (64u << 20) /* of the nodes of one line or answer */
#define PAGE_LIMIT 1000u

void anchors_init(struct anchors *anchors)
{
    *anchors = (struct anchors){ .count = 0 };
}

void anchors_free(struct anchors *anchors)
{
    free(anchors->items);
    free(anchors->roots);
}

/*--- Reading -----------------------------------------------------------------------------------*/

static bool grow(void **items, size_t *room, size_t needed, size_t size)
{
    if (needed <= *room)
        return true;
    size_t more = *room == 0 ? 64 : 2 * *room;
    void *larger = realloc(*items, (more > needed ? more : needed) * size);
    if (larger == NULL)
        return false;
    *items = larger;
    *room = more > needed ? more : needed;
    return true;
}

static int add(struct anchors *anchors, const struct anchor *anchor)
{
    size_t roots = anchors->root_count + anchor->segment_count;
    if (!grow((void **)&anchors->items, &anchors->room, anchors->count + 1,
              sizeof *anchors->items) ||
        !grow((void **)&anchors->roots, &anchors->root_room, roots, sizeof *anchors->roots))
        return -ENOMEM;
    struct anchors_item *item = &anchors->items[anchors->count++];
    *item = (struct anchors_item){ .event = anchor->event,
                                   .seq = anchor->seq,
                                   .segment_no = anchor->segment_no,
                                   .signed_ns = anchor->signed_ns,
                                   .previous = anchor->previous,
                                   .segment_count = anchor->segment_count };
    memcpy(item->chain, anchor->chain, SHA256_SIZE);
    memcpy(item->log_uuid, anchor->log_uuid, UUID_SIZE);
    if (!anchor_trust_takes(&anchors->trust, anchor->public_key))
        item->state = ANCHOR_STRANGE;
    else if (!anchor_signature_holds(anchor))
        item->state = ANCHOR_FORGED;
    if (item->state != ANCHOR_BEYOND)
        return 0; /* what it says of segments says nobody whom we trust */
    for (uint32_t i = 0; i < anchor->segment_count; i++)
        anchors->roots[anchors->root_count++] =
            (struct anchors_root){ .segment = anchor->segments[i], .event = anchor->event };
    return 0;
}

/* What one text is read with. */
struct reading {
    struct budget budget;
    struct arena arena;
    struct anchor anchor;
    uint64_t line;
};

static int add_node(struct anchors *anchors, struct reading *reading, const struct json *json,
                    uint32_t node, const char *from, struct error *error)
{
    const char *what = NULL;
    int code = anchor_of_json(&reading->anchor, json, node, &what);
    if (code < 0)
        return error_set(error, code,
                         "%s, line %" PRIu64 ": this is no anchor: %s is missing or wrong", from,
                         reading->line, what);
    code = add(anchors, &reading->anchor);
    return code < 0 ? error_set(error, code, "%s: %s", from, error_text(code)) : 0;
}

/* An anchor, or a page of them: then *cursor is where the next one begins, or empty. */
static int add_text(struct anchors *anchors, struct reading *reading, struct span text,
                    const char *from, char cursor[24], struct error *error)
{
    struct json json;
    struct json_problem problem;
    arena_reset(&reading->arena);
    cursor[0] = '\0';
    int code = json_parse(&json, &reading->arena, text, &problem);
    if (code == ERROR_SYNTAX)
        return error_set(error, code, "%s, line %" PRIu64 ": %s", from, reading->line,
                         problem.message);
    if (code < 0)
        return error_set(error, code, "%s: %s", from, error_text(code));
    uint32_t items = json_member(&json, 0, "items"), next = json_member(&json, 0, "next_cursor");
    if (items == 0)
        return add_node(anchors, reading, &json, 0, from, error);
    for (uint32_t i = json_first(&json, items); code == 0 && i != 0; i = json_next(&json, items, i))
        code = add_node(anchors, reading, &json, i, from, error);
    if (next != 0 && json.nodes[next].kind == JSON_STRING && json.nodes[next].size < 24)
        snprintf(cursor, 24, "%.*s", (int)json.nodes[next].size,
                 (const char *)text.bytes + json.nodes[next].start);
    return code;
}

static int read_stream(struct anchors *anchors, struct reading *reading, FILE *stream,
                       const char *from, struct error *error)
{
    char *line = NULL, cursor[24];
    size_t room = 0;
    int code = 0;
    ssize_t size;
    while (code == 0 && (size = getline(&line, &room, stream)) > 0) {
        reading->line++;
        /* One that is just being written, or was when its machine went down. */
        if (line[size - 1] != '\n' && reading->line > 1)
            break;
        if (strspn(line, " \t\r\n") < (size_t)size)
            code = add_text(anchors, reading, span_of(line, (size_t)size), from, cursor, error);
    }
    if (code == 0 && ferror(stream))
        code = error_set(error, -EIO, "cannot read %s", from);
    free(line);
    return code;
}

/* One answer: lines, or a page. */
static int read_answer(struct anchors *anchors, struct reading *reading, struct text *body,
                       const char *from, char cursor[24], struct error *error)
{
    const char *text = text_string(body);
    cursor[0] = '\0';
    reading->line = 1;
    if (strstr(text, "\"items\"") != NULL)
        return add_text(anchors, reading, text_span(body), from, cursor, error);
    FILE *stream = body->size > 0 ? fmemopen(body->bytes, body->size, "r") : NULL;
    if (stream == NULL)
        return body->size == 0 ? 0 : error_set(error, -errno, "%s: no memory", from);
    reading->line = 0;
    int code = read_stream(anchors, reading, stream, from, error);
    fclose(stream);
    return code;
}

static int read_url(struct anchors *anchors, struct reading *reading, const char *from,
                    struct error *error)
{
    char cursor[24] = "", url[2048];
    int code = 0;
    do {
        struct text body;
        if (snprintf(url, sizeof url, cursor[0] ? "%s%ccursor=%s&limit=%u" : "%s", from,
                     strchr(from, '?') != NULL ? '&' : '?', cursor, PAGE_LIMIT) >= (int)sizeof url)
            return error_set(error, -ENAMETOOLONG, "%.100s...: the URL is too long", from);
        text_init(&body);
        code = fetch(url, &body, error);
        if (code == 0)
            code = read_answer(anchors, reading, &body, from, cursor, error);
        text_free(&body);
    } while (code == 0 && cursor[0] != '\0');
    return code;
}

static int read_file(struct anchors *anchors, struct reading *reading, const char *from,
                     struct error *error)
{
    FILE *stream = fopen(from, "re");
    if (stream == NULL)
        return error_set(error, -errno, "cannot open %s: %s", from, strerror(errno));
    int code = read_stream(anchors, reading, stream, from, error);
    fclose(stream);
    return code;
}

int anchors_read(struct anchors *anchors, const char *from, struct error *error)
{
    struct reading *reading = calloc(1, sizeof *reading);
    if (reading == NULL)
        return error_set(error, -ENOMEM, "%s: no memory to read it", from);
    budget_init(&reading->budget, LINE_MEMORY_MAX);
    arena_init(&reading->arena, &reading->budget, BUDGET_READERS, 65536);
    int code = fetch_is_url(from) ? read_url(anchors, reading, from, error)
                                  : read_file(anchors, reading, from, error);
    arena_free(&reading->arena);
    free(reading);
    if (code == 0 && anchors->count == 0)
        return error_set(error, ERROR_NOT_FOUND, "%s holds no anchor", from);
    return code;
}

/*--- Against the log ---------------------------------------------------------------------------*/

static int compare_items(const void *a, const void *b)
{
    const struct anchors_item *one = a, *other = b;
    return (one->seq > other->seq) - (one->seq < other->seq);
}

static int compare_roots(const void *a, const void *b)
{
    const struct anchors_root *one = a, *other = b;
    return (one->segment.segment_no > other->segment.segment_no) -
           (one->segment.segment_no < other->segment.segment_no);
}

void anchors_begin(struct anchors *anchors)
{
    qsort(anchors->items, anchors->count, sizeof *anchors->items, compare_items);
    if (anchors->root_count > 0)
        qsort(anchors->roots, anchors->root_count, sizeof *anchors->roots, compare_roots);
}

static bool is_trusted(const struct anchors_item *item)
{
    return item->state != ANCHOR_FORGED && item->state != ANCHOR_STRANGE;
}

static void set(struct anchors_item *item, enum anchor_state state, const char *why)
{
    if (!is_trusted(item))
        return;
    item->state = state;
    item->why = why;
}

/* The log is read from its beginning (again, when segments were removed meanwhile). */
static void start_over(struct anchors *anchors)
{
    for (size_t i = 0; i < anchors->count; i++)
        set(&anchors->items[i], ANCHOR_BEYOND, NULL);
    for (size_t i = 0; i < anchors->root_count; i++)
        anchors->roots[i].seen = anchors->roots[i].holds = false;
    anchors->next = 0;
}

void anchors_frame(struct anchors *anchors, const struct log_verified_frame *frame)
{
    if (frame->last_seq <= anchors->read_seq)
        start_over(anchors);
    anchors->read_seq = frame->last_seq;
    for (; anchors->next < anchors->count; anchors->next++) {
        struct anchors_item *item = &anchors->items[anchors->next];
        if (item->seq > frame->last_seq)
            return;
        if (item->seq < frame->last_seq)
            set(item, ANCHOR_CHANGED, "no whole frame of the log ends with that event");
        else if (memcmp(item->log_uuid, frame->log_uuid, UUID_SIZE) != 0)
            set(item, ANCHOR_CHANGED, "that event belongs to a log of another name here");
        else if (memcmp(item->chain, frame->chain, SHA256_SIZE) != 0)
            set(item, ANCHOR_CHANGED, "the chain up to that event is another one here");
        else
            set(item, ANCHOR_HOLDS, NULL);
    }
}

void anchors_segment(struct anchors *anchors, const struct log_verified_file *file)
{
    size_t low = 0, high = anchors->root_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (anchors->roots[middle].segment.segment_no < file->segment_no)
            low = middle + 1;
        else
            high = middle;
    }
    for (; file->segment_no != 0 && low < anchors->root_count; low++) {
        struct anchors_root *root = &anchors->roots[low];
        const struct anchor_segment *segment = &root->segment;
        if (segment->segment_no != file->segment_no)
            return;
        root->seen = true;
        root->holds = file->has_root && segment->first_seq == file->first_seq &&
                      segment->last_seq == file->last_seq &&
                      memcmp(segment->merkle_root, file->merkle_root, SHA256_SIZE) == 0;
    }
}

/* An anchor of which a segment is wrong does not hold. */
static void count_roots(struct anchors *anchors)
{
    for (size_t i = 0; i < anchors->root_count; i++) {
        const struct anchors_root *root = &anchors->roots[i];
        if (!root->seen || root->holds)
            continue;
        for (size_t j = 0; j < anchors->count; j++)
            if (anchors->items[j].event == root->event && is_trusted(&anchors->items[j])) {
                anchors->items[j].segments_wrong++;
                set(&anchors->items[j], ANCHOR_CHANGED,
                    "the records of a segment have another Merkle root here");
            }
    }
}

void anchors_end(struct anchors *anchors, const struct log_verify_result *result)
{
    anchors->first_seq = result->first_seq;
    anchors->damaged = result->verdict == LOG_DAMAGED;
    for (size_t i = 0; i < anchors->count; i++)
        if (anchors->items[i].seq < result->first_seq)
            set(&anchors->items[i], ANCHOR_BEFORE, NULL);
    count_roots(anchors);
    anchors->wrong = 0;
    for (size_t i = 0; i < anchors->count; i++)
        anchors->wrong +=
            anchors->items[i].state != ANCHOR_HOLDS && anchors->items[i].state != ANCHOR_BEFORE;
}
