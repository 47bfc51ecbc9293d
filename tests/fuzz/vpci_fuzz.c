/* vpci_fuzz.c - any accesses of a hostile driver to a disk on the PCI bus.
 *
 * The input is a list of records of eight bytes: what, how (width), where (16 bits), a value (32
 * bits).  Accesses reach configuration space, the registers, the table of vectors, ports and
 * the guest's memory, with turns of the loop, pauses, resets and state in between. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contract/mem.h"
#include "host/loop/loop.h"
#include "host/ram.h"
#include "tests/fuzz/one_disk.h"
#include "tests/fuzz/target.h"
#include "tests/virt/monitor/snap_memory.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/vpci/vpci.h"
#include "virtio/blk_device.h"
#include "virtio/device.h"
#include "virtio/space.h"

#define RECORDS_MOST 512
#define RAM_BYTES    0x20000u
#define ECAM         UINT64_C(0xe0000000)
#define WINDOW       UINT64_C(0xc0000000)
#define REGS         (WINDOW + 0x4000)
#define SLOT         1u
#define TURNS_MOST   1000

struct world {
    struct one_disk disk;
    struct board *board;
    struct mem *mem;
    struct virtio_space_mem space;
    struct dev *pci;
    struct virtio_device *device;
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

static void make(struct world *w)
{
    const struct pci_config pci = {.ecam = ECAM,
                                   .window_first = WINDOW,
                                   .window_last = ECAM - 1,
                                   .messages = {on_send, w},
                                   .reset = on_reset,
                                   .who = w};
    const struct virtio_blk_device_options disk = {.edge = &w->disk.edge, .queues = 2};
    struct pci_socket s = {.space = &w->space.space, .slot = SLOT};

    one_disk_open(&w->disk);
    if (board_create(w->disk.loop, &w->board, NULL) != 0 ||
        ram_create(RAM_PRIVATE, &w->mem, NULL) != 0 ||
        mem_add_ram(w->mem, 0, RAM_BYTES, false, NULL) != 0 ||
        dev_create(&dev_pci, w->board, &pci, &w->pci, NULL) != 0 ||
        virtio_blk_device_create(w->disk.loop, &disk, &w->device, NULL) != 0) {
        abort();
    }
    virtio_space_over_mem(&w->space, w->mem);
    s.loop = w->disk.loop;
    s.bus = pci_bus_of(w->pci);
    if (vpci_card(w->device).plug(w->device, &s, NULL) != 0) {
        abort();
    }
}

static void rest(struct world *w)
{
    unsigned n = 0;

    pci_rest(w->pci);
    while (!pci_rests(w->pci)) {
        (void)loop_turn(w->disk.loop, 0);
        if (n++ == TURNS_MOST) {
            abort(); /* a device that does not come to rest */
        }
    }
}

static void unmake(struct world *w)
{
    rest(w);
    dev_destroy(w->pci);
    w->device->ops->destroy(w->device);
    board_destroy(w->board);
    mem_destroy(w->mem);
    one_disk_close(&w->disk);
}

static void put(struct world *w, uint64_t at, unsigned bytes, uint64_t v)
{
    board_write(w->board, BOARD_MEMORY, at, bytes, v);
}

/* What a driver does, as far as the registers still let it. */
static void drive(struct world *w, uint32_t features)
{
    put(w, ECAM + (SLOT << 15) + 4, 2, 6);
    put(w, REGS + 20, 1, 3);
    put(w, REGS + 8, 4, 0);
    put(w, REGS + 12, 4, features);
    put(w, REGS + 8, 4, 1);
    put(w, REGS + 12, 4, 1 | (features & 4));
    put(w, REGS + 20, 1, 11);
    for (unsigned i = 0; i < 2; i++) {
        put(w, REGS + 22, 2, i);
        put(w, REGS + 24, 2, 8);
        put(w, REGS + 32, 8, i * 0x4000);
        put(w, REGS + 40, 8, i * 0x4000 + 0x1000);
        put(w, REGS + 48, 8, i * 0x4000 + 0x2000);
        put(w, REGS + 28, 2, 1);
    }
    put(w, REGS + 20, 1, 15);
    (void)loop_turn(w->disk.loop, 0);
}

static void reset(struct world *w)
{
    rest(w);
    board_lock(w->board);
    w->pci->class->reset(w->pci);
    board_unlock(w->board);
    pci_wake(w->pci);
}

/* State out, one byte of it changed, and in again. */
static void carry(struct world *w, uint16_t where, uint8_t flip)
{
    struct snap_memory s;

    rest(w);
    snap_memory_write(&s);
    w->pci->class->carry(w->pci, &s.snap);
    s.bytes[where % s.count] ^= flip;
    snap_memory_read(&s);
    w->pci->class->carry(w->pci, &s.snap);
    snap_memory_fini(&s);
    pci_wake(w->pci);
}

static void obey(struct world *w, const uint8_t r[8])
{
    unsigned bytes = 1u << (r[1] & 3);
    uint16_t where;
    uint32_t v;

    memcpy(&where, r + 2, 2);
    memcpy(&v, r + 4, 4);
    switch (r[0] % 12) {
    case 0:
        put(w, ECAM + (SLOT << 15) + (where & 0xff), bytes, v);
        break;
    case 1:
        (void)board_read(w->board, BOARD_MEMORY, ECAM + (where & 0xfff) * 8u, bytes);
        break;
    case 2:
        put(w, REGS + (where & 0x3fff), bytes, v | (uint64_t)v << 32);
        break;
    case 3:
        (void)board_read(w->board, BOARD_MEMORY, REGS + (where & 0x3fff), bytes);
        break;
    case 4:
        put(w, WINDOW + (where & 0xfff), bytes, v | (uint64_t)v << 32);
        break;
    case 5:
        (void)mem_write(w->mem, where, &v, bytes < 4 ? bytes : 4);
        break;
    case 6:
        (void)loop_turn(w->disk.loop, 0);
        break;
    case 7:
        rest(w);
        pci_wake(w->pci);
        break;
    case 8:
        reset(w);
        break;
    case 9:
        drive(w, v);
        break;
    case 10:
        board_write(w->board, BOARD_PORTS, 0xcf8 + (where & 7), bytes, v);
        (void)board_read(w->board, BOARD_PORTS, 0xcf8 + (where & 7), bytes);
        break;
    default:
        carry(w, where, r[1]);
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
    unmake(&w);
    return 0;
}
