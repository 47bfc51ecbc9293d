/* virtq_fuzz.c - any guest memory behind the queue of a block device.
 *
 * The first bytes choose the format, the size and where the queue stands; the rest is the
 * guest's memory, rings at its beginning.  Memory changes under the device's eyes:
 * whenever it looks for an address, one byte is flipped. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/loop/loop.h"
#include "tests/fuzz/one_disk.h"
#include "tests/fuzz/target.h"
#include "virtio/blk.h"
#include "virtio/space.h"

#define MEM_BYTES  65536u
#define HEAD_BYTES 8u
#define TURNS      8
#define DRIVER_AT  4096u
#define DEVICE_AT  8192u

struct world {
    struct virtio_space space; /* first */
    struct one_disk disk;
    struct virtio_blk device;
    struct virtio_blk_ring ring;
    uint8_t *mem;
    uint32_t seed; /* 0: memory stays as it is */
};

static uint8_t *reach(struct virtio_space *s, uint64_t at, uint64_t bytes, bool write,
                      uint64_t *ret_bytes)
{
    struct world *w = (struct world *)s;

    (void)write;
    if (w->seed != 0) {
        w->seed = w->seed * 1664525u + 1013904223u;
        w->mem[w->seed >> 16] ^= (uint8_t)(1u << (w->seed & 7));
    }
    if (at >= MEM_BYTES) {
        return NULL;
    }
    *ret_bytes = bytes < MEM_BYTES - at ? bytes : MEM_BYTES - at;
    return w->mem + at;
}

static void ready(struct virtio_blk_ring *r)
{
    (void)r;
}

static void work(struct world *w, const uint8_t *head)
{
    struct virtq_setup s = {
        .space = &w->space,
        .rings = {w->mem, w->mem + DRIVER_AT, w->mem + DEVICE_AT},
        .size = 1u << head[1] % 8,
        .features = VIRTIO_F_VERSION_1 | (uint64_t)(head[0] & 3) << 28 |
                    ((head[0] & 4) != 0 ? VIRTIO_F_RING_PACKED : 0),
    };

    memcpy(&s.base, head + 4, sizeof s.base);
    w->device = (struct virtio_blk){.edge = &w->disk.edge,
                                    .queues = 1,
                                    .features = s.features | (uint64_t)head[2] << 9};
    virtio_blk_ring_init(&w->ring, &w->device, ready);
    if (virtq_start(&w->ring.q, &s) != 0) {
        return;
    }
    for (unsigned i = 0; i < TURNS && !w->ring.q.broken; i++) {
        (void)virtq_listen(&w->ring.q);
        (void)virtio_blk_ring_serve(&w->ring);
        (void)loop_turn(w->disk.loop, 0);
        (void)virtio_blk_ring_finish(&w->ring);
    }
    while (w->ring.running > 0) {
        (void)loop_turn(w->disk.loop, 0);
        (void)virtio_blk_ring_finish(&w->ring);
    }
    virtio_blk_ring_fini(&w->ring);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {.space = {.reach = reach}};

    if (size < HEAD_BYTES) {
        return 0;
    }
    w.seed = data[3];
    w.mem = aligned_alloc(64, MEM_BYTES);
    if (w.mem == NULL) {
        abort();
    }
    one_disk_open(&w.disk);
    memset(w.mem, 0, MEM_BYTES);
    memcpy(w.mem, data + HEAD_BYTES,
           size - HEAD_BYTES < MEM_BYTES ? size - HEAD_BYTES : MEM_BYTES);
    work(&w, data);
    one_disk_close(&w.disk);
    free(w.mem);
    return 0;
}
