/* carry_test.c - what a device carries is all that its guest can tell: after any register
 * traffic a second one that was loaded from the first answers as the first does from then
 * on.  Registers of a processor: each byte of each field is in the stream. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chips.h"
#include "contract/cpu_x86.h"
#include "contract/snap.h"
#include "host/loop/loop.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/dev/lapic.h"
#include "virt/monitor/snap/regs.h"
#include "virt/monitor/snap/stream.h"

#define ROUNDS 300
#define STEPS  120

static const uint8_t id[STREAM_ID_BYTES] = {1};

/* ---- devices ---- */

struct bench {
    struct board *board;
    struct dev *dev;
};

struct range {
    enum board_space space;
    uint64_t base;
    unsigned bytes, width;
};

struct model {
    const struct chip_kind *kind;
    struct range range[5];
    uint64_t (*adjust)(const struct range *r, uint64_t offset, uint64_t value);
};

/* Registers of the time of day follow the host's clock: not those. */
static uint64_t not_the_time(const struct range *r, uint64_t offset, uint64_t value)
{
    (void)r;
    if (offset == 0) {
        value = 10 + value % 118;
        return value == 0x32 ? 0x33 : value;
    }
    return value;
}

static const struct model models[] = {
    {.kind = &chip_kinds[CHIP_PIC],
     .range = {{BOARD_PORTS, 0x20, 2, 1},
               {BOARD_PORTS, 0xa0, 2, 1},
               {BOARD_PORTS, 0x4d0, 2, 1}}},
    {.kind = &chip_kinds[CHIP_IOAPIC], .range = {{BOARD_MEMORY, IOAPIC_BASE, 0x50, 4}}},
    {.kind = &chip_kinds[CHIP_PIT],
     .range = {{BOARD_PORTS, 0x40, 4, 1}, {BOARD_PORTS, 0x61, 1, 1}}},
    {.kind = &chip_kinds[CHIP_RTC],
     .range = {{BOARD_PORTS, 0x70, 2, 1}},
     .adjust = not_the_time},
    {.kind = &chip_kinds[CHIP_POWER],
     .range = {{BOARD_PORTS, 0x600, 4, 2},
               {BOARD_PORTS, 0x604, 2, 2},
               {BOARD_PORTS, 0x608, 4, 4},
               {BOARD_PORTS, 0x620, 4, 2}}},
    {.kind = &chip_kinds[CHIP_SERIAL], .range = {{BOARD_PORTS, 0x3f8, 8, 1}}},
};

static struct loop *loop;

static void open_bench(struct bench *b, const struct model *m)
{
    assert_int_equal(board_create(loop, &b->board, NULL), 0);
    assert_int_equal(dev_create(m->kind->class, b->board, m->kind->config, &b->dev, NULL),
                     0);
}

static void close_bench(struct bench *b)
{
    dev_destroy(b->dev);
    board_destroy(b->board);
}

static void carry(struct bench *b, struct stream *s)
{
    board_lock(b->board);
    (void)snap_begin(&s->snap, "board", 1);
    board_carry(b->board, &s->snap);
    snap_end(&s->snap);
    (void)snap_begin(&s->snap, "device", 1);
    b->dev->class->carry(b->dev, &s->snap);
    snap_end(&s->snap);
    board_unlock(b->board);
}

static void save(struct bench *b, struct stream *s)
{
    stream_init(s, id);
    carry(b, s);
    assert_int_equal(stream_seal(s), 0);
}

static void same(const struct stream *a, const struct stream *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->bytes, b->bytes, a->count);
}

/* One thing that happens to both; they must answer alike. */
static void step(struct bench *const *b, unsigned count, const struct model *m)
{
    unsigned ranges = 0;
    const struct range *r;
    uint64_t offset;
    uint64_t value = (uint64_t)rand() << 31 ^ (uint64_t)rand();
    uint64_t answer[2] = {0, 0};
    unsigned what = (unsigned)rand() % 10;
    unsigned line = (unsigned)rand() % BOARD_LINES;

    while (ranges < 5 && m->range[ranges].bytes != 0) {
        ranges++;
    }
    r = &m->range[(unsigned)rand() % ranges];
    offset = (uint64_t)rand() % r->bytes & ~(uint64_t)(r->width - 1);
    if (m->kind->class == &dev_ioapic) {
        offset &= 0x10; /* select and window, most of the time */
        value = offset == 0 ? value % 0x40 : value;
    }
    value = m->adjust != NULL ? m->adjust(r, offset, value) : value;
    for (unsigned i = 0; i < count; i++) {
        if (what < 5) {
            board_write(b[i]->board, r->space, r->base + offset, r->width, value);
        } else if (what < 8) {
            answer[i] = board_read(b[i]->board, r->space, r->base + offset, r->width);
        } else if (what < 9) {
            board_lock(b[i]->board);
            board_line(b[i]->board, line, value & 1);
            board_unlock(b[i]->board);
        } else {
            board_set_now(b[i]->board, board_now(b[i]->board) + value % 5000000);
        }
    }
    if (count == 2) {
        assert_true(answer[0] == answer[1]);
    }
}

