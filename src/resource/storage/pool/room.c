/* room.c - who may have which extent.
 *
 * Free entries are zeros.  A disk that needs extents sets a few aside, more at a time the
 * faster it grows: entries that name the disk and hold nothing.
 *
 * Bytes of one disk must never lie in an extent that the table gives to another after a power
 * cut.  So whoever takes an extent makes sure that it is free in what is durable, or his: he
 * flushes, unless nothing was given back since the last such flush.  The releases are
 * counted on the device before they are made, and so are those that were flushed.  That
 * the extents are set aside need not be durable: without it they are free.  It is by the
 * first flush of the disk (keep.c), as are the sheets that its row names.
 *
 * `place_room_lock` is between all processes: whoever has it alone changes what is free, and the
 * count of it.  A process that died in between leaves a count that is wrong by one batch;
 * the next sweep counts anew.  What is free is decided by the entries alone. */
#include "resource/storage/pool/room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/scope.h"
#include "host/loop/loop.h"
#include "resource/storage/pool/carve_private.h"
#include "resource/storage/safe/bytes.h"

#define SWEEP_EVERY_NS 1000000000u

int place_room_lock(struct place_store *s)
{
    int r;

    if (s->read_only) {
        return -EROFS;
    }
    strand_lock(s->strands, &s->changing);
    r = place_lock_wait(s, PLACE_LOCK_STORE, 1, 1, true);
    if (r != 0) {
        strand_unlock(&s->changing);
    }
    return r;
}

void place_room_unlock(struct place_store *s)
{
    place_lock_drop(s, PLACE_LOCK_STORE, 1, 1);
    strand_unlock(&s->changing);
}

/* ---- the count ---- */

enum {
    AT_FREE = 0,
    AT_UNSETTLED = 8,
    AT_RELEASED = 16, /* times that extents were given back */
    AT_FLUSHED = 24,  /* of those, the ones that are durable */
    AT_EXTENTS = 32,  /* that the store has; 0: as its head says */
};

struct count {
    uint64_t free;
    int64_t more;
    uint64_t flushed; /* releases that are durable now; 0: not known */
    bool set;
    bool releases; /* extents are about to be given back */
    bool unsettled;
    bool extends;
};

static int put_count(struct place_store *s, uint8_t *sheet, uint32_t number, void *arg)
{
    const struct count *c = arg;
    uint64_t free = c->set ? c->free : bytes_get64(sheet + AT_FREE);

    (void)number;
    place_adopt_extents(s, bytes_get32(sheet + AT_EXTENTS));
    if (!c->set) {
        free += (uint64_t)c->more;
        if (free > s->extents) { /* it was wrong */
            free = c->more > 0 ? s->extents : 0;
        }
    }
    bytes_put64(sheet + AT_FREE, free);
    bytes_put32(sheet + AT_UNSETTLED, c->unsettled);
    if (c->releases) {
        bytes_put64(sheet + AT_RELEASED, bytes_get64(sheet + AT_RELEASED) + 1);
    }
    if (c->flushed != 0) {
        bytes_put64(sheet + AT_FLUSHED, c->flushed);
    }
    if (c->extends) {
        bytes_put32(sheet + AT_EXTENTS, s->extents);
    }
    return 1;
}

static int change_count(struct place_store *s, struct count *c)
{
    struct place_change change = {.sheet = put_count, .arg = c};

    return place_sheets_change(s, &s->room, 0, 1, &change);
}

int place_room_set(struct place_store *s, uint64_t free, bool settled)
{
    struct count c = {.free = free, .set = true, .unsettled = !settled};

    return change_count(s, &c);
}

int place_room_get(struct place_store *s, struct place_count *ret)
{
    SCOPED(scope_free) uint8_t *sheet = fault_aligned(4096, 4096);
    int r = sheet == NULL ? -ENOMEM : place_sheets_read(s, &s->room, 0, 1, sheet);

    if (r == 0) {
        uint64_t free = bytes_get64(sheet + AT_FREE);

        if (!s->read_only) {
            place_adopt_extents(s, bytes_get32(sheet + AT_EXTENTS));
        }
        *ret = (struct place_count){
            .free = free < s->extents ? free : s->extents,
            .settled = bytes_get32(sheet + AT_UNSETTLED) == 0,
            .released = bytes_get64(sheet + AT_RELEASED),
            .flushed = bytes_get64(sheet + AT_FLUSHED),
        };
    }
    return r;
}

static int add_count(struct place_store *s, int64_t more)
{
    struct count c = {.more = more, .unsettled = true};

    return change_count(s, &c);
}

