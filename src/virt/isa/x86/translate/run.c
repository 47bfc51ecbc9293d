/* run.c - the loop of the translator: interpret what is cold, run what is translated.
 *
 * Faults and the rest of what happens between instructions are the interpreter's. */
#include <asm/prctl.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "virt/isa/x86/interpret/debug.h"
#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/memory/tlb.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/private.h"

#define SEEN_OR_WARM 1 /* heat of what was never seen, or is warm */
#define ROOM_FOR_ONE 65536u
#define RECORD_FOR_ONE                                                                   \
    32768u                 /* more than TRACE_INSNS_MAX instructions and natives take */
#define HWCAP2_FSGSBASE 2u /* arch/x86/include/uapi/asm/hwcap2.h */

/* The translator's code assumes these; anything else is interpreted. */
bool translate_is_suitable(const struct x86_cpu *c)
{
    return c->code_mode != X86_CODE16 && c->flat &&
           (c->r.rflags & (X86_TF | X86_RF)) == 0 && !c->r.irq_shadow &&
           (c->r.dr[7] & 0xff) == 0 && !x86_debug_steps(c) &&
           (c->r.fpu.mxcsr & 0x1f80) == 0x1f80 &&
           (c->stack_size == X86_64 || c->code_mode == X86_CODE32);
}

/* Whether code at rip was executed often enough; counts this time. */
static bool is_warm(struct translate_cpu *t, uint64_t rip)
{
    uint8_t *left = heat_of(t, rip);

    if (*left == 0) {
        *left = (uint8_t)(t->warm + 1);
    }
    if (*left > 1) {
        --*left;
        return false;
    }
    return true;
}

/* Room for one more unit in the half that is being filled: if need be the other one,
 * which is older, goes and is filled next. */
static void make_room(struct translate_cpu *t)
{
    const struct half *h = &t->half[t->filling];

    if (h->end - h->used < ROOM_FOR_ONE || h->record_end - h->recorded < RECORD_FOR_ONE ||
        h->exits >> (HALF_SHIFT - 1) != 0 || h->sites >> (HALF_SHIFT - 1) != 0) {
        t->filling ^= 1;
        unit_drop_half(t, t->filling);
        stock_open(t); /* what has gone may be needed again */
    }
}

static uint64_t now_ns(void)
{
    struct timespec s;

    (void)clock_gettime(CLOCK_MONOTONIC, &s); /* no system call */
    return (uint64_t)s.tv_sec * 1000000000u + (uint64_t)s.tv_nsec;
}

static struct unit *translate_timed(struct translate_cpu *t, uint64_t rip,
                                    const uint8_t *host, gpa at)
{
    uint64_t begun = now_ns();
    struct unit *u = trace_translate(t, rip, host, at);

    t->x.count.translate_ns += now_ns() - begun;
    return u;
}

/* Of a unit and the one that was there only one is needed. */
static struct unit *replace(struct translate_cpu *t, struct unit *old, struct unit *u)
{
    if (old != NULL && u != NULL) {
        struct unit *worse = u->code != 0 ? old : u;

        u = worse == old ? u : old;
        u->is_quick = false; /* there is no better one */
        unit_drop(t, worse);
    }
    return u;
}

/* A unit that is made at once with all there is, from where the guest goes on; NULL: it
 * went on, or there is none. */
static struct unit *make_well(struct translate_cpu *t, uint64_t rip, const uint8_t *host,
                              gpa at)
{
    struct x86_cpu *c = &t->x;
    uint16_t key = unit_key(c);
    struct unit *u, *old;
    bool moved;

    make_room(t);
    old = unit_find(t, rip, at);
    u = stock_take(t, rip, host, at, true);
    if (u != NULL) {
        return replace(t, old, u);
    }
    moved = path_follow(t, rip);
    if (c->wants != 0 || unit_key(c) != key) {
        return NULL;
    }
    make_room(t);
    old = unit_find(t, rip, at);
    t->is_quick = false;
    u = translate_timed(t, rip, host, at);
    t->x.count.optimised += old != NULL;
    u = replace(t, old, u);
    return moved ? NULL : u;
}

static struct unit *make_quickly(struct translate_cpu *t, uint64_t rip,
                                 const uint8_t *host, gpa at)
{
    make_room(t);
    t->is_quick = true;
    t->path.count = 0;
    t->rounds[round_slot(rip)] = t->tiers == TRANSLATE_ADAPTS ? t->hot : UINT32_MAX;
    return translate_timed(t, rip, host, at);
}

/* What somebody has made of these bytes before. */
static struct unit *copy(struct translate_cpu *t, uint64_t rip, const uint8_t *host,
                         gpa at)
{
    struct unit *u;

    stock_wake(t);
    if (!stock_is_open(t)) {
        return NULL;
    }
    make_room(t);
    u = stock_take(t, rip, host, at, t->tiers == TRANSLATE_OPTIMISES);
    if (u != NULL && u->is_quick) {
        t->rounds[round_slot(rip)] = t->tiers == TRANSLATE_ADAPTS ? t->hot : UINT32_MAX;
    }
    return u;
}

