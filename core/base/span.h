/* Bytes that somebody else owns. The header of whoever gives one out says until when it is
 * valid; copy before keeping. A span is a value: pass it by value. */
#ifndef CORE_BASE_SPAN_H
#define CORE_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *bytes; /* may be NULL when size is 0 */
    size_t size;          /* bytes */
};

static inline struct span span_of(const void *bytes, size_t size)
{
    return (struct span){ (const uint8_t *)bytes, size };
}

static inline struct span span_of_text(const char *text)
{
    return span_of(text, strlen(text));
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.bytes, b.bytes, a.size) == 0);
}

static inline bool span_is(struct span span, const char *text)
{
    return span_equal(span, span_of_text(text));
}

#endif
