/* vsock.c - the virtio socket device: its queues and its life. */
#include "virtio/vsock/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/snap.h"
#include "virtio/chain.h"
#include "virtio/vsock/private.h"

#define PACKETS_A_TURN 64
#define HEADER_BYTES   sizeof(struct virtio_vsock_header)
#define PORTS_FIRST    UINT32_C(0x40000000) /* that the host's end gets by itself */

_Static_assert(HEADER_BYTES == 44, "VIRTIO 5.10.6");

#define F_STREAM ((uint64_t)1 << 0) /* VIRTIO 1.2, 5.10.3 */

static uint64_t features(const struct virtio_device *d)
{
    (void)d;
    return VIRTQ_FEATURES | F_STREAM;
}

static uint16_t queue_size(const struct virtio_device *d, unsigned i)
{
    (void)d;
    return i < VIRTIO_VSOCK_EVENTS    ? VSOCK_QUEUE_SIZE
           : i == VIRTIO_VSOCK_EVENTS ? VSOCK_EVENT_SIZE
                                      : 0;
}

static void config_read(const struct virtio_device *d, uint32_t off, void *to,
                        uint32_t bytes)
{
    uint64_t cid = ((const struct vsock *)d)->o.cid;

    virtio_config_copy(&cid, sizeof cid, off, to, bytes);
}

void vsock_wants_to_send(struct vsock *v)
{
    virtio_work_again(&v->work, VIRTIO_VSOCK_RECEIVE);
}

/* ---- to the guest ---- */

static void next_stray(struct vsock *v, struct virtio_vsock_header *ret)
{
    const struct vsock_stray *x = &v->stray[0];

    *ret = (struct virtio_vsock_header){.src_cid = VIRTIO_VSOCK_CID_HOST,
                                        .dst_cid = v->o.cid,
                                        .src_port = x->port,
                                        .dst_port = x->peer_port,
                                        .type = VIRTIO_VSOCK_TYPE_STREAM,
                                        .op = VIRTIO_VSOCK_OP_RST};
    v->strays--;
    memmove(v->stray, v->stray + 1, v->strays * sizeof v->stray[0]);
}

/* Streams are served in turn: one that has sent goes behind the others. */
static void to_the_end(struct vsock *v, struct vsock_stream *s)
{
    struct vsock_stream **at = &v->streams;

    while (*at != s) {
        at = &(*at)->next;
    }
    *at = s->next;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = s;
    s->next = NULL;
}

/* The next packet for the guest; its stream, or NULL: it has none. */
static bool next_packet(struct vsock *v, uint32_t most, struct virtio_vsock_header *ret,
                        struct vsock_stream **ret_stream)
{
    struct vsock_stream *s = v->streams;

    *ret_stream = NULL;
    if (v->strays > 0) {
        next_stray(v, ret);
        return true;
    }
    while (s != NULL && !vsock_stream_next(s, most, ret)) {
        s = s->next;
    }
    *ret_stream = s;
    return s != NULL;
}

static void tell_room(struct vsock_stream *s)
{
    if (s->is_full && s->user != NULL && virtio_vsock_room(s) > 0) {
        s->is_full = false;
        if (s->user->writable != NULL) {
            s->user->writable(s->who);
        }
    }
}

/* Put one packet into a chain that was taken; false: there is none. */
static bool send_one(struct vsock *v)
{
    struct virtq *q = &v->q[VIRTIO_VSOCK_RECEIVE];
    struct virtio_vsock_header h;
    struct vsock_stream *s;
    uint64_t most = v->chain.write_bytes - HEADER_BYTES;

    most = most < sizeof v->room ? most : sizeof v->room;
    if (!next_packet(v, (uint32_t)most, &h, &s)) {
        virtq_put_back(q, &v->chain);
        return false;
    }
    (void)virtio_chain_write(q, &v->chain, 0, &h, HEADER_BYTES);
    (void)virtio_chain_write(q, &v->chain, HEADER_BYTES, v->room, h.len);
    virtq_give(q, &v->chain, (uint32_t)HEADER_BYTES + h.len);
    if (s != NULL) {
        to_the_end(v, s);
        tell_room(s);
    }
    return true;
}

