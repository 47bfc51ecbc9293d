/* drop.c - discards on their way through a write-back cache.
 *
 * A discard belongs to the open epoch, like a write: on the slow disk it would overtake what
 * has not gone down, and the slow disk would be no earlier moment any more.  So it is
 * noted, and its bytes read as zeros at once; when its epoch goes down they become zeros on the
 * slow disk, before what was written since, and what was written before is not written at all.
 * A note is in memory alone: so a flush, which makes it durable, takes all down.  A write
 * cuts its bytes out of the notes.
 *
 * Where the slow disk cannot make zeros without writing them, nothing is given back. */
#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"
#include "resource/storage/cache/private.h"

static int add_behind(struct cache *c, struct cache_drop **at, struct cache_drop what)
{
    struct cache_drop *d =
        c->drops < 2 * CACHE_DROPS_MOST ? fault_malloc(sizeof *d) : NULL;

    if (d == NULL) {
        return -ENOMEM;
    }
    *d = what;
    d->next = *at;
    *at = d;
    c->drops++;
    return 0;
}

/* What is dirty in the open epoch is not worth writing any more; clean blocks show the past. */
static void mask_line(struct cache *c, uint64_t line, uint64_t bits)
{
    for (struct cache_slot *s = cache_newest(c, line); s != NULL; s = s->older) {
        if (s->state == CACHE_DIRTY && s->epoch == c->epoch && (s->valid & bits) != 0) {
            s->valid &= ~bits;
            cache_touch_index(c, s);
        }
    }
    cache_mask_clean(c, line, bits);
}

/* The same for what goes down with the discard, or before it. */
static void strip_line(struct cache *c, uint64_t line, uint64_t bits, uint64_t epoch)
{
    for (struct cache_slot *s = cache_newest(c, line); s != NULL; s = s->older) {
        if (s->state == CACHE_DIRTY && s->epoch < epoch && (s->valid & bits) != 0) {
            s->valid &= ~bits;
            cache_touch_index(c, s);
        }
    }
    cache_mask_clean(c, line, bits);
}

static void for_lines(struct cache *c, const struct cache_drop *d, bool strips)
{
    uint32_t block = c->blk.block_bytes;
    uint64_t end = d->off + d->bytes;

    for (uint64_t off = d->off; off < end;) {
        uint64_t line = off / c->line_bytes;
        uint64_t stop = (line + 1) * c->line_bytes;
        unsigned first = (unsigned)(off % c->line_bytes / block);
        unsigned count;
        uint64_t bits;

        stop = stop < end ? stop : end;
        count = (unsigned)((stop - off) / block);
        bits = (count == 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1) << first;
        if (strips) {
            strip_line(c, line, bits, d->epoch);
        } else {
            mask_line(c, line, bits);
        }
        off = stop;
    }
}

int cache_drop_note(struct cache *c, uint64_t off, uint64_t bytes)
{
    struct cache_drop **at = &c->drop;
    const struct cache_drop what = {.epoch = c->epoch, .off = off, .bytes = bytes};
    int r = 0;

    while (*at != NULL) {
        at = &(*at)->next;
    }
    r = c->drops >= CACHE_DROPS_MOST ? -ENOSPC : add_behind(c, at, what);
    if (r == 0) {
        for_lines(c, &what, false);
        c->changed = true;
    }
    return r;
}

int cache_drop_cut(struct cache *c, uint64_t off, uint64_t bytes)
{
    uint64_t end = off + bytes;

    for (struct cache_drop *d = c->drop; d != NULL; d = d->next) {
        uint64_t d_end = d->off + d->bytes;

        if (d->bytes == 0 || d->off >= end || d_end <= off) {
            continue;
        }
        if (d->off < off && d_end > end) {
            int r = add_behind(
                c, &d->next,
                (struct cache_drop){.epoch = d->epoch, .off = end, .bytes = d_end - end});

            if (r != 0) {
                return r;
            }
            d->bytes = off - d->off;
        } else if (d->off < off) {
            d->bytes = off - d->off;
        } else if (d_end > end) {
            d->off = end;
            d->bytes = d_end - end;
        } else {
            d->bytes = 0;
        }
    }
    return 0;
}

bool cache_drop_find(const struct cache *c, uint64_t off, size_t *bytes)
{
    uint64_t end = off + *bytes;
    const struct cache_drop *found = NULL;

    for (const struct cache_drop *d = c->drop; d != NULL; d = d->next) {
        if (d->bytes > 0 && d->off <= off && off < d->off + d->bytes) {
            found = d;
        } else if (d->bytes > 0 && d->off > off && d->off < end) {
            end = d->off;
        }
    }
    if (found != NULL && found->off + found->bytes < end) {
        end = found->off + found->bytes;
    }
    *bytes = (size_t)(end - off);
    return found != NULL;
}

int cache_drop_give_back(struct cache *c, uint64_t target)
{
    int r = 0;

    for (struct cache_drop *d = c->drop; r == 0 && d != NULL && d->epoch <= target;
         d = d->next) {
        const struct cache_drop what =
            *d; /* a write may cut it meanwhile: that comes later */
        struct cache_work w;

        if (what.bytes == 0) {
            continue;
        }
        cache_begin_write(c, &w, what.off, what.bytes);
        for_lines(c, &what, true);
        r = blk_zero(cache_slow(c), what.off, what.bytes, BLK_UNMAP);
        cache_end_write(c, &w);
    }
    return r;
}

void cache_drop_forget(struct cache *c, uint64_t target)
{
    while (c->drop != NULL && c->drop->epoch <= target) {
        struct cache_drop *d = c->drop;

        c->drop = d->next;
        c->drops--;
        free(d);
    }
}
