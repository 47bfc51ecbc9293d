/* grow.c - a store whose device has grown.
 *
 * The table was made for more extents than there were; the sheets behind those are zeros,
 * which are free entries.  So nothing moves: the head of the store says how many extents
 * there are, and the sheet that counts what is free says it too, which tells all who use the
 * store at that time.  Before the head is written the store is marked as being changed:
 * whoever dies in between leaves a count that is too low, and the next one counts anew. */
#include <errno.h>
#include <unistd.h>

#include "resource/storage/pool/carve_private.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How many extents a device of that size has room for. */
static uint32_t extents_for(const struct place_store *s, uint64_t bytes)
{
    uint64_t sheets = (s->data_at - s->table.at) / s->sheet_bytes;
    uint64_t extents = bytes > s->data_at ? (bytes - s->data_at) / s->extent_bytes : 0;

    extents = least(extents, sheets * s->table.per_sheet);
    return (uint32_t)least(extents, PLACE_EXTENTS_MOST);
}

static uint64_t device_bytes(const struct place_store *s)
{
    off_t end = s->lock_fd < 0 ? -1 : lseek(s->lock_fd, 0, SEEK_END);
    uint64_t block = blk_block_bytes(s->disk.disk);

    return end < 0 ? blk_size(s->disk.disk) : (uint64_t)end & ~(block - 1);
}

static void set_extents(struct place_store *s, uint32_t extents)
{
    s->extents = extents;
    s->table.sheets = (extents - 1) / s->table.per_sheet + 1;
}

/* The disk below is as large as its device. */
static int follow(struct place_store *s)
{
    uint64_t bytes = device_bytes(s);

    return bytes > blk_size(s->disk.disk) ? blk_resize(s->disk.disk, bytes, NULL) : 0;
}

bool place_store_can_grow(const struct place_store *s)
{
    return extents_for(s, device_bytes(s)) > s->extents;
}

void place_adopt_extents(struct place_store *s, uint32_t extents)
{
    if (extents > s->extents && follow(s) == 0 &&
        extents <= extents_for(s, blk_size(s->disk.disk))) {
        set_extents(s, extents);
    }
}

int place_grow_locked(struct place_store *s, uint32_t *ret_more)
{
    uint32_t before = s->extents;
    uint32_t now;
    int r = follow(s);

    *ret_more = 0;
    if (r != 0) {
        return r == -EOPNOTSUPP || r == -EROFS ? 0 : r;
    }
    now = extents_for(s, blk_size(s->disk.disk));
    if (now <= before) {
        return 0;
    }
    set_extents(s, now);
    r = place_super_write(s);
    if (r != 0) {
        set_extents(s, before);
        return r;
    }
    *ret_more = now - before;
    return 0;
}

int place_store_grow(struct place_store *s)
{
    struct place_count count;
    uint32_t more;
    int r = place_room_lock(s);

    if (r != 0) {
        return r;
    }
    r = place_room_get(s, &count); /* what others did */
    r = r == 0 ? place_room_extend(s, 0) : r;
    r = r == 0 ? place_grow_locked(s, &more) : r;
    r = r == 0 && more > 0 ? place_room_extend(s, more) : r;
    place_room_unlock(s);
    return r;
}

struct blk *place_store_disk(const struct place_store *s)
{
    return s->disk.disk;
}
