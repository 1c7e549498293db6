/* Ed25519 signatures (RFC 8032, section 5.1: the pure variant, no context), by nettle, and keys as
 * PEM (RFC 7468, RFC 8410), which openssl reads and writes. Threads: any. */
#ifndef CORE_BASE_ED25519_H
#define CORE_BASE_ED25519_H

#include "core/base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define ED25519_KEY_SIZE 32 /* of either half of a pair */
#define ED25519_SIGNATURE_SIZE 64

#define ED25519_PEM_SIZE 160 /* bytes that hold either half as PEM, terminated */

void ed25519_public_key(uint8_t public_key[ED25519_KEY_SIZE],
                        const uint8_t private_key[ED25519_KEY_SIZE]);
void ed25519_sign(uint8_t signature[ED25519_SIGNATURE_SIZE],
                  const uint8_t public_key[ED25519_KEY_SIZE],
                  const uint8_t private_key[ED25519_KEY_SIZE], struct span message);
bool ed25519_verify(const uint8_t signature[ED25519_SIGNATURE_SIZE],
                    const uint8_t public_key[ED25519_KEY_SIZE], struct span message);

void ed25519_public_to_pem(char pem[ED25519_PEM_SIZE], const uint8_t key[ED25519_KEY_SIZE]);
void ed25519_private_to_pem(char pem[ED25519_PEM_SIZE], const uint8_t key[ED25519_KEY_SIZE]);
/* False unless it is exactly one such key, with white space around it at most. */
bool ed25519_public_from_pem(uint8_t key[ED25519_KEY_SIZE], struct span pem);
bool ed25519_private_from_pem(uint8_t key[ED25519_KEY_SIZE], struct span pem);

#endif
