/* repair.c - reference counts are mended.
 *
 * Where the tables of counts are sound, wrong counts are set right in place.  Where they
 * are not (a block outside of the file, one that something else uses, or none for clusters in
 * use), all counts are written anew behind everything in use, and the header leads to
 * them then; the old tables are free. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/check.h"

static int mend_block(struct check *c, uint64_t first, bool leaks_only)
{
    struct qcow2 *q = c->q;
    uint64_t end = first + ((uint64_t)1 << q->ref_bits);
    int r = 0;

    for (uint64_t i = first; r == 0 && i < end; i++) {
        uint64_t wanted = qcow2_count_of(&c->count, i);
        uint64_t refs;

        r = qcow2_ref_get(q, i, &refs);
        if (r == 0 && (refs > wanted || (refs < wanted && !leaks_only))) {
            r = qcow2_ref_set(q, i, wanted);
            q->hint = wanted == 0 && i < q->hint ? i : q->hint;
        }
    }
    return r;
}

int qcow2_repair_counts(struct check *c, bool leaks_only)
{
    struct qcow2 *q = c->q;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < q->rt.count; i++) {
        uint64_t at = q->rt.entry[i];

        if (at != 0 && at % q->cluster_bytes == 0 && at < c->end) {
            r = mend_block(c, (uint64_t)i << q->ref_bits, leaks_only);
        }
    }
    return r;
}

/* ---- anew ---- */

struct anew {
    uint64_t *entry; /* owned: the new table */
    uint64_t at;     /* first cluster of table and blocks */
    uint64_t clusters;
    uint64_t blocks;
};

static bool block_is_used(const struct check *c, uint64_t block)
{
    uint64_t first = block << c->q->ref_bits;

    for (uint64_t i = 0; i < (uint64_t)1 << c->q->ref_bits; i++) {
        if (qcow2_count_of(&c->count, first + i) > 0) {
            return true;
        }
    }
    return false;
}

/* Blocks for all that is in use, and for themselves behind it. */
static int plan_anew(struct check *c, struct anew *a)
{
    struct qcow2 *q = c->q;
    uint64_t per_cluster = q->cluster_bytes / 8;
    uint64_t old_blocks =
        (c->count.end + ((uint64_t)1 << q->ref_bits) - 1) >> q->ref_bits;
    uint64_t used = 0;
    uint64_t all;

    for (uint64_t i = 0; i < old_blocks; i++) {
        used += block_is_used(c, i);
    }
    a->at = c->end / q->cluster_bytes > c->count.end ? c->end / q->cluster_bytes
                                                     : c->count.end;
    a->blocks = used;
    do { /* until they have room for counting themselves */
        uint64_t end;

        a->blocks++;
        end = a->at + a->blocks;
        all = (end >> q->ref_bits) + 2;
        a->clusters = (all + per_cluster - 1) / per_cluster;
        end += a->clusters;
        all = (end >> q->ref_bits) + 1;
    } while (all - (a->at >> q->ref_bits) + used > a->blocks);
    if (a->clusters * q->cluster_bytes > QCOW2_RT_BYTES_MOST) {
        return -EFBIG;
    }
    a->entry = fault_calloc(a->clusters * per_cluster, sizeof *a->entry);
    return a->entry == NULL ? -ENOMEM : qcow2_in_file(q, a->at, a->blocks + a->clusters);
}

static int write_anew(struct check *c, struct anew *a)
{
    struct qcow2 *q = c->q;
    SCOPED(scope_free) uint8_t *room = fault_aligned(4096, q->cluster_bytes);
    uint64_t end = a->at + a->blocks + a->clusters;
    uint64_t next = a->at + a->clusters;
    int r = room == NULL ? -ENOMEM : 0;

    r = r != 0 ? r : qcow2_count_add(&c->count, a->at, a->blocks + a->clusters);
    for (uint64_t b = 0; r == 0 && b << q->ref_bits < end; b++) {
        if (!block_is_used(c, b)) {
            continue;
        }
        memset(room, 0, q->cluster_bytes);
        for (uint32_t i = 0; i < 1u << q->ref_bits; i++) {
            uint64_t v = qcow2_count_of(&c->count, (b << q->ref_bits) + i);

            if (v > qcow2_ref_most(q)) {
                return -EOVERFLOW;
            }
            qcow2_ref_write(q, room, i, v);
        }
        a->entry[b] = next * q->cluster_bytes;
        r = next < end ? qcow2_io_write(q, room, q->cluster_bytes, a->entry[b]) : -EFBIG;
        next++;
    }
    r = r != 0 ? r
               : qcow2_io_put_table(q, a->entry,
                                    (uint32_t)(a->clusters * q->cluster_bytes / 8),
                                    a->at * q->cluster_bytes);
    return r != 0 ? r : blk_flush(qcow2_file(q));
}

int qcow2_rebuild_counts(struct check *c)
{
    struct qcow2 *q = c->q;
    struct anew a = {0};
    uint64_t old_at = q->header.rt_at;
    uint32_t old_clusters = q->header.rt_clusters;
    bool fresh;
    int r = plan_anew(c, &a);

    r = r != 0 ? r : qcow2_claim(q, a.at, a.blocks + a.clusters, &fresh);
    r = r != 0 ? r : write_anew(c, &a);
    if (r == 0) {
        q->header.rt_at = a.at * q->cluster_bytes;
        q->header.rt_clusters = (uint32_t)a.clusters;
        r = qcow2_header_store(q);
        if (r != 0) {
            q->header.rt_at = old_at;
            q->header.rt_clusters = old_clusters;
            q->header_unsure = true;
        }
    }
    if (r == 0) {
        r = qcow2_table_init(q, &q->rt, q->header.rt_at,
                             (uint32_t)(a.clusters * q->cluster_bytes / 8));
        qcow2_cache_clear(q);
        q->hint = 0;
        q->recycled.count = 0;
    }
    free(a.entry);
    return r;
}
