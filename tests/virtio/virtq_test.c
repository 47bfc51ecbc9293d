/* virtq_test.c - virtqueues: an honest driver of both formats, and dishonest ones. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contract/mem.h"
#include "host/ram.h"
#include "tests/virtio/driver.h"
#include "virtio/queue.h"
#include "virtio/space.h"

#define GUEST     0x10000u
#define MEM_BYTES (1u << 20)
#define DATA      0x80000u /* guest address */
#define SIZE      16u

/* Memory that lies in two parts in the host, so that pieces are cut. */
struct world {
    struct virtio_space space; /* first */
    uint8_t *mem;
    uint64_t cut; /* guest address where the second part begins */
    unsigned wrote;
    struct driver d;
    struct virtq q;
    struct virtq_chain c;
    bool sealed; /* nothing may be written */
};

static uint8_t *reach(struct virtio_space *s, uint64_t at, uint64_t bytes, bool write,
                      uint64_t *ret)
{
    struct world *w = (struct world *)s;
    uint64_t end = at < w->cut ? w->cut : GUEST + MEM_BYTES;

    assert_false(write && w->sealed);
    if (at < GUEST || at >= GUEST + MEM_BYTES) {
        return NULL;
    }
    *ret = bytes < end - at ? bytes : end - at;
    return w->mem + (at - GUEST);
}

static void wrote(struct virtio_space *s, const uint8_t *host, uint64_t bytes)
{
    (void)host;
    (void)bytes;
    ((struct world *)s)->wrote++;
}

static void set_up(struct world *w, uint64_t features, unsigned size, uint32_t base)
{
    struct virtq_setup s = {.space = &w->space, .size = size, .features = features};

    memset(w, 0, sizeof *w);
    w->space = (struct virtio_space){reach, wrote};
    w->mem = aligned_alloc(4096, MEM_BYTES);
    assert_non_null(w->mem);
    memset(w->mem, 0, MEM_BYTES);
    w->cut = DATA + 1000;
    w->d.packed = (features & VIRTIO_F_RING_PACKED) != 0;
    w->d.events = (features & VIRTIO_F_EVENT_IDX) != 0;
    driver_init(&w->d, w->mem, GUEST, 0, size);
    s.rings =
        (struct virtq_rings){w->mem + w->d.desc, w->mem + w->d.avail, w->mem + w->d.used};
    s.base = base != 0 ? base : w->d.packed ? 0x80008000u : 0;
    assert_int_equal(virtq_start(&w->q, &s), 0);
}

static void tear_down(struct world *w)
{
    free(w->mem);
}

static const uint64_t kinds[] = {
    0,
    VIRTIO_F_EVENT_IDX,
    VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX,
    VIRTIO_F_RING_PACKED,
    VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC,
};

#define KINDS (sizeof kinds / sizeof kinds[0])

/* Chains that the device has taken and not given back. */
struct held {
    struct virtq_chain c[4];
    unsigned count;
};

/* Give one of them back, any; or show what was given. */
static void give_some(struct world *w, struct held *h, unsigned *seed)
{
    unsigned i;

    if (h->count == 0 || rand_r(seed) % 2 != 0) {
        (void)virtq_show(&w->q);
        return;
    }
    i = (unsigned)rand_r(seed) % h->count;
    virtq_give(&w->q, &h->c[i], (uint32_t)h->c[i].write_bytes);
    h->c[i] = h->c[--h->count];
}

static void take_one(struct world *w, struct held *h)
{
    struct virtq_chain *c = &h->c[h->count];

    if (h->count < 4 && virtq_take(&w->q, c) == 1) {
        assert_int_equal(c->reads, 1);
        assert_int_equal(c->read_bytes, 16);
        h->count++;
    }
}

static unsigned go_round(uint64_t features, unsigned size, unsigned seed)
{
    const struct driver_piece p[3] = {
        {DATA, 16, false}, {DATA + 900, 200, true}, {DATA + 4096, 1, true}};
    struct held h = {.count = 0};
    struct world w;
    unsigned done = 0;

    set_up(&w, features, size, 0);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned n = size < 3 ? size : 1 + (unsigned)rand_r(&seed) % 3;
        bool indirect =
            (features & VIRTIO_F_INDIRECT_DESC) != 0 && rand_r(&seed) % 2 != 0;
        uint16_t id;
        uint32_t bytes;

        switch (rand_r(&seed) % 3) {
        case 0:
            (void)driver_add(&w.d, p, indirect ? 3 : n, indirect);
            break;
        case 1:
            take_one(&w, &h);
            break;
        default:
            give_some(&w, &h, &seed);
        }
        while (driver_get(&w.d, &id, &bytes)) {
            done++;
        }
    }
    assert_false(w.q.broken);
    tear_down(&w);
    return done;
}

