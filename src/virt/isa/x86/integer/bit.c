/* bit.c - BT, BTS, BTR, BTC, BSF, BSR, TZCNT, LZCNT, POPCNT, CRC32, ADCX, ADOX.
 *
 * A bit offset in a register reaches out of a memory operand, in both directions:
 * it is signed, and the operand that holds the bit is accessed (SDM volume 2, BT).
 * Undefined flags as current Intel processors have them: BT and its kin change only
 * CF; BSF and BSR make PF of the index and clear the rest, and leave the destination
 * when the source is 0; TZCNT and LZCNT clear all but ZF and CF. */
#include "virt/isa/x86/integer/operand.h"

ALWAYS uint64_t keep_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)b;
    (void)carry;
    (void)bits;
    return a;
}

ALWAYS uint64_t set_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)carry;
    return a | UINT64_C(1) << (b & (bits - 1));
}

ALWAYS uint64_t reset_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)carry;
    return a & ~(UINT64_C(1) << (b & (bits - 1)));
}

ALWAYS uint64_t complement_value(uint64_t a, uint64_t b, bool carry, unsigned bits)
{
    (void)carry;
    return a ^ UINT64_C(1) << (b & (bits - 1));
}

ALWAYS void bit_flags(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t r,
                      unsigned bits)
{
    bool of = x86_flag_o(c);

    (void)r;
    x86_flags_set_co(c, a >> (b & (bits - 1)) & 1, of);
}

static const struct x86_change change_bts = {set_value, bit_flags, false};
static const struct x86_change change_btr = {reset_value, bit_flags, false};
static const struct x86_change change_btc = {complement_value, bit_flags, false};

/* The operand that a register's bit offset reaches. */
ALWAYS uint64_t bit_address(const struct x86_cpu *c, const struct x86_insn *i,
                            uint64_t offset, unsigned bits)
{
    int64_t far = x86_sign_extend(offset, bits) >> __builtin_ctz(bits);

    return (x86_ea(c, i) + (uint64_t)far * (bits / 8)) & x86_address_mask(i);
}

