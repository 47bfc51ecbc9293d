/* private.h - what the files of the network device share. */
#ifndef VIRTIO_NET_PRIVATE_H
#define VIRTIO_NET_PRIVATE_H

#include <stdatomic.h>

#include "contract/nic.h"
#include "virtio/net/net.h"
#include "virtio/net/numbers.h"
#include "virtio/work.h"

#define NET_QUEUE_SIZE     256
#define NET_CONTROL_SIZE   64
#define NET_BATCH          16 /* frames handed over in one call */
#define NET_CHAINS_MOST    64 /* buffers of the guest for one frame */
#define NET_FRAME_LEAST    14
#define NET_FRAME_MOST     (65535 + NET_FRAME_LEAST)
#define NET_ADDRESSES_MOST 64 /* of each of the two tables */
#define NET_MAC_BYTES      6

/* One of the two tables of addresses that the guest wants to hear. */
struct net_table {
    uint32_t count;
    uint8_t overflowed; /* there were more: all pass */
    uint8_t mac[NET_ADDRESSES_MOST][NET_MAC_BYTES];
};

/* Which frames the guest wants. */
struct net_filter {
    uint8_t mode[VIRTIO_NET_RX_MODES]; /* by command: 0 off, 1 on */
    struct net_table unicast;
    struct net_table multicast;
};

/* A buffer of the guest that a frame was put into. */
struct net_mark {
    uint16_t id;
    uint16_t slots;
    uint32_t bytes;
};

struct net {
    struct virtio_device device; /* first */
    struct virtio_work work;
    struct virtq q[VIRTIO_NET_QUEUES];
    struct nic *nic;
    uint8_t first_mac[NET_MAC_BYTES]; /* as it was made */

    /* Read by any thread. */
    _Atomic uint64_t mac;    /* byte i is bits 8i.. */
    _Atomic uint16_t status; /* of the configuration */

    struct net_filter filter;
    bool is_held;     /* stopped, not reset: frames wait for the next start */
    bool is_starved;  /* the nic has frames that the guest had no buffers for */
    bool is_blocked;  /* the nic has no room for the guest's frames */
    unsigned accepts; /* `enum nic_offers` that were negotiated, both directions */
    struct virtio_net_counters counters;

    struct net_mark mark[NET_CHAINS_MOST]; /* of the frame being received */
    struct virtq_chain first; /* its first buffer, and the latest other one */
    struct virtq_chain other;
    struct virtq_chain batch[NET_BATCH]; /* being sent */
    struct nic_frame frame[NET_BATCH];
};

/* receive.c */
unsigned vnet_received(struct nic *n, const struct nic_frame *f, unsigned count);
void vnet_has_buffers(struct net *n);

/* transmit.c */
void vnet_transmit(struct net *n);
void vnet_writable(struct nic *n);

/* control.c */
void vnet_control(struct net *n);
bool vnet_filter_passes(const struct net *n, const uint8_t *destination);
void vnet_filter_reset(struct net_filter *f);

void vnet_get_mac(const struct net *n, uint8_t ret[NET_MAC_BYTES]);
void vnet_set_mac(struct net *n, const uint8_t mac[NET_MAC_BYTES]);

static inline bool vnet_is_up(const struct net *n)
{
    return (atomic_load(&n->status) & VIRTIO_NET_S_LINK_UP) != 0;
}

#endif
