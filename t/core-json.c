#include "tap.h"

#include "core/base/error.h"
#include "core/base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct budget budget;
static struct arena arena;
static struct json json;
static struct json_problem problem;

static int parse_bytes(const void *bytes, size_t size)
{
    arena_reset(&arena);
    memset(&problem, 0, sizeof problem);
    /* A copy of its exact size, so that a sanitizer sees a read beyond it. */
    static char *copy;
    free(copy);
    copy = malloc(size > 0 ? size : 1);
    if (copy == NULL)
        tap_bail_out("out of memory");
    memcpy(copy, bytes, size);
    return json_parse(&json, &arena, span_of(copy, size), &problem);
}

static int parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static const char sample[] =
    "{\"name\": \"pay\", \"n\": -12, \"r\": 1.5e3, \"list\": [1, \"two\", [], {}, null, true, "
    "false],\n"
    " \"caf\xc3\xa9\": \"\\u00e9\\ud83d\\ude00\\n\", \"deep\": {\"a\": {\"b\": [0.25]}}}";

static void structure(void)
{
    is_int(parse(sample), 0, "a sample of everything is read");
    is_int(json.nodes[0].kind, JSON_OBJECT, "the root is node 0");
    is_int(json.nodes[0].count, 6, "and counts its members");
    is_int(json.nodes[0].end, json.count, "and ends behind all nodes");

    char keys[64] = "";
    for (uint32_t key = json_first(&json, 0); key != 0; key = json_next(&json, 0, key)) {
        struct span text = json_string(&json, key, &arena);
        size_t size = strlen(keys);
        (void)snprintf(keys + size, sizeof keys - size, "%.*s,", (int)text.size,
                       (const char *)text.bytes);
    }
    is_str(keys, "name,n,r,list,caf\xc3\xa9,deep,", "members are walked in the order of the text");

    uint32_t list = json_member(&json, 0, "list");
    is_int(json.nodes[list].count, 7, "an array counts its elements");
    char kinds[80] = "";
    for (uint32_t at = json_first(&json, list); at != 0; at = json_next(&json, list, at)) {
        struct span text = json_text(&json, at);
        size_t size = strlen(kinds);
        (void)snprintf(kinds + size, sizeof kinds - size, "%.*s;", (int)text.size,
                       (const char *)text.bytes);
    }
    is_str(kinds, "1;\"two\";[];{};null;true;false;", "and gives their exact text");
    uint32_t deep = json_member(&json, 0, "deep");
    struct span text = json_text(&json, json_member(&json, deep, "a"));
    ok(span_is(text, "{\"b\": [0.25]}"), "an object's text is all of it");
    is_int(json_member(&json, 0, "b"), 0, "a member of a member is none of the root's");
    is_int(json_member(&json, list, "name"), 0, "an array has no members");
    is_int(json_member(&json, 0, "nam"), 0, "a prefix of a key is another key");
    is_int(parse("[]"), 0, "an empty array is read");
    is_int(json_first(&json, 0), 0, "and has no first element");
    is_int(parse(" \t\r\n7 \n"), 0, "space around the value is fine");
    is_int(json_first(&json, 0), 0, "a scalar has no children");
}

static void values(void)
{
    int64_t integer;
    double real;
    bool truth;
    is_int(parse("[9223372036854775807,-9223372036854775808,-0,0,1.0,1e2,true,\"1\",1e-400]"), 0,
           "numbers at their limits are read");
    ok(json_get_integer(&json, 1, &integer) && integer == INT64_MAX, "2^63-1 is an integer");
    ok(json_get_integer(&json, 2, &integer) && integer == INT64_MIN, "-2^63 is an integer");
    ok(json_get_integer(&json, 3, &integer) && integer == 0, "-0 is the integer 0");
    ok(!json_get_integer(&json, 5, &integer), "1.0 is no integer");
    ok(!json_get_integer(&json, 6, &integer), "1e2 is no integer");
    ok(!json_get_integer(&json, 8, &integer), "a string is no integer");
    ok(json_get_real(&json, 6, &real) && real > 99.9 && real < 100.1, "1e2 is a real");
    ok(json_get_real(&json, 1, &real) && real > 9.2e18, "an integer can be got as a real");
    ok(json_get_real(&json, 3, &real) && signbit(real), "-0 keeps its sign as a real");
    ok(json_get_real(&json, 9, &real) && real >= 0 && real < 1e-300, "an underflow is 0");
    ok(!json_get_real(&json, 7, &real), "true is no real");
    ok(json_get_bool(&json, 7, &truth) && truth, "true is a truth value");
    ok(!json_get_bool(&json, 4, &truth), "0 is none");
    is_str(json_kind_name(JSON_OBJECT), "an object", "kinds have names for messages");
}

