/* blk_device.c - a disk as a virtio device: its queues at work.
 *
 * All requests that are in a queue when it is kicked go to the disk at once; what is
 * finished is shown at the end of the loop's turn, with one notification for all.  While
 * requests keep coming the loop looks at the queues without sleeping (host/loop) and the
 * driver is asked not to kick; before the loop sleeps, kicks are asked for again and the
 * queues looked at once more.
 *
 * `in_turn` all of that is left: each request begins when the one before it is answered, so
 * that what the driver sees does not depend on how quick the host is. */
#include "virtio/blk_device.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_graph.h"
#include "contract/snap.h"
#include "host/loop/loop.h"
#include "virtio/blk.h"
#include "virtio/blk_numbers.h"
#include "virtio/device.h"

#define QUEUE_SIZE 256
#define SOON_NS    200000 /* requests that follow so fast are waited for awake */
#define PART_NS    60000  /* of work; then the driver goes on with what is done */
#define PART_LEAST 8      /* requests: somebody else may have had the processor */

struct disk;

struct ring {
    struct virtio_blk_ring blk; /* first */
    struct disk *disk;
    struct loop_task answers;
    bool is_used; /* the driver has set it up */
    uint32_t base;
};

struct disk {
    struct virtio_device device; /* first */
    struct loop *loop;
    struct virtio_blk blk;
    struct loop_poller poller;
    bool works, stops;
    bool in_turn;
    uint64_t last_ns; /* when requests came */

    /* What others read of the configuration. */
    uint8_t config[VIRTIO_BLK_CONFIG_BYTES];
    _Atomic uint64_t sectors;
    _Atomic bool write_back;
    struct ring ring[VIRTIO_BLK_DEVICE_QUEUES_MOST];
};

/* ---- requests ---- */

static void break_down(struct disk *d)
{
    d->device.plug->broken(d->device.transport);
}

