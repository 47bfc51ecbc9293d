/* contract/nic.h - a network interface: Ethernet frames go out and come in.
 *
 * Implemented by taps, by sockets that carry frames (the user-mode network, later
 * switches), by memory in tests.  Used by network devices of machines.  Frames are without
 * preamble and check sequence, at most `mtu` + 18 bytes long unless an offload
 * was agreed on.
 *
 * Back pressure goes both ways: `send` takes as many as there is room for and calls
 * `writable` when there is room again; `received` takes as many as the device has
 * buffers for, and the device calls `more` when it has buffers again.  Nothing is
 * dropped in between; what has no room for longer is dropped by the network's end.
 *
 * Threads: that of the loop the interface was made on. */
#ifndef CONTRACT_NIC_H
#define CONTRACT_NIC_H

#include <stdint.h>
#include <sys/uio.h>

struct nic;

/* Work that the sender left to the receiver: the fields of the header of VIRTIO 1.2,
 * 5.1.6 (as Linux's IFF_VNET_HDR has it), zero when everything is done. */
struct nic_offload {
    uint8_t flags;    /* 1: the checksum is to be filled in; 2: it is known to be right */
    uint8_t gso_type; /* 0 none, 1 TCP over IPv4, 3 UDP, 4 TCP over IPv6; | 0x80 ECN */
    uint16_t header_bytes;
    uint16_t gso_bytes;
    uint16_t checksum_start;
    uint16_t checksum_offset;
};

struct nic_frame {
    const struct iovec *iov; /* borrowed for the call */
    unsigned pieces;
    uint32_t bytes; /* of all pieces */
    struct nic_offload offload;
};

/* What frames may leave to the other end, in either direction. */
enum nic_offers {
    NIC_CHECKSUM = 1,
    NIC_TSO4 = 2,
    NIC_TSO6 = 4
};

struct nic_ops {
    const char *name;

    /* Send them; how many were taken.  Fewer: `writable` is called later. */
    unsigned (*send)(struct nic *n, const struct nic_frame *f, unsigned count);

    /* The user has room for frames again. */
    void (*more)(struct nic *n);

    /* The user takes frames with these offloads (a subset of `offers`). */
    void (*accept)(struct nic *n, unsigned offers);

    void (*destroy)(struct nic *n);
};

/* First member of every implementation's own struct. */
struct nic {
    const struct nic_ops *ops;
    unsigned offers; /* `enum nic_offers`: what `send` and `received` can carry */
    uint16_t mtu;

    /* Set by the user, who then calls `more`; NULL before and behind: nothing is read. */
    unsigned (*received)(struct nic *n, const struct nic_frame *f, unsigned count);
    void (*writable)(struct nic *n);
    void *who;
};

#endif
