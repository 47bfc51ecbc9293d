/* flag.c - instructions on flags alone, and XLAT. */
#include "virt/isa/x86/lift/private.h"

/* CLC, STC */
static bool lift_carry(struct work *w, unsigned value)
{
    lift_flags(w, IR_FLAGS_CARRY, X86_8, lift_const(w, X86_8, value),
               ir_get(w->g, LIFT_FLAGS));
    return true;
}

static bool lift_cmc(struct work *w, unsigned detail)
{
    ir_value before, c;

    (void)detail;
    if (w->in->flags_dead) {
        return true;
    }
    c = ir_1(w->g, IR_ZEXT, IR_I8, lift_cond(w, IR_COND_NC));
    before = ir_get(w->g, LIFT_FLAGS);
    lift_flags(w, IR_FLAGS_CARRY, X86_8, c, before);
    return true;
}

/* SF ZF AF PF CF of ah; OF stays. */
static bool lift_sahf(struct work *w, unsigned detail)
{
    ir_value o, v;

    (void)detail;
    if (w->in->flags_dead) {
        return true;
    }
    o = ir_1(w->g, IR_ZEXT, IR_I64, lift_cond(w, IR_COND_O));
    v = ir_2(w->g, IR_SHR, ir_get(w->g, X86_RAX), ir_const(w->g, IR_I64, 8));
    v = ir_2(w->g, IR_AND, v, ir_const(w->g, IR_I64, 0xd5));
    o = ir_2(w->g, IR_SHL, o, ir_const(w->g, IR_I64, 11));
    lift_flags(w, IR_FLAGS_BITS, X86_64, ir_2(w->g, IR_OR, v, o), 0);
    return true;
}

static bool lift_xlat(struct work *w, unsigned detail)
{
    struct ir_insn a = {.op = IR_LOAD,
                        .type = IR_I8,
                        .aux = X86_DS,
                        .access = {.bytes = 1, .wrap32 = w->i->address == X86_32}};

    (void)detail;
    if (w->i->segment != X86_DS || w->i->address == X86_16) {
        return false;
    }
    a.arg[0] = ir_get(w->g, X86_RBX);
    a.arg[1] = ir_1(w->g, IR_ZEXT, IR_I64, lift_register(w, X86_RAX, X86_8));
    a.map = lift_map(w);
    lift_set_register(w, X86_RAX, X86_8, ir_add(w->g, &a));
    return true;
}

const struct lift_name lift_flag_names[] = {
    {"clc", lift_carry, 0}, {"stc", lift_carry, 1}, {"cmc", lift_cmc, 0},
    {"sahf", lift_sahf, 0}, {"xlat", lift_xlat, 0}, {NULL, NULL, 0},
};
