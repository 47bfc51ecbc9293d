/* write.c - writing.
 *
 * Three ways:
 *  - clusters (or subclusters) that hold data and are ours alone are written where they
 *    are: no lock, no allocation, one lower request per stretch;
 *  - subclusters without data in a cluster that is ours get theirs there;
 *  - everything else gets new clusters.
 * The latter two lock the guest range, write data and what is missing around it as one
 * request, and set the L2 entries in memory only then, so that neither a concurrent
 * read nor a power cut ever finds an entry before its data. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/parts.h"

#define PIECES_FEW 32
#define FREED_MOST 4096 /* runs that wait for a flush before one is made for them */

/* ---- to the host clusters ---- */

static int write_encrypted(struct qcow2 *q, struct blk_vec from, uint64_t host)
{
    SCOPED(scope_free) uint8_t *copy = fault_aligned(4096, from.bytes);
    int r;

    if (copy == NULL) {
        return -ENOMEM;
    }
    blk_vec_take(from, copy);
    r = q->crypt->encrypt(q->crypt, copy, from.bytes, host);
    return r != 0 ? r : blk_write(qcow2_data(q), copy, from.bytes, host, 0);
}

/* Bytes that a pipe holds, as a window that is written from its begin on and that nobody
 * looks into: only whole clusters come this way. */
struct pipe_window {
    struct iovec mark; /* first; its base is `pipe_mark` */
    int from;
    uint64_t left;
};

static const char pipe_mark;

static bool is_pipe(struct blk_vec v)
{
    return v.iov->iov_base == &pipe_mark;
}

static int write_piped(struct qcow2 *q, struct blk_vec from, uint64_t host)
{
    struct pipe_window *p = (struct pipe_window *)(uintptr_t)from.iov;
    int r = blk_write_pipe(qcow2_data(q), p->from, from.bytes, host, 0);

    p->left -= r == 0 ? from.bytes : 0;
    return r;
}

static int write_host(struct qcow2 *q, struct blk_vec from, uint64_t host)
{
    int r = q->corrupt ? -EUCLEAN : 0;

    if (r == 0 && !qcow2_has_data_file(q)) {
        r = qcow2_uses_check(q, host, from.bytes, USE_NONE);
    }
    if (r != 0) {
        return r;
    }
    if (is_pipe(from)) {
        return write_piped(q, from, host);
    }
    return q->crypt != NULL ? write_encrypted(q, from, host)
                            : blk_writev(qcow2_data(q), from, host, 0);
}

/* What surrounds the written bytes in the clusters that they are a part of. */
struct edges {
    uint64_t begin;
    uint64_t end;
    uint64_t host; /* of `begin` */
    bool fresh;    /* the host clusters read zeros */
};

static int reads_zeros(struct qcow2 *q, uint64_t off, uint64_t bytes, bool *ret)
{
    uint64_t end = off + bytes < q->blk.size_bytes ? off + bytes : q->blk.size_bytes;

    *ret = true;
    while (*ret && off < end) {
        struct qcow2_extent x;
        int r = qcow2_map(q, off, end - off, &x);

        if (r == 0 && x.kind == KIND_NOTHING) {
            bool data;

            r = qcow2_backing_has_data(q, off, x.bytes, &data);
            *ret = !data;
        } else if (x.kind != KIND_ZERO) {
            *ret = false;
        }
        if (r != 0) {
            return r;
        }
        off += x.bytes;
    }
    return 0;
}

/* Read [off, off + *bytes) as it was; *bytes is 0 afterwards if it need not be written. */
static int read_edge(struct qcow2 *q, uint8_t *to, uint64_t off, size_t *bytes,
                     bool fresh)
{
    struct iovec piece;
    bool zeros = false;
    int r;

    if (*bytes == 0) {
        return 0;
    }
    r = reads_zeros(q, off, *bytes, &zeros);
    if (r != 0 || !zeros) {
        return r != 0 ? r : qcow2_guest_read(q, blk_vec_of(&piece, to, *bytes), off);
    }
    if (fresh && q->crypt == NULL) {
        *bytes = 0;
    }
    return 0; /* the buffer has zeros */
}

static int write_between(struct qcow2 *q, struct blk_vec from, uint64_t off,
                         const struct edges *x)
{
    size_t head = (size_t)(off - x->begin);
    size_t tail = (size_t)(x->end - off - from.bytes);
    SCOPED(scope_free) uint8_t *room = fault_aligned(4096, head + tail);
    SCOPED(scope_free) struct iovec *many = NULL;
    struct iovec few[PIECES_FEW];
    struct iovec *piece = few;
    struct blk_vec v = {0};
    uint64_t host;
    unsigned n = 0;
    int r = room == NULL ? -ENOMEM : 0;

    if (r == 0) {
        r = read_edge(q, room, x->begin, &head, x->fresh);
    }
    if (r == 0) {
        r = read_edge(q, room + (off - x->begin), off + from.bytes, &tail, x->fresh);
    }
    if (r == 0 && blk_vec_pieces(from, few + 1, PIECES_FEW - 2) == PIECES_FEW - 2) {
        many = fault_malloc((BLK_VEC_PIECES_MOST + 2) * sizeof *many);
        piece = many;
        r = many == NULL ? -ENOMEM : 0;
    }
    if (r != 0) {
        return r;
    }
    host = x->host + (off - x->begin) - head;
    if (head > 0) {
        piece[n++] = (struct iovec){room, head};
    }
    n += blk_vec_pieces(from, piece + n,
                        piece == few ? PIECES_FEW - 2 : BLK_VEC_PIECES_MOST);
    if (tail > 0) {
        piece[n++] = (struct iovec){room + (off - x->begin), tail};
    }
    v.iov = piece;
    v.bytes = head + from.bytes + tail;
    return write_host(q, v, host);
}

