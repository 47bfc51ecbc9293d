/* need.c - may this class of instruction execute now?  SDM volume 3A, 2.5, 13.1 and
 * table 13-1; volume 2A, 2.4 (exception classes of AVX). */
#include "virt/isa/x86/system/system.h"

#define FSW_ES 0x80u /* an exception that is not masked waits */

/* With CR0.NE clear the error is reported outside, as IRQ 13 of old machines; no
 * machine of ours has that line, so it stays pending there. */
static void need_no_error(struct x86_cpu *c)
{
    if ((c->r.fpu.fsw & FSW_ES) != 0 && (c->r.cr0 & X86_CR0_NE) != 0) {
        x86_raise(c, X86_MF);
    }
}

void x86_need_fpu(struct x86_cpu *c, bool is_wait)
{
    uint64_t cr0 = c->r.cr0;

    if (is_wait ? (cr0 & X86_CR0_MP) != 0 && (cr0 & X86_CR0_TS) != 0
                : (cr0 & (X86_CR0_EM | X86_CR0_TS)) != 0) {
        x86_raise(c, X86_NM);
    }
    need_no_error(c);
}

void x86_need_mmx(struct x86_cpu *c)
{
    if ((c->r.cr0 & X86_CR0_EM) != 0) {
        x86_raise(c, X86_UD);
    }
    if ((c->r.cr0 & X86_CR0_TS) != 0) {
        x86_raise(c, X86_NM);
    }
    need_no_error(c);
}

void x86_need_sse(struct x86_cpu *c)
{
    if ((c->r.cr0 & X86_CR0_EM) != 0 || (c->r.cr4 & X86_CR4_OSFXSR) == 0) {
        x86_raise(c, X86_UD);
    }
    if ((c->r.cr0 & X86_CR0_TS) != 0) {
        x86_raise(c, X86_NM);
    }
}

void x86_need_avx(struct x86_cpu *c)
{
    if (!c->protected_mode || c->v86 || (c->r.cr4 & X86_CR4_OSXSAVE) == 0 ||
        (c->r.xcr0 & 6) != 6) {
        x86_raise(c, X86_UD);
    }
    if ((c->r.cr0 & X86_CR0_TS) != 0) {
        x86_raise(c, X86_NM);
    }
}
