/* undo.c - disks that can go back: from a mark on what is written to them is kept in memory,
 * over what they had, and thrown away by a rewind or at the end. */
#include <errno.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "node/machine/drives.h"
#include "resource/storage/filter/overlay.h"
#include "resource/storage/leaf/leaf.h"

#define MARKS_MOST  8u  /* over each other: each is one more place to look for a block */
#define STORE_BLOCK 512 /* or the guest would see larger blocks */

struct undoing {
    struct drives *drives;
    struct err *e;
};

static int put_over(struct blk *take_lower, void *arg, struct blk **ret, struct err *e)
{
    const struct filter_overlay_options o = {.fresh = true, .discard_at_end = true};
    const struct drives *d = arg;
    struct blk *store = NULL;
    int r = leaf_memory_create(loop_strands(d->loop),
                               filter_overlay_store_bytes(take_lower->size_bytes),
                               STORE_BLOCK, &store, e);

    return r < 0 ? r : filter_overlay_create(take_lower, store, &o, ret, e);
}

/* Also one that just comes or goes. */
static bool is_left_alone(const struct drive *d)
{
    return d->is_read_only || d->edge.disk == NULL;
}

static int mark_one(struct drives *d, unsigned i, struct err *e)
{
    return is_left_alone(&d->one[i]) ? 0 : blk_insert(&d->one[i].edge, put_over, d, e);
}

static int take_off(struct drives *d, unsigned i, struct err *e)
{
    return is_left_alone(&d->one[i]) ? 0 : blk_remove(&d->one[i].edge, e);
}

static int mark_all(void *arg)
{
    const struct undoing *u = arg;
    int r = 0;

    for (unsigned i = 0; i < u->drives->count; i++) {
        r = mark_one(u->drives, i, u->e);
        for (; r < 0 && i > 0; i--) { /* those before it, as they were */
            (void)take_off(u->drives, i - 1, NULL);
        }
        if (r < 0) {
            break;
        }
    }
    return r;
}

static int rewind_all(void *arg)
{
    const struct undoing *u = arg;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < u->drives->count; i++) {
        r = take_off(u->drives, i, u->e);
        r = r == 0 ? mark_one(u->drives, i, u->e) : r;
    }
    return r;
}

int drives_mark(struct drives *d, struct err *e)
{
    struct undoing u = {d, e};
    int r;

    if (d->marks == MARKS_MOST) {
        return err_set(e, -EBUSY, "there are %u marks already", MARKS_MOST);
    }
    r = d->count > 0 ? loop_do(d->loop, mark_all, &u) : 0;
    d->marks += r == 0;
    return r;
}

int drives_rewind(struct drives *d, struct err *e)
{
    struct undoing u = {d, e};

    return d->count > 0 ? loop_do(d->loop, rewind_all, &u) : 0;
}
