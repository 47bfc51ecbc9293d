/* bitmap_file.c - dirty bitmaps in the file.
 *
 * QEMU, docs/interop/qcow2.rst, "Bitmaps".  Nothing in use is overwritten: changed
 * bitmaps get new clusters, then a new directory names them, and the switch of the header
 * makes it so.  Only the mark "in use" is written in place. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "resource/storage/qcow2/bitmap.h"

#define ENTRY_BYTES 24

/* ---- reading ---- */

static char *text_of(const uint8_t *from, size_t bytes)
{
    char *to = fault_malloc(bytes + 1);

    if (to != NULL) {
        memcpy(to, from, bytes);
        to[bytes] = '\0';
    }
    return to;
}

static bool lies_inside(const struct qcow2 *q, uint64_t at, uint64_t bytes)
{
    uint64_t end = blk_size(qcow2_file(q)) + q->cluster_bytes;

    return at != 0 && at % q->cluster_bytes == 0 && at < end && bytes <= end - at;
}

/* What may be done with it. */
static void judge(const struct qcow2 *q, struct qcow2_bitmap *b)
{
    b->inconsistent =
        (b->flags & BITMAP_IN_USE) != 0 || b->type != BITMAP_DIRTY_TYPE ||
        (b->extra_bytes > 0 && (b->flags & BITMAP_COMPATIBLE) == 0) ||
        b->count != qcow2_bitmap_pieces(q, b->granularity_bits, q->blk.size_bytes);
    b->enabled = !b->inconsistent && (b->flags & BITMAP_AUTO) != 0;
}

static int parse_entry(struct qcow2 *q, const uint8_t *p, struct qcow2_bitmap *b)
{
    uint32_t name_bytes = qcow2_get16(p + 18);

    b->at = qcow2_get64(p);
    b->count = qcow2_get32(p + 8);
    b->flags = qcow2_get32(p + 12);
    b->type = p[16];
    b->granularity_bits = p[17];
    b->extra_bytes = qcow2_get32(p + 20);
    if ((b->flags & BITMAP_RESERVED) != 0 || b->granularity_bits < BITMAP_BITS_LEAST ||
        b->granularity_bits > BITMAP_BITS_MOST || name_bytes > BITMAP_NAME_MOST ||
        memchr(p + ENTRY_BYTES + b->extra_bytes, 0, name_bytes) != NULL ||
        (b->count > 0 && !lies_inside(q, b->at, (uint64_t)b->count * 8))) {
        return -EUCLEAN;
    }
    b->extra = (uint8_t *)text_of(p + ENTRY_BYTES, b->extra_bytes);
    b->name = text_of(p + ENTRY_BYTES + b->extra_bytes, name_bytes);
    if (b->extra == NULL || b->name == NULL) {
        return -ENOMEM;
    }
    judge(q, b);
    return qcow2_io_table(q, b->at, b->count, &b->place);
}

/* An entry at *at of the directory, which moves on; it goes to *end of the list. */
static int load_one(struct qcow2 *q, const uint8_t *dir, uint64_t *at, uint64_t *tables,
                    struct qcow2_bitmap **end)
{
    uint64_t left = q->header.bitmaps_bytes - *at;
    const uint8_t *p = dir + *at;
    uint64_t bytes;

    if (left < ENTRY_BYTES) {
        return -EUCLEAN;
    }
    bytes = ENTRY_BYTES + (uint64_t)qcow2_get16(p + 18) + qcow2_get32(p + 20);
    *tables += (uint64_t)qcow2_get32(p + 8) * 8;
    if (bytes > left || qcow2_get16(p + 18) == 0 || *tables > BITMAP_TABLES_MOST) {
        return -EUCLEAN;
    }
    bytes = (bytes + 7) & ~(uint64_t)7;
    *at = bytes < left ? *at + bytes : q->header.bitmaps_bytes;
    *end = fault_calloc(1, sizeof **end);
    return *end == NULL ? -ENOMEM : parse_entry(q, p, *end);
}

