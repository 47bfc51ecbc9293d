/* fork.c - a snapshot under load: an empty image goes on top of what is there.
 *
 * Guests are held up only while reads and writes under way end and two edges change: their
 * flushes, which take longer, are held back before that, so that none is under way.  What
 * they wrote before is made durable twice: before, so that little is left, and afterwards,
 * while they write to the new image; until that is done, their flushes flush both, so
 * that what they flushed is on the disk, wherever it went. */
#include <errno.h>
#include <time.h>

#include "base/err.h"
#include "resource/storage/job/private.h"
#include "resource/storage/qcow2/qcow2.h"

static int count_disk(struct blk *b, unsigned depth, void *arg)
{
    (void)depth;
    *(unsigned *)arg += qcow2_backing_edge(b) != NULL ? 1 : 0;
    return 0;
}

static int check(struct blk *old, struct blk *top, struct err *e)
{
    const struct blk_edge *backing = qcow2_backing_edge(top);
    unsigned images = 0;

    (void)blk_visit(old, count_disk, &images);
    if (backing == NULL || top->read_only) {
        return err_set(e, -EINVAL, "cannot put '%s' on top: it is no image to be written",
                       top->label);
    }
    if (backing->disk != NULL) {
        return err_set(e, -EINVAL, "cannot put '%s' on top: it stands on '%s'",
                       top->label, backing->disk->label);
    }
    if (old->read_only) {
        return err_set(e, -EROFS, "cannot fork '%s': it is read only", old->label);
    }
    if (blk_size(top) != blk_size(old) || top->block_bytes != old->block_bytes) {
        return err_set(e, -EINVAL,
                       "cannot put '%s' on top: it has another size or other blocks",
                       top->label);
    }
    if (images + 1 > QCOW2_CHAIN_MOST) {
        return err_set(e, -ELOOP, "more than %d images stand on each other",
                       QCOW2_CHAIN_MOST);
    }
    return 0;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The two edges: guests to the new image, the new image to the old disk. */
static int swap(struct blk *root, struct blk_edge *edge, struct blk *top, struct err *e)
{
    struct blk *old = edge->disk;
    struct blk_step steps[] = {
        {edge, top, edge->uses, edge->lets},
        {qcow2_backing_edge(top), old, BLK_USE_READ, BLK_USE_READ},
    };
    int r = job_root_owe(root, old, e);

    if (r == 0) {
        r = blk_change(steps, 2, e);
        if (r != 0) {
            (void)job_root_pay(root);
        }
    }
    return r;
}

int job_fork(struct blk *root, struct blk_edge *edge, struct blk *take_top,
             uint64_t *ret_stall_ns, bool *ret_done, struct err *e)
{
    struct blk *old = edge->disk;
    uint64_t begun;
    int r = check(old, take_top, e);

    *ret_done = false;
    job_root_hold_flushes(root);
    if (r == 0) {
        r = blk_flush(old);
        r = r == 0 ? 0 : err_sys(e, r, "cannot flush '%s'", old->label);
    }
    begun = now_ns();
    if (r == 0) {
        r = swap(root, edge, take_top, e);
    }
    *ret_stall_ns = now_ns() - begun;
    job_root_let_flushes(root);
    if (r != 0) {
        blk_drop(take_top);
        return r;
    }
    *ret_done = true;
    job_root_refresh(root);
    r = job_root_pay(root);
    if (r != 0) {
        return err_sys(e, r, "'%s' is on top, but '%s' cannot be flushed",
                       take_top->label, old->label);
    }
    return blk_set_access(old, false, e);
}
