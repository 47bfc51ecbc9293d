/* damage_test.c - images that are wrong: refused with a reason, found by the check,
 * repaired so that `qemu-img check` agrees. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/qcow2/files.h"
#include "tests/resource/storage/qcow2/judge.h"

#define MIB     (1024u * 1024)
#define CLUSTER 4096u

struct test {
    struct loop *loop;
    struct blk *file;
    struct blk_edge keep;
    struct blk *disk;
    struct blk_edge edge;
    uint64_t l1_at;
    uint64_t rt_at;
};

static int start(void **state)
{
    static struct test t;

    t = (struct test){0};
    *state = &t;
    return loop_create(LOOP_DRIVER_AUTO, &t.loop, NULL);
}

static int stop(void **state)
{
    loop_destroy(((struct test *)*state)->loop);
    return 0;
}

static uint64_t get(struct test *t, uint64_t at, unsigned bytes)
{
    uint8_t room[1024];
    uint64_t v = 0;

    must_be_0(blk_read(t->file, room, sizeof room, at & ~(uint64_t)511));
    for (unsigned i = 0; i < bytes; i++) {
        v = v << 8 | room[at % 512 + i];
    }
    return v;
}

static void put(struct test *t, uint64_t at, unsigned bytes, uint64_t v)
{
    uint8_t room[1024];

    must_be_0(blk_read(t->file, room, sizeof room, at & ~(uint64_t)511));
    for (unsigned i = 0; i < bytes; i++) {
        room[at % 512 + i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
    }
    must_be_0(blk_write(t->file, room, sizeof room, at & ~(uint64_t)511, 0));
}

static int open_it(struct test *t, bool for_repair, bool read_only, struct err *e)
{
    struct qcow2_open_options o = {
        .label = "image", .for_repair = for_repair, .read_only = read_only};
    int r = qcow2_open(t->file, &o, &t->disk, e);

    if (r == 0) {
        t->edge = (struct blk_edge){.user = "test",
                                    .uses = read_only ? BLK_USE_READ : BLK_USE_ALL,
                                    .lets = BLK_USE_ALL};
        must_be_0(blk_attach(&t->edge, t->disk, e));
    }
    return r;
}

/* Each cluster of the first MiB but the second has its number. */
static void make(struct test *t)
{
    struct qcow2_create_options o = {.size_bytes = 4 * MIB, .cluster_bytes = CLUSTER};
    char room[CLUSTER];
    struct err e = {0};

    must_be_0(leaf_memory_create(loop_strands(t->loop), 0, 512, &t->file, &e));
    t->file->grows = true;
    t->keep = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&t->keep, t->file, &e));
    must_be_0(qcow2_create(t->file, &o, &e));
    must_be_0(open_it(t, false, false, &e));
    for (unsigned i = 0; i < MIB / CLUSTER; i++) {
        memset(room, (int)i + 1, sizeof room);
        if (i != 1) {
            must_be_0(blk_write(t->disk, room, sizeof room, i * (uint64_t)CLUSTER, 0));
        }
    }
    blk_detach(&t->edge);
    t->l1_at = get(t, 40, 8);
    t->rt_at = get(t, 48, 8);
}

static uint64_t l2_at(struct test *t)
{
    return get(t, t->l1_at, 8) & 0x00fffffffffffe00u;
}

static uint64_t counts_at(struct test *t)
{
    return get(t, t->rt_at, 8);
}

static bool is_whole(struct test *t, unsigned but_cluster)
{
    char room[CLUSTER];
    bool so = true;

    for (unsigned i = 0; i < MIB / CLUSTER; i++) {
        must_be_0(blk_read(t->disk, room, sizeof room, i * (uint64_t)CLUSTER));
        so = so && (i == but_cluster || room[77] == (char)(i == 1 ? 0 : i + 1));
    }
    return so;
}

/* ---- found and repaired ---- */

static void leak(struct test *t)
{
    put(t, counts_at(t) + 2 * 300, 2, 1);
}

static void count_too_low(struct test *t)
{
    uint64_t host = get(t, l2_at(t) + 8 * 5, 8) & 0x00fffffffffffe00u;

    put(t, counts_at(t) + 2 * (host / CLUSTER), 2, 0);
}

static void wrong_flag(struct test *t)
{
    uint64_t at = l2_at(t) + 8 * 5;

    put(t, at, 8, get(t, at, 8) & ~((uint64_t)1 << 63));
}

/* Two guest clusters lead to one host cluster. */
static void shared_data(struct test *t)
{
    put(t, l2_at(t) + 8, 8, get(t, l2_at(t) + 8 * 5, 8));
}

/* A guest cluster leads to the table of counts. */
static void data_on_table(struct test *t)
{
    put(t, l2_at(t) + 8, 8, t->rt_at | (uint64_t)1 << 63);
}

