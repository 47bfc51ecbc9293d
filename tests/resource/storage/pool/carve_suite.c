/* carve_suite.c - a carved disk keeps the promises of disks: alone on a store, and beside others
 * whose extents lie between its own. */
#include "contract/blk_ops.h"
#include "resource/storage/pool/carve.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/pool/table.h"

#define ID    0x1234u
#define OTHER 0x77u

static int open_id(struct loop *l, struct blk *take_lower, uint64_t id,
                   struct blk **ret_disk, struct err *e)
{
    struct place_store *s = NULL;
    int r = place_store_open(l, take_lower, -1, &s, e);

    if (r == 0) {
        r = place_carve_open(s, id, 0, false, ret_disk, e);
        place_store_unref(s);
    }
    return r;
}

static int open_alone(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    int r = open_id(l, take_lower[0], ID, ret_disk, e);

    (void)size_bytes;
    if (r == 0) {
        (*ret_disk)->grows = false; /* the suite asks what is behind the end */
    }
    return r;
}

static int make(struct loop *l, struct blk *take_lower, uint32_t extent, uint64_t size,
                struct blk **ret_disk, struct err *e)
{
    struct place_store *s = NULL;
    int r = place_store_format(take_lower, extent, e);

    *ret_disk = NULL;
    if (r != 0) {
        blk_drop(take_lower);
        return r;
    }
    r = place_store_open(l, take_lower, -1, &s, e);
    if (r == 0) {
        r = place_carve_add(s, ID, 0, e);
        r = r == 0 ? place_carve_open(s, ID, 0, false, ret_disk, e) : r;
        place_store_unref(s);
    }
    if (r == 0) {
        (*ret_disk)->grows = false;
        r = blk_resize(*ret_disk, size, e);
    }
    r = r == 0 ? blk_flush(*ret_disk) : r;
    if (r != 0) {
        blk_drop(*ret_disk);
    }
    return r;
}

static int make_small(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    return make(l, take_lower[0], 65536, size_bytes, ret_disk, e);
}

static int make_large(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    return make(l, take_lower[0], 524288, size_bytes, ret_disk, e);
}

/* Closed in order, a store has nothing set aside, and counts right. */
static void nothing_leaks(struct loop *l, struct blk **lower, bool after_cut)
{
    struct table_count c = table_count(lower[0]);
    struct place_store *s = NULL;

    if (!after_cut) {
        must(c.reserved == 0 && c.free == c.counted);
    } else {
        must_be_0(place_store_open(l, lower[0], -1, &s, NULL));
        must_be_0(place_store_sweep(s));
        place_store_unref(s);
        c = table_count(lower[0]);
        must(c.reserved == 0 && c.free == c.counted);
    }
    must(c.free + c.used == c.extents);
}

/* ---- beside others ---- */

static void fill_other(struct blk *other, struct blk *disk)
{
    char room[65536];

    for (unsigned i = 0; i < 20; i++) {
        memset(room, (int)i + 1, sizeof room);
        must_be_0(blk_write(other, room, sizeof room, i * sizeof room, 0));
        must_be_0(blk_write(disk, room, 4096, i * 2 * sizeof room, 0));
        must_be_0(blk_zero(disk, i * 2 * sizeof room, 4096, i % 2 != 0 ? BLK_UNMAP : 0));
    }
    must_be_0(blk_flush(other));
    must_be_0(blk_flush(disk));
}

static int make_beside(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    struct place_store *s = NULL;
    struct blk *other = NULL;
    int r = place_store_format(take_lower[0], 65536, e);

    if (r != 0) {
        blk_drop(take_lower[0]);
        return r;
    }
    r = place_store_open(l, take_lower[0], -1, &s, e);
    if (r != 0) {
        return r;
    }
    r = place_carve_add(s, ID, 0, e);
    r = r == 0 ? place_carve_add(s, OTHER, 0, e) : r;
    r = r == 0 ? place_carve_open(s, ID, 0, false, ret_disk, e) : r;
    r = r == 0 ? place_carve_open(s, OTHER, 0, false, &other, e) : r;
    if (r == 0) {
        fill_other(other, *ret_disk);
        r = blk_resize(*ret_disk, size_bytes, e);
    }
    r = r == 0 ? blk_flush(*ret_disk) : r;
    if (r == 0) {
        (*ret_disk)->grows = false;
    }
    blk_drop(other);
    place_store_unref(s);
    return r;
}

static void other_is_whole(struct loop *l, struct blk **lower, bool after_cut)
{
    struct blk *other = NULL;
    char room[65536];
    char want[65536];

    nothing_leaks(l, lower, after_cut);
    must_be_0(open_id(l, lower[0], OTHER, &other, NULL));
    for (unsigned i = 0; i < 20; i++) {
        memset(want, (int)i + 1, sizeof want);
        must_be_0(blk_read(other, room, sizeof room, i * sizeof room));
        must(memcmp(room, want, sizeof want) == 0);
    }
    blk_drop(other);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "carve",
         .lowers = 1,
         .lower_bytes = 16u << 20,
         .power_rounds = 200,
         .make = make_small,
         .open = open_alone,
         .judge = nothing_leaks},
        {.name = "carve-large",
         .lowers = 1,
         .lower_bytes = 32u << 20,
         .make = make_large,
         .open = open_alone},
        {.name = "carve-beside",
         .lowers = 1,
         .lower_bytes = 16u << 20,
         .far = true,
         .make = make_beside,
         .open = open_alone,
         .judge = other_is_whole},
    };

    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
