#include "core/base/aead.h"

#include <nettle/gcm.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <string.h>

_Static_assert(AEAD_KEY_SIZE == AES256_KEY_SIZE, "the same cipher");
_Static_assert(AEAD_NONCE_SIZE == GCM_IV_SIZE, "the nonce that GCM takes as it is");
_Static_assert(AEAD_TAG_SIZE == GCM_DIGEST_SIZE, "the whole tag");

static void begin(struct gcm_aes256_ctx *cipher, const uint8_t *key, const uint8_t *nonce,
                  struct span context)
{
    gcm_aes256_set_key(cipher, key);
    gcm_aes256_set_iv(cipher, AEAD_NONCE_SIZE, nonce);
    gcm_aes256_update(cipher, context.size, context.bytes);
}

void aead_encrypt(const uint8_t key[AEAD_KEY_SIZE], const uint8_t nonce[AEAD_NONCE_SIZE],
                  struct span context, uint8_t *bytes, size_t size, uint8_t tag[AEAD_TAG_SIZE])
{
    struct gcm_aes256_ctx cipher;
    begin(&cipher, key, nonce, context);
    gcm_aes256_encrypt(&cipher, size, bytes, bytes);
    gcm_aes256_digest(&cipher, AEAD_TAG_SIZE, tag);
    explicit_bzero(&cipher, sizeof cipher);
}

bool aead_decrypt(const uint8_t key[AEAD_KEY_SIZE], const uint8_t nonce[AEAD_NONCE_SIZE],
                  struct span context, uint8_t *bytes, size_t size,
                  const uint8_t tag[AEAD_TAG_SIZE])
{
    struct gcm_aes256_ctx cipher;
    uint8_t is[AEAD_TAG_SIZE];
    begin(&cipher, key, nonce, context);
    gcm_aes256_decrypt(&cipher, size, bytes, bytes);
    gcm_aes256_digest(&cipher, AEAD_TAG_SIZE, is);
    explicit_bzero(&cipher, sizeof cipher);
    return memeql_sec(is, tag, AEAD_TAG_SIZE);
}

void aead_synthetic_nonce(const uint8_t key[AEAD_KEY_SIZE], struct span context, struct span bytes,
                          uint8_t nonce[AEAD_NONCE_SIZE])
{
    struct hmac_sha256_ctx hmac;
    hmac_sha256_set_key(&hmac, AEAD_KEY_SIZE, key);
    hmac_sha256_update(&hmac, context.size, context.bytes);
    hmac_sha256_update(&hmac, bytes.size, bytes.bytes);
    hmac_sha256_digest(&hmac, AEAD_NONCE_SIZE, nonce);
    explicit_bzero(&hmac, sizeof hmac);
}
