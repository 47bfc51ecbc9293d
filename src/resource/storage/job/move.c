/* move.c - a disk in use goes to another one; a layer goes down into the one that it stands on.
 *
 * Both are the same: the second disk follows the first, what is not equal is
 * copied, and in the end the second takes the first one's place.  A layer that is merged
 * copies only what it holds itself: the rest is there.
 *
 * A crash before the turn leaves the first disk as it is, and of the second one nobody
 * knows but the job; a layer half merged reads the same through the one above, and merging
 * anew copies the rest.  Between `ready` and the turn both have all that was flushed, so
 * whoever keeps the record of what is on top may change it in between.  At the turn itself,
 * when no request is under way, `turned` notes that the first disk is not written any more. */
#include <errno.h>

#include "base/err.h"
#include "resource/storage/job/copy.h"
#include "resource/storage/job/private.h"
#include "resource/storage/qcow2/qcow2.h"

static int cannot(struct err *e, int r, const struct blk *disk, const char *what)
{
    return err_sys(e, r, "cannot %s '%s'", what, disk->label);
}

/* The layer that is left reads the one that takes its place (`backing`, or NULL) until the
 * moment of the turn: it asks for nothing any more. */
static int turn(struct blk_edge *edge, struct blk_edge *backing,
                const struct job_control *j, struct err *e)
{
    unsigned uses = backing != NULL ? backing->uses : 0;
    int r;

    if (backing != NULL) {
        backing->uses = 0;
    }
    r = job_follow_turn(edge, j, e);
    if (r != 0 && backing != NULL) {
        backing->uses = uses;
    }
    return r;
}

/* Copy until both are equal and durable, wait for leave, turn. */
static int run(struct blk_edge *edge, struct blk_edge *backing,
               const struct job_control *j, struct err *e)
{
    struct blk *follow = edge->disk;
    struct job_copy *c = job_follow_copy(follow);
    int r;

    do {
        r = job_copy_all(c, j->progress, j->arg);
        r = r == 0 ? job_follow_both(follow) : r;
        if (r == 0 && c->left == 0) {
            r = j->ready != NULL ? j->ready(j->arg, &c->failed) : 0;
            if (r == 0) {
                err_clear(e);
                r = turn(edge, backing, j, e);
            }
        } else if (r == 0) {
            r = -EAGAIN;
        }
    } while (r == -EAGAIN);
    return r;
}

int job_move(struct blk *root, struct blk_edge *edge, struct blk *take_to,
             const struct job_control *j, struct err *e)
{
    struct job_follow_options o = {.second = take_to};
    struct blk *from = edge->disk;
    int r = blk_size(take_to) != blk_size(from)
                ? err_set(e, -EINVAL, "cannot move '%s': '%s' has another size",
                          from->label, take_to->label)
                : job_follow_insert(edge, &o, e);

    if (r != 0) {
        blk_drop(take_to);
        return r;
    }
    r = job_copy_look(job_follow_copy(edge->disk));
    r = r == 0 ? run(edge, NULL, j, e) : r;
    if (r != 0) {
        (void)job_follow_undo(edge);
        return cannot(e, r, from, "move");
    }
    job_root_refresh(root);
    return 0;
}

/* ---- merge ---- */

/* Make a layer writable that another stands on, and as large. */
static int prepare(struct blk_edge *backing, uint64_t size, struct err *e)
{
    struct blk *parent = backing->disk;
    unsigned lets = backing->lets;
    int r;

    backing->lets = BLK_USE_ALL;
    r = blk_set_access(parent, true, e);
    if (r == 0 && blk_size(parent) != size) {
        r = blk_resize(parent, size, e);
        if (r != 0) {
            (void)blk_set_access(parent, false, NULL);
        }
    }
    backing->lets = r == 0 ? backing->lets : lets;
    return r;
}

static void put_back(struct blk_edge *backing)
{
    backing->lets = BLK_USE_READ;
    (void)blk_set_access(backing->disk, false, NULL);
}

