/* watchdog_test.c - the watchdog is over when it was not set back in time, and only then.
 * rows: OPS-15 FV-14 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "host/loop/loop.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/dev/watchdog.h"

#define CONTROL  (WATCHDOG_PORT + WATCHDOG_CONTROL)
#define COUNT    (WATCHDOG_PORT + WATCHDOG_COUNT)
#define LEFT     (WATCHDOG_PORT + WATCHDOG_LEFT)
#define STATUS   (WATCHDOG_PORT + WATCHDOG_STATUS)
#define NS_OF_MS UINT64_C(1000000)

struct bench {
    struct loop *loop;
    struct board *board;
    struct dev *dev;
    unsigned overs;
};

static void on_over(void *who)
{
    ((struct bench *)who)->overs++;
}

static int set_up(void **state)
{
    static struct bench b;
    const struct watchdog_config c = {.over = on_over, .who = &b};

    memset(&b, 0, sizeof b);
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &b.loop, NULL), 0);
    assert_int_equal(board_create(b.loop, &b.board, NULL), 0);
    assert_int_equal(dev_create(&dev_watchdog, b.board, &c, &b.dev, NULL), 0);
    board_resume(b.board);
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

static void out(struct bench *b, unsigned port, unsigned bytes, uint32_t v)
{
    board_write(b->board, BOARD_PORTS, port, bytes, v);
}

static uint32_t in(struct bench *b, unsigned port, unsigned bytes)
{
    return (uint32_t)board_read(b->board, BOARD_PORTS, port, bytes);
}

/* Until the machine's time is that much further. */
static void pass(struct bench *b, uint64_t ms)
{
    uint64_t until = board_now(b->board) + ms * NS_OF_MS;

    while (board_now(b->board) < until) {
        (void)loop_turn(b->loop, 10);
    }
}

static void it_is_over_once_when_nobody_sets_it_back(void **state)
{
    struct bench *b = *state;

    out(b, COUNT, 4, 1);
    out(b, CONTROL, 4, 1);
    assert_int_equal(in(b, CONTROL, 4), 1);
    assert_int_equal(in(b, LEFT, 4), 1);
    pass(b, 2 * WATCHDOG_PERIOD_MS);
    assert_int_equal(b->overs, 1);
    assert_int_equal(in(b, CONTROL, 4), 0);
    assert_int_equal(in(b, LEFT, 4), 0);
    assert_int_equal(in(b, STATUS, 4), 1);
}

static void whoever_sets_it_back_or_stops_it_is_let_live(void **state)
{
    struct bench *b = *state;

    out(b, COUNT, 4, 3);
    out(b, CONTROL, 4, 1);
    for (unsigned i = 0; i < 5; i++) {
        pass(b, WATCHDOG_PERIOD_MS);
        out(b, LEFT, 4, 1);
        assert_int_equal(in(b, LEFT, 4), 3);
    }
    out(b, CONTROL, 4, 0);
    pass(b, 4 * WATCHDOG_PERIOD_MS);
    assert_int_equal(b->overs, 0);
    assert_int_equal(in(b, STATUS, 4), 0);
}

static void a_machine_that_stands_is_not_watched(void **state)
{
    struct bench *b = *state;

    out(b, COUNT, 4, 1);
    out(b, CONTROL, 4, 1);
    board_pause(b->board);
    for (unsigned i = 0; i < 20; i++) {
        (void)loop_turn(b->loop, 10);
    }
    assert_int_equal(b->overs, 0);
    assert_int_equal(in(b, LEFT, 4), 1);
    board_resume(b->board);
    pass(b, 2 * WATCHDOG_PERIOD_MS);
    assert_int_equal(b->overs, 1);
}

static void a_reset_stops_it_and_why_there_was_one_is_told(void **state)
{
    struct bench *b = *state;

    out(b, COUNT, 4, 1);
    out(b, CONTROL, 4, 1);
    pass(b, 2 * WATCHDOG_PERIOD_MS);
    out(b, CONTROL, 4, 1);
    board_lock(b->board);
    b->dev->class->reset(b->dev);
    board_unlock(b->board);
    assert_int_equal(in(b, CONTROL, 4), 0);
    assert_int_equal(in(b, COUNT, 4), 300);
    assert_int_equal(in(b, STATUS, 4), 1);
    out(b, STATUS, 4, 0);
    assert_int_equal(in(b, STATUS, 4), 0);
}

/* Counts are 1 to 65535, whatever is stored; parts of registers are not. */
static void any_accesses_leave_it_a_watchdog(void **state)
{
    struct bench *b = *state;
    uint64_t v = 88172645463325252u;

    out(b, COUNT, 4, 0);
    assert_int_equal(in(b, COUNT, 4), 1);
    out(b, COUNT, 4, UINT32_MAX);
    assert_int_equal(in(b, COUNT, 4), WATCHDOG_MOST);
    assert_int_equal(in(b, COUNT + 1, 1), WATCHDOG_MOST >> 8);
    out(b, COUNT, 2, 5);
    assert_int_equal(in(b, COUNT, 4), WATCHDOG_MOST);
    for (unsigned i = 0; i < 100000; i++) {
        v ^= v << 13;
        v ^= v >> 7;
        v ^= v << 17;
        if ((v >> 20 & 1) != 0) {
            out(b, (unsigned)(WATCHDOG_PORT + v % WATCHDOG_PORTS),
                1u << (v >> 21 & 3) % 3, (uint32_t)(v >> 32) >> (v >> 24 & 31));
        } else {
            (void)in(b, (unsigned)(WATCHDOG_PORT + v % WATCHDOG_PORTS),
                     1u << (v >> 21 & 3) % 3);
        }
        assert_in_range(in(b, COUNT, 4), 1, WATCHDOG_MOST);
        assert_in_range(in(b, LEFT, 4), 0, WATCHDOG_MOST);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_over_once_when_nobody_sets_it_back),
        TEST(whoever_sets_it_back_or_stops_it_is_let_live),
        TEST(a_machine_that_stands_is_not_watched),
        TEST(a_reset_stops_it_and_why_there_was_one_is_told),
        TEST(any_accesses_leave_it_a_watchdog),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
