/* quota_test.c - what a file takes is counted and bounded. */
#include "resource/storage/pool/quota.h"

#include "tests/resource/storage/redundancy/members.h"

#define GRANULE ((uint64_t)PLACE_QUOTA_GRANULE_BYTES)

static int make(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                struct blk **ret_disk, struct err *e)
{
    int r = blk_resize(take_lower[0], size_bytes, e);

    (void)l;
    if (r != 0) {
        blk_drop(take_lower[0]);
        return r;
    }
    r = place_quota_create(take_lower[0], 1u << 30, ret_disk, e);
    if (r == 0) {
        (*ret_disk)->grows = false; /* the suite asks what is behind the end */
    }
    return r;
}

/* What the memory below holds, which it gives back in granules of the same size. */
static uint64_t count_below(struct blk *file)
{
    return leaf_memory_held_bytes(file);
}

static int a_bound_is_kept(void *arg)
{
    struct members *m = arg;
    struct blk *q = NULL;
    char room[PLACE_QUOTA_GRANULE_BYTES];
    unsigned full = 0;

    memset(room, 0x22, sizeof room);
    members_add(m, 0);
    m->base[0]->grows = true;
    must_be_0(blk_write(m->base[0], room, sizeof room, 5 * GRANULE, 0));
    must_be_0(place_quota_create(m->base[0], 40 * GRANULE, &q, NULL));
    must(place_quota_taken(q) == GRANULE);
    for (unsigned i = 0; i < 4000; i++) {
        uint64_t off = suite_random(&m->random) % 1600 * (GRANULE / 16);
        uint64_t bytes = (suite_random(&m->random) % 16 + 1) * 4096;
        uint64_t before = count_below(m->base[0]);
        int r = 0;

        switch (suite_random(&m->random) % 5) {
        case 0:
            r = blk_zero(q, off, bytes * 4, BLK_UNMAP);
            break;
        case 1:
            r = off + bytes <= blk_size(q) ? blk_discard(q, off, bytes) : 0;
            break;
        default:
            r = blk_write(q, room, bytes, off, 0);
        }
        must(r == 0 || r == -ENOSPC);
        if (r == -ENOSPC) {
            must(count_below(m->base[0]) == before);
            full++;
        }
        must(place_quota_taken(q) <= 40 * GRANULE);
        must(place_quota_taken(q) == count_below(m->base[0]));
    }
    must(full > 0);
    while (blk_write(q, room, sizeof room, full++ * GRANULE, 0) == 0) {
    }
    must(blk_write(q, room, sizeof room, (uint64_t)1 << 40, 0) == -ENOSPC);
    place_quota_set(q, 41 * GRANULE);
    must_be_0(blk_write(q, room, sizeof room, (uint64_t)1 << 36, 0));
    must(blk_write(q, room, sizeof room, (uint64_t)1 << 61, 0) == -ENOSPC);
    must_be_0(blk_resize(q, 4096, NULL));
    must(place_quota_taken(q) <= GRANULE);
    blk_drop(q);
    members_drop(m);
    return 0;
}

static int a_failed_write_is_not_counted(void *arg)
{
    struct members *m = arg;
    struct filter_fault_plan bad = {
        .fail_kinds = 31, .fail_from = 1, .fail_until = 2, .error = -EIO};
    struct blk *q = NULL;
    char room[4096] = {1};

    members_add(m, 0);
    m->base[0]->grows = true;
    members_filter(m, 1);
    must_be_0(place_quota_create(m->lower[0], 10 * GRANULE, &q, NULL));
    filter_fault_plan(m->lower[0], &bad);
    must(blk_write(q, room, sizeof room, 3 * GRANULE, 0) == -EIO);
    must(place_quota_taken(q) == 0);
    must_be_0(blk_write(q, room, sizeof room, 3 * GRANULE, 0));
    must(place_quota_taken(q) == GRANULE);
    must_be_0(blk_zero(q, 8 * GRANULE, 4096, 0)); /* keeps its room */
    must(place_quota_taken(q) == 2 * GRANULE);
    blk_drop(q);
    members_drop(m);
    return 0;
}

static void run(int (*test)(void *arg), const char *name)
{
    struct members s = {.random = 7};

    must_be_0(loop_create(LOOP_DRIVER_AUTO, &s.loop, NULL));
    must_be_0(loop_do(s.loop, test, &s));
    loop_destroy(s.loop);
    (void)printf("ok   %s\n", name);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "quota", .lowers = 1, .lower_grows = true, .make = make},
    };

    run(a_bound_is_kept, "a bound is kept");
    run(a_failed_write_is_not_counted, "a failed write is not counted");
    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
