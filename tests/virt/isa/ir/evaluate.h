/* evaluate.h - what a region means, executed one operation after another in C.
 *
 * For tests only: no front end runs on it.  Integers, flags, loads, stores, atomics, and
 * floating point by the host's own; no calls, routines or native operations. */
#ifndef TESTS_VIRT_ISA_IR_EVALUATE_H
#define TESTS_VIRT_ISA_IR_EVALUATE_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/isa/ir/build.h"

enum evaluate_end {
    EVALUATE_EXIT,  /* EXIT, EXIT_IF or EXIT_TO: `pc` */
    EVALUATE_FAULT, /* a memory operation was refused; globals are those of its map */
    EVALUATE_TRAP,  /* TRAP_IF: `trap` */
    EVALUATE_LEAVE,
    EVALUATE_LOOPS, /* more than `steps_most` operations */
    EVALUATE_CANNOT /* an operation that is not for the evaluator */
};

struct evaluate {
    uint64_t *global; /* by number; FLAGS as an RFLAGS image */
    /* false: a fault. */
    bool (*load)(void *who, uint64_t at, unsigned bytes, uint64_t *ret);
    bool (*store)(void *who, uint64_t at, unsigned bytes, uint64_t v);
    void *who;
    uint32_t steps_most;

    /* Set at the end. */
    uint64_t pc;
    uint64_t trap;
};

/* What an atomic operation of that width leaves. */
uint64_t evaluate_combine(enum ir_atomic kind, uint64_t old, uint64_t v, unsigned bits);

enum evaluate_end evaluate_region(const struct ir_region *g, struct evaluate *v);

#endif
