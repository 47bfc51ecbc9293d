/* pv_test.c - KVM's para-virtual interface as the Linux manual lays it out
 * (Documentation/virt/kvm/x86/{msr,cpuid,hypercalls}.rst). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "contract/mem.h"
#include "host/ram.h"
#include "virt/monitor/dev/apic.h"
#include "virt/monitor/dev/lapic.h"
#include "virt/monitor/pv/pv.h"

#define WALL  0x4b564d00u
#define TIME  0x4b564d01u
#define STEAL 0x4b564d03u
#define EOI   0x4b564d04u
#define RAM   (UINT64_C(1) << 20)
#define PAGE  0x3000u

struct bench {
    struct mem *mem;
    struct lapic lapic;
    struct pv_cpu pv;
    uint32_t features;
    uint64_t wall_clock, tsc, ns, hz, now;
    unsigned flushes, kicks, ended;
    uint32_t woken;
    struct apic_message sent[200];
    unsigned n_sent;
};

static void on_pair(void *who, uint64_t *ret_tsc, uint64_t *ret_ns, uint64_t *ret_hz)
{
    const struct bench *b = who;

    *ret_tsc = b->tsc;
    *ret_ns = b->ns;
    *ret_hz = b->hz;
}

static uint64_t on_now(void *who)
{
    return ((struct bench *)who)->now;
}

static uint64_t on_day(void *who)
{
    (void)who;
    return (uint64_t)time(NULL) * 1000000000u;
}

static void on_flush(void *who)
{
    ((struct bench *)who)->flushes++;
}

static void on_wake(void *who, uint32_t apic_id)
{
    ((struct bench *)who)->woken = apic_id;
}

static void on_send(void *who, const struct apic_message *msg)
{
    struct bench *b = who;

    b->sent[b->n_sent++] = *msg;
}

static void on_kick(void *who)
{
    ((struct bench *)who)->kicks++;
}

static void on_timer(void *who, uint64_t at_ns)
{
    (void)who;
    (void)at_ns;
}

static void on_eoi(void *who, uint8_t vector)
{
    ((struct bench *)who)->ended = vector;
}

static int set_up(void **state)
{
    static struct bench b;
    const struct lapic_host l = {
        .kick = on_kick, .timer = on_timer, .eoi = on_eoi, .now = on_now, .who = &b};
    struct pv_host h = {.pair = on_pair,
                        .now = on_now,
                        .day = on_day,
                        .flush = on_flush,
                        .wake = on_wake,
                        .send = on_send,
                        .who = &b,
                        .lapic = &b.lapic,
                        .wall_clock = &b.wall_clock};

    memset(&b, 0, sizeof b);
    b.features = PV_ALWAYS | PV_OF_MANY;
    b.hz = 1000000000u;
    assert_int_equal(ram_create(RAM_PRIVATE, &b.mem, NULL), 0);
    assert_int_equal(mem_add_ram(b.mem, 0, RAM, false, NULL), 0);
    h.mem = b.mem;
    lapic_init(&b.lapic, 0, &l);
    lapic_write(&b.lapic, 0xf0, 0x1ff);
    pv_init(&b.pv, &h, &b.features);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    mem_destroy(((struct bench *)*state)->mem);
    return 0;
}

static uint64_t load(struct bench *b, uint64_t at, unsigned bytes)
{
    uint64_t v = 0;

    assert_int_equal(mem_read(b->mem, at, &v, bytes), 0);
    return v;
}

static void store(struct bench *b, uint64_t at, uint64_t v, unsigned bytes)
{
    assert_int_equal(mem_write(b->mem, at, &v, bytes), 0);
}

/* As the manual's guest computes. */
static uint64_t guest_ns(struct bench *b, uint64_t at, uint64_t tsc)
{
    uint64_t delta = tsc - load(b, at + 8, 8);
    int8_t shift = (int8_t)load(b, at + 28, 1);

    delta = shift < 0 ? delta >> -shift : delta << shift;
    return (uint64_t)((unsigned __int128)delta * load(b, at + 24, 4) >> 32) +
           load(b, at + 16, 8);
}

