/* picture.c - what a monitor at the card would show, as pixels.
 *
 * The CRT controller counts characters: the one in column c of row r is number
 * start + r * pitch + c, which it turns into an offset into the planes (`place`).  What lies
 * there is a character and its colors, or 8 pixels of the planes' bits, or 4 of their bytes.
 * A picture has a line for each that is told from its neighbours: lines that hardware repeats
 * are there once.
 *
 * The cursor is shown, and what blinks is, too.  Limits: no panning by pixels, no preset row
 * scan.  Source: VGA, "CRT Controller Registers", "Attribute Controller Registers". */
#include <string.h>

#include "virt/monitor/board/board.h"
#include "virt/monitor/screen/private.h"

#define PLANES       4u
#define PLANE_MASK   0xffffu
#define EMPTY_WIDTH  640u
#define EMPTY_HEIGHT 400u
#define FONT_PLANE   2u
#define GLYPH_BYTES  32u

#define ROW_LINES_DOUBLE 0x80u
#define UNDERLINE_DWORDS 0x40u
#define MODE_BYTES       0x40u
#define MODE_WRAPS_HIGH  0x20u
#define MODE_ROW_SCANS   0x03u /* clear: the row scan's bits are in the address */
#define CURSOR_OFF       0x20u
#define AC_LINE_GRAPHICS 0x04u
#define AC_BLINKS        0x08u
#define AC_SELECTS       0x80u

/* ---- colors ---- */

static uint32_t channel(const struct vga *v, uint8_t value)
{
    bool has_8 = (v->dispi[DISPI_ENABLE] & DISPI_DAC_8) != 0;

    return has_8 ? value : (uint32_t)(value & 0x3f) << 2 | (value >> 4 & 3);
}

static uint32_t color_of(const struct vga *v, uint8_t index)
{
    const uint8_t *c = v->dac[index & v->dac_mask];

    return channel(v, c[0]) << 16 | channel(v, c[1]) << 8 | channel(v, c[2]);
}

/* One of the 16 of the attribute controller. */
static uint32_t color_of_16(const struct vga *v, uint8_t index)
{
    uint8_t pen = v->ac[index & v->ac[AC_PLANES] & 0xf] & 0x3f;
    uint8_t high = (uint8_t)(v->ac[AC_SELECT] << 4);

    return color_of(v, (v->ac[AC_MODE] & AC_SELECTS) != 0
                           ? (uint8_t)(high | (pen & 0x0f))
                           : (uint8_t)((high & 0xc0) | pen));
}

/* ---- geometry of VGA's modes ---- */

struct grid {
    bool is_text;
    uint32_t columns, dots; /* dots of a column */
    uint32_t lines;         /* of the picture */
    uint32_t repeats;       /* lines of hardware for each */
    uint32_t row_lines;     /* lines of hardware of a row */
    uint32_t split;         /* the last line before memory begins anew */
};

static struct grid grid_of(const struct vga *v)
{
    const uint8_t *c = v->crtc;
    uint32_t last = c[CRTC_LINES] | (uint32_t)(c[CRTC_OVERFLOW] & 0x02) << 7 |
                    (uint32_t)(c[CRTC_OVERFLOW] & 0x40) << 3;
    uint32_t doubles = (c[CRTC_ROW_LINES] & ROW_LINES_DOUBLE) != 0 ? 2 : 1;
    uint32_t row = (c[CRTC_ROW_LINES] & 0x1fu) + 1;
    struct grid g = {.is_text = (v->gc[GC_MISC] & GC_GRAPHICS) == 0,
                     .columns = c[CRTC_COLUMNS] + 1u,
                     .repeats = doubles,
                     .row_lines = row * doubles};

    g.dots = g.is_text ? ((v->seq[SEQ_CLOCKING] & SEQ_8_DOTS) != 0 ? 8 : 9)
             : (v->gc[GC_MODE] & GC_MODE_256) != 0 ? 4
                                                   : 8;
    if (!g.is_text && (c[CRTC_MODE] & MODE_ROW_SCANS) == MODE_ROW_SCANS) {
        g.repeats = g.row_lines;
    }
    g.lines = (last + 1 + g.repeats - 1) / g.repeats;
    g.split = c[CRTC_SPLIT] | (uint32_t)(c[CRTC_OVERFLOW] & 0x10) << 4 |
              (uint32_t)(c[CRTC_ROW_LINES] & 0x40) << 3;
    return g;
}

