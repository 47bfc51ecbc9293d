/* filter.c - a disk that marks what changes before it changes.
 *
 * A mark is made, and durable, before the write goes down, so that no crash leaves a
 * change unmarked.  Somebody may clear it while the write is on its way: then it is
 * made again before the write is acknowledged (`changes` tells). */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_ops.h"
#include "resource/storage/bitmap/private.h"

enum {
    EDGE_LOWER,
    EDGE_FILE,
    EDGE_COUNT
};

struct filter {
    struct blk blk;
    struct blk_edge edge[EDGE_COUNT];
    struct bitmap_set *set;
};

static struct filter *filter_of(struct blk *b)
{
    return (struct filter *)b;
}

static struct blk *lower_of(struct blk *b)
{
    return filter_of(b)->edge[EDGE_LOWER].disk;
}

/* Behind a change of the disk below: its result, once the marks are still there. */
static int settle(struct filter *f, uint64_t before, uint64_t off, uint64_t bytes, int r)
{
    int marked = f->set->changes != before ? bitmap_set_mark(f->set, off, bytes) : 0;

    if (f->edge[EDGE_LOWER].disk->size_bytes > f->blk.size_bytes) {
        f->blk.size_bytes = f->edge[EDGE_LOWER].disk->size_bytes;
    }
    return r != 0 ? r : marked;
}

static int filter_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return blk_readv(lower_of(b), to, off);
}

static int filter_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct filter *f = filter_of(b);
    uint64_t before = f->set->changes;
    int r = bitmap_set_mark(f->set, off, from.bytes);

    if (r != 0) {
        return r;
    }
    r = blk_writev(lower_of(b), from, off, flags);
    return settle(f, before, off, from.bytes, r);
}

static int filter_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct filter *f = filter_of(b);
    uint64_t before = f->set->changes;
    int r = bitmap_set_mark(f->set, off, bytes);

    if (r != 0) {
        return r;
    }
    r = blk_zero(lower_of(b), off, bytes, flags);
    return settle(f, before, off, bytes, r);
}

static int filter_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct filter *f = filter_of(b);
    uint64_t before = f->set->changes;
    int r = bitmap_set_mark(f->set, off, bytes);

    if (r != 0) {
        return r;
    }
    r = blk_discard(lower_of(b), off, bytes);
    return settle(f, before, off, bytes, r);
}

static int filter_flush(struct blk *b)
{
    return blk_flush(lower_of(b));
}

static int filter_status(struct blk *b, uint64_t off, uint64_t bytes,
                         struct blk_extent *ret)
{
    return blk_status(lower_of(b), off, bytes, ret);
}

/* The bitmaps are never shorter than the disk: what they do not know is not marked. */
static int filter_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct filter *f = filter_of(b);
    int r = 0;

    if (size_bytes > b->size_bytes) {
        r = bitmap_set_resize(f->set, size_bytes, e);
    }
    if (r == 0) {
        r = blk_resize(lower_of(b), size_bytes, e);
    }
    if (r == 0) {
        b->size_bytes = size_bytes;
    }
    if (f->set->size > b->size_bytes) { /* shrunk, or it could not grow: no harm if not */
        (void)bitmap_set_resize(f->set, b->size_bytes, NULL);
    }
    return r;
}

static void filter_destroy(struct blk *b)
{
    struct filter *f = filter_of(b);

    blk_detach(&f->edge[EDGE_FILE]);
    blk_detach(&f->edge[EDGE_LOWER]);
    bitmap_set_close(f->set);
    free(f);
}

static const struct blk_ops filter_ops = {
    .name = "bitmap",
    .read = filter_read,
    .write = filter_write,
    .zero = filter_zero,
    .discard = filter_discard,
    .flush = filter_flush,
    .status = filter_status,
    .resize = filter_resize,
    .destroy = filter_destroy,
};

static int attach(struct filter *f, struct blk *lower, struct err *e)
{
    int r;

    f->edge[EDGE_LOWER] = (struct blk_edge){
        .user = "bitmap", .uses = lower->read_only ? BLK_USE_READ : BLK_USE_ALL};
    f->edge[EDGE_FILE] = (struct blk_edge){.user = "bitmap", .lets = BLK_USE_ALL};
    r = blk_attach(&f->edge[EDGE_LOWER], lower, e);
    if (r == 0) {
        r = blk_attach(&f->edge[EDGE_FILE], f->set->file.disk, e);
    }
    if (r != 0) {
        blk_detach(&f->edge[EDGE_LOWER]);
        blk_drop(lower);
    }
    return r;
}

int bitmap_filter_create(struct blk *take_lower, struct bitmap_set *take_set,
                         struct blk **ret_disk, struct err *e)
{
    struct filter *f = fault_calloc(1, sizeof *f);
    int r;

    if (f == NULL || blk_size(take_lower) != take_set->size) {
        r = f == NULL
                ? err_sys(e, -ENOMEM, "cannot set up bitmaps")
                : err_set(e, -EINVAL,
                          "cannot set up bitmaps: they are of a disk of another size");
        blk_drop(take_lower);
        bitmap_set_close(take_set);
        free(f);
        return r;
    }
    blk_init_like(&f->blk, &filter_ops, take_lower);
    f->blk.edge = f->edge;
    f->blk.edge_count = EDGE_COUNT;
    f->blk.does_fua = true;
    f->blk.zeroes_fast = take_lower->zeroes_fast;
    f->set = take_set;
    r = attach(f, take_lower, e);
    if (r != 0) {
        bitmap_set_close(take_set);
        free(f);
        return r;
    }
    *ret_disk = &f->blk;
    return 0;
}

struct bitmap_set *bitmap_filter_set(struct blk *b)
{
    return filter_of(b)->set;
}
