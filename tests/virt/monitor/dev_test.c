/* dev_test.c - the chips of a PC do what their data sheets say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "host/loop/loop.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/dev/exit.h"
#include "virt/monitor/dev/ioapic.h"
#include "virt/monitor/dev/lapic.h"
#include "virt/monitor/dev/pic.h"
#include "virt/monitor/dev/pit.h"
#include "virt/monitor/dev/power.h"
#include "virt/monitor/dev/rtc.h"
#include "virt/monitor/dev/serial.h"

struct bench {
    struct loop *loop;
    struct board *board;
    struct dev *dev;
    bool output;
    unsigned kicks, sent, ended, code;
    struct apic_message last;
    uint64_t now, timer, hz;
    uint8_t eoi;
    char text[64];
    unsigned chars;
};

static int set_up(void **state)
{
    static struct bench b;

    memset(&b, 0, sizeof b);
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &b.loop, NULL), 0);
    assert_int_equal(board_create(b.loop, &b.board, NULL), 0);
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

static void out(struct bench *b, uint16_t port, uint8_t v)
{
    board_write(b->board, BOARD_PORTS, port, 1, v);
}

static uint8_t in(struct bench *b, uint16_t port)
{
    return (uint8_t)board_read(b->board, BOARD_PORTS, port, 1);
}

static void line(struct bench *b, unsigned n, bool is_high)
{
    board_lock(b->board);
    board_line(b->board, n, is_high);
    board_unlock(b->board);
}

/* ---- 8259A ---- */

static void on_output(void *who, bool is_high)
{
    ((struct bench *)who)->output = is_high;
}

static void start_pic(struct bench *b)
{
    static const uint8_t words[2][4] = {{0x11, 0x20, 0x04, 0x01},
                                        {0x11, 0x28, 0x02, 0x01}};
    const struct pic_config c = {.output = on_output, .who = b};

    assert_int_equal(dev_create(&dev_pic, b->board, &c, &b->dev, NULL), 0);
    for (unsigned n = 0; n < 2; n++) {
        uint16_t port = n == 0 ? 0x20 : 0xa0;

        out(b, port, words[n][0]);
        for (unsigned i = 1; i < 4; i++) {
            out(b, port + 1, words[n][i]);
        }
        out(b, port + 1, 0);
    }
}

static void the_pic_orders_requests(void **state)
{
    struct bench *b = *state;

    start_pic(b);
    line(b, 4, true);
    line(b, 1, true);
    line(b, 12, true);
    assert_true(b->output);
    assert_int_equal(pic_take(b->dev), 0x21);
    out(b, 0x20, 0x0b);
    assert_int_equal(in(b, 0x20), 0x02);      /* in service */
    assert_int_equal(pic_take(b->dev), 0x27); /* nothing above it: spurious */
    out(b, 0x20, 0x20);
    assert_int_equal(pic_take(b->dev), 0x2c);
    out(b, 0xa0, 0x20);
    out(b, 0x20, 0x20);
    assert_int_equal(pic_take(b->dev), 0x24);
    out(b, 0x20, 0x64); /* specific EOI */
    out(b, 0x20, 0x0b);
    assert_int_equal(in(b, 0x20), 0);
}

static void a_masked_input_waits(void **state)
{
    struct bench *b = *state;

    start_pic(b);
    out(b, 0x21, 0xff);
    line(b, 3, true);
    assert_false(b->output);
    assert_int_equal(in(b, 0x21), 0xff);
    out(b, 0x21, 0xf7);
    assert_true(b->output);
}

static void a_level_goes_away(void **state)
{
    struct bench *b = *state;

    start_pic(b);
    board_write(b->board, BOARD_PORTS, 0x4d1, 1, 0x02); /* input 9 */
    line(b, 9, true);
    assert_true(b->output);
    line(b, 9, false);
    assert_false(b->output);
}

/* ---- APICs ---- */

