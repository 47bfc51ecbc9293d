/* control.c - the stack and near branches.
 *
 * A way out to a known address is left to the caller, who may go on with the trace
 * there; one to an address in a register or on the stack ends the region. */
#include "virt/isa/x86/lift/private.h"

static bool in_64(const struct work *w)
{
    return w->i->mode == X86_CODE64;
}

static unsigned bytes_of(enum x86_size s)
{
    return 1u << s;
}

static uint64_t behind(const struct work *w)
{
    return w->in->pc + w->i->length;
}

static uint64_t wrap(const struct work *w, uint64_t pc)
{
    return in_64(w) ? pc : (uint32_t)pc;
}

static void move_stack(struct work *w, ir_value sp, int64_t by)
{
    ir_value v = ir_2(w->g, IR_ADD, sp, ir_const(w->g, IR_I64, (uint64_t)by));

    if (!in_64(w)) {
        v = ir_1(w->g, IR_ZEXT, IR_I64, ir_1(w->g, IR_TRUNC, IR_I32, v));
    }
    ir_set(w->g, X86_RSP, v);
}

static void push(struct work *w, enum x86_size s, ir_value v)
{
    ir_value sp = ir_get(w->g, X86_RSP);

    lift_store(w, sp, -(int64_t)bytes_of(s), s, v, true);
    move_stack(w, sp, -(int64_t)bytes_of(s));
}

static bool lift_push(struct work *w, unsigned detail)
{
    (void)detail;
    if (w->row->operand[0].place == AT_OTHER) {
        return false;
    }
    push(w, w->i->size, lift_read(w, 0));
    return true;
}

static bool lift_pushf(struct work *w, unsigned detail)
{
    (void)detail;
    if (!in_64(w) || w->i->size != X86_64) {
        return false;
    }
    push(w, X86_64, lift_rflags(w));
    return true;
}

static bool lift_pop(struct work *w, unsigned detail)
{
    ir_value sp = ir_get(w->g, X86_RSP), v;

    (void)detail;
    if (w->row->operand[0].place == AT_OTHER || lift_is_memory(w, 0)) {
        return false;
    }
    v = lift_load(w, sp, 0, w->i->size, true);
    move_stack(w, sp, bytes_of(w->i->size));
    lift_write(w, 0, v);
    return true;
}

static bool lift_leave(struct work *w, unsigned detail)
{
    enum x86_size s = w->i->size;
    ir_value bp = ir_get(w->g, X86_RBP), v;

    (void)detail;
    if (s != (in_64(w) ? X86_64 : X86_32)) {
        return false;
    }
    v = lift_load(w, bp, 0, s, true);
    move_stack(w, bp, bytes_of(s));
    lift_set_register(w, X86_RBP, s, v);
    return true;
}

static bool full_size(const struct work *w)
{
    return w->i->size == (in_64(w) ? X86_64 : X86_32);
}

static bool lift_jcc(struct work *w, unsigned cond)
{
    if (!full_size(w)) {
        return false;
    }
    w->out = (struct lift_out){.end = LIFT_BRANCH,
                               .target = wrap(w, behind(w) + w->i->imm),
                               .cond = lift_cond(w, cond)};
    return true;
}

static void leave_to(struct work *w, ir_value to, enum ir_exit kind)
{
    ir_value back = 0;

    if (w->i->size == X86_32) {
        to = ir_1(w->g, IR_ZEXT, IR_I64, to);
    }
    if (kind == IR_EXIT_CALL) {
        back = ir_const(w->g, IR_I64, wrap(w, behind(w)));
    }
    ir_add(w->g, &(struct ir_insn){.op = IR_EXIT_TO,
                                   .aux = (uint8_t)kind,
                                   .imm = w->in->pc,
                                   .arg = {to, back}});
    w->out = (struct lift_out){.end = LIFT_ENDED};
}

/* The target of a near branch whose displacement is read when it runs. */
static ir_value soft_target(struct work *w)
{
    enum x86_size s = w->i->size;

    return ir_2(w->g, IR_ADD, lift_soft(w, s), lift_const(w, s, behind(w)));
}

static bool is_far(const struct work *w)
{
    return w->row->operand[0].place == AT_OTHER;
}

static bool lift_jmp(struct work *w, unsigned detail)
{
    (void)detail;
    if (!full_size(w) || is_far(w)) {
        return false;
    }
    if (w->in->soft != NULL) {
        leave_to(w, soft_target(w), IR_EXIT_JUMP);
        return true;
    }
    if (w->row->operand[0].place == AT_I) {
        w->out =
            (struct lift_out){.end = LIFT_JUMP, .target = wrap(w, behind(w) + w->i->imm)};
        return true;
    }
    leave_to(w, lift_read(w, 0), IR_EXIT_JUMP);
    return true;
}

static bool lift_call(struct work *w, unsigned detail)
{
    ir_value to = 0;

    (void)detail;
    if (!full_size(w) || is_far(w)) {
        return false;
    }
    if (w->in->soft != NULL) {
        to = soft_target(w);
    } else if (w->row->operand[0].place != AT_I) {
        to = lift_read(w, 0);
    }
    push(w, w->i->size, lift_const(w, w->i->size, behind(w)));
    if (to != 0) {
        leave_to(w, to, IR_EXIT_CALL);
        return true;
    }
    w->out = (struct lift_out){
        .end = LIFT_JUMP, .target = wrap(w, behind(w) + w->i->imm), .is_call = true};
    return true;
}

static bool lift_ret(struct work *w, unsigned detail)
{
    ir_value sp = ir_get(w->g, X86_RSP), to;
    int64_t more = w->row->operand[0].place == AT_I ? (int64_t)(w->i->imm & 0xffff) : 0;

    (void)detail;
    if (!full_size(w)) {
        return false;
    }
    to = lift_load(w, sp, 0, w->i->size, true);
    move_stack(w, sp, (int64_t)bytes_of(w->i->size) + more);
    leave_to(w, to, IR_EXIT_RETURN);
    return true;
}

const struct lift_name lift_control_names[] = {
    {"push", lift_push, 0},        {"pop", lift_pop, 0},
    {"pushf", lift_pushf, 0},      {"leave", lift_leave, 0},
    {"jmp", lift_jmp, 0},          {"call", lift_call, 0},
    {"ret", lift_ret, 0},          {"jo", lift_jcc, IR_COND_O},
    {"jno", lift_jcc, IR_COND_NO}, {"jb", lift_jcc, IR_COND_C},
    {"jae", lift_jcc, IR_COND_NC}, {"je", lift_jcc, IR_COND_Z},
    {"jne", lift_jcc, IR_COND_NZ}, {"jbe", lift_jcc, IR_COND_BE},
    {"ja", lift_jcc, IR_COND_A},   {"js", lift_jcc, IR_COND_S},
    {"jns", lift_jcc, IR_COND_NS}, {"jp", lift_jcc, IR_COND_P},
    {"jnp", lift_jcc, IR_COND_NP}, {"jl", lift_jcc, IR_COND_L},
    {"jge", lift_jcc, IR_COND_GE}, {"jle", lift_jcc, IR_COND_LE},
    {"jg", lift_jcc, IR_COND_G},   {NULL, NULL, 0},
};
