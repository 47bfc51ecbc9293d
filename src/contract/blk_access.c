/* blk_access.c - a disk stops being written, or begins again, with what lies below it.
 *
 * A disk below follows only when nobody else writes to it: a store that holds several
 * disks stays writable while one of them is. */
#include <errno.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"

#define WRITES (BLK_USE_WRITE | BLK_USE_RESIZE)

static bool somebody_writes(const struct blk *disk)
{
    for (const struct blk_edge *o = disk->users; o != NULL; o = o->next) {
        if ((o->uses & WRITES) != 0) {
            return true;
        }
    }
    return false;
}

/* Everybody else lets this user write. */
static int check_others(const struct blk_edge *edge, struct err *e)
{
    for (const struct blk_edge *o = edge->disk->users; o != NULL; o = o->next) {
        if (o != edge && (~o->lets & WRITES) != 0) {
            return err_set(e, -EBUSY, "cannot let '%s' write to '%s': '%s' is using it",
                           edge->user, edge->disk->label, o->user);
        }
    }
    return 0;
}

int blk_edge_access(struct blk_edge *edge, bool writes, struct err *e)
{
    int r;

    if (edge->disk == NULL) {
        return 0;
    }
    if (!writes) {
        edge->uses &= ~(unsigned)WRITES;
        edge->lets |= BLK_USE_READ;
        return somebody_writes(edge->disk) ? 0 : blk_set_access(edge->disk, false, e);
    }
    r = check_others(edge, e);
    r = r == 0 ? blk_set_access(edge->disk, true, e) : r;
    if (r == 0) {
        edge->uses = BLK_USE_ALL;
        edge->lets = 0;
    }
    return r;
}

static int all_below(struct blk *disk, bool writes, struct err *e)
{
    int r = 0;

    if (writes && disk->edge_count > 1) {
        return err_set(e, -EOPNOTSUPP, "cannot let '%s' be written: %s stays read only",
                       disk->label, disk->ops->name);
    }
    for (unsigned i = 0; r == 0 && i < disk->edge_count; i++) {
        struct blk_edge *edge = &disk->edge[i];

        if (edge->disk != NULL && (writes || (edge->uses & WRITES) != 0)) {
            r = blk_edge_access(edge, writes, e);
        }
    }
    return r;
}

static int change(struct blk *disk, bool writes, struct err *e)
{
    return disk->ops->access != NULL ? disk->ops->access(disk, writes, e)
                                     : all_below(disk, writes, e);
}

static int set_writable(struct blk *disk, struct err *e)
{
    int r = disk->ops->write == NULL
                ? err_set(e, -EROFS, "cannot let '%s' be written: %s is never",
                          disk->label, disk->ops->name)
                : change(disk, true, e);

    if (r == 0) {
        disk->read_only = false;
    } else {
        (void)change(disk, false, NULL);
    }
    return r;
}

static int set_read_only(struct blk *disk, struct err *e)
{
    int r = disk->ops->quiesce != NULL ? disk->ops->quiesce(disk) : 0;

    if (r != 0) {
        return err_sys(e, r, "cannot bring '%s' to rest", disk->label);
    }
    r = change(disk, false, e);
    if (r == 0) {
        disk->read_only = true;
    }
    return r;
}

int blk_set_access(struct blk *disk, bool writes, struct err *e)
{
    int r = 0;

    if (disk->read_only == !writes) {
        return 0;
    }
    if (!writes && somebody_writes(disk)) {
        return err_set(e, -EBUSY, "cannot make '%s' read only: it is being written",
                       disk->label);
    }
    blk_drain_begin(disk);
    r = writes ? set_writable(disk, e) : set_read_only(disk, e);
    blk_drain_end(disk);
    return r;
}
