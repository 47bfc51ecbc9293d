/* alu.c - ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, NOT, NEG, INC, DEC.
 *
 * Each operation is a `struct x86_change`; the forms of operands (register or memory
 * with register, register with either, immediate, accumulator) are made from it. */
#include "virt/isa/x86/integer/operand.h"

ALWAYS uint64_t add_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)carry;
    return x86_zero_extend(a + b, bits);
}

ALWAYS uint64_t adc_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    return x86_zero_extend(a + b + carry, bits);
}

ALWAYS uint64_t sub_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)carry;
    return x86_zero_extend(a - b, bits);
}

ALWAYS uint64_t sbb_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    return x86_zero_extend(a - b - carry, bits);
}

ALWAYS uint64_t and_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)carry;
    (void)bits;
    return a & b;
}

ALWAYS uint64_t or_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)carry;
    return x86_zero_extend(a | b, bits);
}

ALWAYS uint64_t xor_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)carry;
    return x86_zero_extend(a ^ b, bits);
}

ALWAYS uint64_t not_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)b;
    (void)carry;
    return x86_zero_extend(~a, bits);
}

ALWAYS uint64_t neg_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)b;
    (void)carry;
    return x86_zero_extend(-a, bits);
}

ALWAYS void add_flags(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t r,
                      unsigned bits)
{
    x86_flags_add(c, a, b, x86_sign_extend(r, bits), bits);
}

ALWAYS void sub_flags(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t r,
                      unsigned bits)
{
    x86_flags_sub(c, a, b, x86_sign_extend(r, bits), bits);
}

ALWAYS void logic_flags(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t r,
                        unsigned bits)
{
    (void)a;
    (void)b;
    x86_flags_logic(c, x86_sign_extend(r, bits));
}

ALWAYS void neg_flags(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t r,
                      unsigned bits)
{
    (void)b;
    x86_flags_sub(c, 0, a, x86_sign_extend(r, bits), bits);
}

/* INC and DEC keep CF. */
ALWAYS void inc_flags(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t r,
                      unsigned bits)
{
    bool cf = x86_flag_c(c);

    x86_flags_add(c, a, b, x86_sign_extend(r, bits), bits);
    x86_flags_set_c(c, cf);
}

ALWAYS void dec_flags(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t r,
                      unsigned bits)
{
    bool cf = x86_flag_c(c);

    x86_flags_sub(c, a, b, x86_sign_extend(r, bits), bits);
    x86_flags_set_c(c, cf);
}

ALWAYS void no_flags(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t r, unsigned bits)
{
    (void)c;
    (void)a;
    (void)b;
    (void)r;
    (void)bits;
}

static const struct x86_change change_add = {add_value, add_flags, false};
static const struct x86_change change_or = {or_value, logic_flags, false};
static const struct x86_change change_adc = {adc_value, add_flags, true};
static const struct x86_change change_sbb = {sbb_value, sub_flags, true};
static const struct x86_change change_and = {and_value, logic_flags, false};
static const struct x86_change change_sub = {sub_value, sub_flags, false};
static const struct x86_change change_xor = {xor_value, logic_flags, false};
static const struct x86_change change_not = {not_value, no_flags, false};
static const struct x86_change change_neg = {neg_value, neg_flags, false};
static const struct x86_change change_inc = {add_value, inc_flags, false};
static const struct x86_change change_dec = {sub_value, dec_flags, false};

/* Change a register by a value. */
ALWAYS void change_reg(struct x86_cpu *c, const struct x86_insn *i, unsigned n,
                       const struct x86_change *change, uint64_t b, unsigned bits)
{
    uint64_t a = x86_reg(c, i, n, bits);
    uint64_t r = change->value(a, b, change->reads_carry && x86_flag_c(c), bits);

    x86_set_reg(c, i, n, r, bits);
    change->flags(c, a, b, r, bits);
}

