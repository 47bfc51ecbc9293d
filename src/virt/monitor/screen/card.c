/* card.c - the card as a function of PCI, its memory, and who reaches its registers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/mem_move.h"
#include "contract/snap.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/screen/private.h"

#define DISPI_PORTS       0x1ceu
#define DISPI_PORTS_BYTES 4u /* index, and data at an odd address and at an even one */

/* The page of registers: standard-vga.rst, "MMIO area spec". */
#define PAGE_BYTES      4096u
#define PAGE_VGA        0x400u
#define PAGE_VGA_END    0x420u
#define PAGE_VGA_PORT   0x3c0u
#define PAGE_DISPI      0x500u
#define PAGE_DISPI_END  0x516u
#define PAGE_SIZE       0x600u
#define PAGE_ORDER      0x604u
#define SIZE_BYTES      8u
#define ORDER_IS_LITTLE 0x1e1e1e1eu

#define BAR_PREFETCH 0x8u
#define BAR_PAGE     2u

/* ---- ports ---- */

static uint64_t read_ports(struct screen *s, unsigned port, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)vga_read(s, port + i) << (i * 8);
    }
    return v;
}

static void write_ports(struct screen *s, unsigned port, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++) {
        vga_write(s, port + i, (uint8_t)(value >> (i * 8)));
    }
}

static uint64_t read_low(void *who, uint64_t offset, unsigned bytes)
{
    return read_ports(who, VGA_PORTS + (unsigned)offset, bytes);
}

static void write_low(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    write_ports(who, VGA_PORTS + (unsigned)offset, bytes, value);
}

static uint64_t read_dispi(void *who, uint64_t offset, unsigned bytes)
{
    struct screen *s = who;

    return bytes != 2    ? UINT64_MAX
           : offset == 0 ? s->vga.dispi_at
                         : dispi_read(&s->vga, s->vga.dispi_at);
}

static void write_dispi(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    struct screen *s = who;

    if (bytes != 2) {
        return;
    }
    if (offset == 0) {
        s->vga.dispi_at = (uint16_t)value;
    } else {
        dispi_write(s, s->vga.dispi_at, (uint16_t)value);
    }
}

/* ---- the page ---- */

static uint8_t page_byte(struct screen *s, unsigned at)
{
    if (at >= PAGE_VGA && at < PAGE_VGA_END) {
        return vga_read(s, PAGE_VGA_PORT + (at - PAGE_VGA));
    }
    if (at >= PAGE_DISPI && at < PAGE_DISPI_END) {
        return (uint8_t)(dispi_read(&s->vga, (at - PAGE_DISPI) / 2) >> (at % 2 * 8));
    }
    if (at >= PAGE_SIZE && at < PAGE_SIZE + 4) {
        return (uint8_t)(SIZE_BYTES >> ((at - PAGE_SIZE) * 8));
    }
    return at >= PAGE_ORDER && at < PAGE_ORDER + 4 ? (uint8_t)ORDER_IS_LITTLE : 0;
}

static uint64_t read_page(void *who, uint64_t offset, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)page_byte(who, (unsigned)offset + i) << (i * 8);
    }
    return v;
}

static void write_page(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    unsigned at = (unsigned)offset;

    if (at >= PAGE_VGA && at + bytes <= PAGE_VGA_END) {
        write_ports(who, PAGE_VGA_PORT + (at - PAGE_VGA), bytes, value);
    } else if (at >= PAGE_DISPI && at + bytes <= PAGE_DISPI_END && at % 2 == 0) {
        for (unsigned i = 0; i + 1 < bytes; i += 2) {
            dispi_write(who, (at - PAGE_DISPI + i) / 2, (uint16_t)(value >> (i * 8)));
        }
    }
}

/* ---- the window ---- */

static uint64_t read_window(void *who, uint64_t offset, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)vga_load(who, (uint32_t)offset + i) << (i * 8);
    }
    return v;
}

static void write_window(void *who, uint64_t offset, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++) {
        vga_store(who, (uint32_t)offset + i, (uint8_t)(value >> (i * 8)));
    }
}

