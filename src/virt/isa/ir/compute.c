/* compute.c - what integer operations and flags give, in plain C: for folding of
 * constants and for the evaluator.  Words come in within their type's width and go
 * out so. */
#include "virt/isa/ir/private.h"

static int64_t signed_of(uint64_t v, unsigned bits)
{
    return bits >= 64 ? (int64_t)v : (int64_t)(v << (64 - bits)) >> (64 - bits);
}

static uint64_t high_unsigned(uint64_t a, uint64_t b, unsigned bits)
{
    return (uint64_t)(((unsigned __int128)a * b) >> bits);
}

static uint64_t high_signed(int64_t a, int64_t b, unsigned bits)
{
    return (uint64_t)(((__int128)a * b) >> bits);
}

static uint64_t divide_signed(int64_t a, int64_t b, bool remainder)
{
    if (b == 0) {
        return remainder ? (uint64_t)a : ~UINT64_C(0);
    }
    if (b == -1) { /* the one that overflows, too */
        return remainder ? 0 : 0 - (uint64_t)a;
    }
    return (uint64_t)(remainder ? a % b : a / b);
}

static uint64_t deposit_bits(uint64_t a, uint64_t mask)
{
    uint64_t out = 0, bit;

    for (bit = 1; mask != 0; bit <<= 1) {
        uint64_t lowest = mask & (0 - mask);

        out |= (a & bit) != 0 ? lowest : 0;
        mask ^= lowest;
    }
    return out;
}

static uint64_t extract_bits(uint64_t a, uint64_t mask)
{
    uint64_t out = 0, bit;

    for (bit = 1; mask != 0; bit <<= 1) {
        uint64_t lowest = mask & (0 - mask);

        out |= (a & lowest) != 0 ? bit : 0;
        mask ^= lowest;
    }
    return out;
}

static uint64_t reverse_bits(uint64_t a, unsigned bits)
{
    uint64_t out = 0;
    unsigned i;

    for (i = 0; i < bits; i++) {
        out |= ((a >> i) & 1) << (bits - 1 - i);
    }
    return out;
}

static uint64_t shift(enum ir_op op, uint64_t a, uint64_t b, unsigned bits)
{
    unsigned n = (unsigned)(b % bits);

    switch (op) {
    case IR_SHL:
        return a << n;
    case IR_SHR:
        return a >> n;
    case IR_SAR:
        return (uint64_t)(signed_of(a, bits) >> n);
    case IR_ROTL:
        return n == 0 ? a : a << n | a >> (bits - n);
    default:
        return n == 0 ? a : a >> n | a << (bits - n);
    }
}

static uint64_t double_shift(enum ir_op op, struct ir_words w, unsigned bits)
{
    unsigned n = (unsigned)(w.c % bits);

    if (n == 0) {
        return w.a;
    }
    return op == IR_SHLD ? w.a << n | w.b >> (bits - n) : w.a >> n | w.b << (bits - n);
}

static bool compare(enum ir_op op, uint64_t a, uint64_t b, unsigned bits)
{
    int64_t sa = signed_of(a, bits), sb = signed_of(b, bits);

    switch (op) {
    case IR_EQ:
        return a == b;
    case IR_NE:
        return a != b;
    case IR_ULT:
        return a < b;
    case IR_ULE:
        return a <= b;
    case IR_SLT:
        return sa < sb;
    default:
        return sa <= sb;
    }
}

static uint64_t arithmetic(enum ir_op op, struct ir_words w, unsigned bits)
{
    int64_t sa = signed_of(w.a, bits), sb = signed_of(w.b, bits);

    switch (op) {
    case IR_ADD:
        return w.a + w.b;
    case IR_SUB:
        return w.a - w.b;
    case IR_MUL:
        return w.a * w.b;
    case IR_MULH_U:
        return high_unsigned(w.a, w.b, bits);
    case IR_MULH_S:
        return high_signed(sa, sb, bits);
    case IR_DIV_U:
        return w.b == 0 ? ~UINT64_C(0) : w.a / w.b;
    case IR_REM_U:
        return w.b == 0 ? w.a : w.a % w.b;
    case IR_DIV_S:
        return divide_signed(sa, sb, false);
    default:
        return divide_signed(sa, sb, true);
    }
}

