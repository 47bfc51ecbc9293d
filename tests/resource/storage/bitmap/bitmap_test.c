/* bitmap_test.c - bitmaps beside a volume: as a disk, against a model, through power
 * cuts, from hostile files. */
#include "resource/storage/bitmap/bitmap.h"

#include <errno.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/fault.h"
#include "base/strand.h"
#include "contract/blk_ops.h"
#include "host/loop/loop.h"
#include "resource/storage/filter/fault.h"
#include "resource/storage/leaf/leaf.h"
#include "tests/contract/blk_suite.h"

#define DISK_BYTES (4u << 20)
#define FILE_BYTES (2u << 20)

/* ---- the suite ---- */

static int wrap(struct blk **take_lower, uint64_t size_bytes, struct blk **ret_disk,
                struct err *e)
{
    struct bitmap_set *set = NULL;
    int r = bitmap_set_open(take_lower[1], size_bytes, &set, e);

    if (r != 0) {
        blk_drop(take_lower[0]);
        return r;
    }
    return bitmap_filter_create(take_lower[0], set, ret_disk, e);
}

static int open_filter(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    (void)l;
    return wrap(take_lower, size_bytes, ret_disk, e);
}

static int add_two(struct blk *disk, struct err *e)
{
    struct bitmap *b;
    int r = bitmap_add(bitmap_filter_set(disk), "fine", 512, &b, e);

    return r != 0 ? r : bitmap_add(bitmap_filter_set(disk), "coarse", 65536, &b, e);
}

static int make_filter(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                       struct blk **ret_disk, struct err *e)
{
    int r = bitmap_set_format(take_lower[1], size_bytes, e);

    (void)l;
    if (r != 0) {
        blk_drop(take_lower[0]);
        blk_drop(take_lower[1]);
        return r;
    }
    r = wrap(take_lower, size_bytes, ret_disk, e);
    if (r == 0) {
        r = add_two(*ret_disk, e);
        if (r != 0) {
            blk_drop(*ret_disk);
        }
    }
    return r;
}

/* ---- a bench of our own ---- */

struct bench {
    struct loop *loop;
    struct blk *data; /* memory, kept by an edge of ours */
    struct blk *file;
    struct blk_edge keep[2];
    struct blk *lower[2];
    struct blk *disk;
    struct blk_edge edge;
    uint64_t random;
};

static void keep_memory(struct bench *s, unsigned i, uint64_t bytes, struct blk **ret)
{
    must_be_0(leaf_memory_create(loop_strands(s->loop), bytes, 512, ret, NULL));
    s->keep[i] = (struct blk_edge){.user = "test", .lets = BLK_USE_ALL};
    must_be_0(blk_attach(&s->keep[i], *ret, NULL));
}

static void begin(struct bench *s)
{
    keep_memory(s, 0, DISK_BYTES, &s->data);
    keep_memory(s, 1, FILE_BYTES, &s->file);
    must_be_0(bitmap_set_format(s->file, DISK_BYTES, NULL));
}

static void open_bench(struct bench *s, bool holds_back)
{
    struct filter_fault_plan plan = {.seed = suite_random(&s->random),
                                     .holds_back = holds_back};
    struct err e = {0};

    must_be_0(filter_fault_create(s->loop, s->data, &plan, &s->lower[0], &e));
    must_be_0(filter_fault_create(s->loop, s->file, &plan, &s->lower[1], &e));
    must_be_0(wrap(s->lower, DISK_BYTES, &s->disk, &e));
    s->edge = (struct blk_edge){.user = "test", .uses = BLK_USE_ALL};
    must_be_0(blk_attach(&s->edge, s->disk, &e));
}

static void close_bench(struct bench *s)
{
    blk_detach(&s->edge);
}

static void end(struct bench *s)
{
    blk_detach(&s->keep[0]);
    blk_detach(&s->keep[1]);
}

static struct bitmap *find(struct bench *s, const char *name)
{
    return bitmap_find(bitmap_filter_set(s->disk), name);
}

static void add(struct bench *s, const char *name, uint32_t granularity)
{
    struct bitmap *b;

    must_be_0(bitmap_add(bitmap_filter_set(s->disk), name, granularity, &b, NULL));
}

/* ---- marks are those of the model ---- */

struct model {
    bool dirty[DISK_BYTES / 512];
};

