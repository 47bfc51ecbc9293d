/* snap_work.h - what the guest of the snapshot tests computes; the test does it natively. */
#ifndef TESTS_VIRT_MONITOR_SNAP_WORK_H
#define TESTS_VIRT_MONITOR_SNAP_WORK_H

#include <stdint.h>

#define WORK_CELLS 65536u

static inline uint32_t work_round(uint32_t *cell, uint32_t state)
{
    for (uint32_t i = 0; i < WORK_CELLS; i++) {
        state = state * 1664525u + 1013904223u;
        cell[i] = (cell[i] ^ state) + (cell[i] >> 7);
        state += cell[state >> 16];
    }
    return state;
}

/* What code that is written anew in each round gives. */
static inline uint32_t work_constant(uint32_t round)
{
    return round * 0x9e3779b9u;
}

#endif