/* The unit at rip, made if it is warm, and made better if it is hot; NULL: interpret.
 * May raise a fetch's fault, and move on on the way. */
static struct unit *unit_at(struct translate_cpu *t, uint64_t rip, bool is_hot)
{
    struct x86_cpu *c = &t->x;
    const uint8_t *host;
    struct unit *u;
    unsigned room;
    gpa at;

    c->r.gpr[X86_RIP] = rip;
    c->code->block = NULL; /* nothing of it is done if the fetch faults */
    host = x86_fetch_page(c, rip, &room, &at);
    link_refresh(t); /* a page that is not global may be the first */
    if (host == NULL || (c->debug != NULL && x86_debug_page(c, rip))) {
        return NULL;
    }
    u = unit_find(t, rip, at);
    if (u != NULL && u->is_quick && is_hot) {
        u = make_well(t, rip, host, at);
        return u != NULL && u->code != 0 ? u : NULL;
    }
    if (u == NULL && *heat_of(t, rip) <= SEEN_OR_WARM) {
        u = copy(t, rip, host, at);
    }
    if (u == NULL && is_warm(t, rip)) {
        u = t->tiers == TRANSLATE_OPTIMISES ? make_well(t, rip, host, at)
                                            : make_quickly(t, rip, host, at);
    }
    return u != NULL && u->code != 0 ? u : NULL;
}

static void enter(struct translate_cpu *t, uint64_t code)
{
    struct x86_cpu *c = &t->x;

    x86_flags_pack(c);
    t->frame.flags = c->r.rflags;
    t->frame.late = 0;
    t->frame.entry = code;
    t->frame.host_mxcsr = _mm_getcsr();
    if (!t->knows_uppers || t->frame.uppers != 0) {
        t->frame.uppers = slow_has_uppers(c);
        t->knows_uppers = true;
    }
    t->local = 0;
    t->inside = true;
    t->enter();
    fpu_take(t);
    t->inside = false;
    x86_flags_set(c, (uint32_t)emit_home_flags(&t->frame));
    if ((int64_t)t->frame.leave_exit >= 0) {
        t->frame.leave_to = link_target(t, link_exit(t, (uint32_t)t->frame.leave_exit));
    }
    c->next_rip = t->frame.leave_to;
    c->r.gpr[X86_RIP] = c->next_rip;
    c->count.chain_breaks++;
}

/* A branch at `leave_branch` went where no address is, and faults itself.  It has already
 * moved the stack pointer, which is taken back; a call has stored its return address, as
 * processors do, too. */
static _Noreturn void fault_branch(struct translate_cpu *t)
{
    struct x86_cpu *c = &t->x;
    const struct x86_insn *i;

    c->next_rip = t->frame.leave_branch;
    c->r.gpr[X86_RIP] = c->next_rip;
    c->code->block = NULL;
    i = &x86_code_find(c, c->next_rip)->insn[0];
    if (i->row == X86_R_CALL_EV || i->row == X86_R_CALL_JZ) {
        c->r.gpr[X86_RSP] += 8;
    } else if (i->row == X86_R_RET || i->row == X86_R_RET_IW) {
        c->r.gpr[X86_RSP] -= 8 + (i->row == X86_R_RET_IW ? (i->imm & 0xffff) : 0);
    }
    c->budget += t->is_counted; /* it was counted, and is not done */
    x86_raise_error(c, X86_GP, 0);
}

/* Run translated code until it has to come back. */
static void run_units(struct translate_cpu *t, uint64_t code)
{
    struct x86_cpu *c = &t->x;

    for (;;) {
        uint32_t drops = t->drops;
        struct unit *u;
        int64_t left;
        uint64_t rip;

        enter(t, code);
        left = (int64_t)t->frame.leave_exit;
        if (left == EMIT_LEFT_ROUTINE) {
            c->budget += slow_site(t)->left;
            c->budget -= slow_site(t)->left > 0 ? 1 : 0;
        }
        rip = c->next_rip & c->rip_mask;
        if (left == EMIT_LEFT_MISS && !x86_is_canonical(rip)) {
            fault_branch(t);
        }
        if (left == EMIT_LEFT_WANTS || left == EMIT_LEFT_ROUTINE || c->wants != 0 ||
            atomic_load(&c->base.kicks) != 0 || c->budget == 0) {
            return; /* not even the page of what comes next is looked at */
        }
        link_refresh(t);
        u = unit_at(t, rip, left == EMIT_LEFT_HOT);
        if (u == NULL) {
            return;
        }
        if (left >= 0 && drops == t->drops) {
            link_patch(t, (uint32_t)left, u);
        }
        link_remember(t, rip, u->code);
        code = u->code;
    }
}

