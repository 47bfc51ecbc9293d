/* pit.c - three counters at 1.193182 MHz; counter 0 interrupts, counter 2 is gated by
 * port 0x61.  Counts follow from the board's time: nothing runs between accesses. */
#include "virt/monitor/dev/pit.h"

#include <stdbool.h>
#include <stdint.h>

#include "contract/snap.h"
#include "virt/monitor/board/board.h"

#define HZ        1193182u
#define NS        UINT64_C(1000000000)
#define LINE      0
#define PORT      0x40u
#define CONTROL   3u
#define READ_BACK 3u

#define SPEAKER_GATE    0x01u
#define SPEAKER_DATA    0x02u
#define SPEAKER_REFRESH 0x10u
#define SPEAKER_OUT     0x20u

struct counter {
    uint64_t start_ns; /* when the count was loaded, or the gate rose */
    uint32_t count;    /* 1..65536; 0: none was loaded */
    uint16_t latch;
    uint8_t status;
    uint8_t mode;   /* 0..5 */
    uint8_t access; /* 1 low byte, 2 high byte, 3 both */
    uint8_t low;    /* written, waits for the high byte */
    bool has_low, reads_high, is_latched, has_status, gate;
};

struct pit {
    struct dev dev;
    struct board_timer timer;
    struct counter counter[3];
    uint8_t speaker;
};

static uint64_t ticks(const struct pit *p, const struct counter *c)
{
    uint64_t ns = board_now(p->dev.board) - c->start_ns;

    return (uint64_t)((unsigned __int128)ns * HZ / NS);
}

static uint64_t ns_of(uint64_t n)
{
    return (uint64_t)(((unsigned __int128)n * NS + HZ - 1) / HZ);
}

static uint16_t value(const struct pit *p, const struct counter *c)
{
    uint64_t t = ticks(p, c);

    if (c->count == 0) {
        return 0;
    }
    switch (c->mode) {
    case 2:
        return (uint16_t)(c->count - t % c->count);
    case 3:
        return (uint16_t)(c->count - t * 2 % c->count);
    default:
        return (uint16_t)(c->count - t);
    }
}

static bool output(const struct pit *p, const struct counter *c)
{
    uint64_t t = ticks(p, c);

    if (c->count == 0) {
        return c->mode != 0;
    }
    switch (c->mode) {
    case 2:
        return t % c->count != c->count - 1;
    case 3:
        return t % c->count < (c->count + 1) / 2;
    case 4:
    case 5:
        return t != c->count;
    default:
        return t >= c->count;
    }
}

/* The next interrupt of counter 0. */
static void arm(struct pit *p)
{
    struct counter *c = &p->counter[0];
    uint64_t done = c->count == 0 ? 0 : ticks(p, c) / c->count;

    board_timer_clear(p->dev.board, &p->timer);
    if (c->count == 0 || (c->mode != 2 && c->mode != 3 && done > 0)) {
        return;
    }
    board_timer_set(p->dev.board, &p->timer, c->start_ns + ns_of((done + 1) * c->count));
}

static void on_timer(struct board_timer *t)
{
    struct pit *p = (struct pit *)((char *)t - offsetof(struct pit, timer));

    board_line(p->dev.board, LINE, true);
    board_line(p->dev.board, LINE, false);
    arm(p);
}

static void load(struct pit *p, unsigned n, uint32_t count)
{
    struct counter *c = &p->counter[n];

    c->count = count == 0 ? 65536 : count;
    c->start_ns = board_now(p->dev.board);
    if (n == 0) {
        arm(p);
    }
}

static void write_counter(struct pit *p, unsigned n, uint8_t v)
{
    struct counter *c = &p->counter[n];

    if (c->access == 1) {
        load(p, n, v);
    } else if (c->access == 2) {
        load(p, n, (uint32_t)v << 8);
    } else if (!c->has_low) {
        c->low = v;
        c->has_low = true;
    } else {
        c->has_low = false;
        load(p, n, c->low | (uint32_t)v << 8);
    }
}

static uint8_t read_counter(struct pit *p, unsigned n)
{
    struct counter *c = &p->counter[n];
    uint16_t v = c->is_latched ? c->latch : value(p, c);

    if (c->has_status) {
        c->has_status = false;
        return c->status;
    }
    if (c->access == 3) {
        c->reads_high = !c->reads_high;
        if (c->reads_high) {
            return (uint8_t)v;
        }
        c->is_latched = false;
        return (uint8_t)(v >> 8);
    }
    c->is_latched = false;
    return (uint8_t)(c->access == 2 ? v >> 8 : v);
}

static void latch(struct pit *p, struct counter *c)
{
    if (!c->is_latched) {
        c->is_latched = true;
        c->latch = value(p, c);
    }
}

