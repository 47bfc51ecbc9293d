/* commit.c - what is changed in memory goes to the file, in an order that every power
 * cut leaves valid.
 *
 * Data is written before the L2 entry that leads to it is set in memory, and counts
 * are raised before clusters are used.  So a copy of all dirty pieces, taken at one moment, is
 * consistent, and goes down in stages with a flush of the file between them:
 *
 *   1. counts (raised ones only: lowered ones wait, see alloc.c); with them all data so
 *      far becomes durable;
 *   2. the table of refcount blocks, when there are new ones;
 *   3. L2 tables and the L1 table.
 *
 * New L2 tables and refcount blocks read zeros in the file before anybody refers to
 * them, so stages never care which pieces are new.  Changes that come while a commit
 * writes its copy belong to the next one; those who want to flush share it.
 *
 * With lazy refcounts stage 1 leaves the counts out: the dirty bit in the header, which
 * is durable before the first change, says that they are to be counted anew. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/parts.h"

#define PIECES_MOST 128 /* of one write */

struct item {
    uint64_t at;
    uint8_t *copy;
    uint32_t bytes;
    uint8_t stage;
    uint8_t use;
    struct qcow2_slice *slice; /* NULL: a block of a table */
    struct qcow2_table *table;
    uint32_t block;
};

struct batch {
    struct item *item; /* owned */
    uint8_t *copies;   /* owned */
    uint32_t count;
    bool has[4]; /* by stage */
    struct qcow2_runs freed;
};

static bool with_counts(const struct qcow2 *q, bool all)
{
    return all || !q->lazy || q->cache.dirty_ref > q->cache.most / 2;
}

static bool is_clean(const struct qcow2 *q, bool all)
{
    return q->cache.dirty_l2 == 0 && (q->cache.dirty_ref == 0 || !with_counts(q, all)) &&
           q->l1.dirty_count == 0 && q->rt.dirty_count == 0 && q->freed.count == 0 &&
           q->ready.count == 0 && !q->header_unsure;
}

static int flush_both(struct qcow2 *q)
{
    int r = q->edge[EDGE_DATA].disk != NULL ? blk_flush(q->edge[EDGE_DATA].disk) : 0;

    return r != 0 ? r : blk_flush(qcow2_file(q));
}

/* ---- the copy ---- */

static void take(struct batch *b, struct item i)
{
    b->has[i.stage] = true;
    b->item[b->count++] = i;
}

static void copy_slices(struct qcow2 *q, struct batch *b, uint8_t **room, bool counts)
{
    for (uint32_t i = 0; i < q->cache.count; i++) {
        struct qcow2_slice *s = q->cache.list[i];

        if (!s->dirty || (s->kind == USE_REF && !counts)) {
            continue;
        }
        memcpy(*room, s->data, q->slice_bytes);
        take(b, (struct item){.at = s->at,
                              .copy = *room,
                              .bytes = q->slice_bytes,
                              .stage = s->kind == USE_REF ? 1 : 3,
                              .use = s->kind,
                              .slice = s});
        *room += q->slice_bytes;
        s->dirty = false;
        s->writing = true;
        if (s->kind == USE_REF) {
            q->cache.dirty_ref--;
        } else {
            q->cache.dirty_l2--;
        }
    }
}

static void copy_table(struct qcow2 *q, struct batch *b, uint8_t **room,
                       struct qcow2_table *t)
{
    uint32_t bytes = qcow2_file(q)->block_bytes;
    uint32_t per_block = bytes / 8;

    for (uint32_t block = 0; t->dirty_count > 0 && block * per_block < t->count;
         block++) {
        if (t->dirty[block] == 0) {
            continue;
        }
        for (uint32_t i = 0; i < per_block; i++) {
            uint32_t k = block * per_block + i;

            qcow2_put64(*room + 8 * (size_t)i, k < t->count ? t->entry[k] : 0);
        }
        take(b, (struct item){.at = t->at + (uint64_t)block * bytes,
                              .copy = *room,
                              .bytes = bytes,
                              .stage = t == &q->rt ? 2 : 3,
                              .use = t == &q->rt ? USE_RT : USE_L1,
                              .table = t,
                              .block = block});
        *room += bytes;
        t->dirty[block] = 0;
        t->dirty_count--;
    }
}

static int by_place(const void *a, const void *b)
{
    const struct item *x = a;
    const struct item *y = b;

    return x->stage != y->stage ? x->stage - y->stage : (x->at > y->at) - (x->at < y->at);
}

/* All that is dirty, as it is now: nothing suspends in here. */
static int gather(struct qcow2 *q, struct batch *b, bool all)
{
    bool counts = with_counts(q, all);
    size_t slices = q->cache.dirty_l2 + (counts ? q->cache.dirty_ref : 0);
    size_t blocks = q->l1.dirty_count + q->rt.dirty_count;
    uint8_t *room;

    b->item = fault_calloc(slices + blocks + 1, sizeof *b->item);
    b->copies = fault_aligned(4096, slices * q->slice_bytes +
                                        blocks * qcow2_file(q)->block_bytes + 1);
    if (b->item == NULL || b->copies == NULL) {
        return -ENOMEM;
    }
    room = b->copies;
    copy_slices(q, b, &room, counts);
    copy_table(q, b, &room, &q->rt);
    copy_table(q, b, &room, &q->l1);
    qsort(b->item, b->count, sizeof *b->item, by_place);
    b->freed = q->freed;
    q->freed = (struct qcow2_runs){0};
    return 0;
}

