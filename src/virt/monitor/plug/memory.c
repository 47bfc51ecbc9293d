/* memory.c - the registers by which a guest learns of memory that comes.
 *
 * The room for it is divided into slots of one size, which are filled from the first one on:
 * where a slot lies and how large it is, the guest reads here or in the DSDT. */
#include "contract/snap.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/dev/power.h"
#include "virt/monitor/plug/plug.h"

#define REG_SELECTOR  0x00u /* written; read: address, size, 64 bits each */
#define REG_SIZE      0x08u
#define REG_PROXIMITY 0x10u
#define REG_STATUS    0x14u /* read; written: control */

#define STATUS_THERE 0x01u
#define STATUS_CAME  0x02u
#define CONTROL_CAME 0x02u /* a one clears */

struct plug_memory {
    struct dev dev;
    struct plug_memory_config config;
    uint32_t there; /* slots that are filled, the first ones */
    uint32_t came;  /* a bit for each that the guest was not told of yet */
    uint32_t selector;
};

uint64_t plug_memory_slot(uint64_t room)
{
    uint64_t slot = (room + PLUG_MEMORY_SLOTS - 1) / PLUG_MEMORY_SLOTS;

    return (slot + PLUG_MEMORY_STEP - 1) & ~(PLUG_MEMORY_STEP - 1);
}

uint64_t plug_memory_bytes(uint64_t room, unsigned index)
{
    uint64_t slot = plug_memory_slot(room);
    uint64_t before = slot * index;

    return before >= room ? 0 : room - before < slot ? room - before : slot;
}

unsigned plug_memory_count(uint64_t room, uint64_t bytes)
{
    uint64_t slot = plug_memory_slot(room);

    return slot == 0 ? 0 : (unsigned)((bytes + slot - 1) / slot);
}

/* ---- what the guest does ---- */

static uint64_t value_at(const struct plug_memory *p, uint64_t reg)
{
    const struct plug_memory_config *c = &p->config;
    bool is_there = p->selector < p->there;

    if (reg == REG_STATUS) {
        return (is_there ? STATUS_THERE : 0) |
               ((p->came >> p->selector & 1) != 0 ? STATUS_CAME : 0);
    }
    if (!is_there || reg >= REG_PROXIMITY) {
        return 0;
    }
    return reg < REG_SIZE ? c->base + p->selector * plug_memory_slot(c->room)
                          : plug_memory_bytes(c->room, p->selector);
}

/* Nothing is there in a slot that is none: all its registers are zeros. */
static uint64_t read_register(void *who, uint64_t offset, unsigned bytes)
{
    const struct plug_memory *p = who;
    uint64_t reg = offset & ~UINT64_C(7);

    (void)bytes;
    if (p->selector >= PLUG_MEMORY_SLOTS) {
        return 0;
    }
    if (reg == REG_PROXIMITY) {
        return offset == REG_STATUS ? value_at(p, REG_STATUS) : 0;
    }
    return value_at(p, reg) >> (offset - reg) * 8;
}

static void write_register(void *who, uint64_t offset, unsigned bytes, uint64_t v)
{
    struct plug_memory *p = who;

    if (offset == REG_SELECTOR && bytes == 4) {
        p->selector = (uint32_t)v;
    } else if (offset == REG_STATUS && p->selector < PLUG_MEMORY_SLOTS &&
               (v & CONTROL_CAME) != 0) {
        p->came &= ~(1u << p->selector);
    }
}

/* ---- what the machine does ---- */

unsigned plug_memory_there(const struct dev *d)
{
    return ((const struct plug_memory *)d)->there;
}

void plug_memory_add(struct dev *d)
{
    struct plug_memory *p = (struct plug_memory *)d;

    board_lock(d->board);
    p->came |= 1u << p->there;
    p->there++;
    board_unlock(d->board);
    power_event(p->config.power, PLUG_MEMORY_EVENT);
}

static int start(struct dev *d, const void *config, struct err *e)
{
    static const struct board_io io = {
        .name = "plug-memory", .read = read_register, .write = write_register};
    struct plug_memory *p = (struct plug_memory *)d;
    const struct board_claim claim = {PLUG_MEMORY_PORT, PLUG_MEMORY_BYTES, &io, p};

    p->config = *(const struct plug_memory_config *)config;
    p->there = p->config.there;
    return board_claim(d->board, BOARD_PORTS, &claim, e);
}

/* It finds all that is there when it looks for the first time. */
static void reset(struct dev *d)
{
    struct plug_memory *p = (struct plug_memory *)d;

    p->came = 0;
    p->selector = 0;
}

/* What is there is the machine's own affair: both have the same. */
static void carry(struct dev *d, struct snap *s)
{
    struct plug_memory *p = (struct plug_memory *)d;
    uint32_t there = p->there;

    SNAP_FIELD(s, there);
    SNAP_FIELD(s, p->came);
    SNAP_FIELD(s, p->selector);
    if (there != p->there || (p->came & ~(uint32_t)((UINT64_C(1) << there) - 1)) != 0) {
        p->came = 0;
        snap_refuse(s);
    }
}

const struct dev_class dev_plug_memory = {
    .name = "plug-memory",
    .summary = "memory that comes",
    .source = "QEMU docs/specs/acpi_mem_hotplug; ACPI 6.5, 5.6.6, 9.11",
    .state_bytes = sizeof(struct plug_memory),
    .start = start,
    .reset = reset,
    .carry = carry,
};