static uint64_t bitwise(enum ir_op op, struct ir_words w, unsigned bits)
{
    switch (op) {
    case IR_AND:
        return w.a & w.b;
    case IR_OR:
        return w.a | w.b;
    case IR_XOR:
        return w.a ^ w.b;
    case IR_ANDN:
        return ~w.a & w.b;
    case IR_NOT:
        return ~w.a;
    case IR_NEG:
        return 0 - w.a;
    case IR_CLZ:
        return w.a == 0 ? bits : (unsigned)__builtin_clzll(w.a) - (64 - bits);
    case IR_CTZ:
        return w.a == 0 ? bits : (unsigned)__builtin_ctzll(w.a);
    case IR_POPCNT:
        return (unsigned)__builtin_popcountll(w.a);
    case IR_BSWAP:
        return __builtin_bswap64(w.a) >> (64 - bits);
    case IR_BITREV:
        return reverse_bits(w.a, bits);
    case IR_PDEP:
        return deposit_bits(w.a, w.b);
    default:
        return extract_bits(w.a, w.b);
    }
}

/* `from` is the argument's width, `to` the result's. */
static uint64_t convert(const struct ir_insn *i, struct ir_words w, unsigned from,
                        uint64_t part_mask)
{
    switch (i->op) {
    case IR_SEXT:
        return (uint64_t)signed_of(w.a, from);
    case IR_EXTRACT:
        return w.a >> i->imm;
    case IR_DEPOSIT:
        return (w.a & ~(part_mask << i->imm)) | w.b << i->imm;
    case IR_SELECT:
        return w.a != 0 ? w.b : w.c;
    default: /* zext, trunc, bits */
        return w.a;
    }
}

bool ir_compute(const struct ir_region *g, const struct ir_insn *i, struct ir_words w,
                uint64_t *ret)
{
    enum ir_type t = g->insn[i->arg[0]].type;
    unsigned bits = ir_type_bits[t];
    uint64_t v;

    if (bits == 0 || bits > 64 || t == IR_FLAGS_TYPE || ir_type_bits[i->type] > 64) {
        return false;
    }
    if (i->op >= IR_ADD && i->op <= IR_MULH_S) {
        v = arithmetic(i->op, w, bits);
    } else if (i->op >= IR_DIV_U && i->op <= IR_REM_S) {
        v = arithmetic(i->op, w, bits);
    } else if (i->op >= IR_SHL && i->op <= IR_ROTR) {
        v = shift(i->op, w.a, w.b, bits);
    } else if (i->op == IR_SHLD || i->op == IR_SHRD) {
        v = double_shift(i->op, w, bits);
    } else if ((i->op >= IR_AND && i->op <= IR_NEG) ||
               (i->op >= IR_CLZ && i->op <= IR_PEXT)) {
        v = bitwise(i->op, w, bits);
    } else if ((i->op >= IR_ZEXT && i->op <= IR_SELECT) || i->op == IR_BITS) {
        v = convert(i, w, bits, ir_mask(g->insn[i->arg[1]].type));
    } else if (i->op >= IR_EQ && i->op <= IR_SLE) {
        v = compare(i->op, w.a, w.b, bits);
    } else {
        return false;
    }
    *ret = v & ir_mask(i->type);
    return true;
}

bool ir_fold(const struct ir_region *g, const struct ir_insn *i, uint64_t *ret)
{
    const char *letters = ir_ops[i->op].arguments;
    struct ir_words w = {0};
    uint64_t *word[3] = {&w.a, &w.b, &w.c};
    unsigned n;

    if (letters[0] == '.' || i->type == IR_FLAGS_TYPE || ir_type_bits[i->type] > 64) {
        return false;
    }
    for (n = 0; n < 3; n++) {
        if (letters[n] != '.' && g->insn[i->arg[n]].op != IR_CONST) {
            return false;
        }
        *word[n] = g->insn[i->arg[n]].imm;
    }
    return ir_compute(g, i, w, ret);
}

