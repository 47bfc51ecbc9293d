/* quota.c - what a growing file takes, counted in granules.
 *
 * A bit says of each granule that it is counted: on opening those that hold data, then those that
 * are written.  A write that finds all its bits set goes on at once.  Writers share their
 * range; whoever takes data away holds it alone, asks below what is left, and drops the bits
 * of granules that hold nothing any more.
 *
 * Zeros that keep their room (no BLK_UNMAP) count as writes: a file system sets room aside for
 * them, though they read as a hole. */
#include "resource/storage/pool/quota.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/safe/range.h"

#define GRANULE_SHIFT 16
#define PAGE_BITS     32768u /* 2 GiB of the file */
#define PAGES_MOST    ((uint64_t)1 << 20)

_Static_assert(PLACE_QUOTA_GRANULE_BYTES == 1u << GRANULE_SHIFT, "one of them is wrong");

struct quota {
    struct blk blk;
    struct blk_edge edge;
    uint64_t bound;
    uint64_t taken; /* granules */
    uint8_t **page; /* owned, each; NULL: no bit is set */
    uint64_t pages;
    struct range_lock ranges;
};

static struct quota *quota_of(const struct blk *b)
{
    return (struct quota *)(uintptr_t)b;
}

static bool is_set(const struct quota *q, uint64_t granule)
{
    uint64_t page = granule / PAGE_BITS;
    uint64_t bit = granule % PAGE_BITS;

    return page < q->pages && q->page[page] != NULL &&
           (q->page[page][bit / 8] >> (bit % 8) & 1) != 0;
}

static int page_for(struct quota *q, uint64_t page)
{
    if (page >= PAGES_MOST) {
        return -ENOSPC;
    }
    if (page >= q->pages) {
        uint64_t wanted = q->pages * 2 > page ? q->pages * 2 : page + 1;
        uint8_t **more = fault_realloc(q->page, wanted * sizeof *more);

        if (more == NULL) {
            return -ENOMEM;
        }
        memset(more + q->pages, 0, (wanted - q->pages) * sizeof *more);
        q->page = more;
        q->pages = wanted;
    }
    if (q->page[page] == NULL) {
        q->page[page] = fault_calloc(1, PAGE_BITS / 8);
    }
    return q->page[page] == NULL ? -ENOMEM : 0;
}

static int set(struct quota *q, uint64_t granule)
{
    uint64_t bit = granule % PAGE_BITS;
    int r = is_set(q, granule) ? 1 : page_for(q, granule / PAGE_BITS);

    if (r == 0) {
        q->page[granule / PAGE_BITS][bit / 8] |= (uint8_t)(1u << (bit % 8));
        q->taken++;
    }
    return r < 0 ? r : 0;
}

static void drop(struct quota *q, uint64_t granule)
{
    uint64_t bit = granule % PAGE_BITS;

    if (is_set(q, granule)) {
        q->page[granule / PAGE_BITS][bit / 8] &= (uint8_t) ~(1u << (bit % 8));
        q->taken--;
    }
}

/* ---- taking ---- */

static uint64_t missing(const struct quota *q, uint64_t first, uint64_t end)
{
    uint64_t n = 0;

    for (uint64_t i = first; i < end; i++) {
        n += !is_set(q, i);
    }
    return n;
}

static int take(struct quota *q, uint64_t first, uint64_t end)
{
    uint64_t n = missing(q, first, end);
    int r = 0;

    if (n == 0) {
        return 0;
    }
    if ((q->taken + n) << GRANULE_SHIFT > q->bound) {
        return -ENOSPC;
    }
    for (uint64_t i = first; r == 0 && i < end; i++) {
        r = set(q, i);
    }
    return r;
}

/* Whether a granule holds data.  What cannot be told does. */
static bool holds_data(const struct quota *q, uint64_t granule)
{
    struct blk *file = q->edge.disk;
    uint64_t off = granule << GRANULE_SHIFT;
    uint64_t end = off + PLACE_QUOTA_GRANULE_BYTES;

    end = end < blk_size(file) ? end : blk_size(file);
    while (off < end) {
        struct blk_extent x;

        if (blk_status(file, off, end - off, &x) != 0 || (x.state & BLK_DATA) != 0) {
            return true;
        }
        off += x.bytes;
    }
    return false;
}

/* With the range held alone. */
static void look_again(struct quota *q, uint64_t first, uint64_t end)
{
    for (uint64_t i = first; i < end; i++) {
        uint64_t page = i / PAGE_BITS;

        if (page >= q->pages) {
            break;
        }
        if (q->page[page] == NULL) {
            i = (page + 1) * PAGE_BITS - 1;
        } else if (is_set(q, i) && !holds_data(q, i)) {
            drop(q, i);
        }
    }
}

static struct range_hold hold_of(uint64_t off, uint64_t bytes, bool shares)
{
    return (struct range_hold){
        .first = off >> GRANULE_SHIFT,
        .end = (off + bytes + PLACE_QUOTA_GRANULE_BYTES - 1) >> GRANULE_SHIFT,
        .shares = shares,
    };
}

static void follow(struct quota *q)
{
    q->blk.size_bytes = blk_size(q->edge.disk);
    q->blk.zeroes_fast = q->edge.disk->zeroes_fast;
}

/* A write that failed may have taken less than was counted. */
static void count_again(struct quota *q, uint64_t off, uint64_t bytes)
{
    struct range_hold hold = hold_of(off, bytes, false);

    range_take(q->blk.strands, &q->ranges, &hold);
    look_again(q, hold.first, hold.end);
    range_give(&q->ranges, &hold);
}

