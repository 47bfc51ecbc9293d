/* private.h - what the files of this folder share. */
#ifndef RESOURCE_NETWORK_NIC_PRIVATE_H
#define RESOURCE_NETWORK_NIC_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contract/nic.h"

#define NIC_BATCH       16 /* frames read in one turn, and sent in one call */
#define NIC_ETHER_BYTES 18 /* addresses, a tag, the type */
#define NIC_LARGE_BYTES (65535 + NIC_ETHER_BYTES)

/* Frames that were read, until the user has taken them. */
struct nic_inbox {
    uint8_t *room;      /* owned: NIC_BATCH times `frame_bytes` */
    size_t frame_bytes; /* each has room for */
    unsigned at;        /* the first that was not taken */
    unsigned count;
    uint32_t bytes[NIC_BATCH];
    struct nic_offload offload[NIC_BATCH];
};

bool nic_inbox_init(struct nic_inbox *b, size_t frame_bytes);
void nic_inbox_fini(struct nic_inbox *b);
uint8_t *nic_inbox_slot(const struct nic_inbox *b, unsigned i);

/* Hand over what there is; whether all of it was taken. */
bool nic_inbox_deliver(struct nic_inbox *b, struct nic *n);

/* -EINVAL with its reason: no interface can have it. */
int nic_check_mtu(uint16_t mtu, struct err *e);

#endif