static struct blk_edge *backing_of(struct blk *layer, struct err *e)
{
    struct blk_edge *backing = qcow2_backing_edge(layer);

    if (backing == NULL || backing->disk == NULL) {
        (void)err_set(e, -EINVAL, "cannot merge '%s': it stands on nothing",
                      layer->label);
        return NULL;
    }
    return backing;
}

/* The layer is in use by guests. */
static int merge_live(struct blk_edge *edge, struct blk_edge *backing,
                      const struct job_control *j, struct err *e)
{
    struct job_follow_options o = {.second = backing->disk, .only_own = true};
    int r = job_follow_insert(edge, &o, e);

    if (r != 0) {
        return r;
    }
    r = job_copy_mark_own(job_follow_copy(edge->disk));
    r = r == 0 ? run(edge, backing, j, e) : r;
    if (r != 0) {
        (void)job_follow_undo(edge);
    }
    return r;
}

/* Nobody writes to the layer: it is copied as it is, and whoever stands on it moves down. */
static int merge_frozen(struct blk_edge *edge, struct blk_edge *backing,
                        const struct job_control *j, struct err *e)
{
    struct blk *parent = backing->disk;
    struct blk_step step = {edge, parent, edge->uses, BLK_USE_ALL};
    struct blk_edge to = {.user = "job", .uses = BLK_USE_WRITE, .lets = BLK_USE_READ};
    struct job_copy c;
    int r = job_copy_init(&c, edge->disk, parent, e);

    c.only_own = true;
    r = r == 0 ? blk_attach(&to, parent, e) : r;
    r = r == 0 ? job_copy_mark_own(&c) : r;
    r = r == 0 ? job_copy_all(&c, j->progress, j->arg) : r;
    r = r == 0 ? blk_flush(parent) : r;
    r = r == 0 && j->ready != NULL ? j->ready(j->arg, &c.failed) : r;
    r = r == 0 ? blk_change(&step, 1, e) : r;
    blk_detach(&to);
    job_copy_fini(&c);
    if (r == 0) {
        edge->lets = BLK_USE_READ;
        (void)blk_set_access(parent, false, NULL); /* a reader more, if it cannot be */
    }
    return r;
}

int job_merge(struct blk *root, struct blk_edge *edge, const struct job_control *j,
              struct err *e)
{
    struct blk *layer = edge->disk;
    struct blk_edge *backing = backing_of(layer, e);
    struct blk_edge keep = {.user = "job", .lets = BLK_USE_ALL};
    int r = backing == NULL ? -EINVAL : prepare(backing, blk_size(layer), e);

    if (r != 0) {
        return r;
    }
    r = blk_attach(&keep, layer, e); /* its backing edge has to outlive the turn */
    if (r == 0) {
        r = layer->read_only ? merge_frozen(edge, backing, j, e)
                             : merge_live(edge, backing, j, e);
    }
    if (r != 0) {
        put_back(backing);
        (void)cannot(e, r, layer, "merge");
    } else {
        job_root_refresh(root);
    }
    blk_detach(&keep);
    return r;
}

/* ---- stream ---- */

#define STREAM_BYTES ((uint64_t)4 << 20) /* between two looks at whether to go on */

int job_stream(struct blk *layer, const struct job_control *j, struct err *e)
{
    uint64_t at = 0;
    int r = 0;

    if (qcow2_backing_edge(layer) == NULL) {
        return err_set(e, -EINVAL, "cannot make '%s' stand alone: it is no image",
                       layer->label);
    }
    while (r == 0 && at < blk_size(layer)) {
        r = qcow2_flatten(layer, &at, STREAM_BYTES, e);
        if (r == 0 && j->progress != NULL) {
            r = j->progress(j->arg, at, blk_size(layer));
        }
    }
    r = r == 0 ? blk_flush(layer) : r;
    return r == 0 ? 0 : cannot(e, r, layer, "make stand alone");
}
