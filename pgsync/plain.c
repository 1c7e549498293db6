#include "pgsync/plain.h"

#include "core/base/error.h"
#include "core/base/utf8.h"

#include <stdint.h>

static const char replacement[] = "\xef\xbf\xbd";

/* Where we are in a piece of JSON; what lies before `kept` is in the target already. */
struct scan {
    struct text *target;
    struct span json;
    size_t at, kept;
    unsigned depth;
    bool lossy;
};

static void keep_up_to(struct scan *scan, size_t end)
{
    text_add(scan->target, scan->json.bytes + scan->kept, end - scan->kept);
}

/* Puts `text` in the place of the next `size` bytes. */
static void replace(struct scan *scan, size_t size, const char *text)
{
    keep_up_to(scan, scan->at);
    text_add_string(scan->target, text);
    scan->at += size;
    scan->kept = scan->at;
    scan->lossy = true;
}

/* The four digits of a \uXXXX at `at`, or -1. */
static int escape_value(const struct scan *scan, size_t at)
{
    int value = 0;
    if (scan->json.size - at < 6 || scan->json.bytes[at] != '\\' || scan->json.bytes[at + 1] != 'u')
        return -1;
    for (size_t i = at + 2; i < at + 6; i++) {
        uint8_t c = scan->json.bytes[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static void scan_escape(struct scan *scan)
{
    int value = escape_value(scan, scan->at);
    if (value < 0) {
        scan->at += scan->json.size - scan->at >= 2 ? 2 : 1;
        return;
    }
    bool high = value >= 0xd800 && value <= 0xdbff;
    bool low = value >= 0xdc00 && value <= 0xdfff;
    if (high && scan->json.size - scan->at >= 12) {
        int next = escape_value(scan, scan->at + 6);
        if (next >= 0xdc00 && next <= 0xdfff) {
            scan->at += 12;
            return;
        }
    }
    if (value == 0 || high || low)
        replace(scan, 6, "\\ufffd");
    else
        scan->at += 6;
}

/* From the opening quote to behind the closing one. */
static void scan_string(struct scan *scan)
{
    scan->at++;
    while (scan->at < scan->json.size) {
        const uint8_t *at = scan->json.bytes + scan->at;
        if (*at == '"') {
            scan->at++;
            return;
        }
        if (*at == '\\') {
            scan_escape(scan);
        } else if (*at < 0x80) {
            scan->at++;
        } else {
            size_t size = utf8_character(at, scan->json.size - scan->at);
            if (size == 0)
                replace(scan, 1, replacement);
            else if (size == 3 && memcmp(at, replacement, 3) == 0)
                replace(scan, 3, replacement); /* somebody before us lost something here */
            else
                scan->at += size;
        }
    }
}

static bool is_of_number(uint8_t c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* A number that `numeric` cannot hold becomes a string with its digits. */
static void scan_number(struct scan *scan)
{
    size_t end = scan->at, exponent = 0;
    bool in_exponent = false;
    for (; end < scan->json.size && is_of_number(scan->json.bytes[end]); end++) {
        uint8_t c = scan->json.bytes[end];
        if (c == 'e' || c == 'E')
            in_exponent = true;
        else if (in_exponent && c >= '0' && exponent <= PLAIN_EXPONENT_MAX)
            exponent = exponent * 10 + (c - '0');
    }
    size_t size = end - scan->at;
    if (size <= PLAIN_NUMBER_SIZE_MAX && exponent <= PLAIN_EXPONENT_MAX) {
        scan->at = end;
        return;
    }
    keep_up_to(scan, scan->at);
    text_add_string(scan->target, "\"");
    text_add(scan->target, scan->json.bytes + scan->at, size);
    text_add_string(scan->target, "\"");
    scan->at = scan->kept = end;
    scan->lossy = true;
}

int plain_json(struct text *target, struct span json, bool *lossy)
{
    struct scan scan = { .target = target, .json = json };
    while (scan.at < json.size) {
        uint8_t c = json.bytes[scan.at];
        if (c == '"') {
            scan_string(&scan);
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            scan_number(&scan);
        } else {
            if (c == '{' || c == '[')
                scan.depth++;
            else if (c == '}' || c == ']')
                scan.depth--;
            if (scan.depth > PLAIN_DEPTH_MAX)
                return ERROR_TOO_LARGE;
            scan.at++;
        }
    }
    keep_up_to(&scan, json.size);
    *lossy = *lossy || scan.lossy;
    return 0;
}

void plain_text(struct text *target, struct span text, bool *lossy)
{
    size_t kept = 0, at = 0;
    while (at < text.size) {
        size_t size = text.bytes[at] == 0 ? 0 : utf8_character(text.bytes + at, text.size - at);
        if (size > 0) {
            at += size;
            continue;
        }
        text_add(target, text.bytes + kept, at - kept);
        text_add_string(target, replacement);
        kept = ++at;
        *lossy = true;
    }
    text_add(target, text.bytes + kept, at - kept);
}
