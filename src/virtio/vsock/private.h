/* private.h - what the files of the socket device share. */
#ifndef VIRTIO_VSOCK_PRIVATE_H
#define VIRTIO_VSOCK_PRIVATE_H

#include "virtio/vsock/numbers.h"
#include "virtio/vsock/vsock.h"
#include "virtio/work.h"

#define VSOCK_QUEUE_SIZE  128
#define VSOCK_EVENT_SIZE  8
#define VSOCK_STRAYS_MOST 32 /* refusals that wait for a buffer of the guest */

/* Bytes on their way. */
struct vsock_pipe {
    uint32_t at;    /* of the first one */
    uint32_t count; /* at most VIRTIO_VSOCK_BYTES */
    uint8_t bytes[VIRTIO_VSOCK_BYTES];
};

enum vsock_state {
    VSOCK_ASKED,   /* the guest was asked for a connection */
    VSOCK_OPEN,    /* bytes flow */
    VSOCK_CLOSING, /* the user has left; out is sent, then both wait for the guest */
    VSOCK_DEAD     /* nothing is expected of the guest any more */
};

struct vsock_stream {
    struct vsock *device;
    struct vsock_stream *next; /* of the device's */
    enum vsock_state state;
    uint32_t port;      /* of the host */
    uint32_t peer_port; /* of the guest */
    const struct vsock_user *user;
    void *who; /* both NULL: nobody is there any more */

    uint32_t pending; /* bits of `enum virtio_vsock_op` that are to be sent */
    uint32_t shut;    /* flags that were told to the guest, or are about to be */
    uint32_t peer_shut;
    bool ends;        /* the user sends nothing more */
    bool is_finished; /* and was told that the guest does not */
    bool is_full;     /* the user found no room */
    bool is_delivering;
    int why; /* for `gone` */

    uint32_t taken;      /* of the guest's bytes, by the user; runs on */
    uint32_t came;       /* of the guest's bytes */
    uint32_t told;       /* `taken` as the guest knows it */
    uint32_t sent;       /* to the guest */
    uint32_t peer_taken; /* of these, as the guest says */
    uint32_t peer_room;  /* bytes that it holds at most */
    bool asked_credit;
    struct vsock_pipe in;
    struct vsock_pipe out;
};

/* A refusal of a packet that belongs to no stream. */
struct vsock_stray {
    uint32_t port;
    uint32_t peer_port;
};

struct vsock {
    struct virtio_device device; /* first */
    struct virtio_work work;
    struct virtq q[VIRTIO_VSOCK_QUEUES];
    struct virtio_vsock_options o;
    struct vsock_stream *streams; /* owned; the next to be served first */
    unsigned count;
    uint32_t next_port;
    struct vsock_stray stray[VSOCK_STRAYS_MOST];
    unsigned strays;
    bool tells_reset; /* the guest is to forget its streams */
    struct virtq_chain chain;
    uint8_t room[VIRTIO_VSOCK_BYTES];
};

/* stream.c */
int vsock_stream_make(struct vsock *v, uint32_t port, uint32_t peer_port,
                      struct vsock_stream **ret);
struct vsock_stream *vsock_stream_find(struct vsock *v, uint32_t port,
                                       uint32_t peer_port);

/* The guest's packet for a stream that there is, its bytes in the device's `room`. */
void vsock_stream_packet(struct vsock_stream *s, const struct virtio_vsock_header *h);

/* The next packet of a stream, with at most `most` bytes of data: its header, and the data
 * in the device's `room`; false: there is none now. */
bool vsock_stream_next(struct vsock_stream *s, uint32_t most,
                       struct virtio_vsock_header *ret);

/* All streams go, for that reason. */
void vsock_streams_drop(struct vsock *v, int why);

/* Make room for another if there is one that only the guest holds; not in calls of users. */
void vsock_streams_make_room(struct vsock *v);

/* Free those that nothing is to be done for; not in calls of users. */
void vsock_streams_sweep(struct vsock *v);

/* vsock.c: something is to be sent. */
void vsock_wants_to_send(struct vsock *v);

#endif
