/* x86.h - the x86 processor's instruction set: rows, decoder, disassembler. */
#ifndef VIRT_ISA_X86_X86_H
#define VIRT_ISA_X86_X86_H

#include <stddef.h>
#include <stdint.h>

#include "virt/isa/x86/insn.h"

enum x86_feature {
#define X86_FEATURE(id, name, leaf, subleaf, reg, bit) X86_F_##id,
#include "virt/isa/x86/rows/features.rows.h"
    X86_F_COUNT
};

enum x86_row_mode {
    X86_ANY,
    X86_LEGACY,
    X86_LONG,
    X86_PROTECTED
};

enum x86_privilege {
    X86_USER,
    X86_SYSTEM,
    X86_IO
};

enum x86_sensitivity {
    X86_INNOCUOUS,
    X86_CONTROL,
    X86_BEHAVIOUR
};

enum x86_attribute {
    X86_A_LOCK = 1,
    X86_A_ENDS = 2,
    X86_A_D64 = 4,
    X86_A_F64 = 8,
    X86_A_REP = 16,
    X86_A_NOSIDE = 32,
    X86_A_B8 = 64,
};

/* What rows.h says of one instruction. */
struct x86_row_info {
    const char *id;
    const char *mnemonic;
    const char *encoding;
    const char *operands;
    const char *flags;
    uint8_t mode, feature, privilege, sensitivity;
    uint8_t attributes;
};

extern const struct x86_row_info x86_rows[]; /* by `enum x86_row` */

/* Intel syntax, one line without newline; returns its length, cut to `bytes`.
 * `at` is the instruction's address, for branch targets. */
int x86_disassemble(const struct x86_insn *i, uint64_t at, char *text, size_t bytes);

#endif
