/* cache.c - requests of a cache, and its beginning and end.
 *
 * Write-back: a write goes to the slot that its line has in the open epoch; the first
 * one of an epoch takes a new slot, so that what is sealed is never written over.  No
 * block is read to fill a line up: a slot holds just what was written or read.
 *
 * Write-through: the store is told after the slow disk; blocks that are being written
 * are in the store of nobody meanwhile.  Writes of the same block exclude each other,
 * so that both disks see them in one order.
 *
 * A miss that is worth it is put into the store; a write to the line that came in
 * between spoils that (`poisoned`). */
#include "resource/storage/cache/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/cache/private.h"

#define LINE_DEFAULT_BYTES 32768u
#define STATUS_LINES       1024u

static struct cache *cache_of(struct blk *b)
{
    return (struct cache *)b;
}

/* Bits of the blocks [off, off + bytes) of one line. */
static uint64_t bits_of(const struct cache *c, uint64_t off, uint64_t bytes)
{
    unsigned first = (unsigned)(off % c->line_bytes / c->blk.block_bytes);
    unsigned count = (unsigned)(bytes / c->blk.block_bytes);

    return (count == 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1) << first;
}

static size_t in_line(const struct cache *c, uint64_t off, uint64_t bytes)
{
    uint64_t left = c->line_bytes - off % c->line_bytes;

    return (size_t)(bytes < left ? bytes : left);
}

/* ---- requests under way ---- */

static void begin_work(struct cache_work **list, struct cache_work *w)
{
    w->next = *list;
    *list = w;
}

static void end_work(struct cache_work **list, struct cache_work *w)
{
    while (*list != w) {
        list = &(*list)->next;
    }
    *list = w->next;
}

static bool meets(const struct cache_work *a, const struct cache_work *b)
{
    return a->first_line < b->end_line && b->first_line < a->end_line;
}

void cache_begin_write(struct cache *c, struct cache_work *w, uint64_t off,
                       uint64_t bytes)
{
    *w = (struct cache_work){
        .first_line = off / c->line_bytes,
        .end_line = (off + bytes + c->line_bytes - 1) / c->line_bytes,
    };
    begin_work(&c->writes, w);
    for (struct cache_work *f = c->fills; f != NULL; f = f->next) {
        f->poisoned = f->poisoned || meets(f, w);
    }
}

void cache_end_write(struct cache *c, struct cache_work *w)
{
    end_work(&c->writes, w);
}

/* ---- reads ---- */

/* Who has the block at `off`, and for how many bytes it is the same; NULL: the slow
 * disk. */
static struct cache_slot *holder_of(const struct cache *c, uint64_t off, size_t *bytes)
{
    unsigned at = (unsigned)(off % c->line_bytes / c->blk.block_bytes);
    unsigned end = at + (unsigned)(*bytes / c->blk.block_bytes);
    struct cache_slot *newest = cache_newest(c, off / c->line_bytes);
    struct cache_slot *found = NULL;
    unsigned n = 0;

    for (unsigned i = at; i < end; i++, n++) {
        struct cache_slot *s = newest;

        while (s != NULL && (s->valid >> i & 1) == 0) {
            s = s->older;
        }
        if (i == at) {
            found = s;
        } else if (s != found) {
            break;
        }
    }
    *bytes = (size_t)n * c->blk.block_bytes;
    return found;
}

static struct cache_slot *clean_of(const struct cache *c, uint64_t line)
{
    struct cache_slot *s = cache_newest(c, line);

    while (s != NULL && s->state != CACHE_CLEAN) {
        s = s->older;
    }
    return s;
}

/* The clean version of a line, or a new one; NULL: there is no room at present. */
static struct cache_slot *slot_for_fill(struct cache *c, uint64_t line)
{
    struct cache_slot *s = clean_of(c, line);

    if (s != NULL) {
        return s;
    }
    s = c->list[CACHE_FREE].first;
    if (c->list[CACHE_FREE].count <= c->slots / 64) {
        cache_tend(c);
        return NULL;
    }
    s->line = line;
    s->valid = 0;
    s->epoch = c->epoch;
    cache_move(c, s, CACHE_CLEAN);
    cache_put(c, s);
    c->figures.promoted++;
    return s;
}

