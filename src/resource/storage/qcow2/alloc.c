/* alloc.c - free host clusters: found, given out, given back.
 *
 * A cluster that loses a reference passes through lists of runs before its count goes
 * down:
 *
 *   freed    the reference is gone from memory
 *   unused   it is gone from the file, durably (commit.c)
 *   leaving  requests that began before that may still read or write it
 *   ready    nobody does: the next commit lowers the count
 *
 * So a cluster is never used anew while a power cut could bring the old reference
 * back, or while a late request still means its old content.  Requests are counted by
 * two epochs; the older one ends when its last request has left.
 *
 * Free clusters are taken from `recycled` first, then from the first free one behind
 * `hint`. */
#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/grow.h"
#include "resource/storage/qcow2/parts.h"

void qcow2_runs_add(struct qcow2_runs *r, uint64_t cluster, uint64_t count)
{
    struct qcow2_run *last = r->count > 0 ? &r->run[r->count - 1] : NULL;

    if (count == 0) {
        return;
    }
    if (last != NULL && last->cluster + last->count == cluster) {
        last->count += count;
    } else if (grow_for(&r->run, r->count + 1, &r->room)) {
        r->run[r->count++] = (struct qcow2_run){cluster, count};
    } /* else: no memory; they stay counted, which a check finds and nobody suffers */
}

static void move_runs(struct qcow2_runs *to, struct qcow2_runs *from)
{
    if (to->count == 0) {
        struct qcow2_runs empty = *to;

        *to = *from;
        *from = empty;
        return;
    }
    for (uint32_t i = 0; i < from->count; i++) {
        qcow2_runs_add(to, from->run[i].cluster, from->run[i].count);
    }
    from->count = 0;
}

/* ---- epochs ---- */

static void turn(struct qcow2 *q)
{
    while (q->leaving.count == 0 && q->unused.count > 0) {
        unsigned old = q->epoch;

        move_runs(&q->leaving, &q->unused);
        q->epoch ^= 1;
        if (q->active[old] > 0) {
            return;
        }
        move_runs(&q->ready, &q->leaving);
    }
}

unsigned qcow2_enter(struct qcow2 *q)
{
    q->active[q->epoch]++;
    return q->epoch;
}

void qcow2_leave(struct qcow2 *q, unsigned epoch)
{
    q->active[epoch]--;
    if (epoch != q->epoch && q->active[epoch] == 0 && q->leaving.count > 0) {
        move_runs(&q->ready, &q->leaving);
        turn(q);
    }
}

void qcow2_unreferenced(struct qcow2 *q, struct qcow2_runs *take)
{
    move_runs(&q->unused, take);
    free(take->run);
    *take = (struct qcow2_runs){0};
    turn(q);
}

/* ---- giving back ---- */

struct qcow2_run qcow2_packed_run(const struct qcow2 *q, uint64_t entry)
{
    unsigned x = 62 - (q->header.cluster_bits - 8); /* "Compressed Clusters Descriptor" */
    uint64_t at = entry & (((uint64_t)1 << x) - 1);
    uint64_t sectors = ((entry & ~(QCOW2_COPIED | QCOW2_COMPRESSED)) >> x) + 1;
    uint64_t end = (at & ~(uint64_t)511) + sectors * 512;
    uint64_t first = at >> q->header.cluster_bits;

    return (struct qcow2_run){first, ((end - 1) >> q->header.cluster_bits) - first + 1};
}

void qcow2_free(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    qcow2_runs_add(&q->freed, cluster, count);
}

void qcow2_free_entry(struct qcow2 *q, uint64_t entry)
{
    if ((entry & QCOW2_COMPRESSED) != 0) {
        struct qcow2_run run = qcow2_packed_run(q, entry);

        qcow2_free(q, run.cluster, run.count);
        qcow2_packed_forget(q);
    } else if ((entry & QCOW2_OFFSET) != 0 && !qcow2_has_data_file(q)) {
        qcow2_free(q, (entry & QCOW2_OFFSET) / q->cluster_bytes, 1);
    }
}

/* Lower the counts of a run; clusters that become free give their room back first, as
 * they may be given out as soon as the count is 0. */
static int lower_run(struct qcow2 *q, struct qcow2_run run)
{
    uint64_t begin = run.cluster;
    uint64_t end = run.cluster + run.count;
    int r = 0;

    for (uint64_t i = begin; r == 0 && i <= end; i++) {
        uint64_t refs = 0;

        if (i < end) {
            r = qcow2_ref_get(q, i, &refs);
        }
        if (r == 0 && refs != 1 && i > begin) {
            uint64_t at = begin * q->cluster_bytes;
            uint64_t stop = i * q->cluster_bytes;

            stop = stop < blk_size(qcow2_file(q)) ? stop : blk_size(qcow2_file(q));
            if (stop > at) {
                (void)blk_discard(qcow2_file(q), at, stop - at);
            }
        }
        begin = refs != 1 ? i + 1 : begin;
    }
    return r != 0 ? r : qcow2_ref_lower(q, run.cluster, run.count);
}

