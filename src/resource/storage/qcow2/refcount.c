/* refcount.c - how many references each host cluster has.
 *
 * QEMU, docs/interop/qcow2.rst, "Host cluster management": a table of blocks of
 * counts of 1 to 64 bits.  A new block is the first cluster of those that it counts, so
 * that making one needs no other; a table that is full moves behind the last block that
 * it knew, into clusters that new blocks beside it count. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/parts.h"

#define FILE_STEP_BYTES ((uint64_t)1 << 20) /* by which a file grows */

static uint64_t read_count(unsigned order, const uint8_t *p, uint32_t i)
{
    switch (order) {
    case 3:
        return p[i];
    case 4:
        return qcow2_get16(p + 2 * (size_t)i);
    case 5:
        return qcow2_get32(p + 4 * (size_t)i);
    case 6:
        return qcow2_get64(p + 8 * (size_t)i);
    default:
        return p[i >> (3 - order)] >> ((i << order) & 7) & ((1u << (1u << order)) - 1);
    }
}

static void write_count(unsigned order, uint8_t *p, uint32_t i, uint64_t v)
{
    switch (order) {
    case 3:
        p[i] = (uint8_t)v;
        return;
    case 4:
        qcow2_put16(p + 2 * (size_t)i, (uint16_t)v);
        return;
    case 5:
        qcow2_put32(p + 4 * (size_t)i, (uint32_t)v);
        return;
    case 6:
        qcow2_put64(p + 8 * (size_t)i, v);
        return;
    default: {
        unsigned shift = (i << order) & 7;
        unsigned mask = ((1u << (1u << order)) - 1) << shift;
        uint8_t *at = &p[i >> (3 - order)];

        *at = (uint8_t)((*at & ~mask) | ((unsigned)v << shift & mask));
    }
    }
}

uint64_t qcow2_ref_read(const struct qcow2 *q, const uint8_t *slice, uint32_t i)
{
    return read_count(q->header.refcount_order, slice, i);
}

void qcow2_ref_write(const struct qcow2 *q, uint8_t *slice, uint32_t i, uint64_t v)
{
    write_count(q->header.refcount_order, slice, i, v);
}

uint64_t qcow2_ref_most(const struct qcow2 *q)
{
    return q->header.refcount_order == 6
               ? UINT64_MAX
               : ((uint64_t)1 << (1u << q->header.refcount_order)) - 1;
}

/* The slice that counts a cluster, and the place in it.  -ENOENT: there is no block. */
int qcow2_ref_slice(struct qcow2 *q, uint64_t cluster, struct qcow2_slice **ret,
                    uint32_t *ret_i)
{
    uint64_t block = cluster >> q->ref_bits;
    uint32_t in_block = (uint32_t)(cluster & (((uint64_t)1 << q->ref_bits) - 1));
    uint32_t per_slice = (q->slice_bytes * 8) >> q->header.refcount_order;
    uint64_t at;

    if (block >= q->rt.count || q->rt.entry[block] == 0) {
        return -ENOENT;
    }
    at = q->rt.entry[block];
    if (at % q->cluster_bytes != 0) {
        return qcow2_is_corrupt(q);
    }
    *ret_i = in_block % per_slice;
    return qcow2_slice_get(q, at + (uint64_t)(in_block / per_slice) * q->slice_bytes,
                           USE_REF, ret);
}

int qcow2_ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret)
{
    struct qcow2_slice *s;
    uint32_t i;
    int r = qcow2_ref_slice(q, cluster, &s, &i);

    *ret = r == 0 ? qcow2_ref_read(q, s->data, i) : 0;
    return r == -ENOENT ? 0 : r;
}

int qcow2_ref_set(struct qcow2 *q, uint64_t cluster, uint64_t value)
{
    struct qcow2_slice *s;
    uint32_t i;
    int r;

    if (value > qcow2_ref_most(q)) {
        return -EOVERFLOW;
    }
    r = qcow2_ref_slice(q, cluster, &s, &i);
    if (r == -ENOENT && value == 0) {
        return 0;
    }
    if (r == -ENOENT) {
        strand_lock(q->blk.strands, &q->alloc_lock);
        r = qcow2_ref_cover(q, cluster);
        strand_unlock(&q->alloc_lock);
        r = r == 0 ? qcow2_ref_slice(q, cluster, &s, &i) : r;
    }
    if (r == 0) {
        write_count(q->header.refcount_order, s->data, i, value);
        qcow2_slice_dirty(q, s);
    }
    return r;
}

