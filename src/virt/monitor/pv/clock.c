/* clock.c - what time it is, for a guest that reads its time-stamp counter (msr.rst). */
#include "contract/mem.h"
#include "virt/monitor/pv/private.h"

#define NS           1000000000u
#define NO_SUCH_KIND (-95) /* -KVM_EOPNOTSUPP */
#define NO_PLACE     (-14) /* -KVM_EFAULT */

struct time_page {
    uint32_t version; /* odd while it changes */
    uint32_t pad;
    uint64_t tsc;
    uint64_t system_ns;
    uint32_t scale; /* of 2^32 */
    int8_t shift;
    uint8_t flags; /* 1: the same on all processors */
    uint8_t pad2[2];
};

struct wall_page {
    uint32_t version;
    uint32_t seconds;
    uint32_t ns;
};

struct pair_page {
    int64_t seconds, ns;
    uint64_t tsc;
    uint32_t flags;
    uint32_t pad[9];
};

_Static_assert(sizeof(struct time_page) == 32, "as Linux has it");
_Static_assert(sizeof(struct pair_page) == 64, "as Linux has it");

/* ns = (cycles << shift) * scale / 2^32, with all the bits that a scale can have. */
static uint64_t scale_by(uint64_t hz, int shift)
{
    return (uint64_t)(((unsigned __int128)NS << (32 - shift)) / hz);
}

static void set_scale(uint64_t hz, struct time_page *page)
{
    int shift = 0;

    while (scale_by(hz, shift) > UINT32_MAX) {
        shift++;
    }
    while (scale_by(hz, shift) <= UINT32_MAX / 2) {
        shift--;
    }
    page->scale = (uint32_t)scale_by(hz, shift);
    page->shift = (int8_t)shift;
}

bool pv_write_time(struct pv_cpu *p, uint64_t value)
{
    struct time_page page = {.version = 2, .flags = 1};
    struct pv_place place;
    uint64_t hz;

    if ((value & 1) == 0) {
        p->system_time = value;
        return true;
    }
    if ((value & 2) != 0 ||
        !pv_find_place(p->host.mem, value & ~UINT64_C(1), sizeof page, &place)) {
        return false;
    }
    p->system_time = value;
    p->host.pair(p->host.who, &page.tsc, &page.system_ns, &hz);
    set_scale(hz, &page);
    return mem_write(p->host.mem, place.at, &page, sizeof page) == 0;
}

/* The time of day at which the machine's time was 0. */
bool pv_write_wall(struct pv_cpu *p, uint64_t value)
{
    struct wall_page page = {.version = 2};
    struct pv_place place;
    uint64_t ns;

    if ((value & 3) != 0 || !pv_find_place(p->host.mem, value, sizeof page, &place)) {
        return false;
    }
    ns = p->host.day(p->host.who) - p->host.now(p->host.who);
    page.seconds = (uint32_t)(ns / NS);
    page.ns = (uint32_t)(ns % NS);
    *p->host.wall_clock = value;
    return mem_write(p->host.mem, value, &page, sizeof page) == 0;
}

int64_t pv_pair_clocks(struct pv_cpu *p, uint64_t at, uint64_t kind)
{
    struct pair_page page = {.seconds = 0};
    uint64_t ns, hz, day;

    if (kind != 0) {
        return NO_SUCH_KIND;
    }
    p->host.pair(p->host.who, &page.tsc, &ns, &hz);
    day = p->host.day(p->host.who);
    page.tsc += (uint64_t)((unsigned __int128)(p->host.now(p->host.who) - ns) * hz / NS);
    page.seconds = (int64_t)(day / NS);
    page.ns = (int64_t)(day % NS);
    return mem_write(p->host.mem, at, &page, sizeof page) == 0 ? 0 : NO_PLACE;
}