static void on_kick(void *who)
{
    ((struct bench *)who)->kicks++;
}

static void on_send(void *who, const struct apic_message *m)
{
    struct bench *b = who;

    b->last = *m;
    b->sent++;
}

static void on_send_others(void *who, const struct apic_message *m, bool and_self)
{
    (void)and_self;
    on_send(who, m);
}

static void on_eoi(void *who, uint8_t vector)
{
    ((struct bench *)who)->eoi = vector;
}

static void on_timer(void *who, uint64_t at_ns)
{
    ((struct bench *)who)->timer = at_ns;
}

static uint64_t now(void *who)
{
    return ((struct bench *)who)->now;
}

static uint64_t cycles(void *who, uint64_t *ret_hz)
{
    const struct bench *b = who;

    *ret_hz = b->hz;
    return (uint64_t)((unsigned __int128)b->now * b->hz / 1000000000u);
}

static void start_lapic(struct bench *b, struct lapic *l)
{
    const struct lapic_host h = {.kick = on_kick,
                                 .send = on_send,
                                 .send_others = on_send_others,
                                 .eoi = on_eoi,
                                 .timer = on_timer,
                                 .now = now,
                                 .tsc = cycles,
                                 .who = b};

    b->hz = 1000000000u;
    lapic_init(l, 3, &h);
    lapic_write(l, 0xf0, 0x1ff);
}

static void the_highest_vector_comes_first(void **state)
{
    struct bench *b = *state;
    struct lapic l;

    start_lapic(b, &l);
    lapic_accept(&l, 0x31, false);
    lapic_accept(&l, 0x52, true);
    lapic_accept(&l, 0x0f, false); /* no vector of interrupts */
    assert_int_equal(lapic_take(&l), 0x52);
    assert_int_equal(lapic_take(&l), LAPIC_NO_VECTOR); /* 0x31 is below */
    lapic_accept(&l, 0x61, false);
    assert_int_equal(lapic_take(&l), 0x61);
    lapic_eoi(&l);
    assert_int_equal(b->eoi, 0);
    lapic_eoi(&l);
    assert_int_equal(b->eoi, 0x52); /* it was a level */
    assert_int_equal(lapic_take(&l), 0x31);
}

static void a_task_priority_holds_back(void **state)
{
    struct bench *b = *state;
    struct lapic l;

    start_lapic(b, &l);
    lapic_set_tpr(&l, 5);
    lapic_accept(&l, 0x5f, false);
    assert_false(lapic_has_pending(&l));
    b->kicks = 0;
    lapic_set_tpr(&l, 4);
    assert_int_equal(b->kicks, 1);
    assert_int_equal(lapic_take(&l), 0x5f);
}

static void the_timer_counts(void **state)
{
    struct bench *b = *state;
    struct lapic l;

    start_lapic(b, &l);
    b->now = 1000;
    lapic_write(&l, 0x3e0, 0x3);            /* divide by 16 */
    lapic_write(&l, 0x320, 0x20000 | 0x40); /* periodic */
    lapic_write(&l, 0x380, 100);
    assert_int_equal(b->timer, 1000 + 1600);
    b->now = 1000 + 800;
    assert_int_equal(lapic_read(&l, 0x390), 50);
    lapic_expire(&l); /* too early: nothing, and it is set again */
    assert_false(lapic_has_pending(&l));
    assert_int_equal(b->timer, 1000 + 1600);
    b->now = 1000 + 3 * 1600 + 5;
    lapic_expire(&l);
    assert_int_equal(lapic_take(&l), 0x40);
    assert_int_equal(b->timer, 1000 + 4 * 1600);
}

