/* table.c - descriptor tables and what user code may ask of them: LGDT .. SMSW, LLDT,
 * LTR, LAR, LSL, VERR, VERW, ARPL (SDM volume 2). */
#include "virt/isa/x86/system/routine.h"

/* SGDT, SIDT: a limit of 16 bits, a base of 32 or 64. */
static void store_table(struct x86_cpu *c, const struct x86_insn *i,
                        const struct x86_table *t)
{
    bool is_long = c->code_mode == X86_CODE64;
    uint8_t bytes[10];

    x86_need_umip(c);
    memcpy(bytes, &t->limit, 2);
    memcpy(bytes + 2, &t->base, 8);
    x86_store_bytes(c, (enum x86_seg)i->segment, x86_ea(c, i), bytes, is_long ? 10 : 6);
}

static void sgdt(struct x86_cpu *c, const struct x86_insn *i)
{
    store_table(c, i, &c->r.gdtr);
}

static void sidt(struct x86_cpu *c, const struct x86_insn *i)
{
    store_table(c, i, &c->r.idtr);
}

static void load_table(struct x86_cpu *c, const struct x86_insn *i, struct x86_table *t)
{
    bool is_long = c->code_mode == X86_CODE64;
    uint8_t bytes[10] = {0};
    struct x86_table found;

    x86_need_level_0(c);
    x86_load_bytes(c, (enum x86_seg)i->segment, x86_ea(c, i), bytes, is_long ? 10 : 6);
    memcpy(&found.limit, bytes, 2);
    memcpy(&found.base, bytes + 2, 8);
    if (!is_long && i->size == X86_16) {
        found.base &= 0xffffff;
    }
    if (is_long && !x86_is_canonical(found.base)) {
        x86_raise_error(c, X86_GP, 0);
    }
    t->base = found.base;
    t->limit = found.limit;
}

static void lgdt(struct x86_cpu *c, const struct x86_insn *i)
{
    load_table(c, i, &c->r.gdtr);
}

static void lidt(struct x86_cpu *c, const struct x86_insn *i)
{
    load_table(c, i, &c->r.idtr);
}

/* A register gets the operand size, memory 16 bits. */
static void store_value(struct x86_cpu *c, const struct x86_insn *i, uint64_t v)
{
    if (i->is_memory) {
        x86_store16(c, (enum x86_seg)i->segment, x86_ea(c, i), (uint16_t)v);
    } else {
        x86_put_reg(c, i->rm, (enum x86_size)i->size, v);
    }
}

static void sldt(struct x86_cpu *c, const struct x86_insn *i)
{
    x86_need_protected(c);
    x86_need_umip(c);
    store_value(c, i, c->r.seg[X86_LDTR].selector);
}

static void str(struct x86_cpu *c, const struct x86_insn *i)
{
    x86_need_protected(c);
    x86_need_umip(c);
    store_value(c, i, c->r.seg[X86_TR].selector);
}

static void smsw(struct x86_cpu *c, const struct x86_insn *i)
{
    x86_need_umip(c);
    store_value(c, i, c->r.cr0);
}

/* The descriptor of LLDT or LTR; its base may have 64 bits. */
static struct x86_segment system_segment(struct x86_cpu *c, uint16_t selector,
                                         unsigned type, unsigned type16,
                                         struct x86_descriptor *d)
{
    uint32_t error = selector & 0xfffcu;
    struct x86_segment seg;

    if ((selector & 4) != 0) {
        x86_raise_error(c, X86_GP, error);
    }
    x86_need_descriptor(c, selector, X86_GP, 0, d);
    if (!x86_d_is_system(d->low) ||
        (x86_d_type(d->low) != type && (c->long_mode || x86_d_type(d->low) != type16))) {
        x86_raise_error(c, X86_GP, error);
    }
    if (!x86_d_is_present(d->low)) {
        x86_raise_error(c, X86_NP, error);
    }
    seg = x86_d_segment(selector, d->low);
    if (c->long_mode) {
        if (!x86_read_descriptor_high(c, selector, d) || (d->high >> 40 & 0x1f) != 0) {
            x86_raise_error(c, X86_GP, error);
        }
        seg.base |= d->high << 32;
        if (!x86_is_canonical(seg.base)) {
            x86_raise_error(c, X86_GP, error);
        }
    }
    return seg;
}

static void lldt(struct x86_cpu *c, const struct x86_insn *i)
{
    struct x86_segment none = {.attr = X86_ATTR_NULL};
    struct x86_descriptor d;
    uint16_t selector;

    x86_need_protected(c);
    x86_need_level_0(c);
    selector = x86_get_selector(c, i);
    none.selector = selector;
    c->r.seg[X86_LDTR] =
        x86_is_null(selector) ? none : system_segment(c, selector, X86_LDT, X86_LDT, &d);
}

