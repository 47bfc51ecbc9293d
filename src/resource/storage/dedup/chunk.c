/* chunk.c - blocks by their hash.
 *
 * The entries are a hash table in pages: an entry is in the page that its hash names, or, if
 * that is full, in the next one, and so on.  A page with an entry that was never used ends the
 * search.  An entry without references keeps its hash: the block may be wanted again, and
 * is compared before it is believed, since its slot may have been written over by somebody
 * who did not come to an end.  Its slot is taken by another block once its last epoch is
 * durable.  An entry that was reclaimed has no hash and an epoch of all ones, so that it is
 * free and does not end a search.
 *
 * While a block is looked for and written, nobody else looks for one that begins at the same
 * page, so no block is stored twice; a slot that is being filled is `busy` for all. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "contract/blk_ops.h"
#include "resource/storage/dedup/private.h"
#include "resource/storage/safe/bytes.h"

static const uint8_t no_hash[DEDUP_HASH_BYTES];

uint32_t dedup_refs(const uint8_t *entry)
{
    return bytes_get32(entry + 32);
}

static uint64_t epoch_of(const uint8_t *entry)
{
    return bytes_get64(entry + 36);
}

static bool was_never_used(const uint8_t *entry)
{
    return dedup_refs(entry) == 0 && epoch_of(entry) == 0 &&
           memcmp(entry, no_hash, sizeof no_hash) == 0;
}

bool dedup_is_busy(const struct dedup *s, uint64_t slot)
{
    for (const struct busy *b = s->busy; b != NULL; b = b->next) {
        if (slot >= b->slot && slot - b->slot < b->count) {
            return true;
        }
    }
    return false;
}

void dedup_set_free(struct dedup *s, struct busy *b)
{
    struct busy **at = &s->busy;

    while (*at != b) {
        at = &(*at)->next;
    }
    *at = b->next;
}

int dedup_read_slot(struct dedup *s, uint64_t slot, uint8_t *to)
{
    return blk_read(s->disk.disk, to, DEDUP_BLOCK_BYTES,
                    s->data_at + slot * DEDUP_BLOCK_BYTES);
}

int dedup_look_up(struct dedup *s, uint64_t index, uint64_t *ret_value)
{
    struct page *page;
    const uint8_t *at;
    int r = pages_take(&s->map, index, &page);

    if (r != 0) {
        return r;
    }
    at = pages_entry(&s->map, page, index);
    *ret_value = at != NULL ? bytes_get64(at) : 0;
    r = at == NULL || *ret_value > s->slots ? -EUCLEAN : 0;
    pages_give(&s->map, page);
    return r;
}

/* ---- the search ---- */

struct search {
    uint64_t found; /* slot; UINT64_MAX: none */
    uint64_t idle;  /* a slot that has the hash without references */
    uint64_t room;  /* a slot that may be taken */
};

static void look_at(const struct dedup *s, const uint8_t *entry, uint64_t slot,
                    const uint8_t *hash, struct search *x)
{
    bool same = memcmp(entry, hash, DEDUP_HASH_BYTES) == 0;
    uint32_t refs = dedup_refs(entry);

    if (dedup_is_busy(s, slot)) {
        return;
    }
    if (same && refs > 0 && refs < UINT32_MAX) {
        x->found = slot;
    } else if (same && refs == 0 && x->idle == UINT64_MAX) {
        x->idle = slot;
    } else if (refs == 0 && x->room == UINT64_MAX &&
               (epoch_of(entry) <= s->durable || epoch_of(entry) == UINT64_MAX)) {
        x->room = slot;
    }
}

static uint64_t home_of(const struct dedup *s, const uint8_t *hash)
{
    return bytes_get64(hash) % s->entries.count;
}

