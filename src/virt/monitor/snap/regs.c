/* regs.c - the registers of a processor, field by field. */
#include "virt/monitor/snap/regs.h"

#include "contract/cpu_x86.h"
#include "contract/snap.h"

/* A new field belongs into a function below, and the section's version goes up. */
_Static_assert(sizeof(struct x86_msrs) == 8 * (17 + 11 + 8 + 8), "carried below");
_Static_assert(sizeof(struct x86_fpu) == 672, "carried below");
_Static_assert(sizeof(struct x86_regs) == 1504, "carried below");

static void carry_flag(bool *flag, struct snap *s)
{
    *flag = snap_number(s, *flag, 1) != 0;
}

static void carry_segments(struct x86_regs *r, struct snap *s)
{
    for (unsigned i = 0; i < X86_SEG_COUNT; i++) {
        SNAP_FIELD(s, r->seg[i].selector);
        SNAP_FIELD(s, r->seg[i].attr);
        SNAP_FIELD(s, r->seg[i].limit);
        SNAP_FIELD(s, r->seg[i].base);
    }
    SNAP_FIELD(s, r->gdtr.base);
    SNAP_FIELD(s, r->gdtr.limit);
    SNAP_FIELD(s, r->idtr.base);
    SNAP_FIELD(s, r->idtr.limit);
}

static void carry_control(struct x86_regs *r, struct snap *s)
{
    SNAP_FIELD(s, r->cr0);
    SNAP_FIELD(s, r->cr2);
    SNAP_FIELD(s, r->cr3);
    SNAP_FIELD(s, r->cr4);
    SNAP_FIELD(s, r->cr8);
    SNAP_FIELD(s, r->xcr0);
    SNAP_FIELD(s, r->dr);
    SNAP_FIELD(s, r->a20_mask);
    r->cpl = (uint8_t)snap_number(s, r->cpl, 3);
    carry_flag(&r->halted, s);
    carry_flag(&r->nmi_masked, s);
    carry_flag(&r->nmi_waits, s);
    carry_flag(&r->irq_shadow, s);
    carry_flag(&r->debug_shadow, s);
}

static void carry_fpu(struct x86_fpu *f, struct snap *s)
{
    SNAP_FIELD(s, f->st);
    SNAP_FIELD(s, f->fcw);
    SNAP_FIELD(s, f->fsw);
    SNAP_FIELD(s, f->ftw);
    SNAP_FIELD(s, f->fop);
    SNAP_FIELD(s, f->fip);
    SNAP_FIELD(s, f->fdp);
    SNAP_FIELD(s, f->fcs);
    SNAP_FIELD(s, f->fds);
    SNAP_FIELD(s, f->mxcsr);
    SNAP_FIELD(s, f->ymm);
}

static void carry_msrs(struct x86_msrs *m, struct snap *s)
{
    SNAP_FIELD(s, m->efer);
    SNAP_FIELD(s, m->star);
    SNAP_FIELD(s, m->lstar);
    SNAP_FIELD(s, m->cstar);
    SNAP_FIELD(s, m->sfmask);
    SNAP_FIELD(s, m->kernel_gs_base);
    SNAP_FIELD(s, m->sysenter_cs);
    SNAP_FIELD(s, m->sysenter_esp);
    SNAP_FIELD(s, m->sysenter_eip);
    SNAP_FIELD(s, m->tsc_aux);
    SNAP_FIELD(s, m->tsc_offset);
    SNAP_FIELD(s, m->tsc_deadline);
    SNAP_FIELD(s, m->pat);
    SNAP_FIELD(s, m->apic_base);
    SNAP_FIELD(s, m->misc_enable);
    SNAP_FIELD(s, m->mtrr_def_type);
    SNAP_FIELD(s, m->mtrr_fixed);
    SNAP_FIELD(s, m->mtrr_base);
    SNAP_FIELD(s, m->mtrr_mask);
    SNAP_FIELD(s, m->spec_ctrl);
}

void regs_carry(struct x86_regs *r, struct snap *s)
{
    SNAP_FIELD(s, r->gpr);
    SNAP_FIELD(s, r->rflags);
    carry_segments(r, s);
    carry_control(r, s);
    carry_fpu(&r->fpu, s);
    carry_msrs(&r->msr, s);
}
