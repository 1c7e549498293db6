/* AES-256-GCM (NIST SP 800-38D), by nettle: bytes that only a key makes readable, and that nobody
 * without it can change unnoticed. Pure. Threads: any. */
#ifndef CORE_BASE_AEAD_H
#define CORE_BASE_AEAD_H

#include "core/base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define AEAD_KEY_SIZE 32
#define AEAD_NONCE_SIZE 12 /* never the same for two messages of one key; random ones do for 2^32 */
#define AEAD_TAG_SIZE 16

/* Encrypts `size` bytes in place; `tag` vouches for them and for `context`, which is not in them.
 */
void aead_encrypt(const uint8_t key[AEAD_KEY_SIZE], const uint8_t nonce[AEAD_NONCE_SIZE],
                  struct span context, uint8_t *bytes, size_t size, uint8_t tag[AEAD_TAG_SIZE]);

/* Decrypts them again. False: another key, nonce, context or tag, or changed bytes; then they are
 * of no use. */
bool aead_decrypt(const uint8_t key[AEAD_KEY_SIZE], const uint8_t nonce[AEAD_NONCE_SIZE],
                  struct span context, uint8_t *bytes, size_t size,
                  const uint8_t tag[AEAD_TAG_SIZE]);

/* A nonce that is made of the message: HMAC-SHA256 over context and bytes, cut. For messages that
 * have to give the same bytes again; of two that differ it is the same once in 2^48 messages of a
 * key. */
void aead_synthetic_nonce(const uint8_t key[AEAD_KEY_SIZE], struct span context, struct span bytes,
                          uint8_t nonce[AEAD_NONCE_SIZE]);

#endif