int place_room_will_release(struct place_store *s)
{
    struct count c = {.releases = true, .unsettled = true};

    return change_count(s, &c);
}

/* Before the first change: whoever finds the store after all have died counts anew. */
static int begin_changes(struct place_store *s)
{
    int r = 0;

    if (!s->unsettled) {
        r = add_count(s, 0);
        r = r == 0 ? blk_flush(s->disk.disk) : r;
        s->unsettled = r == 0;
    }
    return r;
}

int place_room_extend(struct place_store *s, uint32_t more)
{
    struct count c = {.more = more, .unsettled = true, .extends = true};
    int r = begin_changes(s);

    return r == 0 && more > 0 ? change_count(s, &c) : r;
}

/* With the room locked, whatever came of it. */
static int end_changes(struct place_store *s, int r)
{
    if (r != 0 && r != -ENOSPC) {
        s->miscounted = true;
    }
    return r;
}

static int count_if_needed(struct place_store *s)
{
    return s->miscounted ? place_sweep_locked(s) : 0;
}

/* ---- setting aside ---- */

struct take {
    struct carve *disk;
    unsigned wanted;
    unsigned got;
    uint32_t at[PLACE_RESERVE_MOST];
};

/* Ours, though its entry is free: a write that freed it told of an error. */
static bool is_half_freed(const struct carve *c, uint32_t at)
{
    for (uint32_t i = 0; i < c->freed_count; i++) {
        if (c->freed[i] == at) {
            return true;
        }
    }
    return false;
}

static int take_entries(struct place_store *s, uint8_t *sheet, uint32_t number, void *arg)
{
    struct take *t = arg;
    struct place_entry mine = {
        .id = t->disk->row.id, .part = t->disk->row.part, .state = PLACE_ENTRY_RESERVED};
    unsigned before = t->got;

    for (uint32_t i = 0; i < s->table.per_sheet && t->got < t->wanted; i++) {
        uint32_t at = number * s->table.per_sheet + i;

        if (at < s->extents && place_entry_get(sheet, i).state == PLACE_ENTRY_FREE &&
            !is_half_freed(t->disk, at)) {
            place_entry_put(sheet, i, &mine);
            t->at[t->got++] = at;
        }
    }
    return t->got > before;
}

static bool has_free(const struct place_store *s, const uint8_t *sheet, uint32_t number)
{
    for (uint32_t i = 0; i < s->table.per_sheet; i++) {
        if (number * s->table.per_sheet + i < s->extents &&
            place_entry_get(sheet, i).state == PLACE_ENTRY_FREE) {
            return true;
        }
    }
    return false;
}

/* What sheets [first, first + count) have.  A damaged one has nothing. */
static int take_from(struct place_store *s, uint32_t first, uint32_t count, uint8_t *text,
                     struct take *t)
{
    struct place_change change = {.sheet = take_entries, .arg = t};
    int r = place_sheets_read(s, &s->table, first, count, text);

    if (r == -EUCLEAN && count > 1) {
        r = 0;
        for (uint32_t i = 0; r == 0 && i < count && t->got < t->wanted; i++) {
            r = take_from(s, first + i, 1, text, t);
        }
        return r;
    }
    if (r != 0) {
        return r == -EUCLEAN ? 0 : r;
    }
    for (uint32_t i = 0; r == 0 && i < count && t->got < t->wanted; i++) {
        if (has_free(s, text + (size_t)i * s->sheet_bytes, first + i)) {
            uint32_t n = (t->wanted - t->got - 1) / s->table.per_sheet + 1;

            n = n < count - i ? n : count - i;
            r = place_sheets_change(s, &s->table, first + i, n, &change);
            s->cursor = first + i + n - 1;
            i += n - 1;
        }
    }
    return r;
}

/* Go once around the table from where room was found last. */
static int find_free(struct place_store *s, struct take *t)
{
    SCOPED(scope_free) uint8_t *text = fault_aligned(4096, PLACE_CHUNK_BYTES);
    uint32_t most = place_chunk_sheets(s);
    uint32_t at = s->cursor;
    uint32_t left = s->table.sheets;
    int r = text == NULL ? -ENOMEM : 0;

    while (r == 0 && left > 0 && t->got == 0) {
        uint32_t n = left < most ? left : most;

        n = s->table.sheets - at < n ? s->table.sheets - at : n;
        r = take_from(s, at, n, text, t);
        at = (at + n) % s->table.sheets;
        left -= n;
    }
    return r;
}

