/* persist.c - bits to the file and back.
 *
 * A unit is `UNIT_CHANGED` from the change in memory until a write of it begins, and
 * `UNIT_WRITING` until that write is durable.  Whoever needs a bit to be durable and finds
 * either goes through the lock, behind which nothing is being written: so several
 * markers of one unit cost one write. */
#include <errno.h>
#include <string.h>

#include "base/crc32c.h"
#include "contract/blk_ops.h"
#include "resource/storage/bitmap/private.h"
#include "resource/storage/safe/bytes.h"

static void fill_unit(const struct bitmap *b, uint64_t unit, uint8_t *to)
{
    for (unsigned i = 0; i < 8; i++) {
        uint8_t *sheet = to + i * SHEET_BYTES;

        memcpy(sheet, b->bits + unit * UNIT_ROOM + i * 508, 508);
        bytes_put32(sheet + 508, crc32c(0, sheet, 508));
    }
}

static bool sheet_is_right(const uint8_t *sheet)
{
    static const uint8_t never_written[SHEET_BYTES];

    return bytes_get32(sheet + 508) == crc32c(0, sheet, 508) ||
           memcmp(sheet, never_written, SHEET_BYTES) == 0;
}

/* Write the run of changed units that begins at `unit`; how many they were. */
static int put_run(struct bitmap *b, uint64_t unit, uint64_t *ret_units)
{
    struct bitmap_set *set = b->set;
    uint64_t n = 0;
    int r;

    while (n < BATCH_UNITS && unit + n < b->units &&
           (b->state[unit + n] & UNIT_CHANGED) != 0) {
        fill_unit(b, unit + n, set->batch + n * UNIT_BYTES);
        b->state[unit + n] = UNIT_WRITING;
        n++;
    }
    r = blk_write(set->file.disk, set->batch, n * UNIT_BYTES, b->off + unit * UNIT_BYTES,
                  BLK_FUA);
    for (uint64_t i = 0; i < n; i++) {
        b->state[unit + i] &= (uint8_t)~UNIT_WRITING;
        b->state[unit + i] |= r != 0 ? UNIT_CHANGED : 0;
    }
    *ret_units = n;
    return r;
}

int bitmap_put_locked(struct bitmap *b)
{
    int r = 0;

    for (uint64_t u = 0; r == 0 && u < b->units;) {
        if ((b->state[u] & UNIT_CHANGED) != 0) {
            uint64_t n = 0;

            r = put_run(b, u, &n);
            u += n;
        } else {
            u++;
        }
    }
    return r;
}

int bitmap_put_all(struct bitmap_set *set)
{
    int r = 0;

    strand_lock(set->file.disk->strands, &set->lock);
    for (unsigned i = 0; r == 0 && i < set->count; i++) {
        r = bitmap_put_locked(set->bitmap[i]);
    }
    strand_unlock(&set->lock);
    return r;
}

int bitmap_get(struct bitmap *b)
{
    struct bitmap_set *set = b->set;

    for (uint64_t u = 0; u < b->units; u++) {
        int r = blk_read(set->file.disk, set->batch, UNIT_BYTES, b->off + u * UNIT_BYTES);

        if (r != 0) {
            return r;
        }
        for (unsigned i = 0; i < 8; i++) {
            const uint8_t *sheet = set->batch + i * SHEET_BYTES;

            if (!sheet_is_right(sheet)) {
                b->flags |= FLAG_LOST;
            }
            memcpy(b->bits + u * UNIT_ROOM + i * 508, sheet, 508);
        }
    }
    bitmap_trim(b);
    return 0;
}

/* ---- marks ---- */

static uint64_t last_bit(const struct bitmap *b, uint64_t off, uint64_t bytes)
{
    uint64_t end = ((off + bytes - 1) >> b->shift) + 1;

    return end < b->count ? end : b->count;
}

/* In memory; whether the file has it all. */
static bool mark(struct bitmap *b, uint64_t off, uint64_t bytes)
{
    uint64_t from = off >> b->shift;
    uint64_t end = last_bit(b, off, bytes);

    if (from >= end) {
        return true; /* behind the end: a disk that grows tells by its resize */
    }
    bitmap_set_bits(b, from, end);
    return !bitmap_is_behind(b, from, end);
}

int bitmap_set_mark(struct bitmap_set *set, uint64_t off, uint64_t bytes)
{
    bool durable = true;

    for (unsigned i = 0; i < set->count; i++) {
        if (bitmap_is_enabled(set->bitmap[i])) {
            durable = mark(set->bitmap[i], off, bytes) && durable;
        }
    }
    return durable ? 0 : bitmap_put_all(set);
}

int bitmap_mark(struct bitmap *b, uint64_t off, uint64_t bytes)
{
    if (bytes == 0 || off >= b->set->size || bytes > b->set->size - off) {
        return bytes == 0 ? 0 : -ERANGE;
    }
    return mark(b, off, bytes) ? 0 : bitmap_put_all(b->set);
}

int bitmap_clear(struct bitmap *b, uint64_t off, uint64_t bytes)
{
    uint64_t granule = (uint64_t)1 << b->shift;
    uint64_t from;
    uint64_t end;

    if (off > b->set->size || bytes > b->set->size - off) {
        return -ERANGE;
    }
    from = (off + granule - 1) >> b->shift;
    end = off + bytes == b->set->size ? b->count : (off + bytes) >> b->shift;
    if (bitmap_is_lost(b) || from >= end) {
        return 0; /* only `bitmap_reset` makes a lost one right */
    }
    bitmap_clear_bits(b, from, end);
    return bitmap_put_all(b->set);
}

int bitmap_merge(struct bitmap *to, const struct bitmap *from)
{
    uint64_t size = from->set->size;
    uint64_t off = bitmap_next(from, 0, true);

    while (off < size && off < to->set->size) {
        uint64_t end = bitmap_next(from, off, false);

        (void)mark(to, off, end - off);
        off = bitmap_next(from, end, true);
    }
    return bitmap_put_all(to->set);
}
