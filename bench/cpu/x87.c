/* x87.c - extended doubles on the register stack: sums, products, quotients, roots
 * and one FSIN in a while. */
#include "cpu.h"

#define ROUNDS CPU_ROUNDS(3000000)

uint64_t work(void)
{
    long double x = 1.0L, sum = 0.0L;
    uint64_t out = 0;
    uint32_t i;

    for (i = 1; i <= ROUNDS; i++) {
        long double t = x * 1.25L + (long double)i;

        __asm__("fsqrt" : "+t"(t));
        sum += t / (x + 3.0L);
        x = (x * x + 2.0L) / (2.0L * x + 0.5L);
        if ((i & 1023) == 0) {
            __asm__("fsin" : "+t"(t));
            sum += t;
            out += (uint64_t)(int64_t)sum;
        }
    }
    return cpu_mix(out, (uint64_t)(int64_t)(sum * 1000.0L));
}
