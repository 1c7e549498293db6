#include "core/base/ed25519.h"

#include <nettle/base64.h>
#include <nettle/eddsa.h>

#include <stdio.h>
#include <string.h>

void ed25519_public_key(uint8_t public_key[ED25519_KEY_SIZE],
                        const uint8_t private_key[ED25519_KEY_SIZE])
{
    ed25519_sha512_public_key(public_key, private_key);
}

void ed25519_sign(uint8_t signature[ED25519_SIGNATURE_SIZE],
                  const uint8_t public_key[ED25519_KEY_SIZE],
                  const uint8_t private_key[ED25519_KEY_SIZE], struct span message)
{
    ed25519_sha512_sign(public_key, private_key, message.size, message.bytes, signature);
}

bool ed25519_verify(const uint8_t signature[ED25519_SIGNATURE_SIZE],
                    const uint8_t public_key[ED25519_KEY_SIZE], struct span message)
{
    return ed25519_sha512_verify(public_key, message.size, message.bytes, signature) == 1;
}

/*--- PEM ---------------------------------------------------------------------------------------*/

/* What stands before the key in DER (RFC 8410, sections 4 and 7): it never differs. */
struct wrapping {
    const char *label;
    uint8_t prefix[16];
    size_t prefix_size;
};

static const struct wrapping public_wrapping = {
    "PUBLIC KEY", { 0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00 }, 12
};
static const struct wrapping private_wrapping = { "PRIVATE KEY",
                                                  { 0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                                    0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
                                                    0x20 },
                                                  16 };

static void to_pem(char pem[ED25519_PEM_SIZE], const struct wrapping *wrapping,
                   const uint8_t key[ED25519_KEY_SIZE])
{
    uint8_t der[sizeof wrapping->prefix + ED25519_KEY_SIZE];
    char base64[BASE64_ENCODE_RAW_LENGTH(sizeof der) + 1] = { 0 };
    memcpy(der, wrapping->prefix, wrapping->prefix_size);
    memcpy(der + wrapping->prefix_size, key, ED25519_KEY_SIZE);
    base64_encode_raw(base64, wrapping->prefix_size + ED25519_KEY_SIZE, der);
    snprintf(pem, ED25519_PEM_SIZE, "-----BEGIN %s-----\n%s\n-----END %s-----\n", wrapping->label,
             base64, wrapping->label);
}

/* One form only, so it is enough to make it again and compare. */
static bool from_pem(uint8_t key[ED25519_KEY_SIZE], const struct wrapping *wrapping,
                     struct span pem)
{
    struct base64_decode_ctx decoding;
    uint8_t der[BASE64_DECODE_LENGTH(ED25519_PEM_SIZE)];
    char again[ED25519_PEM_SIZE];
    size_t size = sizeof der, head = strlen(wrapping->label) + sizeof "-----BEGIN -----";
    for (; pem.size > 0 && strchr(" \t\r\n", pem.bytes[pem.size - 1]) != NULL; pem.size--)
        ;
    size_t tail = strlen(wrapping->label) + sizeof "\n-----END -----" - 1;
    if (pem.size <= head + tail || pem.size >= ED25519_PEM_SIZE)
        return false;
    base64_decode_init(&decoding);
    if (!base64_decode_update(&decoding, &size, der, pem.size - head - tail,
                              (const char *)pem.bytes + head) ||
        !base64_decode_final(&decoding) || size != wrapping->prefix_size + ED25519_KEY_SIZE)
        return false;
    memcpy(key, der + wrapping->prefix_size, ED25519_KEY_SIZE);
    to_pem(again, wrapping, key);
    return span_equal(pem, span_of(again, strlen(again) - 1));
}

void ed25519_public_to_pem(char pem[ED25519_PEM_SIZE], const uint8_t key[ED25519_KEY_SIZE])
{
    to_pem(pem, &public_wrapping, key);
}

void ed25519_private_to_pem(char pem[ED25519_PEM_SIZE], const uint8_t key[ED25519_KEY_SIZE])
{
    to_pem(pem, &private_wrapping, key);
}

bool ed25519_public_from_pem(uint8_t key[ED25519_KEY_SIZE], struct span pem)
{
    return from_pem(key, &public_wrapping, pem);
}

bool ed25519_private_from_pem(uint8_t key[ED25519_KEY_SIZE], struct span pem)
{
    return from_pem(key, &private_wrapping, pem);
}
