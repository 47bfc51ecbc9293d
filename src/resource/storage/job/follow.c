/* follow.c - a disk over two: one is in use, the other is made equal to it.
 *
 * Guests read the first.  What they change goes there; where the second is equal
 * already, it goes there as well, side by side.  What is not equal yet is copied by a job
 * (copy.c).  Since whoever changes or copies holds the range, both disks see overlapping
 * changes in the same order.
 *
 * The second one's errors are the job's: it is no longer followed, guests go on.  Where
 * the first one failed, nobody knows what it has: that is copied anew.
 *
 * A discard may leave old bytes or zeros, and two disks would choose differently: it is
 * made a request for zeros where that is cheap, and dropped elsewhere.
 *
 * Before the job is over (`both`), what is to be durable is made so on both: either of
 * them is right then, whatever happens. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/job/copy.h"
#include "resource/storage/job/private.h"

enum {
    EDGE_FIRST,
    EDGE_SECOND,
    EDGE_COUNT
};

struct follow {
    struct blk blk;
    struct blk_edge edge[EDGE_COUNT];
    struct job_copy copy;
    bool both;
    bool turning;                /* it is taken out in favour of the second one */
    const struct job_control *j; /* borrowed, while that is so */
    bool told;                   /* `turned` was */
};

static struct follow *follow_of(struct blk *b)
{
    return (struct follow *)b;
}

static struct blk *first_of(struct blk *b)
{
    return follow_of(b)->edge[EDGE_FIRST].disk;
}

static struct blk *second_of(struct blk *b)
{
    return follow_of(b)->edge[EDGE_SECOND].disk;
}

static int follow_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    return blk_readv(first_of(b), to, off);
}

static int follow_status(struct blk *b, uint64_t off, uint64_t bytes,
                         struct blk_extent *ret)
{
    return blk_status(first_of(b), off, bytes, ret);
}

static int follow_pages(struct blk *b, uint64_t off, uint64_t bytes, int *ret_fd,
                        uint64_t *ret_at)
{
    return blk_pages(first_of(b), off, bytes, ret_fd, ret_at);
}

/* ---- changes ---- */

/* The part of a change that the second disk gets. */
static int perform_part(struct follow *f, const struct blk_request *r, uint64_t off,
                        uint64_t bytes)
{
    unsigned flags = f->both ? r->flags : r->flags & ~(unsigned)BLK_FUA;

    if (r->kind == BLK_WRITE) {
        return blk_writev(second_of(&f->blk),
                          blk_vec_part(r->vec, (size_t)(off - r->off), (size_t)bytes),
                          off, flags);
    }
    return blk_zero(second_of(&f->blk), off, bytes, flags & ~(unsigned)BLK_NO_SLOW);
}

/* Some of it is equal: the second disk gets that, afterwards. */
static int change_parts(struct follow *f, struct blk_request *r, uint64_t bytes)
{
    int error = blk_run_all(r, 1);

    for (uint64_t at = r->off;
         error == 0 && f->copy.failed == 0 && at < r->off + bytes;) {
        bool todo;
        uint64_t n = job_copy_run(&f->copy, at, r->off + bytes - at, &todo);

        if (!todo) {
            job_copy_fail(&f->copy, perform_part(f, r, at, n));
        }
        at += n;
    }
    return error;
}

/* All of it is: both disks side by side. */
static int change_both(struct follow *f, const struct blk_request *r)
{
    struct blk_request each[2] = {*r, *r};

    each[1].disk = second_of(&f->blk);
    each[1].flags &= ~(unsigned)BLK_NO_SLOW;
    if (!f->both) {
        each[1].flags &= ~(unsigned)BLK_FUA;
    }
    (void)blk_run_all(each, 2);
    job_copy_fail(&f->copy, each[1].result);
    return each[0].result;
}

static int change(struct follow *f, struct blk_request *r, uint64_t bytes)
{
    struct range_hold hold = {.first = r->off, .end = r->off + bytes};
    bool todo;
    uint64_t alike;
    int error;

    r->disk = first_of(&f->blk);
    range_take(f->blk.strands, &f->copy.lock, &hold);
    alike = job_copy_run(&f->copy, r->off, bytes, &todo);
    if (f->copy.failed != 0 || (todo && alike == bytes)) {
        error = blk_run_all(r, 1);
    } else if (alike == bytes) {
        error = change_both(f, r);
    } else {
        error = change_parts(f, r, bytes);
    }
    if (error != 0) {
        f->copy.to_is_zero = false;
        job_copy_mark(&f->copy, r->off, bytes);
    }
    range_give(&f->copy.lock, &hold);
    return error;
}

static int follow_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct blk_request r = {.kind = BLK_WRITE, .flags = flags, .off = off, .vec = from};

    return change(follow_of(b), &r, from.bytes);
}

static int follow_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    struct blk_request r = {.kind = BLK_ZERO, .flags = flags, .off = off, .bytes = bytes};

    return change(follow_of(b), &r, bytes);
}

