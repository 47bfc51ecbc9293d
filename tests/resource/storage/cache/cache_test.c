/* cache_test.c - what is special to a cache: hits, epochs, going away clean, damage. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "resource/storage/cache/cache.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/resource/storage/redundancy/members.h"

#define SIZE_BYTES  (8u * 1024 * 1024)
#define STORE_BYTES (2u * 1024 * 1024)

struct world {
    struct members m; /* slow, store */
    struct blk *slow; /* a filter with faults over the first */
    char *model;
};

static void begin(struct world *w)
{
    w->m.random = 99;
    w->model = calloc(1, SIZE_BYTES);
    members_add(&w->m, SIZE_BYTES);
    members_add(&w->m, STORE_BYTES);
    members_garbage(&w->m, 1);
}

static int open_cache(struct world *w, struct cache_options o, struct err *e)
{
    struct filter_fault_plan plan = {.seed = 4};
    int r;

    must_be_0(filter_fault_create(w->m.loop, w->m.base[0], &plan, &w->slow, NULL));
    r = cache_create(w->slow, w->m.base[1], &o, &w->m.disk, e);
    if (r == 0) {
        members_hold(&w->m);
    }
    return r;
}

static void finish(struct world *w)
{
    members_close(&w->m);
    members_drop(&w->m);
    free(w->model);
}

static void change(struct world *w, uint64_t most_blocks)
{
    uint64_t blocks = suite_random(&w->m.random) % most_blocks + 1;
    uint64_t off = suite_random(&w->m.random) % (SIZE_BYTES / 512 - blocks) * 512;

    for (uint64_t i = 0; i < blocks * 512; i++) {
        w->model[off + i] = (char)suite_random(&w->m.random);
    }
    must_be_0(blk_write(w->m.edge.disk, w->model + off, blocks * 512, off, 0));
}

static bool is_same(struct blk *disk, const char *model)
{
    char *room = malloc(SIZE_BYTES);
    bool same;

    must_be_0(blk_read(disk, room, SIZE_BYTES, 0));
    same = memcmp(room, model, SIZE_BYTES) == 0;
    free(room);
    return same;
}

static struct cache_figures figures(struct world *w)
{
    struct cache_figures f;

    cache_figures(w->m.edge.disk, &f);
    return f;
}

static int count_hits(void *arg)
{
    struct world *w = arg;
    struct cache_figures f;
    char *room = malloc(SIZE_BYTES);

    begin(w);
    must_be_0(open_cache(w, (struct cache_options){.fresh = true}, NULL));
    for (unsigned round = 0; round < 4; round++) { /* far apart: no run */
        for (unsigned i = 0; i < 16; i++) {
            must_be_0(blk_read(w->m.edge.disk, room, 4096, i * 400u * 1024));
        }
    }
    f = figures(w);
    must(f.misses == 16 && f.hits == 48 && f.promoted == 16 && f.lines_used == 16);
    must(f.hit_bytes == 48 * 4096 && f.miss_bytes == 16 * 4096);
    for (uint64_t off = 0; off + 65536 <= SIZE_BYTES; off += 65536) {
        must_be_0(blk_read(w->m.edge.disk, room, 65536, off));
    }
    f = figures(w);
    must(f.bypassed > 80);         /* but for the first MiB */
    must(f.lines_used <= 16 + 34); /* which was kept */
    finish(w);
    free(room);
    return 0;
}

static uint64_t data_of(struct blk *disk)
{
    uint64_t sum = 0;

    for (uint64_t off = 0; off < blk_size(disk);) {
        struct blk_extent x;

        must_be_0(blk_status(disk, off, blk_size(disk) - off, &x));
        sum += (x.state & BLK_DATA) != 0 ? x.bytes : 0;
        off += x.bytes;
    }
    return sum;
}

/* Zeros at once, and room on the slow disk behind the next flush; what was written since stays,
 * and what was not flushed yet is never written. */