static void answer(struct ring *r)
{
    struct disk *d = r->disk;

    if (virtio_blk_ring_finish(&r->blk)) {
        d->device.plug->notify(d->device.transport, (unsigned)(r - d->ring));
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* As many requests at once as take so long: those that the host's page cache answers are
 * done inside the call, and the driver can go on with them while we do the next ones. */
static void set_part(struct ring *r, uint64_t ns, int n)
{
    uint64_t most = ns > 0 ? (uint64_t)n * PART_NS / ns : QUEUE_SIZE;

    most = most < QUEUE_SIZE ? most : QUEUE_SIZE;
    r->blk.serve_most = most > PART_LEAST ? (unsigned)most : PART_LEAST;
}

/* Take what is in the queue, at most once round, in parts.  How many there were, or
 * -EPROTO. */
static int take_all(struct ring *r)
{
    int count = 0;
    int n;

    for (;;) {
        uint64_t before = now_ns();

        n = virtio_blk_ring_serve(&r->blk);
        count += n > 0 ? n : 0;
        if (n > 0) {
            set_part(r, now_ns() - before, n);
        }
        if (n <= 0 || count >= (int)r->blk.q.s.size || !virtq_more(&r->blk.q)) {
            return n < 0 ? n : count;
        }
        answer(r);
    }
}

static int take_next(struct ring *r)
{
    r->blk.serve_most = 1;
    return r->blk.running == 0 ? virtio_blk_ring_serve(&r->blk) : 0;
}

/* Whether anything was in the queue. */
static bool serve(struct ring *r)
{
    struct disk *d = r->disk;
    uint64_t now = loop_now_ns(d->loop);
    int n;

    if (!d->works || d->stops || !r->is_used || r->blk.q.broken) {
        return false;
    }
    if (!d->in_turn) {
        virtq_hush(&r->blk.q);
    }
    n = d->in_turn ? take_next(r) : take_all(r);
    if (n < 0) {
        break_down(d);
        return false;
    }
    if (n > 0 && !d->in_turn) {
        if (now - d->last_ns < SOON_NS) {
            loop_expect_more(d->loop);
        }
        d->last_ns = now;
    }
    return n > 0;
}

static void kicked(struct virtio_device *v, unsigned i)
{
    (void)serve(&((struct disk *)v)->ring[i]);
}

/* ---- life ---- */

static bool is_idle(const struct disk *d)
{
    for (unsigned i = 0; i < d->blk.queues; i++) {
        if (d->ring[i].is_used &&
            (d->ring[i].blk.running > 0 || d->ring[i].answers.queued)) {
            return false;
        }
    }
    return true;
}

static void end(struct disk *d)
{
    loop_poller_remove(d->loop, &d->poller);
    for (unsigned i = 0; i < d->blk.queues; i++) {
        if (d->ring[i].is_used) {
            d->ring[i].base = virtq_base(&d->ring[i].blk.q);
            virtio_blk_ring_fini(&d->ring[i].blk);
            d->ring[i].is_used = false;
        }
    }
    d->works = d->stops = false;
    d->device.plug->stopped(d->device.transport);
}

static void give_answers(struct loop_task *t)
{
    struct ring *r = (struct ring *)((char *)t - offsetof(struct ring, answers));
    struct disk *d = r->disk;
    bool was_full = r->blk.q.in_flight >= r->blk.q.s.size;

    answer(r);
    if (was_full || d->in_turn) {
        (void)serve(r);
    }
    if (d->stops && is_idle(d)) {
        end(d);
    }
}

static void ready(struct virtio_blk_ring *b)
{
    struct ring *r = (struct ring *)b;

    loop_later(r->disk->loop, &r->answers);
}

static bool look(struct loop_poller *p)
{
    struct disk *d = (struct disk *)((char *)p - offsetof(struct disk, poller));
    bool found = false;

    for (unsigned i = 0; i < d->blk.queues; i++) {
        struct ring *r = &d->ring[i];

        if (r->is_used && virtq_more(&r->blk.q)) {
            found = serve(r) || found;
        }
    }
    return found;
}

/* Kicks are asked for where they were not wanted; true: a queue has something. */
static bool rest(struct loop_poller *p)
{
    struct disk *d = (struct disk *)((char *)p - offsetof(struct disk, poller));
    bool any = false;

    for (unsigned i = 0; i < d->blk.queues && !d->stops; i++) {
        struct virtq *q = &d->ring[i].blk.q;

        if (d->ring[i].is_used && q->hushed) {
            any = virtq_listen(q) || any;
            if (q->broken) {
                break_down(d);
            }
        }
    }
    return any;
}

static int start_ring(struct disk *d, unsigned i, const struct virtq_setup *s)
{
    struct ring *r = &d->ring[i];

    virtio_blk_ring_init(&r->blk, &d->blk, ready);
    r->disk = d;
    r->answers.fn = give_answers;
    r->is_used = s->size != 0;
    return r->is_used ? virtq_start(&r->blk.q, s) : 0;
}

static int start(struct virtio_device *v, uint64_t features,
                 const struct virtq_setup queues[], unsigned count)
{
    struct disk *d = (struct disk *)v;
    int r = 0;

    d->blk.features = features;
    for (unsigned i = 0; r == 0 && i < count && i < d->blk.queues; i++) {
        r = start_ring(d, i, &queues[i]);
    }
    if (r != 0) {
        for (unsigned i = 0; i < d->blk.queues; i++) {
            d->ring[i].is_used = false;
        }
        return r;
    }
    d->works = true;
    d->poller = (struct loop_poller){.fn = look, .rest = rest};
    if (!d->in_turn) {
        loop_poller_add(d->loop, &d->poller);
    }
    for (unsigned i = 0; i < d->blk.queues; i++) {
        (void)serve(&d->ring[i]);
    }
    return 0;
}

static void stop(struct virtio_device *v)
{
    struct disk *d = (struct disk *)v;

    d->stops = true;
    if (is_idle(d)) {
        end(d);
    }
}

static bool is_busy(const struct virtio_device *v)
{
    return !is_idle((const struct disk *)v);
}

static uint32_t base(const struct virtio_device *v, unsigned i)
{
    return ((const struct disk *)v)->ring[i].base;
}

static void destroy(struct virtio_device *v)
{
    free(v);
}

/* ---- what it says of itself ---- */

static uint64_t features(const struct virtio_device *v)
{
    return virtio_blk_features(&((const struct disk *)v)->blk);
}

static uint16_t queue_size(const struct virtio_device *v, unsigned i)
{
    return i < ((const struct disk *)v)->blk.queues ? QUEUE_SIZE : 0;
}

static void config_read(const struct virtio_device *v, uint32_t off, void *to,
                        uint32_t bytes)
{
    const struct disk *d = (const struct disk *)v;
    struct virtio_blk_config c;

    memcpy(&c, d->config, sizeof c);
    c.capacity = atomic_load(&d->sectors);
    c.writeback = atomic_load(&d->write_back);
    memset(to, 0, bytes);
    if (off < sizeof c) {
        uint32_t have = (uint32_t)sizeof c - off;

        memcpy(to, (const char *)&c + off, bytes < have ? bytes : have);
    }
}

static int config_write(struct virtio_device *v, uint32_t off, const void *from,
                        uint32_t bytes)
{
    struct disk *d = (struct disk *)v;
    int r = virtio_blk_config_write(&d->blk, off, from, bytes);

    atomic_store(&d->write_back, !d->blk.write_through);
    return r;
}

static void reset(struct virtio_device *v)
{
    struct disk *d = (struct disk *)v;

    d->blk.write_through = false;
    d->blk.features = 0;
    atomic_store(&d->write_back, true);
}

static void carry(struct virtio_device *v, struct snap *s)
{
    struct disk *d = (struct disk *)v;

    snap_bool(s, &d->blk.write_through);
    SNAP_FIELD(s, d->blk.features);
    atomic_store(&d->write_back, !d->blk.write_through);
}

static const struct virtio_device_ops ops = {
    .name = "blk",
    .id = 2,
    .pci_class = 0x018000,
    .features = features,
    .queue_size = queue_size,
    .config_read = config_read,
    .config_write = config_write,
    .start = start,
    .kicked = kicked,
    .stop = stop,
    .is_busy = is_busy,
    .base = base,
    .reset = reset,
    .carry = carry,
    .destroy = destroy,
};

static void describe(struct disk *d)
{
    virtio_blk_config_read(&d->blk, 0, d->config, sizeof d->config);
    atomic_store(&d->sectors, blk_size(d->blk.edge->disk) / VIRTIO_BLK_SECTOR_BYTES);
}

void virtio_blk_device_moved(const struct virtio_device *v, uint64_t *ret_read,
                             uint64_t *ret_written)
{
    const struct disk *d = (const struct disk *)v;

    *ret_read = atomic_load(&d->blk.read_bytes);
    *ret_written = atomic_load(&d->blk.written_bytes);
}

void virtio_blk_device_resized(struct virtio_device *v)
{
    struct disk *d = (struct disk *)v;

    atomic_store(&d->sectors, blk_size(d->blk.edge->disk) / VIRTIO_BLK_SECTOR_BYTES);
    if (v->plug != NULL) {
        v->plug->config_changed(v->transport);
    }
}

int virtio_blk_device_create(struct loop *l, const struct virtio_blk_device_options *o,
                             struct virtio_device **ret, struct err *e)
{
    struct disk *d;
    size_t n = o->id != NULL ? strlen(o->id) : 0;

    if (o->queues == 0 || o->queues > VIRTIO_BLK_DEVICE_QUEUES_MOST ||
        n > VIRTIO_BLK_ID_BYTES) {
        return err_set(e, -EINVAL,
                       "a disk has 1 to %d queues and a name of up to %d bytes",
                       VIRTIO_BLK_DEVICE_QUEUES_MOST, VIRTIO_BLK_ID_BYTES);
    }
    d = fault_calloc(1, sizeof *d);
    if (d == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    d->device.ops = &ops;
    d->loop = l;
    d->in_turn = o->in_turn;
    d->blk = (struct virtio_blk){.edge = o->edge,
                                 .loop = l,
                                 .read_only = o->read_only,
                                 .queues = (uint16_t)o->queues,
                                 .segments = VIRTIO_BLK_SEGMENT_LONG};
    memcpy(d->blk.id, o->id != NULL ? o->id : "", n);
    atomic_store(&d->write_back, true);
    describe(d);
    *ret = &d->device;
    return 0;
}
