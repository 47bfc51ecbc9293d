/* span_suite.c - a span keeps the promises of disks: over three pieces, as what a plain disk
 * became, and with two copies of its map. */
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/pool/span.h"
#include "resource/storage/redundancy/mirror.h"
#include "tests/contract/blk_suite.h"

#define MAP     3 /* the last of the lower disks */
#define SEGMENT 65536u

/* Room that makes the pieces take turns. */
static uint64_t room_of(void *arg, unsigned piece)
{
    (void)arg;
    return piece + 1;
}

static int open_span(struct loop *l, struct blk **take_lower, place_room_fn room,
                     struct blk **ret_disk, struct err *e)
{
    struct place_span_options o = {.loop = l, .pieces = MAP, .room = room};
    int r = place_span_open(take_lower[MAP], take_lower, &o, ret_disk, e);

    if (r == 0) {
        (*ret_disk)->grows = false; /* the suite asks what is behind the end */
    }
    return r;
}

static int make(struct loop *l, struct blk **take_lower,
                const struct place_span_shape *shape, struct blk **ret_disk,
                struct err *e)
{
    int r = place_span_format(take_lower[MAP], shape, e);

    if (r != 0) {
        for (unsigned i = 0; i <= MAP; i++) {
            blk_drop(take_lower[i]);
        }
        return r;
    }
    return open_span(l, take_lower, NULL, ret_disk, e);
}

static int make_spread(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    struct place_span_shape shape = {
        .segment_bytes = SEGMENT, .pieces = MAP, .size_bytes = size_bytes};

    return make(l, take_lower, &shape, ret_disk, e);
}

static int open_spread(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return open_span(l, take_lower, NULL, ret_disk, e);
}

/* A plain disk, of which the first part is there. */
static int make_of_plain(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                         struct blk **ret_disk, struct err *e)
{
    struct place_span_shape shape = {.segment_bytes = SEGMENT,
                                     .pieces = 1,
                                     .size_bytes = size_bytes / 2,
                                     .on_first = true};
    int r = blk_resize(take_lower[0], size_bytes, e); /* it went on growing */

    if (r != 0) {
        for (unsigned i = 0; i <= MAP; i++) {
            blk_drop(take_lower[i]);
        }
        return r;
    }
    return make(l, take_lower, &shape, ret_disk, e);
}

static int open_of_plain(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                         struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return open_span(l, take_lower, room_of, ret_disk, e);
}

/* ---- two maps, a mirror ---- */

#define MAP_BYTES ((uint64_t)1 << 20)
#define MAP_ROOM  ((uint64_t)4 << 20) /* and what a mirror needs */

static int drop_all(struct blk **take_lower, int r)
{
    for (unsigned i = 0; i < MAP + 2; i++) {
        blk_drop(take_lower[i]);
    }
    return r;
}

/* The mirror takes the place of the first map. */
static int open_two(struct loop *l, struct blk **take_lower, struct blk **ret_disk,
                    struct err *e)
{
    struct mirror_options o = {.degraded = true};
    struct blk *all[MAP + 1] = {take_lower[0], take_lower[1], take_lower[2]};
    int r = mirror_open(l, take_lower + MAP, 2, &o, &all[MAP], e);

    if (r != 0) {
        for (unsigned i = 0; i < MAP; i++) {
            blk_drop(all[i]);
        }
        return r;
    }
    return open_span(l, all, NULL, ret_disk, e);
}

static int make_two_maps(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                         struct blk **ret_disk, struct err *e)
{
    struct place_span_shape shape = {
        .segment_bytes = SEGMENT, .pieces = MAP, .size_bytes = size_bytes};
    struct mirror_format f = {.size_bytes = MAP_BYTES, .same = true};
    struct mirror_options o = {.degraded = false};
    struct blk *all[MAP + 1] = {take_lower[0], take_lower[1], take_lower[2]};
    int r = blk_resize(take_lower[MAP], MAP_ROOM, e);

    r = r == 0 ? blk_resize(take_lower[MAP + 1], MAP_ROOM, e) : r;
    r = r == 0 ? mirror_format(take_lower + MAP, 2, &f, e) : r;
    if (r != 0) {
        return drop_all(take_lower, r);
    }
    r = mirror_open(l, take_lower + MAP, 2, &o, &all[MAP], e);
    if (r != 0) {
        for (unsigned i = 0; i < MAP; i++) {
            blk_drop(all[i]);
        }
        return r;
    }
    return make(l, all, &shape, ret_disk, e);
}

static int open_two_maps(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                         struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return open_two(l, take_lower, ret_disk, e);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "span",
         .lowers = MAP + 1,
         .lower_grows = true,
         .power_rounds = 200,
         .make = make_spread,
         .open = open_spread},
        {.name = "span-of-plain",
         .lowers = MAP + 1,
         .lower_grows = true,
         .make = make_of_plain,
         .open = open_of_plain},
        {.name = "span-of-two-maps",
         .lowers = MAP + 2,
         .lower_grows = true,
         .power_rounds = 200,
         .make = make_two_maps,
         .open = open_two_maps},
    };

    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
