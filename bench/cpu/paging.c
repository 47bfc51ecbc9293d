/* paging.c - demand paging and swap: a window of more pages than the bare kernel gives it
 * frames, so that each is filled at its first touch, goes to the slow tier when its
 * frame is wanted, and comes back at the next touch.  Under Linux the same on plain
 * memory, so the sum is Linux's. */
#include "cpu.h"

#define PAGES      256
#define FRAMES     64
#define PAGE_WORDS (4096 / 8)
#define ROUNDS     CPU_ROUNDS(20000)
#define WINDOW     0x40000000

static uint64_t plain[PAGES * PAGE_WORDS];

/* Words of three pages each round: one of a few, one in order, one anywhere. */
static uint64_t wander(volatile uint64_t *window)
{
    uint64_t state = 1, sum = 0;
    unsigned i, k;

    for (i = 0; i < ROUNDS; i++) {
        unsigned page[3] = {(unsigned)(cpu_random(&state) % (FRAMES / 4)), i % PAGES,
                            (unsigned)(cpu_random(&state) % PAGES)};

        for (k = 0; k < 3; k++) {
            volatile uint64_t *word =
                window + page[k] * PAGE_WORDS + cpu_random(&state) % PAGE_WORDS;

            sum = cpu_mix(sum, *word + page[k]);
            if (k != 1) {
                *word = sum;
            }
        }
    }
    for (i = 0; i < PAGES * PAGE_WORDS; i += PAGE_WORDS / 8) {
        sum = cpu_mix(sum, window[i]);
    }
    return sum;
}

uint64_t work(void)
{
    volatile uint64_t *window = plain;

    if (cpu_call(CPU_PAGED, WINDOW, PAGES, FRAMES) == 0) {
        window = (volatile uint64_t *)WINDOW;
    }
    return wander(window);
}