static void fill(struct cache *c, const struct cache_work *w, struct blk_vec from,
                 uint64_t off)
{
    struct cache_slot *s = slot_for_fill(c, w->first_line);
    uint64_t epoch = c->epoch;
    int r;

    if (s == NULL) {
        return;
    }
    cache_enter_epoch(c, epoch);
    cache_pin(c, s);
    r = blk_writev(cache_store(c), from, cache_place(c, s) + off % c->line_bytes, 0);
    if (r == 0 && !w->poisoned && s->state == CACHE_CLEAN) {
        s->valid |= bits_of(c, off, from.bytes);
        s->epoch = epoch;
        c->changed = true;
        cache_touch_index(c, s);
    } else if (s->state == CACHE_CLEAN && s->valid == 0 && s->pins == 1) {
        cache_release(c, s);
    }
    cache_unpin(c, s);
    cache_leave_epoch(c, epoch);
}

static int read_slow(struct cache *c, struct blk_vec to, uint64_t off, bool keep)
{
    struct cache_work w = {.first_line = off / c->line_bytes};
    int r;

    w.end_line = w.first_line + 1;
    for (const struct cache_work *x = c->writes; x != NULL; x = x->next) {
        keep = keep && !meets(x, &w);
    }
    if (!keep) {
        return blk_readv(cache_slow(c), to, off);
    }
    begin_work(&c->fills, &w);
    r = blk_readv(cache_slow(c), to, off);
    if (r == 0 && !w.poisoned) {
        fill(c, &w, to, off);
    }
    end_work(&c->fills, &w);
    return r;
}

/* A clean place that cannot be read is no loss. */
static int read_place(struct cache *c, struct cache_slot *s, struct blk_vec to,
                      uint64_t off)
{
    int r;

    cache_pin(c, s);
    r = blk_readv(cache_store(c), to, cache_place(c, s) + off % c->line_bytes);
    if (r != 0 && s->state == CACHE_CLEAN) {
        cache_release(c, s);
    }
    s->used = true;
    if (r != 0 && (s->state == CACHE_FREEING || s->state == CACHE_FREE)) {
        r = blk_readv(cache_slow(c), to, off);
    }
    cache_unpin(c, s);
    return r;
}

static int read_line(struct cache *c, struct blk_vec to, uint64_t off, bool keep,
                     uint64_t *missed)
{
    int r = 0;

    while (r == 0 && to.bytes > 0) {
        size_t n = to.bytes;
        bool dropped = c->drop != NULL && cache_drop_find(c, off, &n);
        struct cache_slot *s = dropped ? NULL : holder_of(c, off, &n);
        struct blk_vec part = blk_vec_part(to, 0, n);

        if (dropped) {
            blk_vec_zero(part);
        } else if (s != NULL) {
            r = read_place(c, s, part, off);
        } else {
            *missed += n;
            r = read_slow(c, part, off, keep);
        }
        off += n;
        to = blk_vec_part(to, n, to.bytes - n);
    }
    return r;
}

static void count_read(struct cache *c, uint64_t bytes, uint64_t missed, bool in_a_row)
{
    if (missed == 0) {
        c->figures.hits++;
    } else {
        c->figures.misses++;
        c->figures.bypassed += in_a_row;
    }
    c->figures.hit_bytes += bytes - missed;
    c->figures.miss_bytes += missed;
}

static int cache_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct cache *c = cache_of(b);
    bool in_a_row = cache_is_sequential(c, off, to.bytes);
    uint64_t bytes = to.bytes;
    uint64_t missed = 0;
    int r = 0;

    while (r == 0 && to.bytes > 0) {
        size_t n = in_line(c, off, to.bytes);
        uint64_t line = off / c->line_bytes;
        bool room = c->list[CACHE_FREE].count > c->slots / 8;

        cache_heat_note(c, line);
        r = read_line(c, blk_vec_part(to, 0, n), off,
                      !in_a_row && (room || cache_heat_of(c, line) >= 2), &missed);
        off += n;
        to = blk_vec_part(to, n, to.bytes - n);
    }
    count_read(c, bytes, missed, in_a_row);
    return r;
}

/* ---- writes ---- */

/* The slot that takes what is written to a line in the open epoch. */
static int slot_for_write(struct cache *c, uint64_t line, struct cache_slot **ret)
{
    for (;;) {
        struct cache_slot *s = cache_newest(c, line);
        int r;

        while (s != NULL && (s->state != CACHE_DIRTY || s->epoch != c->epoch)) {
            s = s->older;
        }
        if (s == NULL && c->list[CACHE_FREE].count == 0) {
            r = cache_need_slot(c);
            if (r != 0) {
                return r;
            }
            continue; /* others ran meanwhile */
        }
        if (s == NULL) {
            s = c->list[CACHE_FREE].first;
            s->line = line;
            s->valid = 0;
            s->epoch = c->epoch;
            cache_move(c, s, CACHE_DIRTY);
            cache_put(c, s);
        }
        *ret = s;
        return 0;
    }
}

