/* stack.c - stacks that gates, returns and interrupts push to and pop from.
 *
 * A stack is worked on as a value and becomes the current one when nothing can fault
 * any more.  What is pushed is reserved before: the first fault comes before the
 * first byte.  Intel SDM volume 3A, 5.8.5 and 6.14. */
#include "virt/isa/x86/system/segment.h"

static enum x86_rights rights_of(const struct x86_cpu *c, uint8_t cpl)
{
    if (cpl == 3) {
        return X86_AS_USER;
    }
    return (c->r.rflags & X86_AC_BIT) != 0 && (c->r.cr4 & X86_CR4_SMAP) != 0
               ? X86_AS_SYSTEM_AC
               : X86_AS_SYSTEM;
}

void x86_stack_new(const struct x86_cpu *c, const struct x86_segment *ss, uint64_t sp,
                   uint8_t cpl, struct x86_stack *ret_stack)
{
    *ret_stack = (struct x86_stack){.ss = *ss, .sp = sp, .as = rights_of(c, cpl)};
    ret_stack->mask = (ss->attr & X86_ATTR_DB) != 0 ? 0xffffffffu : 0xffffu;
    ret_stack->checks_alignment =
        cpl == 3 && (c->r.cr0 & X86_CR0_AM) != 0 && (c->r.rflags & X86_AC_BIT) != 0;
}

void x86_stack_current(const struct x86_cpu *c, struct x86_stack *ret_stack)
{
    x86_stack_new(c, &c->r.seg[X86_SS], c->r.gpr[X86_RSP], c->r.cpl, ret_stack);
    if (c->code_mode == X86_CODE64) {
        ret_stack->is_long = true;
        ret_stack->mask = UINT64_MAX;
    }
}

/* The linear address of [sp, sp+bytes), or #SS. */
static uint64_t linear_of(struct x86_cpu *c, const struct x86_stack *s, uint64_t sp,
                          unsigned bytes)
{
    uint64_t offset = sp & s->mask;
    uint64_t last = offset + bytes - 1;
    uint64_t linear;
    bool is_good;

    if (s->is_long) {
        is_good = x86_is_canonical(offset) && x86_is_canonical(last);
        linear = offset;
    } else {
        bool down = (s->ss.attr & 0xc) == 0x4;
        uint64_t top = (s->ss.attr & X86_ATTR_DB) != 0 ? 0xffffffffu : 0xffffu;

        if (x86_is_protected(c) && (s->ss.attr & X86_ATTR_NULL) != 0) {
            is_good = false;
        } else if (down) {
            is_good = offset > s->ss.limit && last <= top;
        } else {
            is_good = s->ss.limit == 0xffffffffu || last <= s->ss.limit;
        }
        linear = (uint32_t)(s->ss.base + offset);
    }
    if (!is_good) {
        x86_raise_error(c, X86_SS_FAULT, s->error);
    }
    if (s->checks_alignment && (linear & (bytes - 1)) != 0) {
        x86_raise_error(c, X86_AC, 0);
    }
    return linear;
}

void x86_stack_reserve(struct x86_cpu *c, const struct x86_stack *s, unsigned bytes,
                       unsigned count)
{
    uint64_t sp = s->sp;

    for (unsigned i = 0; i < count; i++) {
        sp -= bytes;
        x86_linear_probe(c, s->as, linear_of(c, s, sp, bytes), bytes, X86_WRITE);
    }
}

void x86_stack_push(struct x86_cpu *c, struct x86_stack *s, unsigned bytes, uint64_t v)
{
    uint64_t sp = (s->sp & ~s->mask) | ((s->sp - bytes) & s->mask);

    x86_linear_store(c, s->as, linear_of(c, s, sp, bytes), bytes, v);
    s->sp = sp;
}

uint64_t x86_stack_pop(struct x86_cpu *c, struct x86_stack *s, unsigned bytes)
{
    uint64_t v = x86_linear_load(c, s->as, linear_of(c, s, s->sp, bytes), bytes);

    s->sp = (s->sp & ~s->mask) | ((s->sp + bytes) & s->mask);
    return v;
}

void x86_stack_commit_pointer(struct x86_cpu *c, const struct x86_stack *s)
{
    if (s->mask == 0xffff) {
        c->r.gpr[X86_RSP] = (c->r.gpr[X86_RSP] & ~0xffffull) | (s->sp & 0xffff);
    } else {
        c->r.gpr[X86_RSP] = s->sp & s->mask;
    }
}

static bool is_tss16(const struct x86_cpu *c)
{
    return (c->r.seg[X86_TR].attr & 0x8) == 0;
}

void x86_inner_stack(struct x86_cpu *c, uint8_t cpl, uint32_t ext,
                     struct x86_stack *ret_stack)
{
    const struct x86_segment *tr = &c->r.seg[X86_TR];
    unsigned at = is_tss16(c) ? 2u + cpl * 4u : 4u + cpl * 8u;
    unsigned bytes = is_tss16(c) ? 2 : 4;
    struct x86_segment ss;
    uint16_t selector;
    uint64_t sp;

    if (at + bytes + 1 > tr->limit) {
        x86_raise_error(c, X86_TS, x86_selector_error(tr->selector, ext));
    }
    sp = x86_system_load(c, tr->base + at, bytes);
    selector = (uint16_t)x86_system_load(c, tr->base + at + bytes, 2);
    x86_check_ss(c, selector, cpl, X86_TS, ext, &ss);
    x86_stack_new(c, &ss, sp, cpl, ret_stack);
    ret_stack->error = x86_selector_error(selector, ext);
}

void x86_inner_stack_long(struct x86_cpu *c, uint8_t cpl, unsigned ist, uint32_t ext,
                          struct x86_stack *ret_stack)
{
    const struct x86_segment *tr = &c->r.seg[X86_TR];
    struct x86_segment none = {.selector = cpl, .attr = X86_ATTR_NULL};
    unsigned at = ist != 0 ? 0x24 + (ist - 1) * 8 : 4u + cpl * 8u;
    uint64_t sp;

    if (at + 7 > tr->limit) {
        x86_raise_error(c, X86_TS, x86_selector_error(tr->selector, ext));
    }
    none.attr |= (uint16_t)(cpl << X86_ATTR_DPL_SHIFT);
    sp = x86_system_load(c, tr->base + at, 8);
    x86_stack_new(c, &none, sp, cpl, ret_stack);
    ret_stack->is_long = true;
    ret_stack->mask = UINT64_MAX;
    ret_stack->error = ext;
    if (!x86_is_canonical(sp)) {
        x86_raise_error(c, X86_SS_FAULT, ext);
    }
}
