/* blk_numbers.h - the numbers of the virtio block device: VIRTIO 1.2, 5.2. */
#ifndef VIRTIO_BLK_NUMBERS_H
#define VIRTIO_BLK_NUMBERS_H

#include <stdint.h>

/* Features: 5.2.3. */
#define VIRTIO_BLK_F_SEG_MAX      ((uint64_t)1 << 2)
#define VIRTIO_BLK_F_RO           ((uint64_t)1 << 5)
#define VIRTIO_BLK_F_BLK_SIZE     ((uint64_t)1 << 6)
#define VIRTIO_BLK_F_FLUSH        ((uint64_t)1 << 9)
#define VIRTIO_BLK_F_TOPOLOGY     ((uint64_t)1 << 10)
#define VIRTIO_BLK_F_CONFIG_WCE   ((uint64_t)1 << 11)
#define VIRTIO_BLK_F_MQ           ((uint64_t)1 << 12)
#define VIRTIO_BLK_F_DISCARD      ((uint64_t)1 << 13)
#define VIRTIO_BLK_F_WRITE_ZEROES ((uint64_t)1 << 14)

/* Requests: 5.2.6. */
#define VIRTIO_BLK_T_IN           0u
#define VIRTIO_BLK_T_OUT          1u
#define VIRTIO_BLK_T_FLUSH        4u
#define VIRTIO_BLK_T_GET_ID       8u
#define VIRTIO_BLK_T_DISCARD      11u
#define VIRTIO_BLK_T_WRITE_ZEROES 13u

#define VIRTIO_BLK_S_OK     0u
#define VIRTIO_BLK_S_IOERR  1u
#define VIRTIO_BLK_S_UNSUPP 2u

#define VIRTIO_BLK_UNMAP 1u /* flag of a segment of a write of zeros */

/* What we let a driver ask for at once. */
#define VIRTIO_BLK_RANGES_MOST        16u /* segments of a discard or a write of zeros */
#define VIRTIO_BLK_RANGE_SECTORS_MOST (1u << 21)

struct virtio_blk_head {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
};

/* A segment of a discard or a write of zeros. */
struct virtio_blk_range {
    uint64_t sector;
    uint32_t sectors;
    uint32_t flags;
};

/* 5.2.4 */
struct virtio_blk_config {
    uint64_t capacity; /* in sectors */
    uint32_t size_max;
    uint32_t seg_max;
    uint8_t geometry[4];
    uint32_t blk_size;
    uint8_t physical_block_exp; /* topology */
    uint8_t alignment_offset;
    uint16_t min_io_size;
    uint32_t opt_io_size;
    uint8_t writeback;
    uint8_t unused0;
    uint16_t num_queues;
    uint32_t max_discard_sectors;
    uint32_t max_discard_seg;
    uint32_t discard_sector_alignment;
    uint32_t max_write_zeroes_sectors;
    uint32_t max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap;
    uint8_t unused1[3];
} __attribute__((packed));

#endif
