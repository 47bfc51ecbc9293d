/* rtc.c - time of day in UTC, 128 bytes, alarm and update interrupts.
 *
 * The time is the host's plus what the guest set.  Periodic interrupts (RS bits) come
 * from the board's timers as the others do. */
#include "virt/monitor/dev/rtc.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "contract/snap.h"
#include "virt/monitor/board/board.h"

#define LINE 8
#define PORT 0x70u

enum {
    SECONDS = 0,
    SECONDS_ALARM = 1,
    MINUTES = 2,
    MINUTES_ALARM = 3,
    HOURS = 4,
    HOURS_ALARM = 5,
    DAY_OF_WEEK = 6,
    DAY = 7,
    MONTH = 8,
    YEAR = 9,
    REG_A = 10,
    REG_B = 11,
    REG_C = 12,
    REG_D = 13,
    CENTURY = 0x32, /* as the FADT says */
};

#define A_UIP    0x80u
#define B_SET    0x80u
#define B_PIE    0x40u
#define B_AIE    0x20u
#define B_UIE    0x10u
#define B_BINARY 0x04u
#define B_24H    0x02u
#define C_IRQ    0x80u
#define C_PF     0x40u
#define C_AF     0x20u
#define C_UF     0x10u
#define D_VALID  0x80u

#define NS UINT64_C(1000000000)

struct rtc {
    struct dev dev;
    struct board_timer tick; /* seconds, while anybody wants them */
    struct board_timer periodic;
    struct rtc_config config;
    int64_t offset_s; /* of the guest's time to the host's */
    uint8_t index;
    uint8_t reg[128];
};

static int64_t host_s(const struct rtc *c)
{
    return (int64_t)(board_day_ns(c->dev.board) / NS);
}

static uint8_t coded(const struct rtc *c, int v)
{
    unsigned u = (unsigned)(v < 0 ? -v : v); /* years before 0 have no digits */

    return (uint8_t)((c->reg[REG_B] & B_BINARY) != 0 ? u : u / 10 << 4 | u % 10);
}

