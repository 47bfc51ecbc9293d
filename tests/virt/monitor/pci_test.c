/* pci_test.c - the PCI bus does what its specification and the data sheets say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "host/loop/loop.h"
#include "tests/virt/monitor/snap_memory.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/pci/pci.h"

#define ECAM   UINT64_C(0xe0000000)
#define WINDOW UINT64_C(0xc0000000)
#define MOVED  UINT64_C(0xd0000000)
#define SLOT   3u

struct fake {
    struct pci_function f; /* first */
    unsigned reads, writes, written;
    uint64_t last_offset, last_value;
};

struct bench {
    struct loop *loop;
    struct board *board;
    struct dev *dev;
    struct pci_bus *bus;
    struct fake fake, other;
    unsigned sent, resets;
    struct apic_message last;
    uint32_t lines;
};

static void on_send(void *who, const struct apic_message *msg)
{
    struct bench *b = who;

    b->sent++;
    b->last = *msg;
}

static void on_reset(void *who)
{
    ((struct bench *)who)->resets++;
}

static void on_level(void *who, unsigned line, bool is_high)
{
    struct bench *b = who;

    b->lines = (b->lines & ~(UINT32_C(1) << line)) | (uint32_t)is_high << line;
}

static struct dev *make_bus(struct bench *b)
{
    const struct pci_config c = {.ecam = ECAM,
                                 .window_first = WINDOW,
                                 .window_last = ECAM - 1,
                                 .messages = {on_send, b},
                                 .reset = on_reset,
                                 .who = b};
    struct dev *d;

    assert_int_equal(dev_create(&dev_pci, b->board, &c, &d, NULL), 0);
    return d;
}

static int set_up(void **state)
{
    static struct bench b;
    const struct board_listener l = {on_level, &b};

    memset(&b, 0, sizeof b);
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &b.loop, NULL), 0);
    assert_int_equal(board_create(b.loop, &b.board, NULL), 0);
    assert_int_equal(board_listen(b.board, &l), 0);
    b.dev = make_bus(&b);
    b.bus = pci_bus_of(b.dev);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    dev_destroy(b->dev);
    board_destroy(b->board);
    loop_destroy(b->loop);
    return 0;
}

/* ---- accesses ---- */

static uint64_t in(struct bench *b, uint16_t port, unsigned bytes)
{
    return board_read(b->board, BOARD_PORTS, port, bytes);
}

static void out(struct bench *b, uint16_t port, unsigned bytes, uint64_t v)
{
    board_write(b->board, BOARD_PORTS, port, bytes, v);
}

static uint64_t get(struct bench *b, uint64_t at, unsigned bytes)
{
    return board_read(b->board, BOARD_MEMORY, at, bytes);
}

static void put(struct bench *b, uint64_t at, unsigned bytes, uint64_t v)
{
    board_write(b->board, BOARD_MEMORY, at, bytes, v);
}

static uint64_t config(unsigned slot, unsigned reg)
{
    return ECAM + (slot << 15) + reg;
}

/* ---- a function ---- */

static uint64_t fake_read(void *who, uint64_t offset, unsigned bytes)
{
    struct fake *f = who;

    (void)bytes;
    f->reads++;
    f->last_offset = offset;
    return 0x1122334455667788;
}

static void fake_write(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct fake *f = who;

    (void)bytes;
    f->writes++;
    f->last_offset = offset;
    f->last_value = v;
}

static void fake_written(struct pci_function *f, unsigned reg, unsigned bytes)
{
    (void)reg;
    (void)bytes;
    ((struct fake *)f)->written++;
}

static const struct board_io fake_io = {.read = fake_read, .write = fake_write};
static const struct pci_part fake_parts[2] = {{0, 0x1000, &fake_io},
                                              {0x2000, 0x1000, &fake_io}};
static const struct pci_part fake_port = {0, 32, &fake_io};

