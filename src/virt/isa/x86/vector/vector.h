/* vector.h - the routines of x87.rows.h, mmx_sse.rows.h and avx.rows.h.
 *
 * They are reached through the rows: each `x86_do_<routine>` is defined here.  What
 * computes is the host's own instruction, so a processor model may offer only what
 * the host has. */
#ifndef VIRT_ISA_X86_VECTOR_VECTOR_H
#define VIRT_ISA_X86_VECTOR_VECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "virt/isa/x86/x86.h"

struct x86_fpu;

/* Whether the routines of rows with this feature can run on this host.  Features
 * that have no row here are true. */
bool x86_vector_host_has(enum x86_feature f);

/* What FNINIT leaves (SDM volume 1, 8.1.5); registers keep their bytes. */
void x86_fpu_init(struct x86_fpu *fpu);

/* The components of XCR0 that the routines know: x87, SSE, AVX. */
#define X86_XCR0_KNOWN 7u

/* Bytes of the XSAVE area for these components (CPUID leaf 0xd), standard form. */
static inline uint32_t x86_xsave_bytes(uint64_t components)
{
    return (components & 4) != 0 ? 832 : 576;
}

#endif
