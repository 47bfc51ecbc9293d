/* vpci_threads_test.c - a driver on a thread of its own, as a vCPU is, and the loop with the disk
 * on another: requests are answered, resets wait, nothing is lost. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "contract/blk_graph.h"
#include "contract/mem.h"
#include "host/loop/loop.h"
#include "host/ram.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/virtio/driver.h"
#include "virt/monitor/board/board.h"
#include "virt/monitor/pci/pci.h"
#include "virt/monitor/vpci/vpci.h"
#include "virtio/blk_device.h"
#include "virtio/blk_numbers.h"
#include "virtio/device.h"
#include "virtio/space.h"

#define ECAM       UINT64_C(0xe0000000)
#define WINDOW     UINT64_C(0xc0000000)
#define REGS       (WINDOW + 0x4000)
#define DEVICE     (REGS + 0x2000)
#define NOTIFY     (REGS + 0x3000)
#define SLOT       1u
#define RAM_BYTES  0x100000u
#define DATA       0x80000u
#define SIZE       16u
#define LIVES      300
#define REQUESTS   40
#define LOOKS_MOST 100000000u

struct world {
    struct loop *loop;
    struct board *board;
    struct mem *mem;
    uint8_t *ram;
    struct virtio_space_mem space;
    struct dev *pci;
    struct blk_edge edge;
    struct virtio_device *device;
    struct driver d;
    _Atomic unsigned sent;
    unsigned failed; /* of the driver's thread: its line */
    unsigned done;
    struct loop_task over;
};

/* The first thing that went wrong; asserting is for the test's own thread. */
static void check(struct world *w, bool is_good, unsigned line)
{
    if (!is_good && w->failed == 0) {
        w->failed = line;
    }
}

#define CHECK(w, what) check((w), (what), __LINE__)

static void on_send(void *who, const struct apic_message *msg)
{
    (void)msg;
    atomic_fetch_add(&((struct world *)who)->sent, 1);
}

static int attach(void *arg)
{
    struct world *w = arg;
    struct blk *disk;
    int r = leaf_memory_create(loop_strands(w->loop), 1 << 20, 512, &disk, NULL);

    w->edge = (struct blk_edge){
        .user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE, .lets = BLK_USE_ALL};
    return r != 0 ? r : blk_attach(&w->edge, disk, NULL);
}

static int detach(void *arg)
{
    blk_detach(&((struct world *)arg)->edge);
    return 0;
}

static void make(struct world *w)
{
    const struct pci_config pci = {.ecam = ECAM,
                                   .window_first = WINDOW,
                                   .window_last = ECAM - 1,
                                   .messages = {on_send, w},
                                   .who = w};
    struct virtio_blk_device_options o = {.edge = &w->edge, .queues = 1};
    struct pci_socket s = {.space = &w->space.space, .slot = SLOT};

    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &w->loop, NULL), 0);
    assert_int_equal(loop_do(w->loop, attach, w), 0);
    assert_int_equal(board_create(w->loop, &w->board, NULL), 0);
    assert_int_equal(ram_create(RAM_PRIVATE, &w->mem, NULL), 0);
    assert_int_equal(mem_add_ram(w->mem, 0, RAM_BYTES, false, NULL), 0);
    w->ram = mem_find(w->mem, 0)->host;
    virtio_space_over_mem(&w->space, w->mem);
    assert_int_equal(dev_create(&dev_pci, w->board, &pci, &w->pci, NULL), 0);
    assert_int_equal(virtio_blk_device_create(w->loop, &o, &w->device, NULL), 0);
    s.loop = w->loop;
    s.bus = pci_bus_of(w->pci);
    assert_int_equal(vpci_card(w->device).plug(w->device, &s, NULL), 0);
}

static void unmake(struct world *w)
{
    pci_rest(w->pci);
    while (!pci_rests(w->pci)) {
        assert_int_equal(loop_turn(w->loop, 10), 0);
    }
    dev_destroy(w->pci);
    w->device->ops->destroy(w->device);
    board_destroy(w->board);
    mem_destroy(w->mem);
    assert_int_equal(loop_do(w->loop, detach, w), 0);
    loop_destroy(w->loop);
}

/* ---- the driver's thread ---- */

static uint64_t get(struct world *w, uint64_t at, unsigned bytes)
{
    return board_read(w->board, BOARD_MEMORY, at, bytes);
}

static void put(struct world *w, uint64_t at, unsigned bytes, uint64_t v)
{
    board_write(w->board, BOARD_MEMORY, at, bytes, v);
}

