/* machine.h - a processor, RAM and a place for code: the least that runs. */
#ifndef TESTS_VIRT_ISA_X86_INTERPRET_MACHINE_H
#define TESTS_VIRT_ISA_X86_INTERPRET_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "contract/mem.h"

#define MACHINE_RAM_BYTES (8u << 20)
#define MACHINE_CODE      0x10000u /* where code is put */
#define MACHINE_DATA      0x100000u
#define MACHINE_STACK     0x80000u /* its top */
#define MACHINE_IDT       0x2000u
#define MACHINE_TABLES    0x200000u /* of long mode: identity, 4 KiB pages */
#define MACHINE_CPUS      2

enum machine_mode {
    MACHINE_REAL,
    MACHINE_FLAT32, /* protected mode without paging */
    MACHINE_LONG,
};

struct machine {
    struct mem *mem;
    struct cpu *cpu[MACHINE_CPUS];
    struct cpu_env env;
    struct cpu_exit exits[64]; /* the last ones */
    unsigned exit_count;
    unsigned seen[CPU_EXIT_COUNT];
    int pending; /* vector that `take_interrupt` gives, once; -1: none */
    enum machine_mode mode;
};

/* Every exit but reads stops the processor. */
void machine_init(struct machine *m, enum machine_mode mode, const char *model);
void machine_fini(struct machine *m);

/* Registers for code at MACHINE_CODE, at level 0. */
void machine_regs(const struct machine *m, struct x86_regs *ret_regs);

void machine_put(struct machine *m, gpa at, const void *bytes, uint64_t count);
void machine_set(struct machine *m, const struct x86_regs *r);
void machine_get(struct machine *m, struct x86_regs *ret_regs);

/* Load code, run it until an exit; registers before (NULL: machine_regs) and after. */
void machine_run(struct machine *m, const void *from, const void *to,
                 const struct x86_regs *before, struct x86_regs *ret_after);

/* The handler of every exception is a HLT of its own: which vector ended the run, or
 * -1; and its frame on the stack of long mode: error code, rip, cs, flags ... */
int machine_vector(const struct machine *m, const struct x86_regs *after);
uint64_t machine_peek(struct machine *m, gpa at, unsigned bytes);
void machine_poke(struct machine *m, gpa at, uint64_t v, unsigned bytes);

/* The page table entry of a 4 KiB page (long mode). */
gpa machine_entry(gpa page);

/* Code as the assembler makes it: CODE(name, ".code64", "...") */
#define CODE(name, mode, text)                                                           \
    __asm__(".pushsection .rodata\n" mode "\n" #name ":\n" text "\n" #name               \
            "_end:\n.code64\n.popsection\n");                                            \
    extern const uint8_t name[];                                                         \
    extern const uint8_t name##_end[];

#endif
