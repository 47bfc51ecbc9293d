/* index.c - what a power cut finds: the head, and an entry for each slot.
 *
 *     head    one unit: line size, slots, size of the slow disk, `sealed`, `done`, flags
 *     index   sealed pages of `CACHE_PAGE_ENTRIES` entries (line, epoch, valid, flags)
 *     places  one for each slot
 *
 * A commit closes the open epoch N: it waits for the writes that belong to it, writes
 * the changed pages, flushes, writes the head with `sealed` = N, and flushes.  Rules
 * that make every cut harmless:
 *
 *  - an entry of an epoch after `sealed` is not believed: pages and places of an epoch
 *    may become durable in any order before the head does;
 *  - a place is written only while its durable entry is free, or not believed;
 *  - a dirty entry of an epoch up to `done` is not believed: the slow disk has it.  A
 *    dirty entry is freed on disk only after a head with its epoch in `done` is durable,
 *    so that no older version of the same block goes down a second time;
 *  - a clean entry loses the blocks that an epoch writes with that epoch's own commit,
 *    before the epoch can go down: what a durable clean entry shows is what the slow
 *    disk has.
 *
 * Write-through keeps no index while it runs: the head says `in use`, and after a cut
 * clean entries are not believed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/cache/private.h"
#include "resource/storage/safe/bytes.h"

#define HEAD_KIND   0x31484143u /* "CAH1" */
#define INDEX_KIND  0x31494143u /* "CAI1" */
#define FLAG_DIRTY  1u
#define HEAD_IN_USE 1u
#define SLOTS_MOST  ((uint64_t)1 << 32)

bool cache_keeps_index(const struct cache *c)
{
    return c->options.write_back && !c->options.is_volatile;
}

/* ---- pages ---- */

static void fill_page(void *arg, uint64_t number, char *room)
{
    struct cache *c = arg;
    uint64_t first = number * CACHE_PAGE_ENTRIES;

    for (uint64_t i = first; i < first + CACHE_PAGE_ENTRIES && i < c->slots; i++) {
        const struct cache_slot *s = &c->slot[i];

        if (s->state >= CACHE_CLEAN && s->epoch <= c->closing && s->valid != 0) {
            bytes_put64(room, s->line);
            bytes_put64(room + 8, s->epoch);
            bytes_put64(room + 16, s->valid);
            bytes_put64(room + 24, s->state == CACHE_CLEAN ? 0 : FLAG_DIRTY);
        }
        room += CACHE_ENTRY_BYTES;
    }
}

int cache_write_head(struct cache *c, bool in_use)
{
    struct filter_page_mark mark = {HEAD_KIND, c->life, 0};
    SCOPED(scope_free)
    char *page = fault_aligned(FILTER_PAGE_UNIT_BYTES, FILTER_PAGE_UNIT_BYTES);
    char *room = page != NULL ? filter_page_room(page) : NULL;
    int r;

    if (page == NULL) {
        return -ENOMEM;
    }
    bytes_put32(room, c->line_bytes);
    bytes_put32(room + 4, in_use ? HEAD_IN_USE : 0);
    bytes_put64(room + 8, c->slots);
    bytes_put64(room + 16, c->blk.size_bytes);
    bytes_put64(room + 24, c->other_bytes);
    bytes_put64(room + 32, c->closing);
    bytes_put64(room + 40, c->done);
    filter_page_seal(page, &mark);
    r = blk_write(cache_store(c), page, FILTER_PAGE_UNIT_BYTES, 0, 0);
    r = r == 0 ? blk_flush(cache_store(c)) : r;
    if (r == 0) {
        c->head_in_use = in_use;
    }
    return r;
}

/* ---- commit ---- */

