/* tests/virtio/vsock_guest.h - a guest's end of streams, played by tests. */
#ifndef TESTS_VIRTIO_VSOCK_GUEST_H
#define TESTS_VIRTIO_VSOCK_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/virtio/plug.h"
#include "virtio/vsock/numbers.h"
#include "virtio/vsock/vsock.h"

#define CID     42u
#define BUFFERS 16u
#define BUFFER  (44u + 4096u)

enum {
    RX,
    TX,
    EVENTS
};

enum {
    REQUEST = 1,
    RESPONSE,
    RST,
    SHUTDOWN,
    RW,
    UPDATE,
    ASK
};

/* A user at the host's end. */
struct end {
    struct vsock_stream *s;
    uint8_t bytes[200000];
    uint32_t count;
    uint32_t most; /* takes no more */
    unsigned connected, writable, finished, gone;
    int why;
    bool leaves; /* when something comes */
};

struct vsock_guest {
    struct plug p; /* first */
    uint64_t at[BUFFERS];
    uint16_t id[BUFFERS];
    uint32_t peer_room; /* what the guest says of itself */
    uint32_t peer_taken;
    struct end end;
    int accept;     /* what it answers */
    uint32_t asked; /* port */
};

/* What the host's ends do is noted in the guest's `end`. */
extern const struct vsock_user vsock_guest_user;

/* `accept` of the device; `who` is the guest. */
int vsock_guest_accept(void *who, uint32_t port, struct vsock_stream *s,
                       const struct vsock_user **ret_user, void **ret_who);
/* A buffer for packets; a device, started, with some of them. */
void vsock_guest_offer(struct vsock_guest *w, unsigned i);
void vsock_guest_set_up(struct vsock_guest *w, uint64_t kind, unsigned buffers);
/* Packets of the guest; from its port 1000 to the host's port 7. */
void vsock_guest_send(struct vsock_guest *w, const struct virtio_vsock_header *h,
                      const void *bytes, uint32_t n);
struct virtio_vsock_header vsock_guest_header(struct vsock_guest *w, uint16_t op,
                                              uint32_t port, uint32_t peer_port);
void vsock_guest_says(struct vsock_guest *w, uint16_t op, const void *bytes, uint32_t n);
void vsock_guest_shuts(struct vsock_guest *w, uint32_t flags);
/* The next packet for it, its buffer offered again; false: there is none. */
bool vsock_guest_hears(struct vsock_guest *w, struct virtio_vsock_header *ret,
                       uint8_t *bytes);
void vsock_guest_expect(struct vsock_guest *w, uint16_t op);
void vsock_guest_expect_nothing(struct vsock_guest *w);
void vsock_guest_fill(uint8_t *b, uint32_t n, uint32_t from);
/* A connection of the guest that stands. */
void vsock_guest_connect(struct vsock_guest *w);

#endif
