/* virtio/vsock/vsock.h - the virtio socket device: streams of bytes between a guest and its
 * host, without a network.
 *
 * A stream has a user at the host's end.  Both sides have back pressure: `received` takes
 * as many bytes as it can, `virtio_vsock_send` as many as there is room for.  The number of
 * streams is bounded, and so is what each of them holds.
 *
 * Threads: that of the loop.
 * Source: Virtual I/O Device (VIRTIO) 1.2, 5.10. */
#ifndef VIRTIO_VSOCK_VSOCK_H
#define VIRTIO_VSOCK_VSOCK_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct loop;
struct virtio_device;
struct vsock_stream;

#define VIRTIO_VSOCK_STREAMS_MOST 128
#define VIRTIO_VSOCK_BYTES        65536 /* that a stream holds, in each direction */
#define VIRTIO_VSOCK_CID_LEAST    3     /* VIRTIO 1.2, 5.10.4 */

struct vsock_user {
    /* The guest has taken a connection that was asked for.  NULL: no matter. */
    void (*connected)(void *who);

    /* Bytes of the guest: how many were taken; the others come again after
     * `virtio_vsock_more`. */
    uint32_t (*received)(void *who, const uint8_t *bytes, uint32_t n);

    /* There is room for bytes again.  NULL: no matter. */
    void (*writable)(void *who);

    /* The guest sends nothing more; all it has sent was taken. */
    void (*finished)(void *who);

    /* There is no stream any more: 0, the guest closed it; -ECONNREFUSED, nobody listens
     * there; -ECONNRESET. */
    void (*gone)(void *who, int why);
};

struct virtio_vsock_options {
    struct loop *loop; /* borrowed */
    uint32_t cid;      /* the guest's */

    /* The guest connects to a port of the host: 0 and the user of the stream, or
     * -errno: it is refused.  NULL: all are. */
    int (*accept)(void *who, uint32_t port, struct vsock_stream *s,
                  const struct vsock_user **ret_user, void **ret_who);
    void *who;
};

int virtio_vsock_create(const struct virtio_vsock_options *o, struct virtio_device **ret,
                        struct err *e);

/* Connect to a port of the guest.  -ENOTCONN: it has no driver yet; -EMFILE: there are too
 * many streams; -ENOMEM. */
int virtio_vsock_connect(struct virtio_device *d, uint32_t port,
                         const struct vsock_user *user, void *who,
                         struct vsock_stream **ret);

/* How many bytes there is room for, and so many of them: how many were taken. */
uint32_t virtio_vsock_room(const struct vsock_stream *s);
uint32_t virtio_vsock_send(struct vsock_stream *s, const void *bytes, uint32_t n);

/* The user can take bytes again; may call `received`, `finished` and `gone`. */
void virtio_vsock_more(struct vsock_stream *s);

/* Nothing more will be sent; what was taken still is. */
void virtio_vsock_shutdown(struct vsock_stream *s);

/* The user leaves and is called no more.  What it has sent still arrives. */
void virtio_vsock_close(struct vsock_stream *s);

#endif
