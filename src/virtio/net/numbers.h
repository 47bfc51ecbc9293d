/* numbers.h - the numbers of the virtio network device: VIRTIO 1.2, 5.1. */
#ifndef VIRTIO_NET_NUMBERS_H
#define VIRTIO_NET_NUMBERS_H

#include <stdint.h>

#define VIRTIO_NET_ID    1
#define VIRTIO_NET_CLASS 0x00020000u /* network, Ethernet */

/* Features: 5.1.3. */
#define VIRTIO_NET_F_CSUM           ((uint64_t)1 << 0)
#define VIRTIO_NET_F_GUEST_CSUM     ((uint64_t)1 << 1)
#define VIRTIO_NET_F_MTU            ((uint64_t)1 << 3)
#define VIRTIO_NET_F_MAC            ((uint64_t)1 << 5)
#define VIRTIO_NET_F_GUEST_TSO4     ((uint64_t)1 << 7)
#define VIRTIO_NET_F_GUEST_TSO6     ((uint64_t)1 << 8)
#define VIRTIO_NET_F_HOST_TSO4      ((uint64_t)1 << 11)
#define VIRTIO_NET_F_HOST_TSO6      ((uint64_t)1 << 12)
#define VIRTIO_NET_F_MRG_RXBUF      ((uint64_t)1 << 15)
#define VIRTIO_NET_F_STATUS         ((uint64_t)1 << 16)
#define VIRTIO_NET_F_CTRL_VQ        ((uint64_t)1 << 17)
#define VIRTIO_NET_F_CTRL_RX        ((uint64_t)1 << 18)
#define VIRTIO_NET_F_CTRL_RX_EXTRA  ((uint64_t)1 << 20)
#define VIRTIO_NET_F_GUEST_ANNOUNCE ((uint64_t)1 << 21)
#define VIRTIO_NET_F_CTRL_MAC_ADDR  ((uint64_t)1 << 23)

/* Queues, of a device with one pair: 5.1.2. */
#define VIRTIO_NET_RECEIVE  0u
#define VIRTIO_NET_TRANSMIT 1u
#define VIRTIO_NET_CONTROL  2u
#define VIRTIO_NET_QUEUES   3u

/* Configuration: 5.1.4. */
#define VIRTIO_NET_S_LINK_UP  1u
#define VIRTIO_NET_S_ANNOUNCE 2u

struct virtio_net_config {
    uint8_t mac[6];
    uint16_t status;
    uint16_t pairs;
    uint16_t mtu;
};

/* Before every frame: 5.1.6. */
#define VIRTIO_NET_HDR_F_NEEDS_CSUM 1u
#define VIRTIO_NET_HDR_F_DATA_VALID 2u
#define VIRTIO_NET_HDR_GSO_NONE     0u
#define VIRTIO_NET_HDR_GSO_TCPV4    1u
#define VIRTIO_NET_HDR_GSO_TCPV6    4u
#define VIRTIO_NET_HDR_GSO_ECN      0x80u

struct virtio_net_header {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t header_bytes;
    uint16_t gso_bytes;
    uint16_t checksum_start;
    uint16_t checksum_offset;
    uint16_t buffers;
};

/* Commands of the control queue: 5.1.6.5. */
#define VIRTIO_NET_OK  0u
#define VIRTIO_NET_ERR 1u

#define VIRTIO_NET_CTRL_RX          0u
#define VIRTIO_NET_CTRL_RX_PROMISC  0u
#define VIRTIO_NET_CTRL_RX_ALLMULTI 1u
#define VIRTIO_NET_CTRL_RX_ALLUNI   2u
#define VIRTIO_NET_CTRL_RX_NOMULTI  3u
#define VIRTIO_NET_CTRL_RX_NOUNI    4u
#define VIRTIO_NET_CTRL_RX_NOBCAST  5u
#define VIRTIO_NET_RX_MODES         6u

#define VIRTIO_NET_CTRL_MAC           1u
#define VIRTIO_NET_CTRL_MAC_TABLE_SET 0u
#define VIRTIO_NET_CTRL_MAC_ADDR_SET  1u

#define VIRTIO_NET_CTRL_ANNOUNCE     3u
#define VIRTIO_NET_CTRL_ANNOUNCE_ACK 0u

#endif
