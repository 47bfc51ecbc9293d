/* overlay_test.c - private changes over a shared disk: the base stays as it was, and
 * each overlay has its own bytes. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/overlay.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/resource/storage/redundancy/members.h"

#define SIZE_BYTES  (9u * 1024 * 1024) /* more than one group of the map */
#define STORE_BYTES (20u * 1024 * 1024)
#define STEPS       800

struct world {
    struct members m; /* the base, and a store for each overlay */
    struct blk_edge edge[2];
    char *model[2];
};

static void begin(struct world *w)
{
    w->m.random = 77;
    members_add(&w->m, SIZE_BYTES);
    for (unsigned i = 0; i < 2; i++) {
        members_add(&w->m, STORE_BYTES);
        members_garbage(&w->m, i + 1);
        w->model[i] = malloc(SIZE_BYTES);
    }
    for (uint64_t i = 0; i < SIZE_BYTES; i++) {
        w->model[0][i] = (char)suite_random(&w->m.random);
    }
    memset(w->model[0] + 2 * 1024 * 1024, 0, 1024 * 1024);
    must_be_0(blk_write(w->m.base[0], w->model[0], SIZE_BYTES, 0, 0));
    memcpy(w->model[1], w->model[0], SIZE_BYTES);
}

static void finish(struct world *w)
{
    members_drop(&w->m);
    free(w->model[0]);
    free(w->model[1]);
}

static int open_one(struct world *w, unsigned i, struct filter_overlay_options o,
                    struct err *e)
{
    struct blk *disk = NULL;
    int r = filter_overlay_create(w->m.base[0], w->m.base[i + 1], &o, &disk, e);

    if (r == 0) {
        w->edge[i] = (struct blk_edge){.user = "test", .uses = BLK_USE_ALL};
        must_be_0(blk_attach(&w->edge[i], disk, NULL));
    }
    return r;
}

static void compare(struct blk *disk, const char *model)
{
    char *room = malloc(SIZE_BYTES);

    must_be_0(blk_read(disk, room, SIZE_BYTES, 0));
    must(memcmp(room, model, SIZE_BYTES) == 0);
    free(room);
}

static void change(struct world *w, unsigned i)
{
    uint64_t blocks = suite_random(&w->m.random) % (i == 0 ? 10 : 300) + 1;
    uint64_t off = suite_random(&w->m.random) % (SIZE_BYTES / 512 - blocks) * 512;
    char *at = w->model[i] + off;
    struct blk *disk = w->edge[i].disk;

    if (suite_random(&w->m.random) % 5 == 0) {
        must_be_0(blk_zero(disk, off, blocks * 512, BLK_UNMAP));
        memset(at, 0, blocks * 512);
        return;
    }
    for (uint64_t k = 0; k < blocks * 512; k++) {
        at[k] = (char)suite_random(&w->m.random);
    }
    must_be_0(blk_write(disk, at, blocks * 512, off, 0));
}

static int keep_apart(void *arg)
{
    struct world *w = arg;
    char *was = malloc(SIZE_BYTES);

    begin(w);
    memcpy(was, w->model[0], SIZE_BYTES);
    for (unsigned i = 0; i < 2; i++) {
        must_be_0(open_one(w, i, (struct filter_overlay_options){.fresh = true}, NULL));
        compare(w->edge[i].disk, was);
    }
    for (unsigned k = 0; k < STEPS; k++) {
        change(w, k % 2);
        if (k % 200 == 199) {
            compare(w->edge[0].disk, w->model[0]);
            compare(w->edge[1].disk, w->model[1]);
        }
        if (k % 300 == 299) {
            blk_detach(&w->edge[1]);
            must_be_0(open_one(w, 1, (struct filter_overlay_options){0}, NULL));
        }
    }
    compare(w->m.base[0], was);
    blk_detach(&w->edge[0]);
    blk_detach(&w->edge[1]);
    must_be_0(open_one(w, 0, (struct filter_overlay_options){0}, NULL));
    compare(w->edge[0].disk, w->model[0]);
    blk_detach(&w->edge[0]);
    must_be_0(open_one(w, 0, (struct filter_overlay_options){.fresh = true}, NULL));
    compare(w->edge[0].disk, was); /* pages of the earlier life do not show */
    blk_detach(&w->edge[0]);
    finish(w);
    free(was);
    return 0;
}

