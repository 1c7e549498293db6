#include "tools/config/toml_check.h"

#include "tools/config/toml.h"

enum place { OUTSIDE, COMMENT, BASIC, LITERAL, LONG_BASIC, LONG_LITERAL };

static bool is_triple(struct span text, size_t at, uint8_t quote)
{
    return text.size - at >= 3 && text.bytes[at] == quote && text.bytes[at + 1] == quote &&
           text.bytes[at + 2] == quote;
}

/* Where the text is after the bytes at *at, which moves behind them. */
static enum place step(enum place place, struct span text, size_t *at)
{
    uint8_t byte = text.bytes[*at];
    bool is_long = place == LONG_BASIC || place == LONG_LITERAL;
    uint8_t quote = place == LITERAL || place == LONG_LITERAL ? '\'' : '"';
    if (place == OUTSIDE && (byte == '"' || byte == '\'')) {
        bool triple = is_triple(text, *at, byte);
        *at += triple ? 3 : 1;
        if (byte == '"')
            return triple ? LONG_BASIC : BASIC;
        return triple ? LONG_LITERAL : LITERAL;
    }
    *at += 1;
    if (byte == '\n')
        return is_long ? place : OUTSIDE; /* the library sees to strings that do not end */
    if (place == OUTSIDE)
        return byte == '#' ? COMMENT : OUTSIDE;
    if (place == COMMENT)
        return COMMENT;
    if (byte == '\\' && quote == '"' && *at < text.size && text.bytes[*at] != '\n')
        *at += 1;
    if (byte != quote)
        return place;
    if (!is_long)
        return OUTSIDE;
    if (!is_triple(text, *at - 1, quote))
        return place;
    *at += 2;
    return OUTSIDE;
}

int toml_check(const char *name, struct span text, struct error *error)
{
    enum place place = OUTSIDE;
    unsigned line = 1;
    size_t line_start = 0;
    if (text.size > TOML_SIZE_MAX)
        return error_set(error, ERROR_TOO_LARGE, "%s:1: a file of more than %u KiB", name,
                         TOML_SIZE_MAX >> 10);
    size_t begin = text.size >= 3 && memcmp(text.bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    for (size_t at = begin; at < text.size;) { /* a byte order mark is fine */
        if (place == OUTSIDE && text.bytes[at] >= 0x80)
            return error_set(error, ERROR_SYNTAX,
                             "%s:%u: a character beyond ASCII outside quotes (column %zu)", name,
                             line, at - line_start + 1);
        if (text.bytes[at] == '\n') {
            line++;
            line_start = at + 1;
        }
        place = step(place, text, &at);
        if (at > line_start && at - line_start > TOML_LINE_SIZE_MAX)
            return error_set(error, ERROR_TOO_LARGE, "%s:%u: a line of more than %u bytes", name,
                             line, TOML_LINE_SIZE_MAX);
    }
    return 0;
}
