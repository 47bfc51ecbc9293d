/* overlay.c - private changes over a shared disk.
 *
 * The store: one unit with the head page, then groups.  A group is a unit with one map
 * page and, behind it, the places of the `GROUP_GRANULES` granules (4 KiB) that the page
 * has two bits each for: a granule shows the base, its place, or zeros.  A place
 * belongs to its granule for ever, so that the map is all there is to keep in
 * order, and a sparse store holds no more than what was written.
 *
 * Order: a granule's place is written before its bits are set in memory; a flush takes
 * an image of the changed pages, makes the places durable, then writes the images and
 * makes those durable.  Bits that are set meanwhile are not in the images.  So a
 * durable bit never shows a place that was not written.  A place whose durable bits
 * show it is written over only by newer bytes of its granule: each block is old or new
 * after a cut.
 *
 * Writes of a granule exclude each other (`ranges`), since a partial one fills the
 * rest of the place from the base.  Pages are read when they are first needed.
 *
 * A smaller end moves `visible` down, the part of the base that shows, and clears the
 * bits behind it: after growing again zeros show there. */
#include "resource/storage/filter/overlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "contract/blk_graph.h"
#include "contract/blk_ops.h"
#include "resource/storage/filter/page.h"
#include "resource/storage/safe/bytes.h"
#include "resource/storage/safe/range.h"

#define GRANULE        4096u
#define GROUP_GRANULES (FILTER_PAGE_ROOM * 4) /* two bits each */
#define GROUP_BYTES    ((uint64_t)GROUP_GRANULES * GRANULE)
#define GROUP_STRIDE   (FILTER_PAGE_UNIT_BYTES + GROUP_BYTES)
#define HEAD_KIND      0x3148564fu /* "OVH1" */
#define MAP_KIND       0x314d564fu /* "OVM1" */

enum granule_state {
    OF_BASE,
    OWN,
    ZEROS
};

struct group {
    uint8_t bits[FILTER_PAGE_ROOM];
    uint8_t image[FILTER_PAGE_ROOM]; /* what a flush is about to write */
    struct group *next_changed;
    uint64_t number;
    bool changed; /* in the list */
};

static const char zeros[GRANULE];

struct overlay {
    struct blk blk;
    struct blk_edge edge[2]; /* the base, the store */
    uint64_t life;
    uint64_t visible; /* bytes of the base that show */
    uint64_t base_bytes;
    bool discard_at_end;
    bool head_changed;
    struct group **group; /* owned, each owned; NULL: not looked at yet */
    uint64_t groups;
    struct group *changed;
    struct range_lock ranges;
    struct strand_lock load;  /* one group at a time is read */
    struct strand_lock flush; /* one flush at a time */
};

static struct overlay *overlay_of(struct blk *b)
{
    return (struct overlay *)b;
}

static struct blk *store_of(const struct overlay *v)
{
    return v->edge[1].disk;
}

static uint64_t group_off(uint64_t number)
{
    return FILTER_PAGE_UNIT_BYTES + number * GROUP_STRIDE;
}

static uint64_t groups_for(uint64_t size_bytes)
{
    return (size_bytes + GROUP_BYTES - 1) / GROUP_BYTES;
}

/* Where the byte at `off` of the overlay lies in the store. */
static uint64_t place_of(uint64_t off)
{
    return group_off(off / GROUP_BYTES) + FILTER_PAGE_UNIT_BYTES + off % GROUP_BYTES;
}

uint64_t filter_overlay_store_bytes(uint64_t size_bytes)
{
    return group_off(groups_for(size_bytes));
}

/* ---- the map ---- */

static enum granule_state state_in(const struct group *g, uint64_t granule)
{
    uint64_t i = granule % GROUP_GRANULES;

    return g->bits[i / 4] >> i % 4 * 2 & 3;
}

static void set_state(struct overlay *v, struct group *g, uint64_t granule,
                      enum granule_state state)
{
    uint64_t i = granule % GROUP_GRANULES;

    if (state_in(g, granule) == state) {
        return;
    }
    g->bits[i / 4] &= (uint8_t) ~(3u << i % 4 * 2);
    g->bits[i / 4] |= (uint8_t)(state << i % 4 * 2);
    if (!g->changed) {
        g->changed = true;
        g->next_changed = v->changed;
        v->changed = g;
    }
}

static int check_bits(const struct group *g)
{
    for (unsigned i = 0; i < sizeof g->bits; i++) {
        if ((g->bits[i] & g->bits[i] >> 1 & 0x55) != 0) { /* 3 is no state */
            return -EUCLEAN;
        }
    }
    return 0;
}

