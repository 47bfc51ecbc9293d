/* system.h - what makes an x86 a machine: segments, gates, tasks, control registers.
 *
 * The routines of system.rows.h, and the steps that other routines share. */
#ifndef VIRT_ISA_X86_SYSTEM_SYSTEM_H
#define VIRT_ISA_X86_SYSTEM_SYSTEM_H

#include "virt/isa/x86/cpu.h"

/* Power-on or INIT state (SDM volume 3A, table 10-1). */
void x86_reset(struct x86_cpu *c, bool init);

/* Registers that a real processor would not accept: -EINVAL and why. */
int x86_check_regs(const struct x86_cpu *c, const struct x86_regs *r, struct err *e);

/* MOV/POP/Lxx to a segment register, with all checks; CS only through the far
 * transfers below. */
void x86_load_segment(struct x86_cpu *c, enum x86_seg s, uint16_t selector);

enum x86_far {
    X86_FAR_JMP,
    X86_FAR_CALL
};

/* JMP and CALL to selector:offset, through gates and tasks; RETF; IRET.  They set
 * CS, next_rip, the stack and CPL.  `size` is the operand size. */
void x86_far_transfer(struct x86_cpu *c, enum x86_far kind, uint16_t selector,
                      uint64_t offset, enum x86_size size);
void x86_far_return(struct x86_cpu *c, enum x86_size size, uint16_t pop_bytes);
void x86_interrupt_return(struct x86_cpu *c, enum x86_size size);

enum x86_event {
    X86_EVENT_FAULT,
    X86_EVENT_TRAP,
    X86_EVENT_SOFTWARE,
    X86_EVENT_EXTERNAL
};

/* Deliver through the IDT or the real-mode table: an exception (`c->fault`), INT n,
 * INT3, INTO, INT1, an external interrupt or NMI.  Faults on the way become double
 * faults, and CPU_EXIT_SHUTDOWN in the end.  Does not raise.  The address pushed is
 * `gpr[X86_RIP]` for faults, `next_rip` for the rest. */
void x86_deliver(struct x86_cpu *c, enum x86_event kind, uint8_t vector);

/* Writes that other routines make: checked, with all consequences (#GP). */
void x86_write_cr(struct x86_cpu *c, unsigned n, uint64_t value);
void x86_write_flags(struct x86_cpu *c, uint64_t value, uint64_t mask);
void x86_set_cpl(struct x86_cpu *c, uint8_t cpl);

/* CS and SS of 64-bit code behind SYSCALL (level 0) and SYSRET (3). */
void x86_syscall_segments(const struct x86_cpu *c, uint8_t cpl,
                          struct x86_segment *ret_cs, struct x86_segment *ret_ss);

/* #UD, #NM, #MF as the instruction's class asks (CR0.EM/TS/MP, CR4.OSFXSR/OSXSAVE). */
void x86_need_fpu(struct x86_cpu *c, bool is_wait);
void x86_need_mmx(struct x86_cpu *c);
void x86_need_sse(struct x86_cpu *c);
void x86_need_avx(struct x86_cpu *c);

/* Ports: IOPL, the TSS bitmap (#GP), then an exit. */
void x86_port_check(struct x86_cpu *c, uint16_t port, unsigned bytes);
uint64_t x86_port_in(struct x86_cpu *c, uint16_t port, unsigned bytes);
void x86_port_out(struct x86_cpu *c, uint16_t port, unsigned bytes, uint64_t value);

/* CPUID models: "base", "v3", "host-like", "machine", "i686"; NULL: no such name. */
const struct x86_model *x86_model_find(const char *name);
bool x86_model_has(const struct x86_model *m, enum x86_feature f);
void x86_model_cpuid(const struct x86_cpu *c, uint32_t leaf, uint32_t subleaf,
                     uint32_t ret[4]);

#endif