int qcow2_bitmaps_load(struct qcow2 *q, struct err *e)
{
    struct qcow2_header *h = &q->header;
    SCOPED(scope_free) uint8_t *dir = NULL;
    struct qcow2_bitmap **end = &q->bitmap;
    uint64_t tables = 0;
    uint64_t at = 0;
    size_t room;
    int r;

    if (h->bitmaps == 0) {
        return 0;
    }
    if ((h->autoclear & QCOW2_AUTO_BITMAPS) == 0) { /* somebody wrote without them */
        h->bitmaps = 0;
        h->bitmaps_at = 0;
        h->bitmaps_bytes = 0;
        return 0;
    }
    if (h->bitmaps > BITMAPS_MOST || h->bitmaps_bytes > BITMAP_TABLES_MOST ||
        h->bitmaps_bytes < (uint64_t)h->bitmaps * ENTRY_BYTES ||
        !lies_inside(q, h->bitmaps_at, h->bitmaps_bytes)) {
        return err_set(e, -EUCLEAN, "its directory of bitmaps is out of place");
    }
    room = (size_t)((h->bitmaps_bytes + 4095) & ~(uint64_t)4095);
    dir = fault_aligned(4096, room);
    r = dir == NULL ? -ENOMEM : qcow2_io_read(q, dir, room, h->bitmaps_at);
    for (uint32_t i = 0; r == 0 && i < h->bitmaps; i++) {
        r = load_one(q, dir, &at, &tables, end);
        end = *end != NULL ? &(*end)->next : end;
    }
    for (struct qcow2_bitmap *b = q->bitmap; r == 0 && b != NULL && !q->blk.read_only;
         b = b->next) {
        r = b->enabled ? qcow2_bitmap_read(q, b) : 0;
    }
    return r == 0 ? 0 : err_sys(e, r, "its bitmaps are not valid");
}

int qcow2_bitmap_read(struct qcow2 *q, struct qcow2_bitmap *b)
{
    uint64_t memory = 0;
    uint8_t **piece;
    int r = 0;

    if (b->piece != NULL) {
        return 0;
    }
    piece = fault_calloc((size_t)b->count + 1, sizeof *piece);
    if (piece == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; r == 0 && i < b->count; i++) {
        uint64_t at = b->place[i] & QCOW2_OFFSET;

        if (at == 0) {
            piece[i] = (b->place[i] & 1) != 0 ? BITMAP_ONES : BITMAP_ZEROS;
            continue;
        }
        memory += q->cluster_bytes;
        if (memory > BITMAP_MEMORY_MOST || !lies_inside(q, at, 1)) {
            r = memory > BITMAP_MEMORY_MOST ? -EFBIG : -EUCLEAN;
            break;
        }
        piece[i] = fault_aligned(4096, q->cluster_bytes);
        r = piece[i] == NULL ? -ENOMEM : qcow2_io_read(q, piece[i], q->cluster_bytes, at);
    }
    b->piece = piece;
    b->pieces = b->count;
    if (r != 0) {
        for (uint32_t i = 0; i < b->count; i++) {
            if (piece[i] != BITMAP_ZEROS && piece[i] != BITMAP_ONES) {
                free(piece[i]);
            }
        }
        free(piece);
        b->piece = NULL;
        b->pieces = 0;
    }
    return r;
}

/* ---- writing ---- */

static size_t entry_bytes(const struct qcow2_bitmap *b)
{
    return (ENTRY_BYTES + b->extra_bytes + strlen(b->name) + 7) & ~(size_t)7;
}

static uint32_t flags_of(const struct qcow2_bitmap *b, bool in_use)
{
    if (b->inconsistent) {
        return b->flags;
    }
    return (b->flags & BITMAP_COMPATIBLE) | (b->enabled ? BITMAP_AUTO : 0) |
           (b->enabled && in_use ? BITMAP_IN_USE : 0);
}

static void put_entry(uint8_t *p, const struct qcow2_bitmap *b, bool in_use)
{
    qcow2_put64(p, b->at);
    qcow2_put32(p + 8, b->count);
    qcow2_put32(p + 12, flags_of(b, in_use));
    p[16] = b->type;
    p[17] = b->granularity_bits;
    qcow2_put16(p + 18, (uint16_t)strlen(b->name));
    qcow2_put32(p + 20, b->extra_bytes);
    if (b->extra_bytes > 0) {
        memcpy(p + ENTRY_BYTES, b->extra, b->extra_bytes);
    }
    memcpy(p + ENTRY_BYTES + b->extra_bytes, b->name, strlen(b->name));
}

