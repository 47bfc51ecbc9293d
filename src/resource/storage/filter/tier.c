/* tier.c - extents on a fast and a slow disk.
 *
 *     fast    head | map pages | slots
 *     slow    slots
 *
 * The map has one word for each extent: whether it has a slot, on which disk, which
 * one, and its tag.  An extent without a slot reads zeros; it gets one, filled with
 * zeros, with its first write, on the fast disk while there is room.
 *
 * A move holds the extent's writes back, copies it into a free slot of the other disk,
 * makes that durable, and changes the word.  A word lies in a page of one block, so a
 * cut finds the old or the new slot, and both are right: the old slot is free for
 * others only when the new word is durable (`releasing`), and nobody reads it any
 * more (`pins`).
 *
 * A flush makes the data of both disks durable, then writes the changed pages, then makes
 * those durable.  An extent that got its slot after the data began to be flushed is
 * left out (`born`): its zeros may not be durable yet.
 *
 * Heat: requests, halved at each look.  An extent moves up when it is clearly hotter than
 * the coldest one on the fast disk, which moves down for it. */
#include "resource/storage/filter/tier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/filter/tier_private.h"
#include "resource/storage/safe/bytes.h"

#define COPY_BYTES (256u * 1024)

static struct tier *tier_of(struct blk *b)
{
    return (struct tier *)b;
}

/* ---- words and slots ---- */

static bool is_used(const struct tier_extent *x)
{
    return (x->word & TIER_WORD_USED) != 0;
}

static struct tier_slot *slot_of(const struct tier *t, uint64_t word)
{
    return &t->slot[tier_disk_of(word)][word & TIER_WORD_SLOT];
}

static uint64_t place_of(const struct tier *t, uint64_t word)
{
    return t->first[tier_disk_of(word)] + (word & TIER_WORD_SLOT) * t->extent_bytes;
}

static void change_word(struct tier *t, struct tier_extent *x, uint64_t word)
{
    x->word = word;
    filter_page_mark_dirty(t->map_dirty, (uint64_t)(x - t->extent) / TIER_PAGE_WORDS);
    t->map_changed = true;
}

/* A free slot of a disk becomes used; its number, or -ENOSPC. */
static int64_t take_slot(struct tier *t, enum tier_disk d)
{
    for (uint64_t i = 0; i < t->slots[d] && t->used[d] < t->slots[d]; i++) {
        uint64_t n = (t->hint[d] + i) % t->slots[d];

        if (t->slot[d][n].state == TIER_SLOT_FREE) {
            t->slot[d][n].state = TIER_SLOT_USED;
            t->used[d]++;
            t->hint[d] = n + 1;
            return (int64_t)n;
        }
    }
    return -ENOSPC;
}

static void free_slot(struct tier *t, enum tier_disk d, uint64_t n)
{
    t->slot[d][n].state = TIER_SLOT_FREE;
    t->used[d]--;
}

/* ---- commit ---- */

static void fill_page(void *arg, uint64_t number, char *room)
{
    struct tier *t = arg;
    uint64_t first = number * TIER_PAGE_WORDS;

    for (uint64_t i = first; i < first + TIER_PAGE_WORDS && i < t->extents; i++) {
        const struct tier_extent *x = &t->extent[i];
        uint64_t word = x->word;

        if (is_used(x) && x->born > t->closing) {
            word = (uint64_t)tier_tag_of(x) << TIER_WORD_TAG;
            filter_page_mark_dirty(t->map_dirty, number); /* for the next commit */
            t->map_changed = true;
        }
        bytes_put64(room, word);
        room += 8;
    }
}

static int write_head(struct tier *t)
{
    struct filter_page_mark mark = {TIER_HEAD_KIND, t->life, 0};
    SCOPED(scope_free)
    char *page = fault_aligned(FILTER_PAGE_UNIT_BYTES, FILTER_PAGE_UNIT_BYTES);
    char *room = page != NULL ? filter_page_room(page) : NULL;

    if (page == NULL) {
        return -ENOMEM;
    }
    bytes_put32(room, t->extent_bytes);
    bytes_put64(room + 8, t->blk.size_bytes);
    bytes_put64(room + 16, t->slots[TIER_FAST]);
    bytes_put64(room + 24, t->slots[TIER_SLOW]);
    filter_page_seal(page, &mark);
    return blk_write(t->edge[TIER_FAST].disk, page, FILTER_PAGE_UNIT_BYTES, 0, 0);
}

