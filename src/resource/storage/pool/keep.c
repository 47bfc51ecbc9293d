/* keep.c - what makes a carved disk last: reading its part of the table, and telling it.
 *
 * In memory a slot says where an extent lies and which granules of it hold data.  A flush tells
 * the table in this order, so that a power cut shows old bytes or new ones, never another's:
 *
 *   1. extents that were let go are free in the table (`carve_settle_freed`);
 *   2. the device is flushed: the data of the slots that changed before is durable, and
 *      nothing on the device says any more that those extents were the disk's;
 *   3. the slots, as they were before 2, and the size are written, and flushed.
 *
 * So no two entries ever name the same place of a disk, and bits of granules are never durable
 * before their bytes.  Granules behind the end are dropped on opening; `clipped` has that
 * durable before the end moves back over them.
 *
 * `keep` is held by whoever goes through these steps; an extent becomes free in the table, and
 * so another's, only under it.  Before, everybody has left who may still read or
 * write there (grace.h), and it was discarded below. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/grow.h"
#include "base/scope.h"
#include "resource/storage/pool/carve_private.h"

int carve_make_room(struct carve *c)
{
    int r = extent_map_room(&c->map);
    uint32_t most = c->map.count + c->freed_count + 1 + PLACE_RESERVE_MOST;

    if (r == 0 && (!grow_for(&c->changed, c->map.count + 1, &c->changed_room) ||
                   !grow_for(&c->freed, most, &c->freed_room))) {
        r = -ENOMEM;
    }
    return r;
}

void carve_note(struct carve *c, struct extent_slot *slot)
{
    if (slot->told == 0) {
        c->changed[c->changed_count++] = slot->index;
        slot->told = c->changed_count;
    }
}

/* Out of the list of what changed; the last one takes its place. */
static void forget(struct carve *c, const struct extent_slot *slot)
{
    uint32_t last = c->changed[--c->changed_count];

    c->changed[slot->told - 1] = last;
    extent_map_find(&c->map, last)->told = slot->told;
}

void carve_let_go(struct carve *c, struct extent_slot *slot)
{
    if (slot->told != 0) {
        forget(c, slot);
    }
    c->freed[c->freed_count++] = slot->at - 1;
    extent_map_drop(&c->map, slot);
}

/* ---- giving back ---- */

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Where the device below can use it; it need not succeed. */
static void trim(struct carve *c, uint32_t *at, uint32_t count)
{
    struct place_store *s = c->store;

    qsort(at, count, sizeof *at, compare);
    for (uint32_t i = 0; i < count;) {
        uint32_t n = 1;

        while (i + n < count && at[i + n] == at[i] + n) {
            n++;
        }
        (void)blk_discard(c->edge.disk, place_extent_off(s, at[i]),
                          (uint64_t)n * s->extent_bytes);
        i += n;
    }
}

/* With `keep` held. */
static int settle_freed(struct carve *c)
{
    uint32_t count = c->freed_count;
    int r;

    if (count == 0) {
        return 0;
    }
    if (c->freed_trimmed < count) {
        uint32_t fresh = count - c->freed_trimmed;
        SCOPED(scope_free) uint32_t *at = fault_malloc(fresh * sizeof *at);

        if (at == NULL) {
            return -ENOMEM;
        }
        memcpy(at, c->freed + c->freed_trimmed, fresh * sizeof *at);
        grace_wait(c->blk.strands, &c->grace);
        trim(c, at, fresh);
        c->freed_trimmed = count;
    }
    r = place_release(c->store, &c->row, c->freed, count);
    if (r == 0) {
        c->freed_count -= count;
        memmove(c->freed, c->freed + count, c->freed_count * sizeof *c->freed);
        c->freed_trimmed -= count;
    }
    return r;
}

int carve_settle_freed(struct carve *c)
{
    int r;

    if (c->freed_count == 0) {
        return 0;
    }
    strand_lock(c->blk.strands, &c->keep);
    r = settle_freed(c);
    strand_unlock(&c->keep);
    return r;
}

int carve_give_reserve(struct carve *c)
{
    unsigned n = c->reserve_end - c->reserve_first;
    int r = 0;

    if (n > 0) {
        r = place_release(c->store, &c->row, c->reserve + c->reserve_first, n);
        c->reserve_first = c->reserve_end; /* after an error a sweep finds them */
    }
    c->batch = 1;
    return r;
}

/* ---- flush ---- */

/* A slot as it was when the flush began. */
struct told {
    uint32_t at;
    uint32_t index;
    uint64_t bits;
};

struct tell {
    const struct carve *disk;
    const struct told *told; /* by `at` */
    uint32_t count;
    uint32_t next;
};

static int compare_told(const void *a, const void *b)
{
    return compare(&((const struct told *)a)->at, &((const struct told *)b)->at);
}

static struct told *snapshot(struct carve *c)
{
    struct told *t = fault_malloc((size_t)(c->changed_count + 1) * sizeof *t);

