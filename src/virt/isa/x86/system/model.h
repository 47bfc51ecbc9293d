/* model.h - a CPUID model: what a processor says of itself, and so what it does. */
#ifndef VIRT_ISA_X86_SYSTEM_MODEL_H
#define VIRT_ISA_X86_SYSTEM_MODEL_H

#include "virt/isa/x86/system/system.h"

/* MXCSR_MASK as FXSAVE shows it: the bits of MXCSR that exist. */
#define X86_MXCSR_MASK 0xffffu

struct x86_model {
    const char *name; /* "base" ...; the word on the command line */
    const char *brand;
    uint32_t signature;    /* leaf 1, EAX: family, model, stepping */
    uint8_t physical_bits; /* of an address */
    bool has_long_mode;
    uint64_t xcr0;     /* state components that XSETBV accepts */
    uint64_t features; /* bit n: `enum x86_feature` n */
};

#endif
