/* cache.c - pieces of L2 tables and refcount blocks in memory.
 *
 * A slice is found by its place in the file.  A clean one goes when room is needed, by
 * the clock's hand; a dirty one goes only through commit.c.  While too much is dirty the
 * cache grows over its aim: whoever allocates commits first (`qcow2_cache_presses`), so
 * that it does so by a few slices per request in flight.
 *
 * Invariant: a slice that is `loading` is in its bucket and nobody but its loader
 * touches it; others wait in `loaded` and look again. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"
#include "resource/storage/qcow2/parts.h"

#define LEAST_SLICES 64

static uint32_t bucket_of(const struct qcow2_cache *c, uint64_t at)
{
    return (uint32_t)((at >> 9) * 0x9e3779b97f4a7c15u >> 32) & (c->buckets - 1);
}

int qcow2_cache_init(struct qcow2_cache *c, uint32_t most)
{
    c->most = most > LEAST_SLICES ? most : LEAST_SLICES;
    c->buckets = LEAST_SLICES;
    while (c->buckets < c->most) {
        c->buckets *= 2;
    }
    c->bucket = fault_calloc(c->buckets, sizeof(struct qcow2_slice *));
    return c->bucket == NULL ? -ENOMEM : 0;
}

void qcow2_cache_fini(struct qcow2_cache *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        free(c->list[i]);
    }
    free(c->list);
    free(c->bucket);
    *c = (struct qcow2_cache){0};
}

struct qcow2_slice *qcow2_slice_find(struct qcow2 *q, uint64_t at)
{
    struct qcow2_slice *s = q->cache.bucket[bucket_of(&q->cache, at)];

    while (s != NULL && s->at != at) {
        s = s->hash_next;
    }
    return s;
}

static void unlink_slice(struct qcow2_cache *c, struct qcow2_slice *s)
{
    struct qcow2_slice **where = &c->bucket[bucket_of(c, s->at)];

    while (*where != s) {
        where = &(*where)->hash_next;
    }
    *where = s->hash_next;
}

static void link_slice(struct qcow2_cache *c, struct qcow2_slice *s, uint64_t at,
                       enum qcow2_use kind)
{
    uint32_t i = bucket_of(c, at);

    s->at = at;
    s->kind = (uint8_t)kind;
    s->hash_next = c->bucket[i];
    c->bucket[i] = s;
}

static void count_dirty(struct qcow2_cache *c, const struct qcow2_slice *s, int by)
{
    if (s->kind == USE_L2) {
        c->dirty_l2 += (uint32_t)by;
    } else {
        c->dirty_ref += (uint32_t)by;
    }
}

static void forget(struct qcow2_cache *c, struct qcow2_slice *s)
{
    if (s->dirty) {
        count_dirty(c, s, -1);
    }
    unlink_slice(c, s);
    c->list[s->slot] = c->list[--c->count];
    c->list[s->slot]->slot = s->slot;
    free(s);
}

/* A slice whose memory can be had; NULL: all are needed. */
static struct qcow2_slice *victim(struct qcow2_cache *c)
{
    for (uint32_t tries = 2 * c->count; tries > 0; tries--) {
        struct qcow2_slice *s;

        c->hand = c->hand + 1 < c->count ? c->hand + 1 : 0;
        s = c->list[c->hand];
        if (s->dirty || s->writing || s->loading) {
            continue;
        }
        if (!s->recent) {
            return s;
        }
        s->recent = false;
    }
    return NULL;
}

static bool room_in_list(struct qcow2_cache *c)
{
    uint32_t room = c->room == 0 ? LEAST_SLICES : 2 * c->room;
    struct qcow2_slice **list;

    if (c->count < c->room) {
        return true;
    }
    list = fault_realloc(c->list, (size_t)room * sizeof *list);
    if (list == NULL) {
        return false;
    }
    c->list = list;
    c->room = room;
    return true;
}

static struct qcow2_slice *new_slice(struct qcow2 *q)
{
    struct qcow2_cache *c = &q->cache;
    struct qcow2_slice *s = c->count >= c->most ? victim(c) : NULL;

    if (s != NULL) {
        unlink_slice(c, s);
        return s;
    }
    if (!room_in_list(c)) {
        return NULL;
    }
    s = fault_malloc(sizeof *s + q->slice_bytes);
    if (s != NULL) {
        *s = (struct qcow2_slice){.slot = c->count};
        c->list[c->count++] = s;
    }
    return s;
}

static int load(struct qcow2 *q, uint64_t at, enum qcow2_use kind,
                struct qcow2_slice **ret)
{
    struct qcow2_slice *s = new_slice(q);
    int r;

    if (s == NULL) {
        return -ENOMEM;
    }
    link_slice(&q->cache, s, at, kind);
    s->loading = true;
    r = qcow2_io_read(q, s->data, q->slice_bytes, at);
    s->loading = false;
    if (r != 0) {
        forget(&q->cache, s);
        s = NULL;
    } else {
        s->recent = true;
    }
    *ret = s;
    (void)strand_wake_all(&q->cache.loaded);
    return r;
}

int qcow2_slice_get(struct qcow2 *q, uint64_t at, enum qcow2_use kind,
                    struct qcow2_slice **ret)
{
    for (;;) {
        struct qcow2_slice *s = qcow2_slice_find(q, at);
        int r;

        if (s != NULL && !s->loading) {
            if (s->kind != kind) {
                return qcow2_is_corrupt(q);
            }
            s->recent = true;
            *ret = s;
            return 0;
        }
        if (s != NULL) {
            strand_wait(q->blk.strands, &q->cache.loaded);
            continue;
        }
        r = load(q, at, kind, ret);
        if (r != 0) {
            return r;
        }
        if (qcow2_slice_find(q, at) == *ret) { /* those who waited ran in between */
            return 0;
        }
    }
}

void qcow2_slice_dirty(struct qcow2 *q, struct qcow2_slice *s)
{
    if (!s->dirty) {
        s->dirty = true;
        count_dirty(&q->cache, s, 1);
    }
}

void qcow2_cache_drop(struct qcow2 *q, uint64_t at, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i += q->slice_bytes) {
        struct qcow2_slice *s = qcow2_slice_find(q, at + i);

        if (s != NULL && !s->loading && !s->writing) {
            forget(&q->cache, s);
        }
    }
}

void qcow2_cache_clear(struct qcow2 *q)
{
    while (q->cache.count > 0) {
        forget(&q->cache, q->cache.list[q->cache.count - 1]);
    }
}

bool qcow2_cache_presses(const struct qcow2 *q)
{
    const struct qcow2_cache *c = &q->cache;
    uint32_t dirty = q->lazy ? c->dirty_l2 : c->dirty_l2 + c->dirty_ref;

    return dirty > c->most / 2 || c->dirty_ref > c->most * 3 / 4;
}