/* Slots whose extents have another word on the disk now are nobody's. */
static void free_released(struct tier *t)
{
    for (unsigned d = 0; d < TIER_DISKS; d++) {
        for (uint64_t i = 0; i < t->slots[d]; i++) {
            struct tier_slot *s = &t->slot[d][i];

            if (s->state == TIER_SLOT_RELEASING && s->pins == 0 &&
                s->released <= t->closing) {
                free_slot(t, d, i);
                t->releasing--;
            }
        }
    }
}

static int write_map(struct tier *t)
{
    int r = filter_page_store(&t->map, t->map_dirty, fill_page, t);

    if (r == 0 && t->head_changed) {
        t->head_changed = false;
        r = write_head(t);
        t->head_changed = r != 0;
    }
    r = r == 0 ? blk_flush(t->edge[TIER_FAST].disk) : r;
    if (r != 0) { /* some page may have been lost with the flush: write all again */
        memset(t->map_dirty, 0xff, (t->map.count / 64 + 1) * 8);
        t->map_changed = true;
    }
    return r;
}

static int commit_locked(struct tier *t)
{
    bool map;
    int r;

    t->closing = t->commits++;
    r = blk_flush(t->edge[TIER_SLOW].disk);
    r = r == 0 ? blk_flush(t->edge[TIER_FAST].disk) : r;
    map = t->map_changed || t->head_changed;
    if (r == 0 && map) {
        t->map_changed = false;
        r = write_map(t);
    }
    if (r == 0 && t->releasing > 0) {
        free_released(t);
    }
    return r;
}

static int tier_flush(struct blk *b)
{
    struct tier *t = tier_of(b);
    int r;

    strand_lock(b->strands, &t->commit);
    r = commit_locked(t);
    strand_unlock(&t->commit);
    return r;
}

/* ---- moves ---- */

static int copy_extent(struct tier *t, uint64_t from, uint64_t to)
{
    size_t step = t->extent_bytes < COPY_BYTES ? t->extent_bytes : COPY_BYTES;
    SCOPED(scope_free) char *room = fault_aligned(4096, step);
    int r = room == NULL ? -ENOMEM : 0;

    for (uint64_t at = 0; r == 0 && at < t->extent_bytes; at += step) {
        r = blk_read(t->edge[tier_disk_of(from)].disk, room, step,
                     place_of(t, from) + at);
        if (r == 0) {
            r = blk_write(t->edge[tier_disk_of(to)].disk, room, step,
                          place_of(t, to) + at, 0);
        }
    }
    return r == 0 ? blk_flush(t->edge[tier_disk_of(to)].disk) : r;
}

static void hold_extent(struct tier *t, struct tier_extent *x)
{
    while (x->moving) {
        strand_wait(t->blk.strands, &t->waiters);
    }
    x->moving = true;
    while (x->writers > 0) {
        strand_wait(t->blk.strands, &t->waiters);
    }
}

static void let_extent(struct tier *t, struct tier_extent *x)
{
    x->moving = false;
    (void)strand_wake_all(&t->waiters);
}

static void release_slot(struct tier *t, uint64_t word)
{
    struct tier_slot *s = slot_of(t, word);

    s->state = TIER_SLOT_RELEASING;
    s->released = t->commits;
    t->releasing++;
}

/* Move an extent to the other disk. */
static int move_extent(struct tier *t, struct tier_extent *x)
{
    enum tier_disk to = tier_disk_of(x->word) == TIER_FAST ? TIER_SLOW : TIER_FAST;
    int64_t n = take_slot(t, to);
    uint64_t word;
    int r = 0;

    if (n < 0) {
        return (int)n;
    }
    hold_extent(t, x);
    word = tier_word_of(to, (uint64_t)n, tier_tag_of(x));
    if (!is_used(x) || tier_disk_of(x->word) == to) { /* gone meanwhile */
        free_slot(t, to, (uint64_t)n);
    } else {
        r = copy_extent(t, x->word, word);
        if (r == 0) {
            word =
                tier_word_of(to, (uint64_t)n, tier_tag_of(x)); /* it may have changed */
            release_slot(t, x->word);
            change_word(t, x, word);
            *(to == TIER_FAST ? &t->figures.moved_up : &t->figures.moved_down) += 1;
        } else {
            free_slot(t, to, (uint64_t)n);
        }
    }
    let_extent(t, x);
    return r;
}

