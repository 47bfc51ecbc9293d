/* bitmap.c - dirty bitmaps: which parts of the disk were written since some moment.
 *
 * They belong to the image; enabled ones follow every write.  Before the first change
 * the file says that they are in use, so that after a power cut nobody believes
 * them; closing stores them and takes that back (bitmap_file.c).  Where there is no
 * memory for bits, more is called dirty than is: a backup is larger then, not wrong. */
#include "resource/storage/qcow2/bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"

static bool is_memory(const uint8_t *piece)
{
    return piece != BITMAP_ZEROS && piece != BITMAP_ONES;
}

void qcow2_bitmap_fini(struct qcow2 *q, struct qcow2_bitmap *b)
{
    (void)q;
    for (uint32_t i = 0; b->piece != NULL && i < b->pieces; i++) {
        if (is_memory(b->piece[i])) {
            free(b->piece[i]);
        }
    }
    free(b->piece);
    free(b->place);
    free(b->extra);
    free(b->name);
    free(b);
}

void qcow2_bitmaps_fini(struct qcow2 *q)
{
    while (q->bitmap != NULL) {
        struct qcow2_bitmap *b = q->bitmap;

        q->bitmap = b->next;
        qcow2_bitmap_fini(q, b);
    }
}

uint64_t qcow2_bitmap_pieces(const struct qcow2 *q, unsigned granularity_bits,
                             uint64_t size_bytes)
{
    uint64_t bits =
        (size_bytes + ((uint64_t)1 << granularity_bits) - 1) >> granularity_bits;
    uint64_t per_piece = (uint64_t)q->cluster_bytes * 8;

    return (bits + per_piece - 1) / per_piece;
}

uint64_t qcow2_bitmap_bits(const struct qcow2 *q, const struct qcow2_bitmap *b)
{
    return (q->blk.size_bytes + ((uint64_t)1 << b->granularity_bits) - 1) >>
           b->granularity_bits;
}

/* ---- bits ---- */

static void set_in_piece(struct qcow2 *q, uint8_t **piece, uint32_t from, uint32_t to)
{
    if (*piece == BITMAP_ONES) {
        return;
    }
    if (*piece == BITMAP_ZEROS) {
        uint8_t *room = fault_calloc(1, q->cluster_bytes);

        if (room == NULL) {
            *piece = BITMAP_ONES;
            return;
        }
        *piece = room;
    }
    while (from < to && from % 8 != 0) {
        (*piece)[from / 8] |= (uint8_t)(1u << from % 8);
        from++;
    }
    if (from < to) {
        memset(*piece + from / 8, 0xff, (to - from) / 8);
        from += (to - from) / 8 * 8;
    }
    while (from < to) {
        (*piece)[from / 8] |= (uint8_t)(1u << from % 8);
        from++;
    }
}

void qcow2_bitmap_set(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t off,
                      uint64_t bytes)
{
    uint64_t per_piece = (uint64_t)q->cluster_bytes * 8;
    uint64_t bit = off >> b->granularity_bits;
    uint64_t end = ((off + bytes - 1) >> b->granularity_bits) + 1;

    if (bytes == 0) {
        return;
    }
    while (bit < end && bit / per_piece < b->pieces) {
        uint64_t i = bit / per_piece;
        uint64_t stop = (i + 1) * per_piece < end ? (i + 1) * per_piece : end;

        set_in_piece(q, &b->piece[i], (uint32_t)(bit % per_piece),
                     (uint32_t)(stop - i * per_piece));
        bit = stop;
    }
    b->changed = true;
}

int qcow2_bitmaps_touch(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
    bool any = false;
    int r = 0;

    for (struct qcow2_bitmap *b = q->bitmap; b != NULL; b = b->next) {
        any |= b->enabled;
    }
    if (any && !q->bitmaps_marked) {
        strand_lock(q->blk.strands, &q->bitmap_lock);
        r = q->bitmaps_marked ? 0 : qcow2_bitmaps_mark(q);
        strand_unlock(&q->bitmap_lock);
    }
    for (struct qcow2_bitmap *b = q->bitmap; r == 0 && b != NULL; b = b->next) {
        if (b->enabled) {
            qcow2_bitmap_set(q, b, off, bytes);
        }
    }
    return r;
}

