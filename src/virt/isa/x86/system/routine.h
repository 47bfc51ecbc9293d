/* routine.h - families of routines that are the same for all operand sizes. */
#ifndef VIRT_ISA_X86_SYSTEM_ROUTINE_H
#define VIRT_ISA_X86_SYSTEM_ROUTINE_H

#include "virt/isa/x86/system/segment.h"

#define X86_ROW(id, mnemonic, encoding, operands, mode, feature, privilege, sensitivity, \
                flags, attributes, routine)                                              \
    extern const struct x86_family x86_do_##routine;
#include "virt/isa/x86/rows.h"

/* One function for a form without memory, with memory only, or one for each. */
#define X86_SYSTEM_REG(name)                                                             \
    const struct x86_family x86_do_##name = {.reg = {name, name, name, name},            \
                                             .mem = {name, name, name, name}};
#define X86_SYSTEM_BOTH(name, r, m)                                                      \
    const struct x86_family x86_do_##name = {.reg = {r, r, r, r}, .mem = {m, m, m, m}};

/* The register operand of 16, 32 or 64 bits, as the manual extends it. */
static inline void x86_put_reg(struct x86_cpu *c, unsigned n, enum x86_size size,
                               uint64_t v)
{
    if (size == X86_16) {
        c->r.gpr[n] = (c->r.gpr[n] & ~0xffffull) | (v & 0xffff);
    } else {
        c->r.gpr[n] = size == X86_32 ? (uint32_t)v : v;
    }
}

/* A 16-bit operand in a register or in memory. */
static inline uint16_t x86_get_selector(struct x86_cpu *c, const struct x86_insn *i)
{
    return i->is_memory ? x86_load16(c, (enum x86_seg)i->segment, x86_ea(c, i))
                        : (uint16_t)c->r.gpr[i->rm];
}

/* #GP(0) unless CPL is 0; real mode has it. */
static inline void x86_need_level_0(struct x86_cpu *c)
{
    if (c->r.cpl != 0) {
        x86_raise_error(c, X86_GP, 0);
    }
}

/* #GP(0) for an unprivileged look at the machine when the guest forbids it. */
static inline void x86_need_umip(struct x86_cpu *c)
{
    if ((c->r.cr4 & X86_CR4_UMIP) != 0 && c->r.cpl > 0) {
        x86_raise_error(c, X86_GP, 0);
    }
}

/* #UD where there are no descriptors. */
static inline void x86_need_protected(struct x86_cpu *c)
{
    if (!x86_is_protected(c)) {
        x86_raise(c, X86_UD);
    }
}

#endif
