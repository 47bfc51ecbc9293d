/* task.c - task switches (SDM volume 3A, chapter 8; 7 in older editions).
 *
 * A switch is checked and both states are probed first; then the old state is
 * written, the new one read, and the registers change.  Faults while segment
 * registers are loaded come in the new task, as the manual says.
 *
 *        16-bit TSS                       32-bit TSS
 *   0    link                        0    link
 *   2    SP0 SS0 .. SP2 SS2          4    ESP0 SS0 .. ESP2 SS2
 *  14    IP FLAGS                   28    CR3 EIP EFLAGS
 *  18    AX CX DX BX SP BP SI DI    40    EAX ECX EDX EBX ESP EBP ESI EDI
 *  34    ES CS SS DS                72    ES CS SS DS FS GS
 *  42    LDT                        96    LDT   100 T   102 I/O map */
#include "virt/isa/x86/system/segment.h"

#define TSS16_LIMIT 0x2bu
#define TSS32_LIMIT 0x67u

struct task {
    uint64_t cr3;
    uint64_t rip, flags;
    uint64_t gpr[8];
    uint16_t seg[6]; /* ES CS SS DS FS GS: the order of `enum x86_seg` */
    uint16_t ldt;
    bool trap;
};

/* Offsets of the parts by width. */
struct layout {
    uint8_t bytes, rip, gpr, seg, seg_step, seg_count, ldt, last;
};

static const struct layout layout16 = {2, 14, 18, 34, 2, 4, 42, TSS16_LIMIT};
static const struct layout layout32 = {4, 32, 40, 72, 4, 6, 96, TSS32_LIMIT};

static const struct layout *layout_of(uint16_t attr)
{
    return (attr & 8) != 0 ? &layout32 : &layout16;
}

static void save(struct x86_cpu *c, uint64_t base, const struct layout *l, uint64_t flags)
{
    x86_system_store(c, base + l->rip, l->bytes, c->next_rip);
    x86_system_store(c, base + l->rip + l->bytes, l->bytes, flags);
    for (unsigned i = 0; i < 8; i++) {
        x86_system_store(c, base + l->gpr + i * l->bytes, l->bytes, c->r.gpr[i]);
    }
    for (unsigned i = 0; i < l->seg_count; i++) {
        x86_system_store(c, base + l->seg + i * l->seg_step, 2, c->r.seg[i].selector);
    }
}

static void read(struct x86_cpu *c, uint64_t base, const struct layout *l,
                 struct task *ret_task)
{
    *ret_task = (struct task){0};
    ret_task->rip = x86_system_load(c, base + l->rip, l->bytes);
    ret_task->flags = x86_system_load(c, base + l->rip + l->bytes, l->bytes);
    for (unsigned i = 0; i < 8; i++) {
        ret_task->gpr[i] = x86_system_load(c, base + l->gpr + i * l->bytes, l->bytes);
        if (l->bytes == 2) {
            ret_task->gpr[i] |= 0xffff0000u;
        }
    }
    for (unsigned i = 0; i < l->seg_count; i++) {
        ret_task->seg[i] =
            (uint16_t)x86_system_load(c, base + l->seg + i * l->seg_step, 2);
    }
    ret_task->ldt = (uint16_t)x86_system_load(c, base + l->ldt, 2);
    if (l->bytes == 4) {
        ret_task->cr3 = x86_system_load(c, base + 28, 4);
        ret_task->trap = (x86_system_load(c, base + 100, 2) & 1) != 0;
    }
}

/* LDTR of the new task; its faults are #TS. */
static void load_ldt(struct x86_cpu *c, uint16_t selector, uint32_t ext)
{
    uint32_t error = x86_selector_error(selector, ext);
    struct x86_descriptor d;
    struct x86_segment seg = {.selector = selector, .attr = X86_ATTR_NULL};

    c->r.seg[X86_LDTR] = seg;
    if (x86_is_null(selector)) {
        return;
    }
    if ((selector & 4) != 0) {
        x86_raise_error(c, X86_TS, error);
    }
    x86_need_descriptor(c, selector, X86_TS, ext, &d);
    if (!x86_d_is_system(d.low) || x86_d_type(d.low) != X86_LDT ||
        !x86_d_is_present(d.low)) {
        x86_raise_error(c, X86_TS, error);
    }
    c->r.seg[X86_LDTR] = x86_d_segment(selector, d.low);
}

