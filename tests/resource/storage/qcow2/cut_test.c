/* cut_test.c - the power goes in the middle of snapshots, resizing, bitmaps, flattening.
 *
 * Each operation is cut at its n-th write, n from 0 up until it passes untouched, with
 * everything unflushed surviving by chance.  The image then opens, reads what it read
 * before or after, and a repair leaves nothing for `qemu-img check` to find. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/qcow2/files.h"
#include "tests/resource/storage/qcow2/judge.h"

#define SIZE_BYTES (1024u * 1024)
#define SEEDS      6
#define CUTS_MOST  400

struct bench {
    struct loop *loop;
    struct blk *base; /* memory that outlives the image */
    struct blk_edge keep;
    struct blk *lower;
    struct blk *disk;
    struct blk_edge edge;
    uint64_t random;
    char *before; /* the contents as they may be found */
    char *after;
    uint64_t size_after;
};

static void put_lower(struct bench *s, bool holds_back)
{
    struct filter_fault_plan plan = {.seed = suite_random(&s->random) | 1,
                                     .holds_back = holds_back};
    struct err e = {0};

    must_be_0(filter_fault_create(s->loop, s->base, &plan, &s->lower, &e));
}

static void open_disk(struct bench *s, bool holds_back)
{
    struct qcow2_open_options o = {.label = "image", .alone = true};
    struct err e = {0};

    put_lower(s, holds_back);
    if (qcow2_open(s->lower, &o, &s->disk, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        judge_save(s->base, "bad");
        (void)judge_run("qemu-img check bad");
        abort();
    }
    s->edge = (struct blk_edge){.user = "test", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&s->edge, s->disk, &e));
}

/* Some data, on clusters new and old, some of it zeros. */
static void scribble(struct bench *s, unsigned count, char *model)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t n = (suite_random(&s->random) % 24 + 1) * 512;
        uint64_t off = suite_random(&s->random) % ((SIZE_BYTES - n) / 512) * 512;

        memset(model + off, (int)(suite_random(&s->random) % 255) + 1, n);
        must_be_0(blk_write(s->disk, model + off, n, off, 0));
    }
}

static void start(struct bench *s, uint64_t seed)
{
    struct qcow2_create_options o = {.size_bytes = SIZE_BYTES,
                                     .cluster_bytes = seed % 2 == 0 ? 2048 : 16384,
                                     .extended_l2 = seed % 4 == 3};
    struct err e = {0};

    s->random = seed * 77 + 1;
    must_be_0(leaf_memory_create(loop_strands(s->loop), 0, 512, &s->base, &e));
    s->base->grows = true;
    s->keep = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&s->keep, s->base, &e));
    must_be_0(qcow2_create(s->base, &o, &e));
    memset(s->before, 0, 2 * (size_t)SIZE_BYTES);
    s->size_after = SIZE_BYTES;
    open_disk(s, false);
    scribble(s, 30, s->before);
    memcpy(s->after, s->before, 2 * (size_t)SIZE_BYTES);
}

/* ---- the operations: 0, or -ENODEV when the power went ---- */

struct operation {
    const char *name;
    void (*prepare)(struct bench *s);
    int (*run)(struct bench *s);
};

static void prepare_snapshot(struct bench *s)
{
    struct err e = {0};

    must_be_0(qcow2_snapshot_create(s->disk, "first", &e));
    memcpy(s->after, s->before, SIZE_BYTES);
    scribble(s, 10, s->before);
}

static void prepare_nothing(struct bench *s)
{
    (void)s;
}

static int run_create(struct bench *s)
{
    struct err e = {0};

    memcpy(s->after, s->before, SIZE_BYTES);
    return qcow2_snapshot_create(s->disk, "second", &e);
}

static int run_apply(struct bench *s)
{
    struct err e = {0};

    return qcow2_snapshot_apply(s->disk, "first", &e);
}

static int run_delete(struct bench *s)
{
    struct err e = {0};

    memcpy(s->after, s->before, SIZE_BYTES);
    return qcow2_snapshot_delete(s->disk, "first", &e);
}

static int run_grow(struct bench *s)
{
    struct err e = {0};

    s->size_after = SIZE_BYTES + SIZE_BYTES / 2 + 512;
    return blk_resize(s->disk, s->size_after, &e);
}

static int run_shrink(struct bench *s)
{
    struct err e = {0};

    s->size_after = SIZE_BYTES / 2 + 512;
    return blk_resize(s->disk, s->size_after, &e);
}

static void prepare_bitmap(struct bench *s)
{
    struct err e = {0};

    must_be_0(qcow2_bitmap_create(s->disk, "kept", 4096, false, &e));
    must_be_0(qcow2_bitmap_create(s->disk, "live", 65536, true, &e));
    scribble(s, 10, s->before);
    must_be_0(qcow2_bitmap_merge(s->disk, "kept", "live", &e));
    memcpy(s->after, s->before, SIZE_BYTES);
}

