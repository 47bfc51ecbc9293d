/* call.c - hypercalls (hypercalls.rst). */
#include <sched.h>

#include "virt/monitor/dev/apic.h"
#include "virt/monitor/pv/private.h"

enum {
    CALL_POLL_IRQ = 1,
    CALL_KICK_CPU = 5,
    CALL_CLOCK_PAIRING = 9,
    CALL_SEND_IPI = 10,
    CALL_SCHED_YIELD = 11,
};

#define NO_RIGHT   (-1)    /* -KVM_EPERM */
#define NO_SUCH    (-1000) /* -KVM_ENOSYS */
#define BAD        (-22)   /* -KVM_EINVAL */
#define BITS_LONG  64u
#define BITS_SHORT 32u
#define ICR_KINDS  0x700u

/* Two words of bits from the lowest identifier on; of 32 bits each in legacy modes. */
static int64_t send_many(struct pv_cpu *p, const struct pv_call *c)
{
    unsigned width = c->is_long ? BITS_LONG : BITS_SHORT;
    struct apic_message msg = {.vector = (uint8_t)c->arg[3],
                               .mode = (uint8_t)(c->arg[3] >> 8 & 7)};
    int64_t sent = 0;

    if ((c->arg[3] & ~(uint64_t)(ICR_KINDS | 0xff)) != 0 ||
        (msg.mode != APIC_FIXED && msg.mode != APIC_NMI)) {
        return BAD;
    }
    for (unsigned word = 0; word < 2; word++) {
        for (uint64_t left = c->arg[word]; left != 0; left &= left - 1) {
            msg.dest =
                (uint32_t)c->arg[2] + word * width + (unsigned)__builtin_ctzll(left);
            p->host.send(p->host.who, &msg);
            sent++;
        }
    }
    return sent;
}

int64_t pv_call(struct pv_cpu *p, const struct pv_call *c)
{
    uint32_t has = *p->features;

    if (c->cpl != 0) {
        return NO_RIGHT;
    }
    if (c->number == CALL_POLL_IRQ) {
        return 0;
    }
    if (c->number == CALL_CLOCK_PAIRING && (has & PV_CLOCK_STABLE) != 0) {
        return pv_pair_clocks(p, c->arg[0], c->arg[1]);
    }
    if (c->number == CALL_KICK_CPU && (has & PV_UNHALT) != 0) {
        p->host.wake(p->host.who, (uint32_t)c->arg[1]);
        return 0;
    }
    if (c->number == CALL_SEND_IPI && (has & PV_SEND_IPI) != 0) {
        return send_many(p, c);
    }
    if (c->number == CALL_SCHED_YIELD && (has & PV_SCHED_YIELD) != 0) {
        (void)sched_yield();
        return 0;
    }
    return NO_SUCH;
}
