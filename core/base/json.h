/* A strict JSON reader (RFC 8259) for bodies and definitions: one pass, flat nodes, no recursion.
 *
 * The nodes point into the text, which must stay as long as they are used; nothing is copied.
 * Refused, each with its place: duplicate keys, depth over the limit, integers beyond int64
 * (a number with no fraction and no exponent), numbers beyond the range of a double, numbers of
 * more than 1024 characters, bad UTF-8, lone surrogates, anything after the value, a text over
 * 4 GiB. NUL inside a string (as \u0000) is allowed.
 *
 * Whoever sends the text cannot make it costly: duplicate keys are found by sorting in place, so
 * time is the size of the text times the logarithm of its longest object, and the nodes take at
 * most 13 bytes of the arena per byte of text (2 to 3 in ordinary bodies). The caller bounds the
 * size. Numbers are read in the C locale.
 *
 * Threads: any; a parsed document is read-only. */
#ifndef CORE_BASE_JSON_H
#define CORE_BASE_JSON_H

#include "core/base/arena.h"
#include "core/base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 64

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_INTEGER,
    JSON_REAL,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

/* A node's children follow it: first child at index + 1, its next sibling at `end`. The members
 * of an object come as pairs: a JSON_STRING node (the key), then the value. */
struct json_node {
    uint8_t kind;   /* enum json_kind */
    bool escaped;   /* a string that holds at least one backslash */
    uint32_t start; /* offset of its text; of a string: after the opening quote */
    uint32_t size;  /* bytes of its text; of a string: up to the closing quote */
    uint32_t count; /* elements of an array, members of an object */
    uint32_t end;   /* index of the first node behind it and all its children */
};

struct json {
    struct span text;
    struct json_node *nodes; /* nodes[0] is the value itself */
    uint32_t count;
};

struct json_problem {
    uint32_t offset;       /* of the first byte that is wrong */
    uint32_t line, column; /* 1-based; columns are characters */
    bool too_deep;
    bool too_large_integer;
    char pointer[256]; /* JSON Pointer (RFC 6901) of the value that holds it, cut with "..." */
    char message[160]; /* one clause: "expected ',' or '}'" */
};

/* Nodes come from `arena`. 0; ERROR_SYNTAX with `problem` filled; ERROR_BUDGET. `problem` may be
 * NULL. */
int json_parse(struct json *json, struct arena *arena, struct span text,
               struct json_problem *problem);

/* The index of the value of member `name` of the object at `object`, or 0 if there is none or
 * it is no object (0 is always the root, so never a member). */
uint32_t json_member(const struct json *json, uint32_t object, const char *name);

/* Walks an array or object: for (i = json_first(j, n); i != 0; i = json_next(j, n, i)). In an
 * object `i` is the key's node and i + 1 its value's. */
uint32_t json_first(const struct json *json, uint32_t parent);
uint32_t json_next(const struct json *json, uint32_t parent, uint32_t child);

/* The exact text of a value as it stands in the source, strings with their quotes. */
struct span json_text(const struct json *json, uint32_t node);

/* The decoded bytes of a string node: in the source when it has no escape, else in `arena`;
 * bytes == NULL when the budget refuses. */
struct span json_string(const struct json *json, uint32_t node, struct arena *arena);

/* True if the string node equals `text` (decoded). */
bool json_string_is(const struct json *json, uint32_t node, const char *text);

/* False if the node is not of that kind. json_get_real takes integers too. */
bool json_get_integer(const struct json *json, uint32_t node, int64_t *value);
bool json_get_real(const struct json *json, uint32_t node, double *value);
bool json_get_bool(const struct json *json, uint32_t node, bool *value);

const char *json_kind_name(uint8_t kind); /* "an object", "a string", ... for messages */

#endif
