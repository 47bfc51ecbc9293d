/* span_map.c - the map of a span on its disk.
 *
 * Layout (little endian, offsets in bytes):
 *
 *      0  two places of a slot (safe/slot.h):
 *           0 uid 8, 8 bytes of a segment 8, 16 bytes of the disk 8, 24 removed pieces, a bit
 *           each 8, 32 pieces 4, 36 bytes of a sheet 4, 40 flags 4 (1: fresh)
 *   8192  sheets of entries, one for each segment; a sheet of zeros, or behind the end of the
 *         map, has none
 *
 * entry (4)  0 piece + 1, or 0; 1 other piece + 1, or 0; 2 state; 3 zero
 * The last 16 bytes of a sheet:  0 its number 8, 8 zero 4, 12 CRC-32C 4 of the uid and what is
 * before it.  A sheet is as large as a block, which a power cut leaves old or new.
 *
 * An entry is durable before anything is written to its piece, so where no entry says that a
 * piece has a segment, the piece reads zeros there: nothing is wiped when a piece is taken.
 * The size is told by each flush; pieces that are longer are cut on opening, as a file
 * loses what was appended and not synced. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/crc32c.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/pool/span_private.h"
#include "resource/storage/safe/bytes.h"

#define MAP_MAGIC   0x6e61707374727473u /* "strtspan" */
#define MAP_VERSION 1
#define SLOT_BYTES  4096u
#define HEAD_BYTES  48u
#define SHEETS_AT   8192u
#define ENTRY_BYTES 4u
#define TAIL_BYTES  16u
#define FLAG_FRESH  1u

enum {
    AT_UID = 0,
    AT_SEGMENT = 8,
    AT_SIZE = 16,
    AT_REMOVED = 24,
    AT_PIECES = 32,
    AT_SHEET = 36,
    AT_FLAGS = 40,
};

static struct blk *map_of(const struct span *s)
{
    return s->edge[SPAN_MAP].disk;
}

static uint64_t per_sheet(const struct span *s)
{
    return (s->sheet_bytes - TAIL_BYTES) / ENTRY_BYTES;
}

static uint32_t sum(const struct span *s, const uint8_t *sheet)
{
    uint8_t uid[8];

    bytes_put64(uid, s->uid);
    return crc32c(crc32c(0, uid, sizeof uid), sheet, s->sheet_bytes - 4u);
}

static int write_head(struct span *s, uint64_t size)
{
    uint8_t text[HEAD_BYTES] = {0};
    uint64_t removed = 0;

    for (unsigned i = 0; i < s->pieces; i++) {
        removed |= s->piece[i].removed ? (uint64_t)1 << i : 0;
    }
    bytes_put64(text + AT_UID, s->uid);
    bytes_put64(text + AT_SEGMENT, (uint64_t)1 << s->segment_shift);
    bytes_put64(text + AT_SIZE, size);
    bytes_put64(text + AT_REMOVED, removed);
    bytes_put32(text + AT_PIECES, s->pieces);
    bytes_put32(text + AT_SHEET, s->sheet_bytes);
    bytes_put32(text + AT_FLAGS, s->fresh ? FLAG_FRESH : 0);
    s->slot.disk = map_of(s);
    return slot_store(&s->slot, text, sizeof text);
}

int span_map_store_head(struct span *s, uint64_t size)
{
    int r;

    strand_lock(s->blk.strands, &s->store);
    r = write_head(s, size);
    if (r == 0) {
        s->durable_size = size;
    }
    strand_unlock(&s->store);
    return r;
}

static int write_sheet(struct span *s, uint64_t number)
{
    SCOPED(scope_free) uint8_t *sheet = fault_aligned(4096, 4096);
    uint64_t first = number * per_sheet(s);
    int r;

    if (sheet == NULL) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < per_sheet(s) && first + i < s->entries; i++) {
        const struct span_entry *e = &s->entry[first + i];
        uint8_t *at = sheet + i * ENTRY_BYTES;

        at[0] = e->home;
        at[1] = e->other;
        at[2] = e->state;
    }
    bytes_put64(sheet + s->sheet_bytes - TAIL_BYTES, number);
    bytes_put32(sheet + s->sheet_bytes - 4, sum(s, sheet));
    r = blk_write(map_of(s), sheet, s->sheet_bytes, SHEETS_AT + number * s->sheet_bytes,
                  BLK_FUA);
    return r == -ERANGE ? -ENOSPC : r;
}

static void count_segment(struct span *s, const struct span_entry *e, uint64_t more)
{
    if (e->home != 0) {
        s->piece[e->home - 1].segments += more;
    }
}

