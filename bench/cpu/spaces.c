/* spaces.c - four address spaces by turns, 64 pages read in each: what a switch of
 * page tables costs.  Only under the bare kernel; Linux has no such call. */
#include "cpu.h"

#define SPACES     4
#define PAGES      64
#define PAGE_BYTES 4096
#define ROUNDS     CPU_ROUNDS(12000)
#define WINDOW     0x40000000

uint64_t work(void)
{
    volatile uint64_t *window = (volatile uint64_t *)WINDOW;
    uint64_t sum = 0;
    unsigned i, n, page;

    if (cpu_call(CPU_SPACES, WINDOW, PAGES, SPACES) != 0) {
        cpu_not_applicable();
    }
    for (n = 0; n < SPACES; n++) {
        (void)cpu_call(CPU_SPACE, n, 0, 0);
        for (page = 0; page < PAGES; page++) {
            window[page * (PAGE_BYTES / 8)] = n * 1000 + page;
        }
    }
    for (i = 0; i < ROUNDS; i++) {
        (void)cpu_call(CPU_SPACE, i % SPACES, 0, 0);
        for (page = 0; page < PAGES; page++) {
            sum += window[page * (PAGE_BYTES / 8)];
        }
        sum = cpu_mix(sum, i);
    }
    return sum;
}
