/* interpreter.c - what sensitive operations mean on this machine: one routine for each
 * register, leaf and call that the engines ask about, in one table, counted by its rows.
 * Registers of the local APIC are dev/lapic.c's, those of KVM's interface and the calls pv's. */
#include "virt/monitor/private.h"

#define FEATURE_MONITOR    (1u << 3) /* bits of leaf 1, ECX */
#define FEATURE_HYPERVISOR (1u << 31)
#define LEAF_TIMING        0x40000010u

#define APIC_KHZ 1000000u /* what its timer counts by */

/* ---- model-specific registers ---- */

static bool read_apic(struct vcpu *v, uint32_t msr, uint64_t *ret)
{
    pv_settle(&v->pv);
    return lapic_read_msr(&v->lapic, msr, ret);
}

static bool write_apic(struct vcpu *v, uint32_t msr, uint64_t value)
{
    pv_settle(&v->pv);
    pv_tick(&v->pv);
    return lapic_write_msr(&v->lapic, msr, value);
}

/* OVMF looks there which microcode fits. */
static bool read_platform(struct vcpu *v, uint32_t msr, uint64_t *ret)
{
    (void)v;
    (void)msr;
    *ret = 0;
    return true;
}

static bool write_platform(struct vcpu *v, uint32_t msr, uint64_t value)
{
    (void)v;
    (void)msr;
    (void)value;
    return false;
}

static bool read_pv(struct vcpu *v, uint32_t msr, uint64_t *ret)
{
    return pv_read(&v->pv, msr, ret);
}

static bool write_pv(struct vcpu *v, uint32_t msr, uint64_t value)
{
    return pv_write(&v->pv, msr, value);
}

/* ---- CPUID ---- */

/* MWAIT returns at once: who idles by it never rests. */
static void tell_features(const struct machine *m, const struct cpu *c,
                          const uint32_t leaf[2], uint32_t ret[4])
{
    (void)c;
    (void)leaf;
    ret[2] &= ~FEATURE_MONITOR;
    ret[2] &= m->options.hides ? ~FEATURE_HYPERVISOR : UINT32_MAX;
}

static void tell_topology(const struct machine *m, const struct cpu *c,
                          const uint32_t leaf[2], uint32_t ret[4])
{
    (void)m;
    ret[2] = (ret[2] & ~0xffu) | (leaf[1] & 0xff);
    ret[3] = c->index;
}

/* Hardware takes it once, when its processor is made. */
static void tell_timing(const struct machine *m, const struct cpu *c,
                        const uint32_t leaf[2], uint32_t ret[4])
{
    uint64_t hz;

    (void)cpu_tsc(c, m->clock_hz, &hz);
    if (leaf[0] == LEAF_TIMING) {
        ret[0] = (uint32_t)(hz / 1000);
        ret[1] = APIC_KHZ;
    } else if (hz == TIME_HZ) { /* one clock for both, which is told exactly */
        ret[0] = ret[1] = 1;
        ret[2] = (uint32_t)hz;
    } else {
        ret[0] = ret[1] = ret[2] = 0;
    }
}

static void tell_interface(const struct machine *m, const struct cpu *c,
                           const uint32_t leaf[2], uint32_t ret[4])
{
    (void)c;
    pv_cpuid(m->features, leaf[0], ret);
}

/* ---- the table ---- */

/* Which registers, with `read`, or leaves, with `tell`; neither: calls. */
static const struct routine {
    const char *name;
    uint32_t first, last;
    bool (*read)(struct vcpu *v, uint32_t msr, uint64_t *ret); /* false is #GP */
    bool (*write)(struct vcpu *v, uint32_t msr, uint64_t value);
    void (*tell)(const struct machine *m, const struct cpu *c, const uint32_t leaf[2],
                 uint32_t ret[4]); /* of that leaf and subleaf */
    bool is_mark;                  /* of a hypervisor: not on a machine that hides */
} routines[] = {
    {.name = "hypercall"},
    // clang-format off
    {"APIC deadline",     0x6e0,      0x6e0,      read_apic,     write_apic,     NULL, false},
    {"APIC registers",    0x800,      0x8ff,      read_apic,     write_apic,     NULL, false},
    {"APIC base",         0x1b,       0x1b,       read_apic,     write_apic,     NULL, false},
    {"platform",          0x17,       0x17,       read_platform, write_platform, NULL, false},
    {"clock, old number", 0x11,       0x12,       read_pv,       write_pv,       NULL, false},
    {"KVM's interface",   0x4b564d00, 0x4b564d0f, read_pv,       write_pv,       NULL, false},
    {"CPUID features",    1,          1,          NULL, NULL, tell_features,  false},
    {"CPUID topology",    0xb,        0xb,        NULL, NULL, tell_topology,  false},
    {"CPUID crystal",     0x15,       0x15,       NULL, NULL, tell_timing,    false},
    {"CPUID interface",   0x40000000, 0x4000000f, NULL, NULL, tell_interface, true},
    {"CPUID timing",      0x40000010, 0x40000010, NULL, NULL, tell_timing,    true},
    // clang-format on
};

#define ROUTINES ((unsigned)(sizeof routines / sizeof routines[0]))

_Static_assert(sizeof routines / sizeof routines[0] <= MACHINE_ROUTINES_MOST,
               "room for each routine");

const char *machine_routine_name(unsigned n)
{
    return n < ROUTINES ? routines[n].name : NULL;
}

static const struct routine *use(struct vcpu *v, const struct routine *r)
{
    count_routine(v, (unsigned)(r - routines));
    return r;
}

/* NULL: nobody knows that register. */
static const struct routine *find_register(struct vcpu *v, uint32_t msr)
{
    for (const struct routine *r = routines; r < routines + ROUTINES; r++) {
        if (r->read != NULL && msr >= r->first && msr <= r->last) {
            return use(v, r);
        }
    }
    return NULL;
}

bool interpreter_read_msr(struct vcpu *v, uint32_t msr, uint64_t *ret)
{
    const struct routine *r = find_register(v, msr);

    return r != NULL && r->read(v, msr, ret);
}

bool interpreter_write_msr(struct vcpu *v, uint32_t msr, uint64_t value)
{
    const struct routine *r = find_register(v, msr);

    return r != NULL && r->write(v, msr, value);
}

void interpreter_hypercall(struct vcpu *v, struct cpu_exit *x)
{
    const struct pv_call call = {.number = x->address,
                                 .arg = {x->arg[0], x->arg[1], x->arg[2], x->arg[3]},
                                 .cpl = x->cpl,
                                 .is_long = x->is_long};

    (void)use(v, &routines[0]);
    x->refused = v->machine->options.hides;
    x->value = (uint64_t)pv_call(&v->pv, &call);
}

void interpreter_cpuid(void *who, struct cpu *c, uint32_t leaf, uint32_t subleaf,
                       uint32_t ret[4])
{
    struct machine *m = who;
    const uint32_t which[2] = {leaf, subleaf};

    for (const struct routine *r = routines; r < routines + ROUTINES; r++) {
        if (r->tell != NULL && leaf >= r->first && leaf <= r->last &&
            !(r->is_mark && m->options.hides)) {
            use(&m->vcpu[c->index], r)->tell(m, c, which, ret);
        }
    }
}