static bool bit_at(const struct qcow2 *q, const struct qcow2_bitmap *b, uint64_t bit)
{
    uint64_t per_piece = (uint64_t)q->cluster_bytes * 8;
    const uint8_t *piece = b->piece[bit / per_piece];

    if (!is_memory(piece)) {
        return piece == BITMAP_ONES;
    }
    return (piece[bit % per_piece / 8] >> bit % 8 & 1) != 0;
}

/* The bit behind those that are like `bit`. */
static uint64_t run_end(const struct qcow2 *q, const struct qcow2_bitmap *b, uint64_t bit)
{
    uint64_t per_piece = (uint64_t)q->cluster_bytes * 8;
    uint64_t end = qcow2_bitmap_bits(q, b);
    bool is = bit_at(q, b, bit);
    uint8_t all = is ? 0xff : 0;

    while (bit < end && bit_at(q, b, bit) == is) {
        const uint8_t *piece = b->piece[bit / per_piece];

        if (!is_memory(piece)) {
            bit = (bit / per_piece + 1) * per_piece;
        } else if (bit % 8 == 0 && piece[bit % per_piece / 8] == all) {
            bit += 8;
        } else {
            bit++;
        }
    }
    return bit < end ? bit : end;
}

static uint64_t count_dirty(const struct qcow2 *q, const struct qcow2_bitmap *b)
{
    uint64_t end = qcow2_bitmap_bits(q, b);
    uint64_t bits = 0;

    for (uint64_t bit = 0; b->piece != NULL && bit < end;) {
        uint64_t stop = run_end(q, b, bit);

        bits += bit_at(q, b, bit) ? stop - bit : 0;
        bit = stop;
    }
    return bits << b->granularity_bits;
}

/* ---- the face ---- */

static struct qcow2_bitmap *find(const struct qcow2 *q, const char *name)
{
    struct qcow2_bitmap *b = q->bitmap;

    while (b != NULL && strcmp(b->name, name) != 0) {
        b = b->next;
    }
    return b;
}

/* The bitmap, its bits in memory, of an image that may be changed. */
static int get(struct qcow2 *q, const char *name, bool change, struct qcow2_bitmap **ret,
               struct err *e)
{
    struct qcow2_bitmap *b = find(q, name);
    int r;

    if (b == NULL) {
        return err_set(e, -ENOENT, "'%s' has no bitmap '%.64s'", q->label, name);
    }
    if (change && q->blk.read_only) {
        return err_set(e, -EROFS, "cannot change bitmap '%s': '%s' is read only", b->name,
                       q->label);
    }
    if (b->inconsistent) {
        return err_set(e, -EUCLEAN,
                       "cannot use bitmap '%s' of '%s': it was not stored when the image "
                       "was in use last",
                       b->name, q->label);
    }
    r = qcow2_bitmap_read(q, b);
    *ret = b;
    return r == 0 ? 0
                  : err_sys(e, r, "cannot read bitmap '%s' of '%s'", b->name, q->label);
}

unsigned qcow2_bitmap_count(const struct blk *disk)
{
    unsigned n = 0;

    for (const struct qcow2_bitmap *b = ((const struct qcow2 *)disk)->bitmap; b != NULL;
         b = b->next) {
        n++;
    }
    return n;
}

void qcow2_bitmap_get(const struct blk *disk, unsigned i, struct qcow2_bitmap_info *ret)
{
    const struct qcow2 *q = (const struct qcow2 *)disk;
    const struct qcow2_bitmap *b = q->bitmap;

    while (i-- > 0) {
        b = b->next;
    }
    *ret = (struct qcow2_bitmap_info){
        .name = b->name,
        .granularity_bytes = 1u << b->granularity_bits,
        .enabled = b->enabled,
        .inconsistent = b->inconsistent,
        .dirty_bytes = count_dirty(q, b),
    };
}

