/* blk_device_test.c - a disk as a virtio device: started, kicked, stopped, started again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/virtio/driver.h"
#include "virtio/blk_device.h"
#include "virtio/blk_numbers.h"
#include "virtio/device.h"
#include "virtio/space.h"

#define GUEST      0x10000u
#define MEM_BYTES  (1u << 20)
#define DATA       0x80000u
#define DISK_BYTES (1u << 20)
#define SIZE       16u
#define QUEUES     2u

struct world {
    struct virtio_space space; /* first */
    struct loop *loop;
    struct blk_edge edge;
    struct virtio_device *device;
    uint8_t *mem;
    struct driver d[QUEUES];
    uint32_t base[QUEUES];
    unsigned notified[QUEUES], changes, broken, stopped;
};

static uint8_t *reach(struct virtio_space *s, uint64_t at, uint64_t bytes, bool write,
                      uint64_t *ret)
{
    struct world *w = (struct world *)s;

    (void)write;
    if (at < GUEST || at >= GUEST + MEM_BYTES) {
        return NULL;
    }
    *ret = bytes < GUEST + MEM_BYTES - at ? bytes : GUEST + MEM_BYTES - at;
    return w->mem + (at - GUEST);
}

static void notify(void *t, unsigned i)
{
    ((struct world *)t)->notified[i]++;
}

static void config_changed(void *t)
{
    ((struct world *)t)->changes++;
}

static void broken(void *t)
{
    ((struct world *)t)->broken++;
}

static void stopped(void *t)
{
    ((struct world *)t)->stopped++;
}

static int attach(void *arg)
{
    struct world *w = arg;
    struct blk *disk;
    int r = leaf_memory_create(loop_strands(w->loop), DISK_BYTES, BLK_BLOCK_LEAST_BYTES,
                               &disk, NULL);

    w->edge = (struct blk_edge){.user = "test",
                                .uses = BLK_USE_READ | BLK_USE_WRITE | BLK_USE_RESIZE,
                                .lets = BLK_USE_ALL};
    return r != 0 ? r : blk_attach(&w->edge, disk, NULL);
}

static int detach(void *arg)
{
    blk_detach(&((struct world *)arg)->edge);
    return 0;
}

static int set_up(void **state)
{
    static const struct virtio_transport_ops plug = {notify, config_changed, broken,
                                                     stopped};
    struct world *w = calloc(1, sizeof *w);
    struct virtio_blk_device_options o = {.id = "disk-of-a-test", .queues = QUEUES};

    w->space.reach = reach;
    w->mem = aligned_alloc(4096, MEM_BYTES);
    memset(w->mem, 0, MEM_BYTES);
    assert_int_equal(loop_create(LOOP_DRIVER_CREW, &w->loop, NULL), 0);
    assert_int_equal(loop_do(w->loop, attach, w), 0);
    o.edge = &w->edge;
    assert_int_equal(virtio_blk_device_create(w->loop, &o, &w->device, NULL), 0);
    w->device->plug = &plug;
    w->device->transport = w;
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    w->device->ops->destroy(w->device);
    assert_int_equal(loop_do(w->loop, detach, w), 0);
    loop_destroy(w->loop);
    free(w->mem);
    free(w);
    return 0;
}

static int start(struct world *w, uint64_t features, unsigned used)
{
    struct virtq_setup s[QUEUES] = {0};

    for (unsigned i = 0; i < used; i++) {
        struct driver *d = &w->d[i];

        s[i] = (struct virtq_setup){
            .space = &w->space,
            .rings = {d->mem + d->desc, d->mem + d->avail, d->mem + d->used},
            .size = d->size,
            .features = features,
            .base = w->base[i]};
    }
    return w->device->ops->start(w->device, features, s, QUEUES);
}

static void lay_out(struct world *w)
{
    for (unsigned i = 0; i < QUEUES; i++) {
        driver_init(&w->d[i], w->mem, GUEST, i * 0x20000u, SIZE);
    }
}

