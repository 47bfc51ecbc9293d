/* native.h - instructions on the host CPU: the truth of the tests of this folder.
 *
 * A child, confined to reading and writing its pipes, runs each case: it loads the
 * whole state of vector and general registers, executes one instruction, and saves
 * everything.  A trap ends the instruction; its vector is in the case. */
#ifndef TESTS_VIRT_ISA_X86_VECTOR_NATIVE_H
#define TESTS_VIRT_ISA_X86_VECTOR_NATIVE_H

#include <stdint.h>

#define NATIVE_CASES       256
#define NATIVE_ARENA_BYTES 4096 /* what memory operands may touch; no page follows */

/* XSAVE's standard form (SDM volume 1, 13.4). */
struct native_state {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16]; /* in stack order */
    uint8_t xmm[16][16];
    uint8_t available[96];
    uint64_t present, layout, zeros[6];
    uint8_t high[16][16];
} __attribute__((aligned(64)));

struct native_case {
    struct native_state in, out;
    uint64_t gpr_in[16], gpr_out[16];
    uint64_t flags_in, flags_out;
    uint8_t code[16];
    uint64_t at;     /* where the code stands */
    uint64_t vector; /* 0: the instruction ended; else the trap + 1 */
    uint8_t memory_in[NATIVE_ARENA_BYTES], memory_out[NATIVE_ARENA_BYTES];
} __attribute__((aligned(64)));

struct native {
    struct native_case *cases; /* shared with the child */
    uint8_t *arena;            /* at this address in both; an unmapped page follows */
    int to_child, from_child;
    int child;
};

int native_start(struct native *n);

/* Run the first `count` cases. */
int native_run(struct native *n, unsigned count);
void native_stop(struct native *n);

#endif
