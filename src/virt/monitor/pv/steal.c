/* steal.c - how long a processor would have run, and did not (msr.rst).
 *
 * Stolen is the time between `pv_go_on` and `pv_rest` in which its thread had no processor of
 * the host.  The page also says whether the processor rests: others then do not send it
 * an interrupt to have its translations forgotten, but leave a bit, which it finds before it
 * goes on. */
#include <time.h>

#include "contract/mem.h"
#include "virt/monitor/pv/private.h"

#define PAGE_BYTES      64u
#define ENABLED         1u
#define RESERVED        0x3eu
#define AT_STEAL        0u
#define AT_VERSION      8u
#define AT_PREEMPTED    16u
#define PREEMPTED       1u
#define FLUSH           2u
#define UPDATE_EVERY_NS UINT64_C(10000000)

static uint64_t read_clock(clockid_t which)
{
    struct timespec t;

    (void)clock_gettime(which, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool is_on(const struct pv_cpu *p)
{
    return p->steal_place.host != NULL;
}

static void store_steal(struct pv_cpu *p)
{
    uint8_t *host = p->steal_place.host;
    uint32_t version =
        __atomic_load_n((uint32_t *)(void *)(host + AT_VERSION), __ATOMIC_RELAXED) | 1;

    pv_touch_place(p->host.mem, &p->steal_place, AT_STEAL, 16);
    __atomic_store_n((uint32_t *)(void *)(host + AT_VERSION), version, __ATOMIC_RELEASE);
    __atomic_store_n((uint64_t *)(void *)(host + AT_STEAL), p->steal_ns,
                     __ATOMIC_RELEASE);
    __atomic_store_n((uint32_t *)(void *)(host + AT_VERSION), version + 1,
                     __ATOMIC_RELEASE);
    pv_touch_place(p->host.mem, &p->steal_place, AT_STEAL, 16);
}

static uint8_t swap_preempted(struct pv_cpu *p, uint8_t value)
{
    uint8_t old;

    pv_touch_place(p->host.mem, &p->steal_place, AT_PREEMPTED, 1);
    old =
        __atomic_exchange_n(p->steal_place.host + AT_PREEMPTED, value, __ATOMIC_SEQ_CST);
    pv_touch_place(p->host.mem, &p->steal_place, AT_PREEMPTED, 1);
    return old;
}

static void begin(struct pv_cpu *p, uint64_t now)
{
    p->since_ns = now;
    p->since_cpu_ns = read_clock(CLOCK_THREAD_CPUTIME_ID);
}

/* Not often: the host is asked for what its thread got. */
static void settle(struct pv_cpu *p)
{
    uint64_t now = read_clock(CLOCK_MONOTONIC);
    uint64_t wall = now - p->since_ns;
    uint64_t got = p->since_cpu_ns;

    if (p->since_ns == 0 || wall < UPDATE_EVERY_NS) {
        return;
    }
    begin(p, now);
    got = p->since_cpu_ns - got;
    p->steal_ns += wall > got ? wall - got : 0;
    store_steal(p);
}

bool pv_open_steal(struct pv_cpu *p, uint64_t value)
{
    struct pv_place place = {NULL, 0};

    if ((value & RESERVED) != 0 ||
        ((value & ENABLED) != 0 &&
         !pv_find_place(p->host.mem, value & ~(uint64_t)ENABLED, PAGE_BYTES, &place))) {
        return false;
    }
    p->steal_time = value;
    p->steal_place = place;
    p->since_ns = 0;
    return true;
}

bool pv_write_steal(struct pv_cpu *p, uint64_t value)
{
    bool is_good = pv_open_steal(p, value);

    if (is_good && is_on(p)) {
        begin(p, read_clock(CLOCK_MONOTONIC));
        store_steal(p);
        (void)swap_preempted(p, 0);
    }
    return is_good;
}

void pv_tick(struct pv_cpu *p)
{
    if (is_on(p)) {
        settle(p);
    }
}

void pv_rest(struct pv_cpu *p)
{
    if (is_on(p)) {
        settle(p);
        p->since_ns = 0;
        (void)swap_preempted(p, PREEMPTED);
    }
}

void pv_go_on(struct pv_cpu *p)
{
    if (!is_on(p)) {
        return;
    }
    begin(p, read_clock(CLOCK_MONOTONIC));
    if ((swap_preempted(p, 0) & FLUSH) != 0) {
        p->host.flush(p->host.who);
    }
}
