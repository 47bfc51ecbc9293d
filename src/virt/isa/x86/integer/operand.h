/* operand.h - operands of the integer routines: registers, memory, locked changes.
 *
 * An 8-bit register 4..7 without REX is the second byte of rax..rbx.  A 32-bit
 * register that is written loses its upper half (SDM volume 1, 3.4.1.1), others keep
 * what is not written. */
#ifndef VIRT_ISA_X86_INTEGER_OPERAND_H
#define VIRT_ISA_X86_INTEGER_OPERAND_H

#include "virt/isa/x86/flags.h"
#include "virt/isa/x86/integer/family.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/system/system.h"

/* The value's low bits, as an unsigned and as a signed number. */
ALWAYS uint64_t x86_zero_extend(uint64_t v, unsigned bits)
{
    return bits == 64 ? v : v & ((UINT64_C(1) << (bits & 63)) - 1);
}

ALWAYS int64_t x86_sign_extend(uint64_t v, unsigned bits)
{
    return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

/* A general register by number. */
ALWAYS uint64_t x86_reg(const struct x86_cpu *c, const struct x86_insn *i, unsigned n,
                        unsigned bits)
{
    if (bits == 8 && n >= 4 && n < 8 && !i->has_rex) {
        return c->r.gpr[n - 4] >> 8 & 0xff;
    }
    return x86_zero_extend(c->r.gpr[n], bits);
}

ALWAYS void x86_set_low(uint64_t *slot, uint64_t v, unsigned bits)
{
    if (bits == 64) {
        *slot = v;
    } else if (bits == 32) {
        *slot = (uint32_t)v;
    } else if (bits == 16) {
        *slot = (*slot & ~UINT64_C(0xffff)) | (uint16_t)v;
    } else {
        *slot = (*slot & ~UINT64_C(0xff)) | (uint8_t)v;
    }
}

ALWAYS void x86_set_reg(struct x86_cpu *c, const struct x86_insn *i, unsigned n,
                        uint64_t v, unsigned bits)
{
    if (bits == 8 && n >= 4 && n < 8 && !i->has_rex) {
        c->r.gpr[n - 4] = (c->r.gpr[n - 4] & ~UINT64_C(0xff00)) | (v & 0xff) << 8;
    } else {
        x86_set_low(&c->r.gpr[n], v, bits);
    }
}

ALWAYS uint64_t x86_load(struct x86_cpu *c, enum x86_seg s, uint64_t at, unsigned bits)
{
    return bits == 8    ? x86_load8(c, s, at)
           : bits == 16 ? x86_load16(c, s, at)
           : bits == 32 ? x86_load32(c, s, at)
                        : x86_load64(c, s, at);
}

ALWAYS void x86_store(struct x86_cpu *c, enum x86_seg s, uint64_t at, uint64_t v,
                      unsigned bits)
{
    if (bits == 8) {
        x86_store8(c, s, at, (uint8_t)v);
    } else if (bits == 16) {
        x86_store16(c, s, at, (uint16_t)v);
    } else if (bits == 32) {
        x86_store32(c, s, at, (uint32_t)v);
    } else {
        x86_store64(c, s, at, v);
    }
}

/* The operand that modrm.rm names: read, or written whole. */
ALWAYS uint64_t x86_get_e(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                          bool is_memory)
{
    return is_memory ? x86_load(c, (enum x86_seg)i->segment, x86_ea(c, i), bits)
                     : x86_reg(c, i, i->rm, bits);
}

ALWAYS void x86_set_e(struct x86_cpu *c, const struct x86_insn *i, uint64_t v,
                      unsigned bits, bool is_memory)
{
    if (is_memory) {
        x86_store(c, (enum x86_seg)i->segment, x86_ea(c, i), v, bits);
    } else {
        x86_set_reg(c, i, i->rm, v, bits);
    }
}

/* Bytes that `x86_rmw_begin` gave. */
ALWAYS uint64_t x86_peek(const void *p, unsigned bits)
{
    return bits == 8    ? *(const volatile uint8_t *)p
           : bits == 16 ? *(const volatile x86_u16 *)p
           : bits == 32 ? *(const volatile x86_u32 *)p
                        : *(const volatile x86_u64 *)p;
}

ALWAYS void x86_poke(void *p, uint64_t v, unsigned bits)
{
    if (bits == 8) {
        *(volatile uint8_t *)p = (uint8_t)v;
    } else if (bits == 16) {
        *(volatile x86_u16 *)p = (uint16_t)v;
    } else if (bits == 32) {
        *(volatile x86_u32 *)p = (uint32_t)v;
    } else {
        *(volatile x86_u64 *)p = v;
    }
}

/* Compare-exchange of the host, also where `p` is not aligned, as the processor
 * allows it; `*old` becomes what was there. */
bool x86_cas(void *p, uint64_t *old, uint64_t v, unsigned bits);

/* A change of one operand: its new value from the old one, another operand and CF;
 * and the flags that follow.  `reads_carry` false: the value does not depend on CF. */
struct x86_change {
    uint64_t (*value)(uint64_t a, uint64_t b, bool carry, unsigned bits);
    void (*flags)(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t r, unsigned bits);
    bool reads_carry;
};

/* The locked form; returns the old value. */
ALWAYS uint64_t x86_change_locked(void *p, const struct x86_change *change, uint64_t b,
                                  bool carry, unsigned bits)
{
    uint64_t old = x86_peek(p, bits);

    while (!x86_cas(p, &old, change->value(old, b, carry, bits), bits)) {
    }
    return old;
}

/* Change the memory at segment:at; returns the old value. */
ALWAYS uint64_t x86_change_memory(struct x86_cpu *c, const struct x86_insn *i,
                                  uint64_t at, const struct x86_change *change,
                                  uint64_t b, unsigned bits)
{
    void *p = x86_rmw_begin(c, (enum x86_seg)i->segment, at, bits / 8, i->lock);
    bool carry = change->reads_carry && x86_flag_c(c);
    uint64_t a;

    if (__builtin_expect(i->lock, 0)) {
        a = x86_change_locked(p, change, b, carry, bits);
    } else {
        a = x86_peek(p, bits);
        x86_poke(p, change->value(a, b, carry, bits), bits);
    }
    x86_rmw_end(c);
    change->flags(c, a, b, change->value(a, b, carry, bits), bits);
    return a;
}

/* Change modrm.rm's operand; returns the old value. */
ALWAYS uint64_t x86_change_e(struct x86_cpu *c, const struct x86_insn *i,
                             const struct x86_change *change, uint64_t b, unsigned bits,
                             bool is_memory)
{
    uint64_t a;
    uint64_t r;

    if (is_memory) {
        return x86_change_memory(c, i, x86_ea(c, i), change, b, bits);
    }
    a = x86_reg(c, i, i->rm, bits);
    r = change->value(a, b, change->reads_carry && x86_flag_c(c), bits);
    x86_set_reg(c, i, i->rm, r, bits);
    change->flags(c, a, b, r, bits);
    return a;
}

/* An address register (rcx, rsi, rdi ...) of the instruction's address size. */
ALWAYS uint64_t x86_address_mask(const struct x86_insn *i)
{
    return i->address == X86_64   ? UINT64_MAX
           : i->address == X86_32 ? UINT32_MAX
                                  : UINT16_MAX;
}

ALWAYS void x86_set_address(struct x86_cpu *c, const struct x86_insn *i, unsigned n,
                            uint64_t v)
{
    x86_set_low(&c->r.gpr[n], v,
                i->address == X86_64   ? 64
                : i->address == X86_32 ? 32
                                       : 16);
}

#endif
