/* Rows in the form of COPY ... WITH (FORMAT binary): a header, rows of columns, a trailer; all
 * integers big-endian. Pure.
 *
 * A row is binary_row() with the number of its columns, then exactly so many columns. The first
 * failure to get memory is kept in `failed` and everything after it does nothing: write the rows,
 * then check once.
 *
 * Threads: a binary belongs to one thread at a time. */
#ifndef PGSYNC_BINARY_H
#define PGSYNC_BINARY_H

#include "core/base/id.h"
#include "core/base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct binary {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    int failed; /* 0 or -ENOMEM */
};

void binary_init(struct binary *binary);
void binary_free(struct binary *binary);
void binary_clear(struct binary *binary); /* keeps the memory */
struct span binary_span(const struct binary *binary);

void binary_header(struct binary *binary);
void binary_trailer(struct binary *binary);
void binary_row(struct binary *binary, int16_t columns);

void binary_null(struct binary *binary);
void binary_bool(struct binary *binary, bool value);
void binary_integer(struct binary *binary, int32_t value); /* integer */
void binary_bigint(struct binary *binary, int64_t value);  /* bigint */
void binary_uuid(struct binary *binary, const uint8_t uuid[UUID_SIZE]);
void binary_bytes(struct binary *binary, struct span bytes); /* bytea, text */
void binary_text(struct binary *binary, const char *text);   /* NULL: null */
void binary_jsonb(struct binary *binary, struct span json);
/* timestamptz of nanoseconds since 1970, cut to microseconds. */
void binary_time(struct binary *binary, uint64_t time_ns);

/* Room for a bytea of `size` bytes that the caller fills at once; NULL when failed. */
uint8_t *binary_bytes_room(struct binary *binary, size_t size);

#endif
