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

static bool lift_rotate(struct work *w, unsigned op)
{
    enum x86_size s = lift_size(w, 0);
    struct count n = count_of(w, 1, s);
    ir_value v, before = 0, by = 0, last;

    if (n.known && n.n == 0) {
        return by_nothing(w, s);
    }
    v = lift_read_for_write(w, 0);
    v = ir_2(w->g, op, v, count_value(w, n, s));
    if (!w->in->flags_dead) {
        before = ir_get(w->g, LIFT_FLAGS);
        by = lift_register(w, X86_RCX, X86_8);
    }
    lift_write(w, 0, v);
    if (n.known && n.n != 1 && !lift_is_memory(w, 0)) { /* as processors do: OF stays */
        last = op == IR_ROTL ? v : ir_2(w->g, IR_SHR, v, lift_const(w, s, (8u << s) - 1));
        lift_flags(w, IR_FLAGS_CARRY, s, last, before);
    } else if (n.known) {
        lift_flags(w, op == IR_ROTL ? IR_FLAGS_ROL_R : IR_FLAGS_ROR_R, s, v, before);
    } else {
        lift_flags_3(w, op == IR_ROTL ? IR_FLAGS_ROL_N : IR_FLAGS_ROR_N, s, v, by,
                     before);
    }
    return true;
}

/* By a known count; CF is the last bit that left. */
static bool lift_double(struct work *w, unsigned op)
{
    enum x86_size s = lift_size(w, 0);
    struct count n = count_of(w, 2, s);
    ir_value a, b, v, out, top;

    if (s < X86_32 || !n.known) {
        return false;
    }
    if (n.n == 0) {
        return by_nothing(w, s);
    }
    a = lift_read_for_write(w, 0);
    b = lift_read(w, 1);
    v = ir_3(w->g, op, lift_type(s), (ir_value[3]){a, b, lift_const(w, s, n.n)});
    lift_write(w, 0, v);
    if (!w->in->flags_dead) {
        out = ir_2(w->g, IR_SHR, a,
                   lift_const(w, s, op == IR_SHLD ? (8u << s) - n.n : n.n - 1));
        top = ir_2(w->g, IR_SHR, ir_2(w->g, IR_XOR, a, v),
                   lift_const(w, s, (8u << s) - 2)); /* O: the sign changed */
        out = ir_2(w->g, IR_XOR, ir_2(w->g, IR_AND, out, lift_const(w, s, 1)),
                   ir_2(w->g, IR_AND, top, lift_const(w, s, 2)));
        lift_flags(w, IR_FLAGS_RESULT, s, v, out);
    }
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