static void make_fake(struct fake *f)
{
    static const struct pci_function_ops ops = {.name = "fake", .written = fake_written};
    const struct pci_identity id = {.vendor = 0x1234,
                                    .device = 0x5678,
                                    .subsystem_vendor = 0x9abc,
                                    .subsystem = 0xdef0,
                                    .class = 0x020304,
                                    .revision = 5,
                                    .pin = 2};
    const struct pci_bar memory = {
        .kind = PCI_BAR_64, .bytes = 0x4000, .part = fake_parts, .parts = 2};
    const struct pci_bar ports = {
        .kind = PCI_BAR_PORTS, .bytes = 32, .part = &fake_port, .parts = 1};

    pci_function_init(&f->f, &ops, &id);
    pci_add_msix(&f->f, 1, 3);
    pci_add_bar(&f->f, 2, &memory);
    pci_add_bar(&f->f, 4, &ports);
    (void)pci_add_capability(&f->f, PCI_CAPABILITY_VENDOR, 18);
}

static void plug(struct bench *b, unsigned slot, struct fake *f)
{
    make_fake(f);
    board_lock(b->board);
    assert_int_equal(pci_add(b->bus, slot, &f->f, NULL), 0);
    board_unlock(b->board);
}

/* ---- ways to configuration space ---- */

static void both_ways_lead_to_the_same_bytes(void **state)
{
    struct bench *b = *state;

    out(b, 0xcf8, 4, 0xffffffff);
    assert_int_equal(in(b, 0xcf8, 4), 0x80fffffc);
    out(b, 0xcf8, 4, 0x80000000);
    assert_int_equal(in(b, 0xcfc, 4), 0x29c08086);
    assert_int_equal(in(b, 0xcfe, 2), 0x29c0);
    assert_int_equal(in(b, 0xcff, 1), 0x29);
    assert_int_equal(in(b, 0xcfd, 2), 0xc080);
    out(b, 0xcf8, 4, 0x8000f808);
    assert_int_equal(in(b, 0xcfc, 4), 0x06010002);
    assert_int_equal(get(b, config(31, 8), 4), 0x06010002);
    assert_int_equal(get(b, config(0, 0), 8), UINT64_C(0x29c08086));
    assert_int_equal(get(b, config(0, 0x100), 4), 0); /* no extended capabilities */
    out(b, 0xcf8, 4, 0x80000090);
    out(b, 0xcfd, 1, 0xff); /* PAM1 */
    assert_int_equal(get(b, config(0, 0x90), 4), 0x00003300);
    put(b, config(0, 0x92), 2, 0x1111);
    assert_int_equal(in(b, 0xcfc, 4), 0x11113300);
}

static void what_is_absent_reads_ones(void **state)
{
    struct bench *b = *state;

    out(b, 0xcf8, 4, 0x80000800); /* slot 1 */
    assert_int_equal(in(b, 0xcfc, 4), 0xffffffff);
    out(b, 0xcfc, 4, 0);
    out(b, 0xcf8, 4, 0x80010000); /* bus 1 */
    assert_int_equal(in(b, 0xcfc, 2), 0xffff);
    out(b, 0xcf8, 4, 0); /* not enabled */
    assert_int_equal(in(b, 0xcfc, 1), 0xff);
    assert_int_equal(get(b, config(1, 0), 4), 0xffffffff);
    assert_int_equal(get(b, config(1, 0), 8), UINT64_MAX);
    assert_int_equal(get(b, config(31, 0) + 0x1000, 4), 0xffffffff); /* function 1 */
    assert_int_equal(get(b, ECAM + 0x100000, 4), 0xffffffff);        /* bus 1 */
}

static void the_reset_port_lies_between(void **state)
{
    struct bench *b = *state;

    out(b, 0xcf8, 4, 0x80000400);
    out(b, 0xcf9, 1, 2);
    assert_int_equal(b->resets, 0);
    out(b, 0xcf9, 1, 6);
    assert_int_equal(b->resets, 1);
    assert_int_equal(in(b, 0xcf8, 4), 0x80000400);
    out(b, 0xcf8, 1, 0x55); /* not whole: not heard */
    assert_int_equal(in(b, 0xcf8, 4), 0x80000400);
}

/* ---- registers ---- */

struct reg {
    unsigned at, bytes;
    uint32_t reset, mask;
};

static void check_registers(struct bench *b, unsigned slot, const struct reg *r)
{
    uint8_t seen[256] = {0};

    for (; r->bytes != 0; r++) {
        uint64_t at = config(slot, r->at);

        assert_int_equal(get(b, at, r->bytes), r->reset);
        put(b, at, r->bytes, UINT32_MAX);
        assert_int_equal(get(b, at, r->bytes), r->reset | r->mask);
        put(b, at, r->bytes, 0);
        assert_int_equal(get(b, at, r->bytes), r->reset & ~r->mask);
        put(b, at, r->bytes, r->reset);
        memset(seen + r->at, 1, r->bytes);
    }
    for (unsigned at = 0; at < 256; at++) {
        if (seen[at] == 0) {
            put(b, config(slot, at), 1, 0xff);
            assert_int_equal(get(b, config(slot, at), 1), 0);
        }
    }
}