static void load_cs(struct x86_cpu *c, uint16_t selector, uint32_t ext)
{
    uint32_t error = x86_selector_error(selector, ext);
    unsigned rpl = selector & 3u;
    struct x86_descriptor d;
    struct x86_segment cs;

    if (x86_is_null(selector)) {
        x86_raise_error(c, X86_TS, error);
    }
    x86_need_descriptor(c, selector, X86_TS, ext, &d);
    if (!x86_d_is_code(d.low) ||
        (x86_d_is_conforming(d.low) ? x86_d_dpl(d.low) > rpl : x86_d_dpl(d.low) != rpl)) {
        x86_raise_error(c, X86_TS, error);
    }
    if (!x86_d_is_present(d.low)) {
        x86_raise_error(c, X86_NP, error);
    }
    x86_mark_accessed(c, &d);
    cs = x86_d_segment(selector, d.low);
    x86_enter(c, selector, &cs, (uint8_t)rpl, c->next_rip);
}

static void load_data(struct x86_cpu *c, enum x86_seg s, uint16_t selector, uint32_t ext)
{
    uint32_t error = x86_selector_error(selector, ext);
    struct x86_descriptor d;
    struct x86_segment seg = {.selector = selector, .attr = X86_ATTR_NULL};
    bool is_bad;

    if (x86_is_null(selector)) {
        x86_set_segment(c, s, &seg);
        return;
    }
    x86_need_descriptor(c, selector, X86_TS, ext, &d);
    is_bad =
        x86_d_is_system(d.low) || (x86_d_is_code(d.low) && (d.low & (1ull << 41)) == 0);
    if (!x86_d_is_code(d.low) || !x86_d_is_conforming(d.low)) {
        is_bad |= (selector & 3u) > x86_d_dpl(d.low) || c->r.cpl > x86_d_dpl(d.low);
    }
    if (is_bad) {
        x86_raise_error(c, X86_TS, error);
    }
    if (!x86_d_is_present(d.low)) {
        x86_raise_error(c, X86_NP, error);
    }
    x86_mark_accessed(c, &d);
    seg = x86_d_segment(selector, d.low);
    x86_set_segment(c, s, &seg);
}

/* All segment registers: selectors first, so that a fault finds them in place. */
static void load_segments(struct x86_cpu *c, const struct task *t, uint32_t ext)
{
    static const enum x86_seg data[] = {X86_DS, X86_ES, X86_FS, X86_GS};
    struct x86_segment ss;

    for (unsigned s = 0; s < 6; s++) {
        struct x86_segment seg = {.selector = t->seg[s], .attr = X86_ATTR_NULL};

        x86_set_segment(c, (enum x86_seg)s, &seg);
    }
    load_ldt(c, t->ldt, ext);
    if (c->v86) {
        for (unsigned s = 0; s < 6; s++) {
            x86_load_segment_real(c, (enum x86_seg)s, t->seg[s]);
        }
        x86_derive(c);
        return;
    }
    load_cs(c, t->seg[X86_CS], ext);
    x86_check_ss(c, t->seg[X86_SS], c->r.cpl, X86_TS, ext, &ss);
    x86_set_segment(c, X86_SS, &ss);
    for (unsigned i = 0; i < sizeof data / sizeof data[0]; i++) {
        load_data(c, data[i], t->seg[data[i]], ext);
    }
}

static void check_tss(struct x86_cpu *c, uint16_t selector,
                      const struct x86_descriptor *tss, enum x86_switch kind,
                      uint32_t ext)
{
    struct x86_segment seg = x86_d_segment(selector, tss->low);
    bool is_busy = (tss->low & (1ull << 41)) != 0;
    const struct layout *l = layout_of(seg.attr);
    const struct layout *old = layout_of(c->r.seg[X86_TR].attr);

    if (seg.limit < l->last || is_busy != (kind == X86_SWITCH_IRET)) {
        x86_raise_error(c, X86_TS, x86_selector_error(selector, ext));
    }
    x86_linear_probe(c, X86_AS_SYSTEM, seg.base, l->last + 1u, X86_READ);
    x86_linear_probe(c, X86_AS_SYSTEM, c->r.seg[X86_TR].base, old->last + 1u, X86_WRITE);
}

