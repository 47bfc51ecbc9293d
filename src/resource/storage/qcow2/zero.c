/* zero.c - zeros without data, and room given back.
 *
 * Whole clusters (subclusters) change their L2 entries only; the pieces around them are
 * written.  Version 2 has no way to say "zeros", and a raw data file has to hold them:
 * there zeros are data. */
#include <errno.h>

#include "resource/storage/qcow2/parts.h"

static const uint8_t zeros[65536];

int qcow2_write_zeros(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
    int r = 0;

    while (r == 0 && bytes > 0) {
        size_t n = bytes < sizeof zeros ? (size_t)bytes : sizeof zeros;
        struct iovec piece = {(void *)(uintptr_t)zeros, n};

        r = qcow2_guest_write(q, (struct blk_vec){.iov = &piece, .bytes = n}, off);
        off += n;
        bytes -= n;
    }
    return r;
}

/* How a range is to be emptied. */
struct emptying {
    bool unmap;   /* give host clusters back */
    bool nothing; /* there is no backing file: "nothing" reads zeros as well */
};

/* A whole cluster without subclusters. */
static uint64_t empty_entry(const struct qcow2 *q, uint64_t old, struct emptying how)
{
    bool keeps = !how.unmap && (old & QCOW2_COMPRESSED) == 0 &&
                 (old & QCOW2_COPIED) != 0 && q->header.version == 3;

    if (keeps) {
        return old | QCOW2_ZERO;
    }
    return how.nothing ? 0 : QCOW2_ZERO;
}

static void empty_plain(struct qcow2 *q, uint8_t *p, struct emptying how)
{
    uint64_t old = qcow2_get64(p);
    uint64_t now = empty_entry(q, old, how);

    if (how.nothing && old == 0) {
        now = 0;
    }
    qcow2_put64(p, now);
    if ((now & QCOW2_OFFSET) == 0) {
        qcow2_free_entry(q, old);
    }
}

static void empty_subs(struct qcow2 *q, uint8_t *p, uint32_t mask, struct emptying how)
{
    uint64_t old = qcow2_get64(p);
    uint64_t bits = (old & QCOW2_COMPRESSED) != 0 ? 0 : qcow2_get64(p + 8);

    bits &= ~(uint64_t)mask;
    bits = how.nothing && how.unmap ? bits & ~((uint64_t)mask << 32)
                                    : bits | (uint64_t)mask << 32;
    if ((uint32_t)bits == 0 && (how.unmap || (old & QCOW2_COPIED) == 0)) {
        qcow2_put64(p, 0);
        qcow2_free_entry(q, old);
    }
    qcow2_put64(p + 8, bits);
}

/* The cluster's part of [off, end) as bits; 0: a part of a packed cluster, which has
 * no subclusters. */
static uint32_t part_mask(const struct qcow2 *q, const uint8_t *p, uint64_t at,
                          uint64_t off, uint64_t end)
{
    uint64_t from = off > at ? (off - at) / q->sub_bytes : 0;
    uint64_t to = end < at + q->cluster_bytes ? (end - at) / q->sub_bytes : q->subs;

    if ((qcow2_get64(p) & QCOW2_COMPRESSED) != 0 && to - from < q->subs) {
        return 0;
    }
    return (uint32_t)(((uint64_t)1 << to) - ((uint64_t)1 << from));
}

/* Entries of one slice; *ret_end is how far it came. */
static int empty_slice(struct qcow2 *q, uint64_t off, uint64_t end, struct emptying how,
                       uint64_t *ret_end)
{
    uint64_t at = off & ~(uint64_t)(q->cluster_bytes - 1);
    uint64_t left = qcow2_entries_left(q, off);
    struct qcow2_slice *s;
    uint8_t *p;
    int r = qcow2_own_table(q, off);

    if (r == 0) {
        r = qcow2_entry(q, off, &s, &p);
    }
    *ret_end = off;
    for (; r == 0 && left > 0 && at < end; left--) {
        if (!qcow2_extended(q)) {
            empty_plain(q, p, how);
        } else {
            uint32_t mask = part_mask(q, p, at, off, end);

            if (mask == 0) {
                return 0;
            }
            empty_subs(q, p, mask, how);
        }
        qcow2_slice_dirty(q, s);
        at += q->cluster_bytes;
        p += q->entry_bytes;
        *ret_end = at < end ? at : end;
    }
    return r;
}

