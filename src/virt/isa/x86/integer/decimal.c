/* decimal.c - DAA, DAS, AAA, AAS, AAM, AAD, SALC; outside 64-bit mode only.
 *
 * Intel SDM volume 2; SALC (D6) is in AMD's and Intel's opcode maps without a page.
 * Undefined flags as current Intel processors have them: OF is clear; AAA and AAS make
 * SF, ZF and PF of AL; AAD has the flags of its addition. */
#include "virt/isa/x86/integer/operand.h"

static uint32_t result_flags(uint8_t v)
{
    return (v == 0 ? X86_ZF : 0) | (v & 0x80 ? X86_SF : 0) |
           (__builtin_parity(v) ? 0 : X86_PF_BIT);
}

static void set_al(struct x86_cpu *c, uint8_t v)
{
    x86_set_low(&c->r.gpr[X86_RAX], v, 8);
}

/* `sign` is 1 for DAA and -1 for DAS. */
static void adjust_packed(struct x86_cpu *c, int sign)
{
    uint8_t al = (uint8_t)c->r.gpr[X86_RAX];
    bool old_cf = x86_flag_c(c);
    bool low = (al & 15) > 9 || x86_flag_a(c);
    bool high = al > 0x99 || old_cf;
    int v = al + sign * (low ? 6 : 0);
    bool cf = high || (sign < 0 && low && (old_cf || v < 0));

    v += sign * (high ? 0x60 : 0);
    set_al(c, (uint8_t)v);
    x86_flags_set(c, result_flags((uint8_t)v) | (cf ? X86_CF : 0) | (low ? X86_AF : 0));
}

static void daa(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    adjust_packed(c, 1);
}

static void das(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    adjust_packed(c, -1);
}

static void adjust_unpacked(struct x86_cpu *c, int sign)
{
    uint16_t ax = (uint16_t)c->r.gpr[X86_RAX];
    bool is_over = (ax & 15) > 9 || x86_flag_a(c);

    if (is_over) {
        ax = (uint16_t)(ax + sign * 0x106);
    }
    ax &= 0xff0f;
    x86_set_low(&c->r.gpr[X86_RAX], ax, 16);
    x86_flags_set(c, result_flags((uint8_t)ax) | (is_over ? X86_CF | X86_AF : 0));
}

static void aaa(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    adjust_unpacked(c, 1);
}

static void aas(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    adjust_unpacked(c, -1);
}

static void aam(struct x86_cpu *c, const struct x86_insn *i)
{
    uint8_t al = (uint8_t)c->r.gpr[X86_RAX];
    uint8_t base = (uint8_t)i->imm;

    if (base == 0) {
        x86_raise(c, X86_DE);
    }
    x86_set_low(&c->r.gpr[X86_RAX], (uint64_t)(al / base) << 8 | al % base, 16);
    x86_flags_set(c, result_flags(al % base));
}

static void aad(struct x86_cpu *c, const struct x86_insn *i)
{
    uint8_t al = (uint8_t)c->r.gpr[X86_RAX];
    uint8_t ah = (uint8_t)(c->r.gpr[X86_RAX] >> 8);
    uint8_t tens = (uint8_t)(ah * (uint8_t)i->imm);
    uint8_t v = (uint8_t)(al + tens);

    x86_set_low(&c->r.gpr[X86_RAX], v, 16);
    x86_flags_add(c, al, tens, (int8_t)v, 8);
}

static void salc(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    set_al(c, x86_flag_c(c) ? 0xff : 0);
}

X86_FAMILY_ONE(daa)
X86_FAMILY_ONE(das)
X86_FAMILY_ONE(aaa)
X86_FAMILY_ONE(aas)
X86_FAMILY_ONE(aam)
X86_FAMILY_ONE(aad)
X86_FAMILY_ONE(salc)
