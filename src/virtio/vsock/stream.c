/* stream.c - one stream between the guest and its host: VIRTIO 1.2, 5.10.6.
 *
 * What is to be told to the guest is a set of bits (`pending`) and a pipe of bytes, so
 * that a guest without buffers costs no memory.  What comes from the guest goes to the
 * user at once; the rest stays in a pipe as large as the room that the guest was
 * promised.  A guest that sends more than it was promised room for loses its stream.
 *
 * The end: the user leaves (CLOSING): its bytes are sent, then a shutdown of both
 * directions, which the guest answers by a reset.  Or the guest shuts both directions
 * down: it gets the reset, and the user hears when it has taken everything.  A stream is
 * freed when it is dead, has no user, and nothing is pending. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "virtio/vsock/private.h"

#define BOTH    (VIRTIO_VSOCK_SHUTDOWN_RECEIVE | VIRTIO_VSOCK_SHUTDOWN_SEND)
#define BIT(op) (UINT32_C(1) << (op))
#define TELL_BYTES                                                                       \
    (VIRTIO_VSOCK_BYTES / 4) /* taken and not told: then the guest is told */

/* ---- pipes ---- */

/* Bytes of the pipe that lie together, from the first on. */
static uint32_t flat(const struct vsock_pipe *p)
{
    uint32_t to_end = VIRTIO_VSOCK_BYTES - p->at;

    return p->count < to_end ? p->count : to_end;
}

static void drop(struct vsock_pipe *p, uint32_t n)
{
    p->at = (p->at + n) % VIRTIO_VSOCK_BYTES;
    p->count -= n;
}

static uint32_t put(struct vsock_pipe *p, const uint8_t *bytes, uint32_t n)
{
    uint32_t end = (p->at + p->count) % VIRTIO_VSOCK_BYTES;
    uint32_t room = VIRTIO_VSOCK_BYTES - p->count;
    uint32_t first;

    n = n < room ? n : room;
    first = n < VIRTIO_VSOCK_BYTES - end ? n : VIRTIO_VSOCK_BYTES - end;
    memcpy(p->bytes + end, bytes, first);
    memcpy(p->bytes, bytes + first, n - first);
    p->count += n;
    return n;
}

static uint32_t get(struct vsock_pipe *p, uint8_t *to, uint32_t n)
{
    uint32_t done = 0;

    while (done < n && p->count > 0) {
        uint32_t part = flat(p);

        part = part < n - done ? part : n - done;
        memcpy(to + done, p->bytes + p->at, part);
        drop(p, part);
        done += part;
    }
    return done;
}

/* ---- life ---- */

static void die(struct vsock_stream *s, int why, uint32_t pending)
{
    s->state = VSOCK_DEAD;
    s->why = why;
    s->pending = pending;
    s->out.count = 0;
    if (pending != 0) {
        vsock_wants_to_send(s->device);
    }
}

/* One that waits for nothing but the guest makes room for another. */
void vsock_streams_make_room(struct vsock *v)
{
    struct vsock_stream *old = NULL;

    vsock_streams_sweep(v);
    for (struct vsock_stream *s = v->streams; s != NULL; s = s->next) {
        old = s->state == VSOCK_CLOSING && s->out.count == 0 ? s : old;
    }
    if (v->count == VIRTIO_VSOCK_STREAMS_MOST && old != NULL) {
        die(old, 0, 0);
        vsock_streams_sweep(v);
    }
}

int vsock_stream_make(struct vsock *v, uint32_t port, uint32_t peer_port,
                      struct vsock_stream **ret)
{
    struct vsock_stream *s;

    if (v->count >= VIRTIO_VSOCK_STREAMS_MOST) {
        return -EMFILE;
    }
    s = fault_malloc(sizeof *s); /* pipes are touched when they are used */
    if (s == NULL) {
        return -ENOMEM;
    }
    memset(s, 0, offsetof(struct vsock_stream, in));
    s->in.at = 0;
    s->in.count = 0;
    s->out.at = 0;
    s->out.count = 0;
    s->device = v;
    s->port = port;
    s->peer_port = peer_port;
    s->next = v->streams;
    v->streams = s;
    v->count++;
    *ret = s;
    return 0;
}

struct vsock_stream *vsock_stream_find(struct vsock *v, uint32_t port, uint32_t peer_port)
{
    struct vsock_stream *s = v->streams;

    while (s != NULL &&
           (s->port != port || s->peer_port != peer_port || s->state == VSOCK_DEAD)) {
        s = s->next;
    }
    return s;
}

void vsock_streams_sweep(struct vsock *v)
{
    for (struct vsock_stream **at = &v->streams; *at != NULL;) {
        struct vsock_stream *s = *at;

        if (s->state == VSOCK_DEAD && s->user == NULL && s->pending == 0) {
            *at = s->next;
            free(s);
            v->count--;
        } else {
            at = &s->next;
        }
    }
}

