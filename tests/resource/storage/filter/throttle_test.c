/* throttle_test.c - rates are kept, bursts end, disks of a group get equal parts.
 *
 * Time is the loop's.  A busy machine makes a rate smaller, never larger: the upper
 * bounds are tight, the lower ones generous. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/strand.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/throttle.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/base/check.h"
#include "tests/contract/blk_suite.h"

#define SIZE_BYTES    (4u * 1024 * 1024)
#define NS_PER_SECOND 1000000000.0

struct world {
    struct loop *loop;
    struct filter_throttle_group *group;
    struct blk_edge edge[2];
};

static struct blk *add_disk(struct world *w, unsigned i)
{
    struct blk *lower = NULL;
    struct blk *disk = NULL;

    must_be_0(leaf_memory_create(loop_strands(w->loop), SIZE_BYTES, 512, &lower, NULL));
    must_be_0(filter_throttle_create(w->group, lower, &disk, NULL));
    w->edge[i] = (struct blk_edge){.user = "test", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&w->edge[i], disk, NULL));
    return disk;
}

static void make_group(struct world *w, const struct filter_throttle_limits *limits)
{
    must_be_0(filter_throttle_group_create(w->loop, limits, &w->group, NULL));
}

static void leave(struct world *w)
{
    blk_detach(&w->edge[0]);
    blk_detach(&w->edge[1]);
    filter_throttle_group_drop(w->group);
}

/* A strand that asks for the same again and again until it is told to stop. */
struct load {
    struct blk *disk;
    enum blk_kind kind;
    size_t bytes;
    bool stop;
    bool gone;
    uint64_t done;
};

static void run_load(void *arg)
{
    struct load *l = arg;
    char *room = calloc(1, l->bytes);

    while (!l->stop) {
        if (l->kind == BLK_READ) {
            must_be_0(blk_read(l->disk, room, l->bytes, 0));
        } else {
            must_be_0(blk_write(l->disk, room, l->bytes, 0, 0));
        }
        l->done++;
    }
    free(room);
    l->gone = true;
}

static void start(struct world *w, struct load *l)
{
    must_be_0(strand_start(loop_strands(w->loop), run_load, l));
}

static void end(struct world *w, struct load *l)
{
    l->stop = true;
    while (!l->gone) {
        loop_sleep(w->loop, 1000000);
    }
}

/* Seconds of the loop that a sleep of that length took. */
static double pass_time(struct world *w, uint64_t ms)
{
    uint64_t began = loop_now_ns(w->loop);

    loop_sleep(w->loop, ms * 1000000);
    return (double)(loop_now_ns(w->loop) - began) / NS_PER_SECOND;
}

static void must_lie(double found, double set)
{
    if (found > set * 1.1 || found < set * 0.6) {
        (void)fprintf(stderr, "the rate is %.0f where %.0f was set\n", found, set);
        abort();
    }
}

/* What one limit does to loads of both kinds: the figure of those it concerns. */
static void measure(struct world *w, enum filter_throttle_what what, uint64_t rate,
                    size_t bytes)
{
    struct filter_throttle_limits limits = {0};
    bool counts_bytes = what >= FILTER_THROTTLE_BYTES;
    bool reads = what != FILTER_THROTTLE_WRITE_OPS && what != FILTER_THROTTLE_WRITE_BYTES;
    bool writes = what != FILTER_THROTTLE_READ_OPS && what != FILTER_THROTTLE_READ_BYTES;
    struct load load[2] = {{.kind = BLK_READ, .bytes = bytes},
                           {.kind = BLK_WRITE, .bytes = bytes}};
    double seconds;
    double done;

    limits.rate[what].per_second = rate;
    make_group(w, &limits);
    load[0].disk = load[1].disk = add_disk(w, 0);
    for (unsigned i = 0; i < 2; i++) {
        if (i == 0 ? reads : writes) {
            start(w, &load[i]);
        }
    }
    (void)pass_time(w, 100);
    done = (double)(load[0].done + load[1].done);
    seconds = pass_time(w, 600);
    done = (double)(load[0].done + load[1].done) - done;
    must_lie(done * (counts_bytes ? (double)bytes : 1) / seconds, (double)rate);
    for (unsigned i = 0; i < 2; i++) {
        if (i == 0 ? reads : writes) {
            end(w, &load[i]);
        }
    }
    leave(w);
}

static int keep_rates(void *arg)
{
    struct world *w = arg;

    measure(w, FILTER_THROTTLE_OPS, 2000, 512);
    measure(w, FILTER_THROTTLE_READ_OPS, 1000, 512);
    measure(w, FILTER_THROTTLE_WRITE_OPS, 500, 512);
    measure(w, FILTER_THROTTLE_BYTES, 8000000, 16384);
    measure(w, FILTER_THROTTLE_READ_BYTES, 20000000, 65536);
    measure(w, FILTER_THROTTLE_WRITE_BYTES, 1000000, 4096);
    return 0;
}

