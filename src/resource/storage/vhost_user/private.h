/* private.h - what the files of the vhost-user server share. */
#ifndef RESOURCE_STORAGE_VHOST_USER_PRIVATE_H
#define RESOURCE_STORAGE_VHOST_USER_PRIVATE_H

#include "base/strand.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/vhost_user/inflight.h"
#include "resource/storage/vhost_user/memory.h"
#include "resource/storage/vhost_user/protocol.h"
#include "resource/storage/vhost_user/vhost_user.h"
#include "virtio/blk.h"

struct vhost_session;

/* One queue of the machine, from the first message that names it. */
struct vhost_ring {
    struct virtio_blk_ring blk; /* first */
    struct vhost_session *session;
    uint32_t size;
    uint32_t base;
    struct vhost_user_addresses addresses;
    bool placed; /* `addresses` came */
    int kick;    /* -1: none */
    int call;
    int error;
    bool kickable; /* SET_VRING_KICK came, with a descriptor or without */
    bool enabled;
    bool started;  /* `blk.q` is valid */
    bool stopping; /* nothing more is taken */
    bool told;     /* that its driver broke the rules */
    struct loop_watch watch;
    struct loop_task answers;
    struct vhost_inflight inflight;
};

/* One front end. */
struct vhost_session {
    struct vhost_user_server *server;
    int fd;
    int backend; /* messages of ours; -1: none */
    uint64_t features;
    uint64_t protocol;
    struct vhost_memory memory;
    struct vhost_mapping inflight;
    struct vhost_user_inflight inflight_shape;
    struct loop_poller poller;
    struct loop_timer look;   /* for rings without a kick */
    uint64_t last_ns;         /* when requests came */
    unsigned losses;          /* of `lost_count` that are seen */
    bool config_changed;      /* and the front end is not told yet */
    bool paused;              /* nothing is taken from any ring: memory changes */
    struct strand_queue idle; /* woken when a ring has nothing under way */
    struct vhost_ring ring[VHOST_USER_QUEUES_MOST];
};

struct vhost_user_server {
    struct loop *loop;
    struct blk_edge edge;
    struct virtio_blk device;
    struct vhost_session *session; /* NULL: nobody is connected */
    struct loop_watch listener;
    uint64_t told_bytes; /* the size of the disk that front ends know */
    struct vhost_user_counts counts;
    struct strand_queue gone;
};

/* A message, its payload and its descriptors, which its handler may take away. */
struct vhost_message {
    struct vhost_user_head head;
    union vhost_user_payload payload;
    int fd[VHOST_USER_FDS_MOST]; /* owned; -1: none, or taken */
    unsigned fds;
    uint32_t reply_bytes; /* of the payload */
    int reply_fd;         /* sent with the reply; -1: none; owned */
};

/* The next message, waiting for it; in a strand.  0; -ECONNRESET: there will be none;
 * -EPROTO: it makes no sense. */
int vhost_message_read(struct vhost_session *s, struct vhost_message *m);

/* Send the message back, with `reply_bytes` of its payload. */
int vhost_message_reply(struct vhost_session *s, struct vhost_message *m);
void vhost_message_close(struct vhost_message *m);
int vhost_message_take_fd(struct vhost_message *m, unsigned i);

/* Tell the front end that the configuration is another; later, if it does not listen now. */
void vhost_session_tell_config(struct vhost_session *s);

/* Handle a message; in a strand.  0, or why the session ends. */
int vhost_session_handle(struct vhost_session *s, struct vhost_message *m);

void vhost_ring_init(struct vhost_ring *r, struct vhost_session *s);

/* Begin, or go on, as far as all that is needed has come. */
int vhost_ring_update(struct vhost_ring *r);

/* Until nothing is under way; in a strand. */
void vhost_ring_wait(struct vhost_ring *r);

/* Nothing more is taken; wait for what is under way.  In a strand. */
void vhost_ring_stop(struct vhost_ring *r);

/* Forget all that messages said of it, when it is stopped. */
void vhost_ring_reset(struct vhost_ring *r);

/* Translate its addresses anew; -EFAULT: they lead nowhere now. */
int vhost_ring_place(struct vhost_ring *r);

/* Take away, and watch again, the kicks of a ring. */
void vhost_ring_set_kick(struct vhost_ring *r, int take_fd);
void vhost_ring_set_call(struct vhost_ring *r, int take_fd);

/* Look at all rings: begin and end. */
void vhost_session_poll_begin(struct vhost_session *s);
void vhost_session_poll_end(struct vhost_session *s);

#endif
