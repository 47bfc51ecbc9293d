/* packed.c - a virtqueue of one ring: VIRTIO 1.2, 2.8.
 *
 * Ring:        { le64 address, le32 length, le16 id, le16 flags } [size]
 * Events:      le16 offset (15 bits) and wrap counter, le16 flags; one for each side
 *
 * Each side goes round and turns its wrap counter (1 at first) at the end of the ring.
 * An entry is available when its AVAIL bit is the wrap counter of the round and its USED
 * bit is not; used, when both are.  A chain lies in entries one behind the other; its
 * used entry takes the place of as many.  The flags of the first entry of a batch are
 * written last: the driver sees all of the batch or nothing. */
#include <errno.h>

#include "virtio/private.h"
#include "virtio/space.h"

#define ENTRY_ID    12
#define ENTRY_FLAGS 14
#define EVENT_FLAGS 2

enum event {
    EVENT_ENABLE,
    EVENT_DISABLE,
    EVENT_AT /* at the offset beside it */
};

static uint8_t *entry_at(const struct virtq *q, unsigned i)
{
    return q->s.rings.desc + (size_t)i * VIRTQ_DESC_BYTES;
}

void virtq_packed_start(struct virtq *q)
{
    q->take_at = q->s.base & 0x7fff;
    q->take_wrap = (q->s.base >> 15 & 1) != 0;
    q->give_at = (uint16_t)(q->s.base >> 16 & 0x7fff);
    q->give_wrap = q->s.base >> 31 != 0;
    q->shown_at = q->give_at;
    q->shown_wrap = q->give_wrap;
}

static bool is_available(uint16_t flags, bool wrap)
{
    return ((flags & VIRTQ_DESC_AVAIL) != 0) == wrap &&
           ((flags & VIRTQ_DESC_USED) != 0) != wrap;
}

bool virtq_packed_more(struct virtq *q)
{
    return is_available(virtq_load16(entry_at(q, q->take_at) + ENTRY_FLAGS),
                        q->take_wrap);
}

/* One entry further. */
static void advance(const struct virtq *q, uint16_t *at, bool *wrap, unsigned by)
{
    unsigned next = *at + by;

    if (next >= q->s.size) {
        next -= q->s.size;
        *wrap = !*wrap;
    }
    *at = (uint16_t)next;
}

/* The entry, in the order of fields that split queues have; its flags come first, as
 * nothing else is the device's before. */
static void read_entry(const struct virtq *q, unsigned i, struct virtq_desc *ret)
{
    const uint8_t *entry = entry_at(q, i);
    uint16_t flags = virtq_load16(entry + ENTRY_FLAGS);

    virtio_copy_once(ret, entry, ENTRY_FLAGS);
    virtio_copy_once(&ret->link, entry + ENTRY_ID, sizeof ret->link);
    ret->flags = flags;
}

/* Only the last entry of a chain has a valid id (VIRTIO 1.2, 2.8.6). */
int virtq_packed_take(struct virtq *q, struct virtq_chain *c)
{
    uint16_t at = q->take_at;
    bool wrap = q->take_wrap;
    struct virtq_desc d;

    virtq_chain_begin(c, 0);
    for (unsigned n = 1; n <= q->s.size - q->slots; n++) {
        read_entry(q, at, &d);
        advance(q, &at, &wrap, 1);
        if (virtq_chain_add(q, c, &d) != 0) {
            return -EPROTO;
        }
        if (q->s.tracker != NULL) {
            q->s.tracker->scratch[n - 1] = d;
        }
        if ((d.flags & VIRTQ_DESC_NEXT) == 0) {
            c->id = d.link;
            c->slots = (uint16_t)n;
            q->take_at = at;
            q->take_wrap = wrap;
            if (q->s.tracker != NULL) {
                q->s.tracker->taken(q->s.tracker, c, n);
            }
            return 0;
        }
    }
    return -EPROTO; /* more than the ring has */
}

void virtq_packed_give(struct virtq *q, const struct virtq_chain *c, uint32_t written)
{
    uint8_t *entry = entry_at(q, q->give_at);
    uint16_t flags = q->give_wrap ? VIRTQ_DESC_AVAIL | VIRTQ_DESC_USED : 0;

    flags |= c->writes > 0 ? VIRTQ_DESC_WRITE : 0u;
    virtq_ring_writes(q, entry, VIRTQ_DESC_BYTES, false);
    __builtin_memcpy(entry + 8, &written, sizeof written);
    __builtin_memcpy(entry + ENTRY_ID, &c->id, sizeof c->id);
    if (q->unshown == 0) {
        q->first_flag = flags;
    } else {
        virtq_store16(entry + ENTRY_FLAGS, flags);
    }
    virtq_ring_writes(q, entry, VIRTQ_DESC_BYTES, true);
    advance(q, &q->give_at, &q->give_wrap, c->slots);
    q->unshown += c->slots;
}

/* Positions over two rounds: how far the event lies behind what is shown now. */
static bool passed_event(const struct virtq *q, uint16_t event)
{
    unsigned round = 2u * q->s.size;
    unsigned now = q->give_at + (q->give_wrap ? 0 : q->s.size);
    unsigned off = event & 0x7fff;
    unsigned then = off + ((event & 0x8000) != 0 ? 0 : q->s.size);
    unsigned behind = off >= q->s.size ? 0 : (now + round - then) % round;

    return behind >= 1 && behind <= q->unshown;
}

bool virtq_packed_show(struct virtq *q)
{
    uint8_t *first = entry_at(q, q->shown_at);
    uint16_t wish;

    virtq_ring_writes(q, first, VIRTQ_DESC_BYTES, false);
    virtq_store16(first + ENTRY_FLAGS, q->first_flag);
    virtq_ring_writes(q, first, VIRTQ_DESC_BYTES, true);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    wish = virtq_load16(q->s.rings.driver + EVENT_FLAGS);
    if ((wish & 3) == EVENT_AT && (q->s.features & VIRTIO_F_EVENT_IDX) != 0) {
        return passed_event(q, virtq_load16(q->s.rings.driver));
    }
    return (wish & 3) != EVENT_DISABLE;
}

static void wish(struct virtq *q, uint16_t flags)
{
    virtq_ring_writes(q, q->s.rings.device, 4, false);
    virtq_store16(q->s.rings.device + EVENT_FLAGS, flags);
    virtq_ring_writes(q, q->s.rings.device, 4, true);
}

void virtq_packed_hush(struct virtq *q)
{
    wish(q, EVENT_DISABLE);
}

void virtq_packed_listen(struct virtq *q)
{
    if ((q->s.features & VIRTIO_F_EVENT_IDX) == 0) {
        wish(q, EVENT_ENABLE);
        return;
    }
    virtq_store16(q->s.rings.device,
                  (uint16_t)(q->take_at | (q->take_wrap ? 0x8000u : 0)));
    wish(q, EVENT_AT);
}
