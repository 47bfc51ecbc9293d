/* debug_port.c - port 0x402: a byte written is a byte of the firmware's log. */
#include "virt/monitor/firmware/debug_port.h"

#include "virt/monitor/board/board.h"

#define PORT    0x402u
#define PRESENT 0xe9u /* what a reader finds where somebody listens */

struct debug_port {
    struct dev dev;
    struct debug_port_config config;
};

static uint64_t read_port(void *who, uint64_t offset, unsigned bytes)
{
    (void)who;
    (void)offset;
    (void)bytes;
    return PRESENT;
}

static void write_port(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    const struct debug_port *p = who;
    const uint8_t byte = (uint8_t)value;

    (void)offset;
    (void)bytes;
    p->config.send(p->config.who, &byte, 1);
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io io = {
        .name = "debug-port", .read = read_port, .write = write_port};
    const struct board_claim c = {PORT, 1, &io, d};

    ((struct debug_port *)d)->config = *(const struct debug_port_config *)config;
    return board_claim(d->board, BOARD_PORTS, &c, e);
}

const struct dev_class dev_debug_port = {
    .name = "debug-port",
    .summary = "port of the firmware's log",
    .source = "QEMU hw/char/debugcon.c, as SeaBIOS and OVMF use it",
    .state_bytes = sizeof(struct debug_port),
    .start = start,
};
