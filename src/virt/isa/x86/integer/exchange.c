/* exchange.c - XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B.
 *
 * XCHG with memory is locked, prefix or not.  CMPXCHG writes its destination in any
 * case, with the old value where the comparison fails, so memory must be writable; a
 * 32-bit register of either side keeps its upper half unless it is exchanged (as the
 * processors do; the manual is silent). */
#include "virt/isa/x86/integer/operand.h"

ALWAYS uint64_t take_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)a;
    (void)carry;
    (void)bits;
    return b;
}

ALWAYS uint64_t sum_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)carry;
    return x86_zero_extend(a + b, bits);
}

ALWAYS void no_flags(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t r, unsigned bits)
{
    (void)c;
    (void)a;
    (void)b;
    (void)r;
    (void)bits;
}

ALWAYS void sum_flags(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t r,
                      unsigned bits)
{
    x86_flags_add(c, a, b, x86_sign_extend(r, bits), bits);
}

static const struct x86_change change_take = {take_value, no_flags, false};
static const struct x86_change change_sum = {sum_value, sum_flags, false};

ALWAYS void xchg(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    uint64_t b = x86_reg(c, i, i->reg, bits);
    uint64_t a;

    if (is_memory) {
        void *p =
            x86_rmw_begin(c, (enum x86_seg)i->segment, x86_ea(c, i), bits / 8, true);

        a = x86_change_locked(p, &change_take, b, false, bits);
        x86_rmw_end(c);
    } else {
        a = x86_reg(c, i, i->rm, bits);
        x86_set_reg(c, i, i->rm, b, bits);
    }
    x86_set_reg(c, i, i->reg, a, bits);
}

/* 90..97.  90 without REX.B is a row of its own, NOP; F3 90 is PAUSE also with it. */
ALWAYS void xchg_za(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                    bool is_memory)
{
    uint64_t a = x86_reg(c, i, X86_RAX, bits);

    (void)is_memory;
    if (i->reg == X86_R8 && i->repeat == 0xf3) {
        return;
    }
    x86_set_low(&c->r.gpr[X86_RAX], c->r.gpr[i->reg], bits);
    x86_set_reg(c, i, i->reg, a, bits);
}

ALWAYS void xadd(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    uint64_t b = x86_reg(c, i, i->reg, bits);

    if (is_memory) {
        x86_set_reg(c, i, i->reg,
                    x86_change_memory(c, i, x86_ea(c, i), &change_sum, b, bits), bits);
    } else {
        uint64_t a = x86_reg(c, i, i->rm, bits);
        uint64_t r = x86_zero_extend(a + b, bits);

        x86_set_reg(c, i, i->reg, a, bits); /* the sum wins where both are one */
        x86_set_reg(c, i, i->rm, r, bits);
        sum_flags(c, a, b, r, bits);
    }
}

X86_FAMILY(xchg)
X86_FAMILY_REG_V(xchg_za)
X86_FAMILY(xadd)

/* Exchange if equal, in memory; returns what was there. */
ALWAYS uint64_t exchange_memory(struct x86_cpu *c, const struct x86_insn *i,
                                uint64_t expected, uint64_t v, unsigned bits)
{
    void *p = x86_rmw_begin(c, (enum x86_seg)i->segment, x86_ea(c, i), bits / 8, i->lock);
    uint64_t old = expected;

    if (i->lock) {
        (void)x86_cas(p, &old, v, bits);
    } else {
        old = x86_peek(p, bits);
        x86_poke(p, old == expected ? v : old, bits);
    }
    x86_rmw_end(c);
    return old;
}

ALWAYS void cmpxchg(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                    bool is_memory)
{
    uint64_t expected = x86_reg(c, i, X86_RAX, bits);
    uint64_t v = x86_reg(c, i, i->reg, bits);
    uint64_t old;

    if (is_memory) {
        old = exchange_memory(c, i, expected, v, bits);
    } else {
        old = x86_reg(c, i, i->rm, bits);
        if (old == expected) {
            x86_set_reg(c, i, i->rm, v, bits);
        }
    }
    if (old != expected) {
        x86_set_low(&c->r.gpr[X86_RAX], old, bits);
    }
    x86_flags_sub(c, expected, old, x86_sign_extend(expected - old, bits), bits);
}

X86_FAMILY(cmpxchg)

static void cmpxchg8b(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t expected = c->r.gpr[X86_RDX] << 32 | (uint32_t)c->r.gpr[X86_RAX];
    uint64_t v = c->r.gpr[X86_RCX] << 32 | (uint32_t)c->r.gpr[X86_RBX];
    uint64_t old = exchange_memory(c, i, expected, v, 64);

    if (old != expected) {
        c->r.gpr[X86_RAX] = (uint32_t)old;
        c->r.gpr[X86_RDX] = old >> 32;
    }
    x86_flags_set_z(c, old == expected);
}

X86_FAMILY_ONE(cmpxchg8b)

/* 16 bytes of the host at once, where it can; the operand is aligned (else #GP). */
__attribute__((target("cx16"))) static bool cas128(void *p, unsigned __int128 *old,
                                                   unsigned __int128 v)
{
    uint64_t low = (uint64_t)*old;
    uint64_t high = (uint64_t)(*old >> 64);
    bool is_done;

    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(is_done), "+m"(*(unsigned __int128 *)p), "+a"(low),
                       "+d"(high)
                     : "b"((uint64_t)v), "c"((uint64_t)(v >> 64))
                     : "memory");
    *old = (unsigned __int128)high << 64 | low;
    return is_done;
}

static bool is_aligned16(const struct x86_cpu *c, const struct x86_insn *i, uint64_t at)
{
    return ((at + (i->segment >= X86_FS ? c->r.seg[i->segment].base : 0)) & 15) == 0;
}

static void cmpxchg16b(struct x86_cpu *c, const struct x86_insn *i)
{
    uint64_t at = x86_ea(c, i);
    unsigned __int128 expected =
        (unsigned __int128)c->r.gpr[X86_RDX] << 64 | c->r.gpr[X86_RAX];
    unsigned __int128 v = (unsigned __int128)c->r.gpr[X86_RCX] << 64 | c->r.gpr[X86_RBX];
    unsigned __int128 old = expected;
    void *p;

    if (!is_aligned16(c, i, at)) {
        x86_raise_error(c, X86_GP, 0);
    }
    p = x86_rmw_begin(c, (enum x86_seg)i->segment, at, 16, i->lock);
    (void)cas128(p, &old, v);
    x86_rmw_end(c);
    if (old != expected) {
        c->r.gpr[X86_RAX] = (uint64_t)old;
        c->r.gpr[X86_RDX] = (uint64_t)(old >> 64);
    }
    x86_flags_set_z(c, old == expected);
}

X86_FAMILY_ONE(cmpxchg16b)
