/* change.c - changes of a whole bitmap: reset, enable, freeze. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "contract/blk_ops.h"
#include "resource/storage/bitmap/private.h"

static struct strand_pool *strands_of(const struct bitmap_set *set)
{
    return set->file.disk->strands;
}

static int set_flags(struct bitmap *b, unsigned flags)
{
    unsigned before = b->flags;
    int r;

    strand_lock(strands_of(b->set), &b->set->lock);
    b->flags = flags;
    b->set->changes++;
    r = before != flags ? bitmap_put_directory_locked(b->set) : 0;
    if (r != 0) {
        b->flags = before;
    }
    strand_unlock(&b->set->lock);
    return r;
}

int bitmap_enable(struct bitmap *b, bool enabled)
{
    return set_flags(b, enabled ? b->flags | FLAG_ENABLED
                                : b->flags & ~(unsigned)FLAG_ENABLED);
}

/* The flag goes first: were the bits cleared before, a crash would leave a bitmap that is
 * lost and has few marks; this way one that is right has too many. */
int bitmap_reset(struct bitmap *b)
{
    int r = 0;

    if (bitmap_is_lost(b)) {
        r = set_flags(b, b->flags & ~(unsigned)FLAG_LOST);
    }
    if (r != 0) {
        return r;
    }
    bitmap_clear_bits(b, 0, b->count);
    return bitmap_put_all(b->set);
}

static void add_bits(struct bitmap *to, const struct bitmap *from)
{
    memset(to->state, UNIT_CHANGED, to->units);
    for (uint64_t i = 0; i < from->units * UNIT_ROOM; i++) {
        to->bits[i] |= from->bits[i];
    }
    bitmap_trim(to);
}

/* The frozen one is durable before `b` is put down without its marks; both under one
 * lock, since a marker of any bitmap writes all that changed. */
static int move_bits(struct bitmap *b, struct bitmap *frozen)
{
    int r;

    strand_lock(strands_of(b->set), &b->set->lock);
    add_bits(frozen, b);
    bitmap_clear_bits(b, 0, b->count);
    r = bitmap_put_locked(frozen);
    if (r != 0) {
        add_bits(b, frozen);
    } else {
        r = bitmap_put_locked(b);
    }
    strand_unlock(&b->set->lock);
    return r;
}

int bitmap_freeze(struct bitmap *b, const char *name, struct bitmap **ret_frozen,
                  struct err *e)
{
    struct bitmap *frozen;
    int r;

    if (bitmap_is_lost(b)) {
        return err_set(e, -EUCLEAN, "cannot freeze bitmap '%s': its marks were lost",
                       b->name);
    }
    r = bitmap_add(b->set, name, bitmap_granularity(b), &frozen, e);
    if (r != 0) {
        return r;
    }
    r = bitmap_enable(frozen, false);
    if (r == 0) {
        r = move_bits(b, frozen);
    }
    if (r != 0) {
        (void)bitmap_remove(b->set, name, NULL);
        return err_sys(e, r, "cannot freeze bitmap '%s'", b->name);
    }
    *ret_frozen = frozen;
    return 0;
}
