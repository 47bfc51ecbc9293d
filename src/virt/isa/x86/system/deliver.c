/* deliver.c - interrupts and exceptions, through the IDT or the real-mode table.
 *
 * `x86_deliver` tries; a fault on the way is caught here and either takes the place
 * of the event (when that was an interrupt or a benign exception), becomes a double
 * fault, or ends in shutdown (SDM volume 3A, table 6-5).  An attempt changes nothing
 * before its last access that can fault, so the next one starts from the same state;
 * only a task switch may have gone through, and then the fault belongs to the new
 * task, as the manual wants it.
 *
 * SDM volume 3A, chapter 6; volume 3B, 21.3 (virtual-8086 mode); volume 2, INT n. */
#include "virt/isa/x86/system/segment.h"

#define ERROR_IDT 2u

struct event {
    enum x86_event kind;
    uint8_t vector;
    bool has_error;
    uint32_t error;
    bool checks_dpl; /* INT n, INT3, INTO */
    uint32_t ext;    /* bit 0 of error codes of faults on the way */
    uint64_t rip;    /* to push */
    uint64_t flags;  /* to push */
};

struct gate {
    uint64_t offset;
    uint16_t selector;
    uint8_t ist;
    unsigned type;
    uint64_t low;
};

static void finish(struct x86_cpu *c, const struct event *e, bool clears_if)
{
    uint64_t cleared = X86_TF | X86_NT | X86_RF | X86_VM;

    c->r.rflags &= ~(cleared | (clears_if ? X86_IF : 0));
    if (e->vector == X86_NMI && e->kind == X86_EVENT_EXTERNAL) {
        c->r.nmi_masked = true;
    }
}

/* Real mode, and virtual-8086 mode where the task handles it by itself: FLAGS, CS, IP
 * on the current stack, and the vector's address from `table`. */
static void deliver_real(struct x86_cpu *c, const struct event *e, uint64_t table,
                         uint64_t flags)
{
    struct x86_stack s;
    uint64_t pointer = x86_linear_load(c, c->v86 ? X86_AS_USER : X86_AS_SYSTEM,
                                       table + e->vector * 4u, 4);

    x86_stack_current(c, &s);
    x86_stack_reserve(c, &s, 2, 3);
    if ((pointer & 0xffff) > c->r.seg[X86_CS].limit) {
        x86_raise_error(c, X86_GP, e->ext);
    }
    x86_stack_push(c, &s, 2, flags);
    x86_stack_push(c, &s, 2, c->r.seg[X86_CS].selector);
    x86_stack_push(c, &s, 2, e->rip);
    x86_stack_commit_pointer(c, &s);
    x86_load_segment_real(c, X86_CS, (uint16_t)(pointer >> 16));
    c->next_rip = pointer & 0xffff;
}

static void through_vectors(struct x86_cpu *c, const struct event *e)
{
    if (e->vector * 4u + 3 > c->r.idtr.limit) {
        x86_raise_error(c, X86_GP, e->vector * 8u + ERROR_IDT + e->ext);
    }
    deliver_real(c, e, c->r.idtr.base, e->flags);
    finish(c, e, true);
    c->r.rflags &= ~(uint64_t)X86_AC_BIT;
}

static void read_gate(struct x86_cpu *c, const struct event *e, struct gate *g)
{
    uint32_t error = e->vector * 8u + ERROR_IDT + e->ext;
    unsigned bytes = c->long_mode ? 16 : 8;
    uint64_t at = c->r.idtr.base + (uint64_t)e->vector * bytes;
    bool is_known;

    if (e->vector * bytes + bytes - 1 > c->r.idtr.limit) {
        x86_raise_error(c, X86_GP, error);
    }
    g->low = x86_system_load(c, at, 8);
    g->type = x86_d_type(g->low);
    g->selector = (uint16_t)(g->low >> 16);
    g->offset = (g->low & 0xffff) | (g->low >> 32 & 0xffff0000);
    g->ist = 0;
    if (c->long_mode) {
        g->offset |= x86_system_load(c, at + 8, 8) << 32;
        g->ist = g->low >> 32 & 7;
    } else if (g->type == X86_INT16 || g->type == X86_TRAP16) {
        g->offset &= 0xffff;
    }
    is_known = g->type == X86_INT32 || g->type == X86_TRAP32;
    if (!c->long_mode) {
        is_known |=
            g->type == X86_INT16 || g->type == X86_TRAP16 || g->type == X86_TASK_GATE;
    }
    if (!x86_d_is_system(g->low) || !is_known ||
        (e->checks_dpl && x86_d_dpl(g->low) < c->r.cpl)) {
        x86_raise_error(c, X86_GP, error);
    }
    if (!x86_d_is_present(g->low)) {
        x86_raise_error(c, X86_NP, error);
    }
}

