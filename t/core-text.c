#include "tap.h"

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void growing(void)
{
    struct text text;
    size_t size;
    text_init(&text);
    is_str(text_string(&text), "", "a new text is empty");
    ok(text_take(&text, &size) == NULL && size == 0, "nothing can be taken out of it");
    for (int i = 0; i < 1000; i++)
        text_printf(&text, "%d,", i);
    is_int(text.size, 3890, "text_printf grows as needed");
    ok(strncmp(text_string(&text), "0,1,2,", 6) == 0, "and keeps what was there");
    is_str(text_string(&text) + 3882, "998,999,", "to the end");
    text_clear(&text);
    text_add_string(&text, "abc");
    text_add_span(&text, span_of("\0d", 2));
    ok(span_equal(text_span(&text), span_of("abc\0d", 5)), "a NUL is a byte like any other");
    char *taken = text_take(&text, &size);
    ok(size == 5 && memcmp(taken, "abc\0d", 6) == 0, "text_take gives the bytes, terminated");
    is_int(text.size, 0, "and leaves nothing behind");
    free(taken);
    text_free(&text);
}

static void failing(void)
{
    struct text text;
    text_init(&text);
    text.size_max = 10;
    text_add_string(&text, "1234567890");
    is_int(text.failed, 0, "exactly size_max bytes fit");
    text_printf(&text, "%d", 1);
    is_int(text.failed, ERROR_TOO_LARGE, "one more fails");
    text_add_string(&text, "");
    text_json_integer(&text, NULL, 1);
    is_int(text.size, 10, "and nothing is added afterwards");
    is_str(text_string(&text), "", "and no part is given out as the whole");
    size_t size;
    ok(text_take(&text, &size) == NULL, "nor taken");
    text_add_string(&text, "again");
    is_str(text_string(&text), "again", "after text_take it can be used again");
    text_free(&text);
    text_init(&text);
    text.size_max = 12;
    text_printf(&text, "%s", "123456789012345");
    is_int(text.failed, ERROR_TOO_LARGE, "a long text_printf fails as a whole");
    is_int(text.size, 0, "and adds no part of it");
    text_free(&text);
}

static void json_structure(void)
{
    struct text text;
    text_init(&text);
    text_json_open_object(&text, NULL);
    text_json_open_array(&text, "empty");
    text_json_close_array(&text);
    text_json_open_array(&text, "list");
    text_json_integer(&text, NULL, -1);
    text_json_open_object(&text, NULL);
    text_json_close_object(&text);
    text_json_null(&text, NULL);
    text_json_close_array(&text);
    text_json_bool(&text, "yes", true);
    text_json_bool(&text, "no", false);
    text_json_cstring(&text, "none", NULL);
    text_json_raw(&text, "raw", span_of_text("[1, 2]"));
    text_json_raw(&text, "nothing", span_of(NULL, 0));
    text_json_unsigned(&text, "most", UINT64_MAX);
    text_json_integer(&text, "least", INT64_MIN);
    text_json_hex(&text, "hex", span_of("\x01\xfe", 2));
    text_json_close_object(&text);
    is_str(text_string(&text),
           "{\"empty\":[],\"list\":[-1,{},null],\"yes\":true,\"no\":false,\"none\":null,"
           "\"raw\":[1, 2],\"nothing\":null,\"most\":18446744073709551615,"
           "\"least\":-9223372036854775808,\"hex\":\"01fe\"}",
           "commas stand between elements and nowhere else");
    text_clear(&text);
    for (int i = 0; i < 2; i++) {
        text_json_open_object(&text, NULL);
        text_json_integer(&text, "i", i);
        text_json_close_object(&text);
        text_add_string(&text, "\n");
    }
    text_json_integer(&text, NULL, 7);
    is_str(text_string(&text), "{\"i\":0}\n{\"i\":1}\n7", "roots may follow each other");
    text_free(&text);
}

