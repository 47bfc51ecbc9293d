/* screen_test.c - the card against its documents: planes against a model that goes bit by bit,
 * pictures of modes that are set as IBM's table of parameters has them, and of frame buffers.
 *
 * rows: MIO-10, FV-03 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "contract/display.h"
#include "contract/mem_move.h"
#include "host/loop/loop.h"
#include "tests/virt/monitor/screen/heap_mem.h"
#include "tests/virt/monitor/snap_memory.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/screen/png.h"
#include "virt/monitor/screen/screen.h"

#define SLOT   30u
#define WINDOW UINT64_C(0xa0000)
#define TEXT   UINT64_C(0xb8000)
#define AT     UINT64_C(0xd0000000)
#define PAGE   UINT64_C(0xe1000000)

struct bench {
    struct loop *loop;
    struct board *board;
    struct mem *mem;
    struct dev *bus;
    struct screen *screen;
    struct display *display;
    struct display_size size;
    unsigned moves, moved;
    uint32_t row[DISPLAY_WIDTH_MOST];
};

static void on_send(void *who, const struct apic_message *msg)
{
    (void)who;
    (void)msg;
}

static void on_reset(void *who)
{
    (void)who;
}

static void on_moves(void *who)
{
    ((struct bench *)who)->moves++;
}

static void on_moved(void *who)
{
    ((struct bench *)who)->moved++;
}

static int set_up(void **state)
{
    static struct bench b;
    const struct pci_config pci = {.ecam = 0xe0000000,
                                   .window_first = 0xc0000000,
                                   .window_last = 0xdfffffff,
                                   .messages = {on_send, &b},
                                   .reset = on_reset};
    struct screen_config c = {
        .slot = SLOT, .moves = on_moves, .moved = on_moved, .who = &b};

    memset(&b, 0, sizeof b);
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &b.loop, NULL), 0);
    assert_int_equal(board_create(b.loop, &b.board, NULL), 0);
    assert_int_equal(dev_create(&dev_pci, b.board, &pci, &b.bus, NULL), 0);
    b.mem = heap_mem_make();
    c.bus = pci_bus_of(b.bus);
    c.mem = b.mem;
    assert_int_equal(screen_create(&c, &b.screen, NULL), 0);
    b.display = screen_display(b.screen);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    pci_rest(b->bus);
    dev_destroy(b->bus);
    mem_destroy(b->mem);
    board_destroy(b->board);
    loop_destroy(b->loop);
    return 0;
}

/* ---- what a guest does ---- */

static void out(struct bench *b, unsigned port, uint8_t v)
{
    board_write(b->board, BOARD_PORTS, port, 1, v);
}

static uint8_t in(struct bench *b, unsigned port)
{
    return (uint8_t)board_read(b->board, BOARD_PORTS, port, 1);
}

static void put(struct bench *b, unsigned port, uint8_t index, uint8_t v)
{
    board_write(b->board, BOARD_PORTS, port, 2, index | (unsigned)v << 8);
}

static void store(struct bench *b, uint64_t at, uint8_t v)
{
    board_write(b->board, BOARD_MEMORY, at, 1, v);
}

static uint8_t load(struct bench *b, uint64_t at)
{
    return (uint8_t)board_read(b->board, BOARD_MEMORY, at, 1);
}

static void dispi(struct bench *b, uint16_t index, uint16_t v)
{
    board_write(b->board, BOARD_PORTS, 0x1ce, 2, index);
    board_write(b->board, BOARD_PORTS, 0x1cf, 2, v);
}

static uint16_t dispi_of(struct bench *b, uint16_t index)
{
    board_write(b->board, BOARD_PORTS, 0x1ce, 2, index);
    return (uint16_t)board_read(b->board, BOARD_PORTS, 0x1cf, 2);
}

/* IBM's table of parameters: miscellaneous, sequencer, CRT controller, attribute controller,
 * graphics controller of a mode. */
struct mode {
    uint8_t misc, seq[5], crtc[25], ac[21], gc[9];
};

