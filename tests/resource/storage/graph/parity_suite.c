/* parity_suite.c - encrypted images keep the promises of disks over arrays with parity: the image,
 * LUKS header included, lies on the array as a whole.  After power cuts the array is opened
 * without as many members as it may lose; and one that lost as many before anything was written
 * keeps the same promises without them. */
#include <string.h>

#include "host/loop/loop.h"
#include "resource/storage/graph/crypt.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/redundancy/raid.h"
#include "tests/contract/blk_suite.h"

#define CHUNK       65536u
#define JOURNAL     (1u << 20)
#define ROOM        (8u << 20) /* of the array: for the header and the image's tables */
#define LOWER_BYTES (24u << 20)

static const struct luks_secret secret = {"a passphrase", 12};
static const struct luks_cost cost = {.pbkdf2 = true, .rounds = 1000};

static int open_image(struct loop *l, struct blk *take_array, struct blk **ret_disk,
                      struct err *e)
{
    struct luks_known *known = NULL;
    const struct crypt_key key = {.secret = &secret, .known = &known};
    struct qcow2_open_options o = {.label = "image", .loop = l};
    int r = crypt_create(l, &key, &o.crypt);

    if (r == 0) {
        r = qcow2_open(take_array, &o, ret_disk, e);
    } else {
        blk_drop(take_array);
    }
    luks_known_free(known);
    return r;
}

static unsigned count_of(unsigned level)
{
    return level == 6 ? 5 : 4;
}

/* Members without a disk have one while the array is made, and never again. */
static int make_lost(struct loop *l, struct blk *const *lower,
                     const struct raid_format *f, struct err *e)
{
    struct blk *all[8] = {NULL};
    unsigned lost = f->level - 4;
    int r = 0;

    memcpy(all, lower, count_of(f->level) * sizeof all[0]);
    for (unsigned i = 0; r == 0 && i < lost; i++) {
        r = leaf_memory_create(loop_strands(l), LOWER_BYTES, 512, &all[i], e);
    }
    r = r == 0 ? raid_format(l, all, count_of(f->level), f, e) : r;
    for (unsigned i = 0; i < lost; i++) {
        blk_drop(all[i]);
    }
    return r;
}

static int make(struct loop *l, struct blk **take_lower, unsigned level, uint64_t size,
                struct blk **ret_disk, struct err *e)
{
    unsigned count = count_of(level);
    struct raid_format f = {.level = level,
                            .chunk_bytes = CHUNK,
                            .size_bytes = size + size / 32 + ROOM,
                            .journal_bytes = JOURNAL};
    struct raid_options o = {.level = level, .degraded = true};
    struct crypt_new header;
    struct qcow2_create_options image = {.size_bytes = size, .cluster_bytes = CHUNK};
    struct blk *array = NULL;
    int r = take_lower[0] == NULL ? make_lost(l, take_lower, &f, e)
                                  : raid_format(l, take_lower, count, &f, e);

    if (r != 0) {
        for (unsigned i = 0; i < count; i++) {
            blk_drop(take_lower[i]);
        }
        return r;
    }
    r = raid_open(l, take_lower, count, &o, &array, e);
    crypt_new_init(&header, l, &secret, &cost);
    image.crypt = &header.maker;
    if (r == 0) {
        struct blk_edge keep = {.user = "make", .lets = BLK_USE_ALL};

        must_be_0(blk_attach(&keep, array, e));
        r = qcow2_create(array, &image, e);
        r = r == 0 ? open_image(l, array, ret_disk, e) : r;
        blk_detach(&keep);
    }
    return r;
}

/* Without one member for each parity, the first that may be lost of a chance order; what failed
 * before is among those that are. */