static int write_back_line(struct cache *c, struct blk_vec from, uint64_t off)
{
    uint64_t line = off / c->line_bytes;
    uint64_t bits = bits_of(c, off, from.bytes);
    struct cache_slot *s = NULL;
    uint64_t epoch;
    int r = slot_for_write(c, line, &s);

    if (r != 0) {
        return r;
    }
    epoch = c->epoch;
    cache_enter_epoch(c, epoch);
    cache_pin(c, s);
    r = blk_writev(cache_store(c), from, cache_place(c, s) + off % c->line_bytes, 0);
    r = r == 0 && c->drop != NULL ? cache_drop_cut(c, off, from.bytes) : r;
    if (r == 0) {
        cache_mask_clean(c, line, bits);
        s->valid |= bits;
        c->changed = true;
        cache_touch_index(c, s);
    } else if (s->valid == 0 && s->pins == 1) { /* never in the index: free at once */
        cache_take_out(c, s);
        cache_move(c, s, CACHE_FREE);
    }
    cache_unpin(c, s);
    cache_leave_epoch(c, epoch);
    return r;
}

static void mask_lines(struct cache *c, uint64_t off, uint64_t bytes)
{
    while (bytes > 0) {
        uint64_t n = in_line(c, off, bytes);

        cache_mask_clean(c, off / c->line_bytes, bits_of(c, off, n));
        off += n;
        bytes -= n;
    }
}

/* The slow disk has it; tell the store where it knows the line. */
static void refresh_line(struct cache *c, struct blk_vec from, uint64_t off)
{
    struct cache_slot *s = clean_of(c, off / c->line_bytes);
    int r;

    if (s == NULL) {
        return;
    }
    cache_pin(c, s);
    r = blk_writev(cache_store(c), from, cache_place(c, s) + off % c->line_bytes, 0);
    if (r == 0 && s->state == CACHE_CLEAN) {
        s->valid |= bits_of(c, off, from.bytes);
        cache_touch_index(c, s);
    }
    cache_unpin(c, s);
}

static int mark_in_use(struct cache *c)
{
    return c->head_in_use || c->options.is_volatile ? 0 : cache_write_head(c, true);
}

static int write_through(struct cache *c, struct blk_vec from, uint64_t off)
{
    struct range_hold span;
    int r = mark_in_use(c);

    if (r != 0) {
        return r;
    }
    span = (struct range_hold){.first = off, .end = off + from.bytes};
    range_take(c->blk.strands, &c->ranges, &span);
    mask_lines(c, off, from.bytes);
    r = blk_writev(cache_slow(c), from, off, 0);
    while (r == 0 && from.bytes > 0) {
        size_t n = in_line(c, off, from.bytes);

        refresh_line(c, blk_vec_part(from, 0, n), off);
        off += n;
        from = blk_vec_part(from, n, from.bytes - n);
    }
    range_give(&c->ranges, &span);
    return r;
}

static int cache_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct cache *c = cache_of(b);
    struct cache_work w;
    int r = 0;

    (void)flags;
    cache_begin_write(c, &w, off, from.bytes);
    if (!c->options.write_back) {
        r = write_through(c, from, off);
    }
    while (c->options.write_back && r == 0 && from.bytes > 0) {
        size_t n = in_line(c, off, from.bytes);

        r = write_back_line(c, blk_vec_part(from, 0, n), off);
        off += n;
        from = blk_vec_part(from, n, from.bytes - n);
    }
    cache_end_write(c, &w);
    return r;
}

/* Zeros and discards go past the store; in write-back zeros are written, as they would
 * overtake epochs. */
static int past_store(struct cache *c, uint64_t off, uint64_t bytes, unsigned flags,
                      bool discard)
{
    struct cache_work w;
    struct range_hold span;
    int r;

    if (c->options.write_back) {
        return -EOPNOTSUPP;
    }
    r = mark_in_use(c);
    if (r != 0) {
        return r;
    }
    cache_begin_write(c, &w, off, bytes);
    span = (struct range_hold){.first = off, .end = off + bytes};
    range_take(c->blk.strands, &c->ranges, &span);
    mask_lines(c, off, bytes);
    r = discard ? blk_discard(cache_slow(c), off, bytes)
                : blk_zero(cache_slow(c), off, bytes, flags);
    range_give(&c->ranges, &span);
    cache_end_write(c, &w);
    return r;
}

static int cache_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    return past_store(cache_of(b), off, bytes, flags, false);
}