/* Guest bytes from `off` on that have no L2 table and read zeros without one. */
static uint64_t hole(struct qcow2 *q, uint64_t off)
{
    struct blk *backing = q->edge[EDGE_BACKING].disk;
    uint64_t span = qcow2_l2_span(q);

    if ((q->l1.entry[off / span] & QCOW2_OFFSET) != 0 ||
        (backing != NULL && off < blk_size(backing))) {
        return 0;
    }
    return span - off % span;
}

/* Whole units. */
static int empty(struct qcow2 *q, uint64_t off, uint64_t end, struct emptying how)
{
    int r = 0;

    while (r == 0 && off < end) {
        uint64_t n = hole(q, off);
        uint64_t span = qcow2_entries_left(q, off) * q->cluster_bytes;
        uint64_t mask = q->cluster_bytes - 1;
        uint64_t stop = (off & ~mask) + span < end ? (off & ~mask) + span : end;
        uint64_t did = off;
        struct qcow2_range range;

        if (n > 0) {
            off += n;
            continue;
        }
        if (qcow2_cache_presses(q)) {
            r = qcow2_commit(q);
        }
        if (r == 0) {
            qcow2_range_lock(q, &range, off & ~mask, (stop + mask) & ~mask);
            r = empty_slice(q, off, stop, how, &did);
            qcow2_range_unlock(q, &range);
        }
        if (r == 0 && did == off) { /* a part of a packed cluster */
            did = (off | mask) + 1 < stop ? (off | mask) + 1 : stop;
            r = qcow2_write_zeros(q, off, did - off);
        }
        off = did;
    }
    return r;
}

int qcow2_guest_zero(struct qcow2 *q, uint64_t off, uint64_t bytes, bool unmap)
{
    struct emptying how = {.unmap = unmap,
                           .nothing = q->edge[EDGE_BACKING].disk == NULL &&
                                      q->header.backing_name == NULL};
    uint64_t unit = q->sub_bytes;
    uint64_t end = off + bytes;
    uint64_t first = (off + unit - 1) & ~(unit - 1);
    uint64_t last =
        end == q->blk.size_bytes ? (end + unit - 1) & ~(unit - 1) : end & ~(unit - 1);
    int r = 0;

    if (q->header.version == 2 || (q->header.autoclear & QCOW2_AUTO_RAW) != 0) {
        return -EOPNOTSUPP;
    }
    if (first >= last) {
        return qcow2_write_zeros(q, off, bytes);
    }
    if (off < first) {
        r = qcow2_write_zeros(q, off, first - off);
    }
    if (r == 0) {
        r = empty(q, first, last, how);
    }
    if (r == 0 && last < end) {
        r = qcow2_write_zeros(q, last, end - last);
    }
    return r;
}

int qcow2_guest_drop(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
    bool nothing = q->edge[EDGE_BACKING].disk == NULL && q->header.backing_name == NULL;
    uint64_t unit = q->sub_bytes;
    uint64_t end = off + bytes;
    uint64_t first = (off + unit - 1) & ~(unit - 1);
    uint64_t last =
        end == q->blk.size_bytes ? (end + unit - 1) & ~(unit - 1) : end & ~(unit - 1);

    if (qcow2_has_data_file(q) && (q->header.autoclear & QCOW2_AUTO_RAW) != 0) {
        return blk_discard(qcow2_data(q), off, bytes);
    }
    if (first >= last || (q->header.version == 2 && !nothing)) {
        return 0;
    }
    return empty(q, first, last, (struct emptying){.unmap = true, .nothing = nothing});
}

int qcow2_guest_clear(struct qcow2 *q, uint64_t off, uint64_t end)
{
    return empty(q, off, end, (struct emptying){.unmap = true, .nothing = true});
}