static void compare(const struct bitmap *b, const struct model *m)
{
    uint32_t granule = bitmap_granularity(b);
    uint64_t bytes = 0;
    uint64_t at = 0;

    for (uint64_t off = 0; off < DISK_BYTES; off += granule) {
        bool dirty = false;

        for (uint64_t i = off; i < off + granule && i < DISK_BYTES; i += 512) {
            dirty = dirty || m->dirty[i / 512];
        }
        must(bitmap_is_dirty(b, off) == dirty);
        bytes += dirty ? granule : 0;
    }
    must(bitmap_dirty_bytes(b) == bytes);
    while (at < DISK_BYTES) { /* the same by `bitmap_next` */
        uint64_t from = bitmap_next(b, at, true);
        uint64_t until = bitmap_next(b, from, false);

        must(from >= at && until >= from && until <= DISK_BYTES);
        bytes -= until - from;
        at = until;
    }
    must(bytes == 0);
}

static void change(struct bench *s, struct model *fine, bool enabled)
{
    char room[32768] = {1};
    uint64_t bytes = (suite_random(&s->random) % 64 + 1) * 512;
    uint64_t off = suite_random(&s->random) % ((DISK_BYTES - bytes) / 512) * 512;

    switch (suite_random(&s->random) % 3) {
    case 0:
        must_be_0(blk_zero(s->disk, off, bytes, 0));
        break;
    case 1:
        must_be_0(blk_discard(s->disk, off, bytes));
        break;
    default:
        must_be_0(blk_write(s->disk, room, (size_t)bytes, off, 0));
    }
    for (uint64_t i = off; enabled && i < off + bytes; i += 512) {
        fine->dirty[i / 512] = true;
    }
}

static int marks_are_those_of_the_model(void *arg)
{
    struct bench *s = arg;
    struct model *m = calloc(1, sizeof *m);

    begin(s);
    open_bench(s, false);
    add(s, "fine", 512);
    add(s, "coarse", 65536);
    add(s, "odd", 1u << 23); /* larger than the disk */
    for (unsigned i = 0; i < 300; i++) {
        change(s, m, true);
        if (i % 50 == 49) {
            compare(find(s, "fine"), m);
            compare(find(s, "coarse"), m);
            must(bitmap_dirty_bytes(find(s, "odd")) == DISK_BYTES);
            close_bench(s);
            open_bench(s, false);
            compare(find(s, "fine"), m);
        }
        if (i % 100 == 99) {
            must_be_0(bitmap_reset(find(s, "fine")));
            must_be_0(bitmap_reset(find(s, "coarse")));
            memset(m, 0, sizeof *m);
        }
    }
    must_be_0(bitmap_enable(find(s, "fine"), false));
    change(s, m, false);
    compare(find(s, "fine"), m);
    close_bench(s);
    open_bench(s, false);
    must(!bitmap_is_enabled(find(s, "fine")));
    close_bench(s);
    end(s);
    free(m);
    return 0;
}

static int bitmaps_come_and_go(void *arg)
{
    struct bench *s = arg;
    struct bitmap_set *set;
    struct bitmap *b;
    struct err e = {0};

    begin(s);
    open_bench(s, false);
    set = bitmap_filter_set(s->disk);
    add(s, "b", 4096);
    add(s, "a", 4096);
    add(s, "c", 512);
    must(strcmp(bitmap_name(bitmap_at(set, 0)), "a") == 0);
    must(strcmp(bitmap_name(bitmap_at(set, 2)), "c") == 0);
    must(bitmap_at(set, 3) == NULL);
    must(bitmap_add(set, "a", 4096, &b, &e) == -EEXIST);
    must(bitmap_add(set, "", 4096, &b, NULL) == -EINVAL);
    must(bitmap_add(set, "d", 1000, &b, NULL) == -EINVAL);
    must(bitmap_add(set, "d", 256, &b, NULL) == -EINVAL);
    must_be_0(bitmap_mark(find(s, "a"), 8192, 1));
    must(bitmap_dirty_bytes(find(s, "a")) == 4096);
    must(bitmap_mark(find(s, "a"), DISK_BYTES, 1) == -ERANGE);
    must_be_0(bitmap_mark(find(s, "c"), DISK_BYTES - 512, 512));
    must_be_0(bitmap_merge(find(s, "a"), find(s, "c")));
    must(bitmap_is_dirty(find(s, "a"), DISK_BYTES - 4096));
    must(bitmap_dirty_bytes(find(s, "a")) == 8192);
    must_be_0(bitmap_clear(find(s, "a"), 8193, 4096)); /* no whole granule */
    must(bitmap_is_dirty(find(s, "a"), 8192));
    must_be_0(bitmap_clear(find(s, "a"), 8192, 4096));
    must(!bitmap_is_dirty(find(s, "a"), 8192));
    must_be_0(bitmap_remove(set, "b", &e));
    must(find(s, "b") == NULL);
    must(bitmap_remove(set, "b", NULL) == -ENOENT);
    add(s, "d", 4096); /* in the room that `b` had: its marks are gone */
    must(bitmap_dirty_bytes(find(s, "d")) == 0);
    close_bench(s);
    open_bench(s, false);
    must(find(s, "b") == NULL && find(s, "d") != NULL);
    must(bitmap_dirty_bytes(find(s, "a")) == 4096);
    close_bench(s);
    end(s);
    return 0;
}

