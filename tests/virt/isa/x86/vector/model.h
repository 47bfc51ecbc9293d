/* model.h - one processor set up by hand over an arena of memory at host addresses,
 * and what routines need of `memory/` and `system/`, in its simplest form. */
#ifndef TESTS_VIRT_ISA_X86_VECTOR_MODEL_H
#define TESTS_VIRT_ISA_X86_VECTOR_MODEL_H

#include "tests/virt/isa/x86/vector/native.h"
#include "virt/isa/x86/cpu.h"

struct model {
    struct x86_cpu cpu;
    uint64_t arena; /* its address in the guest */
    uint8_t memory[NATIVE_ARENA_BYTES];
    uint8_t code[16];
};

void model_init(struct model *m, uint64_t arena);
void model_fini(struct model *m);
void model_load(struct model *m, const struct native_case *x);

/* Run `i`; returns 0, or the exception's vector + 1. */
unsigned model_run(struct model *m, const struct x86_insn *i);

/* The state as XSAVE shows it. */
void model_save(const struct model *m, struct native_state *ret_state);

/* The routines of a row of this folder; NULL: the row is not one. */
const struct x86_family *model_family(enum x86_row row);

#endif
