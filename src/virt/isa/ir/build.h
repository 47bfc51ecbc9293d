/* build.h - making regions, checking them, and the passes over them.
 *
 * Threads: one region, one thread.  Nothing blocks. */
#ifndef VIRT_ISA_IR_BUILD_H
#define VIRT_ISA_IR_BUILD_H

#include "virt/isa/ir/ir.h"

void ir_region_init(struct ir_region *g, const struct ir_global *globals, uint16_t count);
void ir_region_fini(struct ir_region *g);
void ir_region_clear(struct ir_region *g); /* empty it, keep its memory */

/* Builder.  Blocks are filled one after another; constants fold as they are made.
 * When the region is full the result is value 0 and `full` says so. */
uint32_t ir_block_begin(struct ir_region *g);
ir_value ir_param(struct ir_region *g, enum ir_type t);
ir_value ir_const(struct ir_region *g, enum ir_type t, uint64_t v);
ir_value ir_get(struct ir_region *g, uint16_t global);
void ir_set(struct ir_region *g, uint16_t global, ir_value v);
ir_value ir_1(struct ir_region *g, enum ir_op op, enum ir_type t, ir_value a);
ir_value ir_2(struct ir_region *g, enum ir_op op, ir_value a, ir_value b);
ir_value ir_3(struct ir_region *g, enum ir_op op, enum ir_type t, const ir_value arg[3]);
ir_value ir_add(struct ir_region *g, const struct ir_insn *i);
uint32_t ir_map_at(struct ir_region *g, uint64_t pc, uint32_t done);
void ir_jump(struct ir_region *g, uint32_t block, const ir_value *args, unsigned n);
void ir_branch(struct ir_region *g, ir_value cond, uint32_t yes, uint32_t no);

/* The same to blocks with parameters. */
struct ir_way {
    uint32_t block;
    unsigned count;
    const ir_value *args;
};

void ir_branch_with(struct ir_region *g, ir_value cond, const struct ir_way *yes,
                    const struct ir_way *no);

/* Whether the region keeps the rules above; else the first breach in words. */
bool ir_verify(const struct ir_region *g, char *why, size_t bytes);

/* The region as text, one line an instruction; returns the length as snprintf. */
size_t ir_print(const struct ir_region *g, char *text, size_t bytes);

/* Passes.  Each keeps `ir_verify` true and the region's meaning, faults included.
 * They work block by block. */
void ir_pass_peel(struct ir_region *g);     /* a loop's flags do not reach their global */
void ir_pass_forward(struct ir_region *g);  /* a get gives what the last set had */
void ir_pass_simplify(struct ir_region *g); /* algebra, constants, common values */
void ir_pass_sink(struct ir_region *g); /* sets of unpinned globals go to maps and ends */
void ir_pass_dead(struct ir_region *g); /* pure values that nobody uses become nop */
void ir_pass_window(struct ir_region *g); /* accesses near each other share a look-up */
void ir_optimise(struct ir_region *g);    /* all of them, in order */

#endif
