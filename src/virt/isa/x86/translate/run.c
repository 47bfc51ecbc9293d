/* run.c - the loop of the translator: interpret what is cold, run what is translated.
 *
 * Faults and the rest of what happens between instructions are the interpreter's. */
#include <asm/prctl.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "virt/isa/x86/interpret/interpret.h"
#include "virt/isa/x86/memory/memory.h"
#include "virt/isa/x86/memory/tlb.h"
#include "virt/isa/x86/system/system.h"
#include "virt/isa/x86/translate/private.h"

#define ROOM_FOR_ONE    65536u
#define HWCAP2_FSGSBASE 2u /* arch/x86/include/uapi/asm/hwcap2.h */

/* The translator's code assumes these; anything else is interpreted. */
static bool is_suitable(const struct x86_cpu *c)
{
    return c->code_mode != X86_CODE16 && c->flat &&
           (c->r.rflags & (X86_TF | X86_RF)) == 0 && !c->r.irq_shadow &&
           (c->r.dr[7] & 0xff) == 0 && (c->r.fpu.mxcsr & 0x1f80) == 0x1f80 &&
           (c->stack_size == X86_64 || c->code_mode == X86_CODE32);
}

/* When a mapping or the way of decoding changed, no entry of the jump table counts. */
static void refresh_jumps(struct translate_cpu *t)
{
    uint8_t key = unit_key(&t->x);

    if (t->map_generation == t->x.map_generation && t->key == key) {
        return;
    }
    t->map_generation = t->x.map_generation;
    t->key = key;
    t->frame.jump_tag += UINT64_C(1) << 48;
    if (t->frame.jump_tag == 0) {
        memset(t->jumps, 0, EMIT_JUMPS * sizeof *t->jumps);
        t->frame.jump_tag = UINT64_C(1) << 48;
    }
}

static void remember_jump(struct translate_cpu *t, uint64_t rip, uint64_t code)
{
    struct emit_jump *j = &t->jumps[rip & (EMIT_JUMPS - 1)];

    j->tag = rip ^ t->frame.jump_tag;
    j->code = code;
}

static bool is_hot(struct translate_cpu *t, uint64_t rip)
{
    uint8_t *h = &t->heat[(rip ^ rip >> 13) & (HEAT_SLOTS - 1)];

    if (*h < t->warm) {
        ++*h;
        return false;
    }
    return true;
}

/* The unit at rip, made if it is warm; NULL: interpret.  May raise a fetch's fault. */
static struct unit *unit_at(struct translate_cpu *t, uint64_t rip)
{
    struct x86_cpu *c = &t->x;
    bool counted = t->is_counted;
    const uint8_t *host;
    struct unit *u;
    unsigned room;
    gpa at;

    c->r.gpr[X86_RIP] = rip;
    c->code->block = NULL; /* a fetch that faults has no instructions before it */
    host = x86_fetch_page(c, rip, &room, &at);
    if (host == NULL) {
        return NULL;
    }
    u = unit_find(t, at, rip, counted);
    if (u == NULL && is_hot(t, rip)) {
        if (t->code.bytes - t->code.used < ROOM_FOR_ONE) {
            unit_drop_all(t);
        }
        u = trace_translate(t, rip, host, room, at, counted);
        x86_tlb_protect(c, at);
    }
    return u != NULL && u->code != 0 ? u : NULL;
}

static void patch(struct translate_cpu *t, uint64_t number, const struct unit *to)
{
    struct exit_of *x;
    int64_t distance;
    int32_t d;

    if (number >= t->exits) {
        return;
    }
    x = &t->exit[number];
    if (x->jump == NULL || x->page != (to->at & ~(gpa)(MEM_PAGE_BYTES - 1))) {
        return;
    }
    distance = (int64_t)(to->code - (uint64_t)(uintptr_t)t->code.run) -
               (x->jump + 4 - t->code.write);
    d = (int32_t)distance;
    memcpy(x->jump, &d, sizeof d);
}