/* ---- what belongs where ---- */

static uint64_t heat_for_fast(const struct tier_extent *x)
{
    switch (tier_tag_of(x)) {
    case FILTER_TIER_KEEP_FAST:
        return UINT64_MAX;
    case FILTER_TIER_KEEP_SLOW:
        return 0;
    default:
        return x->heat;
    }
}

/* The best few of one disk: hottest first for the slow one, coldest for the fast. */
struct picks {
    struct tier_extent *at[TIER_LOOK_MOVES];
    unsigned count;
};

static bool goes_before(const struct tier_extent *a, const struct tier_extent *b,
                        enum tier_disk d)
{
    return d == TIER_SLOW ? heat_for_fast(a) > heat_for_fast(b)
                          : heat_for_fast(a) < heat_for_fast(b);
}

static void pick(struct picks *p, struct tier_extent *x, enum tier_disk d)
{
    unsigned i = p->count;

    if (i == TIER_LOOK_MOVES && !goes_before(x, p->at[i - 1], d)) {
        return;
    }
    i = i == TIER_LOOK_MOVES ? i - 1 : i;
    while (i > 0 && goes_before(x, p->at[i - 1], d)) {
        p->at[i] = p->at[i - 1];
        i--;
    }
    p->at[i] = x;
    p->count += p->count < TIER_LOOK_MOVES;
}

static void look(struct tier *t, struct picks picks[TIER_DISKS])
{
    for (uint64_t i = 0; i < t->extents; i++) {
        struct tier_extent *x = &t->extent[i];

        if (is_used(x)) {
            enum tier_disk d = tier_disk_of(x->word);

            pick(&picks[d], x, d);
        }
    }
    for (uint64_t i = 0; i < t->extents; i++) {
        t->extent[i].heat /= 2;
    }
}

static bool is_worth(const struct tier_extent *hot, const struct tier_extent *cold)
{
    uint64_t h = heat_for_fast(hot);
    uint64_t c = heat_for_fast(cold);

    return h == UINT64_MAX ? c != UINT64_MAX : h > c + c / 2 + 1;
}

/* Make one hot extent fast: in free room, or in place of a cold one.  1: it moved. */
static int improve(struct tier *t, struct tier_extent *hot, struct tier_extent *cold)
{
    bool full = t->used[TIER_FAST] + 1 >= t->slots[TIER_FAST]; /* one stays for moves */
    int r = 0;

    if (heat_for_fast(hot) < 2 || (full && (cold == NULL || !is_worth(hot, cold)))) {
        return 0;
    }
    if (full) {
        r = move_extent(t, cold);
        r = r == 0 ? tier_flush(&t->blk) : r; /* its slot is free behind this */
    }
    r = r == 0 ? move_extent(t, hot) : r;
    return r == 0 ? 1 : r;
}

/* Those that are to be slow go whatever the heat of others. */
static int send_down(struct tier *t, struct picks *fast, unsigned most)
{
    unsigned n = 0;

    while (n < fast->count && n < most &&
           tier_tag_of(fast->at[n]) == FILTER_TIER_KEEP_SLOW) {
        int r = move_extent(t, fast->at[n]);

        if (r != 0) {
            return r;
        }
        n++;
    }
    return (int)n;
}

static int balance_locked(struct tier *t, unsigned most)
{
    struct picks picks[TIER_DISKS] = {0};
    unsigned moved;
    unsigned cold;
    int r;

    look(t, picks);
    r = send_down(t, &picks[TIER_FAST], most);
    if (r < 0) {
        return r;
    }
    cold = moved = (unsigned)r;
    if (moved > 0) {
        r = tier_flush(&t->blk);
    }
    for (unsigned i = 0; r >= 0 && i < picks[TIER_SLOW].count && moved < most; i++) {
        struct tier_extent *c =
            cold < picks[TIER_FAST].count ? picks[TIER_FAST].at[cold] : NULL;

        if (t->stopping) {
            break;
        }
        r = improve(t, picks[TIER_SLOW].at[i], c);
        if (r <= 0) {
            break;
        }
        moved++;
        cold++;
    }
    if (moved > 0 && r >= 0) {
        r = tier_flush(&t->blk);
    }
    return r < 0 && r != -ENOSPC ? r : (int)moved;
}

