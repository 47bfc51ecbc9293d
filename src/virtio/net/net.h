/* virtio/net/net.h - the virtio network device: a guest's end of a network interface.
 *
 * Frames go between the guest's memory and a `struct nic` in batches, without an
 * allocation for any of them.  What the guest has no buffers for waits at the nic.
 *
 * Threads: that of the loop.
 * Source: Virtual I/O Device (VIRTIO) 1.2, 5.1. */
#ifndef VIRTIO_NET_NET_H
#define VIRTIO_NET_NET_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct loop;
struct nic;
struct virtio_device;

struct virtio_net_options {
    struct loop *loop; /* borrowed */
    struct nic *nic;   /* borrowed, until the device is destroyed */
    uint8_t mac[6];
};

struct virtio_net_counters {
    uint64_t sent; /* by the guest */
    uint64_t sent_bytes;
    uint64_t received;
    uint64_t received_bytes;
    uint64_t refused;  /* frames of the guest that were none */
    uint64_t filtered; /* frames for others */
    uint64_t dropped;  /* too large for the guest's buffers; or the link was down */
};

int virtio_net_create(const struct virtio_net_options *o, struct virtio_device **ret,
                      struct err *e);

/* Plug the cable in, or out.  While it is out, frames of both sides are dropped. */
void virtio_net_set_link(struct virtio_device *d, bool is_up);

/* The guest shall tell its network where it is now, from its next start on: for a device
 * that goes on elsewhere. */
void virtio_net_announce(struct virtio_device *d);

void virtio_net_count(const struct virtio_device *d, struct virtio_net_counters *ret);

#endif