/* Went down, and the head says so: now it is clean; only the newest version stays. */
static void settle_one(struct cache *c, struct cache_slot *s)
{
    struct cache_slot *newest = cache_newest(c, s->line);

    if (s->valid == 0) { /* all of it was discarded */
        cache_release(c, s);
        return;
    }
    if (newest != s) {
        for (struct cache_slot *v = newest; v != s; v = v->older) {
            if (v->state != CACHE_CLEAN) {
                cache_release(c, s);
                return;
            }
        }
    }
    for (struct cache_slot *v = newest; v != NULL; v = v->older) {
        if (v->state == CACHE_CLEAN) { /* one clean version is enough */
            cache_release(c, v);
            break;
        }
    }
    cache_move(c, s, CACHE_CLEAN);
    s->epoch = c->epoch;
    s->used = true;
    cache_touch_index(c, s);
    c->changed = true;
}

static void settle(struct cache *c)
{
    struct cache_slot *next;

    for (struct cache_slot *s = c->list[CACHE_DONE].first; s != NULL; s = next) {
        next = s->next;
        if (s->epoch <= c->head_done) {
            settle_one(c, s);
        }
    }
}

static void free_released(struct cache *c)
{
    struct cache_slot *next;

    for (struct cache_slot *s = c->list[CACHE_FREEING].first; s != NULL; s = next) {
        next = s->next;
        if (s->pins == 0 && s->epoch <= c->closing) {
            cache_move(c, s, CACHE_FREE);
        }
    }
}

static int write_index(struct cache *c, bool in_use)
{
    uint64_t done = c->done;
    int r = filter_page_store(&c->index, c->index_dirty, fill_page, c);

    r = r == 0 ? blk_flush(cache_store(c)) : r;
    if (r != 0) { /* some page may have been lost with the flush: write all again */
        memset(c->index_dirty, 0xff, (c->index.count / 64 + 1) * 8);
        return r;
    }
    r = cache_write_head(c, in_use);
    if (r == 0) {
        c->head_done = done;
    }
    return r;
}

static int commit_locked(struct cache *c)
{
    int r = 0;

    if (!c->changed && c->done == c->head_done && c->list[CACHE_FREEING].count == 0) {
        return 0;
    }
    c->changed = false;
    c->closing = c->epoch++;
    while (c->writers[c->closing & 1] > 0) {
        strand_wait(c->blk.strands, &c->writers_gone);
    }
    if (cache_keeps_index(c)) {
        r = write_index(c, false);
    } else {
        c->head_done = c->done;
    }
    if (r != 0) {
        c->changed = true;
        return r;
    }
    c->sealed = c->closing;
    free_released(c);
    settle(c);
    return 0;
}

int cache_commit(struct cache *c)
{
    int r;

    strand_lock(c->blk.strands, &c->commit);
    r = commit_locked(c);
    strand_unlock(&c->commit);
    return r;
}

int cache_save(struct cache *c)
{
    int r;

    strand_lock(c->blk.strands, &c->commit);
    c->closing = c->epoch++;
    r = write_index(c, false);
    c->sealed = r == 0 ? c->closing : c->sealed;
    strand_unlock(&c->commit);
    return r;
}

/* ---- begin ---- */

static uint64_t pages_for(uint64_t slots)
{
    return (slots + CACHE_PAGE_ENTRIES - 1) / CACHE_PAGE_ENTRIES;
}

static uint64_t bytes_for(const struct cache *c, uint64_t slots)
{
    return FILTER_PAGE_UNIT_BYTES + filter_page_area_bytes(pages_for(slots)) +
           slots * c->line_bytes;
}

uint64_t cache_slots_for(const struct cache *c, uint64_t store_bytes)
{
    uint64_t slots = store_bytes / c->line_bytes;

    slots = slots < SLOTS_MOST ? slots : SLOTS_MOST;
    while (slots > 0 && bytes_for(c, slots) > store_bytes) {
        slots -= 1 + (bytes_for(c, slots) - store_bytes) / (2 * c->line_bytes);
    }
    return slots;
}