    for (uint32_t i = 0; t != NULL && i < c->changed_count; i++) {
        struct extent_slot *slot = extent_map_find(&c->map, c->changed[i]);

        t[i] = (struct told){slot->at - 1, slot->index, slot->bits};
        slot->told = 0;
    }
    if (t != NULL) {
        qsort(t, c->changed_count, sizeof *t, compare_told);
        c->changed_count = 0;
    }
    return t;
}

/* They were not told: again with the next flush. */
static void take_back(struct carve *c, const struct told *t, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct extent_slot *slot = extent_map_find(&c->map, t[i].index);

        if (slot != NULL && slot->at == t[i].at + 1) {
            carve_note(c, slot);
        }
    }
}

static int tell_entries(struct place_store *s, uint8_t *sheet, uint32_t number, void *arg)
{
    struct tell *t = arg;
    int changed = 0;

    while (t->next < t->count && t->told[t->next].at / s->table.per_sheet == number) {
        const struct told *x = &t->told[t->next++];
        uint32_t n = x->at % s->table.per_sheet;
        struct place_entry entry = place_entry_get(sheet, n);

        if (entry.state == PLACE_ENTRY_FREE || entry.id != t->disk->row.id ||
            entry.part != t->disk->row.part) {
            return -EUCLEAN; /* somebody changed the table without asking */
        }
        entry.state = PLACE_ENTRY_USED;
        entry.index = x->index;
        entry.bits = x->bits;
        place_entry_put(sheet, n, &entry);
        changed = 1;
    }
    return changed;
}

static int tell(struct carve *c, const struct told *told, uint32_t count)
{
    struct place_store *s = c->store;
    struct tell t = {.disk = c, .told = told, .count = count};
    struct place_change change = {.sheet = tell_entries, .arg = &t};
    uint32_t most = place_chunk_sheets(s);
    int r = 0;

    while (r == 0 && t.next < count) {
        uint32_t first = told[t.next].at / s->table.per_sheet;
        uint32_t end = first + 1;

        for (uint32_t i = t.next; i < count; i++) {
            uint32_t sheet = told[i].at / s->table.per_sheet;

            if (sheet > end || sheet + 1 - first > most) {
                break;
            }
            end = sheet + 1;
        }
        r = place_sheets_change(s, &s->table, first, end - first, &change);
    }
    return r;
}

static int tell_size(struct carve *c, uint64_t size)
{
    struct place_row row = c->row;
    int r;

    row.size = size;
    r = place_row_write(c->store, c->row_number, &row);
    if (r == 0) {
        c->row.size = size;
    }
    return r;
}

/* Steps 2 and 3. */
static int tell_all(struct carve *c, const struct told *told, uint32_t count,
                    uint64_t size)
{
    bool clipped = c->clipped;
    int r = blk_flush(c->edge.disk);

    if (r != 0 || (count == 0 && size == c->row.size)) {
        return r;
    }
    r = tell(c, told, count);
    if (r == 0 && clipped) {
        r = blk_flush(c->edge.disk);
        c->clipped = c->clipped && r != 0;
    }
    if (r == 0 && size != c->row.size) {
        r = tell_size(c, size);
    }
    return r == 0 ? blk_flush(c->edge.disk) : r;
}

/* With `keep` held. */
static int keep_all(struct carve *c)
{
    SCOPED(scope_free) struct told *told = NULL;
    uint32_t count = c->changed_count;
    uint64_t size = c->blk.size_bytes;
    uint64_t old = c->row.size;
    int r;

    if (count > 0) {
        told = snapshot(c);
        if (told == NULL) {
            return -ENOMEM;
        }
    }
    r = settle_freed(c);
    r = r == 0 ? tell_all(c, told, count, size) : r;
    if (r != 0) {
        take_back(c, told, count);
        c->row.size = old; /* tell it again: the write may not be durable */
    }
    return r;
}

int carve_keep(struct carve *c)
{
    int late = c->late;
    int r;

    strand_lock(c->blk.strands, &c->keep);
    c->late = 0;
    r = keep_all(c);
    strand_unlock(&c->keep);
    return r != 0 ? r : late;
}

/* ---- size ---- */

/* A smaller end is durable before anything behind it goes. */
static int shrink(struct carve *c, uint64_t size_bytes)
{
    uint64_t old = c->blk.size_bytes;
    uint64_t granule = (uint64_t)1 << c->granule_shift;
    uint64_t whole = (size_bytes + granule - 1) & ~(granule - 1);
    int r;

    strand_lock(c->blk.strands, &c->keep);
    r = keep_all(c); /* the end may not have been told at all */
    r = r == 0 ? tell_size(c, size_bytes) : r;
    r = r == 0 ? blk_flush(c->edge.disk) : r;
    if (r == 0) {
        c->blk.size_bytes = size_bytes;
        c->clipped = true;
    }
    strand_unlock(&c->keep);
    if (r == 0 && whole > size_bytes) {
        r = carve_erase(c, size_bytes, (whole < old ? whole : old) - size_bytes, false,
                        true);
    }
    if (r == 0 && old > whole) {
        r = carve_erase(c, whole, old - whole, true, true);
    }
    return r == 0 ? carve_keep(c) : r;
}