/* Character `ma` at this line of its row: its offset into the planes. */
static uint32_t place(const struct vga *v, uint32_t ma, uint32_t scan)
{
    uint8_t mode = v->crtc[CRTC_MODE];
    uint32_t at;

    ma &= PLANE_MASK;
    if ((v->crtc[CRTC_UNDERLINE] & UNDERLINE_DWORDS) != 0) {
        at = ma << 2 | (ma >> 14 & 3);
    } else if ((mode & MODE_BYTES) != 0) {
        at = ma;
    } else {
        at = ma << 1 | (ma >> ((mode & MODE_WRAPS_HIGH) != 0 ? 15 : 13) & 1);
    }
    if ((mode & 1) == 0) {
        at = (at & ~(UINT32_C(1) << 13)) | (scan & 1) << 13;
    }
    if ((mode & 2) == 0) {
        at = (at & ~(UINT32_C(1) << 14)) | (scan >> 1 & 1) << 14;
    }
    return at & PLANE_MASK;
}

static const uint8_t *planes_at(const struct screen *s, uint32_t offset)
{
    return s->pixels + (uint64_t)offset * PLANES % SCREEN_BYTES;
}

/* ---- rows of VGA's modes ---- */

static uint32_t font_of(const struct vga *v, uint8_t attribute)
{
    static const uint16_t at[] = {0x0000, 0x4000, 0x8000, 0xc000,
                                  0x2000, 0x6000, 0xa000, 0xe000};
    uint8_t f = v->seq[SEQ_FONTS];

    return (attribute & 0x08) != 0 ? at[(f >> 2 & 3) | (f >> 3 & 4)]
                                   : at[(f & 3) | (f >> 2 & 4)];
}

static bool has_cursor(const struct vga *v, uint32_t ma, uint32_t scan)
{
    uint32_t at = (uint32_t)v->crtc[CRTC_CURSOR] << 8 | v->crtc[CRTC_CURSOR + 1];

    return (ma & PLANE_MASK) == at && (v->crtc[CRTC_CURSOR_FIRST] & CURSOR_OFF) == 0 &&
           scan >= (v->crtc[CRTC_CURSOR_FIRST] & 0x1fu) &&
           scan <= (v->crtc[CRTC_CURSOR_LAST] & 0x1fu);
}

static void draw_character(const struct screen *s, const struct grid *g, uint32_t ma,
                           uint32_t scan, uint32_t *ret)
{
    const struct vga *v = &s->shown;
    const uint8_t *cell = planes_at(s, place(v, ma, 0));
    uint8_t character = cell[0];
    uint8_t attribute = cell[1];
    uint32_t glyph = font_of(v, attribute) + character * GLYPH_BYTES + scan;
    uint8_t bits = planes_at(s, glyph & PLANE_MASK)[FONT_PLANE];
    bool blinks = (v->ac[AC_MODE] & AC_BLINKS) != 0;
    uint32_t ink = color_of_16(v, attribute & 0xf);
    uint32_t paper = color_of_16(v, blinks ? attribute >> 4 & 7 : attribute >> 4);
    bool goes_on = (v->ac[AC_MODE] & AC_LINE_GRAPHICS) != 0 && character >= 0xc0 &&
                   character <= 0xdf;

    if (has_cursor(v, ma, scan)) {
        bits = 0xff;
        goes_on = true;
    }
    for (uint32_t i = 0; i < 8; i++) {
        ret[i] = (bits >> (7 - i) & 1) != 0 ? ink : paper;
    }
    if (g->dots == 9) {
        ret[8] = goes_on ? ret[7] : paper;
    }
}

static void draw_planes(const struct vga *v, const uint8_t *byte, uint32_t *ret)
{
    for (unsigned i = 0; i < 8; i++) {
        uint8_t index = 0;

        for (unsigned p = 0; p < PLANES; p++) {
            index |= (uint8_t)((byte[p] >> (7 - i) & 1) << p);
        }
        ret[i] = color_of_16(v, index);
    }
}

/* Two bits a pixel: the first four of planes 0 and 2, the others of 1 and 3. */
static void draw_pairs(const struct vga *v, const uint8_t *byte, uint32_t *ret)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned shift = 6 - i % 4 * 2;

        ret[i] = color_of_16(v, (uint8_t)((byte[i / 4] >> shift & 3) |
                                          (byte[i / 4 + 2] >> shift & 3) << 2));
    }
}

static void draw_column(const struct screen *s, const struct grid *g, uint32_t ma,
                        uint32_t scan, uint32_t *ret)
{
    const struct vga *v = &s->shown;
    const uint8_t *byte = planes_at(s, place(v, ma, scan));

    if (g->is_text) {
        draw_character(s, g, ma, scan, ret);
    } else if ((v->gc[GC_MODE] & GC_MODE_256) != 0) {
        for (unsigned p = 0; p < PLANES; p++) {
            ret[p] = color_of(v, byte[p]);
        }
    } else if ((v->gc[GC_MODE] & GC_MODE_SHIFT_2) != 0) {
        draw_pairs(v, byte, ret);
    } else {
        draw_planes(v, byte, ret);
    }
}

