/* safe_test.c - records that are replaced whole, ranges that are locked, checksums. */
#include <errno.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/strand.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/safe/range.h"
#include "resource/storage/safe/slot.h"
#include "tests/contract/blk_suite.h"

#define PLACE 4096

/* RFC 3720, appendix B.4. */
static int sums_are_those_of_the_rfc(void *arg)
{
    unsigned char bytes[32];

    (void)arg;
    memset(bytes, 0, sizeof bytes);
    must(crc32c(0, bytes, 32) == 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    must(crc32c(0, bytes, 32) == 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++) {
        bytes[i] = (unsigned char)i;
    }
    must(crc32c(0, bytes, 32) == 0x46dd794e);
    must(crc32c(crc32c(0, bytes, 7), bytes + 7, 25) == 0x46dd794e);
    return 0;
}

static struct slot slot_on(struct blk *b)
{
    return (struct slot){.disk = b, .bytes = PLACE, .magic = 0x1234, .version = 1};
}

/* Whatever is cut, the old record or the new one is there. */
static int a_record_is_replaced_whole(void *arg)
{
    struct loop *l = arg;
    struct blk *base = NULL;
    struct blk_edge keep = {.user = "test", .lets = BLK_USE_ALL};
    uint64_t random = 11;
    unsigned char now = 0;
    unsigned char room[PLACE];
    unsigned char got[PLACE];
    size_t bytes;

    must_be_0(leaf_memory_create(loop_strands(l), 65536, 512, &base, NULL));
    must_be_0(blk_attach(&keep, base, NULL));
    for (unsigned i = 0; i < 300; i++) {
        struct filter_fault_plan plan = {.seed = suite_random(&random),
                                         .holds_back = true};
        struct blk *disk = NULL;
        struct slot s;

        must_be_0(filter_fault_create(l, base, &plan, &disk, NULL));
        s = slot_on(disk);
        must(slot_load(&s, got, &bytes) == (now == 0 ? -ENOENT : 0));
        must(now == 0 || (bytes == 4000 && got[0] == now && got[3999] == now));
        memset(room, now + 1, sizeof room);
        filter_fault_cut_after(disk, suite_random(&random) % 2);
        if (slot_store(&s, room, 4000) == 0) {
            now++;
        }
        if (!filter_fault_is_cut(disk)) {
            filter_fault_cut(disk);
        }
        blk_drop(disk);
        s = slot_on(base);
        if (slot_load(&s, got, &bytes) == 0) {
            must(got[0] == now && got[3999] == now);
        }
        now = now == 250 ? 1 : now;
        memset(room, now, sizeof room);
        must_be_0(now != 0 ? slot_store(&s, room, 4000) : 0);
    }
    blk_detach(&keep);
    return 0;
}

static int damaged_records_are_refused(void *arg)
{
    struct loop *l = arg;
    struct blk *b = NULL;
    unsigned char room[PLACE] = {9};
    unsigned char place[PLACE];
    struct slot s;
    size_t bytes;

    must_be_0(leaf_memory_create(loop_strands(l), 65536, 512, &b, NULL));
    s = slot_on(b);
    must(slot_load(&s, room, &bytes) == -ENOENT);
    must(slot_store(&s, room, PLACE) == -E2BIG);
    must_be_0(slot_store(&s, room, 100)); /* sequence 1: the second place */
    must_be_0(blk_read(b, place, PLACE, PLACE));
    for (unsigned i = 0; i < 140; i++) {
        place[i] ^= 0x40;
        must_be_0(blk_write(b, place, PLACE, PLACE, 0));
        must(slot_load(&s, room, &bytes) == (i < 8 ? -ENOENT : -EUCLEAN));
        place[i] ^= 0x40;
    }
    must_be_0(blk_write(b, place, PLACE, PLACE, 0));
    must_be_0(slot_load(&s, room, &bytes));
    must_be_0(blk_write(b, place, PLACE, 0, 0)); /* the newer one where it cannot be */
    must_be_0(slot_load(&s, room, &bytes));
    s.version = 2;
    must(slot_load(&s, room, &bytes) == -EOPNOTSUPP);
    blk_drop(b);
    return 0;
}

/* ---- ranges ---- */

struct field {
    struct loop *loop;
    struct range_lock lock;
    unsigned writers[64];
    unsigned readers[64];
    uint64_t random;
    unsigned running;
};

static void hold_some(void *arg)
{
    struct field *f = arg;

    for (unsigned i = 0; i < 40; i++) {
        uint64_t first = suite_random(&f->random) % 60;
        struct range_hold h = {.first = first,
                               .end = first + suite_random(&f->random) % 4 + 1,
                               .shares = suite_random(&f->random) % 2 == 0};

        if (suite_random(&f->random) % 5 != 0) {
            range_take(loop_strands(f->loop), &f->lock, &h);
        } else if (!range_try(&f->lock, &h)) {
            continue;
        }
        for (uint64_t x = h.first; x < h.end; x++) {
            must(f->writers[x] == 0 && (h.shares || f->readers[x] == 0));
            f->writers[x] += !h.shares;
            f->readers[x] += h.shares;
        }
        loop_sleep(f->loop, suite_random(&f->random) % 20000);
        for (uint64_t x = h.first; x < h.end; x++) {
            f->writers[x] -= !h.shares;
            f->readers[x] -= h.shares;
        }
        range_give(&f->lock, &h);
    }
    f->running--;
}

static int ranges_exclude_each_other(void *arg)
{
    struct field f = {.loop = arg, .random = 5, .running = 24};

    for (unsigned i = 0; i < 24; i++) {
        must_be_0(strand_start(loop_strands(f.loop), hold_some, &f));
    }
    while (f.running > 0) {
        loop_sleep(f.loop, 100000);
    }
    must(f.lock.first == NULL);
    return 0;
}

static void run(int (*test)(void *arg), const char *name)
{
    struct loop *l = NULL;

    must_be_0(loop_create(LOOP_DRIVER_AUTO, &l, NULL));
    must_be_0(loop_do(l, test, l));
    loop_destroy(l);
    (void)printf("ok   %s\n", name);
}

int main(void)
{
    run(sums_are_those_of_the_rfc, "sums are those of the RFC");
    run(a_record_is_replaced_whole, "a record is replaced whole");
    run(damaged_records_are_refused, "damaged records are refused");
    run(ranges_exclude_each_other, "ranges exclude each other");
    return 0;
}