/* The handler's code segment. */
static void read_target(struct x86_cpu *c, const struct event *e, const struct gate *g,
                        struct x86_descriptor *d)
{
    uint32_t error = x86_selector_error(g->selector, e->ext);

    if (x86_is_null(g->selector)) {
        x86_raise_error(c, X86_GP, e->ext);
    }
    x86_need_descriptor(c, g->selector, X86_GP, e->ext, d);
    if (!x86_d_is_code(d->low) || x86_d_dpl(d->low) > c->r.cpl ||
        (c->long_mode && (!x86_d_is_long(d->low) || x86_d_is_big(d->low)))) {
        x86_raise_error(c, X86_GP, error);
    }
    if (!x86_d_is_present(d->low)) {
        x86_raise_error(c, X86_NP, error);
    }
    if (c->v86 && (x86_d_is_conforming(d->low) || x86_d_dpl(d->low) != 0)) {
        x86_raise_error(c, X86_GP, error);
    }
}

/* Where the frame goes: the inner level's stack, an interrupt stack, or this one. */
static void choose_stack(struct x86_cpu *c, const struct event *e, const struct gate *g,
                         uint8_t cpl, struct x86_stack *s)
{
    bool is_inner = cpl != c->r.cpl;

    if (!c->long_mode) {
        if (is_inner) {
            x86_inner_stack(c, cpl, e->ext, s);
        } else {
            x86_stack_current(c, s);
            s->error = e->ext;
        }
        return;
    }
    if (is_inner || g->ist != 0) {
        x86_inner_stack_long(c, cpl, g->ist, e->ext, s);
        if (!is_inner) {
            s->ss = c->r.seg[X86_SS];
        }
    } else {
        x86_stack_current(c, s);
        s->is_long = true;
        s->mask = UINT64_MAX;
        s->error = e->ext;
    }
    s->sp &= ~0xfull;
}

static void push_v86_segments(struct x86_cpu *c, struct x86_stack *s, unsigned bytes)
{
    static const enum x86_seg order[] = {X86_GS, X86_FS, X86_DS, X86_ES};

    for (unsigned i = 0; i < 4; i++) {
        x86_stack_push(c, s, bytes, c->r.seg[order[i]].selector);
    }
}

static void through_gate(struct x86_cpu *c, const struct event *e, const struct gate *g)
{
    bool is16 = !c->long_mode && (g->type == X86_INT16 || g->type == X86_TRAP16);
    unsigned bytes = c->long_mode ? 8 : is16 ? 2 : 4;
    bool was_v86 = c->v86;
    bool is_trap = g->type == X86_TRAP16 || g->type == X86_TRAP32;
    struct x86_descriptor d;
    struct x86_segment cs;
    struct x86_stack s;
    bool is_inner;
    uint8_t cpl;

    read_target(c, e, g, &d);
    cpl = x86_d_is_conforming(d.low) ? c->r.cpl : (uint8_t)x86_d_dpl(d.low);
    is_inner = cpl != c->r.cpl;
    choose_stack(c, e, g, cpl, &s);
    x86_stack_reserve(c, &s, bytes,
                      3u + e->has_error + (is_inner || c->long_mode ? 2u : 0u) +
                          (was_v86 ? 4u : 0u));
    cs = x86_d_segment(g->selector, d.low);
    x86_check_code_address(c, &cs, g->offset);
    x86_mark_accessed(c, &d);
    cs.attr |= 1;
    if (was_v86) {
        push_v86_segments(c, &s, bytes);
    }
    if (is_inner || c->long_mode) {
        x86_stack_push(c, &s, bytes, c->r.seg[X86_SS].selector);
        x86_stack_push(c, &s, bytes, c->r.gpr[X86_RSP]);
    }
    x86_stack_push(c, &s, bytes, e->flags);
    x86_stack_push(c, &s, bytes, c->r.seg[X86_CS].selector);
    x86_stack_push(c, &s, bytes, e->rip);
    if (e->has_error) {
        x86_stack_push(c, &s, bytes, e->error);
    }
    finish(c, e, !is_trap);
    if (was_v86) {
        x86_derive(c);
    }
    x86_enter(c, g->selector, &cs, cpl, g->offset);
    if (is_inner) {
        x86_set_segment(c, X86_SS, &s.ss);
    }
    x86_stack_commit_pointer(c, &s);
    if (was_v86) {
        static const enum x86_seg data[] = {X86_ES, X86_DS, X86_FS, X86_GS};

        for (unsigned i = 0; i < 4; i++) {
            struct x86_segment none = {.attr = X86_ATTR_NULL};

            x86_set_segment(c, data[i], &none);
        }
        x86_segments_changed(c);
        c->wants |= X86_WANT_RELOAD;
    }
}

