#include "core/base/text.h"

#include "core/base/bytes.h"
#include "core/base/check.h"
#include "core/base/error.h"
#include "core/base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 256, SIZE_MAX_DEFAULT = 64 << 20 };

void text_init(struct text *text)
{
    *text = (struct text){ .bytes = NULL };
}

void text_free(struct text *text)
{
    free(text->bytes);
    text_init(text);
}

void text_clear(struct text *text)
{
    text->size = 0;
    text->failed = 0;
    text->depth = 0;
    text->comma = false;
}

struct span text_span(const struct text *text)
{
    return span_of(text->bytes, text->size);
}

const char *text_string(struct text *text)
{
    return text->failed != 0 || text->size == 0 ? "" : text->bytes;
}

/* Makes room for `size` more bytes and the terminator; false when that fails. */
static bool grow(struct text *text, size_t size)
{
    size_t limit = text->size_max != 0 ? text->size_max : SIZE_MAX_DEFAULT;
    if (text->failed != 0)
        return false;
    if (size > limit || text->size > limit - size) {
        text->failed = ERROR_TOO_LARGE;
        return false;
    }
    size_t needed = text->size + size + 1;
    if (needed <= text->capacity)
        return true;
    size_t capacity = text->capacity < CAPACITY_MIN ? CAPACITY_MIN : text->capacity * 2;
    if (capacity < needed)
        capacity = needed;
    char *bytes = realloc(text->bytes, capacity);
    if (bytes == NULL) {
        text->failed = -ENOMEM;
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

void text_add(struct text *text, const void *bytes, size_t size)
{
    if (size == 0 || !grow(text, size))
        return;
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
    text->bytes[text->size] = '\0';
}

void text_add_string(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_add_span(struct text *text, struct span span)
{
    text_add(text, span.bytes, span.size);
}

void text_printf(struct text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    size_t room = text->failed != 0 ? 0 : text->capacity - text->size;
    int size = vsnprintf(room > 0 ? text->bytes + text->size : NULL, room, format, arguments);
    va_end(arguments);
    if (size < 0 && text->failed == 0)
        text->failed = -ENOMEM;
    if (size > 0 && grow(text, (size_t)size)) {
        if ((size_t)size >= room)
            (void)vsnprintf(text->bytes + text->size, (size_t)size + 1, format, again);
        text->size += (size_t)size;
    } else if (room > 0) {
        text->bytes[text->size] = '\0'; /* what did not fit is not there at all */
    }
    va_end(again);
}

char *text_take(struct text *text, size_t *size)
{
    char *bytes = NULL;
    size_t size_max = text->size_max;
    *size = 0;
    if (text->failed == 0 && text->size > 0) {
        bytes = text->bytes;
        *size = text->size;
        text->bytes = NULL;
    }
    text_free(text);
    text->size_max = size_max;
    return bytes;
}

static void add_byte(struct text *text, char byte)
{
    if (!grow(text, 1))
        return;
    text->bytes[text->size++] = byte;
    text->bytes[text->size] = '\0';
}

static void add_escape(struct text *text, uint8_t byte)
{
    static const char letters[] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                    ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\' };
    static const char digits[] = "0123456789abcdef";
    char escape[6] = { '\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15] };
    if (byte < sizeof letters && letters[byte] != 0) {
        escape[1] = letters[byte];
        text_add(text, escape, 2);
    } else {
        text_add(text, escape, sizeof escape);
    }
}

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte != '"' && byte != '\\' && byte < 0x7f;
}

static void add_quoted(struct text *text, struct span value)
{
    size_t at = 0;
    add_byte(text, '"');
    while (at < value.size && text->failed == 0) {
        size_t from = at;
        while (at < value.size && is_plain(value.bytes[at]))
            at++;
        text_add(text, value.bytes + from, at - from);
        if (at == value.size)
            break;
        size_t size = utf8_character(value.bytes + at, value.size - at);
        if (size > 1)
            text_add(text, value.bytes + at, size);
        else if (size == 1)
            add_escape(text, value.bytes[at]);
        else
            text_add_string(text, "\xef\xbf\xbd");
        at += size > 0 ? size : 1;
    }
    add_byte(text, '"');
}

/* What stands before every value: the comma that is due, and the key. */
static void begin_value(struct text *text, const char *key)
{
    if (text->comma)
        add_byte(text, ',');
    if (key != NULL) {
        add_quoted(text, span_of_text(key));
        add_byte(text, ':');
    }
    text->comma = text->depth > 0;
}

static void open_nested(struct text *text, const char *key, char bracket)
{
    begin_value(text, key);
    add_byte(text, bracket);
    text->depth++;
    text->comma = false;
}

static void close_nested(struct text *text, char bracket)
{
    CHECK(text->depth > 0);
    add_byte(text, bracket);
    text->depth--;
    text->comma = text->depth > 0;
}

void text_json_open_object(struct text *text, const char *key)
{
    open_nested(text, key, '{');
}

void text_json_close_object(struct text *text)
{
    close_nested(text, '}');
}

void text_json_open_array(struct text *text, const char *key)
{
    open_nested(text, key, '[');
}

void text_json_close_array(struct text *text)
{
    close_nested(text, ']');
}

void text_json_string(struct text *text, const char *key, struct span value)
{
    begin_value(text, key);
    add_quoted(text, value);
}

void text_json_cstring(struct text *text, const char *key, const char *value)
{
    if (value == NULL)
        text_json_null(text, key);
    else
        text_json_string(text, key, span_of_text(value));
}

/* Decimal digits, at least `width`, in front of `end`; snprintf costs five times as much. */
static char *put_digits(char *end, uint64_t value, unsigned width)
{
    for (unsigned count = 0; value != 0 || count < width; count++) {
        *--end = (char)('0' + value % 10);
        value /= 10;
    }
    return end;
}

void text_json_integer(struct text *text, const char *key, int64_t value)
{
    char digits[24], *end = digits + sizeof digits;
    char *start = put_digits(end, value < 0 ? -(uint64_t)value : (uint64_t)value, 1);
    if (value < 0)
        *--start = '-';
    begin_value(text, key);
    text_add(text, start, (size_t)(end - start));
}

void text_json_unsigned(struct text *text, const char *key, uint64_t value)
{
    char digits[24], *end = digits + sizeof digits;
    char *start = put_digits(end, value, 1);
    begin_value(text, key);
    text_add(text, start, (size_t)(end - start));
}

void text_json_real(struct text *text, const char *key, double value)
{
    char digits[40];
    if (!isfinite(value)) {
        text_json_null(text, key);
        return;
    }
    begin_value(text, key);
    for (int precision = 1; precision <= 17; precision++) {
        (void)snprintf(digits, sizeof digits, "%.*g", precision, value);
        double again = strtod(digits, NULL);
        if (memcmp(&again, &value, sizeof value) == 0)
            break;
    }
    text_add_string(text, digits);
    if (strpbrk(digits, ".e") == NULL)
        text_add_string(text, ".0");
}

void text_json_bool(struct text *text, const char *key, bool value)
{
    begin_value(text, key);
    text_add_string(text, value ? "true" : "false");
}

void text_json_null(struct text *text, const char *key)
{
    begin_value(text, key);
    text_add_string(text, "null");
}

void text_json_raw(struct text *text, const char *key, struct span json)
{
    begin_value(text, key);
    text_add_span(text, json.size > 0 ? json : span_of_text("null"));
}

void text_json_time(struct text *text, const char *key, uint64_t time_ns)
{
    uint64_t seconds = time_ns / 1000000000u, nanoseconds = time_ns % 1000000000u;
    /* Days to a date, counting years from March so that the leap day is the last. */
    uint64_t days = seconds / 86400 + 719468;
    uint64_t era = days / 146097, day_of_era = days % 146097;
    uint64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t from_march = (5 * day_of_year + 2) / 153;
    uint64_t day = day_of_year - (153 * from_march + 2) / 5 + 1;
    uint64_t month = from_march < 10 ? from_march + 3 : from_march - 9;
    uint64_t year = era * 400 + year_of_era + (month <= 2 ? 1 : 0);
    const uint64_t parts[] = {
        year, month, day, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60, nanoseconds
    };
    static const char before[] = "\"--T::.";
    char buffer[40], *end = buffer + sizeof buffer, *start = end;
    *--start = '"';
    *--start = 'Z';
    for (size_t i = sizeof parts / sizeof parts[0]; i-- > 0;) {
        start = put_digits(start, parts[i], i == 0 ? 4 : i == 6 ? 9 : 2);
        *--start = before[i];
    }
    begin_value(text, key);
    text_add(text, start, (size_t)(end - start));
}

void text_json_hex(struct text *text, const char *key, struct span bytes)
{
    char hex[65];
    begin_value(text, key);
    add_byte(text, '"');
    for (size_t at = 0; at < bytes.size && text->failed == 0; at += 32) {
        size_t size = bytes.size - at < 32 ? bytes.size - at : 32;
        bytes_to_hex(hex, bytes.bytes + at, size);
        text_add(text, hex, 2 * size);
    }
    add_byte(text, '"');
}