static void try_model(const struct model *m)
{
    struct bench a;
    struct bench c;
    struct bench *const both[2] = {&a, &c};
    struct stream first;
    struct stream second;
    unsigned before = (unsigned)rand() % STEPS;

    open_bench(&a, m);
    open_bench(&c, m);
    for (unsigned i = 0; i < before; i++) {
        step(both, 1, m);
    }
    for (unsigned i = (unsigned)rand() % STEPS; i > 0; i--) { /* it was used before */
        step(&both[1], 1, m);
    }
    save(&a, &first);
    stream_rewind(&first);
    carry(&c, &first);
    assert_int_equal(snap_error(&first.snap), 0);
    save(&c, &second);
    same(&first, &second);
    stream_fini(&second);
    stream_fini(&first);
    for (unsigned i = 0; i < STEPS; i++) {
        step(both, 2, m);
    }
    save(&a, &first);
    save(&c, &second);
    same(&first, &second);
    stream_fini(&first);
    stream_fini(&second);
    close_bench(&a);
    close_bench(&c);
}

static void a_loaded_device_answers_as_the_saved_one(void **state)
{
    (void)state;
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &loop, NULL), 0);
    for (unsigned i = 0; i < sizeof models / sizeof models[0]; i++) {
        for (unsigned round = 0; round < ROUNDS; round++) {
            try_model(&models[i]);
        }
    }
    loop_destroy(loop);
}

/* ---- the local APIC ---- */

struct local {
    struct lapic lapic;
    uint64_t now;
};

static void on_others(void *who, const struct apic_message *msg, bool and_self)
{
    (void)who;
    (void)msg;
    (void)and_self;
}

static void on_eoi(void *who, uint8_t vector)
{
    (void)who;
    (void)vector;
}

static void on_timer(void *who, uint64_t at_ns)
{
    (void)who;
    (void)at_ns;
}

static uint64_t local_now(void *who)
{
    return ((struct local *)who)->now;
}

static uint64_t local_cycles(void *who, uint64_t *ret_hz)
{
    *ret_hz = 1000000000u;
    return local_now(who);
}

static void open_local(struct local *l)
{
    const struct lapic_host host = {.kick = chip_event,
                                    .send = chip_message,
                                    .send_others = on_others,
                                    .eoi = on_eoi,
                                    .timer = on_timer,
                                    .now = local_now,
                                    .tsc = local_cycles,
                                    .who = l};

    l->now = 1000;
    lapic_init(&l->lapic, 3, &host);
}

static void local_step(struct local *const *l, unsigned count)
{
    uint32_t offset = (uint32_t)rand() % 64 * 16;
    uint64_t value = (uint64_t)rand() << 8 ^ (uint64_t)rand();
    unsigned what = (unsigned)rand() % 12;
    uint64_t answer[2] = {0, 0};

    for (unsigned i = 0; i < count; i++) {
        switch (what) {
        case 0:
            lapic_accept(&l[i]->lapic, (uint8_t)value, (value >> 9 & 1) != 0);
            break;
        case 1:
            answer[i] = (uint64_t)(int64_t)lapic_take(&l[i]->lapic);
            break;
        case 2:
            l[i]->now += value % 100000;
            lapic_expire(&l[i]->lapic); /* the host's timer, at any time */
            break;
        case 3:
            (void)lapic_write_msr(&l[i]->lapic, 0x6e0, l[i]->now + value % 50000);
            break;
        case 4:
            (void)lapic_read_msr(&l[i]->lapic, 0x6e0, &answer[i]);
            break;
        case 5:
            lapic_write(&l[i]->lapic, 0xf0, 0x1ff);
            break;
        case 6:
        case 7:
            lapic_write(&l[i]->lapic, offset, (uint32_t)value);
            break;
        case 8:
            lapic_eoi(&l[i]->lapic);
            break;
        default:
            answer[i] = lapic_read(&l[i]->lapic, offset);
            break;
        }
    }
    if (count == 2) {
        assert_true(answer[0] == answer[1]);
    }
}

static void carry_local(struct local *l, struct stream *s)
{
    (void)snap_begin(&s->snap, "lapic", 1);
    lapic_carry(&l->lapic, &s->snap);
    snap_end(&s->snap);
}

