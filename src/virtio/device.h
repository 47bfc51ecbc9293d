/* device.h - a virtio device without its transport.
 *
 * Implemented by the block, network, console, entropy, balloon, socket and file-system
 * devices; used by transports: virtio-pci of a machine, later MMIO, vhost-user.  The
 * transport holds what the specification calls the device's registers: status, negotiated
 * features, where queues lie, vectors.  The device holds its configuration space and
 * what its queues mean.
 *
 *   made -- start --> at work -- stop --> stopping -- `stopped` --> made
 *
 * A pause is a stop whose bases (`base`) the transport keeps for the next start; a reset
 * by the driver is a stop with `reset` behind it.
 *
 * Threads: one, that of the loop; `config_read` is also called by others, while the
 * transport's lock keeps `config_write` away.
 * Source: Virtual I/O Device (VIRTIO) 1.2, 2 and 5. */
#ifndef VIRTIO_DEVICE_H
#define VIRTIO_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/queue.h"

struct snap;
struct virtio_device;

#define VIRTIO_QUEUES_MOST 32 /* of one device; our bound */

struct virtio_device_ops {
    const char *name;   /* "blk": a word of snapshots and of messages */
    uint16_t id;        /* VIRTIO 1.2, 5 */
    uint32_t pci_class; /* base, sub, interface: 0x018000 */

    /* What is offered, features of queues included, VIRTIO_F_VERSION_1 not. */
    uint64_t (*features)(const struct virtio_device *d);

    /* Entries that queue `i` may have; 0: there is no such queue. */
    uint16_t (*queue_size)(const struct virtio_device *d, unsigned i);

    /* Any part of the configuration space; zeros behind its end. */
    void (*config_read)(const struct virtio_device *d, uint32_t off, void *to,
                        uint32_t bytes);

    /* -EACCES: the driver may not write there.  NULL: nowhere. */
    int (*config_write)(struct virtio_device *d, uint32_t off, const void *from,
                        uint32_t bytes);

    /* The driver is ready: `features` were negotiated, `queues[i].size` is 0 where it has
     * not set the queue up.  Takes what is in the queues already.  -errno: the device
     * cannot work so; nothing has been started. */
    int (*start)(struct virtio_device *d, uint64_t features,
                 const struct virtq_setup queues[], unsigned count);

    /* The driver has offered something in queue `i`. */
    void (*kicked)(struct virtio_device *d, unsigned i);

    /* Take nothing more and finish what was taken; calls `stopped` of the transport, at
     * once or later, when the device touches the guest's memory no more. */
    void (*stop)(struct virtio_device *d);

    /* Stopped, and the driver has reset the device: what `carry` carries is again as it
     * was when the device was made.  NULL: there is no such state. */
    void (*reset)(struct virtio_device *d);

    /* Requests are under way that the loop may wait for.  NULL: never, once it has nothing to
     * do at once. */
    bool (*is_busy)(const struct virtio_device *d);

    /* Where queue `i` would go on (`virtq_base`); after `stopped`. */
    uint32_t (*base)(const struct virtio_device *d, unsigned i);

    /* State that the guest sees beside registers and queues; stopped.  NULL: none. */
    void (*carry)(struct virtio_device *d, struct snap *s);

    /* Stopped.  The device's backend (disk, network) is its owner's. */
    void (*destroy)(struct virtio_device *d);
};

/* What a device asks of the transport it is plugged into. */
struct virtio_transport_ops {
    /* Used entries of queue `i` were shown, and the driver wants to hear. */
    void (*notify)(void *transport, unsigned i);
    void (*config_changed)(void *transport);
    void (*broken)(void *transport); /* the driver has to reset the device */
    void (*stopped)(void *transport);
};

/* First member of every device's own struct. */
struct virtio_device {
    const struct virtio_device_ops *ops;
    const struct virtio_transport_ops *plug; /* set by the transport */
    void *transport;                         /* borrowed; first argument of `plug` */
};

#endif
