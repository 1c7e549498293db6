#include "core/base/crc32c.h"

#include "core/base/check.h"

#include <isa-l/crc.h>
#include <limits.h>

uint32_t crc32c(const void *bytes, size_t size)
{
    return crc32c_more(0, bytes, size);
}

uint32_t crc32c_more(uint32_t crc, const void *bytes, size_t size)
{
    CHECK(size <= INT_MAX);
    if (size == 0)
        return crc;
    /* ISA-L wants the register, not the CRC, and a pointer that is not const. */
    union {
        const void *constant;
        unsigned char *plain;
    } source = { bytes };
    return ~crc32_iscsi(source.plain, (int)size, ~crc);
}
