/* checksum_resize.c - a disk with checksums gets another size.
 *
 * Where the area has room for more sums, and the disk for more data in front of it, the header
 * alone changes.  Else the disk below grows by as much as a whole new area needs behind the
 * old one: until its header is there, which is the last step, the old one counts.  A
 * header at the new end says so meanwhile, and before that one is written the disk
 * behind the old end is zeros, so that a power cut at any place finds the area.
 *
 * Bytes that become part of the disk, or are no part of it any more, are zeros with the sums
 * of zeros: the header names them until they are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/filter/checksum_private.h"

#define COPY_PAGES 64u

/* ---- zeros ---- */

/* Entries of blocks outside of the disk, or new in it. */
static int clear_entries(struct checksum *c, uint64_t first, uint64_t end)
{
    uint64_t in = pages_entries_in(&c->pages);
    int r = 0;

    end = end < c->at.pages * in ? end : c->at.pages * in;
    while (r == 0 && first < end) {
        uint64_t stop = (first / in + 1) * in;
        struct checksum_pins pins;

        stop = stop < end ? stop : end;
        r = filter_checksum_pin(c, first, 1, &pins);
        for (uint64_t b = first; r == 0 && b < stop; b++) {
            memset(filter_checksum_entry_raw(c, &pins, b), 0, c->at.sum_bytes);
        }
        if (r == 0) {
            filter_checksum_changed(c, &pins);
            filter_checksum_unpin(c, &pins);
            r = c->pages.changed > 256 ? pages_store(&c->pages) : 0;
        }
        first = stop;
    }
    return r == 0 ? pages_store(&c->pages) : r;
}

int filter_checksum_finish_zeros(struct checksum *c)
{
    uint64_t from = c->at.zero_from;
    uint64_t to = c->at.zero_to;
    struct checksum_layout then = c->at;
    int r;

    if (from == to) {
        return 0;
    }
    r = blk_zero(c->edge[0].disk, from, to - from, BLK_UNMAP);
    r = r == 0 ? clear_entries(c, from / c->at.block, to / c->at.block) : r;
    r = r == 0 ? blk_flush(c->edge[0].disk) : r;
    r = r == 0 ? blk_flush(c->area) : r;
    then.zero_from = then.zero_to = 0;
    r = r == 0 ? filter_checksum_store_head(c->area, c->end, &then) : r;
    if (r == 0) {
        c->at = then;
    }
    return r;
}

/* ---- where it is ---- */

/* How much data the area has sums for, with room in front of it. */
static uint64_t room_for_data(const struct checksum *c)
{
    uint64_t most = c->at.pages * pages_entries_in(&c->pages) * c->at.block;

    return c->area == c->edge[0].disk && most > c->at.journal_at ? c->at.journal_at
                                                                 : most;
}

static int change_in_place(struct checksum *c, uint64_t size_bytes)
{
    struct checksum_layout then = c->at;
    uint64_t was = c->at.data_bytes;
    int r;

    then.data_bytes = size_bytes;
    then.zero_from = size_bytes < was ? size_bytes : was;
    then.zero_to = size_bytes < was ? was : size_bytes;
    r = filter_checksum_store_head(c->area, c->end, &then);
    if (r != 0) {
        c->broken = r; /* the old or the new one is there */
        return r;
    }
    c->at = then;
    return filter_checksum_finish_zeros(c);
}

/* ---- a new area ---- */

static int copy_table(struct checksum *c, const struct checksum_layout *to)
{
    SCOPED(scope_free) char *room = fault_aligned(4096, COPY_PAGES * PAGES_BYTES);
    int r = room == NULL ? -ENOMEM : 0;

    for (uint64_t p = 0; r == 0 && p < c->at.pages; p += COPY_PAGES) {
        uint64_t n = c->at.pages - p < COPY_PAGES ? c->at.pages - p : COPY_PAGES;
        size_t bytes = (size_t)n * PAGES_BYTES;

        r = blk_read(c->area, room, bytes, c->at.table_at + p * PAGES_BYTES);
        r = r == 0 ? blk_write(c->area, room, bytes, to->table_at + p * PAGES_BYTES, 0)
                   : r;
    }
    return r == 0 ? blk_flush(c->area) : r;
}

