#include "core/base/json.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"
#include "core/base/json_key.h"
#include "core/base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The reader walks the text once, a token at a time, and knows what may come next. What encloses
 * the place where it is lies in `frames`: no recursion, and a depth that is known beforehand.
 *
 *   KEY ----- string ':' ----> VALUE
 *   VALUE --- scalar --------> AFTER, or DONE when nothing is open
 *   VALUE --- '{' '[' -------> FIRST_KEY, FIRST_ELEMENT: like KEY and VALUE, or the end at once
 *   AFTER --- ',' -----------> KEY, VALUE
 *   AFTER --- '}' ']' -------> AFTER, or DONE when nothing is open */
enum state { VALUE, FIRST_ELEMENT, FIRST_KEY, KEY, AFTER, DONE };

enum { NUMBER_SIZE_MAX = 1024 };

struct frame {
    uint32_t node;     /* of the object or array */
    uint32_t last_key; /* node of the newest key, 0 before the first; keys are chained by `count` */
};

struct parser {
    struct json *json;
    struct arena *arena;
    struct json_problem *problem;
    const uint8_t *start, *at, *end;
    uint32_t capacity; /* of json->nodes */
    uint32_t depth;
    bool in_value; /* a problem now belongs to the member or element, not to what holds it */
    struct frame frames[JSON_DEPTH_MAX];
};

/*--- Problems: where and what ---------------------------------------------------------------*/

static size_t add_pointer_byte(char *pointer, size_t size, uint8_t byte)
{
    static const char tilde[] = "~0", slash[] = "~1";
    const char *escape = byte == '~' ? tilde : byte == '/' ? slash : NULL;
    if (size + 2 >= sizeof((struct json_problem *)0)->pointer)
        return size;
    if (escape != NULL) {
        pointer[size++] = escape[0];
        byte = (uint8_t)escape[1];
    }
    pointer[size++] = (char)byte;
    return size;
}

static size_t add_pointer_key(const struct parser *parser, char *pointer, size_t size,
                              uint32_t node)
{
    struct json_key key = json_key_of(parser->json, node);
    for (int byte; (byte = json_key_next(&key)) >= 0;)
        size = add_pointer_byte(pointer, size, (uint8_t)byte);
    return size;
}

static void set_pointer(const struct parser *parser, struct json_problem *problem)
{
    size_t size = 0, room = sizeof problem->pointer;
    for (uint32_t i = 0; i < parser->depth; i++) {
        const struct frame *frame = &parser->frames[i];
        const struct json_node *node = &parser->json->nodes[frame->node];
        if (i + 1 == parser->depth && !parser->in_value)
            break;
        if (size + 2 < room)
            problem->pointer[size++] = '/';
        if (node->kind == JSON_OBJECT) {
            size = add_pointer_key(parser, problem->pointer, size, frame->last_key);
        } else {
            char digits[16];
            (void)snprintf(digits, sizeof digits, "%u", node->count - 1);
            for (const char *digit = digits; *digit != '\0'; digit++)
                size = add_pointer_byte(problem->pointer, size, (uint8_t)*digit);
        }
    }
    problem->pointer[size] = '\0';
    if (size + 3 >= room) { /* cut, but not inside a character */
        size = room - 4;
        while (size > 0 && ((uint8_t)problem->pointer[size] & 0xc0) == 0x80)
            size--;
        memcpy(problem->pointer + size, "...", 4);
    }
}

static void set_place(const struct parser *parser, struct json_problem *problem,
                      const uint8_t *wrong)
{
    problem->offset = (uint32_t)(wrong - parser->start);
    problem->line = 1;
    problem->column = 1;
    for (const uint8_t *at = parser->start; at < wrong; at++) {
        if (*at == '\n') {
            problem->line++;
            problem->column = 1;
        } else if ((*at & 0xc0) != 0x80) {
            problem->column++;
        }
    }
}

static int fail(struct parser *parser, const uint8_t *wrong, const char *message)
{
    struct json_problem *problem = parser->problem;
    if (problem == NULL)
        return ERROR_SYNTAX;
    *problem = (struct json_problem){ .offset = 0 };
    set_place(parser, problem, wrong);
    set_pointer(parser, problem);
    (void)snprintf(problem->message, sizeof problem->message, "%s", message);
    return ERROR_SYNTAX;
}