/* RFLAGS places: C 0, P 2, A 4, Z 6, S 7, O 11 (Intel SDM volume 1, 3.4.3.1). */
static uint64_t from_result(uint64_t r, unsigned bits)
{
    uint64_t f = 0;

    f |= (uint64_t)(__builtin_parityll(r & 0xff) == 0) << 2;
    f |= (uint64_t)(r == 0) << 6;
    f |= ((r >> (bits - 1)) & 1) << 7;
    return f;
}

ir_value ir_flags_kept(const struct ir_insn *f, uint32_t *ret_kept)
{
    *ret_kept = 0;
    if (f->op != IR_FLAGS) {
        return 0;
    }
    switch (f->aux) {
    case IR_FLAGS_INC_R:
    case IR_FLAGS_DEC_R:
        *ret_kept = 0x001;
        return f->arg[1];
    case IR_FLAGS_CARRY:
        *ret_kept = 0x8d4;
        return f->arg[1];
    case IR_FLAGS_ROL_R:
    case IR_FLAGS_ROR_R:
        *ret_kept = 0x0d4;
        return f->arg[1];
    case IR_FLAGS_ROL_N:
    case IR_FLAGS_ROR_N:
    case IR_FLAGS_SHL:
    case IR_FLAGS_SHR:
    case IR_FLAGS_SAR:
        *ret_kept = f->arg[2] != 0 ? 0x8d5 : 0;
        return f->arg[2];
    default:
        return 0;
    }
}

/* `carries` holds at bit n the carry out of bit n. */
static uint64_t from_carries(uint64_t carries, unsigned bits)
{
    uint64_t out = (carries >> (bits - 1)) & 1;
    uint64_t in = bits == 1 ? 0 : (carries >> (bits - 2)) & 1;

    return out | ((carries >> 3) & 1) << 4 | (out ^ in) << 11;
}

static uint64_t shift_flags(enum ir_flags_kind k, unsigned bits, struct ir_words w,
                            uint64_t previous)
{
    unsigned n = (unsigned)w.b & (bits == 64 ? 63 : 31);
    uint64_t mask = bits >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1;
    uint64_t r, c, o;

    if (n == 0) {
        return previous;
    }
    if (k == IR_FLAGS_SHL) {
        r = (w.a << n) & mask;
        c = n <= bits ? (w.a >> (bits - n)) & 1 : 0;
        o = ((w.a >> (bits - 1)) ^ (w.a >> (bits - 2))) & 1;
    } else {
        uint64_t wide = k == IR_FLAGS_SHR ? w.a : (uint64_t)signed_of(w.a, bits);

        r = (k == IR_FLAGS_SHR ? wide >> n : (uint64_t)((int64_t)wide >> n)) & mask;
        c = (wide >> (n - 1)) & 1;
        o = k == IR_FLAGS_SHR ? (w.a >> (bits - 1)) & 1 : 0;
    }
    return from_result(r, bits) | c | o << 11;
}

static uint64_t multiply_flags(enum ir_flags_kind k, unsigned bits, struct ir_words w)
{
    uint64_t mask = bits >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1;
    uint64_t low = (w.a * w.b) & mask;
    uint64_t high;
    bool matters;

    if (k == IR_FLAGS_MUL_U) {
        high = high_unsigned(w.a, w.b, bits) & mask;
        matters = high != 0;
    } else {
        high = high_signed(signed_of(w.a, bits), signed_of(w.b, bits), bits) & mask;
        matters = high != ((low >> (bits - 1)) != 0 ? mask : 0);
    }
    /* Z is clear, as the host's multiplication leaves it. */
    return (from_result(low, bits) & ~(uint64_t)0x40) | (matters ? 0x801u : 0);
}

