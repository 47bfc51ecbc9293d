/* cpu.c - one processor by KVM: into the guest, and what brought it out.
 *
 * Kicks.  A kick sets its bit, then `immediate_exit`, then signals the thread.  The thread
 * clears `immediate_exit`, then takes the bits: whatever comes between the two and KVM_RUN
 * is seen by KVM_RUN itself, which then returns at once (api.rst, 5).
 *
 * What the guest read or wrote outside is finished by the next KVM_RUN only.  So a
 * processor that is to leave enters once more with `immediate_exit` set, which finishes
 * that and nothing else.
 *
 * Interrupts.  Without an interrupt chip of the kernel's one vector at a time is injected
 * when the processor can take it; until then KVM says when (the window). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/cpu_x86.h"
#include "virt/monitor/kvm/private.h"

#define RFLAGS_IF UINT64_C(0x200)
#define GO_ON     0

static int tell(struct kvm_cpu *k, struct cpu_exit *x)
{
    const struct cpu_env *env = k->cpu.env;

    k->exits[x->kind]++;
    return (env->exit)(env->who, &k->cpu, x);
}

static int tell_kind(struct kvm_cpu *k, enum cpu_exit_kind kind)
{
    struct cpu_exit x = {.kind = kind};

    return tell(k, &x);
}

/* ---- what brought it out ---- */

static int on_port(struct kvm_cpu *k)
{
    struct kvm_run *run = k->run;
    uint8_t *at = (uint8_t *)run + run->io.data_offset;
    bool is_in = run->io.direction == KVM_EXIT_IO_IN;
    int r = GO_ON;

    for (uint32_t i = 0; i < run->io.count; i++, at += run->io.size) {
        struct cpu_exit x = {.kind = is_in ? CPU_EXIT_IN : CPU_EXIT_OUT,
                             .address = run->io.port,
                             .bytes = run->io.size};
        int one;

        if (!is_in) {
            memcpy(&x.value, at, run->io.size);
        }
        one = tell(k, &x);
        if (is_in) {
            memcpy(at, &x.value, run->io.size);
        }
        r = r == GO_ON ? one : r;
    }
    return r;
}

static int on_memory(struct kvm_cpu *k)
{
    struct kvm_run *run = k->run;
    uint32_t all = run->mmio.len;
    uint32_t step = (all & (all - 1)) == 0 ? all : 1; /* whole, where that is possible */
    int r = GO_ON;

    for (uint32_t i = 0; i < all && i < sizeof run->mmio.data; i += step) {
        struct cpu_exit x = {.kind = run->mmio.is_write ? CPU_EXIT_WRITE : CPU_EXIT_READ,
                             .address = run->mmio.phys_addr + i,
                             .bytes = (uint8_t)step};
        int one;

        if (run->mmio.is_write) {
            memcpy(&x.value, run->mmio.data + i, step);
        }
        one = tell(k, &x);
        if (!run->mmio.is_write) {
            memcpy(run->mmio.data + i, &x.value, step);
        }
        r = r == GO_ON ? one : r;
    }
    return r;
}

static int on_register(struct kvm_cpu *k, enum cpu_exit_kind kind)
{
    struct cpu_exit x = {.kind = kind,
                         .address = k->run->msr.index,
                         .value = k->run->msr.data,
                         .bytes = 8};
    int r = tell(k, &x);

    k->run->msr.data = x.value;
    k->run->msr.error = x.refused ? 1 : 0;
    return r;
}

static int on_priority(struct kvm_cpu *k)
{
    struct cpu_exit x = {.kind = CPU_EXIT_TPR, .value = k->run->cr8, .bytes = 1};

    if (k->tpr == (uint8_t)k->run->cr8) {
        return GO_ON;
    }
    k->tpr = (uint8_t)k->run->cr8;
    return tell(k, &x);
}

static int route(struct kvm_cpu *k)
{
    switch (k->run->exit_reason) {
    case KVM_EXIT_IO:
        return on_port(k);
    case KVM_EXIT_MMIO:
        return on_memory(k);
    case KVM_EXIT_X86_RDMSR:
        return on_register(k, CPU_EXIT_MSR_READ);
    case KVM_EXIT_X86_WRMSR:
        return on_register(k, CPU_EXIT_MSR_WRITE);
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_INTR:
        return GO_ON;
    case KVM_EXIT_HLT:
        k->halted = true;
        return GO_ON;
    case KVM_EXIT_SHUTDOWN:
        return tell_kind(k, CPU_EXIT_SHUTDOWN);
    default:
        return -EIO; /* KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR */
    }
}

/* ---- into the guest ---- */

