/* window.c - how 128 KiB of addresses reach four planes.
 *
 * An address becomes an offset into planes, and says which of them: all (a store goes to those
 * of the map mask), every second (odd/even, as text has it), one (chain 4).  A store is made of
 * the processor's byte, the set/reset register and what the last load left in the latches: VGA,
 * "Write Modes".  While Bochs' interface is on the first 64 KiB are a bank of its memory, in a
 * row. */
#include "virt/monitor/screen/private.h"

#define PLANES      4u
#define PLANE_BYTES 0x10000u
#define BANK_BYTES  0x10000u

/* Where a byte goes: an offset into `planes` (a bit each). */
struct aim {
    uint32_t offset;
    uint8_t planes;
    uint8_t plane; /* that is read */
};

/* Whether the window shows this address, as an offset from its begin: GC 6, bits 2 and 3. */
static bool is_shown(const struct vga *v, uint32_t *offset)
{
    static const struct {
        uint32_t first, bytes;
    } maps[] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};

    unsigned map = v->gc[GC_MISC] >> 2 & 3;

    *offset -= maps[map].first;
    return *offset < maps[map].bytes;
}

static struct aim aim(const struct vga *v, uint32_t offset, bool is_store)
{
    struct aim a = {offset % PLANE_BYTES, 0xf, v->gc[GC_READ_MAP] & 3};
    bool is_pair = is_store ? (v->seq[SEQ_MEMORY] & SEQ_SEQUENTIAL) == 0
                            : (v->gc[GC_MODE] & GC_MODE_ODD_EVEN) != 0;

    if ((v->seq[SEQ_MEMORY] & SEQ_CHAIN_4) != 0) {
        a.plane = offset & 3;
        a.planes = (uint8_t)(1u << a.plane);
        a.offset &= ~UINT32_C(3);
    } else if (is_pair) {
        a.plane = (uint8_t)((a.plane & 2u) | (offset & 1));
        a.planes = (offset & 1) != 0 ? 0xa : 0x5;
        a.offset &= ~UINT32_C(1);
    }
    return a;
}

/* A byte of the bank; NULL: the interface is off, or has planes, too. */
static uint8_t *bank_byte(struct screen *s, uint32_t offset)
{
    struct dispi_mode mode;
    uint64_t at = (uint64_t)s->vga.dispi[DISPI_BANK] * BANK_BYTES + offset % BANK_BYTES;

    return dispi_mode(&s->vga, &mode) && mode.bits > 4 && offset < BANK_BYTES &&
                   at < SCREEN_BYTES
               ? s->pixels + at
               : NULL;
}

static uint8_t *plane_bytes(struct screen *s, const struct aim *a)
{
    struct dispi_mode mode;
    uint64_t bank =
        dispi_mode(&s->vga, &mode) ? s->vga.dispi[DISPI_BANK] * (uint64_t)BANK_BYTES : 0;

    return s->pixels + (bank + a->offset) * PLANES % SCREEN_BYTES;
}

/* A bit where all planes that count are of the color: VGA, "Read Mode 1". */
static uint8_t compare(const struct vga *v)
{
    uint8_t differs = 0;

    for (unsigned p = 0; p < PLANES; p++) {
        uint8_t want = (v->gc[GC_COMPARE] >> p & 1) != 0 ? 0xff : 0;

        if ((v->gc[GC_CARE] >> p & 1) != 0) {
            differs |= v->latch[p] ^ want;
        }
    }
    return (uint8_t)~differs;
}

uint8_t vga_load(struct screen *s, uint32_t offset)
{
    struct vga *v = &s->vga;
    const uint8_t *from = bank_byte(s, offset);
    struct aim a;

    if (from != NULL) {
        return *from;
    }
    if (!is_shown(v, &offset)) {
        return 0xff;
    }
    a = aim(v, offset, false);
    from = plane_bytes(s, &a);
    for (unsigned p = 0; p < PLANES; p++) {
        v->latch[p] = from[p];
    }
    return (v->gc[GC_MODE] & GC_MODE_COMPARES) != 0 ? compare(v) : v->latch[a.plane];
}

static uint8_t spread(uint8_t bits, unsigned p)
{
    return (bits >> p & 1) != 0 ? 0xff : 0;
}

static uint8_t rotate(const struct vga *v, uint8_t value)
{
    unsigned n = v->gc[GC_ROTATE] & 7;

    return (uint8_t)(value >> n | value << (8 - n));
}

static uint8_t combine(const struct vga *v, uint8_t value, uint8_t latch)
{
    switch (v->gc[GC_ROTATE] >> 3 & 3) {
    case 1:
        return value & latch;
    case 2:
        return value | latch;
    case 3:
        return value ^ latch;
    default:
        return value;
    }
}

/* What plane `p` gets: VGA, "Write Modes". */
static uint8_t result(const struct vga *v, uint8_t value, unsigned p)
{
    uint8_t mask = v->gc[GC_MASK];
    uint8_t latch = v->latch[p];
    uint8_t byte;

    switch (v->gc[GC_MODE] & 3) {
    case 0:
        byte = (v->gc[GC_ENABLE_SET_RESET] >> p & 1) != 0 ? spread(v->gc[GC_SET_RESET], p)
                                                          : rotate(v, value);
        break;
    case 1:
        return latch;
    case 2:
        byte = spread(value, p);
        break;
    default:
        byte = spread(v->gc[GC_SET_RESET], p);
        mask &= rotate(v, value);
        break;
    }
    byte = combine(v, byte, latch);
    return (uint8_t)((byte & mask) | (latch & ~mask));
}

void vga_store(struct screen *s, uint32_t offset, uint8_t value)
{
    const struct vga *v = &s->vga;
    uint8_t *to = bank_byte(s, offset);
    struct aim a;

    if (to != NULL) {
        *to = value;
        return;
    }
    if (!is_shown(v, &offset)) {
        return;
    }
    a = aim(v, offset, true);
    to = plane_bytes(s, &a);
    for (unsigned p = 0; p < PLANES; p++) {
        if ((a.planes & v->seq[SEQ_MAP_MASK] & 1u << p) != 0) {
            to[p] = result(v, value, p);
        }
    }
}
