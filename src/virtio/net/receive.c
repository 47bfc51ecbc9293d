/* receive.c - frames of the network into the guest's buffers.
 *
 * A frame goes into as many buffers as it needs where that was negotiated
 * (VIRTIO_NET_F_MRG_RXBUF), else into one.  Buffers are taken while the frame is copied;
 * when there are too few of them, they are put back in the order of a stack, and the
 * frame waits at the nic until the guest kicks.  The kick is asked for behind the last
 * buffer taken, before any is put back: one that is already there will not bring it. */
#include <stddef.h>
#include <string.h>

#include "virtio/chain.h"
#include "virtio/net/private.h"

#define HEADER_BYTES sizeof(struct virtio_net_header)

_Static_assert(HEADER_BYTES == 12, "VIRTIO 5.1.6");

enum fill {
    FILLED,
    NO_BUFFERS,
    TOO_LARGE,
    BROKEN
};

static bool merges(const struct net *n)
{
    return (n->work.features & VIRTIO_NET_F_MRG_RXBUF) != 0;
}

/* Where a copy stands in a list of pieces. */
struct place {
    const struct iovec *iov;
    size_t skip;
};

/* Copy the next bytes of the frame to a buffer from its byte `off` on; how many. */
static uint32_t copy_part(struct net *n, const struct virtq_chain *c, uint64_t off,
                          struct place *from, uint64_t left)
{
    uint64_t done = 0;

    while (done < left) {
        size_t piece = from->iov->iov_len - from->skip;
        uint64_t want = piece < left - done ? piece : left - done;
        uint64_t got =
            virtio_chain_write(&n->q[VIRTIO_NET_RECEIVE], c, off + done,
                               (const char *)from->iov->iov_base + from->skip, want);

        done += got;
        from->skip += (size_t)got;
        if (got < want) {
            break; /* the buffer is full */
        }
        if (from->skip == from->iov->iov_len) {
            from->iov++;
            from->skip = 0;
        }
    }
    return (uint32_t)done;
}

static void put_back(struct net *n, unsigned chains)
{
    while (chains > 0) {
        const struct net_mark *k = &n->mark[--chains];

        n->other.id = k->id;
        n->other.slots = k->slots;
        virtq_put_back(&n->q[VIRTIO_NET_RECEIVE], &n->other);
    }
}

static void give(struct net *n, unsigned chains)
{
    n->other.token = 0;
    n->other.writes = 1;
    for (unsigned i = 0; i < chains; i++) {
        n->other.id = n->mark[i].id;
        n->other.slots = n->mark[i].slots;
        virtq_give(&n->q[VIRTIO_NET_RECEIVE], &n->other, n->mark[i].bytes);
    }
}

/* Take the next buffer, asking for a kick when there is none. */
static int take(struct net *n, struct virtq_chain *c)
{
    struct virtq *q = &n->q[VIRTIO_NET_RECEIVE];

    for (;;) {
        if (virtio_work_take(&n->work, VIRTIO_NET_RECEIVE, c) == 1) {
            return 1;
        }
        if (q->s.size == 0 || q->broken || !virtq_listen(q)) {
            return 0;
        }
    }
}

static void write_header(struct net *n, const struct nic_frame *f, unsigned chains)
{
    struct virtio_net_header h = {.buffers = (uint16_t)chains};

    if (n->accepts != 0) {
        h.flags = f->offload.flags;
        h.gso_type = f->offload.gso_type;
        h.header_bytes = f->offload.header_bytes;
        h.gso_bytes = f->offload.gso_bytes;
        h.checksum_start = f->offload.checksum_start;
        h.checksum_offset = f->offload.checksum_offset;
    }
    (void)virtio_chain_write(&n->q[VIRTIO_NET_RECEIVE], &n->first, 0, &h, sizeof h);
}

/* Copy a frame; its buffers are taken, and neither given nor put back. */
static enum fill copy_frame(struct net *n, const struct nic_frame *f,
                            unsigned *ret_chains)
{
    struct place from = {.iov = f->iov};
    uint64_t left = f->bytes;
    unsigned k = 0;

    *ret_chains = 0;
    do {
        struct virtq_chain *c = k == 0 ? &n->first : &n->other;
        uint64_t off = k == 0 ? HEADER_BYTES : 0;
        uint32_t part;

        if (k == NET_CHAINS_MOST || (k > 0 && !merges(n))) {
            return TOO_LARGE;
        }
        if (take(n, c) == 0) {
            return n->q[VIRTIO_NET_RECEIVE].broken ? BROKEN : NO_BUFFERS;
        }
        n->mark[k++] = (struct net_mark){c->id, c->slots, 0};
        *ret_chains = k;
        if (c->write_bytes < off + 1) {
            virtio_work_break(&n->work, VIRTIO_NET_RECEIVE); /* 5.1.6.3.1 */
            return BROKEN;
        }
        part = copy_part(n, c, off, &from, left);
        n->mark[k - 1].bytes = (uint32_t)off + part;
        left -= part;
    } while (left > 0);
    return FILLED;
}

static enum fill fill(struct net *n, const struct nic_frame *f)
{
    unsigned chains;
    enum fill r = copy_frame(n, f, &chains);

    if (r == FILLED) {
        write_header(n, f, chains);
        give(n, chains);
        n->counters.received++;
        n->counters.received_bytes += f->bytes;
    } else if (r != BROKEN) {
        put_back(n, chains);
    }
    return r;
}

/* The destination address, wherever it is cut. */
static bool passes(const struct net *n, const struct nic_frame *f)
{
    uint8_t to[NET_MAC_BYTES];
    size_t have = 0;

    if (f->bytes < NET_FRAME_LEAST) {
        return false;
    }
    for (unsigned i = 0; i < f->pieces && have < sizeof to; i++) {
        size_t part = f->iov[i].iov_len;

        part = part < sizeof to - have ? part : sizeof to - have;
        memcpy(to + have, f->iov[i].iov_base, part);
        have += part;
    }
    return vnet_filter_passes(n, to);
}

static bool one(struct net *n, const struct nic_frame *f)
{
    if (!vnet_is_up(n)) {
        n->counters.dropped++;
        return true;
    }
    if (!passes(n, f)) {
        n->counters.filtered++;
        return true;
    }
    switch (fill(n, f)) {
    case FILLED:
        return true;
    case NO_BUFFERS:
        return false;
    case TOO_LARGE:
    case BROKEN:
        n->counters.dropped++;
        return true;
    }
    return true;
}

unsigned vnet_received(struct nic *nic, const struct nic_frame *f, unsigned count)
{
    struct net *n = nic->who;
    unsigned done = 0;

    if (!n->work.is_on || n->q[VIRTIO_NET_RECEIVE].s.size == 0) {
        n->is_starved = n->is_held;
        n->counters.dropped += n->is_held ? 0 : count;
        return n->is_held ? 0 : count;
    }
    virtio_work_hush(&n->work, VIRTIO_NET_RECEIVE);
    while (done < count && one(n, &f[done])) {
        done++;
    }
    virtio_work_show(&n->work, VIRTIO_NET_RECEIVE);
    n->is_starved = done < count;
    return done;
}

void vnet_has_buffers(struct net *n)
{
    if (n->is_starved) {
        n->is_starved = false;
        n->nic->ops->more(n->nic);
    }
}
