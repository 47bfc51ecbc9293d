/* checksum_area.c - where checksums lie, and how they stay true through a power cut.
 *
 * Layout of the area (little endian), on a disk of its own from 0, or the last part of the
 * disk with the data:
 *
 *      journal (safe/journal.c)
 *      table of checksums (safe/pages.c), an entry per block
 *      two places of the header, 4096 bytes each, at the end of the disk (safe/slot.c)
 *
 * The header:
 *
 *      0  kind             4   enum filter_checksum_kind
 *      4  block bytes      4   a power of two, 512 to 4096
 *      8  data bytes       8   the data are [0, data bytes) of the disk below
 *     16  journal offset   8
 *     24  journal bytes    8
 *     32  table offset     8
 *     40  pages of it      8
 *     48  id               8   random, of the journal
 *     56  end              8   not 0: nothing else here counts; the area is the one that ends
 *                              there, and the disk behind it is being made larger
 *     64  zeros            16  from and to: these bytes are zeros, with their sums, and are to be
 *                              made so.  The last three are missing when all are 0
 *
 * An entry is the sum of the block, combined by exclusive or with the sum of a block of
 * zeros: so a table of zeros is right for a disk of zeros.
 *
 * Before a block is written its new sum is in the journal, durably.  A record is the number
 * of the first block (8), the count (4), 1 for zeros or 0 (4), and the sums unless they are
 * zeros.  After a power cut a block is the old or the new one: each sum in the journal is a
 * doubt, and the block itself settles it, being what the table says or what a doubt says.
 * What fits neither is damage and stays so.  A write that failed leaves the same doubt.  When
 * the journal is full the doubts are settled, the table is written and flushed, and the
 * journal begins anew. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "resource/storage/filter/checksum_private.h"
#include "resource/storage/safe/bytes.h"

#define JOURNAL_BYTES CHECKSUM_JOURNAL_BYTES
#define PLACE_BYTES   CHECKSUM_PLACE_BYTES

/* ---- sums ---- */

static unsigned sum_bytes(enum filter_checksum_kind kind)
{
    return kind == FILTER_CHECKSUM_SHA256 ? SHA256_BYTES : 4;
}

static void plain_sum(const struct checksum_layout *at, const void *block, uint8_t *ret)
{
    if (at->kind == FILTER_CHECKSUM_SHA256) {
        sha256_sum(block, at->block, ret);
    } else {
        bytes_put32(ret, crc32c(0, block, at->block));
    }
}

void filter_checksum_sum(const struct checksum *c, const void *block, uint8_t *ret)
{
    plain_sum(&c->at, block, ret);
    for (unsigned i = 0; i < c->at.sum_bytes; i++) {
        ret[i] ^= c->zero_sum[i];
    }
}

/* ---- pages of a piece ---- */

int filter_checksum_pin(struct checksum *c, uint64_t first, unsigned blocks,
                        struct checksum_pins *ret)
{
    uint64_t in = pages_entries_in(&c->pages);
    int r = 0;

    ret->count = 0;
    ret->first = first / in;
    for (uint64_t p = ret->first; r == 0 && p <= (first + blocks - 1) / in; p++) {
        r = pages_take(&c->pages, p * in, &ret->page[ret->count]);
        ret->count += r == 0;
    }
    if (r != 0) {
        filter_checksum_unpin(c, ret);
    }
    return r;
}

void filter_checksum_unpin(struct checksum *c, struct checksum_pins *p)
{
    while (p->count > 0) {
        pages_give(&c->pages, p->page[--p->count]);
    }
}

static struct page *page_of(struct checksum *c, struct checksum_pins *p, uint64_t block)
{
    return p->page[block / pages_entries_in(&c->pages) - p->first];
}

uint8_t *filter_checksum_entry(struct checksum *c, struct checksum_pins *p,
                               uint64_t block)
{
    return pages_entry(&c->pages, page_of(c, p, block), block);
}

uint8_t *filter_checksum_entry_raw(struct checksum *c, struct checksum_pins *p,
                                   uint64_t block)
{
    return pages_entry_raw(&c->pages, page_of(c, p, block), block);
}

void filter_checksum_changed(struct checksum *c, struct checksum_pins *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        pages_change(&c->pages, p->page[i]);
    }
}

/* ---- doubts ---- */

int filter_checksum_add_doubts(struct checksum *c, uint64_t first, unsigned blocks,
                               const uint8_t *sums)
{
    for (unsigned i = 0; i < blocks; i++) {
        struct checksum_doubt *d = fault_calloc(1, sizeof *d);

        if (d == NULL) {
            return -ENOMEM;
        }
        d->block = first + i;
        if (sums != NULL) {
            memcpy(d->sum, sums + (size_t)i * c->at.sum_bytes, c->at.sum_bytes);
        }
        d->next = c->doubt; /* the newest first */
        c->doubt = d;
        c->doubts++;
    }
    return 0;
}

