/* CRC-32C and SHA-256 against the published vectors. */
#include "tap.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/sha256.h"

#include <stdlib.h>
#include <string.h>

static void crc(void)
{
    uint8_t bytes[32];
    is_int(crc32c("123456789", 9), 0xe3069283, "the check value is right");
    is_int(crc32c("", 0), 0, "the CRC of nothing is 0");
    is_int(crc32c(NULL, 0), 0, "wherever it is");
    memset(bytes, 0, sizeof bytes);
    is_int(crc32c(bytes, 32), 0x8a9136aa, "RFC 3720: 32 bytes of zeros");
    memset(bytes, 0xff, sizeof bytes);
    is_int(crc32c(bytes, 32), 0x62a8ab43, "RFC 3720: 32 bytes of ones");
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    is_int(crc32c(bytes, 32), 0x46dd794e, "RFC 3720: 0 to 31");
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    is_int(crc32c(bytes, 32), 0x113fdb5c, "RFC 3720: 31 to 0");

    enum { SIZE = 5000, SMALL = 600 };
    static uint8_t large[SIZE + 8], odd[SMALL + 1];
    unsigned wrong = 0, wrong_small = 0;
    for (unsigned i = 0; i < sizeof large; i++)
        large[i] = (uint8_t)(i * 2654435761u >> 24);
    uint32_t slow = 0xffffffffu;
    for (unsigned i = 0; i < SIZE; i++) {
        slow ^= large[i];
        for (int bit = 0; bit < 8; bit++)
            slow = slow >> 1 ^ (slow & 1 ? 0x82f63b78u : 0);
        if (i < SMALL) {
            memcpy(odd + 1, large, i + 1);
            wrong_small += crc32c(odd + 1, i + 1) != (uint32_t)~slow;
            wrong_small += crc32c(large, i + 1) != (uint32_t)~slow;
        }
    }
    is_int(wrong_small, 0, "1 to 600 bytes give what the definition gives, wherever they are");
    is_int(crc32c(large, SIZE), ~slow, "and so do 5000");
    for (unsigned cut = 0; cut <= SIZE; cut += 13)
        wrong += crc32c_more(crc32c(large, cut), large + cut, SIZE - cut) != (uint32_t)~slow;
    is_int(wrong, 0, "and so do two parts, cut anywhere");
}

static void is_sha256(const void *bytes, size_t size, const char *want, const char *claim)
{
    uint8_t digest[SHA256_SIZE];
    char text[2 * SHA256_SIZE + 1];
    sha256_of(digest, bytes, size);
    bytes_to_hex(text, digest, sizeof digest);
    is_str(text, want, "%s", claim);
}

static void sha(void)
{
    is_sha256("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
              "FIPS 180-4: nothing");
    is_sha256("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
              "FIPS 180-4: one block");
    is_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
              "FIPS 180-4: two blocks");
    char *million = malloc(1000000);
    if (million == NULL)
        tap_bail_out("out of memory");
    memset(million, 'a', 1000000);
    is_sha256(million, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
              "FIPS 180-4: a million times a");

    struct sha256 hash;
    uint8_t whole[SHA256_SIZE], parts[SHA256_SIZE];
    unsigned wrong = 0;
    for (size_t cut = 0; cut <= 300; cut++) {
        sha256_of(whole, million, 300);
        sha256_init(&hash);
        sha256_more(&hash, million, cut);
        sha256_more(&hash, million + cut, 300 - cut);
        sha256_end(&hash, parts);
        wrong += memcmp(whole, parts, sizeof whole) != 0;
    }
    is_int(wrong, 0, "two parts give what the whole gives, cut anywhere");
    struct sha256 copy;
    sha256_init(&hash);
    sha256_more(&hash, "ab", 2);
    copy = hash;
    sha256_end(&copy, parts);
    sha256_more(&hash, "c", 1);
    sha256_end(&hash, parts);
    sha256_of(whole, "abc", 3);
    is_mem(parts, whole, sizeof whole, "a copied state may be ended while the first goes on");
    free(million);
}

int main(void)
{
    crc();
    sha();
    return tap_done();
}