static void strings(void)
{
    static const struct {
        const char *text, *want;
        size_t size;
    } cases[] = {
        { "\"\"", "", 0 },
        { "\"plain text of some length\"", "plain text of some length", 25 },
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8 },
        { "\"a\\u0000b\"", "a\0b", 3 },
        { "\"\\u00e9\\u20AC\\ud83d\\ude00\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9 },
        { "\"\\uD7FF\\uE000\"", "\xed\x9f\xbf\xee\x80\x80", 6 },
        { "\"\xf4\x8f\xbf\xbf\x7f\"", "\xf4\x8f\xbf\xbf\x7f", 5 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        is_int(parse(cases[i].text), 0, "string %zu is read", i);
        struct span text = json_string(&json, 0, &arena);
        ok(span_equal(text, span_of(cases[i].want, cases[i].size)), "and decoded");
    }
    (void)parse("{\"\\u0061b\":1,\"z\\u0000\":2}");
    is_int(json_member(&json, 0, "ab"), 2, "a key written with escapes is found by its meaning");
    is_int(json_member(&json, 0, "a"), 0, "and not by a prefix of it");
    is_int(json_member(&json, 0, "z"), 0, "a key with a NUL is not the text before it");
    ok(!json_string_is(&json, 0, "ab"), "an object equals no string");
}

struct refusal {
    const char *text, *message, *pointer;
    uint32_t offset;
};

static const struct refusal refusals[] = {
    { "", "expected a value, found the end", "", 0 },
    { "  ", "expected a value, found the end", "", 2 },
    { "\xef\xbb\xbf{}", "expected a value, found byte 0xef", "", 0 },
    { "{} x", "expected nothing more after the value, found 'x'", "", 3 },
    { "1 2", "expected nothing more after the value, found '2'", "", 2 },
    { "nul", "expected a value, found 'n'", "", 0 },
    { "True", "expected a value, found 'T'", "", 0 },
    { "NaN", "expected a value, found 'N'", "", 0 },
    { "[1,]", "expected a value, found ']'", "/1", 3 },
    { "[,1]", "expected a value, found ','", "/0", 1 },
    { "[1 2]", "expected ',' or ']', found '2'", "", 3 },
    { "[1}", "expected ',' or ']', found '}'", "", 2 },
    { "{\"a\":1,}", "expected a key in quotes, found '}'", "", 7 },
    { "{a:1}", "expected a key in quotes, found 'a'", "", 1 },
    { "{\"a\" 1}", "expected ':', found '1'", "", 5 },
    { "{\"a\":}", "expected a value, found '}'", "/a", 5 },
    { "{\"a\":1]", "expected ',' or '}', found ']'", "", 6 },
    { "{\"a\":[{\"b/c\":[1,01]}]}", "a number that begins with 0", "/a/0/b~1c/1", 16 },
    { "{\"~\":{\"\":+1}}", "expected a value, found '+'", "/~0/", 9 },
    { "-", "expected a digit, found the end", "", 1 },
    { "-a", "expected a digit, found 'a'", "", 1 },
    { "1.", "expected a digit, found the end", "", 2 },
    { ".5", "expected a value, found '.'", "", 0 },
    { "1e", "expected a digit, found the end", "", 2 },
    { "1e+", "expected a digit, found the end", "", 3 },
    { "0x10", "expected nothing more after the value, found 'x'", "", 1 },
    { "-01", "a number that begins with 0", "", 1 },
    { "[1e400]", "a number beyond the range of a double", "/0", 1 },
    { "-1e400", "a number beyond the range of a double", "", 0 },
    { "\"a", "the text ends inside a string", "", 2 },
    { "\"\\", "the text ends inside a string", "", 2 },
    { "\"\\x\"", "no such escape in a string", "", 1 },
    { "\"\\u12g4\"", "expected four hexadecimal digits after \\u", "", 1 },
    { "\"\\u12", "expected four hexadecimal digits after \\u", "", 1 },
    { "\"a\nb\"", "a control character in a string; write it as an escape", "", 2 },
    { "\"\\ud800\"", "a high surrogate without a low one behind it", "", 1 },
    { "\"\\ud800\\u0041\"", "a high surrogate without a low one behind it", "", 1 },
    { "\"\\ud800\\ud800\"", "a high surrogate without a low one behind it", "", 1 },
    { "\"\\udc00\"", "a low surrogate without a high one before it", "", 1 },
    { "\"\x80\"", "a byte that is not UTF-8", "", 1 },
    { "\"ab\xc0\x80\"", "a byte that is not UTF-8", "", 3 },
    { "\"\xed\xa0\x80\"", "a byte that is not UTF-8", "", 1 },
    { "\"\xf4\x90\x80\x80\"", "a byte that is not UTF-8", "", 1 },
    { "{\"a\":1,\"a\":2}", "the key \"a\" is there twice", "", 7 },
    { "{\"x\":{\"a\":1,\"b\":2,\"\\u0061\":3}}", "the key \"a\" is there twice", "/x", 18 },
    { "{\"\":1,\"\":2}", "the key \"\" is there twice", "", 6 },
};

static void refused(void)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *want = &refusals[i];
        int error = parse(want->text);
        bool same = error == ERROR_SYNTAX && problem.offset == want->offset &&
                    strcmp(problem.message, want->message) == 0 &&
                    strcmp(problem.pointer, want->pointer) == 0;
        if (!ok(same, "refused with its place: %s", want->message))
            tap_note("got %d at %u in \"%s\": %s", error, problem.offset, problem.pointer,
                     problem.message);
    }
    is_int(parse_bytes("\"\0\"", 3), ERROR_SYNTAX, "a NUL byte in a string is refused");
    is_int(parse_bytes("1\0", 2), ERROR_SYNTAX, "so is one after the value");
    (void)parse("{\"\xc3\xa9\": 1,\n \"\xc3\xa9t\xc3\xa9\" 2}");
    is_int(problem.line, 2, "a problem names its line");
    is_int(problem.column, 8, "and its column in characters");
    is_int(json_parse(&json, &arena, span_of_text("[x"), NULL), ERROR_SYNTAX,
           "nobody needs to ask for the problem");
}