/* The row says which sheets have entries of the disk. */
static int widen(struct carve *c, const struct take *t)
{
    struct place_row row = c->row;
    int r = 0;

    for (unsigned i = 0; i < t->got; i++) {
        uint32_t sheet = t->at[i] / c->store->table.per_sheet;

        if (row.first >= row.end) {
            row.first = sheet;
            row.end = sheet + 1;
        }
        row.first = sheet < row.first ? sheet : row.first;
        row.end = sheet >= row.end ? sheet + 1 : row.end;
    }
    if (row.first != c->row.first || row.end != c->row.end) {
        r = place_row_write(c->store, c->row_number, &row);
        if (r == 0) {
            c->row = row;
        }
    }
    return r;
}

static bool may_sweep(struct place_store *s)
{
    uint64_t now = s->loop != NULL ? loop_now_ns(s->loop) : 0;

    if (s->swept_ns != 0 && now - s->swept_ns < SWEEP_EVERY_NS) {
        return false;
    }
    s->swept_ns = now + 1;
    return true;
}

/* What is free now may be another's still in what is durable: make sure, unless nothing was
 * given back since somebody did. */
static int count_taken(struct place_store *s, const struct place_count *before,
                       unsigned taken)
{
    struct count c = {.more = -(int64_t)taken, .unsettled = true};
    int r = 0;

    if (before->released != before->flushed) {
        r = blk_flush(s->disk.disk);
        c.flushed = before->released;
    }
    return r == 0 ? change_count(s, &c) : r;
}

/* It seems to be full: has the device grown, or did the dead leave something? */
static int find_room(struct place_store *s, struct place_count *ret)
{
    uint32_t more = 0;
    int r = begin_changes(s);

    r = r == 0 ? place_grow_locked(s, &more) : r;
    r = r == 0 && more > 0 ? place_room_extend(s, more) : r;
    r = r == 0 && more == 0 ? place_sweep_locked(s) : r;
    return r == 0 ? place_room_get(s, ret) : r;
}

static int reserve_locked(struct carve *c, struct take *t)
{
    struct place_store *s = c->store;
    struct place_count count = {0};
    int r = place_room_get(s, &count);

    if (r == 0 && count.free == 0 && may_sweep(s)) {
        r = find_room(s, &count);
    }
    if (r == 0 && count.free == 0) {
        return -ENOSPC;
    }
    if (r == 0 && t->wanted > count.free / 64 + 1) {
        t->wanted = (unsigned)(count.free / 64 + 1);
    }
    r = r == 0 ? begin_changes(s) : r;
    r = r == 0 ? find_free(s, t) : r;
    if (r == 0 && t->got == 0 && may_sweep(s)) { /* the count was wrong */
        r = find_room(s, &count);
        r = r == 0 ? find_free(s, t) : r;
    }
    if (r == 0) {
        r = t->got == 0 ? -ENOSPC : count_taken(s, &count, t->got);
    }
    return r == 0 ? widen(c, t) : r;
}

/* The table may have them for us or not; they were not written to. */
static void take_unsure(struct carve *c, const struct take *t)
{
    for (unsigned i = 0; i < t->got; i++) {
        c->freed[c->freed_count++] = c->freed[c->freed_trimmed];
        c->freed[c->freed_trimmed++] = t->at[i];
    }
}

/* More at a time the more the disk grows. */
static unsigned next_batch(const struct carve *c)
{
    unsigned most = PLACE_RESERVE_BYTES / c->store->extent_bytes;

    most = most < PLACE_RESERVE_MOST ? most : PLACE_RESERVE_MOST;
    return c->batch * 2 < most ? c->batch * 2 : most;
}

int place_reserve(struct carve *c)
{
    struct take t = {.disk = c, .wanted = c->batch};
    int r = place_room_lock(c->store);

    if (r != 0) {
        return r;
    }
    r = count_if_needed(c->store);
    r = end_changes(c->store, r == 0 ? reserve_locked(c, &t) : r);
    place_room_unlock(c->store);
    if (r == 0) {
        memcpy(c->reserve, t.at, t.got * sizeof t.at[0]);
        c->reserve_first = 0;
        c->reserve_end = t.got;
        c->batch = next_batch(c);
    } else {
        take_unsure(c, &t);
    }
    return r;
}

/* ---- giving back ---- */

struct give {
    const struct place_row *owner;
    const uint32_t *at; /* ascending; NULL: all of the owner's */
    uint32_t count;
    uint32_t next;
    uint32_t gave;
};

static int free_entry(uint8_t *sheet, uint32_t n, struct give *g)
{
    struct place_entry entry = place_entry_get(sheet, n);

    if (entry.state == PLACE_ENTRY_FREE || entry.id != g->owner->id ||
        entry.part != g->owner->part) {
        return 0;
    }
    place_entry_put(sheet, n, &(struct place_entry){0});
    g->gave++;
    return 1;
}