static void ltr(struct x86_cpu *c, const struct x86_insn *i)
{
    struct x86_descriptor d;
    struct x86_segment tr;
    uint16_t selector;

    x86_need_protected(c);
    x86_need_level_0(c);
    selector = x86_get_selector(c, i);
    if (x86_is_null(selector)) {
        x86_raise_error(c, X86_GP, 0);
    }
    tr = system_segment(c, selector, X86_TSS32, X86_TSS16, &d);
    x86_mark_busy(c, &d, true);
    tr.attr |= 2;
    c->r.seg[X86_TR] = tr;
}

static void put_zf(struct x86_cpu *c, bool zf)
{
    x86_flags_pack(c);
    c->r.rflags = zf ? c->r.rflags | X86_ZF : c->r.rflags & ~(uint64_t)X86_ZF;
}

/* May a program of this level see the descriptor at all? */
static bool is_visible(struct x86_cpu *c, uint16_t selector, struct x86_descriptor *d)
{
    unsigned dpl;

    if (x86_is_null(selector) || !x86_read_descriptor(c, selector, d)) {
        return false;
    }
    dpl = x86_d_dpl(d->low);
    if (!x86_d_is_system(d->low) && x86_d_is_code(d->low) &&
        x86_d_is_conforming(d->low)) {
        return true;
    }
    return dpl >= c->r.cpl && dpl >= (selector & 3u);
}

/* Bit n: LAR (LSL) knows system type n (SDM volume 2, tables 3-53, 3-54). */
#define LAR_LEGACY 0x1a3eu
#define LAR_LONG   0x1a04u
#define LSL_LEGACY 0x0a0eu
#define LSL_LONG   0x0a04u

static bool is_known_type(const struct x86_cpu *c, const struct x86_descriptor *d,
                          unsigned legacy, unsigned in_long)
{
    return !x86_d_is_system(d->low) ||
           ((c->long_mode ? in_long : legacy) >> x86_d_type(d->low) & 1) != 0;
}

static void lar(struct x86_cpu *c, const struct x86_insn *i)
{
    struct x86_descriptor d;
    uint16_t selector;
    bool is_good;

    x86_need_protected(c);
    selector = x86_get_selector(c, i);
    is_good = is_visible(c, selector, &d) && is_known_type(c, &d, LAR_LEGACY, LAR_LONG);
    if (is_good) {
        x86_put_reg(c, i->reg, (enum x86_size)i->size, d.low >> 32 & 0x00ffff00);
    }
    put_zf(c, is_good);
}

static void lsl(struct x86_cpu *c, const struct x86_insn *i)
{
    struct x86_descriptor d;
    uint16_t selector;
    bool is_good;

    x86_need_protected(c);
    selector = x86_get_selector(c, i);
    is_good = is_visible(c, selector, &d) && is_known_type(c, &d, LSL_LEGACY, LSL_LONG);
    if (is_good) {
        x86_put_reg(c, i->reg, (enum x86_size)i->size, x86_d_segment(0, d.low).limit);
    }
    put_zf(c, is_good);
}

static void verify(struct x86_cpu *c, const struct x86_insn *i, bool for_write)
{
    struct x86_descriptor d;
    uint16_t selector;
    bool is_good;

    x86_need_protected(c);
    selector = x86_get_selector(c, i);
    is_good = is_visible(c, selector, &d) && !x86_d_is_system(d.low);
    if (is_good && for_write) {
        is_good = x86_d_is_writable_data(d.low);
    } else if (is_good && x86_d_is_code(d.low)) {
        is_good = (d.low & (1ull << 41)) != 0;
    }
    put_zf(c, is_good);
}

static void verr(struct x86_cpu *c, const struct x86_insn *i)
{
    verify(c, i, false);
}

static void verw(struct x86_cpu *c, const struct x86_insn *i)
{
    verify(c, i, true);
}

static void arpl(struct x86_cpu *c, const struct x86_insn *i)
{
    uint16_t rpl = c->r.gpr[i->reg] & 3;
    uint16_t v;
    bool is_lower;

    x86_need_protected(c);
    if (i->is_memory) {
        v = x86_load16(c, (enum x86_seg)i->segment, x86_ea(c, i));
    } else {
        v = (uint16_t)c->r.gpr[i->rm];
    }
    is_lower = (v & 3) < rpl;
    if (is_lower) {
        v = (uint16_t)((v & ~3) | rpl);
    }
    if (i->is_memory && is_lower) { /* nothing is written else, and no write faults */
        x86_store16(c, (enum x86_seg)i->segment, x86_ea(c, i), v);
    } else if (!i->is_memory) {
        x86_put_reg(c, i->rm, X86_16, v);
    }
    put_zf(c, is_lower);
}

X86_SYSTEM_REG(sgdt)
X86_SYSTEM_REG(sidt)
X86_SYSTEM_REG(lgdt)
X86_SYSTEM_REG(lidt)
X86_SYSTEM_REG(sldt)
X86_SYSTEM_REG(str)
X86_SYSTEM_REG(smsw)
X86_SYSTEM_REG(lldt)
X86_SYSTEM_REG(ltr)
X86_SYSTEM_REG(lar)
X86_SYSTEM_REG(lsl)
X86_SYSTEM_REG(verr)
X86_SYSTEM_REG(verw)
X86_SYSTEM_REG(arpl)