static void a_clock_page_gives_the_machine_s_time(void **state)
{
    static const uint64_t rates[] = {1000000000, 2399998123, 999999, 100000000000,
                                     333333333};
    struct bench *b = *state;

    b->tsc = 1000000;
    b->ns = 5555;
    for (unsigned i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        uint64_t ns;

        b->hz = rates[i];
        assert_true(pv_write(&b->pv, TIME, PAGE | 1));
        assert_int_equal(load(b, PAGE, 4) & 1, 0);
        assert_int_equal(load(b, PAGE + 29, 1), 1); /* stable */
        ns = guest_ns(b, PAGE, b->tsc + 10 * b->hz);
        assert_in_range(ns, b->ns + 9999999980u, b->ns + 10000000020u);
    }
    assert_true(pv_read(&b->pv, 0x12, &b->now));
    assert_int_equal(b->now, PAGE | 1);
}

static void the_wall_clock_is_the_time_of_day_at_its_start(void **state)
{
    struct bench *b = *state;
    uint64_t today = (uint64_t)time(NULL);

    b->now = UINT64_C(100000000000);
    assert_true(pv_write(&b->pv, WALL, PAGE));
    assert_in_range(load(b, PAGE + 4, 4), today - 101, today - 98);
    assert_true(load(b, PAGE + 8, 4) < 1000000000u);
}

static void places_that_are_none_are_refused(void **state)
{
    static const struct {
        uint32_t msr;
        uint64_t value;
    } bad[] = {{TIME, RAM | 1},       {TIME, (RAM - 16) | 1}, {TIME, UINT64_MAX - 2},
               {TIME, PAGE | 3},      {TIME, 0xff1},          {WALL, PAGE | 1},
               {WALL, UINT64_MAX},    {STEAL, RAM | 1},       {STEAL, PAGE | 0x21},
               {STEAL, UINT64_MAX},   {EOI, RAM | 1},         {EOI, PAGE | 3},
               {EOI, 0xffe | 1},      {0x4b564d02, PAGE | 1}, {0x4b564d05, 0},
               {0x4b564d06, PAGE | 1}};
    struct bench *b = *state;
    uint64_t v;

    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(pv_write(&b->pv, bad[i].msr, bad[i].value));
    }
    assert_false(pv_read(&b->pv, 0x4b564d02, &v));
    b->features = 0;
    assert_false(pv_write(&b->pv, TIME, PAGE | 1));
    assert_false(pv_read(&b->pv, EOI, &v));
}

static int take(struct bench *b)
{
    int vector;

    pv_settle(&b->pv);
    vector = lapic_take(&b->lapic);
    if (vector >= 0) {
        pv_offer_eoi(&b->pv);
    }
    return vector;
}

static void an_interrupt_ends_by_its_bit(void **state)
{
    struct bench *b = *state;

    assert_true(pv_write(&b->pv, EOI, PAGE | 1));
    lapic_accept(&b->lapic, 0x41, false);
    assert_int_equal(take(b), 0x41);
    assert_int_equal(load(b, PAGE, 4), 1);
    store(b, PAGE, 0, 4); /* the guest's end of it */
    lapic_accept(&b->lapic, 0x31, false);
    assert_int_equal(take(b), 0x31); /* which 0x41 would hold back */

    /* The other way: the bit is withdrawn, the guest writes the register. */
    lapic_accept(&b->lapic, 0x22, false);
    assert_int_equal(take(b), LAPIC_NO_VECTOR);
    assert_int_equal(load(b, PAGE, 4), 0);
    lapic_eoi(&b->lapic);
    assert_int_equal(take(b), 0x22);
}

static void the_bit_is_not_for_levels_and_not_for_several(void **state)
{
    struct bench *b = *state;

    assert_true(pv_write(&b->pv, EOI, PAGE | 1));
    lapic_accept(&b->lapic, 0x41, true);
    assert_int_equal(take(b), 0x41);
    assert_int_equal(load(b, PAGE, 4), 0);
    lapic_eoi(&b->lapic);
    assert_int_equal(b->ended, 0x41);
    lapic_accept(&b->lapic, 0x41, false);
    lapic_accept(&b->lapic, 0x31, false);
    assert_int_equal(take(b), 0x41); /* 0x31 waits for its end */
    assert_int_equal(load(b, PAGE, 4), 0);
}

static void who_rests_finds_what_was_left_for_him(void **state)
{
    struct bench *b = *state;

    assert_true(pv_write(&b->pv, STEAL, PAGE | 1));
    assert_int_equal(load(b, PAGE + 16, 1), 0);
    pv_rest(&b->pv);
    assert_int_equal(load(b, PAGE + 16, 1), 1);
    pv_go_on(&b->pv);
    assert_int_equal(load(b, PAGE + 16, 1), 0);
    assert_int_equal(b->flushes, 0);
    pv_rest(&b->pv);
    store(b, PAGE + 16, 3, 1);
    pv_go_on(&b->pv);
    assert_int_equal(b->flushes, 1);
    assert_int_equal(load(b, PAGE + 8, 4) & 1, 0);
}