static int write_around(struct qcow2 *q, struct blk_vec from, uint64_t off,
                        const struct edges *x)
{
    return x->begin == off && x->end == off + from.bytes ? write_host(q, from, x->host)
                                                         : write_between(q, from, off, x);
}

/* ---- to the tables ---- */

/* The bits of the subclusters of [begin, end) in the cluster at `at`. */
static uint32_t sub_mask(const struct qcow2 *q, uint64_t at, uint64_t begin, uint64_t end)
{
    uint64_t from = begin > at ? (begin - at) / q->sub_bytes : 0;
    uint64_t to = end < at + q->cluster_bytes ? (end - at) / q->sub_bytes : q->subs;
    uint64_t mask = ((uint64_t)1 << to) - ((uint64_t)1 << from);

    return (uint32_t)mask;
}

/* [begin, end) has data now, in clusters that were ours already. */
static int mark_data(struct qcow2 *q, uint64_t begin, uint64_t end)
{
    uint64_t at = begin & ~(uint64_t)(q->cluster_bytes - 1);
    struct qcow2_slice *s;
    uint8_t *p;
    int r = qcow2_entry(q, at, &s, &p);

    for (; r == 0 && at < end; at += q->cluster_bytes, p += q->entry_bytes) {
        if (qcow2_extended(q)) {
            uint64_t mask = sub_mask(q, at, begin, end);
            uint64_t bits = qcow2_get64(p + 8);

            qcow2_put64(p + 8, (bits & ~(mask << 32)) | mask);
        } else {
            qcow2_put64(p, qcow2_get64(p) & ~QCOW2_ZERO);
        }
        qcow2_slice_dirty(q, s);
    }
    return r;
}

/* Let `count` entries from `off` on lead to host clusters from `host` on; `bits`: their
 * subclusters, UINT64_MAX: as they are. */
static int set_hosts(struct qcow2 *q, uint64_t off, uint64_t count, uint64_t host,
                     uint64_t bits)
{
    struct qcow2_slice *s;
    uint8_t *p;
    int r = qcow2_entry(q, off, &s, &p);

    for (uint64_t i = 0; r == 0 && i < count; i++, p += q->entry_bytes) {
        uint64_t old = qcow2_get64(p);

        qcow2_put64(p, (host + i * q->cluster_bytes) | QCOW2_COPIED);
        if (qcow2_extended(q) && bits != UINT64_MAX) {
            qcow2_put64(p + 8, bits);
        }
        qcow2_free_entry(q, old);
        qcow2_slice_dirty(q, s);
    }
    return r;
}

/* Host clusters for up to `count` guest clusters. */
static int find_hosts(struct qcow2 *q, uint64_t off, uint64_t count,
                      struct qcow2_run *ret, bool *ret_fresh)
{
    if (qcow2_has_data_file(q)) { /* guest offset and host offset are the same */
        *ret = (struct qcow2_run){off / q->cluster_bytes, count};
        *ret_fresh = false;
        return 0;
    }
    return qcow2_alloc(q, 1, count, ret, ret_fresh);
}

static void lose_hosts(struct qcow2 *q, struct qcow2_run run)
{
    if (!qcow2_has_data_file(q)) {
        qcow2_alloc_undo(q, run);
    }
}

/* ---- the ways ---- */

bool qcow2_is_ready(const struct qcow2_extent *x)
{
    return x->has_host && x->own && x->kind != KIND_PACKED;
}

static int write_new(struct qcow2 *q, struct blk_vec from, uint64_t off, size_t *ret_did)
{
    uint64_t mask = q->cluster_bytes - 1;
    struct edges x = {.begin = off & ~mask, .end = (off + from.bytes + mask) & ~mask};
    struct qcow2_run run;
    int r = find_hosts(q, x.begin, (x.end - x.begin) / q->cluster_bytes, &run, &x.fresh);

    if (r != 0) {
        return r;
    }
    x.host = run.cluster * q->cluster_bytes;
    x.end = x.begin + run.count * q->cluster_bytes;
    if (off + from.bytes > x.end) {
        from.bytes = (size_t)(x.end - off);
    }
    r = write_around(q, from, off, &x);
    if (r == 0) {
        r = set_hosts(q, x.begin, run.count, x.host, UINT32_MAX);
    }
    if (r != 0) {
        lose_hosts(q, run);
    }
    *ret_did = from.bytes;
    return r;
}