uint64_t ir_compute_flags(enum ir_flags_kind k, unsigned bits, struct ir_words w,
                          uint64_t previous)
{
    uint64_t mask = bits >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1;
    uint64_t c = k == IR_FLAGS_ADC || k == IR_FLAGS_SBB ? w.c & 1 : 0;
    uint64_t r;

    switch (k) {
    case IR_FLAGS_INC_R:
        return from_result(w.a, bits) |
               (from_carries((w.a - 1) & ~w.a, bits) & ~UINT64_C(1)) | (previous & 1);
    case IR_FLAGS_DEC_R:
        return from_result(w.a, bits) |
               (from_carries(~((w.a + 1) & mask) & w.a, bits) & ~UINT64_C(1)) |
               (previous & 1);
    case IR_FLAGS_ADD_R:
        w.a = (w.a - w.b) & mask;
        return ir_compute_flags(IR_FLAGS_ADD, bits, w, previous);
    case IR_FLAGS_SUB_R:
        w.a = (w.a + w.b) & mask;
        return ir_compute_flags(IR_FLAGS_SUB, bits, w, previous);
    case IR_FLAGS_ADD:
    case IR_FLAGS_ADC:
        r = (w.a + w.b + c) & mask;
        return from_result(r, bits) |
               from_carries((w.a & w.b) | ((w.a | w.b) & ~r), bits);
    case IR_FLAGS_SUB:
    case IR_FLAGS_SBB:
        r = (w.a - w.b - c) & mask;
        return from_result(r, bits) |
               from_carries((~w.a & w.b) | ((~w.a | w.b) & r), bits);
    case IR_FLAGS_LOGIC:
        return from_result(w.a, bits);
    case IR_FLAGS_SHL:
    case IR_FLAGS_SHR:
    case IR_FLAGS_SAR:
        return shift_flags(k, bits, w, previous);
    case IR_FLAGS_CARRY:
        return (w.a & 1) | (previous & 0x8d4);
    case IR_FLAGS_RESULT:
        return (from_result(w.a, bits) & ~(w.b & 4)) | (w.b & 1) | (w.b & 2) << 10;
    case IR_FLAGS_ROL_N:
    case IR_FLAGS_ROR_N:
        return (w.b & (bits == 64 ? 63 : 31)) == 0
                   ? previous
                   : ir_compute_flags(k == IR_FLAGS_ROL_N ? IR_FLAGS_ROL_R
                                                          : IR_FLAGS_ROR_R,
                                      bits, w, previous);
    case IR_FLAGS_ROL_R:
        c = w.a & 1;
        return c | (c ^ (w.a >> (bits - 1) & 1)) << 11 | (previous & 0x0d4);
    case IR_FLAGS_ROR_R:
        c = w.a >> (bits - 1) & 1;
        return c | (c ^ (w.a >> (bits - 2) & 1)) << 11 | (previous & 0x0d4);
    case IR_FLAGS_MUL_U:
    case IR_FLAGS_MUL_S:
        return multiply_flags(k, bits, w);
    default:
        return w.a & 0x8d5;
    }
}

bool ir_compute_cond(enum ir_cond c, uint64_t f)
{
    bool carry = (f & 1) != 0, zero = (f & 0x40) != 0, sign = (f & 0x80) != 0;
    bool overflow = (f & 0x800) != 0, parity = (f & 4) != 0;
    bool even;

    switch (c / 2) {
    case IR_COND_O / 2:
        even = overflow;
        break;
    case IR_COND_C / 2:
        even = carry;
        break;
    case IR_COND_Z / 2:
        even = zero;
        break;
    case IR_COND_BE / 2:
        even = carry || zero;
        break;
    case IR_COND_S / 2:
        even = sign;
        break;
    case IR_COND_P / 2:
        even = parity;
        break;
    case IR_COND_L / 2:
        even = sign != overflow;
        break;
    default:
        even = zero || sign != overflow;
        break;
    }
    return even != ((c & 1) != 0);
}
