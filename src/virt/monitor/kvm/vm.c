/* vm.c - a machine of KVM: its memory, and which registers are ours. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/mem_move.h"
#include "virt/monitor/kvm/private.h"

#define API_VERSION 12
#define TSS_BASE    0xfeffd000u /* three pages that Intel's real mode needs; no RAM there */
#define IDENTITY    UINT64_C(0xfeffc000)
#define CPUID_MOST  256

/* Capabilities without which a machine cannot be (api.rst, chapter 8 and 4). */
static const struct {
    int number;
    const char *name;
} needed[] = {
    {KVM_CAP_USER_MEMORY, "USER_MEMORY"},
    {KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR"},
    {KVM_CAP_EXT_CPUID, "EXT_CPUID"},
    {KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT"},
    {KVM_CAP_VCPU_EVENTS, "VCPU_EVENTS"},
    {KVM_CAP_XSAVE, "XSAVE"},
    {KVM_CAP_XCRS, "XCRS"},
    {KVM_CAP_DEBUGREGS, "DEBUGREGS"},
    {KVM_CAP_USER_NMI, "USER_NMI"},
    {KVM_CAP_X86_USER_SPACE_MSR, "USER_SPACE_MSR"},
    {KVM_CAP_X86_MSR_FILTER, "MSR_FILTER"},
};

static int check_device(int device, struct err *e)
{
    if (ioctl(device, KVM_GET_API_VERSION, 0) != API_VERSION) {
        return err_set(e, -ENOTSUP, "/dev/kvm speaks another version than 12");
    }
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (ioctl(device, KVM_CHECK_EXTENSION, needed[i].number) <= 0) {
            return err_set(e, -ENOTSUP, "/dev/kvm lacks %s", needed[i].name);
        }
    }
    return 0;
}

static int find_supported(struct kvm_vm *vm, struct err *e)
{
    vm->supported = fault_calloc(1, sizeof *vm->supported +
                                        CPUID_MOST * sizeof vm->supported->entries[0]);
    if (vm->supported == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    vm->supported->nent = CPUID_MOST;
    if (ioctl(vm->device, KVM_GET_SUPPORTED_CPUID, vm->supported) < 0) {
        return err_sys(e, -errno, "cannot ask /dev/kvm for CPUID");
    }
    return 0;
}

/* Registers that every engine leaves to the machine: local APIC, and KVM's own interface,
 * which is implemented once for all of them (4.97, 4.135).  Those of the x2APIC no filter
 * takes: without a local APIC of the kernel's they are refused, which we are told. */
static int keep_registers(struct kvm_vm *vm, struct err *e)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
                                 .args[0] = KVM_MSR_EXIT_REASON_UNKNOWN |
                                            KVM_MSR_EXIT_REASON_FILTER |
                                            KVM_MSR_EXIT_REASON_INVAL};
    uint8_t none[2] = {0, 0}; /* a clear bit denies */
    struct kvm_msr_filter filter = {.flags = KVM_MSR_FILTER_DEFAULT_ALLOW};

    static const struct {
        uint32_t first, count;
    } ours[] = {{0x1b, 1}, {0x11, 2}, {0x6e0, 1}, {0x4b564d00, 16}};

    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        filter.ranges[i].flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
        filter.ranges[i].base = ours[i].first;
        filter.ranges[i].nmsrs = ours[i].count;
        filter.ranges[i].bitmap = none;
    }
    if (ioctl(vm->fd, KVM_ENABLE_CAP, &cap) < 0 ||
        ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &filter) < 0) {
        return err_sys(e, -errno, "cannot keep registers from /dev/kvm");
    }
    return 0;
}

static int put_slot(struct kvm_vm *vm, const struct kvm_userspace_memory_region *slot,
                    struct err *e)
{
    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, slot) < 0) {
        return err_sys(e, -errno, "cannot give memory to /dev/kvm");
    }
    vm->given[slot->slot] = *slot;
    return 0;
}