#define BIT_CHANGE(op)                                                                   \
    ALWAYS void op##_eg(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,      \
                        bool is_memory)                                                  \
    {                                                                                    \
        uint64_t b = x86_reg(c, i, i->reg, bits);                                        \
                                                                                         \
        if (is_memory) {                                                                 \
            x86_change_memory(c, i, bit_address(c, i, b, bits), &change_##op, b, bits);  \
        } else {                                                                         \
            x86_change_e(c, i, &change_##op, b, bits, false);                            \
        }                                                                                \
    }                                                                                    \
    ALWAYS void op##_ei(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,      \
                        bool is_memory)                                                  \
    {                                                                                    \
        x86_change_e(c, i, &change_##op, i->imm, bits, is_memory);                       \
    }                                                                                    \
    X86_FAMILY_V(op##_eg)                                                                \
    X86_FAMILY_V(op##_ei)

BIT_CHANGE(bts)
BIT_CHANGE(btr)
BIT_CHANGE(btc)

ALWAYS void bt_eg(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                  bool is_memory)
{
    uint64_t b = x86_reg(c, i, i->reg, bits);
    uint64_t a = is_memory ? x86_load(c, (enum x86_seg)i->segment,
                                      bit_address(c, i, b, bits), bits)
                           : x86_reg(c, i, i->rm, bits);

    bit_flags(c, a, b, keep_value(a, b, false, bits), bits);
}

ALWAYS void bt_ei(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                  bool is_memory)
{
    uint64_t a = x86_get_e(c, i, bits, is_memory);

    bit_flags(c, a, i->imm, a, bits);
}

X86_FAMILY_V(bt_eg)
X86_FAMILY_V(bt_ei)

ALWAYS uint32_t parity_flag(uint64_t v)
{
    return __builtin_parity((uint8_t)v) ? 0 : X86_PF_BIT;
}

#define SCAN(name, index)                                                                \
    ALWAYS void name(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,         \
                     bool is_memory)                                                     \
    {                                                                                    \
        uint64_t v = x86_get_e(c, i, bits, is_memory);                                   \
                                                                                         \
        if (v == 0) {                                                                    \
            x86_flags_set(c, X86_ZF | X86_PF_BIT);                                       \
        } else {                                                                         \
            x86_set_reg(c, i, i->reg, (uint64_t)(index), bits);                          \
            x86_flags_set(c, parity_flag((uint64_t)(index)));                            \
        }                                                                                \
    }                                                                                    \
    X86_FAMILY_V(name)

SCAN(bsf, __builtin_ctzll(v))
SCAN(bsr, 63 - __builtin_clzll(v))

#define COUNT(name, count)                                                               \
    ALWAYS void name(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,         \
                     bool is_memory)                                                     \
    {                                                                                    \
        uint64_t v = x86_get_e(c, i, bits, is_memory);                                   \
        uint64_t n = v == 0 ? bits : (uint64_t)(count);                                  \
                                                                                         \
        x86_set_reg(c, i, i->reg, n, bits);                                              \
        x86_flags_set(c, (v == 0 ? X86_CF : 0) | (n == 0 ? X86_ZF : 0));                 \
    }                                                                                    \
    X86_FAMILY_V(name)

COUNT(tzcnt, __builtin_ctzll(v))
COUNT(lzcnt, (unsigned)__builtin_clzll(v) + bits - 64)

ALWAYS void popcnt(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                   bool is_memory)
{
    uint64_t v = x86_get_e(c, i, bits, is_memory);

    x86_set_reg(c, i, i->reg, (uint64_t)__builtin_popcountll(v), bits);
    x86_flags_set(c, v == 0 ? X86_ZF : 0);
}

X86_FAMILY_V(popcnt)

/* CRC-32C (Castagnoli), bit-reflected polynomial; RFC 3720, B.4. */
#define CRC32C_POLYNOMIAL 0x82f63b78u

ALWAYS void crc_e(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                  bool is_memory)
{
    uint64_t v = x86_get_e(c, i, bits, is_memory);
    uint32_t crc = (uint32_t)c->r.gpr[i->reg];

    for (unsigned n = 0; n < bits; n++) {
        uint32_t bit = (crc ^ (uint32_t)(v >> n)) & 1;

        crc = crc >> 1 ^ (bit ? CRC32C_POLYNOMIAL : 0);
    }
    c->r.gpr[i->reg] = crc;
}

ALWAYS void crc32(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                  bool is_memory)
{
    crc_e(c, i, bits, is_memory);
}

static void crc32_b(struct x86_cpu *c, const struct x86_insn *i)
{
    crc_e(c, i, 8, i->is_memory);
}

X86_FAMILY_V(crc32)
X86_FAMILY_ONE(crc32_b)

/* Addition with CF alone, or OF alone, as carry in and out. */
ALWAYS uint64_t add_with(struct x86_cpu *c, const struct x86_insn *i, bool carry,
                         unsigned bits, bool is_memory, bool *ret_carry)
{
    unsigned __int128 sum = (unsigned __int128)x86_get_e(c, i, bits, is_memory) +
                            x86_reg(c, i, i->reg, bits) + carry;

    *ret_carry = (uint64_t)(sum >> bits) & 1;
    return (uint64_t)sum;
}

ALWAYS void adcx(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    bool cf;
    uint64_t r = add_with(c, i, x86_flag_c(c), bits, is_memory, &cf);

    x86_set_reg(c, i, i->reg, r, bits);
    x86_flags_set_c(c, cf);
}

ALWAYS void adox(struct x86_cpu *c, const struct x86_insn *i, unsigned bits,
                 bool is_memory)
{
    bool of;
    uint64_t r = add_with(c, i, x86_flag_o(c), bits, is_memory, &of);

    x86_set_reg(c, i, i->reg, r, bits);
    x86_flags_set_co(c, x86_flag_c(c), of);
}

X86_FAMILY_V(adcx)
X86_FAMILY_V(adox)