static int run_bitmap(struct bench *s)
{
    struct err e = {0};
    int r = qcow2_bitmap_store(s->disk, &e);

    r = r != 0 ? r : qcow2_bitmap_create(s->disk, "new", 8192, true, &e);
    return r != 0 ? r : qcow2_bitmap_delete(s->disk, "kept", &e);
}

static int run_rebase(struct bench *s)
{
    struct err e = {0};
    int r = qcow2_rebase(s->disk, "another", "raw", &e);

    r = r != 0 ? r : qcow2_rebase(s->disk, "a-name-that-is-longer", "raw", &e);
    return r != 0 ? r : qcow2_rebase(s->disk, NULL, NULL, &e);
}

/* A name that lies behind the first block of the header. */
static int run_long_name(struct bench *s)
{
    struct err e = {0};
    char name[640];
    int r;

    for (size_t i = 0; i < sizeof name; i++) {
        name[i] = i % 2 == 0 ? '.' : '/';
    }
    (void)strcpy(name + sizeof name - 8, "another");
    r = qcow2_rebase(s->disk, name, "raw", &e);
    r = r != 0 ? r : qcow2_rebase(s->disk, name + 40, "raw", &e);
    return r != 0 ? r : qcow2_rebase(s->disk, NULL, NULL, &e);
}

static const struct operation operations[] = {
    {"snapshot is taken", prepare_snapshot, run_create},
    {"snapshot is gone back to", prepare_snapshot, run_apply},
    {"snapshot is deleted", prepare_snapshot, run_delete},
    {"disk grows", prepare_nothing, run_grow},
    {"disk shrinks", prepare_nothing, run_shrink},
    {"bitmaps are stored", prepare_bitmap, run_bitmap},
    {"backing file is renamed", prepare_nothing, run_rebase},
    {"backing file has a long name", prepare_nothing, run_long_name},
};

/* ---- afterwards ---- */

static bool reads_as(struct bench *s, const char *model, uint64_t size)
{
    char *room = calloc(1, 2 * (size_t)SIZE_BYTES);
    bool so = blk_size(s->disk) == size;

    if (so) {
        must_be_0(blk_read(s->disk, room, size, 0));
        so = memcmp(room, model, size) == 0;
    }
    free(room);
    return so;
}

static void look_after(struct bench *s, const char *name)
{
    struct qcow2_check_result x;
    struct err e = {0};

    open_disk(s, false);
    if (!reads_as(s, s->before, SIZE_BYTES) && !reads_as(s, s->after, s->size_after)) {
        (void)fprintf(stderr, "%s: neither the old contents nor the new\n", name);
        abort();
    }
    must_be_0(qcow2_check(s->disk, QCOW2_REPAIR_ALL, &x, &e));
    must(x.corruptions == 0 && x.leaks == 0);
    must(reads_as(s, s->before, SIZE_BYTES) || reads_as(s, s->after, s->size_after));
    blk_detach(&s->edge);
    if (judge_is_there()) {
        judge_save(s->base, "after");
        (void)judge_run("touch another a-name-that-is-longer");
        if (judge_check("after") != 0) {
            (void)fprintf(stderr, "%s:\n", name);
            (void)judge_run("tail -5 check.log");
            abort();
        }
    }
}

static int cut_operation(struct bench *s, const struct operation *op, uint64_t seed,
                         unsigned cut)
{
    int r;

    start(s, seed);
    op->prepare(s);
    must_be_0(blk_flush(s->disk));
    blk_detach(&s->edge);
    open_disk(s, true);
    filter_fault_cut_after(s->lower, cut);
    r = op->run(s);
    must(r == 0 || filter_fault_is_cut(s->lower));
    if (!filter_fault_is_cut(s->lower)) {
        filter_fault_cut(s->lower);
    }
    blk_detach(&s->edge);
    look_after(s, op->name);
    blk_detach(&s->keep);
    return r;
}

static int cut_everywhere(void *arg)
{
    struct bench *s = arg;
    const char *more = getenv("CUT_SEEDS");
    uint64_t seeds = more != NULL ? strtoull(more, NULL, 10) : SEEDS;

    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        for (uint64_t seed = 1; seed <= seeds; seed++) {
            unsigned cut = 0;

            while (cut_operation(s, &operations[i], seed, cut) != 0) {
                cut += cut < 8 ? 1 : 3;
                must(cut < CUTS_MOST);
            }
        }
    }
    return 0;
}

static void a_cut_leaves_the_old_or_the_new(void **state)
{
    struct bench s = {.before = calloc(2, SIZE_BYTES), .after = calloc(2, SIZE_BYTES)};

    (void)state;
    assert_int_equal(loop_create(LOOP_DRIVER_AUTO, &s.loop, NULL), 0);
    assert_int_equal(loop_do(s.loop, cut_everywhere, &s), 0);
    loop_destroy(s.loop);
    free(s.before);
    free(s.after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_leaves_the_old_or_the_new),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