static int claim(struct screen *s, struct err *e)
{
    static const struct board_io low = {
        .name = "screen", .read = read_low, .write = write_low};
    static const struct board_io dispi = {
        .name = "screen", .read = read_dispi, .write = write_dispi};
    static const struct board_io window = {
        .name = "screen", .read = read_window, .write = write_window};
    const struct board_claim ports = {VGA_PORTS, 0x30, &low, s};
    const struct board_claim words = {DISPI_PORTS, DISPI_PORTS_BYTES, &dispi, s};
    const struct board_claim planes = {WINDOW, WINDOW_BYTES, &window, s};
    struct board *b = pci_board(s->config.bus);
    int r = board_claim(b, BOARD_PORTS, &ports, e);

    r = r == 0 ? board_claim(b, BOARD_PORTS, &words, e) : r;
    return r == 0 ? board_claim(b, BOARD_MEMORY, &planes, e) : r;
}

static void release(struct screen *s)
{
    struct board *b = pci_board(s->config.bus);

    board_release(b, BOARD_PORTS, VGA_PORTS);
    board_release(b, BOARD_PORTS, DISPI_PORTS);
    board_release(b, BOARD_MEMORY, WINDOW);
}

/* ---- its memory ---- */

/* Where the guest wants it; MEM_AWAY: nowhere. */
static uint64_t wanted(const struct screen *s)
{
    const struct pci_bar *bar = &s->function.bar[0];

    return bar->is_claimed ? bar->at : MEM_AWAY;
}

/* To where it is wanted, if nothing else is there. */
static void move(struct screen *s, uint64_t to)
{
    if (to != s->at && mem_move(s->config.mem, s->at, to) == 0) {
        s->at = to;
        s->config.moved(s->config.who);
    }
}

static void on_written(struct pci_function *f, unsigned reg, unsigned bytes)
{
    struct screen *s = (struct screen *)f;

    (void)reg;
    (void)bytes;
    if (wanted(s) != s->at) {
        s->config.moves(s->config.who);
    }
}

static void on_rest(struct pci_function *f)
{
    move((struct screen *)f, MEM_AWAY);
}

static void on_wake(struct pci_function *f)
{
    move((struct screen *)f, wanted((struct screen *)f));
}

/* ---- the function ---- */

static void on_reset(struct pci_function *f)
{
    vga_reset(&((struct screen *)f)->vga);
}

static void on_carry(struct pci_function *f, struct snap *s)
{
    vga_carry(&((struct screen *)f)->vga, s);
}

static void on_destroy(struct pci_function *f)
{
    free(f);
}

static void init_function(struct screen *s)
{
    static const struct pci_identity id = {.vendor = 0x1234,
                                           .device = 0x1111,
                                           .subsystem_vendor = 0x1af4,
                                           .subsystem = 0x1100,
                                           .class = 0x030000,
                                           .revision = 2};
    static const struct pci_function_ops ops = {.name = "screen",
                                                .written = on_written,
                                                .reset = on_reset,
                                                .carry = on_carry,
                                                .rest = on_rest,
                                                .wake = on_wake,
                                                .destroy = on_destroy};
    static const struct board_io io = {
        .name = "screen", .read = read_page, .write = write_page};
    static const struct pci_part part = {0, PAGE_BYTES, &io};
    const struct pci_bar memory = {.kind = PCI_BAR_32, .bytes = SCREEN_BYTES};
    const struct pci_bar page = {
        .kind = PCI_BAR_32, .bytes = PAGE_BYTES, .part = &part, .parts = 1};

    pci_function_init(&s->function, &ops, &id);
    pci_add_bar(&s->function, 0, &memory);
    pci_put(&s->function, PCI_BAR, 4, BAR_PREFETCH);
    pci_add_bar(&s->function, BAR_PAGE, &page);
}

int screen_create(const struct screen_config *c, struct screen **ret, struct err *e)
{
    struct screen *s = fault_calloc(1, sizeof *s);
    int r = s == NULL ? err_set(e, -ENOMEM, "out of memory") : 0;

    r = r == 0 ? mem_add_ram(c->mem, MEM_AWAY, SCREEN_BYTES, false, e) : r;
    if (r != 0) {
        free(s);
        return r;
    }
    s->config = *c;
    s->display.ops = &picture_ops;
    s->pixels = mem_find(c->mem, MEM_AWAY)->host;
    s->at = MEM_AWAY;
    vga_reset(&s->vga);
    init_function(s);
    r = claim(s, e);
    r = r == 0 ? pci_add(c->bus, c->slot, &s->function, e) : r;
    if (r != 0) {
        release(s);
        free(s);
        return r;
    }
    *ret = s;
    return 0;
}

struct display *screen_display(struct screen *s)
{
    return &s->display;
}
