/* private.h - the bare processor's own struct. */
#ifndef VIRT_ISA_BARE_PRIVATE_H
#define VIRT_ISA_BARE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "contract/cpu.h"
#include "contract/cpu_x86.h"
#include "virt/isa/bare/bare.h"

struct bare_cpu {
    struct bare *bare;
    struct cpu *cpu;  /* owned */
    pthread_t thread; /* vCPU 0: none */
    bool has_thread;
    int result; /* of `cpu_run` */
};

struct bare {
    struct bare_options o; /* strings are borrowed */
    struct mem *mem;       /* owned */
    struct cpu_env env;
    struct bare_cpu cpu[BARE_CPUS_MAX];
    unsigned cpus;
    _Atomic uint64_t traps; /* times that a vCPU left the guest */
    uint8_t line_control;   /* of the serial port; guarded by `lock` */

    pthread_mutex_t lock; /* guards what follows, and calls of `print` */
    unsigned started;     /* vCPUs that began to run */
    unsigned halted;      /* of those */
    bool ended;
    enum bare_end end;
    unsigned code;
};

/* A vCPU in flat 32-bit protected mode without paging. */
int bare_start_flat32(struct cpu *c, uint64_t at, uint32_t eax, uint32_t ebx,
                      struct err *e);

/* The instruction at the next RIP, as text. */
void bare_describe(const struct bare *b, const struct x86_regs *r, char *text,
                   size_t bytes);

#endif