static const struct mode mode_3 = {
    0x67,
    {3, 0, 3, 0, 2},
    {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0,    0x4f, 0x0d, 0x0e, 0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
    {0,    1,    2,    3,    4,    5,    0x14, 7,    0x38, 0x39, 0x3a,
     0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0,    0x0f, 8,    0},
    {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff}};

static const struct mode mode_12 = {
    0xe3,
    {3, 1, 0x0f, 0, 6},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0,    0x40, 0,    0,   0,
     0,    0,    0,    0xea, 0x8c, 0xdf, 0x28, 0,    0xe7, 4,    0xe3, 0xff},
    {0,    1,    2,    3,    4,    5, 0x14, 7,    0x38, 0x39, 0x3a,
     0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 1, 0,    0x0f, 0,    0},
    {0, 0, 0, 0, 0, 0, 5, 0x0f, 0xff}};

static const struct mode mode_13 = {
    0x63,
    {3, 1, 0x0f, 0, 0x0e},
    {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0,    0x41, 0,    0,   0,
     0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x41, 0, 0x0f, 0, 0},
    {0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff}};

static void set_mode(struct bench *b, const struct mode *m)
{
    out(b, 0x3c2, m->misc);
    for (uint8_t i = 0; i < 5; i++) {
        put(b, 0x3c4, i, m->seq[i]);
    }
    put(b, 0x3d4, 0x11, 0); /* registers 0 to 7 may be written */
    for (uint8_t i = 0; i < 25; i++) {
        put(b, 0x3d4, i, m->crtc[i]);
    }
    for (uint8_t i = 0; i < 9; i++) {
        put(b, 0x3ce, i, m->gc[i]);
    }
    (void)in(b, 0x3da);
    for (uint8_t i = 0; i < 21; i++) {
        out(b, 0x3c0, i);
        out(b, 0x3c0, m->ac[i]);
    }
    out(b, 0x3c0, 0x20);
}

/* A color for each index, which is told from all others: 6 bits of each channel. */
static uint32_t rgb_of(unsigned i)
{
    return (i & 0x3f) << 16 | (i >> 2 & 0x3f) << 8 | ((i * 7) & 0x3f);
}

static void set_palette(struct bench *b)
{
    out(b, 0x3c8, 0);
    for (unsigned i = 0; i < 256; i++) {
        uint32_t c = rgb_of(i);

        out(b, 0x3c9, (uint8_t)(c >> 16));
        out(b, 0x3c9, (uint8_t)(c >> 8));
        out(b, 0x3c9, (uint8_t)c);
    }
}

/* ... as a picture has it: 6 bits become 8 with the high ones repeated. */
static uint32_t shown(unsigned i)
{
    uint32_t c = rgb_of(i);

    return c << 2 | (c >> 4 & 0x030303);
}

static void look(struct bench *b, uint32_t width, uint32_t height)
{
    b->display->ops->look(b->display, &b->size);
    assert_int_equal(b->size.width, width);
    assert_int_equal(b->size.height, height);
}

static uint32_t pixel(struct bench *b, uint32_t x, uint32_t y)
{
    b->display->ops->draw(b->display, y, b->row);
    return b->row[x];
}

/* ---- planes ---- */

struct model {
    uint8_t plane[4][0x10000];
    uint8_t latch[4];
    uint8_t gc[9], map_mask;
};

static bool bit(unsigned v, unsigned n)
{
    return (v >> n & 1) != 0;
}

static bool combined(unsigned function, bool data, bool latch)
{
    bool results[] = {data, data && latch, data || latch, data != latch};

    return results[function];
}

static bool stored_bit(const struct model *m, uint8_t value, unsigned p, unsigned n)
{
    unsigned mode = m->gc[5] & 3;
    bool rotated = bit(value, (n + (m->gc[3] & 7)) % 8);
    bool latch = bit(m->latch[p], n);
    bool takes = bit(m->gc[8], n) && (mode != 3 || rotated);
    bool data = mode == 2                       ? bit(value, p)
                : mode == 3 || bit(m->gc[1], p) ? bit(m->gc[0], p)
                                                : rotated;

    return mode == 1 || !takes ? latch : combined(m->gc[3] >> 3 & 3, data, latch);
}

static void model_store(struct model *m, uint16_t at, uint8_t value)
{
    for (unsigned p = 0; p < 4; p++) {
        uint8_t byte = 0;

        for (unsigned n = 0; n < 8; n++) {
            byte |= (uint8_t)(stored_bit(m, value, p, n) << n);
        }
        m->plane[p][at] = bit(m->map_mask, p) ? byte : m->plane[p][at];
    }
}