static void json_strings(void)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *want;
    } cases[] = {
        { "", 0, "\"\"" },
        { "a\"b\\c/", 6, "\"a\\\"b\\\\c/\"" },
        { "\b\f\n\r\t\x01\x1f\x7f\0", 9, "\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\\u0000\"" },
        { "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"" },
        { "a\xff\xc3(", 4, "\"a\xef\xbf\xbd\xef\xbf\xbd(\"" },
        { "\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
        { "\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
    };
    struct text text;
    text_init(&text);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        text_clear(&text);
        text_json_string(&text, NULL, span_of(cases[i].bytes, cases[i].size));
        is_str(text_string(&text), cases[i].want, "string %zu is written as JSON", i);
    }
    text_clear(&text);
    text_json_open_object(&text, NULL);
    text_json_null(&text, "a\"b");
    text_json_close_object(&text);
    is_str(text_string(&text), "{\"a\\\"b\":null}", "keys are escaped too");
    text_free(&text);
}

static void json_numbers_and_times(void)
{
    static const struct {
        double value;
        const char *want;
    } reals[] = {
        { 0.1, "0.1" },
        { 1, "1.0" },
        { -0.0, "-0.0" },
        { 1e300, "1e+300" },
        { 1.0 / 3, "0.3333333333333333" },
        { 5e-324, "5e-324" },
        { NAN, "null" },
        { -INFINITY, "null" },
        { 123456789012.0, "123456789012.0" },
    };
    static const struct {
        uint64_t time_ns;
        const char *want;
    } times[] = {
        { 0, "\"1970-01-01T00:00:00.000000000Z\"" },
        { 951782399999999999ull, "\"2000-02-28T23:59:59.999999999Z\"" },
        { 951868800000000000ull, "\"2000-03-01T00:00:00.000000000Z\"" },
        { 1709164800000000001ull, "\"2024-02-29T00:00:00.000000001Z\"" },
        { 1795470124123456789ull, "\"2026-11-23T21:42:04.123456789Z\"" },
        { 4107542400000000000ull, "\"2100-03-01T00:00:00.000000000Z\"" },
        { UINT64_MAX, "\"2554-07-21T23:34:33.709551615Z\"" },
    };
    struct text text;
    text_init(&text);
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        text_clear(&text);
        text_json_real(&text, NULL, reals[i].value);
        is_str(text_string(&text), reals[i].want, "a real is written as %s", reals[i].want);
    }
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        text_clear(&text);
        text_json_time(&text, NULL, times[i].time_ns);
        is_str(text_string(&text), times[i].want, "a time is written as %s", times[i].want);
    }
    text_free(&text);
}

static void utf8(void)
{
    static const char *const good[] = { "",
                                        "a",
                                        "\x7f",
                                        "\xc2\x80",
                                        "\xdf\xbf",
                                        "\xe0\xa0\x80",
                                        "\xed\x9f\xbf",
                                        "\xee\x80\x80",
                                        "\xf0\x90\x80\x80",
                                        "\xf4\x8f\xbf\xbf",
                                        "eight by\xc3\xa4" };
    static const char *const bad[] = { "\x80",
                                       "\xc0\x80",
                                       "\xc1\xbf",
                                       "\xc2",
                                       "\xe0\x9f\xbf",
                                       "\xed\xa0\x80",
                                       "\xe2\x82",
                                       "\xf0\x8f\xbf\xbf",
                                       "\xf4\x90\x80\x80",
                                       "\xf5\x80\x80\x80",
                                       "eight by\xc3",
                                       "\xff" };
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        wrong += !utf8_is_valid(span_of_text(good[i]));
    is_int(wrong, 0, "the edges of UTF-8 are valid");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        wrong += utf8_is_valid(span_of_text(bad[i]));
    is_int(wrong, 0, "what lies just beyond them is not");
    for (uint32_t point = 0; point <= 0x10ffff; point++) {
        uint8_t bytes[4];
        if (point == 0xd800)
            point = 0xe000;
        size_t size = utf8_put(bytes, point);
        wrong += utf8_character(bytes, 4) != size && utf8_character(bytes, size) != size;
    }
    is_int(wrong, 0, "every code point that is put is a valid character");
}

int main(void)
{
    growing();
    failing();
    json_structure();
    json_strings();
    json_numbers_and_times();
    utf8();
    return tap_done();
}
