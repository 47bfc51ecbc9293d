/* log_test.c - what was asked is in the trace, and a replay asks the same. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/strand.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/filter/log.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/resource/storage/redundancy/members.h"

#define SIZE_BYTES  (1024u * 1024)
#define TRACE_BYTES (2u * 1024 * 1024)
#define REQUESTS    3000u

struct world {
    struct members m; /* the disk, and two traces */
    struct filter_log_record *asked;
    unsigned count;
    unsigned seen;
};

static void begin(struct world *w)
{
    w->m.random = 5;
    w->asked = calloc(REQUESTS, sizeof *w->asked);
    members_add(&w->m, SIZE_BYTES);
    for (unsigned i = 1; i < 3; i++) {
        members_add(&w->m, TRACE_BYTES);
        members_garbage(&w->m, i);
    }
}

static void finish(struct world *w)
{
    members_close(&w->m);
    members_drop(&w->m);
    free(w->asked);
}

static void watch(struct world *w, struct blk *lower, struct blk *trace)
{
    must_be_0(filter_log_create(w->m.loop, lower, trace, &w->m.disk, NULL));
    members_hold(&w->m);
}

static void ask(struct world *w, char *room)
{
    struct filter_log_record *x = &w->asked[w->count++];
    struct blk *disk = w->m.edge.disk;

    x->kind = (enum blk_kind)(suite_random(&w->m.random) % BLK_KIND_COUNT);
    x->bytes = (suite_random(&w->m.random) % 16 + 1) * 512;
    x->off = suite_random(&w->m.random) % (SIZE_BYTES / 512 - 16) * 512;
    switch (x->kind) {
    case BLK_READ:
        must_be_0(blk_read(disk, room, x->bytes, x->off));
        break;
    case BLK_WRITE:
        must_be_0(blk_write(disk, room, x->bytes, x->off, 0));
        break;
    case BLK_ZERO:
        must_be_0(blk_zero(disk, x->off, x->bytes, x->flags = BLK_UNMAP));
        break;
    case BLK_DISCARD:
        must_be_0(blk_discard(disk, x->off, x->bytes));
        break;
    default:
        x->off = x->bytes = 0;
        must_be_0(blk_flush(disk));
    }
}

static int compare(void *arg, const struct filter_log_record *r)
{
    struct world *w = arg;
    const struct filter_log_record *x = &w->asked[w->seen++];

    must(w->seen <= w->count);
    must(r->kind == x->kind && r->off == x->off && r->bytes == x->bytes);
    must(r->flags == x->flags && r->result == 0);
    return 0;
}

static void must_be_in(struct world *w, struct blk *trace)
{
    struct err e = {0};

    w->seen = 0;
    must_be_0(filter_log_read(trace, compare, w, &e));
    must(w->seen == w->count);
}

static int trace_and_replay(void *arg)
{
    struct world *w = arg;
    struct filter_log_replay io = {.at_once = true};
    char *room = calloc(1, 65536);

    begin(w);
    watch(w, w->m.base[0], w->m.base[1]);
    while (w->count < REQUESTS) {
        ask(w, room);
        if (w->count % 700 == 0) {
            loop_sleep(w->m.loop, 120000000); /* some of it is written meanwhile */
        }
    }
    must(filter_log_lost(w->m.edge.disk) == 0);
    blk_detach(&w->m.edge);
    must_be_in(w, w->m.base[1]);

    watch(w, w->m.base[0], w->m.base[2]);
    must_be_0(filter_log_replay(w->m.loop, w->m.base[1], w->m.edge.disk, &io, NULL));
    must(io.count == REQUESTS && io.failed == 0 && io.skipped == 0);
    blk_detach(&w->m.edge);
    must_be_in(w, w->m.base[2]); /* the same, in the same order */
    io = (struct filter_log_replay){.at_once = true, .reads_only = true, .depth = 1};
    watch(w, w->m.base[0], NULL);
    must_be_0(filter_log_replay(w->m.loop, w->m.base[1], w->m.edge.disk, &io, NULL));
    must(io.count + io.skipped == REQUESTS && io.skipped > REQUESTS / 2);
    finish(w);
    free(room);
    return 0;
}

static int keep_times(void *arg)
{
    struct world *w = arg;
    struct filter_log_replay io = {0};
    char room[512] = {0};

    begin(w);
    watch(w, w->m.base[0], w->m.base[1]);
    for (unsigned i = 0; i < 10; i++) {
        must_be_0(blk_write(w->m.edge.disk, room, 512, i * 512u, 0));
        loop_sleep(w->m.loop, 10000000);
    }
    blk_detach(&w->m.edge);
    watch(w, w->m.base[0], NULL);
    must_be_0(filter_log_replay(w->m.loop, w->m.base[1], w->m.edge.disk, &io, NULL));
    must(io.count == 10 && io.took_ns >= 90000000);
    io = (struct filter_log_replay){.depth = 1000};
    must(filter_log_replay(w->m.loop, w->m.base[1], w->m.edge.disk, &io, NULL) ==
         -EINVAL);
    finish(w);
    return 0;
}