static void a_deadline_comes_once(void **state)
{
    struct bench *b = *state;
    struct lapic l;
    uint64_t v;

    start_lapic(b, &l);
    lapic_write(&l, 0x320, 0x40000 | 0x50);
    b->now = 10;
    assert_true(lapic_write_msr(&l, 0x6e0, 5000));
    assert_int_equal(b->timer, 5000);
    b->now = 5000;
    lapic_expire(&l);
    assert_int_equal(lapic_take(&l), 0x50);
    lapic_eoi(&l);
    assert_true(lapic_read_msr(&l, 0x6e0, &v));
    assert_int_equal(v, 0);
    lapic_expire(&l);
    assert_false(lapic_has_pending(&l));
    assert_true(lapic_write_msr(&l, 0x6e0, 4000)); /* in the past: at once */
    assert_int_equal(lapic_take(&l), 0x50);
}

/* The counter of hardware: 2.5 cycles a nanosecond, and one in 25. */
static void a_deadline_is_in_cycles(void **state)
{
    struct bench *b = *state;
    struct lapic l;

    start_lapic(b, &l);
    lapic_write(&l, 0x320, 0x40000 | 0x50);
    b->hz = 2500000000u;
    b->now = 1000;
    assert_true(lapic_write_msr(&l, 0x6e0, 7501)); /* 2500 now */
    assert_int_equal(b->timer, 1000 + 2001);       /* not before */
    b->now = 3001;
    lapic_expire(&l);
    assert_int_equal(lapic_take(&l), 0x50);
    lapic_eoi(&l);
    b->hz = 40000000u;
    b->now = 100000;
    assert_true(lapic_write_msr(&l, 0x6e0, 4001));
    assert_int_equal(b->timer, 100025);
    assert_true(lapic_write_msr(&l, 0x6e0, UINT64_MAX)); /* never, and no overflow */
    assert_true(b->timer > UINT64_C(1) << 59);
    lapic_expire(&l);
    assert_false(lapic_has_pending(&l));
}

static void x2apic_is_entered_and_left_as_the_manual_says(void **state)
{
    struct bench *b = *state;
    struct lapic l;
    uint64_t v;

    start_lapic(b, &l);
    assert_false(lapic_read_msr(&l, 0x802, &v)); /* not yet */
    assert_true(lapic_write_msr(&l, 0x1b, LAPIC_BASE | 0xc00));
    assert_int_equal(lapic_page(&l), 0);
    assert_true(lapic_read_msr(&l, 0x802, &v));
    assert_int_equal(v, 3);
    assert_true(lapic_read_msr(&l, 0x80d, &v));
    assert_int_equal(v, 1u << 3);
    assert_false(lapic_write_msr(&l, 0x802, 1));
    assert_false(lapic_write_msr(&l, 0x1b, LAPIC_BASE | 0x800)); /* not back at once */
    assert_true(lapic_write_msr(&l, 0x830, UINT64_C(7) << 32 | 0x4041));
    assert_int_equal(b->last.dest, 7);
    assert_int_equal(b->last.vector, 0x41);
    assert_true(lapic_matches(&l, 1u << 3, true));
    assert_false(lapic_matches(&l, 1u << 2, true));
    assert_true(lapic_matches(&l, 3, false));
}

static void the_ioapic_keeps_a_level_until_its_end(void **state)
{
    struct bench *b = *state;
    const struct apic_bus bus = {.send = on_send, .who = b};
    uint64_t base = IOAPIC_BASE;

    assert_int_equal(dev_create(&dev_ioapic, b->board, &bus, &b->dev, NULL), 0);
    board_write(b->board, BOARD_MEMORY, base, 4, 0x10 + 2 * 11 + 1);
    board_write(b->board, BOARD_MEMORY, base + 0x10, 4, UINT32_C(2) << 24);
    board_write(b->board, BOARD_MEMORY, base, 4, 0x10 + 2 * 11);
    board_write(b->board, BOARD_MEMORY, base + 0x10, 4, 0x8071);
    line(b, 11, true);
    assert_int_equal(b->sent, 1);
    assert_int_equal(b->last.vector, 0x71);
    assert_int_equal(b->last.dest, 2);
    assert_true(b->last.is_level);
    line(b, 11, false);
    line(b, 11, true);
    assert_int_equal(b->sent, 1); /* not before the end of the first */
    ioapic_eoi(b->dev, 0x71);
    assert_int_equal(b->sent, 2);
    line(b, 11, false);
    ioapic_eoi(b->dev, 0x71);
    assert_int_equal(b->sent, 2);
    board_write(b->board, BOARD_MEMORY, base, 4, 1);
    assert_int_equal(board_read(b->board, BOARD_MEMORY, base + 0x10, 4), 0x170020);
}

