/* queue.c - what both formats of a virtqueue share: life, chains, indirect tables.
 *
 * All numbers in rings are little-endian, as is every host this runs on. */
#include "virtio/queue.h"

#include <assert.h>
#include <errno.h>

#include "virtio/private.h"
#include "virtio/space.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings are little-endian");

uint64_t virtq_desc_bytes(uint64_t features, unsigned size)
{
    (void)features;
    return (uint64_t)VIRTQ_DESC_BYTES * size;
}

uint64_t virtq_driver_bytes(uint64_t features, unsigned size)
{
    return (features & VIRTIO_F_RING_PACKED) != 0 ? 4u : 6u + 2u * (uint64_t)size;
}

uint64_t virtq_device_bytes(uint64_t features, unsigned size)
{
    return (features & VIRTIO_F_RING_PACKED) != 0 ? 4u : 6u + 8u * (uint64_t)size;
}

static bool is_aligned(const void *p, uintptr_t to)
{
    return p != NULL && ((uintptr_t)p & (to - 1)) == 0;
}

/* Alignments: VIRTIO 1.2, 2.7 and 2.8.10.1. */
int virtq_move(struct virtq *q, const struct virtq_rings *rings)
{
    bool packed = virtq_is_packed(q);

    if (!is_aligned(rings->desc, 16) || !is_aligned(rings->driver, packed ? 4 : 2) ||
        !is_aligned(rings->device, 4)) {
        return -EINVAL;
    }
    q->s.rings = *rings;
    return 0;
}

int virtq_start(struct virtq *q, const struct virtq_setup *s)
{
    bool packed = (s->features & VIRTIO_F_RING_PACKED) != 0;

    if (s->size == 0 || s->size > VIRTQ_SIZE_MOST ||
        (!packed && (s->size & (s->size - 1)) != 0)) {
        return -EINVAL;
    }
    if (packed &&
        ((s->base & 0x7fff) >= s->size || (s->base >> 16 & 0x7fff) >= s->size)) {
        return -EINVAL;
    }
    *q = (struct virtq){.s = *s, .notify_next = true};
    if (virtq_move(q, &s->rings) != 0) {
        return -EINVAL;
    }
    if (packed) {
        virtq_packed_start(q);
    } else {
        virtq_split_start(q);
    }
    return 0;
}

void virtq_ring_writes(struct virtq *q, uint8_t *host, uint64_t bytes, bool done)
{
    if (q->s.ring_writes != NULL) {
        q->s.ring_writes(q, host, bytes, done);
    } else if (q->s.space->wrote != NULL) {
        q->s.space->wrote(q->s.space, host,
                          bytes); /* both times: a page may be flagged */
    }
}

/* ---- chains ---- */

void virtq_chain_begin(struct virtq_chain *c, uint16_t id)
{
    c->id = id;
    c->slots = 1;
    c->token = 0;
    c->reads = 0;
    c->writes = 0;
    c->read_bytes = 0;
    c->write_bytes = 0;
}

/* One buffer of the driver, in as many pieces as it has in host memory. */
static int add_pieces(struct virtq *q, struct virtq_chain *c, const struct virtq_desc *d)
{
    bool write = (d->flags & VIRTQ_DESC_WRITE) != 0;
    uint64_t at = d->at;
    uint64_t left = d->bytes;

    if (!write && c->writes > 0) {
        return -EPROTO; /* VIRTIO 1.2, 2.7.4.2 */
    }
    while (left > 0) {
        unsigned i = c->reads + c->writes;
        uint64_t n;
        uint8_t *host = q->s.space->reach(q->s.space, at, left, write, &n);

        if (host == NULL || i == VIRTQ_PIECES_MOST) {
            return -EPROTO;
        }
        c->iov[i] = (struct iovec){host, (size_t)n};
        c->writes += write ? 1u : 0u;
        c->reads += write ? 0u : 1u;
        at += n;
        left -= n;
    }
    if (write) {
        c->write_bytes += d->bytes;
    } else {
        c->read_bytes += d->bytes;
    }
    return 0;
}

static int read_entry(struct virtq *q, const struct virtq_desc *table, unsigned i,
                      struct virtq_desc *ret)
{
    uint64_t at = table->at + (uint64_t)i * VIRTQ_DESC_BYTES;

    return virtio_space_read(q->s.space, at, ret, sizeof *ret);
}

/* A table of a split queue is walked by its links, one of a packed queue in order. */
static int add_table(struct virtq *q, struct virtq_chain *c, const struct virtq_desc *d)
{
    unsigned count = d->bytes / VIRTQ_DESC_BYTES;
    unsigned i = 0;

    if ((d->flags & VIRTQ_DESC_NEXT) != 0 || d->bytes % VIRTQ_DESC_BYTES != 0 ||
        count == 0) {
        return -EPROTO; /* VIRTIO 1.2, 2.7.5.3.1 */
    }
    for (unsigned steps = 0; steps < count; steps++) {
        struct virtq_desc e;

        if (i >= count || read_entry(q, d, i, &e) != 0) {
            return -EPROTO;
        }
        if (virtq_is_packed(q)) { /* flags and link stand the other way round */
            e.flags = e.link & VIRTQ_DESC_WRITE;
            i++;
        } else {
            i = e.link;
        }
        if ((e.flags & VIRTQ_DESC_INDIRECT) != 0 || add_pieces(q, c, &e) != 0) {
            return -EPROTO;
        }
        if (!virtq_is_packed(q) && (e.flags & VIRTQ_DESC_NEXT) == 0) {
            return 0;
        }
    }
    return virtq_is_packed(q) ? 0 : -EPROTO; /* a loop */
}

