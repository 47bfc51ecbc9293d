/* interpret.h - the face of the interpreter: a processor that executes each decoded
 * instruction by its row's own routine. */
#ifndef VIRT_ISA_X86_INTERPRET_INTERPRET_H
#define VIRT_ISA_X86_INTERPRET_INTERPRET_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct cpu_env;
struct err;
struct mem;
struct x86_insn;
struct x86_model;

/* A processor in its power-on state.  All arguments are borrowed and outlive it.
 * Processors that share `m` are made and destroyed while none of them runs. */
int interpret_create(struct mem *m, const struct x86_model *model,
                     const struct cpu_env *env, unsigned index, struct cpu **ret,
                     struct err *e);

/* Bind an instruction to its row's routine, as a processor of this model would:
 * `run` is never NULL afterwards, but may be one that raises #UD.  `is_protected`:
 * neither real nor virtual-8086 mode. */
void interpret_bind(const struct x86_model *model, bool is_protected, struct x86_insn *i);

#endif
