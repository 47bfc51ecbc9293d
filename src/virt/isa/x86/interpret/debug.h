/* debug.h - the host's debugger, as the loops of interpreter and translator see it. */
#ifndef VIRT_ISA_X86_INTERPRET_DEBUG_H
#define VIRT_ISA_X86_INTERPRET_DEBUG_H

#include "contract/cpu_debug.h"
#include "virt/isa/x86/cpu.h"

/* Whether there is a breakpoint at rip, or in its page; somebody debugs. */
bool x86_debug_breaks(const struct x86_cpu *c, uint64_t rip);
bool x86_debug_page(const struct x86_cpu *c, uint64_t rip);

/* Exit because of the breakpoint at the next instruction; because of a step or what is
 * watched, if that happened. */
void x86_debug_stop(struct x86_cpu *c);
void x86_debug_report(struct x86_cpu *c);

void x86_interpret_debug(struct cpu *base, const struct cpu_debug *d);

static inline bool x86_debug_steps(const struct x86_cpu *c)
{
    return c->debug != NULL && c->debug->steps;
}

#endif