/* Into another task; the error code goes on its stack. */
static void through_task(struct x86_cpu *c, const struct event *e, const struct gate *g)
{
    c->next_rip = e->rip;
    c->r.rflags = e->flags;
    x86_task_gate(c, g->low, X86_SWITCH_CALL, e->ext);
    if (e->has_error) {
        unsigned bytes = (c->r.seg[X86_TR].attr & 8) != 0 ? 4 : 2;
        struct x86_stack s;

        x86_stack_current(c, &s);
        x86_stack_push(c, &s, bytes, e->error);
        x86_stack_commit_pointer(c, &s);
    }
    if (e->vector == X86_NMI && e->kind == X86_EVENT_EXTERNAL) {
        c->r.nmi_masked = true;
    }
}

/* INT n in virtual-8086 mode: with VME and a clear bit of the redirection map the
 * task's own handler (SDM volume 3B, table 21-2); true: done. */
static bool redirect_v86(struct x86_cpu *c, const struct event *e)
{
    const struct x86_segment *tr = &c->r.seg[X86_TR];
    bool has_iopl = (c->r.rflags & X86_IOPL) == X86_IOPL;

    if ((c->r.cr4 & X86_CR4_VME) != 0 && 103 <= tr->limit) {
        unsigned map = (unsigned)x86_system_load(c, tr->base + 102, 2);
        unsigned at = map - 32 + e->vector / 8u;

        if (map >= 32 && at <= tr->limit &&
            (x86_system_load(c, tr->base + at, 1) >> (e->vector & 7) & 1) == 0) {
            uint64_t flags = e->flags;

            if (!has_iopl) {
                flags = (flags & ~(uint64_t)X86_IF) | X86_IOPL |
                        ((flags & X86_VIF) != 0 ? X86_IF : 0);
            }
            deliver_real(c, e, 0, flags);
            c->r.rflags &= ~(uint64_t)(X86_TF | X86_NT);
            c->r.rflags &= ~(uint64_t)(has_iopl ? X86_IF : X86_VIF);
            return true;
        }
    }
    if (!has_iopl) {
        x86_raise_error(c, X86_GP, 0);
    }
    return false;
}

static void attempt(struct x86_cpu *c, const struct event *e)
{
    struct gate g;

    if (!c->protected_mode) {
        through_vectors(c, e);
        return;
    }
    if (c->v86 && e->kind == X86_EVENT_SOFTWARE && redirect_v86(c, e)) {
        return;
    }
    read_gate(c, e, &g);
    if (g.type == X86_TASK_GATE) {
        through_task(c, e, &g);
    } else {
        through_gate(c, e, &g);
    }
}

enum class {
    BENIGN,
    CONTRIBUTORY,
    PAGE_FAULT,
    DOUBLE_FAULT
};

static enum class class_of(const struct event *e) {
    if (e->kind == X86_EVENT_SOFTWARE || e->kind == X86_EVENT_EXTERNAL){return BENIGN;
}

switch (e->vector)
{
case X86_DE:
case X86_TS:
case X86_NP:
case X86_SS_FAULT:
case X86_GP:
    return CONTRIBUTORY;
case X86_PF:
    return PAGE_FAULT;
case X86_DF:
    return DOUBLE_FAULT;
default:
    return BENIGN;
}
}

/* RF in the image: set by faults, so that the instruction's own breakpoint does not
 * fire again; not by the breakpoint itself (SDM volume 3B, 18.3.1.1). */
static bool sets_rf(const struct x86_cpu *c, const struct event *e)
{
    return e->kind == X86_EVENT_FAULT && e->vector != X86_DF &&
           !(e->vector == X86_DB && (c->fault.dr6 & 15) != 0);
}

/* An event from `c->fault` and the address it pushes. */
static void make_event(struct x86_cpu *c, enum x86_event kind, uint8_t vector,
                       struct event *e)
{
    bool is_exception = kind == X86_EVENT_FAULT || kind == X86_EVENT_TRAP;

