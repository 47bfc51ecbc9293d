/* sort.c - quicksort with a comparison by pointer, as qsort has it. */
#include "cpu.h"

#define N      65536
#define ROUNDS CPU_ROUNDS(6)

static uint32_t value[N];

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void swap(uint32_t *a, uint32_t *b)
{
    uint32_t t = *a;

    *a = *b;
    *b = t;
}

static void sort(uint32_t *v, long n,
                 int (*volatile const *order)(const void *, const void *))
{
    while (n > 1) {
        uint32_t pivot = v[n / 2];
        long low = 0, high = n - 1;

        while (low <= high) {
            while ((*order)(&v[low], &pivot) < 0) {
                low++;
            }
            while ((*order)(&v[high], &pivot) > 0) {
                high--;
            }
            if (low <= high) {
                swap(&v[low++], &v[high--]);
            }
        }
        sort(v, high + 1, order);
        v += low;
        n -= low;
    }
}

uint64_t work(void)
{
    static int (*volatile const order)(const void *, const void *) = compare;
    uint64_t sum = 0, seed = 42;
    unsigned i, round;

    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < N; i++) {
            value[i] = (uint32_t)cpu_random(&seed);
        }
        sort(value, N, &order);
        for (i = 0; i < N; i += 101) {
            sum = cpu_mix(sum, value[i]);
        }
    }
    return sum;
}