static int change(struct qcow2 *q, uint64_t cluster, bool up)
{
    struct qcow2_slice *s;
    uint32_t i;
    uint64_t v;
    int r = qcow2_ref_slice(q, cluster, &s, &i);

    if (r != 0) {
        return r == -ENOENT ? qcow2_is_corrupt(q) : r;
    }
    v = qcow2_ref_read(q, s->data, i);
    if (up ? v == qcow2_ref_most(q) : v == 0) {
        return up ? -EOVERFLOW : qcow2_is_corrupt(q);
    }
    write_count(q->header.refcount_order, s->data, i, up ? v + 1 : v - 1);
    qcow2_slice_dirty(q, s);
    return !up && v == 1 ? 1 : 0;
}

int qcow2_ref_raise(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < count; i++) {
        r = change(q, cluster + i, true);
    }
    return r;
}

/* A free cluster that the search behind the hint would not find. */
static void recycle(struct qcow2 *q, uint64_t cluster)
{
    if (cluster >= q->hint) {
        return;
    }
    if (q->recycled.count < QCOW2_RECYCLED_MOST) {
        qcow2_runs_add(&q->recycled, cluster, 1);
    } else {
        q->hint = cluster;
    }
}

int qcow2_ref_lower(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    for (uint64_t i = cluster; i < cluster + count; i++) {
        int r = change(q, i, false);

        if (r < 0) {
            return r;
        }
        if (r == 1) {
            if (qcow2_uses_of(q, i) != USE_NONE) {
                qcow2_cache_drop(q, i * q->cluster_bytes, q->cluster_bytes);
                (void)qcow2_uses_set(q, i, 1, USE_NONE);
            }
            if (i == q->packed_end / q->cluster_bytes) {
                q->packed_end = 0; /* what is packed next goes elsewhere */
            }
            recycle(q, i);
        }
    }
    return 0;
}

/* ---- new blocks and a longer table ---- */

/* [cluster, +count) can be written at all. */
int qcow2_in_file(const struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    uint64_t end = (cluster + count) * q->cluster_bytes;

    if (end > QCOW2_HOST_MOST) {
        return -EFBIG;
    }
    return qcow2_file(q)->grows || end <= blk_size(qcow2_file(q)) ? 0 : -ENOSPC;
}

/* A file that grows does so here, a step ahead: before anybody writes to the new
 * clusters, so that no zeros can come after data. */
static int reach(struct qcow2 *q, uint64_t end)
{
    struct blk *file = qcow2_file(q);
    uint64_t size = blk_size(file);

    if (end <= size || !file->grows) {
        return 0;
    }
    end = (end + FILE_STEP_BYTES - 1) & ~(FILE_STEP_BYTES - 1);
    return blk_zero(file, size, end - size, BLK_UNMAP);
}

int qcow2_claim(struct qcow2 *q, uint64_t cluster, uint64_t count, bool *ret_fresh)
{
    int r = reach(q, (cluster + count) * q->cluster_bytes);

    *ret_fresh = qcow2_file(q)->grows && cluster >= q->fresh_from;
    if (cluster + count > q->fresh_from) {
        q->fresh_from = cluster + count;
    }
    return r;
}

static int add_block(struct qcow2 *q, uint64_t block)
{
    uint64_t cluster = block << q->ref_bits;
    uint64_t at = cluster * q->cluster_bytes;
    struct qcow2_slice *s;
    bool fresh;
    int r = qcow2_in_file(q, cluster, 1);

    if (r != 0) {
        return r;
    }
    if (qcow2_uses_of(q, cluster) != USE_NONE) {
        return qcow2_is_corrupt(q);
    }
    r = qcow2_claim(q, cluster, 1, &fresh);
    if (r == 0 && !fresh) {
        r = qcow2_io_zero(q, at, q->cluster_bytes);
    }
    if (r == 0) {
        r = qcow2_uses_set(q, cluster, 1, USE_REF);
    }
    if (r == 0) {
        r = qcow2_slice_get(q, at, USE_REF, &s);
    }
    if (r == 0) {
        write_count(q->header.refcount_order, s->data, 0, 1);
        qcow2_slice_dirty(q, s);
        qcow2_table_set(q, &q->rt, (uint32_t)block, at);
    } else {
        (void)qcow2_uses_set(q, cluster, 1, USE_NONE);
    }
    return r;
}

/* A longer table: `blocks` new blocks from `first` on, that count themselves and the
 * `clusters` of the table behind them. */
struct growth {
    uint64_t first;
    uint64_t blocks;
    uint64_t clusters;
};

