/* system.c - what an operating system does most: its interrupt flag, its GS, its control
 * registers.
 *
 * Only where the trace is for level 0 of 64-bit mode (`system` of `struct lift_in`), so
 * that no privilege has to be looked at; elsewhere the routines look.
 *
 * STI holds interrupts off for one more instruction (SDM volume 2, STI).  Here that needs
 * nothing: interrupts are looked for at the beginnings of regions and of their loops, so
 * the instruction behind STI comes first if it is of the same region; where it is not, and
 * where an interrupt waits already, STI is its routine's, which leaves. */
#include "virt/isa/x86/flags.h"
#include "virt/isa/x86/lift/private.h"

static void change_rflags(struct work *w, uint64_t clear, uint64_t set)
{
    ir_value v = ir_get(w->g, LIFT_RFLAGS);

    if (clear != 0) {
        v = ir_2(w->g, IR_AND, v, ir_const(w->g, IR_I64, ~clear));
    }
    if (set != 0) {
        v = ir_2(w->g, IR_OR, v, ir_const(w->g, IR_I64, set));
    }
    ir_set(w->g, LIFT_RFLAGS, v);
}

/* CLD, STD */
static bool lift_direction(struct work *w, unsigned value)
{
    change_rflags(w, X86_DF_BIT, value != 0 ? X86_DF_BIT : 0);
    return true;
}

static bool lift_cli(struct work *w, unsigned detail)
{
    (void)detail;
    if (!w->in->system) {
        return false;
    }
    change_rflags(w, X86_IF, 0);
    return true;
}

static void trap_if(struct work *w, enum ir_op op, ir_value a)
{
    ir_value cond = ir_2(w->g, op, a, ir_const(w->g, IR_I64, 0));

    ir_add(w->g, &(struct ir_insn){.op = IR_TRAP_IF,
                                   .aux = w->i->length,
                                   .arg = {cond},
                                   .imm = (uint64_t)(uintptr_t)w->i,
                                   .map = lift_map(w)});
}

static bool lift_sti(struct work *w, unsigned detail)
{
    (void)detail;
    if (!w->in->system || w->in->is_last) {
        return false;
    }
    trap_if(w, IR_NE, ir_get(w->g, LIFT_IRQ));
    change_rflags(w, 0, X86_IF);
    return true;
}

static bool lift_swapgs(struct work *w, unsigned detail)
{
    ir_value users, kernels;

    (void)detail;
    if (!w->in->system) {
        return false;
    }
    users = ir_get(w->g, LIFT_GS_BASE);
    kernels = ir_get(w->g, LIFT_KERNEL_GS);
    ir_set(w->g, LIFT_GS_BASE, kernels);
    ir_set(w->g, LIFT_GS_READ,
           kernels); /* as `x86_segment_changed` does in 64-bit mode */
    ir_set(w->g, LIFT_GS_WRITE, kernels);
    ir_set(w->g, LIFT_KERNEL_GS, users);
    return true;
}

static void set_rflags(struct work *w, ir_value v)
{
    ir_set(w->g, LIFT_RFLAGS, v);
    lift_flags(w, IR_FLAGS_BITS, X86_64, v, 0);
}

ir_value lift_rflags(struct work *w)
{
    ir_value others = ir_2(w->g, IR_AND, ir_get(w->g, LIFT_RFLAGS),
                           ir_const(w->g, IR_I64, ~(uint64_t)(X86_ARITHMETIC | X86_RF)));

    return ir_2(w->g, IR_OR, others,
                ir_1(w->g, IR_FLAGS_PACK, IR_I64, ir_get(w->g, LIFT_FLAGS)));
}

/* To 64-bit code of that privilege at `rip`. */
static void change_side(struct work *w, enum lift_global side, unsigned cpl, ir_value rip)
{
    static const enum lift_global words[LIFT_SIDE_WORDS - 1] = {
        LIFT_TLB, LIFT_JUMPS, LIFT_LINK, LIFT_CS, LIFT_SS};
    struct ir_insn usual = {
        .op = IR_LOAD, .type = IR_I64, .access = {.bytes = 8, .space = IR_FLAT}};
    uint16_t n;

    for (n = 0; n < LIFT_SIDE_WORDS - 1; n++) {
        ir_set(w->g, (uint16_t)words[n], ir_get(w->g, (uint16_t)(side + n)));
    }
    usual.arg[0] = ir_get(w->g, (uint16_t)(side + n));
    usual.map = lift_map(w);
    ir_set(w->g, LIFT_USUAL, ir_add(w->g, &usual));
    ir_set(w->g, LIFT_CS_BASE, ir_const(w->g, IR_I64, 0));
    ir_set(w->g, LIFT_SS_BASE, ir_const(w->g, IR_I64, 0));
    ir_set(w->g, LIFT_CPL, ir_const(w->g, IR_I8, cpl));
    ir_add(w->g,
           &(struct ir_insn){
               .op = IR_EXIT_TO, .aux = IR_EXIT_ALONE, .imm = w->in->pc, .arg = {rip}});
    w->out.end = LIFT_ENDED;
}

