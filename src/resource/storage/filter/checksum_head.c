/* checksum_head.c - the header of an area of checksums: its layout is at the head of
 * checksum_area.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "resource/storage/filter/checksum_private.h"
#include "resource/storage/safe/bytes.h"

#define MAGIC         0x736d757363727473u /* "strcsums" */
#define VERSION       1
#define SHORT_BYTES   56u
#define LONG_BYTES    80u
#define JOURNAL_LEAST 65536u
#define SEARCH_BYTES  65536u
#define WINDOW_BYTES  ((uint64_t)64 << 20)

uint64_t filter_checksum_end(struct blk *area)
{
    return blk_size(area) & ~(uint64_t)(CHECKSUM_PLACE_BYTES - 1);
}

static struct slot slot_at(struct blk *area, uint64_t end)
{
    return (struct slot){.disk = area,
                         .off = end - CHECKSUM_HEAD_BYTES,
                         .bytes = CHECKSUM_PLACE_BYTES,
                         .magic = MAGIC,
                         .version = VERSION};
}

/* ---- writing ---- */

int filter_checksum_store_head(struct blk *area, uint64_t end,
                               const struct checksum_layout *at)
{
    SCOPED(scope_free) uint8_t *text = fault_malloc(CHECKSUM_PLACE_BYTES);
    struct slot slot = slot_at(area, end);
    bool is_long = at->end != 0 || at->zero_from != at->zero_to;
    size_t bytes;
    int r;

    if (text == NULL) {
        return -ENOMEM;
    }
    r = slot_load(&slot, text, &bytes); /* for its sequence */
    if (r != 0 && r != -ENOENT && r != -EUCLEAN) {
        return r;
    }
    bytes_put32(text, at->kind);
    bytes_put32(text + 4, at->block);
    bytes_put64(text + 8, at->data_bytes);
    bytes_put64(text + 16, at->journal_at);
    bytes_put64(text + 24, at->journal_bytes);
    bytes_put64(text + 32, at->table_at);
    bytes_put64(text + 40, at->pages);
    bytes_put64(text + 48, at->id);
    bytes_put64(text + 56, at->end);
    bytes_put64(text + 64, at->zero_from);
    bytes_put64(text + 72, at->zero_to);
    return slot_store(&slot, text, is_long ? LONG_BYTES : SHORT_BYTES);
}

/* ---- reading ---- */

/* Whatever the header says lies inside of the disks and does not overlap. */
static bool layout_is_right(const struct checksum *c, uint64_t end)
{
    const struct checksum_layout *at = &c->at;
    bool same = c->area == c->edge[0].disk;
    uint64_t in = PAGES_SHEETS * (uint64_t)(PAGES_ROOM / at->sum_bytes);
    uint64_t data_end = same ? at->journal_at : blk_size(c->edge[0].disk);

    return at->block >= c->edge[0].disk->block_bytes &&
           at->block <= BLK_BLOCK_MOST_BYTES && (at->block & (at->block - 1)) == 0 &&
           at->data_bytes % at->block == 0 &&
           at->data_bytes <= blk_size(c->edge[0].disk) && at->journal_at % 4096 == 0 &&
           at->table_at % 4096 == 0 && at->journal_bytes % 4096 == 0 &&
           at->journal_bytes >= JOURNAL_LEAST && at->journal_at <= end &&
           at->journal_bytes <= end - at->journal_at &&
           at->journal_at + at->journal_bytes <= at->table_at && at->table_at <= end &&
           at->pages <= (end - at->table_at) / PAGES_BYTES &&
           at->pages >= (at->data_bytes / at->block + in - 1) / in &&
           at->zero_from <= at->zero_to && at->zero_to <= data_end &&
           at->zero_from % at->block == 0 && at->zero_to % at->block == 0 &&
           (!same || at->data_bytes <= at->journal_at);
}

