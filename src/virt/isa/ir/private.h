/* private.h - what the files of this folder share. */
#ifndef VIRT_ISA_IR_PRIVATE_H
#define VIRT_ISA_IR_PRIVATE_H

#include "virt/isa/ir/build.h"

/* Width of each type in bits; 0: has none. */
extern const uint16_t ir_type_bits[IR_TYPE_COUNT];

/* All ones in the width of `t`; of 64 bits and more: all ones. */
uint64_t ir_mask(enum ir_type t);

/* The value of a pure integer operation on these words, each within its type's
 * width.  false: not an integer operation, or one of wider type. */
struct ir_words {
    uint64_t a, b, c;
};

bool ir_compute(const struct ir_region *g, const struct ir_insn *i, struct ir_words w,
                uint64_t *ret);

/* The same when all arguments are constants. */
bool ir_fold(const struct ir_region *g, const struct ir_insn *i, uint64_t *ret);

/* The six flags of a flags operation at their RFLAGS places; `previous` is the
 * flags value it keeps something of. */
uint64_t ir_compute_flags(enum ir_flags_kind k, unsigned bits, struct ir_words w,
                          uint64_t previous);

/* The flags value that a flags operation keeps something of, and what, in RFLAGS places;
 * 0: none. */
ir_value ir_flags_kept(const struct ir_insn *f, uint32_t *ret_kept);

/* Condition `c` of flags at their RFLAGS places. */
bool ir_compute_cond(enum ir_cond c, uint64_t flags);

/* Add to a state map that is the newest; false: refused, or not the newest. */
bool ir_pend(struct ir_region *g, uint32_t map, uint16_t global, ir_value v);

/* Whether unknown code runs here, that may read and write globals. */
static inline bool ir_is_opaque(const struct ir_insn *i)
{
    return i->op == IR_CALL || i->op == IR_ROUTINE;
}

/* What can look at globals: whoever may leave, code that is not the IR's, other blocks. */
static inline bool ir_looks(const struct ir_insn *i)
{
    return i->map != 0 || i->op == IR_NATIVE || ir_is_opaque(i) ||
           (ir_ops[i->op].traits & IR_END) != 0;
}

#define IR_OVERTAKEN_MOST 64 /* globals of which sets are looked at */

/* From the end of a block: whether this is the set of a global that is set again before
 * anybody can look.  `again`: globals that are set further on, as bits. */
static inline bool ir_is_overtaken(const struct ir_insn *i, uint64_t *again)
{
    uint64_t bit;
    bool ret = false;

    if (i->op == IR_SET || i->op == IR_GET) {
        bit = i->imm < IR_OVERTAKEN_MOST ? UINT64_C(1) << i->imm : 0;
        ret = i->op == IR_SET && (*again & bit) != 0;
        *again = i->op == IR_SET ? *again | bit : *again & ~bit;
    } else if (ir_looks(i)) {
        *again = 0;
    }
    return ret;
}

/* Whether it does more than give a value. */
static inline bool ir_stays(const struct ir_insn *i)
{
    return i->op != IR_GET && (ir_ops[i->op].traits & ~(unsigned)IR_PURE) != 0;
}

/* Globals that an operation other than a set changes, a bit for each of the first 32. */
static inline uint32_t ir_changes(const struct ir_insn *i)
{
    return i->op == IR_NATIVE ? ((const struct ir_native *)(uintptr_t)i->imm)->changes
                              : 0;
}

/* Uses take the new names: of one instruction; of edges and state maps. */
static inline void ir_rename_arguments(struct ir_insn *i, const ir_value *new_name)
{
    i->arg[0] = new_name[i->arg[0]];
    i->arg[1] = new_name[i->arg[1]];
    i->arg[2] = new_name[i->arg[2]];
}

void ir_rename_rest(struct ir_region *g, const ir_value *new_name);

#endif
