/* tier_open.c - disks become tiers, and tiers are found again. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/filter/tier_private.h"
#include "resource/storage/safe/bytes.h"

static uint64_t pages_for(uint64_t extents)
{
    return (extents + TIER_PAGE_WORDS - 1) / TIER_PAGE_WORDS;
}

static uint64_t fast_start(uint64_t extents)
{
    return FILTER_PAGE_UNIT_BYTES + filter_page_area_bytes(pages_for(extents));
}

/* Memory for so many slots, and where everything lies. */
static int lay_out(struct tier *t)
{
    t->extents = t->slots[TIER_FAST] + t->slots[TIER_SLOW];
    t->first[TIER_FAST] = fast_start(t->extents);
    t->map = (struct filter_page_area){
        .disk = t->edge[TIER_FAST].disk,
        .off = FILTER_PAGE_UNIT_BYTES,
        .count = pages_for(t->extents),
        .kind = TIER_MAP_KIND,
        .life = t->life,
    };
    t->commits = 1;
    t->extent = fault_calloc(t->extents, sizeof *t->extent);
    t->slot[TIER_FAST] = fault_calloc(t->slots[TIER_FAST], sizeof(struct tier_slot));
    t->slot[TIER_SLOW] = fault_calloc(t->slots[TIER_SLOW], sizeof(struct tier_slot));
    t->map_dirty = fault_calloc(t->map.count / 64 + 1, 8);
    return t->extent == NULL || t->slot[TIER_FAST] == NULL ||
                   t->slot[TIER_SLOW] == NULL || t->map_dirty == NULL
               ? -ENOMEM
               : 0;
}

static int choose_layout(struct tier *t, struct err *e)
{
    uint64_t fast = blk_size(t->edge[TIER_FAST].disk);
    uint64_t slow = blk_size(t->edge[TIER_SLOW].disk) / t->extent_bytes;
    uint64_t slots;

    if (t->options.fast_bytes != 0 && t->options.fast_bytes < fast) {
        fast = t->options.fast_bytes;
    }
    slots = fast / t->extent_bytes;
    while (slots > 0 && fast_start(slots + slow) + slots * t->extent_bytes > fast) {
        slots--;
    }
    if (slots < 2 || slow < 2 || slots + slow > TIER_EXTENTS_MOST) {
        return err_set(e, -ENOSPC, "cannot make tiers: %llu and %llu extents of %u bytes",
                       (unsigned long long)slots, (unsigned long long)slow,
                       t->extent_bytes);
    }
    t->slots[TIER_FAST] = slots;
    t->slots[TIER_SLOW] = slow;
    t->blk.size_bytes =
        t->options.size_bytes != 0 ? t->options.size_bytes : tier_room_of(t);
    if (t->blk.size_bytes > tier_room_of(t) ||
        t->blk.size_bytes % t->blk.block_bytes != 0) {
        return err_set(e, -ENOSPC, "cannot make tiers: there is room for %llu bytes",
                       (unsigned long long)tier_room_of(t));
    }
    return 0;
}

