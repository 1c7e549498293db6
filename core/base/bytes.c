#include "core/base/bytes.h"

bool bytes_are_zero(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    /* A run of zeros equals itself moved by one: memcmp does the vector work. */
    return size == 0 || (at[0] == 0 && memcmp(at, at + 1, size - 1) == 0);
}

void bytes_to_hex(char *target, const void *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++) {
        target[2 * i] = digits[at[i] >> 4];
        target[2 * i + 1] = digits[at[i] & 15];
    }
    target[2 * size] = '\0';
}

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

bool bytes_from_hex(void *target, size_t size, const char *text, size_t text_size)
{
    uint8_t *at = target;
    if (text_size != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        at[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