int filter_tier_balance(struct blk *b, unsigned most)
{
    struct tier *t = tier_of(b);
    int r;

    strand_lock(b->strands, &t->balance);
    r = balance_locked(t, most);
    strand_unlock(&t->balance);
    return r;
}

static void look_around(void *arg)
{
    struct tier *t = arg;

    (void)filter_tier_balance(&t->blk, TIER_LOOK_MOVES);
    t->looking = false;
    (void)strand_wake_all(&t->waiters);
}

/* ---- requests ---- */

static void note(struct tier *t, struct tier_extent *x)
{
    x->heat += x->heat < UINT32_MAX / 2;
    if (is_used(x)) {
        *(tier_disk_of(x->word) == TIER_FAST ? &t->figures.fast_requests
                                             : &t->figures.slow_requests) += 1;
    }
    if (t->options.look_every != 0 && ++t->since_look >= t->options.look_every &&
        !t->looking && !t->stopping && !t->blk.read_only) {
        t->since_look = 0;
        t->looking = true;
        if (strand_start(t->blk.strands, look_around, t) != 0) {
            t->looking = false;
        }
    }
}

static size_t in_extent(const struct tier *t, uint64_t off, uint64_t bytes)
{
    uint64_t left = t->extent_bytes - off % t->extent_bytes;

    return (size_t)(bytes < left ? bytes : left);
}

static int read_extent(struct tier *t, struct blk_vec to, uint64_t off)
{
    struct tier_extent *x = &t->extent[off / t->extent_bytes];
    uint64_t word;
    struct tier_slot *s;
    int r;

    note(t, x);
    word = x->word;
    if ((word & TIER_WORD_USED) == 0) {
        blk_vec_zero(to);
        return 0;
    }
    s = slot_of(t, word);
    s->pins++;
    r = blk_readv(t->edge[tier_disk_of(word)].disk, to,
                  place_of(t, word) + off % t->extent_bytes);
    s->pins--;
    return r;
}

static int tier_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct tier *t = tier_of(b);
    int r = 0;

    while (r == 0 && to.bytes > 0) {
        size_t n = in_extent(t, off, to.bytes);

        r = read_extent(t, blk_vec_part(to, 0, n), off);
        off += n;
        to = blk_vec_part(to, n, to.bytes - n);
    }
    return r;
}

/* The first slot of an extent: fast, unless it is to be slow or there is no room. */
static int give_slot(struct tier *t, struct tier_extent *x)
{
    enum tier_disk d = TIER_SLOW;
    uint64_t word;
    int64_t n;
    int r;

    if (tier_tag_of(x) != FILTER_TIER_KEEP_SLOW &&
        t->used[TIER_FAST] + 1 < t->slots[TIER_FAST]) {
        d = TIER_FAST;
    }
    n = take_slot(t, d);
    if (n < 0) {
        d = d == TIER_FAST ? TIER_SLOW : TIER_FAST;
        n = take_slot(t, d);
    }
    if (n < 0) {
        return (int)n;
    }
    word = tier_word_of(d, (uint64_t)n, tier_tag_of(x));
    r = blk_zero(t->edge[d].disk, place_of(t, word), t->extent_bytes, 0);
    if (r != 0) {
        free_slot(t, d, (uint64_t)n);
        return r;
    }
    x->born = t->commits;
    change_word(t, x, tier_word_of(d, (uint64_t)n, tier_tag_of(x)));
    return 0;
}

static int need_slot(struct tier *t, struct tier_extent *x)
{
    int r = 0;

    strand_lock(t->blk.strands, &t->birth);
    if (!is_used(x)) {
        r = give_slot(t, x);
        if (r == -ENOSPC && t->releasing > 0) { /* some are free behind a flush */
            r = tier_flush(&t->blk);
            r = r == 0 ? give_slot(t, x) : r;
        }
    }
    strand_unlock(&t->birth);
    return r;
}

