/* blk.c - requests of a virtio block device: from a queue to the disk, and back.
 *
 * A request is a chain: a head of 16 bytes and data that the device reads, then data and
 * one byte of status that it writes; how these are cut into pieces is the driver's
 * affair (VIRTIO 1.2, 2.7.4).  Data go between the disk and the guest's memory without
 * a copy.
 *
 * A chain without room for a status cannot be answered and breaks the ring; any other
 * nonsense is answered with an error. */
#include "virtio/blk.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "virtio/blk_numbers.h"
#include "virtio/space.h"

#define SERVE_BYTES (512u * 1024) /* then those that are done should be answered */

struct virtio_blk_task {
    struct blk_request blk; /* first */
    struct virtio_blk_ring *ring;
    struct virtio_blk_task *next; /* free, or ended */
    uint32_t type;
    bool moved; /* the data that the device writes are there */
    unsigned range_count;
    struct virtio_blk_range range[VIRTIO_BLK_RANGES_MOST];
    struct virtq_chain chain;
};

/* ---- pieces of a chain ---- */

static struct blk_vec data_out(const struct virtq_chain *c)
{
    size_t head = sizeof(struct virtio_blk_head);

    return (struct blk_vec){
        .iov = c->iov, .skip = head, .bytes = (size_t)c->read_bytes - head};
}

static struct blk_vec data_in(const struct virtq_chain *c)
{
    return (struct blk_vec){.iov = c->iov + c->reads,
                            .bytes = (size_t)c->write_bytes - 1};
}

/* Copy what the driver wrote, from its first byte on; false: there is less. */
static bool copy_out(const struct virtq_chain *c, size_t skip, void *to, size_t bytes)
{
    if (c->read_bytes < skip + bytes) {
        return false;
    }
    blk_vec_take((struct blk_vec){.iov = c->iov, .skip = skip, .bytes = bytes}, to);
    __asm__ volatile("" ::: "memory"); /* never read again */
    return true;
}

static uint8_t *status_of(const struct virtq_chain *c)
{
    const struct iovec *last = &c->iov[c->reads + c->writes - 1];

    return (uint8_t *)last->iov_base + last->iov_len - 1;
}

/* ---- the end of a request ---- */

static uint8_t status_for(int result)
{
    switch (result) {
    case 0:
        return VIRTIO_BLK_S_OK;
    case -EOPNOTSUPP:
        return VIRTIO_BLK_S_UNSUPP;
    default:
        return VIRTIO_BLK_S_IOERR;
    }
}

static void tell_space(const struct virtio_blk_ring *r, const struct virtq_chain *c)
{
    struct virtio_space *s = r->q.s.space;

    for (unsigned i = c->reads; s->wrote != NULL && i < c->reads + c->writes; i++) {
        s->wrote(s, c->iov[i].iov_base, c->iov[i].iov_len);
    }
}

/* What was moved for the driver, by somebody else's look at any time. */
static void count(const struct virtio_blk_task *t)
{
    struct virtio_blk *d = t->ring->device;

    if (t->blk.result == 0 &&
        (t->type == VIRTIO_BLK_T_IN || t->type == VIRTIO_BLK_T_OUT)) {
        atomic_fetch_add_explicit(t->type == VIRTIO_BLK_T_IN ? &d->read_bytes
                                                             : &d->written_bytes,
                                  t->blk.bytes, memory_order_relaxed);
    }
}

/* The length counts bytes from the first writable one on: a read that failed may have
 * written none of them (VIRTIO 1.2, 2.7.8.2). */
static void answer(struct virtio_blk_task *t)
{
    struct virtio_blk_ring *r = t->ring;
    struct virtq_chain *c = &t->chain;
    bool whole = t->moved ? t->blk.result == 0 : c->write_bytes == 1;

    count(t);
    __atomic_store_n(status_of(c), status_for(t->blk.result), __ATOMIC_RELAXED);
    tell_space(r, c);
    virtq_give(&r->q, c, whole ? (uint32_t)c->write_bytes : 0);
    t->next = r->free;
    r->free = t;
    r->running--;
}

bool virtio_blk_ring_finish(struct virtio_blk_ring *r)
{
    struct virtio_blk_task *t = r->ended;

    r->ended = NULL;
    while (t != NULL) {
        struct virtio_blk_task *next = t->next;

        answer(t);
        t = next;
    }
    for (struct blk_request *b = blk_reap(&r->queue); b != NULL;) {
        struct blk_request *next = b->next;

        answer((struct virtio_blk_task *)b);
        b = next;
    }
    return virtq_show(&r->q);
}