static int read_group(struct overlay *v, struct group *g)
{
    struct filter_page_mark mark = {MAP_KIND, v->life, g->number};
    uint64_t off = group_off(g->number);
    SCOPED(scope_free) char *room = NULL;
    int r;

    if (v->discard_at_end || off + FILTER_PAGE_UNIT_BYTES > blk_size(store_of(v))) {
        return 0;
    }
    room = fault_malloc(FILTER_PAGE_UNIT_BYTES);
    if (room == NULL) {
        return -ENOMEM;
    }
    r = blk_read(store_of(v), room, FILTER_PAGE_UNIT_BYTES, off);
    if (r == 0) {
        r = filter_page_check(room, &mark);
    }
    if (r == 1) {
        memcpy(g->bits, filter_page_room(room), sizeof g->bits);
        r = check_bits(g);
    }
    return r;
}

/* The group of an offset; read when it was not there. */
static int need_group(struct overlay *v, uint64_t off, struct group **ret)
{
    uint64_t number = off / GROUP_BYTES;
    int r = 0;

    if (v->group[number] == NULL) {
        strand_lock(v->blk.strands, &v->load);
        if (v->group[number] == NULL) { /* nobody else has read it meanwhile */
            struct group *g = fault_calloc(1, sizeof *g);

            r = g == NULL ? -ENOMEM : 0;
            if (r == 0) {
                g->number = number;
                r = read_group(v, g);
            }
            if (r == 0) {
                v->group[number] = g;
            } else {
                free(g);
            }
        }
        strand_unlock(&v->load);
    }
    *ret = v->group[number];
    return r;
}

/* How much of [off, off + bytes) has the state of its first byte and lies in one
 * group. */
static uint64_t run_of(const struct group *g, uint64_t off, uint64_t bytes,
                       enum granule_state *ret_state)
{
    uint64_t in_group = GROUP_BYTES - off % GROUP_BYTES;
    uint64_t end = off + (bytes < in_group ? bytes : in_group);
    uint64_t at = (off / GRANULE + 1) * GRANULE;

    *ret_state = state_in(g, off / GRANULE);
    while (at < end && state_in(g, at / GRANULE) == *ret_state) {
        at += GRANULE;
    }
    return (at < end ? at : end) - off;
}

/* At most a granule of zeros. */
static struct blk_vec zeros_of(struct iovec *piece, uint64_t bytes)
{
    return blk_vec_of(piece, (void *)(uintptr_t)zeros, (size_t)bytes);
}

/* ---- reads ---- */

static int read_base(struct overlay *v, struct blk_vec to, uint64_t off)
{
    size_t inside = off >= v->visible             ? 0
                    : to.bytes < v->visible - off ? to.bytes
                                                  : (size_t)(v->visible - off);

    if (inside < to.bytes) {
        blk_vec_zero(blk_vec_part(to, inside, to.bytes - inside));
    }
    return inside > 0 ? blk_readv(v->edge[0].disk, blk_vec_part(to, 0, inside), off) : 0;
}

static int read_run(struct overlay *v, enum granule_state state, struct blk_vec to,
                    uint64_t off)
{
    switch (state) {
    case OWN:
        return blk_readv(store_of(v), to, place_of(off));
    case ZEROS:
        blk_vec_zero(to);
        return 0;
    default:
        return read_base(v, to, off);
    }
}

static int overlay_read(struct blk *b, struct blk_vec to, uint64_t off)
{
    struct overlay *v = overlay_of(b);
    int r = 0;

    while (r == 0 && to.bytes > 0) {
        struct group *g;
        enum granule_state state;
        size_t n;

        r = need_group(v, off, &g);
        if (r != 0) {
            break;
        }
        n = (size_t)run_of(g, off, to.bytes, &state);
        r = read_run(v, state, blk_vec_part(to, 0, n), off);
        off += n;
        to = blk_vec_part(to, n, to.bytes - n);
    }
    return r;
}

/* ---- writes ---- */

static int put_down(struct overlay *v, struct blk_vec from, uint64_t off)
{
    struct blk *store = store_of(v);
    uint64_t at = place_of(off);

    if (at + from.bytes > blk_size(store) && !store->grows) {
        return -ENOSPC;
    }
    return blk_writev(store, from, at, 0);
}

