/* read.c - where the bytes of a guest offset are, reading them, and the state of ranges.
 *
 * An answer covers as many bytes as are alike and lie side by side; it is what was so
 * at one moment.  Clusters in it are not used for anything else while the request
 * has not left (alloc.c), so it may act on it.  There is one lower request per stretch of
 * clusters that lie side by side; nothing is allocated and no lock is taken while the
 * tables are in memory. */
#include <errno.h>

#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/parts.h"

uint64_t qcow2_l2_span(const struct qcow2 *q)
{
    return (uint64_t)1 << q->span_bits;
}

uint64_t qcow2_entries_left(const struct qcow2 *q, uint64_t off)
{
    uint32_t per_slice = q->slice_bytes / q->entry_bytes;

    return per_slice - ((off >> q->header.cluster_bits) & (per_slice - 1));
}

/* Bits [from, 32) of `word` that are like bit `from`: how many. */
static uint32_t same_bits(uint32_t word, uint32_t from)
{
    uint32_t w = word >> from;

    w = (w & 1) != 0 ? ~w : w;
    w &= from == 0 ? UINT32_MAX : UINT32_MAX >> from;
    return w == 0 ? QCOW2_SUBCLUSTERS - from : (uint32_t)__builtin_ctz(w);
}

/* One L2 entry from subcluster `sub` on: fills in `x` but for `host`'s offset inside. */
static int read_entry(struct qcow2 *q, const uint8_t *p, uint32_t sub,
                      struct qcow2_extent *x, uint32_t *ret_subs)
{
    uint64_t entry = qcow2_get64(p);
    uint64_t host = entry & QCOW2_OFFSET;

    *x = (struct qcow2_extent){.kind = KIND_NOTHING};
    *ret_subs = q->subs - sub;
    if ((entry & QCOW2_COMPRESSED) != 0) {
        x->kind = KIND_PACKED;
        x->entry = entry;
        return qcow2_has_data_file(q) ? -EUCLEAN : 0;
    }
    if ((host & (q->cluster_bytes - 1)) != 0) {
        return -EUCLEAN;
    }
    x->own = (entry & QCOW2_COPIED) != 0;
    x->has_host = host != 0 || (x->own && qcow2_has_data_file(q));
    x->host = host;
    if (qcow2_extended(q)) {
        uint64_t bits = qcow2_get64(p + 8);
        uint32_t held = (uint32_t)bits;
        uint32_t zero = (uint32_t)(bits >> 32);
        uint32_t a = same_bits(held, sub);
        uint32_t b = same_bits(zero, sub);

        *ret_subs = a < b ? a : b;
        if ((held & zero) != 0 || (held != 0 && !x->has_host)) {
            return -EUCLEAN;
        }
        x->kind = (zero >> sub & 1) != 0   ? KIND_ZERO
                  : (held >> sub & 1) != 0 ? KIND_DATA
                                           : KIND_NOTHING;
    } else if ((entry & QCOW2_ZERO) != 0 && q->header.version == 3) {
        x->kind = KIND_ZERO;
    } else if (x->has_host) {
        x->kind = KIND_DATA;
    }
    return 0;
}

static bool follows(const struct qcow2_extent *x, const struct qcow2_extent *next)
{
    return x->kind != KIND_PACKED && x->kind == next->kind && x->own == next->own &&
           x->has_host == next->has_host &&
           (!x->has_host || next->host == x->host + x->bytes);
}

/* The part of [off, off + bytes) that one slice tells about, added to `x` as far as it
 * is alike.  1: perhaps more behind it. */
static int map_slice(struct qcow2 *q, const uint8_t *entry, uint64_t left, uint64_t off,
                     uint64_t bytes, struct qcow2_extent *x)
{
    uint64_t mask = q->cluster_bytes - 1;

    while (left > 0 && x->bytes < bytes) {
        uint64_t at = off + x->bytes;
        uint32_t sub = (uint32_t)((at & mask) >> q->sub_bits);
        struct qcow2_extent next;
        uint32_t subs;
        int r = read_entry(q, entry, sub, &next, &subs);

        if (r != 0) {
            return x->bytes > 0 ? 0 : r;
        }
        next.host += next.has_host ? at & mask : 0;
        next.bytes = ((uint64_t)(sub + subs) << q->sub_bits) - (at & mask);
        if (x->bytes == 0) {
            *x = next;
        } else if (follows(x, &next)) {
            x->bytes += next.bytes;
        } else {
            return 0;
        }
        if (sub + subs == q->subs) {
            entry += q->entry_bytes;
            left--;
        }
    }
    return 1;
}