void filter_checksum_drop_doubts(struct checksum *c, uint64_t first, uint64_t end)
{
    struct checksum_doubt **at = &c->doubt;

    while (*at != NULL) {
        struct checksum_doubt *d = *at;

        if (d->block >= first && d->block < end) {
            *at = d->next;
            c->doubts--;
            free(d);
        } else {
            at = &d->next;
        }
    }
}

bool filter_checksum_is_doubt(const struct checksum *c, uint64_t block,
                              const uint8_t *sum)
{
    for (const struct checksum_doubt *d = c->doubt; d != NULL; d = d->next) {
        if (d->block == block && memcmp(d->sum, sum, c->at.sum_bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* Look at the block itself: the table has what it is, if that was ever meant. */
static int settle_block(struct checksum *c, uint64_t block, uint8_t *room)
{
    uint8_t sum[CHECKSUM_SUM_MOST];
    struct checksum_pins pins;
    int r = blk_read(c->edge[0].disk, room, c->at.block, block * c->at.block);

    r = r == 0 ? filter_checksum_pin(c, block, 1, &pins) : r;
    if (r != 0) {
        return r;
    }
    filter_checksum_sum(c, room, sum);
    if (filter_checksum_is_doubt(c, block, sum)) {
        memcpy(filter_checksum_entry_raw(c, &pins, block), sum, c->at.sum_bytes);
        filter_checksum_changed(c, &pins);
    }
    filter_checksum_unpin(c, &pins);
    filter_checksum_drop_doubts(c, block, block + 1);
    return 0;
}

static int by_block(const void *a, const void *b)
{
    const struct checksum_doubt *const *x = a;
    const struct checksum_doubt *const *y = b;

    return (*x)->block < (*y)->block ? -1 : (*x)->block > (*y)->block;
}

/* In the order of blocks, so that those of one block are next to each other and go at
 * once: many doubts do not take long. */
static int sort_doubts(struct checksum *c)
{
    struct checksum_doubt **all = fault_malloc((c->doubts + 1ul) * sizeof *all);
    unsigned n = 0;

    if (all == NULL) {
        return -ENOMEM;
    }
    for (struct checksum_doubt *d = c->doubt; d != NULL; d = d->next) {
        all[n++] = d;
    }
    qsort(all, n, sizeof(struct checksum_doubt *), by_block);
    c->doubt = n > 0 ? all[0] : NULL;
    for (unsigned i = 0; i < n; i++) {
        all[i]->next = i + 1 < n ? all[i + 1] : NULL;
    }
    free(all);
    return 0;
}

static int settle_doubts(struct checksum *c)
{
    SCOPED(scope_free) uint8_t *room = fault_aligned(4096, 4096);
    int r = room == NULL ? -ENOMEM : sort_doubts(c);

    while (r == 0 && c->doubt != NULL) {
        r = settle_block(c, c->doubt->block, room);
    }
    return r;
}

int filter_checksum_settle(struct checksum *c)
{
    struct range_hold hold = {.end = 1};
    int r;

    range_take(c->blk.strands, &c->gate, &hold);
    r = c->doubt != NULL ? settle_doubts(c) : 0;
    r = r == 0 ? blk_flush(c->edge[0].disk) : r; /* the data are there before the proof */
    r = r == 0 ? pages_store(&c->pages) : r;
    r = r == 0 ? blk_flush(c->area) : r;
    r = r == 0 ? journal_restart(&c->journal) : r;
    range_give(&c->gate, &hold);
    return r;
}

/* ---- opening ---- */

static int replay(void *arg, const uint8_t *record, size_t bytes)
{
    struct checksum *c = arg;
    uint64_t first;
    uint32_t count;
    bool zeros;

    if (bytes < 16) {
        return -EUCLEAN;
    }
    first = bytes_get64(record);
    count = bytes_get32(record + 8);
    zeros = bytes_get32(record + 12) == 1;
    if (count == 0 || count > CHECKSUM_PIECE || first >= c->at.data_bytes / c->at.block ||
        count > c->at.data_bytes / c->at.block - first ||
        bytes != 16 + (zeros ? 0 : (size_t)count * c->at.sum_bytes)) {
        return -EUCLEAN;
    }
    return filter_checksum_add_doubts(c, first, count, zeros ? NULL : record + 16);
}

int filter_checksum_open_area(struct checksum *c, struct err *e)
{
    SCOPED(scope_free) uint8_t *zeros = fault_calloc(1, BLK_BLOCK_MOST_BYTES);
    int r = zeros == NULL ? -ENOMEM : filter_checksum_find_head(c);

    if (r == 0) {
        plain_sum(&c->at, zeros, c->zero_sum);
        c->pages = (struct pages){.disk = c->area,
                                  .at = c->at.table_at,
                                  .count = c->at.pages,
                                  .entry = c->at.sum_bytes,
                                  .most = 1024};
        c->journal = (struct journal){.disk = c->area,
                                      .at = c->at.journal_at,
                                      .bytes = c->at.journal_bytes,
                                      .id = c->at.id};
        r = pages_init(&c->pages);
    }
    r = r == 0 ? journal_open(&c->journal, replay, c) : r;
    if (r == 0 && !c->blk.read_only) {
        r = filter_checksum_settle(c);
        r = r == 0 ? filter_checksum_finish_zeros(c) : r;
    }
    return r == 0 ? 0
                  : err_sys(e, r, "cannot open the checksums of '%s'",
                            c->edge[0].disk->label);
}

/* ---- making ---- */

/* Sums of what is there already. */
static int adopt_sums(struct blk *lower, struct checksum *c)
{
    SCOPED(scope_free) uint8_t *room = fault_aligned(4096, 4096);
    int r = room == NULL ? -ENOMEM : pages_init(&c->pages);

    for (uint64_t b = 0; r == 0 && b < c->at.data_bytes / c->at.block; b++) {
        struct checksum_pins pins;

        r = blk_read(lower, room, c->at.block, b * c->at.block);
        r = r == 0 ? filter_checksum_pin(c, b, 1, &pins) : r;
        if (r == 0) {
            filter_checksum_sum(c, room, filter_checksum_entry_raw(c, &pins, b));
            filter_checksum_changed(c, &pins);
            filter_checksum_unpin(c, &pins);
            r = c->pages.changed > 256 ? pages_store(&c->pages) : 0;
        }
    }
    r = r == 0 ? pages_store(&c->pages) : r;
    pages_fini(&c->pages);
    return r;
}

static int lay_out(struct checksum *c, struct blk *lower, struct blk *area,
                   const struct filter_checksum_format *f)
{
    uint64_t end = filter_checksum_end(area) - CHECKSUM_HEAD_BYTES;
    uint64_t in;
    uint64_t data = f->data_bytes;
    uint64_t meta;

    c->at.kind = f->kind;
    c->at.sum_bytes = sum_bytes(f->kind);
    c->at.block = lower->block_bytes;
    c->at.journal_bytes = JOURNAL_BYTES;
    in = PAGES_SHEETS * (uint64_t)(PAGES_ROOM / c->at.sum_bytes);
    if (data == 0) {
        data = area != lower ? blk_size(lower)
               : end <= JOURNAL_BYTES + 8192
                   ? 0
                   : (end - JOURNAL_BYTES - 8192) / (in * c->at.block + PAGES_BYTES) *
                         (in * c->at.block);
    }
    c->at.data_bytes = data & ~(uint64_t)(c->at.block - 1);
    c->at.pages = (c->at.data_bytes / c->at.block + in - 1) / in;
    meta = JOURNAL_BYTES + c->at.pages * PAGES_BYTES;
    if (meta > end || c->at.data_bytes == 0 || c->at.data_bytes > blk_size(lower) ||
        (area == lower && c->at.data_bytes > end - meta)) {
        return -ENOSPC;
    }
    c->at.journal_at = end - meta;
    c->at.table_at = end - meta + JOURNAL_BYTES;
    return getrandom(&c->at.id, sizeof c->at.id, 0) == sizeof c->at.id ? 0 : -EIO;
}

static int write_area(struct checksum *c, struct blk *lower, struct blk *area, bool adopt)
{
    SCOPED(scope_free) uint8_t *zeros = fault_calloc(1, BLK_BLOCK_MOST_BYTES);
    int r = zeros == NULL ? -ENOMEM : 0;

    r = r == 0
            ? blk_zero(area, c->at.journal_at,
                       c->at.journal_bytes + c->at.pages * PAGES_BYTES + 2 * PLACE_BYTES,
                       0)
            : r;
    if (r == 0 && adopt) {
        plain_sum(&c->at, zeros, c->zero_sum);
        c->area = area;
        c->pages = (struct pages){.disk = area,
                                  .at = c->at.table_at,
                                  .count = c->at.pages,
                                  .entry = c->at.sum_bytes,
                                  .most = 64};
        r = adopt_sums(lower, c);
    } else if (r == 0) {
        r = blk_zero(lower, 0, c->at.data_bytes, BLK_UNMAP);
    }
    r = r == 0 ? blk_flush(lower) : r;
    r = r == 0 ? blk_flush(area) : r;
    return r == 0 ? filter_checksum_store_head(area, filter_checksum_end(area), &c->at)
                  : r;
}

int filter_checksum_format(struct blk *lower, struct blk *area,
                           const struct filter_checksum_format *f, struct err *e)
{
    struct checksum *c = fault_calloc(1, sizeof *c);
    int r = -ENOMEM;

    area = area != NULL ? area : lower;
    if (c != NULL) {
        r = (f->kind != FILTER_CHECKSUM_CRC32C && f->kind != FILTER_CHECKSUM_SHA256) ||
                    blk_size(area) < 4 * PLACE_BYTES
                ? -EINVAL
                : lay_out(c, lower, area, f);
    }
    r = r == 0 ? write_area(c, lower, area, f->adopt) : r;
    free(c);
    return r == 0 ? 0 : err_sys(e, r, "cannot make checksums for '%s'", lower->label);
}