/* A part of one granule, which the store does not have yet: fill in the rest. */
static int write_part(struct overlay *v, struct group *g, struct blk_vec from,
                      uint64_t off)
{
    uint64_t start = off / GRANULE * GRANULE;
    SCOPED(scope_free) char *room = fault_aligned(GRANULE, GRANULE);
    struct iovec piece;
    struct blk_vec all;
    int r;

    if (room == NULL) {
        return -ENOMEM;
    }
    all = blk_vec_of(&piece, room, GRANULE);
    r = read_run(v, state_in(g, off / GRANULE), all, start);
    if (r == 0) {
        blk_vec_take(from, room + (off - start));
        r = put_down(v, all, start);
    }
    return r;
}

/* The bytes from `off` on that are written in one go: a part of a granule, or whole
 * granules of one group. */
static size_t piece_at(uint64_t off, uint64_t bytes)
{
    uint64_t in_group = GROUP_BYTES - off % GROUP_BYTES;
    uint64_t n = bytes < in_group ? bytes : in_group;
    uint64_t head = GRANULE - off % GRANULE;

    if (head < GRANULE || n < GRANULE) {
        return (size_t)(n < head ? n : head);
    }
    return (size_t)(n / GRANULE * GRANULE);
}

static int write_piece(struct overlay *v, struct group *g, struct blk_vec from,
                       uint64_t off)
{
    uint64_t first = off / GRANULE;
    uint64_t end = (off + from.bytes + GRANULE - 1) / GRANULE;
    bool whole = off % GRANULE == 0 && from.bytes % GRANULE == 0;
    int r = whole || state_in(g, first) == OWN ? put_down(v, from, off)
                                               : write_part(v, g, from, off);

    for (uint64_t i = first; r == 0 && i < end; i++) {
        set_state(v, g, i, OWN);
    }
    return r;
}

static void hold(struct overlay *v, struct range_hold *s, uint64_t off, uint64_t bytes)
{
    *s = (struct range_hold){.first = off / GRANULE,
                             .end = (off + bytes + GRANULE - 1) / GRANULE};
    range_take(v->blk.strands, &v->ranges, s);
}

static int overlay_write(struct blk *b, struct blk_vec from, uint64_t off, unsigned flags)
{
    struct overlay *v = overlay_of(b);
    struct range_hold span;
    int r = 0;

    (void)flags;
    hold(v, &span, off, from.bytes);
    while (r == 0 && from.bytes > 0) {
        size_t n = piece_at(off, from.bytes);
        struct group *g;

        r = need_group(v, off, &g);
        if (r == 0) {
            r = write_piece(v, g, blk_vec_part(from, 0, n), off);
        }
        off += n;
        from = blk_vec_part(from, n, from.bytes - n);
    }
    range_give(&v->ranges, &span);
    return r;
}

/* Whole granules of one group show zeros; their places are given back. */
static int drop_piece(struct overlay *v, struct group *g, uint64_t off, uint64_t bytes,
                      bool unmap)
{
    uint64_t at = place_of(off);
    uint64_t end = blk_size(store_of(v));
    bool any = false;

    for (uint64_t i = off / GRANULE; i < (off + bytes) / GRANULE; i++) {
        any = any || state_in(g, i) == OWN;
        set_state(v, g, i, ZEROS);
    }
    if (unmap && any && at < end) {
        return blk_discard(store_of(v), at, bytes < end - at ? bytes : end - at);
    }
    return 0;
}

static int zero_piece(struct overlay *v, uint64_t off, uint64_t bytes, bool unmap)
{
    struct iovec piece;
    struct group *g;
    int r = need_group(v, off, &g);

    if (r != 0) {
        return r;
    }
    if (off % GRANULE == 0 && bytes % GRANULE == 0) {
        return drop_piece(v, g, off, bytes, unmap);
    }
    return write_piece(v, g, zeros_of(&piece, bytes), off);
}

static int zero_all(struct overlay *v, uint64_t off, uint64_t bytes, bool unmap)
{
    struct range_hold span;
    int r = 0;

    hold(v, &span, off, bytes);
    while (r == 0 && bytes > 0) {
        uint64_t n = piece_at(off, bytes);

        r = zero_piece(v, off, n, unmap);
        off += n;
        bytes -= n;
    }
    range_give(&v->ranges, &span);
    return r;
}

static int overlay_zero(struct blk *b, uint64_t off, uint64_t bytes, unsigned flags)
{
    return zero_all(overlay_of(b), off, bytes, (flags & BLK_UNMAP) != 0);
}