static int add(struct qcow2 *q, const char *name, unsigned bits, bool enabled)
{
    uint64_t pieces = qcow2_bitmap_pieces(q, bits, q->blk.size_bytes);
    struct qcow2_bitmap **at = &q->bitmap;
    struct qcow2_bitmap *b;

    if (pieces * 8 > BITMAP_TABLES_MOST) {
        return -EFBIG;
    }
    b = fault_calloc(1, sizeof *b);
    if (b == NULL) {
        return -ENOMEM;
    }
    b->name = fault_strdup(name);
    b->piece = fault_calloc(pieces + 1, sizeof *b->piece);
    if (b->name == NULL || b->piece == NULL) {
        qcow2_bitmap_fini(q, b);
        return -ENOMEM;
    }
    b->pieces = (uint32_t)pieces;
    b->granularity_bits = (uint8_t)bits;
    b->type = BITMAP_DIRTY_TYPE;
    b->enabled = enabled;
    b->changed = true;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = b;
    return 0;
}

static void take_out(struct qcow2 *q, struct qcow2_bitmap *b)
{
    struct qcow2_bitmap **at = &q->bitmap;

    while (*at != b) {
        at = &(*at)->next;
    }
    *at = b->next;
}

int qcow2_bitmap_create(struct blk *disk, const char *name, uint32_t granularity_bytes,
                        bool enabled, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    unsigned bits =
        granularity_bytes == 0 ? 16 : 31u - (unsigned)__builtin_clz(granularity_bytes);
    int r;

    if (disk->read_only || q->header.version == 2) {
        return err_set(e, disk->read_only ? -EROFS : -EOPNOTSUPP,
                       "cannot make a bitmap in '%s': %s", q->label,
                       disk->read_only ? "it is read only" : "its version is 2");
    }
    if ((granularity_bytes & (granularity_bytes - 1)) != 0 || bits < BITMAP_BITS_LEAST ||
        name[0] == '\0' || strlen(name) > BITMAP_NAME_MOST) {
        return err_set(e, -EINVAL, "cannot make a bitmap '%.64s' of %u bytes in '%s'",
                       name, granularity_bytes, q->label);
    }
    if (find(q, name) != NULL || qcow2_bitmap_count(disk) >= BITMAPS_MOST) {
        return err_set(e, -EEXIST, "'%s' has a bitmap '%.64s' already", q->label, name);
    }
    blk_drain_begin(disk);
    r = add(q, name, bits, enabled);
    if (r == 0) {
        r = qcow2_bitmaps_save(q, false);
        if (r != 0) {
            struct qcow2_bitmap *b = find(q, name);

            take_out(q, b);
            qcow2_bitmap_fini(q, b);
        }
    }
    blk_drain_end(disk);
    return r == 0 ? 0
                  : err_sys(e, r, "cannot make bitmap '%.64s' in '%s'", name, q->label);
}

int qcow2_bitmap_delete(struct blk *disk, const char *name, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    struct qcow2_bitmap *b = find(q, name);
    int r;

    if (b == NULL || disk->read_only) {
        return err_set(e, b == NULL ? -ENOENT : -EROFS,
                       "cannot delete bitmap '%.64s' of '%s': %s", name, q->label,
                       b == NULL ? "there is none" : "it is read only");
    }
    blk_drain_begin(disk);
    take_out(q, b);
    r = qcow2_bitmaps_save(q, false);
    if (r == 0) {
        for (uint32_t i = 0; i < b->count; i++) {
            uint64_t at = b->place[i] & QCOW2_OFFSET;

            qcow2_free(q, at / q->cluster_bytes, at != 0);
        }
        qcow2_free(q, b->at / q->cluster_bytes,
                   ((uint64_t)b->count * 8 + q->cluster_bytes - 1) / q->cluster_bytes);
        qcow2_bitmap_fini(q, b);
        r = qcow2_settle(q);
    } else {
        b->next = q->bitmap;
        q->bitmap = b;
    }
    blk_drain_end(disk);
    return r == 0 ? 0
                  : err_sys(e, r, "cannot delete bitmap '%.64s' of '%s'", name, q->label);
}

int qcow2_bitmap_enable(struct blk *disk, const char *name, bool enabled, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    struct qcow2_bitmap *b;
    int r = get(q, name, true, &b, e);

    if (r != 0 || b->enabled == enabled) {
        return r;
    }
    blk_drain_begin(disk);
    b->enabled = enabled;
    b->changed = true;
    r = qcow2_bitmaps_save(q, false);
    blk_drain_end(disk);
    return r == 0 ? 0 : err_sys(e, r, "cannot store bitmap '%s' of '%s'", name, q->label);
}