/* ---- a mark cannot be lost while somebody clears ---- */

struct writer {
    struct blk *disk;
    bool done;
};

static void write_slowly(void *arg)
{
    struct writer *w = arg;
    char room[512] = {1};

    must_be_0(blk_write(w->disk, room, sizeof room, 4096, 0));
    w->done = true;
}

static int what_is_cleared_under_a_write_is_marked_again(void *arg)
{
    struct bench *s = arg;
    struct filter_fault_plan slow = {.seed = 1, .delay_one_in = 1, .delay_ns = 3000000};
    struct writer w = {0};
    struct bitmap *frozen;
    unsigned cleared = 0;

    begin(s);
    open_bench(s, false);
    add(s, "x", 512);
    filter_fault_plan(s->lower[0], &slow);
    for (unsigned i = 0; i < 30; i++) {
        w = (struct writer){.disk = s->disk};
        must_be_0(strand_start(loop_strands(s->loop), write_slowly, &w));
        if (!w.done) {
            cleared++;
            must(bitmap_is_dirty(find(s, "x"), 4096));
            must_be_0(bitmap_freeze(find(s, "x"), "frozen", &frozen, NULL));
            must(w.done || !bitmap_is_dirty(find(s, "x"), 4096));
            must(bitmap_is_dirty(frozen, 4096) && !bitmap_is_enabled(frozen));
        }
        while (!w.done) {
            loop_sleep(s->loop, 100000);
        }
        must(bitmap_is_dirty(find(s, "x"), 4096));
        if (find(s, "frozen") != NULL) {
            must_be_0(bitmap_remove(bitmap_filter_set(s->disk), "frozen", NULL));
        }
    }
    must(cleared > 10);
    close_bench(s);
    end(s);
    return 0;
}

/* ---- power cuts ---- */

static void copy_data(struct bench *s, char *to)
{
    must_be_0(blk_read(s->data, to, DISK_BYTES, 0));
}

/* After a cut each block that is not what it was when the bitmap was reset is marked. */
static void must_have_marked(struct bench *s, const char *before, char *now)
{
    struct bitmap *b = find(s, "x");

    must(b != NULL && !bitmap_is_lost(b));
    copy_data(s, now);
    for (uint64_t off = 0; off < DISK_BYTES; off += 512) {
        if (memcmp(before + off, now + off, 512) != 0) {
            must(bitmap_is_dirty(b, off));
        }
    }
}

static void write_until_cut(struct bench *s)
{
    char room[16384];

    filter_fault_cut_after(s->lower[suite_random(&s->random) % 2],
                           suite_random(&s->random) % 40);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t off = suite_random(&s->random) % (DISK_BYTES / 16384) * 16384;

        memset(room, (int)(suite_random(&s->random) % 255 + 1), sizeof room);
        if (blk_write(s->disk, room, sizeof room, off, 0) != 0 ||
            (i % 16 == 15 && blk_flush(s->disk) != 0)) {
            break;
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        if (!filter_fault_is_cut(s->lower[i])) {
            filter_fault_cut(s->lower[i]);
        }
    }
}

static int after_a_cut_every_change_is_marked(void *arg)
{
    struct bench *s = arg;
    char *before = malloc(DISK_BYTES);
    char *now = malloc(DISK_BYTES);
    unsigned few = 0;

    begin(s);
    open_bench(s, false);
    add(s, "x", 4096);
    close_bench(s);
    for (unsigned i = 0; i < 150; i++) {
        open_bench(s, true);
        must_be_0(bitmap_reset(find(s, "x")));
        copy_data(s, before);
        write_until_cut(s);
        close_bench(s);
        open_bench(s, false);
        must_have_marked(s, before, now);
        few += bitmap_dirty_bytes(find(s, "x")) < DISK_BYTES / 2;
        close_bench(s);
    }
    must(few > 100); /* it does not simply mark everything */
    end(s);
    free(before);
    free(now);
    return 0;
}

