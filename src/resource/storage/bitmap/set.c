/* set.c - the file of a set: its directory, and where each bitmap lies.
 *
 * Layout (little endian):
 *
 *      0  two places of the directory, 16384 bytes each (safe/slot.c)
 *  65536  areas, one per bitmap, in units of 4096 bytes
 *
 * A directory:
 *
 *      0  size of the disk in bytes   8
 *      8  count of bitmaps            4
 *     12  zero                        4
 *     16  entries in order of names, 96 bytes each:
 *          0  name, zeros behind it  64   1 to 63 printable bytes
 *         64  granularity as a shift  4   9 to 31
 *         68  flags                   4   1: enabled, 2: lost
 *         72  offset of the area      8   a multiple of 4096
 *         80  units of the area       8   at least what the bits need
 *         88  zero                    8
 *
 * An area is a row of sheets of 512 bytes: 508 bytes of bits and the CRC-32C of them.  A
 * sheet of zeros only was never written and has no marks.  Bit i of a bitmap stands for
 * the i-th granule of the disk.
 *
 * Invariants: areas do not overlap; an area is zeroed and durable before a directory
 * names it; a directory is replaced whole.  A sheet is one block of the file, so a power
 * cut leaves it old or new, and bits are only taken away by whoever has already put
 * them down somewhere else.  So after a crash a set is right without repair.  A sheet
 * that the file gives back damaged makes its bitmap lost. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fault.h"
#include "contract/blk_ops.h"
#include "resource/storage/bitmap/private.h"
#include "resource/storage/safe/bytes.h"

#define MAGIC           0x70616d7469627473u /* "stbitmap" */
#define VERSION         1
#define PLACE_BYTES     16384
#define HEAD_BYTES      16
#define ENTRY_BYTES     96
#define BITS_MOST_BYTES ((uint64_t)1 << 28) /* of one bitmap, in memory */

static void slot_of_file(struct slot *s, struct blk *file)
{
    *s = (struct slot){
        .disk = file, .bytes = PLACE_BYTES, .magic = MAGIC, .version = VERSION};
}

/* ---- one bitmap in memory ---- */

static void free_bitmap(struct bitmap *b)
{
    if (b != NULL) {
        free(b->bits);
        free(b->state);
        free(b);
    }
}

static int alloc_bits(struct bitmap *b)
{
    if (b->units > BITS_MOST_BYTES / UNIT_ROOM) {
        return -E2BIG;
    }
    b->bits = fault_calloc(b->units, UNIT_ROOM);
    b->state = fault_calloc(b->units, 1);
    return b->bits != NULL && b->state != NULL ? 0 : -ENOMEM;
}

static uint64_t bits_for(uint64_t size, unsigned shift)
{
    return (size + ((uint64_t)1 << shift) - 1) >> shift;
}

static struct bitmap *new_bitmap(struct bitmap_set *set, const char *name, unsigned shift)
{
    struct bitmap *b = fault_calloc(1, sizeof *b);

    if (b == NULL) {
        return NULL;
    }
    b->set = set;
    (void)strncpy(b->name, name, sizeof b->name - 1);
    b->shift = shift;
    b->count = bits_for(set->size, shift);
    b->units = bitmap_units_for(set->size, shift);
    return b;
}

/* ---- the directory ---- */

static void put_entry(uint8_t *at, const struct bitmap *b)
{
    memcpy(at, b->name, BITMAP_NAME_BYTES);
    bytes_put32(at + 64, b->shift);
    bytes_put32(at + 68, b->flags);
    bytes_put64(at + 72, b->off);
    bytes_put64(at + 80, b->units);
}

static int store(struct slot *slot, uint64_t size, struct bitmap *const *bitmap,
                 unsigned count)
{
    uint8_t *text = fault_calloc(1, HEAD_BYTES + BITMAP_MOST * ENTRY_BYTES);
    int r;

    if (text == NULL) {
        return -ENOMEM;
    }
    bytes_put64(text, size);
    bytes_put32(text + 8, count);
    for (unsigned i = 0; i < count; i++) {
        put_entry(text + HEAD_BYTES + i * ENTRY_BYTES, bitmap[i]);
    }
    r = slot_store(slot, text, HEAD_BYTES + count * ENTRY_BYTES);
    free(text);
    return r;
}

int bitmap_put_directory_locked(struct bitmap_set *set)
{
    return store(&set->slot, set->size, set->bitmap, set->count);
}

static bool name_is_right(const char *name)
{
    size_t n = strnlen(name, BITMAP_NAME_BYTES);

    if (n == 0 || n == BITMAP_NAME_BYTES) {
        return false;
    }
    for (size_t i = 0; i < BITMAP_NAME_BYTES; i++) {
        if (i < n ? name[i] < ' ' || name[i] > '~' : name[i] != '\0') {
            return false;
        }
    }
    return true;
}