static void no_counts(struct test *t)
{
    put(t, t->rt_at, 8, 0);
}

static void counts_outside(struct test *t)
{
    put(t, t->rt_at, 8, (uint64_t)1 << 40);
}

static void counts_twice(struct test *t)
{
    put(t, t->rt_at + 8, 8, get(t, t->rt_at, 8));
}

static void counts_on_l2(struct test *t)
{
    put(t, t->rt_at, 8, l2_at(t));
}

static const struct damage {
    const char *name;
    void (*make)(struct test *t);
    bool leak_only;
    bool same_cluster; /* guest cluster 1 reads what it was made to read */
} damages[] = {
    {"leak", leak, true, false},
    {"count too low", count_too_low, false, false},
    {"wrong flag", wrong_flag, false, false},
    {"shared data", shared_data, false, true},
    {"data on the table of counts", data_on_table, false, true},
    {"no counts", no_counts, false, false},
    {"counts outside of the file", counts_outside, false, false},
    {"counts used twice", counts_twice, false, false},
    {"counts on an L2 table", counts_on_l2, false, false},
};

static int repair_one(struct test *t, const struct damage *d)
{
    struct qcow2_check_result x;
    struct err e = {0};
    char room[CLUSTER];

    make(t);
    d->make(t);
    must_be_0(open_it(t, false, true, &e));
    must_be_0(qcow2_check(t->disk, QCOW2_REPAIR_NOTHING, &x, &e));
    must(d->leak_only ? x.leaks == 1 && x.corruptions == 0 : x.corruptions > 0);
    must(qcow2_check(t->disk, QCOW2_REPAIR_ALL, &x, &e) == -EROFS);
    err_clear(&e);
    blk_detach(&t->edge);
    if (judge_is_there()) {
        int answer;

        judge_save(t->file, "damaged");
        answer = judge_check("damaged"); /* 1: it does not get to the end */
        if (d->leak_only ? answer != 3 : answer != 1 && answer != 2) {
            (void)fprintf(stderr, "%s: qemu-img says %d\n", d->name, answer);
            (void)judge_run("tail -n 12 check.log");
            abort();
        }
    }
    must_be_0(open_it(t, true, false, &e));
    must_be_0(qcow2_check(t->disk, QCOW2_REPAIR_ALL, &x, &e));
    if (x.corruptions != 0 || x.leaks != 0) {
        (void)fprintf(stderr, "%s: %llu corruptions, %llu leaks stay\n", d->name,
                      (unsigned long long)x.corruptions, (unsigned long long)x.leaks);
        abort();
    }
    must(x.repaired_leaks + x.repaired_corruptions > 0);
    must(is_whole(t, d->same_cluster ? 1 : UINT32_MAX));
    memset(room, 99, sizeof room);
    must_be_0(blk_write(t->disk, room, sizeof room, CLUSTER, 0));
    must_be_0(blk_write(t->disk, room, sizeof room, 3 * MIB, 0));
    must(is_whole(t, 1));
    must_be_0(qcow2_check(t->disk, QCOW2_REPAIR_ALL, &x, &e)); /* shared no more: flags */
    blk_detach(&t->edge);
    if (judge_is_there()) {
        judge_save(t->file, "repaired");
        if (judge_check("repaired") != 0) {
            (void)fprintf(stderr, "%s:\n", d->name);
            (void)judge_run("cat check.log");
            abort();
        }
    }
    blk_detach(&t->keep);
    return 0;
}

static int repair_all(void *arg)
{
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        must_be_0(repair_one(arg, &damages[i]));
    }
    return 0;
}

static void damage_is_found_and_repaired(void **state)
{
    struct test *t = *state;

    assert_int_equal(loop_do(t->loop, repair_all, t), 0);
}

/* ---- not written through ---- */

/* A write that would hit a table marks the image corrupt and changes nothing. */
static int spare_tables(void *arg)
{
    struct test *t = arg;
    struct qcow2_info info;
    struct err e = {0};
    char room[CLUSTER];

    make(t);
    data_on_table(t);
    must_be_0(open_it(t, false, false, &e));
    memset(room, 1, sizeof room);
    must(blk_write(t->disk, room, sizeof room, CLUSTER, 0) == -EUCLEAN);
    must(blk_write(t->disk, room, sizeof room, 0, 0) == -EUCLEAN);
    must_be_0(blk_read(t->disk, room, sizeof room, 2 * CLUSTER));
    blk_detach(&t->edge);
    must((get(t, 72, 8) & 2) != 0);
    must(open_it(t, false, false, &e) == -EUCLEAN);
    must(strstr(e.text, "marked corrupt") != NULL);
    err_clear(&e);
    must_be_0(open_it(t, false, true, &e));
    qcow2_info(t->disk, &info);
    must(info.is_corrupt && is_whole(t, 1));
    blk_detach(&t->edge);
    blk_detach(&t->keep);
    return 0;
}

