/* resize.c - mirrors and arrays of another size, while they are in use.
 *
 * Nobody writes meanwhile, and nothing is copied.  Larger: the members first, then zeros
 * where the new room is, then the superblocks.  Smaller: the superblocks first, then the
 * members.  So after a power cut the size that the newest superblock tells is there on
 * all members, and what is new reads zeros.
 *
 * A member that is out keeps its size and is made to fit when it comes back
 * (`member_fit`); a mirror marks all new regions for it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/redundancy/mirror_private.h"
#include "resource/storage/redundancy/raid_private.h"

#define UNIT_BYTES  4096
#define CLEAR_BYTES 65536u

/* ---- mirrors ---- */

/* Tables by region, for another number of them. */
struct tables {
    uint16_t *active;
    uint32_t *last;
    uint8_t *pending[MIRROR_MOST];
};

static void free_tables(struct tables *t)
{
    free(t->active);
    free(t->last);
    for (unsigned i = 0; i < MIRROR_MOST; i++) {
        free(t->pending[i]);
    }
}

static int make_tables(const struct mirror *m, uint64_t regions, struct tables *t)
{
    uint64_t same = regions < m->intent.regions ? regions : m->intent.regions;
    bool all;

    t->active = fault_calloc(regions + 1, sizeof *t->active);
    t->last = fault_calloc(regions + 1, sizeof *t->last);
    all = t->active != NULL && t->last != NULL;
    for (unsigned i = 0; i < m->set.count; i++) {
        t->pending[i] = fault_calloc(regions + 1, 1);
        all = all && t->pending[i] != NULL;
    }
    if (!all) {
        free_tables(t);
        return -ENOMEM;
    }
    memcpy(t->last, m->last, same * sizeof *t->last); /* nothing is active */
    for (unsigned i = 0; i < m->set.count; i++) {
        memcpy(t->pending[i], m->pending[i], same);
    }
    return 0;
}

/* The old ones are in `t` afterwards. */
static void swap_tables(struct mirror *m, uint64_t regions, struct tables *t)
{
    struct tables was = {.active = m->active, .last = m->last};

    m->active = t->active;
    m->last = t->last;
    for (unsigned i = 0; i < m->set.count; i++) {
        was.pending[i] = m->pending[i];
        m->pending[i] = t->pending[i];
        m->pending_count[i] = 0;
        for (uint64_t k = 0; k < regions; k++) {
            m->pending_count[i] += m->pending[i][k];
        }
    }
    *t = was;
}

static bool somebody_is_out(const struct member_set *s)
{
    return member_count(s, MEMBER_OUT) > 0;
}

/* In memory: the marks, then all that is counted by region. */
static int set_regions(struct mirror *m, uint64_t regions)
{
    struct tables t = {0};
    int r = make_tables(m, regions, &t);

    r = r == 0 ? intent_resize(&m->intent, regions) : r;
    if (r == 0) {
        swap_tables(m, regions, &t);
    }
    free_tables(&t);
    return r;
}

static int grow_mirror(struct mirror *m, uint64_t size, uint64_t regions, struct err *e)
{
    uint64_t was = m->set.size;
    uint64_t first = was / m->set.unit_bytes;
    int r = member_fit(&m->set, m->set.data_at + size, e);

    r = r == 0 ? member_clear(&m->set, was, size - was) : r;
    r = r == 0 ? set_regions(m, regions) : r;
    r = r == 0 ? (somebody_is_out(&m->set) ? intent_mark(&m->intent, first, regions)
                                           : intent_put(&m->intent))
               : r;
    return r == 0 ? member_set_size(&m->set, size) : r;
}

static int shrink_mirror(struct mirror *m, uint64_t size, uint64_t regions)
{
    int r = member_set_size(&m->set, size);

    r = r == 0 ? set_regions(m, regions) : r;
    return r == 0 ? intent_put(&m->intent) : r;
}

/* What is too large does no harm: the next growth clears it. */
static void trim(struct member_set *s, uint64_t bytes)
{
    for (unsigned i = 0; i < s->count; i++) {
        struct blk *disk = s->edge[i].disk;

        if (disk != NULL && member_is_live(&s->member[i]) && disk->ops->resize != NULL &&
            blk_size(disk) > bytes) {
            (void)blk_resize(disk, bytes, NULL);
        }
    }
}

