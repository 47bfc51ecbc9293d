/* raid_level.c - level 10: mirrors of two disks each, and an array without parity over
 * them.  Nothing new is written: each layer has its own superblocks. */
#include "resource/storage/redundancy/raid_level.h"

#include <errno.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/redundancy/mirror.h"
#include "resource/storage/redundancy/raid.h"

static void drop_from(struct blk *const *disk, unsigned from, unsigned count)
{
    for (unsigned i = from; i < count; i++) {
        blk_drop(disk[i]);
    }
}

/* Open the mirrors; on failure nothing of `take_disk` is left. */
static int open_pairs(struct loop *l, struct blk *const *take_disk, unsigned count,
                      const struct mirror_options *o, struct blk **ret_mirror,
                      struct err *e)
{
    for (unsigned i = 0; i < count / 2; i++) {
        int r = mirror_open(l, take_disk + 2 * (size_t)i, 2, o, &ret_mirror[i], e);

        if (r != 0) {
            drop_from(ret_mirror, 0, i);
            drop_from(take_disk, 2 * (i + 1), count);
            return r;
        }
    }
    return 0;
}

static int format_on_top(struct loop *l, struct blk *const *disk, unsigned count,
                         const struct raid_format *f, struct err *e)
{
    struct raid_format plain = *f;
    struct mirror_options o = {0};
    struct blk *mirror[RAID_MOST];
    int r;

    plain.level = 0;
    r = open_pairs(l, disk, count, &o, mirror, e);
    if (r == 0) {
        r = raid_format(l, mirror, count / 2, &plain, e);
        drop_from(mirror, 0, count / 2);
    }
    return r;
}

/* Leave a disk without destroying it: it is as it was given to us. */
static void let_go(struct blk_edge *edge)
{
    struct blk_edge **at = edge->disk != NULL ? &edge->disk->users : NULL;

    while (at != NULL && *at != edge) {
        at = &(*at)->next;
    }
    if (at != NULL) {
        *at = edge->next;
        edge->disk = NULL;
    }
}

int raid_ten_format(struct loop *l, struct blk *const *disk, unsigned count,
                    const struct raid_format *f, struct err *e)
{
    struct mirror_format m = {.same = true};
    struct blk_edge keep[2 * RAID_MOST] = {{0}};
    int r = 0;

    if (count < 4 || count % 2 != 0 || count > 2 * RAID_MOST) {
        return err_set(e, -EINVAL, "level 10 has an even number of members, 4 to %u",
                       2 * RAID_MOST);
    }
    for (unsigned i = 0; r == 0 && i < count; i++) {
        r = blk_zero(disk[i], 0, blk_size(disk[i]), BLK_UNMAP);
        r = r == 0 ? 0 : err_sys(e, r, "cannot clear '%s'", disk[i]->label);
    }
    for (unsigned i = 0; r == 0 && i < count; i += 2) {
        r = mirror_format(disk + i, 2, &m, e);
    }
    for (unsigned i = 0; r == 0 && i < count; i++) { /* they stay the caller's */
        keep[i] = (struct blk_edge){.user = "format", .lets = BLK_USE_ALL};
        r = blk_attach(&keep[i], disk[i], e);
    }
    r = r == 0 ? format_on_top(l, disk, count, f, e) : r;
    for (unsigned i = 0; i < count; i++) {
        let_go(&keep[i]);
    }
    return r;
}

int raid_ten_open(struct loop *l, struct blk *const *take_disk, unsigned count,
                  const struct raid_options *o, struct blk **ret_disk, struct err *e)
{
    struct mirror_options m = {.read_only = o->read_only,
                               .degraded = o->degraded,
                               .choose = o->choose,
                               .winner = o->winner};
    struct raid_options plain = {.level = 0, .read_only = o->read_only};
    struct blk *mirror[RAID_MOST];
    int r;

    if (count < 4 || count % 2 != 0 || count > 2 * RAID_MOST) {
        drop_from(take_disk, 0, count);
        return err_set(e, -EINVAL, "level 10 has an even number of members, 4 to %u",
                       2 * RAID_MOST);
    }
    r = open_pairs(l, take_disk, count, &m, mirror, e);
    return r == 0 ? raid_open(l, mirror, count / 2, &plain, ret_disk, e) : r;
}