int carve_resize(struct blk *b, uint64_t size_bytes, struct err *e)
{
    struct carve *c = (struct carve *)b;
    uint64_t most = (uint64_t)UINT32_MAX * c->store->extent_bytes;
    int r = size_bytes > most ? -EFBIG : 0;

    if (r == 0 && size_bytes < b->size_bytes) {
        r = shrink(c, size_bytes);
    } else if (r == 0) {
        b->size_bytes = size_bytes;
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot resize '%s'", b->label);
}

/* ---- opening ---- */

/* Bits of the granules of extent `index` that lie inside the disk. */
static uint64_t bits_inside(const struct carve *c, uint32_t index)
{
    uint64_t off = (uint64_t)index * c->store->extent_bytes;
    uint64_t granules;

    if (off >= c->blk.size_bytes) {
        return 0;
    }
    granules = (c->blk.size_bytes - off - 1) >> c->granule_shift;
    granules =
        granules + 1 < place_granules(c->store) ? granules + 1 : place_granules(c->store);
    return granules == 64 ? UINT64_MAX : ((uint64_t)1 << granules) - 1;
}

static int load_used(struct carve *c, const struct place_entry *entry, uint32_t at)
{
    uint64_t inside = bits_inside(c, entry->index);
    struct extent_slot *slot;
    int r = carve_make_room(c);

    if (r != 0) {
        return r;
    }
    if ((entry->bits & inside) == 0) {
        c->clipped = c->clipped || entry->bits != 0;
        c->freed[c->freed_count++] = at;
        return 0;
    }
    if (extent_map_find(&c->map, entry->index) != NULL) {
        return -EUCLEAN;
    }
    slot = extent_map_put(&c->map, entry->index, at + 1);
    slot->bits = entry->bits & inside;
    if (slot->bits != entry->bits && !c->blk.read_only) {
        c->clipped = true;
        carve_note(c, slot);
    }
    return 0;
}

static int load_entry(struct carve *c, const struct place_entry *entry, uint32_t at)
{
    int r = 0;

    if (entry->state == PLACE_ENTRY_USED) {
        return load_used(c, entry, at);
    }
    if (entry->state != PLACE_ENTRY_RESERVED) {
        return -EUCLEAN;
    }
    if (c->reserve_end < PLACE_RESERVE_MOST) {
        c->reserve[c->reserve_end++] = at;
        return 0;
    }
    r = carve_make_room(c);
    if (r == 0) {
        c->freed[c->freed_count++] = at;
    }
    return r;
}

static int load_sheet(struct carve *c, const uint8_t *sheet, uint32_t number)
{
    const struct place_store *s = c->store;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < s->table.per_sheet; i++) {
        struct place_entry entry = place_entry_get(sheet, i);
        uint32_t at = number * s->table.per_sheet + i;

        if (at < s->extents && entry.state != PLACE_ENTRY_FREE && entry.id == c->row.id &&
            entry.part == c->row.part) {
            r = load_entry(c, &entry, at);
        }
    }
    return r;
}

/* The rest of the granule that the end lies in reads zeros when the end moves. */
static int clean_end(struct carve *c)
{
    uint64_t granule = (uint64_t)1 << c->granule_shift;
    uint64_t end = c->blk.size_bytes;
    uint64_t whole = (end + granule - 1) & ~(granule - 1);

    return whole > end ? carve_erase(c, end, whole - end, false, true) : 0;
}

static int load_entries(struct carve *c)
{
    SCOPED(scope_free) uint8_t *text = fault_aligned(4096, PLACE_CHUNK_BYTES);
    struct place_store *s = c->store;
    uint32_t most = place_chunk_sheets(s);
    int r = text == NULL ? -ENOMEM : 0;

    for (uint32_t at = c->row.first; r == 0 && at < c->row.end; at += most) {
        uint32_t n = c->row.end - at < most ? c->row.end - at : most;

        r = place_sheets_read(s, &s->table, at, n, text);
        for (uint32_t i = 0; r == 0 && i < n; i++) {
            r = load_sheet(c, text + (size_t)i * s->sheet_bytes, at + i);
        }
    }
    return r;
}

int carve_load(struct carve *c, struct err *e)
{
    bool writes = !c->blk.read_only;
    int r = 0;

    if (c->row.end > c->store->table.sheets ||
        c->row.size > (uint64_t)UINT32_MAX * c->store->extent_bytes ||
        c->row.size % c->blk.block_bytes != 0) {
        r = -EUCLEAN;
    }
    c->blk.size_bytes = c->row.size;
    if (r == 0 && writes) { /* against a sweep: see sweep.c */
        r = place_room_lock(c->store);
    }
    if (r == 0) {
        r = load_entries(c);
        if (writes) {
            place_room_unlock(c->store);
        }
    }
    if (!writes) { /* nothing is for us to give back */
        c->freed_count = 0;
        c->reserve_end = 0;
    }
    if (r == 0 && writes) {
        r = clean_end(c);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot open '%s'", c->label);
}
