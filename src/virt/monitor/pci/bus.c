/* bus.c - PCI bus 0: how the guest reaches configuration space, what answers where,
 * whose interrupt lines are high.
 *
 * Two ways lead to configuration space: the ports 0xcf8 and 0xcfc (PCI 3.2.2.3.2), and memory
 * (PCI Express 7.2.2).  Port 0xcf9, the chipset's reset register, lies in between.
 *
 * After any write to configuration space the ranges claimed from the board are compared with
 * what the registers say now: what has moved is released first, then what is wanted is
 * claimed, slot by slot.  A range that somebody else has stays unclaimed until that one goes. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/snap.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/pci/private.h"

#define PORT          0xcf8u
#define PORT_BYTES    8u
#define RESET         1u /* of these ports */
#define DATA          4u
#define ADDRESS_BITS  0x80fffffcu
#define ADDRESS_VALID 0x80000000u
#define RESET_NOW     4u
#define ECAM_BYTES    0x100000u /* of one bus */
#define BAR_PAGE      UINT64_C(4096)

struct pci_bus *pci_bus_of(struct dev *d)
{
    return (struct pci_bus *)d;
}

struct board *pci_board(const struct pci_bus *b)
{
    return b->dev.board;
}

/* ---- what answers where ---- */

static enum board_space space_of(const struct pci_bar *bar)
{
    return bar->kind == PCI_BAR_PORTS ? BOARD_PORTS : BOARD_MEMORY;
}

/* Whether a base address register is on, and where it points. */
static bool wants(const struct pci_function *f, unsigned i, uint64_t *ret)
{
    const struct pci_bar *bar = &f->bar[i];
    unsigned command = pci_get(f, PCI_COMMAND, 2);
    uint64_t low = pci_get(f, PCI_BAR + i * 4, 4);

    if (bar->kind == PCI_BAR_NONE) {
        return false;
    }
    if (bar->kind == PCI_BAR_64) {
        low |= (uint64_t)pci_get(f, PCI_BAR + i * 4 + 4, 4) << 32;
    }
    *ret = low & ~(bar->bytes - 1);
    return (command &
            (bar->kind == PCI_BAR_PORTS ? PCI_COMMAND_PORTS : PCI_COMMAND_MEMORY)) != 0;
}

static void release(struct pci_function *f, struct pci_bar *bar, unsigned parts)
{
    for (unsigned n = 0; n < parts; n++) {
        board_release(f->bus->dev.board, space_of(bar), bar->at + bar->part[n].offset);
    }
    bar->is_claimed = false;
}

/* One that waits at the same place is refused once. */
static void refuse(struct pci_function *f, struct pci_bar *bar, bool was_refused)
{
    bar->is_refused = true;
    if (!was_refused) {
        board_judge(f->bus->dev.board, false);
    }
}

static void claim(struct pci_function *f, struct pci_bar *bar, uint64_t at)
{
    bool was_refused = bar->is_refused && bar->at == at;

    bar->at = at;
    bar->is_claimed = true;
    bar->is_refused = false;
    for (unsigned n = 0; n < bar->parts; n++) {
        const struct pci_part *p = &bar->part[n];
        const struct board_claim c = {at + p->offset, p->bytes, p->io, f};

        if (board_claim(f->bus->dev.board, space_of(bar), &c, NULL) != 0) {
            release(f, bar, n);
            refuse(f, bar, was_refused);
            return;
        }
    }
    board_judge(f->bus->dev.board, true);
}

static void settle_function(struct pci_function *f, bool is_claiming)
{
    for (unsigned i = 0; i < 6; i++) {
        struct pci_bar *bar = &f->bar[i];
        uint64_t at = 0;
        bool is_wanted = f->bus != NULL && wants(f, i, &at);

        if (!is_claiming && bar->is_claimed && (!is_wanted || at != bar->at)) {
            release(f, bar, bar->parts);
        } else if (is_claiming && is_wanted && !bar->is_claimed) {
            claim(f, bar, at);
        }
    }
}

static uint64_t ecam_read(void *who, uint64_t offset, unsigned bytes);
static void ecam_write(void *who, uint64_t offset, unsigned bytes, uint64_t v);

