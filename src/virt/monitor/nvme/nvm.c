/* nvm.c - commands for the namespace: NVMe 6.
 *
 * Data go between the disk and the guest's memory without a copy. */
#include <errno.h>
#include <string.h>

#include "base/fault.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "virt/monitor/nvme/private.h"

static struct blk *disk_of(const struct nvme *n)
{
    return n->edge->disk;
}

uint32_t nvme_block_bytes(const struct nvme *n)
{
    return blk_block_bytes(disk_of(n));
}

bool nvme_may_write(const struct nvme *n)
{
    return !n->read_only && !blk_is_read_only(disk_of(n));
}

static bool is_inside(const struct nvme *n, uint64_t first, uint64_t blocks)
{
    uint64_t all = blk_size(disk_of(n)) / nvme_block_bytes(n);

    return first <= all && blocks <= all - first;
}

/* Where the write cache is off, what is written is durable. */
static unsigned write_flags(const struct nvme_request *r)
{
    return (r->c.dw12 & NVME_DW12_FUA) != 0 ||
                   r->nvme->choice.feature[NVME_WRITE_CACHE] == 0
               ? BLK_FUA
               : 0u;
}

/* ---- how it went ---- */

static uint16_t status_for(enum blk_kind kind, int result)
{
    switch (result) {
    case 0:
        return NVME_OK;
    case -ENOSPC:
        return NVME_NO_ROOM;
    case -EROFS:
        return NVME_WRITE_PROTECTED;
    case -ERANGE:
        return NVME_OUT_OF_RANGE;
    case -ENOMEM:
        return NVME_INTERNAL;
    default:
        return kind == BLK_READ ? NVME_READ_FAULT : NVME_WRITE_FAULT;
    }
}

uint16_t nvme_status_of(const struct nvme_request *r)
{
    struct nvme_counters *c = &r->nvme->counters;
    uint64_t sectors = r->blk.vec.bytes / BLK_BLOCK_LEAST_BYTES;

    if (r->blk.result == 0 && r->blk.kind == BLK_READ) {
        c->reads++;
        c->read_blocks += sectors;
    } else if (r->blk.result == 0 && r->blk.kind == BLK_WRITE) {
        c->writes++;
        c->written_blocks += sectors;
    }
    return status_for(r->blk.kind, r->blk.result);
}

/* ---- commands ---- */

static uint64_t first_of(const struct nvme_command *c)
{
    return c->dw10 | (uint64_t)c->dw11 << 32;
}

static uint64_t blocks_of(const struct nvme_command *c)
{
    return (uint64_t)(c->dw12 & 0xffff) + 1;
}

static uint16_t read_or_write(struct nvme_request *r)
{
    const struct nvme *n = r->nvme;
    bool writes = r->c.opcode == NVME_WRITE;
    uint64_t bytes = blocks_of(&r->c) * nvme_block_bytes(n);
    uint16_t status;

    if (bytes > TRANSFER_BYTES) {
        return NVME_INVALID_FIELD;
    }
    if (!is_inside(n, first_of(&r->c), blocks_of(&r->c))) {
        return NVME_OUT_OF_RANGE;
    }
    if (writes && !nvme_may_write(n)) {
        return NVME_WRITE_PROTECTED;
    }
    status = nvme_map(r, (uint32_t)bytes, !writes);
    if (status == NVME_OK) {
        nvme_submit(r, writes ? BLK_WRITE : BLK_READ, writes ? write_flags(r) : 0,
                    first_of(&r->c) * nvme_block_bytes(n), bytes);
    }
    return status;
}

static uint16_t write_zeroes(struct nvme_request *r)
{
    const struct nvme *n = r->nvme;
    unsigned unmap = (r->c.dw12 & NVME_DW12_DEALLOCATE) != 0 ? BLK_UNMAP : 0u;

    if (!is_inside(n, first_of(&r->c), blocks_of(&r->c))) {
        return NVME_OUT_OF_RANGE;
    }
    if (!nvme_may_write(n)) {
        return NVME_WRITE_PROTECTED;
    }
    nvme_submit(r, BLK_ZERO, write_flags(r) | unmap,
                first_of(&r->c) * nvme_block_bytes(n),
                blocks_of(&r->c) * nvme_block_bytes(n));
    return NVME_OK;
}

/* In a strand: one range behind the other. */
static void drop_ranges(void *arg)
{
    struct nvme_request *r = arg;
    uint64_t block = nvme_block_bytes(r->nvme);
    int e = 0;

    for (unsigned i = 0; i < r->ranges && e == 0; i++) {
        const struct nvme_range *g = &r->range[i];

        e = g->blocks > 0
                ? blk_discard(disk_of(r->nvme), g->first * block, g->blocks * block)
                : 0;
    }
    nvme_end(r, status_for(BLK_DISCARD, e));
}

static uint16_t read_ranges(struct nvme_request *r)
{
    uint32_t bytes = r->ranges * (uint32_t)sizeof *r->range;
    uint16_t status = nvme_map(r, bytes, false);

    if (status != NVME_OK) {
        return status;
    }
    r->range = fault_malloc(bytes);
    if (r->range == NULL) {
        return NVME_INTERNAL;
    }
    blk_vec_take((struct blk_vec){.iov = r->vec, .bytes = bytes}, r->range);
    __asm__ volatile("" ::: "memory"); /* never read again */
    for (unsigned i = 0; i < r->ranges; i++) {
        if (!is_inside(r->nvme, r->range[i].first, r->range[i].blocks)) {
            return NVME_OUT_OF_RANGE;
        }
    }
    return NVME_OK;
}

/* Other hints than to deallocate say nothing to us. */
static uint16_t dataset(struct nvme_request *r)
{
    uint16_t status;

    r->ranges = (r->c.dw10 & 0xff) + 1;
    status = read_ranges(r);
    if (status != NVME_OK) {
        return status;
    }
    if ((r->c.dw11 & NVME_DATASET_DROP) == 0) {
        nvme_end(r, NVME_OK);
        return NVME_OK;
    }
    if (!nvme_may_write(r->nvme)) {
        return NVME_WRITE_PROTECTED;
    }
    nvme_begin_busy(r);
    if (strand_start(disk_of(r->nvme)->strands, drop_ranges, r) != 0) {
        nvme_end(r, NVME_INTERNAL);
    }
    return NVME_OK;
}

/* What fails at once; the others end by themselves. */
static uint16_t begin(struct nvme_request *r)
{
    bool is_flush = r->c.opcode == NVME_FLUSH;

    if (r->c.flags != 0) {
        return NVME_INVALID_FIELD;
    }
    if (r->c.nsid != NVME_NSID && !(is_flush && r->c.nsid == NVME_NSID_ALL)) {
        return NVME_INVALID_NAMESPACE;
    }
    switch (r->c.opcode) {
    case NVME_FLUSH:
        nvme_submit(r, BLK_FLUSH, 0, 0, 0);
        return NVME_OK;
    case NVME_READ:
    case NVME_WRITE:
        return read_or_write(r);
    case NVME_WRITE_ZEROES:
        return write_zeroes(r);
    case NVME_DATASET:
        return dataset(r);
    default:
        return NVME_INVALID_OPCODE;
    }
}

uint32_t nvme_do(struct nvme_request *r)
{
    uint32_t bytes = r->c.opcode == NVME_READ || r->c.opcode == NVME_WRITE
                         ? (uint32_t)blocks_of(&r->c) * nvme_block_bytes(r->nvme)
                         : 0;
    uint16_t status = begin(r);

    if (status != NVME_OK) {
        nvme_end(r, status);
    }
    return bytes;
}
