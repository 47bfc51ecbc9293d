/* flag.c - LAHF, SAHF, CMC, CLC, STC, CLD, STD, NOP, RDRAND, RDSEED. */
#include <sys/random.h>

#include "virt/isa/x86/integer/operand.h"

static void lahf(struct x86_cpu *c, const struct x86_insn *i)
{
    uint8_t ah = (uint8_t)(x86_flags_get(c) | 2);

    (void)i;
    x86_set_low(&c->r.gpr[X86_RAX], (uint64_t)ah << 8 | (c->r.gpr[X86_RAX] & 0xff), 16);
}

static void sahf(struct x86_cpu *c, const struct x86_insn *i)
{
    uint32_t of = x86_flag_o(c) ? X86_OF_BIT : 0;

    (void)i;
    x86_flags_set(c, ((uint32_t)(c->r.gpr[X86_RAX] >> 8) & 0xff) | of);
}

static void cmc(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_flags_set_c(c, !x86_flag_c(c));
}

static void clc(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_flags_set_c(c, false);
}

static void stc(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    x86_flags_set_c(c, true);
}

static void cld(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    c->r.rflags &= ~(uint64_t)X86_DF_BIT;
}

static void std(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)i;
    c->r.rflags |= X86_DF_BIT;
}

static void nop(struct x86_cpu *c, const struct x86_insn *i)
{
    (void)c;
    (void)i;
}

X86_FAMILY_ONE(lahf)
X86_FAMILY_ONE(sahf)
X86_FAMILY_ONE(cmc)
X86_FAMILY_ONE(clc)
X86_FAMILY_ONE(stc)
X86_FAMILY_ONE(cld)
X86_FAMILY_ONE(std)
X86_FAMILY_ONE(nop)

/* Random numbers; CF says whether there were any. */
ALWAYS void rdrand(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                   bool is_memory)
{
    const struct cpu_env *env = c->base.env;
    uint64_t v = env->random != NULL ? env->random(env->who) : 0;
    bool is_there = env->random != NULL ||
                    getrandom(&v, sizeof v, GRND_NONBLOCK) == (ssize_t)sizeof v;

    (void)is_memory;
    x86_set_reg(c, i, i->rm, is_there ? v : 0, bits);
    x86_flags_set(c, is_there ? X86_CF : 0);
}

X86_ROUTINES_REG_V(rdrand)
const struct x86_family x86_do_rdrand = {.reg = {X86_SLOTS_V(rdrand, r)}};
const struct x86_family x86_do_rdseed = {.reg = {X86_SLOTS_V(rdrand, r)}};
