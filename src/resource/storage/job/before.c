/* before.c - a disk whose old contents go somewhere else before they are changed.
 *
 * What is to be copied was there at one moment.  A guest that changes such a part first has
 * it copied; a job copies the rest (copy.c).  So the copy has what was there at that
 * moment, while guests go on.
 *
 * Guests hold whole granules while there is anything to be copied.  An error of the copy
 * ends the job: guests go on without it. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/job/copy.h"
#include "resource/storage/job/private.h"

enum {
    EDGE_LOWER,
    EDGE_COPY,
    EDGE_COUNT
};

struct before {
    struct blk blk;
    struct blk_edge edge[EDGE_COUNT];
    struct job_copy copy;
};

static struct before *before_of(struct blk *b)
{
    return (struct before *)b;
}

static struct blk *lower_of(struct blk *b)
{
    return before_of(b)->edge[EDGE_LOWER].disk;
}

static int before_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return blk_readv(lower_of(b), to, off);
}

static int before_status(struct blk *b, uint64_t off, uint64_t bytes,
                         struct blk_extent *ret)
{
    return blk_status(lower_of(b), off, bytes, ret);
}

static int before_pages(struct blk *b, uint64_t off, uint64_t bytes, int *ret_fd,
                        uint64_t *ret_at)
{
    return blk_pages(lower_of(b), off, bytes, ret_fd, ret_at);
}

static int before_flush(struct blk *b)
{
    return blk_flush(lower_of(b));
}

/* Hold the granules of a range and save what is to be copied of them.  False: there is
 * nothing left to be saved, and nothing is held. */
static bool save(struct before *f, uint64_t off, uint64_t bytes, struct range_hold *hold)
{
    struct job_copy *c = &f->copy;

    if (c->failed != 0 || c->left + c->busy == 0) {
        return false;
    }
    *hold = (struct range_hold){.first = off >> c->shift << c->shift,
                                .end = (((off + bytes - 1) >> c->shift) + 1) << c->shift};
    range_take(f->blk.strands, &c->lock, hold);
    (void)job_copy_now(c, off, bytes);
    return true;
}

static int before_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct before *f = before_of(b);
    struct range_hold hold;
    bool held = save(f, off, from.bytes, &hold);
    int r = blk_writev(lower_of(b), from, off, flags);

    if (held) {
        range_give(&f->copy.lock, &hold);
    }
    return r;
}

static int before_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct before *f = before_of(b);
    struct range_hold hold;
    bool held = save(f, off, bytes, &hold);
    int r = blk_zero(lower_of(b), off, bytes, flags);

    if (held) {
        range_give(&f->copy.lock, &hold);
    }
    return r;
}

static int before_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct before *f = before_of(b);
    struct range_hold hold;
    bool held = save(f, off, bytes, &hold);
    int r = blk_discard(lower_of(b), off, bytes);

    if (held) {
        range_give(&f->copy.lock, &hold);
    }
    return r;
}

static int before_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    (void)size_bytes;
    return err_set(e, -EBUSY, "cannot resize '%s': a backup is being made",
                   lower_of(b)->label);
}

static void before_destroy(struct blk *b)
{
    struct before *f = before_of(b);

    blk_detach(&f->edge[EDGE_COPY]);
    blk_detach(&f->edge[EDGE_LOWER]);
    job_copy_fini(&f->copy);
    free(f);
}

static const struct blk_ops before_ops = {
    .name = "before",
    .read = before_read,
    .write = before_write,
    .zero = before_zero,
    .discard = before_discard,
    .flush = before_flush,
    .status = before_status,
    .pages = before_pages,
    .resize = before_resize,
    .destroy = before_destroy,
};

static int set_up(struct before *f, struct blk *lower, const struct job_before_options *o,
                  struct err *e)
{
    int r;

    blk_init_like(&f->blk, &before_ops, lower);
    f->blk.edge = f->edge;
    f->blk.edge_count = EDGE_COUNT;
    f->blk.does_fua = true;
    f->blk.zeroes_fast = lower->zeroes_fast;
    f->edge[EDGE_LOWER] =
        (struct blk_edge){.user = "backup",
                          .uses = lower->read_only ? BLK_USE_READ : BLK_USE_ALL,
                          .lets = BLK_USE_READ};
    f->edge[EDGE_COPY] =
        (struct blk_edge){.user = "backup", .uses = BLK_USE_READ | BLK_USE_WRITE};
    r = job_copy_init(&f->copy, lower, o->copy, e);
    r = r == 0 ? blk_attach(&f->edge[EDGE_LOWER], lower, e) : r;
    r = r == 0 ? blk_attach(&f->edge[EDGE_COPY], o->copy, e) : r;
    return r == 0 ? o->begin(o->arg, &f->copy, e) : r;
}

static int make(struct blk *take_lower, void *arg, struct blk **ret_disk, struct err *e)
{
    struct before *f = fault_calloc(1, sizeof *f);
    int r = f == NULL
                ? err_sys(e, -ENOMEM, "cannot make a backup of '%s'", take_lower->label)
                : set_up(f, take_lower, arg, e);

    if (r != 0 && f != NULL) {
        before_destroy(&f->blk);
    } else if (r == 0) {
        *ret_disk = &f->blk;
    }
    return r;
}

int job_before_insert(struct blk_edge *edge, const struct job_before_options *o,
                      struct err *e)
{
    struct job_before_options own = *o;

    return blk_insert(edge, make, &own, e);
}

struct job_copy *job_before_copy(struct blk *b)
{
    return &before_of(b)->copy;
}
