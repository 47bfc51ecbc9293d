/* rng.c - the virtio entropy device: VIRTIO 1.2, 5.4.
 *
 * One queue of buffers to be filled.  A device may fill less than it is offered, and has
 * to fill something (5.4.6.2). */
#include "virtio/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/series.h"
#include "contract/snap.h"
#include "virtio/chain.h"
#include "virtio/work.h"

#define RNG_QUEUE_SIZE      64
#define RNG_REQUESTS_A_TURN 16
#define RNG_ID              4
#define RNG_CLASS           0x00ff0000u /* other */

struct virtio_rng {
    struct virtio_device device; /* first */
    struct virtio_work work;
    struct virtq q;
    bool is_seeded;
    uint64_t state; /* of the generator */
    struct virtq_chain chain;
    uint8_t bytes[VIRTIO_RNG_BYTES_MOST];
};

static uint64_t features(const struct virtio_device *d)
{
    (void)d;
    return VIRTQ_FEATURES;
}

static uint16_t queue_size(const struct virtio_device *d, unsigned i)
{
    (void)d;
    return i == 0 ? RNG_QUEUE_SIZE : 0;
}

static void config_read(const struct virtio_device *d, uint32_t off, void *to,
                        uint32_t bytes)
{
    (void)d;
    (void)off;
    memset(to, 0, bytes);
}

static int fill(struct virtio_rng *g, size_t bytes)
{
    if (g->is_seeded) {
        for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
            uint64_t word = series_next(&g->state);

            memcpy(g->bytes + at, &word, sizeof word);
        }
        return 0;
    }
    for (size_t at = 0; at < bytes;) {
        ssize_t n = getrandom(g->bytes + at, bytes - at, 0);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int answer(struct virtio_rng *g)
{
    uint64_t bytes = g->chain.write_bytes;

    bytes = bytes < sizeof g->bytes ? bytes : sizeof g->bytes;
    if (bytes == 0 || fill(g, (size_t)bytes) != 0) {
        return -EPROTO; /* nothing to fill, or nothing to fill it with */
    }
    (void)virtio_chain_write(&g->q, &g->chain, 0, g->bytes, bytes);
    virtq_give(&g->q, &g->chain, (uint32_t)bytes);
    return 0;
}

static void kicked(struct virtio_device *d, unsigned i)
{
    struct virtio_rng *g = (struct virtio_rng *)d;
    unsigned n = 0;

    if (i != 0) {
        return;
    }
    virtio_work_hush(&g->work, 0);
    while (n < RNG_REQUESTS_A_TURN && virtio_work_take(&g->work, 0, &g->chain) == 1) {
        if (answer(g) != 0) {
            virtio_work_break(&g->work, 0);
            break;
        }
        n++;
    }
    virtio_work_show(&g->work, 0);
    if (n == RNG_REQUESTS_A_TURN) {
        virtio_work_again(&g->work, 0);
    } else {
        virtio_work_listen(&g->work, 0);
    }
}

static int start(struct virtio_device *d, uint64_t negotiated,
                 const struct virtq_setup queues[], unsigned count)
{
    struct virtio_rng *g = (struct virtio_rng *)d;
    int r = virtio_work_start(&g->work, negotiated, queues, count);

    if (r == 0) {
        kicked(d, 0);
    }
    return r;
}

static void stop(struct virtio_device *d)
{
    virtio_work_stop(&((struct virtio_rng *)d)->work);
}

static uint32_t base(const struct virtio_device *d, unsigned i)
{
    return virtio_work_base(&((const struct virtio_rng *)d)->work, i);
}

static void carry(struct virtio_device *d, struct snap *s)
{
    struct virtio_rng *g = (struct virtio_rng *)d;

    (void)snap_begin(s, "virtio-rng", 1);
    SNAP_FIELD(s, g->state);
    snap_end(s);
}

static void destroy(struct virtio_device *d)
{
    virtio_work_fini(&((struct virtio_rng *)d)->work);
    free(d);
}

static const struct virtio_device_ops virtio_rng_ops = {
    .name = "rng",
    .id = RNG_ID,
    .pci_class = RNG_CLASS,
    .features = features,
    .queue_size = queue_size,
    .config_read = config_read,
    .start = start,
    .kicked = kicked,
    .stop = stop,
    .base = base,
    .carry = carry,
    .destroy = destroy,
};

int virtio_rng_create(const struct virtio_rng_options *o, struct virtio_device **ret,
                      struct err *e)
{
    struct virtio_rng *g = fault_calloc(1, sizeof *g);

    if (g == NULL) {
        return err_set(e, -ENOMEM, "cannot make an entropy device: out of memory");
    }
    g->device.ops = &virtio_rng_ops;
    g->is_seeded = o->is_seeded;
    g->state = o->seed;
    virtio_work_init(&g->work, &g->device, o->loop, &g->q, 1);
    *ret = &g->device;
    return 0;
}