static int discard_in_write_back(void *arg)
{
    struct world *w = arg;
    uint64_t slow;

    begin(w);
    must_be_0(
        open_cache(w, (struct cache_options){.fresh = true, .write_back = true}, NULL));
    for (unsigned i = 0; i < 60; i++) {
        change(w, 300);
    }
    must_be_0(cache_write_back(w->m.disk));
    slow = data_of(w->m.base[0]);
    memset(w->model + (1 << 20), 0x11, 1 << 17);
    must_be_0(blk_write(w->m.disk, w->model + (1 << 20), 1 << 17, 1 << 20, 0));
    must_be_0(blk_discard(w->m.disk, 0, 6 << 20));
    must(data_of(w->m.base[0]) >= slow); /* not before what was written earlier */
    memset(w->model, 0, 6 << 20);
    must(is_same(w->m.disk, w->model));
    memset(w->model + (3 << 20) + 512, 0x22, 9 * 512);
    must_be_0(
        blk_write(w->m.disk, w->model + (3 << 20) + 512, 9 * 512, (3 << 20) + 512, 0));
    must(is_same(w->m.disk, w->model));
    must_be_0(blk_flush(w->m.disk));
    must(is_same(w->m.disk, w->model));
    must(data_of(w->m.base[0]) < slow && data_of(w->m.base[0]) < (3u << 20));
    must(is_same(w->m.base[0], w->model));
    for (unsigned i = 0; i < 3000; i++) { /* more than there is room to note */
        uint64_t off = suite_random(&w->m.random) % (SIZE_BYTES / 4096) * 4096;

        must_be_0(blk_discard(w->m.disk, off, 512));
        memset(w->model + off, 0, 512);
    }
    must(is_same(w->m.disk, w->model));
    finish(w);
    return 0;
}

/* Lines that are read again and again stay while others come and go. */
static int keep_what_is_hot(void *arg)
{
    struct world *w = arg;
    struct cache_figures before;
    struct cache_figures after;
    char room[512];

    begin(w);
    must_be_0(
        open_cache(w, (struct cache_options){.fresh = true, .line_bytes = 4096}, NULL));
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t off = suite_random(&w->m.random) % 2 == 0
                           ? suite_random(&w->m.random) % 200 * 4096
                           : suite_random(&w->m.random) % 2000 * 4096;

        must_be_0(blk_read(w->m.edge.disk, room, 512, off));
    }
    before = figures(w);
    for (unsigned i = 0; i < 200; i++) {
        must_be_0(blk_read(w->m.edge.disk, room, 512, (i * 7 % 200) * 4096u));
    }
    after = figures(w);
    must(after.lines_used <= after.lines && before.lines_used > before.lines / 2);
    must(after.hits - before.hits >= 180);
    finish(w);
    return 0;
}

static void wait_until_down(struct world *w)
{
    for (unsigned i = 0; i < 10000 && figures(w).lines_dirty > 0; i++) {
        loop_sleep(w->m.loop, 100000);
    }
    must(figures(w).lines_dirty == 0);
}

/* While the slow disk fails nothing is lost, and what it has is the past; afterwards
 * it catches up. */
static int go_down_in_epochs(void *arg)
{
    struct world *w = arg;
    struct filter_fault_plan bad = {.seed = 5,
                                    .fail_kinds = 1u << BLK_WRITE,
                                    .fail_from = 1,
                                    .fail_until = 1000000,
                                    .error = -EIO};
    struct filter_fault_plan good = {.seed = 5};
    struct cache_options o = {.fresh = true, .write_back = true, .line_bytes = 4096};
    char *past = malloc(SIZE_BYTES);

    begin(w);
    must_be_0(open_cache(w, o, NULL));
    for (unsigned i = 0; i < 20; i++) {
        change(w, 20);
        must(!is_same(w->m.base[0], w->model)); /* not before its epoch is closed */
        must_be_0(blk_flush(w->m.edge.disk));
        wait_until_down(w);
        must(is_same(w->m.base[0], w->model));
        must(is_same(w->m.edge.disk, w->model));
    }
    memcpy(past, w->model, SIZE_BYTES);
    filter_fault_plan(w->slow, &bad);
    for (unsigned i = 0; i < 10; i++) {
        change(w, 20);
        must_be_0(blk_flush(w->m.edge.disk));
    }
    loop_sleep(w->m.loop, 1000000);
    must(figures(w).lines_dirty > 0 && figures(w).back_error == -EIO);
    must(is_same(w->m.edge.disk, w->model));
    must(is_same(w->m.base[0], past));
    filter_fault_plan(w->slow, &good);
    must_be_0(cache_write_back(w->m.edge.disk));
    must(figures(w).back_error == 0 && figures(w).lines_dirty == 0);
    must(is_same(w->m.base[0], w->model));
    finish(w);
    free(past);
    return 0;
}