/* ---- the others ---- */

static void the_pit_counts_down(void **state)
{
    struct bench *b = *state;
    uint8_t low;

    assert_int_equal(dev_create(&dev_pit, b->board, NULL, &b->dev, NULL), 0);
    out(b, 0x43, 0xb0); /* counter 2, both bytes, mode 0 */
    out(b, 0x42, 0x00);
    out(b, 0x42, 0x10);
    out(b, 0x61, 1);
    assert_int_equal(in(b, 0x61) & 0x20, 0);
    board_set_now(b->board, 1000000); /* 1193 ticks */
    out(b, 0x43, 0x80);
    low = in(b, 0x42);
    assert_int_equal(low | in(b, 0x42) << 8, 0x1000 - 1193);
    board_set_now(b->board, 4000000);
    assert_int_equal(in(b, 0x61) & 0x20, 0x20);
    out(b, 0x43, 0xe8); /* read back the status of counter 2 */
    assert_int_equal(in(b, 0x42), 0x80 | 0x30);
}

static void on_text(void *who, const uint8_t *bytes, unsigned n)
{
    struct bench *b = who;

    memcpy(b->text + b->chars, bytes, n);
    b->chars += n;
}

static void hear(void *who, unsigned n, bool is_high)
{
    if (n == 4) {
        ((struct bench *)who)->output = is_high;
    }
}

static void the_serial_port_sends_receives_interrupts(void **state)
{
    struct bench *b = *state;
    const struct serial_config c = {.port = 0x3f8, .line = 4, .send = on_text, .who = b};

    assert_int_equal(board_listen(b->board, &(struct board_listener){hear, b}), 0);
    assert_int_equal(dev_create(&dev_serial, b->board, &c, &b->dev, NULL), 0);
    out(b, 0x3fa, 0x01);
    out(b, 0x3fc, 0x08);
    out(b, 0x3f8, 'o');
    out(b, 0x3f8, 'k');
    assert_string_equal(b->text, "ok");
    out(b, 0x3f9, 0x02);
    assert_true(b->output);
    assert_int_equal(in(b, 0x3fa) & 0x0f, 0x02);
    assert_false(b->output);
    out(b, 0x3f9, 0x01);
    serial_receive(b->dev, (const uint8_t *)"xy", 2);
    assert_true(b->output);
    assert_int_equal(in(b, 0x3fd) & 1, 1);
    assert_int_equal(in(b, 0x3f8), 'x');
    assert_int_equal(in(b, 0x3f8), 'y');
    assert_false(b->output);
    assert_int_equal(in(b, 0x3fd) & 1, 0);
    assert_int_equal(serial_room(b->dev), 64);
    out(b, 0x3fc, 0x1f); /* loop */
    assert_int_equal(in(b, 0x3fe), 0xf0);
}

static void on_off(void *who)
{
    ((struct bench *)who)->ended = 1;
}

static void on_reset(void *who)
{
    ((struct bench *)who)->ended = 2;
}

