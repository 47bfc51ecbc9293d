/* dispatcher.c - every exit of every vCPU enters here, and is routed.
 *
 * Ports and addresses go to whoever claimed them on the board, the page of the local APIC
 * to the vCPU's own, model-specific registers and hypercalls to the interpreter's routines,
 * halting to the vCPU's thread. */
#include <sched.h>

#include "virt/monitor/dev/ioapic.h"
#include "virt/monitor/dev/pic.h"
#include "virt/monitor/private.h"

static bool is_local(const struct vcpu *v, uint64_t at)
{
    return (at & ~UINT64_C(0xfff)) == lapic_page(&v->lapic) && lapic_page(&v->lapic) != 0;
}

static enum machine_route read_memory(struct vcpu *v, struct cpu_exit *x)
{
    if (is_local(v, x->address)) {
        pv_settle(&v->pv);
        x->value = lapic_read(&v->lapic, (uint32_t)x->address & 0xfff);
        return MACHINE_ROUTE_APIC;
    }
    x->value = board_read(v->machine->board, BOARD_MEMORY, x->address, x->bytes);
    return MACHINE_ROUTE_MEMORY;
}

static enum machine_route write_memory(struct vcpu *v, const struct cpu_exit *x)
{
    if (is_local(v, x->address)) {
        pv_settle(&v->pv);
        lapic_write(&v->lapic, (uint32_t)x->address & 0xfff, (uint32_t)x->value);
        return MACHINE_ROUTE_APIC;
    }
    board_write(v->machine->board, BOARD_MEMORY, x->address, x->bytes, x->value);
    return MACHINE_ROUTE_MEMORY;
}

static void shut_down(struct machine *m)
{
    if (m->options.shutdown_resets) {
        reset_ask(m);
    } else if (m->options.crashed != NULL) {
        reset_crash(m);
    } else {
        machine_finish(m, MACHINE_SHUTDOWN, 0);
    }
}

static enum machine_route route(struct vcpu *v, struct cpu_exit *x)
{
    struct machine *m = v->machine;

    switch (x->kind) {
    case CPU_EXIT_IN:
        x->value = board_read(m->board, BOARD_PORTS, x->address, x->bytes);
        return MACHINE_ROUTE_PORT;
    case CPU_EXIT_OUT:
        board_write(m->board, BOARD_PORTS, x->address, x->bytes, x->value);
        return MACHINE_ROUTE_PORT;
    case CPU_EXIT_READ:
        return read_memory(v, x);
    case CPU_EXIT_WRITE:
        return write_memory(v, x);
    case CPU_EXIT_MSR_READ:
        x->refused = !interpreter_read_msr(v, (uint32_t)x->address, &x->value);
        return MACHINE_ROUTE_REGISTER;
    case CPU_EXIT_MSR_WRITE:
        x->refused = !interpreter_write_msr(v, (uint32_t)x->address, x->value);
        return MACHINE_ROUTE_REGISTER;
    case CPU_EXIT_TPR:
        pv_settle(&v->pv);
        lapic_set_tpr(&v->lapic, (uint8_t)x->value);
        return MACHINE_ROUTE_APIC;
    case CPU_EXIT_HYPERCALL:
        interpreter_hypercall(v, x);
        return MACHINE_ROUTE_CALL;
    case CPU_EXIT_HALT:
        if (!m->options.is_deterministic) {
            vcpu_halt(v);
        }
        return MACHINE_ROUTE_WAIT;
    case CPU_EXIT_PAUSE:
        (void)sched_yield();
        return MACHINE_ROUTE_WAIT;
    case CPU_EXIT_DEBUG:
        debug_note(v, x);
        return MACHINE_ROUTE_WAIT;
    case CPU_EXIT_SHUTDOWN:
        shut_down(m);
        return MACHINE_ROUTE_END;
    default:
        return MACHINE_ROUTE_NONE;
    }
}

int dispatcher_enter(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct machine *m = who;
    struct vcpu *v = &m->vcpu[c->index];
    enum machine_route way;

    steps_reach(m);
    way = route(v, x);
    steps_note(m, x);
    count_exit(v, x->kind, way);
    tracer_note(v, x, way);
    return vcpu_leaves(v);
}

int dispatcher_take_interrupt(void *who, struct cpu *c)
{
    struct machine *m = who;
    struct vcpu *v = &m->vcpu[c->index];
    int vector = v->untaken;

    if (vector >= 0) {
        v->untaken = -1;
        return vector;
    }
    steps_reach(m);
    pv_settle(&v->pv);
    vector = lapic_take(&v->lapic);
    steps_shorten(m);
    if (vector < 0 && c->index == 0 && lapic_takes_extint(&v->lapic) &&
        pic_asks(m->pic)) {
        vector = pic_take(m->pic);
    } else if (vector >= 0) {
        pv_offer_eoi(&v->pv);
    }
    return vector;
}

void dispatcher_untake_interrupt(void *who, struct cpu *c, int vector)
{
    struct vcpu *v = &((struct machine *)who)->vcpu[c->index];

    v->untaken = vector;
    vcpu_kick(v, CPU_KICK_INTERRUPT);
}
