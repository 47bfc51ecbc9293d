/* move.c - MOV, MOVZX, MOVSX, MOVSXD, MOVBE, LEA, BSWAP, XLAT, sign extensions. */
#include "virt/isa/x86/integer/operand.h"

ALWAYS void mov_eg(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                   bool is_memory)
{
    x86_set_e(c, i, x86_reg(c, i, i->reg, bits), bits, is_memory);
}

ALWAYS void mov_ge(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                   bool is_memory)
{
    x86_set_reg(c, i, i->reg, x86_get_e(c, i, bits, is_memory), bits);
}

ALWAYS void mov_ei(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                   bool is_memory)
{
    x86_set_e(c, i, i->imm, bits, is_memory);
}

ALWAYS void mov_zi(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                   bool is_memory)
{
    (void)is_memory;
    x86_set_reg(c, i, i->reg, i->imm, bits);
}

/* The offset is the immediate. */
ALWAYS void mov_ao(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                   bool is_memory)
{
    (void)is_memory;
    x86_set_low(&c->r.gpr[X86_RAX], x86_load(c, (enum x86_seg)i->segment, i->imm, bits),
                bits);
}

ALWAYS void mov_oa(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                   bool is_memory)
{
    (void)is_memory;
    x86_store(c, (enum x86_seg)i->segment, i->imm, c->r.gpr[X86_RAX], bits);
}

X86_FAMILY(mov_eg)
X86_FAMILY(mov_ge)
X86_FAMILY(mov_ei)
X86_FAMILY_REG(mov_zi)
X86_FAMILY_REG(mov_ao)
X86_FAMILY_REG(mov_oa)

/* From a segment register: 16 bits to memory, zero-extended to a register. */
ALWAYS void mov_es(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                   bool is_memory)
{
    uint16_t selector = c->r.seg[i->reg].selector;

    if (is_memory) {
        x86_store16(c, (enum x86_seg)i->segment, x86_ea(c, i), selector);
    } else {
        x86_set_reg(c, i, i->rm, selector, bits);
    }
}

static void mov_se(struct x86_cpu *c, const struct x86_insn *i)
{
    if (i->reg == X86_CS) {
        x86_raise(c, X86_UD);
    }
    x86_load_segment(c, (enum x86_seg)i->reg,
                     (uint16_t)x86_get_e(c, i, 16, i->is_memory));
}

X86_FAMILY_V(mov_es)
X86_FAMILY_ONE(mov_se)

ALWAYS void lea(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                bool is_memory)
{
    (void)is_memory;
    x86_set_reg(c, i, i->reg, x86_ea(c, i), bits);
}

X86_FAMILY_MEM_V(lea)

#define EXTEND(name, from, how)                                                          \
    ALWAYS void name(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,         \
                     bool is_memory)                                                     \
    {                                                                                    \
        x86_set_reg(c, i, i->reg, (uint64_t)how(x86_get_e(c, i, from, is_memory), from), \
                    bits);                                                               \
    }                                                                                    \
    X86_FAMILY_V(name)

EXTEND(movzx_b, 8, x86_zero_extend)
EXTEND(movzx_w, 16, x86_zero_extend)
EXTEND(movsx_b, 8, x86_sign_extend)
EXTEND(movsx_w, 16, x86_sign_extend)

/* With a 16-bit operand size the source has 16 bits too. */
ALWAYS void movsxd(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                   bool is_memory)
{
    unsigned from = bits == 16 ? 16 : 32;

    x86_set_reg(c, i, i->reg,
                (uint64_t)x86_sign_extend(x86_get_e(c, i, from, is_memory), from), bits);
}

X86_FAMILY_V(movsxd)

ALWAYS uint64_t swap(uint64_t v, unsigned bits)
{
    return __builtin_bswap64(v) >> (64 - bits);
}

ALWAYS void movbe_load(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                       bool is_memory)
{
    x86_set_reg(c, i, i->reg, swap(x86_get_e(c, i, bits, is_memory), bits), bits);
}

ALWAYS void movbe_store(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                        bool is_memory)
{
    x86_set_e(c, i, swap(c->r.gpr[i->reg], bits), bits, is_memory);
}

X86_FAMILY_MEM_V(movbe_load)
X86_FAMILY_MEM_V(movbe_store)

/* Of 16 bits: undefined; processors give 0. */
ALWAYS void bswap(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                  bool is_memory)
{
    uint64_t v = bits == 16 ? 0 : swap(c->r.gpr[i->reg], bits);

    (void)is_memory;
    x86_set_reg(c, i, i->reg, v, bits);
}

X86_FAMILY_REG_V(bswap)

static void xlat(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t at = (c->r.gpr[X86_RBX] + (uint8_t)c->r.gpr[X86_RAX]) & x86_address_mask(i);

    x86_set_low(&c->r.gpr[X86_RAX], x86_load8(c, (enum x86_seg)i->segment, at), 8);
}

X86_FAMILY_ONE(xlat)

/* CBW, CWDE, CDQE */
ALWAYS void cbw(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                bool is_memory)
{
    (void)i;
    (void)is_memory;
    x86_set_low(&c->r.gpr[X86_RAX],
                (uint64_t)x86_sign_extend(c->r.gpr[X86_RAX], bits / 2), bits);
}

/* CWD, CDQ, CQO */
ALWAYS void cwd(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                bool is_memory)
{
    (void)i;
    (void)is_memory;
    x86_set_low(&c->r.gpr[X86_RDX],
                (uint64_t)(x86_sign_extend(c->r.gpr[X86_RAX], bits) >> 63), bits);
}

X86_FAMILY_REG_V(cbw)
X86_FAMILY_REG_V(cwd)
