/* check.c - all references against all reference counts.
 *
 * References are counted anew from the header down (active tables, snapshots, bitmaps,
 * the tables of counts themselves) and compared cluster by cluster.  A count that is too
 * low is a corruption: the cluster could be given out twice.  One that is too high is a
 * leak.  The COPIED flags of the active tables have to say whether a count is 1.
 *
 * A cluster that two owners claim gets the sum as its count and loses its flag, so that
 * the next write to it makes a copy: nobody loses data by the repair. */
#include "resource/storage/qcow2/check.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "resource/storage/qcow2/bitmap.h"
#include "resource/storage/qcow2/snapshot.h"

#define REPAIR_TURNS 3

/* ---- counting ---- */

/* A region of whole clusters; false: it is not in the file. */
static int count_region(struct check *c, uint64_t at, uint64_t bytes)
{
    uint64_t cluster = c->q->cluster_bytes;
    uint64_t n = (bytes + cluster - 1) / cluster;

    if (bytes == 0) {
        return 0;
    }
    if (at % cluster != 0 || at >= c->end || n * cluster > c->end - at) {
        c->result.corruptions++;
        return 1;
    }
    return qcow2_count_add(&c->count, at / cluster, n);
}

static int count_table(struct qcow2_walk *w, uint64_t *l1_entry)
{
    struct check *c = w->arg;

    if ((*l1_entry & QCOW2_L1_RESERVED) != 0) {
        c->result.corruptions++;
    }
    if ((*l1_entry & QCOW2_OFFSET) == 0) {
        return 1;
    }
    if (++c->tables > c->end / c->q->cluster_bytes) { /* more than there can be */
        c->result.corruptions++;
        return 1;
    }
    return count_region(c, *l1_entry & QCOW2_OFFSET, 1);
}

static int count_cluster(struct qcow2_walk *w, uint8_t *entry)
{
    struct check *c = w->arg;
    uint64_t v = qcow2_get64(entry);
    uint64_t host = v & QCOW2_OFFSET;
    int r;

    if ((v & QCOW2_COMPRESSED) != 0) {
        struct qcow2_run run = qcow2_packed_run(c->q, v);

        c->result.compressed_clusters += c->in_active;
        c->result.data_clusters += c->in_active;
        if ((v & QCOW2_COPIED) != 0 || qcow2_has_data_file(c->q)) {
            c->result.corruptions++;
        }
        r = count_region(c, run.cluster * c->q->cluster_bytes,
                         run.count * c->q->cluster_bytes);
        return r < 0 ? r : 0;
    }
    if ((v & QCOW2_L2_RESERVED) != 0) {
        c->result.corruptions++;
    }
    c->result.data_clusters += c->in_active && host != 0;
    if (qcow2_has_data_file(c->q)) {
        return 0;
    }
    r = host != 0 ? count_region(c, host, 1) : 0;
    return r < 0 ? r : 0;
}

static int count_tree(struct check *c, uint64_t *l1, uint32_t count)
{
    struct qcow2_walk w = {
        .table = count_table, .cluster = count_cluster, .q = c->q, .arg = c};

    return qcow2_walk(&w, l1, count);
}

static int count_snapshots(struct check *c)
{
    struct qcow2 *q = c->q;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < q->header.snapshots; i++) {
        const struct qcow2_snapshot *s = &q->snapshot[i];
        uint64_t *l1 = NULL;

        r = count_region(c, s->l1_at, (uint64_t)s->l1_count * 8);
        if (r == 0 && qcow2_count_of(&c->count, s->l1_at / q->cluster_bytes) > 1) {
            c->result.corruptions++; /* two trees with one root: count it once */
        } else if (r == 0) {
            r = qcow2_io_table(q, s->l1_at, s->l1_count, &l1);
            r = r != 0 ? r : count_tree(c, l1, s->l1_count);
            free(l1);
        }
        r = r == 1 ? 0 : r;
    }
    if (r == 0 && q->header.snapshots > 0) {
        r = count_region(c, q->header.snapshots_at, q->snapshots_bytes);
    }
    return r < 0 ? r : 0;
}

static int count_bitmaps(struct check *c)
{
    struct qcow2 *q = c->q;
    int r = 0;

    if (q->header.bitmaps > 0) {
        r = count_region(c, q->header.bitmaps_at, q->header.bitmaps_bytes);
    }
    for (const struct qcow2_bitmap *b = q->bitmap; r >= 0 && b != NULL; b = b->next) {
        if (b->at != 0) {
            r = count_region(c, b->at, (uint64_t)b->count * 8);
        }
        for (uint32_t i = 0; r >= 0 && i < b->count && b->place != NULL; i++) {
            uint64_t at = b->place[i] & QCOW2_OFFSET;

            r = at != 0 ? count_region(c, at, 1) : 0;
        }
    }
    return r < 0 ? r : 0;
}

