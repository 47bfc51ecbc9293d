/* shift.c - shifts and rotations.
 *
 * Counts are taken by 31, by 63 for 64-bit operands.  8 and 16 bits are shifted in 32, so
 * that a count past the width does what it has to.  A count that is not known leaves the
 * flags as they are when it is 0: they stay a value that is worked out where somebody
 * asks. */
#include "virt/isa/x86/lift/private.h"

struct count {
    bool known;
    unsigned n; /* when it is */
};

static struct count count_of(const struct work *w, unsigned operand, enum x86_size s)
{
    uint8_t place = w->row->operand[operand].place;
    unsigned mask = s == X86_64 ? 63 : 31;

    return (struct count){.known = place != AT_CL,
                          .n = place == AT_ONE ? 1 : (unsigned)w->i->imm & mask};
}

/* By a count of 0: a 32-bit register loses its upper half; memory is for the routine. */
static bool by_nothing(struct work *w, enum x86_size s)
{
    if (w->i->is_memory) {
        return false;
    }
    if (s == X86_32) {
        lift_write(w, 0, lift_read(w, 0));
    }
    return true;
}

static ir_value count_value(struct work *w, struct count n, enum x86_size s)
{
    return n.known ? lift_const(w, s, n.n)
                   : lift_extend(w, lift_register(w, X86_RCX, X86_8), X86_8, s, false);
}

static bool lift_shift(struct work *w, unsigned op)
{
    static const uint8_t kinds[] = {[IR_SHL - IR_SHL] = IR_FLAGS_SHL,
                                    [IR_SHR - IR_SHL] = IR_FLAGS_SHR,
                                    [IR_SAR - IR_SHL] = IR_FLAGS_SAR};
    enum x86_size s = lift_size(w, 0);
    struct count n = count_of(w, 1, s);
    bool is_wide = s >= X86_32 || (n.known && n.n < 8u << s);
    enum x86_size in = is_wide ? s : X86_32;
    ir_value a, v, before = 0, by;

    if (n.known && n.n == 0) {
        return by_nothing(w, s);
    }
    a = lift_read_for_write(w, 0);
    by = n.known ? lift_const(w, s, n.n) : lift_register(w, X86_RCX, X86_8);
    v = ir_2(w->g, op, lift_extend(w, a, s, in, op == IR_SAR), count_value(w, n, in));
    if (!n.known && !w->in->flags_dead) {
        before = ir_get(w->g, LIFT_FLAGS);
    }
    lift_write(w, 0, lift_extend(w, v, in, s, false));
    lift_flags_3(w, kinds[op - IR_SHL], s, a, by, before);
    return true;
}

/* What a rotation by one would have to give so that CF is that of `v`, and OF what the
 * first step of rotating `a` makes: so processors do it, whatever the count. */
static ir_value as_by_one(struct work *w, unsigned op, enum x86_size s, ir_value a,
                          ir_value v)
{
    unsigned top = (8u << s) - 1;
    uint64_t carry = op == IR_ROTL ? 1 : UINT64_C(1) << top;
    uint64_t other = UINT64_C(1) << (op == IR_ROTL ? top : top - 1);
    ir_value x;

    if (op == IR_ROTL) {
        x = ir_2(w->g, IR_XOR, a, ir_2(w->g, IR_SHL, a, lift_const(w, s, 1)));
        x = ir_2(w->g, IR_XOR, x, ir_2(w->g, IR_SHL, v, lift_const(w, s, top)));
    } else {
        x = ir_2(w->g, IR_XOR, a, v);
        x = ir_2(w->g, IR_SHR, x, lift_const(w, s, 1));
        x = ir_2(w->g, IR_XOR, x, ir_2(w->g, IR_SHL, a, lift_const(w, s, top - 1)));
    }
    return ir_2(w->g, IR_OR, ir_2(w->g, IR_AND, v, lift_const(w, s, carry)),
                ir_2(w->g, IR_AND, x, lift_const(w, s, other)));
}