int virtq_chain_add(struct virtq *q, struct virtq_chain *c, const struct virtq_desc *d)
{
    if ((d->flags & VIRTQ_DESC_INDIRECT) == 0) {
        return add_pieces(q, c, d);
    }
    if ((q->s.features & VIRTIO_F_INDIRECT_DESC) == 0 || c->reads + c->writes > 0) {
        return -EPROTO;
    }
    return add_table(q, c, d);
}

/* ---- the device's calls ---- */

bool virtq_more(struct virtq *q)
{
    if (q->broken || q->in_flight >= q->s.size || q->slots >= q->s.size) {
        return false;
    }
    return virtq_is_packed(q) ? virtq_packed_more(q) : virtq_split_more(q);
}

/* A chain that was read, or not: the queue's books. */
static int taken(struct virtq *q, const struct virtq_chain *c, int r)
{
    if (r < 0) {
        q->broken = true;
        return -EPROTO;
    }
    q->in_flight++;
    q->slots += virtq_is_packed(q) ? c->slots : 0u;
    return 1;
}

int virtq_take(struct virtq *q, struct virtq_chain *ret)
{
    if (!virtq_more(q)) {
        return q->broken ? -EPROTO : 0;
    }
    return taken(q, ret,
                 virtq_is_packed(q) ? virtq_packed_take(q, ret)
                                    : virtq_split_take(q, ret));
}

int virtq_retake(struct virtq *q, uint16_t id, const struct virtq_desc *descs,
                 unsigned count, struct virtq_chain *ret)
{
    int r = 0;

    if (q->broken || q->in_flight >= q->s.size) {
        return taken(q, ret, -EPROTO);
    }
    if (!virtq_is_packed(q)) {
        return taken(q, ret, virtq_split_walk(q, id, ret));
    }
    virtq_chain_begin(ret, id);
    ret->slots = (uint16_t)count;
    for (unsigned i = 0; i < count && r == 0; i++) {
        r = virtq_chain_add(q, ret, &descs[i]);
    }
    return taken(q, ret, count == 0 || count > q->s.size - q->slots ? -EPROTO : r);
}

void virtq_put_back(struct virtq *q, const struct virtq_chain *c)
{
    unsigned slots = virtq_is_packed(q) ? c->slots : 0u;

    assert(q->s.tracker == NULL && q->in_flight > 0);
    if (!virtq_is_packed(q)) {
        q->take_at--;
    } else if (q->take_at < slots) {
        q->take_at = (uint16_t)(q->take_at + q->s.size - slots);
        q->take_wrap = !q->take_wrap;
    } else {
        q->take_at = (uint16_t)(q->take_at - slots);
    }
    q->in_flight--;
    q->slots -= slots;
}

void virtq_give(struct virtq *q, const struct virtq_chain *c, uint32_t written)
{
    if (virtq_is_packed(q)) {
        virtq_packed_give(q, c, written);
    } else {
        virtq_split_give(q, c, written);
    }
    q->in_flight--;
    q->slots -= virtq_is_packed(q) ? c->slots : 0u;
    if (q->s.tracker != NULL) {
        q->s.tracker->given(q->s.tracker, c);
    }
}

bool virtq_show(struct virtq *q)
{
    bool notify;

    if (q->unshown == 0) {
        return false;
    }
    if (q->s.tracker != NULL) {
        q->s.tracker->showing(q->s.tracker, q);
    }
    notify = virtq_is_packed(q) ? virtq_packed_show(q) : virtq_split_show(q);
    q->shown_at = q->give_at;
    q->shown_wrap = q->give_wrap;
    q->unshown = 0;
    if (q->s.tracker != NULL) {
        q->s.tracker->shown(q->s.tracker, q);
    }
    notify = notify || q->notify_next;
    q->notify_next = false;
    return notify;
}

void virtq_hush(struct virtq *q)
{
    if (q->hushed || q->broken) {
        return;
    }
    q->hushed = true;
    if (virtq_is_packed(q)) {
        virtq_packed_hush(q);
    } else {
        virtq_split_hush(q);
    }
}

/* The driver writes an entry and then looks whether a kick is wanted; this writes the
 * wish and then looks for entries: one of both sees the other. */
bool virtq_listen(struct virtq *q)
{
    if (q->broken) {
        return false;
    }
    q->hushed = false;
    if (virtq_is_packed(q)) {
        virtq_packed_listen(q);
    } else {
        virtq_split_listen(q);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return virtq_more(q);
}

uint32_t virtq_base(const struct virtq *q)
{
    if (!virtq_is_packed(q)) {
        return q->take_at;
    }
    return (uint32_t)q->take_at | (uint32_t)q->take_wrap << 15 |
           (uint32_t)q->give_at << 16 | (uint32_t)q->give_wrap << 31;
}
