/* queue.h - a virtqueue as the device sees it, split or packed.
 *
 * The driver offers buffers, each a chain of pieces of its memory; the device takes
 * chains, does what they ask for, gives them back in any order and shows what it gave
 * back, many at a time.
 *
 * Nothing the driver writes is believed: indices, lengths and addresses are read once and
 * checked; a chain has at most `VIRTQ_PIECES_MOST` pieces and as many steps as its table
 * has entries.  A driver that breaks the rules breaks its queue (`broken`) and
 * nothing else.
 *
 * Threads: one per queue.
 * Source: Virtual I/O Device (VIRTIO) 1.2, 2.6 to 2.8. */
#ifndef VIRTIO_QUEUE_H
#define VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct virtio_space;
struct virtq;

#define VIRTQ_SIZE_MOST 32768 /* VIRTIO 1.2, 2.6 */
#define VIRTQ_PIECES_MOST                                                                \
    256 /* of one chain; a piece ends where the host's memory does */

/* Feature bits of queues: VIRTIO 1.2, 6. */
#define VIRTIO_F_INDIRECT_DESC ((uint64_t)1 << 28)
#define VIRTIO_F_EVENT_IDX     ((uint64_t)1 << 29)
#define VIRTIO_F_VERSION_1     ((uint64_t)1 << 32)
#define VIRTIO_F_RING_PACKED   ((uint64_t)1 << 34)
#define VIRTQ_FEATURES                                                                   \
    (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED)

/* A descriptor, the same for both formats. */
struct virtq_desc {
    uint64_t at;
    uint32_t bytes;
    uint16_t flags;
    uint16_t link; /* split: the next one; packed: the buffer's id */
};

/* A chain that was taken: pieces that the device reads, then pieces that it writes. */
struct virtq_chain {
    uint16_t id;     /* split: its first descriptor; packed: the buffer's id */
    uint16_t slots;  /* entries of a packed ring that it takes */
    uint16_t token;  /* the tracker's */
    unsigned reads;  /* iov[0, reads) */
    unsigned writes; /* iov[reads, reads + writes) */
    uint64_t read_bytes;
    uint64_t write_bytes;
    struct iovec iov[VIRTQ_PIECES_MOST];
};

/* Keeps account of chains under way for one that takes over after a crash. */
struct virtq_tracker {
    /* Taken now; packed: its descriptors in the ring are scratch[0, count). */
    void (*taken)(struct virtq_tracker *t, struct virtq_chain *c, unsigned count);

    /* Its used entry is written, and not shown yet. */
    void (*given)(struct virtq_tracker *t, const struct virtq_chain *c);

    /* All that were given, up to `give_at`, are about to be shown, and are. */
    void (*showing)(struct virtq_tracker *t, const struct virtq *q);
    void (*shown)(struct virtq_tracker *t, const struct virtq *q);

    struct virtq_desc *scratch; /* packed: room for as many as the queue has */
};

/* Where the three parts of a queue lie. */
struct virtq_rings {
    uint8_t *desc;   /* split: descriptor table; packed: descriptor ring */
    uint8_t *driver; /* split: available ring; packed: driver event suppression */
    uint8_t *device; /* split: used ring; packed: device event suppression */
};

struct virtq_setup {
    struct virtio_space *space;
    struct virtq_rings rings;
    unsigned size;
    uint64_t features; /* negotiated */

    /* Split: the next entry of the available ring.  Packed: bits 0-14 the next descriptor
     * to take, 15 its wrap counter, 16-30 and 31 the same of the next to give. */
    uint32_t base;
    struct virtq_tracker *tracker; /* NULL: none */

    /* Bytes of the ring (in host memory) will be (`done`: were) written by the device.
     * NULL: the space is asked, if it wants to know. */
    void (*ring_writes)(struct virtq *q, uint8_t *host, uint64_t bytes, bool done);
};

struct virtq {
    struct virtq_setup s;
    uint16_t take_at;    /* of the ring; split: runs on and is cut */
    uint16_t take_seen;  /* split: how far the driver has come, as last seen */
    uint16_t give_at;    /* split: index of the used ring, shown or not */
    uint16_t shown_at;   /* what the driver sees */
    uint16_t first_flag; /* packed: flags of the first entry not shown, held back */
    bool take_wrap;      /* packed */
    bool give_wrap;
    bool shown_wrap;
    bool notify_next;   /* the driver is told of the next one in any case */
    bool hushed;        /* the driver was asked not to kick */
    bool broken;        /* the driver broke the rules: nothing is taken any more */
    unsigned in_flight; /* chains taken and not given back */
    unsigned slots;     /* packed: the entries they take */
    unsigned unshown;   /* given; packed: in entries of the ring */
};

/* The bytes of a part of the rings. */
uint64_t virtq_desc_bytes(uint64_t features, unsigned size);
uint64_t virtq_driver_bytes(uint64_t features, unsigned size);
uint64_t virtq_device_bytes(uint64_t features, unsigned size);

/* Begin; nothing is taken yet.  -EINVAL: a size or an alignment that cannot be. */
int virtq_start(struct virtq *q, const struct virtq_setup *s);

/* The rings lie elsewhere in host memory from now on: the same rings. */
int virtq_move(struct virtq *q, const struct virtq_rings *rings);

/* Whether the driver has offered something. */
bool virtq_more(struct virtq *q);

/* Take the next chain: 1; 0: there is none; -EPROTO: the driver broke the rules. */
int virtq_take(struct virtq *q, struct virtq_chain *ret);

/* Take a chain again that an earlier device took and did not give back.  Packed: as its
 * `count` descriptors stood in the ring; split: from its first descriptor. */
int virtq_retake(struct virtq *q, uint16_t id, const struct virtq_desc *descs,
                 unsigned count, struct virtq_chain *ret);

/* The chain that was taken last is not taken after all, and will be the next one.  Not for
 * queues with a tracker. */
void virtq_put_back(struct virtq *q, const struct virtq_chain *c);

/* Give a chain back, with so many bytes written from its first writable one on. */
void virtq_give(struct virtq *q, const struct virtq_chain *c, uint32_t written);

/* Show the driver what was given; true: it wants to be notified. */
bool virtq_show(struct virtq *q);

/* Ask the driver not to kick: somebody looks anyway. */
void virtq_hush(struct virtq *q);

/* Ask for the next kick; true: do not wait for it, there is something. */
bool virtq_listen(struct virtq *q);

/* Where another device would go on; chains under way count as taken. */
uint32_t virtq_base(const struct virtq *q);

#endif
