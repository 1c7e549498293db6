/* A growing piece of text, and JSON written into it.
 *
 * The first failure (no memory, budget, over `size_max`) is kept in `failed` and everything after
 * it does nothing: write the whole, then check once. Commas are put by text_json_*; the caller
 * only opens and closes what it nests, and puts what it likes between two roots ("\n").
 *
 * Memory comes from realloc and is bounded by `size_max`; whoever keeps a text for long puts it on
 * the budget.
 *
 * Threads: a text belongs to one thread at a time. */
#ifndef CORE_BASE_TEXT_H
#define CORE_BASE_TEXT_H

#include "core/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct text {
    char *bytes; /* terminated whenever size > 0 */
    size_t size;
    size_t capacity;
    size_t size_max; /* bytes; 0: 64 MiB */
    int failed;      /* 0, -ENOMEM or ERROR_TOO_LARGE */
    unsigned depth;  /* the writer's: objects and arrays that are open */
    bool comma;      /* the writer's: a comma is due before the next element */
};

#define TEXT_PRINTF(nth, first) __attribute__((format(printf, nth, first)))

void text_init(struct text *text);
void text_free(struct text *text);
void text_clear(struct text *text); /* keeps the memory and size_max, forgets a failure */
struct span text_span(const struct text *text);
const char *text_string(struct text *text); /* terminated; "" when empty or failed */

void text_add(struct text *text, const void *bytes, size_t size);
void text_add_string(struct text *text, const char *string);
void text_add_span(struct text *text, struct span span);
void text_printf(struct text *text, const char *format, ...) TEXT_PRINTF(2, 3);

/* Takes the bytes out (the caller frees them with free()); the text is empty afterwards. NULL if
 * failed or empty. */
char *text_take(struct text *text, size_t *size);

/* JSON. `key` is NULL inside an array or for the root. Strings that are not UTF-8 are written
 * with U+FFFD for each bad byte. */
void text_json_open_object(struct text *text, const char *key);
void text_json_close_object(struct text *text);
void text_json_open_array(struct text *text, const char *key);
void text_json_close_array(struct text *text);
void text_json_string(struct text *text, const char *key, struct span value);
void text_json_cstring(struct text *text, const char *key, const char *value); /* NULL: null */
void text_json_integer(struct text *text, const char *key, int64_t value);
void text_json_unsigned(struct text *text, const char *key, uint64_t value);
/* With the fewest digits that read back as the same number, always with a '.' or an exponent, so
 * that it stays a real; not-a-number and infinities are written as null. */
void text_json_real(struct text *text, const char *key, double value);
void text_json_bool(struct text *text, const char *key, bool value);
void text_json_null(struct text *text, const char *key);
/* `json` is JSON already and goes in as it is; empty is written as null. */
void text_json_raw(struct text *text, const char *key, struct span json);
/* RFC 3339 in UTC with nanoseconds: "2026-11-23T21:42:04.123456789Z". */
void text_json_time(struct text *text, const char *key, uint64_t time_ns);
/* Lower-case hexadecimal. */
void text_json_hex(struct text *text, const char *key, struct span bytes);

#endif
