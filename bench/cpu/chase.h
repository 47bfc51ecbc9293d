/* chase.h - a walk through pointers in random order: nothing but loads, each
 * waiting for the one before.  CHASE_BYTES and CHASE_STEPS are the caller's. */
#ifndef BENCH_CPU_CHASE_H
#define BENCH_CPU_CHASE_H

#include "cpu.h"

#ifndef CHASE_BYTES
#    define CHASE_BYTES (32 * 1024)
#    define CHASE_STEPS 1
#endif

#define CHASE_CELLS (CHASE_BYTES / 64)

struct chase_cell {
    struct chase_cell *next;
    uint64_t padding[7];
};

static struct chase_cell cells[CHASE_CELLS];

/* Sattolo's shuffle: one cycle through all cells. */
static void make_cycle(void)
{
    static uint32_t order[CHASE_CELLS];
    uint64_t seed = 7;
    uint32_t i;

    for (i = 0; i < CHASE_CELLS; i++) {
        order[i] = i;
    }
    for (i = CHASE_CELLS - 1; i > 0; i--) {
        uint32_t j = (uint32_t)((cpu_random(&seed) >> 32) % i);
        uint32_t t = order[i];

        order[i] = order[j];
        order[j] = t;
    }
    for (i = 0; i < CHASE_CELLS; i++) {
        cells[order[i]].next = &cells[order[(i + 1) % CHASE_CELLS]];
    }
}

uint64_t work(void)
{
    const struct chase_cell *at = cells;
    uint32_t i;

    make_cycle();
    for (i = 0; i < CHASE_STEPS; i++) {
        at = at->next;
    }
    return (uint64_t)(at - cells);
}

#endif
