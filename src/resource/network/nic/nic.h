/* resource/network/nic/nic.h - network interfaces behind contract/nic.h: taps, sockets that
 * carry frames, pairs in memory.
 *
 * Threads: that of the loop they were made on. */
#ifndef RESOURCE_NETWORK_NIC_NIC_H
#define RESOURCE_NETWORK_NIC_NIC_H

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

#endif
