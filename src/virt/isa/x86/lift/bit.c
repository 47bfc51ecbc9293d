/* bit.c - single bits, counted bits, and the bit operations of BMI.
 *
 * A bit offset in a register reaches out of a memory operand, in both directions.  Flags
 * that the manual leaves undefined are those of the routines (integer/bit.c, bmi.c). */
#include "virt/isa/x86/lift/private.h"

#define NO_PARITY 4 /* of IR_FLAGS_RESULT */

static ir_value bit_carry(struct work *w, ir_value a, ir_value n, enum x86_size s,
                          ir_value before)
{
    ir_value bit;

    if (w->in->flags_dead) {
        return 0;
    }
    bit = ir_2(w->g, IR_SHR, a, n);
    lift_flags(w, IR_FLAGS_CARRY, s, bit, before);
    return bit;
}

static ir_value changed(struct work *w, enum ir_op op, ir_value a, ir_value mask)
{
    return op == IR_ANDN ? ir_2(w->g, IR_AND, a, ir_1(w->g, IR_NOT, IR_VOID, mask))
                         : ir_2(w->g, op, a, mask);
}

/* The memory operand that a register's offset reaches. */
static struct ir_insn bit_address(struct work *w, enum x86_size s, bool by_register)
{
    struct ir_insn a = lift_address(w);
    ir_value far;

    if (by_register) {
        far = lift_extend(w, lift_register(w, w->i->reg, s), s, X86_64, true);
        far = ir_2(w->g, IR_SAR, far, ir_const(w->g, IR_I64, 3u + s));
        far = ir_2(w->g, IR_SHL, far, ir_const(w->g, IR_I64, s));
        a.arg[0] = ir_2(w->g, IR_ADD, a.arg[0], far);
    }
    return a;
}

static ir_value load_bits(struct work *w, struct ir_insn a, enum x86_size s,
                          bool for_write)
{
    a.op = IR_LOAD;
    a.type = lift_type(s);
    a.access.bytes = (uint8_t)(1u << s);
    a.access.for_write = for_write;
    a.map = lift_map(w);
    return ir_add(w->g, &a);
}

static void store_bits(struct work *w, struct ir_insn a, enum x86_size s, ir_value v)
{
    a.op = IR_STORE;
    a.arg[2] = v;
    a.access.bytes = (uint8_t)(1u << s);
    a.map = lift_map(w);
    ir_add(w->g, &a);
}

/* The number of the bit in its operand, as a value of its width. */
static ir_value bit_number(struct work *w, enum x86_size s)
{
    bool by_register = w->row->operand[1].place == AT_G;

    return by_register ? ir_2(w->g, IR_AND, lift_register(w, w->i->reg, s),
                              lift_const(w, s, (8u << s) - 1))
                       : lift_const(w, s, w->i->imm & ((8u << s) - 1));
}

static bool bits_in_memory(struct work *w, enum ir_op op, enum x86_size s)
{
    struct ir_insn at = bit_address(w, s, w->row->operand[1].place == AT_G);
    ir_value n = bit_number(w, s), before = ir_get(w->g, LIFT_FLAGS), a, mask;

    if (w->i->segment >= X86_FS && w->i->address != X86_64) {
        return false; /* the offset wraps before the base is added */
    }
    if (op == IR_NOP) {
        bit_carry(w, load_bits(w, at, s, false), n, s, before);
        return true;
    }
    mask = ir_2(w->g, IR_SHL, lift_const(w, s, 1), n);
    if (w->i->lock) {
        enum ir_atomic kind = op == IR_OR    ? IR_ATOMIC_OR
                              : op == IR_XOR ? IR_ATOMIC_XOR
                                             : IR_ATOMIC_AND;

        a = lift_atomic(w, kind, s, at,
                        op == IR_ANDN ? ir_1(w->g, IR_NOT, IR_VOID, mask) : mask);
    } else {
        a = load_bits(w, at, s, true);
        store_bits(w, at, s, changed(w, op, a, mask));
    }
    bit_carry(w, a, n, s, before);
    return true;
}

/* BT, BTS, BTR, BTC: nothing, OR, ANDN, XOR. */
static bool lift_bit(struct work *w, unsigned op)
{
    enum x86_size s = lift_size(w, 0);
    ir_value a, n, before;

    if (w->i->is_memory) {
        return bits_in_memory(w, op, s);
    }
    a = lift_read(w, 0);
    n = bit_number(w, s);
    before = ir_get(w->g, LIFT_FLAGS);
    if (op != IR_NOP) {
        lift_write(w, 0, changed(w, op, a, ir_2(w->g, IR_SHL, lift_const(w, s, 1), n)));
    }
    bit_carry(w, a, n, s, before);
    return true;
}

static ir_value is_zero(struct work *w, ir_value v, enum x86_size s)
{
    return ir_2(w->g, IR_EQ, v, lift_const(w, s, 0));
}

/* S and Z of `v`, C as given (0: clear), the rest clear. */
static void result_flags(struct work *w, enum x86_size s, ir_value v, ir_value carry)
{
    ir_value b = lift_const(w, s, NO_PARITY);

    if (carry != 0) {
        b = ir_2(w->g, IR_OR, b, ir_1(w->g, IR_ZEXT, lift_type(s), carry));
    }
    lift_flags(w, IR_FLAGS_RESULT, s, v, b);
}

