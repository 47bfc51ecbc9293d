/* condition.c - Jcc, SETcc, CMOVcc, LOOP, JCXZ.
 *
 * One family for each of the sixteen conditions, so that a routine tests just its
 * flags. */
#include "virt/isa/x86/integer/stack.h"

// clang-format off
#define X86_EACH_CONDITION(M)                                                            \
    M(o, 0) M(no, 1) M(b, 2) M(ae, 3) M(e, 4) M(ne, 5) M(be, 6) M(a, 7)                  \
    M(s, 8) M(ns, 9) M(p, 10) M(np, 11) M(l, 12) M(ge, 13) M(le, 14) M(g, 15)
// clang-format on

#define JUMP(name, condition)                                                            \
    ALWAYS void j##name(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,      \
                        bool is_memory)                                                  \
    {                                                                                    \
        (void)is_memory;                                                                 \
        if (x86_condition(c, condition)) {                                               \
            x86_jump(c, x86_relative(c, i, bits));                                       \
        }                                                                                \
    }                                                                                    \
    X86_FAMILY_REG_V(j##name)

X86_EACH_CONDITION(JUMP)

#define SET(name, condition)                                                             \
    static void set##name##_reg(struct x86_cpu *c, const struct x86_insn *i)             \
    {                                                                                    \
        x86_set_reg(c, i, i->rm, x86_condition(c, condition), 8);                        \
    }                                                                                    \
    static void set##name##_mem(struct x86_cpu *c, const struct x86_insn *i)             \
    {                                                                                    \
        x86_store8(c, (enum x86_seg)i->segment, x86_ea(c, i),                            \
                   x86_condition(c, condition));                                         \
    }                                                                                    \
    const struct x86_family x86_do_set##name = {.reg = {set##name##_reg},                \
                                                .mem = {set##name##_mem}};

X86_EACH_CONDITION(SET)

/* Memory is read, and a 32-bit register loses its upper half, in any case. */
#define MOVE(name, condition)                                                            \
    ALWAYS void cmov##name(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,   \
                           bool is_memory)                                               \
    {                                                                                    \
        uint64_t v = x86_get_e(c, i, bits, is_memory);                                   \
                                                                                         \
        x86_set_reg(c, i, i->reg, x86_condition(c, condition) ? v : c->r.gpr[i->reg],    \
                    bits);                                                               \
    }                                                                                    \
    X86_FAMILY_V(cmov##name)

X86_EACH_CONDITION(MOVE)

ALWAYS void loop_if(struct x86_cpu *c, const struct x86_insn *i, unsigned bits, bool is)
{
    uint64_t count = (c->r.gpr[X86_RCX] - 1) & x86_address_mask(i);

    if (count != 0 && is) {
        x86_jump(c, x86_relative(c, i, bits));
    }
    x86_set_address(c, i, X86_RCX, count);
}

#define LOOP(name, condition)                                                            \
    ALWAYS void name(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,         \
                     bool is_memory)                                                     \
    {                                                                                    \
        (void)is_memory;                                                                 \
        loop_if(c, i, bits, condition);                                                  \
    }                                                                                    \
    X86_FAMILY_REG_V(name)

LOOP(loop, true)
LOOP(loope, x86_flag_z(c))
LOOP(loopne, !x86_flag_z(c))

ALWAYS void jcxz(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    (void)is_memory;
    if ((c->r.gpr[X86_RCX] & x86_address_mask(i)) == 0) {
        x86_jump(c, x86_relative(c, i, bits));
    }
}

X86_FAMILY_REG_V(jcxz)