static void goes_round_for_long(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        for (unsigned size = 1; size <= 64; size *= 4) {
            assert_true(go_round(kinds[k], size, k * 97 + size) > 500);
        }
    }
}

static void pieces_are_cut_where_memory_is(void **state)
{
    struct driver_piece p[2] = {{DATA, 100, false}, {DATA + 900, 200, true}};

    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct world w;

        set_up(&w, kinds[k], SIZE, 0);
        assert_true(driver_add(&w.d, p, 2, (kinds[k] & VIRTIO_F_INDIRECT_DESC) != 0) >=
                    0);
        assert_int_equal(virtq_take(&w.q, &w.c), 1);
        assert_int_equal(w.c.reads, 1);
        assert_int_equal(w.c.writes, 2);
        assert_int_equal(w.c.write_bytes, 200);
        assert_ptr_equal(w.c.iov[1].iov_base, w.mem + (DATA - GUEST) + 900);
        assert_int_equal(w.c.iov[1].iov_len, 100);
        assert_int_equal(w.c.iov[2].iov_len, 100);
        assert_int_equal(virtq_take(&w.q, &w.c), 0);
        tear_down(&w);
    }
}

static unsigned get_all(struct world *w)
{
    unsigned got = 0;
    uint16_t id;
    uint32_t bytes;

    while (driver_get(&w->d, &id, &bytes)) {
        got++;
    }
    return got;
}

/* Both listen: the first of a batch is told of, both ways. */
static void one_round(struct world *w, unsigned batch)
{
    struct driver_piece p = {DATA, 1, true};
    bool told = false;

    virtq_hush(&w->q);
    driver_listen(&w->d, true);
    assert_false(virtq_listen(&w->q));
    for (unsigned i = 0; i < batch; i++) {
        assert_true(driver_add(&w->d, &p, 1, false) >= 0);
    }
    assert_true(driver_wants_kick(&w->d));
    virtq_hush(&w->q);
    while (virtq_take(&w->q, &w->c) == 1) {
        virtq_give(&w->q, &w->c, 1);
        if (rand() % 2 != 0) {
            told = virtq_show(&w->q) || told;
        }
    }
    told = virtq_show(&w->q) || told;
    assert_true(told);
    driver_listen(&w->d, false);
    assert_int_equal(get_all(w), batch);
}

/* Neither side ever waits for the other: whoever is to be told of something is. */
static void nobody_is_forgotten(void **state)
{
    struct driver_piece p = {DATA, 1, true};

    (void)state;
    for (unsigned i = 0; i < KINDS * SIZE; i++) {
        struct world w;
        unsigned kicks = 0;

        set_up(&w, kinds[i % KINDS], SIZE, 0);
        for (unsigned round = 0; round < 200; round++) {
            one_round(&w, 1 + i / KINDS);

            /* and while neither listens, nobody tells much */
            assert_true(driver_add(&w.d, &p, 1, false) >= 0);
            kicks += driver_wants_kick(&w.d) ? 1 : 0;
            assert_int_equal(virtq_take(&w.q, &w.c), 1);
            virtq_give(&w.q, &w.c, 1);
            (void)virtq_show(&w.q);
            assert_int_equal(get_all(&w), 1);
        }
        assert_true(kicks <= 2);
        tear_down(&w);
    }
}

static void listening_sees_what_came_meanwhile(void **state)
{
    struct driver_piece p = {DATA, 1, true};

    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct world w;

        set_up(&w, kinds[k], SIZE, 0);
        virtq_hush(&w.q);
        assert_true(driver_add(&w.d, &p, 1, false) >= 0);
        assert_true(virtq_listen(&w.q));
        tear_down(&w);
    }
}

static void goes_on_from_its_base(void **state)
{
    struct driver_piece p = {DATA, 1, true};

    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct world w;
        struct virtq_setup s;
        uint16_t id;
        uint32_t bytes;

        set_up(&w, kinds[k], SIZE, 0);
        for (unsigned i = 0; i < 5 * SIZE + 3; i++) {
            assert_true(driver_add(&w.d, &p, 1, false) >= 0);
            assert_int_equal(virtq_take(&w.q, &w.c), 1);
            virtq_give(&w.q, &w.c, 1);
            (void)virtq_show(&w.q);
            assert_true(driver_get(&w.d, &id, &bytes));
            s = w.q.s;
            s.base = virtq_base(&w.q);
            assert_int_equal(virtq_start(&w.q, &s), 0);
        }
        tear_down(&w);
    }
}