static int change_mirror(struct mirror *m, uint64_t size, struct err *e)
{
    uint64_t regions = (size + m->set.unit_bytes - 1) / m->set.unit_bytes;
    int r = size >= m->set.size ? grow_mirror(m, size, regions, e)
                                : shrink_mirror(m, size, regions);

    if (r == 0) {
        m->blk.size_bytes = size;
        trim(&m->set, m->set.data_at + size);
    }
    return r;
}

int mirror_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct mirror *m = mirror_of(b);
    struct range_hold all = {.first = 0, .end = UINT64_MAX};
    int r;

    if (size_bytes % UNIT_BYTES != 0) {
        return err_set(e, -EINVAL, "cannot resize a mirror: not a multiple of %d bytes",
                       UNIT_BYTES);
    }
    if (intent_bytes((size_bytes + m->set.unit_bytes - 1) / m->set.unit_bytes) >
        m->set.data_at - MEMBER_AREA_AT) {
        return err_set(e, -ENOSPC,
                       "cannot resize a mirror to %llu bytes: there is no room for its "
                       "marks",
                       (unsigned long long)size_bytes);
    }
    if (m->stop) {
        return err_set(e, -EBUSY, "cannot resize '%s': it is being resized", b->label);
    }
    m->stop = true;
    while (m->copying) {
        strand_wait(b->strands, &m->copy_ended);
    }
    range_take(b->strands, &m->ranges, &all);
    mirror_catch_up(m);
    r = change_mirror(m, size_bytes, e);
    range_give(&m->ranges, &all);
    m->stop = false;
    mirror_kick(m);
    return r == 0 ? 0 : err_sys(e, r, "cannot resize '%s'", b->label);
}

/* ---- arrays ---- */

/* Zeros from the old end to the end of its stripe: what a larger disk had there once.
 * Before anything is held, as it is a write like others. */
static int clear_tail(struct raid *x)
{
    static const char zeros[CLEAR_BYTES];
    uint64_t at = x->set.size;
    uint64_t end = x->stripes * x->chunk * x->data;
    int r = 0;

    while (r == 0 && at < end) {
        size_t n = end - at < sizeof zeros ? (size_t)(end - at) : sizeof zeros;
        struct iovec piece;

        r = x->blk.ops->write(&x->blk, blk_vec_of(&piece, (void *)(uintptr_t)zeros, n),
                              at, 0);
        at += n;
    }
    return r;
}

static int grow_raid(struct raid *x, uint64_t size, uint64_t stripes, struct err *e)
{
    uint64_t had = x->stripes * (uint64_t)x->chunk;
    int r = member_fit(&x->set, x->set.data_at + stripes * x->chunk, e);

    r = r == 0 ? member_clear(&x->set, had, stripes * x->chunk - had) : r;
    return r == 0 ? member_set_size(&x->set, size) : r;
}

static int change_raid(struct raid *x, uint64_t size, struct err *e)
{
    uint64_t width = (uint64_t)x->chunk * x->data;
    uint64_t stripes = (size + width - 1) / width;
    int r = x->parity > 0 ? raid_journal_settle(x) : 0; /* records name old stripes */

    if (r == 0) {
        r = size >= x->set.size ? grow_raid(x, size, stripes, e)
                                : member_set_size(&x->set, size);
    }
    if (r == 0) {
        for (unsigned i = 0; i < x->set.count; i++) {
            struct member *m = &x->set.member[i];

            m->done = m->done < stripes ? m->done : stripes;
        }
        x->stripes = stripes;
        x->blk.size_bytes = size;
        trim(&x->set, x->set.data_at + stripes * x->chunk);
    }
    return r;
}

int raid_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct raid *x = raid_of(b);
    struct range_hold all = {.first = 0, .end = UINT64_MAX};
    int r;

    if (size_bytes == 0 || size_bytes % UNIT_BYTES != 0) {
        return err_set(e, -EINVAL, "cannot resize an array: not a multiple of %d bytes",
                       UNIT_BYTES);
    }
    if (x->stop) {
        return err_set(e, -EBUSY, "cannot resize '%s': it is being resized", b->label);
    }
    r = size_bytes > b->size_bytes ? clear_tail(x) : 0;
    if (r != 0) {
        return err_sys(e, r, "cannot resize '%s'", b->label);
    }
    x->stop = true;
    while (x->copying) {
        strand_wait(b->strands, &x->copy_ended);
    }
    range_take(b->strands, &x->ranges, &all);
    r = change_raid(x, size_bytes, e);
    range_give(&x->ranges, &all);
    x->stop = false;
    raid_kick(x);
    return r == 0 ? 0 : err_sys(e, r, "cannot resize '%s'", b->label);
}