static void enter(struct translate_cpu *t, const struct unit *u)
{
    struct x86_cpu *c = &t->x;

    x86_flags_pack(c);
    t->frame.flags = c->r.rflags;
    t->frame.entry = u->code;
    t->frame.host_mxcsr = _mm_getcsr();
    t->frame.uppers = slow_has_uppers(c);
    t->local = 0;
    t->inside = true;
    t->enter();
    fpu_take(t);
    t->inside = false;
    x86_flags_set(c, (uint32_t)t->frame.flags);
    c->next_rip = t->frame.leave_to;
    c->r.gpr[X86_RIP] = c->next_rip;
    c->count.chain_breaks++;
}

/* A branch went where no address is.  It faults itself, so what it did to the stack is
 * taken back, and the interpreter executes it once more. */
static void redo_branch(struct translate_cpu *t)
{
    struct x86_cpu *c = &t->x;
    const struct x86_block *b;
    const struct x86_insn *i;

    c->next_rip = t->frame.leave_branch;
    c->r.gpr[X86_RIP] = c->next_rip;
    b = x86_code_find(c, c->next_rip);
    i = &b->insn[0];
    if (i->row == X86_R_CALL_EV) {
        c->r.gpr[X86_RSP] += 8;
    } else if (i->row == X86_R_RET || i->row == X86_R_RET_IW) {
        c->r.gpr[X86_RSP] -= 8 + (i->row == X86_R_RET_IW ? (i->imm & 0xffff) : 0);
    }
    c->budget += t->is_counted; /* else it was not taken, and has no room for more */
    x86_execute(c, 1);
}

/* Run translated code from rip on until it has to come back. */
static void run_units(struct translate_cpu *t, struct unit *u)
{
    struct x86_cpu *c = &t->x;

    for (;;) {
        uint32_t drops = t->drops;
        int64_t left;
        uint64_t rip;

        enter(t, u);
        left = (int64_t)t->frame.leave_exit;
        if (left == EMIT_LEFT_ROUTINE) {
            c->budget += t->site[t->frame.slow_site].left;
            c->budget -= t->site[t->frame.slow_site].left > 0 ? 1 : 0;
        }
        rip = c->next_rip;
        if (left == EMIT_LEFT_MISS && !x86_is_canonical(rip)) {
            redo_branch(t);
            return;
        }
        if (left == EMIT_LEFT_WANTS || left == EMIT_LEFT_ROUTINE || c->wants != 0 ||
            atomic_load(&c->base.kicks) != 0 || c->budget == 0) {
            return; /* not even the page of what comes next is looked at */
        }
        u = unit_at(t, rip);
        if (u == NULL) {
            return;
        }
        refresh_jumps(t);
        if (left >= 0 && drops == t->drops) {
            patch(t, (uint64_t)left, u);
        } else if (left < 0) {
            remember_jump(t, rip, u->code);
        }
    }
}

static void fault(struct translate_cpu *t, int how)
{
    struct x86_cpu *c = &t->x;

    fpu_take(t);
    if (t->inside) {
        slow_apply(t);
        c->code->block = NULL;
        if (how == 2) { /* given up: the interpreter executes this instruction */
            x86_execute(c, 1);
            return;
        }
    }
    x86_interpret_fault(c);
}

static void loop(struct translate_cpu *t)
{
    struct x86_cpu *c = &t->x;
    struct unit *u;

    for (;;) {
        if ((c->wants | atomic_load_explicit(&c->base.kicks, memory_order_relaxed)) !=
            0) {
            if (x86_between(c)) {
                return;
            }
            unit_take_dirty(t);
            continue;
        }
        if (c->budget == 0) {
            return;
        }
        refresh_jumps(t);
        u = is_suitable(c) ? unit_at(t, c->next_rip) : NULL;
        if (u != NULL && (!u->is_counted || u->insns <= c->budget)) {
            run_units(t, u);
        } else {
            uint64_t before = c->budget;

            x86_execute(c, CODE_BLOCK_INSNS_MAX);
            c->count.interpreted += before - c->budget;
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

int translate_run(struct cpu *base, uint64_t budget)
{
    struct x86_cpu *c = x86_of(base);
    struct translate_cpu *t = translate_of(c);
    int how;

    x86_interpret_begin(c, budget);
    t->is_counted = budget != UINT64_MAX;
    set_gs(t);
    how = setjmp(c->unwind);
    if (how != 0) {
        fault(t, how);
    }
    loop(t);
    return x86_interpret_end(c);
}
