/* segment.c - descriptors and segment registers: reading, checking, loading.
 *
 * Intel SDM volume 3A, 3.4 and 3.5 (selectors, descriptors), 5.5 to 5.8 (privilege);
 * volume 2, MOV. */
#include "virt/isa/x86/system/segment.h"

#define ACCESSED (1ull << 40)
#define BUSY     (1ull << 41)

struct x86_segment x86_d_segment(uint16_t selector, uint64_t low)
{
    uint32_t limit = (uint32_t)((low & 0xffff) | (low >> 32 & 0xf0000));
    struct x86_segment s = {.selector = selector,
                            .attr = (uint16_t)(low >> 40 & 0xf0ff),
                            .base = (low >> 16 & 0xffffff) | (low >> 32 & 0xff000000)};

    s.limit = (s.attr & X86_ATTR_G) != 0 ? limit << 12 | 0xfff : limit;
    return s;
}

/* Where a selector's descriptor of `bytes` is; false: outside its table. */
static bool locate(const struct x86_cpu *c, uint16_t selector, unsigned bytes,
                   uint64_t *ret_at)
{
    unsigned offset = selector & 0xfff8u;

    if ((selector & 4) == 0) {
        *ret_at = c->r.gdtr.base + offset;
        return offset + bytes - 1 <= c->r.gdtr.limit;
    }
    *ret_at = c->r.seg[X86_LDTR].base + offset;
    return (c->r.seg[X86_LDTR].attr & (X86_ATTR_NULL | X86_ATTR_P)) == X86_ATTR_P &&
           offset + bytes - 1 <= c->r.seg[X86_LDTR].limit;
}

bool x86_read_descriptor(struct x86_cpu *c, uint16_t selector,
                         struct x86_descriptor *ret_d)
{
    ret_d->high = 0;
    if (!locate(c, selector, 8, &ret_d->at)) {
        return false;
    }
    ret_d->low = x86_system_load(c, ret_d->at, 8);
    return true;
}

bool x86_read_descriptor_high(struct x86_cpu *c, uint16_t selector,
                              struct x86_descriptor *d)
{
    if (!locate(c, selector, 16, &d->at)) {
        return false;
    }
    d->high = x86_system_load(c, d->at + 8, 8);
    return true;
}

void x86_need_descriptor(struct x86_cpu *c, uint16_t selector, enum x86_vector v,
                         uint32_t ext, struct x86_descriptor *ret_d)
{
    if (!x86_read_descriptor(c, selector, ret_d)) {
        x86_raise_error(c, v, x86_selector_error(selector, ext));
    }
}

void x86_mark_accessed(struct x86_cpu *c, struct x86_descriptor *d)
{
    if ((d->low & ACCESSED) == 0) {
        d->low |= ACCESSED;
        x86_system_store(c, d->at + 5, 1, d->low >> 40 & 0xff);
    }
}

void x86_mark_busy(struct x86_cpu *c, const struct x86_descriptor *d, bool busy)
{
    uint64_t low = busy ? d->low | BUSY : d->low & ~BUSY;

    x86_system_store(c, d->at + 5, 1, low >> 40 & 0xff);
}

void x86_derive(struct x86_cpu *c)
{
    const struct x86_segment *cs = &c->r.seg[X86_CS];

    c->protected_mode = (c->r.cr0 & X86_CR0_PE) != 0;
    c->v86 = c->protected_mode && (c->r.rflags & X86_VM) != 0;
    c->long_mode = (c->r.msr.efer & X86_EFER_LMA) != 0;
    if (c->long_mode && (cs->attr & X86_ATTR_L) != 0) {
        c->code_mode = X86_CODE64;
    } else {
        c->code_mode = (cs->attr & X86_ATTR_DB) != 0 ? X86_CODE32 : X86_CODE16;
    }
    if (c->code_mode == X86_CODE64) {
        c->stack_size = X86_64;
    } else {
        c->stack_size = (c->r.seg[X86_SS].attr & X86_ATTR_DB) != 0 ? X86_32 : X86_16;
    }
    c->rip_mask = c->code_mode == X86_CODE64 ? UINT64_MAX : 0xffffffffu;
}

void x86_set_segment(struct x86_cpu *c, enum x86_seg s, const struct x86_segment *seg)
{
    c->r.seg[s] = *seg;
    x86_segment_changed(c, s);
    if (s == X86_SS) {
        x86_derive(c);
    }
}

void x86_set_cpl(struct x86_cpu *c, uint8_t cpl)
{
    c->r.cpl = cpl;
    x86_tlb_select(c);
}

void x86_enter(struct x86_cpu *c, uint16_t selector, const struct x86_segment *cs,
               uint8_t cpl, uint64_t rip)
{
    uint8_t old_mode = c->code_mode;

    c->r.seg[X86_CS] = *cs;
    c->r.seg[X86_CS].selector = (uint16_t)((selector & 0xfffc) | cpl);
    c->next_rip = rip;
    x86_set_cpl(c, cpl);
    x86_derive(c);
    if (c->code_mode != old_mode) {
        x86_segments_changed(c);
        c->wants |= X86_WANT_RELOAD;
    } else {
        x86_segment_changed(c, X86_CS);
    }
}

