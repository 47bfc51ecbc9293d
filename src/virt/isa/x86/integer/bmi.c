/* bmi.c - BMI1 and BMI2 (VEX encoded); Intel SDM volume 2.
 *
 * Undefined flags as current Intel processors have them: clear. */
#include "virt/isa/x86/integer/operand.h"

/* A family of two sizes (VEX.W), from a body that has `e`, the modrm operand. */
#define BMI(name, ...)                                                                   \
    ALWAYS void name(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,         \
                     bool is_memory)                                                     \
    {                                                                                    \
        uint64_t e = x86_get_e(c, i, bits, is_memory);                                   \
                                                                                         \
        __VA_ARGS__                                                                      \
    }                                                                                    \
    X86_ROUTINE(name, r, 32, false)                                                      \
    X86_ROUTINE(name, r, 64, false)                                                      \
    X86_ROUTINE(name, m, 32, true)                                                       \
    X86_ROUTINE(name, m, 64, true)                                                       \
    const struct x86_family x86_do_##name = {                                            \
        .reg = {NULL, NULL, name##_r32, name##_r64},                                     \
        .mem = {NULL, NULL, name##_m32, name##_m64}};

#define VVVV x86_reg(c, i, i->vvvv, bits)

/* The result, and ZF and SF by it, CF as given, the rest clear. */
ALWAYS void give(struct x86_cpu *c, const struct x86_insn *i, unsigned n, uint64_t v,
                 bool cf, unsigned bits)
{
    int64_t s = x86_sign_extend(v, bits);

    x86_set_reg(c, i, n, v, bits);
    x86_flags_set(c, (cf ? X86_CF : 0) | (s == 0 ? X86_ZF : 0) | (s < 0 ? X86_SF : 0));
}

BMI(andn, give(c, i, i->reg, ~VVVV &e, false, bits);)
BMI(blsr, give(c, i, i->vvvv, e &(e - 1), e == 0, bits);)
BMI(blsmsk, give(c, i, i->vvvv, e ^ (e - 1), e == 0, bits);)
BMI(blsi, give(c, i, i->vvvv, e & -e, e != 0, bits);)

/* Start in bits 0..7 of the second source, length in 8..15; SF is clear. */
BMI(
    bextr, uint64_t control = c->r.gpr[i->vvvv]; unsigned start = control & 0xff;
    unsigned length = control >> 8 & 0xff; uint64_t v = start < bits ? e >> start : 0;

    if (length < 64) { v = x86_zero_extend(v, length); } x86_set_reg(c, i, i->reg, v,
                                                                     bits);
    x86_flags_set(c, x86_zero_extend(v, bits) == 0 ? X86_ZF : 0);)

BMI(bzhi, unsigned n = c->r.gpr[i->vvvv] & 0xff;
    give(c, i, i->reg, n < bits ? x86_zero_extend(e, n) : e, n >= bits, bits);)

/* The bits of `v` that `mask` has, packed; and back. */
static uint64_t extract(uint64_t v, uint64_t mask)
{
    uint64_t r = 0;

    for (unsigned n = 0; mask != 0; mask &= mask - 1, n++) {
        r |= (v >> __builtin_ctzll(mask) & 1) << n;
    }
    return r;
}

static uint64_t deposit(uint64_t v, uint64_t mask)
{
    uint64_t r = 0;

    for (; mask != 0; mask &= mask - 1, v >>= 1) {
        r |= (v & 1) << __builtin_ctzll(mask);
    }
    return r;
}

BMI(pext, x86_set_reg(c, i, i->reg, extract(VVVV, e), bits);)
BMI(pdep, x86_set_reg(c, i, i->reg, deposit(VVVV, e), bits);)

/* Both halves of rDX times the operand; the high one wins where both are one. */
BMI(mulx, unsigned __int128 v = (unsigned __int128)e * x86_reg(c, i, X86_RDX, bits);
    x86_set_reg(c, i, i->vvvv, (uint64_t)v, bits);
    x86_set_reg(c, i, i->reg, (uint64_t)(v >> bits), bits);)

BMI(shlx, x86_set_reg(c, i, i->reg, e << (c->r.gpr[i->vvvv] & (bits - 1)), bits);)
BMI(shrx, x86_set_reg(c, i, i->reg, e >> (c->r.gpr[i->vvvv] & (bits - 1)), bits);)
BMI(sarx,
    x86_set_reg(c, i, i->reg,
                (uint64_t)(x86_sign_extend(e, bits) >> (c->r.gpr[i->vvvv] & (bits - 1))),
                bits);)
BMI(rorx, unsigned n = (unsigned)i->imm & (bits - 1);
    x86_set_reg(c, i, i->reg, n == 0 ? e : e >> n | e << (bits - n), bits);)