static int follow_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    if (!first_of(b)->zeroes_fast || !second_of(b)->zeroes_fast) {
        return 0;
    }
    return follow_zero(b, off, bytes, BLK_UNMAP);
}

static int follow_flush(struct blk *b)
{
    struct follow *f = follow_of(b);
    struct blk_request r[2] = {{.kind = BLK_FLUSH, .disk = first_of(b)},
                               {.kind = BLK_FLUSH, .disk = second_of(b)}};

    if (!f->both || f->copy.failed != 0) {
        return blk_flush(first_of(b));
    }
    (void)blk_run_all(r, 2);
    job_copy_fail(&f->copy, r[1].result);
    return r[0].result;
}

static int follow_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    (void)size_bytes;
    return err_set(e, -EBUSY, "cannot resize '%s': it is being copied",
                   first_of(b)->label);
}

/* Only where both are equal may the second one take the place. */
static int follow_quiesce(struct blk *b)
{
    struct follow *f = follow_of(b);

    if (!f->turning || f->told) {
        return 0;
    }
    if (f->copy.left > 0 || f->copy.failed != 0) {
        return f->copy.failed != 0 ? f->copy.failed : -EAGAIN;
    }
    f->told = f->j->turned != NULL;
    return f->told ? f->j->turned(f->j->arg, true) : 0;
}

static void follow_destroy(struct blk *b)
{
    struct follow *f = follow_of(b);

    blk_detach(&f->edge[EDGE_SECOND]);
    blk_detach(&f->edge[EDGE_FIRST]);
    job_copy_fini(&f->copy);
    free(f);
}

static const struct blk_ops follow_ops = {
    .name = "follow",
    .read = follow_read,
    .write = follow_write,
    .zero = follow_zero,
    .discard = follow_discard,
    .flush = follow_flush,
    .status = follow_status,
    .pages = follow_pages,
    .resize = follow_resize,
    .quiesce = follow_quiesce,
    .destroy = follow_destroy,
};

/* ---- in and out ---- */

static int make(struct blk *take_lower, void *arg, struct blk **ret_disk, struct err *e)
{
    const struct job_follow_options *o = arg;
    struct follow *f = fault_calloc(1, sizeof *f);
    int r = f == NULL ? err_sys(e, -ENOMEM, "cannot follow '%s'", take_lower->label) : 0;

    if (r == 0) {
        blk_init_like(&f->blk, &follow_ops, take_lower);
        f->blk.edge = f->edge;
        f->blk.edge_count = EDGE_COUNT;
        f->blk.does_fua = true;
        f->blk.zeroes_fast = take_lower->zeroes_fast;
        f->edge[EDGE_FIRST] =
            (struct blk_edge){.user = "job",
                              .uses = take_lower->read_only ? BLK_USE_READ : BLK_USE_ALL,
                              .lets = BLK_USE_READ};
        f->edge[EDGE_SECOND] = (struct blk_edge){
            .user = "job", .uses = BLK_USE_READ | BLK_USE_WRITE, .lets = BLK_USE_READ};
        r = job_copy_init(&f->copy, take_lower, o->second, e);
    }
    r = r == 0 ? blk_attach(&f->edge[EDGE_FIRST], take_lower, e) : r;
    r = r == 0 ? blk_attach(&f->edge[EDGE_SECOND], o->second, e) : r;
    if (r != 0 && f != NULL) {
        follow_destroy(&f->blk);
        return r;
    }
    if (r == 0) {
        f->copy.only_own = o->only_own;
        if (!o->only_own) {
            job_copy_mark(&f->copy, 0, f->copy.size);
        }
        *ret_disk = &f->blk;
    }
    return r;
}

int job_follow_insert(struct blk_edge *edge, const struct job_follow_options *o,
                      struct err *e)
{
    struct job_follow_options own = *o;

    return blk_insert(edge, make, &own, e);
}

struct job_copy *job_follow_copy(struct blk *b)
{
    return &follow_of(b)->copy;
}

int job_follow_both(struct blk *b)
{
    struct follow *f = follow_of(b);

    f->both = true;
    blk_drain_begin(b); /* what began before made its promises for one disk only */
    blk_drain_end(b);
    job_copy_fail(&f->copy, blk_flush(second_of(b)));
    return f->copy.failed;
}

int job_follow_turn(struct blk_edge *edge, const struct job_control *j, struct err *e)
{
    struct follow *f = follow_of(edge->disk);
    int r;

    f->turning = true;
    f->j = j;
    f->told = false;
    f->blk.edge = &f->edge[EDGE_SECOND]; /* `blk_remove` goes to the first */
    f->blk.edge_count = 1;
    r = blk_remove(edge, e);
    if (r != 0) {
        f->turning = false;
        f->blk.edge = f->edge;
        f->blk.edge_count = EDGE_COUNT;
        if (f->told) { /* both go on being written until the job undoes it */
            (void)j->turned(j->arg, false);
        }
    }
    return r;
}

int job_follow_undo(struct blk_edge *edge)
{
    return blk_remove(edge, NULL);
}