static int search(struct dedup *s, const uint8_t *hash, struct search *x)
{
    uint64_t in = pages_entries_in(&s->entries);
    uint64_t home = home_of(s, hash);
    bool ends = false;
    int r = 0;

    *x = (struct search){UINT64_MAX, UINT64_MAX, UINT64_MAX};
    for (uint64_t i = 0;
         r == 0 && !ends && x->found == UINT64_MAX && i < s->entries.count; i++) {
        uint64_t first = (home + i) % s->entries.count * in;
        struct page *page;

        r = pages_take(&s->entries, first, &page);
        if (r != 0) {
            return r;
        }
        for (uint64_t k = first; k < first + in && x->found == UINT64_MAX; k++) {
            const uint8_t *entry = pages_entry(&s->entries, page, k);

            if (entry != NULL) { /* nobody knows what a damaged sheet says */
                ends = ends || was_never_used(entry);
                look_at(s, entry, k, hash, x);
            }
        }
        pages_give(&s->entries, page);
    }
    return r;
}

int dedup_find(struct dedup *s, const uint8_t *hash, uint64_t *ret_slot)
{
    struct search x;
    int r = search(s, hash, &x);

    if (r == 0 && x.found == UINT64_MAX) {
        r = -ENOENT;
    }
    *ret_slot = x.found;
    return r;
}

/* ---- a change ---- */

struct move {
    uint64_t index;
    const uint8_t *hash; /* NULL: zeros */
    const uint8_t *bytes;
    struct page *map;  /* pinned */
    struct page *gone; /* pinned; of the entry that loses a reference, or NULL */
    uint64_t gone_slot;
};

/* All at once, without waiting: references, map, and what the journal is told. */
static void apply(struct dedup *s, const struct move *m, struct page *page, uint64_t slot)
{
    uint8_t *map = pages_entry_raw(&s->map, m->map, m->index);
    uint64_t value = m->hash != NULL ? slot + 1 : 0;

    if (bytes_get64(map) == value) {
        return;
    }
    if (m->hash != NULL) {
        uint8_t *entry = pages_entry_raw(&s->entries, page, slot);

        s->stored += dedup_refs(entry) == 0;
        memcpy(entry, m->hash, DEDUP_HASH_BYTES);
        bytes_put32(entry + 32, dedup_refs(entry) + 1);
        bytes_put64(entry + 36, 0);
        pages_change(&s->entries, page);
        dedup_note_entry(s, slot, entry);
    }
    if (m->gone != NULL) {
        uint8_t *entry = pages_entry_raw(&s->entries, m->gone, m->gone_slot);

        bytes_put32(entry + 32, dedup_refs(entry) - 1);
        if (dedup_refs(entry) == 0) {
            bytes_put64(entry + 36, s->epoch);
            s->stored--;
        }
        pages_change(&s->entries, m->gone);
        dedup_note_entry(s, m->gone_slot, entry);
    }
    s->logical += (value != 0) - (bytes_get64(map) != 0);
    bytes_put64(map, value);
    pages_change(&s->map, m->map);
    dedup_note_map(s, m->index, value);
}

/* Whether the slot still has these bytes. */
static int is_intact(struct dedup *s, uint64_t slot, const uint8_t *bytes, bool *ret)
{
    SCOPED(scope_free) uint8_t *room = fault_aligned(4096, DEDUP_BLOCK_BYTES);
    int r = room == NULL ? -ENOMEM : dedup_read_slot(s, slot, room);

    *ret = r == 0 && memcmp(room, bytes, DEDUP_BLOCK_BYTES) == 0;
    return r == -ENOMEM ? r : 0;
}

/* Whether nobody took the slot while other pages were searched. */
static bool is_still_free(const struct dedup *s, const uint8_t *entry, bool idle,
                          const uint8_t *hash)
{
    if (dedup_refs(entry) != 0) {
        return false;
    }
    return idle ? memcmp(entry, hash, DEDUP_HASH_BYTES) == 0
                : epoch_of(entry) <= s->durable || epoch_of(entry) == UINT64_MAX;
}

