/* exit.c - debug-exit (0xf4), pvpanic (0x505), fast reset (0x92), and of the keyboard
 * controller (0x64) the command that resets. */
#include "virt/monitor/dev/exit.h"

#include <stdint.h>

#include "virt/monitor/board/board.h"

#define PORT_EXIT     0xf4u
#define PORT_PANIC    0x505u
#define PORT_A        0x92u
#define PORT_KEYBOARD 0x64u
#define PANIC_EVENTS  3u
#define PULSE_RESET   0xfeu

struct leave {
    struct dev dev;
    struct exit_config config;
};

static uint64_t read_zero(void *who, uint64_t offset, unsigned bytes)
{
    (void)who;
    (void)offset;
    (void)bytes;
    return 0;
}

static uint64_t read_panic(void *who, uint64_t offset, unsigned bytes)
{
    (void)who;
    (void)offset;
    (void)bytes;
    return PANIC_EVENTS;
}

static uint64_t read_a(void *who, uint64_t offset, unsigned bytes)
{
    (void)who;
    (void)offset;
    (void)bytes;
    return 2; /* A20 is open */
}

static uint64_t read_none(void *who, uint64_t offset, unsigned bytes)
{
    (void)who;
    (void)offset;
    (void)bytes;
    return 0xff; /* no keyboard controller */
}

static void write_exit(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct leave *x = who;

    (void)offset;
    (void)bytes;
    x->config.end(x->config.who, (unsigned)v & 255);
}

static void write_panic(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct leave *x = who;

    (void)offset;
    (void)bytes;
    x->config.panic(x->config.who, (unsigned)v & PANIC_EVENTS);
}

static void write_a(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct leave *x = who;

    (void)offset;
    (void)bytes;
    if ((v & 1) != 0) {
        x->config.reset(x->config.who);
    }
}

static void write_keyboard(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct leave *x = who;

    (void)offset;
    (void)bytes;
    if ((v & 0xff) == PULSE_RESET) {
        x->config.reset(x->config.who);
    }
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io leave = {
        .name = "exit", .read = read_zero, .write = write_exit};
    static const struct board_io panic = {
        .name = "exit", .read = read_panic, .write = write_panic};
    static const struct board_io a = {.name = "exit", .read = read_a, .write = write_a};
    static const struct board_io keyboard = {
        .name = "exit", .read = read_none, .write = write_keyboard};
    struct leave *x = (struct leave *)d;
    const struct board_claim claims[] = {{PORT_KEYBOARD, 1, &keyboard, x},
                                         {PORT_A, 1, &a, x},
                                         {PORT_EXIT, 4, &leave, x},
                                         {PORT_PANIC, 1, &panic, x}};
    unsigned n = sizeof claims / sizeof claims[0];
    int r = 0;

    x->config = *(const struct exit_config *)config;
    n -= x->config.is_plain ? 2 : 0;
    for (unsigned i = x->config.has_keyboard; r == 0 && i < n; i++) {
        r = board_claim(d->board, BOARD_PORTS, &claims[i], e);
    }
    return r;
}

const struct dev_class dev_exit = {
    .name = "exit",
    .summary = "debug-exit port, pvpanic, reset ports",
    .source = "QEMU docs/specs/pvpanic.rst; IBM PS/2 system control port A",
    .state_bytes = sizeof(struct leave),
    .start = start,
};
