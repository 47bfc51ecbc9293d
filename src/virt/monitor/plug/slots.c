/* slots.c - the registers by which a guest learns of functions of PCI bus 0 that come and are
 * wanted back, a bit for each slot. */
#include "contract/snap.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/dev/power.h"
#include "virt/monitor/plug/plug.h"

#define REG_CAME   0x00u /* read, and known by that */
#define REG_WANTED 0x04u /* read */
#define REG_EJECT  0x08u /* written: ones go */
#define REG_CAN_GO 0x0cu /* read: slots whose functions may go at all */
#define REG_BUS    0x10u /* which bus is meant: there is one */

struct plug_slots {
    struct dev dev;
    struct plug_slots_config config;
    uint32_t there;
    uint32_t came;   /* the guest was not told yet */
    uint32_t wanted; /* ... back, and not let go of yet */
    uint32_t left;   /* the guest let go of it, and it is still plugged in */
    uint32_t bus;
};

/* ---- what the guest does ---- */

static uint64_t read_register(void *who, uint64_t offset, unsigned bytes)
{
    struct plug_slots *p = who;
    uint32_t came = p->came;

    if (bytes != 4) {
        return 0;
    }
    if (offset == REG_BUS) {
        return p->bus;
    }
    if (p->bus != 0) { /* nothing comes there */
        return 0;
    }
    if (offset == REG_CAME) {
        p->came = 0;
        return came;
    }
    return offset == REG_WANTED ? p->wanted : offset == REG_CAN_GO ? p->config.slots : 0;
}

/* What nobody wants back does not go. */
static void let_go(struct plug_slots *p, uint32_t slots)
{
    uint32_t leave = slots & p->wanted & p->there;

    p->wanted &= ~leave;
    p->came &= ~leave;
    p->left |= leave;
    if (leave != 0) {
        p->config.leave(p->config.who);
    }
}

static void write_register(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct plug_slots *p = who;

    if (bytes == 4 && offset == REG_BUS) {
        p->bus = (uint32_t)v;
    } else if (bytes == 4 && offset == REG_EJECT && p->bus == 0) {
        board_judge(p->dev.board, ((uint32_t)v & p->wanted & p->there) != 0);
        let_go(p, (uint32_t)v);
    }
}

/* ---- what the machine does ---- */

void plug_slots_add(struct dev *d, unsigned slot)
{
    struct plug_slots *p = (struct plug_slots *)d;

    board_lock(d->board);
    p->there |= 1u << slot;
    p->came |= 1u << slot;
    board_unlock(d->board);
    power_event(p->config.power, PLUG_SLOTS_EVENT);
}

void plug_slots_ask(struct dev *d, unsigned slot)
{
    struct plug_slots *p = (struct plug_slots *)d;

    board_lock(d->board);
    p->wanted |= p->there & ~p->left & 1u << slot;
    board_unlock(d->board);
    power_event(p->config.power, PLUG_SLOTS_EVENT);
}

void plug_slots_keep(struct dev *d, unsigned slot)
{
    struct plug_slots *p = (struct plug_slots *)d;

    board_lock(d->board);
    p->wanted &= ~(1u << slot);
    board_unlock(d->board);
}

uint32_t plug_slots_there(const struct dev *d)
{
    return ((const struct plug_slots *)d)->there;
}

uint32_t plug_slots_left(struct dev *d)
{
    const struct plug_slots *p = (const struct plug_slots *)d;
    uint32_t left;

    board_lock(d->board);
    left = p->left;
    board_unlock(d->board);
    return left;
}

bool plug_slots_moves(struct dev *d)
{
    struct plug_slots *p = (struct plug_slots *)d;
    bool moves;

    board_lock(d->board);
    moves = (p->wanted | p->left) != 0;
    board_unlock(d->board);
    return moves;
}

void plug_slots_gone(struct dev *d, unsigned slot)
{
    struct plug_slots *p = (struct plug_slots *)d;

    board_lock(d->board);
    p->there &= ~(1u << slot);
    p->left &= ~(1u << slot);
    board_unlock(d->board);
}

/* ---- its life ---- */

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io io = {
        .name = "plug-slots", .read = read_register, .write = write_register};
    struct plug_slots *p = (struct plug_slots *)d;
    const struct board_claim claim = {PLUG_SLOTS_PORT, PLUG_SLOTS_BYTES, &io, p};

    p->config = *(const struct plug_slots_config *)config;
    p->there = p->config.there;
    return board_claim(d->board, BOARD_PORTS, &claim, e);
}

/* What the guest was asked for, nobody uses now. */
static void reset(struct dev *d)
{
    struct plug_slots *p = (struct plug_slots *)d;

    p->bus = 0;
    let_go(p, p->wanted);
    p->came = p->wanted = 0;
}

/* What is there is the machine's own affair, and who wanted something back does not wait for
 * another machine. */
static void carry(struct dev *d, struct snap *s)
{
    struct plug_slots *p = (struct plug_slots *)d;
    uint32_t there = p->there;

    SNAP_FIELD(s, there);
    p->came = (uint32_t)snap_number(s, p->came, UINT32_MAX);
    p->left = (uint32_t)snap_number(s, p->left, UINT32_MAX);
    SNAP_FIELD(s, p->bus);
    if (there != p->there || ((p->came | p->left) & ~there) != 0) {
        p->came = p->left = 0;
        snap_refuse(s);
    }
    if (s->is_loading) {
        p->wanted = 0;
    }
    if (s->is_loading && p->left != 0) {
        p->config.leave(p->config.who);
    }
}

const struct dev_class dev_plug_slots = {
    .name = "plug-slots",
    .summary = "functions of PCI bus 0 that come and go",
    .source = "QEMU docs/specs/acpi_pci_hotplug; ACPI 6.5, 5.6.6, 6.3",
    .state_bytes = sizeof(struct plug_slots),
    .start = start,
    .reset = reset,
    .carry = carry,
};
