#include "core/base/sha256.h"

#include "core/base/sha256_lanes.h"

#include <nettle/sha2.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

/* nettle gives its functions our names by macro. */
#undef sha256_init

_Static_assert(sizeof(struct sha256) >= sizeof(struct sha256_ctx), "room for nettle's state");
_Static_assert(SHA256_SIZE == SHA256_DIGEST_SIZE, "the same hash");

#ifdef __x86_64__
/* ISA-L's CRC leaves the upper halves of the vector registers in use, and until they are cleared
 * the SHA instructions, which use the lower halves in the older encoding, wait for them: a hash
 * takes half as long again. Here and not there, since CRCs are many and small. */
__attribute__((target("avx"), noinline)) static void clear_upper_halves(void)
{
    _mm256_zeroupper();
}

static void ready_vectors(void)
{
    if (__builtin_cpu_supports("avx"))
        clear_upper_halves();
}
#else
static void ready_vectors(void)
{
}
#endif

static struct sha256_ctx *context(struct sha256 *sha256)
{
    return (struct sha256_ctx *)(void *)sha256->state;
}

void sha256_init(struct sha256 *sha256)
{
    nettle_sha256_init(context(sha256));
}

void sha256_more(struct sha256 *sha256, const void *bytes, size_t size)
{
    ready_vectors();
    nettle_sha256_update(context(sha256), size, bytes);
}

void sha256_end(struct sha256 *sha256, uint8_t digest[SHA256_SIZE])
{
    nettle_sha256_digest(context(sha256), SHA256_SIZE, digest);
}

void sha256_of(uint8_t digest[SHA256_SIZE], const void *bytes, size_t size)
{
    struct sha256 sha256;
    sha256_init(&sha256);
    sha256_more(&sha256, bytes, size);
    sha256_end(&sha256, digest);
}

void sha256_many(struct sha256_message *messages, size_t count)
{
    ready_vectors();
    if (sha256_lanes(messages, count))
        return;
    for (size_t i = 0; i < count; i++)
        sha256_of(messages[i].digest, messages[i].bytes, messages[i].size);
}
