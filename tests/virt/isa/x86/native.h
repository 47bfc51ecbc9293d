/* native.h - encodings executed on the processor that runs the test.
 *
 * A child executes each once, on a page of breakpoints, with registers that point into
 * a buffer; its signals tell what became of it.  Where the child dies another goes on. */
#ifndef TESTS_VIRT_ISA_X86_NATIVE_H
#define TESTS_VIRT_ISA_X86_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/isa/x86/insn.h"

#define NATIVE_BYTES 16 /* of each encoding */

enum native_verdict {
    NATIVE_UNTRIED,
    NATIVE_LEFT_OUT,  /* not to be tried */
    NATIVE_TRYING,    /* stays where the child died */
    NATIVE_UNDEFINED, /* #UD */
    NATIVE_DEFINED,   /* executed, or another exception */
};

struct native {
    uint8_t bytes[NATIVE_BYTES];
    uint8_t verdict; /* `enum native_verdict`; left alone unless NATIVE_UNTRIED */
    uint8_t length;  /* when it ran to its end; else 0 */
};

/* Room for `n`, zeroed, that children share; native_free gives it back. */
struct native *native_make(size_t n);
void native_free(struct native *all, size_t n);

/* Execute all that are untried, in 64-bit or 32-bit (compatibility) mode. */
void native_run(struct native *all, size_t n, enum x86_code_mode mode);

/* Whether CPUID says so; `feature` is an `enum x86_feature`. */
bool native_has(uint8_t feature);

#endif