static int drop_at_end(void *arg)
{
    struct world *w = arg;
    struct filter_overlay_options o = {.discard_at_end = true};
    char *was = malloc(SIZE_BYTES);

    begin(w);
    memcpy(was, w->model[0], SIZE_BYTES);
    for (unsigned round = 0; round < 2; round++) {
        must_be_0(open_one(w, 0, o, NULL));
        compare(w->edge[0].disk, was);
        memcpy(w->model[0], was, SIZE_BYTES);
        for (unsigned k = 0; k < 100; k++) {
            change(w, 0);
        }
        must_be_0(blk_flush(w->edge[0].disk));
        compare(w->edge[0].disk, w->model[0]);
        must(leaf_memory_held_bytes(w->m.base[1]) > 0);
        blk_detach(&w->edge[0]);
        must(leaf_memory_held_bytes(w->m.base[1]) == 0);
    }
    compare(w->m.base[0], was);
    finish(w);
    free(was);
    return 0;
}

static void flip(struct blk *b, uint64_t off)
{
    char room[512];

    must_be_0(blk_read(b, room, sizeof room, off));
    room[100] ^= 4;
    must_be_0(blk_write(b, room, sizeof room, off, 0));
}

static int refuse_damage(void *arg)
{
    struct world *w = arg;
    struct filter_overlay_options o = {.fresh = true};
    struct err e = {0};
    char room[512];

    begin(w);
    must(open_one(w, 0, (struct filter_overlay_options){0}, &e) == -EUCLEAN);
    must(strstr(e.text, "no head") != NULL);
    must_be_0(open_one(w, 0, o, NULL));
    must_be_0(blk_write(w->edge[0].disk, w->model[1], 65536, 0, 0));
    blk_detach(&w->edge[0]);
    flip(w->m.base[1], 4096); /* the first page of the map */
    must_be_0(open_one(w, 0, (struct filter_overlay_options){0}, NULL));
    must(blk_read(w->edge[0].disk, room, 512, 0) == -EUCLEAN);
    must(blk_write(w->edge[0].disk, room, 512, 0, 0) == -EUCLEAN);
    must_be_0(blk_read(w->edge[0].disk, room, 512, SIZE_BYTES - 512));
    blk_detach(&w->edge[0]);
    flip(w->m.base[1], 4096);
    must_be_0(open_one(w, 0, (struct filter_overlay_options){0}, NULL));
    must_be_0(blk_read(w->edge[0].disk, room, 512, 0));
    blk_detach(&w->edge[0]);
    must_be_0(blk_resize(w->m.base[0], SIZE_BYTES - 4096, NULL));
    must(open_one(w, 0, (struct filter_overlay_options){0}, &e) == -ESTALE);
    must_be_0(blk_resize(w->m.base[0], SIZE_BYTES, NULL));
    flip(w->m.base[1], 0);
    e = (struct err){0};
    must(open_one(w, 0, (struct filter_overlay_options){0}, &e) == -EUCLEAN);
    finish(w);
    return 0;
}

static int run_out_of_room(void *arg)
{
    struct world *w = arg;
    struct filter_overlay_options o = {.fresh = true};

    begin(w);
    must_be_0(blk_resize(w->m.base[1], 1024 * 1024, NULL));
    must_be_0(open_one(w, 0, o, NULL));
    memset(w->model[0], 3, 65536);
    must_be_0(blk_write(w->edge[0].disk, w->model[0], 65536, 0, 0));
    must(blk_write(w->edge[0].disk, w->model[1], 65536, SIZE_BYTES / 2, 0) == -ENOSPC);
    compare(w->edge[0].disk, w->model[0]);
    must_be_0(blk_flush(w->edge[0].disk));
    must_be_0(blk_resize(w->m.base[1], filter_overlay_store_bytes(SIZE_BYTES), NULL));
    must_be_0(blk_write(w->edge[0].disk, w->model[1], SIZE_BYTES, 0, 0));
    compare(w->edge[0].disk, w->model[1]);
    blk_detach(&w->edge[0]);
    finish(w);
    return 0;
}