/* Intel 319967, 5.1, with what a Q35 of QEMU shows after its firmware. */
static void the_host_bridge_has_its_registers(void **state)
{
    static const struct reg regs[] = {
        {0x00, 4, 0x29c08086, 0}, {0x04, 2, 0, 0x407},
        {0x08, 4, 0x06000000, 0}, {0x0c, 1, 0, 0xff},
        {0x3c, 1, 0, 0xff},       {0x60, 1, 1, 1},
        {0x63, 1, 0xe0, 0xf0},    {0x64, 1, 0, 0x0f},
        {0x90, 1, 0, 0x30},       {0x91, 2, 0, 0x3333},
        {0x93, 4, 0, 0x333333},   {0x96, 1, 0, 0x33},
        {0x9d, 2, 0x3802, 0},     {0},
    };
    struct bench *b = *state;

    /* ECAM would move away under the test's feet: the ports reach PCIEXBAR. */
    struct reg other[16];
    unsigned n = 0;

    for (const struct reg *r = regs; r->bytes != 0; r++) {
        if (r->at < 0x60 || r->at > 0x64) {
            other[n++] = *r;
        }
    }
    other[n++] = (struct reg){0x60, 0, 0, 0};
    out(b, 0xcf8, 4, 0x80000060);
    assert_int_equal(in(b, 0xcfc, 4), 0xe0000001);
    out(b, 0xcfc, 4, 0xb0000001);
    assert_int_equal(board_read(b->board, BOARD_MEMORY, 0xb0000000, 4), 0x29c08086);
    assert_int_equal(get(b, ECAM, 4), 0xffffffff);
    out(b, 0xcfc, 4, 0xffffffff);
    assert_int_equal(in(b, 0xcfc, 4), 0xf0000001);
    out(b, 0xcfc, 4, 0);
    assert_int_equal(board_read(b->board, BOARD_MEMORY, 0xf0000000, 4), 0xffffffff);
    out(b, 0xcfc, 4, 0xe0000001);
    out(b, 0xcf8, 4, 0x80000064);
    out(b, 0xcfc, 4, 0xffffffff);
    assert_int_equal(in(b, 0xcfc, 4), 0x0f);
    out(b, 0xcfc, 4, 0);
    for (unsigned i = 0; i + 1 < n; i++) {
        const struct reg one[2] = {other[i], {0}};
        uint64_t at = config(0, one[0].at);

        assert_int_equal(
            get(b, at, one[0].bytes) &
                (one[0].bytes == 4 ? UINT32_MAX : (1u << one[0].bytes * 8) - 1),
            one[0].reset);
        put(b, at, one[0].bytes, UINT32_MAX);
        assert_int_equal(get(b, at, one[0].bytes) & one[0].mask, one[0].mask);
        put(b, at, one[0].bytes, one[0].reset);
    }
}

/* Intel 316972, 13.1. */
static void the_lpc_bridge_has_its_registers(void **state)
{
    static const struct reg regs[] = {
        {0x00, 4, 0x29188086, 0},
        {0x04, 2, 0, 0x407},
        {0x08, 4, 0x06010002, 0},
        {0x0c, 4, 0x00800000, 0xff},
        {0x3c, 1, 0, 0xff},
        {0x40, 4, 0x601, 0},
        {0x44, 1, 0x80, 0},
        {0x60, 4, 0x80808080, 0x8f8f8f8f},
        {0x68, 4, 0x80808080, 0x8f8f8f8f},
        {0xa0, 2, 0, 0xffff},
        {0xf0, 4, 0, 0xffffc001},
        {0},
    };

    check_registers(*state, 31, regs);
}

