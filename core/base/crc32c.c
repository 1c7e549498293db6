#include "core/base/crc32c.h"

#include "core/base/check.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <string.h>
#ifdef __x86_64__
#include <nmmintrin.h>
#endif

#ifdef __x86_64__
/* Below this many bytes the instruction alone is faster than ISA-L, which folds wide vectors and
 * takes as long for four bytes as for four hundred: and a record's CRC has a part of four. */
enum { SMALL = 256 };

__attribute__((target("sse4.2"), noinline)) static uint32_t
more_of_few(uint32_t crc, const uint8_t *bytes, size_t size)
{
    uint64_t sum = ~crc;
    for (; size >= 8; size -= 8, bytes += 8) {
        uint64_t eight;
        memcpy(&eight, bytes, 8);
        sum = _mm_crc32_u64(sum, eight);
    }
    for (; size > 0; size--, bytes++)
        sum = _mm_crc32_u8((uint32_t)sum, *bytes);
    return ~(uint32_t)sum;
}
#endif

uint32_t crc32c(const void *bytes, size_t size)
{
    return crc32c_more(0, bytes, size);
}

uint32_t crc32c_more(uint32_t crc, const void *bytes, size_t size)
{
    CHECK(size <= INT_MAX);
    if (size == 0)
        return crc;
#ifdef __x86_64__
    if (size < SMALL && __builtin_cpu_supports("sse4.2"))
        return more_of_few(crc, bytes, size);
#endif
    /* ISA-L wants the register, not the CRC, and a pointer that is not const. */
    union {
        const void *constant;
        unsigned char *plain;
    } source = { bytes };
    return ~crc32_iscsi(source.plain, (int)size, ~crc);
}