int span_map_store_entry(struct span *s, uint64_t segment, struct span_entry entry)
{
    struct span_entry old;
    int r;

    strand_lock(s->blk.strands, &s->store);
    old = s->entry[segment];
    s->entry[segment] = entry;
    r = write_sheet(s, segment / per_sheet(s));
    if (r != 0) {
        s->entry[segment] = old;
    } else {
        count_segment(s, &old, (uint64_t)-1);
        count_segment(s, &entry, 1);
    }
    strand_unlock(&s->store);
    return r;
}

int span_map_put_on_first(struct span *s, uint64_t first, uint64_t end)
{
    int r = end > first ? span_map_room(s, end - 1) : 0;
    const uint64_t per = per_sheet(s);

    for (uint64_t i = first; r == 0 && i < end; i++) {
        if (s->entry[i].home == 0) {
            s->entry[i].home = 1;
            s->piece[0].segments++;
        }
    }
    if (s->blk.read_only) {
        return r;
    }
    for (uint64_t i = first / per; r == 0 && i * per < end; i++) {
        r = write_sheet(s, i);
    }
    return r;
}

int span_map_room(struct span *s, uint64_t segment)
{
    uint64_t wanted = s->entries < 64 ? 64 : s->entries * 2;
    struct span_entry *more;

    if (segment < s->entries) {
        return 0;
    }
    if (segment >= SPAN_SEGMENTS_MOST) {
        return -ENOSPC;
    }
    wanted = wanted > segment ? wanted : segment + 1;
    wanted = wanted < SPAN_SEGMENTS_MOST ? wanted : SPAN_SEGMENTS_MOST;
    more = fault_realloc(s->entry, wanted * sizeof *more);
    if (more == NULL) {
        return -ENOMEM;
    }
    memset(more + s->entries, 0, (wanted - s->entries) * sizeof *more);
    s->entry = more;
    s->entries = wanted;
    return 0;
}

/* ---- reading ---- */

static bool is_empty(const uint8_t *sheet, size_t bytes)
{
    return sheet[0] == 0 && memcmp(sheet, sheet + 1, bytes - 1) == 0;
}

static int take_entry(struct span *s, uint64_t segment, const uint8_t *at)
{
    struct span_entry e = {at[0], at[1], at[2]};
    int r;

    if (e.home == 0 && e.other == 0) {
        return 0;
    }
    if (e.home > s->pieces || e.other > s->pieces || e.state >= SPAN_STATE_COUNT ||
        (e.other != 0) != (e.state != SPAN_STILL) || e.home == e.other ||
        (e.home != 0 && s->piece[e.home - 1].removed)) {
        return -EUCLEAN;
    }
    r = span_map_room(s, segment);
    if (r == 0) {
        s->entry[segment] = e;
        count_segment(s, &e, 1);
    }
    return r;
}

static int take_sheet(struct span *s, const uint8_t *sheet, uint64_t number)
{
    int r = 0;

    if (is_empty(sheet, s->sheet_bytes)) {
        return 0;
    }
    if (bytes_get32(sheet + s->sheet_bytes - 4) != sum(s, sheet) ||
        bytes_get64(sheet + s->sheet_bytes - TAIL_BYTES) != number) {
        return -EUCLEAN;
    }
    for (uint64_t i = 0; r == 0 && i < per_sheet(s); i++) {
        r = take_entry(s, number * per_sheet(s) + i, sheet + i * ENTRY_BYTES);
    }
    return r;
}

static int load_sheets(struct span *s)
{
    SCOPED(scope_free) uint8_t *text = fault_aligned(4096, 65536);
    uint64_t most = 65536 / s->sheet_bytes;
    uint64_t sheets = blk_size(map_of(s)) > SHEETS_AT
                          ? (blk_size(map_of(s)) - SHEETS_AT) / s->sheet_bytes
                          : 0;
    uint64_t limit = (SPAN_SEGMENTS_MOST + per_sheet(s) - 1) / per_sheet(s);
    int r = text == NULL ? -ENOMEM : 0;

    sheets = sheets < limit ? sheets : limit;
    for (uint64_t at = 0; r == 0 && at < sheets; at += most) {
        uint64_t n = sheets - at < most ? sheets - at : most;

        r = blk_read(map_of(s), text, n * s->sheet_bytes,
                     SHEETS_AT + at * s->sheet_bytes);
        for (uint64_t i = 0; r == 0 && i < n; i++) {
            r = take_sheet(s, text + i * s->sheet_bytes, at + i);
        }
    }
    return r;
}

