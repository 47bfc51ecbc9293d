/* flags.h - the six arithmetic flags, held as what would make them.
 *
 * The representation is described at the head of cpu.h.  The carries of an addition
 * a + b = r of n bits are, for all bit positions at once, the majority of a, b and
 * not r: bit k says that position k carried.  The borrows of a - b = r are the
 * majority of not a, b and r.  Position n-1 is CF, n-2 the carry into the top bit,
 * 3 is AF; shifting position n-1 to bit 63 puts the first two where they belong.
 *
 * (Hacker's Delight, 2nd edition, 2-13; Intel SDM volume 1, 3.4.3.1.) */
#ifndef VIRT_ISA_X86_FLAGS_H
#define VIRT_ISA_X86_FLAGS_H

#include "virt/isa/x86/cpu.h"

#define FLAG_CARRY_CF  (UINT64_C(1) << 63)
#define FLAG_CARRY_TOP (UINT64_C(1) << 62)
#define FLAG_CARRY_AF  (UINT64_C(1) << 3)
#define FLAG_INVERT_SF (UINT64_C(1) << 16)
#define FLAG_INVERT_PF (UINT64_C(1) << 17)

/* What SYSRET takes from R11: all but RF and VM (SDM volume 2, SYSRET). */
#define X86_SYSRET_FLAGS 0x3c7fd7u

/* Turn flags that `rflags` holds into the lazy form. */
void x86_flags_unpack(struct x86_cpu *c);

static inline void x86_flags_lazy(struct x86_cpu *c)
{
    if (__builtin_expect(!c->flags_lazy, 0)) {
        x86_flags_unpack(c);
    }
}

static inline void x86_flags_put(struct x86_cpu *c, int64_t result, uint64_t carry)
{
    c->flag_result = result;
    c->flag_carry = carry;
    c->flags_lazy = true;
}

/* Move carries of an operation of `bits` to their places. */
static inline uint64_t x86_flags_carries(uint64_t carries, unsigned bits)
{
    return (carries << (64 - bits) & (FLAG_CARRY_CF | FLAG_CARRY_TOP)) |
           (carries & FLAG_CARRY_AF);
}

/* Flags of a + b = r and a - b = r, also with a carry in; of a logical result.
 * `result` is sign-extended, `a` and `b` need only be right in their low bits. */
static inline void x86_flags_add(struct x86_cpu *c, uint64_t a, uint64_t b,
                                 int64_t result, unsigned bits)
{
    uint64_t r = (uint64_t)result;

    x86_flags_put(c, result, x86_flags_carries((a & b) | ((a | b) & ~r), bits));
}

static inline void x86_flags_sub(struct x86_cpu *c, uint64_t a, uint64_t b,
                                 int64_t result, unsigned bits)
{
    uint64_t r = (uint64_t)result;

    x86_flags_put(c, result, x86_flags_carries((~a & b) | ((~a | b) & r), bits));
}

static inline void x86_flags_logic(struct x86_cpu *c, int64_t result)
{
    x86_flags_put(c, result, 0);
}

/* All of `result`'s flags, with CF and OF given and AF clear (shifts). */
static inline void x86_flags_shift(struct x86_cpu *c, int64_t result, bool cf, bool of)
{
    x86_flags_put(c, result, ((uint64_t)cf << 63) | ((uint64_t)(cf != of) << 62));
}

static inline bool x86_flag_c(struct x86_cpu *c)
{
    x86_flags_lazy(c);
    return c->flag_carry >> 63;
}

static inline bool x86_flag_o(struct x86_cpu *c)
{
    x86_flags_lazy(c);
    return (c->flag_carry ^ c->flag_carry << 1) >> 63;
}

static inline bool x86_flag_z(struct x86_cpu *c)
{
    x86_flags_lazy(c);
    return c->flag_result == 0;
}

static inline bool x86_flag_s(struct x86_cpu *c)
{
    x86_flags_lazy(c);
    return ((uint64_t)c->flag_result >> 63) ^ (c->flag_carry >> 16 & 1);
}

static inline bool x86_flag_p(struct x86_cpu *c)
{
    x86_flags_lazy(c);
    return !__builtin_parity((uint8_t)c->flag_result) ^ (c->flag_carry >> 17 & 1);
}

static inline bool x86_flag_a(struct x86_cpu *c)
{
    x86_flags_lazy(c);
    return c->flag_carry >> 3 & 1;
}

/* Set only CF and OF, or only CF; the rest stays. */
static inline void x86_flags_set_co(struct x86_cpu *c, bool cf, bool of)
{
    x86_flags_lazy(c);
    c->flag_carry = (c->flag_carry & ~(FLAG_CARRY_CF | FLAG_CARRY_TOP)) |
                    ((uint64_t)cf << 63) | ((uint64_t)(cf != of) << 62);
}

static inline void x86_flags_set_c(struct x86_cpu *c, bool cf)
{
    x86_flags_set_co(c, cf, x86_flag_o(c));
}

/* Set only ZF.  The result is replaced by one with the same SF and PF. */
void x86_flags_set_z(struct x86_cpu *c, bool zf);

/* The condition of Jcc, SETcc and CMOVcc with these four low opcode bits (SDM
 * volume 1, appendix B).  `condition` is a constant wherever speed matters. */
static inline bool x86_condition(struct x86_cpu *c, unsigned condition)
{
    bool is = false;

    switch (condition >> 1) {
    case 0:
        is = x86_flag_o(c);
        break;
    case 1:
        is = x86_flag_c(c);
        break;
    case 2:
        is = x86_flag_z(c);
        break;
    case 3:
        is = (int)x86_flag_c(c) | (int)x86_flag_z(c); /* no branch between them */
        break;
    case 4:
        is = x86_flag_s(c);
        break;
    case 5:
        is = x86_flag_p(c);
        break;
    case 6:
        is = x86_flag_s(c) != x86_flag_o(c);
        break;
    default:
        is = (int)x86_flag_z(c) | (x86_flag_s(c) != x86_flag_o(c));
        break;
    }
    return is != (bool)(condition & 1);
}

/* The six as bits in their RFLAGS places. */
static inline uint32_t x86_flags_get(struct x86_cpu *c)
{
    return (x86_flag_c(c) ? X86_CF : 0) | (x86_flag_p(c) ? X86_PF_BIT : 0) |
           (x86_flag_a(c) ? X86_AF : 0) | (x86_flag_z(c) ? X86_ZF : 0) |
           (x86_flag_s(c) ? X86_SF : 0) | (x86_flag_o(c) ? X86_OF_BIT : 0);
}

#endif
