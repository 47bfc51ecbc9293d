/* interpreter.c - what sensitive operations mean on this machine: one routine for each
 * register, leaf and call that the engines ask about.
 *
 * KVM's para-virtual interface (Linux, Documentation/virt/kvm/x86/{cpuid,msr}.rst): its
 * signature in CPUID, its clock pages.  The time-stamp counter of every machine counts
 * nanoseconds, so that the clock's scale is one. */
#include <string.h>
#include <time.h>

#include "contract/cpu_x86.h"
#include "contract/mem.h"
#include "virt/monitor/private.h"

#define MSR_APIC_BASE 0x1bu
#define MSR_DEADLINE  0x6e0u
#define MSR_WALL_OLD  0x11u
#define MSR_TIME_OLD  0x12u
#define MSR_WALL      0x4b564d00u
#define MSR_TIME      0x4b564d01u

#define LEAF_FEATURE_BITS  1u /* ECX of it: */
#define FEATURE_MONITOR    (1u << 3)
#define FEATURE_HYPERVISOR (1u << 31)

#define LEAF_SIGNATURE 0x40000000u
#define LEAF_FEATURES  0x40000001u
#define LEAF_TOPOLOGY  0xbu

#define KVM_CLOCK        (1u << 0)
#define KVM_NO_IO_DELAY  (1u << 1)
#define KVM_CLOCK_2      (1u << 3)
#define KVM_MSI_DEST     (1u << 15)
#define KVM_CLOCK_STABLE (1u << 24)

/* ---- clocks ---- */

struct time_page {
    uint32_t version; /* odd while it changes */
    uint32_t pad;
    uint64_t tsc;
    uint64_t system_ns;
    uint32_t scale; /* of 2^32 */
    int8_t shift;
    uint8_t flags; /* 1: the same on all processors */
    uint8_t pad2[2];
};

struct wall_page {
    uint32_t version;
    uint32_t seconds;
    uint32_t ns;
};

static bool write_time(struct vcpu *v, uint64_t value)
{
    struct mem *mem = v->machine->mem;
    uint64_t at = value & ~UINT64_C(1);
    struct x86_regs r;
    struct time_page page = {
        .version = 2, .scale = UINT32_C(1) << 31, .shift = 1, .flags = 1};

    v->system_time = value;
    if ((value & 1) == 0) {
        return true;
    }
    cpu_get(v->cpu, &r);
    page.system_ns = board_now(v->machine->board);
    page.tsc = page.system_ns + r.msr.tsc_offset;
    return mem_write(mem, at, &page, sizeof page) == 0;
}

/* The time of day at which the board's time was 0. */
static bool write_wall(struct vcpu *v, uint64_t value)
{
    struct timespec t;
    uint64_t now = board_now(v->machine->board);
    uint64_t ns;
    struct wall_page page = {.version = 2};

    (void)clock_gettime(CLOCK_REALTIME, &t);
    ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec - now;
    page.seconds = (uint32_t)(ns / 1000000000u);
    page.ns = (uint32_t)(ns % 1000000000u);
    v->machine->wall_clock = value;
    return mem_write(v->machine->mem, value, &page, sizeof page) == 0;
}

/* ---- model-specific registers ---- */

static bool is_apic(uint32_t msr)
{
    return msr == MSR_APIC_BASE || msr == MSR_DEADLINE ||
           (msr >= LAPIC_X2APIC && msr < LAPIC_X2APIC + 0x100);
}

bool interpreter_read_msr(struct vcpu *v, uint32_t msr, uint64_t *ret)
{
    bool shows = !v->machine->options.hides;

    if (is_apic(msr)) {
        return lapic_read_msr(&v->lapic, msr, ret);
    }
    switch (msr) {
    case MSR_TIME:
    case MSR_TIME_OLD:
        *ret = v->system_time;
        return shows;
    case MSR_WALL:
    case MSR_WALL_OLD:
        *ret = v->machine->wall_clock;
        return shows;
    default:
        return false;
    }
}

bool interpreter_write_msr(struct vcpu *v, uint32_t msr, uint64_t value)
{
    bool shows = !v->machine->options.hides;

    if (is_apic(msr)) {
        return lapic_write_msr(&v->lapic, msr, value);
    }
    switch (msr) {
    case MSR_TIME:
    case MSR_TIME_OLD:
        return shows && write_time(v, value);
    case MSR_WALL:
    case MSR_WALL_OLD:
        return shows && write_wall(v, value);
    default:
        return false;
    }
}

uint64_t interpreter_hypercall(struct vcpu *v, uint64_t number)
{
    (void)v;
    (void)number;
    return (uint64_t)-1000; /* KVM_ENOSYS */
}

/* ---- CPUID ---- */

void interpreter_cpuid(void *who, struct cpu *c, uint32_t leaf, uint32_t subleaf,
                       uint32_t ret[4])
{
    struct machine *m = who;

    if (leaf == LEAF_FEATURE_BITS) {
        ret[2] &=
            ~FEATURE_MONITOR; /* MWAIT returns at once: who idles by it never rests */
    }
    if (m->options.hides) {
        if (leaf == LEAF_FEATURE_BITS) {
            ret[2] &= ~FEATURE_HYPERVISOR;
        }
        return;
    }
    switch (leaf) {
    case LEAF_TOPOLOGY:
        ret[2] = subleaf;
        ret[3] = c->index;
        break;
    case LEAF_SIGNATURE:
        ret[0] = LEAF_FEATURES;
        memcpy(&ret[1], "KVMK", 4);
        memcpy(&ret[2], "VMKV", 4);
        memcpy(&ret[3], "M\0\0\0", 4);
        break;
    case LEAF_FEATURES:
        ret[0] =
            KVM_CLOCK | KVM_CLOCK_2 | KVM_NO_IO_DELAY | KVM_MSI_DEST | KVM_CLOCK_STABLE;
        break;
    default:
        break;
    }
}
