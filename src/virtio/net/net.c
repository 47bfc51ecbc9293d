/* net.c - the virtio network device: what it offers, and its life. */
#include "virtio/net/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/snap.h"
#include "virtio/net/private.h"

_Static_assert(sizeof(struct virtio_net_config) == 12, "VIRTIO 5.1.4");

/* ---- what it says of itself ---- */

static uint64_t features(const struct virtio_device *d)
{
    const struct net *n = (const struct net *)d;
    uint64_t f = VIRTQ_FEATURES | VIRTIO_NET_F_MTU | VIRTIO_NET_F_MAC |
                 VIRTIO_NET_F_MRG_RXBUF | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_CTRL_VQ |
                 VIRTIO_NET_F_CTRL_RX | VIRTIO_NET_F_CTRL_RX_EXTRA |
                 VIRTIO_NET_F_CTRL_MAC_ADDR | VIRTIO_NET_F_GUEST_ANNOUNCE;

    if ((n->nic->offers & NIC_CHECKSUM) == 0) {
        return f;
    }
    f |= VIRTIO_NET_F_CSUM | VIRTIO_NET_F_GUEST_CSUM;
    if ((n->nic->offers & NIC_TSO4) != 0) {
        f |= VIRTIO_NET_F_HOST_TSO4 | VIRTIO_NET_F_GUEST_TSO4;
    }
    if ((n->nic->offers & NIC_TSO6) != 0) {
        f |= VIRTIO_NET_F_HOST_TSO6 | VIRTIO_NET_F_GUEST_TSO6;
    }
    return f;
}

static uint16_t queue_size(const struct virtio_device *d, unsigned i)
{
    (void)d;
    return i < VIRTIO_NET_CONTROL    ? NET_QUEUE_SIZE
           : i == VIRTIO_NET_CONTROL ? NET_CONTROL_SIZE
                                     : 0;
}

void vnet_get_mac(const struct net *n, uint8_t ret[NET_MAC_BYTES])
{
    uint64_t mac = atomic_load(&n->mac);

    for (unsigned i = 0; i < NET_MAC_BYTES; i++) {
        ret[i] = (uint8_t)(mac >> 8 * i);
    }
}

void vnet_set_mac(struct net *n, const uint8_t mac[NET_MAC_BYTES])
{
    uint64_t word = 0;

    for (unsigned i = 0; i < NET_MAC_BYTES; i++) {
        word |= (uint64_t)mac[i] << 8 * i;
    }
    atomic_store(&n->mac, word);
}

static void config_read(const struct virtio_device *d, uint32_t off, void *to,
                        uint32_t bytes)
{
    const struct net *n = (const struct net *)d;
    struct virtio_net_config c = {
        .status = atomic_load(&n->status), .pairs = 1, .mtu = n->nic->mtu};

    vnet_get_mac(n, c.mac);
    virtio_config_copy(&c, sizeof c, off, to, bytes);
}

/* ---- its life ---- */

/* What frames may leave undone on their way to the guest: VIRTIO 1.2, 5.1.3.1. */
static unsigned guest_accepts(uint64_t f)
{
    unsigned offers = NIC_CHECKSUM;

    if ((f & VIRTIO_NET_F_GUEST_CSUM) == 0) {
        return 0;
    }
    offers |= (f & VIRTIO_NET_F_GUEST_TSO4) != 0 ? NIC_TSO4 : 0u;
    return offers | ((f & VIRTIO_NET_F_GUEST_TSO6) != 0 ? NIC_TSO6 : 0u);
}

static void kicked(struct virtio_device *d, unsigned i)
{
    struct net *n = (struct net *)d;

    if (!n->work.is_on) {
        return;
    }
    if (i == VIRTIO_NET_RECEIVE) {
        vnet_has_buffers(n);
    } else if (i == VIRTIO_NET_TRANSMIT) {
        vnet_transmit(n);
    } else if (i == VIRTIO_NET_CONTROL) {
        vnet_control(n);
    }
}

static int start(struct virtio_device *d, uint64_t negotiated,
                 const struct virtq_setup queues[], unsigned count)
{
    struct net *n = (struct net *)d;
    int r = virtio_work_start(&n->work, negotiated, queues, count);

    if (r != 0) {
        return r;
    }
    n->is_held = false;
    n->is_blocked = false;
    n->accepts = guest_accepts(negotiated);
    if (n->nic->ops->accept != NULL) {
        n->nic->ops->accept(n->nic, n->accepts);
    }
    if ((atomic_load(&n->status) & VIRTIO_NET_S_ANNOUNCE) != 0) {
        virtio_work_config(&n->work);
    }
    vnet_control(n);
    vnet_transmit(n);
    vnet_has_buffers(n);
    return 0;
}

