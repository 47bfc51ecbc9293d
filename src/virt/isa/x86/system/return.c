/* return.c - RETF and IRET, in all modes (SDM volume 2, RET and IRET; AMD APM volume
 * 3).  All of the frame is read and checked before the first register changes. */
#include "virt/isa/x86/system/segment.h"

static uint64_t mask_of(enum x86_size size)
{
    return size == X86_16 ? 0xffffu : size == X86_32 ? 0xffffffffu : UINT64_MAX;
}

static unsigned bytes_of(enum x86_size size)
{
    return size == X86_16 ? 2 : size == X86_32 ? 4 : 8;
}

/* The code segment to return to: its level is the selector's. */
static void check_target(struct x86_cpu *c, uint16_t selector, struct x86_descriptor *d)
{
    uint32_t error = selector & 0xfffcu;
    unsigned rpl = selector & 3u;

    if (x86_is_null(selector)) {
        x86_raise_error(c, X86_GP, 0);
    }
    x86_need_descriptor(c, selector, X86_GP, 0, d);
    if (!x86_d_is_code(d->low) || rpl < c->r.cpl) {
        x86_raise_error(c, X86_GP, error);
    }
    if (x86_d_is_conforming(d->low) ? x86_d_dpl(d->low) > rpl
                                    : x86_d_dpl(d->low) != rpl) {
        x86_raise_error(c, X86_GP, error);
    }
    if (c->long_mode && x86_d_is_long(d->low) && x86_d_is_big(d->low)) {
        x86_raise_error(c, X86_GP, error);
    }
    if (!x86_d_is_present(d->low)) {
        x86_raise_error(c, X86_NP, error);
    }
}

/* The stack segment to return to, which level `rpl` will use. */
static void check_outer_ss(struct x86_cpu *c, uint16_t selector, uint8_t rpl,
                           bool to_long, struct x86_segment *ret_ss)
{
    if (x86_is_null(selector) && to_long && rpl != 3 && (selector & 3) == rpl) {
        *ret_ss = (struct x86_segment){
            .selector = selector,
            .attr = (uint16_t)(X86_ATTR_NULL | rpl << X86_ATTR_DPL_SHIFT)};
        return;
    }
    x86_check_ss(c, selector, rpl, X86_GP, 0, ret_ss);
}

/* What a return found out; the last step changes the registers. */
struct target {
    struct x86_segment cs, ss;
    uint64_t rip, rsp;
    uint8_t cpl;
    bool has_stack;
};

static void land(struct x86_cpu *c, const struct target *t, const struct x86_stack *s)
{
    uint8_t old_cpl = c->r.cpl;

    x86_enter(c, t->cs.selector, &t->cs, t->cpl, t->rip);
    if (t->has_stack) {
        struct x86_stack outer;

        x86_set_segment(c, X86_SS, &t->ss);
        x86_stack_current(c, &outer);
        outer.sp = t->rsp;
        x86_stack_commit_pointer(c, &outer);
    } else {
        x86_stack_commit_pointer(c, s);
    }
    if (t->cpl > old_cpl) {
        x86_drop_inner_segments(c);
    }
}

static void check_code(struct x86_cpu *c, uint16_t selector, uint64_t rip,
                       struct target *t, struct x86_descriptor *d)
{
    check_target(c, selector, d);
    t->cpl = selector & 3;
    t->cs = x86_d_segment(selector, d->low);
    t->cs.attr |= 1;
    t->rip = rip;
}

static void return_real(struct x86_cpu *c, enum x86_size size, uint16_t pop_bytes)
{
    struct x86_stack s;
    uint64_t rip;
    uint16_t cs;

    x86_stack_current(c, &s);
    rip = x86_stack_pop(c, &s, bytes_of(size));
    cs = (uint16_t)x86_stack_pop(c, &s, bytes_of(size));
    if (rip > c->r.seg[X86_CS].limit) {
        x86_raise_error(c, X86_GP, 0);
    }
    s.sp += pop_bytes;
    x86_stack_commit_pointer(c, &s);
    x86_load_segment_real(c, X86_CS, cs);
    c->next_rip = rip;
}