static uint8_t model_load(struct model *m, uint16_t at)
{
    uint8_t same = 0;

    for (unsigned p = 0; p < 4; p++) {
        m->latch[p] = m->plane[p][at];
    }
    if (!bit(m->gc[5], 3)) {
        return m->latch[m->gc[4] & 3];
    }
    for (unsigned n = 0; n < 8; n++) {
        bool is_same = true;

        for (unsigned p = 0; p < 4; p++) {
            is_same =
                is_same && (!bit(m->gc[7], p) || bit(m->latch[p], n) == bit(m->gc[2], p));
        }
        same |= (uint8_t)(is_same << n);
    }
    return same;
}

static void set_model(struct bench *b, struct model *m, uint8_t index, uint8_t v)
{
    m->gc[index] = v;
    put(b, 0x3ce, index, v);
}

static void every_way_to_write_and_read_is_the_models(void **state)
{
    struct bench *b = *state;
    struct model *m = calloc(1, sizeof *m);
    unsigned seed = 1;

    set_mode(b, &mode_12);
    memcpy(m->gc, mode_12.gc, sizeof m->gc);
    m->map_mask = 0x0f;
    for (unsigned i = 0; i < 60000; i++) {
        uint16_t at = (uint16_t)(rand_r(&seed) % 64 + (i % 2) * 0xffc0);
        uint8_t v = (uint8_t)rand_r(&seed);

        switch (rand_r(&seed) % 4) {
        case 0:
            set_model(b, m, (uint8_t[]){0, 1, 2, 3, 4, 7, 8}[i % 7], v);
            break;
        case 1:
            set_model(b, m, 5, v & 0x0b); /* modes; no odd/even, no shifts */
            m->map_mask = i % 3 == 0 ? v & 0xf : 0xf;
            put(b, 0x3c4, 2, m->map_mask);
            break;
        case 2:
            store(b, WINDOW + at, v);
            model_store(m, at, v);
            break;
        default:
            assert_int_equal(load(b, WINDOW + at), model_load(m, at));
        }
    }
    set_model(b, m, 5, 0);
    for (uint8_t p = 0; p < 4; p++) {
        set_model(b, m, 4, p);
        for (unsigned at = 0; at < 0x10000; at++) {
            assert_int_equal(load(b, WINDOW + at), m->plane[p][at]);
        }
    }
    free(m);
}

static void the_window_is_where_it_was_put(void **state)
{
    struct bench *b = *state;

    set_mode(b, &mode_3); /* 0xb8000, 32 KiB */
    store(b, TEXT, 'a');
    assert_int_equal(load(b, TEXT), 'a');
    assert_int_equal(load(b, WINDOW), 0xff);
    store(b, WINDOW, 'b');
    assert_int_equal(load(b, TEXT), 'a');
    put(b, 0x3ce, 6, 0x0a); /* 0xb0000 */
    assert_int_equal(load(b, TEXT), 0xff);
    assert_int_equal(load(b, UINT64_C(0xb0000)), 'a');
}

/* ---- pictures ---- */

