/* blk.h - the virtio block device without its transport: features, configuration space,
 * and queues of requests that go to a disk.
 *
 * A transport (virtio-pci of a machine, vhost-user) starts a `struct virtio_blk_ring` for
 * each queue the driver sets up, calls `virtio_blk_ring_serve` when the driver has kicked,
 * and `virtio_blk_ring_finish` soon after `ready` was called.  Requests go to the
 * disk as they are found in the queue, and are answered in any order.
 *
 * Threads: that of the disk.
 * Source: Virtual I/O Device (VIRTIO) 1.2, 5.2. */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "contract/blk.h"
#include "virtio/queue.h"

struct blk_edge;
struct loop;
struct virtio_blk_task;

#define VIRTIO_BLK_CONFIG_BYTES 60 /* up to write_zeroes_may_unmap, and its padding */
#define VIRTIO_BLK_ID_BYTES     20
#define VIRTIO_BLK_SECTOR_BYTES 512
#define VIRTIO_BLK_SEGMENT_MOST 126 /* pieces of data in one request: a queue of 128, */
#define VIRTIO_BLK_SEGMENT_LONG 254 /* ... of 256 */

struct virtio_blk {
    const struct blk_edge *edge;  /* to the disk; borrowed */
    struct loop *loop;            /* of the disk's thread; borrowed; NULL: none */
    bool read_only;               /* whatever the disk is */
    bool write_through;           /* the driver has chosen it in the configuration */
    uint16_t queues;              /* that the driver may use */
    uint32_t segments;            /* of a request; 0: VIRTIO_BLK_SEGMENT_MOST */
    uint64_t features;            /* negotiated */
    char id[VIRTIO_BLK_ID_BYTES]; /* not always with a NUL */
    _Atomic uint64_t read_bytes, written_bytes; /* by the driver so far */
};

/* What the device offers, the features of its queues included. */
uint64_t virtio_blk_features(const struct virtio_blk *d);

/* Read any part of the configuration; zeros behind its end. */
void virtio_blk_config_read(const struct virtio_blk *d, uint32_t off, void *to,
                            uint32_t bytes);

/* -EACCES: the driver may not write there. */
int virtio_blk_config_write(struct virtio_blk *d, uint32_t off, const void *from,
                            uint32_t bytes);

/* One queue at work. */
struct virtio_blk_ring {
    struct virtq q;            /* first */
    struct virtio_blk *device; /* borrowed */

    /* Requests have been finished: call `virtio_blk_ring_finish` soon, but not inside. */
    void (*ready)(struct virtio_blk_ring *r);

    struct blk_queue queue;
    struct virtio_blk_task *free;  /* owned */
    struct virtio_blk_task *ended; /* without the queue's help, the latest first */
    unsigned running;              /* requests taken and not given back */
    unsigned serve_most;           /* to take in one call; 0: any number */
};

/* Prepare a zeroed ring; `q` is started by the transport. */
void virtio_blk_ring_init(struct virtio_blk_ring *r, struct virtio_blk *d,
                          void (*ready)(struct virtio_blk_ring *r));

/* None may be running. */
void virtio_blk_ring_fini(struct virtio_blk_ring *r);

/* Take what was offered and start it; where it is much, a part, so that the driver may go on
 * with the answers.  How many there were, or -EPROTO: the driver broke the rules, and
 * the ring is broken. */
int virtio_blk_ring_serve(struct virtio_blk_ring *r);

/* Start a request again (`virtq_retake`); `token` is the tracker's.  0 or -EPROTO. */
int virtio_blk_ring_again(struct virtio_blk_ring *r, uint16_t id,
                          const struct virtq_desc *descs, unsigned count, uint16_t token);

/* Answer what is finished, in one step; true: notify the driver. */
bool virtio_blk_ring_finish(struct virtio_blk_ring *r);

#endif