static int fail_expected(struct parser *parser, const char *expected)
{
    char message[sizeof parser->problem->message];
    uint8_t found = parser->at < parser->end ? *parser->at : 0;
    if (parser->at == parser->end)
        (void)snprintf(message, sizeof message, "expected %s, found the end", expected);
    else if (found > 0x20 && found < 0x7f)
        (void)snprintf(message, sizeof message, "expected %s, found '%c'", expected, found);
    else
        (void)snprintf(message, sizeof message, "expected %s, found byte 0x%02x", expected, found);
    return fail(parser, parser->at, message);
}

/*--- Nodes ------------------------------------------------------------------------------------*/

/* Each value but the root comes right after one of these; so the rest holds no more than that. */
static uint64_t nodes_at_most(const uint8_t *at, const uint8_t *end)
{
    uint64_t count = 2;
    for (; at < end; at++)
        if (*at == ',' || *at == ':' || *at == '[' || *at == '{')
            count++;
    return count;
}

static int grow_nodes(struct parser *parser)
{
    struct json *json = parser->json;
    /* A guess that fits most bodies; if it does not, one count of the rest settles it. */
    uint64_t capacity = json->nodes == NULL ? (uint64_t)(parser->end - parser->start) / 8 + 16
                                            : json->count + nodes_at_most(parser->at, parser->end);
    if (capacity > UINT32_MAX)
        return ERROR_BUDGET;
    struct json_node *nodes = arena_allocate(parser->arena, capacity * sizeof *nodes);
    if (nodes == NULL)
        return ERROR_BUDGET;
    if (json->count > 0)
        memcpy(nodes, json->nodes, json->count * sizeof *nodes);
    json->nodes = nodes;
    parser->capacity = (uint32_t)capacity;
    return 0;
}

/* The index of a new node whose text begins at `at`, or negative. */
static int64_t add_node(struct parser *parser, enum json_kind kind, const uint8_t *at)
{
    struct json *json = parser->json;
    if (json->count == parser->capacity && grow_nodes(parser) < 0)
        return ERROR_BUDGET;
    uint32_t index = json->count++;
    json->nodes[index] = (struct json_node){
        .kind = (uint8_t)kind,
        .start = (uint32_t)(at - parser->start),
        .end = index + 1,
    };
    return index;
}

/*--- Tokens -----------------------------------------------------------------------------------*/

