/* plug_test.c - the registers of what is plugged into a machine that runs, as QEMU's
 * documents describe them; whatever a guest stores, only what was asked back goes.
 * rows: OPS-04 FV-14 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "host/loop/loop.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/dev/power.h"
#include "virt/monitor/plug/plug.h"

#define SELECTOR PLUG_CPUS_PORT
#define STATUS   (PLUG_CPUS_PORT + 4)
#define COMMAND  (PLUG_CPUS_PORT + 5)
#define DATA     (PLUG_CPUS_PORT + 8)

struct bench {
    struct loop *loop;
    struct board *board;
    struct dev *power, *cpus, *memory, *slots;
    uint64_t there; /* as the machine was told */
    unsigned changes, leaves;
};

static void on_change(void *who, unsigned index, bool is_there)
{
    struct bench *b = who;

    b->changes++;
    b->there =
        is_there ? b->there | UINT64_C(1) << index : b->there & ~(UINT64_C(1) << index);
}

static void on_off(void *who)
{
    (void)who;
}

static int set_up(void **state)
{
    static struct bench b;
    const struct power_config power = {.off = on_off};
    struct plug_cpus_config cpus = {.cpus = 2, .most = 5, .change = on_change, .who = &b};

    memset(&b, 0, sizeof b);
    b.there = 3;
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &b.loop, NULL), 0);
    assert_int_equal(board_create(b.loop, &b.board, NULL), 0);
    assert_int_equal(dev_create(&dev_power, b.board, &power, &b.power, NULL), 0);
    cpus.power = b.power;
    assert_int_equal(dev_create(&dev_plug_cpus, b.board, &cpus, &b.cpus, NULL), 0);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    dev_destroy(b->slots);
    dev_destroy(b->memory);
    dev_destroy(b->cpus);
    dev_destroy(b->power);
    board_destroy(b->board);
    loop_destroy(b->loop);
    return 0;
}

static void out(struct bench *b, unsigned port, unsigned bytes, uint32_t v)
{
    board_write(b->board, BOARD_PORTS, port, bytes, v);
}

static uint32_t in(struct bench *b, unsigned port, unsigned bytes)
{
    return (uint32_t)board_read(b->board, BOARD_PORTS, port, bytes);
}

/* Whether that general event came; it is cleared. */
static bool came(struct bench *b, unsigned event)
{
    bool is = (in(b, POWER_GPE_PORT, 2) >> event & 1) != 0;

    out(b, POWER_GPE_PORT, 2, 1u << event);
    return is;
}

static uint32_t select_cpu(struct bench *b, uint32_t n)
{
    out(b, SELECTOR, 4, n);
    return in(b, STATUS, 1);
}

/* "Detecting" and "Enumerate CPUs" of the document, word by word. */
static void the_interface_is_found_and_counts_its_processors(void **state)
{
    struct bench *b = *state;
    unsigned there = 0;
    uint32_t i = 0;

    out(b, SELECTOR, 4, 0);
    out(b, COMMAND, 1, 0);
    assert_int_equal(in(b, SELECTOR, 4), 0);
    do {
        there += in(b, STATUS, 1) & 1;
        out(b, SELECTOR, 4, ++i);
    } while (in(b, DATA, 4) != 0);
    assert_int_equal(there, 2);
    assert_int_equal(i, 5);
    out(b, SELECTOR, 4, 3);
    out(b, COMMAND, 1, 3);
    assert_int_equal(in(b, DATA, 4), 3); /* its local APIC's number */
    assert_int_equal(in(b, SELECTOR, 4), 0);
}

static void one_that_comes_is_told_once(void **state)
{
    struct bench *b = *state;

    out(b, SELECTOR, 4, 0);
    out(b, COMMAND, 1, 0);
    assert_int_equal(in(b, STATUS, 1), 1); /* nobody has an event */
    plug_cpus_add(b->cpus, 3);
    assert_true(came(b, 2));
    assert_int_equal(plug_cpus_there(b->cpus), 0xb);
    out(b, COMMAND, 1, 0);
    assert_int_equal(in(b, DATA, 4), 3);
    assert_int_equal(in(b, STATUS, 1), 3);
    out(b, STATUS, 1, 4); /* another event: this one stays */
    assert_int_equal(in(b, STATUS, 1), 3);
    out(b, STATUS, 1, 2);
    assert_int_equal(in(b, STATUS, 1), 1);
    out(b, SELECTOR, 4, 0);
    out(b, COMMAND, 1, 0);
    assert_int_equal(in(b, DATA, 4), 0); /* no more of them */
    assert_int_equal(b->changes, 0);     /* who added it knows */
}