void x86_check_code_address(struct x86_cpu *c, const struct x86_segment *cs, uint64_t rip)
{
    bool is_good = c->long_mode && (cs->attr & X86_ATTR_L) != 0 ? x86_is_canonical(rip)
                                                                : rip <= cs->limit;

    if (!is_good) {
        x86_raise_error(c, X86_GP, 0);
    }
}

void x86_load_segment_real(struct x86_cpu *c, enum x86_seg s, uint16_t selector)
{
    struct x86_segment seg = c->r.seg[s];

    seg.selector = selector;
    seg.base = (uint64_t)selector << 4;
    if (c->v86) {
        seg.limit = 0xffff;
        seg.attr = 0xf3;
    }
    /* In real mode limit and type stay what they were. */
    seg.attr &= (uint16_t)~X86_ATTR_NULL;
    x86_set_segment(c, s, &seg);
}

void x86_check_ss(struct x86_cpu *c, uint16_t selector, uint8_t cpl, enum x86_vector v,
                  uint32_t ext, struct x86_segment *ret_ss)
{
    uint32_t error = x86_selector_error(selector, ext);
    struct x86_descriptor d;

    if (x86_is_null(selector)) {
        x86_raise_error(c, v, v == X86_TS ? error : 0);
    }
    x86_need_descriptor(c, selector, v, ext, &d);
    if ((selector & 3) != cpl || x86_d_is_system(d.low) ||
        !x86_d_is_writable_data(d.low) || x86_d_dpl(d.low) != cpl) {
        x86_raise_error(c, v, error);
    }
    if (!x86_d_is_present(d.low)) {
        x86_raise_error(c, X86_SS_FAULT, error);
    }
    x86_mark_accessed(c, &d);
    *ret_ss = x86_d_segment(selector, d.low);
}

static void load_null(struct x86_cpu *c, enum x86_seg s, uint16_t selector)
{
    struct x86_segment seg = {.selector = selector, .attr = X86_ATTR_NULL};

    x86_set_segment(c, s, &seg);
}

static void load_ss(struct x86_cpu *c, uint16_t selector)
{
    struct x86_segment ss;

    if (x86_is_null(selector)) {
        /* 64-bit code below level 3 may run without a stack segment. */
        if (c->code_mode != X86_CODE64 || c->r.cpl == 3 || (selector & 3) != c->r.cpl) {
            x86_raise_error(c, X86_GP, 0);
        }
        load_null(c, X86_SS, selector);
        return;
    }
    x86_check_ss(c, selector, c->r.cpl, X86_GP, 0, &ss);
    x86_set_segment(c, X86_SS, &ss);
}

/* DS, ES, FS, GS. */
static void load_data(struct x86_cpu *c, enum x86_seg s, uint16_t selector)
{
    struct x86_descriptor d;
    struct x86_segment seg;
    bool is_bad;

    if (x86_is_null(selector)) {
        load_null(c, s, selector);
        return;
    }
    x86_need_descriptor(c, selector, X86_GP, 0, &d);
    is_bad = x86_d_is_system(d.low) ||
             (x86_d_is_code(d.low) && (d.low & (1ull << 41)) == 0); /* not readable */
    if (!x86_d_is_code(d.low) || !x86_d_is_conforming(d.low)) {
        unsigned dpl = x86_d_dpl(d.low);

        is_bad |= (selector & 3u) > dpl || c->r.cpl > dpl;
    }
    if (is_bad) {
        x86_raise_error(c, X86_GP, selector & 0xfffc);
    }
    if (!x86_d_is_present(d.low)) {
        x86_raise_error(c, X86_NP, selector & 0xfffc);
    }
    x86_mark_accessed(c, &d);
    seg = x86_d_segment(selector, d.low);
    x86_set_segment(c, s, &seg);
}

void x86_load_segment(struct x86_cpu *c, enum x86_seg s, uint16_t selector)
{
    if (!x86_is_protected(c)) {
        x86_load_segment_real(c, s, selector);
    } else if (s == X86_SS) {
        load_ss(c, selector);
    } else {
        load_data(c, s, selector);
    }
    if (s == X86_SS) {
        c->r.irq_shadow = c->r.debug_shadow = true;
        c->wants |= X86_WANT_SHADOW;
    }
}

void x86_drop_inner_segments(struct x86_cpu *c)
{
    static const enum x86_seg data[] = {X86_ES, X86_DS, X86_FS, X86_GS};

    for (unsigned i = 0; i < sizeof data / sizeof data[0]; i++) {
        const struct x86_segment *seg = &c->r.seg[data[i]];
        bool is_conforming = (seg->attr & 0x1c) == 0x1c;
        unsigned dpl = (seg->attr >> X86_ATTR_DPL_SHIFT) & 3u;

        if ((seg->attr & X86_ATTR_NULL) == 0 && !is_conforming && dpl < c->r.cpl) {
            load_null(c, data[i], 0);
        }
    }
}
