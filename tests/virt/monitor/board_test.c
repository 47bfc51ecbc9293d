/* board_test.c - claims are found by address, lines heard, timers fired in their order. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "virt/monitor/board/board.h"

struct seen {
    uint64_t offset;
    unsigned bytes;
    uint64_t value;
};

static uint64_t read_it(void *who, uint64_t offset, unsigned bytes)
{
    struct seen *s = who;

    s->offset = offset;
    s->bytes = bytes;
    return UINT64_C(0x1122334455667788);
}

static void write_it(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    *(struct seen *)who = (struct seen){offset, bytes, value};
}

static const struct board_io io = {.read = read_it, .write = write_it};

struct bench {
    struct loop *loop;
    struct board *board;
};

static int set_up(void **state)
{
    static struct bench b;

    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &b.loop, NULL), 0);
    assert_int_equal(board_create(b.loop, &b.board, NULL), 0);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    board_destroy(b->board);
    loop_destroy(b->loop);
    return 0;
}

static void who_claimed_answers(void **state)
{
    struct board *b = ((struct bench *)*state)->board;
    struct seen low = {0};
    struct seen high = {0};
    struct err e = {0};

    assert_int_equal(
        board_claim(b, BOARD_PORTS, &(struct board_claim){0x70, 2, &io, &low}, NULL), 0);
    assert_int_equal(
        board_claim(b, BOARD_PORTS, &(struct board_claim){0x72, 8, &io, &high}, NULL), 0);
    assert_int_equal(
        board_claim(b, BOARD_PORTS, &(struct board_claim){0x71, 1, &io, &low}, &e),
        -EBUSY);
    assert_int_equal(
        board_claim(b, BOARD_PORTS, &(struct board_claim){0x60, 17, &io, &low}, &e),
        -EBUSY);
    assert_int_equal(
        board_claim(b, BOARD_MEMORY, &(struct board_claim){UINT64_MAX, 2, &io, &low}, &e),
        -EINVAL);
    assert_int_equal(board_read(b, BOARD_PORTS, 0x71, 1), 0x88);
    assert_int_equal(low.offset, 1);
    board_write(b, BOARD_PORTS, 0x74, 4, 5);
    assert_int_equal(high.offset, 2);
    assert_int_equal(high.bytes, 4);
    assert_int_equal(high.value, 5);
}

static void nobody_gives_ones(void **state)
{
    struct board *b = ((struct bench *)*state)->board;

    assert_int_equal(board_read(b, BOARD_PORTS, 0x80, 1), 0xff);
    assert_int_equal(board_read(b, BOARD_MEMORY, 0xd0000000, 4), 0xffffffff);
    assert_true(board_read(b, BOARD_MEMORY, 0xd0000000, 8) == UINT64_MAX);
    board_write(b, BOARD_MEMORY, 0xd0000000, 8, 1);
}

static void an_access_over_the_end_is_cut(void **state)
{
    struct board *b = ((struct bench *)*state)->board;
    struct seen s = {0};

    assert_int_equal(
        board_claim(b, BOARD_PORTS, &(struct board_claim){0x100, 2, &io, &s}, NULL), 0);
    assert_int_equal(board_read(b, BOARD_PORTS, 0x101, 2), 0xff88);
    board_release(b, BOARD_PORTS, 0x100);
    assert_int_equal(board_read(b, BOARD_PORTS, 0x100, 2), 0xffff);
}

static void assert_tally(struct board *b, const char *name, uint64_t reads,
                         uint64_t writes)
{
    struct board_tally t;

    for (unsigned n = 0; board_tally(b, n, &t); n++) {
        if (strcmp(t.name, name) == 0) {
            assert_int_equal(t.reads, reads);
            assert_int_equal(t.writes, writes);
            return;
        }
    }
    fail_msg("nobody is called '%s'", name);
}

static void accesses_are_counted_by_who_answers(void **state)
{
    static const struct board_io left = {
        .name = "left", .read = read_it, .write = write_it};
    static const struct board_io right = {
        .name = "right", .read = read_it, .write = write_it};
    struct board *b = ((struct bench *)*state)->board;
    struct seen s = {0};
    const struct board_claim claims[] = {
        {0x100, 2, &left, &s}, {0x102, 2, &right, &s}, {0x80, 1, &left, &s}};

    for (unsigned n = 0; n < 3; n++) { /* the last one moves the others */
        assert_int_equal(board_claim(b, BOARD_PORTS, &claims[n], NULL), 0);
    }
    (void)board_read(b, BOARD_PORTS, 0x100, 2);
    (void)board_read(b, BOARD_PORTS, 0x80, 1);
    board_write(b, BOARD_PORTS, 0x103, 1, 0);
    (void)board_read(b, BOARD_PORTS, 0x101, 2); /* one byte of each */
    board_release(b, BOARD_PORTS, 0x80);
    board_write(b, BOARD_PORTS, 0x80, 1, 0);
    board_write(b, BOARD_PORTS, 0x102, 2, 0);
    assert_tally(b, "left", 3, 0);
    assert_tally(b, "right", 1, 2);
    assert_tally(b, "nobody", 0, 1);
}

static void hear(void *who, unsigned line, bool is_high)
{
    *(int *)who = is_high ? (int)line : -(int)line;
}

static void lines_are_heard_once(void **state)
{
    struct board *b = ((struct bench *)*state)->board;
    int heard = 0;

    assert_int_equal(board_listen(b, &(struct board_listener){hear, &heard}), 0);
    board_line(b, 5, true);
    assert_int_equal(heard, 5);
    heard = 0;
    board_line(b, 5, true);
    assert_int_equal(heard, 0);
    board_line(b, 5, false);
    assert_int_equal(heard, -5);
}

struct shot {
    struct board_timer timer;
    struct bench *bench;
    unsigned *order;
    unsigned place;
};

static void fire(struct board_timer *t)
{
    struct shot *s = (struct shot *)t;

    s->place = ++*s->order;
    if (s->place == 2) {
        loop_stop(s->bench->loop);
    }
}

static void timers_fire_in_order_and_not_while_time_stands(void **state)
{
    struct bench *b = *state;
    unsigned order = 0;
    struct shot shots[3];

    for (unsigned i = 0; i < 3; i++) {
        shots[i] = (struct shot){{.fn = fire}, b, &order, 0};
    }
    board_lock(b->board);
    board_timer_set(b->board, &shots[0].timer, 2000000);
    board_timer_set(b->board, &shots[1].timer, 1000000);
    board_timer_set(b->board, &shots[2].timer, 1500000);
    board_timer_clear(b->board, &shots[2].timer);
    board_unlock(b->board);
    assert_int_equal(loop_turn(b->loop, 5), 0);
    assert_int_equal(order, 0);
    assert_int_equal(board_now(b->board), 0);
    board_resume(b->board);
    assert_int_equal(loop_run(b->loop), 0);
    assert_int_equal(shots[1].place, 1);
    assert_int_equal(shots[0].place, 2);
    assert_int_equal(shots[2].place, 0);
    assert_true(board_now(b->board) >= 2000000);
    board_pause(b->board);
    assert_true(board_now(b->board) == board_now(b->board));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_claimed_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_gives_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_access_over_the_end_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(accesses_are_counted_by_who_answers, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(lines_are_heard_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(timers_fire_in_order_and_not_while_time_stands,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