static void a_function_has_its_registers(void **state)
{
    static const struct reg regs[] = {
        {0x00, 4, 0x56781234, 0},
        {0x04, 2, 0, 0x407},
        {0x06, 2, 0x10, 0},
        {0x08, 4, 0x02030405, 0},
        {0x0c, 1, 0, 0xff},
        {0x14, 4, 0xc0000000, 0xfffff000},
        {0x18, 4, 0xc0004004, 0xffffc000},
        {0x1c, 4, 0, 0xffffffff},
        {0x20, 4, 0x1, 0xffffffe0},
        {0x2c, 4, 0xdef09abc, 0},
        {0x34, 1, 0x40, 0},
        {0x3c, 2, 0x0200, 0xff},
        {0x40, 4, 0x00024c11, 0xc0000000}, /* MSI-X: 3 vectors */
        {0x44, 4, 0x001, 0},
        {0x48, 4, 0x801, 0},
        {0x4c, 2, 0x0009, 0},
        {0},
    };
    struct bench *b = *state;

    plug(b, SLOT, &b->fake);
    assert_int_equal(pci_add(b->bus, SLOT, &b->other.f, NULL), -EBUSY);
    assert_int_equal(pci_add(b->bus, 32, &b->other.f, NULL), -EBUSY);
    check_registers(b, SLOT, regs);
    assert_true(b->fake.written > 100);
}

/* ---- base addresses ---- */

static void ranges_follow_the_registers(void **state)
{
    struct bench *b = *state;

    plug(b, SLOT, &b->fake);
    assert_int_equal(get(b, WINDOW + 0x4000, 4), 0xffffffff);
    put(b, config(SLOT, 4), 2, 2);
    assert_int_equal(get(b, WINDOW + 0x4010, 4), 0x55667788);
    assert_int_equal(b->fake.last_offset, 0x10);
    assert_int_equal(get(b, WINDOW + 0x5000, 4), 0xffffffff); /* between the parts */
    put(b, WINDOW + 0x6008, 4, 77);
    assert_int_equal(b->fake.last_offset, 8);
    assert_int_equal(b->fake.last_value, 77);

    /* Asked for its size while it is on, then moved, above 4 GiB, too. */
    put(b, config(SLOT, 0x18), 4, 0xffffffff);
    put(b, config(SLOT, 0x1c), 4, 0xffffffff);
    assert_int_equal(get(b, config(SLOT, 0x18), 8), UINT64_C(0xffffffffffffc004));
    assert_int_equal(get(b, WINDOW + 0x4010, 4), 0xffffffff);
    put(b, config(SLOT, 0x18), 8, UINT64_C(0x540000000));
    assert_int_equal(get(b, UINT64_C(0x540000000), 4), 0x55667788);
    put(b, config(SLOT, 0x1c), 4, 0);
    put(b, config(SLOT, 0x18), 4, MOVED + 0x1234);
    assert_int_equal(get(b, MOVED, 4), 0x55667788);
    put(b, config(SLOT, 4), 2, 0);
    assert_int_equal(get(b, MOVED, 4), 0xffffffff);

    assert_int_equal(in(b, 0xe000, 4), 0xffffffff);
    put(b, config(SLOT, 0x20), 4, 0xe000);
    put(b, config(SLOT, 4), 2, 1);
    assert_int_equal(in(b, 0xe000, 4), 0x55667788);
    assert_int_equal(in(b, 0xe020, 4), 0xffffffff);
}

static void a_range_that_is_taken_waits(void **state)
{
    struct bench *b = *state;
    unsigned before;

    plug(b, SLOT, &b->fake);
    plug(b, SLOT + 1, &b->other);
    put(b, config(SLOT, 0x18), 4, MOVED);
    put(b, config(SLOT + 1, 0x18), 4, MOVED);
    put(b, config(SLOT + 1, 4), 2, 2);
    put(b, config(SLOT, 4), 2, 2); /* comes second, gets nothing */
    before = b->other.reads;
    (void)get(b, MOVED, 4);
    assert_int_equal(b->other.reads, before + 1);
    put(b, config(SLOT + 1, 0x18), 4, ECAM); /* which is somebody else's */
    before = b->fake.reads;
    (void)get(b, MOVED, 4);
    assert_int_equal(b->fake.reads, before + 1);
    assert_int_equal(get(b, ECAM, 4), 0x29c08086);
    board_lock(b->board);
    pci_remove(&b->fake.f);
    pci_remove(&b->fake.f); /* twice: nothing */
    board_unlock(b->board);
    assert_int_equal(get(b, MOVED, 4), 0xffffffff);
    assert_int_equal(get(b, config(SLOT, 0), 4), 0xffffffff);
}