static int none(void *arg, const uint8_t *record, size_t bytes)
{
    (void)arg;
    (void)record;
    (void)bytes;
    return -EUCLEAN; /* the area was zeroed */
}

/* The disk below is as large as it has to be, and its new end says that the old area
 * counts.  What fails before the last step leaves all as it was. */
static int move_area(struct checksum *c, const struct checksum_layout *to, uint64_t end)
{
    struct pages pages = {.disk = c->area,
                          .at = to->table_at,
                          .count = to->pages,
                          .entry = to->sum_bytes,
                          .most = c->pages.most};
    struct journal journal = {
        .disk = c->area, .at = to->journal_at, .bytes = to->journal_bytes, .id = to->id};
    int r =
        blk_zero(c->area, to->journal_at, to->journal_bytes + to->pages * PAGES_BYTES, 0);

    r = r == 0 ? copy_table(c, to) : r;
    r = r == 0 ? pages_init(&pages) : r;
    if (r != 0) {
        return r;
    }
    r = journal_open(&journal, none, NULL);
    if (r != 0) {
        pages_fini(&pages);
        return r;
    }
    r = filter_checksum_store_head(c->area, end, to);
    if (r != 0) {
        c->broken = r;
        journal_close(&journal);
        pages_fini(&pages);
        return r;
    }
    journal_close(&c->journal);
    pages_fini(&c->pages);
    c->journal = journal;
    c->pages = pages;
    c->at = *to;
    c->end = end;
    r = journal_restart(&c->journal);
    return r == 0 ? filter_checksum_finish_zeros(c) : r;
}

static int grow(struct checksum *c, uint64_t size_bytes, struct err *e)
{
    struct blk *lower = c->edge[0].disk;
    bool same = c->area == lower;
    uint64_t in = pages_entries_in(&c->pages);
    struct checksum_layout old = {.end = c->end};
    struct checksum_layout to = c->at;
    uint64_t end = c->end;
    uint64_t meta;
    int r = 0;

    to.data_bytes = size_bytes;
    to.zero_from = c->at.data_bytes;
    to.zero_to = size_bytes;
    to.pages = (size_bytes / c->at.block + in - 1) / in;
    to.journal_bytes = CHECKSUM_JOURNAL_BYTES;
    meta = to.journal_bytes + to.pages * PAGES_BYTES + CHECKSUM_HEAD_BYTES;
    end = same && size_bytes > end ? (size_bytes + 4095) & ~(uint64_t)4095 : end;
    end += meta;
    end = end < filter_checksum_end(c->area) ? filter_checksum_end(c->area) : end;
    to.journal_at = end - meta;
    to.table_at = to.journal_at + to.journal_bytes;
    if (getrandom(&to.id, sizeof to.id, 0) != sizeof to.id) {
        return -EIO;
    }
    if (!same && blk_size(lower) < size_bytes) {
        r = blk_resize(lower, size_bytes, e);
    }
    if (r == 0 && blk_size(c->area) < end) {
        r = blk_resize(c->area, end, e);
    }
    old.kind = c->at.kind;
    r = r == 0 ? filter_checksum_store_head(c->area, end, &old) : r;
    return r == 0 ? move_area(c, &to, end) : r;
}

int filter_checksum_resize(struct checksum *c, uint64_t size_bytes, struct err *e)
{
    struct range_hold all = {.end = UINT64_MAX};
    int r = c->broken;

    range_take(c->blk.strands, &c->blocks, &all);
    r = r == 0 ? filter_checksum_settle(c) : r;
    if (r == 0 && size_bytes != c->at.data_bytes) {
        bool fits =
            size_bytes <= room_for_data(c) &&
            (c->area == c->edge[0].disk || size_bytes <= blk_size(c->edge[0].disk));

        r = fits ? change_in_place(c, size_bytes) : grow(c, size_bytes, e);
    }
    if (r == 0) {
        c->blk.size_bytes = size_bytes;
    }
    range_give(&c->blocks, &all);
    return r == 0 ? 0 : err_sys(e, r, "cannot resize '%s'", c->blk.label);
}
