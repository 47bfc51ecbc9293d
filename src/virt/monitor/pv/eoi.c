/* eoi.c - the end of an interrupt by a bit in memory (msr.rst, MSR_KVM_PV_EOI_EN).
 *
 * The bit is set when an edge-triggered interrupt is the only one in service and none waits
 * behind it: then its end has no other consequence.  Whoever looks at the local APIC
 * afterwards looks at the bit first. */
#include "contract/mem.h"
#include "virt/monitor/dev/lapic.h"
#include "virt/monitor/pv/private.h"

#define ENABLED  1u
#define RESERVED 2u

static uint32_t *word_of(struct pv_cpu *p)
{
    return (uint32_t *)(void *)p->eoi_place.host;
}

bool pv_write_eoi(struct pv_cpu *p, uint64_t value)
{
    struct pv_place place = {NULL, 0};

    if ((value & RESERVED) != 0 ||
        ((value & ENABLED) != 0 &&
         !pv_find_place(p->host.mem, value & ~(uint64_t)ENABLED, 4, &place))) {
        return false;
    }
    pv_settle(p);
    p->eoi = value;
    p->eoi_place = place;
    return true;
}

void pv_offer_eoi(struct pv_cpu *p)
{
    if (p->eoi_place.host == NULL || !lapic_serves_one(p->host.lapic)) {
        return;
    }
    pv_touch_place(p->host.mem, &p->eoi_place, 0, 4);
    (void)__atomic_fetch_or(word_of(p), 1, __ATOMIC_SEQ_CST);
    pv_touch_place(p->host.mem, &p->eoi_place, 0, 4);
    p->eoi_is_offered = true;
}

void pv_settle(struct pv_cpu *p)
{
    if (!p->eoi_is_offered) {
        return;
    }
    p->eoi_is_offered = false;
    pv_touch_place(p->host.mem, &p->eoi_place, 0, 4);
    if ((__atomic_fetch_and(word_of(p), ~1u, __ATOMIC_SEQ_CST) & 1) == 0) {
        lapic_eoi(p->host.lapic);
    }
    pv_touch_place(p->host.mem, &p->eoi_place, 0, 4);
}
