/* state.c - the registers as a whole: what follows from them, reset, and whether a
 * real processor could hold them. */
#include <errno.h>
#include <inttypes.h>

#include "base/err.h"
#include "virt/isa/x86/system/debug.h"
#include "virt/isa/x86/system/model.h"
#include "virt/isa/x86/system/segment.h"

void x86_refresh(struct x86_cpu *c)
{
    bool is_pae = (c->r.cr0 & X86_CR0_PG) != 0 && (c->r.cr4 & X86_CR4_PAE) != 0;

    c->physical_mask = ((1ull << c->model->physical_bits) - 1) & ~X86_PAGE_MASK;
    c->has_1g_pages = x86_model_has(c->model, X86_F_PDPE1GB);
    c->flags_lazy = false;
    c->r.rflags |= 2;
    c->r.gpr[X86_ZERO] = 0;
    x86_derive(c);
    if (is_pae && !c->long_mode) {
        (void)x86_load_pdptes(c, c->r.cr3);
    }
    x86_tlb_flush_all(c, true);
    x86_memory_refresh(c);
    x86_debug_changed(c);
    c->wants &= ~(uint32_t)(X86_WANT_TRAP | X86_WANT_SHADOW);
    if ((c->r.rflags & X86_TF) != 0 || c->dr6_pending != 0) {
        c->wants |= X86_WANT_TRAP;
    }
    if (c->r.irq_shadow || c->r.debug_shadow) {
        c->wants |= X86_WANT_SHADOW;
    }
    c->wants |= X86_WANT_RELOAD;
}

void x86_write_flags(struct x86_cpu *c, uint64_t value, uint64_t mask)
{
    uint64_t old;
    uint64_t changed;

    if (c->flags_lazy) {
        x86_flags_pack(c);
    }
    old = c->r.rflags;
    c->r.rflags = (old & ~mask) | (value & mask) | 2;
    changed = old ^ c->r.rflags;
    if ((changed & X86_VM) != 0) {
        x86_derive(c);
    }
    if ((changed & X86_AC_BIT) != 0) {
        x86_tlb_select(c);
    }
    if ((c->r.rflags & X86_TF) != 0) {
        c->wants |= X86_WANT_TRAP;
    }
    if ((changed & X86_IF) != 0) {
        c->wants |= X86_WANT_RELOAD; /* an interrupt may wait */
    }
}

static void reset_segments(struct x86_regs *r)
{
    for (unsigned s = 0; s < X86_SEG_COUNT; s++) {
        r->seg[s] = (struct x86_segment){.attr = 0x93, .limit = 0xffff};
    }
    r->seg[X86_CS] = (struct x86_segment){
        .selector = 0xf000, .attr = 0x9b, .limit = 0xffff, .base = 0xffff0000};
    r->seg[X86_LDTR].attr = 0x82;
    r->seg[X86_TR].attr = 0x8b;
    r->gdtr = r->idtr = (struct x86_table){.limit = 0xffff};
}

/* What only power-on changes; INIT keeps it. */
static void reset_cold(struct x86_cpu *c, struct x86_regs *r)
{
    r->fpu = (struct x86_fpu){.fcw = 0x40, .mxcsr = 0x1f80, .ftw = 0xff};
    r->msr = (struct x86_msrs){.pat = 0x0007040600070406ull, .misc_enable = 1};
    r->msr.apic_base = 0xfee00000u | 0x800u | (c->base.index == 0 ? 0x100u : 0);
    r->xcr0 = 1;
    r->a20_mask = UINT64_MAX;
}

void x86_reset(struct x86_cpu *c, bool init)
{
    struct x86_regs r = {.rflags = 2};

    if (init) {
        r.fpu = c->r.fpu;
        r.msr = c->r.msr;
        r.msr.efer = 0;
        r.xcr0 = c->r.xcr0;
        r.a20_mask = c->r.a20_mask;
        r.cr0 = c->r.cr0 & 0x60000000u; /* CD and NW stay */
    } else {
        reset_cold(c, &r);
        r.cr0 = 0x60000000u;
    }
    r.cr0 |= X86_CR0_ET;
    reset_segments(&r);
    r.gpr[X86_RIP] = 0xfff0;
    r.gpr[X86_RDX] = c->model->signature;
    r.dr[6] = 0xffff0ff0u;
    r.dr[7] = 0x400;
    c->r = r;
    c->next_rip = 0xfff0;
    c->dr6_pending = 0;
    x86_refresh(c);
}

static int refuse(struct err *e, const char *what, uint64_t value)
{
    return err_set(e, -EINVAL,
                   "cannot set the processor's registers: %s 0x%" PRIx64
                   " is not possible",
                   what, value);
}

static int check_paging(const struct x86_cpu *c, const struct x86_regs *r, struct err *e)
{
    bool is_paged = (r->cr0 & X86_CR0_PG) != 0;
    bool lma = (r->msr.efer & X86_EFER_LMA) != 0;

    if (is_paged && (r->cr0 & X86_CR0_PE) == 0) {
        return refuse(e, "paging without protected mode, CR0", r->cr0);
    }
    if (lma != (is_paged && (r->msr.efer & X86_EFER_LME) != 0)) {
        return refuse(e, "EFER", r->msr.efer);
    }
    if (lma && ((r->cr4 & X86_CR4_PAE) == 0 || !c->model->has_long_mode)) {
        return refuse(e, "long mode with CR4", r->cr4);
    }
    if ((r->cr4 & X86_CR4_PCIDE) != 0 && !lma) {
        return refuse(e, "PCIDE outside long mode, CR4", r->cr4);
    }
    return 0;
}

int x86_check_regs(const struct x86_cpu *c, const struct x86_regs *r, struct err *e)
{
    bool lma = (r->msr.efer & X86_EFER_LMA) != 0;
    bool is_long_code = lma && (r->seg[X86_CS].attr & X86_ATTR_L) != 0;

    if (r->cr0 >> 32 != 0 ||
        ((r->cr0 & 0x20000000u) != 0 && (r->cr0 & 0x40000000u) == 0)) {
        return refuse(e, "CR0", r->cr0);
    }
    if ((r->cr4 & ~x86_cr4_allowed(c)) != 0) {
        return refuse(e, "CR4", r->cr4);
    }
    if ((r->fpu.mxcsr & ~X86_MXCSR_MASK) != 0) { /* the host loads it as it is */
        return refuse(e, "MXCSR", r->fpu.mxcsr);
    }
    if ((r->msr.efer & ~x86_efer_allowed(c)) != 0) {
        return refuse(e, "EFER", r->msr.efer);
    }
    if (r->cpl > 3 || ((r->cr0 & X86_CR0_PE) == 0 && r->cpl != 0)) {
        return refuse(e, "privilege", r->cpl);
    }
    if ((r->rflags & X86_VM) != 0 && ((r->cr0 & X86_CR0_PE) == 0 || lma || r->cpl != 3)) {
        return refuse(e, "virtual-8086 mode, RFLAGS", r->rflags);
    }
    if (is_long_code ? !x86_is_canonical(r->gpr[X86_RIP])
                     : r->gpr[X86_RIP] > 0xffffffffu) {
        return refuse(e, "RIP", r->gpr[X86_RIP]);
    }
    if ((r->xcr0 & ~(c->model->xcr0 | 1)) != 0 || (r->xcr0 & 1) == 0) {
        return refuse(e, "XCR0", r->xcr0);
    }
    if (r->dr[6] >> 32 != 0 || r->dr[7] >> 32 != 0) {
        return refuse(e, "debug register", r->dr[7]);
    }
    return check_paging(c, r, e);
}
