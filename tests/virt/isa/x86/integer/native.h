/* native.h - one register-only instruction on the host's own processor.
 *
 * A page of code is made: load flags and registers from a block that the stack
 * pointer walks over, the instruction, and store them back by walking up again. */
#ifndef TESTS_VIRT_ISA_X86_INTEGER_NATIVE_H
#define TESTS_VIRT_ISA_X86_INTEGER_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

struct native_state {
    uint64_t flags;
    uint64_t gpr[16]; /* rsp is not loaded */
};

/* Before the first run of each test: the test library takes the signals. */
void native_begin(void);

/* Returns false when the instruction raised #DE; `s` is then as before. */
bool native_run(struct native_state *s, const uint8_t *bytes, unsigned count);

/* The same with eax and the flags only, in a 32-bit code segment (Linux's selectors). */
bool native_run32(struct native_state *s, const uint8_t *bytes, unsigned count);

#endif