static int overlay_discard(struct blk *b, uint64_t off, uint64_t bytes)
{
    uint64_t first = (off + GRANULE - 1) / GRANULE * GRANULE;
    uint64_t end = (off + bytes) / GRANULE * GRANULE;

    return first < end ? zero_all(overlay_of(b), first, end - first, true) : 0;
}

/* ---- durable ---- */

static int write_page(struct overlay *v, const struct filter_page_mark *mark,
                      const void *content, size_t bytes, uint64_t off)
{
    SCOPED(scope_free)
    char *room = fault_aligned(FILTER_PAGE_UNIT_BYTES, FILTER_PAGE_UNIT_BYTES);

    if (room == NULL) {
        return -ENOMEM;
    }
    memcpy(filter_page_room(room), content, bytes);
    filter_page_seal(room, mark);
    return blk_write(store_of(v), room, FILTER_PAGE_UNIT_BYTES, off, 0);
}

static int write_head(struct overlay *v)
{
    struct filter_page_mark mark = {HEAD_KIND, v->life, 0};
    char content[32] = {0};

    bytes_put32(content, GRANULE);
    bytes_put64(content + 8, v->blk.size_bytes);
    bytes_put64(content + 16, v->visible);
    bytes_put64(content + 24, v->base_bytes);
    return write_page(v, &mark, content, sizeof content, 0);
}

/* Take the images of all changed groups; the first of them. */
static struct group *take_images(struct overlay *v)
{
    struct group *first = v->changed;

    v->changed = NULL;
    for (struct group *g = first; g != NULL; g = g->next_changed) {
        memcpy(g->image, g->bits, sizeof g->bits);
        g->changed = false;
    }
    return first;
}

/* A group may change again, and be linked anew, while its image is written: so the
 * list is an array here. */
static int write_images(struct overlay *v, struct group **list, size_t count)
{
    int r = 0;

    for (size_t i = 0; i < count; i++) {
        struct filter_page_mark mark = {MAP_KIND, v->life, list[i]->number};

        if (r == 0) {
            r = write_page(v, &mark, list[i]->image, FILTER_PAGE_ROOM,
                           group_off(list[i]->number));
        }
    }
    return r;
}

static void change_again(struct overlay *v, struct group **list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!list[i]->changed) {
            list[i]->changed = true;
            list[i]->next_changed = v->changed;
            v->changed = list[i];
        }
    }
}

static size_t count_changed(const struct overlay *v)
{
    size_t n = 0;

    for (const struct group *g = v->changed; g != NULL; g = g->next_changed) {
        n++;
    }
    return n;
}

static int commit_locked(struct overlay *v)
{
    size_t count = count_changed(v);
    SCOPED(scope_free)
    struct group **list = count == 0 ? NULL : fault_calloc(count, sizeof(*list));
    bool head = v->head_changed;
    int r;

    if (count > 0 && list == NULL) {
        return -ENOMEM;
    }
    if (count > 0) {
        size_t i = 0;

        for (struct group *g = take_images(v); g != NULL; g = g->next_changed) {
            list[i++] = g;
        }
    }
    r = blk_flush(store_of(v));
    if (r == 0 && count > 0) {
        r = write_images(v, list, count);
        r = r == 0 ? blk_flush(store_of(v)) : r;
    }
    if (r != 0) {
        change_again(v, list, count);
    }
    if (r == 0 && head) {
        v->head_changed = false;
        r = write_head(v);
        r = r == 0 ? blk_flush(store_of(v)) : r;
        v->head_changed = v->head_changed || r != 0;
    }
    return r;
}

static int overlay_flush(struct blk *b)
{
    struct overlay *v = overlay_of(b);
    int r;

    if (v->discard_at_end) {
        return 0;
    }
    strand_lock(b->strands, &v->flush);
    r = commit_locked(v);
    strand_unlock(&v->flush);
    return r;
}

/* ---- the rest ---- */

static int overlay_status(struct blk *b, uint64_t off, uint64_t bytes,
                          struct blk_extent *ret)
{
    struct overlay *v = overlay_of(b);
    enum granule_state state;
    struct group *g;
    int r = need_group(v, off, &g);

    if (r != 0) {
        return r;
    }
    bytes = run_of(g, off, bytes, &state);
    *ret = (struct blk_extent){.bytes = bytes};
    if (state == OWN) {
        ret->state = BLK_DATA | BLK_ALLOCATED | BLK_PLACED;
        ret->at = place_of(off);
        ret->holder = store_of(v);
    } else if (state == ZEROS) {
        ret->state = BLK_ALLOCATED;
    } else if (off < v->visible) {
        bytes = bytes < v->visible - off ? bytes : v->visible - off;
        r = blk_status(v->edge[0].disk, off, bytes, ret);
        ret->state &= ~(unsigned)BLK_ALLOCATED;
    }
    return r;
}