static void draw_grid(const struct screen *s, uint32_t line, uint32_t *ret)
{
    const struct vga *v = &s->shown;
    struct grid g = grid_of(v);
    uint32_t raw = line * g.repeats;
    uint32_t start = (uint32_t)v->crtc[CRTC_START] << 8 | v->crtc[CRTC_START + 1];
    uint32_t scan;

    if (raw > g.split) {
        raw -= g.split + 1;
        start = 0;
    }
    start += raw / g.row_lines * v->crtc[CRTC_PITCH] * 2;
    scan =
        raw % g.row_lines / ((v->crtc[CRTC_ROW_LINES] & ROW_LINES_DOUBLE) != 0 ? 2 : 1);
    for (uint32_t c = 0; c < g.columns; c++) {
        draw_column(s, &g, start + c, scan, ret + c * g.dots);
    }
}

/* ---- rows of frame buffers ---- */

static uint32_t wide(uint32_t value, unsigned bits) /* to 8 of them */
{
    value &= (1u << bits) - 1;
    return value << (8 - bits) | value >> (2 * bits - 8);
}

static uint32_t pixel(const struct vga *v, const uint8_t *at, uint32_t bits)
{
    uint32_t word;

    switch (bits) {
    case 8:
        return color_of(v, at[0]);
    case 15:
        word = at[0] | (uint32_t)at[1] << 8;
        return wide(word >> 10, 5) << 16 | wide(word >> 5, 5) << 8 | wide(word, 5);
    case 16:
        word = at[0] | (uint32_t)at[1] << 8;
        return wide(word >> 11, 5) << 16 | wide(word >> 5, 6) << 8 | wide(word, 5);
    default:
        return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16;
    }
}

static void draw_buffer(const struct screen *s, const struct dispi_mode *m, uint32_t line,
                        uint32_t *ret)
{
    uint64_t first = m->first + (uint64_t)line * m->line;
    uint32_t each = (m->bits + 7) / 8;

    for (uint32_t i = 0; m->bits == 4 && i + 8 <= m->width; i += 8) {
        uint64_t at = (first + i / 8) * PLANES;

        if (at < SCREEN_BYTES) {
            draw_planes(&s->shown, s->pixels + at, ret + i);
        }
    }
    for (uint32_t i = 0; m->bits > 4 && i < m->width; i++) {
        uint64_t at = first + (uint64_t)i * each;

        if (at + each <= SCREEN_BYTES) {
            ret[i] = pixel(&s->shown, s->pixels + at, m->bits);
        }
    }
}

/* ---- the face ---- */

static struct screen *screen_of(struct display *d)
{
    return (struct screen *)((char *)d - offsetof(struct screen, display));
}

/* Whether the picture comes from memory; else it is black. */
static bool is_lit(const struct vga *v, bool is_buffer)
{
    return (v->seq[SEQ_CLOCKING] & SEQ_OFF) == 0 &&
           (is_buffer || (v->ac_at & AC_SHOWS) != 0);
}

static void look(struct display *d, struct display_size *ret)
{
    struct screen *s = screen_of(d);
    struct board *b = pci_board(s->config.bus);
    struct dispi_mode mode;
    struct grid g;

    board_lock(b);
    s->shown = s->vga;
    board_unlock(b);
    g = grid_of(&s->shown);
    *ret = (struct display_size){g.columns * g.dots, g.lines};
    if (dispi_mode(&s->shown, &mode)) {
        *ret = (struct display_size){mode.width, mode.height};
    } else if (s->shown.crtc[CRTC_COLUMNS] == 0) { /* no mode was set yet */
        *ret = (struct display_size){EMPTY_WIDTH, EMPTY_HEIGHT};
    }
}

static void draw(struct display *d, uint32_t row, uint32_t *ret)
{
    const struct screen *s = screen_of(d);
    struct dispi_mode mode;
    bool is_buffer = dispi_mode(&s->shown, &mode);

    memset(ret, 0, DISPLAY_WIDTH_MOST * sizeof *ret);
    if (!is_lit(&s->shown, is_buffer)) {
        return;
    }
    if (is_buffer) {
        draw_buffer(s, &mode, row, ret);
    } else {
        draw_grid(s, row, ret);
    }
}

const struct display_ops picture_ops = {.name = "screen", .look = look, .draw = draw};
