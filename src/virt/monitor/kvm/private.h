/* private.h - what the files of this folder share. */
#ifndef VIRT_MONITOR_KVM_PRIVATE_H
#define VIRT_MONITOR_KVM_PRIVATE_H

#include <linux/kvm.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "contract/cpu.h"
#include "contract/mem.h"
#include "virt/monitor/kvm/kvm.h"

struct x86_regs;

struct kvm_vm {
    int device;                   /* /dev/kvm */
    int fd;                       /* the machine */
    size_t run_bytes;             /* of each processor's page of communication */
    struct mem *mem;              /* borrowed */
    struct kvm_cpuid2 *supported; /* owned: what this host can show */

    /* What it was given, by slot; `memory_size` 0: nothing. */
    struct kvm_userspace_memory_region given[MEM_REGIONS_MAX];

    /* The time-stamp counter that was set last: `tsc_set` at `tsc_clock`, and Linux's word
     * for it.  Processors set to the same while the clock stands count the same. */
    uint64_t tsc_set, tsc_clock, tsc_word;
};

struct kvm_cpu {
    struct cpu cpu; /* first */
    struct kvm_vm *vm;
    int fd;
    struct kvm_run *run;    /* mapped, shared with the kernel */
    struct x86_regs *reset; /* owned: as it was made */
    _Atomic pid_t thread;   /* that is in `cpu_run`; 0: none */
    bool wants;             /* `take_interrupt` may have one more */
    bool halted;            /* by HLT, until an interrupt */
    uint64_t deadline;      /* the register that KVM does not hold without a local APIC */
    uint8_t tpr;            /* as the machine was told last */
    uint64_t entries;       /* of the guest */
    uint64_t tsc_hz;
    uint64_t tsc_told; /* as `get` gave it, or `set` took it: then nothing is to be set */
    uint64_t exits[CPU_EXIT_COUNT];
};

/* The signal that brings a thread out of the guest; its handler does nothing. */
static inline int kvm_signal(void)
{
    return SIGRTMIN + 1;
}

/* cpuid.c: what the model says, as far as this host has it. */
int kvm_set_cpuid(struct kvm_cpu *k, const struct x86_model *model, struct err *e);

/* state.c */
void kvm_get_regs(struct kvm_cpu *k, struct x86_regs *ret);
int kvm_set_regs(struct kvm_cpu *k, const struct x86_regs *regs);
uint64_t kvm_tsc(const struct kvm_cpu *k);

/* A vector that was injected and not delivered yet is taken back; -1: there is none. */
int kvm_take_back(struct kvm_cpu *k);

/* probe.c: the questions, to whichever processor. */
struct kvm_test {
    int (*make)(void *who, struct mem *m, const struct cpu_env *env, struct cpu **ret,
                struct err *e);
    void (*unmake)(void *who); /* after the processor is gone; NULL: nothing is to do */
    void *who;
    uint32_t loops;    /* of two instructions, in each mode; real mode a twentieth */
    time_t patience_s; /* with each guest: it is stopped afterwards */
    long patience_ns;
};

void kvm_probe_by(const struct kvm_test *t, struct kvm_report *ret);

#endif
