/* numbers.h - the numbers of the virtio socket device: VIRTIO 1.2, 5.10. */
#ifndef VIRTIO_VSOCK_NUMBERS_H
#define VIRTIO_VSOCK_NUMBERS_H

#include <stdint.h>

#define VIRTIO_VSOCK_ID    19
#define VIRTIO_VSOCK_CLASS 0x00078000u /* communication, other */

/* Queues: 5.10.2. */
#define VIRTIO_VSOCK_RECEIVE  0u
#define VIRTIO_VSOCK_TRANSMIT 1u
#define VIRTIO_VSOCK_EVENTS   2u
#define VIRTIO_VSOCK_QUEUES   3u

/* 5.10.4: 0, 1 and all ones are reserved, too. */
#define VIRTIO_VSOCK_CID_HOST 2u

#define VIRTIO_VSOCK_TYPE_STREAM 1u /* 5.10.6 */

/* Operations: 5.10.6. */
enum virtio_vsock_op {
    VIRTIO_VSOCK_OP_INVALID,
    VIRTIO_VSOCK_OP_REQUEST,
    VIRTIO_VSOCK_OP_RESPONSE,
    VIRTIO_VSOCK_OP_RST,
    VIRTIO_VSOCK_OP_SHUTDOWN,
    VIRTIO_VSOCK_OP_RW,
    VIRTIO_VSOCK_OP_CREDIT_UPDATE,
    VIRTIO_VSOCK_OP_CREDIT_REQUEST,
    VIRTIO_VSOCK_OP_COUNT
};

/* Flags of a shutdown: 5.10.6.6. */
#define VIRTIO_VSOCK_SHUTDOWN_RECEIVE 1u
#define VIRTIO_VSOCK_SHUTDOWN_SEND    2u

#define VIRTIO_VSOCK_EVENT_TRANSPORT_RESET 0u /* 5.10.6.7 */

struct virtio_vsock_header {
    uint64_t src_cid;
    uint64_t dst_cid;
    uint32_t src_port;
    uint32_t dst_port;
    uint32_t len;
    uint16_t type;
    uint16_t op;
    uint32_t flags;
    uint32_t buf_alloc;
    uint32_t fwd_cnt;
} __attribute__((packed));

#endif
