/* segment.c - segment:offset to linear: limits, types, canonical form, alignment.
 *
 * Intel SDM volume 3A, 5.3 and 5.4 (limits, types), 3.3.7.1 (canonical form), 6.15
 * (#AC); AMD APM volume 2, 4.8. */
#include "virt/isa/x86/memory/memory.h"

static _Noreturn void fail(struct x86_cpu *c, enum x86_seg s)
{
    x86_raise_error(c, s == X86_SS ? X86_SS_FAULT : X86_GP, 0);
}

#define TYPE_CODE        0x8u
#define TYPE_EXPAND_DOWN 0x4u /* of data */
#define TYPE_WRITABLE    0x2u /* of data */
#define TYPE_READABLE    0x2u /* of code */

static bool is_type_right(const struct x86_segment *seg, enum x86_access access)
{
    bool is_code = (seg->attr & TYPE_CODE) != 0;

    if (access == X86_WRITE) {
        return !is_code && (seg->attr & TYPE_WRITABLE) != 0;
    }
    return !is_code || access == X86_EXECUTE || (seg->attr & TYPE_READABLE) != 0;
}

static bool is_expand_down(const struct x86_segment *seg)
{
    return (seg->attr & (TYPE_CODE | TYPE_EXPAND_DOWN)) == TYPE_EXPAND_DOWN;
}

static bool is_inside(const struct x86_segment *seg, uint64_t offset, unsigned bytes)
{
    uint64_t last = offset + bytes - 1;

    if (is_expand_down(seg)) {
        uint64_t top = (seg->attr & X86_ATTR_DB) != 0 ? 0xffffffffu : 0xffffu;

        return offset > seg->limit && last <= top;
    }
    /* A segment of 4 GiB: an access over its end wraps (SDM 5.3 leaves it open). */
    return seg->limit == 0xffffffffu || last <= seg->limit;
}

/* Low bits of the address that an aligned operand of `bytes` has clear.  Vectors are not
 * checked (the SDM leaves that to processors): those that must be aligned say so
 * themselves. */
static unsigned alignment_of(unsigned bytes)
{
    if (bytes == 10) {
        return 7; /* 80-bit floating point */
    }
    return bytes == 2 || bytes == 4 || bytes == 8 ? bytes - 1 : 0;
}

static void check_alignment(struct x86_cpu *c, uint64_t linear, unsigned bytes,
                            enum x86_access access)
{
    if (c->tlb == &c->tlbs->none && access != X86_EXECUTE &&
        (linear & alignment_of(bytes)) != 0) {
        x86_raise_error(c, X86_AC, 0);
    }
}

uint64_t x86_linear(struct x86_cpu *c, enum x86_seg s, uint64_t offset, unsigned bytes,
                    enum x86_access access)
{
    const struct x86_segment *seg = &c->r.seg[s];
    uint64_t linear;

    if (c->code_mode == X86_CODE64) {
        linear = offset + (s >= X86_FS ? seg->base : 0);
        if (x86_is_canonical(linear)) {
            check_alignment(c, linear, bytes, access);
        }
        if (!x86_is_canonical(linear) || !x86_is_canonical(linear + bytes - 1)) {
            fail(c, s);
        }
    } else {
        if (c->protected_mode && !c->v86 &&
            ((seg->attr & X86_ATTR_NULL) != 0 || !is_type_right(seg, access))) {
            fail(c, s);
        }
        if (!is_inside(seg, offset, bytes)) {
            fail(c, s);
        }
        linear = (uint32_t)(seg->base + offset);
        check_alignment(c, linear, bytes, access);
    }
    return linear;
}

/* The base to add without a look, or X86_BASE_SLOW. */
static uint64_t quick_base(const struct x86_cpu *c, enum x86_seg s,
                           enum x86_access access)
{
    const struct x86_segment *seg = &c->r.seg[s];

    if (c->code_mode == X86_CODE64) {
        return s >= X86_FS ? seg->base : 0;
    }
    if (seg->limit != 0xffffffffu || is_expand_down(seg)) {
        return X86_BASE_SLOW;
    }
    if (c->protected_mode && !c->v86 &&
        ((seg->attr & X86_ATTR_NULL) != 0 || !is_type_right(seg, access))) {
        return X86_BASE_SLOW;
    }
    return (uint32_t)seg->base;
}

static void look_at_flatness(struct x86_cpu *c)
{
    static const enum x86_seg plain[] = {X86_ES, X86_SS, X86_DS};
    const struct x86_segment *cs = &c->r.seg[X86_CS];

    c->flat = true;
    if (c->code_mode == X86_CODE64) {
        return;
    }
    for (unsigned i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        c->flat &= c->read_base[plain[i]] == 0 && c->write_base[plain[i]] == 0;
    }
    c->flat &= c->read_base[X86_CS] == 0 && cs->limit == 0xffffffffu;
}

void x86_segment_changed(struct x86_cpu *c, enum x86_seg s)
{
    c->read_base[s] = quick_base(c, s, X86_READ);
    c->write_base[s] = quick_base(c, s, X86_WRITE);
    look_at_flatness(c);
}

void x86_segments_changed(struct x86_cpu *c)
{
    for (unsigned s = 0; s < X86_SEG_COUNT; s++) {
        c->read_base[s] = quick_base(c, s, X86_READ);
        c->write_base[s] = quick_base(c, s, X86_WRITE);
    }
    look_at_flatness(c);
}

void x86_memory_refresh(struct x86_cpu *c)
{
    x86_segments_changed(c);
    x86_tlb_switch(c);
}