/* A request with its data at place `n` of guest memory. */
static void ask(struct world *w, unsigned queue, uint32_t type, uint64_t sector,
                unsigned n, uint32_t bytes)
{
    uint64_t at = DATA + n * 0x2000u;
    struct virtio_blk_head head = {.type = type, .sector = sector};
    const struct driver_piece p[] = {
        {GUEST + at, sizeof head, false},
        {GUEST + at + 0x1000, bytes, type != VIRTIO_BLK_T_OUT},
        {GUEST + at + 64, 1, true},
    };

    memcpy(w->mem + at, &head, sizeof head);
    w->mem[at + 64] = 0xff;
    assert_true(driver_add(&w->d[queue], p, 3, false) >= 0);
}

static uint8_t *data(struct world *w, unsigned n)
{
    return w->mem + DATA + n * 0x2000u + 0x1000;
}

static uint8_t status(struct world *w, unsigned n)
{
    return w->mem[DATA + n * 0x2000u + 64];
}

static void wait_for(struct world *w, unsigned queue, unsigned count)
{
    uint16_t id;
    uint32_t bytes;

    for (unsigned turns = 0; count > 0 && turns < 100; turns++) {
        assert_int_equal(loop_turn(w->loop, 0), 0);
        while (driver_get(&w->d[queue], &id, &bytes)) {
            count--;
        }
    }
    assert_int_equal(count, 0);
}

