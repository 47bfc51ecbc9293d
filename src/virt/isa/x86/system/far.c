/* far.c - JMP and CALL to another segment: code, call gates, tasks.
 *
 * Everything that can refuse is asked before the first register changes; the order
 * of the questions is the manual's (SDM volume 2, CALL and JMP; volume 3A, 5.8). */
#include "virt/isa/x86/system/segment.h"

#define OUTER_PARAMETERS 32 /* a gate's count has five bits */

static uint64_t mask_of(enum x86_size size)
{
    return size == X86_16 ? 0xffffu : size == X86_32 ? 0xffffffffu : UINT64_MAX;
}

static unsigned bytes_of(enum x86_size size)
{
    return size == X86_16 ? 2 : size == X86_32 ? 4 : 8;
}

/* Push CS and the return address on the current stack and keep it. */
static void push_return(struct x86_cpu *c, struct x86_stack *s, enum x86_size size)
{
    x86_stack_reserve(c, s, bytes_of(size), 2);
    x86_stack_push(c, s, bytes_of(size), c->r.seg[X86_CS].selector);
    x86_stack_push(c, s, bytes_of(size), c->next_rip & mask_of(size));
}

static void transfer_real(struct x86_cpu *c, enum x86_far kind, uint16_t selector,
                          uint64_t offset, enum x86_size size)
{
    offset &= mask_of(size);
    if (offset > c->r.seg[X86_CS].limit) {
        x86_raise_error(c, X86_GP, 0);
    }
    if (kind == X86_FAR_CALL) {
        struct x86_stack s;

        x86_stack_current(c, &s);
        push_return(c, &s, size);
        x86_stack_commit_pointer(c, &s);
    }
    x86_load_segment_real(c, X86_CS, selector);
    c->next_rip = offset;
}

/* Straight to a code segment, at the same privilege. */
static void transfer_code(struct x86_cpu *c, enum x86_far kind, uint16_t selector,
                          uint64_t offset, enum x86_size size, struct x86_descriptor *d)
{
    unsigned dpl = x86_d_dpl(d->low);
    uint32_t error = selector & 0xfffcu;
    struct x86_segment cs;
    struct x86_stack s;

    if (x86_d_is_conforming(d->low) ? dpl > c->r.cpl
                                    : (selector & 3u) > c->r.cpl || dpl != c->r.cpl) {
        x86_raise_error(c, X86_GP, error);
    }
    if (c->long_mode && x86_d_is_long(d->low) && x86_d_is_big(d->low)) {
        x86_raise_error(c, X86_GP, error);
    }
    if (!x86_d_is_present(d->low)) {
        x86_raise_error(c, X86_NP, error);
    }
    cs = x86_d_segment(selector, d->low);
    offset &= mask_of(size);
    x86_stack_current(c, &s);
    if (kind == X86_FAR_CALL) {
        x86_stack_reserve(c, &s, bytes_of(size), 2);
    }
    x86_check_code_address(c, &cs, offset);
    x86_mark_accessed(c, d);
    cs.attr |= 1;
    if (kind == X86_FAR_CALL) {
        push_return(c, &s, size);
        x86_stack_commit_pointer(c, &s);
    }
    x86_enter(c, selector, &cs, c->r.cpl, offset);
}

/* The code segment that a call gate names, checked for `kind`. */
static void gate_target(struct x86_cpu *c, enum x86_far kind, uint16_t selector,
                        struct x86_descriptor *ret_d)
{
    uint32_t error = selector & 0xfffcu;
    unsigned dpl;

    if (x86_is_null(selector)) {
        x86_raise_error(c, X86_GP, 0);
    }
    x86_need_descriptor(c, selector, X86_GP, 0, ret_d);
    dpl = x86_d_dpl(ret_d->low);
    if (!x86_d_is_code(ret_d->low) || dpl > c->r.cpl) {
        x86_raise_error(c, X86_GP, error);
    }
    if (kind == X86_FAR_JMP && !x86_d_is_conforming(ret_d->low) && dpl != c->r.cpl) {
        x86_raise_error(c, X86_GP, error);
    }
    if (c->long_mode && (!x86_d_is_long(ret_d->low) || x86_d_is_big(ret_d->low))) {
        x86_raise_error(c, X86_GP, error);
    }
    if (!x86_d_is_present(ret_d->low)) {
        x86_raise_error(c, X86_NP, error);
    }
}

