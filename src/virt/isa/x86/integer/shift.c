/* shift.c - shifts and rotates: by one, by an immediate, by CL; SHLD and SHRD.
 *
 * The count is taken modulo 32 (64 for 64-bit operands); a count of 0 writes no flag,
 * but a 32-bit register still loses its upper half and memory is still written to.
 * Undefined flags as current Intel processors have them: OF is what a shift by one
 * would make it, whatever the count - but ROL and ROR of a register by an immediate
 * other than one leave it; AF is clear; a rotate leaves all but CF and OF.
 *
 * Intel SDM volume 2: RCL/RCR/ROL/ROR, SAL/SAR/SHL/SHR, SHLD, SHRD. */
#include "virt/isa/x86/integer/operand.h"

/* What a shift makes. */
struct shifted {
    uint64_t value;
    bool cf;
    bool of;
};

ALWAYS bool top(uint64_t v, unsigned bits)
{
    return v >> (bits - 1) & 1;
}

ALWAYS bool second(uint64_t v, unsigned bits)
{
    return v >> (bits - 2) & 1;
}

/* Each: 1 <= n <= 31 (63); `a` is zero-extended, and so is the value returned. */
ALWAYS struct shifted shl(uint64_t a, unsigned n, bool carry, unsigned bits)
{
    uint64_t v = n < 64 && n < bits + 1 ? x86_zero_extend(a << n, bits) : 0;
    bool cf = n <= bits && (a >> (bits - n) & 1);

    (void)carry;
    return (struct shifted){v, cf, top(a, bits) != second(a, bits)};
}

ALWAYS struct shifted shr(uint64_t a, unsigned n, bool carry, unsigned bits)
{
    uint64_t v = a >> n;

    (void)carry;
    return (struct shifted){v, a >> (n - 1) & 1, top(a, bits)};
}

ALWAYS struct shifted sar(uint64_t a, unsigned n, bool carry, unsigned bits)
{
    int64_t s = x86_sign_extend(a, bits);

    (void)carry;
    return (struct shifted){x86_zero_extend((uint64_t)(s >> n), bits), s >> (n - 1) & 1,
                            false};
}

ALWAYS struct shifted rol(uint64_t a, unsigned n, bool carry, unsigned bits)
{
    unsigned k = n & (bits - 1);
    uint64_t v = k == 0 ? a : x86_zero_extend(a << k | a >> (bits - k), bits);

    (void)carry;
    return (struct shifted){v, v & 1, top(a, bits) != second(a, bits)};
}

ALWAYS struct shifted ror(uint64_t a, unsigned n, bool carry, unsigned bits)
{
    unsigned k = n & (bits - 1);
    uint64_t v = k == 0 ? a : x86_zero_extend(a >> k | a << (bits - k), bits);

    (void)carry;
    return (struct shifted){v, top(v, bits), (a & 1) != top(a, bits)};
}

/* Through carry: a rotate of bits + 1 bits, here in 128. */
ALWAYS struct shifted rcl(uint64_t a, unsigned n, bool carry, unsigned bits)
{
    unsigned k = n % (bits + 1);
    unsigned __int128 wide = (unsigned __int128)carry << bits | a;
    uint64_t v;
    bool cf;

    wide = wide << k | (k == 0 ? 0 : wide >> (bits + 1 - k));
    v = x86_zero_extend((uint64_t)wide, bits);
    cf = (uint64_t)(wide >> bits) & 1;
    return (struct shifted){v, cf, top(a, bits) != second(a, bits)};
}

ALWAYS struct shifted rcr(uint64_t a, unsigned n, bool carry, unsigned bits)
{
    unsigned k = n % (bits + 1);
    unsigned __int128 wide = (unsigned __int128)carry << bits | a;
    uint64_t v;

    wide = wide >> k | (k == 0 ? 0 : wide << (bits + 1 - k));
    v = x86_zero_extend((uint64_t)wide, bits);
    return (struct shifted){v, (uint64_t)(wide >> bits) & 1, carry != top(a, bits)};
}

typedef struct shifted shift(uint64_t a, unsigned n, bool carry, unsigned bits);

/* Which flags an operation writes. */
enum shift_kind {
    SHIFT,
    ROTATE,      /* CF and OF */
    ROTATE_KEEP, /* CF, and OF for a count of one */
    ROTATE_FULL, /* like ROTATE, but nothing after whole turns of bits + 1 */
};

ALWAYS void shift_flags(struct x86_cpu *c, struct shifted s, enum shift_kind kind,
                        unsigned n, unsigned bits)
{
    if (kind == ROTATE_FULL && n % (bits + 1) == 0) {
        return;
    }
    if (kind == ROTATE_KEEP && n != 1) {
        x86_flags_set_c(c, s.cf);
    } else if (kind != SHIFT) {
        x86_flags_set_co(c, s.cf, s.of);
    } else {
        x86_flags_shift(c, x86_sign_extend(s.value, bits), s.cf, s.of);
    }
}

/* An operation, and which flags it writes in this form. */
struct rule {
    shift *f;
    enum shift_kind kind;
};

