#include "pgsync/binary.h"

#include "core/base/check.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_CAPACITY 4096u
#define JSONB_VERSION 1

/* PostgreSQL counts from 2000-01-01. */
static const int64_t epoch_offset_us = INT64_C(946684800000000);

void binary_init(struct binary *binary)
{
    *binary = (struct binary){ 0 };
}

void binary_free(struct binary *binary)
{
    free(binary->bytes);
    binary_init(binary);
}

void binary_clear(struct binary *binary)
{
    binary->size = 0;
    binary->failed = 0;
}

struct span binary_span(const struct binary *binary)
{
    return span_of(binary->bytes, binary->size);
}

static uint8_t *grow(struct binary *binary, size_t size)
{
    if (binary->failed != 0)
        return NULL;
    if (binary->capacity - binary->size < size) {
        size_t capacity = binary->capacity == 0 ? FIRST_CAPACITY : binary->capacity;
        while (capacity - binary->size < size)
            capacity *= 2;
        uint8_t *bytes = realloc(binary->bytes, capacity);
        if (bytes == NULL) {
            binary->failed = -ENOMEM;
            return NULL;
        }
        binary->bytes = bytes;
        binary->capacity = capacity;
    }
    uint8_t *room = binary->bytes + binary->size;
    binary->size += size;
    return room;
}

static void put_u16(uint8_t *target, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(target, &value, sizeof value);
}

static void put_u32(uint8_t *target, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(target, &value, sizeof value);
}

static void put_u64(uint8_t *target, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(target, &value, sizeof value);
}

/* A column of `size` bytes: its length, and room for it. */
static uint8_t *column(struct binary *binary, size_t size)
{
    CHECK(size <= INT32_MAX);
    uint8_t *room = grow(binary, 4 + size);
    if (room == NULL)
        return NULL;
    put_u32(room, (uint32_t)size);
    return room + 4;
}

void binary_header(struct binary *binary)
{
    static const uint8_t header[19] = "PGCOPY\n\377\r\n"; /* NUL, flags and extension are zero */
    uint8_t *room = grow(binary, sizeof header);
    if (room != NULL)
        memcpy(room, header, sizeof header);
}

void binary_trailer(struct binary *binary)
{
    binary_row(binary, -1);
}

void binary_row(struct binary *binary, int16_t columns)
{
    uint8_t *room = grow(binary, 2);
    if (room != NULL)
        put_u16(room, (uint16_t)columns);
}

void binary_null(struct binary *binary)
{
    uint8_t *room = grow(binary, 4);
    if (room != NULL)
        put_u32(room, UINT32_MAX);
}

void binary_bool(struct binary *binary, bool value)
{
    uint8_t *room = column(binary, 1);
    if (room != NULL)
        room[0] = value;
}

void binary_integer(struct binary *binary, int32_t value)
{
    uint8_t *room = column(binary, 4);
    if (room != NULL)
        put_u32(room, (uint32_t)value);
}

void binary_bigint(struct binary *binary, int64_t value)
{
    uint8_t *room = column(binary, 8);
    if (room != NULL)
        put_u64(room, (uint64_t)value);
}

void binary_uuid(struct binary *binary, const uint8_t uuid[UUID_SIZE])
{
    binary_bytes(binary, span_of(uuid, UUID_SIZE));
}

uint8_t *binary_bytes_room(struct binary *binary, size_t size)
{
    return column(binary, size);
}

void binary_bytes(struct binary *binary, struct span bytes)
{
    uint8_t *room = column(binary, bytes.size);
    if (room != NULL && bytes.size > 0)
        memcpy(room, bytes.bytes, bytes.size);
}

void binary_text(struct binary *binary, const char *text)
{
    if (text == NULL)
        binary_null(binary);
    else
        binary_bytes(binary, span_of_text(text));
}

void binary_jsonb(struct binary *binary, struct span json)
{
    uint8_t *room = column(binary, 1 + json.size);
    if (room == NULL)
        return;
    room[0] = JSONB_VERSION;
    memcpy(room + 1, json.bytes, json.size);
}

void binary_time(struct binary *binary, uint64_t time_ns)
{
    binary_bigint(binary, (int64_t)(time_ns / 1000) - epoch_offset_us);
}