/* The frozen marks and the new ones together have every change, wherever it is cut. */
static int a_freeze_that_is_cut_loses_no_mark(void *arg)
{
    struct bench *s = arg;

    begin(s);
    for (unsigned i = 0; i < 60; i++) {
        struct bitmap *frozen;
        bool there = false;

        must_be_0(bitmap_set_format(s->file, DISK_BYTES, NULL));
        open_bench(s, true);
        add(s, "x", 4096);
        must_be_0(bitmap_mark(find(s, "x"), 40960, 4096));
        must_be_0(bitmap_mark(find(s, "x"), 3 << 20, 4096));
        filter_fault_cut_after(s->lower[1], i % 8);
        (void)bitmap_freeze(find(s, "x"), "f", &frozen, NULL);
        filter_fault_cut(s->lower[0]);
        if (!filter_fault_is_cut(s->lower[1])) {
            filter_fault_cut(s->lower[1]);
        }
        close_bench(s);
        open_bench(s, false);
        there = find(s, "f") != NULL;
        must(bitmap_is_dirty(find(s, "x"), 40960) ||
             (there && bitmap_is_dirty(find(s, "f"), 40960)));
        must(bitmap_is_dirty(find(s, "x"), 3 << 20) ||
             (there && bitmap_is_dirty(find(s, "f"), 3 << 20)));
        close_bench(s);
    }
    end(s);
    return 0;
}

/* ---- damage ---- */

static int a_damaged_sheet_makes_a_bitmap_lost(void *arg)
{
    struct bench *s = arg;
    char sheet[512];
    struct bitmap *frozen;

    begin(s);
    open_bench(s, false);
    add(s, "x", 4096);
    must_be_0(bitmap_mark(find(s, "x"), 0, 4096));
    close_bench(s);
    must_be_0(blk_read(s->file, sheet, 512, 65536));
    sheet[17] ^= 4;
    must_be_0(blk_write(s->file, sheet, 512, 65536, 0));
    for (unsigned i = 0; i < 2; i++) { /* it stays lost */
        open_bench(s, false);
        must(bitmap_is_lost(find(s, "x")));
        must(bitmap_dirty_bytes(find(s, "x")) == DISK_BYTES);
        must_be_0(bitmap_clear(find(s, "x"), 0, DISK_BYTES));
        must(bitmap_dirty_bytes(find(s, "x")) == DISK_BYTES);
        must(bitmap_freeze(find(s, "x"), "f", &frozen, NULL) == -EUCLEAN);
        close_bench(s);
    }
    open_bench(s, false);
    must_be_0(bitmap_reset(find(s, "x")));
    must(!bitmap_is_lost(find(s, "x")) && bitmap_dirty_bytes(find(s, "x")) == 0);
    close_bench(s);
    open_bench(s, false);
    must(!bitmap_is_lost(find(s, "x")) && bitmap_dirty_bytes(find(s, "x")) == 0);
    close_bench(s);
    end(s);
    return 0;
}

