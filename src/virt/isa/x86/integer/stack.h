/* stack.h - the stack as pushes and pops see it, and near branches.
 *
 * The stack pointer has the size that SS or 64-bit mode gives it (SDM volume 1,
 * 6.2.3); offsets wrap there.  No routine moves it before its last access. */
#ifndef VIRT_ISA_X86_INTEGER_STACK_H
#define VIRT_ISA_X86_INTEGER_STACK_H

#include "virt/isa/x86/integer/operand.h"

ALWAYS uint64_t x86_stack_mask(const struct x86_cpu *c)
{
    return c->stack_size == X86_64   ? UINT64_MAX
           : c->stack_size == X86_32 ? UINT32_MAX
                                     : UINT16_MAX;
}

/* Give a stack register a value of the stack's size. */
ALWAYS void x86_set_stack_reg(struct x86_cpu *c, unsigned n, uint64_t v)
{
    if (__builtin_expect(c->stack_size == X86_64, 1)) {
        c->r.gpr[n] = v;
    } else {
        x86_set_low(&c->r.gpr[n], v, c->stack_size == X86_32 ? 32 : 16);
    }
}

ALWAYS uint64_t x86_stack_top(const struct x86_cpu *c, unsigned n, int64_t offset)
{
    return (c->r.gpr[n] + (uint64_t)offset) & x86_stack_mask(c);
}

ALWAYS void x86_push(struct x86_cpu *c, uint64_t v, unsigned bits)
{
    uint64_t at = x86_stack_top(c, X86_RSP, -(int64_t)(bits / 8));

    x86_store(c, X86_SS, at, v, bits);
    x86_set_stack_reg(c, X86_RSP, at);
}

/* The value on top; the pointer stays. */
ALWAYS uint64_t x86_top(struct x86_cpu *c, unsigned bits)
{
    return x86_load(c, X86_SS, x86_stack_top(c, X86_RSP, 0), bits);
}

ALWAYS void x86_drop(struct x86_cpu *c, uint64_t bytes)
{
    x86_set_stack_reg(c, X86_RSP, x86_stack_top(c, X86_RSP, (int64_t)bytes));
}

/* #GP if the next instruction may not be there. */
ALWAYS void x86_check_target(struct x86_cpu *c, uint64_t target)
{
    bool is_good = c->code_mode == X86_CODE64
                       ? (uint64_t)((int64_t)(target << 16) >> 16) == target
                       : target <= c->r.seg[X86_CS].limit;

    if (__builtin_expect(!is_good, 0)) {
        x86_raise_error(c, X86_GP, 0);
    }
}

ALWAYS void x86_jump(struct x86_cpu *c, uint64_t target)
{
    x86_check_target(c, target);
    c->next_rip = target;
}

/* The target of a relative branch. */
ALWAYS uint64_t x86_relative(const struct x86_cpu *c, const struct x86_insn *i,
                             unsigned bits)
{
    return x86_zero_extend(c->next_rip + i->imm, bits);
}

#endif
