/* Ed25519 against RFC 8032, and keys as openssl writes them. */
#include "core/base/ed25519.h"

#include "core/base/bytes.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

/* RFC 8032, section 7.1: TEST 1 to 3. */
static const struct {
    const char *private_key, *public_key, *message, *signature;
} vectors[] = {
    { "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
      "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
      "b4"
      "6bd25bf5f0595bbe24655141438e7a100b" },
    { "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
      "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
      "1d"
      "8c387b2eaeb4302aeeb00d291612bb0c00" },
    { "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
      "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
      "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984d"
      "c6"
      "594a7c15e9716ed28dc027beceea1ec40a" },
};

static void test_vectors(void)
{
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint8_t private_key[32], public_key[32], wanted[32], message[2], signature[64], right[64];
        size_t size = strlen(vectors[i].message) / 2;
        (void)bytes_from_hex(private_key, 32, vectors[i].private_key, 64);
        (void)bytes_from_hex(wanted, 32, vectors[i].public_key, 64);
        (void)bytes_from_hex(message, size, vectors[i].message, 2 * size);
        (void)bytes_from_hex(right, 64, vectors[i].signature, 128);
        ed25519_public_key(public_key, private_key);
        is_mem(public_key, wanted, 32, "test %zu of the RFC: the public key", i + 1);
        ed25519_sign(signature, public_key, private_key, span_of(message, size));
        is_mem(signature, right, 64, "and the signature");
        ok(ed25519_verify(right, public_key, span_of(message, size)), "which holds");
        unsigned held = 0;
        for (size_t at = 0; at < 64; at++) {
            right[at] ^= 1;
            held += ed25519_verify(right, public_key, span_of(message, size));
            right[at] ^= 1;
        }
        is_int(held, 0, "and no other does");
        ok(!ed25519_verify(right, public_key, span_of("other", 5)), "nor for another message");
    }
}

static void test_pem(void)
{
    /* RFC 8410, section 10.1 and 10.3. */
    static const char public_pem[] =
        "-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        "-----END PUBLIC KEY-----\n";
    static const char private_pem[] =
        "-----BEGIN PRIVATE KEY-----\n"
        "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
        "-----END PRIVATE KEY-----\n";
    uint8_t private_key[32], public_key[32], derived[32];
    char text[ED25519_PEM_SIZE];
    ok(ed25519_public_from_pem(public_key, span_of_text(public_pem)), "a public key is read");
    ok(ed25519_private_from_pem(private_key, span_of_text(private_pem)), "and a private one");
    ed25519_public_key(derived, private_key);
    is_mem(derived, public_key, 32, "they are the pair of RFC 8410");
    ed25519_public_to_pem(text, public_key);
    is_str(text, public_pem, "and written as they were");
    ed25519_private_to_pem(text, private_key);
    is_str(text, private_pem, "both of them");
    ok(ed25519_public_from_pem(public_key, span_of(public_pem, sizeof public_pem - 2)),
       "the newline at the end may be missing");
    ok(!ed25519_public_from_pem(public_key, span_of_text(private_pem)) &&
           !ed25519_private_from_pem(private_key, span_of_text(public_pem)),
       "one is not the other");
    unsigned taken = 0;
    for (size_t size = 0; size < sizeof public_pem - 2; size++)
        taken += ed25519_public_from_pem(public_key, span_of(public_pem, size));
    for (size_t at = 0; at < sizeof public_pem - 2; at++) {
        char other[sizeof public_pem];
        memcpy(other, public_pem, sizeof other);
        other[at] = '!';
        taken += ed25519_public_from_pem(public_key, span_of_text(other));
    }
    is_int(taken, 0, "cut or changed anywhere it is none");
    ok(!ed25519_public_from_pem(public_key, span_of(NULL, 0)), "nor is nothing");
}

int main(void)
{
    test_vectors();
    test_pem();
    return tap_done();
}
