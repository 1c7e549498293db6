/* Little-endian integers in byte buffers, of any alignment. Threads: any. */
#ifndef CORE_BASE_BYTES_H
#define CORE_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a big-endian machine needs swaps here");

static inline void bytes_put_u16(uint8_t *target, uint16_t value)
{
    memcpy(target, &value, sizeof value);
}

static inline void bytes_put_u32(uint8_t *target, uint32_t value)
{
    memcpy(target, &value, sizeof value);
}

static inline void bytes_put_u64(uint8_t *target, uint64_t value)
{
    memcpy(target, &value, sizeof value);
}

static inline uint16_t bytes_get_u16(const uint8_t *source)
{
    uint16_t value;
    memcpy(&value, source, sizeof value);
    return value;
}

static inline uint32_t bytes_get_u32(const uint8_t *source)
{
    uint32_t value;
    memcpy(&value, source, sizeof value);
    return value;
}

static inline uint64_t bytes_get_u64(const uint8_t *source)
{
    uint64_t value;
    memcpy(&value, source, sizeof value);
    return value;
}

/* True if all `size` bytes are zero. */
bool bytes_are_zero(const void *bytes, size_t size);

/* Lower-case hexadecimal, terminated: `target` holds 2 * size + 1 characters. */
void bytes_to_hex(char *target, const void *bytes, size_t size);

/* Returns false unless `text` is exactly 2 * size hexadecimal digits. */
bool bytes_from_hex(void *target, size_t size, const char *text, size_t text_size);

#endif
