/* The bytes of COPY BINARY, and what PostgreSQL cannot hold. */
#include "core/base/error.h"
#include "pgsync/binary.h"
#include "pgsync/pg.h"
#include "pgsync/plain.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void test_rows(void)
{
    static const uint8_t want[] =
        "PGCOPY\n\377\r\n\0" /* signature */
        "\0\0\0\0\0\0\0\0"   /* flags, extension */
        "\0\x0a"             /* ten columns */
        "\0\0\0\x10"
        "0123456789abcdef"
        "\0\0\0\x08\x01\x02\x03\x04\x05\x06\x07\x08"
        "\0\0\0\x04\xff\xff\xff\xfe"
        "\xff\xff\xff\xff"
        "\0\0\0\x03"
        "abc"
        "\0\0\0\0"
        "\0\0\0\x03\x01{}"
        "\0\0\0\x01\x01"
        "\0\0\0\x08\0\0\0\0\0\0\0\x01" /* a microsecond behind 2000-01-01 */
        "\0\0\0\x02\xaa\xbb"
        "\xff\xff"; /* trailer */
    struct binary binary;
    binary_init(&binary);
    binary_header(&binary);
    binary_row(&binary, 10);
    binary_uuid(&binary, (const uint8_t *)"0123456789abcdef");
    binary_bigint(&binary, 0x0102030405060708);
    binary_integer(&binary, -2);
    binary_text(&binary, NULL);
    binary_text(&binary, "abc");
    binary_bytes(&binary, span_of(NULL, 0));
    binary_jsonb(&binary, span_of_text("{}"));
    binary_bool(&binary, true);
    binary_time(&binary, UINT64_C(946684800000001999));
    memcpy(binary_bytes_room(&binary, 2), "\xaa\xbb", 2);
    binary_trailer(&binary);
    is_int(binary.failed, 0, "rows are encoded");
    is_int(binary.size, sizeof want - 1, "a row of every type has the size it must have");
    is_mem(binary.bytes, want, sizeof want - 1, "and its bytes are those of the documentation");

    binary_clear(&binary);
    binary_time(&binary, 0);
    is_mem(binary.bytes + 4, "\xff\xfc\xa2\xfe\xc4\xc8\x20\x00", 8,
           "a time before 2000 is negative");

    binary_clear(&binary);
    for (int i = 0; i < 100000; i++)
        binary_bigint(&binary, i);
    is_int(binary.size, 1200000, "a long batch grows as it must");
    is_mem(binary.bytes + 12 * 99999, "\0\0\0\x08\0\0\0\0\0\x01\x86\x9f", 12,
           "and its last column is whole");
    binary_free(&binary);
}

static void check_json(const char *json, size_t size, const char *want, bool lossy,
                       const char *name)
{
    struct text target;
    bool was_lossy = false;
    text_init(&target);
    int failed = plain_json(&target, span_of(json, size), &was_lossy);
    ok(failed == 0 && target.failed == 0 && was_lossy == lossy, "%s: %s", name,
       lossy ? "replaced, and flagged" : "not flagged");
    is_str(text_string(&target), want, "%s: as wanted", name);
    text_free(&target);
}

static void test_json(void)
{
    char digits[3000];
    struct text target;
    bool lossy = false;
#define JSON(text) text, sizeof text - 1
    check_json(JSON("{\"a\": [1, -2.5e3, \"x\\n\\u00e4\"]}"),
               "{\"a\": [1, -2.5e3, \"x\\n\\u00e4\"]}", false, "what PostgreSQL takes");
    check_json(JSON("\"a\\u0000b\""), "\"a\\ufffdb\"", true, "an escaped NUL");
    check_json(JSON("\"a\\\\u0000b\""), "\"a\\\\u0000b\"", false, "a backslash before u0000");
    check_json(JSON("{\"\\u0000\":1}"), "{\"\\ufffd\":1}", true, "an escaped NUL in a key");
    check_json(JSON("\"\\ud83d\\ude00\""), "\"\\ud83d\\ude00\"", false, "a surrogate pair");
    check_json(JSON("\"\\ud83d\\ud83d\\ude00\""), "\"\\ufffd\\ud83d\\ude00\"", true,
               "a lone high surrogate before a pair");
    check_json(JSON("\"\\uDE00\""), "\"\\ufffd\"", true, "a lone low surrogate");
    check_json(JSON("\"\\ud83d\""), "\"\\ufffd\"", true, "a high surrogate at the end");
    check_json(JSON("\"a\xff\xc3\xa4\""), "\"a\xef\xbf\xbd\xc3\xa4\"", true,
               "a byte that is no UTF-8");
    check_json(JSON("[1e400,1e1000]"), "[1e400,1e1000]", false, "numbers that numeric holds");
    check_json(JSON("[1e999999,-1E-999999]"), "[\"1e999999\",\"-1E-999999\"]", true,
               "exponents that numeric does not hold");
    check_json(JSON("1e99999999999999999999999999"), "\"1e99999999999999999999999999\"", true,
               "an exponent that no integer holds");
    memset(digits, '7', sizeof digits);
    text_init(&target);
    is_int(plain_json(&target, span_of(digits, sizeof digits), &lossy), 0, "many digits pass");
    ok(lossy && target.size == sizeof digits + 2, "as a string of the same digits");
    memset(digits, '[', sizeof digits);
    text_clear(&target);
    is_int(plain_json(&target, span_of(digits, sizeof digits), &lossy), ERROR_TOO_LARGE,
           "nesting that would overrun the server's stack is refused");
    text_clear(&target);
    lossy = false;
    plain_text(&target, span_of("a\0b\xfe\xc3\xa4", 6), &lossy);
    ok(lossy, "text with NUL and a bad byte is flagged");
    is_str(text_string(&target),
           "a\xef\xbf\xbd"
           "b\xef\xbf\xbd\xc3\xa4",
           "and both are replaced");
    text_free(&target);
}

static void test_classes(void)
{
    static const struct {
        const char *sqlstate;
        enum pg_class class;
    } want[] = {
        { NULL, PG_RETRY },      { "08006", PG_RETRY },    { "57P01", PG_RETRY },
        { "53300", PG_RETRY },   { "40001", PG_RETRY },    { "40P01", PG_RETRY },
        { "55P03", PG_RETRY },   { "53100", PG_RETRY },    { "22P05", PG_ROW },
        { "22021", PG_ROW },     { "22003", PG_ROW },      { "23514", PG_ROW },
        { "54000", PG_ROW },     { "23505", PG_CONFLICT }, { "42P01", PG_SCHEMA },
        { "42703", PG_SCHEMA },  { "42501", PG_REFUSED },  { "28P01", PG_REFUSED },
        { "3D000", PG_REFUSED }, { "P0001", PG_ROW },      { "0A000", PG_BUG },
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        is_int(pg_class_of(want[i].sqlstate), want[i].class, "SQLSTATE %s means what it must",
               want[i].sqlstate != NULL ? want[i].sqlstate : "(none)");
    is_int(pg_code_of(PG_RETRY), ERROR_UNAVAILABLE, "what may go well later is UNAVAILABLE");
}

int main(void)
{
    test_rows();
    test_json();
    test_classes();
    return tap_done();
}
