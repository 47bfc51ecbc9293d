/* suite.c - images of all kinds keep the promises of contract/blk.h.
 *
 * The judge writes the file to the file system and asks `qemu-img check`: an image is
 * never corrupt; after a power cut it may have leaks. */
#include <stdlib.h>
#include <string.h>

#include "contract/blk_source.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/qcow2/qcow2.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/qcow2/judge.h"

/* Leaks of earlier cuts stay until somebody repairs. */
static bool was_cut;

/* "zeros": a disk of zeros that are data; "data": the second disk below. */
struct suite_source {
    struct blk_source source; /* first */
    struct loop *loop;
    struct blk *data;
};

static int open_named(struct blk_source *base, const char *name, const char *format,
                      bool read_only, struct blk **ret, struct err *e)
{
    struct suite_source *s = (struct suite_source *)base;
    static const char zeros[1u << 20];
    int r;

    (void)format;
    (void)read_only;
    if (strcmp(name, "data") == 0) {
        *ret = s->data;
        s->data = NULL;
        return 0;
    }
    r = leaf_memory_create(loop_strands(s->loop), sizeof zeros, 512, ret, e);
    if (r == 0) {
        r = blk_write(*ret, zeros, sizeof zeros, 0, 0);
        if (r != 0) {
            blk_drop(*ret);
        }
    }
    return r;
}

static int open_with(struct loop *l, struct blk **take_lower, struct blk *take_data,
                     struct blk **ret_disk, struct err *e)
{
    struct suite_source s = {{open_named}, l, take_data};
    struct qcow2_open_options o = {.label = "image", .source = &s.source};
    int r = qcow2_open(take_lower[0], &o, ret_disk, e);

    blk_drop(s.data);
    return r;
}

static int open_image(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return open_with(l, take_lower, NULL, ret_disk, e);
}

static int open_with_data(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                          struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return open_with(l, take_lower, take_lower[1], ret_disk, e);
}

static int make_image(struct loop *l, struct blk **take_lower,
                      struct qcow2_create_options o, struct blk **ret_disk, struct err *e)
{
    int r = qcow2_create(take_lower[0], &o, e);

    was_cut = false;
    if (r != 0) {
        blk_drop(take_lower[0]);
        if (o.data_name != NULL) {
            blk_drop(take_lower[1]);
        }
        return r;
    }
    return open_with(l, take_lower, o.data_name != NULL ? take_lower[1] : NULL, ret_disk,
                     e);
}

#define MAKE(name, ...)                                                                  \
    static int name(struct loop *l, struct blk **take_lower, uint64_t size_bytes,        \
                    struct blk **ret_disk, struct err *e)                                \
    {                                                                                    \
        return make_image(                                                               \
            l, take_lower,                                                               \
            (struct qcow2_create_options){.size_bytes = size_bytes, __VA_ARGS__},        \
            ret_disk, e);                                                                \
    }

MAKE(make_usual, .version_2 = false)
MAKE(make_version_2, .version_2 = true)
MAKE(make_small, .cluster_bytes = 512)
MAKE(make_small_counts, .cluster_bytes = 1024, .refcount_bits = 1)
MAKE(make_wide_counts, .cluster_bytes = 512, .refcount_bits = 64)
MAKE(make_large, .cluster_bytes = 1u << 20)
MAKE(make_extended, .extended_l2 = true, .cluster_bytes = 16384)
MAKE(make_extended_large, .extended_l2 = true, .cluster_bytes = 131072)
MAKE(make_lazy, .lazy_refcounts = true, .cluster_bytes = 4096)
MAKE(make_preallocated, .preallocate_metadata = true, .cluster_bytes = 4096)

MAKE(make_based, .backing_name = "zeros", .backing_format = "raw")
MAKE(make_based_small, .cluster_bytes = 2048, .backing_name = "zeros",
     .backing_format = "raw")
MAKE(make_based_extended, .extended_l2 = true, .cluster_bytes = 131072,
     .backing_name = "zeros", .backing_format = "raw")
MAKE(make_with_data, .cluster_bytes = 4096, .data_name = "data")

/* All that is written from now on is shared with a snapshot first. */
static int make_with_snapshot(struct loop *l, struct blk **take_lower,
                              uint64_t size_bytes, struct blk **ret_disk, struct err *e)
{
    int r = make_small(l, take_lower, size_bytes, ret_disk, e);

    if (r == 0) {
        r = blk_zero(*ret_disk, 0, size_bytes, 0);
        r = r != 0 ? r : qcow2_snapshot_create(*ret_disk, "before", e);
        if (r != 0) {
            blk_drop(*ret_disk);
        }
    }
    return r;
}

static void judge(struct loop *l, struct blk **lower, bool after_cut)
{
    int r;

    (void)l;
    if (!judge_is_there()) {
        return;
    }
    was_cut |= after_cut;
    judge_save(lower[0], "judged");
    (void)judge_run("touch zeros data");
    r = judge_check("judged");
    if (r != 0 && !(r == 3 && was_cut)) {
        (void)judge_run("cat check.log");
        abort();
    }
}

/* After a cut the counts of lazy images are to be made anew, not to be believed. */
static void judge_lazy(struct loop *l, struct blk **lower, bool after_cut)
{
    was_cut |= after_cut;
    if (!after_cut) {
        judge(l, lower, false);
        return;
    }
    if (judge_is_there()) {
        judge_save(lower[0], "judged");
        must(judge_run("qemu-img check -q -r all judged >check.log 2>&1") == 0 ||
             judge_check("judged") == 0);
    }
}

#define IMAGE .lowers = 1, .lower_grows = true, .open = open_image, .power_rounds = 12

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "usual", IMAGE, .make = make_usual, .judge = judge},
        {.name = "version 2", IMAGE, .make = make_version_2, .judge = judge},
        {.name = "small clusters", IMAGE, .make = make_small, .judge = judge},
        {.name = "small counts", IMAGE, .make = make_small_counts, .judge = judge},
        {.name = "wide counts", IMAGE, .make = make_wide_counts, .judge = judge},
        {.name = "large clusters", IMAGE, .make = make_large, .judge = judge},
        {.name = "extended", IMAGE, .make = make_extended, .judge = judge},
        {.name = "extended, large", IMAGE, .make = make_extended_large, .judge = judge},
        {.name = "lazy", IMAGE, .make = make_lazy, .judge = judge_lazy},
        {.name = "preallocated", IMAGE, .make = make_preallocated, .judge = judge},
        {.name = "based", IMAGE, .make = make_based, .judge = judge},
        {.name = "based, small", IMAGE, .make = make_based_small, .judge = judge},
        {.name = "based, extended", IMAGE, .make = make_based_extended, .judge = judge},
        {.name = "snapshot", IMAGE, .make = make_with_snapshot, .judge = judge},
        {.name = "data file",
         .lowers = 2,
         .lower_grows = true,
         .power_rounds = 12,
         .open = open_with_data,
         .make = make_with_data,
         .judge = judge},
    };

    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