/* A write, a zero (`from` without bytes) or a discard of a part of one extent. */
struct change {
    enum blk_kind kind;
    struct blk_vec from;
    uint64_t bytes;
    unsigned flags;
};

static int pass_down(struct tier *t, uint64_t word, const struct change *c, uint64_t off)
{
    struct blk *disk = t->edge[tier_disk_of(word)].disk;
    uint64_t at = place_of(t, word) + off % t->extent_bytes;

    switch (c->kind) {
    case BLK_WRITE:
        return blk_writev(disk, c->from, at, 0);
    case BLK_ZERO:
        return blk_zero(disk, at, c->bytes, c->flags & ~(unsigned)BLK_FUA);
    default:
        return blk_discard(disk, at, c->bytes);
    }
}

static int change_extent(struct tier *t, const struct change *c, uint64_t off)
{
    struct tier_extent *x = &t->extent[off / t->extent_bytes];
    int r = 0;

    note(t, x);
    if (!is_used(x) && c->kind != BLK_WRITE) {
        return 0; /* zeros as it is */
    }
    while (x->moving) {
        strand_wait(t->blk.strands, &t->waiters);
    }
    x->writers++;
    if (!is_used(x)) {
        r = need_slot(t, x);
    }
    if (r == 0) {
        r = pass_down(t, x->word, c, off);
    }
    if (--x->writers == 0 && x->moving) {
        (void)strand_wake_all(&t->waiters);
    }
    return r;
}

static int change_all(struct tier *t, struct change c, uint64_t off, uint64_t bytes)
{
    struct blk_vec all = c.from;
    uint64_t done = 0;
    int r = 0;

    while (r == 0 && done < bytes) {
        c.bytes = in_extent(t, off + done, bytes - done);
        if (c.kind == BLK_WRITE) {
            c.from = blk_vec_part(all, (size_t)done, (size_t)c.bytes);
        }
        r = change_extent(t, &c, off + done);
        done += c.bytes;
    }
    return r;
}

static int tier_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    (void)flags;
    return change_all(tier_of(b), (struct change){.kind = BLK_WRITE, .from = from}, off,
                      from.bytes);
}

static int tier_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    return change_all(tier_of(b), (struct change){.kind = BLK_ZERO, .flags = flags}, off,
                      bytes);
}

static int tier_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    return change_all(tier_of(b), (struct change){.kind = BLK_DISCARD}, off, bytes);
}

static int tier_status(struct blk *b, uint64_t off, uint64_t bytes,
                       struct blk_extent *ret)
{
    struct tier *t = tier_of(b);
    uint64_t word = t->extent[off / t->extent_bytes].word;

    *ret = (struct blk_extent){.bytes = in_extent(t, off, bytes)};
    if ((word & TIER_WORD_USED) != 0) {
        ret->state = BLK_DATA | BLK_ALLOCATED | BLK_PLACED;
        ret->at = place_of(t, word) + off % t->extent_bytes;
        ret->holder = t->edge[tier_disk_of(word)].disk;
    }
    return 0;
}

/* ---- size ---- */

/* What lies behind a smaller end is lost. */
static int forget(struct tier *t, uint64_t size_bytes)
{
    uint64_t part = size_bytes % t->extent_bytes;
    uint64_t first = size_bytes / t->extent_bytes;
    int r = 0;

    if (part != 0) {
        uint64_t rest = t->extent_bytes - part;

        r = change_all(t, (struct change){.kind = BLK_ZERO}, size_bytes, rest);
        first++;
    }
    for (uint64_t i = first; r == 0 && i < t->extents; i++) {
        struct tier_extent *x = &t->extent[i];

        if (is_used(x)) {
            hold_extent(t, x);
            release_slot(t, x->word);
            change_word(t, x, (uint64_t)tier_tag_of(x) << TIER_WORD_TAG);
            let_extent(t, x);
        }
    }
    return r == 0 ? tier_flush(&t->blk) : r;
}

