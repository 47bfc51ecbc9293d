/* count.c - what the vCPUs of a machine did, summed up. */
#include <string.h>

#include "contract/cpu.h"
#include "virt/monitor/private.h"

_Static_assert(CPU_EXIT_COUNT <= MACHINE_EXITS_MOST, "room for each kind of exit");

static void add_one(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter,
                          atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

void count_exit(struct vcpu *v, enum cpu_exit_kind kind, enum machine_route way)
{
    add_one(&v->exits[kind]);
    add_one(&v->routes[way]);
}

void count_routine(struct vcpu *v, unsigned n)
{
    add_one(&v->routines[n]);
}

void machine_count(const struct machine *m, struct cpu_counters *ret)
{
    uint64_t *sum = (uint64_t *)(void *)ret; /* a struct of nothing else */

    memset(ret, 0, sizeof *ret);
    for (unsigned i = 0; i < m->cpus; i++) {
        struct cpu_counters one;

        cpu_count(m->vcpu[i].cpu, &one);
        for (size_t n = 0; n < sizeof one / sizeof *sum; n++) {
            sum[n] += ((const uint64_t *)(const void *)&one)[n];
        }
    }
}

void machine_count_exits(const struct machine *m, struct machine_exits *ret)
{
    memset(ret, 0, sizeof *ret);
    board_count(m->board, &ret->granted, &ret->refused);
    for (unsigned i = 0; i < m->cpus; i++) {
        const struct vcpu *v = &m->vcpu[i];

        for (unsigned k = 0; k < CPU_EXIT_COUNT; k++) {
            ret->by_kind[k] += atomic_load_explicit(&v->exits[k], memory_order_relaxed);
        }
        for (unsigned k = 0; k < MACHINE_ROUTE_COUNT; k++) {
            ret->by_route[k] += atomic_load_explicit(&v->routes[k], memory_order_relaxed);
        }
        for (unsigned k = 0; k < MACHINE_ROUTINES_MOST; k++) {
            ret->by_routine[k] +=
                atomic_load_explicit(&v->routines[k], memory_order_relaxed);
        }
    }
}

bool machine_count_device(const struct machine *m, unsigned n, struct machine_device *ret)
{
    struct board_tally t;

    if (!board_tally(m->board, n, &t)) {
        return false;
    }
    *ret = (struct machine_device){t.name, t.reads, t.writes};
    return true;
}

const char *machine_exit_name(unsigned kind)
{
    static const char *const names[] = {
        [CPU_EXIT_IN] = "port read",
        [CPU_EXIT_OUT] = "port write",
        [CPU_EXIT_READ] = "memory read",
        [CPU_EXIT_WRITE] = "memory write",
        [CPU_EXIT_HALT] = "halt",
        [CPU_EXIT_SHUTDOWN] = "triple fault",
        [CPU_EXIT_MSR_READ] = "register read",
        [CPU_EXIT_MSR_WRITE] = "register write",
        [CPU_EXIT_TPR] = "task priority",
        [CPU_EXIT_EOI_WINDOW] = "interrupt window",
        [CPU_EXIT_HYPERCALL] = "hypercall",
        [CPU_EXIT_DEBUG] = "debug",
        [CPU_EXIT_KICKED] = "kicked",
        [CPU_EXIT_BUDGET] = "budget",
        [CPU_EXIT_PAUSE] = "pause",
    };

    _Static_assert(sizeof names / sizeof names[0] == CPU_EXIT_COUNT, "a name per kind");
    return kind < CPU_EXIT_COUNT ? names[kind] : NULL;
}

const char *machine_route_name(enum machine_route way)
{
    static const char *const names[MACHINE_ROUTE_COUNT] = {
        [MACHINE_ROUTE_PORT] = "device, by port",
        [MACHINE_ROUTE_MEMORY] = "device, by address",
        [MACHINE_ROUTE_APIC] = "local APIC",
        [MACHINE_ROUTE_REGISTER] = "register routine",
        [MACHINE_ROUTE_CALL] = "hypercall routine",
        [MACHINE_ROUTE_WAIT] = "wait",
        [MACHINE_ROUTE_END] = "end",
        [MACHINE_ROUTE_NONE] = "nothing to do",
    };

    return names[way];
}
