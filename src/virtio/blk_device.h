/* blk_device.h - a disk as a virtio device, for any transport.
 *
 * Threads: that of the loop and of the disk, which are one. */
#ifndef VIRTIO_BLK_DEVICE_H
#define VIRTIO_BLK_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

struct blk_edge;
struct err;
struct loop;
struct virtio_device;

#define VIRTIO_BLK_DEVICE_QUEUES_MOST 4

struct virtio_blk_device_options {
    const struct blk_edge *edge; /* to the disk; borrowed */
    const char *id;              /* up to 20 characters that the guest sees; NULL: none */
    bool read_only;              /* whatever the disk is */
    unsigned queues;             /* 1.. */
    bool in_turn;                /* a request begins when the one before it is answered */
};

int virtio_blk_device_create(struct loop *l, const struct virtio_blk_device_options *o,
                             struct virtio_device **ret, struct err *e);

/* Bytes that the driver has read and written so far.  Any thread. */
void virtio_blk_device_moved(const struct virtio_device *d, uint64_t *ret_read,
                             uint64_t *ret_written);

/* The disk has another size: the driver is told. */
void virtio_blk_device_resized(struct virtio_device *d);

#endif
