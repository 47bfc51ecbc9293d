/* vsock_guest.c - a guest's end of streams, played by tests. */
#include "tests/virtio/vsock_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void on_connected(void *who)
{
    ((struct end *)who)->connected++;
}

static uint32_t on_received(void *who, const uint8_t *bytes, uint32_t n)
{
    struct end *e = who;

    n = n < e->most - e->count ? n : e->most - e->count;
    memcpy(e->bytes + e->count, bytes, n);
    e->count += n;
    if (e->leaves) {
        virtio_vsock_close(e->s);
    }
    return n;
}

static void on_writable(void *who)
{
    ((struct end *)who)->writable++;
}

static void on_finished(void *who)
{
    ((struct end *)who)->finished++;
}

static void on_gone(void *who, int why)
{
    struct end *e = who;

    e->gone++;
    e->why = why;
    e->s = NULL;
}

const struct vsock_user vsock_guest_user = {on_connected, on_received, on_writable,
                                            on_finished, on_gone};

int vsock_guest_accept(void *who, uint32_t port, struct vsock_stream *s,
                       const struct vsock_user **ret_user, void **ret_who)
{
    struct vsock_guest *w = who;

    w->asked = port;
    if (w->accept != 0) {
        return w->accept;
    }
    w->end.s = s;
    *ret_user = &vsock_guest_user;
    *ret_who = &w->end;
    return 0;
}

void vsock_guest_offer(struct vsock_guest *w, unsigned i)
{
    int id = plug_offer_in(&w->p, RX, w->at[i], BUFFER);

    assert_true(id >= 0);
    w->id[i] = (uint16_t)id;
}

void vsock_guest_set_up(struct vsock_guest *w, uint64_t kind, unsigned buffers)
{
    struct virtio_vsock_options o = {.cid = CID, .accept = vsock_guest_accept, .who = w};
    struct virtio_device *d;

    memset(w, 0, sizeof *w);
    w->peer_room = 65536;
    w->end.most = sizeof w->end.bytes;
    plug_init(&w->p);
    o.loop = w->p.loop;
    assert_int_equal(virtio_vsock_create(&o, &d, NULL), 0);
    plug_in(&w->p, d);
    plug_start(&w->p, kind, 3);
    for (unsigned i = 0; i < BUFFERS; i++) {
        w->at[i] = plug_room(&w->p, BUFFER);
        w->id[i] = UINT16_MAX;
    }
    for (unsigned i = 0; i < buffers; i++) {
        vsock_guest_offer(w, i);
    }
}

void vsock_guest_send(struct vsock_guest *w, const struct virtio_vsock_header *h,
                      const void *bytes, uint32_t n)
{
    uint64_t before = w->p.used;
    uint64_t at = plug_room(&w->p, 44 + (uint64_t)n);
    struct driver_piece p[2] = {{at, 44, false}, {at + 44, n, false}};

    memcpy(plug_at(&w->p, at), h, 44);
    memcpy(plug_at(&w->p, at + 44), bytes, n);
    assert_true(plug_offer(&w->p, TX, p, n > 0 ? 2 : 1) >= 0);
    plug_kick(&w->p, TX);
    w->p.used = before;
}

struct virtio_vsock_header vsock_guest_header(struct vsock_guest *w, uint16_t op,
                                              uint32_t port, uint32_t peer_port)
{
    return (struct virtio_vsock_header){.src_cid = CID,
                                        .dst_cid = 2,
                                        .src_port = peer_port,
                                        .dst_port = port,
                                        .type = 1,
                                        .op = op,
                                        .buf_alloc = w->peer_room,
                                        .fwd_cnt = w->peer_taken};
}

/* The guest sends, from its port 1000 to the host's port 7. */
void vsock_guest_says(struct vsock_guest *w, uint16_t op, const void *bytes, uint32_t n)
{
    struct virtio_vsock_header h = vsock_guest_header(w, op, 7, 1000);

    h.len = n;
    vsock_guest_send(w, &h, bytes, n);
    assert_int_equal(plug_get(&w->p, TX, NULL), 0);
}

void vsock_guest_shuts(struct vsock_guest *w, uint32_t flags)
{
    struct virtio_vsock_header h = vsock_guest_header(w, SHUTDOWN, 7, 1000);

    h.flags = flags;
    vsock_guest_send(w, &h, "", 0);
}

/* The next packet for the guest, its buffer offered again; false: there is none. */
bool vsock_guest_hears(struct vsock_guest *w, struct virtio_vsock_header *ret,
                       uint8_t *bytes)
{
    uint16_t id;
    int64_t n = plug_get(&w->p, RX, &id);
    unsigned i = 0;

    if (n < 0) {
        return false;
    }
    while (w->id[i] != id) {
        i++;
        assert_true(i < BUFFERS);
    }
    memcpy(ret, plug_at(&w->p, w->at[i]), 44);
    assert_int_equal(n, 44 + ret->len);
    assert_int_equal(ret->src_cid, 2);
    assert_int_equal(ret->dst_cid, CID);
    assert_int_equal(ret->type, 1);
    if (bytes != NULL) {
        memcpy(bytes, plug_at(&w->p, w->at[i] + 44), ret->len);
    }
    vsock_guest_offer(w, i);
    plug_kick(&w->p, RX);
    return true;
}

void vsock_guest_expect(struct vsock_guest *w, uint16_t op)
{
    struct virtio_vsock_header h;

    assert_true(vsock_guest_hears(w, &h, NULL));
    assert_int_equal(h.op, op);
}

void vsock_guest_expect_nothing(struct vsock_guest *w)
{
    struct virtio_vsock_header h;

    assert_false(vsock_guest_hears(w, &h, NULL));
}

void vsock_guest_fill(uint8_t *b, uint32_t n, uint32_t from)
{
    for (uint32_t i = 0; i < n; i++) {
        b[i] = (uint8_t)((from + i) * 31 >> 3);
    }
}

/* A connection of the guest that stands. */
void vsock_guest_connect(struct vsock_guest *w)
{
    struct virtio_vsock_header h;

    vsock_guest_says(w, REQUEST, "", 0);
    assert_true(vsock_guest_hears(w, &h, NULL));
    assert_int_equal(h.op, RESPONSE);
    assert_int_equal(h.src_port, 7);
    assert_int_equal(h.dst_port, 1000);
    assert_int_equal(h.buf_alloc, VIRTIO_VSOCK_BYTES);
    assert_int_equal(w->asked, 7);
}