static void send_packets(struct vsock *v)
{
    bool was_full = v->strays == VSOCK_STRAYS_MOST;
    unsigned n = 0;

    virtio_work_hush(&v->work, VIRTIO_VSOCK_RECEIVE);
    while (n < PACKETS_A_TURN) {
        if (virtio_work_take(&v->work, VIRTIO_VSOCK_RECEIVE, &v->chain) == 0) {
            virtio_work_listen(&v->work, VIRTIO_VSOCK_RECEIVE);
            break;
        }
        if (v->chain.write_bytes < HEADER_BYTES) {
            virtio_work_break(&v->work, VIRTIO_VSOCK_RECEIVE);
            break;
        }
        if (!send_one(v)) {
            break;
        }
        n++;
    }
    virtio_work_show(&v->work, VIRTIO_VSOCK_RECEIVE);
    if (n == PACKETS_A_TURN) {
        virtio_work_again(&v->work, VIRTIO_VSOCK_RECEIVE);
    }
    if (was_full && v->strays < VSOCK_STRAYS_MOST) {
        virtio_work_again(&v->work, VIRTIO_VSOCK_TRANSMIT);
    }
    vsock_streams_sweep(v);
}

/* ---- from the guest ---- */

static void refuse(struct vsock *v, const struct virtio_vsock_header *h)
{
    if (h->op != VIRTIO_VSOCK_OP_RST && v->strays < VSOCK_STRAYS_MOST) {
        v->stray[v->strays++] = (struct vsock_stray){h->dst_port, h->src_port};
    }
}

/* The guest asks for a connection. */
static void request(struct vsock *v, const struct virtio_vsock_header *h)
{
    const struct vsock_user *user = NULL;
    void *who = NULL;
    struct vsock_stream *s;

    vsock_streams_make_room(v);
    if (v->o.accept == NULL || vsock_stream_make(v, h->dst_port, h->src_port, &s) != 0) {
        refuse(v, h);
        return;
    }
    s->state = VSOCK_OPEN;
    s->peer_room = h->buf_alloc;
    s->peer_taken = h->fwd_cnt;
    if (v->o.accept(v->o.who, h->dst_port, s, &user, &who) != 0) {
        s->state = VSOCK_DEAD;
        s->pending = UINT32_C(1) << VIRTIO_VSOCK_OP_RST;
        return;
    }
    s->user = user;
    s->who = who;
    s->pending |= UINT32_C(1) << VIRTIO_VSOCK_OP_RESPONSE;
}

static void packet(struct vsock *v, const struct virtio_vsock_header *h)
{
    struct vsock_stream *s;

    if (h->src_cid != v->o.cid) {
        return; /* a guest speaks for itself only: 5.10.6.4.1 */
    }
    if (h->dst_cid != VIRTIO_VSOCK_CID_HOST || h->type != VIRTIO_VSOCK_TYPE_STREAM) {
        refuse(v, h);
        return;
    }
    s = vsock_stream_find(v, h->dst_port, h->src_port);
    if (s != NULL) {
        vsock_stream_packet(s, h);
    } else if (h->op == VIRTIO_VSOCK_OP_REQUEST) {
        request(v, h);
    } else {
        refuse(v, h);
    }
}

/* -EPROTO: there is no packet in it. */
static int receive_one(struct vsock *v)
{
    struct virtq *q = &v->q[VIRTIO_VSOCK_TRANSMIT];
    struct virtio_vsock_header h;
    uint64_t have;

    if (virtio_chain_read(&v->chain, 0, &h, sizeof h) != sizeof h) {
        return -EPROTO;
    }
    if (h.op == VIRTIO_VSOCK_OP_RW) {
        have = h.len <= sizeof v->room
                   ? virtio_chain_read(&v->chain, sizeof h, v->room, h.len)
                   : 0;
        if (have != h.len) {
            return -EPROTO;
        }
    }
    virtq_give(q, &v->chain, 0);
    packet(v, &h);
    return 0;
}

static void receive_packets(struct vsock *v)
{
    unsigned n = 0;

    virtio_work_hush(&v->work, VIRTIO_VSOCK_TRANSMIT);
    while (n < PACKETS_A_TURN && v->strays < VSOCK_STRAYS_MOST &&
           virtio_work_take(&v->work, VIRTIO_VSOCK_TRANSMIT, &v->chain) == 1) {
        if (receive_one(v) != 0) {
            virtio_work_break(&v->work, VIRTIO_VSOCK_TRANSMIT);
            break;
        }
        n++;
    }
    virtio_work_show(&v->work, VIRTIO_VSOCK_TRANSMIT);
    if (n == PACKETS_A_TURN) {
        virtio_work_again(&v->work, VIRTIO_VSOCK_TRANSMIT);
    } else if (v->strays < VSOCK_STRAYS_MOST) {
        virtio_work_listen(&v->work, VIRTIO_VSOCK_TRANSMIT);
    }
    send_packets(v);
}

