/* pic.c - two 8259A: eight inputs each, the second behind input 2 of the first.
 *
 * Fixed priorities, edge or level triggered by ELCR; no rotation but by command, no
 * special mask mode, no poll. */
#include "virt/monitor/dev/pic.h"

#include <stdint.h>

#include "contract/snap.h"
#include "virt/monitor/board/board.h"

#define CASCADE       2
#define SPURIOUS      7
#define ICW1          0x10u
#define ICW1_ICW4     0x01u
#define ICW4_AUTO_EOI 0x02u
#define OCW3          0x08u
#define OCW3_READ_ISR 0x03u
#define OCW3_READ_IRR 0x02u
#define EOI           0x20u
#define EOI_SPECIFIC  0x40u

struct chip {
    uint8_t irr, isr, imr, lines, elcr;
    uint8_t base;    /* vector of input 0 */
    uint8_t step;    /* of the initialisation: 0 done, else the ICW that comes */
    bool wants_icw4; /* as ICW1 said */
    bool auto_eoi;
    bool reads_isr;
};

struct pic {
    struct dev dev;
    struct pic_config config;
    struct chip chip[2];
    bool output;
};

/* The input of highest priority that is asked for and not held up; -1: none. */
static int next_of(const struct chip *c)
{
    uint8_t asked = c->irr & (uint8_t)~c->imr;
    unsigned n = asked == 0 ? 8 : (unsigned)__builtin_ctz(asked);
    unsigned held = c->isr == 0 ? 8 : (unsigned)__builtin_ctz(c->isr);

    return n < held ? (int)n : -1;
}

static void update(struct pic *p)
{
    bool output;

    if (next_of(&p->chip[1]) >= 0) {
        p->chip[0].irr |= 1u << CASCADE;
    } else {
        p->chip[0].irr &= (uint8_t) ~(1u << CASCADE);
    }
    output = next_of(&p->chip[0]) >= 0;
    if (output != p->output) {
        p->output = output;
        p->config.output(p->config.who, output);
    }
}

static void on_line(void *who, unsigned line, bool is_high)
{
    struct pic *p = who;
    struct chip *c = &p->chip[line >> 3 & 1];
    uint8_t bit = (uint8_t)(1u << (line & 7));

    if (line >= 16) {
        return;
    }
    if (is_high) {
        c->irr |= bit;
        c->lines |= bit;
    } else {
        c->lines &= (uint8_t)~bit;
        if ((c->elcr & bit) != 0) {
            c->irr &= (uint8_t)~bit;
        }
    }
    update(p);
}

static unsigned acknowledge(struct chip *c)
{
    int n = next_of(c);
    uint8_t bit;

    if (n < 0) {
        return SPURIOUS;
    }
    bit = (uint8_t)(1u << n);
    if (!c->auto_eoi) {
        c->isr |= bit;
    }
    if ((c->elcr & bit) == 0) {
        c->irr &= (uint8_t)~bit;
    }
    return (unsigned)n;
}

bool pic_asks(struct dev *d)
{
    bool asks;

    board_lock(d->board);
    asks = ((struct pic *)d)->output;
    board_unlock(d->board);
    return asks;
}

int pic_take(struct dev *d)
{
    struct pic *p = (struct pic *)d;
    unsigned n;
    int vector;

    board_lock(d->board);
    n = acknowledge(&p->chip[0]);
    if (n == CASCADE) {
        n = acknowledge(&p->chip[1]);
        vector = p->chip[1].base + (int)n;
    } else {
        vector = p->chip[0].base + (int)n;
    }
    p->output = false; /* the edge comes anew for what is left */
    update(p);
    board_unlock(d->board);
    return vector;
}

static uint64_t read_chip(void *who, unsigned chip, uint64_t offset)
{
    const struct chip *c = &((struct pic *)who)->chip[chip];

    if (offset == 1) {
        return c->imr;
    }
    return c->reads_isr ? c->isr : c->irr;
}

static void command(struct chip *c, uint8_t v)
{
    if ((v & ICW1) != 0) {
        uint8_t elcr = c->elcr;
        uint8_t lines = c->lines;

        *c = (struct chip){
            .elcr = elcr, .lines = lines, .step = 2, .wants_icw4 = (v & ICW1_ICW4) != 0};
    } else if ((v & OCW3) != 0) {
        if ((v & 3) == OCW3_READ_ISR) {
            c->reads_isr = true;
        } else if ((v & 3) == OCW3_READ_IRR) {
            c->reads_isr = false;
        }
    } else if ((v & EOI) != 0) {
        if ((v & EOI_SPECIFIC) != 0) {
            c->isr &= (uint8_t) ~(1u << (v & 7));
        } else {
            c->isr &= (uint8_t)(c->isr - 1);
        }
    }
}

