/* exits.h - what guests leave their machine for, counted and by time.  A part of monitor.h. */
#ifndef VIRT_MONITOR_EXITS_H
#define VIRT_MONITOR_EXITS_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_counters;
struct err;
struct machine;

/* Where an exit of a guest goes. */
enum machine_route {
    MACHINE_ROUTE_PORT,     /* whoever claimed the port */
    MACHINE_ROUTE_MEMORY,   /* ... the address */
    MACHINE_ROUTE_APIC,     /* the vCPU's own local APIC */
    MACHINE_ROUTE_REGISTER, /* the routine of a model-specific register */
    MACHINE_ROUTE_CALL,     /* the routine of a hypercall */
    MACHINE_ROUTE_WAIT,     /* its thread rests */
    MACHINE_ROUTE_END,      /* the machine ends */
    MACHINE_ROUTE_NONE,     /* nothing is to be done */
    MACHINE_ROUTE_COUNT
};

#define MACHINE_EXITS_MOST    16
#define MACHINE_ROUTINES_MOST 16

/* What the guest did that left it: each exit once in either list. */
struct machine_exits {
    uint64_t by_kind[MACHINE_EXITS_MOST];
    uint64_t by_route[MACHINE_ROUTE_COUNT];
    uint64_t by_routine[MACHINE_ROUTINES_MOST]; /* which of them the interpreter used */

    /* Resources that the guest asked to change: places of devices, what goes. */
    uint64_t granted, refused;
};

/* Sums over the vCPUs.  Of one that runs: as it was a moment ago. */
void machine_count(const struct machine *m, struct cpu_counters *ret);
void machine_count_exits(const struct machine *m, struct machine_exits *ret);

/* A device that the guest asked, by ports or addresses, and how often.  False: there are no
 * more. */
struct machine_device {
    const char *name;
    uint64_t reads, writes;
};

bool machine_count_device(const struct machine *m, unsigned n,
                          struct machine_device *ret);

/* An exit when it was traced: nanoseconds since the trace began. */
struct machine_trace {
    uint64_t ns, address,
        value; /* port, physical address, number of a register or call */
    unsigned cpu, kind;
    enum machine_route way;
};

/* From now on the next `most` exits are kept; those from number `from` on, and how many there
 * were in all, kept or not; no more.  Each pauses the machine for a moment; one that ends has no exits to show. */
int machine_trace_begin(struct machine *m, uint32_t most, struct err *e);
uint64_t machine_trace_look(struct machine *m, uint32_t from, struct machine_trace *ret,
                            uint32_t most, uint32_t *ret_n);
void machine_trace_end(struct machine *m);

const char *machine_exit_name(unsigned kind); /* "port read"; NULL: no more */
const char *machine_route_name(enum machine_route way);
const char *machine_routine_name(unsigned n); /* "APIC base"; NULL: no more */

#endif