static void one_that_is_asked_for_goes_when_the_guest_says_so(void **state)
{
    struct bench *b = *state;

    plug_cpus_ask(b->cpus, 1);
    assert_true(came(b, 2));
    out(b, COMMAND, 1, 0);
    assert_int_equal(in(b, DATA, 4), 1);
    assert_int_equal(in(b, STATUS, 1), 5);
    out(b, STATUS, 1, 4);
    assert_int_equal(in(b, STATUS, 1), 1);
    assert_int_equal(b->there, 3); /* told is not gone */
    out(b, STATUS, 1, 8);
    assert_int_equal(in(b, STATUS, 1), 0);
    assert_int_equal(b->there, 1);
    out(b, STATUS, 1, 8);
    assert_int_equal(b->changes, 1);
}

static void only_what_was_asked_for_goes(void **state)
{
    struct bench *b = *state;

    for (uint32_t i = 0; i < 8; i++) { /* also the first, and what there is not */
        (void)select_cpu(b, i);
        out(b, STATUS, 1, 0xff);
    }
    assert_int_equal(b->changes, 0);
    plug_cpus_ask(b->cpus, 1);
    plug_cpus_keep(b->cpus);
    (void)select_cpu(b, 1);
    out(b, STATUS, 1, 8);
    assert_int_equal(b->changes, 0);
    assert_int_equal(plug_cpus_there(b->cpus), 3);
}

static void a_selector_of_nothing_reads_zeros_until_it_is_right(void **state)
{
    static const uint32_t rows[] = {5, 6, 63, 64, 65, 0x80000000, UINT32_MAX};
    struct bench *b = *state;

    plug_cpus_ask(b->cpus, 1);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(select_cpu(b, rows[i]), 0);
        out(b, COMMAND, 1, 0); /* ignored: nothing is selected by it */
        out(b, STATUS, 1, 0xff);
        for (unsigned port = 0; port < PLUG_CPUS_BYTES; port++) {
            assert_int_equal(in(b, SELECTOR + port, 1), 0);
        }
    }
    assert_int_equal(select_cpu(b, 1), 5);
    assert_int_equal(b->changes, 0);
}

static void a_reset_ends_the_waiting(void **state)
{
    struct bench *b = *state;

    plug_cpus_ask(b->cpus, 1);
    plug_cpus_add(b->cpus, 4);
    board_lock(b->board);
    b->cpus->class->reset(b->cpus);
    board_unlock(b->board);
    assert_int_equal(plug_cpus_there(b->cpus), 0x11);
    assert_int_equal(b->there, 1); /* 4 was the machine's own doing */
    assert_int_equal(select_cpu(b, 4), 1);
}

/* ---- memory ---- */

#define MEMORY PLUG_MEMORY_PORT
#define MIB    (UINT64_C(1) << 20)

static void start_memory(struct bench *b, uint64_t room, unsigned there)
{
    const struct plug_memory_config c = {
        .base = UINT64_C(0x140000000), .room = room, .there = there, .power = b->power};

    assert_int_equal(dev_create(&dev_plug_memory, b->board, &c, &b->memory, NULL), 0);
}

static uint64_t in_long(struct bench *b, unsigned port)
{
    return in(b, port, 4) | (uint64_t)in(b, port + 4, 4) << 32;
}

static void room_is_divided_into_few_slots_of_whole_steps(void **state)
{
    static const uint64_t rooms[] = {128 * MIB, 4096 * MIB, 4224 * MIB, 131072 * MIB};

    (void)state;
    assert_int_equal(plug_memory_slot(128 * MIB), 128 * MIB);
    assert_int_equal(plug_memory_slot(4224 * MIB), 256 * MIB);
    assert_int_equal(plug_memory_bytes(4224 * MIB, 16), 128 * MIB); /* what is left */
    assert_int_equal(plug_memory_bytes(4224 * MIB, 17), 0);
    assert_int_equal(plug_memory_count(4224 * MIB, 0), 0);
    assert_int_equal(plug_memory_count(4224 * MIB, 257 * MIB), 2);
    assert_int_equal(plug_memory_count(0, 0), 0);
    for (unsigned i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
        uint64_t sum = 0;

        assert_int_equal(plug_memory_slot(rooms[i]) % PLUG_MEMORY_STEP, 0);
        for (unsigned n = 0; n < PLUG_MEMORY_SLOTS; n++) {
            sum += plug_memory_bytes(rooms[i], n);
        }
        assert_int_equal(sum, rooms[i]);
    }
}