static int explain_slowness(void *arg)
{
    struct world *w = arg;
    struct filter_fault_plan plan = {.seed = 3,
                                     .delay_one_in = 10,
                                     .delay_ns = 20000000,
                                     .fail_kinds = 1u << BLK_WRITE,
                                     .fail_from = 5,
                                     .fail_until = 8,
                                     .error = -EIO};
    struct filter_log_figures f;
    struct blk *slow = NULL;
    char room[4096] = {0};
    unsigned failed = 0;

    begin(w);
    must_be_0(filter_fault_create(w->m.loop, w->m.base[0], &plan, &slow, NULL));
    watch(w, slow, NULL);
    must(filter_log_latency_ns(w->m.edge.disk, BLK_READ, 500) == 0);
    for (unsigned i = 0; i < 200; i++) {
        must_be_0(blk_read(w->m.edge.disk, room, 4096, 0));
        failed += i < 10 && blk_write(w->m.edge.disk, room, 512, 0, 0) != 0;
    }
    filter_log_figures(w->m.edge.disk, BLK_WRITE, &f);
    must(f.count == 10 && f.failed == failed && failed == 3 && f.bytes == 5120);
    filter_log_figures(w->m.edge.disk, BLK_READ, &f);
    must(f.count == 200 && f.failed == 0 && f.bytes == 200 * 4096);
    must(f.least_ns <= f.total_ns / 200 && f.total_ns / 200 <= f.most_ns);
    must(filter_log_latency_ns(w->m.edge.disk, BLK_READ, 1000) == f.most_ns);
    must(filter_log_latency_ns(w->m.edge.disk, BLK_READ, 990) > 1000000); /* the delays */
    must(filter_log_latency_ns(w->m.edge.disk, BLK_READ, 500) <
         filter_log_latency_ns(w->m.edge.disk, BLK_READ, 990));
    filter_log_figures(w->m.edge.disk, BLK_FLUSH, &f);
    must(f.count == 0);
    finish(w);
    return 0;
}

static int count_lost(void *arg)
{
    struct world *w = arg;
    struct filter_log_replay io = {.at_once = true};
    char *room = calloc(1, 65536);

    begin(w);
    must_be_0(blk_resize(w->m.base[1], 8192, NULL)); /* 15 pages of 12 */
    watch(w, w->m.base[0], w->m.base[1]);
    while (w->count < REQUESTS) {
        ask(w, room);
        if (w->count % 100 == 0) {
            loop_sleep(w->m.loop, 110000000 / 4);
        }
    }
    loop_sleep(w->m.loop, 150000000);
    must(filter_log_lost(w->m.edge.disk) > REQUESTS / 2);
    blk_detach(&w->m.edge);
    watch(w, w->m.base[0], NULL);
    must_be_0(filter_log_replay(w->m.loop, w->m.base[1], w->m.edge.disk, &io, NULL));
    must(io.count <= 180);
    finish(w);
    free(room);
    return 0;
}

static int refuse_damage(void *arg)
{
    struct world *w = arg;
    char page[512] = {0};
    struct err e = {0};

    begin(w);
    must(filter_log_read(w->m.base[1], compare, w, &e) == -EUCLEAN);
    must(strstr(e.text, "no head") != NULL);
    watch(w, w->m.base[0], w->m.base[1]);
    must_be_0(blk_write(w->m.edge.disk, page, 512, 0, 0));
    blk_detach(&w->m.edge);
    must_be_0(blk_read(w->m.base[1], page, 512, 512));
    page[40] ^= 1;
    must_be_0(blk_write(w->m.base[1], page, 512, 512, 0));
    e = (struct err){0};
    must(filter_log_read(w->m.base[1], compare, w, &e) == -EUCLEAN);
    must(strstr(e.text, "damaged") != NULL);
    finish(w);
    return 0;
}

static void in_a_loop(int (*fn)(void *arg))
{
    struct world w = {0};

    members_run(&w.m.loop, fn, &w);
}

static void a_trace_is_made_again(void **state)
{
    (void)state;
    in_a_loop(trace_and_replay);
}

static void a_replay_keeps_the_times(void **state)
{
    (void)state;
    in_a_loop(keep_times);
}

static void histograms_explain_a_slow_disk(void **state)
{
    (void)state;
    in_a_loop(explain_slowness);
}

static void a_full_trace_counts_what_it_loses(void **state)
{
    (void)state;
    in_a_loop(count_lost);
}

static void damage_is_an_error(void **state)
{
    (void)state;
    in_a_loop(refuse_damage);
}

static int make(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return filter_log_create(l, take_lower[0], take_lower[1], ret_disk, e);
}

static int make_without(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                        struct blk **ret_disk, struct err *e)
{
    (void)size_bytes;
    return filter_log_create(l, take_lower[0], NULL, ret_disk, e);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "log", .lowers = 2, .make = make},
        {.name = "log, no trace", .lowers = 1, .make = make_without},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trace_is_made_again),
        cmocka_unit_test(a_replay_keeps_the_times),
        cmocka_unit_test(histograms_explain_a_slow_disk),
        cmocka_unit_test(a_full_trace_counts_what_it_loses),
        cmocka_unit_test(damage_is_an_error),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return failed != 0 ? failed : suite_main(disks, sizeof disks / sizeof disks[0]);
}