static void limits(void)
{
    char text[2000];
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    is_int(parse_bytes(text, 128), 0, "64 levels are read");
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    is_int(parse_bytes(text, 130), ERROR_SYNTAX, "65 are refused");
    ok(problem.too_deep, "as too deep");
    is_int(problem.offset, 64, "at the 65th");
    is_int(strlen(problem.pointer), 128, "with a pointer of 64 steps");

    is_int(parse("{\"a\":[1,9223372036854775808]}"), ERROR_SYNTAX, "2^63 is refused");
    ok(problem.too_large_integer, "as too large");
    is_str(problem.pointer, "/a/1", "with a pointer to it");
    is_int(parse("-9223372036854775809"), ERROR_SYNTAX, "-2^63-1 is refused");
    is_int(parse("123456789012345678901234567890"), ERROR_SYNTAX, "so are 30 digits");
    is_int(parse("9223372036854775808.0"), 0, "as a real they are fine");

    memset(text, '1', sizeof text);
    text[1] = '.';
    is_int(parse_bytes(text, 1024), 0, "a number of 1024 characters is read");
    is_int(parse_bytes(text, 1025), ERROR_SYNTAX, "one of 1025 is refused");

    (void)snprintf(text, sizeof text, "{\"%0300d\": x}", 0);
    is_int(parse(text), ERROR_SYNTAX, "a problem below a long key is told");
    is_int(strlen(problem.pointer), 255, "with the pointer cut");
    is_str(problem.pointer + 250, "00...", "and marked");

    size_t size = 2;
    memcpy(text, "{\"", size);
    for (; size < 600; size += 2)
        memcpy(text + size, "\xc3\xa9", 2);
    memcpy(text + size, "\": x}", 6);
    (void)parse(text);
    ok((problem.pointer[strlen(problem.pointer) - 4] & 0xff) == 0xa9, "never inside a character");
}