static void settle_ecam(struct pci_bus *b, bool is_claiming)
{
    static const struct board_io io = {
        .name = "pci", .read = ecam_read, .write = ecam_write};
    uint64_t at;
    bool is_wanted = pci_host_ecam(&b->host, &at);
    struct board_claim c = {at, ECAM_BYTES, &io, b};

    if (!is_claiming && b->has_ecam && (!is_wanted || at != b->ecam)) {
        board_release(b->dev.board, BOARD_MEMORY, b->ecam);
        b->has_ecam = false;
    } else if (is_claiming && is_wanted && !b->has_ecam) {
        bool is_new = at != b->ecam;

        b->has_ecam = board_claim(b->dev.board, BOARD_MEMORY, &c, NULL) == 0;
        b->ecam = at;
        if (is_new) { /* not tried before */
            board_judge(b->dev.board, b->has_ecam);
        }
    }
}

bool pci_ecam(const struct dev *d, uint64_t *ret)
{
    return pci_host_ecam(&((const struct pci_bus *)d)->host, ret);
}

void pci_settle(struct pci_bus *b)
{
    for (unsigned step = 0; step < 2; step++) {
        settle_ecam(b, step == 1);
        for (unsigned n = 0; n < PCI_FUNCTIONS; n++) {
            if (b->function[n] != NULL) {
                settle_function(b->function[n], step == 1);
            }
        }
    }
}

/* ---- lines ---- */

void pci_drive(struct pci_function *f)
{
    uint16_t status = (uint16_t)pci_get(f, PCI_STATUS, 2);
    bool drives = f->wants_line && f->bus != NULL && f->config[PCI_PIN] != 0 &&
                  (pci_get(f, PCI_COMMAND, 2) & PCI_COMMAND_NO_LINE) == 0;
    unsigned line;

    status = (uint16_t)(status & ~PCI_STATUS_LINE);
    pci_put(f, PCI_STATUS, 2, f->wants_line ? status | PCI_STATUS_LINE : status);
    if (drives == f->drives_line) {
        return;
    }
    f->drives_line = drives;
    line = (f->slot + f->config[PCI_PIN] - 1u) % PCI_LINES;
    f->bus->lines[line] += drives ? 1u : -1u;
    board_line(f->bus->dev.board, PCI_LINE_FIRST + line, f->bus->lines[line] != 0);
}

void pci_set_line(struct pci_function *f, bool is_high)
{
    if (f->wants_line != is_high) {
        f->wants_line = is_high;
        pci_drive(f);
    }
}

/* ---- ways to configuration space ---- */

static uint64_t port_read(void *who, uint64_t offset, unsigned bytes)
{
    struct pci_bus *b = who;
    uint32_t a = b->address;

    if (offset < DATA) {
        return offset == 0 && bytes == 4 ? a : offset == RESET ? 0 : UINT64_MAX;
    }
    if ((a & ADDRESS_VALID) == 0 || bytes > 4 || (a >> 16 & 0xff) != 0) {
        return UINT64_MAX;
    }
    return pci_read(b, a >> 8 & 0xff, (a & 0xfc) + (unsigned)(offset - DATA), bytes);
}

static void port_write(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct pci_bus *b = who;
    uint32_t a = b->address;

    if (offset == 0 && bytes == 4) {
        b->address = (uint32_t)v & ADDRESS_BITS;
    } else if (offset == RESET && bytes == 1 && (v & RESET_NOW) != 0) {
        b->options.reset(b->options.who);
    } else if (offset >= DATA && bytes <= 4 && (a & ADDRESS_VALID) != 0 &&
               (a >> 16 & 0xff) == 0) {
        pci_write(b, a >> 8 & 0xff, (a & 0xfc) + (unsigned)(offset - DATA), bytes,
                  (uint32_t)v);
    }
}

static uint64_t ecam_read(void *who, uint64_t offset, unsigned bytes)
{
    unsigned where = (unsigned)(offset >> 12);
    unsigned reg = offset & 0xfff;
    uint64_t v = pci_read(who, where, reg, bytes < 4 ? bytes : 4);

    if (bytes == 8) {
        v |= (uint64_t)pci_read(who, where, reg + 4, 4) << 32;
    }
    return v;
}

