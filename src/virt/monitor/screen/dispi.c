/* dispi.c - Bochs' interface for frame buffers of any size.
 *
 * Size and depth are written while it is off, and looked at when it is switched on: one that
 * the card's memory has no room for is not.  Registers that came with a snapshot are looked at
 * each time they are used. */
#include <string.h>

#include "virt/monitor/screen/private.h"

#define ID_FIRST 0xb0c0u
#define ID       0xb0c5u
#define ON       0x01u
#define ASKS     0x02u /* for the greatest values */
#define NO_CLEAR 0x80u
#define BANK     0x10000u

static uint32_t bytes_of(uint32_t width, uint32_t bits)
{
    return bits == 4 ? width / 8 : width * ((bits + 7) / 8);
}

static uint64_t memory_of(uint32_t bits)
{
    return bits == 4 ? SCREEN_BYTES / 4 : SCREEN_BYTES;
}

static bool is_possible(const struct vga *v)
{
    uint32_t width = v->dispi[DISPI_WIDTH];
    uint32_t height = v->dispi[DISPI_HEIGHT];
    uint32_t bits = v->dispi[DISPI_BITS];
    bool is_depth =
        bits == 4 || bits == 8 || bits == 15 || bits == 16 || bits == 24 || bits == 32;

    return is_depth && width >= 8 && width <= DISPI_WIDTH_MOST && height >= 1 &&
           height <= DISPI_HEIGHT_MOST &&
           (uint64_t)bytes_of(width, bits) * height <= memory_of(bits);
}

bool dispi_mode(const struct vga *v, struct dispi_mode *ret)
{
    if ((v->dispi[DISPI_ENABLE] & ON) == 0 || !is_possible(v)) {
        return false;
    }
    ret->width = v->dispi[DISPI_WIDTH];
    ret->height = v->dispi[DISPI_HEIGHT];
    ret->bits = v->dispi[DISPI_BITS];
    ret->line = bytes_of(v->dispi[DISPI_VIRTUAL_WIDTH], ret->bits);
    ret->first =
        (uint64_t)v->dispi[DISPI_Y] * ret->line + bytes_of(v->dispi[DISPI_X], ret->bits);
    return true;
}

uint16_t dispi_read(const struct vga *v, unsigned index)
{
    bool asks = (v->dispi[DISPI_ENABLE] & ASKS) != 0;

    if (index >= DISPI_COUNT) {
        return 0;
    }
    if (asks && index == DISPI_WIDTH) {
        return DISPI_WIDTH_MOST;
    }
    if (asks && index == DISPI_HEIGHT) {
        return DISPI_HEIGHT_MOST;
    }
    if (asks && index == DISPI_BITS) {
        return 32;
    }
    return index == DISPI_MEMORY ? SCREEN_BYTES / BANK : v->dispi[index];
}

/* Lines are so long, and there are so many of them in memory. */
static void set_virtual(struct vga *v, uint32_t width)
{
    uint32_t line;
    uint64_t height;

    if (width < v->dispi[DISPI_WIDTH]) {
        width = v->dispi[DISPI_WIDTH];
    }
    line = bytes_of(width, v->dispi[DISPI_BITS]);
    height = line == 0 ? 0 : memory_of(v->dispi[DISPI_BITS]) / line;
    v->dispi[DISPI_VIRTUAL_WIDTH] = (uint16_t)width;
    v->dispi[DISPI_VIRTUAL_HEIGHT] = height > UINT16_MAX ? UINT16_MAX : (uint16_t)height;
}

static void switch_on(struct screen *s, uint16_t value)
{
    struct vga *v = &s->vga;
    uint32_t bits = v->dispi[DISPI_BITS];
    uint64_t bytes = (uint64_t)bytes_of(v->dispi[DISPI_WIDTH], bits) *
                     v->dispi[DISPI_HEIGHT] * (bits == 4 ? 4 : 1);

    if (!is_possible(v)) {
        v->dispi[DISPI_ENABLE] = (uint16_t)(value & ~ON);
        return;
    }
    v->dispi[DISPI_ENABLE] = value;
    v->dispi[DISPI_X] = v->dispi[DISPI_Y] = v->dispi[DISPI_BANK] = 0;
    set_virtual(v, 0);
    if ((value & NO_CLEAR) == 0) {
        memset(s->pixels, 0, bytes);
    }
}

void dispi_write(struct screen *s, unsigned index, uint16_t value)
{
    struct vga *v = &s->vga;
    bool is_on = (v->dispi[DISPI_ENABLE] & ON) != 0;

    switch (index) {
    case DISPI_ID:
        v->dispi[index] = value >= ID_FIRST && value <= ID ? value : v->dispi[index];
        break;
    case DISPI_WIDTH:
    case DISPI_HEIGHT:
    case DISPI_BITS:
        v->dispi[index] = is_on ? v->dispi[index] : value;
        break;
    case DISPI_ENABLE:
        if (!is_on && (value & ON) != 0) {
            switch_on(s, value);
        } else {
            v->dispi[index] = value;
        }
        break;
    case DISPI_VIRTUAL_WIDTH:
        set_virtual(v, value);
        break;
    case DISPI_BANK:
    case DISPI_X:
    case DISPI_Y:
        v->dispi[index] = value;
        break;
    default:
        break;
    }
}