static void memory_that_comes_says_where_and_is_told_once(void **state)
{
    struct bench *b = *state;

    start_memory(b, 640 * MIB, 1);
    out(b, MEMORY, 4, 0);
    assert_int_equal(in(b, MEMORY + 0x14, 1), 1);
    out(b, MEMORY, 4, 1);
    assert_int_equal(in(b, MEMORY + 0x14, 1), 0);
    assert_int_equal(in_long(b, MEMORY + 8), 0);
    plug_memory_add(b->memory);
    assert_true(came(b, 3));
    assert_int_equal(in(b, MEMORY + 0x14, 1), 3);
    assert_int_equal(in_long(b, MEMORY), UINT64_C(0x148000000));
    assert_int_equal(in_long(b, MEMORY + 8), 128 * MIB);
    assert_int_equal(in(b, MEMORY + 0x10, 4), 0);
    out(b, MEMORY + 0x14, 1, 8); /* eject: memory stays */
    assert_int_equal(in(b, MEMORY + 0x14, 1), 3);
    out(b, MEMORY + 0x14, 1, 2);
    assert_int_equal(in(b, MEMORY + 0x14, 1), 1);
    assert_int_equal(plug_memory_there(b->memory), 2);
}

static void any_accesses_leave_memory_as_it_is(void **state)
{
    struct bench *b = *state;
    uint64_t v = 88172645463325252u;

    start_memory(b, 4096 * MIB, 3);
    for (unsigned i = 0; i < 200000; i++) {
        v ^= v << 13;
        v ^= v >> 7;
        v ^= v << 17;
        if ((v >> 20 & 1) != 0) {
            out(b, (unsigned)(MEMORY + v % PLUG_MEMORY_BYTES), 1u << (v >> 21 & 3) % 3,
                (uint32_t)(v >> 32) >> (v >> 24 & 31));
        } else {
            (void)in(b, (unsigned)(MEMORY + v % PLUG_MEMORY_BYTES),
                     1u << (v >> 21 & 3) % 3);
        }
        assert_int_equal(plug_memory_there(b->memory), 3);
    }
}

/* Any accesses of any width: what is there stays, and is one of those there is room for. */
static void any_accesses_change_nothing_that_was_not_asked_for(void **state)
{
    struct bench *b = *state;
    uint64_t v = 88172645463325252u;

    plug_cpus_ask(b->cpus, 1);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned port;

        v ^= v << 13;
        v ^= v >> 7;
        v ^= v << 17;
        port = (unsigned)(PLUG_CPUS_PORT + v % PLUG_CPUS_BYTES);
        if ((v >> 20 & 1) != 0) {
            out(b, port, 1u << (v >> 21 & 3) % 3, (uint32_t)(v >> 32) >> (v >> 24 & 31));
        } else {
            (void)in(b, port, 1u << (v >> 21 & 3) % 3);
        }
        assert_true((plug_cpus_there(b->cpus) | 2) == 3);
        assert_int_equal(plug_cpus_there(b->cpus), b->there);
    }
    assert_int_equal(b->there, 1); /* it was asked for, and somewhen ejected */
}

/* ---- slots of PCI ---- */

#define CAME   PLUG_SLOTS_PORT
#define WANTED (PLUG_SLOTS_PORT + 4)
#define EJECT  (PLUG_SLOTS_PORT + 8)
#define BUS    (PLUG_SLOTS_PORT + 16)

static void on_leave(void *who)
{
    ((struct bench *)who)->leaves++;
}

static void start_slots(struct bench *b, uint32_t there)
{
    const struct plug_slots_config c = {.slots = 0x3f000000,
                                        .there = there,
                                        .power = b->power,
                                        .leave = on_leave,
                                        .who = b};

    assert_int_equal(dev_create(&dev_plug_slots, b->board, &c, &b->slots, NULL), 0);
}

/* "Slot injection notification pending", which the document's guest reads once. */
static void a_function_that_comes_is_told_once(void **state)
{
    struct bench *b = *state;

    start_slots(b, 0);
    assert_int_equal(in(b, CAME, 4), 0);
    assert_int_equal(in(b, PLUG_SLOTS_PORT + 12, 4), 0x3f000000);
    plug_slots_add(b->slots, 25);
    assert_true(came(b, 1));
    out(b, BUS, 4, 1); /* of another bus nothing is told */
    assert_int_equal(in(b, CAME, 4), 0);
    out(b, BUS, 4, 0);
    assert_int_equal(in(b, CAME, 1), 0); /* it is no byte */
    assert_int_equal(in(b, CAME, 4), 1u << 25);
    assert_int_equal(in(b, CAME, 4), 0);
    assert_int_equal(plug_slots_there(b->slots), 1u << 25);
}