static bool overlaps(const struct bitmap *a, const struct bitmap *b)
{
    return a->off < b->off + b->units * UNIT_BYTES &&
           b->off < a->off + a->units * UNIT_BYTES;
}

/* Whether an entry that was read can be trusted with memory and the file. */
static bool entry_is_right(const struct bitmap_set *set, const struct bitmap *b)
{
    uint64_t room = blk_size(set->file.disk);

    if ((b->flags & ~(unsigned)FLAG_KNOWN) != 0 || b->off < AREAS_AT ||
        b->off % UNIT_BYTES != 0 || b->off > room ||
        b->units > (room - b->off) / UNIT_BYTES ||
        b->units < bitmap_units_for(set->size, b->shift)) {
        return false;
    }
    for (unsigned i = 0; i < set->count; i++) {
        if (overlaps(set->bitmap[i], b)) {
            return false;
        }
    }
    return set->count == 0 || strcmp(set->bitmap[set->count - 1]->name, b->name) < 0;
}

static int read_entry(struct bitmap_set *set, const uint8_t *at)
{
    uint32_t shift = bytes_get32(at + 64);
    struct bitmap *b;
    int r;

    if (shift < 9 || shift > 31 || !name_is_right((const char *)at)) {
        return -EUCLEAN;
    }
    b = new_bitmap(set, (const char *)at, shift);
    if (b == NULL) {
        return -ENOMEM;
    }
    b->flags = bytes_get32(at + 68);
    b->off = bytes_get64(at + 72);
    b->units = bytes_get64(at + 80);
    r = entry_is_right(set, b) ? alloc_bits(b) : -EUCLEAN;
    if (r == 0) {
        r = bitmap_get(b);
    }
    if (r != 0) {
        free_bitmap(b);
        return r;
    }
    set->bitmap[set->count++] = b;
    return 0;
}

static int read_directory(struct bitmap_set *set)
{
    uint8_t *text = fault_malloc(PLACE_BYTES);
    size_t bytes = 0;
    uint32_t count;
    int r = text == NULL ? -ENOMEM : slot_load(&set->slot, text, &bytes);

    if (r == 0 && (bytes < HEAD_BYTES || bytes_get64(text) > BLK_SIZE_MOST_BYTES)) {
        r = -EUCLEAN;
    }
    if (r == 0) {
        set->size = bytes_get64(text);
        count = bytes_get32(text + 8);
        if (count > BITMAP_MOST || bytes != HEAD_BYTES + (size_t)count * ENTRY_BYTES) {
            r = -EUCLEAN;
        }
        for (unsigned i = 0; r == 0 && i < count; i++) {
            r = read_entry(set, text + HEAD_BYTES + i * ENTRY_BYTES);
        }
    }
    free(text);
    return r;
}

/* What was found damaged counts as changed, from now on and after the next crash. */
static int mend_lost(struct bitmap_set *set)
{
    bool any = false;
    int r;

    for (unsigned i = 0; i < set->count; i++) {
        struct bitmap *b = set->bitmap[i];

        if (bitmap_is_lost(b)) {
            any = true;
            memset(b->state, UNIT_CHANGED, b->units);
            bitmap_set_bits(b, 0, b->count);
        }
    }
    if (!any || set->file.disk->read_only) {
        return 0;
    }
    r = bitmap_put_directory_locked(set);
    return r != 0 ? r : bitmap_put_all(set);
}

/* ---- room in the file ---- */

/* The first gap of that many units between the areas. */
static int find_room(const struct bitmap_set *set, uint64_t units, uint64_t *ret_off)
{
    const struct blk *file = set->file.disk;
    uint64_t off = AREAS_AT;
    bool moved = true;

    while (moved) {
        moved = false;
        for (unsigned i = 0; i < set->count; i++) {
            const struct bitmap *b = set->bitmap[i];
            uint64_t end = b->off + b->units * UNIT_BYTES;

            if (off < end && b->off < off + units * UNIT_BYTES) {
                off = end;
                moved = true;
            }
        }
    }
    if (!file->grows &&
        (off > file->size_bytes || units > (file->size_bytes - off) / UNIT_BYTES)) {
        return -ENOSPC;
    }
    *ret_off = off;
    return 0;
}

static int clean_area(struct bitmap_set *set, const struct bitmap *b)
{
    return blk_zero(set->file.disk, b->off, b->units * UNIT_BYTES, BLK_FUA);
}

/* ---- set ---- */