/* Asleep outside `pv_rest` is what a thread without a processor looks like. */
static void time_without_a_processor_is_stolen(void **state)
{
    struct bench *b = *state;
    struct timespec t = {.tv_nsec = 30000000};

    assert_true(pv_write(&b->pv, STEAL, PAGE | 1));
    (void)nanosleep(&t, NULL);
    pv_tick(&b->pv);
    assert_true(load(b, PAGE, 8) >= 20000000);
    store(b, PAGE, 0, 8);
    pv_rest(&b->pv);
    (void)nanosleep(&t, NULL);
    pv_go_on(&b->pv);
    pv_tick(&b->pv);
    assert_int_equal(load(b, PAGE, 8), 0);
}

static int64_t call(struct bench *b, uint64_t number, const uint64_t arg[4], uint8_t cpl)
{
    struct pv_call c = {.number = number, .cpl = cpl, .is_long = true};

    memcpy(c.arg, arg, sizeof c.arg);
    return pv_call(&b->pv, &c);
}

static void hypercalls_do_what_they_say(void **state)
{
    static const uint64_t ipi[4] = {UINT64_C(1) << 63 | 1, 2, 4, 0xfb};
    static const uint64_t kick[4] = {0, 9, 0, 0};
    static const uint64_t place[4] = {PAGE, 0, 0, 0};
    static const uint64_t nowhere[4] = {RAM, 0, 0, 0};
    static const uint64_t init[4] = {1, 0, 0, 0x500};
    static const uint64_t wide[4] = {1, 0, 0, 0x100fb};
    struct bench *b = *state;

    assert_int_equal(call(b, 10, ipi, 0), 3);
    assert_int_equal(b->sent[0].dest, 4);
    assert_int_equal(b->sent[1].dest, 67);
    assert_int_equal(b->sent[2].dest, 4 + 64 + 1);
    assert_int_equal(b->sent[2].vector, 0xfb);
    assert_int_equal(call(b, 10, ipi, 3), -1); /* not by users */
    assert_int_equal(call(b, 10, init, 0), -22);
    assert_int_equal(call(b, 10, wide, 0), -22);
    assert_int_equal(b->n_sent, 3);
    assert_int_equal(call(b, 5, kick, 0), 0);
    assert_int_equal(b->woken, 9);
    b->tsc = 1000;
    b->ns = 500;
    b->now = 700;
    assert_int_equal(call(b, 9, place, 0), 0);
    assert_int_equal(load(b, PAGE + 16, 8), 1200);
    assert_in_range(load(b, PAGE, 8), time(NULL) - 2, time(NULL));
    assert_int_equal(call(b, 9, nowhere, 0), -14);
    assert_int_equal(call(b, 9, kick, 0), -95);
    assert_int_equal(call(b, 77, kick, 0), -1000);
    b->features = PV_ALWAYS;
    assert_int_equal(call(b, 10, ipi, 0), -1000);
    assert_int_equal(call(b, 5, kick, 0), -1000);
}

static void leaves_tell_the_name_and_what_there_is(void **state)
{
    uint32_t v[4] = {0};

    (void)state;
    pv_cpuid(PV_CLOCK | PV_EOI, 0x40000000, v);
    assert_memory_equal(&v[1], "KVMKVMKVM\0\0\0", 12);
    assert_true(v[0] >= 0x40000001);
    memset(v, 0, sizeof v);
    pv_cpuid(PV_CLOCK | PV_EOI, 0x40000001, v);
    assert_int_equal(v[0], 1 | 1 << 6);
    assert_int_equal((PV_ALWAYS | PV_OF_MANY) & (1 << 4 | 1 << 10 | 1 << 14),
                     0); /* async PF */
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(a_clock_page_gives_the_machine_s_time),
        ONE(the_wall_clock_is_the_time_of_day_at_its_start),
        ONE(places_that_are_none_are_refused),
        ONE(an_interrupt_ends_by_its_bit),
        ONE(the_bit_is_not_for_levels_and_not_for_several),
        ONE(who_rests_finds_what_was_left_for_him),
        ONE(time_without_a_processor_is_stolen),
        ONE(hypercalls_do_what_they_say),
        ONE(leaves_tell_the_name_and_what_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