/* The header of the area that ends there. */
static int read_head(struct checksum *c, uint64_t end)
{
    SCOPED(scope_free) uint8_t *text = fault_malloc(CHECKSUM_PLACE_BYTES);
    struct slot slot = slot_at(c->area, end);
    size_t bytes = 0;
    uint32_t kind;
    int r = text == NULL ? -ENOMEM : slot_load(&slot, text, &bytes);

    if (r != 0) {
        return r;
    }
    kind = bytes_get32(text);
    if ((bytes != SHORT_BYTES && bytes != LONG_BYTES) ||
        (kind != FILTER_CHECKSUM_CRC32C && kind != FILTER_CHECKSUM_SHA256)) {
        return -EUCLEAN;
    }
    if (bytes == SHORT_BYTES) {
        memset(text + SHORT_BYTES, 0, LONG_BYTES - SHORT_BYTES);
    }
    c->at = (struct checksum_layout){
        .kind = (enum filter_checksum_kind)kind,
        .sum_bytes = kind == FILTER_CHECKSUM_SHA256 ? SHA256_BYTES : 4,
        .block = bytes_get32(text + 4),
        .data_bytes = bytes_get64(text + 8),
        .journal_at = bytes_get64(text + 16),
        .journal_bytes = bytes_get64(text + 24),
        .table_at = bytes_get64(text + 32),
        .pages = bytes_get64(text + 40),
        .id = bytes_get64(text + 48),
        .end = bytes_get64(text + 56),
        .zero_from = bytes_get64(text + 64),
        .zero_to = bytes_get64(text + 72),
    };
    c->end = end;
    return c->at.end != 0 || layout_is_right(c, slot.off) ? 0 : -EUCLEAN;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* Whether [from, to) is a hole, as far as the disk says so. */
static bool is_hole(struct blk *disk, uint64_t from, uint64_t to)
{
    struct blk_extent x;

    return blk_status(disk, from, to - from, &x) == 0 && x.bytes >= to - from &&
           (x.state & BLK_DATA) == 0;
}

/* A disk that was made larger, and nothing more: its header is the last that is not zeros. */
static int find_behind_zeros(struct checksum *c)
{
    SCOPED(scope_free) uint8_t *room = fault_aligned(4096, SEARCH_BYTES);
    uint64_t to = filter_checksum_end(c->area);
    int r = room == NULL ? -ENOMEM : 0;

    while (r == 0 && to > 0) {
        uint64_t window = (to - 1) / WINDOW_BYTES * WINDOW_BYTES;
        size_t n = (size_t)((to - 1) % SEARCH_BYTES + 1);

        if (is_hole(c->area, window, to)) {
            to = window;
            continue;
        }
        r = blk_read(c->area, room, n, to - n);
        while (r == 0 && n > 0 &&
               is_zero(room + n - CHECKSUM_PLACE_BYTES, CHECKSUM_PLACE_BYTES)) {
            n -= CHECKSUM_PLACE_BYTES;
            to -= CHECKSUM_PLACE_BYTES;
        }
        if (r == 0 && n > 0) { /* the second place of it, or the first one alone */
            uint64_t end = filter_checksum_end(c->area);

            r = to >= CHECKSUM_HEAD_BYTES ? read_head(c, to) : -EUCLEAN;
            if (r != 0 && to + CHECKSUM_PLACE_BYTES <= end) {
                r = read_head(c, to + CHECKSUM_PLACE_BYTES);
            }
            return r == 0 && c->at.end == 0 ? 0 : r == 0 ? -EUCLEAN : r;
        }
    }
    return r == 0 ? -EUCLEAN : r;
}

int filter_checksum_find_head(struct checksum *c)
{
    uint64_t end = filter_checksum_end(c->area);
    int r;

    if (blk_size(c->area) < 4 * CHECKSUM_PLACE_BYTES) {
        return -EUCLEAN;
    }
    r = read_head(c, end);
    if (r == 0 && c->at.end != 0) {
        uint64_t old = c->at.end;

        r = old % CHECKSUM_PLACE_BYTES != 0 || old < 4 * CHECKSUM_PLACE_BYTES ||
                    old >= end
                ? -EUCLEAN
                : read_head(c, old);
        r = r == 0 && c->at.end != 0 ? -EUCLEAN : r;
    } else if (r == -ENOENT) {
        r = find_behind_zeros(c);
    }
    return r == -ENOENT ? -EUCLEAN : r;
}