int bitmap_set_format(struct blk *file, uint64_t size_bytes, struct err *e)
{
    struct slot slot;
    int r;

    if (!file->grows && blk_size(file) < AREAS_AT) {
        return err_set(e, -ENOSPC, "cannot keep bitmaps in '%s': it is too small",
                       file->label);
    }
    slot_of_file(&slot, file);
    r = blk_zero(file, 0, AREAS_AT, BLK_FUA);
    if (r == 0) {
        r = store(&slot, size_bytes, NULL, 0);
    }
    return r == 0 ? 0 : err_sys(e, r, "cannot write bitmaps to '%s'", file->label);
}

void bitmap_set_close(struct bitmap_set *set)
{
    if (set == NULL) {
        return;
    }
    for (unsigned i = 0; i < set->count; i++) {
        free_bitmap(set->bitmap[i]);
    }
    blk_detach(&set->file);
    free(set->batch);
    free(set);
}

static int start(struct bitmap_set *set, uint64_t size_bytes)
{
    int r = blk_size(set->file.disk) < AREAS_AT ? -ENOENT : read_directory(set);

    if (r == 0) {
        r = mend_lost(set);
    }
    if (r == 0 && set->size != size_bytes) {
        r = bitmap_set_resize(set, size_bytes, NULL);
    }
    return r;
}

int bitmap_set_open(struct blk *take_file, uint64_t size_bytes,
                    struct bitmap_set **ret_set, struct err *e)
{
    struct bitmap_set *set = fault_calloc(1, sizeof *set);
    const char *label = take_file->label;
    int r = -ENOMEM;

    if (set != NULL) {
        set->batch = fault_aligned(4096, BATCH_UNITS * UNIT_BYTES);
    }
    if (set == NULL || set->batch == NULL) {
        r = err_sys(e, r, "cannot open the bitmaps in '%s'", label);
        blk_drop(take_file);
        bitmap_set_close(set);
        return r;
    }
    set->file = (struct blk_edge){
        .user = "bitmaps",
        .uses = take_file->read_only ? BLK_USE_READ : BLK_USE_READ | BLK_USE_WRITE};
    r = blk_attach(&set->file, take_file, e);
    if (r != 0) {
        blk_drop(take_file);
        bitmap_set_close(set);
        return r;
    }
    slot_of_file(&set->slot, take_file);
    r = start(set, size_bytes);
    if (r != 0) {
        r = err_sys(e, r, "cannot open the bitmaps in '%s'", label);
        bitmap_set_close(set);
        return r;
    }
    *ret_set = set;
    return 0;
}

/* ---- bitmaps come and go ---- */

static unsigned place_of(const struct bitmap_set *set, const char *name, bool *ret_there)
{
    unsigned i = 0;

    while (i < set->count && strcmp(set->bitmap[i]->name, name) < 0) {
        i++;
    }
    *ret_there = i < set->count && strcmp(set->bitmap[i]->name, name) == 0;
    return i;
}

static void link_bitmap(struct bitmap_set *set, struct bitmap *b, unsigned at)
{
    memmove(&set->bitmap[at + 1], &set->bitmap[at],
            (set->count - at) * sizeof set->bitmap[0]);
    set->bitmap[at] = b;
    set->count++;
    set->changes++;
}

static void unlink_bitmap(struct bitmap_set *set, unsigned at)
{
    set->count--;
    memmove(&set->bitmap[at], &set->bitmap[at + 1],
            (set->count - at) * sizeof set->bitmap[0]);
}

static int add_locked(struct bitmap_set *set, struct bitmap *b, unsigned at)
{
    int r = alloc_bits(b);

    if (r == 0) {
        r = find_room(set, b->units, &b->off);
    }
    if (r == 0) {
        r = clean_area(set, b);
    }
    if (r != 0) {
        return r;
    }
    link_bitmap(set, b, at);
    r = bitmap_put_directory_locked(set);
    if (r != 0) {
        unlink_bitmap(set, at);
    }
    return r;
}

int bitmap_add(struct bitmap_set *set, const char *name, uint32_t granularity_bytes,
               struct bitmap **ret_bitmap, struct err *e)
{
    char padded[BITMAP_NAME_BYTES] = "";
    struct bitmap *b;
    unsigned at;
    bool there;
    int r;