/* The tables of counts. */
static int count_counts(struct check *c)
{
    struct qcow2 *q = c->q;
    int r = count_region(c, q->header.rt_at,
                         (uint64_t)q->header.rt_clusters * q->cluster_bytes);

    for (uint32_t i = 0; r >= 0 && i < q->rt.count; i++) {
        uint64_t at = q->rt.entry[i];

        if (at == 0) {
            continue;
        }
        r = count_region(c, at, 1);
        if (r == 1 || (r == 0 && qcow2_count_of(&c->count, at / q->cluster_bytes) > 1)) {
            c->rebuild = true;
        }
    }
    return r < 0 ? r : 0;
}

static int count_all(struct check *c)
{
    struct qcow2 *q = c->q;
    int r = qcow2_count_add(&c->count, 0, 1);

    if (r == 0) {
        r = count_region(c, q->header.l1_at, (uint64_t)q->header.l1_count * 8);
    }
    c->in_active = true;
    r = r < 0 ? r : count_tree(c, q->l1.entry, q->l1.count);
    c->in_active = false;
    r = r < 0 ? r : count_snapshots(c);
    r = r < 0 ? r : count_bitmaps(c);
    if (r >= 0 && q->header.crypt_at != 0) {
        r = count_region(c, q->header.crypt_at, q->header.crypt_bytes);
    }
    if (r >= 0 && !c->without_counts) {
        r = count_counts(c);
    }
    return r < 0 ? r : 0;
}

/* ---- comparing ---- */

static int compare_block(struct check *c, uint64_t first)
{
    struct qcow2 *q = c->q;
    uint64_t end = first + ((uint64_t)1 << q->ref_bits);
    uint32_t per_slice = (q->slice_bytes * 8) >> q->header.refcount_order;

    for (uint64_t at = first; at < end; at += per_slice) {
        struct qcow2_slice *s;
        uint32_t k;
        int r = qcow2_ref_slice(q, at, &s, &k);

        if (r != 0) {
            return r;
        }
        for (uint32_t i = 0; i < per_slice; i++) {
            uint64_t refs = qcow2_ref_read(q, s->data, i);
            uint64_t wanted = qcow2_count_of(&c->count, at + i);

            c->result.corruptions += refs < wanted;
            c->result.leaks += refs > wanted;
        }
    }
    return 0;
}

static int compare_all(struct check *c)
{
    struct qcow2 *q = c->q;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < q->rt.count; i++) {
        uint64_t at = q->rt.entry[i];

        if (at != 0 && at % q->cluster_bytes == 0 && at < c->end) {
            r = compare_block(c, (uint64_t)i << q->ref_bits);
        }
    }
    for (uint32_t i = 0; i < c->count.buckets; i++) { /* what no block counts */
        for (struct count_page *p = c->count.bucket[i]; p != NULL; p = p->next) {
            for (uint32_t k = 0; k < COUNT_PAGE; k++) {
                uint64_t block = (p->number * COUNT_PAGE + k) >> q->ref_bits;

                if (p->refs[k] > 0 && (block >= q->rt.count || q->rt.entry[block] == 0)) {
                    c->result.corruptions++;
                    c->rebuild = true;
                }
            }
        }
    }
    return r;
}

/* ---- flags ---- */

/* The entry with the flag that it should have. */
static int right_flag(struct check *c, uint64_t entry, uint64_t *ret)
{
    uint64_t refs;
    int r = qcow2_ref_get(c->q, (entry & QCOW2_OFFSET) / c->q->cluster_bytes, &refs);

    *ret = refs == 1 ? entry | QCOW2_COPIED : entry & ~QCOW2_COPIED;
    if (r == 0 && *ret != entry) {
        c->flags_wrong++;
    }
    return r;
}

static bool in_file(const struct check *c, uint64_t entry)
{
    uint64_t at = entry & QCOW2_OFFSET;

    return at != 0 && at % c->q->cluster_bytes == 0 && at < c->end;
}

static int flag_table(struct qcow2_walk *w, uint64_t *l1_entry)
{
    struct check *c = w->arg;
    uint64_t now;
    int r;

    if (!in_file(c, *l1_entry) || ++c->tables > c->end / c->q->cluster_bytes) {
        return 1;
    }
    r = right_flag(c, *l1_entry, &now);
    if (r == 0 && c->fix_flags && now != *l1_entry) {
        c->flags_fixed++;
        qcow2_table_set(c->q, &c->q->l1, (uint32_t)(l1_entry - c->q->l1.entry), now);
    }
    return r;
}

