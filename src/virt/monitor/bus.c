/* bus.c - messages on the interrupt bus find their local APICs. */
#include "virt/monitor/private.h"

static void deliver(struct vcpu *v, const struct apic_message *msg)
{
    switch (msg->mode) {
    case APIC_FIXED:
    case APIC_LOWEST:
        lapic_accept(&v->lapic, msg->vector, msg->is_level);
        break;
    case APIC_NMI:
        vcpu_kick(v, CPU_KICK_NMI);
        break;
    case APIC_INIT:
        atomic_fetch_or(&v->asks, VCPU_ASK_INIT);
        vcpu_kick(v, CPU_KICK_STOP);
        break;
    case APIC_STARTUP:
        atomic_store(&v->start_page, msg->vector);
        atomic_fetch_or(&v->asks, VCPU_ASK_START);
        vcpu_kick(v, CPU_KICK_STOP);
        break;
    default:
        break;
    }
}

void bus_send(void *who, const struct apic_message *msg)
{
    struct machine *m = who;

    for (unsigned i = 0; i < m->cpus; i++) {
        if (atomic_load(&m->vcpu[i].is_there) &&
            lapic_matches(&m->vcpu[i].lapic, msg->dest, msg->is_logical)) {
            deliver(&m->vcpu[i], msg);
            if (msg->mode == APIC_LOWEST) {
                return; /* one of them is enough */
            }
        }
    }
}

void bus_send_others(struct vcpu *from, const struct apic_message *msg, bool and_self)
{
    struct machine *m = from->machine;

    for (unsigned i = 0; i < m->cpus; i++) {
        if (atomic_load(&m->vcpu[i].is_there) && (and_self || &m->vcpu[i] != from)) {
            deliver(&m->vcpu[i], msg);
        }
    }
}
