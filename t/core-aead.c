/* AES-256-GCM against the published test cases (McGrew and Viega, "The Galois/Counter Mode of
 * Operation", appendix B, cases 13, 14 and 16), and what a changed bit does. */
#include "core/base/aead.h"
#include "core/base/text.h"
#include "tap.h"

#include <string.h>

struct vector {
    const char *key, *nonce, *context, *plain, *cipher, *tag;
};

static const struct vector vectors[] = {
    { "0000000000000000000000000000000000000000000000000000000000000000",
      "000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b" },
    { "0000000000000000000000000000000000000000000000000000000000000000",
      "000000000000000000000000", "", "00000000000000000000000000000000",
      "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919" },
    { "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
      "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
      "76fc6ece0f4e1768cddf8853bb2d551b" },
};

static size_t from_hex(uint8_t *bytes, const char *hex)
{
    size_t size = strlen(hex) / 2;
    for (size_t i = 0; i < size; i++) {
        unsigned high = (unsigned)(hex[2 * i] <= '9' ? hex[2 * i] - '0' : hex[2 * i] - 'a' + 10);
        unsigned low =
            (unsigned)(hex[2 * i + 1] <= '9' ? hex[2 * i + 1] - '0' : hex[2 * i + 1] - 'a' + 10);
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return size;
}

static void published(const struct vector *vector, int number)
{
    uint8_t key[32], nonce[12], context[64], bytes[64], cipher[64], plain[64], tag[16], want[16];
    (void)from_hex(key, vector->key);
    (void)from_hex(nonce, vector->nonce);
    (void)from_hex(want, vector->tag);
    struct span with = span_of(context, from_hex(context, vector->context));
    size_t size = from_hex(bytes, vector->plain);
    (void)from_hex(plain, vector->plain);
    (void)from_hex(cipher, vector->cipher);
    aead_encrypt(key, nonce, with, bytes, size, tag);
    ok(memcmp(bytes, cipher, size) == 0 && memcmp(tag, want, sizeof tag) == 0,
       "published case %d: the bytes and the tag are those", number);
    ok(aead_decrypt(key, nonce, with, bytes, size, tag) && memcmp(bytes, plain, size) == 0,
       "and they are decrypted again");
}

/* Flips each bit of one of the five parts. How often that goes unnoticed. */
static unsigned unnoticed(uint8_t *part, size_t size, uint8_t (*all)[64], struct span context)
{
    unsigned count = 0;
    uint8_t copy[20];
    for (size_t bit = 0; bit < size * 8; bit++) {
        part[bit / 8] ^= (uint8_t)(1u << bit % 8);
        memcpy(copy, all[2], sizeof copy);
        count += aead_decrypt(all[0], all[1], context, copy, sizeof copy, all[3]);
        part[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    return count;
}

static void changed_bits(void)
{
    uint8_t all[5][64];
    for (int i = 0; i < 5; i++)
        memset(all[i], i * 17 + 3, sizeof all[i]);
    struct span context = span_of(all[4], 9);
    aead_encrypt(all[0], all[1], context, all[2], 20, all[3]);
    is_int(unnoticed(all[0], AEAD_KEY_SIZE, all, context), 0, "any bit of the key matters");
    is_int(unnoticed(all[1], AEAD_NONCE_SIZE, all, context), 0, "of the nonce");
    is_int(unnoticed(all[2], 20, all, context), 0, "of the bytes");
    is_int(unnoticed(all[3], AEAD_TAG_SIZE, all, context), 0, "of the tag");
    is_int(unnoticed(all[4], 9, all, context), 0, "and of the context");
    ok(aead_decrypt(all[0], all[1], context, all[2], 20, all[3]), "and with none changed it fits");
}

int main(void)
{
    for (int i = 0; i < 3; i++)
        published(&vectors[i], i == 2 ? 16 : 13 + i);
    changed_bits();
    return tap_done();
}
