/* hostile.h - what the hostile guest and its test say to each other. */
#ifndef TESTS_VIRT_MONITOR_GUEST_HOSTILE_H
#define TESTS_VIRT_MONITOR_GUEST_HOSTILE_H

#include <stdint.h>

#define HOSTILE_STATS_AT   0x700000u /* guest physical */
#define HOSTILE_MOST       16384u    /* cases */
#define HOSTILE_PRIVILEGED 512u      /* ... the first of them */

/* One instruction of the processor's table. */
struct hostile_case {
    uint8_t bytes, mode; /* `enum x86_code_mode` */
    uint8_t code[16];
};

/* The kernel's module. */
struct hostile_order {
    uint64_t seed;
    uint32_t cases, privileged; /* of them, the first */
    struct hostile_case one[HOSTILE_MOST];
};

/* What the guest counts; it may destroy this as all of its memory. */
struct hostile_stats {
    uint64_t check; /* `hostile_check`: else destroyed */
    uint64_t rounds, completed, faults, illegal, interrupts;
    uint64_t escaped;   /* privileged ones that program level executed */
    uint64_t last_case; /* ... the last of them */
    uint64_t tried[2][HOSTILE_PRIVILEGED / 64]; /* in the kernel's level, a program's */
};

static inline uint64_t hostile_check(const struct hostile_stats *s)
{
    return ~(s->rounds + s->completed * 3 + s->faults * 5 + s->illegal * 7 +
             s->interrupts * 11 + s->escaped * 13);
}

#endif
