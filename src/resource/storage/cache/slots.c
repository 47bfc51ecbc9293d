/* slots.c - places in the store, and which versions of a line they hold.
 *
 * A line has a chain of versions, the newest first: dirty ones of several epochs and
 * at most one clean one.  A block is in the first version whose `valid` has its bit.
 * A clean version never has a block that a dirty one has. */
#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"
#include "resource/storage/cache/private.h"

static uint64_t hash_of(uint64_t line)
{
    line *= 0x9e3779b97f4a7c15u;
    return line ^ line >> 32;
}

static struct cache_slot **bucket_of(const struct cache *c, uint64_t line)
{
    return &c->bucket[hash_of(line) & c->bucket_mask];
}

/* ---- lists ---- */

static void unlink_slot(struct cache_list *l, struct cache_slot *s)
{
    *(s->prev != NULL ? &s->prev->next : &l->first) = s->next;
    *(s->next != NULL ? &s->next->prev : &l->last) = s->prev;
    s->next = NULL;
    s->prev = NULL;
    l->count--;
}

static void append_slot(struct cache_list *l, struct cache_slot *s)
{
    s->prev = l->last;
    *(l->last != NULL ? &l->last->next : &l->first) = s;
    l->last = s;
    l->count++;
}

void cache_move(struct cache *c, struct cache_slot *s, enum cache_state state)
{
    if (c->hand == s) {
        c->hand = s->next;
    }
    unlink_slot(&c->list[s->state], s);
    s->state = (uint8_t)state;
    append_slot(&c->list[state], s);
}

/* ---- versions ---- */

static struct cache_slot **link_to_line(const struct cache *c, uint64_t line)
{
    struct cache_slot **at = bucket_of(c, line);

    while (*at != NULL && (*at)->line != line) {
        at = &(*at)->bucket;
    }
    return at;
}

struct cache_slot *cache_newest(const struct cache *c, uint64_t line)
{
    return *link_to_line(c, line);
}

void cache_put(struct cache *c, struct cache_slot *s)
{
    struct cache_slot **at = link_to_line(c, s->line);
    struct cache_slot *was = *at;

    s->older = was;
    s->bucket = was != NULL ? was->bucket : NULL;
    if (was != NULL) {
        was->bucket = NULL;
    }
    *at = s;
}

void cache_take_out(struct cache *c, struct cache_slot *s)
{
    struct cache_slot **at = link_to_line(c, s->line);
    struct cache_slot *first = *at;

    if (first == s) {
        *at = s->older != NULL ? s->older : s->bucket;
        if (s->older != NULL) {
            s->older->bucket = s->bucket;
        }
    } else {
        while (first->older != s) {
            first = first->older;
        }
        first->older = s->older;
    }
    s->older = NULL;
    s->bucket = NULL;
}

void cache_touch_index(struct cache *c, const struct cache_slot *s)
{
    filter_page_mark_dirty(c->index_dirty, (uint64_t)(s - c->slot) / CACHE_PAGE_ENTRIES);
}

void cache_release(struct cache *c, struct cache_slot *s)
{
    cache_take_out(c, s);
    cache_touch_index(c, s);
    s->valid = 0;
    s->epoch = c->epoch;
    cache_move(c, s, cache_keeps_index(c) || s->pins > 0 ? CACHE_FREEING : CACHE_FREE);
}

void cache_mask_clean(struct cache *c, uint64_t line, uint64_t bits)
{
    struct cache_slot *s = cache_newest(c, line);

    while (s != NULL) {
        struct cache_slot *older = s->older;

        if (s->state == CACHE_CLEAN && (s->valid & bits) != 0) {
            s->valid &= ~bits;
            cache_touch_index(c, s);
            if (s->valid == 0) {
                cache_release(c, s);
            }
        }
        s = older;
    }
}

uint64_t cache_place(const struct cache *c, const struct cache_slot *s)
{
    return c->index.off + filter_page_area_bytes(c->index.count) +
           (uint64_t)(s - c->slot) * c->line_bytes;
}

/* ---- begin and end ---- */

int cache_slots_create(struct cache *c, uint64_t count)
{
    uint64_t buckets = 16;
    uint64_t pages = (count + CACHE_PAGE_ENTRIES - 1) / CACHE_PAGE_ENTRIES;

    while (buckets < count) {
        buckets *= 2;
    }
    c->slot = fault_calloc(count, sizeof *c->slot);
    c->bucket = fault_calloc(buckets, sizeof(*c->bucket));
    c->index_dirty = fault_calloc(pages / 64 + 1, sizeof *c->index_dirty);
    c->slots = count;
    c->bucket_mask = buckets - 1;
    if (c->slot == NULL || c->bucket == NULL || c->index_dirty == NULL) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < count; i++) {
        append_slot(&c->list[CACHE_FREE], &c->slot[i]);
    }
    return cache_heat_create(c);
}

void cache_slots_destroy(struct cache *c)
{
    free(c->slot);
    free(c->bucket);
    free(c->index_dirty);
    free(c->heat);
    c->slot = NULL;
    c->bucket = NULL;
    c->index_dirty = NULL;
    c->heat = NULL;
    c->hand = NULL;
    for (unsigned i = 0; i <= CACHE_DONE; i++) {
        c->list[i] = (struct cache_list){0};
    }
}
