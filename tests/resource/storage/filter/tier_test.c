/* tier_test.c - what is used most comes to lie on the fast disk, and stays what it is. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/strand.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/tier.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/resource/storage/redundancy/members.h"

#define EXTENT     16384u
#define FAST_BYTES (512u * 1024)
#define SLOW_BYTES (4u * 1024 * 1024)
#define SIZE_BYTES (4u * 1024 * 1024)

struct world {
    struct members m; /* fast, slow */
    char *model;
};

static void begin(struct world *w)
{
    w->m.random = 31;
    w->model = calloc(1, SIZE_BYTES);
    members_add(&w->m, FAST_BYTES);
    members_add(&w->m, SLOW_BYTES);
    members_garbage(&w->m, 0);
    members_garbage(&w->m, 1);
}

static int open_tier(struct world *w, struct filter_tier_options o, struct err *e)
{
    int r = filter_tier_create(w->m.base[0], w->m.base[1], &o, &w->m.disk, e);

    if (r == 0) {
        members_hold(&w->m);
    }
    return r;
}

static void open_fresh(struct world *w)
{
    struct filter_tier_options o = {
        .fresh = true, .size_bytes = SIZE_BYTES, .extent_bytes = EXTENT};

    must_be_0(open_tier(w, o, NULL));
}

static void fill_all(struct world *w)
{
    for (uint64_t i = 0; i < SIZE_BYTES; i++) {
        w->model[i] = (char)suite_random(&w->m.random);
    }
    must_be_0(blk_write(w->m.edge.disk, w->model, SIZE_BYTES, 0, 0));
}

static void compare(struct world *w)
{
    members_compare(&w->m, w->model, SIZE_BYTES);
}

static void finish(struct world *w)
{
    members_close(&w->m);
    members_drop(&w->m);
    free(w->model);
}

static struct filter_tier_figures figures(struct world *w)
{
    struct filter_tier_figures f;

    filter_tier_figures(w->m.edge.disk, &f);
    return f;
}

/* Read 16 extents that lie on the slow disk, and a few others; the part that was fast. */
static double read_hot(struct world *w)
{
    struct filter_tier_figures was = figures(w);
    struct filter_tier_figures now;
    char room[512];

    for (unsigned i = 0; i < 1000; i++) {
        uint64_t extent = i % 10 == 0 ? suite_random(&w->m.random) % (SIZE_BYTES / EXTENT)
                                      : 200 + i % 16;

        must_be_0(blk_read(w->m.edge.disk, room, sizeof room, extent * EXTENT));
        must(memcmp(room, w->model + extent * EXTENT, sizeof room) == 0);
    }
    now = figures(w);
    return (double)(now.fast_requests - was.fast_requests) / 1000;
}

static int move_by_heat(void *arg)
{
    struct world *w = arg;
    double before;
    double after;

    begin(w);
    open_fresh(w);
    fill_all(w);
    must(figures(w).fast_extents + 1 >= figures(w).fast_room);
    before = read_hot(w);
    for (unsigned i = 0; i < 8; i++) {
        must(filter_tier_balance(w->m.edge.disk, 8) >= 0);
        (void)read_hot(w);
    }
    after = read_hot(w);
    must(before < 0.3 && after > 0.85);
    must(figures(w).moved_up >= 16 && figures(w).moved_down >= 16);
    compare(w);
    blk_detach(&w->m.edge);
    must_be_0(open_tier(w, (struct filter_tier_options){0}, NULL));
    must(filter_tier_is_fast(w->m.edge.disk, 205 * EXTENT)); /* it is kept */
    compare(w);
    finish(w);
    return 0;
}

static int obey_tags(void *arg)
{
    struct world *w = arg;
    struct blk *disk;

    begin(w);
    open_fresh(w);
    disk = w->m.edge.disk;
    must_be_0(filter_tier_set_tag(disk, 0, 4 * EXTENT, FILTER_TIER_KEEP_SLOW));
    fill_all(w);
    must(!filter_tier_is_fast(disk, 0) && filter_tier_is_fast(disk, 4 * EXTENT));
    must_be_0(filter_tier_set_tag(disk, 100 * EXTENT, 2 * EXTENT, FILTER_TIER_KEEP_FAST));
    must_be_0(filter_tier_set_tag(disk, 5 * EXTENT, 1, FILTER_TIER_KEEP_SLOW));
    for (unsigned i = 0; i < 4; i++) {
        must(filter_tier_balance(disk, 8) >= 0);
        (void)read_hot(w);
    }
    must(filter_tier_is_fast(disk, 100 * EXTENT) &&
         filter_tier_is_fast(disk, 101 * EXTENT));
    must(!filter_tier_is_fast(disk, 5 * EXTENT));
    must(filter_tier_set_tag(disk, 0, 1, FILTER_TIER_TAG_COUNT) == -EINVAL);
    must(filter_tier_set_tag(disk, 512, SIZE_BYTES, 0) == -EINVAL);
    blk_detach(&w->m.edge);
    must_be_0(open_tier(w, (struct filter_tier_options){0}, NULL));
    for (unsigned i = 0; i < 6; i++) { /* as hot as it may be: tags are kept, too */
        (void)read_hot(w);
        must(filter_tier_balance(w->m.edge.disk, 8) >= 0);
    }
    must(filter_tier_is_fast(w->m.edge.disk, 100 * EXTENT));
    must(!filter_tier_is_fast(w->m.edge.disk, 5 * EXTENT));
    compare(w);
    finish(w);
    return 0;
}

