/* blk_config.c - what a virtio block device says of itself. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "virtio/blk.h"
#include "virtio/blk_numbers.h"

_Static_assert(sizeof(struct virtio_blk_config) == VIRTIO_BLK_CONFIG_BYTES,
               "VIRTIO 5.2.4");
_Static_assert(sizeof(struct virtio_blk_head) == 16, "VIRTIO 5.2.6");
_Static_assert(sizeof(struct virtio_blk_range) == 16, "VIRTIO 5.2.6");

#define BEST_BYTES_MOST (1u << 30)

uint64_t virtio_blk_features(const struct virtio_blk *d)
{
    uint64_t f = VIRTQ_FEATURES | VIRTIO_F_VERSION_1 | VIRTIO_BLK_F_SEG_MAX |
                 VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_TOPOLOGY |
                 VIRTIO_BLK_F_MQ;

    if (d->read_only || blk_is_read_only(d->edge->disk)) {
        return f | VIRTIO_BLK_F_RO;
    }
    return f | VIRTIO_BLK_F_CONFIG_WCE | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES;
}

/* Exponent of the ratio of two powers of two. */
static uint8_t ratio_exponent(uint32_t large, uint32_t small)
{
    uint8_t n = 0;

    while (large > small) {
        large /= 2;
        n++;
    }
    return n;
}

static void describe(const struct virtio_blk *d, struct virtio_blk_config *c)
{
    const struct blk *b = d->edge->disk;
    uint32_t block = blk_block_bytes(b);
    uint32_t best = b->best_bytes < BEST_BYTES_MOST ? b->best_bytes : 0;

    *c = (struct virtio_blk_config){
        .capacity = blk_size(b) / VIRTIO_BLK_SECTOR_BYTES,
        .seg_max = d->segments != 0 ? d->segments : VIRTIO_BLK_SEGMENT_MOST,
        .blk_size = block,
        .physical_block_exp = best >= BLK_BLOCK_MOST_BYTES
                                  ? ratio_exponent(BLK_BLOCK_MOST_BYTES, block)
                                  : 0,
        .opt_io_size = best / block,
        .writeback = !d->write_through,
        .num_queues = d->queues,
        .max_discard_sectors = VIRTIO_BLK_RANGE_SECTORS_MOST,
        .max_discard_seg = VIRTIO_BLK_RANGES_MOST,
        .discard_sector_alignment = block / VIRTIO_BLK_SECTOR_BYTES,
        .max_write_zeroes_sectors = VIRTIO_BLK_RANGE_SECTORS_MOST,
        .max_write_zeroes_seg = VIRTIO_BLK_RANGES_MOST,
        .write_zeroes_may_unmap = 1,
    };
}

void virtio_blk_config_read(const struct virtio_blk *d, uint32_t off, void *to,
                            uint32_t bytes)
{
    struct virtio_blk_config c;
    uint32_t have;

    memset(to, 0, bytes);
    describe(d, &c);
    if (off < sizeof c) {
        have = (uint32_t)sizeof c - off;
        memcpy(to, (const char *)&c + off, bytes < have ? bytes : have);
    }
}

int virtio_blk_config_write(struct virtio_blk *d, uint32_t off, const void *from,
                            uint32_t bytes)
{
    uint8_t writeback;

    if (off != offsetof(struct virtio_blk_config, writeback) || bytes != 1 ||
        (d->features & VIRTIO_BLK_F_CONFIG_WCE) == 0) {
        return -EACCES;
    }
    memcpy(&writeback, from, 1);
    d->write_through = writeback == 0;
    return 0;
}