static struct kvm_userspace_memory_region slot_of(const struct kvm_vm *vm, unsigned i)
{
    struct kvm_userspace_memory_region slot = {.slot = i};
    const struct mem_region *r = &vm->mem->region[i];

    if (i < vm->mem->region_count && r->host != NULL && r->base < MEM_AWAY) {
        slot.flags = r->read_only ? KVM_MEM_READONLY : 0;
        slot.guest_phys_addr = r->base;
        slot.memory_size = r->bytes;
        slot.userspace_addr = (uintptr_t)r->host;
    }
    return slot;
}

static bool is_same(const struct kvm_userspace_memory_region *a,
                    const struct kvm_userspace_memory_region *b)
{
    return a->memory_size == b->memory_size &&
           (a->memory_size == 0 ||
            (a->guest_phys_addr == b->guest_phys_addr &&
             a->userspace_addr == b->userspace_addr && a->flags == b->flags));
}

/* Also once more, when a region came or moved: first goes what is no longer so (4.35). */
int kvm_vm_give_memory(struct kvm_vm *vm, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < MEM_REGIONS_MAX; i++) {
        const struct kvm_userspace_memory_region want = slot_of(vm, i);
        const struct kvm_userspace_memory_region none = {.slot = i};

        if (vm->given[i].memory_size != 0 && !is_same(&vm->given[i], &want)) {
            r = put_slot(vm, &none, e);
        }
    }
    for (unsigned i = 0; r == 0 && i < MEM_REGIONS_MAX; i++) {
        const struct kvm_userspace_memory_region want = slot_of(vm, i);

        if (!is_same(&vm->given[i], &want)) {
            r = put_slot(vm, &want, e);
        }
    }
    return r;
}

static int make_machine(struct kvm_vm *vm, struct err *e)
{
    uint64_t identity = IDENTITY;
    int bytes = ioctl(vm->device, KVM_GET_VCPU_MMAP_SIZE, 0);

    do {
        vm->fd = ioctl(vm->device, KVM_CREATE_VM, 0);
    } while (vm->fd < 0 && errno == EINTR);
    if (vm->fd < 0 || bytes < (int)sizeof(struct kvm_run)) {
        return err_sys(e, vm->fd < 0 ? -errno : -ENOTSUP,
                       "cannot make a machine by /dev/kvm");
    }
    vm->run_bytes = (size_t)bytes;
    if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
        ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_BASE) < 0) {
        return err_sys(e, -errno, "cannot place real mode's pages for /dev/kvm");
    }
    return keep_registers(vm, e);
}

static void on_signal(int number)
{
    (void)number;
}

int kvm_vm_create(struct mem *m, int device, struct kvm_vm **ret, struct err *e)
{
    struct kvm_vm *vm = fault_calloc(1, sizeof *vm);
    struct sigaction a = {.sa_handler = on_signal};
    int r = 0;

    if (vm == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    vm->mem = m;
    vm->fd = -1;
    vm->device = device > 0    ? fcntl(device, F_DUPFD_CLOEXEC, 3)
                 : device == 0 ? open("/dev/kvm", O_RDWR | O_CLOEXEC)
                               : -1;
    if (vm->device < 0) {
        r = device < 0 ? err_set(e, -ENOENT, "this host has no /dev/kvm for us")
                       : err_sys(e, -errno, "cannot open /dev/kvm");
    }
    r = r == 0 ? check_device(vm->device, e) : r;
    r = r == 0 ? find_supported(vm, e) : r;
    r = r == 0 ? make_machine(vm, e) : r;
    r = r == 0 ? kvm_vm_give_memory(vm, e) : r;
    if (r != 0) {
        kvm_vm_destroy(vm);
        return r;
    }
    (void)sigaction(kvm_signal(), &a, NULL);
    *ret = vm;
    return 0;
}

void kvm_vm_destroy(struct kvm_vm *vm)
{
    if (vm == NULL) {
        return;
    }
    if (vm->fd >= 0) {
        (void)close(vm->fd);
    }
    if (vm->device >= 0) {
        (void)close(vm->device);
    }
    free(vm->supported);
    free(vm);
}