void translate_interpret(struct translate_cpu *t, unsigned most)
{
    t->mark = t->x.budget;
    t->knows_uppers = false;
    if (t->level != t->x.r.cpl) { /* generated code may have gone there */
        t->level = t->x.r.cpl;
        t->x.code->window_end = 0;
    }
    x86_execute(&t->x, most);
    t->x.count.interpreted += t->mark - t->x.budget;
}

/* It may execute an instruction, too. */
static bool between(struct translate_cpu *t)
{
    bool is_leaving;

    t->mark = t->x.budget;
    t->knows_uppers = false;
    is_leaving = x86_between(&t->x);
    t->x.count.interpreted += t->mark - t->x.budget;
    return is_leaving;
}

static void fault(struct translate_cpu *t, int how)
{
    struct x86_cpu *c = &t->x;

    fpu_take(t);
    if (t->inside) {
        slow_apply(t);
        c->code->block = NULL;
        if (how == 2) { /* given up: the interpreter executes this instruction */
            translate_interpret(t, 1);
            return;
        }
    }
    if (c->code->block == NULL) {
        t->mark = c->budget;
    }
    x86_interpret_fault(c);
    c->count.interpreted += t->mark - c->budget;
}

/* Code at rip that may run now, found as generated code finds it if it can be, without a
 * look at the page; 0: interpret. */
static uint64_t code_at(struct translate_cpu *t, uint64_t rip)
{
    uint64_t code = t->is_counted ? 0 : link_recall(t, rip);
    const struct unit *u;

    if (code != 0) {
        return code;
    }
    u = unit_at(t, rip, false);
    if (u == NULL || (u->is_counted && u->insns > t->x.budget)) {
        return 0;
    }
    if (!t->is_counted) {
        link_remember(t, rip, u->code);
    }
    return u->code;
}

/* What `x86_between` would find then is nothing. */
bool translate_goes_on(struct translate_cpu *t)
{
    struct x86_cpu *c = &t->x;
    bool is_open = (c->r.rflags & X86_IF) != 0;

    if (c->wants != X86_WANT_RELOAD || c->budget == 0 ||
        atomic_load_explicit(&c->base.kicks, memory_order_relaxed) != 0 ||
        (is_open && c->irq_pending != 0) || c->code->nmi_pending || c->r.halted ||
        c->r.irq_shadow || c->r.debug_shadow || c->dr6_pending != 0 ||
        (c->r.rflags & X86_TF) != 0 || (c->r.dr[7] & 0xff) != 0 || x86_debug_steps(c) ||
        c->is_hit) {
        return false;
    }
    x86_settle(c);
    c->code->window_end = 0;
    c->code->block = NULL;
    c->r.gpr[X86_RIP] = c->next_rip;
    c->r.rflags &= ~(uint64_t)X86_RF;
    c->wants = 0;
    unit_take_dirty(t);
    return true;
}

static void loop(struct translate_cpu *t)
{
    struct x86_cpu *c = &t->x;
    uint64_t budget, code;

    for (;;) {
        if ((c->wants | atomic_load_explicit(&c->base.kicks, memory_order_relaxed)) !=
                0 &&
            !translate_goes_on(t)) {
            if (between(t)) {
                return;
            }
            unit_take_dirty(t);
            continue;
        }
        if (c->budget == 0) {
            return;
        }
        link_refresh(t);
        budget = c->budget;
        /* Behind the last byte below 4 GiB comes the first. */
        code = translate_is_suitable(c) ? code_at(t, c->next_rip & c->rip_mask) : 0;
        if (c->budget != budget) {
            continue; /* it moved on */
        }
        if (code != 0) {
            run_units(t, code);
        } else {
            translate_interpret(t, CODE_BLOCK_INSNS_MAX);
        }
    }
}

/* C code does not use GS; generated code finds the processor by it. */
static void set_gs(struct translate_cpu *t)
{
    if ((getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) != 0) {
        __asm__ volatile("wrgsbase %0" : : "r"(t));
    } else {
        syscall(SYS_arch_prctl, ARCH_SET_GS, t);
    }
}

/* Generated code takes a unit's instructions from the budget before it. */
uint64_t translate_left(const struct cpu *base)
{
    const struct translate_cpu *t = (const struct translate_cpu *)(const void *)base;

    return t->inside ? t->x.budget + slow_site(t)->left : x86_interpret_left(base);
}

int translate_run(struct cpu *base, uint64_t budget)
{
    struct x86_cpu *c = x86_of(base);
    struct translate_cpu *t = translate_of(c);
    const uint64_t interpreted = c->count.interpreted;
    int how;

    x86_interpret_begin(c, budget);
    t->is_counted = budget != UINT64_MAX;
    t->knows_uppers = false;
    set_gs(t);
    how = setjmp(c->unwind);
    if (how != 0) {
        fault(t, how);
    }
    loop(t);
    if (t->is_counted) {
        c->count.translated += budget - c->budget - (c->count.interpreted - interpreted);
    }
    return x86_interpret_end(c);
}
