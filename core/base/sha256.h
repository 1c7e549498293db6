/* SHA-256 (FIPS 180-4), by nettle; of several messages at once, by instructions of the processor
 * where it has them. Threads: any. */
#ifndef CORE_BASE_SHA256_H
#define CORE_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32

/* Opaque room for nettle's state, so that no header needs nettle. */
struct sha256 {
    uint64_t state[16];
};

void sha256_init(struct sha256 *sha256);
void sha256_more(struct sha256 *sha256, const void *bytes, size_t size);
void sha256_end(struct sha256 *sha256, uint8_t digest[SHA256_SIZE]);

/* All three at once. */
void sha256_of(uint8_t digest[SHA256_SIZE], const void *bytes, size_t size);

struct sha256_message {
    const void *bytes;
    size_t size;
    uint8_t digest[SHA256_SIZE]; /* is filled in */
};

/* Hashes each: two at a time where the processor can, nearly twice as fast as one after the other.
 */
void sha256_many(struct sha256_message *messages, size_t count);

#endif
