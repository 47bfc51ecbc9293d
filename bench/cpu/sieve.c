/* sieve.c - Eratosthenes over bytes: strided stores, and a count. */
#include "cpu.h"

#define N      (512 * 1024)
#define ROUNDS CPU_ROUNDS(24)

static uint8_t composite[N];

static uint32_t count_primes(void)
{
    uint32_t i, j, count = 0;

    for (i = 0; i < N; i++) {
        composite[i] = 0;
    }
    for (i = 2; i < N; i++) {
        if (composite[i] != 0) {
            continue;
        }
        count++;
        for (j = 2 * i; j < N; j += i) {
            composite[j] = 1;
        }
    }
    return count;
}

uint64_t work(void)
{
    uint64_t sum = 0;
    int i;

    for (i = 0; i < ROUNDS; i++) {
        sum = cpu_mix(sum, count_primes());
    }
    return sum;
}
