/* resize.c - a disk grows and shrinks.
 *
 * What lies behind a smaller end is unmapped once the smaller size is durable; to
 * grow, everything behind the old end is made to read zeros first: the rest of the last
 * cluster, what a backing file holds there, what an interrupted shrink left behind. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/qcow2/parts.h"

static uint64_t clusters_up(const struct qcow2 *q, uint64_t bytes)
{
    return (bytes + q->cluster_bytes - 1) & ~(uint64_t)(q->cluster_bytes - 1);
}

static int store_size(struct qcow2 *q, uint64_t size)
{
    uint64_t old = q->header.size;
    int r;

    q->header.size = size;
    r = qcow2_header_store(q);
    if (r != 0) {
        q->header.size = old;
        q->header_unsure = true;
    }
    return r;
}

/* A longer L1 table: its copy is durable before the header names it. */
static int grow_l1(struct qcow2 *q, uint32_t count)
{
    uint64_t clusters = clusters_up(q, (uint64_t)count * 8) / q->cluster_bytes;
    struct qcow2_header *h = &q->header;
    uint64_t old_at = h->l1_at;
    uint32_t old_count = h->l1_count;
    uint32_t room = (uint32_t)(clusters * q->cluster_bytes / 8);
    uint64_t *entry = NULL;
    uint8_t *dirty = NULL;
    struct qcow2_run run;
    bool fresh;
    int r = qcow2_settle(q);

    if (r == 0) {
        r = qcow2_alloc(q, clusters, clusters, &run, &fresh);
    }
    if (r != 0) {
        return r;
    }
    entry = fault_calloc(room, sizeof *entry);
    dirty = fault_calloc(1, (size_t)room / 64 + 1);
    r = entry == NULL || dirty == NULL ? -ENOMEM : 0;
    if (r == 0) {
        memcpy(entry, q->l1.entry, (size_t)q->l1.count * sizeof *entry);
        r = qcow2_io_put_table(q, entry, room, run.cluster * q->cluster_bytes);
    }
    r = r != 0 ? r : qcow2_uses_set(q, run.cluster, run.count, USE_L1);
    r = r != 0 ? r : qcow2_commit(q);
    if (r == 0) {
        h->l1_at = run.cluster * q->cluster_bytes;
        h->l1_count = count;
        r = qcow2_header_store(q);
        if (r != 0) {
            h->l1_at = old_at;
            h->l1_count = old_count;
            q->header_unsure = true;
        }
    }
    if (r != 0) {
        free(entry);
        free(dirty);
        qcow2_alloc_undo(q, run);
        return r;
    }
    qcow2_table_fini(&q->l1);
    q->l1 = (struct qcow2_table){
        .entry = entry, .count = count, .at = h->l1_at, .dirty = dirty};
    if (old_count > 0) {
        qcow2_free(q, old_at / q->cluster_bytes,
                   clusters_up(q, (uint64_t)old_count * 8) / q->cluster_bytes);
    }
    return 0;
}

/* Nothing is mapped in [off, end), whole clusters. */
static int unmap(struct qcow2 *q, uint64_t off, uint64_t end)
{
    uint64_t span = qcow2_l2_span(q);
    int r = 0;

    while (r == 0 && off < end) {
        uint64_t stop = (off / span + 1) * span;
        bool held = (q->l1.entry[off / span] & QCOW2_OFFSET) != 0;

        stop = stop < end ? stop : end;
        r = held ? qcow2_guest_clear(q, off, stop) : 0;
        off = stop;
    }
    return r;
}

static int shrink(struct qcow2 *q, uint64_t size)
{
    uint64_t old = q->blk.size_bytes;
    uint64_t begin = clusters_up(q, size);
    uint64_t end = clusters_up(q, old);
    int r = qcow2_settle(q);

    r = r != 0 ? r : store_size(q, size);
    if (r != 0) {
        return r;
    }
    q->blk.size_bytes = size;
    (void)unmap(q, begin, end); /* what fails is left for the next time it grows */
    if (q->edge[EDGE_DATA].disk != NULL && q->edge[EDGE_DATA].disk->size_bytes > size) {
        r = blk_resize(q->edge[EDGE_DATA].disk, size, NULL);
    }
    return r != 0 ? r : qcow2_settle(q);
}

/* [old, size) reads zeros, whatever is there. */
static int clear_room(struct qcow2 *q, uint64_t old, uint64_t size)
{
    struct blk *backing = q->edge[EDGE_BACKING].disk;
    uint64_t begin = clusters_up(q, old);
    uint64_t end = clusters_up(q, size);
    uint64_t until =
        backing != NULL && blk_size(backing) < size ? blk_size(backing) : size;
    bool based = backing != NULL || q->header.backing_name != NULL;
    int r = 0;

    q->blk.size_bytes = size;
    if (old < begin) { /* the rest of the last cluster */
        uint64_t n = (begin < size ? begin : size) - old;

        r = qcow2_guest_zero(q, old, n, false);
        r = r == -EOPNOTSUPP ? qcow2_write_zeros(q, old, n) : r;
    }
    if (r == 0 && begin < end) {
        r = unmap(q, begin, end);
    }
    if (r == 0 && based && begin < until) {
        r = qcow2_guest_zero(q, begin, until - begin, true);
        r = r == -EOPNOTSUPP ? qcow2_write_zeros(q, begin, until - begin) : r;
    }
    return r;
}

static int enlarge(struct qcow2 *q, uint64_t size)
{
    uint64_t old = q->blk.size_bytes;
    uint64_t span = qcow2_l2_span(q);
    uint64_t count = (size + span - 1) / span;
    int r = 0;

    if (count * 8 > QCOW2_L1_BYTES_MOST) {
        return -EFBIG;
    }
    if (count > q->l1.count) { /* meanwhile no entry of the table changes */
        strand_lock(q->blk.strands, &q->table_lock);
        r = grow_l1(q, (uint32_t)count);
        strand_unlock(&q->table_lock);
    }
    if (r == 0 && q->edge[EDGE_DATA].disk != NULL &&
        q->edge[EDGE_DATA].disk->size_bytes < size) {
        r = blk_resize(q->edge[EDGE_DATA].disk, size, NULL);
    }
    r = r != 0 ? r : clear_room(q, old, size);
    r = r != 0 ? r : qcow2_settle(q);
    r = r != 0 ? r : store_size(q, size);
    if (r != 0) {
        q->blk.size_bytes = old;
    }
    return r;
}

int qcow2_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct qcow2 *q = qcow2_of(b);
    unsigned epoch;
    int r = 0;

    if (size_bytes > BLK_SIZE_MOST_BYTES - (1u << 22)) {
        return err_set(e, -EFBIG, "cannot resize '%s': too large", b->label);
    }
    epoch = qcow2_enter(q);
    if (size_bytes < b->size_bytes) {
        r = shrink(q, size_bytes);
    } else if (size_bytes > b->size_bytes) {
        r = enlarge(q, size_bytes);
    }
    qcow2_leave(q, epoch);
    r = r != 0 ? r : qcow2_bitmaps_resize(q, size_bytes);
    return r == 0 ? 0 : err_sys(e, r, "cannot resize '%s'", b->label);
}