/* The user hears of the end, once all that came was taken. */
static void tell_gone(struct vsock_stream *s)
{
    const struct vsock_user *user = s->user;
    void *who = s->who;

    if (user != NULL && s->state == VSOCK_DEAD && (s->in.count == 0 || s->why != 0)) {
        s->user = NULL;
        s->who = NULL;
        user->gone(who, s->why);
    }
}

void vsock_streams_drop(struct vsock *v, int why)
{
    for (struct vsock_stream *s = v->streams; s != NULL; s = s->next) {
        die(s, why, 0);
    }
    for (struct vsock_stream *s = v->streams; s != NULL; s = s->next) {
        tell_gone(s);
    }
    vsock_streams_sweep(v);
}

/* ---- from the guest ---- */

static uint32_t hand_over(struct vsock_stream *s, const uint8_t *bytes, uint32_t n)
{
    uint32_t took = n;

    if (s->user != NULL) {
        s->is_delivering = true;
        took = s->user->received(s->who, bytes, n);
        s->is_delivering = false;
    }
    s->taken += took;
    if (s->taken - s->told >= TELL_BYTES && s->state != VSOCK_DEAD) {
        s->pending |= BIT(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
        vsock_wants_to_send(s->device);
    }
    return took;
}

/* What waits goes to the user, then the news of the end. */
static void deliver(struct vsock_stream *s)
{
    if (s->is_delivering) {
        return; /* the user's call inside ours */
    }
    while (s->in.count > 0 && (s->state != VSOCK_DEAD || s->why == 0)) {
        uint32_t n = flat(&s->in);
        uint32_t took = hand_over(s, s->in.bytes + s->in.at, n);

        drop(&s->in, took);
        if (took < n) {
            return;
        }
    }
    if ((s->peer_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0 && !s->is_finished &&
        s->user != NULL) {
        s->is_finished = true;
        s->user->finished(s->who);
    }
    tell_gone(s);
}

static void data_came(struct vsock_stream *s, uint32_t n)
{
    const uint8_t *bytes = s->device->room;
    uint32_t took = 0;

    if (n > VIRTIO_VSOCK_BYTES - (s->came - s->taken) ||
        (s->peer_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0) {
        die(s, -ECONNRESET, BIT(VIRTIO_VSOCK_OP_RST)); /* more than it may */
        tell_gone(s);
        return;
    }
    s->came += n;
    if (s->in.count == 0) {
        took = hand_over(s, bytes, n);
    }
    (void)put(&s->in, bytes + took, n - took);
    if (s->user == NULL) {
        deliver(s); /* it has left meanwhile */
    }
}

static void guest_shuts(struct vsock_stream *s, uint32_t flags)
{
    s->peer_shut |= flags & BOTH;
    if ((s->peer_shut & VIRTIO_VSOCK_SHUTDOWN_RECEIVE) != 0) {
        s->out.count = 0;
    }
    if (s->peer_shut == BOTH) {
        die(s, 0, BIT(VIRTIO_VSOCK_OP_RST));
    }
    deliver(s);
}

/* Credit and room of the guest come with each packet: 5.10.6.3. */
static void note_credit(struct vsock_stream *s, const struct virtio_vsock_header *h)
{
    s->peer_room = h->buf_alloc;
    s->peer_taken = h->fwd_cnt;
    s->asked_credit = false;
    if (s->out.count > 0) {
        vsock_wants_to_send(s->device);
    }
}

static void answered(struct vsock_stream *s)
{
    if (s->state != VSOCK_ASKED) {
        die(s, -ECONNRESET, BIT(VIRTIO_VSOCK_OP_RST));
        tell_gone(s);
        return;
    }
    s->state = VSOCK_OPEN;
    if (s->user->connected != NULL) {
        s->user->connected(s->who);
    }
}

void vsock_stream_packet(struct vsock_stream *s, const struct virtio_vsock_header *h)
{
    note_credit(s, h);
    if (h->op == VIRTIO_VSOCK_OP_RST) {
        die(s, s->state == VSOCK_ASKED ? -ECONNREFUSED : -ECONNRESET, 0);
        tell_gone(s);
    } else if (h->op == VIRTIO_VSOCK_OP_RESPONSE) {
        answered(s);
    } else if (s->state == VSOCK_ASKED || h->op == VIRTIO_VSOCK_OP_REQUEST ||
               h->op == VIRTIO_VSOCK_OP_INVALID || h->op >= VIRTIO_VSOCK_OP_COUNT) {
        die(s, -ECONNRESET, BIT(VIRTIO_VSOCK_OP_RST));
        tell_gone(s);
    } else if (h->op == VIRTIO_VSOCK_OP_SHUTDOWN) {
        guest_shuts(s, h->flags);
    } else if (h->op == VIRTIO_VSOCK_OP_RW) {
        data_came(s, h->len);
    } else if (h->op == VIRTIO_VSOCK_OP_CREDIT_REQUEST) {
        s->pending |= BIT(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
        vsock_wants_to_send(s->device);
    }
}

/* ---- to the guest ---- */

static uint32_t credit(const struct vsock_stream *s)
{
    uint32_t under_way = s->sent - s->peer_taken;

    return under_way < s->peer_room ? s->peer_room - under_way : 0;
}

static void make_header(struct vsock_stream *s, uint16_t op, uint32_t bytes,
                        struct virtio_vsock_header *ret)
{
    *ret = (struct virtio_vsock_header){.src_cid = VIRTIO_VSOCK_CID_HOST,
                                        .dst_cid = s->device->o.cid,
                                        .src_port = s->port,
                                        .dst_port = s->peer_port,
                                        .len = bytes,
                                        .type = VIRTIO_VSOCK_TYPE_STREAM,
                                        .op = op,
                                        .buf_alloc = VIRTIO_VSOCK_BYTES,
                                        .fwd_cnt = s->taken};
    s->told = s->taken;
    s->pending &= ~(BIT(op) | BIT(VIRTIO_VSOCK_OP_CREDIT_UPDATE));
    if (op == VIRTIO_VSOCK_OP_SHUTDOWN) {
        ret->flags = s->shut;
    }
}

static bool next_data(struct vsock_stream *s, uint32_t most,
                      struct virtio_vsock_header *ret)
{
    uint32_t n = credit(s);

    n = n < most ? n : most;
    n = get(&s->out, s->device->room, n);
    if (n == 0) {
        return false;
    }
    make_header(s, VIRTIO_VSOCK_OP_RW, n, ret);
    s->sent += n;
    return true;
}

/* The user has said its last, and it is sent: the guest is told. */
static void end_sending(struct vsock_stream *s)
{
    uint32_t shut = s->state == VSOCK_CLOSING ? BOTH
                    : s->ends                 ? VIRTIO_VSOCK_SHUTDOWN_SEND
                                              : 0;

    if (s->out.count == 0 && (shut & ~s->shut) != 0 && s->state != VSOCK_ASKED &&
        s->state != VSOCK_DEAD) {
        s->shut |= shut;
        s->pending |= BIT(VIRTIO_VSOCK_OP_SHUTDOWN);
    }
}

bool vsock_stream_next(struct vsock_stream *s, uint32_t most,
                       struct virtio_vsock_header *ret)
{
    static const uint16_t order[] = {VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_OP_REQUEST,
                                     VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_SHUTDOWN,
                                     VIRTIO_VSOCK_OP_CREDIT_REQUEST};

    end_sending(s);
    for (unsigned i = 0; i < sizeof order / sizeof order[0]; i++) {
        if ((s->pending & BIT(order[i])) != 0) {
            make_header(s, order[i], 0, ret);
            return true;
        }
    }
    if (s->state != VSOCK_ASKED && next_data(s, most, ret)) {
        return true;
    }
    if ((s->pending & BIT(VIRTIO_VSOCK_OP_CREDIT_UPDATE)) != 0) {
        make_header(s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, ret);
        return true;
    }
    if (s->out.count > 0 && s->state != VSOCK_ASKED && !s->asked_credit) {
        s->asked_credit = true;
        make_header(s, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, ret);
        return true;
    }
    return false;
}

/* ---- the user's calls ---- */

uint32_t virtio_vsock_room(const struct vsock_stream *s)
{
    return s->state == VSOCK_OPEN || s->state == VSOCK_ASKED
               ? VIRTIO_VSOCK_BYTES - s->out.count
               : 0;
}

uint32_t virtio_vsock_send(struct vsock_stream *s, const void *bytes, uint32_t n)
{
    uint32_t took = n;

    if (s->ends || (s->state != VSOCK_OPEN && s->state != VSOCK_ASKED) ||
        (s->peer_shut & VIRTIO_VSOCK_SHUTDOWN_RECEIVE) != 0) {
        return n; /* nobody will read it */
    }
    took = put(&s->out, bytes, n);
    s->is_full = s->out.count == VIRTIO_VSOCK_BYTES;
    vsock_wants_to_send(s->device);
    return took;
}

void virtio_vsock_more(struct vsock_stream *s)
{
    deliver(s);
}

void virtio_vsock_shutdown(struct vsock_stream *s)
{
    s->ends = true;
    vsock_wants_to_send(s->device);
}

void virtio_vsock_close(struct vsock_stream *s)
{
    s->user = NULL;
    s->who = NULL;
    deliver(s); /* to nobody */
    if (s->state == VSOCK_ASKED) {
        die(s, 0, BIT(VIRTIO_VSOCK_OP_RST));
    } else if (s->state == VSOCK_OPEN) {
        s->state = VSOCK_CLOSING;
    }
    vsock_wants_to_send(s->device);
}
