/* nvme_fuzz.c - any accesses of a hostile driver to an NVMe controller.
 *
 * The input is a list of records of eight bytes: what, how (width), where (16 bits), a value (32
 * bits).  Accesses reach configuration space, registers, doorbells, the table of vectors and the
 * guest's memory, which has queues at its begin, with turns of the loop, pauses, resets, other sizes
 * and state in between. */
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
#include "virt/monitor/nvme/nvme.h"
#include "virt/monitor/pci/pci.h"
#include "virtio/space.h"

#define RECORDS_MOST 512
#define RAM_BYTES    0x20000u
#define ECAM         UINT64_C(0xe0000000)
#define WINDOW       UINT64_C(0xc0000000)
#define BELLS        (WINDOW + 0x1000)
#define VECTORS      (WINDOW + 0x2000)
#define SLOT         1u
#define TURNS_MOST   1000
#define QUEUE_BYTES  0x1000u /* queue n of commands at 2n of these, its answers behind */
#define ENTRIES      8u

struct world {
    struct one_disk disk;
    struct board *board;
    struct mem *mem;
    struct virtio_space_mem space;
    struct dev *pci;
    struct nvme *nvme;
    uint16_t tail[3];
};

static void on_send(void *who, const struct apic_message *msg)
{
    (void)who;
    (void)msg;
}

static void make(struct world *w)
{
    const struct pci_config pci = {.ecam = ECAM,
                                   .window_first = WINDOW,
                                   .window_last = ECAM - 1,
                                   .messages = {on_send, w},
                                   .who = w};
    const struct nvme_options o = {.edge = &w->disk.edge, .queues = 2};
    struct pci_socket s = {.space = &w->space.space, .slot = SLOT};

    one_disk_open(&w->disk);
    if (board_create(w->disk.loop, &w->board, NULL) != 0 ||
        ram_create(RAM_PRIVATE, &w->mem, NULL) != 0 ||
        mem_add_ram(w->mem, 0, RAM_BYTES, false, NULL) != 0 ||
        dev_create(&dev_pci, w->board, &pci, &w->pci, NULL) != 0 ||
        nvme_create(w->disk.loop, &o, &w->nvme, NULL) != 0) {
        abort();
    }
    virtio_space_over_mem(&w->space, w->mem);
    s.loop = w->disk.loop;
    s.bus = pci_bus_of(w->pci);
    if (nvme_card(w->nvme).plug(w->nvme, &s, NULL) != 0) {
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
    nvme_destroy(w->nvme);
    board_destroy(w->board);
    mem_destroy(w->mem);
    one_disk_close(&w->disk);
}

static void put(struct world *w, uint64_t at, unsigned bytes, uint64_t v)
{
    board_write(w->board, BOARD_MEMORY, at, bytes, v);
}

static void turn(struct world *w)
{
    (void)loop_turn(w->disk.loop, 0);
    (void)loop_turn(w->disk.loop, 0);
}

/* A command of 16 words at the end of a queue, and its doorbell. */
static void command(struct world *w, unsigned q, const uint32_t c[16])
{
    (void)mem_write(w->mem, q * 2 * QUEUE_BYTES + w->tail[q] * 64u, c, 64);
    w->tail[q] = (uint16_t)((w->tail[q] + 1) % ENTRIES);
    put(w, BELLS + q * 8, 4, w->tail[q]);
}

/* What a driver does: the administrator's queues, and two pairs of others. */
static void drive(struct world *w)
{
    put(w, ECAM + (SLOT << 15) + 4, 2, 6);
    put(w, WINDOW + 0x14, 4, 0);
    turn(w);
    memset(w->tail, 0, sizeof w->tail);
    put(w, WINDOW + 0x24, 4, (ENTRIES - 1) << 16 | (ENTRIES - 1));
    put(w, WINDOW + 0x28, 8, 0);
    put(w, WINDOW + 0x30, 8, QUEUE_BYTES);
    put(w, WINDOW + 0x14, 4, 0x460001);
    turn(w);
    for (uint32_t q = 1; q <= 2; q++) {
        const uint32_t cq[16] = {5, [6] = (2 * q + 1) * QUEUE_BYTES,
                                 [10] = (ENTRIES - 1) << 16 | q, [11] = q << 16 | 3};
        const uint32_t sq[16] = {1, [6] = 2 * q * QUEUE_BYTES,
                                 [10] = (ENTRIES - 1) << 16 | q, [11] = q << 16 | 1};

        command(w, 0, cq);
        command(w, 0, sq);
        put(w, BELLS + 4, 4, q * 2);
    }
    turn(w);
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

/* An opcode of its own, a few bits of each word that matters. */
static void any_command(struct world *w, const uint8_t r[8])
{
    uint32_t c[16] = {r[1], 1};

    c[0] |= (uint32_t)r[7] << 16;
    c[1] = (r[7] & 0xf0) == 0xf0 ? r[7] : 1;
    c[6] = (uint32_t)r[2] << 9 | (r[3] & 0x3cu);
    c[8] = (uint32_t)r[3] << 9 & ~0xfffu;
    c[10] = r[4] | (uint32_t)(r[4] & 0xf0) << 12;
    c[11] = r[5];
    c[12] = r[6] | (uint32_t)(r[6] & 0xc0) << 24;
    command(w, r[0] / 16 % 3, c);
}

static void obey(struct world *w, const uint8_t r[8])
{
    unsigned bytes = 1u << (r[1] & 3);
    uint16_t where;
    uint32_t v;

    memcpy(&where, r + 2, 2);
    memcpy(&v, r + 4, 4);
    switch (r[0] % 16) {
    case 0:
        put(w, ECAM + (SLOT << 15) + (where & 0xff), bytes, v);
        break;
    case 1:
        (void)board_read(w->board, BOARD_MEMORY, WINDOW + (where & 0x1fff), bytes);
        break;
    case 2:
        put(w, WINDOW + (where & 0x3f), bytes, v | (uint64_t)v << 32);
        break;
    case 3:
        put(w, BELLS + (where & 0x7c), 4, v & 0x1ff);
        break;
    case 4:
        put(w, VECTORS + (where & 0xfff), bytes, v | (uint64_t)v << 32);
        break;
    case 5:
        (void)mem_write(w->mem, where, &v, bytes < 4 ? bytes : 4);
        break;
    case 6:
        turn(w);
        break;
    case 7:
        rest(w);
        pci_wake(w->pci);
        break;
    case 8:
        reset(w);
        break;
    case 9:
        drive(w);
        break;
    case 10:
        carry(w, where, r[1]);
        break;
    case 11:
        nvme_resized(w->nvme);
        break;
    default:
        any_command(w, r);
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