/* BSF, BSR: of 0 the destination stays, all of it.  P is that of the index. */
static bool lift_scan(struct work *w, unsigned op)
{
    enum x86_size s = lift_size(w, 0);
    ir_value a = lift_read(w, 1), old = ir_get(w->g, w->i->reg), v, f = 0;

    if (s < X86_32) {
        return false;
    }
    v = ir_1(w->g, op, IR_VOID, a);
    if (op == IR_CLZ) {
        v = ir_2(w->g, IR_XOR, v, lift_const(w, s, (8u << s) - 1));
    }
    if (!w->in->flags_dead) {
        f = ir_2(w->g, IR_OR, v, lift_const(w, s, 0x100));
        f = ir_3(w->g, IR_SELECT, lift_type(s),
                 (ir_value[3]){is_zero(w, a, s), lift_const(w, s, 0), f});
    }
    v = lift_extend(w, v, s, X86_64, false);
    ir_set(w->g, w->i->reg,
           ir_3(w->g, IR_SELECT, IR_I64, (ir_value[3]){is_zero(w, a, s), old, v}));
    lift_flags(w, IR_FLAGS_LOGIC, s, f, 0);
    return true;
}

static bool lift_count(struct work *w, unsigned op)
{
    enum x86_size s = lift_size(w, 0);
    ir_value a = lift_read(w, 1), v = ir_1(w->g, op, IR_VOID, a);

    lift_write(w, 0, v);
    if (!w->in->flags_dead) {
        result_flags(w, s, v, is_zero(w, a, s));
    }
    return true;
}

/* All flags but ZF are clear. */
static bool lift_popcnt(struct work *w, unsigned detail)
{
    enum x86_size s = lift_size(w, 0);
    ir_value a = lift_read(w, 1);

    (void)detail;
    lift_write(w, 0, ir_1(w->g, IR_POPCNT, IR_VOID, a));
    if (!w->in->flags_dead) {
        lift_flags(w, IR_FLAGS_BITS, X86_64,
                   ir_2(w->g, IR_SHL, ir_1(w->g, IR_ZEXT, IR_I64, is_zero(w, a, s)),
                        ir_const(w->g, IR_I64, 6)),
                   0);
    }
    return true;
}

static bool lift_andn(struct work *w, unsigned detail)
{
    enum x86_size s = lift_size(w, 0);
    ir_value v = ir_2(w->g, IR_ANDN, lift_read(w, 1), lift_read(w, 2));

    (void)detail;
    lift_write(w, 0, v);
    if (!w->in->flags_dead) {
        result_flags(w, s, v, 0);
    }
    return true;
}

static bool lift_pack(struct work *w, unsigned op)
{
    lift_write(w, 0, ir_2(w->g, op, lift_read(w, 1), lift_read(w, 2)));
    return true;
}

/* BLSR, BLSMSK: x and, xor x - 1, CF where x is 0; BLSI: x and -x, CF where it is not. */
static bool lift_lowest(struct work *w, unsigned op)
{
    enum x86_size s = lift_size(w, 0);
    ir_value a = lift_read(w, 1), zero = lift_const(w, s, 0), v, carry;

    v = op == IR_NEG ? ir_2(w->g, IR_AND, a, ir_1(w->g, IR_NEG, IR_VOID, a))
                     : ir_2(w->g, op, a, ir_2(w->g, IR_SUB, a, lift_const(w, s, 1)));
    lift_write(w, 0, v);
    if (!w->in->flags_dead) {
        carry = ir_2(w->g, op == IR_NEG ? IR_NE : IR_EQ, a, zero);
        result_flags(w, s, v, carry);
    }
    return true;
}

/* The bits below a number in the last operand's low byte. */
static bool lift_bzhi(struct work *w, unsigned detail)
{
    enum x86_size s = lift_size(w, 0);
    ir_value a = lift_read(w, 1), n = lift_read(w, 2), all, small, v;

    (void)detail;
    n = ir_2(w->g, IR_AND, n, lift_const(w, s, 0xff));
    small = ir_2(w->g, IR_ULT, n, lift_const(w, s, 8u << s));
    all = ir_2(w->g, IR_SHL, lift_const(w, s, ~UINT64_C(0)), n);
    v = ir_2(w->g, IR_AND, a, ir_1(w->g, IR_NOT, IR_VOID, all));
    v = ir_3(w->g, IR_SELECT, lift_type(s), (ir_value[3]){small, v, a});
    lift_write(w, 0, v);
    if (!w->in->flags_dead) {
        result_flags(w, s, v, ir_2(w->g, IR_ULE, lift_const(w, s, 8u << s), n));
    }
    return true;
}

const struct lift_name lift_bit_names[] = {
    {"bt", lift_bit, IR_NOP},
    {"bts", lift_bit, IR_OR},
    {"btr", lift_bit, IR_ANDN},
    {"btc", lift_bit, IR_XOR},
    {"bsf", lift_scan, IR_CTZ},
    {"bsr", lift_scan, IR_CLZ},
    {"tzcnt", lift_count, IR_CTZ},
    {"lzcnt", lift_count, IR_CLZ},
    {"popcnt", lift_popcnt, 0},
    {"andn", lift_andn, 0},
    {"pdep", lift_pack, IR_PDEP},
    {"pext", lift_pack, IR_PEXT},
    {"blsr", lift_lowest, IR_AND},
    {"blsmsk", lift_lowest, IR_XOR},
    {"blsi", lift_lowest, IR_NEG},
    {"bzhi", lift_bzhi, 0},
    {NULL, NULL, 0},
};
