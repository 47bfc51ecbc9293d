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

static int open_image(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    struct qcow2_open_options o = {.label = "image"};

    (void)l;
    (void)size_bytes;
    return qcow2_open(take_lower[0], &o, ret_disk, e);
}

/* Leaks of earlier cuts stay until somebody repairs. */
static bool was_cut;

static int make_image(struct blk **take_lower, struct qcow2_create_options o,
                      struct blk **ret_disk, struct err *e)
{
    int r = qcow2_create(take_lower[0], &o, e);

    was_cut = false;
    if (r != 0) {
        blk_drop(take_lower[0]);
        return r;
    }
    return open_image(NULL, take_lower, o.size_bytes, ret_disk, e);
}

#define MAKE(name, ...)                                                                  \
    static int name(struct loop *l, struct blk **take_lower, uint64_t size_bytes,        \
                    struct blk **ret_disk, struct err *e)                                \
    {                                                                                    \
        (void)l;                                                                         \
        return make_image(                                                               \
            take_lower,                                                                  \
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

static void judge(struct loop *l, struct blk **lower, bool after_cut)
{
    int r;

    (void)l;
    if (!judge_is_there()) {
        return;
    }
    was_cut |= after_cut;
    judge_save(lower[0], "judged");
    r = judge_check("judged");
    if (r != 0 && !(r == 3 && was_cut)) {
        (void)judge_run("cat check.log; cp judged /var/tmp/judged.qcow2");
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

#define IMAGE .lowers = 1, .lower_grows = true, .open = open_image

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
    };

    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