/* Take some, put some of them back, the last first, and take them again. */
static void what_is_put_back_comes_again(void **state)
{
    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct virtq_chain c[4];
        struct world w;
        uint16_t id;
        uint32_t bytes;

        set_up(&w, kinds[k], SIZE, 0);
        for (unsigned i = 0; i < 100; i++) {
            unsigned back = i % 4;

            for (unsigned n = 0; n < 4; n++) {
                struct driver_piece p[2] = {{DATA, 1 + n, false}, {DATA, 1, true}};

                assert_true(driver_add(&w.d, p, 1 + n % 2, false) >= 0);
            }
            for (unsigned n = 0; n < 4; n++) {
                assert_int_equal(virtq_take(&w.q, &c[n]), 1);
            }
            for (unsigned n = 4; n > 4 - back; n--) {
                virtq_put_back(&w.q, &c[n - 1]);
            }
            if (i % 3 == 0) {
                struct virtq_setup s = w.q.s;

                for (unsigned n = 0; n < 4 - back; n++) {
                    virtq_give(&w.q, &c[n], 0);
                }
                (void)virtq_show(&w.q);
                s.base = virtq_base(&w.q);
                assert_int_equal(virtq_start(&w.q, &s), 0);
            }
            for (unsigned n = 4 - back; n < 4; n++) {
                assert_int_equal(virtq_take(&w.q, &c[n]), 1);
                assert_int_equal(c[n].read_bytes, 1 + n);
            }
            assert_int_equal(virtq_take(&w.q, &w.c), 0);
            for (unsigned n = i % 3 == 0 ? 4 - back : 0; n < 4; n++) {
                virtq_give(&w.q, &c[n], 0);
            }
            (void)virtq_show(&w.q);
            for (unsigned n = 0; n < 4; n++) {
                assert_true(driver_get(&w.d, &id, &bytes));
            }
            assert_int_equal(w.q.in_flight, 0);
        }
        tear_down(&w);
    }
}

static void writes_are_told(void **state)
{
    struct driver_piece p = {DATA, 1, true};

    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        struct world w;
        unsigned before;

        set_up(&w, kinds[k], SIZE, 0);
        assert_true(driver_add(&w.d, &p, 1, false) >= 0);
        assert_int_equal(virtq_take(&w.q, &w.c), 1);
        before = w.wrote;
        virtq_give(&w.q, &w.c, 1);
        (void)virtq_show(&w.q);
        assert_true(w.wrote >= before + 4);
        tear_down(&w);
    }
}

/* ---- drivers that break the rules ---- */

static void breaks(uint64_t features, const struct driver_piece *p, unsigned n,
                   bool indirect)
{
    struct world w;

    set_up(&w, features, SIZE, 0);
    w.sealed = false;
    assert_true(driver_add(&w.d, p, n, indirect) >= 0);
    assert_int_equal(virtq_take(&w.q, &w.c), -EPROTO);
    assert_true(w.q.broken);
    assert_int_equal(virtq_take(&w.q, &w.c), -EPROTO);
    assert_false(virtq_more(&w.q));
    tear_down(&w);
}

static void bad_pieces_break_the_queue(void **state)
{
    const struct driver_piece nowhere = {16, 16, false};
    const struct driver_piece over_the_end = {GUEST + MEM_BYTES - 1, 2, true};
    const struct driver_piece wraps = {UINT64_MAX - 1, 4, true};
    const struct driver_piece huge = {DATA, UINT32_MAX, true};
    const struct driver_piece backwards[2] = {{DATA, 1, true}, {DATA, 1, false}};

    (void)state;
    for (unsigned k = 0; k < KINDS; k++) {
        for (unsigned i = 0; i < 2; i++) {
            bool indirect = i != 0;

            if (indirect && (kinds[k] & VIRTIO_F_INDIRECT_DESC) == 0) {
                continue;
            }
            breaks(kinds[k], &nowhere, 1, indirect);
            breaks(kinds[k], &over_the_end, 1, indirect);
            breaks(kinds[k], &wraps, 1, indirect);
            breaks(kinds[k], &huge, 1, indirect);
            breaks(kinds[k], backwards, 2, indirect);
        }
        if ((kinds[k] & VIRTIO_F_INDIRECT_DESC) == 0) {
            breaks(kinds[k], backwards, 1, true); /* was not negotiated */
        }
    }
}