/* ---- MSI-X ---- */

#define TABLE WINDOW

static void message(struct bench *b, unsigned vector, uint8_t number)
{
    put(b, TABLE + vector * 16, 8, 0xfee03000);
    put(b, TABLE + vector * 16 + 8, 4, number);
    put(b, TABLE + vector * 16 + 12, 4, 0);
}

static void vectors_are_sent_or_kept(void **state)
{
    struct bench *b = *state;
    struct pci_function *f = &b->fake.f;

    plug(b, SLOT, &b->fake);
    put(b, config(SLOT, 4), 2, 6);
    assert_int_equal(get(b, TABLE + 12, 4), 1); /* masked at first */
    message(b, 0, 0x41);
    message(b, 2, 0x43);
    pci_send(f, 0);
    assert_int_equal(b->sent, 0); /* not switched on */
    put(b, config(SLOT, 0x42), 2, 0x8000);
    pci_send(f, 0);
    assert_int_equal(b->sent, 1);
    assert_int_equal(b->last.vector, 0x41);
    assert_int_equal(b->last.dest, 3);
    pci_send(f, 3); /* there is none */
    pci_send(f, 63);
    pci_send(f, 64);
    assert_int_equal(b->sent, 1);

    put(b, TABLE + 2 * 16 + 12, 4, 1);
    pci_send(f, 2);
    pci_send(f, 2);
    assert_int_equal(get(b, TABLE + 0x800, 8), 4);
    put(b, TABLE + 0x800, 8, 0);
    assert_int_equal(get(b, TABLE + 0x800, 4), 4);
    put(b, TABLE + 2 * 16 + 12, 4, 0);
    assert_int_equal(b->sent, 2);
    assert_int_equal(b->last.vector, 0x43);
    assert_int_equal(get(b, TABLE + 0x800, 8), 0);

    put(b, config(SLOT, 0x42), 2, 0xc000); /* all masked */
    pci_send(f, 0);
    assert_int_equal(b->sent, 2);
    put(b, config(SLOT, 0x42), 2, 0x8000);
    assert_int_equal(b->sent, 3);
    put(b, config(SLOT, 4), 2, 2); /* may not write to memory */
    pci_send(f, 0);
    assert_int_equal(b->sent, 3);
    put(b, config(SLOT, 4), 2, 6);
    assert_int_equal(b->sent, 4);

    put(b, TABLE, 8, 0x10000); /* no interrupt controller lies there */
    pci_send(f, 0);
    assert_int_equal(b->sent, 4);
}

static void the_table_takes_words(void **state)
{
    struct bench *b = *state;

    plug(b, SLOT, &b->fake);
    put(b, config(SLOT, 4), 2, 2);
    put(b, TABLE, 2, 0x1234);
    put(b, TABLE + 1, 4, 0x12345678);
    assert_int_equal(get(b, TABLE, 4), 0);
    put(b, TABLE, 8, UINT64_MAX);
    put(b, TABLE + 8, 8, UINT64_MAX);
    assert_int_equal(get(b, TABLE, 8), UINT64_C(0xfffffffffffffffc));
    assert_int_equal(get(b, TABLE + 8, 8), UINT64_C(0x1ffffffff));
    assert_int_equal(get(b, TABLE + 9, 1), 0xff);
    put(b, TABLE + 3 * 16, 4, 0xffffffff); /* behind its end */
    assert_int_equal(get(b, TABLE + 3 * 16, 4), 0);
}

/* ---- lines ---- */

static void lines_are_shared(void **state)
{
    struct bench *b = *state;
    uint32_t line = UINT32_C(1) << (16 + (SLOT + 1) % 8); /* pin B */

    plug(b, SLOT, &b->fake);
    plug(b, SLOT + 8, &b->other);
    board_lock(b->board);
    pci_set_line(&b->fake.f, true);
    assert_int_equal(b->lines, line);
    assert_int_equal(get(b, config(SLOT, 6), 2), 0x18);
    pci_set_line(&b->other.f, true);
    pci_set_line(&b->fake.f, false);
    assert_int_equal(b->lines, line);
    put(b, config(SLOT + 8, 4), 2, 0x400); /* it may not */
    assert_int_equal(b->lines, 0);
    assert_int_equal(get(b, config(SLOT + 8, 6), 2), 0x18);
    put(b, config(SLOT + 8, 4), 2, 0);
    assert_int_equal(b->lines, line);
    pci_remove(&b->other.f);
    assert_int_equal(b->lines, 0);
    board_unlock(b->board);
}

