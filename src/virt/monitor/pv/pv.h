/* pv.h - KVM's para-virtual interface, the same for every engine.
 *
 * Linux, Documentation/virt/kvm/x86/{cpuid,msr,hypercalls}.rst (6.1): what a guest that
 * knows its host need not ask the hardware for - the time, how long it did not run, that an
 * interrupt has ended - and what it would rather have done at once: many interrupts, another
 * processor's translations forgotten.
 *
 * A place in the guest's memory is checked once, when the guest names it; from then on it is
 * a pointer, and nothing that the guest stores there is believed to be more than a bit.
 *
 * Threads: one `struct pv_cpu` is its vCPU's thread's, but for `pv_wake`. */
#ifndef VIRT_MONITOR_PV_PV_H
#define VIRT_MONITOR_PV_PV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct apic_message;
struct lapic;
struct mem;
struct snap;

/* Bits of CPUID 0x40000001, EAX. */
enum pv_feature {
    PV_CLOCK = 1 << 0,
    PV_NO_IO_DELAY = 1 << 1,
    PV_CLOCK_2 = 1 << 3,
    PV_STEAL_TIME = 1 << 5,
    PV_EOI = 1 << 6,
    PV_UNHALT = 1 << 7,
    PV_FLUSH_TLB = 1 << 9,
    PV_SEND_IPI = 1 << 11,
    PV_SCHED_YIELD = 1 << 13,
    PV_MSI_DEST = 1 << 15,
    PV_CLOCK_STABLE = 1 << 24,
};

/* What every machine can show; what one of several processors has use for; and what of it
 * needs hypercalls, or an engine whose translations can be flushed. */
#define PV_ALWAYS                                                                        \
    (PV_CLOCK | PV_NO_IO_DELAY | PV_CLOCK_2 | PV_STEAL_TIME | PV_EOI | PV_MSI_DEST |     \
     PV_CLOCK_STABLE)
#define PV_OF_MANY  (PV_UNHALT | PV_FLUSH_TLB | PV_SEND_IPI | PV_SCHED_YIELD)
#define PV_BY_CALLS PV_OF_MANY

/* What it asks of its machine. */
struct pv_host {
    /* Some moment of the guest's time-stamp counter and of the machine's time; and the
     * machine's time now. */
    void (*pair)(void *who, uint64_t *ret_tsc, uint64_t *ret_ns, uint64_t *ret_hz);
    uint64_t (*now)(void *who);
    uint64_t (*day)(void *who); /* nanoseconds since 1970 */
    void (*flush)(void *who);   /* its own translations, before it goes on */
    void (*wake)(void *who, uint32_t apic_id); /* that processor, from its halt */
    void (*send)(void *who, const struct apic_message *msg);
    void *who; /* borrowed */
    struct mem *mem;
    struct lapic *lapic;
    uint64_t *wall_clock; /* the machine's register; borrowed */
};

struct pv_place {
    uint8_t *host; /* NULL: none */
    uint64_t at;
};

struct pv_cpu {
    struct pv_host host;
    const uint32_t *features; /* `enum pv_feature` bits of the machine; borrowed */
    uint64_t system_time, steal_time, eoi; /* as they were written */
    struct pv_place steal_place, eoi_place;
    bool eoi_is_offered;             /* its bit was set, and not looked at since */
    uint64_t steal_ns;               /* as the guest was told */
    uint64_t since_ns, since_cpu_ns; /* of the host, when it began to run; 0: it rests */
    _Atomic bool is_woken;           /* its next halt is none */
};

void pv_init(struct pv_cpu *p, const struct pv_host *h, const uint32_t *features);
void pv_reset(struct pv_cpu *p);

/* false: not a register of this interface, or #GP. */
bool pv_read(struct pv_cpu *p, uint32_t msr, uint64_t *ret);
bool pv_write(struct pv_cpu *p, uint32_t msr, uint64_t value);

/* Leaves 0x40000000, and the one behind it. */
void pv_cpuid(uint32_t features, uint32_t leaf, uint32_t ret[4]);

struct pv_call {
    uint64_t number, arg[4];
    uint8_t cpl;
    bool is_long; /* 64-bit mode */
};

int64_t pv_call(struct pv_cpu *p, const struct pv_call *c);

/* An interrupt is taken: whether the guest has ended the last by its bit is looked at
 * before, and it may end this one so.  `pv_settle` also before a register of the local APIC
 * is accessed. */
void pv_settle(struct pv_cpu *p);
void pv_offer_eoi(struct pv_cpu *p);

/* It stops to run, and goes on; and from time to time in between. */
void pv_rest(struct pv_cpu *p);
void pv_go_on(struct pv_cpu *p);
void pv_tick(struct pv_cpu *p);

/* From any thread; and whether somebody did, once. */
void pv_wake(struct pv_cpu *p);
bool pv_takes_wake(struct pv_cpu *p);

void pv_carry(struct pv_cpu *p, struct snap *s);

#endif