static int give_entries(struct place_store *s, uint8_t *sheet, uint32_t number, void *arg)
{
    struct give *g = arg;
    uint32_t first = number * s->table.per_sheet;
    int changed = 0;

    for (uint32_t i = 0; g->at == NULL && i < s->table.per_sheet; i++) {
        changed |= free_entry(sheet, i, g);
    }
    while (g->at != NULL && g->next < g->count &&
           g->at[g->next] / s->table.per_sheet == number) {
        changed |= free_entry(sheet, g->at[g->next] - first, g);
        g->next++;
    }
    return changed;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static int give_sorted(struct place_store *s, struct give *g)
{
    struct place_change change = {.sheet = give_entries, .arg = g};
    uint32_t most = place_chunk_sheets(s);
    int r = 0;

    while (r == 0 && g->next < g->count) {
        uint32_t first = g->at[g->next] / s->table.per_sheet;
        uint32_t end = first + 1;

        for (uint32_t i = g->next; i < g->count; i++) {
            uint32_t sheet = g->at[i] / s->table.per_sheet;

            if (sheet > end || sheet + 1 - first > most) {
                break;
            }
            end = sheet + 1;
        }
        r = place_sheets_change(s, &s->table, first, end - first, &change);
    }
    return r;
}

int place_release(struct place_store *s, const struct place_row *owner,
                  const uint32_t *at, uint32_t count)
{
    SCOPED(scope_free) uint32_t *sorted = fault_malloc((size_t)count * sizeof *sorted);
    struct give g = {.owner = owner, .at = sorted, .count = count};
    int r = sorted == NULL ? -ENOMEM : 0;

    if (r != 0) {
        return r;
    }
    memcpy(sorted, at, (size_t)count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    r = place_room_lock(s);
    if (r != 0) {
        return r;
    }
    r = begin_changes(s);
    r = r == 0 ? place_room_will_release(s) : r;
    r = r == 0 ? give_sorted(s, &g) : r;
    r = r == 0 && g.gave > 0 ? add_count(s, g.gave) : r;
    r = end_changes(s, r);
    place_room_unlock(s);
    return r;
}

/* Where the device below can use it; it need not succeed.  They are the disk's still. */
static void trim_sheet(struct place_store *s, const uint8_t *sheet, uint32_t number,
                       const struct place_row *row)
{
    uint32_t first = number * s->table.per_sheet;
    uint32_t run = 0;

    for (uint32_t i = 0; i <= s->table.per_sheet; i++) {
        struct place_entry entry = {.state = PLACE_ENTRY_FREE};

        if (i < s->table.per_sheet && first + i < s->extents) {
            entry = place_entry_get(sheet, i);
        }
        if (entry.state == PLACE_ENTRY_USED && entry.id == row->id &&
            entry.part == row->part) {
            run++;
        } else if (run > 0) {
            (void)blk_discard(s->disk.disk, place_extent_off(s, first + i - run),
                              (uint64_t)run * s->extent_bytes);
            run = 0;
        }
    }
}

static void trim_entries(struct place_store *s, const struct place_row *row)
{
    SCOPED(scope_free) uint8_t *text = fault_aligned(4096, PLACE_CHUNK_BYTES);
    uint32_t end = row->end < s->table.sheets ? row->end : s->table.sheets;
    uint32_t most = place_chunk_sheets(s);

    for (uint32_t at = row->first; text != NULL && at < end; at += most) {
        uint32_t n = end - at < most ? end - at : most;

        if (place_sheets_read(s, &s->table, at, n, text) != 0) {
            return;
        }
        for (uint32_t i = 0; i < n; i++) {
            trim_sheet(s, text + (size_t)i * s->sheet_bytes, at + i, row);
        }
    }
}

int place_remove_entries(struct place_store *s, const struct place_row *row)
{
    struct give g = {.owner = row};
    struct place_change change = {.sheet = give_entries, .arg = &g};
    uint32_t end = row->end < s->table.sheets ? row->end : s->table.sheets;
    uint32_t most = place_chunk_sheets(s);
    int r = begin_changes(s);

    trim_entries(s, row);
    r = r == 0 ? place_room_will_release(s) : r;
    for (uint32_t at = row->first; r == 0 && at < end; at += most) {
        uint32_t n = end - at < most ? end - at : most;

        r = place_sheets_change(s, &s->table, at, n, &change);
    }
    return end_changes(s, r == 0 ? add_count(s, g.gave) : r);
}