static int begin_fresh(struct tier *t, struct err *e)
{
    uint32_t bytes = t->options.extent_bytes;
    int r = filter_page_new_life(&t->life);

    t->extent_bytes = bytes != 0 ? bytes : FILTER_TIER_EXTENT_DEFAULT_BYTES;
    if (t->extent_bytes < 4096 || t->extent_bytes > 16u * 1024 * 1024 ||
        (t->extent_bytes & (t->extent_bytes - 1)) != 0) {
        return err_set(e, -EINVAL, "cannot make tiers of extents of %u bytes",
                       t->extent_bytes);
    }
    r = r == 0 ? choose_layout(t, e) : r;
    r = r == 0 ? lay_out(t) : r;
    if (r == 0) {
        r = filter_page_clear(t->map.disk, t->map.off,
                              filter_page_area_bytes(t->map.count));
    }
    if (r == 0) {
        t->head_changed = true;
        r = t->blk.ops->flush(&t->blk);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot make tiers");
}

static int check_head(struct tier *t, const char *room, struct err *e)
{
    uint64_t size = bytes_get64(room + 8);
    uint64_t fast = bytes_get64(room + 16);
    uint64_t slow = bytes_get64(room + 24);
    uint32_t bytes = bytes_get32(room);

    if (bytes < 4096 || bytes > 16u * 1024 * 1024 || (bytes & (bytes - 1)) != 0 ||
        fast < 2 || slow < 2 || fast > TIER_EXTENTS_MOST || slow > TIER_EXTENTS_MOST ||
        size % t->blk.block_bytes != 0) {
        return err_set(e, -EUCLEAN, "cannot open tiers: the head makes no sense");
    }
    if (fast_start(fast + slow) + fast * bytes > blk_size(t->edge[TIER_FAST].disk) ||
        slow * bytes > blk_size(t->edge[TIER_SLOW].disk)) {
        return err_set(e, -ESTALE, "cannot open tiers: a disk has lost its end");
    }
    t->extent_bytes = bytes;
    t->slots[TIER_FAST] = fast;
    t->slots[TIER_SLOW] = slow;
    t->blk.size_bytes = size;
    if (size > tier_room_of(t)) {
        return err_set(e, -EUCLEAN, "cannot open tiers: the head makes no sense");
    }
    return 0;
}

static int take_page(void *arg, uint64_t number, const char *room)
{
    struct tier *t = arg;
    uint64_t first = number * TIER_PAGE_WORDS;
    uint64_t end = (t->blk.size_bytes + t->extent_bytes - 1) / t->extent_bytes;

    for (uint64_t i = first; i < first + TIER_PAGE_WORDS && i < t->extents; i++) {
        uint64_t word = bytes_get64(room + (i - first) * 8);
        enum tier_disk d = tier_disk_of(word);
        uint64_t n = word & TIER_WORD_SLOT;

        t->extent[i].word = word;
        if ((word & TIER_WORD_USED) == 0) {
            continue;
        }
        if (i >= end || n >= t->slots[d] || tier_tag_of(&t->extent[i]) == 3 ||
            word != tier_word_of(d, n, tier_tag_of(&t->extent[i])) ||
            t->slot[d][n].state != TIER_SLOT_FREE) { /* two extents in one place */
            return -EUCLEAN;
        }
        t->slot[d][n].state = TIER_SLOT_USED;
        t->used[d]++;
    }
    return 0;
}

static int begin_old(struct tier *t, struct err *e)
{
    SCOPED(scope_free) char *page = fault_malloc(FILTER_PAGE_UNIT_BYTES);
    struct filter_page_mark mark = {TIER_HEAD_KIND, 0, 0};
    int r;

    if (page == NULL) {
        return err_sys(e, -ENOMEM, "cannot open tiers");
    }
    if (blk_size(t->edge[TIER_FAST].disk) < FILTER_PAGE_UNIT_BYTES) {
        return err_set(e, -EUCLEAN, "cannot open tiers: the fast disk is empty");
    }
    r = blk_read(t->edge[TIER_FAST].disk, page, FILTER_PAGE_UNIT_BYTES, 0);
    if (r != 0) {
        return err_sys(e, r, "cannot read the head of tiers");
    }
    mark.life = t->life = bytes_get64(page + 8);
    if (t->life == 0 || filter_page_check(page, &mark) != 1) {
        return err_set(e, -EUCLEAN, "cannot open tiers: the fast disk has no head");
    }
    r = check_head(t, filter_page_room(page), e);
    if (r != 0) {
        return r;
    }
    r = lay_out(t);
    r = r == 0 ? filter_page_load(&t->map, take_page, t) : r;
    if (r == -EUCLEAN) {
        return err_set(e, r, "cannot open tiers: the map is damaged");
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot open tiers");
}

int filter_tier_begin(struct tier *t, struct blk *fast, struct blk *slow, struct err *e)
{
    int r;

    for (unsigned d = 0; d < TIER_DISKS; d++) {
        t->edge[d] = (struct blk_edge){
            .user = "tier", .uses = t->blk.read_only ? BLK_USE_READ : BLK_USE_ALL};
    }
    r = blk_attach(&t->edge[TIER_FAST], fast, e);
    r = r == 0 ? blk_attach(&t->edge[TIER_SLOW], slow, e) : r;
    if (r != 0) {
        return r;
    }
    return t->options.fresh ? begin_fresh(t, e) : begin_old(t, e);
}
