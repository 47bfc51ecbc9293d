/* pv_fuzz.c - registers and hypercalls of KVM's interface by a guest that means harm: places
 * anywhere, stores behind the monitor's back, in any order.
 *
 * An input is steps of 16 bytes: what, which, and a number of 8 bytes. */
#include <assert.h>
#include <string.h>

#include "contract/mem.h"
#include "host/ram.h"
#include "tests/fuzz/target.h"
#include "virt/monitor/dev/apic.h"
#include "virt/monitor/dev/lapic.h"
#include "virt/monitor/pv/pv.h"

#define RAM_BYTES  (UINT64_C(64) << 10)
#define STEPS_MOST 64

static void on_pair(void *who, uint64_t *ret_tsc, uint64_t *ret_ns, uint64_t *ret_hz)
{
    *ret_tsc = 12345;
    *ret_ns = 678;
    *ret_hz = 1000000 + *(const uint32_t *)who;
}

static uint64_t on_now(void *who)
{
    return 1000 + *(const uint32_t *)who;
}

static void on_event(void *who)
{
    (void)who;
}

static void on_wake(void *who, uint32_t apic_id)
{
    (void)who;
    (void)apic_id;
}

static void on_send(void *who, const struct apic_message *msg)
{
    (void)who;
    assert(msg->mode == APIC_FIXED || msg->mode == APIC_NMI);
}

static void on_eoi(void *who, uint8_t vector)
{
    (void)who;
    assert(vector >= 16);
}

static void on_timer(void *who, uint64_t at_ns)
{
    (void)who;
    (void)at_ns;
}

static void step(struct pv_cpu *p, const uint8_t *in)
{
    uint64_t v;
    struct pv_call c = {.number = in[1] & 15, .cpl = in[2] & 3, .is_long = in[3] & 1};

    memcpy(&v, in + 8, 8);
    switch (in[0] & 7) {
    case 0:
    case 1:
        (void)pv_write(p, 0x4b564d00u + (in[1] & 15), v);
        break;
    case 2:
        (void)pv_read(p, in[1] & 1 ? 0x11u + (in[2] & 1) : 0x4b564d00u + (in[2] & 15),
                      &v);
        break;
    case 3:
        (void)mem_write(p->host.mem, v & (RAM_BYTES - 8), &v, 8);
        break;
    case 4:
        c.arg[0] = v;
        c.arg[1] = v >> (in[4] & 63);
        c.arg[2] = v * 3;
        c.arg[3] = in[5] | (uint64_t)in[6] << 8;
        (void)pv_call(p, &c);
        break;
    case 5:
        lapic_accept(p->host.lapic, in[1], (in[2] & 1) != 0);
        pv_settle(p);
        if (lapic_take(p->host.lapic) >= 0) {
            pv_offer_eoi(p);
        }
        break;
    case 6:
        pv_rest(p);
        pv_go_on(p);
        break;
    default:
        (void)mem_flag_page(p->host.mem, v & (RAM_BYTES - 1), MEM_CODE);
        pv_tick(p);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint32_t rate;
    static uint64_t wall;
    struct lapic lapic;
    struct mem *mem;
    struct pv_cpu pv;
    uint32_t features = PV_ALWAYS | PV_OF_MANY;
    const struct lapic_host l = {
        .kick = on_event, .timer = on_timer, .eoi = on_eoi, .now = on_now, .who = &rate};
    struct pv_host h = {.pair = on_pair,
                        .now = on_now,
                        .day = on_now,
                        .flush = on_event,
                        .wake = on_wake,
                        .send = on_send,
                        .who = &rate,
                        .lapic = &lapic,
                        .wall_clock = &wall};

    if (ram_create(RAM_PRIVATE, &mem, NULL) != 0 ||
        mem_add_ram(mem, 0, RAM_BYTES, false, NULL) != 0) {
        return 0;
    }
    h.mem = mem;
    rate = size > 4 ? data[4] * 1000003u : 0;
    lapic_init(&lapic, 0, &l);
    lapic_write(&lapic, 0xf0, 0x1ff);
    pv_init(&pv, &h, &features);
    for (size_t i = 0; i + 16 <= size && i / 16 < STEPS_MOST; i += 16) {
        step(&pv, data + i);
    }
    mem_destroy(mem);
    return 0;
}