static int leave_clean(void *arg)
{
    struct world *w = arg;
    struct cache_options o = {.fresh = true, .write_back = true};
    uint64_t hits;
    char room[512];

    begin(w);
    must_be_0(open_cache(w, o, NULL));
    for (unsigned i = 0; i < 50; i++) {
        change(w, 64);
    }
    must_be_0(blk_remove(&w->m.edge, NULL)); /* not flushed by hand */
    must(w->m.edge.disk == w->slow);
    must(is_same(w->m.base[0], w->model));
    blk_detach(&w->m.edge);
    o.fresh = false; /* warm: what was there is there */
    must_be_0(open_cache(w, o, NULL));
    must(figures(w).lines_used > 10 && figures(w).lines_dirty == 0);
    must(is_same(w->m.edge.disk, w->model));
    hits = figures(w).hits + figures(w).hit_bytes;
    must(hits > 0);
    blk_detach(&w->m.edge);
    o.leave_dirty = true;
    must_be_0(open_cache(w, o, NULL));
    change(w, 64);
    memset(w->model, 1, 512);
    must_be_0(blk_write(w->m.edge.disk, w->model, 512, 0, 0));
    blk_detach(&w->m.edge);
    must_be_0(blk_read(w->m.base[0], room, 512, 0));
    must(memcmp(room, w->model, 512) != 0);
    o = (struct cache_options){0}; /* writing through now: all goes down first */
    must_be_0(open_cache(w, o, NULL));
    must(is_same(w->m.base[0], w->model));
    must(is_same(w->m.edge.disk, w->model));
    finish(w);
    return 0;
}

static int change_the_store(void *arg)
{
    struct world *w = arg;
    struct cache_options o = {.fresh = true, .write_back = true};
    struct err e = {0};
    uint64_t lines;

    begin(w);
    must_be_0(open_cache(w, o, NULL));
    lines = figures(w).lines;
    for (unsigned i = 0; i < 50; i++) {
        change(w, 64);
    }
    must_be_0(cache_resize_store(w->m.edge.disk, STORE_BYTES / 2, &e));
    must(figures(w).lines < lines * 6 / 10 && figures(w).lines_used == 0);
    must(is_same(w->m.base[0], w->model));
    for (unsigned i = 0; i < 50; i++) {
        change(w, 64);
    }
    must(is_same(w->m.edge.disk, w->model));
    must(cache_resize_store(w->m.edge.disk, 4096, &e) == -ENOSPC);
    must_be_0(cache_resize_store(w->m.edge.disk, STORE_BYTES, NULL));
    must(figures(w).lines == lines);
    must(is_same(w->m.edge.disk, w->model));
    blk_detach(&w->m.edge);
    o.fresh = false;
    must_be_0(open_cache(w, o, NULL));
    must(figures(w).lines == lines);
    must(is_same(w->m.edge.disk, w->model));
    finish(w);
    return 0;
}

static void flip(struct blk *b, uint64_t off)
{
    char room[512];

    must_be_0(blk_read(b, room, sizeof room, off));
    room[60] ^= 4;
    must_be_0(blk_write(b, room, sizeof room, off, 0));
}

static int refuse_damage(void *arg)
{
    struct world *w = arg;
    struct cache_options o = {.fresh = true, .write_back = true};
    struct cache_options again = {.write_back = true};
    struct err e = {0};

    begin(w);
    must(open_cache(w, again, &e) == -EUCLEAN);
    must(strstr(e.text, "no head") != NULL);
    o.line_bytes = 5000;
    must(open_cache(w, o, NULL) == -EINVAL);
    o.line_bytes = 0;
    must_be_0(open_cache(w, o, NULL));
    change(w, 64);
    blk_detach(&w->m.edge);
    flip(w->m.base[1], 4096);
    e = (struct err){0};
    must(open_cache(w, again, &e) == -EUCLEAN);
    must(strstr(e.text, "index") != NULL);
    flip(w->m.base[1], 4096);
    must_be_0(open_cache(w, again, NULL));
    blk_detach(&w->m.edge);
    must_be_0(blk_resize(w->m.base[0], SIZE_BYTES / 2, NULL));
    must(open_cache(w, again, NULL) == -ESTALE);
    flip(w->m.base[1], 0);
    must(open_cache(w, again, NULL) == -EUCLEAN);
    must_be_0(blk_resize(w->m.base[1], 8192, NULL));
    must(open_cache(w, o, NULL) == -ENOSPC);
    finish(w);
    return 0;
}