/* Nothing is there for the rest of this L2 table. */
static bool map_hole(struct qcow2 *q, uint64_t off, struct qcow2_extent *x)
{
    uint64_t at = off + x->bytes;
    uint64_t n = qcow2_l2_span(q) - (at & (qcow2_l2_span(q) - 1));
    struct qcow2_extent next = {.kind = KIND_NOTHING};

    if (x->bytes == 0) {
        *x = next;
    } else if (!follows(x, &next)) {
        return false;
    }
    x->bytes += n;
    return true;
}

/* The slice of the L2 table that tells about a guest offset, and the byte in it.  0:
 * there is no table. */
static int find_entry(const struct qcow2 *q, uint64_t off, uint64_t *ret_slice,
                      uint32_t *ret_byte)
{
    uint64_t i = off >> q->span_bits;
    uint64_t table = i < q->l1.count ? q->l1.entry[i] & QCOW2_OFFSET : 0;
    uint64_t entry = (off >> q->header.cluster_bits & (((uint64_t)1 << q->l2_bits) - 1));
    uint64_t byte = entry * q->entry_bytes;

    *ret_slice = table == 0 ? 0 : table + (byte & ~(uint64_t)(q->slice_bytes - 1));
    *ret_byte = (uint32_t)(byte & (q->slice_bytes - 1));
    return (table & (q->cluster_bytes - 1)) != 0 ? -EUCLEAN : 0;
}

int qcow2_map(struct qcow2 *q, uint64_t off, uint64_t bytes, struct qcow2_extent *ret)
{
    struct qcow2_extent x = {0};
    int more = 1;

    while (more == 1 && x.bytes < bytes) {
        uint64_t at = off + x.bytes;
        struct qcow2_slice *s;
        uint64_t place;
        uint32_t byte;
        int r = find_entry(q, at, &place, &byte);

        if (r == 0 && place == 0) {
            more = map_hole(q, off, &x) ? 1 : 0;
            continue;
        }
        r = r != 0 ? r : qcow2_slice_get(q, place, USE_L2, &s);
        if (r != 0) {
            return r;
        }
        more = map_slice(q, s->data + byte, qcow2_entries_left(q, at), off, bytes, &x);
        if (more < 0) {
            return more;
        }
    }
    x.bytes = x.bytes < bytes ? x.bytes : bytes;
    *ret = x;
    return 0;
}

/* What a range is, all of it alike, from what is in memory; false: that does not tell. */
static bool peek(struct qcow2 *q, uint64_t off, uint64_t bytes, struct qcow2_extent *ret)
{
    struct qcow2_extent x = {0};
    struct qcow2_slice *s;
    uint64_t place;
    uint32_t byte;

    if (find_entry(q, off, &place, &byte) != 0) {
        return false;
    }
    if (place == 0) {
        (void)map_hole(q, off, &x);
    } else {
        s = qcow2_slice_find(q, place);
        if (s == NULL || s->loading || s->kind != USE_L2) {
            return false;
        }
        s->recent = true;
        if (bytes <= q->cluster_bytes - (off & (q->cluster_bytes - 1)) &&
            qcow2_get64(s->data + byte) == 0 && !qcow2_extended(q)) {
            x.bytes = bytes; /* in the middle of a chain that is most of the answers */
        } else if (map_slice(q, s->data + byte, qcow2_entries_left(q, off), off, bytes,
                             &x) < 0) {
            return false;
        }
    }
    *ret = x;
    return x.bytes >= bytes;
}

static bool holds_nothing(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
    struct qcow2_extent x;

    return peek(q, off, bytes, &x) && x.kind == KIND_NOTHING;
}

int qcow2_guest_pages(struct qcow2 *q, uint64_t off, uint64_t bytes, int *ret_fd,
                      uint64_t *ret_at)
{
    struct blk *backing = q->edge[EDGE_BACKING].disk;
    struct qcow2_extent x;
    int r = -EOPNOTSUPP;

    if (q->crypt != NULL || !peek(q, off, bytes, &x)) {
        return r;
    }
    if (x.kind == KIND_DATA) {
        r = blk_pages(qcow2_data(q), x.host, bytes, ret_fd, ret_at);
    } else if (x.kind == KIND_NOTHING && backing != NULL) {
        r = blk_pages(backing, off, bytes, ret_fd, ret_at);
    }
    return r == 0 ? 0 : -EOPNOTSUPP; /* behind the end of one below, too */
}

/* ---- reading ---- */