/* ---- state ---- */

static void a_reset_makes_all_as_it_was(void **state)
{
    struct bench *b = *state;

    plug(b, SLOT, &b->fake);
    put(b, config(SLOT, 4), 2, 6);
    put(b, config(SLOT, 0x18), 4, MOVED);
    message(b, 1, 9);
    out(b, 0xcf8, 4, 0x80000000);
    board_lock(b->board);
    pci_set_line(&b->fake.f, true);
    b->dev->class->reset(b->dev);
    board_unlock(b->board);
    assert_int_equal(in(b, 0xcf8, 4), 0);
    assert_int_equal(b->lines, 0);
    assert_int_equal(get(b, MOVED, 4), 0xffffffff);
    assert_int_equal(get(b, config(SLOT, 4), 4), 0x100000);
    assert_int_equal(get(b, config(SLOT, 0x18), 4), WINDOW + 0x4004);
    put(b, config(SLOT, 4), 2, 2);
    assert_int_equal(get(b, TABLE + 16 + 12, 4), 1);
    assert_int_equal(get(b, TABLE + 16, 8), 0);
}

static void state_is_carried(void **state)
{
    struct bench *b = *state;
    struct snap_memory s;

    plug(b, SLOT, &b->fake);
    put(b, config(SLOT, 0x18), 4, MOVED);
    put(b, config(SLOT, 4), 2, 6);
    put(b, config(SLOT, 0x42), 2, 0x8000);
    message(b, 1, 9);
    put(b, TABLE + 16 + 12, 4, 1);
    out(b, 0xcf8, 4, 0x80001800);
    board_lock(b->board);
    pci_send(&b->fake.f, 1);
    pci_set_line(&b->fake.f, true);
    board_unlock(b->board);
    snap_memory_write(&s);
    b->dev->class->carry(b->dev, &s.snap);
    assert_int_equal(snap_error(&s.snap), 0);

    board_lock(b->board);
    b->dev->class->reset(b->dev);
    board_unlock(b->board);
    assert_int_equal(b->lines, 0);
    snap_memory_read(&s);
    b->dev->class->carry(b->dev, &s.snap);
    assert_int_equal(snap_error(&s.snap), 0);
    assert_int_equal(in(b, 0xcf8, 4), 0x80001800);
    assert_int_equal(get(b, MOVED, 4), 0x55667788);
    assert_int_not_equal(b->lines, 0);
    assert_int_equal(get(b, TABLE + 0x800, 8), 2);
    b->sent = 0;
    put(b, TABLE + 16 + 12, 4, 0);
    assert_int_equal(b->sent, 1);
    assert_int_equal(b->last.vector, 9);

    /* Another machine's: refused.  Bytes that the guest cannot have written: too. */
    board_lock(b->board);
    pci_remove(&b->fake.f);
    board_unlock(b->board);
    snap_memory_read(&s);
    b->dev->class->carry(b->dev, &s.snap);
    assert_int_not_equal(snap_error(&s.snap), 0);
    plug(b, SLOT, &b->fake);
    for (size_t i = 0; i < s.count; i++) {
        s.bytes[i] ^= 0xff;
        snap_memory_read(&s);
        b->dev->class->carry(b->dev, &s.snap);
        assert_int_equal(get(b, config(SLOT, 0), 4), 0x56781234);
        assert_int_equal(get(b, config(SLOT, 0x3d), 1), 2);
        s.bytes[i] ^= 0xff;
    }
    snap_memory_fini(&s);
}

#define ONE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(both_ways_lead_to_the_same_bytes),
        ONE(what_is_absent_reads_ones),
        ONE(the_reset_port_lies_between),
        ONE(the_host_bridge_has_its_registers),
        ONE(the_lpc_bridge_has_its_registers),
        ONE(a_function_has_its_registers),
        ONE(ranges_follow_the_registers),
        ONE(a_range_that_is_taken_waits),
        ONE(vectors_are_sent_or_kept),
        ONE(the_table_takes_words),
        ONE(lines_are_shared),
        ONE(a_reset_makes_all_as_it_was),
        ONE(state_is_carried),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