static void begin(struct world *w, bool packed)
{
    put(w, ECAM + (SLOT << 15) + 4, 2, 6);
    put(w, ECAM + (SLOT << 15) + 0x42, 2, 0x8000);
    put(w, WINDOW, 8, 0xfee00000);
    put(w, WINDOW + 8, 8, 0x41);
    put(w, REGS + 20, 1, 3);
    put(w, REGS + 8, 4, 0);
    put(w, REGS + 12, 4, 1u << 29 | VIRTIO_BLK_F_CONFIG_WCE | VIRTIO_BLK_F_FLUSH);
    put(w, REGS + 8, 4, 1);
    put(w, REGS + 12, 4, packed ? 5 : 1);
    put(w, REGS + 20, 1, 11);
    CHECK(w, get(w, REGS + 20, 1) == 11);
    w->d.packed = packed;
    w->d.events = true;
    driver_init(&w->d, w->ram, 0, 0x10000, SIZE);
    put(w, REGS + 22, 2, 0);
    put(w, REGS + 24, 2, SIZE);
    put(w, REGS + 26, 2, 0);
    put(w, REGS + 32, 8, w->d.desc);
    put(w, REGS + 40, 8, w->d.avail);
    put(w, REGS + 48, 8, w->d.used);
    put(w, REGS + 28, 2, 1);
    CHECK(w, get(w, REGS + 28, 2) == 1);
    put(w, REGS + 20, 1, 15);
}

static void offer(struct world *w, unsigned n)
{
    uint64_t at = DATA + n % 8 * 0x2000u;
    struct virtio_blk_head head = {
        .type = n % 2 == 0 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, .sector = n};
    const struct driver_piece p[] = {
        {at, sizeof head, false}, {at + 0x1000, 512, n % 2 == 1}, {at + 64, 1, true}};

    memcpy(w->ram + at, &head, sizeof head);
    CHECK(w, driver_add(&w->d, p, 3, false) >= 0);
    if (driver_wants_kick(&w->d)) {
        put(w, NOTIFY, 2, 0);
    }
}

static void await(struct world *w)
{
    uint16_t id;
    uint32_t bytes;
    unsigned looks = 0;

    while (!driver_get(&w->d, &id, &bytes)) {
        if (++looks == LOOKS_MOST) {
            CHECK(w, false); /* a request was lost */
            return;
        }
        (void)sched_yield();
    }
    w->done++;
}

/* All accesses that a driver may make while the disk is at work. */
static void meddle(struct world *w, unsigned n)
{
    put(w, WINDOW + 12, 4, n % 3 == 0);
    put(w, DEVICE + 32, 1, n & 1);
    CHECK(w, get(w, DEVICE + 32, 1) == (n & 1));
    (void)get(w, DEVICE, 8);
    (void)get(w, REGS + 0x1000, 1);
    if (n % 16 == 5) { /* the bus is taken away for a moment */
        put(w, ECAM + (SLOT << 15) + 4, 2, 2);
        put(w, ECAM + (SLOT << 15) + 4, 2, 6);
    }
}

static void end(struct world *w)
{
    unsigned looks = 0;

    put(w, REGS + 20, 1, 0);
    while (get(w, REGS + 20, 1) != 0 && ++looks < LOOKS_MOST) {
        (void)sched_yield();
    }
    CHECK(w, looks < LOOKS_MOST);
}

static void *drive(void *arg)
{
    struct world *w = arg;

    for (unsigned life = 0; life < LIVES && w->failed == 0; life++) {
        begin(w, life % 2 == 1);
        for (unsigned n = 0; n < REQUESTS && w->failed == 0; n++) {
            offer(w, n);
            meddle(w, n);
            if (n % 4 == 3) {
                for (unsigned i = 0; i < 4; i++) {
                    await(w);
                }
            }
        }
        offer(w, life); /* the reset comes over it */
        end(w);
    }
    loop_post(w->loop, &w->over);
    return NULL;
}

static void on_over(struct loop_task *t)
{
    loop_stop(((struct world *)((char *)t - offsetof(struct world, over)))->loop);
}

static void a_driver_and_the_loop_live_side_by_side(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    pthread_t thread;

    (void)state;
    make(w);
    w->over.fn = on_over;
    assert_int_equal(pthread_create(&thread, NULL, drive, w), 0);
    assert_int_equal(loop_run(w->loop), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(w->failed, 0);
    assert_int_equal(w->done, LIVES * REQUESTS);
    assert_true(atomic_load(&w->sent) > 0);
    unmake(w);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_driver_and_the_loop_live_side_by_side),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