static int open_degraded(struct loop *l, struct blk **take_lower, unsigned count,
                         unsigned level, struct blk **ret_disk, struct err *e)
{
    struct raid_options o = {.level = level, .degraded = true};
    struct blk_edge keep[8] = {{0}};
    struct blk *array = NULL;
    uint64_t random = loop_now_ns(l) | 1;
    unsigned start = (unsigned)(suite_random(&random) % (1u << count));
    int r = -1;

    for (unsigned i = 0; i < count; i++) {
        keep[i] = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
        must_be_0(blk_attach(&keep[i], take_lower[i], e));
    }
    for (unsigned i = 0; r != 0 && i < 1u << count; i++) {
        unsigned away = (start + i) % (1u << count);
        struct blk *some[8];

        if ((unsigned)__builtin_popcount(away) != level - 4) {
            continue;
        }
        for (unsigned k = 0; k < count; k++) {
            some[k] = (away >> k & 1) != 0 ? NULL : take_lower[k];
        }
        *e = (struct err){0};
        r = raid_open(l, some, count, &o, &array, e);
    }
    if (r == 0) {
        blk_drop(array);
        r = raid_open(l, take_lower, count, &o, &array, e); /* those are made anew */
    }
    for (unsigned i = 0; i < count; i++) {
        blk_detach(&keep[i]);
    }
    return r == 0 ? open_image(l, array, ret_disk, e) : r;
}

/* The disks of the suite are the last members; the first are away. */
static void line_up(unsigned level, struct blk **take_lower, struct blk *out[8])
{
    unsigned lost = level - 4;

    memset(out, 0, lost * sizeof out[0]);
    memcpy(out + lost, take_lower, (count_of(level) - lost) * sizeof out[0]);
}

static int open_lost(struct loop *l, struct blk **take_lower, unsigned level,
                     struct blk **ret_disk, struct err *e)
{
    struct raid_options o = {.level = level, .degraded = true};
    struct blk *array = NULL;
    struct blk *all[8];
    int r;

    line_up(level, take_lower, all);
    r = raid_open(l, all, count_of(level), &o, &array, e);
    return r == 0 ? open_image(l, array, ret_disk, e) : r;
}

#define LOST(name, level)                                                                \
    static int make_##name(struct loop *l, struct blk **take_lower, uint64_t size_bytes, \
                           struct blk **ret_disk, struct err *e)                         \
    {                                                                                    \
        struct blk *all[8];                                                              \
                                                                                         \
        line_up(level, take_lower, all);                                                 \
        return make(l, all, level, size_bytes, ret_disk, e);                             \
    }                                                                                    \
    static int open_##name(struct loop *l, struct blk **take_lower, uint64_t size_bytes, \
                           struct blk **ret_disk, struct err *e)                         \
    {                                                                                    \
        (void)size_bytes;                                                                \
        return open_lost(l, take_lower, level, ret_disk, e);                             \
    }

#define ROW(name, count, level)                                                          \
    static int make_##name(struct loop *l, struct blk **take_lower, uint64_t size_bytes, \
                           struct blk **ret_disk, struct err *e)                         \
    {                                                                                    \
        return make(l, take_lower, level, size_bytes, ret_disk, e);                      \
    }                                                                                    \
    static int open_##name(struct loop *l, struct blk **take_lower, uint64_t size_bytes, \
                           struct blk **ret_disk, struct err *e)                         \
    {                                                                                    \
        (void)size_bytes;                                                                \
        return open_degraded(l, take_lower, count, level, ret_disk, e);                  \
    }

ROW(five, 4, 5)
ROW(six, 5, 6)
LOST(five_without_one, 5)
LOST(six_without_two, 6)

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "encrypted-on-raid5",
         .lowers = 4,
         .lower_bytes = LOWER_BYTES,
         .far = true,
         .absorbs = true,
         .power_rounds = 20,
         .make = make_five,
         .open = open_five},
        {.name = "encrypted-on-raid6",
         .lowers = 5,
         .lower_bytes = LOWER_BYTES,
         .far = true,
         .absorbs = true,
         .power_rounds = 20,
         .make = make_six,
         .open = open_six},
        {.name = "encrypted-on-raid5-without-one",
         .lowers = 3,
         .lower_bytes = LOWER_BYTES,
         .far = true,
         .absorbs = true,
         .power_rounds = 10,
         .make = make_five_without_one,
         .open = open_five_without_one},
        {.name = "encrypted-on-raid6-without-two",
         .lowers = 3,
         .lower_bytes = LOWER_BYTES,
         .far = true,
         .absorbs = true,
         .power_rounds = 10,
         .make = make_six_without_two,
         .open = open_six_without_two},
    };

    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
