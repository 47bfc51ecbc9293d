/* exchange.c - XCHG, XADD, CMPXCHG, and what a LOCK prefix makes of the rest.
 *
 * All by the host's own locked operations; operands that are not aligned take the cold
 * path, where the interpreter executes the instruction. */
#include "virt/isa/x86/lift/private.h"

ir_value lift_atomic(struct work *w, enum ir_atomic kind, enum x86_size s,
                     struct ir_insn a, ir_value v)
{
    a.op = IR_ATOMIC;
    a.type = lift_type(s);
    a.aux = (uint8_t)kind;
    a.arg[2] = v;
    a.access.bytes = (uint8_t)(1u << s);
    a.access.order = IR_SEQUENTIAL;
    a.access.aligned = s != X86_8;
    a.map = lift_map(w);
    return ir_add(w->g, &a);
}

static ir_value atomic_at_operand(struct work *w, enum ir_atomic kind, enum x86_size s,
                                  ir_value v)
{
    return lift_atomic(w, kind, s, lift_address(w), v);
}

bool lift_locked_alu(struct work *w, unsigned op)
{
    static const uint8_t kinds[] = {[LIFT_ADD] = IR_ATOMIC_ADD,
                                    [LIFT_OR] = IR_ATOMIC_OR,
                                    [LIFT_AND] = IR_ATOMIC_AND,
                                    [LIFT_SUB] = IR_ATOMIC_ADD,
                                    [LIFT_XOR] = IR_ATOMIC_XOR};
    static const uint8_t ops[] = {
        [LIFT_OR] = IR_OR, [LIFT_AND] = IR_AND, [LIFT_XOR] = IR_XOR};
    enum x86_size s = lift_size(w, 0);
    ir_value b = lift_read(w, 1), old;

    old = atomic_at_operand(w, kinds[op], s,
                            op == LIFT_SUB ? ir_1(w->g, IR_NEG, IR_VOID, b) : b);
    if (op == LIFT_ADD || op == LIFT_SUB) {
        lift_flags(w, op == LIFT_ADD ? IR_FLAGS_ADD : IR_FLAGS_SUB, s, old, b);
    } else if (!w->in->flags_dead) {
        lift_flags(w, IR_FLAGS_LOGIC, s, ir_2(w->g, ops[op], old, b), 0);
    }
    return true;
}

bool lift_locked_step(struct work *w, bool down)
{
    enum x86_size s = lift_size(w, 0);
    ir_value by = lift_const(w, s, down ? ~UINT64_C(0) : 1), before, old;

    before = ir_get(w->g, LIFT_FLAGS);
    old = atomic_at_operand(w, IR_ATOMIC_ADD, s, by);
    lift_flags(w, down ? IR_FLAGS_DEC_R : IR_FLAGS_INC_R, s, ir_2(w->g, IR_ADD, old, by),
               before);
    return true;
}

bool lift_locked_not(struct work *w)
{
    enum x86_size s = lift_size(w, 0);

    atomic_at_operand(w, IR_ATOMIC_XOR, s, lift_const(w, s, ~UINT64_C(0)));
    return true;
}

/* With memory locked by itself. */
static bool lift_xchg(struct work *w, unsigned detail)
{
    enum x86_size s = lift_size(w, 0);
    ir_value a, b;

    (void)detail;
    if (w->i->is_memory) {
        b = lift_register(w, w->i->reg, s);
        lift_set_register(w, w->i->reg, s, atomic_at_operand(w, IR_ATOMIC_SWAP, s, b));
        return true;
    }
    a = lift_read(w, 0);
    b = lift_read(w, 1);
    lift_write(w, 0, b);
    lift_write(w, 1, a);
    return true;
}

static bool lift_xadd(struct work *w, unsigned detail)
{
    enum x86_size s = lift_size(w, 0);
    ir_value a, b = lift_read(w, 1), v;

    (void)detail;
    if (w->i->is_memory) {
        a = atomic_at_operand(w, IR_ATOMIC_ADD, s, b);
        lift_write(w, 1, a);
    } else {
        a = lift_read(w, 0);
        v = ir_2(w->g, IR_ADD, a, b);
        lift_write(w, 1, a); /* the sum wins where both are one */
        lift_write(w, 0, v);
    }
    lift_flags(w, IR_FLAGS_ADD, s, a, b);
    return true;
}

/* The effective address by itself. */
static ir_value address_value(struct work *w)
{
    struct ir_insn a = lift_address(w);
    ir_value v = a.arg[0];

    if (a.arg[1] != 0) {
        v = ir_2(w->g, IR_ADD, v,
                 ir_2(w->g, IR_SHL, a.arg[1], ir_const(w->g, IR_I64, a.access.scale)));
    }
    v = ir_2(w->g, IR_ADD, v, ir_const(w->g, IR_I64, a.imm));
    return a.access.wrap32 ? ir_1(w->g, IR_ZEXT, IR_I64, ir_1(w->g, IR_TRUNC, IR_I32, v))
                           : v;
}

/* A register of 32 bits keeps its upper half unless it is exchanged. */
static void set_if(struct work *w, unsigned reg, enum x86_size s, ir_value cond,
                   ir_value v)
{
    if (s == X86_32) {
        ir_set(w->g, (uint16_t)reg,
               ir_3(w->g, IR_SELECT, IR_I64,
                    (ir_value[3]){cond, ir_1(w->g, IR_ZEXT, IR_I64, v),
                                  ir_get(w->g, (uint16_t)reg)}));
    } else {
        lift_set_register(w, reg, s,
                          ir_3(w->g, IR_SELECT, lift_type(s),
                               (ir_value[3]){cond, v, lift_register(w, reg, s)}));
    }
}

static bool lift_cmpxchg(struct work *w, unsigned detail)
{
    enum x86_size s = lift_size(w, 0);
    ir_value wanted = lift_register(w, X86_RAX, s), fresh = lift_read(w, 1), old;

    (void)detail;
    if (w->i->is_memory) {
        struct ir_insn i = {.op = IR_CAS,
                            .type = lift_type(s),
                            .aux = w->i->segment == X86_SS ? X86_SS : X86_DS,
                            .access = {.bytes = (uint8_t)(1u << s),
                                       .order = IR_SEQUENTIAL,
                                       .aligned = s != X86_8}};

        i.arg[0] = address_value(w);
        i.arg[1] = wanted;
        i.arg[2] = fresh;
        i.map = lift_map(w);
        old = ir_add(w->g, &i);
    } else {
        old = lift_read(w, 0);
        set_if(w, w->i->rm, s, ir_2(w->g, IR_EQ, old, wanted), fresh);
    }
    set_if(w, X86_RAX, s, ir_2(w->g, IR_NE, old, wanted), old);
    lift_flags(w, IR_FLAGS_SUB, s, wanted, old);
    return true;
}

const struct lift_name lift_exchange_names[] = {
    {"xchg", lift_xchg, 0},
    {"xadd", lift_xadd, 0},
    {"cmpxchg", lift_cmpxchg, 0},
    {NULL, NULL, 0},
};