/* Take a slot without references: as it is, if it has the bytes, or written anew. */
static int fill(struct dedup *s, const struct move *m, const struct search *x)
{
    uint64_t slot = x->idle != UINT64_MAX ? x->idle : x->room;
    struct busy b = {.slot = slot, .count = 1, .next = s->busy};
    struct page *page = NULL;
    bool intact = false;
    int r;

    if (slot == UINT64_MAX || dedup_is_busy(s, slot)) {
        return slot == UINT64_MAX ? -ENOSPC : -EAGAIN;
    }
    s->busy = &b;
    r = pages_take(&s->entries, slot, &page);
    if (r == 0 && !is_still_free(s, pages_entry_raw(&s->entries, page, slot),
                                 slot == x->idle, m->hash)) {
        r = -EAGAIN;
    }
    if (r == 0 && slot == x->idle) {
        const uint8_t *entry = pages_entry_raw(&s->entries, page, slot);
        bool may_write = epoch_of(entry) <= s->durable;

        r = is_intact(s, slot, m->bytes, &intact);
        r = r == 0 && !intact && !may_write ? -EAGAIN : r;
    }
    if (r == 0 && !intact) {
        r = blk_write(s->disk.disk, m->bytes, DEDUP_BLOCK_BYTES,
                      s->data_at + slot * DEDUP_BLOCK_BYTES, 0);
    }
    if (r == 0) {
        apply(s, m, page, slot);
    }
    dedup_set_free(s, &b);
    if (page != NULL) {
        pages_give(&s->entries, page);
    }
    return r;
}

static bool still_is(const uint8_t *entry, const uint8_t *hash)
{
    uint32_t refs = dedup_refs(entry);

    return refs > 0 && refs < UINT32_MAX && memcmp(entry, hash, DEDUP_HASH_BYTES) == 0;
}

static int refer(struct dedup *s, const struct move *m)
{
    struct strand_lock *lock = &s->lock[home_of(s, m->hash) % LOCKS];
    struct page *page = NULL;
    struct search x;
    int r;

    strand_lock(s->disk.disk->strands, lock);
    r = search(s, m->hash, &x);
    if (r == 0 && x.found != UINT64_MAX) {
        r = pages_take(&s->entries, x.found, &page);
        if (r == 0 && !still_is(pages_entry_raw(&s->entries, page, x.found), m->hash)) {
            r = -EAGAIN; /* its last reference went while the page was fetched */
        } else if (r == 0) {
            apply(s, m, page, x.found);
        }
        if (page != NULL) {
            pages_give(&s->entries, page);
        }
    } else if (r == 0) {
        r = fill(s, m, &x);
    }
    strand_unlock(lock);
    return r;
}

static int move_once(struct dedup *s, struct move *m)
{
    struct range_hold gate;
    uint64_t old = 0;
    int r = dedup_begin_change(s, &gate);

    if (r != 0) {
        return r;
    }
    m->map = NULL;
    m->gone = NULL;
    r = dedup_look_up(s, m->index, &old);
    r = r == 0 ? pages_take(&s->map, m->index, &m->map) : r;
    if (r == 0 && old != 0) {
        m->gone_slot = old - 1;
        r = pages_take(&s->entries, m->gone_slot, &m->gone);
        if (r == 0 &&
            dedup_refs(pages_entry_raw(&s->entries, m->gone, m->gone_slot)) == 0) {
            r = -EUCLEAN;
        }
    }
    if (r == 0 && m->hash == NULL) {
        apply(s, m, NULL, 0);
    } else if (r == 0) {
        r = refer(s, m);
    }
    if (m->gone != NULL) {
        pages_give(&s->entries, m->gone);
    }
    if (m->map != NULL) {
        pages_give(&s->map, m->map);
    }
    dedup_end_change(s, &gate);
    return r;
}

int dedup_point(struct dedup *s, uint64_t index, const uint8_t *bytes)
{
    uint8_t hash[DEDUP_HASH_BYTES];
    struct move m = {.index = index, .hash = bytes != NULL ? hash : NULL, .bytes = bytes};
    uint64_t old;
    int r = dedup_look_up(s, index, &old);

    if (r != 0 || (old == 0 && bytes == NULL)) {
        return r;
    }
    if (bytes != NULL) {
        sha256_sum(bytes, DEDUP_BLOCK_BYTES, hash);
    }
    r = move_once(s, &m);
    if (r == -ENOSPC) { /* room that is free once that is durable */
        r = dedup_commit(s);
        r = r == 0 ? move_once(s, &m) : r;
    }
    for (unsigned i = 0; r == -EAGAIN && i < 100; i++) {
        r = dedup_commit(s);
        r = r == 0 ? move_once(s, &m) : r;
    }
    return r == -EAGAIN ? -EIO : r;
}
