/* pv.c - the registers and leaves of KVM's interface; its state comes and goes. */
#include "virt/monitor/pv/pv.h"

#include <string.h>

#include "contract/snap.h"
#include "virt/monitor/pv/private.h"

#define MSR_WALL_OLD 0x11u
#define MSR_TIME_OLD 0x12u
#define MSR_WALL     0x4b564d00u
#define MSR_TIME     0x4b564d01u
#define MSR_STEAL    0x4b564d03u
#define MSR_EOI      0x4b564d04u

#define LEAF_SIGNATURE 0x40000000u
#define LEAF_FEATURES  0x40000001u
#define LEAF_LAST      0x40000010u /* frequencies, which the machine tells */

void pv_init(struct pv_cpu *p, const struct pv_host *h, const uint32_t *features)
{
    memset(p, 0, sizeof *p);
    p->host = *h;
    p->features = features;
}

void pv_reset(struct pv_cpu *p)
{
    p->system_time = p->steal_time = p->eoi = p->steal_ns = p->since_ns = 0;
    p->steal_place = p->eoi_place = (struct pv_place){NULL, 0};
    p->eoi_is_offered = false;
    atomic_store(&p->is_woken, false);
}

/* The register, and the feature that it belongs to. */
static uint64_t *find(struct pv_cpu *p, uint32_t msr, uint32_t *ret_feature)
{
    switch (msr) {
    case MSR_WALL_OLD:
    case MSR_WALL:
        *ret_feature = PV_CLOCK;
        return p->host.wall_clock;
    case MSR_TIME_OLD:
    case MSR_TIME:
        *ret_feature = PV_CLOCK;
        return &p->system_time;
    case MSR_STEAL:
        *ret_feature = PV_STEAL_TIME;
        return &p->steal_time;
    case MSR_EOI:
        *ret_feature = PV_EOI;
        return &p->eoi;
    default:
        return NULL;
    }
}

bool pv_read(struct pv_cpu *p, uint32_t msr, uint64_t *ret)
{
    uint32_t feature = 0;
    const uint64_t *at = find(p, msr, &feature);

    if (at == NULL || (*p->features & feature) == 0) {
        return false;
    }
    *ret = *at;
    return true;
}

bool pv_write(struct pv_cpu *p, uint32_t msr, uint64_t value)
{
    uint32_t feature = 0;

    if (find(p, msr, &feature) == NULL || (*p->features & feature) == 0) {
        return false;
    }
    switch (msr) {
    case MSR_WALL_OLD:
    case MSR_WALL:
        return pv_write_wall(p, value);
    case MSR_TIME_OLD:
    case MSR_TIME:
        return pv_write_time(p, value);
    case MSR_STEAL:
        return pv_write_steal(p, value);
    default:
        return pv_write_eoi(p, value);
    }
}

void pv_cpuid(uint32_t features, uint32_t leaf, uint32_t ret[4])
{
    if (leaf == LEAF_SIGNATURE) {
        ret[0] = LEAF_LAST;
        memcpy(&ret[1], "KVMK", 4);
        memcpy(&ret[2], "VMKV", 4);
        memcpy(&ret[3], "M\0\0\0", 4);
    } else if (leaf == LEAF_FEATURES) {
        ret[0] = features;
    }
}

void pv_wake(struct pv_cpu *p)
{
    atomic_store(&p->is_woken, true);
}

bool pv_takes_wake(struct pv_cpu *p)
{
    return atomic_load_explicit(&p->is_woken, memory_order_relaxed) &&
           atomic_exchange(&p->is_woken, false);
}

/* Places are looked for anew: the stream's numbers are not more to be trusted than the
 * guest's. */
static bool open_places(struct pv_cpu *p)
{
    uint64_t eoi = p->eoi;
    uint64_t steal = p->steal_time;
    bool was_offered = p->eoi_is_offered;

    p->eoi_place = p->steal_place = (struct pv_place){NULL, 0};
    p->eoi_is_offered = false;
    if (!pv_write_eoi(p, eoi) || !pv_open_steal(p, steal)) {
        return false;
    }
    p->eoi_is_offered = was_offered && p->eoi_place.host != NULL;
    return p->eoi_is_offered == was_offered;
}

void pv_carry(struct pv_cpu *p, struct snap *s)
{
    bool is_woken = atomic_load(&p->is_woken);

    SNAP_FIELD(s, p->system_time);
    SNAP_FIELD(s, p->steal_time);
    SNAP_FIELD(s, p->eoi);
    SNAP_FIELD(s, p->steal_ns);
    snap_bool(s, &p->eoi_is_offered);
    snap_bool(s, &is_woken);
    if (!s->is_loading) {
        return;
    }
    atomic_store(&p->is_woken, is_woken);
    if (snap_error(s) == 0 && !open_places(p)) {
        snap_refuse(s);
        pv_reset(p);
    }
}