ALWAYS void shift_e(struct x86_cpu *c, const struct x86_insn *i, struct rule rule,
                    unsigned count, unsigned bits, bool is_memory)
{
    unsigned n = count & (bits == 64 ? 63 : 31);
    struct shifted s;

    if (is_memory) {
        void *p =
            x86_rmw_begin(c, (enum x86_seg)i->segment, x86_ea(c, i), bits / 8, false);

        if (n == 0) {
            x86_poke(p, x86_peek(p, bits), bits);
            x86_rmw_end(c);
            return;
        }
        s = rule.f(x86_peek(p, bits), n, x86_flag_c(c), bits);
        x86_poke(p, s.value, bits);
        x86_rmw_end(c);
    } else {
        uint64_t a = x86_reg(c, i, i->rm, bits);

        if (n == 0) {
            x86_set_reg(c, i, i->rm, a, bits);
            return;
        }
        s = rule.f(a, n, x86_flag_c(c), bits);
        x86_set_reg(c, i, i->rm, s.value, bits);
    }
    if (is_memory && rule.kind == ROTATE_KEEP) {
        rule.kind = ROTATE;
    }
    shift_flags(c, s, rule.kind, n, bits);
}

#define SHIFT_FORM(op, form, kind, count)                                                \
    ALWAYS void op##_##form(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,  \
                            bool is_memory)                                              \
    {                                                                                    \
        shift_e(c, i, (struct rule){op, kind}, count, bits, is_memory);                  \
    }                                                                                    \
    X86_FAMILY(op##_##form)
#define SHIFT_FAMILIES(op, kind, kind_immediate)                                         \
    SHIFT_FORM(op, ei, kind_immediate, (unsigned)i->imm)                                 \
    SHIFT_FORM(op, e1, kind, 1)                                                          \
    SHIFT_FORM(op, ec, kind, (uint8_t)c->r.gpr[X86_RCX])

SHIFT_FAMILIES(rol, ROTATE, ROTATE_KEEP)
SHIFT_FAMILIES(ror, ROTATE, ROTATE_KEEP)
SHIFT_FAMILIES(rcl, ROTATE_FULL, ROTATE_FULL)
SHIFT_FAMILIES(rcr, ROTATE_FULL, ROTATE_FULL)
SHIFT_FAMILIES(shl, SHIFT, SHIFT)
SHIFT_FAMILIES(shr, SHIFT, SHIFT)
SHIFT_FAMILIES(sar, SHIFT, SHIFT)

/* SHLD: the bits that come in are the other register's top ones.  With 16-bit
 * operands and a count over 16 (undefined) the rotation goes on through first,
 * second, first. */
ALWAYS struct shifted shld(uint64_t a, unsigned n, uint64_t b, unsigned bits)
{
    uint64_t v;
    bool cf;

    if (bits == 16) {
        uint64_t wide = a << 32 | b << 16 | a;

        v = wide >> (32 - n) & 0xffff;
        cf = n <= 16 ? a >> (16 - n) & 1 : b >> (32 - n) & 1;
    } else {
        v = x86_zero_extend(a << n | b >> (bits - n), bits);
        cf = a >> (bits - n) & 1;
    }
    return (struct shifted){v, cf, top(a, bits) != second(a, bits)};
}

ALWAYS struct shifted shrd(uint64_t a, unsigned n, uint64_t b, unsigned bits)
{
    uint64_t v;
    bool cf;

    if (bits == 16) {
        uint64_t wide = a << 32 | b << 16 | a;

        v = wide >> n & 0xffff;
        cf = wide >> (n - 1) & 1;
    } else {
        v = x86_zero_extend(a >> n | b << (bits - n), bits);
        cf = a >> (n - 1) & 1;
    }
    return (struct shifted){v, cf, top(a, bits) != (b & 1)};
}

typedef struct shifted double_shift(uint64_t a, unsigned n, uint64_t b, unsigned bits);

ALWAYS void shift_double(struct x86_cpu *c, const struct x86_insn *i, double_shift *f,
                         unsigned count, unsigned bits, bool is_memory)
{
    unsigned n = count & (bits == 64 ? 63 : 31);
    uint64_t b = x86_reg(c, i, i->reg, bits);
    struct shifted s;
    void *p = NULL;
    uint64_t a;

    if (is_memory) {
        p = x86_rmw_begin(c, (enum x86_seg)i->segment, x86_ea(c, i), bits / 8, false);
        a = x86_peek(p, bits);
    } else {
        a = x86_reg(c, i, i->rm, bits);
    }
    s = n == 0 ? (struct shifted){a, false, false} : f(a, n, b, bits);
    if (is_memory) {
        x86_poke(p, s.value, bits);
        x86_rmw_end(c);
    } else {
        x86_set_reg(c, i, i->rm, s.value, bits);
    }
    if (n != 0) {
        shift_flags(c, s, SHIFT, n, bits);
    }
}

#define DOUBLE_FORM(op, form, count)                                                     \
    ALWAYS void op##_##form(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,  \
                            bool is_memory)                                              \
    {                                                                                    \
        shift_double(c, i, op, count, bits, is_memory);                                  \
    }                                                                                    \
    X86_FAMILY_V(op##_##form)

DOUBLE_FORM(shld, i, (unsigned)i->imm)
DOUBLE_FORM(shld, c, (uint8_t)c->r.gpr[X86_RCX])
DOUBLE_FORM(shrd, i, (unsigned)i->imm)
DOUBLE_FORM(shrd, c, (uint8_t)c->r.gpr[X86_RCX])