static void end(struct virtio_blk_task *t, int result)
{
    struct virtio_blk_ring *r = t->ring;

    t->blk.result = result;
    t->next = r->ended;
    r->ended = t;
    r->ready(r);
}

static void disk_ready(struct blk_queue *q)
{
    struct virtio_blk_ring *r =
        (struct virtio_blk_ring *)((char *)q - offsetof(struct virtio_blk_ring, queue));

    r->ready(r);
}

/* ---- requests ---- */

static struct blk *disk_of(const struct virtio_blk_ring *r)
{
    return r->device->edge->disk;
}

/* Without a flush, or where the driver wants it so, what is written is durable. */
static unsigned write_flags(const struct virtio_blk_ring *r)
{
    const struct virtio_blk *d = r->device;

    return d->write_through || (d->features & VIRTIO_BLK_F_FLUSH) == 0 ? BLK_FUA : 0u;
}

static bool may_write(const struct virtio_blk_ring *r)
{
    return !r->device->read_only && !blk_is_read_only(disk_of(r));
}

/* Whether sectors lie on the disk, so that a disk that grows is not made to. */
static bool is_inside(const struct virtio_blk_ring *r, uint64_t sector, uint64_t bytes)
{
    uint64_t size = blk_size(disk_of(r));

    return sector <= size / VIRTIO_BLK_SECTOR_BYTES &&
           bytes <= size - sector * VIRTIO_BLK_SECTOR_BYTES;
}

static void submit(struct virtio_blk_task *t, enum blk_kind kind, unsigned flags,
                   uint64_t sector, struct blk_vec vec)
{
    struct virtio_blk_ring *r = t->ring;

    t->blk = (struct blk_request){
        .kind = kind,
        .flags = flags,
        .off = sector * VIRTIO_BLK_SECTOR_BYTES,
        .bytes = vec.bytes,
        .vec = vec,
    };
    r->queue.disk = disk_of(r);
    blk_submit(&r->queue, &t->blk);
}

static void read_or_write(struct virtio_blk_task *t, uint64_t sector)
{
    bool write = t->type == VIRTIO_BLK_T_OUT;
    struct blk_vec v = write ? data_out(&t->chain) : data_in(&t->chain);

    t->moved = !write;
    if (write && !may_write(t->ring)) {
        end(t, -EROFS);
    } else if (v.bytes == 0 || !is_inside(t->ring, sector, v.bytes)) {
        end(t, -ERANGE);
    } else {
        submit(t, write ? BLK_WRITE : BLK_READ, write ? write_flags(t->ring) : 0, sector,
               v);
    }
}

static void tell_id(struct virtio_blk_task *t)
{
    struct blk_vec v = data_in(&t->chain);

    t->moved = true;
    if (v.bytes < VIRTIO_BLK_ID_BYTES) {
        end(t, -EINVAL);
        return;
    }
    blk_vec_put(blk_vec_part(v, 0, VIRTIO_BLK_ID_BYTES), t->ring->device->id);
    end(t, 0);
}

static int do_range(const struct virtio_blk_task *t, const struct virtio_blk_range *g)
{
    uint64_t off = g->sector * VIRTIO_BLK_SECTOR_BYTES;
    uint64_t bytes = (uint64_t)g->sectors * VIRTIO_BLK_SECTOR_BYTES;
    unsigned flags = (g->flags & VIRTIO_BLK_UNMAP) != 0 ? BLK_UNMAP : 0u;

    return t->type == VIRTIO_BLK_T_DISCARD
               ? blk_discard(disk_of(t->ring), off, bytes)
               : blk_zero(disk_of(t->ring), off, bytes, flags | write_flags(t->ring));
}

/* In a strand: one range behind the other. */
static void do_ranges(void *arg)
{
    struct virtio_blk_task *t = arg;
    int r = 0;

    for (unsigned i = 0; i < t->range_count && r == 0; i++) {
        r = do_range(t, &t->range[i]);
    }
    end(t, r);
}

/* VIRTIO 1.2, 5.2.6.2: flags that are not known are not supported, the others fail. */
static int check_range(const struct virtio_blk_task *t, const struct virtio_blk_range *g)
{
    uint32_t known = t->type == VIRTIO_BLK_T_DISCARD ? 0 : VIRTIO_BLK_UNMAP;

    if ((g->flags & ~known) != 0) {
        return -EOPNOTSUPP;
    }
    if (g->sectors > VIRTIO_BLK_RANGE_SECTORS_MOST ||
        !is_inside(t->ring, g->sector, (uint64_t)g->sectors * VIRTIO_BLK_SECTOR_BYTES)) {
        return -ERANGE;
    }
    return 0;
}