static void tell_events(struct vsock *v)
{
    const uint32_t id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET;
    struct virtq *q = &v->q[VIRTIO_VSOCK_EVENTS];

    if (!v->tells_reset) {
        return;
    }
    if (virtio_work_take(&v->work, VIRTIO_VSOCK_EVENTS, &v->chain) == 0) {
        virtio_work_listen(&v->work, VIRTIO_VSOCK_EVENTS);
        return;
    }
    (void)virtio_chain_write(q, &v->chain, 0, &id, sizeof id);
    virtq_give(q, &v->chain, sizeof id);
    v->tells_reset = false;
    virtio_work_show(&v->work, VIRTIO_VSOCK_EVENTS);
}

/* ---- life ---- */

static void kicked(struct virtio_device *d, unsigned i)
{
    struct vsock *v = (struct vsock *)d;

    if (!v->work.is_on) {
        return;
    }
    if (i == VIRTIO_VSOCK_RECEIVE) {
        send_packets(v);
    } else if (i == VIRTIO_VSOCK_TRANSMIT) {
        receive_packets(v);
    } else if (i == VIRTIO_VSOCK_EVENTS) {
        tell_events(v);
    }
}

static int start(struct virtio_device *d, uint64_t negotiated,
                 const struct virtq_setup queues[], unsigned count)
{
    struct vsock *v = (struct vsock *)d;
    int r = virtio_work_start(&v->work, negotiated, queues, count);

    if (r == 0) {
        tell_events(v);
        receive_packets(v);
    }
    return r;
}

static void stop(struct virtio_device *d)
{
    virtio_work_stop(&((struct vsock *)d)->work);
}

static uint32_t base(const struct virtio_device *d, unsigned i)
{
    return virtio_work_base(&((const struct vsock *)d)->work, i);
}

static void reset(struct virtio_device *d)
{
    struct vsock *v = (struct vsock *)d;

    v->strays = 0;
    v->tells_reset = false;
    vsock_streams_drop(v, -ECONNRESET);
}

/* Streams end at this host: a guest that goes on elsewhere is told so. */
static void carry(struct virtio_device *d, struct snap *s)
{
    struct vsock *v = (struct vsock *)d;

    (void)snap_begin(s, "virtio-vsock", 1);
    snap_end(s);
    if (s->is_loading) {
        v->strays = 0;
        v->tells_reset = true;
        vsock_streams_drop(v, -ECONNRESET);
    }
}

static void destroy(struct virtio_device *d)
{
    struct vsock *v = (struct vsock *)d;

    virtio_work_fini(&v->work);
    v->work.is_on = false;
    vsock_streams_drop(v, -ECONNRESET);
    free(v);
}

static const struct virtio_device_ops virtio_vsock_ops = {
    .name = "vsock",
    .id = VIRTIO_VSOCK_ID,
    .pci_class = VIRTIO_VSOCK_CLASS,
    .features = features,
    .queue_size = queue_size,
    .config_read = config_read,
    .start = start,
    .kicked = kicked,
    .stop = stop,
    .reset = reset,
    .base = base,
    .carry = carry,
    .destroy = destroy,
};

int virtio_vsock_create(const struct virtio_vsock_options *o, struct virtio_device **ret,
                        struct err *e)
{
    struct vsock *v;

    if (o->cid < VIRTIO_VSOCK_CID_LEAST || o->cid == UINT32_MAX) {
        return err_set(e, -EINVAL, "a guest cannot be number %u: 3 to 4294967294",
                       o->cid);
    }
    v = fault_calloc(1, sizeof *v);
    if (v == NULL) {
        return err_set(e, -ENOMEM, "cannot make a socket device: out of memory");
    }
    v->device.ops = &virtio_vsock_ops;
    v->o = *o;
    v->next_port = PORTS_FIRST;
    virtio_work_init(&v->work, &v->device, o->loop, v->q, VIRTIO_VSOCK_QUEUES);
    *ret = &v->device;
    return 0;
}

int virtio_vsock_connect(struct virtio_device *d, uint32_t port,
                         const struct vsock_user *user, void *who,
                         struct vsock_stream **ret)
{
    struct vsock *v = (struct vsock *)d;
    struct vsock_stream *s;
    int r;

    if (!v->work.is_on) {
        return -ENOTCONN;
    }
    do {
        v->next_port = v->next_port == UINT32_MAX ? PORTS_FIRST : v->next_port + 1;
    } while (vsock_stream_find(v, v->next_port, port) != NULL);
    r = vsock_stream_make(v, v->next_port, port, &s);
    if (r != 0) {
        return r;
    }
    s->user = user;
    s->who = who;
    s->pending = UINT32_C(1) << VIRTIO_VSOCK_OP_REQUEST;
    vsock_wants_to_send(v);
    *ret = s;
    return 0;
}