/* Clusters with subclusters get their place, and no data yet: writers of different
 * subclusters need not wait for each other. */
static int give_hosts(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
    uint64_t mask = q->cluster_bytes - 1;
    uint64_t begin = off & ~mask;
    struct qcow2_run run;
    bool fresh;
    int r = find_hosts(q, begin,
                       ((off + bytes + mask) & ~mask) / q->cluster_bytes -
                           begin / q->cluster_bytes,
                       &run, &fresh);

    if (r == 0) {
        r = set_hosts(q, begin, run.count, run.cluster * q->cluster_bytes, UINT64_MAX);
        if (r != 0) {
            lose_hosts(q, run);
        }
    }
    return r;
}

int qcow2_write_locked(struct qcow2 *q, struct blk_vec from, uint64_t off, uint64_t begin,
                       bool ready, size_t *ret_did)
{
    struct qcow2_extent x;
    int r = qcow2_own_table(q, off);

    if (r == 0) {
        r = qcow2_map(q, off, from.bytes, &x);
    }
    if (r != 0 || qcow2_is_ready(&x) != ready || (x.kind == KIND_DATA && x.own)) {
        return r; /* somebody else was faster: look again */
    }
    from.bytes = (size_t)x.bytes < from.bytes ? (size_t)x.bytes : from.bytes;
    if (ready) {
        uint64_t unit = qcow2_extended(q) ? q->sub_bytes : q->cluster_bytes;
        struct edges e = {.begin = begin,
                          .end = (off + from.bytes + unit - 1) & ~(unit - 1),
                          .host = x.host - (off - begin)};

        r = write_around(q, from, off, &e);
        *ret_did = from.bytes;
        return r != 0 ? r : mark_data(q, e.begin, e.end);
    }
    if (qcow2_extended(q) && !x.has_host && x.kind != KIND_PACKED) {
        return give_hosts(q, off, from.bytes);
    }
    return write_new(q, from, off, ret_did);
}

/* A part of a write that changes metadata; *ret_did may be 0. */
static int change(struct qcow2 *q, struct blk_vec from, uint64_t off,
                  const struct qcow2_extent *x, size_t *ret_did)
{
    bool ready = qcow2_is_ready(x);
    uint64_t unit = ready && qcow2_extended(q) ? q->sub_bytes : q->cluster_bytes;
    uint64_t most =
        qcow2_entries_left(q, off) * q->cluster_bytes - (off & (q->cluster_bytes - 1));
    struct qcow2_range range;
    int r = 0;

    if (qcow2_cache_presses(q) || q->freed.count > FREED_MOST) {
        r = qcow2_commit(q);
    }
    if (r != 0) {
        return r;
    }
    from.bytes = x->bytes < from.bytes ? (size_t)x->bytes : from.bytes;
    from.bytes = most < from.bytes ? (size_t)most : from.bytes;
    qcow2_range_lock(q, &range, off & ~(unit - 1),
                     (off + from.bytes + unit - 1) & ~(unit - 1));
    r = qcow2_write_locked(q, from, off, range.off, ready, ret_did);
    qcow2_range_unlock(q, &range);
    return r;
}

int qcow2_guest_write(struct qcow2 *q, struct blk_vec from, uint64_t off)
{
    int r = 0;

    while (r == 0 && from.bytes > 0) {
        struct qcow2_extent x;
        size_t did = 0;

        r = qcow2_map(q, off, from.bytes, &x);
        if (r == 0 && x.kind == KIND_DATA && x.own) {
            did = (size_t)x.bytes;
            r = write_host(q, blk_vec_part(from, 0, did), x.host);
        } else if (r == 0) {
            r = change(q, from, off, &x, &did);
        }
        off += did;
        from = blk_vec_part(from, did, from.bytes - did);
    }
    return r;
}

/* The disk below took a part from the pipe and no more: the rest from memory. */
static int write_rest(struct qcow2 *q, const struct pipe_window *p, uint64_t off)
{
    size_t bytes = (size_t)p->left;
    SCOPED(scope_free) char *room = fault_aligned(4096, bytes);
    struct iovec piece;
    size_t at = 0;

    if (room == NULL) {
        return -ENOMEM;
    }
    while (at < bytes) {
        ssize_t n = read(p->from, room + at, bytes - at);

        if (n == 0 || (n < 0 && errno != EINTR)) {
            return -EIO;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return qcow2_guest_write(q, blk_vec_of(&piece, room, bytes), off);
}

int qcow2_guest_write_pipe(struct qcow2 *q, int from, uint64_t bytes, uint64_t off)
{
    struct pipe_window p = {
        .mark = {(void *)(uintptr_t)&pipe_mark, SIZE_MAX}, .from = from, .left = bytes};
    int r;

    if (q->crypt != NULL || ((off | bytes) & (q->cluster_bytes - 1)) != 0) {
        return -EOPNOTSUPP;
    }
    r = qcow2_guest_write(q, (struct blk_vec){.iov = &p.mark, .bytes = (size_t)bytes},
                          off);
    return r == -EOPNOTSUPP && p.left < bytes ? write_rest(q, &p, off + bytes - p.left)
                                              : r;
}