static int tier_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct tier *t = tier_of(b);
    int r = 0;

    if (size_bytes > tier_room_of(t)) {
        return err_set(e, -ENOSPC, "cannot resize '%s': there is room for %llu bytes",
                       b->label, (unsigned long long)tier_room_of(t));
    }
    if (size_bytes < b->size_bytes) {
        r = forget(t, size_bytes);
    }
    if (r == 0) {
        b->size_bytes = size_bytes;
        t->head_changed = true;
        r = tier_flush(b);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot resize '%s'", b->label);
}

/* ---- tags, figures ---- */

int filter_tier_set_tag(struct blk *b, uint64_t off, uint64_t bytes,
                        enum filter_tier_tag tag)
{
    struct tier *t = tier_of(b);

    if (tag >= FILTER_TIER_TAG_COUNT || bytes == 0 || off >= b->size_bytes ||
        bytes > b->size_bytes - off) {
        return -EINVAL;
    }
    for (uint64_t i = off / t->extent_bytes; i <= (off + bytes - 1) / t->extent_bytes;
         i++) {
        struct tier_extent *x = &t->extent[i];

        change_word(t, x,
                    (x->word & ~((uint64_t)3 << TIER_WORD_TAG)) | (uint64_t)tag
                                                                      << TIER_WORD_TAG);
    }
    return 0;
}

bool filter_tier_is_fast(const struct blk *b, uint64_t off)
{
    const struct tier *t = (const struct tier *)b;
    uint64_t word = t->extent[off / t->extent_bytes].word;

    return (word & TIER_WORD_USED) != 0 && tier_disk_of(word) == TIER_FAST;
}

void filter_tier_figures(const struct blk *b, struct filter_tier_figures *ret)
{
    const struct tier *t = (const struct tier *)b;

    *ret = t->figures;
    ret->fast_extents = t->used[TIER_FAST];
    ret->slow_extents = t->used[TIER_SLOW];
    ret->fast_room = t->slots[TIER_FAST];
    ret->slow_room = t->slots[TIER_SLOW];
}

/* ---- begin and end ---- */

static int tier_quiesce(struct blk *b)
{
    struct tier *t = tier_of(b);
    int r;

    t->stopping = true;
    while (t->looking) {
        strand_wait(b->strands, &t->waiters);
    }
    r = b->read_only ? 0 : tier_flush(b);
    t->stopping = false;
    return r;
}

static void tier_destroy(struct blk *b)
{
    struct tier *t = tier_of(b);

    for (unsigned d = 0; d < TIER_DISKS; d++) {
        free(t->slot[d]);
        blk_detach(&t->edge[d]);
    }
    free(t->extent);
    free(t->map_dirty);
    free(t);
}

static const struct blk_ops tier_ops = {
    .name = "tier",
    .read = tier_read,
    .write = tier_write,
    .zero = tier_zero,
    .discard = tier_discard,
    .flush = tier_flush,
    .status = tier_status,
    .resize = tier_resize,
    .quiesce = tier_quiesce,
    .destroy = tier_destroy,
};

int filter_tier_create(struct blk *take_fast, struct blk *take_slow,
                       const struct filter_tier_options *o, struct blk **ret_disk,
                       struct err *e)
{
    struct tier *t = fault_calloc(1, sizeof *t);
    int r = t == NULL ? err_sys(e, -ENOMEM, "cannot make tiers") : 0;

    if (r == 0) {
        blk_init_like(&t->blk, &tier_ops, take_fast);
        t->blk.edge = t->edge;
        t->blk.edge_count = TIER_DISKS;
        t->blk.zeroes_fast = take_fast->zeroes_fast && take_slow->zeroes_fast;
        if (take_slow->block_bytes > t->blk.block_bytes) {
            t->blk.block_bytes = take_slow->block_bytes;
        }
        t->blk.read_only = t->blk.read_only || take_slow->read_only;
        t->options = *o;
        r = filter_tier_begin(t, take_fast, take_slow, e);
    }
    if (r == 0) {
        *ret_disk = &t->blk;
        return 0;
    }
    if (t == NULL ||
        t->edge[TIER_FAST].disk == NULL) { /* not attached: not ours to detach */
        blk_drop(take_fast);
    }
    if (t == NULL || t->edge[TIER_SLOW].disk == NULL) {
        blk_drop(take_slow);
    }
    if (t != NULL) {
        tier_destroy(&t->blk);
    }
    return r;
}
