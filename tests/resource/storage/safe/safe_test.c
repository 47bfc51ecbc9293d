/* safe_test.c - records that are replaced whole, ranges that are locked, checksums. */
#include <errno.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/strand.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/safe/journal.h"
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

/* ---- the journal ---- */

struct story {
    unsigned acknowledged; /* records 1 .. acknowledged have to come back, in order */
    unsigned asked;
    unsigned came;
};

static int tell(void *arg, const uint8_t *record, size_t bytes)
{
    struct story *t = arg;

    t->came++;
    must(bytes == t->came % 700 + 1 && record[0] == (uint8_t)t->came);
    must(record[bytes - 1] == (uint8_t)t->came);
    return 0;
}

static struct journal journal_on(struct blk *b)
{
    return (struct journal){.disk = b, .at = 4096, .bytes = 65536, .id = 99};
}

/* Append until the power goes or it is full; what is full is restarted. */
static void append_some(struct journal *j, struct story *t)
{
    uint8_t record[701];
    int r = 0;

    for (unsigned i = 0; r == 0 && i < 60; i++) {
        unsigned n = t->asked + 1;

        memset(record, (int)(n & 0xff), sizeof record);
        r = journal_append(j, record, n % 700 + 1);
        if (r == -EAGAIN) {
            r = journal_restart(j); /* its owner has it all in place */
            *t = (struct story){0};
        } else {
            t->asked = n;
            t->acknowledged = r == 0 ? n : t->acknowledged;
        }
    }
}

static int acknowledged_records_come_back(void *arg)
{
    struct loop *l = arg;
    struct blk *base = NULL;
    struct blk_edge keep = {.user = "test", .lets = BLK_USE_ALL};
    uint64_t random = 3;

    must_be_0(leaf_memory_create(loop_strands(l), 1 << 20, 512, &base, NULL));
    must_be_0(blk_attach(&keep, base, NULL));
    for (unsigned i = 0; i < 200; i++) {
        struct filter_fault_plan plan = {.seed = suite_random(&random),
                                         .holds_back = true};
        struct story t = {0};
        struct blk *disk = NULL;
        struct journal j;

        must_be_0(filter_fault_create(l, base, &plan, &disk, NULL));
        j = journal_on(disk);
        j.id = 100 + i; /* another owner: nothing of the last one comes back */
        must_be_0(journal_open(&j, tell, &t));
        must(t.came == 0);
        must(journal_append(&j, "x", 1) == -EAGAIN);
        must_be_0(journal_restart(&j));
        must(journal_append(&j, NULL, journal_most(&j) + 1) == -E2BIG);
        filter_fault_cut_after(disk, suite_random(&random) % 60);
        append_some(&j, &t);
        if (!filter_fault_is_cut(disk)) {
            filter_fault_cut(disk);
        }
        journal_close(&j);
        blk_drop(disk);
        j = journal_on(base);
        j.id = 100 + i;
        must_be_0(journal_open(&j, tell, &t));
        must(t.came >= t.acknowledged || t.asked == 0);
        must(t.came <= t.asked || t.asked == 0);
        journal_close(&j);
    }
    blk_detach(&keep);
    return 0;
}

/* Many at once share writes, and each one's record is there. */
struct crowd {
    struct loop *loop;
    struct journal *j;
    unsigned running;
    unsigned done;
};

static void append_one(void *arg)
{
    struct crowd *c = arg;
    uint32_t record[8] = {7};

    for (unsigned i = 0; i < 10; i++) {
        must_be_0(journal_append(c->j, record, sizeof record));
        c->done++;
    }
    c->running--;
}

static int count_records(void *arg, const uint8_t *record, size_t bytes)
{
    must(bytes == 32 && record[0] == 7);
    ++*(unsigned *)arg;
    return 0;
}

static int many_appends_share_writes(void *arg)
{
    struct filter_fault_plan slow = {.seed = 1, .delay_one_in = 1, .delay_ns = 200000};
    struct blk *base = NULL;
    struct blk *disk = NULL;
    struct journal j;
    struct crowd c = {.loop = arg, .j = &j, .running = 50};
    unsigned came = 0;

    must_be_0(leaf_memory_create(loop_strands(c.loop), 1 << 20, 512, &base, NULL));
    must_be_0(filter_fault_create(c.loop, base, &slow, &disk, NULL));
    j = (struct journal){.disk = disk, .at = 4096, .bytes = 524288, .id = 99};
    must_be_0(journal_open(&j, count_records, &came));
    must_be_0(journal_restart(&j));
    for (unsigned i = 0; i < 50; i++) {
        must_be_0(strand_start(loop_strands(c.loop), append_one, &c));
    }
    while (c.running > 0) {
        loop_sleep(c.loop, 100000);
    }
    must(c.done == 500 && filter_fault_writes(disk) < 100);
    journal_close(&j);
    j = (struct journal){.disk = disk, .at = 4096, .bytes = 524288, .id = 99};
    must_be_0(journal_open(&j, count_records, &came));
    must(came == 500);
    journal_close(&j);
    blk_drop(disk);
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
    run(acknowledged_records_come_back, "acknowledged records come back");
    run(many_appends_share_writes, "many appends share writes");
    run(ranges_exclude_each_other, "ranges exclude each other");
    return 0;
}
