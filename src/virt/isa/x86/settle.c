/* settle.c - the host's floating-point control back to the host (see cpu.h).
 *
 * The two control words are what the ABI starts with, and this program keeps. */
#include "virt/isa/x86/cpu.h"

#define HOST_MXCSR  0x1f80u
#define HOST_CW     0x037fu
#define MXCSR_FLAGS 0x003fu

static void settle_sse(struct x86_cpu *c)
{
    static const uint32_t host = HOST_MXCSR;
    uint32_t seen;

    __asm__ volatile("stmxcsr %0\n\tldmxcsr %1" : "=m"(seen) : "m"(host));
    c->r.fpu.mxcsr |= seen & MXCSR_FLAGS;
}

/* The guest has the flags of all that was completed; others may be of an instruction that
 * faulted when it stored. */
static void settle_x87(void)
{
    static const uint16_t host = HOST_CW;

    __asm__ volatile("fnclex\n\tfldcw %0" : : "m"(host));
}

void x86_settle_now(struct x86_cpu *c)
{
    if ((c->ready & X86_LIVE_SSE) != 0) {
        settle_sse(c);
    }
    if ((c->ready & X86_LIVE_X87) != 0) {
        settle_x87();
    }
    c->ready = 0;
}