/* Write raw descriptors and offer the first. */
static void raw(struct world *w, const uint64_t (*desc)[2], unsigned n)
{
    memcpy(w->mem + w->d.desc, desc, n * 16);
    if (!w->d.packed) {
        w->mem[w->d.avail + 2] = 1;
    }
}

#define SPLIT(bytes, flags, next)                                                        \
    ((uint64_t)(bytes) | (uint64_t)(flags) << 32 | (uint64_t)(next) << 48)
#define PACKED(bytes, id, flags)                                                         \
    ((uint64_t)(bytes) | (uint64_t)(id) << 32 | (uint64_t)(flags) << 48)

static void breaks_raw(uint64_t features, const uint64_t (*desc)[2], unsigned n)
{
    struct world w;

    set_up(&w, features, SIZE, 0);
    raw(&w, desc, n);
    assert_int_equal(virtq_take(&w.q, &w.c), -EPROTO);
    tear_down(&w);
}

static void bad_chains_break_the_queue(void **state)
{
    static const uint64_t loop[1][2] = {{DATA, SPLIT(1, 1, 0)}};
    static const uint64_t loop2[2][2] = {{DATA, SPLIT(1, 1, 1)}, {DATA, SPLIT(0, 1, 0)}};
    static const uint64_t out[1][2] = {{DATA, SPLIT(1, 1, SIZE)}};
    static const uint64_t odd[1][2] = {{DATA, SPLIT(17, 4, 0)}};
    static const uint64_t none[1][2] = {{DATA, SPLIT(0, 4, 0)}};
    static const uint64_t both[1][2] = {{DATA, SPLIT(16, 5, 1)}};
    static const uint64_t far[1][2] = {{GUEST + MEM_BYTES - 8, SPLIT(16, 4, 0)}};
    static const uint64_t late[2][2] = {{DATA, SPLIT(1, 1, 1)}, {DATA, SPLIT(16, 4, 0)}};
    static const uint64_t nested[1][2] = {{GUEST + SIZE, SPLIT(16, 4, 0)}};
    uint64_t endless[SIZE][2];
    struct world w;

    (void)state;
    breaks_raw(VIRTIO_F_INDIRECT_DESC, loop, 1);
    breaks_raw(VIRTIO_F_INDIRECT_DESC, loop2, 2);
    breaks_raw(VIRTIO_F_INDIRECT_DESC, out, 1);
    breaks_raw(VIRTIO_F_INDIRECT_DESC, odd, 1);
    breaks_raw(VIRTIO_F_INDIRECT_DESC, none, 1);
    breaks_raw(VIRTIO_F_INDIRECT_DESC, both, 1);
    breaks_raw(VIRTIO_F_INDIRECT_DESC, far, 1);
    breaks_raw(VIRTIO_F_INDIRECT_DESC, late, 2);

    /* a table that names a table */
    set_up(&w, VIRTIO_F_INDIRECT_DESC, SIZE, 0);
    raw(&w, nested, 1);
    memcpy(w.mem + SIZE, (uint64_t[2]){DATA, SPLIT(16, 4, 0)}, 16);
    assert_int_equal(virtq_take(&w.q, &w.c), -EPROTO);
    tear_down(&w);

    for (unsigned i = 0; i < SIZE; i++) {
        endless[i][0] = DATA;
        endless[i][1] = PACKED(1, 0, 1u | 1u << 7);
    }
    breaks_raw(VIRTIO_F_RING_PACKED, (const uint64_t(*)[2])endless, SIZE);
}

static void bad_indices_break_the_queue(void **state)
{
    struct world w;

    (void)state;
    set_up(&w, 0, SIZE, 0);
    w.mem[w.d.avail + 2] = SIZE + 1; /* more than a ring ahead */
    assert_int_equal(virtq_take(&w.q, &w.c), -EPROTO);
    tear_down(&w);

    set_up(&w, 0, SIZE, 0);
    w.mem[w.d.avail + 2] = 1;
    w.mem[w.d.avail + 4] = SIZE; /* no such descriptor */
    assert_int_equal(virtq_take(&w.q, &w.c), -EPROTO);
    tear_down(&w);
}

/* The same head again and again: no more is taken than the queue has. */
static void what_is_under_way_is_bounded(void **state)
{
    struct virtq_chain c;

    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        struct world w;
        unsigned taken = 0;

        set_up(&w, packed != 0 ? VIRTIO_F_RING_PACKED : 0, SIZE, 0);
        for (unsigned i = 0; i < 10 * SIZE; i++) {
            if (packed != 0) {
                bool wrap = i / SIZE % 2 == 0;

                memcpy(
                    w.mem + 16 * (i % SIZE),
                    (uint64_t[2]){DATA, PACKED(1, 0, 2u | (wrap ? 1u << 7 : 1u << 15))},
                    16);
            } else {
                memcpy(w.mem, (uint64_t[2]){DATA, SPLIT(1, 2, 0)}, 16);
                w.mem[w.d.avail + 2] = (uint8_t)(taken + 1);
            }
            taken += virtq_take(&w.q, &c) == 1 ? 1 : 0;
        }
        assert_int_equal(taken, SIZE);
        tear_down(&w);
    }
}

