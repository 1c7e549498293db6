/* Whatever is read can be walked, written again and read again as the same. */
#include "core/base/check.h"
#include "core/base/json.h"
#include "core/base/text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes a value again; `key` is a node or 0. Depth is bounded by JSON_DEPTH_MAX. */
static void write_again(struct text *text, const struct json *json, uint32_t node, uint32_t key,
                        struct arena *arena)
{
    struct span name = key != 0 ? json_string(json, key, arena) : span_of("", 0);
    int64_t integer;
    double real;
    bool truth;
    /* A key may hold a NUL, which a C string cannot: it is compared by its text then. */
    char *copy = strndup((const char *)name.bytes, name.size);
    const char *key_text = key != 0 ? copy : NULL;
    switch (json->nodes[node].kind) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        if (json->nodes[node].kind == JSON_OBJECT)
            text_json_open_object(text, key_text);
        else
            text_json_open_array(text, key_text);
        for (uint32_t at = json_first(json, node); at != 0; at = json_next(json, node, at)) {
            bool member = json->nodes[node].kind == JSON_OBJECT;
            write_again(text, json, member ? at + 1 : at, member ? at : 0, arena);
        }
        if (json->nodes[node].kind == JSON_OBJECT)
            text_json_close_object(text);
        else
            text_json_close_array(text);
        break;
    case JSON_STRING:
        text_json_string(text, key_text, json_string(json, node, arena));
        break;
    case JSON_INTEGER:
        CHECK(json_get_integer(json, node, &integer));
        text_json_integer(text, key_text, integer);
        break;
    case JSON_REAL:
        CHECK(json_get_real(json, node, &real));
        text_json_real(text, key_text, real);
        break;
    case JSON_NULL:
        text_json_null(text, key_text);
        break;
    default:
        CHECK(json_get_bool(json, node, &truth));
        text_json_bool(text, key_text, truth);
    }
    free(copy);
}

static bool has_nul_in_key(const struct json *json)
{
    for (uint32_t i = 0; i < json->count; i++)
        if (json->nodes[i].escaped) {
            struct span text = json_text(json, i);
            if (memmem(text.bytes, text.size, "\\u0000", 6) != NULL)
                return true;
        }
    return false;
}

static void check_again(const struct json *json, struct arena *arena)
{
    struct text text;
    struct json again;
    text_init(&text);
    write_again(&text, json, 0, 0, arena);
    CHECK(text.failed == 0);
    CHECK(json_parse(&again, arena, text_span(&text), NULL) == 0);
    CHECK(again.count == json->count);
    for (uint32_t i = 0; i < json->count; i++) {
        CHECK(again.nodes[i].kind == json->nodes[i].kind);
        CHECK(again.nodes[i].count == json->nodes[i].count);
        CHECK(again.nodes[i].end == json->nodes[i].end);
        if (json->nodes[i].kind == JSON_STRING)
            CHECK(span_equal(json_string(&again, i, arena), json_string(json, i, arena)));
    }
    text_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct budget budget;
    struct arena arena;
    struct json json;
    struct json_problem problem;
    budget_init(&budget, 256 << 20);
    arena_init(&arena, &budget, BUDGET_REQUESTS, 1024);
    int failed = json_parse(&json, &arena, span_of(data, size), &problem);
    if (failed == 0 && !has_nul_in_key(&json))
        check_again(&json, &arena);
    if (failed < 0) {
        CHECK(problem.offset <= size);
        CHECK(problem.message[0] != '\0');
    }
    arena_free(&arena);
    CHECK(budget.used == 0);
    return 0;
}
