/* balloon_test.c - the memory balloon: which memory the host gets back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/fault.h"
#include "contract/mem.h"
#include "host/loop/loop.h"
#include "host/ram.h"
#include "tests/virtio/plug.h"
#include "virtio/balloon.h"
#include "virtio/balloon_numbers.h"

#define PAGE       4096u
#define RANGES     64u
#define STATS_REPS (VIRTIO_BALLOON_F_STATS_VQ | VIRTIO_BALLOON_F_REPORTING)

struct range {
    uint64_t at; /* guest address */
    uint64_t bytes;
};

struct world {
    struct plug p; /* first */
    struct range range[RANGES];
    unsigned ranges;
    uint64_t bytes; /* discarded in all */
    struct virtio_balloon_stats stats;
    unsigned answers;
};

static int discard(struct virtio_space *s, uint8_t *host, uint64_t bytes)
{
    struct world *w = (struct world *)s;

    if (w->ranges < RANGES) {
        w->range[w->ranges] =
            (struct range){(uint64_t)(host - w->p.mem) + PLUG_GUEST, bytes};
    }
    w->ranges++;
    w->bytes += bytes;
    return 0;
}

static void on_stats(void *who, const struct virtio_balloon_stats *s)
{
    struct world *w = who;

    w->stats = *s;
    w->answers++;
}

static void set_up(struct world *w, uint64_t features, unsigned queues)
{
    struct virtio_balloon_options o = {.stats = on_stats, .who = w};
    struct virtio_device *d;

    memset(w, 0, sizeof *w);
    plug_init(&w->p);
    w->p.space.discard = discard;
    o.loop = w->p.loop;
    assert_int_equal(virtio_balloon_create(&o, &d, NULL), 0);
    plug_in(&w->p, d);
    plug_start(&w->p, features, queues);
}

static void tear_down(struct world *w)
{
    plug_fini(&w->p);
}

static void give_pages(struct world *w, unsigned q, const uint32_t *page, unsigned count)
{
    uint64_t at = plug_room(&w->p, count * sizeof *page);
    struct driver_piece p = {at, count * (uint32_t)sizeof *page, false};

    memcpy(plug_at(&w->p, at), page, count * sizeof *page);
    assert_true(plug_offer(&w->p, q, &p, 1) >= 0);
    plug_kick(&w->p, q);
    assert_int_equal(plug_get(&w->p, q, NULL), 0);
}

static void runs_of_pages_are_one_range(void **state)
{
    const uint32_t page[] = {20, 21, 22, 40, 39, 38, 37, 60, 100, 101};

    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;

        set_up(&w, plug_kinds[k], 2);
        give_pages(&w, 0, page, 10);
        assert_int_equal(w.ranges, 4);
        assert_int_equal(w.range[0].at, 20 * PAGE);
        assert_int_equal(w.range[0].bytes, 3 * PAGE);
        assert_int_equal(w.range[1].at, 37 * PAGE);
        assert_int_equal(w.range[1].bytes, 4 * PAGE);
        assert_int_equal(w.range[2].bytes, PAGE);
        assert_int_equal(w.range[3].bytes, 2 * PAGE);
        give_pages(&w, 1, page, 10); /* taking them back costs nothing */
        assert_int_equal(w.ranges, 4);
        tear_down(&w);
    }
}

static void pages_that_are_not_there_hurt_nobody(void **state)
{
    const uint32_t page[] = {0, 0, UINT32_MAX, UINT32_MAX - 1, 20, 20, 5000};
    struct world w;

    (void)state;
    set_up(&w, 0, 2);
    give_pages(&w, 0, page, 7);
    assert_int_equal(w.bytes, 2 * PAGE);
    assert_int_equal(w.p.broken, 0);
    tear_down(&w);
}

/* A chain of a million pages is done in parts, and others have their turns. */
static void a_long_list_takes_many_turns(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;
        struct driver_piece p = {0, 30000 * 4, false};
        uint32_t page = 16;

        set_up(&w, plug_kinds[k], 2);
        p.at = plug_room(&w.p, p.bytes);
        for (unsigned i = 0; i < 30000; i++) {
            memcpy(plug_at(&w.p, p.at + 4 * i), &page, 4);
            page = page == 16 ? 100 : 16;
        }
        assert_true(plug_offer(&w.p, 0, &p, 1) >= 0);
        w.p.d->ops->kicked(w.p.d, 0);
        assert_int_equal(w.bytes, 8192 * PAGE);
        plug_pause(&w.p); /* in the middle */
        plug_resume(&w.p);
        assert_int_equal(w.bytes, 30000 * PAGE);
        assert_int_equal(plug_get(&w.p, 0, NULL), 0);
        tear_down(&w);
    }
}

static void free_memory_is_reported(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;
        uint64_t at;
        struct driver_piece p[3];
        uint32_t poison = 0xaa;

        set_up(&w, plug_kinds[k] | VIRTIO_BALLOON_F_REPORTING, 3);
        at = plug_room(&w.p, 1 << 20);
        p[0] = (struct driver_piece){at, 1 << 18, true};
        p[1] = (struct driver_piece){at + (1 << 19), 1 << 17, true};
        p[2] = (struct driver_piece){at + (1 << 18), 4096, true}; /* not worth it */
        assert_true(plug_offer(&w.p, 2, p, 3) >= 0);
        plug_kick(&w.p, 2);
        assert_int_equal(plug_get(&w.p, 2, NULL), 0);
        assert_int_equal(w.ranges, 2);
        assert_int_equal(w.range[0].at, at);
        assert_int_equal(w.bytes, (1 << 18) + (1 << 17));

        /* a guest that counts on what free pages hold keeps them */
        assert_int_equal(w.p.d->ops->config_write(w.p.d, 12, &poison, 4), 0);
        assert_true(plug_offer(&w.p, 2, p, 3) >= 0);
        plug_kick(&w.p, 2);
        assert_int_equal(plug_get(&w.p, 2, NULL), 0);
        assert_int_equal(w.ranges, 2);
        tear_down(&w);
    }
}

