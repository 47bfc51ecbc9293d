/* event.c - between two instructions: traps, interrupts, single steps.
 *
 * The order is the manual's (SDM volume 3A, table 6-2): traps of the instruction that
 * ended, INIT, NMI, maskable interrupts, then instruction breakpoints of the next.
 *
 * Called when `wants` or the kicks are not empty, and always behind an instruction
 * that may have changed the machine (BLOCK_CONTROL): so whatever is only true since
 * then - TF, an open interrupt window, RF, armed breakpoints - needs no other notice.
 * When something must be looked at after each instruction, it executes one here and
 * asks to be called again. */
#include <stdatomic.h>

#include "virt/isa/x86/interpret/code.h"
#include "virt/isa/x86/interpret/debug.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/system/system.h"

#define DR6_BS 0x4000u /* single step */

static bool has_shadow(const struct x86_cpu *c)
{
    return c->r.irq_shadow;
}

static void deliver_debug(struct x86_cpu *c, enum x86_event kind, uint64_t dr6)
{
    c->fault = (struct x86_fault){.vector = X86_DB, .dr6 = dr6};
    c->dr6_pending = 0;
    x86_deliver(c, kind, X86_DB);
}

static void take_kicks(struct x86_cpu *c)
{
    struct cpu_exit x = {.kind = CPU_EXIT_KICKED};
    uint32_t kicks;

    if (atomic_load_explicit(&c->base.kicks, memory_order_relaxed) == 0) {
        return;
    }
    kicks = atomic_exchange(&c->base.kicks, 0);
    if (kicks & CPU_KICK_FLUSH) {
        x86_share_safe_point(c);
    }
    c->irq_pending |= (kicks & CPU_KICK_INTERRUPT) != 0;
    c->code->nmi_pending |= (kicks & CPU_KICK_NMI) != 0;
    if (kicks & CPU_KICK_INIT) {
        x86_reset(c, true);
        c->next_rip = c->r.gpr[X86_RIP];
        c->code->window_end = 0;
    }
    if (kicks & CPU_KICK_FLUSH_TLB) {
        x86_tlb_flush_all(c, true);
    }
    if (kicks & CPU_KICK_WAKE) {
        c->r.halted = false;
        c->wants |= X86_WANT_RELOAD;
    }
    if (kicks & CPU_KICK_STOP) {
        x86_exit(c, &x);
    }
}

static bool take_nmi(struct x86_cpu *c)
{
    if (!c->code->nmi_pending || c->r.nmi_masked || has_shadow(c)) {
        return false;
    }
    c->code->nmi_pending = false;
    c->r.halted = false;
    c->r.nmi_masked = true;
    x86_deliver(c, X86_EVENT_EXTERNAL, X86_NMI);
    return true;
}

static bool take_interrupt(struct x86_cpu *c)
{
    int vector;

    if (!c->irq_pending || !(c->r.rflags & X86_IF) || has_shadow(c)) {
        return false;
    }
    if (c->base.env->take_interrupt == NULL) {
        c->irq_pending = 0;
        return false;
    }
    vector = c->base.env->take_interrupt(c->base.env->who, &c->base);
    if (vector < 0) {
        c->irq_pending = 0;
        return false;
    }
    c->r.halted = false;
    x86_deliver(c, X86_EVENT_EXTERNAL, (uint8_t)vector);
    return true;
}

/* Data breakpoints that the last instruction hit. */
static void take_trap(struct x86_cpu *c)
{
    if (c->dr6_pending != 0 && !c->r.debug_shadow) {
        deliver_debug(c, X86_EVENT_TRAP, c->dr6_pending);
        c->wants |= X86_WANT_RELOAD;
    }
}

/* DR6 bits of the instruction breakpoints at the next instruction; DR7 arms them by
 * two enable bits each, R/W 00, LEN 00 (SDM volume 3B, 18.2.4). */
static uint64_t hit_breakpoints(const struct x86_cpu *c)
{
    uint64_t dr7 = c->r.dr[7];
    uint64_t at = c->next_rip;
    uint64_t hits = 0;

    if (c->code_mode != X86_CODE64) {
        at = (uint32_t)(at + c->r.seg[X86_CS].base);
    }
    for (unsigned n = 0; n < 4; n++) {
        if ((dr7 >> (n * 2) & 3) != 0 && (dr7 >> (16 + n * 4) & 15) == 0 &&
            c->r.dr[n] == at) {
            hits |= 1u << n;
        }
    }
    return hits;
}