static void requests_of_all_queues_are_done(void **state)
{
    struct world *w = *state;

    lay_out(w);
    ask(w, 0, VIRTIO_BLK_T_OUT, 8, 0, 512); /* there before it starts */
    memset(data(w, 0), 0x5a, 512);
    assert_int_equal(start(w, VIRTIO_F_VERSION_1, QUEUES), 0);
    wait_for(w, 0, 1);
    assert_int_equal(status(w, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(w->notified[0], 1);
    for (unsigned i = 1; i < 4; i++) {
        ask(w, 1, VIRTIO_BLK_T_IN, 8 * (i == 2), i, 512);
    }
    w->device->ops->kicked(w->device, 1);
    wait_for(w, 1, 3);
    assert_int_equal(w->notified[1], 1); /* one for all */
    assert_int_equal(data(w, 2)[17], 0x5a);
    assert_int_equal(data(w, 3)[17], 0);
    ask(w, 0, VIRTIO_BLK_T_GET_ID, 0, 5, 20);
    w->device->ops->kicked(w->device, 0);
    wait_for(w, 0, 1);
    assert_string_equal((char *)data(w, 5), "disk-of-a-test");
    w->device->ops->stop(w->device);
    assert_int_equal(w->stopped, 1);
    assert_int_equal(w->broken, 0);
}

static void a_stop_finishes_what_was_taken(void **state)
{
    struct world *w = *state;

    lay_out(w);
    assert_int_equal(start(w, VIRTIO_F_VERSION_1, 1), 0);
    for (unsigned i = 0; i < 3; i++) {
        ask(w, 0, VIRTIO_BLK_T_OUT, i, i, 512);
    }
    w->device->ops->kicked(w->device, 0);
    w->device->ops->stop(w->device);
    assert_int_equal(w->stopped, 0); /* its answers are not shown yet */
    ask(w, 0, VIRTIO_BLK_T_IN, 1, 3, 512);
    w->device->ops->kicked(w->device, 0); /* which it does not take */
    wait_for(w, 0, 3);
    assert_int_equal(w->stopped, 1);
    assert_int_equal(status(w, 3), 0xff);
    w->base[0] = w->device->ops->base(w->device, 0);
    assert_int_equal(w->base[0], 3);
    assert_int_equal(start(w, VIRTIO_F_VERSION_1, 1), 0); /* a pause has ended */
    wait_for(w, 0, 1);
    assert_int_equal(status(w, 3), VIRTIO_BLK_S_OK);
    w->device->ops->stop(w->device);
    assert_int_equal(w->stopped, 2);
}

static void packed_rings_go_on_behind_a_stop(void **state)
{
    struct world *w = *state;

    w->d[0].packed = w->d[1].packed = true;
    lay_out(w);
    w->base[0] = 0x80008000u;
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(start(w, VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED, 1), 0);
        ask(w, 0, VIRTIO_BLK_T_IN, i, i, 512);
        w->device->ops->kicked(w->device, 0);
        wait_for(w, 0, 1);
        assert_int_equal(status(w, i), VIRTIO_BLK_S_OK);
        w->device->ops->stop(w->device);
        w->base[0] = w->device->ops->base(w->device, 0);
    }
}

static void a_driver_that_breaks_the_rules_is_told(void **state)
{
    struct world *w = *state;
    const struct driver_piece no_status = {GUEST + DATA, 16, false};

    lay_out(w);
    assert_int_equal(start(w, VIRTIO_F_VERSION_1, QUEUES), 0);
    assert_true(driver_add(&w->d[0], &no_status, 1, false) >= 0);
    w->device->ops->kicked(w->device, 0);
    assert_int_equal(w->broken, 1);
    ask(w, 1, VIRTIO_BLK_T_IN, 0, 0, 512); /* the other queue lives */
    w->device->ops->kicked(w->device, 1);
    wait_for(w, 1, 1);
    w->device->ops->kicked(w->device, 0);
    w->device->ops->stop(w->device);
    assert_int_equal(w->stopped, 1);
}

static void rings_that_cannot_be_are_refused(void **state)
{
    struct world *w = *state;

    lay_out(w);
    w->d[1].size = 24;
    assert_int_equal(start(w, VIRTIO_F_VERSION_1, QUEUES), -EINVAL);
    w->d[1].size = SIZE;
    assert_int_equal(start(w, VIRTIO_F_VERSION_1, QUEUES), 0);
    w->device->ops->stop(w->device);
}

static void its_configuration_is_the_disks(void **state)
{
    struct world *w = *state;
    const struct virtio_device_ops *ops = w->device->ops;
    struct virtio_blk_config c;
    uint8_t no = 0;

    assert_int_equal(ops->id, 2);
    assert_int_equal(ops->queue_size(w->device, 0), 256);
    assert_int_equal(ops->queue_size(w->device, QUEUES), 0);
    ops->config_read(w->device, 0, &c, sizeof c);
    assert_int_equal(c.capacity, DISK_BYTES / 512);
    assert_int_equal(c.num_queues, QUEUES);
    assert_int_equal(c.writeback, 1);
    lay_out(w);
    assert_int_equal(start(w, VIRTIO_F_VERSION_1 | VIRTIO_BLK_F_CONFIG_WCE, 1), 0);
    assert_int_equal(ops->config_write(w->device, 0, &no, 1), -EACCES);
    assert_int_equal(ops->config_write(w->device,
                                       offsetof(struct virtio_blk_config, writeback), &no,
                                       1),
                     0);
    ops->config_read(w->device, 0, &c, sizeof c);
    assert_int_equal(c.writeback, 0);
    virtio_blk_device_resized(w->device);
    assert_int_equal(w->changes, 1);
    ops->stop(w->device);
    ops->reset(w->device);
    ops->config_read(w->device, 0, &c, sizeof c);
    assert_int_equal(c.writeback, 1);
}

static void nonsense_is_refused(void **state)
{
    struct world *w = *state;
    struct virtio_blk_device_options o = {.edge = &w->edge, .queues = 5};
    struct virtio_device *d;

    assert_int_equal(virtio_blk_device_create(w->loop, &o, &d, NULL), -EINVAL);
    o.queues = 0;
    assert_int_equal(virtio_blk_device_create(w->loop, &o, &d, NULL), -EINVAL);
    o.queues = 1;
    o.id = "a name of twenty-one.";
    assert_int_equal(virtio_blk_device_create(w->loop, &o, &d, NULL), -EINVAL);
}

#define ONE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(requests_of_all_queues_are_done),
        ONE(a_stop_finishes_what_was_taken),
        ONE(packed_rings_go_on_behind_a_stop),
        ONE(a_driver_that_breaks_the_rules_is_told),
        ONE(rings_that_cannot_be_are_refused),
        ONE(its_configuration_is_the_disks),
        ONE(nonsense_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
