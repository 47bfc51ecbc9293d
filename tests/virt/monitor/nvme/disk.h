/* tests/virt/monitor/nvme/disk.h - a disk that waits, fails and notes. */
#ifndef TESTS_VIRT_MONITOR_NVME_DISK_H
#define TESTS_VIRT_MONITOR_NVME_DISK_H

#include <stdlib.h>
#include <string.h>

#include "contract/blk_graph.h"
#include "contract/blk_ops.h"

#define DISK_BYTES 0x200000u

struct disk {
    struct blk blk; /* first */
    uint8_t *bytes;
    struct strand_queue held;
    bool holds;
    int answer;
    unsigned flushes, fua, discards, reads;
};

static inline int wait_for_it(struct disk *d)
{
    while (d->holds) {
        strand_wait(d->blk.strands, &d->held);
    }
    return d->answer;
}

static inline int disk_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct disk *d = (struct disk *)b;
    int r = wait_for_it(d);

    d->reads++;
    if (r == 0) {
        blk_vec_put(to, d->bytes + off);
    }
    return r;
}

static inline int disk_write(struct blk *b, struct blk_vec from, uint64_t off,
                             unsigned flags)
{
    struct disk *d = (struct disk *)b;
    int r = wait_for_it(d);

    d->fua += (flags & BLK_FUA) != 0;
    if (r == 0) {
        blk_vec_take(from, d->bytes + off);
    }
    return r;
}

static inline int disk_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct disk *d = (struct disk *)b;

    (void)flags;
    memset(d->bytes + off, 0, bytes);
    return wait_for_it(d);
}

static inline int disk_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct disk *d = (struct disk *)b;

    d->discards++;
    memset(d->bytes + off, 0xdd, bytes);
    return wait_for_it(d);
}

static inline int disk_flush(struct blk *b)
{
    struct disk *d = (struct disk *)b;

    d->flushes++;
    return wait_for_it(d);
}

static inline void disk_destroy(struct blk *b)
{
    struct disk *d = (struct disk *)b;

    free(d->bytes);
    free(d);
}

static const struct blk_ops disk_ops = {
    .name = "noting",
    .read = disk_read,
    .write = disk_write,
    .zero = disk_zero,
    .discard = disk_discard,
    .flush = disk_flush,
    .destroy = disk_destroy,
};

static inline struct disk *disk_make(struct strand_pool *strands, uint32_t block_bytes)
{
    struct disk *d = calloc(1, sizeof *d);

    d->bytes = malloc(DISK_BYTES);
    for (unsigned i = 0; i < DISK_BYTES; i++) {
        d->bytes[i] = (uint8_t)(i * 7 + i / 512);
    }
    blk_init(&d->blk, &disk_ops, strands);
    d->blk.size_bytes = DISK_BYTES;
    d->blk.block_bytes = block_bytes;
    d->blk.does_fua = true;
    return d;
}

/* In a strand: what it holds back goes on. */
static inline int let_go(void *arg)
{
    struct disk *d = arg;

    d->holds = false;
    while (strand_wake(&d->held)) {
    }
    return 0;
}

#endif