static void text_is_drawn_in_the_guests_own_font(void **state)
{
    static const uint8_t glyph[16] = {0x81, 0x42, 0x24, 0x18, 0xff, 0, 1, 0x80};
    struct bench *b = *state;

    set_mode(b, &mode_3);
    set_palette(b);
    put(b, 0x3c4, 2, 4); /* plane 2, byte by byte, at 0xa0000 */
    put(b, 0x3c4, 4, 6);
    put(b, 0x3ce, 5, 0);
    put(b, 0x3ce, 6, 4);
    for (unsigned i = 0; i < 16; i++) {
        store(b, WINDOW + 'x' * 32 + i, glyph[i]);
        store(b, WINDOW + 0xc4 * 32 + i, 0xff);
    }
    put(b, 0x3c4, 2, 3);
    put(b, 0x3c4, 4, 2);
    put(b, 0x3ce, 5, 0x10);
    put(b, 0x3ce, 6, 0x0e);
    put(b, 0x3d4, 0x0a, 0x20); /* no cursor */
    board_write(b->board, BOARD_MEMORY, TEXT + (3 * 80 + 5) * 2, 2, 0x1e00 | 'x');
    board_write(b->board, BOARD_MEMORY, TEXT + (24 * 80 + 79) * 2, 2, 0x1ec4);
    look(b, 720, 400);
    for (unsigned y = 0; y < 16; y++) {
        for (unsigned x = 0; x < 9; x++) {
            bool is_ink = x < 8 && bit(glyph[y], 7 - x);

            assert_int_equal(pixel(b, 5 * 9 + x, 3 * 16 + y), shown(is_ink ? 0x3e : 1));
        }
    }
    assert_int_equal(pixel(b, 719, 399), shown(0x3e)); /* lines go on */
    assert_int_equal(pixel(b, 0, 0), shown(0));
    put(b, 0x3d4, 0x0a, 0x0d); /* a cursor, in lines 13 and 14 of character 245 */
    put(b, 0x3d4, 0x0f, 245);
    look(b, 720, 400);
    assert_int_equal(pixel(b, 5 * 9, 3 * 16 + 12), shown(1));
    assert_int_equal(pixel(b, 5 * 9, 3 * 16 + 13), shown(0x3e));
    assert_int_equal(pixel(b, 5 * 9, 3 * 16 + 15), shown(1));
}

static void planes_and_bytes_are_drawn(void **state)
{
    struct bench *b = *state;

    set_mode(b, &mode_12);
    set_palette(b);
    put(b, 0x3c4, 2, 0x0a);
    store(b, WINDOW + 479 * 80 + 79, 0x81);
    look(b, 640, 480);
    assert_int_equal(pixel(b, 639, 479), shown(0x3a)); /* pen 10 */
    assert_int_equal(pixel(b, 632, 479), shown(0x3a));
    assert_int_equal(pixel(b, 633, 479), shown(0));
    set_mode(b, &mode_13);
    for (unsigned i = 0; i < 320; i++) {
        store(b, WINDOW + 199 * 320 + i, (uint8_t)i);
    }
    look(b, 320, 200);
    for (unsigned i = 0; i < 320; i++) {
        assert_int_equal(pixel(b, i, 199), shown(i & 0xff));
    }
    out(b, 0x3c6, 0x0f); /* the mask */
    look(b, 320, 200);
    assert_int_equal(pixel(b, 0x35, 199), shown(5));
    put(b, 0x3c4, 1, 0x21); /* off */
    look(b, 320, 200);
    assert_int_equal(pixel(b, 0x35, 199), 0);
}

static uint8_t *frame_of(struct bench *b)
{
    return b->mem->region[0].host;
}

static void set_buffer(struct bench *b, uint16_t width, uint16_t height, uint16_t bits)
{
    dispi(b, 4, 0);
    dispi(b, 1, width);
    dispi(b, 2, height);
    dispi(b, 3, bits);
    dispi(b, 4, 0x41);
}

static void frame_buffers_of_every_depth_are_drawn(void **state)
{
    static const struct {
        uint16_t bits;
        uint32_t word, bytes, want;
    } depths[] = {{15, 0x7c1f, 2, 0xff00ff},
                  {16, 0xf81f, 2, 0xff00ff},
                  {16, 0x07e0, 2, 0x00ff00},
                  {24, 0x123456, 3, 0x123456},
                  {32, 0x55123456, 4, 0x123456}};
    struct bench *b = *state;

    for (unsigned i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        set_buffer(b, 1024, 768, depths[i].bits);
        memcpy(frame_of(b) + (767 * 1024 + 1023) * depths[i].bytes, &depths[i].word,
               depths[i].bytes);
        look(b, 1024, 768);
        assert_int_equal(pixel(b, 1023, 767), depths[i].want);
        assert_int_equal(pixel(b, 1022, 767), 0);
    }
    set_buffer(b, 800, 600, 8);
    set_palette(b);
    frame_of(b)[800 + 7] = 77;
    look(b, 800, 600);
    assert_int_equal(pixel(b, 7, 1), shown(77));
    dispi(b, 9, 1); /* one line lower */
    dispi(b, 8, 3);
    look(b, 800, 600);
    assert_int_equal(pixel(b, 4, 0), shown(77));
}