static void ecam_write(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    unsigned where = (unsigned)(offset >> 12);
    unsigned reg = offset & 0xfff;

    pci_write(who, where, reg, bytes < 4 ? bytes : 4, (uint32_t)v);
    if (bytes == 8) {
        pci_write(who, where, reg + 4, 4, (uint32_t)(v >> 32));
    }
}

/* ---- functions come and go ---- */

/* Base addresses at the start, as firmware would give them out. */
static void place_bars(struct pci_bus *b, struct pci_function *f)
{
    for (unsigned i = 0; i < 6; i++) {
        const struct pci_bar *bar = &f->bar[i];
        uint64_t at = (b->place + bar->bytes - 1) & ~(bar->bytes - 1);

        if ((bar->kind == PCI_BAR_32 || bar->kind == PCI_BAR_64) &&
            at + bar->bytes - 1 <= b->options.window_last) {
            pci_put(f, PCI_BAR + i * 4, 4, (uint32_t)at | pci_get(f, PCI_BAR + i * 4, 4));
            b->place = at + (bar->bytes < BAR_PAGE ? BAR_PAGE : bar->bytes);
        }
    }
}

int pci_add(struct pci_bus *b, unsigned slot, struct pci_function *f, struct err *e)
{
    unsigned where = PCI_WHERE(slot, 0);

    if (slot >= PCI_SLOTS || b->function[where] != NULL) {
        return err_set(e, -EBUSY, "there is no free PCI slot %u", slot);
    }
    place_bars(b, f);
    f->slot = (uint8_t)slot;
    f->bus = b;
    b->function[where] = f;
    pci_settle(b);
    return 0;
}

struct pci_function *pci_function_at(const struct pci_bus *b, unsigned slot)
{
    return b->function[PCI_WHERE(slot, 0)];
}

/* The end of what was given out at the start, to those who are there. */
static uint64_t end_of_places(const struct pci_bus *b)
{
    uint64_t end = b->options.window_first;

    for (unsigned n = 0; n < PCI_FUNCTIONS; n++) {
        const struct pci_function *f = b->function[n];

        for (unsigned i = 0; f != NULL && i < 6; i++) {
            const struct pci_bar *bar = &f->bar[i];
            uint32_t first = 0;

            memcpy(&first, f->initial + PCI_BAR + i * 4, 4);
            if ((bar->kind == PCI_BAR_32 || bar->kind == PCI_BAR_64) &&
                (first & ~15u) + bar->bytes > end) {
                end = (first & ~15u) + (bar->bytes < BAR_PAGE ? BAR_PAGE : bar->bytes);
            }
        }
    }
    return end;
}

void pci_remove(struct pci_function *f)
{
    struct pci_bus *b = f->bus;

    if (b == NULL) {
        return;
    }
    f->wants_line = false;
    pci_drive(f);
    b->function[PCI_WHERE(f->slot, f->number)] = NULL;
    for (unsigned i = 0; i < 6; i++) {
        if (f->bar[i].is_claimed) {
            release(f, &f->bar[i], f->bar[i].parts);
        }
    }
    f->bus = NULL;
    b->place = end_of_places(b);
    pci_settle(b);
}

/* ---- the bus as a device ---- */

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io ports = {
        .name = "pci", .read = port_read, .write = port_write};
    struct pci_bus *b = (struct pci_bus *)d;
    const struct board_claim c = {PORT, PORT_BYTES, &ports, b};
    int r = board_claim(d->board, BOARD_PORTS, &c, e);

    b->options = *(const struct pci_config *)config;
    b->place = b->options.window_first;
    b->ecam = b->options.ecam; /* the guest did not ask for that one */
    pci_host_init(&b->host, b->options.ecam);
    pci_lpc_init(&b->lpc);
    r = r == 0 ? pci_add(b, 0, &b->host, e) : r;
    return r == 0 ? pci_add(b, PCI_SLOT_LPC, &b->lpc, e) : r;
}

static void reset(struct dev *d)
{
    struct pci_bus *b = (struct pci_bus *)d;

    b->address = 0;
    for (unsigned n = 0; n < PCI_FUNCTIONS; n++) {
        if (b->function[n] != NULL) {
            pci_function_reset(b->function[n]);
        }
    }
    pci_settle(b);
}