int qcow2_bitmap_clear(struct blk *disk, const char *name, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    struct qcow2_bitmap *b;
    int r = get(q, name, true, &b, e);

    for (uint32_t i = 0; r == 0 && i < b->pieces; i++) {
        if (is_memory(b->piece[i])) {
            free(b->piece[i]);
        }
        b->piece[i] = BITMAP_ZEROS;
        b->changed = true;
    }
    return r;
}

int qcow2_bitmap_merge(struct blk *disk, const char *to, const char *from, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    struct qcow2_bitmap *a;
    struct qcow2_bitmap *b;
    int r = get(q, from, false, &a, e);

    r = r != 0 ? r : get(q, to, true, &b, e);
    if (r == 0 && b->enabled && !q->bitmaps_marked) {
        r = qcow2_bitmaps_mark(q);
    }
    for (uint64_t bit = 0; r == 0 && a != b && bit < qcow2_bitmap_bits(q, a);) {
        uint64_t stop = run_end(q, a, bit);

        if (bit_at(q, a, bit)) {
            qcow2_bitmap_set(q, b, bit << a->granularity_bits,
                             (stop - bit) << a->granularity_bits);
        }
        bit = stop;
    }
    return r;
}

int qcow2_bitmap_range(struct blk *disk, const char *name, uint64_t off,
                       uint64_t *ret_bytes, bool *ret_dirty, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    struct qcow2_bitmap *b;
    uint64_t end;
    int r = get(q, name, false, &b, e);

    if (r != 0) {
        return r;
    }
    if (off >= disk->size_bytes) {
        return err_set(e, -ERANGE, "'%s' ends before byte %llu", q->label,
                       (unsigned long long)off);
    }
    *ret_dirty = bit_at(q, b, off >> b->granularity_bits);
    end = run_end(q, b, off >> b->granularity_bits) << b->granularity_bits;
    *ret_bytes = (end < disk->size_bytes ? end : disk->size_bytes) - off;
    return 0;
}

int qcow2_bitmap_store(struct blk *disk, struct err *e)
{
    struct qcow2 *q = qcow2_of(disk);
    int r = 0;

    if (!disk->read_only) {
        blk_drain_begin(disk);
        r = qcow2_bitmaps_keep(q);
        blk_drain_end(disk);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot store the bitmaps of '%s'", q->label);
}

/* ---- size ---- */

static int resize_one(struct qcow2 *q, struct qcow2_bitmap *b, uint64_t size)
{
    uint64_t pieces = qcow2_bitmap_pieces(q, b->granularity_bits, size);
    uint64_t bits =
        (size + ((uint64_t)1 << b->granularity_bits) - 1) >> b->granularity_bits;
    uint64_t per_piece = (uint64_t)q->cluster_bytes * 8;
    uint8_t **piece = fault_calloc(pieces + 1, sizeof *piece);

    if (piece == NULL || pieces * 8 > BITMAP_TABLES_MOST) {
        free(piece);
        return pieces * 8 > BITMAP_TABLES_MOST ? -EFBIG : -ENOMEM;
    }
    for (uint32_t i = 0; i < b->pieces; i++) {
        if (i < pieces) {
            piece[i] = b->piece[i];
        } else if (is_memory(b->piece[i])) {
            free(b->piece[i]);
        }
    }
    free(b->piece);
    b->piece = piece;
    b->pieces = (uint32_t)pieces;
    b->changed = true;
    if (bits % per_piece != 0 && is_memory(piece[bits / per_piece])) {
        uint8_t *last = piece[bits / per_piece];

        for (uint64_t bit = bits % per_piece; bit < per_piece; bit++) {
            last[bit / 8] &= (uint8_t) ~(1u << bit % 8);
        }
    }
    return 0;
}

int qcow2_bitmaps_resize(struct qcow2 *q, uint64_t size_bytes)
{
    int r = 0;

    for (struct qcow2_bitmap *b = q->bitmap; r == 0 && b != NULL; b = b->next) {
        if (!b->inconsistent) {
            r = qcow2_bitmap_read(q, b);
            r = r != 0 ? r : resize_one(q, b, size_bytes);
        }
    }
    return r != 0 || q->bitmap == NULL ? r : qcow2_bitmaps_save(q, false);
}
