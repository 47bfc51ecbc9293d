/* transmit.c - frames of the guest to the network.
 *
 * Frames are sent from where they lie in the guest's memory, many in one call, and given
 * back when the nic has taken them: it keeps nothing of theirs.  What it has no room for
 * goes back to the queue, which is left alone until there is room. */
#include <stddef.h>
#include <string.h>

#include "virtio/chain.h"
#include "virtio/net/private.h"

#define FRAMES_A_TURN 128
#define BYTES_A_TURN  (1u << 20)

_Static_assert(NIC_CHECKSUM == 1 && NIC_TSO4 == 2 && NIC_TSO6 == 4, "bits of `accepts`");

/* Which offload is asked for, and was negotiated: VIRTIO 1.2, 5.1.6.2. */
static bool gso_is_right(const struct net *n, const struct nic_offload *o, uint64_t bytes)
{
    unsigned kind = o->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
    uint64_t f = n->work.features;

    if (o->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
        return bytes <= (uint64_t)n->nic->mtu + 18;
    }
    if ((o->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 || o->gso_bytes == 0 ||
        (o->gso_type & VIRTIO_NET_HDR_GSO_ECN) != 0) { /* not offered */
        return false;
    }
    return (kind == VIRTIO_NET_HDR_GSO_TCPV4 && (f & VIRTIO_NET_F_HOST_TSO4) != 0) ||
           (kind == VIRTIO_NET_HDR_GSO_TCPV6 && (f & VIRTIO_NET_F_HOST_TSO6) != 0);
}

static bool is_right(const struct net *n, const struct nic_offload *o, uint64_t bytes)
{
    uint64_t end = (uint64_t)o->checksum_start + o->checksum_offset + 2;

    if (bytes < NET_FRAME_LEAST || bytes > NET_FRAME_MOST || !gso_is_right(n, o, bytes)) {
        return false;
    }
    return (o->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 ||
           ((n->work.features & VIRTIO_NET_F_CSUM) != 0 && end <= bytes);
}

/* A chain as a frame; false: it is none. */
static bool to_frame(const struct net *n, struct virtq_chain *c, struct nic_frame *ret)
{
    struct virtio_net_header h;
    unsigned first = 0;

    if (virtio_chain_read(c, 0, &h, sizeof h) != sizeof h) {
        return false;
    }
    virtio_chain_skip(c, sizeof h);
    while (first < c->reads && c->iov[first].iov_len == 0) {
        first++;
    }
    *ret = (struct nic_frame){.iov = c->iov + first,
                              .pieces = c->reads - first,
                              .bytes = (uint32_t)c->read_bytes,
                              .offload = {.flags = h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                          .gso_type = h.gso_type,
                                          .header_bytes = h.header_bytes,
                                          .gso_bytes = h.gso_bytes,
                                          .checksum_start = h.checksum_start,
                                          .checksum_offset = h.checksum_offset}};
    return is_right(n, &ret->offload, c->read_bytes);
}

/* Chains that were taken: frames, and ones that are none (`is_frame` has their bits). */
struct batch {
    unsigned chains;
    unsigned frames;
    uint32_t is_frame;
    uint64_t bytes;
};

static struct batch gather(struct net *n)
{
    struct batch b = {0};

    while (b.chains < NET_BATCH &&
           virtio_work_take(&n->work, VIRTIO_NET_TRANSMIT, &n->batch[b.chains]) == 1) {
        if (to_frame(n, &n->batch[b.chains], &n->frame[b.frames])) {
            b.bytes += n->frame[b.frames].bytes;
            b.is_frame |= UINT32_C(1) << b.chains;
            b.frames++;
        }
        b.chains++;
    }
    return b;
}

/* Give back what is done, `sent` frames and all nonsense before the next; put the rest
 * back. */
static void finish(struct net *n, const struct batch *b, unsigned sent)
{
    struct virtq *q = &n->q[VIRTIO_NET_TRANSMIT];
    unsigned done = 0;

    for (; done < b->chains; done++) {
        bool is_frame = (b->is_frame >> done & 1) != 0;

        if (is_frame && sent == 0) {
            break;
        }
        sent -= is_frame ? 1 : 0;
        n->counters.refused += is_frame ? 0 : 1;
        virtq_give(q, &n->batch[done], 0);
    }
    for (unsigned i = b->chains; i > done; i--) {
        virtq_put_back(q, &n->batch[i - 1]);
    }
}

static unsigned send_batch(struct net *n, const struct batch *b)
{
    unsigned sent = b->frames;

    if (!vnet_is_up(n)) {
        n->counters.dropped += b->frames;
        return sent;
    }
    if (sent > 0) {
        sent = n->nic->ops->send(n->nic, n->frame, b->frames);
    }
    for (unsigned i = 0; i < sent; i++) {
        n->counters.sent++;
        n->counters.sent_bytes += n->frame[i].bytes;
    }
    return sent;
}

void vnet_transmit(struct net *n)
{
    unsigned frames = 0;
    uint64_t bytes = 0;
    struct batch b;

    virtio_work_hush(&n->work, VIRTIO_NET_TRANSMIT);
    if (n->is_blocked) {
        return;
    }
    do {
        unsigned sent;

        b = gather(n);
        sent = send_batch(n, &b);
        n->is_blocked = sent < b.frames;
        finish(n, &b, sent);
        frames += b.chains;
        bytes += b.bytes;
    } while (b.chains > 0 && !n->is_blocked && frames < FRAMES_A_TURN &&
             bytes < BYTES_A_TURN);
    virtio_work_show(&n->work, VIRTIO_NET_TRANSMIT);
    if (b.chains == 0) {
        virtio_work_listen(&n->work, VIRTIO_NET_TRANSMIT);
    } else if (!n->is_blocked) {
        virtio_work_again(&n->work, VIRTIO_NET_TRANSMIT);
    }
}

void vnet_writable(struct nic *nic)
{
    struct net *n = nic->who;

    if (n->is_blocked) {
        n->is_blocked = false;
        virtio_work_again(&n->work, VIRTIO_NET_TRANSMIT);
    }
}
