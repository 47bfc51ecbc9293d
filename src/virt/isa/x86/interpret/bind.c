/* bind.c - from a row to its routine.
 *
 * What of an instruction depends on the CPUID model or on the mode is decided here,
 * once, when it is decoded:
 *   - a row whose feature the model lacks raises #UD; but TZCNT and LZCNT are then BSF
 *     and BSR, as F3 before those means nothing (SDM volume 2, LZCNT, TZCNT), and their
 *     row says so to whoever translates;
 *   - a row of protected mode raises #UD in real and virtual-8086 mode;
 *   - LAHF and SAHF in 64-bit mode have a feature of their own. */
#include <string.h>

#include "virt/isa/x86/interpret/code.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/system/system.h"

#define X86_ROW(id, mnemonic, encoding, operands, mode, feature, privilege, sensitivity, \
                flags, attributes, routine)                                              \
    extern const struct x86_family x86_do_##routine;
#include "virt/isa/x86/rows.h"

static const struct x86_family *const families[X86_ROW_COUNT] = {
    NULL,
#define X86_ROW(id, mnemonic, encoding, operands, mode, feature, privilege, sensitivity, \
                flags, attributes, routine)                                              \
    &x86_do_##routine,
#include "virt/isa/x86/rows.h"
};

/* Which routine of its row's family executes `i`; NULL: there is no such form. */
static x86_routine *routine_of(const struct x86_insn *i)
{
    const struct x86_family *f = families[i->row];

    if (f == NULL || i->size >= X86_SIZE_COUNT) {
        return NULL;
    }
    return i->is_memory ? f->mem[i->size] : f->reg[i->size];
}

static bool is_feature_there(const struct x86_model *model, const struct x86_insn *i)
{
    if ((i->row == X86_R_LAHF || i->row == X86_R_SAHF) && i->mode == X86_CODE64) {
        return x86_model_has(model, X86_F_LAHF64);
    }
    return x86_model_has(model, (enum x86_feature)x86_rows[i->row].feature);
}

void interpret_bind(const struct x86_model *model, bool is_protected, struct x86_insn *i)
{
    bool is_allowed =
        i->row != X86_INVALID && (x86_rows[i->row].mode != X86_PROTECTED || is_protected);

    if (is_allowed && !is_feature_there(model, i)) {
        if (i->row == X86_R_TZCNT || i->row == X86_R_LZCNT) {
            i->row = i->row == X86_R_TZCNT ? X86_R_BSF : X86_R_BSR;
            i->prefix = 0;
        } else {
            is_allowed = false;
        }
    }
    i->run = is_allowed ? routine_of(i) : NULL;
    if (i->run == NULL) {
        i->run = x86_bad_insn;
    }
}

enum block_end x86_insn_end(const struct x86_insn *i)
{
    uint8_t attributes = x86_rows[i->row].attributes;

    if (i->run == x86_bad_insn || i->run == x86_long_insn) {
        return BLOCK_CONTROL;
    }
    if (attributes & X86_A_ENDS) {
        return attributes & X86_A_F64 ? BLOCK_BRANCH : BLOCK_CONTROL;
    }
    return attributes & X86_A_REP && i->repeat ? BLOCK_REPEAT : BLOCK_PLAIN;
}

void x86_bad_insn(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_raise(c, X86_UD);
}

void x86_long_insn(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_raise_error(c, X86_GP, 0);
}