static void truncated(void)
{
    unsigned wrong = 0;
    size_t size = strlen(sample);
    for (size_t cut = 0; cut < size; cut++)
        wrong += parse_bytes(sample, cut) != ERROR_SYNTAX || problem.offset > cut ||
                 problem.message[0] == '\0';
    is_int(wrong, 0, "a sample cut at any byte is refused, with a place inside it");
    unsigned accepted = 0;
    char copy[sizeof sample];
    for (size_t at = 0; at < size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            memcpy(copy, sample, sizeof sample);
            copy[at] = (char)(copy[at] ^ 1 << bit);
            int error = parse_bytes(copy, size);
            accepted += error == 0;
            wrong += error != 0 && error != ERROR_SYNTAX;
        }
    }
    is_int(wrong, 0, "any bit of it flipped is read or refused (%u read)", accepted);
}

/* An object with `count` different keys and then the key `last`. */
static char *object(unsigned count, unsigned prefix, const char *last, size_t *size)
{
    size_t room = (size_t)count * (prefix + 24) + strlen(last) + 64, at = 0;
    char *text = malloc(room);
    if (text == NULL)
        tap_bail_out("out of memory");
    text[at++] = '{';
    for (unsigned i = 0; i < count; i++) {
        /* An order that is neither up nor down. */
        unsigned key = i * 7919u % count;
        at += (size_t)snprintf(text + at, room - at, "\"%0*u\":0,", (int)prefix + 8, key);
    }
    at += (size_t)snprintf(text + at, room - at, "\"%s\":1}", last);
    *size = at;
    return text;
}

static void duplicates(void)
{
    static const unsigned counts[] = { 1, 2, 7, 8, 9, 15, 16, 17, 100, 1000 };
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        unsigned count = counts[i];
        size_t size;
        char *text = object(count, 0, "other", &size), last[32];
        wrong += parse_bytes(text, size) != 0 || json.nodes[0].count != count + 1;
        for (uint32_t key = json_first(&json, 0); key != 0; key = json_next(&json, 0, key))
            wrong += json.nodes[key].count != 0;
        free(text);
        for (unsigned twice = 0; twice < count; twice += 1 + count / 10) {
            (void)snprintf(last, sizeof last, "\\u0030%07u", twice);
            text = object(count, 0, last, &size);
            wrong += parse_bytes(text, size) != ERROR_SYNTAX ||
                     strstr(problem.message, "is there twice") == NULL ||
                     problem.offset != size - strlen(last) - 5;
            free(text);
        }
    }
    is_int(wrong, 0, "a key that is there twice is found among 2 to 1000, wherever it stands");
}

static void hostile(void)
{
    struct budget large;
    struct arena big;
    size_t size;
    budget_init(&large, 400u << 20);
    arena_init(&big, &large, BUDGET_REQUESTS, 4096);
    char *text = object(500000, 0, "x", &size);
    is_int(json_parse(&json, &big, span_of(text, size), &problem), 0,
           "half a million keys in one object are read");
    free(text);
    arena_free(&big);
    text = object(900, 10000, "x", &size);
    is_int(json_parse(&json, &big, span_of(text, size), &problem), 0,
           "and 900 keys of 10 KB that differ at their end");
    free(text);
    arena_free(&big);

    size = 10u << 20;
    text = malloc(size);
    if (text == NULL)
        tap_bail_out("out of memory");
    for (size_t i = 0; i < size; i++)
        text[i] = ",1"[i % 2];
    text[0] = '[';
    text[size - 1] = ' ';
    text[size - 2] = ']';
    is_int(json_parse(&json, &big, span_of(text, size), &problem), 0,
           "5 million nodes in 10 MB are read");
    ok(large.owner_peak[BUDGET_REQUESTS] <= 13 * size + 65536,
       "with at most 13 bytes of memory per byte (%.1f)",
       (double)large.owner_peak[BUDGET_REQUESTS] / (double)size);
    arena_free(&big);
    budget_init(&large, 1 << 20);
    is_int(json_parse(&json, &big, span_of(text, size), &problem), ERROR_BUDGET,
           "and refused when the budget is smaller");
    arena_free(&big);
    is_int(large.used, 0, "which leaves nothing on it");
    free(text);
}

int main(void)
{
    budget_init(&budget, 64 << 20);
    arena_init(&arena, &budget, BUDGET_REQUESTS, 1024);
    structure();
    values();
    strings();
    refused();
    limits();
    truncated();
    duplicates();
    hostile();
    arena_free(&arena);
    is_int(budget.used, 0, "nothing stays on the budget");
    return tap_done();
}
