/* inflight.h - an account of requests under way that outlives this process.
 *
 * The front end keeps it, a piece of shared memory, and hands it to whoever serves the
 * queues next; layout and steps are the protocol's ("Inflight I/O tracking"). */
#ifndef RESOURCE_STORAGE_VHOST_USER_INFLIGHT_H
#define RESOURCE_STORAGE_VHOST_USER_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/queue.h"

/* The account of one queue. */
struct vhost_inflight {
    struct virtq_tracker tracker; /* first */
    uint8_t *area;                /* NULL: no account is kept; borrowed */
    unsigned size;                /* of the queue */
    bool packed;
    uint64_t counter;  /* orders requests */
    uint16_t *batch;   /* owned; given and not shown */
    unsigned given;    /* how many */
    uint16_t *pending; /* owned; what to do again, in order */
    unsigned pendings;
    unsigned again_at;
};

/* Bytes of one queue's account: a multiple of 64. */
uint64_t vhost_inflight_bytes(bool packed, unsigned size);

/* Keep the account of a queue in `area`, of at least so many bytes.  What it holds of an
 * earlier device is put in order; `base` (see struct virtq_setup) becomes where the
 * queue goes on. */
int vhost_inflight_open(struct vhost_inflight *f, uint8_t *area,
                        const struct virtq_setup *s, uint32_t *base);
void vhost_inflight_close(struct vhost_inflight *f);

/* The next request to do again: its id, and for a packed queue its descriptors; false:
 * there is none left. */
bool vhost_inflight_next(struct vhost_inflight *f, uint16_t *ret_id, unsigned *ret_count,
                         uint16_t *ret_token);

#endif
