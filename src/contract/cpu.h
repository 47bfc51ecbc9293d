/* contract/cpu.h - one virtual processor, whatever executes it.
 *
 * Implemented by virt/isa (interpret, translate) and virt/monitor/kvm.  Used by
 * virt/monitor and the instruments of the command line.
 *
 * A processor runs on the thread that calls `cpu_run`, and leaves the guest in
 * one way: it calls `env->exit`, on that thread, with what happened.  The answer
 * says whether the guest goes on.  Engines differ in which accesses exit, never
 * in what an exit means.
 *
 * Threads: one thread at a time calls run, get, set and trim; `cpu_kick` may be called
 * by any, at any time, also from a signal handler. */
#ifndef CONTRACT_CPU_H
#define CONTRACT_CPU_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct cpu_debug;
struct cpu_exit;
struct err;
struct x86_regs;

enum cpu_exit_kind {
    CPU_EXIT_IN,       /* port read; fill `value` */
    CPU_EXIT_OUT,      /* port write */
    CPU_EXIT_READ,     /* load outside RAM; fill `value` */
    CPU_EXIT_WRITE,    /* store outside RAM */
    CPU_EXIT_HALT,     /* HLT: nothing to do until an interrupt */
    CPU_EXIT_SHUTDOWN, /* triple fault */
    CPU_EXIT_MSR_READ, /* a model-specific register that the engine does not hold */
    CPU_EXIT_MSR_WRITE,
    CPU_EXIT_TPR,        /* CR8 was written; `value` is the new priority */
    CPU_EXIT_EOI_WINDOW, /* interrupts can be taken now, and one was asked for */
    CPU_EXIT_HYPERCALL,  /* VMCALL or VMMCALL; fill `value` for RAX */
    CPU_EXIT_DEBUG,      /* for the host's debugger: contract/cpu_debug.h */
    CPU_EXIT_KICKED,     /* `cpu_kick` with CPU_KICK_STOP */
    CPU_EXIT_BUDGET,     /* the instructions granted are used up */
    CPU_EXIT_PAUSE,      /* it waits for another one: `pause_most` PAUSEs */
    CPU_EXIT_COUNT
};

struct cpu_exit {
    enum cpu_exit_kind kind;
    uint64_t address; /* port, guest physical address, MSR or hypercall number */
    uint64_t value;
    uint8_t bytes; /* 1, 2, 4, 8 */
    bool refused;  /* answer to an MSR access: #GP; to a hypercall: #UD */

    /* Of a hypercall: RBX, RCX, RDX, RSI, and who makes it. */
    uint64_t arg[4];
    uint8_t cpl;
    bool is_long; /* 64-bit mode */
};

/* The surroundings of a processor. */
struct cpu_env {
    /* 0: go on; 1: `cpu_run` returns 0; -errno: it returns that. */
    int (*exit)(void *who, struct cpu *c, struct cpu_exit *x);

    /* Take the interrupt of highest priority: its vector, or -1.  Called only
     * when the processor can accept one, after CPU_KICK_INTERRUPT. */
    int (*take_interrupt)(void *who, struct cpu *c);

    /* A vector that was taken stays to be delivered: the next to be taken.  Called by
     * engines that cannot always deliver what they took before they leave.  NULL: such an
     * engine loses it. */
    void (*untake_interrupt)(void *who, struct cpu *c, int vector);

    /* The time-stamp counter before `tsc_offset`.  NULL: the host's. */
    uint64_t (*clock)(void *who);

    /* What RDRAND and RDSEED give.  NULL: the host's random numbers. */
    uint64_t (*random)(void *who);

    /* Change what the model says in a leaf of CPUID.  NULL: nothing. */
    void (*cpuid)(void *who, struct cpu *c, uint32_t leaf, uint32_t subleaf,
                  uint32_t ret[4]);

    unsigned pause_most; /* PAUSEs without another exit until CPU_EXIT_PAUSE; 0: never */
    void *who;           /* borrowed */
};