static int discard_back(struct cache *c, uint64_t off, uint64_t bytes)
{
    struct cache_work w;
    int r;

    if (!cache_slow(c)->zeroes_fast) {
        return 0;
    }
    cache_begin_write(c, &w, off, bytes);
    r = cache_drop_note(c, off, bytes);
    if (r == -ENOSPC) {
        r = cache_write_back(&c->blk);
        r = r == 0 ? cache_drop_note(c, off, bytes) : r;
    }
    cache_end_write(c, &w);
    return r == -ENOMEM || r == -ENOSPC ? 0 : r;
}

static int cache_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    struct cache *c = cache_of(b);

    return c->options.write_back ? discard_back(c, off, bytes)
                                 : past_store(c, off, bytes, 0, true);
}

/* ---- durable ---- */

int cache_write_back(struct blk *b)
{
    struct cache *c = cache_of(b);
    int r = cache_commit(c);

    r = r == 0 ? cache_go_down(c) : r;
    return r == 0 ? cache_commit(c) : r; /* so that the head says so */
}

static int cache_flush(struct blk *b)
{
    struct cache *c = cache_of(b);
    int r;

    if (!c->options.write_back) {
        return blk_flush(cache_slow(c));
    }
    if (c->options.is_volatile) {
        r = cache_write_back(b);
        return r == 0 ? blk_flush(cache_slow(c)) : r;
    }
    if (c->drop != NULL) {
        return cache_write_back(b);
    }
    r = cache_commit(c);
    if (r == 0 && c->list[CACHE_DIRTY].count > 0) {
        cache_tend(c);
    }
    return r;
}

static int cache_quiesce(struct blk *b)
{
    struct cache *c = cache_of(b);
    int r;

    cache_wait_tended(c);
    if (c->options.is_volatile) {
        return cache_flush(b);
    }
    if (c->options.write_back) {
        r = c->options.leave_dirty && c->drop == NULL ? cache_commit(c)
                                                      : cache_write_back(b);
        return r == 0 ? cache_commit(c) : r;
    }
    r = blk_flush(cache_slow(c));
    return r == 0 ? cache_save(c) : r;
}

/* ---- status, sizes ---- */

static int cache_status(struct blk *b, uint64_t off, uint64_t bytes,
                        struct blk_extent *ret)
{
    struct cache *c = cache_of(b);
    uint64_t n = in_line(c, off, bytes);

    if (cache_newest(c, off / c->line_bytes) != NULL) {
        *ret = (struct blk_extent){.bytes = n, .state = BLK_DATA | BLK_ALLOCATED};
        return 0;
    }
    for (unsigned i = 0; i < STATUS_LINES && n < bytes; i++) {
        if (cache_newest(c, (off + n) / c->line_bytes) != NULL) {
            break;
        }
        n += in_line(c, off + n, bytes - n);
    }
    return blk_status(cache_slow(c), off, n, ret);
}

/* Nothing of the store shows what lies behind `size_bytes`. */
static void drop_behind(struct cache *c, uint64_t size_bytes)
{
    for (uint64_t i = 0; i < c->slots; i++) {
        struct cache_slot *s = &c->slot[i];

        if (s->state >= CACHE_CLEAN &&
            (s->line + 1) * (uint64_t)c->line_bytes > size_bytes) {
            cache_release(c, s);
        }
    }
}

static int write_size(struct cache *c, uint64_t other_bytes)
{
    c->other_bytes = other_bytes;
    return c->options.is_volatile ? 0 : cache_write_head(c, !c->options.write_back);
}

static int cache_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct cache *c = cache_of(b);
    uint64_t was = b->size_bytes;
    int r;

    cache_wait_tended(c);
    r = c->options.write_back ? cache_write_back(b) : 0;
    if (r == 0) {
        drop_behind(c, size_bytes < was ? size_bytes : was);
        r = cache_commit(c);
    }
    r = r == 0 ? write_size(c, size_bytes) : r;
    if (r != 0) {
        return err_sys(e, r, "cannot resize '%s'", b->label);
    }
    r = blk_resize(cache_slow(c), size_bytes, e);
    if (r != 0) {
        return r;
    }
    b->size_bytes = size_bytes;
    r = write_size(c, size_bytes);
    return r == 0 ? 0 : err_sys(e, r, "cannot resize '%s'", b->label);
}