static void stop(struct dev *d)
{
    struct pci_bus *b = (struct pci_bus *)d;

    for (unsigned n = PCI_FUNCTIONS; n-- > 0;) {
        struct pci_function *f = b->function[n];

        if (f != NULL) {
            pci_remove(f);
            if (f->ops->destroy != NULL) {
                f->ops->destroy(f);
            }
        }
    }
}

/* What a guest cannot have written, and no device has changed, must be ours. */
static void carry_config(struct pci_function *f, struct snap *s)
{
    uint8_t config[PCI_CONFIG_BYTES];

    memcpy(config, f->config, sizeof config);
    SNAP_FIELD(s, config);
    for (unsigned i = 0; i < sizeof config && snap_error(s) == 0; i++) {
        if (i != PCI_STATUS && ((config[i] ^ f->config[i]) & ~f->mask[i]) != 0) {
            snap_refuse(s);
        }
    }
    if (snap_error(s) == 0) {
        config[PCI_STATUS] = f->config[PCI_STATUS];
        memcpy(f->config, config, sizeof config);
    }
}

static void carry_function(struct pci_function *f, struct snap *s)
{
    carry_config(f, s);
    snap_bool(s, &f->wants_line);
    if (f->msix.count != 0) {
        SNAP_FIELD(s, f->msix.entry);
        SNAP_FIELD(s, f->msix.pending);
    }
    if (f->ops->carry != NULL) {
        f->ops->carry(f, s);
    }
    if (s->is_loading) {
        pci_drive(f);
    }
}

/* Each function with its name before it, so that it meets itself again. */
static void carry(struct dev *d, struct snap *s)
{
    struct pci_bus *b = (struct pci_bus *)d;

    SNAP_FIELD(s, b->address);
    for (unsigned n = 0; n < PCI_FUNCTIONS && snap_error(s) == 0; n++) {
        char name[16] = "";
        char here[16] = "";

        if (b->function[n] != NULL) {
            (void)strncpy(here, b->function[n]->ops->name, sizeof here - 1);
        }
        memcpy(name, here, sizeof name);
        SNAP_FIELD(s, name);
        if (memcmp(name, here, sizeof name) != 0) {
            snap_refuse(s);
        } else if (b->function[n] != NULL) {
            carry_function(b->function[n], s);
        }
    }
    if (s->is_loading) {
        pci_settle(b);
    }
}

void pci_rest(struct dev *d)
{
    struct pci_bus *b = (struct pci_bus *)d;

    for (unsigned n = 0; n < PCI_FUNCTIONS; n++) {
        if (b->function[n] != NULL && b->function[n]->ops->rest != NULL) {
            b->function[n]->ops->rest(b->function[n]);
        }
    }
}

bool pci_rests(struct dev *d)
{
    struct pci_bus *b = (struct pci_bus *)d;
    bool rests = true;

    for (unsigned n = 0; n < PCI_FUNCTIONS; n++) {
        if (b->function[n] != NULL && b->function[n]->ops->rests != NULL) {
            rests = b->function[n]->ops->rests(b->function[n]) && rests;
        }
    }
    return rests;
}

void pci_wake(struct dev *d)
{
    struct pci_bus *b = (struct pci_bus *)d;

    for (unsigned n = 0; n < PCI_FUNCTIONS; n++) {
        if (b->function[n] != NULL && b->function[n]->ops->wake != NULL) {
            b->function[n]->ops->wake(b->function[n]);
        }
    }
}

static bool rest(struct dev *d)
{
    pci_rest(d);
    return pci_rests(d);
}

const struct dev_class dev_pci = {
    .name = "pci",
    .summary = "PCI bus 0 with its host bridge and the bridge to the chips of a PC",
    .source = "PCI Local Bus Specification 3.0, 3.2.2.3 and 6; Intel 319967 and 316972",
    .state_bytes = sizeof(struct pci_bus),
    .start = start,
    .reset = reset,
    .carry = carry,
    .rest = rest,
    .wake = pci_wake,
    .stop = stop,
};
