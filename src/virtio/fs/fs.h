/* fs.h - the virtio file-system device: a directory of the host for a guest.
 *
 * Requests of the FUSE protocol go as they are over a stream socket to whoever serves the
 * directory, each behind a head that says its length and the room for the answer
 * (`struct virtio_fs_frame`), and answers come back in the same order.  The server never
 * sees the guest's memory, and the device nothing of a file.
 *
 * Threads: that of the loop.
 * Source: Virtual I/O Device (VIRTIO) 1.2, 5.11. */
#ifndef VIRTIO_FS_FS_H
#define VIRTIO_FS_FS_H

#include <stdint.h>

struct err;
struct loop;
struct virtio_device;

#define VIRTIO_FS_TAG_BYTES    36
#define VIRTIO_FS_MESSAGE_MOST ((512u << 10) + 4096) /* of a request, of an answer */

/* In the host's byte order. */
struct virtio_fs_frame {
    uint32_t bytes; /* behind it */
    uint32_t room;  /* for the answer; of an answer: 0 */
};

struct virtio_fs_options {
    struct loop *loop; /* borrowed */
    const char *tag;   /* what the guest mounts; 1 to VIRTIO_FS_TAG_BYTES bytes */
};

/* The descriptor, a stream socket, is the device's on success.  When its other end is gone,
 * requests fail. */
int virtio_fs_create(const struct virtio_fs_options *o, int take_fd,
                     struct virtio_device **ret, struct err *e);

#endif
