/* kvm.h - processors that the host's own execute: contract/cpu.h by /dev/kvm.
 *
 * Source: Linux, Documentation/virt/kvm/api.rst (6.1), numbers of its sections in the
 * code.  The local APIC is the machine's, as with every other engine: KVM has no
 * interrupt chip here, and injects what `take_interrupt` gives.
 *
 * Whether /dev/kvm is of use only running code tells: some hosts have one that emulates
 * every privileged instruction, or code in ring 0 altogether, far slower than a
 * translator, and some never come back.  `kvm_probe` runs a guest.
 *
 * Threads: as contract/cpu.h says; one `struct kvm_vm` for all processors of a machine. */
#ifndef VIRT_MONITOR_KVM_KVM_H
#define VIRT_MONITOR_KVM_KVM_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct cpu_env;
struct err;
struct kvm_vm;
struct mem;
struct x86_model;

#define KVM_CPUS_MOST 64

struct kvm_report {
    bool is_good;  /* an operating system runs at the speed of the host */
    bool is_there; /* small guests run, perhaps slowly */
    char why[160]; /* one sentence, without a full stop */
};

/* At most a second, most often 10 ms.  Not in a thread that has timers of its own.
 * `device`: as below. */
void kvm_probe(int device, struct kvm_report *ret);

/* `m`'s RAM as the guest's; borrowed.  Regions that come later are given by `kvm_vm_give_memory`, behind all others.  `device`: a
 * descriptor of /dev/kvm, borrowed for the call; 0: it is opened; -1: there is none.
 * -ENOENT, -EACCES: no /dev/kvm for us; -ENOTSUP: it lacks something, `e` says what. */
int kvm_vm_create(struct mem *m, int device, struct kvm_vm **ret, struct err *e);
int kvm_vm_give_memory(struct kvm_vm *vm, struct err *e);
void kvm_vm_destroy(struct kvm_vm *vm); /* after its processors */

/* A processor in its power-on state.  All arguments are borrowed and outlive it.  Runs
 * without a budget only (-ENOTSUP): this engine does not count instructions. */
int kvm_cpu_create(struct kvm_vm *vm, const struct x86_model *model,
                   const struct cpu_env *env, unsigned index, struct cpu **ret,
                   struct err *e);

/* Its time-stamp counter by another frequency than the host's, where the host can. */
bool kvm_can_count(const struct cpu *c, uint64_t hz);
int kvm_count_by(struct cpu *c, uint64_t hz);

/* What processors that are made ask of Linux, ended by 0: numbers of ioctl. */
const unsigned long *kvm_calls(void);

#endif