/* Where the engine has the system's side ready. */
static bool lift_syscall(struct work *w, unsigned detail)
{
    ir_value old, rip, mask;

    (void)detail;
    if (w->in->system || w->i->mode != X86_CODE64) {
        return false;
    }
    trap_if(w, IR_EQ, ir_get(w->g, LIFT_SYSTEM));
    old = lift_rflags(w);
    rip = ir_get(w->g, LIFT_LSTAR);
    mask = ir_1(w->g, IR_NOT, IR_I64, ir_get(w->g, LIFT_SFMASK));
    lift_set_register(w, X86_RCX, X86_64,
                      ir_const(w->g, IR_I64, w->in->pc + w->i->length));
    lift_set_register(w, X86_R11, X86_64, old);
    set_rflags(
        w, ir_2(w->g, IR_OR, ir_2(w->g, IR_AND, old, mask), ir_const(w->g, IR_I64, 2)));
    change_side(w, LIFT_SYSTEM, 0, rip);
    return true;
}

#define LOWER_BITS 47 /* of canonical addresses of the lower half */

/* To the lower half, with nobody who waits for the interrupt flag, and without what makes
 * each instruction or access look. */
static bool lift_sysret(struct work *w, unsigned detail)
{
    ir_value rip, flags, others;

    (void)detail;
    if (!w->in->system || w->i->size != X86_64) {
        return false;
    }
    trap_if(w, IR_EQ, ir_get(w->g, LIFT_USERS));
    rip = ir_get(w->g, X86_RCX);
    flags = ir_get(w->g, X86_R11);
    others = ir_2(w->g, IR_SHR, rip, ir_const(w->g, IR_I64, LOWER_BITS));
    others = ir_2(w->g, IR_OR, others,
                  ir_2(w->g, IR_AND, flags, ir_const(w->g, IR_I64, X86_TF | X86_AC_BIT)));
    others = ir_2(w->g, IR_OR, others, ir_get(w->g, LIFT_IRQ));
    trap_if(w, IR_NE, others);
    flags = ir_2(w->g, IR_AND, flags, ir_const(w->g, IR_I64, X86_SYSRET_FLAGS));
    set_rflags(w, ir_2(w->g, IR_OR, flags, ir_const(w->g, IR_I64, 2)));
    change_side(w, LIFT_USERS, 3, rip);
    return true;
}

/* CR2 and CR3; they change by routines alone. */
bool lift_from_control(struct work *w, unsigned detail)
{
    (void)detail;
    if (!w->in->system || (w->i->reg != 2 && w->i->reg != 3)) {
        return false;
    }
    lift_set_register(w, w->i->rm, X86_64,
                      ir_get(w->g, w->i->reg == 2 ? LIFT_CR2 : LIFT_CR3));
    return true;
}

static bool lift_nothing(struct work *w, unsigned detail)
{
    (void)w;
    (void)detail;
    return true;
}

const struct lift_name lift_system_names[] = {
    {"cld", lift_direction, 0},
    {"std", lift_direction, 1},
    {"cli", lift_cli, 0},
    {"sti", lift_sti, 0},
    {"swapgs", lift_swapgs, 0},
    {"syscall", lift_syscall, 0},
    {"sysret", lift_sysret, 0},
    {"prefetch", lift_nothing, 0},
    {"prefetchnta", lift_nothing, 0},
    {"prefetcht0", lift_nothing, 0},
    {"prefetcht1", lift_nothing, 0},
    {"prefetcht2", lift_nothing, 0},
    {"prefetchw", lift_nothing, 0},
    {"prefetchwt1", lift_nothing, 0},
    {NULL, NULL, 0},
};