/* The directory; owned by the caller.  `ret_bytes` is its length, whole blocks are
 * there. */
static uint8_t *build_directory(struct qcow2 *q, bool in_use, size_t *ret_bytes,
                                uint32_t *ret_count)
{
    size_t bytes = 0;
    size_t at = 0;
    uint8_t *dir;

    *ret_count = 0;
    for (const struct qcow2_bitmap *b = q->bitmap; b != NULL; b = b->next) {
        bytes += entry_bytes(b);
        (*ret_count)++;
    }
    dir = fault_aligned(4096, (bytes + 4096) & ~(size_t)4095);
    for (const struct qcow2_bitmap *b = q->bitmap; dir != NULL && b != NULL;
         b = b->next) {
        put_entry(dir + at, b, in_use);
        at += entry_bytes(b);
    }
    *ret_bytes = bytes;
    return dir;
}

static int write_directory(struct qcow2 *q, const uint8_t *dir, size_t bytes, uint64_t at)
{
    size_t block = qcow2_file(q)->block_bytes;

    return qcow2_io_write(q, dir, (bytes + block - 1) & ~(block - 1), at);
}

int qcow2_bitmaps_mark(struct qcow2 *q)
{
    uint32_t count;
    size_t bytes;
    SCOPED(scope_free) uint8_t *dir = build_directory(q, true, &bytes, &count);
    int r = dir == NULL ? -ENOMEM : 0;

    if (r == 0 && bytes == q->header.bitmaps_bytes) {
        r = write_directory(q, dir, bytes, q->header.bitmaps_at);
        r = r != 0 ? r : blk_flush(qcow2_file(q));
    }
    q->bitmaps_marked = r == 0;
    return r;
}

/* A cluster for one piece; *ret is its table entry.  `tail_bits`: how many bits of the
 * last piece are used, 0: all. */
static int write_piece(struct qcow2 *q, const uint8_t *piece, uint64_t tail_bits,
                       uint64_t *ret)
{
    SCOPED(scope_free) uint8_t *ones = NULL;
    struct qcow2_run run;
    bool fresh;
    int r;

    *ret = piece == BITMAP_ONES;
    if (piece == BITMAP_ZEROS || (piece == BITMAP_ONES && tail_bits == 0)) {
        return 0;
    }
    if (piece == BITMAP_ONES) { /* "unused tail bits must be zero" */
        ones = fault_aligned(4096, q->cluster_bytes);
        if (ones == NULL) {
            return -ENOMEM;
        }
        for (uint64_t i = 0; i < tail_bits; i++) {
            ones[i / 8] |= (uint8_t)(1u << i % 8);
        }
        piece = ones;
    } else if (piece[0] == 0 && memcmp(piece, piece + 1, q->cluster_bytes - 1) == 0) {
        *ret = 0;
        return 0;
    }
    r = qcow2_alloc(q, 1, 1, &run, &fresh);
    if (r == 0) {
        *ret = run.cluster * q->cluster_bytes;
        r = qcow2_io_write(q, piece, q->cluster_bytes, *ret);
        if (r != 0) {
            qcow2_alloc_undo(q, run);
            *ret = 0;
        }
    }
    return r;
}

static void undo_places(struct qcow2 *q, const uint64_t *place, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = place[i] & QCOW2_OFFSET;

        qcow2_alloc_undo(q, (struct qcow2_run){at / q->cluster_bytes, at != 0});
    }
}

static void free_places(struct qcow2 *q, const struct qcow2_bitmap *b,
                        struct qcow2_runs *freed)
{
    for (uint32_t i = 0; i < b->count; i++) {
        uint64_t at = b->place[i] & QCOW2_OFFSET;

        qcow2_runs_add(freed, at / q->cluster_bytes, at != 0);
    }
    if (b->at != 0) {
        qcow2_runs_add(freed, b->at / q->cluster_bytes,
                       ((uint64_t)b->count * 8 + q->cluster_bytes - 1) /
                           q->cluster_bytes);
    }
}

