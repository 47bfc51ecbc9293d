/* inbox.c - frames that were read and wait for the device. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/network/nic/nic.h"
#include "resource/network/nic/private.h"

bool nic_inbox_init(struct nic_inbox *b, size_t frame_bytes)
{
    *b = (struct nic_inbox){.frame_bytes = frame_bytes};
    b->room = fault_malloc(NIC_BATCH * frame_bytes); /* untouched pages cost nothing */
    return b->room != NULL;
}

void nic_inbox_fini(struct nic_inbox *b)
{
    free(b->room);
    b->room = NULL;
}

uint8_t *nic_inbox_slot(const struct nic_inbox *b, unsigned i)
{
    return b->room + i * b->frame_bytes;
}

bool nic_inbox_deliver(struct nic_inbox *b, struct nic *n)
{
    struct nic_frame frame[NIC_BATCH];
    struct iovec iov[NIC_BATCH];
    unsigned count = b->count - b->at;

    for (unsigned i = 0; i < count; i++) {
        unsigned k = b->at + i;

        iov[i] = (struct iovec){nic_inbox_slot(b, k), b->bytes[k]};
        frame[i] = (struct nic_frame){
            .iov = &iov[i], .pieces = 1, .bytes = b->bytes[k], .offload = b->offload[k]};
    }
    if (count > 0 && n->received != NULL) {
        b->at += n->received(n, frame, count);
    }
    return b->at == b->count;
}

int nic_check_mtu(uint16_t mtu, struct err *e)
{
    return mtu >= NIC_MTU_LEAST && mtu <= NIC_MTU_MOST
               ? 0
               : err_set(e, -EINVAL, "an MTU of %u is not possible: %d to %d", mtu,
                         NIC_MTU_LEAST, NIC_MTU_MOST);
}
