/* loop.c - LOOP, LOOPE, LOOPNE, JRCXZ: branches by the counter.
 *
 * The condition is one of flags of the counter, so that it can be turned round. */
#include "virt/isa/x86/lift/private.h"

static ir_value count_is_zero(struct work *w, ir_value count, enum x86_size s,
                              enum ir_cond c)
{
    ir_value f = ir_add(w->g, &(struct ir_insn){.op = IR_FLAGS,
                                                .type = IR_FLAGS_TYPE,
                                                .aux = IR_FLAGS_LOGIC,
                                                .imm = 1u << s,
                                                .arg = {count}});

    return ir_add(w->g, &(struct ir_insn){
                            .op = IR_COND, .type = IR_I1, .aux = (uint8_t)c, .arg = {f}});
}

static bool branch(struct work *w, ir_value cond)
{
    uint64_t to = w->in->pc + w->i->length + w->i->imm;

    w->out = (struct lift_out){.end = LIFT_BRANCH,
                               .target = w->i->mode == X86_CODE64 ? to : (uint32_t)to,
                               .cond = cond};
    return true;
}

static bool is_full(const struct work *w)
{
    return w->i->size == (w->i->mode == X86_CODE64 ? X86_64 : X86_32);
}

enum loop {
    LOOP,
    LOOPE,
    LOOPNE
};

static bool lift_loop(struct work *w, unsigned how)
{
    enum x86_size s = w->i->address;
    ir_value n, left;

    if (!is_full(w)) {
        return false;
    }
    n = ir_2(w->g, IR_SUB, lift_register(w, X86_RCX, s), lift_const(w, s, 1));
    left = n;
    if (how != LOOP) {
        left = ir_3(w->g, IR_SELECT, lift_type(s),
                    (ir_value[3]){lift_cond(w, how == LOOPE ? IR_COND_Z : IR_COND_NZ), n,
                                  lift_const(w, s, 0)});
    }
    lift_set_register(w, X86_RCX, s, n);
    return branch(w, count_is_zero(w, left, s, IR_COND_NZ));
}

static bool lift_jrcxz(struct work *w, unsigned detail)
{
    enum x86_size s = w->i->address;

    (void)detail;
    return is_full(w) &&
           branch(w, count_is_zero(w, lift_register(w, X86_RCX, s), s, IR_COND_Z));
}

const struct lift_name lift_loop_names[] = {
    {"loop", lift_loop, LOOP}, {"loope", lift_loop, LOOPE}, {"loopne", lift_loop, LOOPNE},
    {"jecxz", lift_jrcxz, 0},  {"jrcxz", lift_jrcxz, 0},    {NULL, NULL, 0},
};