    *e = (struct event){.kind = kind, .vector = vector, .flags = c->r.rflags | 2};
    e->checks_dpl = kind == X86_EVENT_SOFTWARE ||
                    (kind == X86_EVENT_TRAP && (vector == X86_BP || vector == X86_OF));
    e->ext = e->checks_dpl ? 0 : 1;
    e->rip = kind == X86_EVENT_FAULT ? c->r.gpr[X86_RIP] : c->next_rip;
    if (is_exception) {
        e->has_error = c->fault.has_error && c->protected_mode;
        e->error = c->fault.error;
        e->flags |= sets_rf(c, e) ? X86_RF : 0;
    }
    if (is_exception && vector == X86_PF) {
        c->r.cr2 = c->fault.address;
    }
    if (is_exception && vector == X86_DB) {
        c->r.dr[6] |= c->fault.dr6;
        if (c->r.dr[7] & 0x2000) {
            c->r.dr[7] &= ~0x2000ull;
        }
    }
    if (kind == X86_EVENT_FAULT) {
        c->dr6_pending = 0;
    }
}

/* A second fault while `e` was delivered: what is to be delivered now.  False: the
 * processor shuts down. */
static bool combine(struct x86_cpu *c, const struct event *e)
{
    struct event second = {.kind = X86_EVENT_FAULT, .vector = c->fault.vector};
    enum class was = class_of(e);
    enum class is = class_of(&second);

    if (is == BENIGN || was == BENIGN) {
        return true;
    }
    if (was == DOUBLE_FAULT) {
        return false;
    }
    if (was == PAGE_FAULT || is == CONTRIBUTORY) {
        if (is == PAGE_FAULT) {
            c->r.cr2 = c->fault.address;
        }
        c->fault = (struct x86_fault){.vector = X86_DF, .has_error = true};
    }
    return true;
}

static void shut_down(struct x86_cpu *c)
{
    struct cpu_exit x = {.kind = CPU_EXIT_SHUTDOWN};

    x86_exit(c, &x);
}

/* One attempt; false: it faulted, and `c->fault` says how. */
static bool try_once(struct x86_cpu *c, const struct event *e)
{
    if (setjmp(c->unwind) != 0) {
        return false;
    }
    attempt(c, e);
    return true;
}

/* Benign exceptions that arise in their own delivery (#AC on a user's stack) come for
 * ever on a real processor, which then is as good as shut down. */
#define ATTEMPTS_MAX 16

/* A fault after a fault without an instruction between them costs the budget one: a
 * handler that cannot begin comes to an end. */
static void charge(struct x86_cpu *c, enum x86_event kind)
{
    if (kind == X86_EVENT_FAULT) {
        c->budget -= c->budget > 0 && c->budget == c->budget_at_fault;
        c->budget_at_fault = c->budget;
    }
}

void x86_deliver(struct x86_cpu *c, enum x86_event kind, uint8_t vector)
{
    jmp_buf outer;
    struct event e;
    bool is_between;
    unsigned attempts = 0;

    x86_flags_pack(c);
    memcpy(&outer, &c->unwind, sizeof outer);
    make_event(c, kind, vector, &e);
    /* A fault on the way of these comes before the next instruction, not in one. */
    is_between = kind != X86_EVENT_FAULT && !e.checks_dpl;
    charge(c, kind);
    c->count.exceptions += kind != X86_EVENT_EXTERNAL;
    c->count.interrupts += kind == X86_EVENT_EXTERNAL;
    while (!try_once(c, &e)) {
        if (!combine(c, &e) || ++attempts == ATTEMPTS_MAX) {
            memcpy(&c->unwind, &outer, sizeof outer);
            shut_down(c);
            return;
        }
        if (is_between) {
            c->r.gpr[X86_RIP] = c->next_rip;
            is_between = false;
        }
        make_event(c, X86_EVENT_FAULT, c->fault.vector, &e);
        c->count.exceptions++;
    }
    memcpy(&c->unwind, &outer, sizeof outer);
    if (e.vector == X86_DB) {
        c->dr6_pending = 0; /* its frame may be watched: no second one for that */
    }
    c->r.gpr[X86_RIP] = c->next_rip;
    c->r.halted = false;
    c->r.irq_shadow = c->r.debug_shadow = false;
    if ((c->r.rflags & X86_TF) == 0 && c->dr6_pending == 0) {
        c->wants &= ~(uint32_t)X86_WANT_TRAP;
    }
}
