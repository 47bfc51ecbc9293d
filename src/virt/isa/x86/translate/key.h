/* key.h - what a unit depends on beside its bytes and its address. */
#ifndef VIRT_ISA_X86_TRANSLATE_KEY_H
#define VIRT_ISA_X86_TRANSLATE_KEY_H

#include "virt/isa/x86/interpret/code.h"

/* The way of decoding, whether x87 and vector
 * instructions may run without a look (CR0.EM and TS, CR4, XCR0; no x87 exception can
 * happen, `fpu_can_lend`), whether FS and GS are no more than a base, and whether it is
 * the system's. */
#define UNIT_COUNTED  0x08 /* of jump tables: it takes from a budget */
#define UNIT_FPU      0x10
#define UNIT_SSE      0x20
#define UNIT_AVX      0x40
#define UNIT_SYSTEM   0x100 /* level 0 of 64-bit mode: nothing privileged faults */
#define UNIT_SEGMENTS 0x80  /* FS and GS have limits or types to look at */

bool fpu_can_lend(const struct x86_cpu *c);

static inline uint16_t unit_key(const struct x86_cpu *c)
{
    bool fpu = (c->r.cr0 & (X86_CR0_EM | X86_CR0_TS)) == 0;
    bool sse = fpu && (c->r.cr4 & X86_CR4_OSFXSR) != 0;
    bool avx = (c->r.cr0 & X86_CR0_TS) == 0 && (c->r.cr4 & X86_CR4_OSXSAVE) != 0 &&
               (c->r.xcr0 & 6) == 6 && c->protected_mode;

    bool segments = (c->read_base[X86_FS] | c->write_base[X86_FS] | c->read_base[X86_GS] |
                     c->write_base[X86_GS]) >>
                        32 !=
                    0;

    segments &= c->code_mode != X86_CODE64;
    return (uint16_t)(x86_code_key(c) |
                      (c->code_mode == X86_CODE64 && c->r.cpl == 0 ? UNIT_SYSTEM : 0) |
                      (segments ? UNIT_SEGMENTS : 0) | (sse ? UNIT_SSE : 0) |
                      (avx ? UNIT_AVX : 0) | (fpu_can_lend(c) ? UNIT_FPU : 0));
}

#endif