int qcow2_reclaim(struct qcow2 *q)
{
    struct qcow2_runs now = {0};
    int r = 0;

    move_runs(&now, &q->ready);
    for (uint32_t i = 0; i < now.count; i++) {
        if (r == 0) {
            r = lower_run(q, now.run[i]);
        }
        if (r != 0) { /* tried again later; what was lowered already is a leak at worst */
            qcow2_runs_add(&q->ready, now.run[i].cluster, now.run[i].count);
        }
    }
    free(now.run);
    return r;
}

void qcow2_alloc_undo(struct qcow2 *q, struct qcow2_run run)
{
    if (run.count > 0) {
        (void)qcow2_ref_lower(q, run.cluster, run.count);
    }
}

/* ---- giving out ---- */

static bool take_recycled(struct qcow2 *q, uint64_t least, uint64_t most,
                          struct qcow2_run *ret)
{
    for (uint32_t i = q->recycled.count; i > 0; i--) {
        struct qcow2_run *x = &q->recycled.run[i - 1];

        if (x->count >= least) {
            *ret = (struct qcow2_run){x->cluster, x->count < most ? x->count : most};
            x->cluster += ret->count;
            x->count -= ret->count;
            if (x->count == 0) {
                *x = q->recycled.run[--q->recycled.count];
            }
            return true;
        }
    }
    return false;
}

/* The first run of free clusters behind the hint. */
static int search(struct qcow2 *q, uint64_t least, uint64_t most, struct qcow2_run *ret)
{
    struct qcow2_run run = {.cluster = q->hint};
    uint64_t first_free = UINT64_MAX;

    while (run.count < most) {
        uint64_t at = run.cluster + run.count;
        uint64_t refs;
        int r = qcow2_in_file(q, at, 1);

        if (r == 0 && run.count >= least &&
            ((at >> q->ref_bits) >= q->rt.count || q->rt.entry[at >> q->ref_bits] == 0)) {
            break; /* enough, without a new block */
        }
        r = r == 0 ? qcow2_ref_cover(q, at) : r;
        r = r == 0 ? qcow2_ref_get(q, at, &refs) : r;
        if (r != 0) {
            if (run.count >= least) {
                break;
            }
            return r;
        }
        if (refs == 0) {
            first_free = at < first_free ? at : first_free;
            run.count++;
        } else if (run.count >= least) {
            break;
        } else {
            run = (struct qcow2_run){.cluster = at + 1};
        }
    }
    q->hint = first_free < run.cluster ? first_free : run.cluster + run.count;
    *ret = run;
    return 0;
}

static int take_locked(struct qcow2 *q, uint64_t least, uint64_t most,
                       struct qcow2_run *ret)
{
    int r = take_recycled(q, least, most, ret) ? 0 : search(q, least, most, ret);
    uint64_t i = 0;

    for (; r == 0 && i < ret->count; i++) {
        uint64_t refs;

        r = qcow2_ref_get(q, ret->cluster + i, &refs);
        if (r == 0 && refs != 0) { /* the search had found it before */
            q->hint = ret->cluster < q->hint ? ret->cluster : q->hint;
            r = -EAGAIN;
        } else if (r == 0 && qcow2_uses_of(q, ret->cluster + i) != USE_NONE) {
            r = qcow2_is_corrupt(q);
        }
        if (r == 0) {
            r = qcow2_ref_set(q, ret->cluster + i, 1);
        }
    }
    if (r != 0 && i > 0) {
        (void)qcow2_ref_lower(q, ret->cluster, i - 1);
    }
    return r;
}

int qcow2_alloc(struct qcow2 *q, uint64_t least, uint64_t most, struct qcow2_run *ret,
                bool *ret_fresh)
{
    bool committed = false;
    int r;

    strand_lock(q->blk.strands, &q->alloc_lock);
    do {
        r = take_locked(q, least, most, ret);
        if (r == -ENOSPC && !committed && q->freed.count + q->ready.count > 0) {
            committed = true;
            r = qcow2_commit(q) == 0 ? -EAGAIN : -ENOSPC;
        }
    } while (r == -EAGAIN);
    if (r == 0) {
        r = qcow2_claim(q, ret->cluster, ret->count, ret_fresh);
        if (r != 0) {
            qcow2_alloc_undo(q, *ret);
        }
    }
    strand_unlock(&q->alloc_lock);
    return r;
}
