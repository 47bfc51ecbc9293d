/* resource/network/nic/nic.h - network interfaces behind contract/nic.h: taps, sockets that
 * carry frames, pairs in memory; and addresses by DHCP in front of any.
 *
 * Threads: that of the loop they were made on. */
#ifndef RESOURCE_NETWORK_NIC_NIC_H
#define RESOURCE_NETWORK_NIC_NIC_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct loop;
struct nic;

#define NIC_MTU_LEAST 68    /* RFC 791, 3.2 */
#define NIC_MTU_MOST  65520 /* a frame of it and its header fit a message */

/* A tap that was opened, given a name and detached from its protocol headers (IFF_TAP,
 * IFF_NO_PI); with IFF_VNET_HDR it offers what the host's kernel can finish itself.  The
 * descriptor is the nic's on success.  -EINVAL: it is no such tap. */
int nic_tap_create(struct loop *l, int take_fd, uint16_t mtu, struct nic **ret,
                   struct err *e);

/* A connected unix socket of messages (SOCK_SEQPACKET, SOCK_DGRAM), each a frame.  When the
 * other end has gone, frames are dropped.  The descriptor is the nic's on success. */
int nic_frames_create(struct loop *l, int take_fd, uint16_t mtu, struct nic **ret,
                      struct err *e);

/* Two that are joined by a short cable in memory, for tests; each is destroyed by itself. */
int nic_pair_create(struct loop *l, uint16_t mtu, unsigned offers, struct nic *ret[2],
                    struct err *e);

#define NIC_LEASE_SERVERS_MOST 3

/* What a guest is told by DHCP; addresses as on the wire. */
struct nic_lease {
    uint8_t mac[6]; /* the guest's: only its own requests are answered */
    uint8_t address[4];
    uint8_t prefix;     /* bits of the network */
    uint8_t gateway[4]; /* who answers, and with `leads_on` the way out */
    bool leads_on;
    uint8_t servers; /* of names */
    uint8_t server[NIC_LEASE_SERVERS_MOST][4];
    char host[64]; /* the guest's name; "": not told */
};

/* The same interface, but for requests of its user by DHCP, which are answered here.  The
 * other one is this one's on success. */
int nic_lease_create(struct loop *l, struct nic *take_below, const struct nic_lease *is,
                     struct nic **ret, struct err *e);

#endif
