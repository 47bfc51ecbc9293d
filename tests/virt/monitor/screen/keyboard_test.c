/* keyboard_test.c - the controller and its keyboard by IBM's technical reference: what a system
 * that looks for them gets, and what it gets when keys are typed.
 *
 * rows: MIO-07 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "tests/virt/monitor/snap_memory.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/dev/keyboard.h"

struct bench {
    struct loop *loop;
    struct board *board;
    struct dev *dev;
    unsigned edges, resets;
    bool is_high;
};

static void on_level(void *who, unsigned line, bool is_high)
{
    struct bench *b = who;

    if (line == 1) {
        b->edges += is_high && !b->is_high;
        b->is_high = is_high;
    }
}

static void on_reset(void *who)
{
    ((struct bench *)who)->resets++;
}

static int set_up(void **state)
{
    static struct bench b;
    const struct board_listener l = {on_level, &b};
    const struct keyboard_config c = {.reset = on_reset, .who = &b};

    memset(&b, 0, sizeof b);
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &b.loop, NULL), 0);
    assert_int_equal(board_create(b.loop, &b.board, NULL), 0);
    assert_int_equal(board_listen(b.board, &l), 0);
    assert_int_equal(dev_create(&dev_keyboard, b.board, &c, &b.dev, NULL), 0);
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

static uint8_t status(struct bench *b)
{
    return (uint8_t)board_read(b->board, BOARD_PORTS, 0x64, 1);
}

static void command(struct bench *b, uint8_t v)
{
    board_write(b->board, BOARD_PORTS, 0x64, 1, v);
}

static void data(struct bench *b, uint8_t v)
{
    board_write(b->board, BOARD_PORTS, 0x60, 1, v);
}

/* Everything that there is to read. */
static void got(struct bench *b, const char *want, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(status(b) & 1, 1);
        assert_int_equal(board_read(b->board, BOARD_PORTS, 0x60, 1), (uint8_t)want[i]);
    }
    assert_int_equal(status(b) & 1, 0);
}

#define GOT(b, text) got((b), (text), sizeof(text) - 1)

static void a_system_finds_it(void **state)
{
    struct bench *b = *state;

    command(b, 0xaa);
    GOT(b, "\x55");
    assert_int_equal(status(b) & 4, 4);
    command(b, 0xab);
    GOT(b, "\x00");
    command(b, 0x60);
    data(b, 0x65); /* translation, interrupts */
    command(b, 0x20);
    GOT(b, "\x65");
    data(b, 0xff);
    GOT(b, "\xfa\xaa");
    data(b, 0xf2);
    GOT(b, "\xfa\xab\x41");
    data(b, 0xed);
    data(b, 0x07);
    GOT(b, "\xfa\xfa");
    data(b, 0xee);
    GOT(b, "\xee");
    data(b, 0x00);
    GOT(b, "\xfe");
    data(b, 0xf0); /* which set? */
    data(b, 0x00);
    GOT(b, "\xfa\xfa\x02");
    command(b, 0xd2);
    data(b, 0x99);
    GOT(b, "\x99");
    command(b, 0xd4); /* nothing is at the second port */
    data(b, 0xff);
    GOT(b, "");
}

static void keys_come_in_their_order(void **state)
{
    struct bench *b = *state;

    command(b, 0x60);
    data(b, 0x41);
    assert_int_equal(keyboard_type(b->dev, "a", NULL), 0);
    assert_int_equal(keyboard_type(b->dev, "up", NULL), 0);
    assert_int_equal(b->edges, 1);
    GOT(b, "\x1e\x9e\xe0\x48\xe0\xc8");
    assert_int_equal(b->edges, 6); /* an interrupt for each byte */
    assert_int_equal(keyboard_type(b->dev, "ctrl-alt-delete", NULL), 0);
    GOT(b, "\x1d\x38\xe0\x53\xe0\xd3\xb8\x9d");
    command(b, 0x60);
    data(b, 0x00); /* as they are, and no interrupts */
    b->edges = 0;
    assert_int_equal(keyboard_type(b->dev, "a", NULL), 0);
    assert_int_equal(keyboard_type(b->dev, "up", NULL), 0);
    GOT(b, "\x1c\xf0\x1c\xe0\x75\xe0\xf0\x75");
    assert_int_equal(b->edges, 0);
}

static void keys_that_nobody_takes_are_refused(void **state)
{
    struct bench *b = *state;
    struct err e = {0};
    int r = 0;

    for (unsigned i = 0; i < 100 && r == 0; i++) {
        r = keyboard_type(b->dev, "right", NULL);
    }
    assert_int_equal(r, -EAGAIN);
    assert_int_equal(keyboard_type(b->dev, "nokey", &e), -EINVAL);
    assert_non_null(strstr(e.text, "'nokey'"));
    assert_int_equal(keyboard_type(b->dev, "", NULL), -EINVAL);
    assert_int_equal(keyboard_type(b->dev, "a-", NULL), -EINVAL);
    assert_int_equal(keyboard_type(b->dev, "a-b-c-d-e", NULL), -EINVAL);
    data(b, 0xff); /* forgets them */
    while ((status(b) & 1) != 0) {
        (void)board_read(b->board, BOARD_PORTS, 0x60, 1);
    }
    data(b, 0xf5); /* off */
    GOT(b, "\xfa");
    assert_int_equal(keyboard_type(b->dev, "a", NULL), -EAGAIN);
}

static void it_pulls_the_reset_line(void **state)
{
    struct bench *b = *state;

    command(b, 0xff); /* no line */
    assert_int_equal(b->resets, 0);
    command(b, 0xfe);
    assert_int_equal(b->resets, 1);
    command(b, 0xd1);
    data(b, 0x03);
    assert_int_equal(b->resets, 1);
    command(b, 0xd1);
    data(b, 0x02);
    assert_int_equal(b->resets, 2);
}

static void what_was_typed_is_carried(void **state)
{
    struct bench *b = *state;
    struct snap_memory s;

    assert_int_equal(keyboard_type(b->dev, "x", NULL), 0);
    snap_memory_write(&s);
    b->dev->class->carry(b->dev, &s.snap);
    b->dev->class->reset(b->dev);
    GOT(b, "");
    snap_memory_read(&s);
    b->dev->class->carry(b->dev, &s.snap);
    assert_int_equal(snap_error(&s.snap), 0);
    snap_memory_fini(&s);
    GOT(b, "\x2d\xad");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_system_finds_it),
        TEST(keys_come_in_their_order),
        TEST(keys_that_nobody_takes_are_refused),
        TEST(it_pulls_the_reset_line),
        TEST(what_was_typed_is_carried),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