/* Directories with right checksums and wrong contents. */
static int hostile_directories_are_refused(void *arg)
{
    static const struct {
        unsigned at; /* in the payload */
        uint64_t value;
        unsigned bytes;
    } bad[] = {
        {0, UINT64_MAX, 8},
        {8, 65, 4},
        {8, 0xffffffff, 4},
        {16 + 64, 8, 4},
        {16 + 64, 32, 4},
        {16 + 68, 4, 4},
        {16 + 72, 4096, 8},
        {16 + 72, 65537, 8},
        {16 + 72, UINT64_MAX - 4095, 8},
        {16 + 80, 0, 8},
        {16 + 80, UINT64_MAX, 8},
        {16 + 80, 1u << 20, 8},
        {16, 0, 8},
        {16, 0x0a0a0a0a, 8},
        {0, (uint64_t)1 << 60, 8},
        {16 + 96 + 72, 65536, 8},
        {16 + 96, 0x61, 8},
    };
    struct bench *s = arg;
    unsigned char place[16384];
    unsigned char good[16384];
    struct bitmap_set *set = NULL;

    begin(s);
    open_bench(s, false);
    add(s, "a", 4096);
    add(s, "b", 4096);
    close_bench(s);
    must_be_0(blk_read(s->file, good, sizeof good, 16384)); /* sequence 3: the newest */
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint32_t crc;
        uint32_t payload;

        memcpy(place, good, sizeof place);
        memcpy(place + 40 + bad[i].at, &bad[i].value, bad[i].bytes);
        memcpy(&payload, place + 12, 4);
        memset(place + 36, 0, 4);
        crc = crc32c(0, place, 40 + payload);
        memcpy(place + 36, &crc, 4);
        must_be_0(blk_write(s->file, place, sizeof place, 16384, 0));
        must(bitmap_set_open(s->file, DISK_BYTES, &set, NULL) == -EUCLEAN);
    }
    must_be_0(blk_write(s->file, good, sizeof good, 16384, 0));
    must_be_0(bitmap_set_open(s->file, DISK_BYTES, &set, NULL));
    must(bitmap_at(set, 1) != NULL);
    bitmap_set_close(set);
    end(s);
    return 0;
}

/* A mark that cannot be made durable fails the write; the next one makes up for it. */
static int a_write_without_its_mark_fails(void *arg)
{
    struct bench *s = arg;
    struct filter_fault_plan bad = {.seed = 1,
                                    .fail_kinds = 1u << BLK_WRITE,
                                    .fail_from = 1,
                                    .fail_until = 2,
                                    .error = -EIO};
    char room[512] = {1};
    char found[512];

    begin(s);
    open_bench(s, false);
    add(s, "x", 4096);
    filter_fault_plan(s->lower[1], &bad);
    must(blk_write(s->disk, room, sizeof room, 0, 0) == -EIO);
    must_be_0(blk_read(s->data, found, sizeof found, 0));
    must(found[0] == 0);
    must_be_0(blk_write(s->disk, room, sizeof room, 0, 0));
    close_bench(s);
    open_bench(s, false);
    must(bitmap_is_dirty(find(s, "x"), 0));
    close_bench(s);
    end(s);
    return 0;
}

/* A bitmap that was open while the disk changed its size elsewhere fits again. */
static int another_size_marks_what_is_new(void *arg)
{
    struct bench *s = arg;
    struct bitmap_set *set = NULL;

    begin(s);
    open_bench(s, false);
    add(s, "x", 4096);
    add(s, "y", 512);
    must_be_0(bitmap_mark(find(s, "x"), 8192, 4096));
    close_bench(s);
    must_be_0(bitmap_set_open(s->file, DISK_BYTES * 16, &set, NULL));
    must(bitmap_is_dirty(bitmap_find(set, "x"), 8192));
    must(!bitmap_is_dirty(bitmap_find(set, "x"), 16384));
    must(bitmap_dirty_bytes(bitmap_find(set, "x")) == DISK_BYTES * 15 + 4096);
    must(bitmap_dirty_bytes(bitmap_find(set, "y")) == DISK_BYTES * 15);
    bitmap_set_close(set);
    must_be_0(bitmap_set_open(s->file, DISK_BYTES, &set, NULL));
    must(bitmap_dirty_bytes(bitmap_find(set, "x")) == 4096);
    bitmap_set_close(set);
    end(s);
    return 0;
}

static void run(int (*test)(void *arg), const char *name)
{
    struct bench s = {.random = 7};

    must_be_0(loop_create(LOOP_DRIVER_AUTO, &s.loop, NULL));
    must_be_0(loop_do(s.loop, test, &s));
    loop_destroy(s.loop);
    (void)printf("ok   %s\n", name);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "bitmap", .lowers = 2, .make = make_filter, .open = open_filter},
    };

    run(marks_are_those_of_the_model, "marks are those of the model");
    run(bitmaps_come_and_go, "bitmaps come and go");
    run(what_is_cleared_under_a_write_is_marked_again, "cleared under a write");
    run(after_a_cut_every_change_is_marked, "after a cut every change is marked");
    run(a_freeze_that_is_cut_loses_no_mark, "a freeze that is cut loses no mark");
    run(a_damaged_sheet_makes_a_bitmap_lost, "a damaged sheet makes a bitmap lost");
    run(hostile_directories_are_refused, "hostile directories are refused");
    run(a_write_without_its_mark_fails, "a write without its mark fails");
    run(another_size_marks_what_is_new, "another size marks what is new");
    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
