/* tsc.h - the time-stamp counter of a guest. */
#ifndef VIRT_ISA_X86_SYSTEM_TSC_H
#define VIRT_ISA_X86_SYSTEM_TSC_H

#include "virt/isa/x86/cpu.h"

uint64_t x86_tsc(struct x86_cpu *c);

#endif
