/* fault.c - how a routine leaves when the guest gets an exception. */
#include <stdlib.h>

#include "virt/isa/x86/cpu.h"

void x86_raise(struct x86_cpu *c, enum x86_vector v)
{
    c->fault = (struct x86_fault){.vector = v};
    longjmp(c->unwind, 1);
}

void x86_raise_error(struct x86_cpu *c, enum x86_vector v, uint32_t error)
{
    c->fault = (struct x86_fault){.vector = v, .has_error = true, .error = error};
    longjmp(c->unwind, 1);
}

void x86_raise_page(struct x86_cpu *c, uint64_t linear, uint32_t error)
{
    c->fault = (struct x86_fault){
        .vector = X86_PF, .has_error = true, .error = error, .address = linear};
    longjmp(c->unwind, 1);
}
