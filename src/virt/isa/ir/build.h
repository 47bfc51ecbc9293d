/* build.h - making regions, checking them, and the passes over them.
 *
 * Threads: one region, one thread.  Nothing blocks. */
#ifndef VIRT_ISA_IR_BUILD_H
#define VIRT_ISA_IR_BUILD_H

#include <string.h>

#include "virt/isa/ir/ir.h"
#include "virt/isa/ir/native.h"

void ir_region_init(struct ir_region *g, const struct ir_global *globals, uint16_t count);
void ir_region_fini(struct ir_region *g);
void ir_region_clear(struct ir_region *g); /* empty it, keep its memory */

/* Takes back what was added since `insns` and `maps` were those of the region. */
void ir_rewind(struct ir_region *g, uint32_t insns, uint32_t maps);
bool ir_make_room(struct ir_region *g); /* for one more instruction */

/* Nothing is known of globals from here on. */
static inline void ir_forget(struct ir_region *g)
{
    memset(g->known, 0, sizeof g->known);
}

static inline void ir_note(struct ir_region *g, const struct ir_insn *i)
{
    uint32_t changed;

    if (i->op == IR_SET) {
        if (i->imm < IR_KNOWN) {
            g->known[i->imm] = i->arg[0];
        }
    } else if (i->op == IR_CALL || i->op == IR_ROUTINE) {
        ir_forget(g);
    } else if (i->op == IR_NATIVE) {
        changed = ((const struct ir_native *)(uintptr_t)i->imm)->changes;
        for (; changed != 0; changed &= changed - 1) {
            g->known[__builtin_ctz(changed)] = 0;
        }
    } else if (i->op == IR_GET) {
        g->has_more_gets = true;
    }
}

/* By fields: what was written in parts just now is slow to read as a whole. */
static inline void ir_copy(struct ir_insn *to, const struct ir_insn *i)
{
    to->op = i->op;
    to->type = i->type;
    to->aux = i->aux;
    to->arg[0] = i->arg[0];
    to->arg[1] = i->arg[1];
    to->arg[2] = i->arg[2];
    to->access = i->access;
    to->map = i->map;
    to->imm = i->imm;
}

/* Inline, so that what an instruction has not is not looked at. */
static inline ir_value ir_add(struct ir_region *g, const struct ir_insn *i)
{
    uint32_t at = g->insns;

    if (__builtin_expect(g->full || at == 0 || at >= g->insn_room, 0) &&
        !ir_make_room(g)) {
        return 0;
    }
    ir_note(g, i);
    ir_copy(&g->insn[at], i);
    g->insns = at + 1;
    if (g->blocks > 0) {
        g->block[g->blocks - 1].end = at + 1;
    }
    return at;
}

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
void ir_optimise_quickly(
    struct ir_region *g); /* those that a back end cannot do without */

#endif