/* One vector, if there is one and it can be taken. */
static int inject(struct kvm_cpu *k)
{
    int r = on_priority(k);
    int vector;

    k->run->request_interrupt_window = k->wants;
    if (!k->wants || r != GO_ON || k->run->ready_for_interrupt_injection == 0) {
        return r;
    }
    vector = k->cpu.env->take_interrupt != NULL
                 ? k->cpu.env->take_interrupt(k->cpu.env->who, &k->cpu)
                 : -1;
    if (vector < 0) {
        k->wants = false;
        k->run->request_interrupt_window = 0;
        return GO_ON;
    }
    k->halted = false;
    k->run->ready_for_interrupt_injection = 0;
    return ioctl(k->fd, KVM_INTERRUPT, &(struct kvm_interrupt){.irq = (uint32_t)vector}) <
                   0
               ? -errno
               : GO_ON;
}

/* What others asked for meanwhile. */
static int obey(struct kvm_cpu *k)
{
    uint32_t kicks;

    atomic_store((_Atomic uint8_t *)&k->run->immediate_exit, 0);
    kicks = atomic_exchange(&k->cpu.kicks, 0);
    if ((kicks & CPU_KICK_INIT) != 0) {
        k->reset->msr.tsc_offset = k->tsc_told; /* that goes on */
        if (kvm_set_regs(k, k->reset) != 0) {
            return -EIO;
        }
    }
    if ((kicks & CPU_KICK_NMI) != 0) {
        k->halted = false;
        (void)ioctl(k->fd, KVM_NMI, 0);
    }
    k->halted = k->halted && (kicks & CPU_KICK_WAKE) == 0;
    k->wants = k->wants || (kicks & CPU_KICK_INTERRUPT) != 0;
    return (kicks & CPU_KICK_STOP) != 0 ? tell_kind(k, CPU_EXIT_KICKED) : GO_ON;
}

static int enter(struct kvm_cpu *k)
{
    k->entries++;
    if (ioctl(k->fd, KVM_RUN, 0) >= 0) {
        return route(k);
    }
    return errno == EINTR || errno == EAGAIN ? GO_ON : -errno;
}

/* What was injected and could not be delivered yet goes back to who gave it. */
static void give_back(struct kvm_cpu *k)
{
    int vector = kvm_take_back(k);

    if (vector >= 0 && k->cpu.env->untake_interrupt != NULL) {
        k->cpu.env->untake_interrupt(k->cpu.env->who, &k->cpu, vector);
    }
}

/* Finish what is half done, and nothing else. */
static int finish(struct kvm_cpu *k)
{
    do {
        atomic_store((_Atomic uint8_t *)&k->run->immediate_exit, 1);
        if (ioctl(k->fd, KVM_RUN, 0) < 0) {
            return errno == EINTR || errno == EAGAIN ? 0 : -errno;
        }
        (void)route(k);
    } while (k->run->exit_reason == KVM_EXIT_IO || k->run->exit_reason == KVM_EXIT_MMIO);
    return 0;
}

static int step(struct kvm_cpu *k)
{
    int r = obey(k);

    r = r == GO_ON ? inject(k) : r;
    if (r != GO_ON) {
        return r;
    }
    return k->halted ? tell_kind(k, CPU_EXIT_HALT) : enter(k);
}

static int cpu_run_by_kvm(struct cpu *c, uint64_t budget)
{
    struct kvm_cpu *k = (struct kvm_cpu *)c;
    int r = GO_ON;

    if (budget != UINT64_MAX) {
        return -ENOTSUP;
    }
    atomic_store(&k->thread, (pid_t)syscall(SYS_gettid));
    while (r == GO_ON) {
        r = step(k);
    }
    atomic_store(&k->thread, 0);
    if (r == 1) {
        r = finish(k);
        give_back(k);
    }
    return r;
}

static void kick(struct cpu *c)
{
    struct kvm_cpu *k = (struct kvm_cpu *)c;
    pid_t thread = atomic_load(&k->thread);

    atomic_store((_Atomic uint8_t *)&k->run->immediate_exit, 1);
    if (thread != 0) {
        (void)syscall(SYS_tgkill, getpid(), thread, kvm_signal());
    }
}

/* ---- its life ---- */

static void get(const struct cpu *c, struct x86_regs *ret_regs)
{
    kvm_get_regs((struct kvm_cpu *)(uintptr_t)c, ret_regs);
}

static int set(struct cpu *c, const struct x86_regs *regs, struct err *e)
{
    int r = kvm_set_regs((struct kvm_cpu *)c, regs);

    return r == 0 ? 0 : err_sys(e, -EINVAL, "cannot set the processor's registers");
}