static int parse(struct span *s, const uint8_t *text)
{
    uint64_t segment = bytes_get64(text + AT_SEGMENT);
    uint64_t removed = bytes_get64(text + AT_REMOVED);
    uint64_t size = bytes_get64(text + AT_SIZE);

    s->uid = bytes_get64(text + AT_UID);
    s->pieces = bytes_get32(text + AT_PIECES);
    s->sheet_bytes = bytes_get32(text + AT_SHEET);
    s->fresh = (bytes_get32(text + AT_FLAGS) & FLAG_FRESH) != 0;
    if (s->pieces == 0 || s->pieces > PLACE_PIECES_MOST ||
        segment < PLACE_SEGMENT_LEAST_BYTES || (segment & (segment - 1)) != 0 ||
        segment > SPAN_SEGMENT_MOST || size > BLK_SIZE_MOST_BYTES ||
        s->sheet_bytes < BLK_BLOCK_LEAST_BYTES || s->sheet_bytes > BLK_BLOCK_MOST_BYTES ||
        (s->sheet_bytes & (s->sheet_bytes - 1)) != 0 ||
        size % BLK_BLOCK_LEAST_BYTES != 0) {
        return -EUCLEAN;
    }
    s->segment_shift = (uint32_t)__builtin_ctzll(segment);
    if ((size >> s->segment_shift) > SPAN_SEGMENTS_MOST) {
        return -EUCLEAN;
    }
    if (s->sheet_bytes < blk_block_bytes(map_of(s))) {
        return -EOPNOTSUPP;
    }
    for (unsigned i = 0; i < s->pieces; i++) {
        s->piece[i].removed = (removed >> i & 1) != 0;
    }
    s->durable_size = size;
    s->blk.size_bytes = size;
    return 0;
}

static struct slot head_slot(struct blk *map)
{
    return (struct slot){
        .disk = map, .bytes = SLOT_BYTES, .magic = MAP_MAGIC, .version = MAP_VERSION};
}

int span_map_load(struct span *s)
{
    uint8_t text[SLOT_BYTES];
    size_t n = 0;
    int r;

    s->slot = head_slot(map_of(s));
    r = blk_size(map_of(s)) < 2 * SLOT_BYTES ? -EUCLEAN : slot_load(&s->slot, text, &n);
    r = r == -ENOENT || (r == 0 && n < HEAD_BYTES) ? -EUCLEAN : r;
    r = r == 0 ? parse(s, text) : r;
    return r == 0 ? load_sheets(s) : r;
}

/* ---- a new map ---- */

static int write_new(struct span *s, const struct place_span_shape *shape)
{
    uint64_t segments =
        (shape->size_bytes + ((uint64_t)1 << s->segment_shift) - 1) >> s->segment_shift;
    int r = 0;

    if (blk_size(map_of(s)) > SHEETS_AT) { /* an old map too */
        r = blk_zero(map_of(s), SHEETS_AT, blk_size(map_of(s)) - SHEETS_AT, BLK_UNMAP);
    }
    if (r == 0 && shape->on_first && segments > 0) {
        r = span_map_put_on_first(s, 0, segments);
    }
    r = r == 0 ? blk_flush(map_of(s)) : r;
    if (r == 0) { /* the two places are there from now on, whichever is newer */
        r = write_head(s, shape->size_bytes);
    }
    r = r == 0 ? write_head(s, shape->size_bytes) : r;
    return r == 0 ? blk_flush(map_of(s)) : r;
}

int place_span_format(struct blk *map, const struct place_span_shape *shape,
                      struct err *e)
{
    uint64_t segment =
        shape->segment_bytes != 0 ? shape->segment_bytes : PLACE_SEGMENT_BYTES;
    struct span s = {
        .blk.strands = map->strands,
        .edge[SPAN_MAP].disk = map,
        .slot = head_slot(map),
        .sheet_bytes = blk_block_bytes(map),
        .pieces = shape->pieces,
        .fresh = shape->on_first,
    };
    uint8_t old[SLOT_BYTES];
    size_t n;
    int r = 0;

    if (segment < PLACE_SEGMENT_LEAST_BYTES || segment > SPAN_SEGMENT_MOST ||
        (segment & (segment - 1)) != 0 || shape->pieces == 0 ||
        shape->pieces > PLACE_PIECES_MOST ||
        shape->size_bytes / segment > SPAN_SEGMENTS_MOST) {
        return err_set(e, -EINVAL, "cannot make a span on '%s': not such a shape",
                       map->label);
    }
    s.segment_shift = (uint32_t)__builtin_ctzll(segment);
    if (getrandom(&s.uid, sizeof s.uid, 0) != sizeof s.uid) {
        r = -EIO;
    }
    if (r == 0 && blk_size(map) >= 2 * SLOT_BYTES) {
        (void)slot_load(&s.slot, old, &n); /* go on from an older one's sequence */
    }
    r = r == 0 ? write_new(&s, shape) : r;
    free(s.entry);
    return r == 0 ? 0 : err_sys(e, r, "cannot make a span on '%s'", map->label);
}