static void a_function_goes_when_it_was_asked_for_and_let_go_of(void **state)
{
    struct bench *b = *state;

    start_slots(b, 3u << 24);
    out(b, EJECT, 4, UINT32_MAX); /* nobody asked */
    assert_int_equal(b->leaves, 0);
    plug_slots_ask(b->slots, 24);
    assert_true(came(b, 1));
    assert_int_equal(in(b, WANTED, 4), 1u << 24);
    plug_slots_keep(b->slots, 24);
    assert_int_equal(in(b, WANTED, 4), 0);
    out(b, EJECT, 4, 1u << 24); /* too late */
    assert_int_equal(b->leaves, 0);
    plug_slots_ask(b->slots, 24);
    plug_slots_ask(b->slots, 26); /* nothing is there */
    assert_int_equal(in(b, WANTED, 4), 1u << 24);
    out(b, EJECT, 4, 1u << 25);
    out(b, EJECT, 1, 1u << 24);
    assert_int_equal(b->leaves, 0);
    out(b, EJECT, 4, 1u << 24);
    assert_int_equal(b->leaves, 1);
    assert_int_equal(plug_slots_left(b->slots), 1u << 24);
    out(b, EJECT, 4, 1u << 24);
    assert_int_equal(b->leaves, 1);
    plug_slots_gone(b->slots, 24);
    assert_int_equal(plug_slots_there(b->slots), 1u << 25);
    assert_int_equal(plug_slots_left(b->slots), 0);
}

static void a_reset_takes_what_was_asked_for(void **state)
{
    struct bench *b = *state;

    start_slots(b, 3u << 24);
    plug_slots_add(b->slots, 27);
    plug_slots_ask(b->slots, 25);
    out(b, BUS, 4, 7);
    board_lock(b->board);
    b->slots->class->reset(b->slots);
    board_unlock(b->board);
    assert_int_equal(plug_slots_left(b->slots), 1u << 25);
    assert_int_equal(b->leaves, 1);
    assert_int_equal(in(b, BUS, 4), 0);
    assert_int_equal(in(b, CAME, 4), 0); /* it is found anyway */
    assert_int_equal(in(b, WANTED, 4), 0);
}

static void any_accesses_leave_functions_that_nobody_asked_for(void **state)
{
    struct bench *b = *state;
    uint64_t v = 88172645463325252u;

    start_slots(b, 0x3f000000);
    plug_slots_ask(b->slots, 28);
    for (unsigned i = 0; i < 200000; i++) {
        v ^= v << 13;
        v ^= v >> 7;
        v ^= v << 17;
        if ((v >> 20 & 1) != 0) {
            out(b, (unsigned)(PLUG_SLOTS_PORT + v % PLUG_SLOTS_BYTES),
                1u << (v >> 21 & 3) % 3, (uint32_t)(v >> 32) >> (v >> 24 & 31));
        } else {
            (void)in(b, (unsigned)(PLUG_SLOTS_PORT + v % PLUG_SLOTS_BYTES),
                     1u << (v >> 21 & 3) % 3);
        }
        assert_int_equal(plug_slots_left(b->slots) & ~(1u << 28), 0);
    }
    assert_int_equal(plug_slots_there(b->slots), 0x3f000000);
    assert_int_equal(b->leaves, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_interface_is_found_and_counts_its_processors),
        TEST(one_that_comes_is_told_once),
        TEST(one_that_is_asked_for_goes_when_the_guest_says_so),
        TEST(only_what_was_asked_for_goes),
        TEST(a_selector_of_nothing_reads_zeros_until_it_is_right),
        TEST(a_reset_ends_the_waiting),
        TEST(any_accesses_change_nothing_that_was_not_asked_for),
        TEST(room_is_divided_into_few_slots_of_whole_steps),
        TEST(memory_that_comes_says_where_and_is_told_once),
        TEST(any_accesses_leave_memory_as_it_is),
        TEST(a_function_that_comes_is_told_once),
        TEST(a_function_goes_when_it_was_asked_for_and_let_go_of),
        TEST(a_reset_takes_what_was_asked_for),
        TEST(any_accesses_leave_functions_that_nobody_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