#define CHANGE_FAMILIES(op)                                                              \
    ALWAYS void op##_eg(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,      \
                        bool is_memory)                                                  \
    {                                                                                    \
        x86_change_e(c, i, &change_##op, x86_reg(c, i, i->reg, bits), bits, is_memory);  \
    }                                                                                    \
    ALWAYS void op##_ge(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,      \
                        bool is_memory)                                                  \
    {                                                                                    \
        change_reg(c, i, i->reg, &change_##op, x86_get_e(c, i, bits, is_memory), bits);  \
    }                                                                                    \
    ALWAYS void op##_ei(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,      \
                        bool is_memory)                                                  \
    {                                                                                    \
        x86_change_e(c, i, &change_##op, i->imm, bits, is_memory);                       \
    }                                                                                    \
    ALWAYS void op##_ai(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,      \
                        bool is_memory)                                                  \
    {                                                                                    \
        (void)is_memory;                                                                 \
        change_reg(c, i, X86_RAX, &change_##op, i->imm, bits);                           \
    }                                                                                    \
    X86_FAMILY(op##_eg)                                                                  \
    X86_FAMILY(op##_ge)                                                                  \
    X86_FAMILY(op##_ei)                                                                  \
    X86_FAMILY_REG(op##_ai)

CHANGE_FAMILIES(add)
CHANGE_FAMILIES(or)
CHANGE_FAMILIES(adc)
CHANGE_FAMILIES(sbb)
CHANGE_FAMILIES(and)
CHANGE_FAMILIES(sub)
CHANGE_FAMILIES(xor)

/* CMP and TEST: only the flags. */
#define COMPARE_FLAGS_cmp(a, b)  sub_flags(c, a, b, (a) - (b), bits)
#define COMPARE_FLAGS_test(a, b) logic_flags(c, a, b, (a) & (b), bits)

#define COMPARE(op, name, left, right)                                                   \
    ALWAYS void op##_##name(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,  \
                            bool is_memory)                                              \
    {                                                                                    \
        uint64_t a = left;                                                               \
        uint64_t b = right;                                                              \
                                                                                         \
        (void)is_memory;                                                                 \
        COMPARE_FLAGS_##op(a, b);                                                        \
    }

#define OPERAND_E x86_get_e(c, i, bits, is_memory)
#define OPERAND_G x86_reg(c, i, i->reg, bits)
#define OPERAND_A x86_reg(c, i, X86_RAX, bits)

COMPARE(cmp, eg, OPERAND_E, OPERAND_G)
COMPARE(cmp, ge, OPERAND_G, OPERAND_E)
COMPARE(cmp, ei, OPERAND_E, i->imm)
COMPARE(cmp, ai, OPERAND_A, i->imm)
COMPARE(test, eg, OPERAND_E, OPERAND_G)
COMPARE(test, ei, OPERAND_E, i->imm)
COMPARE(test, ai, OPERAND_A, i->imm)
X86_FAMILY(cmp_eg)
X86_FAMILY(cmp_ge)
X86_FAMILY(cmp_ei)
X86_FAMILY_REG(cmp_ai)
X86_FAMILY(test_eg)
X86_FAMILY(test_ei)
X86_FAMILY_REG(test_ai)

#define CHANGE_ONE(op, other)                                                            \
    ALWAYS void op(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,           \
                   bool is_memory)                                                       \
    {                                                                                    \
        x86_change_e(c, i, &change_##op, other, bits, is_memory);                        \
    }                                                                                    \
    X86_FAMILY(op)

CHANGE_ONE(not, 0)
CHANGE_ONE(neg, 0)
CHANGE_ONE(inc, 1)
CHANGE_ONE(dec, 1)

/* 40..4f outside 64-bit mode */
#define CHANGE_Z(op)                                                                     \
    ALWAYS void op##_z(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,       \
                       bool is_memory)                                                   \
    {                                                                                    \
        (void)is_memory;                                                                 \
        change_reg(c, i, i->reg, &change_##op, 1, bits);                                 \
    }                                                                                    \
    X86_FAMILY_REG_V(op##_z)

CHANGE_Z(inc)
CHANGE_Z(dec)
