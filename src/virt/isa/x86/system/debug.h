/* debug.h - debug registers, breakpoints and single steps, as the loop uses them. */
#ifndef VIRT_ISA_X86_SYSTEM_DEBUG_H
#define VIRT_ISA_X86_SYSTEM_DEBUG_H

#include "virt/isa/x86/system/system.h"

/* DR0..DR3 or DR7 changed: the soft TLB and `wants` follow. */
void x86_debug_changed(struct x86_cpu *c);

/* Note breakpoints on a port. */
void x86_note_port(struct x86_cpu *c, uint16_t port, unsigned bytes);

/* The bits of CR4 and EFER that the model has. */
uint64_t x86_cr4_allowed(const struct x86_cpu *c);
uint64_t x86_efer_allowed(const struct x86_cpu *c);

#endif
