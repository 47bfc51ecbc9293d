/* tests/virt/monitor/nvme/bench.h - a machine with an NVMe controller over a disk of the test's. */
#ifndef TESTS_VIRT_MONITOR_NVME_BENCH_H
#define TESTS_VIRT_MONITOR_NVME_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contract/mem.h"
#include "host/loop/loop.h"
#include "host/ram.h"
#include "tests/virt/monitor/nvme/disk.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/nvme/nvme.h"
#include "virt/monitor/pci/pci.h"
#include "virtio/space.h"

#define ECAM      UINT64_C(0xe0000000)
#define WINDOW    UINT64_C(0xc0000000)
#define REGS      WINDOW
#define BELLS     (REGS + 0x1000)
#define VECTORS   (WINDOW + 0x2000)
#define SLOT      3u
#define RAM_BYTES 0x400000u
#define QUEUES    2u /* at least, whatever is asked for */

/* Where the driver has what. */
#define ADMIN_SQ 0x10000u
#define ADMIN_CQ 0x11000u
#define PAGE     0x12000u /* of answers */
#define LISTS    0x20000u
#define IO                                                                               \
    0x40000u /* 0x10000 for each pair of queues: commands, then answers at 0x8000 */
#define DATA    0x100000u
#define ENTRIES 8u /* of the administrator's queues */

enum {
    CAP = 0,
    VS = 8,
    INTMS = 0xc,
    INTMC = 0x10,
    CC = 0x14,
    CSTS = 0x1c,
    AQA = 0x24,
    ASQ = 0x28,
    ACQ = 0x30
};

struct ring {
    uint64_t sq, cq;
    uint32_t entries, tail, head;
    bool phase;
};

struct bench {
    struct loop *loop;
    struct board *board;
    struct mem *mem;
    struct virtio_space_mem space;
    struct dev *dev;
    struct disk *disk;
    struct blk_edge edge;
    struct nvme *nvme;
    struct ring ring[1 + QUEUES];
    uint16_t next_id;
    uint32_t result;  /* of the last command */
    unsigned sent[8]; /* messages, by the number in their data */
    uint32_t lines;
    uint32_t block_bytes;
};

static inline int attach(void *arg)
{
    struct bench *b = arg;

    b->disk = disk_make(loop_strands(b->loop), b->block_bytes);
    b->edge = (struct blk_edge){
        .user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE, .lets = BLK_USE_ALL};
    return blk_attach(&b->edge, &b->disk->blk, NULL);
}

static inline int detach(void *arg)
{
    blk_detach(&((struct bench *)arg)->edge);
    return 0;
}

/* ---- the machine ---- */

static inline void on_send(void *who, const struct apic_message *msg)
{
    ((struct bench *)who)->sent[msg->vector % 8]++;
}

static inline void on_level(void *who, unsigned line, bool is_high)
{
    struct bench *b = who;

    b->lines = (b->lines & ~(UINT32_C(1) << line)) | (uint32_t)is_high << line;
}

/* Doorbells that are not rung loudly are looked at before the loop sleeps. */
static inline void turn(struct bench *b)
{
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(loop_turn(b->loop, i < 2), 0);
    }
}

static inline uint64_t get(struct bench *b, uint64_t at, unsigned bytes)
{
    return board_read(b->board, BOARD_MEMORY, at, bytes);
}

static inline void put(struct bench *b, uint64_t at, unsigned bytes, uint64_t v)
{
    board_write(b->board, BOARD_MEMORY, at, bytes, v);
}

static inline uint64_t config(unsigned reg)
{
    return ECAM + (SLOT << 15) + reg;
}

static inline uint8_t *ram(struct bench *b, uint64_t at)
{
    return virtio_space_flat(&b->space.space, at, 1, true);
}

static inline int set_up_with(void **state, uint32_t block_bytes, bool read_only)
{
    static struct bench b;
    const struct board_listener l = {on_level, &b};
    const struct pci_config pci = {.ecam = ECAM,
                                   .window_first = WINDOW,
                                   .window_last = ECAM - 1,
                                   .messages = {on_send, &b},
                                   .who = &b};
    const struct nvme_options o = {
        .edge = &b.edge, .serial = "of a test", .queues = 1, .read_only = read_only};
    struct pci_socket s = {.space = &b.space.space, .slot = SLOT};

    memset(&b, 0, sizeof b);
    b.block_bytes = block_bytes;
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &b.loop, NULL), 0);
    assert_int_equal(board_create(b.loop, &b.board, NULL), 0);
    assert_int_equal(board_listen(b.board, &l), 0);
    assert_int_equal(ram_create(RAM_PRIVATE, &b.mem, NULL), 0);
    assert_int_equal(mem_add_ram(b.mem, 0, RAM_BYTES, false, NULL), 0);
    virtio_space_over_mem(&b.space, b.mem);
    assert_int_equal(dev_create(&dev_pci, b.board, &pci, &b.dev, NULL), 0);
    assert_int_equal(loop_do(b.loop, attach, &b), 0);
    assert_int_equal(nvme_create(b.loop, &o, &b.nvme, NULL), 0);
    s.loop = b.loop;
    s.bus = pci_bus_of(b.dev);
    assert_int_equal(nvme_card(b.nvme).plug(b.nvme, &s, NULL), 0);
    put(&b, config(4), 2, 6);
    *state = &b;
    return 0;
}

static inline int set_up(void **state)
{
    return set_up_with(state, 512, false);
}

static inline int set_up_4k(void **state)
{
    return set_up_with(state, 4096, false);
}

static inline int set_up_read_only(void **state)
{
    return set_up_with(state, 512, true);
}

static inline void rest(struct bench *b)
{
    pci_rest(b->dev);
    while (!pci_rests(b->dev)) {
        assert_int_equal(loop_turn(b->loop, 10), 0);
    }
}

static inline int tear_down(void **state)
{
    struct bench *b = *state;

    assert_int_equal(loop_do(b->loop, let_go, b->disk), 0);
    rest(b);
    dev_destroy(b->dev);
    nvme_destroy(b->nvme);
    board_destroy(b->board);
    mem_destroy(b->mem);
    assert_int_equal(loop_do(b->loop, detach, b), 0);
    loop_destroy(b->loop);
    return 0;
}

#endif
