/* lapic.h - the local APIC of one vCPU: xAPIC registers, x2APIC, timer.
 *
 * Intel SDM (September 2023), volume 3A, chapter 11.
 *
 * Threads: all on the vCPU's own thread, but `lapic_accept`, which anyone may call, and
 * `lapic_matches`, which reads registers that only change rarely and tolerates both. */
#ifndef VIRT_MONITOR_DEV_LAPIC_H
#define VIRT_MONITOR_DEV_LAPIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virt/monitor/dev/apic.h"

struct snap;

#define LAPIC_BASE      UINT64_C(0xfee00000)
#define LAPIC_X2APIC    0x800u /* first MSR */
#define LAPIC_WORDS     8      /* of 32 vectors each */
#define LAPIC_NO_VECTOR (-1)

/* What a local APIC asks of its machine. */
struct lapic_host {
    void (*kick)(void *who); /* interrupts may be pending: ask `take` */
    void (*send)(void *who, const struct apic_message *msg); /* but to oneself */
    void (*send_others)(void *who, const struct apic_message *msg, bool and_self);
    void (*eoi)(void *who, uint8_t vector);   /* of a level-triggered one */
    void (*timer)(void *who, uint64_t at_ns); /* call `lapic_expire` then; 0: never */
    uint64_t (*now)(void *who);               /* nanoseconds */
    /* What the guest reads now, and its cycles a second. */
    uint64_t (*tsc)(void *who, uint64_t *ret_hz);
    void *who;
};

struct lapic {
    struct lapic_host host;
    uint32_t id;
    uint64_t base; /* IA32_APIC_BASE */
    uint32_t tpr, ldr, dfr, svr, esr, esr_seen, divide;
    uint64_t icr;
    uint32_t lvt[7]; /* `enum lapic_lvt` */
    uint32_t initial;
    bool is_counting;        /* towards the next interrupt of `initial` */
    uint64_t timer_start_ns; /* when the count was `initial` */
    uint64_t deadline;       /* TSC; 0: none */
    uint32_t isr[LAPIC_WORDS];
    _Atomic uint32_t irr[LAPIC_WORDS];
    _Atomic uint32_t tmr[LAPIC_WORDS];
    _Atomic bool is_expired; /* noted by a signal handler or timer */
};

void lapic_init(struct lapic *l, uint32_t id, const struct lapic_host *h);
void lapic_reset(struct lapic *l, bool is_init); /* INIT keeps base and identifier */

/* A register by its offset in the page; xAPIC mode only. */
uint32_t lapic_read(struct lapic *l, uint32_t offset);
void lapic_write(struct lapic *l, uint32_t offset, uint32_t value);

/* MSRs 0x800 to 0x8ff, IA32_APIC_BASE and IA32_TSC_DEADLINE; false: #GP. */
bool lapic_read_msr(struct lapic *l, uint32_t msr, uint64_t *ret);
bool lapic_write_msr(struct lapic *l, uint32_t msr, uint64_t value);

/* The physical address of its page; 0: it has none now. */
uint64_t lapic_page(const struct lapic *l);

void lapic_set_tpr(struct lapic *l, uint8_t cr8); /* 4 bits */

bool lapic_matches(const struct lapic *l, uint32_t dest, bool is_logical);
void lapic_accept(struct lapic *l, uint8_t vector, bool is_level);

/* The vector of highest priority that may interrupt now; it is in service afterwards. */
int lapic_take(struct lapic *l);
bool lapic_has_pending(struct lapic *l); /* `lapic_take` would give one */

/* One edge-triggered interrupt is in service, and none waits. */
bool lapic_serves_one(struct lapic *l);
bool lapic_takes_extint(const struct lapic *l);
bool lapic_takes_nmi(const struct lapic *l);

void lapic_expire(struct lapic *l); /* the timer's moment came; from any thread */
void lapic_eoi(struct lapic *l);

/* Registers, requests and the timer's place in time, which is the machine's. */
void lapic_carry(struct lapic *l, struct snap *s);

#endif
