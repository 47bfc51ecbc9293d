/* screen_fuzz.c - any accesses of a hostile guest to its graphics card, and pictures of it; and to
 * its keyboard.
 *
 * The input is a list of records of eight bytes: what, how (width), where (16 bits), a value (32
 * bits): ports, the window, the page, configuration space, state in between, a picture. */
#include <stdlib.h>
#include <string.h>

#include "contract/display.h"
#include "host/loop/loop.h"
#include "tests/fuzz/target.h"
#include "tests/virt/monitor/screen/heap_mem.h"
#include "tests/virt/monitor/snap_memory.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/dev/keyboard.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/screen/screen.h"

#define RECORDS_MOST 256
#define SLOT         30u
#define PAGE         UINT64_C(0xe1000000)

struct world {
    struct loop *loop;
    struct board *board;
    struct mem *mem;
    struct dev *bus, *keyboard;
    struct screen *screen;
    unsigned pictures;
};

static void on_send(void *who, const struct apic_message *msg)
{
    (void)who;
    (void)msg;
}

static void on_event(void *who)
{
    (void)who;
}

static void make(struct world *w)
{
    const struct pci_config pci = {.ecam = 0xe0000000,
                                   .window_first = 0xc0000000,
                                   .window_last = 0xdfffffff,
                                   .messages = {.send = on_send},
                                   .reset = on_event};
    const struct keyboard_config keyboard = {.reset = on_event};
    struct screen_config c = {.slot = SLOT, .moves = on_event, .moved = on_event};

    w->mem = heap_mem_make();
    if (loop_create(LOOP_DRIVER_CREW, &w->loop, NULL) != 0 ||
        board_create(w->loop, &w->board, NULL) != 0 ||
        dev_create(&dev_pci, w->board, &pci, &w->bus, NULL) != 0) {
        abort();
    }
    c.bus = pci_bus_of(w->bus);
    c.mem = w->mem;
    if (screen_create(&c, &w->screen, NULL) != 0) {
        abort();
    }
    if (dev_create(&dev_keyboard, w->board, &keyboard, &w->keyboard, NULL) != 0) {
        abort();
    }
    pci_write(c.bus, PCI_WHERE(SLOT, 0), PCI_BAR + 8, 4, (uint32_t)PAGE);
    pci_write(c.bus, PCI_WHERE(SLOT, 0), PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
}

/* State out, one byte of it changed, and in again. */
static void carry(struct dev *d, uint16_t where, uint8_t flip)
{
    struct snap_memory s;

    snap_memory_write(&s);
    d->class->carry(d, &s.snap);
    s.bytes[where % s.count] ^= flip;
    snap_memory_read(&s);
    d->class->carry(d, &s.snap);
    snap_memory_fini(&s);
}

static void show(struct world *w)
{
    struct display *d = screen_display(w->screen);
    struct display_size size;
    uint32_t row[DISPLAY_WIDTH_MOST];

    if (w->pictures++ > 8) {
        return;
    }
    d->ops->look(d, &size);
    if (size.width == 0 || size.width > DISPLAY_WIDTH_MOST || size.height == 0 ||
        size.height > DISPLAY_HEIGHT_MOST) {
        abort();
    }
    for (uint32_t y = 0; y < size.height; y += 1 + size.height / 16) {
        d->ops->draw(d, y, row);
    }
    d->ops->draw(d, size.height - 1, row);
}

static void obey(struct world *w, const uint8_t r[8])
{
    unsigned width = 1u << (r[1] & 3);
    uint16_t where;
    uint32_t v;

    memcpy(&where, r + 2, 2);
    memcpy(&v, r + 4, 4);
    switch (r[0] % 10) {
    case 0:
        board_write(w->board, BOARD_PORTS, 0x3b0u + where % 0x30, width, v);
        break;
    case 1:
        (void)board_read(w->board, BOARD_PORTS, 0x3b0u + where % 0x30, width);
        break;
    case 2: /* a register of dispi */
        board_write(w->board, BOARD_PORTS, 0x1ce, 2, where % 12);
        board_write(w->board, BOARD_PORTS, 0x1cf, 2, v);
        break;
    case 3:
        board_write(w->board, BOARD_MEMORY, 0xa0000 + ((v ^ where) & 0x1ffff), width, v);
        (void)board_read(w->board, BOARD_MEMORY, 0xa0000 + (v & 0x1ffff), width);
        break;
    case 4:
        board_write(w->board, BOARD_MEMORY, PAGE + (where & 0xfff), width, v);
        (void)board_read(w->board, BOARD_MEMORY, PAGE + (where & 0xfff), width);
        break;
    case 5:
        carry((v & 1) == 0 ? w->bus : w->keyboard, where, r[1]);
        break;
    case 6:
        pci_write(pci_bus_of(w->bus), PCI_WHERE(SLOT, 0), where & 0x7c, 4, v);
        pci_rest(w->bus);
        pci_wake(w->bus);
        break;
    case 7:
        board_write(w->board, BOARD_PORTS, 0x60u + (where & 4), 1, v);
        (void)board_read(w->board, BOARD_PORTS, 0x60u + (where & 2) * 2, 1);
        break;
    case 8:
        (void)keyboard_type(w->keyboard, (where & 1) == 0 ? "ctrl-alt-delete" : "down",
                            NULL);
        break;
    default:
        show(w);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {0};

    make(&w);
    for (unsigned i = 0; i < RECORDS_MOST && size >= 8; i++) {
        obey(&w, data);
        data += 8;
        size -= 8;
    }
    show(&w);
    pci_rest(w.bus);
    dev_destroy(w.keyboard);
    dev_destroy(w.bus);
    mem_destroy(w.mem);
    board_destroy(w.board);
    loop_destroy(w.loop);
    return 0;
}
