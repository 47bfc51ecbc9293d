/* rng.h - the virtio entropy device: random bytes for a guest.
 *
 * Each request gets at most `VIRTIO_RNG_BYTES_MOST`, each turn serves a bounded number of
 * them, so that a guest that asks without end takes no more than its share.
 *
 * Threads: that of the loop.
 * Source: Virtual I/O Device (VIRTIO) 1.2, 5.4. */
#ifndef VIRTIO_RNG_H
#define VIRTIO_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct loop;
struct virtio_device;

#define VIRTIO_RNG_BYTES_MOST 4096 /* of one request */

struct virtio_rng_options {
    struct loop *loop; /* borrowed */

    /* The bytes follow from `seed`, for runs that are to be repeated; else they are the
     * host's and secret. */
    bool is_seeded;
    uint64_t seed;
};

int virtio_rng_create(const struct virtio_rng_options *o, struct virtio_device **ret,
                      struct err *e);

#endif