/* CALL through a gate to an inner level: a new stack, and the parameters on it. */
static void call_inward(struct x86_cpu *c, uint64_t gate, uint16_t selector,
                        uint64_t offset, enum x86_size size, struct x86_descriptor *d)
{
    uint8_t cpl = (uint8_t)x86_d_dpl(d->low);
    unsigned bytes = bytes_of(size);
    unsigned count = c->long_mode ? 0 : (unsigned)(gate >> 32) & 31;
    uint64_t parameter[OUTER_PARAMETERS];
    struct x86_segment cs = x86_d_segment(selector, d->low);
    struct x86_stack outer;
    struct x86_stack inner;

    if (c->long_mode) {
        x86_inner_stack_long(c, cpl, 0, 0, &inner);
    } else {
        x86_inner_stack(c, cpl, 0, &inner);
    }
    x86_stack_reserve(c, &inner, bytes, 4 + count);
    x86_check_code_address(c, &cs, offset);
    x86_stack_current(c, &outer);
    for (unsigned i = 0; i < count; i++) {
        parameter[i] = x86_stack_pop(c, &outer, bytes);
    }
    x86_mark_accessed(c, d);
    cs.attr |= 1;
    x86_stack_push(c, &inner, bytes, c->r.seg[X86_SS].selector);
    x86_stack_push(c, &inner, bytes, c->r.gpr[X86_RSP] & mask_of(size));
    for (unsigned i = count; i > 0; i--) {
        x86_stack_push(c, &inner, bytes, parameter[i - 1]);
    }
    x86_stack_push(c, &inner, bytes, c->r.seg[X86_CS].selector);
    x86_stack_push(c, &inner, bytes, c->next_rip & mask_of(size));
    x86_enter(c, selector, &cs, cpl, offset);
    x86_set_segment(c, X86_SS, &inner.ss);
    x86_stack_commit_pointer(c, &inner);
}

static void through_gate(struct x86_cpu *c, enum x86_far kind, uint16_t selector,
                         struct x86_descriptor *gate)
{
    uint64_t low = gate->low;
    uint64_t offset = (low & 0xffff) | (low >> 32 & 0xffff0000);
    uint16_t target = (uint16_t)(low >> 16);
    enum x86_size size = x86_d_type(low) == X86_CALL16 ? X86_16 : X86_32;
    struct x86_descriptor d;
    struct x86_segment cs;

    if (c->long_mode) {
        if (!x86_read_descriptor_high(c, selector, gate) ||
            (gate->high >> 40 & 0x1f) != 0) {
            x86_raise_error(c, X86_GP, selector & 0xfffc);
        }
        offset |= gate->high << 32;
        size = X86_64;
    } else if (size == X86_16) {
        offset &= 0xffff;
    }
    gate_target(c, kind, target, &d);
    if (kind == X86_FAR_CALL && !x86_d_is_conforming(d.low) &&
        x86_d_dpl(d.low) < c->r.cpl) {
        call_inward(c, low, target, offset, size, &d);
        return;
    }
    cs = x86_d_segment(target, d.low);
    if (kind == X86_FAR_CALL) {
        struct x86_stack s;

        x86_stack_current(c, &s);
        s.is_long = c->long_mode;
        s.mask = c->long_mode ? UINT64_MAX : s.mask;
        x86_stack_reserve(c, &s, bytes_of(size), 2);
        x86_check_code_address(c, &cs, offset);
        push_return(c, &s, size);
        x86_stack_commit_pointer(c, &s);
    }
    x86_check_code_address(c, &cs, offset);
    x86_mark_accessed(c, &d);
    cs.attr |= 1;
    x86_enter(c, target, &cs, c->r.cpl, offset);
}

static void transfer_system(struct x86_cpu *c, enum x86_far kind, uint16_t selector,
                            struct x86_descriptor *d)
{
    unsigned type = x86_d_type(d->low);
    unsigned dpl = x86_d_dpl(d->low);
    enum x86_switch how = kind == X86_FAR_CALL ? X86_SWITCH_CALL : X86_SWITCH_JMP;
    bool is_known = c->long_mode ? type == X86_CALL32
                                 : type == X86_TSS16 || type == X86_TSS32 ||
                                       type == X86_TASK_GATE || type == X86_CALL16 ||
                                       type == X86_CALL32;

    if (!is_known || dpl < c->r.cpl || (selector & 3u) > dpl) {
        x86_raise_error(c, X86_GP, selector & 0xfffc);
    }
    if (!x86_d_is_present(d->low)) {
        x86_raise_error(c, X86_NP, selector & 0xfffc);
    }
    if (type == X86_TASK_GATE) {
        x86_task_gate(c, d->low, how, 0);
    } else if (type == X86_TSS16 || type == X86_TSS32) {
        x86_task_switch(c, selector, d, how, 0);
    } else {
        through_gate(c, kind, selector, d);
    }
}

void x86_far_transfer(struct x86_cpu *c, enum x86_far kind, uint16_t selector,
                      uint64_t offset, enum x86_size size)
{
    struct x86_descriptor d;

    if (!x86_is_protected(c)) {
        transfer_real(c, kind, selector, offset, size);
        return;
    }
    if (x86_is_null(selector)) {
        x86_raise_error(c, X86_GP, 0);
    }
    x86_need_descriptor(c, selector, X86_GP, 0, &d);
    if (x86_d_is_system(d.low)) {
        transfer_system(c, kind, selector, &d);
    } else if (x86_d_is_code(d.low)) {
        transfer_code(c, kind, selector, offset, size, &d);
    } else {
        x86_raise_error(c, X86_GP, selector & 0xfffc);
    }
}
