/* rng_test.c - the entropy device: bytes for a guest that asks, and for one that asks wrongly. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/loop.h"
#include "tests/virtio/plug.h"
#include "virtio/rng.h"

static void set_up(struct plug *p, uint64_t kind, bool is_seeded, uint64_t seed)
{
    struct virtio_rng_options o = {.is_seeded = is_seeded, .seed = seed};
    struct virtio_device *d;

    plug_init(p);
    o.loop = p->loop;
    assert_int_equal(virtio_rng_create(&o, &d, NULL), 0);
    plug_in(p, d);
    plug_start(p, kind, 1);
}

static void fills_what_is_offered(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct plug p;
        uint64_t at;
        unsigned zeros = 0;

        set_up(&p, plug_kinds[k], false, 0);
        at = plug_room(&p, 600);
        assert_int_equal(plug_offer_in(&p, 0, at, 500) >= 0, 1);
        plug_kick(&p, 0);
        assert_int_equal(plug_get(&p, 0, NULL), 500);
        assert_int_equal(p.notified[0], 1);
        for (unsigned i = 0; i < 500; i++) {
            zeros += plug_at(&p, at)[i] == 0;
        }
        assert_true(zeros < 25); /* 2 are expected */
        assert_int_equal(plug_at(&p, at)[500], 0);
        plug_fini(&p);
    }
}

static void a_large_request_is_cut(void **state)
{
    struct plug p;
    uint64_t at;

    (void)state;
    set_up(&p, 0, false, 0);
    at = plug_room(&p, 1 << 20);
    assert_true(plug_offer_in(&p, 0, at, 1 << 20) >= 0);
    plug_kick(&p, 0);
    assert_int_equal(plug_get(&p, 0, NULL), VIRTIO_RNG_BYTES_MOST);
    plug_fini(&p);
}

/* All are answered, and none of the turns serves more than 16. */
static void many_requests_take_many_turns(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct plug p;
        unsigned got = 0;

        set_up(&p, plug_kinds[k], false, 0);
        for (unsigned i = 0; i < 64; i++) {
            assert_true(plug_offer_in(&p, 0, plug_room(&p, 64), 64) >= 0);
        }
        p.d->ops->kicked(p.d, 0);
        while (plug_get(&p, 0, NULL) == 64) {
            got++;
        }
        assert_int_equal(got, 16);
        plug_turn(&p);
        while (plug_get(&p, 0, NULL) == 64) {
            got++;
        }
        assert_int_equal(got, 64);
        plug_fini(&p);
    }
}

static void seeded_bytes(uint64_t seed, uint8_t ret[128])
{
    struct plug p;
    uint64_t at;

    set_up(&p, 0, true, seed);
    at = plug_room(&p, 128);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(plug_offer_in(&p, 0, at + 64 * i, 64) >= 0);
        plug_kick(&p, 0);
        assert_int_equal(plug_get(&p, 0, NULL), 64);
    }
    memcpy(ret, plug_at(&p, at), 128);
    plug_fini(&p);
}

/* The first words of SplitMix64 with seed 0, as its authors' program prints them. */
static void a_seed_says_the_bytes(void **state)
{
    static const uint64_t known[3] = {UINT64_C(0xe220a8397b1dcdaf),
                                      UINT64_C(0x6e789e6aa1b965f4),
                                      UINT64_C(0x06c45d188009454f)};
    uint8_t a[128];
    uint8_t b[128];
    uint8_t c[128];

    (void)state;
    seeded_bytes(0, a);
    seeded_bytes(0, b);
    seeded_bytes(1, c);
    assert_memory_equal(a, known, sizeof known);
    assert_memory_equal(a, b, 128);
    assert_memory_not_equal(a, c, 128);
}

static void goes_on_after_a_pause(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct plug p;

        set_up(&p, plug_kinds[k], false, 0);
        for (unsigned i = 0; i < 200; i++) {
            assert_true(plug_offer_in(&p, 0, plug_room(&p, 64), 64) >= 0);
            if (i % 3 == 0) {
                plug_pause(&p);
                p.d->ops->kicked(p.d, 0); /* nothing happens */
                assert_int_equal(plug_get(&p, 0, NULL), -1);
                plug_resume(&p);
            } else {
                plug_kick(&p, 0);
            }
            assert_int_equal(plug_get(&p, 0, NULL), 64);
        }
        plug_fini(&p);
    }
}

static void a_buffer_that_cannot_be_filled_breaks_it(void **state)
{
    (void)state;
    for (unsigned k = 0; k < plug_kind_count; k++) {
        struct plug p;
        struct driver_piece out = {0, 64, false};

        set_up(&p, plug_kinds[k], false, 0);
        out.at = plug_room(&p, 64);
        assert_true(plug_offer(&p, 0, &out, 1) >= 0);
        plug_kick(&p, 0);
        assert_int_equal(p.broken, 1);
        assert_true(plug_offer_in(&p, 0, out.at, 64) >= 0);
        p.d->ops->kicked(p.d, 0);
        assert_int_equal(plug_get(&p, 0, NULL), -1);

        plug_reset(&p); /* and a reset makes it whole */
        plug_start(&p, plug_kinds[k], 1);
        assert_true(plug_offer_in(&p, 0, out.at, 64) >= 0);
        plug_kick(&p, 0);
        assert_int_equal(plug_get(&p, 0, NULL), 64);
        plug_fini(&p);
    }
}

static void goes_while_something_is_put_off(void **state)
{
    struct plug p;

    (void)state;
    set_up(&p, 0, false, 0);
    for (unsigned i = 0; i < 64; i++) {
        assert_true(plug_offer_in(&p, 0, plug_room(&p, 64), 64) >= 0);
    }
    p.d->ops->kicked(p.d, 0);
    plug_fini(&p);
}

static void memory_may_run_out(void **state)
{
    struct virtio_rng_options o = {0};
    struct virtio_device *d = NULL;
    struct err e = {0};

    (void)state;
    fault_fail_alloc_at(0);
    assert_int_equal(virtio_rng_create(&o, &d, &e), -ENOMEM);
    assert_null(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_what_is_offered),
        cmocka_unit_test(a_large_request_is_cut),
        cmocka_unit_test(many_requests_take_many_turns),
        cmocka_unit_test(a_seed_says_the_bytes),
        cmocka_unit_test(goes_on_after_a_pause),
        cmocka_unit_test(a_buffer_that_cannot_be_filled_breaks_it),
        cmocka_unit_test(goes_while_something_is_put_off),
        cmocka_unit_test(memory_may_run_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
