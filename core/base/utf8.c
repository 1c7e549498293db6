#include "core/base/utf8.h"

#include "core/base/bytes.h"
#include "core/base/check.h"

static bool follows(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

size_t utf8_character(const uint8_t *at, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t first = at[0];
    if (first < 0x80)
        return 1;
    if (first < 0xc2)
        return 0; /* a continuation, or a longer form than needed */
    if (first < 0xe0)
        return size >= 2 && follows(at[1]) ? 2 : 0;
    if (first < 0xf0) {
        if (size < 3 || !follows(at[1]) || !follows(at[2]))
            return 0;
        if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f))
            return 0;
        return 3;
    }
    if (first > 0xf4 || size < 4 || !follows(at[1]) || !follows(at[2]) || !follows(at[3]))
        return 0;
    if ((first == 0xf0 && at[1] < 0x90) || (first == 0xf4 && at[1] > 0x8f))
        return 0;
    return 4;
}

bool utf8_is_valid(struct span text)
{
    size_t at = 0;
    while (at < text.size) {
        if (text.size - at >= 8 && (bytes_get_u64(text.bytes + at) & 0x8080808080808080ull) == 0) {
            at += 8;
            continue;
        }
        size_t size = utf8_character(text.bytes + at, text.size - at);
        if (size == 0)
            return false;
        at += size;
    }
    return true;
}

size_t utf8_put(uint8_t *target, uint32_t code_point)
{
    CHECK(code_point <= 0x10ffff);
    CHECK(code_point < 0xd800 || code_point > 0xdfff);
    if (code_point < 0x80) {
        target[0] = (uint8_t)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        target[0] = (uint8_t)(0xc0 | code_point >> 6);
        target[1] = (uint8_t)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point < 0x10000) {
        target[0] = (uint8_t)(0xe0 | code_point >> 12);
        target[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
        target[2] = (uint8_t)(0x80 | (code_point & 0x3f));
        return 3;
    }
    target[0] = (uint8_t)(0xf0 | code_point >> 18);
    target[1] = (uint8_t)(0x80 | (code_point >> 12 & 0x3f));
    target[2] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
    target[3] = (uint8_t)(0x80 | (code_point & 0x3f));
    return 4;
}
