/* ioapic.c - redirections of interrupt lines. */
#include "virt/monitor/dev/ioapic.h"

#include "contract/snap.h"
#include "virt/monitor/board/board.h"

#define SELECT 0x00u
#define WINDOW 0x10u
#define EOI    0x40u /* version 0x20 */

#define VERSION (0x20u | (BOARD_LINES - 1) << 16)

#define ENTRY_PENDING (UINT64_C(1) << 12)
#define ENTRY_LOW     (UINT64_C(1) << 13)
#define ENTRY_REMOTE  (UINT64_C(1) << 14) /* accepted, no EOI yet */
#define ENTRY_LEVEL   (UINT64_C(1) << 15)
#define ENTRY_MASKED  (UINT64_C(1) << 16)

struct ioapic {
    struct dev dev;
    struct apic_bus bus;
    uint64_t entry[BOARD_LINES];
    uint32_t lines;
    uint32_t select;
    uint32_t id;
};

static void deliver(struct ioapic *a, unsigned n)
{
    uint64_t entry = a->entry[n];
    struct apic_message msg = {
        .dest = (uint32_t)(entry >> 56) | (uint32_t)(entry >> 49 & 0x7f) << 8,
        .vector = (uint8_t)entry,
        .mode = entry >> 8 & 7,
        .is_logical = (entry >> 11 & 1) != 0,
        .is_level = (entry & ENTRY_LEVEL) != 0,
    };

    if (msg.is_level) {
        a->entry[n] |= ENTRY_REMOTE;
    }
    a->bus.send(a->bus.who, &msg);
}

/* A level that stands and was not accepted yet. */
static void look(struct ioapic *a, unsigned n)
{
    if ((a->lines >> n & 1) != 0 &&
        (a->entry[n] & (ENTRY_MASKED | ENTRY_LEVEL | ENTRY_REMOTE)) == ENTRY_LEVEL) {
        deliver(a, n);
    }
}

/* Line 0, the timer's, comes in at input 2, as ACPI's override says. */
static void on_line(void *who, unsigned line, bool is_high)
{
    struct ioapic *a = who;
    unsigned n = line == 0 ? 2 : line;
    uint32_t bit = UINT32_C(1) << n;

    if (!is_high) {
        a->lines &= ~bit;
        return;
    }
    a->lines |= bit;
    if ((a->entry[n] & (ENTRY_MASKED | ENTRY_LEVEL)) == 0) {
        deliver(a, n);
    } else {
        look(a, n);
    }
}

void ioapic_eoi(struct dev *d, uint8_t vector)
{
    struct ioapic *a = (struct ioapic *)d;

    board_lock(d->board);
    for (unsigned n = 0; n < BOARD_LINES; n++) {
        if ((uint8_t)a->entry[n] == vector && (a->entry[n] & ENTRY_REMOTE) != 0) {
            a->entry[n] &= ~ENTRY_REMOTE;
            look(a, n);
        }
    }
    board_unlock(d->board);
}

static uint32_t read_register(const struct ioapic *a)
{
    unsigned n = (a->select - 0x10) / 2;

    switch (a->select) {
    case 0:
    case 2:
        return a->id << 24;
    case 1:
        return VERSION;
    default:
        if (a->select < 0x10 || n >= BOARD_LINES) {
            return 0;
        }
        return (uint32_t)(a->entry[n] >> (a->select & 1) * 32);
    }
}

static void write_entry(struct ioapic *a, unsigned n, unsigned half, uint32_t value)
{
    const uint64_t kept = ENTRY_PENDING | ENTRY_REMOTE;
    uint64_t mask = UINT64_C(0xffffffff) << half * 32;
    uint64_t entry = (a->entry[n] & ~mask) | (uint64_t)value << half * 32;

    a->entry[n] = (entry & ~kept) | (a->entry[n] & kept);
    if ((a->entry[n] & ENTRY_LEVEL) == 0) {
        a->entry[n] &= ~ENTRY_REMOTE;
    }
    look(a, n);
}

static void write_register(struct ioapic *a, uint32_t value)
{
    unsigned n = (a->select - 0x10) / 2;

    if (a->select == 0) {
        a->id = value >> 24 & 15;
    } else if (a->select >= 0x10 && n < BOARD_LINES) {
        write_entry(a, n, a->select & 1, value);
    }
}

static uint64_t read(void *who, uint64_t offset, unsigned bytes)
{
    const struct ioapic *a = who;

    (void)bytes;
    if (offset == SELECT) {
        return a->select;
    }
    return offset == WINDOW ? read_register(a) : 0;
}

static void write(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    struct ioapic *a = who;

    (void)bytes;
    if (offset == SELECT) {
        a->select = value & 0xff;
    } else if (offset == WINDOW) {
        write_register(a, (uint32_t)value);
    } else if (offset == EOI) {
        ioapic_eoi(&a->dev, (uint8_t)value);
    }
}

static void reset(struct dev *d)
{
    struct ioapic *a = (struct ioapic *)d;

    for (unsigned n = 0; n < BOARD_LINES; n++) {
        a->entry[n] = ENTRY_MASKED;
    }
    a->select = 0;
    a->id = IOAPIC_ID;
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io io = {.name = "ioapic", .read = read, .write = write};
    struct ioapic *a = (struct ioapic *)d;
    const struct board_claim claim = {IOAPIC_BASE, 4096, &io, a};
    const struct board_listener l = {.level = on_line, .who = a};
    int r = board_claim(d->board, BOARD_MEMORY, &claim, e);

    a->bus = *(const struct apic_bus *)config;
    return r == 0 ? board_listen(d->board, &l) : r;
}

static void carry(struct dev *d, struct snap *s)
{
    struct ioapic *a = (struct ioapic *)d;

    SNAP_FIELD(s, a->entry);
    SNAP_FIELD(s, a->lines);
    SNAP_FIELD(s, a->select);
    SNAP_FIELD(s, a->id);
}

const struct dev_class dev_ioapic = {
    .name = "ioapic",
    .summary = "I/O APIC with 24 inputs",
    .source =
        "Intel 82093AA data sheet, 290566-001, chapter 3; EOI register of version 0x20",
    .state_bytes = sizeof(struct ioapic),
    .start = start,
    .reset = reset,
    .carry = carry,
};
