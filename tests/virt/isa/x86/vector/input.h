/* input.h - random states, made of the numbers where arithmetic is hard. */
#ifndef TESTS_VIRT_ISA_X86_VECTOR_INPUT_H
#define TESTS_VIRT_ISA_X86_VECTOR_INPUT_H

#include "tests/virt/isa/x86/vector/native.h"
#include "virt/isa/x86/encode.h"

void input_seed(unsigned row, const char *seed);
uint64_t input_random(void);

/* Registers, flags and memory of a case. */
void input_make(struct native_case *x);

/* Operands for the row: registers, the memory operand's address in `x`, immediates;
 * and what some rows need of memory (images to restore, indexes of gathers). */
void input_form(struct native_case *x, uint64_t arena, const char *id,
                const char *operands, struct x86_form *ret_form);

#endif
