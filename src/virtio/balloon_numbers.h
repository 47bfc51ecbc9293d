/* balloon_numbers.h - the numbers of the virtio memory balloon: VIRTIO 1.2, 5.5. */
#ifndef VIRTIO_BALLOON_NUMBERS_H
#define VIRTIO_BALLOON_NUMBERS_H

#include <stdint.h>

#define VIRTIO_BALLOON_ID    5
#define VIRTIO_BALLOON_CLASS 0x00ff0000u /* other */

/* Features: 5.5.3. */
#define VIRTIO_BALLOON_F_STATS_VQ       ((uint64_t)1 << 1)
#define VIRTIO_BALLOON_F_DEFLATE_ON_OOM ((uint64_t)1 << 2)
#define VIRTIO_BALLOON_F_PAGE_POISON    ((uint64_t)1 << 4)
#define VIRTIO_BALLOON_F_REPORTING      ((uint64_t)1 << 5)

#define VIRTIO_BALLOON_PAGE_BYTES 4096u /* 5.5: whatever the guest's pages are */

/* 5.5.4 */
struct virtio_balloon_config {
    uint32_t num_pages;
    uint32_t actual;
    uint32_t free_page_hint_cmd_id;
    uint32_t poison_val;
};

/* Statistics: 5.5.6.3 and .4. */
struct virtio_balloon_stat {
    uint16_t tag;
    uint64_t value;
} __attribute__((packed));

#endif