/* One request of 1 MiB is ten times what the rate gives in 100 ms. */
static int let_large_ones_through(void *arg)
{
    struct world *w = arg;
    struct filter_throttle_limits limits = {
        .rate[FILTER_THROTTLE_BYTES] = {.per_second = 4000000}};
    struct load large = {.kind = BLK_WRITE, .bytes = 1024 * 1024};
    struct load small = {.kind = BLK_WRITE, .bytes = 4096};
    double seconds;
    uint64_t bytes;

    make_group(w, &limits);
    large.disk = add_disk(w, 0);
    small.disk = add_disk(w, 1);
    start(w, &small);
    start(w, &large);
    seconds = pass_time(w, 1600);
    bytes = large.done * large.bytes + small.done * small.bytes;
    must(large.done >= 2);
    must((double)bytes <= (seconds + 0.1) * 4000000 + 2 * 1024 * 1024);
    /* equal parts of the time: the small ones come to as many bytes */
    must(small.done * small.bytes >= large.bytes / 2);
    end(w, &small);
    end(w, &large);
    leave(w);
    return 0;
}

static int share_fairly(void *arg)
{
    struct world *w = arg;
    struct filter_throttle_limits limits = {
        .rate[FILTER_THROTTLE_OPS] = {.per_second = 2000}};
    struct load many[8] = {0};
    struct load one = {.kind = BLK_READ, .bytes = 512};
    struct filter_throttle_figures f;
    uint64_t theirs = 0;

    make_group(w, &limits);
    one.disk = add_disk(w, 0);
    (void)add_disk(w, 1);
    for (unsigned i = 0; i < 8; i++) { /* eight at a time against one at a time */
        many[i] = (struct load){
            .disk = w->edge[1].disk, .kind = i % 2 ? BLK_READ : BLK_WRITE, .bytes = 512};
        start(w, &many[i]);
    }
    start(w, &one);
    (void)pass_time(w, 600);
    for (unsigned i = 0; i < 8; i++) {
        theirs += many[i].done;
    }
    must(one.done > 100 && one.done * 10 >= theirs * 8 && one.done * 8 <= theirs * 10);
    filter_throttle_figures(one.disk, &f);
    must(f.ops == one.done || f.ops == one.done + 1);
    must(f.bytes == f.ops * 512 && f.waits > 0 && f.waited_ns > 0);
    for (unsigned i = 0; i < 8; i++) {
        end(w, &many[i]);
    }
    end(w, &one);
    leave(w);
    return 0;
}

static int burst_and_end(void *arg)
{
    struct world *w = arg;
    struct filter_throttle_limits limits = {
        .rate[FILTER_THROTTLE_OPS] = {
            .per_second = 500, .burst_per_second = 4000, .burst_ms = 300}};
    struct load load = {.kind = BLK_READ, .bytes = 512};
    double first;
    double later;
    uint64_t was;

    make_group(w, &limits);
    load.disk = add_disk(w, 0);
    start(w, &load);
    first = pass_time(w, 200);
    must((double)load.done <= (first + 0.06) * 4000 && (double)load.done >= 0.5 * 800);
    (void)pass_time(w, 400); /* 3500 a second more than the rate, for 300 ms: gone */
    was = load.done;
    later = pass_time(w, 600);
    must_lie((double)(load.done - was) / later, 500);
    end(w, &load);
    leave(w);
    return 0;
}

static int change_under_load(void *arg)
{
    struct world *w = arg;
    struct filter_throttle_limits limits = {
        .rate[FILTER_THROTTLE_OPS] = {.per_second = 1}};
    struct filter_throttle_limits got;
    struct load load[4] = {0};
    struct err e = {0};
    double seconds;
    uint64_t was = 0;
    uint64_t now = 0;

    make_group(w, &limits);
    (void)add_disk(w, 0);
    for (unsigned i = 0; i < 4; i++) {
        load[i] = (struct load){
            .disk = w->edge[0].disk, .kind = i % 2 ? BLK_READ : BLK_WRITE, .bytes = 512};
        start(w, &load[i]);
    }
    (void)pass_time(w, 50);
    limits.rate[FILTER_THROTTLE_OPS].burst_per_second = 0;
    limits.rate[FILTER_THROTTLE_OPS].per_second = 3000;
    must_be_0(filter_throttle_group_set(w->group, &limits, &e));
    for (unsigned i = 0; i < 4; i++) {
        was += load[i].done;
    }
    seconds = pass_time(w, 500);
    for (unsigned i = 0; i < 4; i++) {
        now += load[i].done;
    }
    must_lie((double)(now - was) / seconds, 3000);
    limits.rate[FILTER_THROTTLE_OPS].burst_per_second = 10;
    must(filter_throttle_group_set(w->group, &limits, &e) == -EINVAL);
    must(strstr(e.text, "burst") != NULL);
    filter_throttle_group_get(w->group, &got);
    must(got.rate[FILTER_THROTTLE_OPS].burst_per_second == 0);
    for (unsigned i = 0; i < 4; i++) {
        load[i].stop = true;
    }
    limits.rate[FILTER_THROTTLE_OPS] = (struct filter_throttle_rate){0};
    must_be_0(filter_throttle_group_set(w->group, &limits, NULL));
    for (unsigned i = 0; i < 4; i++) {
        end(w, &load[i]);
    }
    leave(w);
    return 0;
}

