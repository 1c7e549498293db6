/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), by ISA-L. Threads: any. */
#ifndef CORE_BASE_CRC32C_H
#define CORE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc32c("123456789") is 0xe3069283. */
uint32_t crc32c(const void *bytes, size_t size);

/* The CRC of what `crc` covers followed by these bytes; the CRC of nothing is 0. */
uint32_t crc32c_more(uint32_t crc, const void *bytes, size_t size);

#endif
