/* power.c - PM1a event and control blocks, GPE0, PM timer. */
#include "virt/monitor/dev/power.h"

#include <stdbool.h>

#include "contract/snap.h"
#include "virt/monitor/board/board.h"

#define TIMER_HZ UINT64_C(3579545) /* ACPI 6.5, 4.8.2.1 */
#define NS       UINT64_C(1000000000)

#define STATUS_BUTTON 0x0100u
#define STATUS_WAKE   0x8000u
#define CONTROL_SCI   0x0001u
#define CONTROL_SLEEP 0x2000u

struct power {
    struct dev dev;
    struct power_config config;
    uint16_t status, enable, control;
    uint16_t gpe_status, gpe_enable;
};

static void update(struct power *p)
{
    board_line(p->dev.board, POWER_LINE,
               (p->status & p->enable & 0x7fff) != 0 ||
                   (p->gpe_status & p->gpe_enable) != 0);
}

void power_press(struct dev *d)
{
    struct power *p = (struct power *)d;

    board_lock(d->board);
    p->status |= STATUS_BUTTON;
    update(p);
    board_unlock(d->board);
}

void power_event(struct dev *d, unsigned gpe)
{
    struct power *p = (struct power *)d;

    board_lock(d->board);
    p->gpe_status |= (uint16_t)(1u << gpe);
    update(p);
    board_unlock(d->board);
}

static uint16_t *event_register(struct power *p, uint64_t offset)
{
    return offset < 2 ? &p->status : &p->enable;
}

static uint64_t read_event(void *who, uint64_t offset, unsigned bytes)
{
    struct power *p = who;
    uint32_t both = p->status | (uint32_t)p->enable << 16;

    (void)bytes;
    return both >> (offset * 8);
}

/* Status bits are cleared by ones. */
static void write_event(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct power *p = who;

    for (unsigned i = 0; i < bytes && offset + i < 4; i++) {
        uint16_t *reg = event_register(p, offset + i);
        unsigned shift = ((offset + i) & 1) * 8;
        uint16_t byte = (uint16_t)((v >> (i * 8) & 0xff) << shift);

        if (reg == &p->status) {
            *reg &= (uint16_t)~byte;
        } else {
            *reg = (uint16_t)((*reg & ~(0xff << shift)) | byte);
        }
    }
    update(p);
}

static uint64_t read_control(void *who, uint64_t offset, unsigned bytes)
{
    (void)bytes;
    return ((struct power *)who)->control >> (offset * 8);
}

static void write_control(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct power *p = who;
    uint64_t type;

    (void)bytes;
    if (offset != 0) {
        v = (v << 8 & 0xff00) | (p->control & 0xff);
    }
    p->control = (uint16_t)(v & ~(uint64_t)CONTROL_SLEEP) | CONTROL_SCI;
    type = v >> 10 & 7;
    if ((v & CONTROL_SLEEP) != 0 &&
        (type == POWER_SLEEP_S5 || type == POWER_SLEEP_OVMF)) {
        p->config.off(p->config.who);
    }
}

static uint64_t read_timer(void *who, uint64_t offset, unsigned bytes)
{
    const struct power *p = who;
    uint64_t now = board_now(p->dev.board);

    (void)bytes;
    return (uint32_t)((unsigned __int128)now * TIMER_HZ / NS) >> (offset * 8);
}

static void write_nothing(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    (void)who;
    (void)offset;
    (void)bytes;
    (void)v;
}

static uint64_t read_gpe(void *who, uint64_t offset, unsigned bytes)
{
    struct power *p = who;
    uint32_t both = p->gpe_status | (uint32_t)p->gpe_enable << 16;

    (void)bytes;
    return both >> (offset * 8);
}

static void write_gpe(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct power *p = who;

    for (unsigned i = 0; i < bytes && offset + i < 4; i++) {
        unsigned shift = ((offset + i) & 1) * 8;
        uint16_t byte = (uint16_t)((v >> (i * 8) & 0xff) << shift);

        if (offset + i < 2) {
            p->gpe_status &= (uint16_t)~byte;
        } else {
            p->gpe_enable = (uint16_t)((p->gpe_enable & ~(0xff << shift)) | byte);
        }
    }
    update(p);
}

static void reset(struct dev *d)
{
    struct power *p = (struct power *)d;

    p->status = p->enable = p->gpe_status = p->gpe_enable = 0;
    p->control = CONTROL_SCI;
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io event = {
        .name = "power", .read = read_event, .write = write_event};
    static const struct board_io control = {
        .name = "power", .read = read_control, .write = write_control};
    static const struct board_io timer = {
        .name = "power", .read = read_timer, .write = write_nothing};
    static const struct board_io gpe = {
        .name = "power", .read = read_gpe, .write = write_gpe};
    struct power *p = (struct power *)d;
    const struct board_claim claims[] = {{POWER_EVENT_PORT, 4, &event, p},
                                         {POWER_CONTROL_PORT, 2, &control, p},
                                         {POWER_TIMER_PORT, 4, &timer, p},
                                         {POWER_GPE_PORT, 4, &gpe, p}};
    int r = 0;

    p->config = *(const struct power_config *)config;
    for (unsigned i = 0; r == 0 && i < sizeof claims / sizeof claims[0]; i++) {
        r = board_claim(d->board, BOARD_PORTS, &claims[i], e);
    }
    return r;
}

static void carry(struct dev *d, struct snap *s)
{
    struct power *p = (struct power *)d;

    SNAP_FIELD(s, p->status);
    SNAP_FIELD(s, p->enable);
    SNAP_FIELD(s, p->control);
    SNAP_FIELD(s, p->gpe_status);
    SNAP_FIELD(s, p->gpe_enable);
}

const struct dev_class dev_power = {
    .name = "power",
    .summary = "ACPI fixed hardware: button, sleep, timer, events",
    .source = "ACPI 6.5, 4.8",
    .state_bytes = sizeof(struct power),
    .start = start,
    .reset = reset,
    .carry = carry,
};