static void data(struct chip *c, uint8_t v)
{
    switch (c->step) {
    case 2:
        c->base = v & 0xf8;
        c->step = 3;
        break;
    case 3:
        c->step = c->wants_icw4 ? 4 : 0;
        break;
    case 4:
        c->auto_eoi = (v & ICW4_AUTO_EOI) != 0;
        c->step = 0;
        break;
    default:
        c->imr = v;
        break;
    }
}

static void write_chip(void *who, unsigned chip, uint64_t offset, uint64_t value)
{
    struct pic *p = who;

    if (offset == 0) {
        command(&p->chip[chip], (uint8_t)value);
    } else {
        data(&p->chip[chip], (uint8_t)value);
    }
    update(p);
}

static uint64_t read_first(void *who, uint64_t offset, unsigned bytes)
{
    (void)bytes;
    return read_chip(who, 0, offset);
}

static uint64_t read_second(void *who, uint64_t offset, unsigned bytes)
{
    (void)bytes;
    return read_chip(who, 1, offset);
}

static void write_first(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    (void)bytes;
    write_chip(who, 0, offset, value);
}

static void write_second(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    (void)bytes;
    write_chip(who, 1, offset, value);
}

/* ELCR: which inputs are level triggered; never those of timer, keyboard, cascade, RTC. */
static uint64_t read_elcr(void *who, uint64_t offset, unsigned bytes)
{
    (void)bytes;
    return ((struct pic *)who)->chip[offset & 1].elcr;
}

static void write_elcr(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    static const uint8_t may[2] = {0xf8, 0xde};

    (void)bytes;
    ((struct pic *)who)->chip[offset & 1].elcr = (uint8_t)value & may[offset & 1];
}

static void reset(struct dev *d)
{
    struct pic *p = (struct pic *)d;

    p->chip[0] = p->chip[1] = (struct chip){.imr = 0xff};
    p->output = false;
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io first = {
        .name = "pic", .read = read_first, .write = write_first};
    static const struct board_io second = {
        .name = "pic", .read = read_second, .write = write_second};
    static const struct board_io elcr = {
        .name = "pic", .read = read_elcr, .write = write_elcr};
    struct pic *p = (struct pic *)d;
    const struct board_claim claims[] = {
        {0x20, 2, &first, p}, {0xa0, 2, &second, p}, {0x4d0, 2, &elcr, p}};
    const struct board_listener l = {.level = on_line, .who = p};

    p->config = *(const struct pic_config *)config;
    for (unsigned i = 0; i < sizeof claims / sizeof claims[0]; i++) {
        int r = board_claim(d->board, BOARD_PORTS, &claims[i], e);

        if (r != 0) {
            return r;
        }
    }
    return board_listen(d->board, &l);
}

static void carry_chip(struct chip *c, struct snap *s)
{
    SNAP_FIELD(s, c->irr);
    SNAP_FIELD(s, c->isr);
    SNAP_FIELD(s, c->imr);
    SNAP_FIELD(s, c->lines);
    SNAP_FIELD(s, c->elcr);
    SNAP_FIELD(s, c->base);
    c->step = (uint8_t)snap_number(s, c->step, 4);
    c->wants_icw4 = snap_number(s, c->wants_icw4, 1) != 0;
    c->auto_eoi = snap_number(s, c->auto_eoi, 1) != 0;
    c->reads_isr = snap_number(s, c->reads_isr, 1) != 0;
}

static void carry(struct dev *d, struct snap *s)
{
    struct pic *p = (struct pic *)d;

    for (unsigned n = 0; n < 2; n++) {
        carry_chip(&p->chip[n], s);
    }
    p->output = snap_number(s, p->output, 1) != 0;
}

const struct dev_class dev_pic = {
    .name = "pic",
    .summary = "two 8259A interrupt controllers",
    .source = "Intel 8259A data sheet, 231468-003; ELCR: 82371SB, 290550-002, 2.3.12",
    .state_bytes = sizeof(struct pic),
    .start = start,
    .reset = reset,
    .carry = carry,
};