static void a_loaded_local_apic_answers_as_the_saved_one(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 4 * ROUNDS; round++) {
        static struct local l[2];
        struct local *const both[2] = {&l[0], &l[1]};
        struct stream s;

        open_local(&l[0]);
        open_local(&l[1]);
        for (unsigned i = (unsigned)rand() % STEPS; i > 0; i--) {
            local_step(both, 1);
        }
        for (unsigned i = (unsigned)rand() % STEPS; i > 0; i--) {
            local_step(&both[1], 1);
        }
        stream_init(&s, id);
        carry_local(&l[0], &s);
        assert_int_equal(stream_seal(&s), 0);
        l[1].now = l[0].now;
        stream_rewind(&s);
        carry_local(&l[1], &s);
        assert_int_equal(snap_error(&s.snap), 0);
        stream_fini(&s);
        lapic_expire(&l[0].lapic);
        for (unsigned i = 0; i < STEPS; i++) {
            local_step(both, 2);
        }
    }
}

/* ---- registers ---- */

static bool is_padding(size_t at)
{
    static const size_t kept[][2] = {
        {offsetof(struct x86_regs, gpr), offsetof(struct x86_regs, gdtr) + 10},
        {offsetof(struct x86_regs, idtr), offsetof(struct x86_regs, idtr) + 10},
        {offsetof(struct x86_regs, cr0), offsetof(struct x86_regs, dr) + 64},
        {offsetof(struct x86_regs, fpu), offsetof(struct x86_regs, fpu.ftw) + 1},
        {offsetof(struct x86_regs, fpu.fop), offsetof(struct x86_regs, fpu.fop) + 2},
        {offsetof(struct x86_regs, fpu.fip), offsetof(struct x86_regs, fpu.fds) + 2},
        {offsetof(struct x86_regs, fpu.mxcsr), offsetof(struct x86_regs, fpu.mxcsr) + 4},
        {offsetof(struct x86_regs, fpu.ymm), offsetof(struct x86_regs, debug_shadow) + 1},
        {offsetof(struct x86_regs, a20_mask), offsetof(struct x86_regs, a20_mask) + 8},
    };

    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        if (at >= kept[i][0] && at < kept[i][1]) {
            return false;
        }
    }
    return true;
}

static void save_regs(const struct x86_regs *r, struct stream *s)
{
    struct x86_regs copy = *r;

    stream_init(s, id);
    (void)snap_begin(&s->snap, "cpu", 1);
    regs_carry(&copy, &s->snap);
    snap_end(&s->snap);
    assert_int_equal(stream_seal(s), 0);
}

static void every_byte_of_the_registers_is_carried(void **state)
{
    static struct x86_regs r;
    static struct x86_regs back;
    struct stream s;

    (void)state;
    for (size_t at = 0; at < sizeof r; at++) {
        if (is_padding(at)) {
            continue;
        }
        memset(&r, 0, sizeof r);
        memset(&back, 0, sizeof back);
        ((uint8_t *)&r)[at] = 1;
        save_regs(&r, &s);
        stream_rewind(&s);
        (void)snap_begin(&s.snap, "cpu", 1);
        regs_carry(&back, &s.snap);
        snap_end(&s.snap);
        assert_int_equal(snap_error(&s.snap), 0);
        assert_memory_equal(&r, &back, sizeof r);
        stream_fini(&s);
    }
}

/* As a device of virtio has it in its function's section. */
static void carry_nested(struct snap *s, uint32_t v[3], const char *inner)
{
    (void)snap_begin(s, "outer", 1);
    SNAP_FIELD(s, v[0]);
    (void)snap_begin(s, inner, 2);
    SNAP_FIELD(s, v[1]);
    snap_end(s);
    SNAP_FIELD(s, v[2]);
    snap_end(s);
}

static void a_section_inside_another_comes_back(void **state)
{
    uint32_t was[3] = {1, 2, 3};
    uint32_t now[3] = {0};
    struct stream s;

    (void)state;
    stream_init(&s, id);
    carry_nested(&s.snap, was, "inner");
    carry_nested(&s.snap, was, "inner");
    assert_int_equal(stream_seal(&s), 0);
    stream_rewind(&s);
    carry_nested(&s.snap, now, "inner");
    assert_memory_equal(was, now, sizeof was);
    carry_nested(&s.snap, now, "inner");
    assert_int_equal(snap_error(&s.snap), 0);
    stream_rewind(&s);
    carry_nested(&s.snap, now, "other");
    assert_int_equal(snap_error(&s.snap), -EBADMSG);
    stream_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_section_inside_another_comes_back),
        cmocka_unit_test(a_loaded_device_answers_as_the_saved_one),
        cmocka_unit_test(a_loaded_local_apic_answers_as_the_saved_one),
        cmocka_unit_test(every_byte_of_the_registers_is_carried),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