enum cpu_kick {
    CPU_KICK_STOP = 1,      /* leave the guest with CPU_EXIT_KICKED */
    CPU_KICK_INTERRUPT = 2, /* ask `take_interrupt` when that is possible */
    CPU_KICK_NMI = 4,
    CPU_KICK_INIT = 8,
    CPU_KICK_FLUSH = 16, /* engines' own: another vCPU changed code or mappings */
    CPU_KICK_FLUSH_TLB =
        32,             /* forget translations of addresses before the next instruction */
    CPU_KICK_WAKE = 64, /* go on behind HLT without an interrupt */
};

/* How long one rested that gives memory back, so what it may take to make that again. */
enum cpu_rest {
    CPU_REST_SHORT, /* a moment */
    CPU_REST_LONG,  /* as after its start: it may be slow for a moment */
};

/* What a processor did since it was made. */
struct cpu_counters {
#define CPU_COUNTER(field, name, meaning) uint64_t field;
#include "contract/cpu_count.rows.h"
    uint64_t exits[CPU_EXIT_COUNT];
};

struct cpu_ops {
    const char *name; /* "interpret"; also the word on the command line */

    /* Run until `env->exit` says stop or `budget` instructions are done
     * (UINT64_MAX: no end). */
    int (*run)(struct cpu *c, uint64_t budget);

    /* Act on `cpu_kick` bits soon, from any thread. */
    void (*kick)(struct cpu *c);

    void (*get)(const struct cpu *c, struct x86_regs *ret_regs);

    /* Registers that a real processor would not accept: -EINVAL, no change. */
    int (*set)(struct cpu *c, const struct x86_regs *regs, struct err *e);

    /* The guest's time-stamp counter now, and its cycles a second.  NULL: it counts what
     * `env->clock` says, from `tsc_offset` on. */
    uint64_t (*tsc)(const struct cpu *c, uint64_t *ret_hz);

    void (*count)(const struct cpu *c, struct cpu_counters *ret_counters);

    /* Of the budget of the last `run`: what is not done, the instruction that executes
     * included.  Also within `exit` and `clock`.  NULL: there are no budgets. */
    uint64_t (*left)(const struct cpu *c);

    /* Exit as `d` (borrowed) says, or no more (NULL).  NULL: the engine cannot. */
    void (*debug)(struct cpu *c, const struct cpu_debug *d);

    /* Give back what memory can be filled again; the guest sees nothing of it.  NULL: there
     * is none to speak of. */
    void (*trim)(struct cpu *c, enum cpu_rest rest);

    void (*destroy)(struct cpu *c);
};

/* First member of every implementation's own struct. */
struct cpu {
    const struct cpu_ops *ops;
    const struct cpu_env *env; /* borrowed */
    unsigned index;            /* 0 is the boot processor */
    _Atomic uint32_t kicks;    /* `enum cpu_kick` bits not yet seen */
};

int cpu_run(struct cpu *c, uint64_t budget);
void cpu_kick(struct cpu *c, uint32_t kicks);
void cpu_get(const struct cpu *c, struct x86_regs *ret_regs);
int cpu_set(struct cpu *c, const struct x86_regs *regs, struct err *e);

/* The guest's time-stamp counter now; `clock_hz` are the cycles of `env->clock`. */
uint64_t cpu_tsc(const struct cpu *c, uint64_t clock_hz, uint64_t *ret_hz);
void cpu_count(const struct cpu *c, struct cpu_counters *ret_counters);
uint64_t cpu_left(const struct cpu *c); /* of an engine that has budgets */
int cpu_debug(struct cpu *c, const struct cpu_debug *d); /* -EOPNOTSUPP */
/* Of one that rests; not within `cpu_run`. */
void cpu_trim(struct cpu *c, enum cpu_rest rest);
void cpu_destroy(struct cpu *c);

#endif