static void offer_stats(struct world *w, uint64_t at, unsigned count)
{
    struct driver_piece p = {at, count * 10, false};

    for (unsigned i = 0; i < count; i++) {
        struct virtio_balloon_stat s = {(uint16_t)i, 1000 + i};

        memcpy(plug_at(&w->p, at + 10 * i), &s, sizeof s);
    }
    assert_true(plug_offer(&w->p, 2, &p, 1) >= 0);
    plug_kick(&w->p, 2);
}

static void statistics_are_asked_for(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct world w;
        uint64_t at;

        set_up(&w, plug_kinds[k] | STATS_REPS, 4);
        at = plug_room(&w.p, 1000);
        assert_false(virtio_balloon_ask(w.p.d)); /* no buffer yet */
        offer_stats(&w, at, 12);
        assert_int_equal(w.answers, 0);
        assert_int_equal(plug_get(&w.p, 2, NULL), -1);
        plug_pause(&w.p);
        assert_false(virtio_balloon_ask(w.p.d));
        plug_resume(&w.p);
        assert_true(virtio_balloon_ask(w.p.d));
        assert_false(virtio_balloon_ask(w.p.d));
        assert_int_equal(plug_get(&w.p, 2, NULL), 0);
        plug_pause(&w.p); /* the question stands */
        plug_resume(&w.p);
        offer_stats(&w, at, 12);
        assert_int_equal(w.answers, 1);
        assert_int_equal(w.stats.known, (1 << VIRTIO_BALLOON_TAG_COUNT) - 1);
        assert_int_equal(w.stats.value[VIRTIO_BALLOON_FREE], 1004);
        tear_down(&w);
    }
}

static void the_target_is_set_at_any_time(void **state)
{
    struct world w;
    uint32_t c[4];
    uint32_t given = 256;

    (void)state;
    set_up(&w, 0, 2);
    virtio_balloon_set(w.p.d, (1 << 20) + 4095);
    assert_int_equal(w.p.config_changes, 1);
    w.p.d->ops->config_read(w.p.d, 0, c, sizeof c);
    assert_int_equal(c[0], 256);
    assert_int_equal(c[1], 0);
    assert_int_equal(w.p.d->ops->config_write(w.p.d, 4, &given, 4), 0);
    assert_int_equal(virtio_balloon_given(w.p.d), 1 << 20);
    assert_int_equal(w.p.d->ops->config_write(w.p.d, 0, &given, 4), -EACCES);
    assert_int_equal(w.p.d->ops->config_write(w.p.d, 4, &given, 2), -EACCES);
    assert_int_equal(w.p.d->ops->config_write(w.p.d, UINT32_MAX, &given, 4), -EACCES);
    virtio_balloon_set(w.p.d, UINT64_MAX);
    w.p.d->ops->config_read(w.p.d, 0, c, sizeof c);
    assert_int_equal(c[0], UINT32_MAX);
    plug_reset(&w.p);
    assert_int_equal(virtio_balloon_given(w.p.d), 0);
    tear_down(&w);
}

/* Over a machine's memory: what is given costs the host nothing and reads as zeros. */
static void memory_goes_back_to_the_host(void **state)
{
    struct virtio_space_mem s;
    struct mem *m = NULL;
    uint8_t *host;
    uint8_t resident[4] = {0};
    uint64_t n;

    (void)state;
    assert_int_equal(ram_create(RAM_PRIVATE, &m, NULL), 0);
    assert_int_equal(mem_add_ram(m, 0x10000, 0x8000, false, NULL), 0);
    virtio_space_over_mem(&s, m);
    host = s.space.reach(&s.space, 0x10000, 0x8000, true, &n);
    memset(host, 0x5a, 0x8000);
    assert_int_equal(s.space.discard(&s.space, host + 100, 0x3000), 0);
    assert_int_equal(host[0xfff], 0x5a); /* whole pages only */
    assert_int_equal(host[0x3000], 0x5a);
    assert_int_equal(mincore(host, 0x4000, resident), 0);
    assert_int_equal(resident[1] & 1, 0);
    assert_int_equal(resident[2] & 1, 0);
    assert_int_equal(host[0x1000], 0);
    assert_int_equal(s.space.discard(&s.space, host, 0xfff), 0);
    assert_int_equal(host[0], 0x5a);
    assert_int_equal(s.space.discard(&s.space, resident, 4096), -EFAULT);
    mem_destroy(m);
}

static void memory_may_run_out(void **state)
{
    struct virtio_balloon_options o = {0};
    struct virtio_device *d = NULL;

    (void)state;
    fault_fail_alloc_at(0);
    assert_int_equal(virtio_balloon_create(&o, &d, NULL), -ENOMEM);
    assert_null(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_of_pages_are_one_range),
        cmocka_unit_test(pages_that_are_not_there_hurt_nobody),
        cmocka_unit_test(a_long_list_takes_many_turns),
        cmocka_unit_test(free_memory_is_reported),
        cmocka_unit_test(statistics_are_asked_for),
        cmocka_unit_test(the_target_is_set_at_any_time),
        cmocka_unit_test(memory_goes_back_to_the_host),
        cmocka_unit_test(memory_may_run_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
