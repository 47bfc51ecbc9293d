/* copy_rep.c - 4 MB filled and copied by REP STOSB and REP MOVSB. */
#include "cpu.h"

#define BYTES  4000000u
#define ROUNDS CPU_ROUNDS(100)

static uint8_t from[BYTES], to[BYTES];

uint64_t work(void)
{
    uint64_t sum = 0;
    unsigned i;

    for (i = 0; i < ROUNDS; i++) {
        void *t = from;
        const void *f;
        size_t n = BYTES;

        __asm__ volatile("rep stosb" : "+D"(t), "+c"(n) : "a"(i) : "memory");
        from[i * 1237] = 1;
        t = to;
        f = from;
        n = BYTES;
        __asm__ volatile("rep movsb" : "+D"(t), "+S"(f), "+c"(n) : : "memory");
        sum = cpu_mix(sum, to[i * 1237] + 3u * to[BYTES - 1] + 5u * to[i * 777 + 1]);
    }
    return sum;
}
