/* split.c - a virtqueue of three parts: VIRTIO 1.2, 2.7.
 *
 * Descriptor table:  { le64 address, le32 length, le16 flags, le16 next } [size]
 * Available ring:    le16 flags, le16 index, le16 head [size], le16 used event
 * Used ring:         le16 flags, le16 index, { le32 head, le32 length } [size],
 *                    le16 available event
 *
 * Indices run on and are cut to the size of the ring, a power of two.  `take_at` is where
 * this side is in the available ring, `take_seen` where the driver was when we
 * last looked: never more than a ring ahead, or the driver broke the rules. */
#include <errno.h>

#include "virtio/private.h"
#include "virtio/space.h"

#define RING_INDEX   2
#define RING_ENTRIES 4
#define NO_NOTIFY    1u /* VIRTQ_USED_F_NO_NOTIFY, VIRTQ_AVAIL_F_NO_INTERRUPT */

static uint8_t *used_event(const struct virtq *q)
{
    return q->s.rings.driver + RING_ENTRIES + 2u * q->s.size;
}

static uint8_t *available_event(const struct virtq *q)
{
    return q->s.rings.device + RING_ENTRIES + 8u * q->s.size;
}

static bool has_events(const struct virtq *q)
{
    return (q->s.features & VIRTIO_F_EVENT_IDX) != 0;
}

void virtq_split_start(struct virtq *q)
{
    q->take_at = (uint16_t)q->s.base;
    q->take_seen = q->take_at;
    q->give_at = virtq_load16(q->s.rings.device + RING_INDEX);
    q->shown_at = q->give_at;
}

bool virtq_split_more(struct virtq *q)
{
    uint16_t seen;

    if (q->take_seen != q->take_at) {
        return true;
    }
    seen = virtq_load16(q->s.rings.driver + RING_INDEX);
    if ((uint16_t)(seen - q->take_at) > q->s.size) {
        q->broken = true;
        return false;
    }
    q->take_seen = seen;
    return seen != q->take_at;
}

int virtq_split_walk(struct virtq *q, uint16_t head, struct virtq_chain *c)
{
    unsigned at = head;

    virtq_chain_begin(c, head);
    for (unsigned steps = 0; steps < q->s.size; steps++) {
        struct virtq_desc d;

        if (at >= q->s.size) {
            return -EPROTO;
        }
        virtio_copy_once(&d, q->s.rings.desc + (size_t)at * VIRTQ_DESC_BYTES, sizeof d);
        if (virtq_chain_add(q, c, &d) != 0) {
            return -EPROTO;
        }
        if ((d.flags & VIRTQ_DESC_NEXT) == 0) {
            return 0;
        }
        at = d.link;
    }
    return -EPROTO; /* a loop */
}

int virtq_split_take(struct virtq *q, struct virtq_chain *c)
{
    unsigned slot = q->take_at & (q->s.size - 1);
    uint16_t head = virtq_load16(q->s.rings.driver + RING_ENTRIES + 2u * slot);
    int r = virtq_split_walk(q, head, c);

    q->take_at++;
    if (r == 0 && q->s.tracker != NULL) {
        q->s.tracker->taken(q->s.tracker, c, 0);
    }
    return r;
}

void virtq_split_give(struct virtq *q, const struct virtq_chain *c, uint32_t written)
{
    unsigned slot = q->give_at & (q->s.size - 1);
    uint8_t *entry = q->s.rings.device + RING_ENTRIES + 8u * slot;
    uint32_t pair[2] = {c->id, written};

    virtq_ring_writes(q, entry, sizeof pair, false);
    __builtin_memcpy(entry, pair, sizeof pair);
    virtq_ring_writes(q, entry, sizeof pair, true);
    q->give_at++;
    q->unshown++;
}

/* VIRTIO 1.2, 2.7.7.2: whether the driver's event lies among the entries just shown. */
bool virtq_split_show(struct virtq *q)
{
    uint8_t *index = q->s.rings.device + RING_INDEX;
    uint16_t count = (uint16_t)(q->give_at - q->shown_at);

    virtq_ring_writes(q, index, 2, false);
    virtq_store16(index, q->give_at);
    virtq_ring_writes(q, index, 2, true);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!has_events(q)) {
        return (virtq_load16(q->s.rings.driver) & NO_NOTIFY) == 0;
    }
    return (uint16_t)(q->give_at - virtq_load16(used_event(q)) - 1) < count;
}

/* With events, the event that was asked for last lies behind: no kick comes. */
void virtq_split_hush(struct virtq *q)
{
    if (!has_events(q)) {
        virtq_ring_writes(q, q->s.rings.device, 2, false);
        virtq_store16(q->s.rings.device, NO_NOTIFY);
        virtq_ring_writes(q, q->s.rings.device, 2, true);
    }
}

void virtq_split_listen(struct virtq *q)
{
    uint8_t *at = has_events(q) ? available_event(q) : q->s.rings.device;

    virtq_ring_writes(q, at, 2, false);
    virtq_store16(at, has_events(q) ? q->take_at : 0);
    virtq_ring_writes(q, at, 2, true);
}