static uint64_t tsc(const struct cpu *c, uint64_t *ret_hz)
{
    const struct kvm_cpu *k = (const struct kvm_cpu *)c;

    *ret_hz = k->tsc_hz;
    return kvm_tsc(k);
}

/* As much as two clocks of the same make differ, in millionths. */
#define HZ_SLACK 250u

static bool is_close(uint64_t a, uint64_t b)
{
    return (a > b ? a - b : b - a) <= b / 1000000u * HZ_SLACK;
}

bool kvm_can_count(const struct cpu *c, uint64_t hz)
{
    const struct kvm_cpu *k = (const struct kvm_cpu *)c;

    return is_close(hz, k->tsc_hz) ||
           ioctl(k->vm->device, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0;
}

int kvm_count_by(struct cpu *c, uint64_t hz)
{
    struct kvm_cpu *k = (struct kvm_cpu *)c;

    if (is_close(hz, k->tsc_hz)) {
        return 0;
    }
    if (ioctl(k->fd, KVM_SET_TSC_KHZ, hz / 1000u) < 0) {
        return -errno;
    }
    k->tsc_hz = hz / 1000u * 1000u;
    return 0;
}

const unsigned long *kvm_calls(void)
{
    static const unsigned long calls[] = {KVM_RUN,
                                          KVM_SET_USER_MEMORY_REGION,
                                          KVM_INTERRUPT,
                                          KVM_NMI,
                                          KVM_GET_REGS,
                                          KVM_SET_REGS,
                                          KVM_GET_SREGS,
                                          KVM_SET_SREGS,
                                          KVM_GET_MSRS,
                                          KVM_SET_MSRS,
                                          KVM_GET_XSAVE,
                                          KVM_SET_XSAVE,
                                          KVM_GET_XCRS,
                                          KVM_SET_XCRS,
                                          KVM_GET_DEBUGREGS,
                                          KVM_SET_DEBUGREGS,
                                          KVM_GET_TSC_KHZ,
                                          KVM_SET_TSC_KHZ,
                                          KVM_GET_VCPU_EVENTS,
                                          KVM_GET_DEVICE_ATTR,
                                          KVM_SET_DEVICE_ATTR,
                                          KVM_CHECK_EXTENSION,
                                          KVM_SET_VCPU_EVENTS,
                                          0};

    return calls;
}

static void count(const struct cpu *c, struct cpu_counters *ret_counters)
{
    memcpy(ret_counters->exits, ((const struct kvm_cpu *)c)->exits,
           sizeof ret_counters->exits);
}

static void destroy(struct cpu *c)
{
    struct kvm_cpu *k = (struct kvm_cpu *)c;

    if (k->run != NULL) {
        (void)munmap(k->run, k->vm->run_bytes);
    }
    if (k->fd >= 0) {
        (void)close(k->fd);
    }
    free(k->reset);
    free(k);
}

static const struct cpu_ops ops = {.name = "kvm",
                                   .run = cpu_run_by_kvm,
                                   .kick = kick,
                                   .get = get,
                                   .set = set,
                                   .tsc = tsc,
                                   .count = count,
                                   .destroy = destroy};

static int make(struct kvm_cpu *k, const struct x86_model *model, struct err *e)
{
    void *at;
    int r;

    k->fd = ioctl(k->vm->fd, KVM_CREATE_VCPU, k->cpu.index);
    if (k->fd < 0) {
        return err_sys(e, -errno, "cannot make processor %u by /dev/kvm", k->cpu.index);
    }
    at = mmap(NULL, k->vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, 0);
    if (at == MAP_FAILED) {
        return err_sys(e, -errno, "cannot make processor %u by /dev/kvm", k->cpu.index);
    }
    k->run = at;
    k->tsc_hz = (uint64_t)ioctl(k->fd, KVM_GET_TSC_KHZ, 0) * 1000u;
    r = kvm_set_cpuid(k, model, e);
    if (r != 0) {
        return r;
    }
    k->reset = fault_malloc(sizeof *k->reset);
    if (k->reset == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    kvm_get_regs(k, k->reset);
    return 0;
}

int kvm_cpu_create(struct kvm_vm *vm, const struct x86_model *model,
                   const struct cpu_env *env, unsigned index, struct cpu **ret,
                   struct err *e)
{
    struct kvm_cpu *k = fault_calloc(1, sizeof *k);
    int r;

    if (k == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    k->cpu = (struct cpu){.ops = &ops, .env = env, .index = index};
    k->vm = vm;
    k->fd = -1;
    r = make(k, model, e);
    if (r != 0) {
        destroy(&k->cpu);
        return r;
    }
    *ret = &k->cpu;
    return 0;
}