static const uint8_t *skip_space(const uint8_t *at, const uint8_t *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

static int32_t hex4(const uint8_t *at, const uint8_t *end)
{
    uint8_t bytes[2];
    if (end - at < 4 || !bytes_from_hex(bytes, 2, (const char *)at, 4))
        return -1;
    return bytes[0] << 8 | bytes[1];
}

/* Moves over the escape that begins with the backslash at parser->at. */
static int parse_escape(struct parser *parser)
{
    const uint8_t *at = parser->at + 1, *end = parser->end;
    if (at == end)
        return fail(parser, at, "the text ends inside a string");
    if (*at != 'u') {
        if (*at == 0 || strchr("\"\\/bfnrt", *at) == NULL)
            return fail(parser, at - 1, "no such escape in a string");
        parser->at = at + 1;
        return 0;
    }
    int32_t unit = hex4(at + 1, end);
    if (unit < 0)
        return fail(parser, at - 1, "expected four hexadecimal digits after \\u");
    at += 5;
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return fail(parser, parser->at, "a low surrogate without a high one before it");
    if (unit >= 0xd800 && unit <= 0xdbff) {
        int32_t low = end - at >= 6 && at[0] == '\\' && at[1] == 'u' ? hex4(at + 2, end) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(parser, parser->at, "a high surrogate without a low one behind it");
        at += 6;
    }
    parser->at = at;
    return 0;
}

/* Whether one of 8 bytes is a quote, a backslash, a control character or not ASCII. */
static bool has_special(uint64_t bytes)
{
    const uint64_t ones = 0x0101010101010101ull, highs = 0x8080808080808080ull;
    uint64_t quotes = bytes ^ ones * '"', backslashes = bytes ^ ones * '\\';
    return (((bytes - ones * 0x20) | (quotes - ones) | (backslashes - ones) | bytes) & highs) != 0;
}

/* A string whose opening quote is at parser->at. */
static int64_t parse_string(struct parser *parser)
{
    const uint8_t *end = parser->end, *at = parser->at + 1;
    int64_t index = add_node(parser, JSON_STRING, at);
    if (index < 0)
        return index;
    for (bool escaped = false;;) {
        while (end - at >= 8 && !has_special(bytes_get_u64(at)))
            at += 8;
        while (at < end && *at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\')
            at++;
        parser->at = at;
        if (at == end)
            return fail(parser, at, "the text ends inside a string");
        if (*at == '"') {
            struct json_node *node = &parser->json->nodes[index];
            node->size = (uint32_t)(at - parser->start) - node->start;
            node->escaped = escaped;
            parser->at = at + 1;
            return index;
        }
        if (*at == '\\') {
            int error = parse_escape(parser);
            if (error < 0)
                return error;
            at = parser->at;
            escaped = true;
        } else if (*at < 0x20) {
            return fail(parser, at, "a control character in a string; write it as an escape");
        } else {
            size_t size = utf8_character(at, (size_t)(end - at));
            if (size == 0)
                return fail(parser, at, "a byte that is not UTF-8");
            at += size;
        }
    }
}

static const uint8_t *skip_digits(const uint8_t *at, const uint8_t *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

/* The digits of an integer, after its sign; false beyond int64. */
static bool digits_to_integer(const uint8_t *at, const uint8_t *end, bool negative, int64_t *value)
{
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0), sum = 0;
    if (end - at > 19)
        return false;
    for (; at < end; at++)
        sum = sum * 10 + (uint64_t)(*at - '0');
    if (sum > limit)
        return false;
    *value = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

/* A number that was checked before, so that strtod sees nothing that is not JSON. */
static double number_value(const uint8_t *at, size_t size)
{
    char digits[NUMBER_SIZE_MAX + 1];
    memcpy(digits, at, size);
    digits[size] = '\0';
    return strtod(digits, NULL);
}

static int check_number(struct parser *parser, const uint8_t *at, const uint8_t *end, bool real)
{
    int64_t value;
    bool negative = *at == '-';
    if (end - at > NUMBER_SIZE_MAX)
        return fail(parser, at, "a number of more than 1024 characters");
    if (!real && !digits_to_integer(at + negative, end, negative, &value)) {
        int error = fail(parser, at,
                         "an integer beyond 64 bits (-2^63 to 2^63-1); as a string "
                         "it can have any size");
        if (parser->problem != NULL)
            parser->problem->too_large_integer = true;
        return error;
    }
    if (real && !isfinite(number_value(at, (size_t)(end - at))))
        return fail(parser, at, "a number beyond the range of a double");
    return 0;
}

static int64_t parse_number(struct parser *parser)
{
    const uint8_t *start = parser->at, *end = parser->end;
    const uint8_t *at = start + (*start == '-' ? 1 : 0), *digits = at;
    bool real = false;
    at = skip_digits(at, end);
    parser->at = at;
    if (at == digits)
        return fail_expected(parser, "a digit");
    if (*digits == '0' && at - digits > 1)
        return fail(parser, digits, "a number that begins with 0");
    if (at < end && *at == '.') {
        real = true;
        parser->at = skip_digits(at + 1, end);
        if (parser->at == at + 1)
            return fail_expected(parser, "a digit");
        at = parser->at;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        real = true;
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        parser->at = skip_digits(at, end);
        if (parser->at == at)
            return fail_expected(parser, "a digit");
        at = parser->at;
    }
    if (check_number(parser, start, at, real) < 0)
        return ERROR_SYNTAX;
    int64_t index = add_node(parser, real ? JSON_REAL : JSON_INTEGER, start);
    if (index >= 0)
        parser->json->nodes[index].size = (uint32_t)(at - start);
    return index;
}

static int64_t parse_word(struct parser *parser, enum json_kind kind, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(parser->end - parser->at) < size || memcmp(parser->at, word, size) != 0)
        return fail_expected(parser, "a value");
    int64_t index = add_node(parser, kind, parser->at);
    if (index >= 0)
        parser->json->nodes[index].size = (uint32_t)size;
    parser->at += size;
    return index;
}

/*--- Structure --------------------------------------------------------------------------------*/

/* Returns the next state, or negative. */
static int open_nested(struct parser *parser, enum json_kind kind)
{
    if (parser->depth == JSON_DEPTH_MAX) {
        int error = fail(parser, parser->at, "nested deeper than 64 levels");
        if (parser->problem != NULL)
            parser->problem->too_deep = true;
        return error;
    }
    int64_t index = add_node(parser, kind, parser->at);
    if (index < 0)
        return (int)index;
    parser->frames[parser->depth++] = (struct frame){ (uint32_t)index, 0 };
    parser->in_value = false;
    parser->at++;
    return kind == JSON_OBJECT ? FIRST_KEY : FIRST_ELEMENT;
}

static int check_keys(struct parser *parser, const struct frame *frame, uint32_t count)
{
    uint32_t twice = json_key_find_twice(parser->json, frame->last_key, count);
    if (twice == 0)
        return 0;
    const struct json_node *node = &parser->json->nodes[twice];
    char key[64], message[sizeof parser->problem->message];
    size_t size = 0;
    struct json_key bytes = json_key_of(parser->json, twice);
    for (int byte; size < sizeof key - 1 && (byte = json_key_next(&bytes)) >= 0;)
        key[size++] = byte < 0x20 || byte > 0x7e ? '?' : (char)byte;
    key[size] = '\0';
    (void)snprintf(message, sizeof message, "the key \"%s\" is there twice", key);
    parser->in_value = false;
    return fail(parser, parser->start + node->start - 1, message);
}

static int close_nested(struct parser *parser)
{
    const struct frame *frame = &parser->frames[parser->depth - 1];
    struct json_node *node = &parser->json->nodes[frame->node];
    if (node->kind == JSON_OBJECT && check_keys(parser, frame, node->count) < 0)
        return ERROR_SYNTAX;
    parser->at++;
    node->size = (uint32_t)(parser->at - parser->start) - node->start;
    node->end = parser->json->count;
    parser->depth--;
    parser->in_value = parser->depth > 0;
    return parser->depth > 0 ? AFTER : DONE;
}

static int parse_value(struct parser *parser)
{
    int64_t index;
    if (parser->depth > 0) {
        const struct frame *frame = &parser->frames[parser->depth - 1];
        parser->json->nodes[frame->node].count++;
        parser->in_value = true;
    }
    switch (parser->at < parser->end ? *parser->at : 0) {
    case '{':
        return open_nested(parser, JSON_OBJECT);
    case '[':
        return open_nested(parser, JSON_ARRAY);
    case '"':
        index = parse_string(parser);
        break;
    case 't':
        index = parse_word(parser, JSON_TRUE, "true");
        break;
    case 'f':
        index = parse_word(parser, JSON_FALSE, "false");
        break;
    case 'n':
        index = parse_word(parser, JSON_NULL, "null");
        break;
    case '-':
    case '0' ... '9':
        index = parse_number(parser);
        break;
    default:
        return fail_expected(parser, "a value");
    }
    if (index < 0)
        return (int)index;
    return parser->depth > 0 ? AFTER : DONE;
}

static int parse_key(struct parser *parser)
{
    parser->in_value = false;
    if (parser->at == parser->end || *parser->at != '"')
        return fail_expected(parser, "a key in quotes");
    int64_t index = parse_string(parser);
    if (index < 0)
        return (int)index;
    parser->at = skip_space(parser->at, parser->end);
    if (parser->at == parser->end || *parser->at != ':')
        return fail_expected(parser, "':'");
    parser->at++;
    struct frame *frame = &parser->frames[parser->depth - 1];
    parser->json->nodes[index].count = frame->last_key;
    frame->last_key = (uint32_t)index;
    return VALUE;
}

static int parse_after(struct parser *parser)
{
    const struct frame *frame = &parser->frames[parser->depth - 1];
    bool in_object = parser->json->nodes[frame->node].kind == JSON_OBJECT;
    uint8_t found = parser->at < parser->end ? *parser->at : 0;
    if (found == ',') {
        parser->at++;
        return in_object ? KEY : VALUE;
    }
    if (found == (in_object ? '}' : ']'))
        return close_nested(parser);
    parser->in_value = false;
    return fail_expected(parser, in_object ? "',' or '}'" : "',' or ']'");
}

static int parse_token(struct parser *parser, int state)
{
    uint8_t found = parser->at < parser->end ? *parser->at : 0;
    switch (state) {
    case FIRST_ELEMENT:
        return found == ']' ? close_nested(parser) : parse_value(parser);
    case FIRST_KEY:
        return found == '}' ? close_nested(parser) : parse_key(parser);
    case KEY:
        return parse_key(parser);
    case AFTER:
        return parse_after(parser);
    default:
        return parse_value(parser);
    }
}

int json_parse(struct json *json, struct arena *arena, struct span text,
               struct json_problem *problem)
{
    static const uint8_t nothing[1];
    const uint8_t *start = text.size > 0 ? text.bytes : nothing;
    struct parser parser;
    *json = (struct json){ .text = text };
    parser.json = json;
    parser.arena = arena;
    parser.problem = problem;
    parser.start = parser.at = start;
    parser.end = start + text.size;
    parser.capacity = 0;
    parser.depth = 0;
    parser.in_value = false;
    if (text.size > UINT32_MAX)
        return fail(&parser, start, "a text over 4 GiB");

    for (int state = VALUE; state != DONE;) {
        parser.at = skip_space(parser.at, parser.end);
        state = parse_token(&parser, state);
        if (state < 0)
            return state;
    }
    parser.at = skip_space(parser.at, parser.end);
    if (parser.at != parser.end)
        return fail_expected(&parser, "nothing more after the value");
    return 0;
}

/*--- Reading ----------------------------------------------------------------------------------*/

uint32_t json_first(const struct json *json, uint32_t parent)
{
    const struct json_node *node = &json->nodes[parent];
    CHECK(parent < json->count);
    return (node->kind == JSON_ARRAY || node->kind == JSON_OBJECT) && node->count > 0 ? parent + 1
                                                                                      : 0;
}

uint32_t json_next(const struct json *json, uint32_t parent, uint32_t child)
{
    const struct json_node *node = &json->nodes[parent];
    CHECK(parent < json->count);
    CHECK(child > parent);
    CHECK(child < node->end);
    uint32_t next = json->nodes[node->kind == JSON_OBJECT ? child + 1 : child].end;
    return next < node->end ? next : 0;
}

uint32_t json_member(const struct json *json, uint32_t object, const char *name)
{
    CHECK(object < json->count);
    if (json->nodes[object].kind != JSON_OBJECT)
        return 0;
    for (uint32_t key = json_first(json, object); key != 0; key = json_next(json, object, key))
        if (json_string_is(json, key, name))
            return key + 1;
    return 0;
}

struct span json_text(const struct json *json, uint32_t node)
{
    const struct json_node *found = &json->nodes[node];
    CHECK(node < json->count);
    uint32_t quote = found->kind == JSON_STRING ? 1 : 0;
    return span_of(json->text.bytes + found->start - quote, found->size + 2 * quote);
}

struct span json_string(const struct json *json, uint32_t node, struct arena *arena)
{
    const struct json_node *found = &json->nodes[node];
    CHECK(node < json->count);
    CHECK(found->kind == JSON_STRING);
    struct span raw = { json->text.bytes + found->start, found->size };
    if (!found->escaped)
        return raw;
    uint8_t *bytes = arena_allocate(arena, raw.size + 1); /* decoded is never longer */
    if (bytes == NULL)
        return (struct span){ NULL, 0 };
    size_t size = 0;
    struct json_key string = json_key_of(json, node);
    for (int byte; (byte = json_key_next(&string)) >= 0;)
        bytes[size++] = (uint8_t)byte;
    return (struct span){ bytes, size };
}

bool json_string_is(const struct json *json, uint32_t node, const char *text)
{
    const struct json_node *found = &json->nodes[node];
    CHECK(node < json->count);
    if (found->kind != JSON_STRING)
        return false;
    if (!found->escaped)
        return span_is(span_of(json->text.bytes + found->start, found->size), text);
    struct json_key string = json_key_of(json, node);
    for (; *text != '\0'; text++)
        if (json_key_next(&string) != (uint8_t)*text)
            return false;
    return json_key_next(&string) < 0;
}

bool json_get_integer(const struct json *json, uint32_t node, int64_t *value)
{
    const struct json_node *found = &json->nodes[node];
    CHECK(node < json->count);
    if (found->kind != JSON_INTEGER)
        return false;
    const uint8_t *at = json->text.bytes + found->start;
    bool negative = *at == '-';
    return digits_to_integer(at + negative, at + found->size, negative, value);
}

bool json_get_real(const struct json *json, uint32_t node, double *value)
{
    const struct json_node *found = &json->nodes[node];
    CHECK(node < json->count);
    if (found->kind != JSON_INTEGER && found->kind != JSON_REAL)
        return false;
    *value = number_value(json->text.bytes + found->start, found->size);
    return true;
}

bool json_get_bool(const struct json *json, uint32_t node, bool *value)
{
    CHECK(node < json->count);
    *value = json->nodes[node].kind == JSON_TRUE;
    return *value || json->nodes[node].kind == JSON_FALSE;
}

const char *json_kind_name(uint8_t kind)
{
    static const char *const names[] = { "null",     "false",    "true",     "an integer",
                                         "a number", "a string", "an array", "an object" };
    CHECK(kind < sizeof names / sizeof names[0]);
    return names[kind];
}
