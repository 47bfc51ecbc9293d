/* copy_sse.c - 4 MB filled and copied by 16-byte loads and stores. */
#include "cpu.h"

#define BYTES  4000000u
#define ROUNDS CPU_ROUNDS(100)

typedef long long vector __attribute__((vector_size(16)));

static vector from[BYTES / 16], to[BYTES / 16];

__attribute__((noinline)) static void fill(vector *t, long long value)
{
    vector v = {value, value};
    unsigned i;

    for (i = 0; i < BYTES / 16; i += 2) {
        __asm__ volatile("movaps %2, %0\n\tmovaps %2, %1"
                         : "=m"(t[i]), "=m"(t[i + 1])
                         : "x"(v));
    }
}

__attribute__((noinline)) static void copy(vector *t, const vector *f)
{
    unsigned i;

    for (i = 0; i < BYTES / 16; i += 2) {
        vector a, b;

        __asm__ volatile("movups %2, %0\n\tmovups %3, %1"
                         : "=&x"(a), "=x"(b)
                         : "m"(f[i]), "m"(f[i + 1]));
        __asm__ volatile("movaps %2, %0\n\tmovaps %3, %1"
                         : "=m"(t[i]), "=m"(t[i + 1])
                         : "x"(a), "x"(b));
    }
}

uint64_t work(void)
{
    uint64_t sum = 0;
    unsigned i;

    for (i = 0; i < ROUNDS; i++) {
        fill(from, i);
        from[i * 77][0] = 1;
        copy(to, from);
        sum = cpu_mix(sum, (uint64_t)(to[i * 77][0] + 3 * to[BYTES / 16 - 1][1]));
    }
    return sum;
}