void x86_far_return(struct x86_cpu *c, enum x86_size size, uint16_t pop_bytes)
{
    unsigned bytes = bytes_of(size);
    struct target t = {.has_stack = false};
    struct x86_descriptor d;
    struct x86_stack s;
    uint64_t rip;
    uint16_t selector;

    if (!x86_is_protected(c)) {
        return_real(c, size, pop_bytes);
        return;
    }
    x86_stack_current(c, &s);
    rip = x86_stack_pop(c, &s, bytes);
    selector = (uint16_t)x86_stack_pop(c, &s, bytes);
    check_code(c, selector, rip, &t, &d);
    s.sp = (s.sp & ~s.mask) | ((s.sp + pop_bytes) & s.mask);
    if (t.cpl > c->r.cpl) {
        t.rsp = x86_stack_pop(c, &s, bytes);
        selector = (uint16_t)x86_stack_pop(c, &s, bytes);
        check_outer_ss(c, selector, t.cpl, c->long_mode && x86_d_is_long(d.low), &t.ss);
        t.rsp += pop_bytes;
        t.has_stack = true;
    }
    x86_check_code_address(c, &t.cs, t.rip);
    x86_mark_accessed(c, &d);
    land(c, &t, &s);
}

/* Flags that IRET of this size may write at the level it leaves. */
static uint64_t writable_flags(const struct x86_cpu *c, enum x86_size size, uint8_t cpl)
{
    uint64_t mask = X86_ARITHMETIC | X86_TF | X86_DF_BIT | X86_NT;

    if (size != X86_16) {
        mask |= X86_RF | X86_AC_BIT | X86_ID;
    }
    if (cpl <= (c->r.rflags & X86_IOPL) >> 12) {
        mask |= X86_IF;
    }
    if (cpl == 0) {
        mask |= X86_IOPL;
        if (size != X86_16) {
            mask |= X86_VIF | X86_VIP;
        }
    }
    return mask;
}

static void iret_real(struct x86_cpu *c, enum x86_size size)
{
    unsigned bytes = bytes_of(size);
    struct x86_stack s;
    uint64_t rip;
    uint64_t flags;
    uint64_t mask;
    uint16_t cs;

    x86_stack_current(c, &s);
    rip = x86_stack_pop(c, &s, bytes);
    cs = (uint16_t)x86_stack_pop(c, &s, bytes);
    flags = x86_stack_pop(c, &s, bytes);
    if (rip > c->r.seg[X86_CS].limit) {
        x86_raise_error(c, X86_GP, 0);
    }
    mask = writable_flags(c, size, 0) & ~(uint64_t)(X86_VIP | X86_VIF);
    if (c->v86) {
        mask &= ~(uint64_t)X86_IOPL; /* IOPL is 3, so IF may change */
    }
    x86_stack_commit_pointer(c, &s);
    x86_load_segment_real(c, X86_CS, cs);
    c->next_rip = rip;
    x86_write_flags(c, flags, mask);
}

/* IRET of a virtual-8086 task below IOPL 3: #GP, or with VME and 16 bits the virtual
 * interrupt flag (SDM volume 3B, 21.3.3.4; volume 2, IRET). */
static void iret_v86_low(struct x86_cpu *c, enum x86_size size)
{
    struct x86_stack s;
    uint64_t rip;
    uint64_t flags;
    uint16_t cs;

    if (size != X86_16 || (c->r.cr4 & X86_CR4_VME) == 0) {
        x86_raise_error(c, X86_GP, 0);
    }
    x86_stack_current(c, &s);
    rip = x86_stack_pop(c, &s, 2);
    cs = (uint16_t)x86_stack_pop(c, &s, 2);
    flags = x86_stack_pop(c, &s, 2);
    if ((flags & X86_TF) != 0 ||
        ((flags & X86_IF) != 0 && (c->r.rflags & X86_VIP) != 0)) {
        x86_raise_error(c, X86_GP, 0);
    }
    x86_stack_commit_pointer(c, &s);
    x86_load_segment_real(c, X86_CS, cs);
    c->next_rip = rip;
    flags |= (flags & X86_IF) != 0 ? X86_VIF : 0;
    x86_write_flags(c, flags, X86_ARITHMETIC | X86_DF_BIT | X86_NT | X86_VIF);
}

