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

static bool lift_sti(struct work *w, unsigned detail)
{
    ir_value waits;

    (void)detail;
    if (!w->in->system || w->in->is_last) {
        return false;
    }
    waits = ir_2(w->g, IR_NE, ir_get(w->g, LIFT_IRQ), ir_const(w->g, IR_I64, 0));
    ir_add(w->g, &(struct ir_insn){.op = IR_TRAP_IF,
                                   .aux = w->i->length,
                                   .arg = {waits},
                                   .imm = (uint64_t)(uintptr_t)w->i,
                                   .map = lift_map(w)});
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
    {"prefetch", lift_nothing, 0},
    {"prefetchnta", lift_nothing, 0},
    {"prefetcht0", lift_nothing, 0},
    {"prefetcht1", lift_nothing, 0},
    {"prefetcht2", lift_nothing, 0},
    {"prefetchw", lift_nothing, 0},
    {"prefetchwt1", lift_nothing, 0},
    {NULL, NULL, 0},
};
