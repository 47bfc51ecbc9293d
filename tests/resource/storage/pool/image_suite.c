/* image_suite.c - images keep the promises of disks on a carved disk, and on a span over carved
 * disks of two stores; `qemu-img check` judges what is in them, also after power cuts. */
#include "host/loop/loop.h"
#include "resource/storage/pool/carve.h"
#include "resource/storage/pool/span.h"
#include "resource/storage/qcow2/qcow2.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/qcow2/judge.h"

#define ID      9u
#define SEGMENT 131072u

/* Leaks of earlier cuts stay until somebody repairs. */
static bool was_cut;

static int open_carved(struct loop *l, struct blk *take_device, uint32_t first,
                       unsigned count, struct blk **ret, struct err *e)
{
    struct place_store *s = NULL;
    int r = place_store_open(l, take_device, -1, &s, e);

    for (unsigned i = 0; r == 0 && i < count; i++) {
        r = place_carve_open(s, ID, first + i, false, &ret[i], e);
    }
    place_store_unref(s);
    return r;
}

static void make_carved(struct loop *l, struct blk *device)
{
    struct place_store *s = NULL;

    must_be_0(place_store_format(device, 65536, NULL));
    must_be_0(place_store_open(l, device, -1, &s, NULL));
    must_be_0(place_carve_add(s, ID, 0, NULL));
    must_be_0(place_carve_add(s, ID, 1, NULL));
    place_store_unref(s);
}

/* Disk 0 of the one store. */
static int file_on_one(struct loop *l, struct blk **take_lower, struct blk **ret)
{
    return open_carved(l, take_lower[0], 0, 1, ret, NULL);
}

/* A span over disk 0 of both, its map on disk 1 of the first. */
static int file_on_two(struct loop *l, struct blk **take_lower, struct blk **ret)
{
    struct place_span_options o = {.loop = l, .pieces = 2};
    struct blk *first[2] = {NULL, NULL};
    struct blk *piece[2] = {NULL, NULL};

    must_be_0(open_carved(l, take_lower[0], 0, 2, first, NULL));
    must_be_0(open_carved(l, take_lower[1], 0, 1, &piece[1], NULL));
    piece[0] = first[0];
    return place_span_open(first[1], piece, &o, ret, NULL);
}

/* ---- images ---- */

static int open_image(struct blk *take_file, struct blk **ret_disk, struct err *e)
{
    struct qcow2_open_options o = {.label = "image"};

    return qcow2_open(take_file, &o, ret_disk, e);
}

static int make_image(struct blk *take_file, uint64_t size_bytes, struct blk **ret_disk,
                      struct err *e)
{
    struct qcow2_create_options o = {.size_bytes = size_bytes, .cluster_bytes = 4096};

    was_cut = false;
    must_be_0(qcow2_create(take_file, &o, e));
    return open_image(take_file, ret_disk, e);
}

/* The devices outlive the stores that are made on them, by an edge. */
static void make_stores(struct loop *l, struct blk **lower, unsigned count,
                        struct blk_edge *keep)
{
    for (unsigned i = 0; i < count; i++) {
        keep[i] = (struct blk_edge){.user = "make", .lets = BLK_USE_ALL};
        must_be_0(blk_attach(&keep[i], lower[i], NULL));
        make_carved(l, lower[i]);
    }
}

static int make_on_one(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    struct blk_edge keep = {0};
    struct blk *file = NULL;

    make_stores(l, take_lower, 1, &keep);
    must_be_0(file_on_one(l, take_lower, &file));
    blk_detach(&keep);
    return make_image(file, size_bytes, ret_disk, e);
}

static int open_on_one(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    struct blk *file = NULL;

    (void)size_bytes;
    must_be_0(file_on_one(l, take_lower, &file));
    return open_image(file, ret_disk, e);
}

static int make_on_two(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    struct place_span_shape shape = {.segment_bytes = SEGMENT, .pieces = 2};
    struct blk_edge keep[2] = {{0}};
    struct blk *carved[2] = {NULL, NULL};
    struct blk *file = NULL;

    make_stores(l, take_lower, 2, keep);
    must_be_0(open_carved(l, take_lower[0], 0, 2, carved, NULL));
    must_be_0(place_span_format(carved[1], &shape, e));
    blk_drop(carved[0]);
    blk_drop(carved[1]);
    must_be_0(file_on_two(l, take_lower, &file));
    blk_detach(&keep[0]);
    blk_detach(&keep[1]);
    return make_image(file, size_bytes, ret_disk, e);
}

static int open_on_two(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    struct blk *file = NULL;

    (void)size_bytes;
    must_be_0(file_on_two(l, take_lower, &file));
    return open_image(file, ret_disk, e);
}

/* ---- the judge ---- */

static void check(struct blk *take_file, bool after_cut)
{
    int r;

    was_cut = was_cut || after_cut;
    judge_save(take_file, "carved.qcow2");
    blk_drop(take_file);
    r = judge_check("carved.qcow2");
    must(r == 0 || (was_cut && r == 3));
}

static void judge_one(struct loop *l, struct blk **lower, bool after_cut)
{
    struct blk *file = NULL;

    if (judge_is_there()) {
        must_be_0(file_on_one(l, lower, &file));
        check(file, after_cut);
    }
}

static void judge_two(struct loop *l, struct blk **lower, bool after_cut)
{
    struct blk *file = NULL;

    if (judge_is_there()) {
        must_be_0(file_on_two(l, lower, &file));
        check(file, after_cut);
    }
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "qcow2-on-carve",
         .lowers = 1,
         .lower_bytes = 24u << 20,
         .far = true,
         .absorbs = true,
         .power_rounds = 40,
         .make = make_on_one,
         .open = open_on_one,
         .judge = judge_one},
        {.name = "qcow2-on-span",
         .lowers = 2,
         .lower_bytes = 24u << 20,
         .far = true,
         .absorbs = true,
         .power_rounds = 40,
         .make = make_on_two,
         .open = open_on_two,
         .judge = judge_two},
    };

    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
