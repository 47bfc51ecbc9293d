/* cpus.c - the registers by which a guest learns of processors that come and go. */
#include "contract/snap.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/dev/power.h"
#include "virt/monitor/plug/plug.h"

#define REG_SELECTOR                                                                     \
    0x0u /* written; read: the command's second word, 0 for what we know */
#define REG_STATUS  0x4u /* read; written: control */
#define REG_COMMAND 0x5u
#define REG_DATA    0x8u

#define STATUS_THERE  0x01u
#define STATUS_CAME   0x02u
#define STATUS_WANTED 0x04u
#define CONTROL_CAME  0x02u /* ones clear */
#define CONTROL_ASKED 0x04u
#define CONTROL_EJECT 0x08u

#define COMMAND_NEXT 0u /* select one with an event; data: which */
#define COMMAND_ID   3u /* data: its local APIC's identifier */

struct plug_cpus {
    struct dev dev;
    struct plug_cpus_config config;
    uint64_t there;  /* a bit for each processor */
    uint64_t came;   /* the guest was not told yet */
    uint64_t wanted; /* ... that we want them back */
    uint64_t asked;  /* it has been told, and was not done yet */
    uint32_t selector;
    uint8_t command;
};

static bool selects(const struct plug_cpus *p)
{
    return p->selector < p->config.most;
}

static uint64_t chosen(const struct plug_cpus *p)
{
    return UINT64_C(1) << p->selector;
}

static void select_next(struct plug_cpus *p)
{
    for (unsigned i = 0; i < p->config.most; i++) {
        unsigned at = (p->selector + i) % p->config.most;

        if (((p->came | p->wanted) >> at & 1) != 0) {
            p->selector = at;
            return;
        }
    }
}

/* ---- what the guest does ---- */

static uint8_t status(const struct plug_cpus *p)
{
    return (uint8_t)(((p->there & chosen(p)) != 0 ? STATUS_THERE : 0) |
                     ((p->came & chosen(p)) != 0 ? STATUS_CAME : 0) |
                     ((p->wanted & chosen(p)) != 0 ? STATUS_WANTED : 0));
}

static uint64_t read_register(void *who, uint64_t offset, unsigned bytes)
{
    const struct plug_cpus *p = who;

    (void)bytes;
    if (!selects(p)) {
        return 0;
    }
    if (offset == REG_STATUS) {
        return status(p);
    }
    return offset == REG_DATA && (p->command == COMMAND_NEXT || p->command == COMMAND_ID)
               ? p->selector
               : 0;
}

/* The first one never goes; one that nobody wants back does not either. */
static void eject(struct plug_cpus *p)
{
    uint64_t one = chosen(p);
    bool may_go = (p->there & p->asked & one & ~UINT64_C(1)) != 0;

    board_judge(p->dev.board, may_go);
    if (may_go) {
        p->there &= ~one;
        p->came &= ~one;
        p->asked &= ~one;
        p->wanted &= ~one;
        p->config.change(p->config.who, p->selector, false);
    }
}

static void control(struct plug_cpus *p, uint64_t v)
{
    if ((v & CONTROL_CAME) != 0) {
        p->came &= ~chosen(p);
    }
    if ((v & CONTROL_ASKED) != 0) {
        p->wanted &= ~chosen(p);
    }
    if ((v & CONTROL_EJECT) != 0) {
        eject(p);
    }
}

static void write_register(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct plug_cpus *p = who;

    if (offset == REG_SELECTOR && bytes == 4) {
        p->selector = (uint32_t)v;
    } else if (!selects(p)) {
        return;
    } else if (offset == REG_STATUS) {
        control(p, v);
    } else if (offset == REG_COMMAND) {
        p->command = (uint8_t)v;
        if (p->command == COMMAND_NEXT) {
            select_next(p);
        }
    }
}

/* ---- what the machine does ---- */

uint64_t plug_cpus_there(const struct dev *d)
{
    const struct plug_cpus *p = (const struct plug_cpus *)d;
    uint64_t there;

    board_lock(d->board);
    there = p->there;
    board_unlock(d->board);
    return there;
}

void plug_cpus_add(struct dev *d, unsigned index)
{
    struct plug_cpus *p = (struct plug_cpus *)d;

    board_lock(d->board);
    p->there |= UINT64_C(1) << index;
    p->came |= UINT64_C(1) << index;
    board_unlock(d->board);
    power_event(p->config.power, PLUG_CPUS_EVENT);
}

void plug_cpus_ask(struct dev *d, unsigned index)
{
    struct plug_cpus *p = (struct plug_cpus *)d;

    board_lock(d->board);
    p->wanted |= UINT64_C(1) << index;
    p->asked |= UINT64_C(1) << index;
    board_unlock(d->board);
    power_event(p->config.power, PLUG_CPUS_EVENT);
}

void plug_cpus_keep(struct dev *d)
{
    struct plug_cpus *p = (struct plug_cpus *)d;

    board_lock(d->board);
    p->wanted = p->asked = 0;
    board_unlock(d->board);
}

/* ---- its life ---- */

static void tell_all(struct plug_cpus *p, uint64_t were)
{
    for (unsigned i = 0; i < p->config.most; i++) {
        if (((were ^ p->there) >> i & 1) != 0) {
            p->config.change(p->config.who, i, (p->there >> i & 1) != 0);
        }
    }
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io io = {
        .name = "plug-cpus", .read = read_register, .write = write_register};
    struct plug_cpus *p = (struct plug_cpus *)d;
    const struct board_claim claim = {PLUG_CPUS_PORT, PLUG_CPUS_BYTES, &io, p};

    p->config = *(const struct plug_cpus_config *)config;
    p->there = UINT64_MAX >> (PLUG_CPUS_MOST - p->config.cpus);
    return board_claim(d->board, BOARD_PORTS, &claim, e);
}

/* The tables of the next start name what is there; what the guest was asked for, nobody uses
 * now. */
static void reset(struct dev *d)
{
    struct plug_cpus *p = (struct plug_cpus *)d;
    uint64_t were = p->there;

    p->there &= ~p->asked | 1;
    p->came = p->wanted = p->asked = 0;
    p->selector = 0;
    p->command = COMMAND_NEXT;
    tell_all(p, were);
}

static void carry(struct dev *d, struct snap *s)
{
    struct plug_cpus *p = (struct plug_cpus *)d;
    uint64_t all = UINT64_MAX >> (PLUG_CPUS_MOST - p->config.most);
    uint64_t were = p->there;

    p->there = snap_number(s, p->there, all);
    p->came = snap_number(s, p->came, all);
    p->wanted = snap_number(s, p->wanted, all);
    p->asked = snap_number(s, p->asked, all);
    SNAP_FIELD(s, p->selector);
    SNAP_FIELD(s, p->command);
    if (s->is_loading) {
        p->there |= 1;
        tell_all(p, were);
    }
}

const struct dev_class dev_plug_cpus = {
    .name = "plug-cpus",
    .summary = "processors that come and go",
    .source = "QEMU docs/specs/acpi_cpu_hotplug; ACPI 6.5, 5.6.6, 8.4",
    .state_bytes = sizeof(struct plug_cpus),
    .start = start,
    .reset = reset,
    .carry = carry,
};