static int resize_table(struct overlay *v, uint64_t size_bytes)
{
    uint64_t groups = groups_for(size_bytes);
    struct group **table;

    if (groups <= v->groups) {
        return 0; /* a little memory is not worth a failure */
    }
    if (size_bytes > FILTER_OVERLAY_SIZE_MOST_BYTES) {
        return -EFBIG;
    }
    table = fault_realloc(v->group, groups * sizeof(*table));
    if (table == NULL) {
        return -ENOMEM;
    }
    memset(table + v->groups, 0, (groups - v->groups) * sizeof(*table));
    v->group = table;
    v->groups = groups;
    return 0;
}

/* What lies in [from, to) of the overlay's own is forgotten. */
static int forget(struct overlay *v, uint64_t from, uint64_t to)
{
    struct iovec piece;
    uint64_t tail = from % GRANULE == 0 ? 0 : GRANULE - from % GRANULE;
    struct group *g;
    int r = 0;

    if (tail > 0) {
        struct blk_vec rest = zeros_of(&piece, tail);

        r = need_group(v, from, &g);
        if (r == 0 && state_in(g, from / GRANULE) == OWN) {
            r = put_down(v, rest, from);
        }
        from += tail;
    }
    while (r == 0 && from < to) {
        r = need_group(v, from, &g);
        if (r == 0) {
            set_state(v, g, from / GRANULE, OF_BASE);
        }
        from += GRANULE;
    }
    return r;
}

static int overlay_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct overlay *v = overlay_of(b);
    struct range_hold span;
    int r;

    hold(v, &span, 0, BLK_SIZE_MOST_BYTES);
    r = resize_table(v, size_bytes);
    if (r == 0 && size_bytes < b->size_bytes) {
        r = forget(v, size_bytes, b->size_bytes);
        if (r == 0 && size_bytes < v->visible) {
            v->visible = size_bytes;
        }
    }
    if (r == 0) {
        b->size_bytes = size_bytes;
        v->head_changed = true;
        r = overlay_flush(b);
    }
    range_give(&v->ranges, &span);
    return r == 0 ? 0 : err_sys(e, r, "cannot resize '%s'", b->label);
}

static void overlay_destroy(struct blk *b)
{
    struct overlay *v = overlay_of(b);

    for (uint64_t i = 0; i < v->groups; i++) {
        free(v->group[i]);
    }
    free(v->group);
    if (v->discard_at_end && v->edge[1].disk != NULL) {
        (void)blk_discard(store_of(v), 0, blk_size(store_of(v)));
    }
    blk_detach(&v->edge[0]);
    blk_detach(&v->edge[1]);
    free(v);
}

static const struct blk_ops overlay_ops = {
    .name = "overlay",
    .read = overlay_read,
    .write = overlay_write,
    .zero = overlay_zero,
    .discard = overlay_discard,
    .flush = overlay_flush,
    .status = overlay_status,
    .resize = overlay_resize,
    .quiesce = overlay_flush,
    .destroy = overlay_destroy,
};

/* ---- begin ---- */

static int check_head(struct overlay *v, const char *content, struct err *e)
{
    uint64_t size = bytes_get64(content + 8);

    v->visible = bytes_get64(content + 16);
    if (bytes_get32(content) != GRANULE || size > FILTER_OVERLAY_SIZE_MOST_BYTES ||
        size % v->blk.block_bytes != 0 || v->visible > size ||
        v->visible % v->blk.block_bytes != 0) {
        return err_set(e, -EUCLEAN, "cannot open an overlay: its head makes no sense");
    }
    if (bytes_get64(content + 24) != v->base_bytes || v->visible > v->base_bytes) {
        return err_set(e, -ESTALE, "cannot open an overlay: its base had %llu bytes",
                       (unsigned long long)bytes_get64(content + 24));
    }
    v->blk.size_bytes = size;
    return 0;
}