static void impossible_setups_are_refused(void **state)
{
    struct world w;
    struct virtq_setup s;

    (void)state;
    set_up(&w, 0, SIZE, 0);
    s = w.q.s;
    s.size = 0;
    assert_int_equal(virtq_start(&w.q, &s), -EINVAL);
    s.size = 12;
    assert_int_equal(virtq_start(&w.q, &s), -EINVAL);
    s.size = 2 * VIRTQ_SIZE_MOST;
    assert_int_equal(virtq_start(&w.q, &s), -EINVAL);
    s.size = SIZE;
    s.rings.desc += 8;
    assert_int_equal(virtq_start(&w.q, &s), -EINVAL);
    s.rings.desc = NULL;
    assert_int_equal(virtq_start(&w.q, &s), -EINVAL);
    s.rings.desc = w.mem;
    s.features = VIRTIO_F_RING_PACKED;
    s.base = SIZE;
    assert_int_equal(virtq_start(&w.q, &s), -EINVAL);
    s.base = SIZE << 16;
    assert_int_equal(virtq_start(&w.q, &s), -EINVAL);
    s.base = 0x80008000u;
    s.size = 12;
    assert_int_equal(virtq_start(&w.q, &s), 0);
    tear_down(&w);
}

/* ---- over a machine's memory ---- */

static uint8_t count_touch(void *who, gpa at, unsigned bytes, uint8_t flags)
{
    (void)at;
    (void)bytes;
    (void)flags;
    ++*(unsigned *)who;
    return 0;
}

static void a_machines_memory_hears_of_writes(void **state)
{
    struct virtio_space_mem s;
    struct mem *m = NULL;
    unsigned touched = 0;
    struct mem_listener l = {count_touch, &touched, MEM_LOGGED};
    uint8_t *p;
    uint64_t n;
    uint8_t buf[8];

    (void)state;
    assert_int_equal(ram_create(RAM_PRIVATE, &m, NULL), 0);
    assert_int_equal(mem_add_ram(m, 0x10000, 0x4000, false, NULL), 0);
    assert_int_equal(mem_add_ram(m, 0x14000, 0x4000, true, NULL), 0);
    assert_int_equal(mem_listen(m, &l), 0);
    assert_int_equal(mem_flag_page(m, 0x11000, MEM_LOGGED), 0);
    virtio_space_over_mem(&s, m);
    p = s.space.reach(&s.space, 0x10800, 0x1000, false, &n);
    assert_non_null(p);
    assert_int_equal(n, 0x1000);
    assert_int_equal(touched, 0);
    p = s.space.reach(&s.space, 0x10800, 0x1000, true, &n);
    assert_int_equal(touched, 1); /* before */
    p[0x900] = 1;
    s.space.wrote(&s.space, p, 0x1000);
    assert_int_equal(touched, 2); /* after: the flag may have come in between */
    assert_null(s.space.reach(&s.space, 0x14000, 8, true, &n)); /* ROM */
    assert_null(s.space.reach(&s.space, 0x18000, 8, false, &n));
    assert_null(virtio_space_flat(&s.space, 0x13ff8, 16, true));
    assert_int_equal(virtio_space_read(&s.space, 0x13ffc, buf, 8), 0);
    assert_int_equal(virtio_space_read(&s.space, 0x17ffc, buf, 8), -EFAULT);
    mem_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_round_for_long),
        cmocka_unit_test(pieces_are_cut_where_memory_is),
        cmocka_unit_test(nobody_is_forgotten),
        cmocka_unit_test(listening_sees_what_came_meanwhile),
        cmocka_unit_test(goes_on_from_its_base),
        cmocka_unit_test(what_is_put_back_comes_again),
        cmocka_unit_test(writes_are_told),
        cmocka_unit_test(bad_pieces_break_the_queue),
        cmocka_unit_test(bad_chains_break_the_queue),
        cmocka_unit_test(bad_indices_break_the_queue),
        cmocka_unit_test(what_is_under_way_is_bounded),
        cmocka_unit_test(impossible_setups_are_refused),
        cmocka_unit_test(a_machines_memory_hears_of_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
