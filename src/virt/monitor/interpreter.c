/* interpreter.c - what sensitive operations mean on this machine: one routine for each
 * register, leaf and call that the engines ask about.  Registers of the local APIC are
 * dev/lapic.c's, those of KVM's interface pv's. */
#include "virt/monitor/private.h"

#define MSR_PLATFORM  0x17u /* OVMF looks there which microcode fits */
#define MSR_APIC_BASE 0x1bu
#define MSR_DEADLINE  0x6e0u

#define LEAF_FEATURE_BITS  1u /* ECX of it: */
#define FEATURE_MONITOR    (1u << 3)
#define FEATURE_HYPERVISOR (1u << 31)

#define LEAF_TOPOLOGY   0xbu
#define LEAF_CRYSTAL    0x15u
#define LEAF_HYPERVISOR 0x40000000u
#define LEAF_TIMING     0x40000010u

#define APIC_KHZ 1000000u /* what its timer counts by */

/* ---- model-specific registers ---- */

static bool is_apic(uint32_t msr)
{
    return msr == MSR_APIC_BASE || msr == MSR_DEADLINE ||
           (msr >= LAPIC_X2APIC && msr < LAPIC_X2APIC + 0x100);
}

bool interpreter_read_msr(struct vcpu *v, uint32_t msr, uint64_t *ret)
{
    if (is_apic(msr)) {
        pv_settle(&v->pv);
        return lapic_read_msr(&v->lapic, msr, ret);
    }
    if (msr == MSR_PLATFORM) {
        *ret = 0;
        return true;
    }
    return pv_owns(msr) && pv_read(&v->pv, msr, ret);
}

bool interpreter_write_msr(struct vcpu *v, uint32_t msr, uint64_t value)
{
    if (is_apic(msr)) {
        pv_settle(&v->pv);
        pv_tick(&v->pv);
        return lapic_write_msr(&v->lapic, msr, value);
    }
    return pv_owns(msr) && pv_write(&v->pv, msr, value);
}

void interpreter_hypercall(struct vcpu *v, struct cpu_exit *x)
{
    const struct pv_call call = {.number = x->address,
                                 .arg = {x->arg[0], x->arg[1], x->arg[2], x->arg[3]},
                                 .cpl = x->cpl,
                                 .is_long = x->is_long};

    x->refused = v->machine->options.hides;
    x->value = (uint64_t)pv_call(&v->pv, &call);
}

/* ---- CPUID ---- */

/* Hardware takes it once, when its processor is made. */
static void tell_timing(const struct machine *m, const struct cpu *c, uint32_t leaf,
                        uint32_t ret[4])
{
    uint64_t hz;

    (void)cpu_tsc(c, m->clock_hz, &hz);
    if (leaf == LEAF_TIMING) {
        ret[0] = (uint32_t)(hz / 1000);
        ret[1] = APIC_KHZ;
    } else if (hz == TIME_HZ) { /* one clock for both, which is told exactly */
        ret[0] = ret[1] = 1;
        ret[2] = (uint32_t)hz;
    } else {
        ret[0] = ret[1] = ret[2] = 0;
    }
}

void interpreter_cpuid(void *who, struct cpu *c, uint32_t leaf, uint32_t subleaf,
                       uint32_t ret[4])
{
    struct machine *m = who;

    if (leaf == LEAF_FEATURE_BITS) {
        ret[2] &=
            ~FEATURE_MONITOR; /* MWAIT returns at once: who idles by it never rests */
        ret[2] &= m->options.hides ? ~FEATURE_HYPERVISOR : UINT32_MAX;
    } else if (leaf == LEAF_TOPOLOGY) {
        ret[2] = (ret[2] & ~0xffu) | (subleaf & 0xff);
        ret[3] = c->index;
    } else if (leaf == LEAF_CRYSTAL) {
        tell_timing(m, c, leaf, ret);
    } else if (leaf >= LEAF_HYPERVISOR && !m->options.hides) {
        if (leaf == LEAF_TIMING) {
            tell_timing(m, c, leaf, ret);
        } else {
            pv_cpuid(m->features, leaf, ret);
        }
    }
}
