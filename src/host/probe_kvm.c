/* host/probe_kvm.c - whether hardware virtualization is of use: a loop of a guest, timed.
 *
 * Some hosts have a /dev/kvm that emulates code of ring 0, each instruction a thousand times slower
 * than the processor.  A machine asks much more before it takes that engine
 * (virt/monitor/kvm); what is told here agrees with it about those.
 *
 * Source: Linux, Documentation/virt/kvm/api.rst (6.1). */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/scope.h"
#include "host/probe_private.h"

#define API_VERSION 12 /* KVM_GET_API_VERSION, stable since 2007 */
#define PAGE_BYTES  4096
#define ROUNDS      10000u /* of the loop, which takes 10 us; emulated, 10 ms and more */
#define SLOW_NS     2000000u
#define TURNS       3 /* of which the shortest counts: others may run meanwhile */

#ifdef __x86_64__
/* Intel SDM volume 3, 3.4.5: flat, 32 bits, level 0. */
static void make_flat(struct kvm_sregs *s)
{
    const struct kvm_segment code = {.limit = UINT32_MAX,
                                     .selector = 8,
                                     .type = 11,
                                     .present = 1,
                                     .db = 1,
                                     .s = 1,
                                     .g = 1};
    struct kvm_segment data = code;

    data.selector = 16;
    data.type = 3;
    s->cs = code;
    s->ds = s->es = s->fs = s->gs = s->ss = data;
    s->cr0 |= 1;
}

/* From its first byte to HLT; how long. */
static int run_once(int vcpu, const struct kvm_run *run, uint64_t *ret_ns)
{
    const struct kvm_regs regs = {.rflags = 2};
    struct timespec from;
    struct timespec to;

    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0 || ioctl(vcpu, KVM_RUN, 0) < 0) {
        return -errno;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    *ret_ns = (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000u + (uint64_t)to.tv_nsec -
              (uint64_t)from.tv_nsec;
    return run->exit_reason == KVM_EXIT_HLT ? 0 : -EPROTO;
}

/* One page with a loop and HLT; the time of a turn. */
static int run_loop(int vm, int vcpu, int size, uint64_t *ret_ns)
{
    struct kvm_userspace_memory_region region = {.memory_size = PAGE_BYTES};
    const uint32_t rounds = ROUNDS;
    struct kvm_sregs sregs;
    struct kvm_run *run;
    uint64_t ns = 0;
    int r = 0;
    unsigned char *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (page == MAP_FAILED || run == MAP_FAILED) {
        return -errno;
    }
    page[0] = 0xb9; /* mov ecx, rounds; dec ecx; jnz; hlt */
    memcpy(page + 1, &rounds, sizeof rounds);
    memcpy(page + 1 + sizeof rounds, "\x49\x75\xfd\xf4", 4);
    region.userspace_addr = (uintptr_t)page;
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 ||
        ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0) {
        return -errno;
    }
    make_flat(&sregs);
    if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0) {
        return -errno;
    }
    *ret_ns = UINT64_MAX;
    for (unsigned i = 0; i < TURNS && r == 0 && *ret_ns >= SLOW_NS; i++) {
        r = run_once(vcpu, run, &ns);
        *ret_ns = ns < *ret_ns ? ns : *ret_ns;
    }
    return r;
}
#endif

void probe_kvm(struct probe_result *r, long arg)
{
    SCOPED(scope_close) int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    SCOPED(scope_close) int vm = -1;
    SCOPED(scope_close) int vcpu = -1;
    uint64_t ns = 0;
    int result = 0;

    (void)arg;
    if (kvm < 0) {
        probe_no(r, "/dev/kvm");
        return;
    }
    if (ioctl(kvm, KVM_GET_API_VERSION, 0) != API_VERSION) {
        probe_no(r, "KVM_GET_API_VERSION");
        return;
    }
    vm = ioctl(kvm, KVM_CREATE_VM, 0);
    vcpu = vm >= 0 ? ioctl(vm, KVM_CREATE_VCPU, 0) : -1;
    if (vm < 0 || vcpu < 0) {
        probe_no(r, "/dev/kvm is there, but making a machine fails");
        return;
    }
#ifdef __x86_64__
    result = run_loop(vm, vcpu, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), &ns);
#endif
    errno = -result;
    if (result < 0) {
        probe_no(r, "/dev/kvm is there, but running an instruction fails");
    } else if (ns >= SLOW_NS) {
        probe_say(r, PROBE_PARTIAL,
                  "it emulates code of ring 0; machines are translated instead");
    } else {
        probe_say(r, PROBE_YES, "ran a guest's loop at the speed of the host");
    }
}