    (void)strncpy(padded, name, sizeof padded - 1);
    if (strlen(name) >= sizeof padded || !name_is_right(padded)) {
        return err_set(e, -EINVAL, "cannot add a bitmap: its name is not usable");
    }
    if (granularity_bytes < BITMAP_GRANULARITY_LEAST ||
        granularity_bytes > BITMAP_GRANULARITY_MOST ||
        (granularity_bytes & (granularity_bytes - 1)) != 0) {
        return err_set(
            e, -EINVAL,
            "cannot add bitmap '%s': granularity %u is not a power of two from "
            "512 bytes to 2 GiB",
            name, granularity_bytes);
    }
    b = new_bitmap(set, name, (unsigned)__builtin_ctz(granularity_bytes));
    if (b == NULL) {
        return err_sys(e, -ENOMEM, "cannot add bitmap '%s'", name);
    }
    b->flags = FLAG_ENABLED;
    strand_lock(set->file.disk->strands, &set->lock);
    at = place_of(set, name, &there);
    r = there ? -EEXIST : set->count == BITMAP_MOST ? -ENOSPC : add_locked(set, b, at);
    strand_unlock(&set->lock);
    if (r != 0) {
        free_bitmap(b);
        return err_sys(e, r, "cannot add bitmap '%s'", name);
    }
    *ret_bitmap = b;
    return 0;
}

int bitmap_remove(struct bitmap_set *set, const char *name, struct err *e)
{
    struct bitmap *b = NULL;
    unsigned at;
    bool there;
    int r = -ENOENT;

    strand_lock(set->file.disk->strands, &set->lock);
    at = place_of(set, name, &there);
    if (there) {
        b = set->bitmap[at];
        unlink_bitmap(set, at);
        r = bitmap_put_directory_locked(set);
        if (r != 0) {
            link_bitmap(set, b, at);
        }
    }
    strand_unlock(&set->lock);
    if (r != 0) {
        return err_sys(e, r, "cannot remove bitmap '%s'", name);
    }
    free_bitmap(b);
    return 0;
}

struct bitmap *bitmap_find(struct bitmap_set *set, const char *name)
{
    bool there;
    unsigned at = place_of(set, name, &there);

    return there ? set->bitmap[at] : NULL;
}

struct bitmap *bitmap_at(struct bitmap_set *set, unsigned index)
{
    return index < set->count ? set->bitmap[index] : NULL;
}

/* ---- another size ---- */

/* A copy of a bitmap for another size in an area of its own; grown room is marked. */
static int refit(struct bitmap_set *set, const struct bitmap *old, uint64_t size,
                 struct bitmap *b)
{
    uint64_t keep;
    int r;

    *b = *old;
    b->bits = NULL;
    b->state = NULL;
    b->count = bits_for(size, b->shift);
    b->units = bitmap_units_for(size, b->shift);
    r = alloc_bits(b);
    if (r == 0) {
        r = find_room(set, b->units, &b->off);
    }
    if (r == 0) {
        r = clean_area(set, b);
    }
    if (r != 0) {
        return r;
    }
    keep = old->units < b->units ? old->units : b->units;
    memcpy(b->bits, old->bits, keep * UNIT_ROOM);
    memset(b->state, UNIT_CHANGED, b->units);
    bitmap_trim(b);
    if (size > set->size) {
        bitmap_set_bits(b, set->size >> b->shift, b->count);
    }
    return bitmap_put_locked(b);
}

/* The bitmap fits as it is: only its count changes. */
static void adjust(struct bitmap *b, uint64_t size)
{
    uint64_t from = b->set->size >> b->shift;

    b->count = bits_for(size, b->shift);
    if (size > b->set->size) {
        bitmap_set_bits(b, from, b->count);
    } else {
        memset(b->state, UNIT_CHANGED, b->units);
        bitmap_trim(b);
    }
}

/* Marks that were made while the new area was written. */
static void carry_over(struct bitmap *to, const struct bitmap *from)
{
    uint64_t end = from->count < to->count ? from->count : to->count;

    for (uint64_t i = 0; i < end; i++) {
        if (bitmap_bit(from, i)) {
            bitmap_set_bits(to, i, i + 1);
        }
    }
}

static int resize_one(struct bitmap_set *set, unsigned i, uint64_t size)
{
    struct bitmap *old = set->bitmap[i];
    struct bitmap b;
    int r;

    if (bitmap_units_for(size, old->shift) <= old->units) {
        adjust(old, size);
        return bitmap_put_locked(old);
    }
    r = refit(set, old, size, &b);
    if (r != 0) {
        free(b.bits);
        free(b.state);
        return r;
    }
    carry_over(&b, old);
    free(old->bits);
    free(old->state);
    *old = b;
    return 0;
}

/* Areas first, the directory last: until it is there, the old size and areas count. */
int bitmap_set_resize(struct bitmap_set *set, uint64_t size_bytes, struct err *e)
{
    int r = 0;

    strand_lock(set->file.disk->strands, &set->lock);
    for (unsigned i = 0; r == 0 && i < set->count; i++) {
        r = resize_one(set, i, size_bytes);
    }
    if (r == 0) {
        set->size = size_bytes;
        set->changes++;
        r = bitmap_put_directory_locked(set);
    }
    strand_unlock(&set->lock);
    return r == 0 ? 0 : err_sys(e, r, "cannot resize the bitmaps");
}