int cache_resize_store(struct blk *b, uint64_t store_bytes, struct err *e)
{
    struct cache *c = cache_of(b);
    int r;

    blk_drain_begin(b);
    r = cache_quiesce(b);
    if (r == 0 && c->list[CACHE_DIRTY].count > 0) {
        r = cache_write_back(b);
    }
    if (r != 0) {
        r = err_sys(e, r, "cannot empty the store of '%s'", b->label);
    } else if (store_bytes > blk_size(cache_store(c)) ||
               cache_slots_for(c, store_bytes) < 4) {
        r = err_set(e, -ENOSPC, "cannot resize the store of '%s' to %llu bytes", b->label,
                    (unsigned long long)store_bytes);
    } else {
        cache_slots_destroy(c);
        c->options.store_bytes = store_bytes;
        c->done = c->sealed = c->head_done = c->closing = 0;
        r = cache_index_begin(c, e);
    }
    blk_drain_end(b);
    return r;
}

void cache_figures(const struct blk *b, struct cache_figures *ret)
{
    const struct cache *c = (const struct cache *)b;

    *ret = c->figures;
    ret->lines = c->slots;
    ret->lines_dirty = c->list[CACHE_DIRTY].count;
    ret->lines_used =
        c->list[CACHE_CLEAN].count + c->list[CACHE_DONE].count + ret->lines_dirty;
    ret->back_error = c->back_error;
}

/* ---- begin and end ---- */

static void cache_destroy(struct blk *b)
{
    struct cache *c = cache_of(b);

    cache_slots_destroy(c);
    cache_drop_forget(c, UINT64_MAX);
    blk_detach(&c->edge[0]);
    blk_detach(&c->edge[1]);
    free(c);
}

static const struct blk_ops cache_ops = {
    .name = "cache",
    .read = cache_read,
    .write = cache_write,
    .zero = cache_zero,
    .discard = cache_discard,
    .flush = cache_flush,
    .status = cache_status,
    .resize = cache_resize,
    .quiesce = cache_quiesce,
    .destroy = cache_destroy,
};

/* What an earlier life has left goes down first where this one writes through. */
static int open_index(struct cache *c, struct err *e)
{
    bool write_back = c->options.write_back;
    int r;

    c->options.write_back = true;
    r = cache_index_load(c, e);
    if (r == 0 && !write_back) {
        r = cache_write_back(&c->blk);
        r = r == 0 ? cache_commit(c) : r;
        r = r == 0 ? cache_write_head(c, true) : r;
    }
    c->options.write_back = write_back;
    if (r == 0 && write_back && c->list[CACHE_DIRTY].count > 0) {
        cache_tend(c);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot open a cache");
}

static int choose_line(struct cache *c, struct err *e)
{
    uint32_t most = c->blk.block_bytes * 64;
    uint32_t line = c->options.line_bytes;

    if (line == 0) {
        line = most < LINE_DEFAULT_BYTES ? most : LINE_DEFAULT_BYTES;
    }
    if ((line & (line - 1)) != 0 || line < c->blk.block_bytes || line > most) {
        return err_set(e, -EINVAL, "cannot make a cache of lines of %u bytes", line);
    }
    c->line_bytes = line;
    return 0;
}

static int begin(struct cache *c, struct blk *slow, struct blk *store, struct err *e)
{
    int r;

    c->edge[0] = (struct blk_edge){.user = "cache", .uses = BLK_USE_ALL};
    c->edge[1] = (struct blk_edge){.user = "cache", .uses = BLK_USE_ALL};
    r = blk_attach(&c->edge[0], slow, e);
    r = r == 0 ? blk_attach(&c->edge[1], store, e) : r;
    if (r == 0 && (c->options.fresh || c->options.is_volatile)) {
        r = choose_line(c, e);
        return r == 0 ? cache_index_begin(c, e) : r;
    }
    return r == 0 ? open_index(c, e) : r;
}

int cache_create(struct blk *take_slow, struct blk *take_store,
                 const struct cache_options *o, struct blk **ret_disk, struct err *e)
{
    struct cache *c = fault_calloc(1, sizeof *c);
    int r = c == NULL ? err_sys(e, -ENOMEM, "cannot make a cache") : 0;

    if (r == 0) {
        blk_init_like(&c->blk, &cache_ops, take_slow);
        c->blk.edge = c->edge;
        c->blk.edge_count = 2;
        if (take_store->block_bytes > c->blk.block_bytes) {
            c->blk.block_bytes = take_store->block_bytes;
        }
        c->other_bytes = c->blk.size_bytes;
        c->options = *o;
        r = begin(c, take_slow, take_store, e);
    }
    if (r == 0) {
        *ret_disk = &c->blk;
        return 0;
    }
    if (c == NULL || c->edge[0].disk == NULL) { /* not attached: not ours to detach */
        blk_drop(take_slow);
    }
    if (c == NULL || c->edge[1].disk == NULL) {
        blk_drop(take_store);
    }
    if (c != NULL) {
        cache_destroy(&c->blk);
    }
    return r;
}