/* Leave the old task: its state, its busy bit, the link of the new one. */
static void leave(struct x86_cpu *c, const struct x86_descriptor *tss,
                  const struct x86_segment *new_tr, enum x86_switch kind)
{
    const struct x86_segment *tr = &c->r.seg[X86_TR];
    struct x86_descriptor old;
    uint64_t flags = c->r.rflags;

    if (kind == X86_SWITCH_IRET) {
        flags &= ~(uint64_t)X86_NT;
    }
    if (kind == X86_SWITCH_CALL) {
        x86_linear_probe(c, X86_AS_SYSTEM, new_tr->base, 2, X86_WRITE);
    }
    if (kind != X86_SWITCH_CALL && x86_read_descriptor(c, tr->selector, &old)) {
        x86_mark_busy(c, &old, false);
    }
    save(c, tr->base, layout_of(tr->attr), flags);
    if (kind == X86_SWITCH_CALL) {
        x86_system_store(c, new_tr->base, 2, tr->selector);
    }
    if (kind != X86_SWITCH_IRET) {
        x86_mark_busy(c, tss, true);
    }
}

void x86_task_switch(struct x86_cpu *c, uint16_t selector,
                     const struct x86_descriptor *tss, enum x86_switch kind, uint32_t ext)
{
    struct x86_segment tr = x86_d_segment(selector, tss->low);
    const struct layout *l = layout_of(tr.attr);
    struct task t;

    check_tss(c, selector, tss, kind, ext);
    read(c, tr.base, l, &t);
    x86_flags_pack(c);
    leave(c, tss, &tr, kind);
    tr.attr |= 2;
    c->r.seg[X86_TR] = tr;
    c->r.cr0 |= X86_CR0_TS;
    if (l->bytes == 4 && (c->r.cr0 & X86_CR0_PG) != 0) {
        if ((c->r.cr4 & X86_CR4_PAE) != 0 && !x86_load_pdptes(c, t.cr3)) {
            x86_raise_error(c, X86_TS, x86_selector_error(selector, ext));
        }
        x86_set_cr3(c, t.cr3);
    }
    memcpy(c->r.gpr, t.gpr, sizeof t.gpr);
    c->next_rip = c->r.gpr[X86_RIP] = t.rip;
    if (kind == X86_SWITCH_CALL) {
        t.flags |= X86_NT;
    }
    c->r.rflags = (t.flags & 0x3f7fd5) | 2;
    if (l->bytes == 2) {
        c->r.rflags &= 0xffff;
    }
    c->r.dr[7] &= ~0x155ull; /* local breakpoints */
    x86_write_flags(c, 0, 0);
    x86_derive(c);
    x86_set_cpl(c, c->v86 ? 3 : t.seg[X86_CS] & 3);
    load_segments(c, &t, ext);
    x86_check_code_address(c, &c->r.seg[X86_CS], t.rip);
    if (t.trap) {
        c->dr6_pending |= 1u << 15;
        c->wants |= X86_WANT_TRAP;
    }
}

void x86_task_gate(struct x86_cpu *c, uint64_t gate, enum x86_switch kind, uint32_t ext)
{
    uint16_t selector = (uint16_t)(gate >> 16);
    uint32_t error = x86_selector_error(selector, ext);
    struct x86_descriptor d;

    if ((selector & 4) != 0) {
        x86_raise_error(c, X86_GP, error);
    }
    x86_need_descriptor(c, selector, X86_GP, ext, &d);
    if (!x86_d_is_system(d.low) ||
        (x86_d_type(d.low) != X86_TSS16 && x86_d_type(d.low) != X86_TSS32)) {
        x86_raise_error(c, X86_GP, error);
    }
    if (!x86_d_is_present(d.low)) {
        x86_raise_error(c, X86_NP, error);
    }
    x86_task_switch(c, selector, &d, kind, ext);
}

void x86_task_return(struct x86_cpu *c)
{
    uint16_t selector = (uint16_t)x86_system_load(c, c->r.seg[X86_TR].base, 2);
    uint32_t error = selector & 0xfffcu;
    struct x86_descriptor d;

    if ((selector & 4) != 0) {
        x86_raise_error(c, X86_TS, error);
    }
    x86_need_descriptor(c, selector, X86_TS, 0, &d);
    if (!x86_d_is_system(d.low) ||
        (x86_d_type(d.low) != X86_TSS16_BUSY && x86_d_type(d.low) != X86_TSS32_BUSY)) {
        x86_raise_error(c, X86_TS, error);
    }
    if (!x86_d_is_present(d.low)) {
        x86_raise_error(c, X86_NP, error);
    }
    x86_task_switch(c, selector, &d, X86_SWITCH_IRET, 0);
}
