/* host.h - the host's end of a guest's streams: unix sockets.
 *
 * What the guest connects to is DIR/vsock_PORT, a listening socket of a program of the
 * host.  A connected socket of the host can be joined to a port of the guest.
 *
 * Threads: that of the loop. */
#ifndef VIRTIO_VSOCK_HOST_H
#define VIRTIO_VSOCK_HOST_H

#include <stdint.h>

struct err;
struct loop;
struct virtio_device;
struct vsock_host;

/* A socket device whose streams end in unix sockets.  `take_dir`: an open directory, which is
 * the host's from then on, or -1: the guest may connect to nothing. */
int vsock_host_create(struct loop *l, uint32_t cid, int take_dir, struct vsock_host **ret,
                      struct err *e);

/* After the device was unplugged; streams end. */
void vsock_host_destroy(struct vsock_host *h);

struct virtio_device *vsock_host_device(const struct vsock_host *h);

/* Join a connected stream socket, which is the host's from then on, to a port of the
 * guest: it is closed when nobody listens there.  What `virtio_vsock_connect` says. */
int vsock_host_join(struct vsock_host *h, uint32_t port, int take_fd);

/* Let programs of the host in by a listening unix socket, which is the host's from then on:
 * they write "CONNECT PORT\n", read "OK\n", and talk to that port of the guest.  A
 * connection that cannot be made is closed. */
int vsock_host_listen(struct vsock_host *h, int take_fd, struct err *e);

#endif