static int tell_what_is_own(void *arg)
{
    struct world *w = arg;
    struct filter_overlay_options o = {.fresh = true};
    struct blk_extent x;

    begin(w);
    must_be_0(open_one(w, 0, o, NULL));
    must_be_0(blk_write(w->edge[0].disk, w->model[0], 8192, 8192, 0));
    must_be_0(blk_zero(w->edge[0].disk, 16384, 4096, 0));
    must_be_0(blk_status(w->edge[0].disk, 0, SIZE_BYTES, &x));
    must(x.bytes == 8192 && x.holder == w->m.base[0] && x.at == 0);
    must(x.state == (BLK_DATA | BLK_PLACED));
    must_be_0(blk_status(w->edge[0].disk, 8192, SIZE_BYTES - 8192, &x));
    must(x.bytes == 8192 && x.holder == w->m.base[1] && x.at == 4096 * 2 + 8192);
    must(x.state == (BLK_DATA | BLK_ALLOCATED | BLK_PLACED));
    must_be_0(blk_status(w->edge[0].disk, 16384, SIZE_BYTES - 16384, &x));
    must(x.bytes == 4096 && x.state == BLK_ALLOCATED);
    blk_detach(&w->edge[0]);
    finish(w);
    return 0;
}

static void in_a_loop(int (*fn)(void *arg))
{
    struct world w = {0};

    members_run(&w.m.loop, fn, &w);
}

static void overlays_of_one_base_keep_apart(void **state)
{
    (void)state;
    in_a_loop(keep_apart);
}

static void changes_are_dropped_at_the_end(void **state)
{
    (void)state;
    in_a_loop(drop_at_end);
}

static void damage_is_an_error(void **state)
{
    (void)state;
    in_a_loop(refuse_damage);
}

static void a_full_store_loses_nothing(void **state)
{
    (void)state;
    in_a_loop(run_out_of_room);
}

static void status_tells_what_is_private(void **state)
{
    (void)state;
    in_a_loop(tell_what_is_own);
}

static int make(struct blk **take_lower, struct filter_overlay_options o,
                struct blk **ret_disk, struct err *e)
{
    return filter_overlay_create(take_lower[0], take_lower[1], &o, ret_disk, e);
}

static int make_fresh(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    struct filter_overlay_options o = {.fresh = true, .size_bytes = size_bytes};

    (void)l;
    return make(take_lower, o, ret_disk, e);
}

static int open_again(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    (void)l;
    (void)size_bytes;
    return make(take_lower, (struct filter_overlay_options){0}, ret_disk, e);
}

static int make_passing(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                        struct blk **ret_disk, struct err *e)
{
    struct filter_overlay_options o = {.discard_at_end = true, .size_bytes = size_bytes};

    (void)l;
    return make(take_lower, o, ret_disk, e);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "overlay",
         .lowers = 2,
         .lower_bytes = STORE_BYTES,
         .make = make_fresh,
         .open = open_again},
        {.name = "overlay, dropped at the end",
         .lowers = 2,
         .lower_bytes = STORE_BYTES,
         .is_volatile = true,
         .make = make_passing},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlays_of_one_base_keep_apart),
        cmocka_unit_test(changes_are_dropped_at_the_end),
        cmocka_unit_test(damage_is_an_error),
        cmocka_unit_test(a_full_store_loses_nothing),
        cmocka_unit_test(status_tells_what_is_private),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return failed != 0 ? failed : suite_main(disks, sizeof disks / sizeof disks[0]);
}