static void in_a_loop(int (*fn)(void *arg))
{
    struct world w = {0};

    members_run(&w.m.loop, fn, &w);
}

static void hits_and_misses_are_counted(void **state)
{
    (void)state;
    in_a_loop(count_hits);
}

static void discards_pass_through_write_back(void **state)
{
    (void)state;
    in_a_loop(discard_in_write_back);
}

static void what_is_read_often_stays(void **state)
{
    (void)state;
    in_a_loop(keep_what_is_hot);
}

static void epochs_go_down_and_catch_up(void **state)
{
    (void)state;
    in_a_loop(go_down_in_epochs);
}

static void a_cache_leaves_clean(void **state)
{
    (void)state;
    in_a_loop(leave_clean);
}

static void the_store_changes_its_size(void **state)
{
    (void)state;
    in_a_loop(change_the_store);
}

static void damage_is_an_error(void **state)
{
    (void)state;
    in_a_loop(refuse_damage);
}

/* ---- the suite ---- */

static int make(struct blk **take_lower, struct cache_options o, struct blk **ret_disk,
                struct err *e)
{
    o.line_bytes = o.fresh || o.is_volatile ? 4096 : 0;
    return cache_create(take_lower[0], take_lower[1], &o, ret_disk, e);
}

static int make_through(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                        struct blk **ret_disk, struct err *e)
{
    (void)l;
    (void)size_bytes;
    return make(take_lower, (struct cache_options){.fresh = true}, ret_disk, e);
}

static int open_through(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                        struct blk **ret_disk, struct err *e)
{
    (void)l;
    (void)size_bytes;
    return make(take_lower, (struct cache_options){0}, ret_disk, e);
}

static int make_back(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                     struct blk **ret_disk, struct err *e)
{
    (void)l;
    (void)size_bytes;
    return make(take_lower, (struct cache_options){.fresh = true, .write_back = true},
                ret_disk, e);
}

static int open_back(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                     struct blk **ret_disk, struct err *e)
{
    (void)l;
    (void)size_bytes;
    return make(take_lower, (struct cache_options){.write_back = true}, ret_disk, e);
}

/* Hardly any room: lines come and go all the time. */
static int make_small(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                      struct blk **ret_disk, struct err *e)
{
    (void)l;
    (void)size_bytes;
    return make(take_lower,
                (struct cache_options){
                    .fresh = true, .write_back = true, .store_bytes = 160 * 1024},
                ret_disk, e);
}

static int open_leaving(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                        struct blk **ret_disk, struct err *e)
{
    (void)l;
    (void)size_bytes;
    return make(take_lower,
                (struct cache_options){.write_back = true, .leave_dirty = true}, ret_disk,
                e);
}

static int make_in_memory(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                          struct blk **ret_disk, struct err *e)
{
    (void)l;
    (void)size_bytes;
    return make(take_lower,
                (struct cache_options){.is_volatile = true, .write_back = true}, ret_disk,
                e);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "cache, write-through",
         .lowers = 2,
         .make = make_through,
         .open = open_through},
        {.name = "cache, write-back", .lowers = 2, .make = make_back, .open = open_back},
        {.name = "cache, write-back, left dirty",
         .lowers = 2,
         .make = make_back,
         .open = open_leaving},
        {.name = "cache, write-back, small",
         .lowers = 2,
         .make = make_small,
         .open = open_leaving},
        {.name = "cache, write-back in memory", .lowers = 2, .make = make_in_memory},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hits_and_misses_are_counted),
        cmocka_unit_test(discards_pass_through_write_back),
        cmocka_unit_test(what_is_read_often_stays),
        cmocka_unit_test(epochs_go_down_and_catch_up),
        cmocka_unit_test(a_cache_leaves_clean),
        cmocka_unit_test(the_store_changes_its_size),
        cmocka_unit_test(damage_is_an_error),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return failed != 0 ? failed : suite_main(disks, sizeof disks / sizeof disks[0]);
}