static int plan_growth(const struct qcow2 *q, uint64_t block, struct growth *g)
{
    uint64_t per_cluster = q->cluster_bytes / 8;
    uint64_t wanted = q->rt.count + q->rt.count / 2 + 1;

    *g = (struct growth){.first = block, .blocks = 1};
    for (;;) {
        uint64_t entries = block + g->blocks > wanted ? block + g->blocks : wanted;
        uint64_t needed;

        g->clusters = (entries + per_cluster - 1) / per_cluster;
        needed =
            (g->clusters + g->blocks + ((uint64_t)1 << q->ref_bits) - 1) >> q->ref_bits;
        if (g->clusters * q->cluster_bytes > QCOW2_RT_BYTES_MOST) {
            return -EFBIG;
        }
        if (needed <= g->blocks) {
            return 0;
        }
        g->blocks = needed;
    }
}

/* Write the new blocks and the table, none of which anybody refers to yet. */
static int write_growth(struct qcow2 *q, const struct growth *g, uint64_t *entry)
{
    uint64_t begin = g->first << q->ref_bits;
    size_t bytes = (size_t)g->blocks * q->cluster_bytes;
    SCOPED(scope_free) uint8_t *counts = fault_aligned(4096, bytes);
    int r;

    if (counts == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < g->blocks + g->clusters; i++) {
        write_count(q->header.refcount_order, counts, i, 1);
    }
    for (uint64_t i = 0; i < g->blocks; i++) {
        entry[g->first + i] = (begin + i) * q->cluster_bytes;
    }
    r = qcow2_io_write(q, counts, bytes, begin * q->cluster_bytes);
    if (r == 0) {
        r = qcow2_io_put_table(q, entry, (uint32_t)(g->clusters * q->cluster_bytes / 8),
                               (begin + g->blocks) * q->cluster_bytes);
    }
    return r != 0 ? r : blk_flush(qcow2_file(q));
}

static int claim_growth(struct qcow2 *q, const struct growth *g)
{
    uint64_t begin = g->first << q->ref_bits;
    bool fresh;
    int r = qcow2_in_file(q, begin, g->blocks + g->clusters);

    for (uint64_t i = 0; r == 0 && i < g->blocks + g->clusters; i++) {
        r = qcow2_uses_of(q, begin + i) != USE_NONE ? qcow2_is_corrupt(q) : 0;
    }
    if (r == 0) {
        r = qcow2_uses_set(q, begin, g->blocks, USE_REF);
    }
    if (r == 0) {
        r = qcow2_uses_set(q, begin + g->blocks, g->clusters, USE_RT);
    }
    return r != 0 ? r : qcow2_claim(q, begin, g->blocks + g->clusters, &fresh);
}

static int grow_table(struct qcow2 *q, uint64_t block)
{
    struct growth g;
    uint64_t old_at = q->header.rt_at;
    uint32_t old_clusters = q->header.rt_clusters;
    struct qcow2_table t = {0};
    int r = plan_growth(q, block, &g);

    if (r == 0) {
        r = claim_growth(q, &g);
    }
    if (r != 0) {
        return r;
    }
    t.count = (uint32_t)(g.clusters * q->cluster_bytes / 8);
    t.entry = fault_calloc(t.count, sizeof *t.entry);
    t.dirty = fault_calloc(1, t.count / 64 + 1);
    t.at = ((g.first << q->ref_bits) + g.blocks) * q->cluster_bytes;
    r = t.entry == NULL || t.dirty == NULL ? -ENOMEM : 0;
    if (r == 0) {
        memcpy(t.entry, q->rt.entry, q->rt.count * sizeof *t.entry);
        r = write_growth(q, &g, t.entry);
    }
    if (r != 0) {
        qcow2_table_fini(&t);
        (void)qcow2_uses_set(q, g.first << q->ref_bits, g.blocks + g.clusters, USE_NONE);
        return r;
    }
    qcow2_table_fini(&q->rt);
    q->rt = t;
    q->header.rt_at = t.at;
    q->header.rt_clusters = (uint32_t)g.clusters;
    q->header_unsure = qcow2_header_store(q) != 0; /* if so, again by the next commit */
    qcow2_free(q, old_at / q->cluster_bytes, old_clusters);
    return 0;
}

int qcow2_ref_cover(struct qcow2 *q, uint64_t cluster)
{
    uint64_t block = cluster >> q->ref_bits;

    if (block < q->rt.count && q->rt.entry[block] != 0) {
        return 0;
    }
    return block < q->rt.count ? add_block(q, block) : grow_table(q, block);
}