/* After a failure: all of it is to be written, still. */
static void put_back(struct qcow2 *q, struct batch *b)
{
    for (uint32_t i = 0; i < b->count; i++) {
        struct item *x = &b->item[i];

        if (x->slice != NULL) {
            qcow2_slice_dirty(q, x->slice);
        } else if (x->table->dirty[x->block] == 0) {
            x->table->dirty[x->block] = 1;
            x->table->dirty_count++;
        }
    }
    for (uint32_t i = 0; i < b->freed.count; i++) {
        qcow2_runs_add(&q->freed, b->freed.run[i].cluster, b->freed.run[i].count);
    }
}

/* ---- stages ---- */

/* One write for items that lie side by side. */
static int write_run(struct qcow2 *q, const struct item *x, uint32_t count,
                     uint32_t *ret_did)
{
    struct iovec piece[PIECES_MOST];
    struct blk_vec v = {.iov = piece};
    uint32_t n = 0;
    int r = 0;

    while (r == 0 && n < count && n < PIECES_MOST && x[n].stage == x->stage &&
           x[n].at == x->at + v.bytes) {
        r = qcow2_uses_check(q, x[n].at, x[n].bytes, (enum qcow2_use)x[n].use);
        piece[n] = (struct iovec){x[n].copy, x[n].bytes};
        v.bytes += x[n].bytes;
        n++;
    }
    *ret_did = n;
    return r != 0 ? r : blk_writev(qcow2_file(q), v, x->at, 0);
}

static int write_stage(struct qcow2 *q, const struct batch *b, unsigned stage)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < b->count;) {
        uint32_t did = 1;

        if (b->item[i].stage == stage) {
            r = write_run(q, &b->item[i], b->count - i, &did);
        }
        i += did;
    }
    return r;
}

static int write_all(struct qcow2 *q, const struct batch *b)
{
    int r = write_stage(q, b, 1);

    if (r == 0) {
        r = flush_both(q);
    }
    if (r == 0 && b->has[2]) {
        r = write_stage(q, b, 2);
        r = r != 0 ? r : blk_flush(qcow2_file(q));
    }
    if (r == 0 && b->has[3]) {
        r = write_stage(q, b, 3);
        r = r != 0 ? r : blk_flush(qcow2_file(q));
    }
    return r;
}

static int commit_locked(struct qcow2 *q, bool all)
{
    struct batch b = {0};
    int r = 0;

    if (q->header_unsure) {
        r = qcow2_header_store(q);
        q->header_unsure = r != 0;
    }
    if (r == 0) {
        r = gather(q, &b, all);
    }
    if (r == 0) {
        r = write_all(q, &b);
        for (uint32_t i = 0; i < b.count; i++) {
            if (b.item[i].slice != NULL) {
                b.item[i].slice->writing = false;
            }
        }
        if (r != 0) {
            put_back(q, &b);
            free(b.freed.run);
        } else {
            qcow2_unreferenced(q, &b.freed);
            r = qcow2_reclaim(q);
        }
    }
    free(b.item);
    free(b.copies);
    return r;
}

static int commit(struct qcow2 *q, bool all)
{
    uint64_t begun = q->commits_begun;
    int r;

    if (q->corrupt) {
        return -EUCLEAN;
    }
    if (!q->commit_lock.held && is_clean(q, all)) {
        return flush_both(q);
    }
    strand_lock(q->blk.strands, &q->commit_lock);
    if (q->commits_begun > begun && !all) {
        r = q->commit_result; /* it began after we were called */
    } else {
        q->commits_begun++;
        r = commit_locked(q, all);
        q->commit_result = r;
    }
    strand_unlock(&q->commit_lock);
    return r;
}

int qcow2_commit(struct qcow2 *q)
{
    return commit(q, false);
}

int qcow2_settle(struct qcow2 *q)
{
    int r;

    do {
        r = commit(q, true);
    } while (r == 0 && !is_clean(q, true));
    return r;
}

int qcow2_mark_dirty(struct qcow2 *q)
{
    int r = 0;

    if (q->lazy && !q->dirty_marked) {
        q->header.incompatible |= QCOW2_DIRTY;
        r = qcow2_header_store(q);
        q->dirty_marked = r == 0;
        if (r != 0) {
            q->header.incompatible &= ~QCOW2_DIRTY;
            q->header_unsure = true;
        }
    }
    return r;
}

int qcow2_mark_clean(struct qcow2 *q)
{
    int r = 0;

    if ((q->header.incompatible & QCOW2_DIRTY) != 0) {
        q->header.incompatible &= ~QCOW2_DIRTY;
        q->dirty_marked = false;
        r = qcow2_header_store(q);
        if (r != 0) {
            q->header.incompatible |= QCOW2_DIRTY;
        }
    }
    return r;
}