static void set_area(struct cache *c, uint64_t slots)
{
    c->index = (struct filter_page_area){
        .disk = cache_store(c),
        .off = FILTER_PAGE_UNIT_BYTES,
        .count = pages_for(slots),
        .kind = INDEX_KIND,
        .life = c->life,
    };
}

int cache_index_begin(struct cache *c, struct err *e)
{
    uint64_t all = blk_size(cache_store(c));
    uint64_t wanted = c->options.store_bytes;
    uint64_t slots = cache_slots_for(c, wanted != 0 && wanted < all ? wanted : all);
    int r = filter_page_new_life(&c->life);

    if (slots < 4) {
        return err_set(e, -ENOSPC, "cannot make a cache: its store is too small");
    }
    if (r == 0) {
        r = cache_slots_create(c, slots);
    }
    set_area(c, slots);
    c->epoch = 1;
    if (r == 0 && !c->options.is_volatile) {
        r = filter_page_clear(cache_store(c), c->index.off,
                              filter_page_area_bytes(c->index.count));
    }
    if (r == 0 && !c->options.is_volatile) {
        r = cache_write_head(c, !c->options.write_back);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot make a cache");
}

static int check_head(struct cache *c, const char *room, uint64_t *ret_slots,
                      struct err *e)
{
    uint64_t size = bytes_get64(room + 16);
    uint64_t slots = bytes_get64(room + 8);
    uint32_t line = bytes_get32(room);

    c->sealed = bytes_get64(room + 32);
    c->done = bytes_get64(room + 40);
    if (line == 0 || (line & (line - 1)) != 0 || line / c->blk.block_bytes > 64 ||
        line % c->blk.block_bytes != 0 || slots < 4 || slots > SLOTS_MOST ||
        c->done > c->sealed || c->sealed >= UINT64_MAX / 2) {
        return err_set(e, -EUCLEAN, "cannot open a cache: its head makes no sense");
    }
    c->line_bytes = line;
    if (bytes_for(c, slots) > blk_size(cache_store(c))) {
        return err_set(e, -EUCLEAN, "cannot open a cache: its store has lost its end");
    }
    if (size != c->blk.size_bytes && bytes_get64(room + 24) != c->blk.size_bytes) {
        return err_set(e, -ESTALE, "cannot open a cache: its disk had %llu bytes",
                       (unsigned long long)size);
    }
    c->head_in_use = (bytes_get32(room + 4) & HEAD_IN_USE) != 0;
    c->head_done = c->done;
    c->closing = c->sealed;
    c->epoch = c->sealed + 1;
    *ret_slots = slots;
    return 0;
}

static int read_head(struct cache *c, uint64_t *ret_slots, struct err *e)
{
    SCOPED(scope_free) char *page = fault_malloc(FILTER_PAGE_UNIT_BYTES);
    struct filter_page_mark mark = {HEAD_KIND, 0, 0};
    int r;

    if (page == NULL) {
        return err_sys(e, -ENOMEM, "cannot open a cache");
    }
    if (blk_size(cache_store(c)) < FILTER_PAGE_UNIT_BYTES) {
        return err_set(e, -EUCLEAN, "cannot open a cache: its store is empty");
    }
    r = blk_read(cache_store(c), page, FILTER_PAGE_UNIT_BYTES, 0);
    if (r != 0) {
        return err_sys(e, r, "cannot read the head of a cache");
    }
    mark.life = c->life = bytes_get64(page + 8);
    if (c->life == 0 || filter_page_check(page, &mark) != 1) {
        return err_set(e, -EUCLEAN, "cannot open a cache: its store has no head");
    }
    return check_head(c, filter_page_room(page), ret_slots, e);
}

static uint64_t bits_of_line(const struct cache *c, uint64_t line)
{
    uint64_t left = c->blk.size_bytes - line * c->line_bytes;
    uint64_t blocks = left < c->line_bytes ? left : c->line_bytes;

    blocks /= c->blk.block_bytes;
    return blocks == 64 ? UINT64_MAX : ((uint64_t)1 << blocks) - 1;
}

/* Take an entry in, or leave its slot to be freed. */
static int take_entry(struct cache *c, struct cache_slot *s, const char *at)
{
    uint64_t line = bytes_get64(at);
    uint64_t epoch = bytes_get64(at + 8);
    uint64_t valid = bytes_get64(at + 16);
    uint64_t flags = bytes_get64(at + 24);
    bool dirty = (flags & FLAG_DIRTY) != 0;

    if (valid == 0) {
        return 0;
    }
    if (line >= (c->blk.size_bytes + c->line_bytes - 1) / c->line_bytes ||
        flags > FLAG_DIRTY || epoch == 0 || (valid & ~bits_of_line(c, line)) != 0) {
        return -EUCLEAN;
    }
    if (epoch > c->sealed || (dirty ? epoch <= c->done : c->head_in_use)) {
        cache_move(c, s, CACHE_FREEING);
        cache_touch_index(c, s);
        c->changed = true;
        return 0;
    }
    s->line = line;
    s->epoch = epoch;
    s->valid = valid;
    cache_move(c, s, dirty ? CACHE_DIRTY : CACHE_CLEAN);
    return 0;
}

static int take_page(void *arg, uint64_t number, const char *room)
{
    struct cache *c = arg;
    uint64_t first = number * CACHE_PAGE_ENTRIES;
    int r = 0;

    for (uint64_t i = first; r == 0 && i < first + CACHE_PAGE_ENTRIES && i < c->slots;
         i++) {
        r = take_entry(c, &c->slot[i], room);
        room += CACHE_ENTRY_BYTES;
    }
    return r;
}

static int by_epoch(const void *a, const void *b)
{
    const struct cache_slot *x = *(struct cache_slot *const *)a;
    const struct cache_slot *y = *(struct cache_slot *const *)b;

    return x->epoch < y->epoch ? -1 : x->epoch > y->epoch;
}

/* Clean versions into the map first, then the dirty ones in order of their epochs, which
 * their list needs, too. */
static int build_map(struct cache *c)
{
    uint64_t count = c->list[CACHE_DIRTY].count;
    SCOPED(scope_free)
    struct cache_slot **order = fault_calloc(count + 1, sizeof(*order));
    struct cache_slot *s;
    uint64_t i = 0;

    if (order == NULL) {
        return -ENOMEM;
    }
    for (s = c->list[CACHE_CLEAN].first; s != NULL; s = s->next) {
        if (cache_newest(c, s->line) != NULL) {
            return -EUCLEAN; /* two clean versions of one line */
        }
        cache_put(c, s);
    }
    for (s = c->list[CACHE_DIRTY].first; s != NULL; s = s->next) {
        order[i++] = s;
    }
    qsort(order, count, sizeof(*order), by_epoch);
    for (i = 0; i < count; i++) {
        struct cache_slot *newest = cache_newest(c, order[i]->line);

        if (newest != NULL && newest->state == CACHE_DIRTY &&
            newest->epoch == order[i]->epoch) {
            return -EUCLEAN;
        }
        cache_put(c, order[i]);
        cache_move(c, order[i], CACHE_DIRTY); /* to the end of the list */
        cache_mask_clean(c, order[i]->line, order[i]->valid);
    }
    return 0;
}

int cache_index_load(struct cache *c, struct err *e)
{
    uint64_t slots = 0;
    int r = read_head(c, &slots, e);

    if (r != 0) {
        return r;
    }
    r = cache_slots_create(c, slots);
    set_area(c, slots);
    r = r == 0 ? filter_page_load(&c->index, take_page, c) : r;
    r = r == 0 ? build_map(c) : r;
    if (r == -EUCLEAN) {
        return err_set(e, r, "cannot open a cache: its index is damaged");
    }
    r = r == 0 ? cache_commit(c) : r; /* what was not believed goes from the disk */
    return r == 0 ? 0 : err_sys(e, r, "cannot open a cache");
}