/* The bank of 64 KiB and the frame buffer are the same bytes. */
static void the_bank_shows_the_frame_buffer(void **state)
{
    struct bench *b = *state;

    set_buffer(b, 1024, 768, 32);
    dispi(b, 5, 17);
    store(b, WINDOW + 0xffff, 0x5a);
    assert_int_equal(frame_of(b)[17 * 0x10000 + 0xffff], 0x5a);
    assert_int_equal(load(b, WINDOW + 0xffff), 0x5a);
    dispi(b, 5, 0xffff); /* behind it */
    store(b, WINDOW, 0x5a);
}

static void its_interface_says_what_it_can(void **state)
{
    struct bench *b = *state;

    assert_int_equal(dispi_of(b, 0), 0xb0c5);
    dispi(b, 0, 0xb0c2);
    assert_int_equal(dispi_of(b, 0), 0xb0c2);
    dispi(b, 0, 0x1234);
    assert_int_equal(dispi_of(b, 0), 0xb0c2);
    assert_int_equal(dispi_of(b, 10), 256); /* of 64 KiB */
    dispi(b, 4, 2);
    assert_int_equal(dispi_of(b, 1), 2560);
    assert_int_equal(dispi_of(b, 2), 1600);
    assert_int_equal(dispi_of(b, 3), 32);
    set_buffer(b, 2560, 1601, 32); /* more than there is */
    assert_int_equal(dispi_of(b, 4) & 1, 0);
    set_buffer(b, 1024, 768, 32);
    assert_int_equal(dispi_of(b, 4), 0x41);
    assert_int_equal(dispi_of(b, 6), 1024);
    assert_int_equal(dispi_of(b, 7), 4096);
    dispi(b, 1, 640); /* not while it is on */
    assert_int_equal(dispi_of(b, 1), 1024);
}

/* ---- what a guest makes of addresses ---- */

static void config(struct bench *b, unsigned reg, uint32_t v)
{
    pci_write(pci_bus_of(b->bus), PCI_WHERE(SLOT, 0), reg, 4, v);
}

static void its_memory_lies_where_the_guest_puts_it(void **state)
{
    struct bench *b = *state;

    config(b, PCI_BAR, 0xffffffff);
    assert_int_equal(pci_read(pci_bus_of(b->bus), PCI_WHERE(SLOT, 0), PCI_BAR, 4),
                     0xff000008); /* 16 MiB that may be fetched ahead */
    config(b, PCI_BAR, (uint32_t)AT);
    assert_int_equal(b->moves, 0); /* not switched on */
    config(b, PCI_COMMAND, PCI_COMMAND_MEMORY);
    assert_int_equal(b->moves, 1);
    pci_rest(b->bus);
    pci_wake(b->bus);
    assert_int_equal(b->moved, 1);
    assert_ptr_equal(mem_find(b->mem, AT), &b->mem->region[0]);
    assert_null(mem_find(b->mem, MEM_AWAY));
    pci_rest(b->bus); /* while it stands */
    assert_null(mem_find(b->mem, AT));
    pci_wake(b->bus);
    config(b, PCI_COMMAND, 0);
    assert_int_equal(b->moves, 2);
    pci_rest(b->bus);
    pci_wake(b->bus);
    assert_null(mem_find(b->mem, AT));
}

static void ram_that_is_in_its_way_stays(void **state)
{
    struct bench *b = *state;

    assert_int_equal(mem_add_ram(b->mem, AT + 4096, 4096, false, NULL), 0);
    config(b, PCI_BAR, (uint32_t)AT);
    config(b, PCI_COMMAND, PCI_COMMAND_MEMORY);
    pci_rest(b->bus);
    pci_wake(b->bus);
    assert_null(mem_find(b->mem, AT));
    assert_non_null(mem_find(b->mem, AT + 4096));
    assert_non_null(mem_find(b->mem, MEM_AWAY));
}

/* QEMU's standard-vga.rst. */
static void a_page_has_its_registers(void **state)
{
    struct bench *b = *state;

    config(b, PCI_BAR + 8, (uint32_t)PAGE);
    config(b, PCI_COMMAND, PCI_COMMAND_MEMORY);
    assert_int_equal(board_read(b->board, BOARD_MEMORY, PAGE + 0x500, 2), 0xb0c5);
    board_write(b->board, BOARD_MEMORY, PAGE + 0x502, 2, 1280);
    assert_int_equal(dispi_of(b, 1), 1280);
    board_write(b->board, BOARD_MEMORY, PAGE + 0x404, 1, 2);
    board_write(b->board, BOARD_MEMORY, PAGE + 0x405, 1, 9);
    out(b, 0x3c4, 2);
    assert_int_equal(in(b, 0x3c5), 9);
    assert_int_equal(board_read(b->board, BOARD_MEMORY, PAGE + 0x604, 4), 0x1e1e1e1e);
}