static void stop(struct virtio_device *d)
{
    struct net *n = (struct net *)d;

    n->is_held = true;
    virtio_work_stop(&n->work);
}

static uint32_t base(const struct virtio_device *d, unsigned i)
{
    return virtio_work_base(&((const struct net *)d)->work, i);
}

static void reset(struct virtio_device *d)
{
    struct net *n = (struct net *)d;

    n->is_held = false;
    vnet_set_mac(n, n->first_mac);
    vnet_filter_reset(&n->filter);
    (void)atomic_fetch_and(&n->status, (uint16_t)~VIRTIO_NET_S_ANNOUNCE);
    vnet_has_buffers(n); /* what waited is dropped */
}

static void carry_table(struct snap *s, struct net_table *t)
{
    SNAP_FIELD(s, t->count);
    SNAP_FIELD(s, t->overflowed);
    SNAP_FIELD(s, t->mac);
    if (t->count > NET_ADDRESSES_MOST) {
        t->count = 0;
        snap_refuse(s);
    }
}

static void carry(struct virtio_device *d, struct snap *s)
{
    struct net *n = (struct net *)d;
    uint16_t status = atomic_load(&n->status);
    uint8_t mac[NET_MAC_BYTES];

    vnet_get_mac(n, mac);
    (void)snap_begin(s, "virtio-net", 1);
    SNAP_FIELD(s, mac);
    SNAP_FIELD(s, status);
    SNAP_FIELD(s, n->filter.mode);
    carry_table(s, &n->filter.unicast);
    carry_table(s, &n->filter.multicast);
    snap_end(s);
    if (s->is_loading && snap_error(s) == 0) {
        vnet_set_mac(n, mac);
        atomic_store(&n->status, status & (VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE));
    }
}

static void destroy(struct virtio_device *d)
{
    struct net *n = (struct net *)d;

    virtio_work_fini(&n->work);
    n->nic->received = NULL;
    n->nic->writable = NULL;
    free(n);
}

static const struct virtio_device_ops virtio_net_ops = {
    .name = "net",
    .id = VIRTIO_NET_ID,
    .pci_class = VIRTIO_NET_CLASS,
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

int virtio_net_create(const struct virtio_net_options *o, struct virtio_device **ret,
                      struct err *e)
{
    struct net *n = fault_calloc(1, sizeof *n);

    if (n == NULL) {
        return err_set(e, -ENOMEM, "cannot make a network device: out of memory");
    }
    n->device.ops = &virtio_net_ops;
    n->nic = o->nic;
    memcpy(n->first_mac, o->mac, sizeof n->first_mac);
    vnet_set_mac(n, o->mac);
    vnet_filter_reset(&n->filter);
    atomic_store(&n->status, VIRTIO_NET_S_LINK_UP);
    virtio_work_init(&n->work, &n->device, o->loop, n->q, VIRTIO_NET_QUEUES);
    n->nic->who = n;
    n->nic->writable = vnet_writable;
    n->nic->received = vnet_received;
    n->nic->ops->more(n->nic);
    *ret = &n->device;
    return 0;
}

void virtio_net_set_link(struct virtio_device *d, bool is_up)
{
    struct net *n = (struct net *)d;
    bool was_up = vnet_is_up(n);

    if (is_up == was_up) {
        return;
    }
    if (is_up) {
        (void)atomic_fetch_or(&n->status, VIRTIO_NET_S_LINK_UP);
    } else {
        (void)atomic_fetch_and(&n->status, (uint16_t)~VIRTIO_NET_S_LINK_UP);
    }
    virtio_work_config(&n->work);
    if (!is_up && n->is_blocked) {
        vnet_writable(n->nic); /* into nothing there is room */
    }
}

void virtio_net_announce(struct virtio_device *d)
{
    struct net *n = (struct net *)d;

    (void)atomic_fetch_or(&n->status, VIRTIO_NET_S_ANNOUNCE);
    virtio_work_config(&n->work);
}

void virtio_net_count(const struct virtio_device *d, struct virtio_net_counters *ret)
{
    *ret = ((const struct net *)d)->counters;
}