static void ranges(struct virtio_blk_task *t)
{
    size_t bytes = (size_t)t->chain.read_bytes - sizeof(struct virtio_blk_head);
    int r = may_write(t->ring) ? 0 : -EROFS;

    if (r == 0 &&
        (bytes == 0 || bytes % sizeof t->range[0] != 0 || bytes > sizeof t->range)) {
        r = -EINVAL;
    }
    if (r == 0) {
        t->range_count = (unsigned)(bytes / sizeof t->range[0]);
        (void)copy_out(&t->chain, sizeof(struct virtio_blk_head), t->range, bytes);
    }
    for (unsigned i = 0; r == 0 && i < t->range_count; i++) {
        r = check_range(t, &t->range[i]);
    }
    if (r == 0 && strand_start(disk_of(t->ring)->strands, do_ranges, t) == 0) {
        return;
    }
    end(t, r != 0 ? r : -ENOMEM);
}

/* Start what a chain asks for.  -EPROTO: there is nobody to answer to. */
static int start(struct virtio_blk_task *t)
{
    struct virtio_blk_head head;

    t->moved = false;
    if (t->chain.write_bytes == 0) {
        return -EPROTO;
    }
    if (!copy_out(&t->chain, 0, &head, sizeof head)) {
        end(t, -EINVAL);
        return 0;
    }
    t->type = head.type;
    switch (head.type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        read_or_write(t, head.sector);
        break;
    case VIRTIO_BLK_T_FLUSH:
        submit(t, BLK_FLUSH, 0, 0, (struct blk_vec){0});
        break;
    case VIRTIO_BLK_T_GET_ID:
        tell_id(t);
        break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        ranges(t);
        break;
    default:
        end(t, -EOPNOTSUPP);
    }
    return 0;
}

/* ---- the ring ---- */

static struct virtio_blk_task *task_get(struct virtio_blk_ring *r)
{
    struct virtio_blk_task *t = r->free;

    if (t != NULL) {
        r->free = t->next;
        return t;
    }
    t = fault_malloc(sizeof *t);
    if (t != NULL) {
        t->ring = r;
    }
    return t;
}

static void task_put_back(struct virtio_blk_ring *r, struct virtio_blk_task *t)
{
    t->next = r->free;
    r->free = t;
}

/* A chain that was taken begins its life as a request. */
static int begin(struct virtio_blk_ring *r, struct virtio_blk_task *t)
{
    int e;

    r->running++;
    e = start(t);
    if (e != 0) {
        r->running--;
        r->q.broken = true;
        task_put_back(r, t);
    }
    return e;
}

/* Whether others wait while a request is begun: big ones go to several threads then. */
static void expect(struct virtio_blk_ring *r, bool more)
{
    struct loop *l = r->device->loop;

    if (l != NULL) {
        loop_have_more(l, more);
        (void)loop_collect(l);
    }
}

int virtio_blk_ring_serve(struct virtio_blk_ring *r)
{
    uint64_t bytes = 0;
    int count = 0;
    int got = 0;

    while (bytes < SERVE_BYTES && (r->serve_most == 0 || count < (int)r->serve_most) &&
           virtq_more(&r->q)) {
        struct virtio_blk_task *t = task_get(r);

        if (t == NULL) {
            break; /* no memory: when others have finished, there will be */
        }
        got = virtq_take(&r->q, &t->chain);
        if (got <= 0) {
            task_put_back(r, t);
            break;
        }
        bytes += t->chain.read_bytes + t->chain.write_bytes;
        expect(r, virtq_more(&r->q));
        if (begin(r, t) != 0) {
            break;
        }
        count++;
    }
    expect(r, false);
    return r->q.broken ? -EPROTO : count;
}

int virtio_blk_ring_again(struct virtio_blk_ring *r, uint16_t id,
                          const struct virtq_desc *descs, unsigned count, uint16_t token)
{
    struct virtio_blk_task *t = task_get(r);

    if (t == NULL) {
        return -ENOMEM;
    }
    if (virtq_retake(&r->q, id, descs, count, &t->chain) != 1) {
        task_put_back(r, t);
        return -EPROTO;
    }
    t->chain.token = token;
    return begin(r, t);
}

void virtio_blk_ring_init(struct virtio_blk_ring *r, struct virtio_blk *d,
                          void (*ready)(struct virtio_blk_ring *r))
{
    *r = (struct virtio_blk_ring){.device = d, .ready = ready};
    r->queue.ready = disk_ready;
}

void virtio_blk_ring_fini(struct virtio_blk_ring *r)
{
    assert(r->running == 0);
    while (r->free != NULL) {
        struct virtio_blk_task *t = r->free;

        r->free = t->next;
        free(t);
    }
}