static int decrypt(struct qcow2 *q, struct blk_vec to, uint64_t host)
{
    SCOPED(scope_free) uint8_t *copy = NULL;
    void *flat = blk_vec_flat(to);
    int r;

    if (flat != NULL) {
        return q->crypt->decrypt(q->crypt, flat, to.bytes, host);
    }
    copy = fault_malloc(to.bytes);
    if (copy == NULL) {
        return -ENOMEM;
    }
    blk_vec_take(to, copy);
    r = q->crypt->decrypt(q->crypt, copy, to.bytes, host);
    if (r == 0) {
        blk_vec_put(to, copy);
    }
    return r;
}

static int read_host(struct qcow2 *q, struct blk_vec to, uint64_t host)
{
    int r = qcow2_io_readv(qcow2_data(q), to, host);

    return r == 0 && q->crypt != NULL ? decrypt(q, to, host) : r;
}

/* Images of the chain that hold nothing there are passed over without a call, as long
 * as that needs no suspension: a long chain costs a look at each table. */
static int read_backing(struct qcow2 *q, struct blk_vec to, uint64_t off)
{
    struct blk *b = q->edge[EDGE_BACKING].disk;

    while (b != NULL && qcow2_is_image(b) && b->drained == 0 &&
           off + to.bytes <= blk_size(b) && holds_nothing(qcow2_of(b), off, to.bytes)) {
        b = qcow2_of(b)->edge[EDGE_BACKING].disk;
    }
    if (b == NULL) {
        blk_vec_zero(to);
        return 0;
    }
    return qcow2_io_readv(b, to, off);
}

static int read_extent(struct qcow2 *q, struct blk_vec to, uint64_t off,
                       const struct qcow2_extent *x)
{
    switch (x->kind) {
    case KIND_DATA:
        return read_host(q, to, x->host);
    case KIND_PACKED:
        return qcow2_packed_read(q, to, off, x->entry);
    case KIND_NOTHING:
        return read_backing(q, to, off);
    default:
        blk_vec_zero(to);
        return 0;
    }
}

int qcow2_guest_read(struct qcow2 *q, struct blk_vec to, uint64_t off)
{
    int r = 0;

    while (r == 0 && to.bytes > 0) {
        uint64_t size = q->blk.size_bytes;
        struct qcow2_extent x;

        if (off >= size) { /* the rest of the last cluster */
            blk_vec_zero(to);
            return 0;
        }
        r = qcow2_map(q, off, to.bytes < size - off ? to.bytes : size - off, &x);
        if (r == 0) {
            r = read_extent(q, blk_vec_part(to, 0, (size_t)x.bytes), off, &x);
            off += x.bytes;
            to = blk_vec_part(to, (size_t)x.bytes, to.bytes - (size_t)x.bytes);
        }
    }
    return r;
}

int qcow2_guest_status(struct qcow2 *q, uint64_t off, uint64_t bytes,
                       struct blk_extent *ret)
{
    struct blk *backing = q->edge[EDGE_BACKING].disk;
    struct qcow2_extent x;
    int r = qcow2_map(q, off, bytes, &x);

    if (r != 0) {
        return r;
    }
    *ret = (struct blk_extent){.bytes = x.bytes, .state = BLK_ALLOCATED};
    if (x.kind == KIND_DATA || x.kind == KIND_PACKED) {
        ret->state |= BLK_DATA;
    }
    if (x.kind == KIND_DATA && q->crypt == NULL) {
        ret->state |= BLK_PLACED;
        ret->at = x.host;
        ret->holder = qcow2_data(q);
    }
    if (x.kind != KIND_NOTHING) {
        return 0;
    }
    ret->state = 0;
    if (backing != NULL && off < blk_size(backing)) {
        uint64_t n = blk_size(backing) - off;

        r = blk_status(backing, off, x.bytes < n ? x.bytes : n, ret);
        ret->state &= ~(unsigned)BLK_ALLOCATED;
    }
    return r;
}

int qcow2_backing_has_data(struct qcow2 *q, uint64_t off, uint64_t bytes, bool *ret)
{
    struct blk *backing = q->edge[EDGE_BACKING].disk;
    uint64_t end = off + bytes;

    *ret = false;
    if (backing == NULL) {
        return 0;
    }
    end = end < blk_size(backing) ? end : blk_size(backing);
    while (off < end) {
        struct blk_extent x;
        int r = blk_status(backing, off, end - off, &x);

        if (r != 0 || (x.state & BLK_DATA) != 0) {
            *ret = r == 0;
            return r;
        }
        off += x.bytes;
    }
    return 0;
}
