/* base/sha256.c - SHA-256, portable and with the SHA instructions of x86-64.
 *
 * The constants are the first 32 bits of the fractional parts of the square
 * roots (state) and cube roots (rounds) of the first primes: FIPS 180-4, 4.2.2
 * and 5.3.3.  The portable rounds follow section 6.2.2 of the same document. */
#include "base/sha256.h"

#include <string.h>

#ifdef __x86_64__
#    include <cpuid.h>
#    include <immintrin.h>
#endif

#define BLOCK_BYTES 64

/* clang-format off */
static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* clang-format on */

static uint32_t turn(uint32_t x, unsigned n)
{
    return (x >> n) | (x << (32 - n));
}

static void expand(uint32_t w[64], const uint8_t *block)
{
    for (size_t i = 0; i < 16; i++) {
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    }
    for (size_t i = 16; i < 64; i++) {
        uint32_t s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >> 3);
        uint32_t s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >> 10);

        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
}

static void mix_portable(uint32_t h[8], const uint8_t *block)
{
    uint32_t w[64];
    uint32_t v[8];

    expand(w, block);
    memcpy(v, h, sizeof v);
    for (size_t i = 0; i < 64; i++) {
        uint32_t s1 = turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25);
        uint32_t ch = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + s1 + ch + round_constants[i] + w[i];
        uint32_t s0 = turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22);
        uint32_t maj = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);

        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + s0 + maj;
    }
    for (size_t i = 0; i < 8; i++) {
        h[i] += v[i];
    }
}

#ifdef __x86_64__
/* The state goes through the instructions as two vectors, ABEF and CDGH, high
 * word first (Intel SDM volume 2, SHA256RNDS2). */
__attribute__((target("sha,sse4.1"))) static void mix_sha_ni(uint32_t h[8],
                                                             const uint8_t *block)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i abef = _mm_set_epi32((int)h[0], (int)h[1], (int)h[4], (int)h[5]);
    __m128i cdgh = _mm_set_epi32((int)h[2], (int)h[3], (int)h[6], (int)h[7]);
    __m128i abef0 = abef;
    __m128i cdgh0 = cdgh;
    __m128i w[4]; /* the last 16 words of the message schedule */
    uint32_t out[8];

    for (size_t i = 0; i < 16; i++) {
        __m128i k = _mm_loadu_si128((const __m128i *)(const void *)round_constants + i);
        __m128i *now = &w[i % 4];
        __m128i sum;

        if (i < 4) {
            const void *from = block + 16 * i;

            *now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)from), swap);
        } else {
            __m128i last = w[(i + 3) % 4];
            __m128i mid = _mm_alignr_epi8(last, w[(i + 2) % 4], 4);

            sum = _mm_add_epi32(_mm_sha256msg1_epu32(*now, w[(i + 1) % 4]), mid);
            *now = _mm_sha256msg2_epu32(sum, last);
        }
        sum = _mm_add_epi32(*now, k);
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
    }
    _mm_storeu_si128((__m128i *)(void *)out, _mm_add_epi32(abef, abef0));
    _mm_storeu_si128((__m128i *)(void *)(out + 4), _mm_add_epi32(cdgh, cdgh0));
    h[0] = out[3];
    h[1] = out[2];
    h[4] = out[1];
    h[5] = out[0];
    h[2] = out[7];
    h[3] = out[6];
    h[6] = out[5];
    h[7] = out[4];
}

/* CPUID leaves a virtual machine and comes back, which takes microseconds each time. */
static bool has_sha_ni(void)
{
    static _Atomic int known; /* 0: not asked yet, 1: no, 2: yes */
    unsigned a, b = 0, c = 0, d;
    int now = known;

    if (now == 0) {
        bool has = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_SSE4_1) != 0 &&
                   __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;

        now = has ? 2 : 1;
        known = now;
    }
    return now == 2;
}
#endif

static void mix(uint32_t h[8], const uint8_t *bytes, size_t blocks, bool fast)
{
    for (size_t i = 0; i < blocks; i++) {
#ifdef __x86_64__
        if (fast) {
            mix_sha_ni(h, bytes + i * BLOCK_BYTES);
            continue;
        }
#endif
        mix_portable(h, bytes + i * BLOCK_BYTES);
    }
    (void)fast;
}

void sha256_init_portable(struct sha256 *s)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

    memcpy(s->h, start, sizeof start);
    s->len = 0;
    s->fast = false;
}

void sha256_init(struct sha256 *s)
{
    sha256_init_portable(s);
#ifdef __x86_64__
    s->fast = has_sha_ni();
#endif
}

void sha256_add(struct sha256 *s, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;
    size_t held = s->len % BLOCK_BYTES;

    s->len += len;
    if (held > 0) {
        size_t take = BLOCK_BYTES - held < len ? BLOCK_BYTES - held : len;

        memcpy(s->block + held, from, take);
        from += take;
        len -= take;
        if (held + take < BLOCK_BYTES) {
            return;
        }
        mix(s->h, s->block, 1, s->fast);
    }
    mix(s->h, from, len / BLOCK_BYTES, s->fast);
    if (len % BLOCK_BYTES > 0) {
        memcpy(s->block, from + len / BLOCK_BYTES * BLOCK_BYTES, len % BLOCK_BYTES);
    }
}

void sha256_end(struct sha256 *s, uint8_t ret[SHA256_BYTES])
{
    static const uint8_t pad[BLOCK_BYTES] = {0x80};
    uint64_t bits = s->len * 8;
    size_t held = s->len % BLOCK_BYTES;
    uint8_t tail[8];

    for (size_t i = 0; i < 8; i++) {
        tail[i] = (uint8_t)(bits >> (56 - 8 * i));
    }
    sha256_add(s, pad, held < 56 ? 56 - held : 120 - held);
    sha256_add(s, tail, sizeof tail);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        ret[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
    }
}

void sha256_sum(const void *bytes, size_t len, uint8_t ret[SHA256_BYTES])
{
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, bytes, len);
    sha256_end(&s, ret);
}

void sha256_hex(const uint8_t sum[SHA256_BYTES], char ret[SHA256_HEX_BYTES])
{
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        ret[2 * i] = "0123456789abcdef"[sum[i] >> 4];
        ret[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
    }
    ret[SHA256_HEX_BYTES - 1] = '\0';
}