/* ---- requests ---- */

static int quota_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return blk_readv(quota_of(b)->edge.disk, to, off);
}

static int quota_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct quota *q = quota_of(b);
    struct range_hold hold = hold_of(off, from.bytes, true);
    int r;

    range_take(b->strands, &q->ranges, &hold);
    r = take(q, hold.first, hold.end);
    if (r == 0) {
        r = blk_writev(q->edge.disk, from, off, flags);
    }
    range_give(&q->ranges, &hold);
    if (r != 0 && r != -ENODEV) {
        count_again(q, off, from.bytes);
    }
    follow(q);
    return r;
}

static int quota_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct quota *q = quota_of(b);
    bool keeps = (flags & BLK_UNMAP) == 0;
    struct range_hold hold = hold_of(off, bytes, keeps);
    int r = 0;

    range_take(b->strands, &q->ranges, &hold);
    if (keeps) {
        r = take(q, hold.first, hold.end);
    }
    r = r == 0 ? blk_zero(q->edge.disk, off, bytes, flags) : r;
    if (!keeps) {
        look_again(q, hold.first, hold.end);
    }
    range_give(&q->ranges, &hold);
    if (keeps && r != 0 && r != -ENODEV) {
        count_again(q, off, bytes);
    }
    follow(q);
    return r;
}

static int quota_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct quota *q = quota_of(b);
    struct range_hold hold = hold_of(off, bytes, false);
    int r;

    range_take(b->strands, &q->ranges, &hold);
    r = blk_discard(q->edge.disk, off, bytes);
    look_again(q, hold.first, hold.end);
    range_give(&q->ranges, &hold);
    return r;
}

static int quota_flush(struct blk *b)
{
    return blk_flush(quota_of(b)->edge.disk);
}

static int quota_status(struct blk *b, uint64_t off, uint64_t bytes,
                        struct blk_extent *ret)
{
    return blk_status(quota_of(b)->edge.disk, off, bytes, ret);
}

static int quota_pages(struct blk *b, uint64_t off, uint64_t bytes, int *ret_fd,
                       uint64_t *ret_at)
{
    return blk_pages(quota_of(b)->edge.disk, off, bytes, ret_fd, ret_at);
}

static int quota_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct quota *q = quota_of(b);
    uint64_t old = b->size_bytes;
    int r = blk_resize(q->edge.disk, size_bytes, e);

    if (r == 0 && size_bytes < old) {
        count_again(q, size_bytes, old - size_bytes);
    }
    follow(q);
    return r;
}

static void quota_destroy(struct blk *b)
{
    struct quota *q = quota_of(b);

    blk_detach(&q->edge);
    for (uint64_t i = 0; i < q->pages; i++) {
        free(q->page[i]);
    }
    free(q->page);
    free(q);
}

static const struct blk_ops quota_ops = {
    .name = "quota",
    .read = quota_read,
    .write = quota_write,
    .zero = quota_zero,
    .discard = quota_discard,
    .flush = quota_flush,
    .status = quota_status,
    .pages = quota_pages,
    .resize = quota_resize,
    .destroy = quota_destroy,
};

static int count_all(struct quota *q)
{
    uint64_t size = blk_size(q->edge.disk);
    uint64_t off = 0;
    int r = 0;

    while (r == 0 && off < size) {
        struct blk_extent x;

        r = blk_status(q->edge.disk, off, size - off, &x);
        if (r == 0 && (x.state & BLK_DATA) != 0) {
            struct range_hold part = hold_of(off, x.bytes, false);

            for (uint64_t i = part.first; r == 0 && i < part.end; i++) {
                r = set(q, i);
            }
        }
        off += r == 0 ? x.bytes : 0;
    }
    return r;
}

int place_quota_create(struct blk *take_lower, uint64_t bound_bytes,
                       struct blk **ret_disk, struct err *e)
{
    struct quota *q = fault_calloc(1, sizeof *q);
    int r;

    if (q == NULL) {
        r = err_sys(e, -ENOMEM, "cannot bound '%s'", take_lower->label);
        blk_drop(take_lower);
        return r;
    }
    blk_init_like(&q->blk, &quota_ops, take_lower);
    q->blk.grows = take_lower->grows;
    q->blk.does_fua = true;
    q->blk.zeroes_fast = take_lower->zeroes_fast;
    q->blk.edge = &q->edge;
    q->blk.edge_count = 1;
    q->bound = bound_bytes;
    q->edge = (struct blk_edge){
        .user = "quota",
        .uses = take_lower->read_only ? BLK_USE_READ : BLK_USE_ALL,
        .lets = BLK_USE_READ,
    };
    r = blk_attach(&q->edge, take_lower, e);
    if (r != 0) {
        blk_drop(take_lower);
    }
    r = r == 0 ? count_all(q) : r;
    if (r != 0) {
        r = err_sys(e, r, "cannot bound '%s'", q->blk.label);
        quota_destroy(&q->blk);
        return r;
    }
    *ret_disk = &q->blk;
    return 0;
}

void place_quota_set(struct blk *quota, uint64_t bound_bytes)
{
    quota_of(quota)->bound = bound_bytes;
}

uint64_t place_quota_taken(const struct blk *quota)
{
    return quota_of(quota)->taken << GRANULE_SHIFT;
}
