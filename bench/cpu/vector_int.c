/* vector_int.c - SSE2 on integers: bytes with saturation, sums of differences,
 * multiplies of words, shuffles and compares. */
#define _MM_MALLOC_H_INCLUDED /* no C library here */
#include <emmintrin.h>

#include "cpu.h"

#define N      4096 /* vectors */
#define ROUNDS CPU_ROUNDS(4000)

static __m128i a[N], b[N];

uint64_t work(void)
{
    __m128i sum = _mm_setzero_si128();
    uint64_t seed = 5, out[2];
    unsigned i, round;

    for (i = 0; i < N; i++) {
        a[i] = _mm_set_epi64x((long long)cpu_random(&seed), (long long)cpu_random(&seed));
        b[i] = _mm_set_epi64x((long long)cpu_random(&seed), (long long)cpu_random(&seed));
    }
    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < N; i++) {
            __m128i x = _mm_load_si128(&a[i]), y = _mm_load_si128(&b[i]);
            __m128i bigger = _mm_cmpgt_epi16(x, y);
            __m128i mixed =
                _mm_or_si128(_mm_and_si128(bigger, x), _mm_andnot_si128(bigger, y));

            mixed = _mm_adds_epu8(mixed, _mm_avg_epu8(x, y));
            mixed = _mm_add_epi32(mixed, _mm_madd_epi16(x, _mm_shuffle_epi32(y, 0x1b)));
            sum = _mm_add_epi64(sum, _mm_sad_epu8(mixed, y));
            sum = _mm_xor_si128(sum, _mm_unpacklo_epi8(mixed, x));
            _mm_store_si128(&a[i], _mm_xor_si128(mixed, _mm_srli_epi32(x, 3)));
        }
    }
    _mm_storeu_si128((__m128i *)(void *)out, sum);
    return out[0] ^ out[1];
}