/* The flags of a rotation; they become the guest's when its result is written. */
static struct ir_insn rotate_flags(struct work *w, unsigned op, struct count n,
                                   ir_value a, ir_value v)
{
    enum x86_size s = lift_size(w, 0);
    ir_value before = ir_get(w->g, LIFT_FLAGS);
    bool left = op == IR_ROTL;

    if (!n.known) {
        return (struct ir_insn){
            .aux = left ? IR_FLAGS_ROL_N : IR_FLAGS_ROR_N,
            .arg = {as_by_one(w, op, s, a, v), lift_register(w, X86_RCX, X86_8), before}};
    }
    if (n.n != 1 && !w->i->is_memory) { /* OF stays */
        v = left ? v : ir_2(w->g, IR_SHR, v, lift_const(w, s, (8u << s) - 1));
        return (struct ir_insn){.aux = IR_FLAGS_CARRY, .arg = {v, before}};
    }
    v = n.n == 1 ? v : as_by_one(w, op, s, a, v);
    return (struct ir_insn){.aux = left ? IR_FLAGS_ROL_R : IR_FLAGS_ROR_R,
                            .arg = {v, before}};
}

static bool lift_rotate(struct work *w, unsigned op)
{
    enum x86_size s = lift_size(w, 0);
    struct count n = count_of(w, 1, s);
    struct ir_insn f = {.op = IR_NOP};
    ir_value a, v;

    if (n.known && n.n == 0) {
        return by_nothing(w, s);
    }
    a = lift_read_for_write(w, 0);
    v = ir_2(w->g, op, a, count_value(w, n, s));
    if (!w->in->flags_dead) {
        f = rotate_flags(w, op, n, a, v);
    }
    lift_write(w, 0, v);
    lift_flags_3(w, f.aux, s, f.arg[0], f.arg[1], f.arg[2]);
    return true;
}

/* C and O of a shift of two words by `n`, as bits 0 and 1: C is the last bit that left,
 * O whether one step changes the sign. */
static ir_value double_flags(struct work *w, unsigned op, unsigned n, ir_value a,
                             ir_value b)
{
    enum x86_size s = lift_size(w, 0);
    unsigned bits = 8u << s;
    bool left = op == IR_SHLD;
    ir_value c, next;

    c = ir_2(w->g, IR_SHR, a, lift_const(w, s, left ? bits - n : n - 1));
    next = left ? ir_2(w->g, IR_SHL, a, lift_const(w, s, 1))
                : ir_2(w->g, IR_SHL, b, lift_const(w, s, bits - 1));
    next = ir_2(w->g, IR_SHR, ir_2(w->g, IR_XOR, a, next), lift_const(w, s, bits - 2));
    return ir_2(w->g, IR_XOR, ir_2(w->g, IR_AND, c, lift_const(w, s, 1)),
                ir_2(w->g, IR_AND, next, lift_const(w, s, 2)));
}

/* By a known count. */
static bool lift_double(struct work *w, unsigned op)
{
    enum x86_size s = lift_size(w, 0);
    struct count n = count_of(w, 2, s);
    ir_value a, b, v, out = 0;

    if (s < X86_32 || !n.known) {
        return false;
    }
    if (n.n == 0) {
        return by_nothing(w, s);
    }
    a = lift_read_for_write(w, 0);
    b = lift_read(w, 1);
    v = ir_3(w->g, op, lift_type(s), (ir_value[3]){a, b, lift_const(w, s, n.n)});
    if (!w->in->flags_dead) {
        out = double_flags(w, op, n.n, a, b);
    }
    lift_write(w, 0, v);
    lift_flags(w, IR_FLAGS_RESULT, s, v, out);
    return true;
}

/* SHLX and its kin, RORX: no flags. */
static bool lift_shift_x(struct work *w, unsigned op)
{
    lift_write(w, 0, ir_2(w->g, op, lift_read(w, 1), lift_read(w, 2)));
    return true;
}

const struct lift_name lift_shift_names[] = {
    {"shl", lift_shift, IR_SHL},
    {"sal", lift_shift, IR_SHL},
    {"shr", lift_shift, IR_SHR},
    {"sar", lift_shift, IR_SAR},
    {"rol", lift_rotate, IR_ROTL},
    {"ror", lift_rotate, IR_ROTR},
    {"shld", lift_double, IR_SHLD},
    {"shrd", lift_double, IR_SHRD},
    {"shlx", lift_shift_x, IR_SHL},
    {"shrx", lift_shift_x, IR_SHR},
    {"sarx", lift_shift_x, IR_SAR},
    {"rorx", lift_shift_x, IR_ROTR},
    {NULL, NULL, 0},
};
