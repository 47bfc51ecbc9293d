/* private.h - the registers of the card, and what its files do with them.
 *
 * Whatever they hold, which a guest or a snapshot says, no place behind the card's memory
 * follows from them: whoever makes an offset of them bounds it there. */
#ifndef VIRT_MONITOR_SCREEN_PRIVATE_H
#define VIRT_MONITOR_SCREEN_PRIVATE_H

#include "contract/display.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/screen/screen.h"

struct snap;

/* Registers of the sequencer (SEQ), graphics controller (GC), CRT controller (CRTC) and
 * attribute controller (AC): VGA, tables 2-17 to 2-80. */
enum {
    SEQ_CLOCKING = 1,
    SEQ_MAP_MASK = 2,
    SEQ_FONTS = 3,
    SEQ_MEMORY = 4,
    SEQ_COUNT = 8
};

#define SEQ_8_DOTS     0x01u
#define SEQ_OFF        0x20u
#define SEQ_SEQUENTIAL 0x04u /* not odd/even */
#define SEQ_CHAIN_4    0x08u

enum {
    GC_SET_RESET,
    GC_ENABLE_SET_RESET,
    GC_COMPARE,
    GC_ROTATE,
    GC_READ_MAP,
    GC_MODE,
    GC_MISC,
    GC_CARE,
    GC_MASK,
    GC_COUNT = 16
};

#define GC_MODE_COMPARES 0x08u
#define GC_MODE_ODD_EVEN 0x10u
#define GC_MODE_SHIFT_2  0x20u /* two bits a pixel, as CGA has them */
#define GC_MODE_256      0x40u
#define GC_GRAPHICS      0x01u

enum {
    CRTC_COLUMNS = 0x01,
    CRTC_OVERFLOW = 0x07,
    CRTC_ROW_LINES = 0x09,
    CRTC_CURSOR_FIRST = 0x0a,
    CRTC_CURSOR_LAST = 0x0b,
    CRTC_START = 0x0c, /* high byte first */
    CRTC_CURSOR = 0x0e,
    CRTC_RETRACE_END = 0x11,
    CRTC_LINES = 0x12,
    CRTC_PITCH = 0x13,
    CRTC_UNDERLINE = 0x14,
    CRTC_MODE = 0x17,
    CRTC_SPLIT = 0x18,
    CRTC_COUNT = 32
};

enum {
    AC_MODE = 0x10,
    AC_PLANES = 0x12,
    AC_SELECT = 0x14,
    AC_COUNT = 32
};

#define AC_SHOWS 0x20u /* of its index: the picture comes from memory */

/* Bochs' registers: dispi, "Index description". */
enum {
    DISPI_ID,
    DISPI_WIDTH,
    DISPI_HEIGHT,
    DISPI_BITS,
    DISPI_ENABLE,
    DISPI_BANK,
    DISPI_VIRTUAL_WIDTH,
    DISPI_VIRTUAL_HEIGHT,
    DISPI_X,
    DISPI_Y,
    DISPI_MEMORY,
    DISPI_COUNT
};

#define DISPI_WIDTH_MOST  2560u
#define DISPI_HEIGHT_MOST 1600u
#define DISPI_DAC_8       0x20u

struct vga {
    uint8_t misc, feature;
    uint8_t seq_at, seq[SEQ_COUNT];
    uint8_t gc_at, gc[GC_COUNT];
    uint8_t crtc_at, crtc[CRTC_COUNT];
    uint8_t ac_at, ac[AC_COUNT];
    uint8_t ac_has_index; /* the next byte to port 0x3c0 is data */
    uint8_t dac_mask, dac_read, dac_write, dac_part, dac_reads;
    uint8_t dac[256][3];
    uint8_t latch[4];
    uint16_t dispi_at, dispi[DISPI_COUNT];
};

struct screen {
    struct pci_function function; /* first */
    struct display display;
    struct screen_config config;
    struct vga vga;   /* under the board's lock */
    uint8_t *pixels;  /* the card's memory: plane p of VGA has its byte n at 4n + p */
    uint64_t at;      /* where it lies */
    struct vga shown; /* the picture under way */
};

/* registers.c: a byte of the ports 0x3b0 to 0x3df. */
#define VGA_PORTS 0x3b0u
uint8_t vga_read(struct screen *s, unsigned port);
void vga_write(struct screen *s, unsigned port, uint8_t value);
void vga_reset(struct vga *v);
void vga_carry(struct vga *v, struct snap *s);

/* window.c: a byte of 0xa0000 to 0xbffff. */
#define WINDOW       UINT64_C(0xa0000)
#define WINDOW_BYTES 0x20000u
uint8_t vga_load(struct screen *s, uint32_t offset);
void vga_store(struct screen *s, uint32_t offset, uint8_t value);

/* dispi.c */
struct dispi_mode {
    uint32_t width, height, bits;
    uint32_t line;  /* bytes; of 4 bits a pixel: in each plane */
    uint64_t first; /* ... of the first pixel */
};

uint16_t dispi_read(const struct vga *v, unsigned index);
void dispi_write(struct screen *s, unsigned index, uint16_t value);
bool dispi_mode(const struct vga *v, struct dispi_mode *ret); /* false: VGA's */

/* picture.c */
extern const struct display_ops picture_ops;

#endif
