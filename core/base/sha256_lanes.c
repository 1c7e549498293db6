#include "core/base/sha256_lanes.h"

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <string.h>

#define SHA_NI __attribute__((target("sha,sse4.1")))
#define SHA_NI_INLINE static inline __attribute__((always_inline, target("sha,sse4.1")))

enum { BLOCK = 64, WORDS = 64 };

/* FIPS 180-4, 4.2.2 and 5.3.3. */
static const uint32_t constants[WORDS] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
static const uint32_t beginning[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

/* A message on its way: its whole blocks where they lie, then its end, padded, here. */
struct lane {
    struct sha256_message *message; /* NULL: none is left, and it hashes along for nothing */
    const uint8_t *at;
    size_t blocks;     /* at `at` */
    size_t end_blocks; /* to come behind those; 0: `at` is in them */
    uint32_t state[8]; /* a to h */
    uint8_t end[2 * BLOCK];
};

/* The state as the instructions want it, and sixteen words of the schedule. */
struct vectors {
    __m128i abef, cdgh, words[4];
};

/*--- Blocks ------------------------------------------------------------------------------------*/

SHA_NI_INLINE void load_state(struct vectors *v, const uint32_t state[8])
{
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    v->abef = _mm_alignr_epi8(badc, hgfe, 8);
    v->cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
}

SHA_NI_INLINE void store_state(const struct vectors *v, uint32_t state[8])
{
    __m128i feba = _mm_shuffle_epi32(v->abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(v->cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

SHA_NI_INLINE void load_block(struct vectors *v, const uint8_t *block)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    for (int i = 0; i < 4; i++)
        v->words[i] =
            _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16 * i)), big_endian);
}

/* Four rounds with words[part], which then becomes what it is sixteen rounds later. */
SHA_NI_INLINE void four_rounds(struct vectors *v, int part, __m128i constant, bool more)
{
    __m128i *words = v->words;
    __m128i sum = _mm_add_epi32(words[part], constant);
    v->cdgh = _mm_sha256rnds2_epu32(v->cdgh, v->abef, sum);
    v->abef = _mm_sha256rnds2_epu32(v->abef, v->cdgh, _mm_shuffle_epi32(sum, 0x0e));
    if (!more)
        return;
    __m128i last = words[(part + 3) % 4];
    __m128i next = _mm_sha256msg1_epu32(words[part], words[(part + 1) % 4]);
    next = _mm_add_epi32(next, _mm_alignr_epi8(last, words[(part + 2) % 4], 4));
    words[part] = _mm_sha256msg2_epu32(next, last);
}

SHA_NI_INLINE void hash_block(struct vectors *a, struct vectors *b)
{
    struct vectors a_before = *a, b_before = *b;
    for (int i = 0; i < 4; i++) {
        const __m128i *four = (const __m128i *)constants + (ptrdiff_t)4 * i;
        bool more = i < 3;
        four_rounds(a, 0, four[0], more);
        four_rounds(b, 0, four[0], more);
        four_rounds(a, 1, four[1], more);
        four_rounds(b, 1, four[1], more);
        four_rounds(a, 2, four[2], more);
        four_rounds(b, 2, four[2], more);
        four_rounds(a, 3, four[3], more);
        four_rounds(b, 3, four[3], more);
    }
    a->abef = _mm_add_epi32(a->abef, a_before.abef);
    a->cdgh = _mm_add_epi32(a->cdgh, a_before.cdgh);
    b->abef = _mm_add_epi32(b->abef, b_before.abef);
    b->cdgh = _mm_add_epi32(b->cdgh, b_before.cdgh);
}

SHA_NI static void hash_blocks(struct lane *left, struct lane *right, size_t blocks)
{
    struct vectors a, b;
    load_state(&a, left->state);
    load_state(&b, right->state);
    for (size_t i = 0; i < blocks; i++) {
        load_block(&a, left->at + i * BLOCK);
        load_block(&b, right->at + i * BLOCK);
        hash_block(&a, &b);
    }
    store_state(&a, left->state);
    store_state(&b, right->state);
}

/*--- Messages ----------------------------------------------------------------------------------*/

static void begin_message(struct lane *lane, struct sha256_message *message)
{
    size_t rest = message->size % BLOCK;
    lane->message = message;
    lane->at = message->bytes;
    lane->blocks = message->size / BLOCK;
    lane->end_blocks = rest < BLOCK - 8 ? 1 : 2;
    memcpy(lane->state, beginning, sizeof lane->state);
    memset(lane->end, 0, sizeof lane->end);
    if (rest > 0)
        memcpy(lane->end, lane->at + message->size - rest, rest);
    lane->end[rest] = 0x80;
    uint8_t *bits = lane->end + lane->end_blocks * BLOCK - 8;
    for (int i = 0; i < 8; i++)
        bits[i] = (uint8_t)((uint64_t)message->size << 3 >> (56 - 8 * i));
}

static void end_message(struct lane *lane)
{
    for (size_t i = 0; i < 8; i++) {
        uint32_t word = __builtin_bswap32(lane->state[i]);
        memcpy(lane->message->digest + 4 * i, &word, 4);
    }
    lane->message = NULL;
}

/* Has blocks for the lane: those of its message, of the message's end, or of another message.
 * False: there is nothing more for it. */
static bool go_on(struct lane *lane, struct sha256_message **next, const struct sha256_message *end)
{
    while (lane->blocks == 0) {
        if (lane->message != NULL && lane->end_blocks > 0) {
            lane->at = lane->end;
            lane->blocks = lane->end_blocks;
            lane->end_blocks = 0;
            continue;
        }
        if (lane->message != NULL)
            end_message(lane);
        if (*next == end)
            return false;
        begin_message(lane, (*next)++);
    }
    return true;
}

static void advance(struct lane *lane, size_t blocks)
{
    lane->at += blocks * BLOCK;
    lane->blocks -= blocks;
}

static void hash_all(struct sha256_message *next, const struct sha256_message *end)
{
    struct lane left = { .message = NULL }, right = { .message = NULL };
    for (;;) {
        bool left_works = go_on(&left, &next, end), right_works = go_on(&right, &next, end);
        size_t blocks = left_works ? left.blocks : right.blocks;
        if (!left_works && !right_works)
            return;
        if (right_works && right.blocks < blocks)
            blocks = right.blocks;
        /* One alone takes as long: the other hashes the same bytes and throws its state away. */
        if (!left_works)
            left.at = right.at;
        if (!right_works)
            right.at = left.at;
        hash_blocks(&left, &right, blocks);
        if (left_works)
            advance(&left, blocks);
        if (right_works)
            advance(&right, blocks);
    }
}

/* Asked once: a virtual machine leaves the guest for it. */
static bool has_instructions(void)
{
    enum { UNKNOWN, NO, YES };
    static _Atomic int known = UNKNOWN;
    int has = atomic_load_explicit(&known, memory_order_relaxed);
    if (has == UNKNOWN) {
        unsigned a, b = 0, c, d;
        bool sha = __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_SHA;
        has = sha && __builtin_cpu_supports("sse4.1") ? YES : NO;
        atomic_store_explicit(&known, has, memory_order_relaxed);
    }
    return has == YES;
}

bool sha256_lanes(struct sha256_message *messages, size_t count)
{
    if (!has_instructions())
        return false;
    hash_all(messages, messages + count);
    return true;
}

#else

bool sha256_lanes(struct sha256_message *messages, size_t count)
{
    (void)messages;
    (void)count;
    return false;
}

#endif