/* ---- state ---- */

static void carry(struct bench *b, struct snap *s)
{
    b->bus->class->carry(b->bus, s);
}

static void a_picture_outlives_a_snapshot(void **state)
{
    struct bench *b = *state;
    struct snap_memory s;
    uint32_t before[320];

    set_mode(b, &mode_13);
    set_palette(b);
    for (unsigned i = 0; i < 320; i++) {
        store(b, WINDOW + i, (uint8_t)(i * 3));
    }
    look(b, 320, 200);
    b->display->ops->draw(b->display, 0, b->row);
    memcpy(before, b->row, sizeof before);
    snap_memory_write(&s);
    carry(b, &s.snap);
    b->bus->class->reset(b->bus);
    look(b, 640, 400); /* nothing */
    assert_int_equal(pixel(b, 100, 0), 0);
    snap_memory_read(&s);
    carry(b, &s.snap);
    assert_int_equal(snap_error(&s.snap), 0);
    snap_memory_fini(&s);
    look(b, 320, 200);
    b->display->ops->draw(b->display, 0, b->row);
    assert_memory_equal(b->row, before, sizeof before);
}

/* Whatever registers hold: the sanitizer watches the ends of the card's memory. */
static void absurd_registers_stay_inside(void **state)
{
    struct bench *b = *state;
    int fd = memfd_create("picture", MFD_CLOEXEC);
    unsigned seed = 7;

    for (unsigned i = 0; i < 400; i++) {
        for (unsigned n = 0; n < 40; n++) {
            put(b, (unsigned[]){0x3c4, 0x3ce, 0x3d4}[n % 3],
                (uint8_t)(rand_r(&seed) % 32), (uint8_t)rand_r(&seed));
        }
        (void)in(b, 0x3da);
        out(b, 0x3c0, 0x20 | (rand_r(&seed) % 32));
        out(b, 0x3c2, (uint8_t)rand_r(&seed) | 1);
        for (uint16_t n = 1; n < 10; n++) {
            dispi(b, n, (uint16_t)(rand_r(&seed) >> (rand_r(&seed) % 12)));
        }
        dispi(b, 3, (uint16_t[]){4, 8, 15, 16, 24, 32}[i % 6]);
        dispi(b, 4, (uint16_t)(i % 3 == 0 ? 0x81 : 0));
        for (uint16_t n = 5; n < 10; n++) {
            dispi(b, n, (uint16_t)rand_r(&seed));
        }
        for (unsigned n = 0; n < 50; n++) {
            store(b, WINDOW + (unsigned)rand_r(&seed) % 0x20000, 0xa5);
            (void)load(b, WINDOW + (unsigned)rand_r(&seed) % 0x20000);
        }
        b->display->ops->look(b->display, &b->size);
        assert_in_range(b->size.width, 1, DISPLAY_WIDTH_MOST);
        assert_in_range(b->size.height, 1, DISPLAY_HEIGHT_MOST);
        for (uint32_t y = 0; y < b->size.height; y += 13) {
            b->display->ops->draw(b->display, y, b->row);
        }
    }
    assert_int_equal(png_write(b->display, fd, NULL), 0);
    (void)close(fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_way_to_write_and_read_is_the_models),
        TEST(the_window_is_where_it_was_put),
        TEST(text_is_drawn_in_the_guests_own_font),
        TEST(planes_and_bytes_are_drawn),
        TEST(frame_buffers_of_every_depth_are_drawn),
        TEST(the_bank_shows_the_frame_buffer),
        TEST(its_interface_says_what_it_can),
        TEST(its_memory_lies_where_the_guest_puts_it),
        TEST(ram_that_is_in_its_way_stays),
        TEST(a_page_has_its_registers),
        TEST(a_picture_outlives_a_snapshot),
        TEST(absurd_registers_stay_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