static void read_back(struct pit *p, uint8_t v)
{
    for (unsigned n = 0; n < 3; n++) {
        struct counter *c = &p->counter[n];

        if ((v >> (n + 1) & 1) == 0) {
            continue;
        }
        if ((v & 0x20) == 0) {
            latch(p, c);
        }
        if ((v & 0x10) == 0 && !c->has_status) {
            c->has_status = true;
            c->status = (uint8_t)((output(p, c) ? 0x80 : 0) | (c->count == 0 ? 0x40 : 0) |
                                  c->access << 4 | c->mode << 1);
        }
    }
}

static void control(struct pit *p, uint8_t v)
{
    unsigned n = v >> 6;
    struct counter *c;

    if (n == READ_BACK) {
        read_back(p, v);
        return;
    }
    c = &p->counter[n];
    if ((v >> 4 & 3) == 0) {
        latch(p, c);
        return;
    }
    c->access = v >> 4 & 3;
    c->mode = v >> 1 & 7;
    c->mode = c->mode > 5 ? c->mode & 3 : c->mode;
    c->has_low = c->reads_high = c->is_latched = c->has_status = false;
    c->count = 0;
    if (n == 0) {
        board_timer_clear(p->dev.board, &p->timer);
    }
}

static uint64_t read(void *who, uint64_t offset, unsigned bytes)
{
    (void)bytes;
    return offset == CONTROL ? 0xff : read_counter(who, (unsigned)offset);
}

static void write(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    (void)bytes;
    if (offset == CONTROL) {
        control(who, (uint8_t)v);
    } else {
        write_counter(who, (unsigned)offset, (uint8_t)v);
    }
}

static uint64_t read_speaker(void *who, uint64_t offset, unsigned bytes)
{
    struct pit *p = who;
    uint8_t refresh = board_now(p->dev.board) / 15085 & 1 ? SPEAKER_REFRESH : 0;

    (void)offset;
    (void)bytes;
    return p->speaker | refresh | (output(p, &p->counter[2]) ? SPEAKER_OUT : 0);
}

static void write_speaker(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct pit *p = who;
    struct counter *c = &p->counter[2];
    bool gate = (v & SPEAKER_GATE) != 0;

    (void)offset;
    (void)bytes;
    if (gate && !c->gate) {
        c->start_ns = board_now(p->dev.board);
    }
    c->gate = gate;
    p->speaker = v & (SPEAKER_GATE | SPEAKER_DATA);
}

static void reset(struct dev *d)
{
    struct pit *p = (struct pit *)d;

    board_timer_clear(d->board, &p->timer);
    for (unsigned n = 0; n < 3; n++) {
        p->counter[n] = (struct counter){.access = 3, .gate = n != 2};
    }
    p->speaker = 0;
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io io = {.name = "pit", .read = read, .write = write};
    static const struct board_io speaker = {
        .name = "pit", .read = read_speaker, .write = write_speaker};
    struct pit *p = (struct pit *)d;
    const struct board_claim counters = {PORT, 4, &io, p};
    const struct board_claim port = {0x61, 1, &speaker, p};
    int r = board_claim(d->board, BOARD_PORTS, &counters, e);

    (void)config;
    p->timer.fn = on_timer;
    return r == 0 ? board_claim(d->board, BOARD_PORTS, &port, e) : r;
}

static void carry_flag(bool *flag, struct snap *s)
{
    *flag = snap_number(s, *flag, 1) != 0;
}

static void carry_counter(struct pit *p, struct counter *c, struct snap *s)
{
    c->start_ns = snap_number(s, c->start_ns, board_now(p->dev.board));
    c->count = (uint32_t)snap_number(s, c->count, 65536);
    SNAP_FIELD(s, c->latch);
    SNAP_FIELD(s, c->status);
    c->mode = (uint8_t)snap_number(s, c->mode, 5);
    c->access = (uint8_t)snap_number(s, c->access, 3);
    SNAP_FIELD(s, c->low);
    carry_flag(&c->has_low, s);
    carry_flag(&c->reads_high, s);
    carry_flag(&c->is_latched, s);
    carry_flag(&c->has_status, s);
    carry_flag(&c->gate, s);
}

static void carry(struct dev *d, struct snap *s)
{
    struct pit *p = (struct pit *)d;

    for (unsigned n = 0; n < 3; n++) {
        carry_counter(p, &p->counter[n], s);
    }
    SNAP_FIELD(s, p->speaker);
    p->speaker &= SPEAKER_GATE | SPEAKER_DATA;
    if (s->is_loading) {
        arm(p);
    }
}

const struct dev_class dev_pit = {
    .name = "pit",
    .summary = "8254 interval timer and the speaker's port",
    .source = "Intel 8254 data sheet, 231164-005",
    .state_bytes = sizeof(struct pit),
    .start = start,
    .reset = reset,
    .carry = carry,
};
