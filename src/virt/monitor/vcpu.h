/* vcpu.h - a virtual processor: its engine's half, its local APIC, its thread.
 *
 * Its fields belong to its own thread but for those that are atomic, and while it is
 * parked to the loop's. */
#ifndef VIRT_MONITOR_VCPU_H
#define VIRT_MONITOR_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "contract/cpu.h"
#include "virt/monitor/dev/lapic.h"
#include "virt/monitor/monitor.h"
#include "virt/monitor/pv/pv.h"

struct x86_regs;

enum vcpu_state {
    VCPU_RUNS,
    VCPU_WAITS /* for a startup message */
};

enum vcpu_ask {
    VCPU_ASK_INIT = 1,
    VCPU_ASK_START = 2,
    VCPU_ASK_POWER_ON = 4, /* as it was made, waiting */
};

/* How much it does, by spans of time (vcpu.c). */
struct vcpu_rest {
    uint64_t began_ns;  /* the span, of the board's time; 0: none yet */
    uint64_t halted_ns; /* of it */
    unsigned spans;     /* before it, in which it rested, as far as they matter */
    bool wants_trim;
};

struct vcpu {
    struct machine *machine;
    struct cpu *cpu; /* owned */
    unsigned index;
    struct lapic lapic;
    pthread_t thread;
    bool has_thread;
    _Atomic bool is_there; /* plugged in; else no message reaches it */
    timer_t timer;         /* of its local APIC; signals its thread */
    bool has_timer;
    uint64_t due_ns; /* what it is set to, of the board's time; 0: it is not */
    enum vcpu_state state;
    struct x86_regs *power_on;  /* owned: as the processor was made */
    _Atomic uint32_t wake;      /* futex: changes when there may be something to do */
    _Atomic bool is_waiting;    /* on `wake` */
    _Atomic uint32_t asks;      /* `enum vcpu_ask` */
    _Atomic uint8_t start_page; /* of the last startup message */
    struct pv_cpu pv;
    _Atomic bool is_held;     /* by the debugger: it stands while others run */
    struct machine_stop stop; /* what the debugger was not told yet, if `is_stopped` */
    bool is_stopped;          /* ... under the machine's lock */
    int untaken;              /* a vector that was taken and not delivered; -1: none */
    struct vcpu_rest rest;
    _Atomic uint64_t exits[CPU_EXIT_COUNT];       /* its thread's own; others look */
    _Atomic uint64_t routes[MACHINE_ROUTE_COUNT]; /* ... the same exits by their way */
    _Atomic uint64_t routines[MACHINE_ROUTINES_MOST]; /* interpreter.c's table */
};

/* vcpu.c */
int vcpu_init(struct vcpu *v, struct machine *m, unsigned index, struct err *e);
void vcpu_fini(struct vcpu *v);
int vcpu_start(struct vcpu *v, struct err *e);
void vcpu_join(struct vcpu *v);
void vcpu_reset(struct vcpu *v);                /* as it was made; while it is parked */
void vcpu_kick(struct vcpu *v, uint32_t kicks); /* from any thread, and signal handlers */
void vcpu_halt(struct vcpu *v);                 /* until there is something to do */
bool vcpu_has_work(struct vcpu *v);
bool vcpu_obey(struct vcpu *v);   /* what it was asked; whether it runs */
bool vcpu_leaves(struct vcpu *v); /* it has to go out of the guest */

/* bus.c: messages to local APICs. */
void bus_send(void *who, const struct apic_message *msg);
void bus_send_others(struct vcpu *from, const struct apic_message *msg, bool and_self);

#endif
