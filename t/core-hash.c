/* CRC-32C and SHA-256 against the published vectors. */
#include "tap.h"

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/sha256.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* In memory of its own, so that ASan sees a byte too many that is read. */
static struct sha256_message message_of(size_t size)
{
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    if (bytes == NULL)
        tap_bail_out("out of memory");
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)lrand48();
    return (struct sha256_message){ .bytes = bytes, .size = size };
}

/* How many are hashed wrongly together; frees their bytes. */
static unsigned wrong_of_many(struct sha256_message *messages, size_t count)
{
    uint8_t alone[SHA256_SIZE];
    unsigned wrong = 0;
    sha256_many(messages, count);
    for (size_t i = 0; i < count; i++) {
        sha256_of(alone, messages[i].bytes, messages[i].size);
        wrong += memcmp(messages[i].digest, alone, sizeof alone) != 0;
        free((void *)(uintptr_t)messages[i].bytes);
    }
    return wrong;
}

static void many(uint64_t seed)
{
    enum { SIZE_MAX_TOGETHER = 200, COUNT_MAX = 12 };
    struct sha256_message messages[COUNT_MAX];
    char abc[2 * SHA256_SIZE + 1], nothing[2 * SHA256_SIZE + 1];
    messages[0] = (struct sha256_message){ .bytes = "abc", .size = 3 };
    messages[1] = (struct sha256_message){ .bytes = NULL, .size = 0 };
    sha256_many(messages, 2);
    bytes_to_hex(abc, messages[0].digest, SHA256_SIZE);
    bytes_to_hex(nothing, messages[1].digest, SHA256_SIZE);
    is_str(abc, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
           "FIPS 180-4: one block beside another message");
    is_str(nothing, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
           "and nothing at all");

    unsigned wrong = 0;
    srand48((long)seed);
    for (size_t left = 0; left <= SIZE_MAX_TOGETHER; left++) {
        for (size_t right = 0; right <= SIZE_MAX_TOGETHER; right++) {
            messages[0] = message_of(left);
            messages[1] = message_of(right);
            wrong += wrong_of_many(messages, 2);
        }
    }
    is_int(wrong, 0, "two of any sizes up to 200 give what each gives alone");
    for (int i = 0; i < 2000; i++) {
        size_t count = (size_t)lrand48() % (COUNT_MAX + 1);
        for (size_t k = 0; k < count; k++)
            messages[k] = message_of((size_t)lrand48() % (1u << lrand48() % 15));
        wrong += wrong_of_many(messages, count);
    }
    is_int(wrong, 0, "and so do 0 to 12 of random sizes (seed %" PRIu64 ")", seed);
}

int main(int argc, char **argv)
{
    crc();
    sha();
    many(argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL));
    return tap_done();
}