static void tables_are_never_overwritten(void **state)
{
    struct test *t = *state;

    assert_int_equal(loop_do(t->loop, spare_tables, t), 0);
}

/* ---- headers ---- */

static const struct bad {
    unsigned at;
    unsigned bytes;
    uint64_t value;
    int error;
    const char *text;
} bads[] = {
    {0, 4, 0x514649fc, -EUCLEAN, "not a qcow2 image"},
    {4, 4, 4, -EOPNOTSUPP, "version"},
    {8, 8, 1 << 20, -EUCLEAN, "backing file"},
    {20, 4, 8, -EUCLEAN, "clusters"},
    {20, 4, 22, -EUCLEAN, "clusters"},
    {20, 4, UINT32_MAX, -EUCLEAN, "clusters"},
    {24, 8, UINT64_MAX, -EFBIG, "bytes"},
    {24, 8, (uint64_t)1 << 50, -EUCLEAN, "L1"},
    {32, 4, 3, -EOPNOTSUPP, "encryption"},
    {36, 4, UINT32_MAX, -EUCLEAN, "L1"},
    {40, 8, 12345, -EUCLEAN, "L1"},
    {40, 8, (uint64_t)1 << 60, -EUCLEAN, "L1"},
    {48, 8, (uint64_t)1 << 60, -EUCLEAN, "refcount"},
    {56, 4, UINT32_MAX, -EUCLEAN, "refcount"},
    {56, 4, 0, -EUCLEAN, "refcount"},
    {60, 4, UINT32_MAX, -EUCLEAN, "snapshots"},
    {60, 4, 5, -EUCLEAN, "snapshots"},
    {72, 8, (uint64_t)1 << 5, -EOPNOTSUPP, "features"},
    {72, 8, 4, -EUCLEAN, "data file"},
    {72, 8, 8, -EUCLEAN, "compression"},
    {72, 8, 16, -EUCLEAN, "subclusters"},
    {88, 8, 1, -EUCLEAN, "bitmaps"},
    {88, 8, 2, -EUCLEAN, "raw data file"},
    {96, 4, 7, -EUCLEAN, "counts"},
    {100, 4, 5000, -EUCLEAN, "header"},
    {100, 4, 96, -EUCLEAN, "header"},
    {104, 1, 1, -EUCLEAN, "compression"},
    {112, 4, 0x12345678, -EUCLEAN, "extension"},
};

static int refuse_headers(void *arg)
{
    struct test *t = arg;

    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        const struct bad *b = &bads[i];
        struct err e = {0};
        int r;

        make(t);
        if (b->at == 112) {
            put(t, 116, 4, 1u << 30);
        }
        put(t, b->at, b->bytes, b->value);
        r = open_it(t, false, true, &e);
        if (r != b->error || strstr(e.text, b->text) == NULL) {
            (void)fprintf(stderr, "byte %u: %d, '%s'\n", b->at, r, e.text);
            abort();
        }
        blk_detach(&t->keep);
    }
    return 0;
}

static void headers_that_lie_are_refused(void **state)
{
    struct test *t = *state;

    assert_int_equal(loop_do(t->loop, refuse_headers, t), 0);
}

/* Unknown autoclear features go, unknown extensions and compatible features stay. */
static int keep_unknown(void *arg)
{
    struct test *t = arg;
    struct err e = {0};

    make(t);
    put(t, 80, 8, 1u << 7);
    put(t, 88, 8, (uint64_t)1 << 9);
    put(t, 112, 4, 0x12345678);
    put(t, 116, 4, 5);
    put(t, 120, 8, 0x6162636465000000);
    put(t, 128, 8, 0);
    must_be_0(open_it(t, false, true, &e));
    blk_detach(&t->edge);
    must(get(t, 88, 8) == (uint64_t)1 << 9);
    must_be_0(open_it(t, false, false, &e));
    must_be_0(blk_resize(t->disk, 8 * MIB, &e));
    blk_detach(&t->edge);
    must(get(t, 24, 8) == 8 * MIB && get(t, 80, 8) == 1u << 7 && get(t, 88, 8) == 0);
    must(get(t, 112, 4) == 0x12345678 && get(t, 116, 4) == 5);
    must(get(t, 120, 5) == 0x6162636465);
    blk_detach(&t->keep);
    return 0;
}

static void what_is_unknown_is_kept(void **state)
{
    struct test *t = *state;

    assert_int_equal(loop_do(t->loop, keep_unknown, t), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(damage_is_found_and_repaired, start, stop),
        cmocka_unit_test_setup_teardown(tables_are_never_overwritten, start, stop),
        cmocka_unit_test_setup_teardown(headers_that_lie_are_refused, start, stop),
        cmocka_unit_test_setup_teardown(what_is_unknown_is_kept, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
