/* vector_float.c - four floats at a time: points of the Mandelbrot set, with
 * multiplies, compares and masks, and a division at the end of each. */
#define _MM_MALLOC_H_INCLUDED /* no C library here */
#include <emmintrin.h>
#include <xmmintrin.h>

#include "cpu.h"

#define SIDE  (CPU_DIVISOR > 1 ? 40 : 400)
#define STEPS 400

uint64_t work(void)
{
    const __m128 two = _mm_set1_ps(2.0f), four = _mm_set1_ps(4.0f),
                 one = _mm_set1_ps(1.0f);
    __m128i sum = _mm_setzero_si128();
    uint64_t out[2];
    int row, column, i;

    for (row = 0; row < SIDE; row++) {
        __m128 ci = _mm_set1_ps((float)row * (2.4f / SIDE) - 1.2f);

        for (column = 0; column < SIDE; column += 4) {
            float left = (float)column;
            __m128 cr = _mm_set_ps(left + 3, left + 2, left + 1, left);
            __m128 zr = _mm_setzero_ps(), zi = zr, count = zr;

            cr = _mm_sub_ps(_mm_mul_ps(cr, _mm_set1_ps(2.6f / SIDE)), two);
            for (i = 0; i < STEPS; i++) {
                __m128 rr = _mm_mul_ps(zr, zr), ii = _mm_mul_ps(zi, zi);
                __m128 inside = _mm_cmplt_ps(_mm_add_ps(rr, ii), four);

                if (_mm_movemask_ps(inside) == 0) {
                    break;
                }
                count = _mm_add_ps(count, _mm_and_ps(inside, one));
                zi = _mm_add_ps(_mm_mul_ps(_mm_mul_ps(zr, zi), two), ci);
                zr = _mm_add_ps(_mm_sub_ps(rr, ii), cr);
            }
            count = _mm_div_ps(_mm_mul_ps(count, four), _mm_add_ps(two, one));
            sum = _mm_add_epi32(sum, _mm_cvtps_epi32(count));
        }
    }
    _mm_storeu_si128((__m128i *)(void *)out, sum);
    return cpu_mix(out[0], out[1]);
}
