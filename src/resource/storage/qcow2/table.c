/* table.c - L2 tables that may be changed, and guest ranges that are.
 *
 * A table that a snapshot shares (its L1 entry has no COPIED bit) is copied before its
 * first change.  The new cluster holds the copy, or zeros, in the file before the L1
 * entry is set in memory; the next commit makes both durable in that order.
 *
 * Ranges that overlap are changed one after the other; requests that change no metadata
 * do not ask here. */
#include <errno.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/parts.h"

/* What the new table begins with. */
static int fill_table(struct qcow2 *q, uint64_t old, uint64_t at, bool fresh)
{
    SCOPED(scope_free) uint8_t *copy = NULL;
    int r;

    if (old == 0) {
        return fresh ? 0 : qcow2_io_zero(q, at, q->cluster_bytes);
    }
    if (old % q->cluster_bytes != 0) {
        return qcow2_is_corrupt(q);
    }
    copy = fault_aligned(4096, q->cluster_bytes);
    if (copy == NULL) {
        return -ENOMEM;
    }
    r = qcow2_io_read(q, copy, q->cluster_bytes, old);
    return r != 0 ? r : qcow2_io_write(q, copy, q->cluster_bytes, at);
}

static int new_table(struct qcow2 *q, uint32_t i)
{
    uint64_t old = q->l1.entry[i] & QCOW2_OFFSET;
    struct qcow2_run run;
    bool fresh;
    int r = qcow2_alloc(q, 1, 1, &run, &fresh);

    if (r != 0) {
        return r;
    }
    r = fill_table(q, old, run.cluster * q->cluster_bytes, fresh);
    if (r == 0) {
        r = qcow2_uses_set(q, run.cluster, 1, USE_L2);
    }
    if (r != 0) {
        qcow2_alloc_undo(q, run);
        return r;
    }
    qcow2_table_set(q, &q->l1, i, run.cluster * q->cluster_bytes | QCOW2_COPIED);
    if (old != 0) {
        qcow2_free(q, old / q->cluster_bytes, 1);
    }
    return 0;
}

int qcow2_own_table(struct qcow2 *q, uint64_t off)
{
    uint64_t i = off >> q->span_bits;
    int r = q->corrupt ? -EUCLEAN : 0;

    if (r == 0 && q->lazy && !q->dirty_marked) {
        strand_lock(q->blk.strands, &q->table_lock);
        r = qcow2_mark_dirty(q);
        strand_unlock(&q->table_lock);
    }
    if (r != 0 || i >= q->l1.count || (q->l1.entry[i] & QCOW2_COPIED) != 0) {
        return r != 0 ? r : i >= q->l1.count ? -ERANGE : 0;
    }
    strand_lock(q->blk.strands, &q->table_lock);
    if ((q->l1.entry[i] & QCOW2_COPIED) == 0) {
        r = new_table(q, (uint32_t)i);
    }
    strand_unlock(&q->table_lock);
    return r;
}

int qcow2_entry(struct qcow2 *q, uint64_t off, struct qcow2_slice **ret_slice,
                uint8_t **ret_entry)
{
    uint64_t table = q->l1.entry[off >> q->span_bits] & QCOW2_OFFSET;
    uint64_t byte =
        ((off & (qcow2_l2_span(q) - 1)) >> q->header.cluster_bits) * q->entry_bytes;
    int r;

    if (table == 0 || table % q->cluster_bytes != 0) {
        return qcow2_is_corrupt(q);
    }
    r = qcow2_slice_get(q, table + byte / q->slice_bytes * q->slice_bytes, USE_L2,
                        ret_slice);
    if (r == 0) {
        *ret_entry = (*ret_slice)->data + byte % q->slice_bytes;
    }
    return r;
}

/* ---- ranges ---- */

void qcow2_range_lock(struct qcow2 *q, struct qcow2_range *r, uint64_t off, uint64_t end)
{
    for (struct qcow2_range *x = q->ranges; x != NULL;) {
        if (x->off < end && off < x->end) {
            strand_wait(q->blk.strands, &x->waiters);
            x = q->ranges;
        } else {
            x = x->next;
        }
    }
    *r = (struct qcow2_range){.off = off, .end = end, .next = q->ranges};
    q->ranges = r;
}

void qcow2_range_unlock(struct qcow2 *q, struct qcow2_range *r)
{
    struct qcow2_range **at = &q->ranges;
    struct strand_queue waiters;

    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    waiters = r->waiters; /* `r` ends with its owner's frame, which may run meanwhile */
    (void)strand_wake_all(&waiters);
}
