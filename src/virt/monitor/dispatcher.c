/* dispatcher.c - every exit of every vCPU enters here, and is routed.
 *
 * Ports and addresses go to whoever claimed them on the board, the page of the local APIC
 * to the vCPU's own, model-specific registers and hypercalls to the interpreter's routines,
 * halting to the vCPU's thread. */
#include "virt/monitor/dev/ioapic.h"
#include "virt/monitor/dev/pic.h"
#include "virt/monitor/private.h"

static bool is_local(const struct vcpu *v, uint64_t at)
{
    return (at & ~UINT64_C(0xfff)) == lapic_page(&v->lapic) && lapic_page(&v->lapic) != 0;
}

static uint64_t read_memory(struct vcpu *v, const struct cpu_exit *x)
{
    if (is_local(v, x->address)) {
        return lapic_read(&v->lapic, (uint32_t)x->address & 0xfff);
    }
    return board_read(v->machine->board, BOARD_MEMORY, x->address, x->bytes);
}

static void write_memory(struct vcpu *v, const struct cpu_exit *x)
{
    if (is_local(v, x->address)) {
        lapic_write(&v->lapic, (uint32_t)x->address & 0xfff, (uint32_t)x->value);
    } else {
        board_write(v->machine->board, BOARD_MEMORY, x->address, x->bytes, x->value);
    }
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

int dispatcher_enter(void *who, struct cpu *c, struct cpu_exit *x)
{
    struct machine *m = who;
    struct vcpu *v = &m->vcpu[c->index];

    switch (x->kind) {
    case CPU_EXIT_IN:
        x->value = board_read(m->board, BOARD_PORTS, x->address, x->bytes);
        break;
    case CPU_EXIT_OUT:
        board_write(m->board, BOARD_PORTS, x->address, x->bytes, x->value);
        break;
    case CPU_EXIT_READ:
        x->value = read_memory(v, x);
        break;
    case CPU_EXIT_WRITE:
        write_memory(v, x);
        break;
    case CPU_EXIT_MSR_READ:
        x->refused = !interpreter_read_msr(v, (uint32_t)x->address, &x->value);
        break;
    case CPU_EXIT_MSR_WRITE:
        x->refused = !interpreter_write_msr(v, (uint32_t)x->address, x->value);
        break;
    case CPU_EXIT_TPR:
        lapic_set_tpr(&v->lapic, (uint8_t)x->value);
        break;
    case CPU_EXIT_HYPERCALL:
        x->value = interpreter_hypercall(v, x->address);
        break;
    case CPU_EXIT_HALT:
        vcpu_halt(v);
        break;
    case CPU_EXIT_SHUTDOWN:
        shut_down(m);
        break;
    default:
        break;
    }
    return vcpu_leaves(v);
}

int dispatcher_take_interrupt(void *who, struct cpu *c)
{
    struct machine *m = who;
    struct vcpu *v = &m->vcpu[c->index];
    int vector = lapic_take(&v->lapic);

    if (vector < 0 && c->index == 0 && lapic_takes_extint(&v->lapic) &&
        pic_asks(m->pic)) {
        vector = pic_take(m->pic);
    }
    return vector;
}
