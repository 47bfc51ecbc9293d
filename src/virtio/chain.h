/* chain.h - the bytes of a chain, however the driver has cut it into pieces.
 *
 * What is copied out is read once and may be checked and used.
 *
 * Source: Virtual I/O Device (VIRTIO) 1.2, 2.7.4. */
#ifndef VIRTIO_CHAIN_H
#define VIRTIO_CHAIN_H

#include <stdint.h>
#include <sys/uio.h>

#include "virtio/queue.h"

/* Copy [off, off + bytes) of what the device reads; how many bytes there were. */
uint64_t virtio_chain_read(const struct virtq_chain *c, uint64_t off, void *to,
                           uint64_t bytes);

/* Write to [off, off + bytes) of what the device writes, and say so to the queue's space;
 * how many bytes there was room for. */
uint64_t virtio_chain_write(struct virtq *q, const struct virtq_chain *c, uint64_t off,
                            const void *from, uint64_t bytes);

/* Forget the first `bytes`, at most all, of what the device reads: pieces become shorter or
 * have no bytes. */
void virtio_chain_skip(struct virtq_chain *c, uint64_t bytes);

#endif