/* Writes while extents move. */
struct writer {
    struct world *w;
    uint64_t random;
    unsigned first; /* of its own sixteen extents */
    bool stop;
    bool done;
};

static void write_much(void *arg)
{
    struct writer *x = arg;

    for (unsigned i = 0; !x->stop; i++) {
        uint64_t off =
            (x->first + suite_random(&x->random) % 16) * EXTENT + i % 30 * 512u;
        char *at = x->w->model + off;

        memset(at, (int)suite_random(&x->random), 1024);
        must_be_0(blk_write(x->w->m.edge.disk, at, 1024, off, 0));
        if (i % 50 == 0) {
            loop_sleep(x->w->m.loop, 1000);
        }
    }
    x->done = true;
}

static int move_under_load(void *arg)
{
    struct world *w = arg;
    struct writer x[4];

    begin(w);
    open_fresh(w);
    fill_all(w);
    for (unsigned i = 0; i < 4; i++) {
        x[i] = (struct writer){.w = w, .random = i + 1, .first = 60 * i};
        must_be_0(strand_start(loop_strands(w->m.loop), write_much, &x[i]));
    }
    for (unsigned i = 0; i < 3000 && figures(w).moved_up < 10; i++) {
        must(filter_tier_balance(w->m.edge.disk, 8) >= 0);
        loop_sleep(w->m.loop, 2000000);
    }
    for (unsigned i = 0; i < 4; i++) {
        x[i].stop = true;
    }
    for (unsigned i = 0; i < 4; i++) {
        while (!x[i].done) {
            loop_sleep(w->m.loop, 1000000);
        }
    }
    must(figures(w).moved_up >= 10);
    compare(w);
    finish(w);
    return 0;
}

static void flip(struct blk *b, uint64_t off)
{
    char room[512];

    must_be_0(blk_read(b, room, sizeof room, off));
    room[50] ^= 4;
    must_be_0(blk_write(b, room, sizeof room, off, 0));
}

static int refuse_damage(void *arg)
{
    struct world *w = arg;
    struct filter_tier_options old = {0};
    struct filter_tier_options bad = {.fresh = true, .extent_bytes = 5000};
    struct err e = {0};

    begin(w);
    must(open_tier(w, old, &e) == -EUCLEAN && strstr(e.text, "no head") != NULL);
    must(open_tier(w, bad, NULL) == -EINVAL);
    bad.extent_bytes = EXTENT;
    bad.size_bytes = FAST_BYTES + SLOW_BYTES;
    must(open_tier(w, bad, NULL) == -ENOSPC);
    open_fresh(w);
    fill_all(w);
    blk_detach(&w->m.edge);
    flip(w->m.base[0], 4096);
    e = (struct err){0};
    must(open_tier(w, old, &e) == -EUCLEAN && strstr(e.text, "map") != NULL);
    flip(w->m.base[0], 4096);
    must_be_0(blk_resize(w->m.base[1], SLOW_BYTES / 2, NULL));
    must(open_tier(w, old, NULL) == -ESTALE);
    must_be_0(blk_resize(w->m.base[1], SLOW_BYTES, NULL));
    must_be_0(open_tier(w, old, NULL));
    finish(w);
    return 0;
}

static void in_a_loop(int (*fn)(void *arg))
{
    struct world w = {0};

    members_run(&w.m.loop, fn, &w);
}

static void extents_move_by_heat(void **state)
{
    (void)state;
    in_a_loop(move_by_heat);
}

static void tags_are_obeyed(void **state)
{
    (void)state;
    in_a_loop(obey_tags);
}

static void contents_stay_while_extents_move(void **state)
{
    (void)state;
    in_a_loop(move_under_load);
}

static void damage_is_an_error(void **state)
{
    (void)state;
    in_a_loop(refuse_damage);
}

static int make(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                struct blk **ret_disk, struct err *e)
{
    struct filter_tier_options o = {
        .fresh = true,
        .size_bytes = size_bytes,
        .fast_bytes = size_bytes / 3,
        .extent_bytes = EXTENT,
        .look_every = 5,
    };

    (void)l;
    return filter_tier_create(take_lower[0], take_lower[1], &o, ret_disk, e);
}

static int open_again(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    struct filter_tier_options o = {.look_every = 5};

    (void)l;
    (void)size_bytes;
    return filter_tier_create(take_lower[0], take_lower[1], &o, ret_disk, e);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "tier",
         .lowers = 2,
         .lower_bytes = 12u * 1024 * 1024,
         .make = make,
         .open = open_again},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extents_move_by_heat),
        cmocka_unit_test(tags_are_obeyed),
        cmocka_unit_test(contents_stay_while_extents_move),
        cmocka_unit_test(damage_is_an_error),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return failed != 0 ? failed : suite_main(disks, 1);
}