static int decoded(const struct rtc *c, uint8_t v)
{
    return (c->reg[REG_B] & B_BINARY) != 0 ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t coded_hour(const struct rtc *c, int hour)
{
    if ((c->reg[REG_B] & B_24H) != 0) {
        return coded(c, hour);
    }
    return (uint8_t)(coded(c, hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0));
}

/* The registers of the time follow the clock, but while it is being set. */
static void refresh(struct rtc *c)
{
    time_t now = host_s(c) + c->offset_s;
    struct tm t;

    if ((c->reg[REG_B] & B_SET) != 0 || gmtime_r(&now, &t) == NULL) {
        return;
    }
    c->reg[SECONDS] = coded(c, t.tm_sec);
    c->reg[MINUTES] = coded(c, t.tm_min);
    c->reg[HOURS] = coded_hour(c, t.tm_hour);
    c->reg[DAY_OF_WEEK] = coded(c, t.tm_wday + 1);
    c->reg[DAY] = coded(c, t.tm_mday);
    c->reg[MONTH] = coded(c, t.tm_mon + 1);
    c->reg[YEAR] = coded(c, t.tm_year % 100);
    c->reg[CENTURY] = coded(c, (t.tm_year + 1900) / 100);
}

static void set_from_registers(struct rtc *c)
{
    int hour = decoded(c, c->reg[HOURS] & 0x7f);
    struct tm t = {
        .tm_sec = decoded(c, c->reg[SECONDS]),
        .tm_min = decoded(c, c->reg[MINUTES]),
        .tm_mday = decoded(c, c->reg[DAY]),
        .tm_mon = decoded(c, c->reg[MONTH]) - 1,
        .tm_year = decoded(c, c->reg[CENTURY]) * 100 + decoded(c, c->reg[YEAR]) - 1900,
    };

    if ((c->reg[REG_B] & B_24H) == 0) {
        hour = hour % 12 + ((c->reg[HOURS] & 0x80) != 0 ? 12 : 0);
    }
    t.tm_hour = hour;
    c->offset_s = (int64_t)timegm(&t) - host_s(c);
}

static void raise(struct rtc *c, uint8_t causes)
{
    c->reg[REG_C] |= causes;
    if ((c->reg[REG_C] & c->reg[REG_B] & (C_PF | C_AF | C_UF)) != 0) {
        c->reg[REG_C] |= C_IRQ;
        board_line(c->dev.board, LINE, true);
    }
}

static bool meets(const struct rtc *c, unsigned alarm, unsigned now)
{
    return c->reg[alarm] >= 0xc0 || c->reg[alarm] == c->reg[now];
}

static void arm_tick(struct rtc *c)
{
    if ((c->reg[REG_B] & (B_AIE | B_UIE)) != 0 && (c->reg[REG_B] & B_SET) == 0) {
        board_timer_set(c->dev.board, &c->tick,
                        board_now(c->dev.board) + (NS - board_day_ns(c->dev.board) % NS));
    } else {
        board_timer_clear(c->dev.board, &c->tick);
    }
}

static void on_tick(struct board_timer *t)
{
    struct rtc *c = (struct rtc *)((char *)t - offsetof(struct rtc, tick));
    bool alarm;

    refresh(c);
    alarm = meets(c, SECONDS_ALARM, SECONDS) && meets(c, MINUTES_ALARM, MINUTES) &&
            meets(c, HOURS_ALARM, HOURS);
    raise(c, (uint8_t)(C_UF | (alarm ? C_AF : 0)));
    arm_tick(c);
}

static void arm_periodic(struct rtc *c)
{
    unsigned rate = c->reg[REG_A] & 15;

    if ((c->reg[REG_B] & B_PIE) == 0 || rate == 0) {
        board_timer_clear(c->dev.board, &c->periodic);
        return;
    }
    rate += rate <= 2 ? 7 : 0;
    board_timer_set(c->dev.board, &c->periodic,
                    board_now(c->dev.board) + (NS << (rate - 1)) / 32768);
}

static void on_periodic(struct board_timer *t)
{
    struct rtc *c = (struct rtc *)((char *)t - offsetof(struct rtc, periodic));

    raise(c, C_PF);
    arm_periodic(c);
}

static uint8_t read_register(struct rtc *c)
{
    uint8_t v;

    refresh(c);
    v = c->reg[c->index];
    if (c->index == REG_C) {
        c->reg[REG_C] = 0;
        board_line(c->dev.board, LINE, false);
    }
    return v;
}

static void write_register(struct rtc *c, uint8_t v)
{
    bool was_set = (c->reg[REG_B] & B_SET) != 0;

    switch (c->index) {
    case REG_A:
        c->reg[REG_A] = v & 0x7f;
        break;
    case REG_B:
        refresh(c);
        c->reg[REG_B] = v;
        if (was_set && (v & B_SET) == 0) {
            set_from_registers(c);
        }
        break;
    case REG_C:
    case REG_D:
        return;
    default:
        c->reg[c->index] = v;
        if ((c->index <= YEAR || c->index == CENTURY) && (c->index & 1) == 0 &&
            !was_set) {
            set_from_registers(c);
        }
        break;
    }
    arm_tick(c);
    arm_periodic(c);
}

static uint64_t read(void *who, uint64_t offset, unsigned bytes)
{
    (void)bytes;
    return offset == 0 ? 0xff : read_register(who);
}

static void write(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct rtc *c = who;

    (void)bytes;
    if (offset == 0) {
        c->index = v & 0x7f;
    } else {
        write_register(c, (uint8_t)v);
    }
}

/* Where SeaBIOS and Bochs' BIOS look for the memory's size and the number of vCPUs. */
static void fill(struct rtc *c)
{
    uint64_t low = c->config.low_bytes;
    uint64_t high = (c->config.memory_bytes - low) >> 16;
    uint64_t kib = low > (1 << 20) ? (low - (1 << 20)) >> 10 : 0;
    uint64_t blocks = low > (16 << 20) ? (low - (16 << 20)) >> 16 : 0;

    kib = kib > 0xffff ? 0xffff : kib;
    c->reg[0x15] = 640 & 0xff;
    c->reg[0x16] = 640 >> 8;
    c->reg[0x17] = c->reg[0x30] = kib & 0xff;
    c->reg[0x18] = c->reg[0x31] = kib >> 8 & 0xff;
    c->reg[0x34] = blocks & 0xff;
    c->reg[0x35] = blocks >> 8 & 0xff;
    for (unsigned i = 0; i < 3; i++) {
        c->reg[0x5b + i] = high >> (i * 8) & 0xff;
    }
    c->reg[0x5f] = (uint8_t)(c->config.cpus - 1);
}

static void reset(struct dev *d)
{
    struct rtc *c = (struct rtc *)d;

    c->reg[REG_A] = 0x26;
    c->reg[REG_B] = B_24H;
    c->reg[REG_C] = 0;
    c->reg[REG_D] = D_VALID;
    board_timer_clear(d->board, &c->tick);
    board_timer_clear(d->board, &c->periodic);
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io io = {.name = "rtc", .read = read, .write = write};
    struct rtc *c = (struct rtc *)d;
    const struct board_claim claim = {PORT, 2, &io, c};

    c->config = *(const struct rtc_config *)config;
    c->tick.fn = on_tick;
    c->periodic.fn = on_periodic;
    fill(c);
    return board_claim(d->board, BOARD_PORTS, &claim, e);
}

/* Its phase is the guest's. */
static void carry_periodic(struct rtc *c, struct snap *s)
{
    bool is_set = snap_number(s, c->periodic.set, 1) != 0;
    uint64_t at = snap_number(s, is_set ? c->periodic.at_ns : 0, INT64_MAX);

    if (s->is_loading) {
        board_timer_clear(c->dev.board, &c->periodic);
        if (is_set) {
            board_timer_set(c->dev.board, &c->periodic, at);
        }
    }
}

static void carry(struct dev *d, struct snap *s)
{
    struct rtc *c = (struct rtc *)d;

    SNAP_FIELD(s, c->offset_s);
    SNAP_FIELD(s, c->index);
    SNAP_FIELD(s, c->reg);
    c->index &= 0x7f;
    carry_periodic(c, s);
    if (s->is_loading) {
        arm_tick(c); /* with the seconds of the host */
    }
}

const struct dev_class dev_rtc = {
    .name = "rtc",
    .summary = "real-time clock and CMOS memory",
    .source =
        "Motorola MC146818A data sheet; CMOS bytes: Bochs and SeaBIOS sources' documentation",
    .state_bytes = sizeof(struct rtc),
    .start = start,
    .reset = reset,
    .carry = carry,
};