/* From level 0 to a virtual-8086 task: the rest of the frame is nine words deep. */
static void iret_to_v86(struct x86_cpu *c, struct x86_stack *s, const uint64_t frame[3])
{
    static const enum x86_seg order[] = {X86_SS, X86_ES, X86_DS, X86_FS, X86_GS};

    uint64_t esp = x86_stack_pop(c, s, 4);
    uint16_t selector[5];

    for (unsigned i = 0; i < 5; i++) {
        selector[i] = (uint16_t)x86_stack_pop(c, s, 4);
    }
    x86_write_flags(c, frame[2],
                    X86_ARITHMETIC | X86_TF | X86_IF | X86_DF_BIT | X86_NT | X86_IOPL |
                        X86_RF | X86_VM | X86_AC_BIT | X86_VIF | X86_VIP | X86_ID);
    x86_derive(c);
    x86_load_segment_real(c, X86_CS, (uint16_t)frame[1]);
    for (unsigned i = 0; i < 5; i++) {
        x86_load_segment_real(c, order[i], selector[i]);
    }
    c->r.gpr[X86_RSP] = (uint32_t)esp;
    c->next_rip = frame[0] & 0xffff;
    x86_derive(c);
    x86_set_cpl(c, 3);
    c->wants |= X86_WANT_RELOAD;
}

static void iret_protected(struct x86_cpu *c, enum x86_size size)
{
    unsigned bytes = bytes_of(size);
    struct target t = {.has_stack = false};
    struct x86_descriptor d;
    struct x86_stack s;
    uint64_t frame[3];
    uint64_t mask;
    uint8_t old_cpl = c->r.cpl;

    x86_stack_current(c, &s);
    for (unsigned i = 0; i < 3; i++) {
        frame[i] = x86_stack_pop(c, &s, bytes) & mask_of(size);
    }
    if (!c->long_mode && size == X86_32 && (frame[2] & X86_VM) != 0 && c->r.cpl == 0) {
        iret_to_v86(c, &s, frame);
        return;
    }
    check_code(c, (uint16_t)frame[1], frame[0], &t, &d);
    if (c->code_mode == X86_CODE64 || t.cpl > c->r.cpl) {
        uint16_t selector;

        t.rsp = x86_stack_pop(c, &s, bytes);
        selector = (uint16_t)x86_stack_pop(c, &s, bytes);
        check_outer_ss(c, selector, t.cpl, c->long_mode && x86_d_is_long(d.low), &t.ss);
        t.has_stack = true;
    }
    x86_check_code_address(c, &t.cs, t.rip);
    x86_mark_accessed(c, &d);
    mask = writable_flags(c, size, old_cpl);
    land(c, &t, &s);
    x86_write_flags(c, frame[2], mask);
}

void x86_interrupt_return(struct x86_cpu *c, enum x86_size size)
{
    x86_flags_pack(c);
    if (!c->protected_mode) {
        iret_real(c, size);
    } else if (c->v86) {
        if ((c->r.rflags & X86_IOPL) == X86_IOPL) {
            iret_real(c, size);
        } else {
            iret_v86_low(c, size);
        }
    } else if ((c->r.rflags & X86_NT) != 0) {
        if (c->long_mode) {
            x86_raise_error(c, X86_GP, 0);
        }
        x86_task_return(c);
    } else {
        iret_protected(c, size);
    }
    c->r.nmi_masked = false;
}