static int read_head(struct overlay *v, struct err *e)
{
    SCOPED(scope_free) char *room = fault_malloc(FILTER_PAGE_UNIT_BYTES);
    struct filter_page_mark mark = {HEAD_KIND, 0, 0};
    int r;

    if (room == NULL) {
        return err_sys(e, -ENOMEM, "cannot open an overlay");
    }
    if (blk_size(store_of(v)) < FILTER_PAGE_UNIT_BYTES) {
        return err_set(e, -EUCLEAN, "cannot open an overlay: its store is empty");
    }
    r = blk_read(store_of(v), room, FILTER_PAGE_UNIT_BYTES, 0);
    if (r != 0) {
        return err_sys(e, r, "cannot read the head of an overlay");
    }
    v->life = bytes_get64(room + 8);
    mark.life = v->life;
    if (v->life == 0 || filter_page_check(room, &mark) != 1) {
        return err_set(e, -EUCLEAN, "cannot open an overlay: its store has no head");
    }
    return check_head(v, filter_page_room(room), e);
}

/* No page of the map may show what the store had: at once, or one after the other. */
static int clear_map(struct overlay *v)
{
    struct blk *store = store_of(v);
    int r = blk_zero(store, 0, blk_size(store), BLK_UNMAP | BLK_NO_SLOW);

    if (r != -EOPNOTSUPP) {
        return r;
    }
    r = 0;
    for (uint64_t off = group_off(0); r == 0 && off < blk_size(store);
         off += GROUP_STRIDE) {
        r = filter_page_clear(store, off, FILTER_PAGE_UNIT_BYTES);
    }
    return r;
}

static int begin_fresh(struct overlay *v, uint64_t size_bytes, struct err *e)
{
    int r = filter_page_new_life(&v->life);

    if (size_bytes != 0) {
        v->blk.size_bytes = size_bytes;
    }
    if (v->blk.size_bytes % v->blk.block_bytes != 0 ||
        v->blk.size_bytes > FILTER_OVERLAY_SIZE_MOST_BYTES) {
        return err_set(e, -EINVAL,
                       "cannot make an overlay: more than 64 TiB or not "
                       "whole blocks");
    }
    v->visible = v->base_bytes < v->blk.size_bytes ? v->base_bytes : v->blk.size_bytes;
    v->visible -= v->visible % v->blk.block_bytes;
    if (r == 0 && !v->discard_at_end) {
        r = clear_map(v);
        r = r == 0 ? write_head(v) : r;
        r = r == 0 ? blk_flush(store_of(v)) : r;
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot make an overlay");
}

static int begin(struct overlay *v, struct blk *base, struct blk *store,
                 const struct filter_overlay_options *o, struct err *e)
{
    int r;

    v->edge[0] =
        (struct blk_edge){.user = "overlay", .uses = BLK_USE_READ, .lets = BLK_USE_READ};
    v->edge[1] = (struct blk_edge){.user = "overlay", .uses = BLK_USE_ALL};
    r = blk_attach(&v->edge[0], base, e);
    if (r == 0) {
        r = blk_attach(&v->edge[1], store, e);
    }
    if (r == 0) {
        r = o->fresh || o->discard_at_end ? begin_fresh(v, o->size_bytes, e)
                                          : read_head(v, e);
    }
    if (r == 0 && resize_table(v, v->blk.size_bytes) != 0) {
        r = err_sys(e, -ENOMEM, "cannot open an overlay");
    }
    return r;
}

int filter_overlay_create(struct blk *take_base, struct blk *take_store,
                          const struct filter_overlay_options *o, struct blk **ret_disk,
                          struct err *e)
{
    struct overlay *v = fault_calloc(1, sizeof *v);
    int r = v == NULL ? err_sys(e, -ENOMEM, "cannot make an overlay") : 0;

    if (r == 0) {
        blk_init_like(&v->blk, &overlay_ops, take_base);
        v->blk.read_only = false;
        v->blk.edge = v->edge;
        v->blk.edge_count = 2;
        v->blk.zeroes_fast = true;
        if (take_store->block_bytes > v->blk.block_bytes) {
            v->blk.block_bytes = take_store->block_bytes;
        }
        v->base_bytes = blk_size(take_base);
        v->discard_at_end = o->discard_at_end;
        r = begin(v, take_base, take_store, o, e);
    }
    if (r != 0) {
        if (v == NULL || v->edge[0].disk == NULL) { /* not attached: not ours to detach */
            blk_drop(take_base);
        }
        if (v == NULL || v->edge[1].disk == NULL) {
            blk_drop(take_store);
        }
        if (v != NULL) {
            v->discard_at_end = false;
            overlay_destroy(&v->blk);
        }
        return r;
    }
    *ret_disk = &v->blk;
    return 0;
}