/* A changed bitmap goes to new clusters; the old ones are free when that is durable. */
static int write_bitmap(struct qcow2 *q, struct qcow2_bitmap *b, struct qcow2_runs *freed)
{
    uint64_t n = ((uint64_t)b->pieces * 8 + q->cluster_bytes - 1) / q->cluster_bytes;
    uint64_t per_piece = (uint64_t)q->cluster_bytes * 8;
    uint64_t *place = fault_calloc((size_t)b->pieces + 1, sizeof *place);
    struct qcow2_run run = {0};
    uint32_t i = 0;
    bool fresh;
    int r = place == NULL ? -ENOMEM : 0;

    for (; r == 0 && i < b->pieces; i++) {
        uint64_t tail = i + 1 == b->pieces ? qcow2_bitmap_bits(q, b) % per_piece : 0;

        r = write_piece(q, b->piece[i], tail, &place[i]);
    }
    if (r == 0 && n > 0) {
        r = qcow2_alloc(q, n, n, &run, &fresh);
        r = r != 0
                ? r
                : qcow2_io_put_table(q, place, b->pieces, run.cluster * q->cluster_bytes);
    }
    if (r != 0) {
        undo_places(q, place, place != NULL ? i : 0);
        qcow2_alloc_undo(q, run);
        free(place);
        return r;
    }
    free_places(q, b, freed);
    free(b->place);
    b->place = place;
    b->count = b->pieces;
    b->at = run.cluster * q->cluster_bytes;
    b->changed = false;
    return 0;
}

/* Let the header lead to a new directory. */
static int switch_directory(struct qcow2 *q, bool in_use)
{
    struct qcow2_header *h = &q->header;
    struct qcow2_header old = *h;
    uint32_t count;
    size_t bytes;
    SCOPED(scope_free) uint8_t *dir = build_directory(q, in_use, &bytes, &count);
    uint64_t n = (bytes + q->cluster_bytes - 1) / q->cluster_bytes;
    struct qcow2_run run = {0};
    bool fresh;
    int r = dir == NULL ? -ENOMEM : 0;

    if (r == 0 && n > 0) {
        r = qcow2_alloc(q, n, n, &run, &fresh);
        r = r != 0 ? r : write_directory(q, dir, bytes, run.cluster * q->cluster_bytes);
    }
    r = r != 0 ? r : qcow2_settle(q);
    if (r != 0) {
        qcow2_alloc_undo(q, run);
        return r;
    }
    h->bitmaps = count;
    h->bitmaps_bytes = bytes;
    h->bitmaps_at = run.cluster * q->cluster_bytes;
    h->autoclear = count > 0 ? h->autoclear | QCOW2_AUTO_BITMAPS
                             : h->autoclear & ~QCOW2_AUTO_BITMAPS;
    r = qcow2_header_store(q);
    if (r != 0) { /* which of the two counts is not known: both stay */
        q->header_unsure = true;
        return r;
    }
    if (old.bitmaps_at != 0) {
        qcow2_free(q, old.bitmaps_at / q->cluster_bytes,
                   (old.bitmaps_bytes + q->cluster_bytes - 1) / q->cluster_bytes);
    }
    return 0;
}

int qcow2_bitmaps_save(struct qcow2 *q, bool closing)
{
    struct qcow2_runs freed = {0}; /* once the header does not lead there any more */
    bool in_use = !closing && q->bitmaps_marked;
    int r = 0;

    for (struct qcow2_bitmap *b = q->bitmap; r == 0 && b != NULL; b = b->next) {
        if (b->changed && b->piece != NULL) {
            r = write_bitmap(q, b, &freed);
        }
    }
    r = r != 0 ? r : switch_directory(q, in_use);
    for (uint32_t i = 0; r == 0 && i < freed.count; i++) {
        qcow2_free(q, freed.run[i].cluster, freed.run[i].count);
    }
    free(freed.run); /* after a failure they stay counted: leaks */
    if (r == 0) {
        q->bitmaps_marked = in_use;
        r = qcow2_settle(q);
    }
    return r;
}

int qcow2_bitmaps_keep(struct qcow2 *q)
{
    bool any = q->bitmaps_marked;

    for (const struct qcow2_bitmap *b = q->bitmap; b != NULL; b = b->next) {
        any |= b->changed;
    }
    return any ? qcow2_bitmaps_save(q, true) : 0;
}
