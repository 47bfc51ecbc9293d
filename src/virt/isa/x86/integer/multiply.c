/* multiply.c - MUL, IMUL, DIV, IDIV.
 *
 * Flags the manual leaves undefined are as current Intel processors have them:
 * after a multiplication SF and PF follow the low half of the product, ZF and AF are
 * clear; a division changes none. */
#include "virt/isa/x86/integer/operand.h"

typedef unsigned __int128 u128;
typedef __int128 s128;

/* CF and OF: the product did not fit. */
ALWAYS void multiply_flags(struct x86_cpu *c, uint64_t low, bool is_wide, unsigned bits)
{
    x86_flags_set(c, (is_wide ? X86_CF | X86_OF_BIT : 0) |
                         (x86_sign_extend(low, bits) < 0 ? X86_SF : 0) |
                         (__builtin_parity((uint8_t)low) ? 0 : X86_PF_BIT));
}

/* The double-width accumulator: AX, or rDX:rAX. */
ALWAYS void set_wide(struct x86_cpu *c, u128 v, unsigned bits)
{
    if (bits == 8) {
        x86_set_low(&c->r.gpr[X86_RAX], (uint64_t)v, 16);
    } else {
        x86_set_low(&c->r.gpr[X86_RAX], (uint64_t)v, bits);
        x86_set_low(&c->r.gpr[X86_RDX], (uint64_t)(v >> bits), bits);
    }
}

ALWAYS u128 get_wide(const struct x86_cpu *c, unsigned bits)
{
    if (bits == 8) {
        return (uint16_t)c->r.gpr[X86_RAX];
    }
    return (u128)x86_zero_extend(c->r.gpr[X86_RDX], bits) << bits |
           x86_zero_extend(c->r.gpr[X86_RAX], bits);
}

ALWAYS void mul(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                bool is_memory)
{
    uint64_t b = x86_get_e(c, i, bits, is_memory);
    u128 v = (u128)x86_zero_extend(c->r.gpr[X86_RAX], bits) * b;

    set_wide(c, v, bits);
    multiply_flags(c, (uint64_t)v, v >> bits != 0, bits);
}

ALWAYS bool is_wide_signed(s128 v, unsigned bits)
{
    return v != x86_sign_extend((uint64_t)v, bits);
}

ALWAYS void imul(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    int64_t b = x86_sign_extend(x86_get_e(c, i, bits, is_memory), bits);
    s128 v = (s128)x86_sign_extend(c->r.gpr[X86_RAX], bits) * b;

    set_wide(c, (u128)v, bits);
    multiply_flags(c, (uint64_t)v, is_wide_signed(v, bits), bits);
}

ALWAYS void imul_two(struct x86_cpu *c, const struct x86_insn *i, uint64_t a, uint64_t b,
                     unsigned bits)
{
    s128 v = (s128)x86_sign_extend(a, bits) * x86_sign_extend(b, bits);

    x86_set_reg(c, i, i->reg, (uint64_t)v, bits);
    multiply_flags(c, (uint64_t)v, is_wide_signed(v, bits), bits);
}

ALWAYS void imul_ge(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                    bool is_memory)
{
    imul_two(c, i, x86_reg(c, i, i->reg, bits), x86_get_e(c, i, bits, is_memory), bits);
}

ALWAYS void imul_gei(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                     bool is_memory)
{
    imul_two(c, i, x86_get_e(c, i, bits, is_memory), i->imm, bits);
}

ALWAYS void set_quotient(struct x86_cpu *c, uint64_t quotient, uint64_t remainder,
                         unsigned bits)
{
    if (bits == 8) {
        x86_set_low(&c->r.gpr[X86_RAX], (quotient & 0xff) | (remainder & 0xff) << 8, 16);
    } else {
        x86_set_low(&c->r.gpr[X86_RAX], quotient, bits);
        x86_set_low(&c->r.gpr[X86_RDX], remainder, bits);
    }
}

ALWAYS void div(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                bool is_memory)
{
    uint64_t b = x86_get_e(c, i, bits, is_memory);
    u128 a = get_wide(c, bits);

    if (b == 0 || (uint64_t)(a >> bits) >= b) {
        x86_raise(c, X86_DE);
    }
    if (bits < 64 || a >> 64 == 0) {
        set_quotient(c, (uint64_t)a / b, (uint64_t)a % b, bits);
    } else {
        set_quotient(c, (uint64_t)(a / b), (uint64_t)(a % b), bits);
    }
}

/* The sign of the remainder is the dividend's; magnitudes are divided. */
ALWAYS void idiv(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    int64_t b = x86_sign_extend(x86_get_e(c, i, bits, is_memory), bits);
    u128 wide = get_wide(c, bits);
    s128 a = bits == 64 ? (s128)wide : x86_sign_extend((uint64_t)wide, bits * 2 & 127);
    u128 size_a = a < 0 ? -(u128)a : (u128)a;
    uint64_t size_b = b < 0 ? -(uint64_t)b : (uint64_t)b;
    uint64_t limit = UINT64_C(1) << (bits - 1);
    bool is_negative = (a < 0) != (b < 0);
    uint64_t quotient;
    uint64_t remainder;

    if (b == 0 || size_a >> bits >= size_b) {
        x86_raise(c, X86_DE);
    }
    quotient = (uint64_t)(size_a / size_b);
    remainder = (uint64_t)(size_a % size_b);
    if (quotient > limit || (quotient == limit && !is_negative)) {
        x86_raise(c, X86_DE);
    }
    set_quotient(c, is_negative ? -quotient : quotient, a < 0 ? -remainder : remainder,
                 bits);
}

X86_FAMILY(mul)
X86_FAMILY(imul)
X86_FAMILY_V(imul_ge)
X86_FAMILY_V(imul_gei)
X86_FAMILY(div)
X86_FAMILY(idiv)