static int flag_cluster(struct qcow2_walk *w, uint8_t *entry)
{
    struct check *c = w->arg;
    uint64_t v = qcow2_get64(entry);
    uint64_t now;
    int r;

    if ((v & QCOW2_COMPRESSED) != 0 || qcow2_has_data_file(c->q) || !in_file(c, v)) {
        return 0;
    }
    r = right_flag(c, v, &now);
    if (r == 0 && c->fix_flags && now != v) {
        c->flags_fixed++;
        qcow2_put64(entry, now);
        return 1;
    }
    return r;
}

static int check_flags(struct check *c)
{
    struct qcow2_walk w = {
        .table = flag_table, .cluster = flag_cluster, .q = c->q, .arg = c};

    c->flags_wrong = 0;
    c->tables = 0;
    return qcow2_walk(&w, c->q->l1.entry, c->q->l1.count);
}

/* ---- the whole ---- */

static int look(struct check *c)
{
    int r;

    c->end = (blk_size(qcow2_file(c->q)) + c->q->cluster_bytes - 1) &
             ~(uint64_t)(c->q->cluster_bytes - 1);
    qcow2_count_fini(&c->count);
    c->result = (struct qcow2_check_result){0};
    c->rebuild = false;
    r = count_all(c);
    r = r != 0 ? r : compare_all(c);
    r = r != 0 ? r : check_flags(c);
    c->result.corruptions += c->flags_wrong;
    c->result.file_end = c->count.end * c->q->cluster_bytes;
    return r;
}

static int repair(struct check *c, bool leaks_only)
{
    struct qcow2 *q = c->q;
    int r;

    if (c->rebuild && !leaks_only) {
        c->without_counts = true;
        qcow2_count_fini(&c->count);
        r = count_all(c);
        c->without_counts = false;
        r = r != 0 ? r : qcow2_rebuild_counts(c);
    } else {
        r = qcow2_repair_counts(c, leaks_only);
    }
    r = r != 0 ? r : qcow2_settle(q);
    if (r == 0 && !leaks_only) {
        c->fix_flags = true;
        r = check_flags(c);
        c->fix_flags = false;
        r = r != 0 ? r : qcow2_settle(q);
    }
    return r != 0 ? r : qcow2_uses_build(q);
}

static bool is_sound(const struct check *c)
{
    return c->result.corruptions == 0 && c->result.leaks == 0;
}

static uint64_t fewer(uint64_t before, uint64_t now)
{
    return before > now ? before - now : 0;
}

/* New tables of counts may be larger than they turn out to need: a second turn frees
 * the rest. */
static int repair_in_turns(struct check *c, enum qcow2_repair how)
{
    struct qcow2_check_result before = c->result;
    int r = 0;

    for (unsigned turn = 0; r == 0 && turn < REPAIR_TURNS && !is_sound(c); turn++) {
        r = repair(c, how == QCOW2_REPAIR_LEAKS);
        r = r != 0 ? r : look(c);
    }
    c->result.repaired_corruptions = fewer(before.corruptions, c->result.corruptions);
    c->result.repaired_leaks = fewer(before.leaks, c->result.leaks);
    return r;
}

static int check_and_repair(struct check *c, enum qcow2_repair how)
{
    struct qcow2 *q = c->q;
    int r = look(c);

    if (r == 0 && how != QCOW2_REPAIR_NOTHING && !is_sound(c)) {
        r = repair_in_turns(c, how);
    }
    if (r == 0 && how == QCOW2_REPAIR_ALL && c->result.corruptions == 0 &&
        (q->header.incompatible & (QCOW2_DIRTY | QCOW2_CORRUPT)) != 0) {
        q->header.incompatible &= ~(QCOW2_DIRTY | QCOW2_CORRUPT);
        q->dirty_marked = false;
        r = qcow2_header_store(q);
        q->corrupt = false;
    }
    return r;
}

int qcow2_check(struct blk *disk, enum qcow2_repair repair_how,
                struct qcow2_check_result *ret, struct err *e)
{
    struct check c = {.q = qcow2_of(disk)};
    int r = 0;

    if (repair_how != QCOW2_REPAIR_NOTHING && disk->read_only) {
        return err_set(e, -EROFS, "cannot repair '%s': it is read only", c.q->label);
    }
    blk_drain_begin(disk);
    if (!disk->read_only && !c.q->corrupt) {
        r = qcow2_settle(c.q);
    }
    r = r != 0 ? r : check_and_repair(&c, repair_how);
    blk_drain_end(disk);
    qcow2_count_fini(&c.count);
    *ret = c.result;
    return r == 0 ? 0 : err_sys(e, r, "cannot check '%s'", c.q->label);
}