static bool is_any_breakpoint_armed(const struct x86_cpu *c)
{
    uint64_t dr7 = c->r.dr[7];

    for (unsigned n = 0; n < 4; n++) {
        if ((dr7 >> (n * 2) & 3) != 0 && (dr7 >> (16 + n * 4) & 3) == 0) {
            return true;
        }
    }
    return false;
}

/* INT n, INT3, INTO and INT1 clear TF, and no step is reported behind them; an INTO that
 * does nothing leaves it. */
static bool is_software_interrupt(const struct x86_cpu *c)
{
    const struct x86_block *b = c->code->block;
    unsigned row = b == NULL ? X86_INVALID : b->insn[0].row;

    return row == X86_R_INT || row == X86_R_INT3 || row == X86_R_INT1 ||
           (row == X86_R_INTO && (c->r.rflags & X86_TF) == 0);
}

/* Execute one instruction, and report it if TF was set before it. */
static void step(struct x86_cpu *c)
{
    bool is_stepped = c->r.rflags & X86_TF;

    c->r.irq_shadow = false;
    c->r.debug_shadow = false;
    c->is_stepped = x86_debug_steps(c);
    c->wants = is_stepped || c->is_stepped ? X86_WANT_TRAP : 0;
    x86_execute(c, 1);
    c->wants |= X86_WANT_RELOAD;
    if (is_stepped && !c->r.debug_shadow && !is_software_interrupt(c)) {
        c->r.gpr[X86_RIP] = c->next_rip;
        deliver_debug(c, X86_EVENT_TRAP, c->dr6_pending | DR6_BS);
    }
}

/* Nothing to do until an event.  Returns whether to look for one again at once. */
static void wait(struct x86_cpu *c)
{
    struct cpu_exit x = {.kind = CPU_EXIT_HALT};

    if (atomic_load(&c->base.kicks) == 0) {
        x86_share_rest(c, true);
        x86_exit(c, &x);
        x86_share_rest(c, false);
    }
    c->wants |= X86_WANT_RELOAD;
}

/* The breakpoints at the next instruction, unless RF passes over them. */
static bool take_breakpoint(struct x86_cpu *c)
{
    uint64_t hits = c->r.rflags & X86_RF ? 0 : hit_breakpoints(c);

    if (hits != 0) {
        deliver_debug(c, X86_EVENT_FAULT, hits);
    }
    return hits != 0;
}

/* Run on: one instruction here if each is to be looked at, else as the loop does. */
static void go_on(struct x86_cpu *c)
{
    bool has_breakpoints = is_any_breakpoint_armed(c);

    if (c->debug != NULL && x86_debug_breaks(c, c->next_rip)) {
        x86_debug_stop(c);
        c->wants |= X86_WANT_RELOAD;
        return;
    }
    if (has_breakpoints && take_breakpoint(c)) {
        c->wants |= X86_WANT_RELOAD;
        return;
    }
    c->r.rflags &= ~(uint64_t)X86_RF;
    if (has_breakpoints || c->r.irq_shadow || c->r.debug_shadow || c->r.rflags & X86_TF ||
        x86_debug_steps(c)) {
        step(c);
    }
}

/* While the host's debugger steps, only what is halted is interrupted. */
static bool take_event(struct x86_cpu *c)
{
    bool is_stepping = x86_debug_steps(c);

    if ((is_stepping && !c->r.halted) || (!take_nmi(c) && !take_interrupt(c))) {
        return false;
    }
    c->is_stepped = is_stepping;
    return true;
}

bool x86_between(struct x86_cpu *c)
{
    bool is_leaving = c->wants & X86_WANT_LEAVE;

    x86_settle(c);
    c->code->window_end = 0;
    c->code->block = NULL;
    c->r.gpr[X86_RIP] = c->next_rip;
    c->wants = 0;
    take_trap(c);
    if (c->debug != NULL) {
        x86_debug_report(c);
        is_leaving = is_leaving || (c->wants & X86_WANT_LEAVE) != 0;
    }
    if (!is_leaving) {
        take_kicks(c);
        is_leaving = c->wants & X86_WANT_LEAVE;
    }
    if (is_leaving || c->budget == 0) {
        c->wants |= X86_WANT_RELOAD | (is_leaving ? X86_WANT_LEAVE : 0);
        return true;
    }
    if (take_event(c) || c->wants != 0) {
        c->wants |= X86_WANT_RELOAD;
    } else if (c->r.halted) {
        wait(c);
    } else {
        go_on(c);
    }
    return false;
}