static void the_power_register_switches_off(void **state)
{
    struct bench *b = *state;
    const struct power_config c = {.off = on_off, .who = b};

    assert_int_equal(dev_create(&dev_power, b->board, &c, &b->dev, NULL), 0);
    board_write(b->board, BOARD_PORTS, POWER_CONTROL_PORT, 2, 4 << 10 | 0x2000);
    assert_int_equal(b->ended, 0);
    board_write(b->board, BOARD_PORTS, POWER_CONTROL_PORT, 2, 5 << 10 | 0x2000);
    assert_int_equal(b->ended, 1);
    b->ended = 0;
    board_write(b->board, BOARD_PORTS, POWER_CONTROL_PORT, 2, 0x2000); /* OVMF's way */
    assert_int_equal(b->ended, 1);
    board_set_now(b->board, 1000000000);
    assert_int_equal(board_read(b->board, BOARD_PORTS, POWER_TIMER_PORT, 4), 3579545);
    board_write(b->board, BOARD_PORTS, POWER_EVENT_PORT + 2, 2, 0x100);
    power_press(b->dev);
    assert_int_equal(board_read(b->board, BOARD_PORTS, POWER_EVENT_PORT, 2), 0x100);
    board_write(b->board, BOARD_PORTS, POWER_EVENT_PORT, 2, 0x100);
    assert_int_equal(board_read(b->board, BOARD_PORTS, POWER_EVENT_PORT, 2), 0);
}

static void the_clock_tells_and_keeps_a_time(void **state)
{
    struct bench *b = *state;
    const struct rtc_config c = {
        .memory_bytes = UINT64_C(5) << 30, .low_bytes = UINT64_C(3) << 30, .cpus = 2};
    uint8_t year;

    assert_int_equal(dev_create(&dev_rtc, b->board, &c, &b->dev, NULL), 0);
    out(b, 0x70, 0x0b);
    assert_int_equal(in(b, 0x71), 0x02);
    out(b, 0x71, 0x82); /* set */
    out(b, 0x70, 0x09);
    out(b, 0x71, 0x31);
    out(b, 0x70, 0x32);
    out(b, 0x71, 0x20);
    out(b, 0x70, 0x0b);
    out(b, 0x71, 0x02);
    out(b, 0x70, 0x09);
    year = in(b, 0x71);
    assert_int_equal(year, 0x31);
    out(b, 0x70, 0x5c); /* 2 GiB above 4 GiB, in units of 64 KiB */
    assert_int_equal(in(b, 0x71), 0x80);
    out(b, 0x70, 0x5f);
    assert_int_equal(in(b, 0x71), 1);
}

static void on_end(void *who, unsigned code)
{
    struct bench *b = who;

    b->ended = 3;
    b->code = code;
}

static void on_panic(void *who, unsigned events)
{
    struct bench *b = who;

    b->ended = 4;
    b->code = events;
}

static void exits_are_heard(void **state)
{
    struct bench *b = *state;
    const struct exit_config c = {
        .end = on_end, .reset = on_reset, .panic = on_panic, .who = b};

    assert_int_equal(dev_create(&dev_exit, b->board, &c, &b->dev, NULL), 0);
    board_write(b->board, BOARD_PORTS, 0xf4, 4, 21);
    assert_int_equal(b->ended, 3);
    assert_int_equal(b->code, 21);
    out(b, 0x505, 1);
    assert_int_equal(b->ended, 4);
    out(b, 0x64, 0xfe);
    assert_int_equal(b->ended, 2);
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(the_pic_orders_requests),
        ONE(a_masked_input_waits),
        ONE(a_level_goes_away),
        ONE(the_highest_vector_comes_first),
        ONE(a_task_priority_holds_back),
        ONE(the_timer_counts),
        ONE(a_deadline_comes_once),
        ONE(a_deadline_is_in_cycles),
        ONE(x2apic_is_entered_and_left_as_the_manual_says),
        ONE(the_ioapic_keeps_a_level_until_its_end),
        ONE(the_pit_counts_down),
        ONE(the_serial_port_sends_receives_interrupts),
        ONE(the_power_register_switches_off),
        ONE(the_clock_tells_and_keeps_a_time),
        ONE(exits_are_heard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
