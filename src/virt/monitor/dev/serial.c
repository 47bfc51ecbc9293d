/* serial.c - a 16550A: sends at once, receives through a FIFO that is deeper than 16. */
#include "virt/monitor/dev/serial.h"

#include <stdbool.h>

#include "contract/snap.h"
#include "virt/monitor/board/board.h"

#define FIFO_BYTES 64

#define IER_RX      0x01u
#define IER_TX      0x02u
#define IER_LINE    0x04u
#define IER_MODEM   0x08u
#define IIR_NONE    0x01u
#define IIR_TX      0x02u
#define IIR_RX      0x04u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFO    0xc0u
#define LCR_DLAB    0x80u
#define MCR_LOOP    0x10u
#define MCR_OUT2    0x08u
#define LSR_READY   0x01u
#define LSR_EMPTY   0x60u
#define MSR_THERE   0xb0u /* DCD, DSR, CTS */

struct serial {
    struct dev dev;
    struct serial_config config;
    uint8_t ier, lcr, mcr, fcr, scratch;
    uint16_t divisor;
    bool tx_asked; /* the empty transmitter was not reported yet */
    uint8_t fifo[FIFO_BYTES];
    unsigned first, count;
};

static uint8_t cause(const struct serial *s)
{
    if ((s->ier & IER_RX) != 0 && s->count > 0) {
        return s->count < 8 && (s->fcr & 1) != 0 ? IIR_TIMEOUT : IIR_RX;
    }
    return (s->ier & IER_TX) != 0 && s->tx_asked ? IIR_TX : IIR_NONE;
}

static void update(struct serial *s)
{
    board_line(s->dev.board, s->config.line,
               cause(s) != IIR_NONE && (s->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2);
}

static void put(struct serial *s, uint8_t byte)
{
    if (s->count < FIFO_BYTES) {
        s->fifo[(s->first + s->count++) % FIFO_BYTES] = byte;
    }
}

static uint8_t take(struct serial *s)
{
    uint8_t byte = s->fifo[s->first];

    if (s->count == 0) {
        return 0;
    }
    s->first = (s->first + 1) % FIFO_BYTES;
    s->count--;
    return byte;
}

static uint8_t modem(const struct serial *s)
{
    if ((s->mcr & MCR_LOOP) == 0) {
        return MSR_THERE;
    }
    return (uint8_t)((s->mcr & 0x0c) << 4 | (s->mcr & 0x02) << 3 | (s->mcr & 0x01) << 5);
}

static uint8_t read_register(struct serial *s, uint64_t offset)
{
    bool latch = (s->lcr & LCR_DLAB) != 0;
    uint8_t v;

    switch (offset) {
    case 0:
        return latch ? (uint8_t)s->divisor : take(s);
    case 1:
        return latch ? (uint8_t)(s->divisor >> 8) : s->ier;
    case 2:
        v = cause(s);
        if (v == IIR_TX) {
            s->tx_asked = false;
        }
        return (uint8_t)(v | ((s->fcr & 1) != 0 ? IIR_FIFO : 0));
    case 3:
        return s->lcr;
    case 4:
        return s->mcr;
    case 5:
        return (uint8_t)(LSR_EMPTY | (s->count > 0 ? LSR_READY : 0));
    case 6:
        return modem(s);
    default:
        return s->scratch;
    }
}

static void transmit(struct serial *s, uint8_t byte)
{
    if ((s->mcr & MCR_LOOP) != 0) {
        put(s, byte);
    } else {
        s->config.send(s->config.who, &byte, 1);
    }
    s->tx_asked = true;
}

static void write_register(struct serial *s, uint64_t offset, uint8_t v)
{
    bool latch = (s->lcr & LCR_DLAB) != 0;

    switch (offset) {
    case 0:
        if (latch) {
            s->divisor = (uint16_t)((s->divisor & 0xff00) | v);
        } else {
            transmit(s, v);
        }
        break;
    case 1:
        if (latch) {
            s->divisor = (uint16_t)((s->divisor & 0xff) | v << 8);
        } else {
            s->tx_asked |= (v & ~s->ier & IER_TX) != 0;
            s->ier = v & 15;
        }
        break;
    case 2:
        s->fcr = v & 0xc9;
        if ((v & 2) != 0) {
            s->count = 0;
        }
        break;
    case 3:
        s->lcr = v;
        break;
    case 4:
        s->mcr = v & 31;
        break;
    case 7:
        s->scratch = v;
        break;
    default:
        break;
    }
}

static uint64_t read(void *who, uint64_t offset, unsigned bytes)
{
    struct serial *s = who;
    uint8_t v = read_register(s, offset);

    (void)bytes;
    update(s);
    return v;
}

static void write(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct serial *s = who;

    (void)bytes;
    write_register(s, offset, (uint8_t)v);
    update(s);
}

unsigned serial_room(struct dev *d)
{
    struct serial *s = (struct serial *)d;
    unsigned room;

    board_lock(d->board);
    room = FIFO_BYTES - s->count;
    board_unlock(d->board);
    return room;
}

void serial_receive(struct dev *d, const uint8_t *bytes, unsigned n)
{
    struct serial *s = (struct serial *)d;

    board_lock(d->board);
    for (unsigned i = 0; i < n && (s->mcr & MCR_LOOP) == 0; i++) {
        put(s, bytes[i]);
    }
    update(s);
    board_unlock(d->board);
}

static void reset(struct dev *d)
{
    struct serial *s = (struct serial *)d;

    s->ier = s->lcr = s->fcr = s->scratch = 0;
    s->mcr = MCR_OUT2;
    s->divisor = 12;
    s->tx_asked = false;
    s->first = s->count = 0;
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io io = {.name = "serial", .read = read, .write = write};
    struct serial *s = (struct serial *)d;

    s->config = *(const struct serial_config *)config;
    return board_claim(d->board, BOARD_PORTS,
                       &(struct board_claim){s->config.port, 8, &io, s}, e);
}

static void carry(struct dev *d, struct snap *n)
{
    struct serial *s = (struct serial *)d;

    SNAP_FIELD(n, s->ier);
    SNAP_FIELD(n, s->lcr);
    SNAP_FIELD(n, s->mcr);
    SNAP_FIELD(n, s->fcr);
    SNAP_FIELD(n, s->scratch);
    SNAP_FIELD(n, s->divisor);
    s->tx_asked = snap_number(n, s->tx_asked, 1) != 0;
    SNAP_FIELD(n, s->fifo);
    SNAP_FIELD(n, s->first);
    SNAP_FIELD(n, s->count);
    if (s->first >= FIFO_BYTES || s->count > FIFO_BYTES) {
        snap_refuse(n);
        s->first = s->count = 0;
    }
}

const struct dev_class dev_serial = {
    .name = "serial",
    .summary = "16550A serial port",
    .source = "National Semiconductor PC16550D data sheet, June 1995, 8.0",
    .state_bytes = sizeof(struct serial),
    .start = start,
    .reset = reset,
    .carry = carry,
};
