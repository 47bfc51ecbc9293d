/* private.h - what the files of the virtqueue share. */
#ifndef VIRTIO_PRIVATE_H
#define VIRTIO_PRIVATE_H

#include "virtio/queue.h"

/* Descriptor flags: VIRTIO 1.2, 2.7.5 and 2.8.21. */
#define VIRTQ_DESC_NEXT     1u
#define VIRTQ_DESC_WRITE    2u
#define VIRTQ_DESC_INDIRECT 4u
#define VIRTQ_DESC_AVAIL    (1u << 7)  /* packed */
#define VIRTQ_DESC_USED     (1u << 15) /* packed */
#define VIRTQ_DESC_BYTES    16u

static inline bool virtq_is_packed(const struct virtq *q)
{
    return (q->s.features & VIRTIO_F_RING_PACKED) != 0;
}

static inline uint16_t virtq_load16(const uint8_t *p)
{
    return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static inline void virtq_store16(uint8_t *p, uint16_t v)
{
    __atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELEASE);
}

/* Add what a descriptor names, an indirect table too, to a chain.  -EPROTO. */
int virtq_chain_add(struct virtq *q, struct virtq_chain *c, const struct virtq_desc *d);

void virtq_chain_begin(struct virtq_chain *c, uint16_t id);

/* Say that a part of the rings will be, or was, written. */
void virtq_ring_writes(struct virtq *q, uint8_t *host, uint64_t bytes, bool done);

void virtq_split_start(struct virtq *q);
bool virtq_split_more(struct virtq *q);
int virtq_split_take(struct virtq *q, struct virtq_chain *c);
int virtq_split_walk(struct virtq *q, uint16_t head, struct virtq_chain *c);
void virtq_split_give(struct virtq *q, const struct virtq_chain *c, uint32_t written);
bool virtq_split_show(struct virtq *q);
void virtq_split_hush(struct virtq *q);
void virtq_split_listen(struct virtq *q);

void virtq_packed_start(struct virtq *q);
bool virtq_packed_more(struct virtq *q);
int virtq_packed_take(struct virtq *q, struct virtq_chain *c);
void virtq_packed_give(struct virtq *q, const struct virtq_chain *c, uint32_t written);
bool virtq_packed_show(struct virtq *q);
void virtq_packed_hush(struct virtq *q);
void virtq_packed_listen(struct virtq *q);

#endif
