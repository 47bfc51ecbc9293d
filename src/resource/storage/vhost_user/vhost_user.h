/* vhost_user.h - disks served to other monitors' machines as virtio block devices.
 *
 * The other monitor (the front end) shares its machine's memory and eventfds over a Unix
 * socket; requests then go from the machine's queues to the disk, and the monitor has
 * no part in them.  When the connection or this process ends with requests under way, the
 * next connection does them again.
 *
 * Protocol: "Vhost-user Protocol", docs/interop/vhost-user.rst of QEMU 7.2.
 *
 * Threads: that of the loop. */
#ifndef RESOURCE_STORAGE_VHOST_USER_VHOST_USER_H
#define RESOURCE_STORAGE_VHOST_USER_VHOST_USER_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct err;
struct loop;
struct vhost_user_server;

#define VHOST_USER_QUEUES_MOST 64

struct vhost_user_options {
    struct blk *disk; /* the server attaches to it */
    const char *id;   /* up to 20 characters that the machine sees; NULL: none */
    bool read_only;
    unsigned queues; /* that a machine may use at most; 0: 16 */
};

struct vhost_user_counts {
    uint64_t accepted; /* connections so far */
    uint64_t clients;  /* connected now: 0 or 1 */
    uint64_t served;   /* requests taken from queues */
    uint64_t again;    /* of them, those an earlier connection had not finished */
    uint64_t broken;   /* queues whose driver broke the rules */
};

/* -EBUSY: the disk is in use. */
int vhost_user_server_create(struct loop *l, const struct vhost_user_options *o,
                             struct vhost_user_server **ret_server, struct err *e);

/* Accept on a listening stream socket, one front end after another; takes the
 * descriptor. */
int vhost_user_server_listen(struct vhost_user_server *s, int take_fd, struct err *e);

/* Serve a connected stream socket; takes the descriptor.  -EBUSY: there is a front end
 * already. */
int vhost_user_server_serve(struct vhost_user_server *s, int take_fd, struct err *e);

/* The disk has another size: tell the machine.  Seen without this call at the next
 * request. */
void vhost_user_server_resized(struct vhost_user_server *s);

struct vhost_user_counts vhost_user_server_counts(const struct vhost_user_server *s);

/* End the connection, when its requests are answered, and leave the disk.  In a strand.
 * NULL is allowed. */
void vhost_user_server_destroy(struct vhost_user_server *s);

#endif