/* An operation per 4 KiB: a request of 64 KiB is sixteen. */
static int count_large_as_many(void *arg)
{
    struct world *w = arg;
    struct filter_throttle_limits limits = {
        .rate[FILTER_THROTTLE_OPS] = {.per_second = 3200}, .op_bytes = 4096};
    struct load load = {.kind = BLK_READ, .bytes = 65536};
    double seconds;
    uint64_t was;

    make_group(w, &limits);
    load.disk = add_disk(w, 0);
    start(w, &load);
    (void)pass_time(w, 100);
    was = load.done;
    seconds = pass_time(w, 500);
    must_lie((double)(load.done - was) / seconds, 200);
    end(w, &load);
    leave(w);
    return 0;
}

static int refuse_nonsense(void *arg)
{
    struct world *w = arg;
    struct filter_throttle_rate bad[] = {
        {.per_second = FILTER_THROTTLE_RATE_MOST + 1},
        {.burst_per_second = 10, .burst_ms = 10},
        {.per_second = 10, .burst_per_second = 9, .burst_ms = 10},
        {.per_second = 10, .burst_per_second = 20},
        {.per_second = 10,
         .burst_per_second = 20,
         .burst_ms = FILTER_THROTTLE_BURST_MS_MOST + 1},
    };

    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct filter_throttle_limits limits = {0};
        struct err e = {0};

        limits.rate[i] = bad[i];
        must(filter_throttle_group_create(w->loop, &limits, &w->group, &e) == -EINVAL);
        must(e.text[0] != '\0');
    }
    return 0;
}

static void in_a_loop(int (*fn)(void *arg))
{
    struct world w = {0};

    must_be_0(loop_create(LOOP_DRIVER_AUTO, &w.loop, NULL));
    must_be_0(loop_do(w.loop, fn, &w));
    loop_destroy(w.loop);
}

static void each_limit_is_kept_under_load(void **state)
{
    (void)state;
    in_a_loop(keep_rates);
}

static void a_request_larger_than_the_bucket_passes(void **state)
{
    (void)state;
    in_a_loop(let_large_ones_through);
}

static void a_group_shares_fairly(void **state)
{
    (void)state;
    in_a_loop(share_fairly);
}

static void a_burst_ends(void **state)
{
    (void)state;
    in_a_loop(burst_and_end);
}

static void limits_change_for_those_that_wait(void **state)
{
    (void)state;
    in_a_loop(change_under_load);
}

static void large_requests_may_count_as_many(void **state)
{
    (void)state;
    in_a_loop(count_large_as_many);
}

static void limits_without_sense_are_refused(void **state)
{
    (void)state;
    in_a_loop(refuse_nonsense);
}

static int make_throttle(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                         struct blk **ret_disk, struct err *e)
{
    struct filter_throttle_limits limits = {
        .rate[FILTER_THROTTLE_OPS] = {.per_second = 20000},
        .rate[FILTER_THROTTLE_WRITE_BYTES] = {.per_second = 400000000}};
    struct filter_throttle_group *g = NULL;
    int r = filter_throttle_group_create(l, &limits, &g, e);

    (void)size_bytes;
    if (r != 0) {
        blk_drop(take_lower[0]);
        return r;
    }
    r = filter_throttle_create(g, take_lower[0], ret_disk, e);
    filter_throttle_group_drop(g);
    return r;
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "throttle", .lowers = 1, .make = make_throttle},
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_limit_is_kept_under_load),
        cmocka_unit_test(a_request_larger_than_the_bucket_passes),
        cmocka_unit_test(a_group_shares_fairly),
        cmocka_unit_test(a_burst_ends),
        cmocka_unit_test(limits_change_for_those_that_wait),
        cmocka_unit_test(large_requests_may_count_as_many),
        cmocka_unit_test(limits_without_sense_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return failed != 0 ? failed : suite_main(disks, 1);
}
